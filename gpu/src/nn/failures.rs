//! Failures of the self-tests on a GPU, by element type.

use std::rc::Rc;

use candle_core::{DType, Result};

/// The failures of a test in several types of elements.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failures(Rc<Vec<(DType, String)>>);

impl Failures {
    /// Tests each type; a test that cannot be finished has failed.
    pub(crate) fn of_each(types: &[DType], test: impl Fn(DType) -> Result<Option<String>>) -> Self {
        let failure = |dtype: &DType| {
            let how = test(*dtype).unwrap_or_else(|error| Some(first_line(&error.to_string())))?;
            Some((*dtype, how))
        };
        Self(Rc::new(types.iter().filter_map(failure).collect()))
    }

    /// How it failed in a type.
    pub(crate) fn of(&self, dtype: DType) -> Option<&str> {
        let mut all = self.0.iter();
        all.find(|(failed, _)| *failed == dtype)
            .map(|(_, how)| how.as_str())
    }

    /// `f32 (softmax of [4, 70]: 0.1 off, at most 1e-6 allowed), bf16 (…)`, if there is any.
    pub(crate) fn summary(&self) -> Option<String> {
        let each: Vec<String> = (self.0.iter())
            .map(|(dtype, how)| format!("{} ({how})", dtype.as_str()))
            .collect();
        (!each.is_empty()).then(|| each.join(", "))
    }
}

/// candle's errors carry a backtrace.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Error;

    #[test]
    fn what_failed_is_said_with_its_type() {
        let test = |dtype| match dtype {
            DType::F32 => Ok(None),
            DType::BF16 => Ok(Some("softmax".to_owned())),
            _ => Err(Error::Msg("no kernel\nfrom somewhere".into())),
        };
        let failures = Failures::of_each(&[DType::F32, DType::BF16, DType::F16], test);
        assert_eq!(failures.of(DType::F32), None);
        assert_eq!(failures.of(DType::BF16), Some("softmax"));
        assert_eq!(
            failures.summary().as_deref(),
            Some("bf16 (softmax), f16 (no kernel)")
        );
        assert_eq!(Failures::default().summary(), None);
    }
}
