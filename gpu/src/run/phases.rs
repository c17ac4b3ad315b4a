//! The phases of a run and how `train.steps` is divided among them.

use crate::config::{Config, StructureMethod};
use serde::{Deserialize, Serialize};

/// Kind of a training step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Ψ learns to classify.
    Encoder,
    /// θ learns to denoise.
    Denoise,
    /// θ descends the denoising loss + λS with Ψ frozen (SADM Eq. 6).
    Guided,
    /// θ descends and φ ascends (SADM Eq. 9–10).
    Adversarial,
}

impl Phase {
    /// Name, as in `metrics.jsonl`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Encoder => "encoder",
            Self::Denoise => "denoise",
            Self::Guided => "guided",
            Self::Adversarial => "adversarial",
        }
    }

    /// Whether S is part of θ's objective.
    pub fn has_structure(self) -> bool {
        matches!(self, Self::Guided | Self::Adversarial)
    }
}

/// A phase with the half-open range of the run's steps it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// What happens.
    pub phase: Phase,
    /// First step.
    pub start: usize,
    /// One past the last step.
    pub end: usize,
}

/// The span of one phase, if the run has it.
pub fn span(config: &Config, phase: Phase) -> Option<Span> {
    phases(config).into_iter().find(|span| span.phase == phase)
}

/// The non-empty phases of a run, in order; they cover `0..train.steps` without gaps.
///
/// They are those of the [`layout`], the last of them as long as `train.steps` says, or cut where it ends.
pub fn phases(config: &Config) -> Vec<Span> {
    let steps = config.train.steps;
    let mut spans = layout(config);
    spans.retain(|span| span.start < steps);
    if let Some(last) = spans.last_mut()
        && (steps > config.train.layout() || steps < last.end)
    {
        last.end = steps;
    }
    spans
}

/// The phases as they were planned: what learning rates follow.
///
/// Shares are those of `[phases]` after `structure.method` has had its say: without a structural loss
/// there is no encoder and everything is denoising; without adversarial rounds their share is guided.
/// Steps are given by largest remainder, and every phase with a share gets at least one step when
/// there are enough.
pub fn layout(config: &Config) -> Vec<Span> {
    let p = &config.phases;
    let shares = match config.structure.method {
        StructureMethod::None => [0.0, 1.0, 0.0, 0.0],
        StructureMethod::Guided => [p.encoder, p.denoise, p.guided + p.adversarial, 0.0],
        StructureMethod::Adversarial => [p.encoder, p.denoise, p.guided, p.adversarial],
    };
    let kinds = [
        Phase::Encoder,
        Phase::Denoise,
        Phase::Guided,
        Phase::Adversarial,
    ];
    let mut start = 0;
    kinds
        .into_iter()
        .zip(divide(config.train.layout(), shares))
        .filter(|(_, steps)| *steps > 0)
        .map(|(phase, steps)| {
            let span = Span {
                phase,
                start,
                end: start + steps,
            };
            start += steps;
            span
        })
        .collect()
}

/// `total` divided in proportion to `shares` (largest remainder, at least 1 for a positive share).
fn divide<const N: usize>(total: usize, shares: [f64; N]) -> [usize; N] {
    let sum: f64 = shares.iter().sum();
    let ideal = shares.map(|s| s / sum * total as f64);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 ≤ floor(ideal) ≤ total"
    )]
    let mut parts = ideal.map(|x| x.floor() as usize);
    let mut order: Vec<usize> = (0..N).filter(|&i| shares[i] > 0.0).collect();
    // Empty parts first, then by remainder; the order of the phases breaks ties.
    order.sort_by(|&a, &b| {
        let key = |i: usize| (parts[i] > 0, -(ideal[i] - ideal[i].floor()));
        let ((ea, ra), (eb, rb)) = (key(a), key(b));
        ea.cmp(&eb).then(ra.total_cmp(&rb)).then(a.cmp(&b))
    });
    let mut left = total - parts.iter().sum::<usize>();
    for &i in order.iter().cycle() {
        if left == 0 {
            break;
        }
        parts[i] += 1;
        left -= 1;
    }
    // A positive share that rounds to nothing takes its step from the largest part.
    for i in order {
        if parts[i] == 0 {
            let largest = (0..N).max_by_key(|&j| parts[j]).unwrap_or(i);
            if parts[largest] > 1 {
                parts[largest] -= 1;
                parts[i] = 1;
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shares_become_steps() {
        assert_eq!(divide(60, [0.1, 0.4, 0.3, 0.2]), [6, 24, 18, 12]);
        assert_eq!(divide(7, [1.0, 1.0, 1.0, 0.0]), [3, 2, 2, 0]);
        assert_eq!(divide(5, [0.01, 0.97, 0.01, 0.01]), [1, 2, 1, 1]);
    }

    #[test]
    fn the_method_decides_which_phases_there_are() {
        let named = |method: &str| {
            let config = Config::default()
                .with_set(&format!("structure.method={method}"))
                .expect("a known method");
            phases(&config)
                .iter()
                .map(|s| s.phase.name())
                .collect::<Vec<_>>()
        };
        assert_eq!(named("none"), ["denoise"]);
        assert_eq!(named("guided"), ["encoder", "denoise", "guided"]);
        assert_eq!(
            named("adversarial"),
            ["encoder", "denoise", "guided", "adversarial"]
        );
    }

    proptest! {
        #[test]
        fn every_step_is_in_one_phase(total in 1usize..500, shares in prop::array::uniform4(0u32..20)) {
            prop_assume!(shares.iter().sum::<u32>() > 0);
            let parts = divide(total, shares.map(f64::from));
            prop_assert_eq!(parts.iter().sum::<usize>(), total);
            for i in 0..4 {
                prop_assert!(shares[i] > 0 || parts[i] == 0, "a phase without a share has steps");
                prop_assert!(shares[i] == 0 || total < 8 || parts[i] > 0, "a phase with a share has none");
            }
        }
    }
}
