//! The controller of the chain's length.

use crate::rounding::Rounded;
use crate::statements::{
    About, Built, Evidence, Instance, Kind, Parameter, Statement, StatementError,
};

const START: Parameter = Parameter::whole(
    "T",
    "length of the chain before the step",
    5.0..=1000.0,
    40.0,
);
const GAIN: Parameter = Parameter::whole("C", "change per step", 1.0..=64.0, 8.0);
const TARGET: Parameter = Parameter::linear(
    "d_target",
    "the part of confident decisions aimed at",
    0.1..=0.9,
    0.6,
);
const SHORTEST: f64 = 5.0;
const LONGEST: f64 = 1000.0;

/// Lengthens the chain while the discriminator is too sure of itself, and shortens it otherwise.
///
/// # Formula `[eq:chain-controller]`
/// ```text
/// T ← clip(T + sign(r_d − d_target) C, T_min, T_max),    r_d = E sign(D(y, t) − ½)
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Controller {
    /// T_min.
    pub shortest: f64,
    /// T_max ≥ T_min.
    pub longest: f64,
    /// C ≥ 0.
    pub gain: f64,
    /// d_target.
    pub target: f64,
}

impl Controller {
    /// The next length. At r_d = d_target the length stays.
    pub fn step(&self, length: f64, confidence: f64) -> f64 {
        let sign = if confidence > self.target {
            1.0
        } else if confidence < self.target {
            -1.0
        } else {
            0.0
        };
        (length + sign * self.gain)
            .min(self.longest)
            .max(self.shortest)
    }
}

/// r_d from the discriminator's outputs: the mean of sign(D − ½), with sign(0) = 0.
fn confidence(outputs: &[f64]) -> f64 {
    let sign = |d: f64| f64::from(u8::from(d > 0.5)) - f64::from(u8::from(d < 0.5));
    outputs.iter().map(|&d| sign(d)).sum::<f64>() / outputs.len() as f64
}

/// Outputs D of the discriminator, as many below ½ as not.
fn outputs(instance: &Instance) -> Result<Vec<f64>, StatementError> {
    Ok(instance
        .values()
        .take(16)?
        .iter()
        .map(|v| v + 1.0)
        .collect())
}

/// `[thm:dg-controller]` The chain's length stays in its range, moves by at most C, keeps its order, and under
/// constant confidence reaches the end of its range in ⌈range/C⌉ steps.
///
/// Lengths are whole numbers, so every number here is exact and every allowance a single rounding.
pub struct ControllerStaysInRange;

impl Statement for ControllerStaysInRange {
    fn about(&self) -> About {
        About {
            id: "dg-controller",
            source: "Diffusion-GAN (arXiv:2206.02262), Eq. for T and r_d",
            kind: Kind::Bound,
            summary: "the adaptive length stays in [T_min, T_max] and gets to either end",
            terms: &[],
            parameters: &[START, GAIN, TARGET],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        let outputs = outputs(instance)?;
        Ok(vec![
            Built::row("outputs D", &outputs),
            Built::row("r_d", &[confidence(&outputs)]),
        ])
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let gain = instance.get(GAIN.name)?;
        let controller = Controller {
            shortest: SHORTEST,
            longest: LONGEST,
            gain,
            target: instance.get(TARGET.name)?,
        };
        let start = instance.get(START.name)?;
        let steps = ((LONGEST - SHORTEST) / gain).ceil();
        let drawn = confidence(&outputs(instance)?);
        let after = controller.step(start, drawn);
        let longer = controller.step(start + 1.0, drawn);
        let end = |confidence: f64| {
            let mut length = start;
            let mut step = 0.0;
            while step < steps {
                length = controller.step(length, confidence);
                step += 1.0;
            }
            length
        };
        let claim = |text: &str, a: f64, b: f64| Evidence::at_most(text, a.into(), b.into());
        let equal = |text: &str, a: f64, b: f64| Evidence::equal(text, a.into(), b.into());
        Ok(vec![
            claim("T_min ≤ T", SHORTEST, after),
            claim("T ≤ T_max", after, LONGEST),
            claim("a step is at most C", (after - start).abs(), gain),
            claim("a longer chain stays the longer", after, longer),
            equal("sure of everything: T reaches T_max", end(1.0), LONGEST),
            equal("fooled by everything: T reaches T_min", end(-1.0), SHORTEST),
            equal(
                "on target: T stays",
                controller.step(start, controller.target),
                start,
            ),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let controller = Controller {
            shortest: SHORTEST,
            longest: LONGEST,
            gain: 8.0,
            target: 0.6,
        };
        let up = controller.step(40.0, 0.75);
        Ok(vec![
            Evidence::at_most(
                "control: a sure discriminator shortens the chain",
                up.into(),
                Rounded::exact(40.0),
            ),
            Evidence::at_most(
                "control: T_max is not reached from 998 but overshot",
                Rounded::exact(1006.0),
                controller.step(998.0, 1.0).into(),
            ),
            Evidence::at_most(
                "control: T_min is undershot from 7",
                controller.step(7.0, 0.0).into(),
                Rounded::exact(-1.0),
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_as_by_hand() {
        let controller = Controller {
            shortest: 5.0,
            longest: 50.0,
            gain: 4.0,
            target: 0.5,
        };
        for (length, confidence, want) in [
            (20.0, 0.75, 24.0),
            (20.0, 0.25, 16.0),
            (20.0, 0.5, 20.0),
            (48.0, 1.0, 50.0),
            (7.0, -1.0, 5.0),
        ] {
            assert_eq!(
                controller.step(length, confidence).to_bits(),
                f64::to_bits(want)
            );
        }
    }

    #[test]
    fn confidence_counts_decisions_and_ignores_ties() {
        assert_eq!(
            confidence(&[0.9, 0.2, 0.5, 0.6]).to_bits(),
            0.25_f64.to_bits()
        );
    }
}
