//! ln α_{t|s} = −½ ∫_s^t β from the rate β of the forward process, by quadrature with a proved remainder.

use sadm_reference::schedule::ScheduleKind;

use super::elementary::{cosine, pi, sine};
use crate::rounding::Rounded;

/// Panels of the bracket.
const PANELS: u32 = 128;

/// ½β_u = −d ln α_u/du, as each paper prints it; nothing for `ddpm`, whose rates are discrete, and `edm`, whose α_t is 1.
fn half_rate(kind: ScheduleKind, u: Rounded) -> Option<Rounded> {
    let one = Rounded::exact(1.0);
    Some(match kind.name() {
        "vp-linear" => (Rounded::exact(0.1) + u * (Rounded::exact(20.0) - 0.1.into())) * 0.5,
        "cosine" => {
            let angle = pi() * 0.5 * u;
            pi() * 0.5 * sine(angle) / cosine(angle)
        }
        "rectified-flow" => one / (one - u),
        _ => return None,
    })
}

/// ln α_{t|s} from the rates alone.
///
/// # Formula `[eq:rate-integral]`
/// ```text
/// ln α_{t|s} = −½ ∫_s^t β_u du        (ddpm: ½ Σ_{s < k ≤ t} ln(1 − β_k), t = k/999)
/// Gauss ≤ ∫ ≤ Simpson on every panel
/// ```
/// Gauss's rule with two points has the remainder h⁵/4320 f⁗, Simpson's −h⁵/2880 f⁗, and f = ½β has f⁗ ≥ 0: it is linear
/// (vp-linear), ½π tan(½πu) (cosine) or 1/(1 − u) (rectified flow); β = 0 for edm. The two bracket the integral rigorously; panels
/// shrink geometrically towards u = 1.
pub fn log_scale(kind: ScheduleKind, s: f64, t: f64) -> Rounded {
    match kind.name() {
        "ddpm" => return ddpm(s, t),
        "edm" => return Rounded::exact(0.0),
        _ => {}
    }
    let share = |k: u32| f64::from(k) / f64::from(PANELS);
    let edge = |k: u32| match k {
        0 => s,
        PANELS => t,
        _ => 1.0 - (1.0 - s) * ((1.0 - t) / (1.0 - s)).powf(share(k)),
    };
    let f = |u: Rounded| half_rate(kind, u).unwrap_or(Rounded::within(f64::NAN, f64::INFINITY));
    let node = Rounded::exact(0.5) / Rounded::exact(3.0).sqrt();
    let mut sums = [Rounded::exact(0.0); 2];
    for k in 0..PANELS {
        let (a, b) = (Rounded::exact(edge(k)), Rounded::exact(edge(k + 1)));
        let (width, middle) = (b - a, (a + b) * 0.5);
        let gauss = (f(middle - width * node) + f(middle + width * node)) * 0.5;
        let simpson = (f(a) + f(middle) * 4.0 + f(b)) / 6.0;
        sums[0] = sums[0] + width * gauss;
        sums[1] = sums[1] + width * simpson;
    }
    let (middle, half) = ((sums[0] + sums[1]) * 0.5, (sums[1] - sums[0]) * 0.5);
    -(middle + Rounded::within(0.0, half.value.abs() + half.error))
}

/// ½ Σ ln(1 − β_k), β from 1e-4 to 0.02 in 1000 equal steps.
fn ddpm(s: f64, t: f64) -> Rounded {
    let step = |t: f64| (999.0 * t).round();
    let rate = |k: f64| {
        let rise = Rounded::exact(0.02) - Rounded::exact(1e-4);
        Rounded::exact(1e-4) + rise * k / 999.0
    };
    let first = step(s) + 1.0;
    let steps = std::iter::successors(Some(first), |k| Some(k + 1.0)).take_while(|k| *k <= step(t));
    Rounded::sum(steps.map(|k| (Rounded::exact(1.0) - rate(k)).ln())) * 0.5
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Closed forms: −¼(s + t)(t − s)·19.9 − 0.05(t − s), ln cos, ln(1 − u), 0; and two steps of `ddpm`.
    #[test]
    fn integrals_are_their_closed_forms() {
        let (s, t) = (0.25_f64, 0.75_f64);
        let half_pi = std::f64::consts::FRAC_PI_2;
        let rates: [f64; 2] = [
            1.0 - (1e-4 + 0.0199 * 500.0 / 999.0),
            1.0 - (1e-4 + 0.0199 * 501.0 / 999.0),
        ];
        for (kind, s, t, want) in [
            (
                ScheduleKind::VP_LINEAR,
                s,
                t,
                -0.25 * 0.5 * 19.9 - 0.05 * 0.5,
            ),
            (
                ScheduleKind::COSINE,
                s,
                t,
                ((half_pi * t).cos() / (half_pi * s).cos()).ln(),
            ),
            (
                ScheduleKind::COSINE,
                1e-3,
                0.999,
                ((half_pi * 0.001).sin() / (half_pi * 1e-3).cos()).ln(),
            ),
            (ScheduleKind::RECTIFIED_FLOW, s, t, (0.25_f64 / 0.75).ln()),
            (
                ScheduleKind::RECTIFIED_FLOW,
                1e-3,
                0.999,
                (0.001_f64 / 0.999).ln(),
            ),
            (ScheduleKind::EDM, 0.002, 80.0, 0.0),
            (
                ScheduleKind::DDPM,
                499.0 / 999.0,
                501.0 / 999.0,
                0.5 * (rates[0] * rates[1]).ln(),
            ),
        ] {
            let got = log_scale(kind, s, t);
            assert!(
                (got.value - want).abs() <= got.error + 1e-13,
                "{kind} {got:?} {want}"
            );
            assert!(got.error < 1e-6, "{kind} {got:?}");
        }
    }
}
