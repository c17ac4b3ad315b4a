//! The phases of a run: kinds of steps, and how many of each.

use super::settings::{Method, Settings};

/// What happens in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// φ learns to classify.
    Encoder,
    /// θ descends L.
    Denoise,
    /// θ descends L + λS.
    Guided,
    /// θ descends L + λS, φ ascends S.
    Adversarial,
}

impl Phase {
    /// Every phase, in their order.
    const ALL: [Self; 4] = [
        Self::Encoder,
        Self::Denoise,
        Self::Guided,
        Self::Adversarial,
    ];

    /// Its name in `metrics.jsonl`.
    pub(super) fn name(self) -> &'static str {
        ["encoder", "denoise", "guided", "adversarial"][self as usize]
    }
}

/// A phase with its first step and the first beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) phase: Phase,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// The phases as they are planned, which the learning rates follow.
pub(super) fn planned(settings: &Settings) -> Vec<Span> {
    let p = &settings.phases;
    let shares = match settings.structure.method {
        // Without S there is nothing to train Ψ for.
        Method::None => [0.0, 1.0, 0.0, 0.0],
        Method::Guided => [p.encoder, p.denoise, p.guided + p.adversarial, 0.0],
        Method::Adversarial => [p.encoder, p.denoise, p.guided, p.adversarial],
    };
    let planned = match settings.train.planned {
        0 => settings.train.steps,
        planned => planned,
    };
    let mut start = 0;
    let mut spans = Vec::new();
    for (phase, steps) in Phase::ALL.into_iter().zip(divided(planned, shares)) {
        if steps > 0 {
            let end = start + steps;
            spans.push(Span { phase, start, end });
            start = end;
        }
    }
    spans
}

/// The phases as they are done: `train.steps` of the planned ones, the last of them longer where there are more.
pub(super) fn done(settings: &Settings) -> Vec<Span> {
    let steps = settings.train.steps;
    let planned = planned(settings);
    let length = planned.last().map_or(0, |span| span.end);
    let mut spans: Vec<Span> = planned
        .into_iter()
        .filter(|span| span.start < steps)
        .collect();
    if let Some(last) = spans.last_mut() {
        last.end = if steps >= length {
            steps
        } else {
            last.end.min(steps)
        };
    }
    spans
}

/// A number of steps in proportion to shares: whole parts first, then one each where a share has none yet, then one each by
/// the largest rest; a share that still has none takes one from the longest part (the last of equals) that has two.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "parts of a count"
)]
fn divided(total: usize, shares: [f64; 4]) -> [usize; 4] {
    let sum: f64 = shares.iter().sum();
    let exact = shares.map(|share| share / sum * total as f64);
    let mut parts = exact.map(|x| x as usize);
    let mut waiting: Vec<usize> = (0..4).filter(|&i| shares[i] > 0.0).collect();
    waiting.sort_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()));
    let (empty, begun): (Vec<usize>, Vec<usize>) = waiting.iter().partition(|&&i| parts[i] == 0);
    let rest = total - parts.iter().sum::<usize>();
    for &i in empty.iter().chain(&begun).cycle().take(rest) {
        parts[i] += 1;
    }
    for i in empty {
        let longest = (0..4).fold(0, |a, b| if parts[b] >= parts[a] { b } else { a });
        if parts[i] == 0 && parts[longest] > 1 {
            parts[longest] -= 1;
            parts[i] = 1;
        }
    }
    parts
}
