//! Eq. 15: the entropy of a pair, and what the objective adds to it.

use anyhow::Result;
use sadm_reference::schedule::{Schedule, VpLinear};
use sadm_theory::laws::chain::{Affine, Chain, Data, Level, Step};
use sadm_theory::laws::small_matrix::multiple_of_identity;
use sadm_theory::rounding::Rounded;
use sadm_theory::statements::{QuadraticRelation, structural_part};

use super::chart::{Axis, Panel, Series};
use super::svg::{Colour, Stroke};
use super::{Figure, decades};

/// First time of the chain: z_0 is slightly noised.
const FIRST: f64 = 0.03;

/// The ideal chain of standard normal pairs in `steps` steps of the linear schedule.
fn ideal(steps: u32) -> Result<Chain> {
    let vp = VpLinear::default();
    let time = |k: u32| FIRST + (1.0 - FIRST) * f64::from(k) / f64::from(steps);
    let level = |t: f64| Level {
        alpha: Rounded::exact(vp.alpha(t)),
        sigma: Rounded::exact(vp.sigma(t)),
    };
    let all = (1..=steps).rev().map(|k| {
        let (s, t) = (time(k - 1), time(k));
        Step {
            to: level(s),
            from: level(t),
            sigma2_ts: Rounded::exact(vp.sigma2_transition(s, t)),
            // α² + σ² = 1: the best guess of a standard normal number is α times what is seen.
            denoiser: Affine {
                matrix: multiple_of_identity(vp.alpha(t).into(), 2),
                shift: ndarray::array![0.0.into(), 0.0.into()],
            },
        }
    });
    Ok(Chain::new(all.collect())?)
}

/// The entropy, then one slack after another, up to the objective.
fn stack(steps: u32, gamma: f64) -> Result<[f64; 5]> {
    let chain = ideal(steps)?;
    let pairs = Data {
        covariance: multiple_of_identity(1.0.into(), 2),
        ..Data::point(&[0.0, 0.0])
    };
    let slack = chain.gap(&pairs)?;
    let structure = structural_part(&chain, &pairs, QuadraticRelation::InnerProduct, gamma).value;
    let parts = [
        slack.prior.value,
        slack.reconstruction.value,
        slack.diffusion.value,
        structure,
    ];
    let mut tops = [pairs.entropy()?.value; 5];
    for (k, part) in parts.into_iter().enumerate() {
        tops[k + 1] = tops[k] + part;
    }
    Ok(tops)
}

fn lines(places: &[f64], at: impl Fn(f64) -> Result<[f64; 5]>) -> Result<Vec<Series>> {
    let all = places.iter().map(|&x| Ok((x, at(x)?)));
    let all = all.collect::<Result<Vec<_>>>()?;
    let drawn = [
        ("entropy: no model does better", Colour::Grey, Stroke::Solid),
        ("+ prior", Colour::Green, Stroke::Dotted),
        ("+ reconstruction", Colour::Purple, Stroke::Dashed),
        (
            "+ diffusion: the bound without structure",
            Colour::Blue,
            Stroke::Solid,
        ),
        ("+ structure: Eq. 15", Colour::Orange, Stroke::Solid),
    ];
    let curves = drawn
        .into_iter()
        .enumerate()
        .map(|(k, (label, colour, stroke))| {
            let points = all.iter().map(|(x, tops)| (*x, tops[k])).collect();
            Series::new(label, colour, stroke, points)
        });
    Ok(curves.collect())
}

/// The split of Eq. 15 over the number of steps and over γ.
pub fn split() -> Result<Figure> {
    let counts = [
        1_u32, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256,
    ];
    let over_steps = counts
        .iter()
        .map(|&steps| Ok((f64::from(steps), stack(steps, 1.0)?)));
    let over_steps = over_steps.collect::<Result<Vec<_>>>()?;
    let places: Vec<f64> = over_steps.iter().map(|(steps, _)| *steps).collect();
    let tops = |steps: f64| {
        let found = over_steps.iter().find(|(place, _)| *place >= steps);
        Ok(found.map_or([f64::NAN; 5], |(_, tops)| *tops))
    };
    let y = || Axis::log("mean per pair, in nats", 2.0, 200.0);
    let over_steps = Panel {
        title: "Over the number of steps, γ = 1".to_owned(),
        x: Axis::log("number of steps T", 1.0, 256.0),
        y: y(),
        series: lines(&places, tops)?,
    };
    let over_gamma = Panel {
        title: "Over γ, 256 steps".to_owned(),
        x: Axis::log("standard deviation γ of the observation", 0.3, 30.0),
        y: y(),
        series: lines(&decades(0.3, 30.0, 60), |gamma| stack(256, gamma))?,
    };
    let caption = "Eq. 15 with its weights for standard normal pairs and the ideal denoiser (linear VP schedule from t = 0.03), each \
        line one slack above the line before. With many steps everything but structure comes down to the entropy; the structural \
        part stays, and is the larger the sharper the relation is observed.";
    Figure::new("likelihood-split", caption)
        .panel(&over_steps, "the diffusion line falls onto the entropy as the steps grow; the structure line stays above")?
        .panel(&over_gamma, "four nearly equal horizontal lines and one that falls onto them as gamma grows")
}
