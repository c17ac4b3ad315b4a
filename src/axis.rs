//! An axis: from numbers to places, with marks at round numbers.

/// Ratio of the greatest to the least value from which an axis is logarithmic, where it may be.
const DECADES: f64 = 30.0;

/// An axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axis {
    low: f64,
    high: f64,
    /// Whether equal steps are equal ratios.
    pub logarithmic: bool,
    from: f64,
    to: f64,
}

impl Axis {
    /// For `values`, drawn between the places `from` and `to`; logarithmic where that `may` be and the values
    /// are positive and span more than a decade or so.
    pub fn of(values: impl Iterator<Item = f64>, (from, to): (f64, f64), may: bool) -> Self {
        let (mut low, mut high) = values
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
                (low.min(v), high.max(v))
            });
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let logarithmic = may && low > 0.0 && high > DECADES * low;
        if !logarithmic && high - low <= 1e-9 * high.abs().max(low.abs()) {
            let room = if low.abs() > 0.0 {
                0.5 * low.abs()
            } else {
                1.0
            };
            (low, high) = (low - room, high + room);
        }
        Self {
            low,
            high,
            logarithmic,
            from,
            to,
        }
    }

    /// The same with some room beyond its ends.
    pub fn with_room(mut self) -> Self {
        if self.logarithmic {
            let room = (self.high / self.low).powf(0.04);
            (self.low, self.high) = (self.low / room, self.high * room);
        } else {
            let room = 0.04 * (self.high - self.low);
            // A quantity that is never negative keeps its zero.
            let low = if self.low >= 0.0 {
                (self.low - room).max(0.0)
            } else {
                self.low - room
            };
            (self.low, self.high) = (low, self.high + room);
        }
        self
    }

    /// Least and greatest value.
    pub fn ends(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    /// The place of a value.
    pub fn at(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share * (self.to - self.from)
    }

    /// Round values to mark.
    pub fn marks(&self) -> Vec<f64> {
        let mut marks = if self.logarithmic {
            powers(self.low, self.high)
        } else {
            multiples(self.low, self.high)
        };
        marks.retain(|mark| (self.low..=self.high).contains(mark));
        marks
    }
}

/// Round values from `low` to `high`, both positive, for an axis whose equal steps are equal ratios.
pub fn logarithmic_marks(low: f64, high: f64) -> Vec<f64> {
    let within = |mut marks: Vec<f64>| {
        marks.retain(|mark| (low..=high).contains(mark));
        marks
    };
    let marks = within(powers(low, high));
    if marks.len() > 1 {
        return marks;
    }
    within(multiples(low, high))
}

/// Multiples of 1, 2 or 5 times a power of ten, about five.
fn multiples(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|m| m * power)
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(10.0 * power);
    let first = (low / step).ceil();
    (0..12).map(|k| (first + f64::from(k)) * step).collect()
}

/// Powers of ten; with 2 and 5 between them where they are few, not all where they are many.
fn powers(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (low.log10().floor(), high.log10().ceil());
    let stride = ((last - first) / 6.0).ceil().max(1.0);
    let between: &[f64] = if (high / low).log10() > 3.0 {
        &[1.0]
    } else {
        &[1.0, 2.0, 5.0]
    };
    let mut marks = Vec::new();
    let mut exponent = first;
    while exponent <= last {
        marks.extend(between.iter().map(|m| m * 10_f64.powf(exponent)));
        exponent += stride;
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_drawn_at_the_ends() {
        for (low, high) in [(0.0, 10.0), (1e-6, 1e3), (-3.0, 5.0), (2.0, 2.0)] {
            let axis = Axis::of([low, high].into_iter(), (100.0, 20.0), true);
            let (a, b) = axis.ends();
            assert!(
                (axis.at(a) - 100.0).abs() < 1e-9 && (axis.at(b) - 20.0).abs() < 1e-9,
                "{axis:?}"
            );
            assert!((2..=12).contains(&axis.marks().len()), "{:?}", axis.marks());
        }
        // 1e-6 … 1e3 is logarithmic: each decade takes the same room.
        let axis = Axis::of([1e-6, 1e3].into_iter(), (0.0, 9.0), true);
        assert!((axis.at(1e-2) - 4.0).abs() < 1e-9);
        assert!(!Axis::of([1e-6, 1e3].into_iter(), (0.0, 9.0), false).logarithmic);
    }

    #[test]
    fn marks_are_round() {
        let axis = Axis::of([0.0, 900.0].into_iter(), (0.0, 1.0), false);
        assert_eq!(axis.marks(), [0.0, 200.0, 400.0, 600.0, 800.0]);
        let axis = Axis::of([0.9, 150.0].into_iter(), (0.0, 1.0), true);
        assert_eq!(axis.marks(), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        assert_eq!(logarithmic_marks(3.0, 60.0), [5.0, 10.0, 20.0, 50.0]);
        assert_eq!(logarithmic_marks(11.0, 19.0), [12.0, 14.0, 16.0, 18.0]);
    }
}
