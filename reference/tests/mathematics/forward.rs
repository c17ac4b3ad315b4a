use ndarray::{ArrayD, Axis, array};
use proptest::prelude::*;
use sadm_reference::forward::{ForwardError, diffuse, diffuse_batch, posterior, transition};
use sadm_reference::schedule::{Ddpm, ScheduleError, ScheduleKind, VpLinear};

use crate::support::{assert_close, assert_near, number, ordered_times, tensor, time};

#[test]
fn diffusion_mixes_data_and_noise() -> Result<(), ForwardError> {
    let x0 = array![[1.0, -2.0], [0.5, 3.0]].into_dyn();
    let eps = array![[4.0, 0.25], [-1.0, 2.0]].into_dyn();
    assert_eq!(
        diffuse(&x0, &eps, 0.5, 2.0)?,
        array![[8.5, -0.5], [-1.75, 5.5]].into_dyn()
    );
    let batch = diffuse_batch(&x0, &eps, &[0.5, 3.0], &[2.0, -1.0])?;
    assert_eq!(batch, array![[8.5, -0.5], [2.5, 7.0]].into_dyn());
    Ok(())
}

#[test]
fn diffusion_refuses_what_does_not_fit() {
    let x = ArrayD::<f64>::zeros(vec![2, 3]);
    let other = ArrayD::<f64>::zeros(vec![3, 2]);
    let shape = ForwardError::Shape {
        data: vec![2, 3],
        noise: vec![3, 2],
    };
    assert_eq!(diffuse(&x, &other, 1.0, 1.0), Err(shape.clone()));
    assert_eq!(diffuse_batch(&x, &other, &[1.0; 2], &[1.0; 2]), Err(shape));
    let levels = |name, got| ForwardError::Levels {
        name,
        samples: 2,
        got,
    };
    assert_eq!(
        diffuse_batch(&x, &x, &[1.0; 3], &[1.0; 2]),
        Err(levels("alpha", 3))
    );
    assert_eq!(
        diffuse_batch(&x, &x, &[1.0; 2], &[1.0; 1]),
        Err(levels("sigma", 1))
    );
    let scalar = ArrayD::zeros(vec![]);
    assert_eq!(
        diffuse_batch(&scalar, &scalar, &[], &[]),
        Err(ForwardError::NoBatchAxis)
    );
}

#[test]
fn ddpm_posterior_has_its_published_variance() -> Result<(), ForwardError> {
    // From peers.md, given to 7 digits.
    for (k, want) in [(487.0, 0.009_791_57), (999.0, 0.019_999_98)] {
        let got = posterior(&Ddpm::default(), (k - 1.0) / 999.0, k / 999.0)?.var;
        assert!((got - want).abs() < 5.1e-9, "step {k}: {got}");
    }
    Ok(())
}

/// Limits s → t and s → 0, at both ends of every schedule: no NaN.
#[test]
fn limits_are_finite() -> Result<(), ForwardError> {
    for kind in ScheduleKind::all() {
        let schedule = kind.schedule();
        for t in [0.0, 0.25, 1.0] {
            let still = transition(schedule.as_ref(), t, t)?;
            assert_eq!(
                (still.alpha_ts, still.sigma2_ts),
                (1.0, 0.0),
                "{kind}, s = t = {t}"
            );
            let back = posterior(schedule.as_ref(), t, t)?;
            assert_eq!(
                (back.coef_xt, back.coef_x0, back.var),
                (1.0, 0.0, 0.0),
                "{kind}, s = t = {t}"
            );
        }
        for t in [1e-6, 0.25, 1.0] {
            // DDPM has no noise-free step: there, 1e-6 is step 0 itself.
            if kind == ScheduleKind::DDPM {
                continue;
            }
            let step = transition(schedule.as_ref(), 0.0, t)?;
            assert_close(step.alpha_ts, schedule.alpha(t), 4.0);
            assert_close(step.sigma2_ts, schedule.sigma(t).powi(2), 8.0);
            let back = posterior(schedule.as_ref(), 0.0, t)?;
            assert_eq!((back.coef_xt, back.var), (0.0, 0.0), "{kind}, t = {t}");
            assert_close(back.coef_x0, 1.0, 16.0);
        }
    }
    Ok(())
}

#[test]
fn bad_times_are_refused() {
    let vp = VpLinear::default();
    let order = ForwardError::Time(ScheduleError::Order { s: 0.5, t: 0.25 });
    assert_eq!(transition(&vp, 0.5, 0.25), Err(order.clone()));
    assert_eq!(posterior(&vp, 0.5, 0.25), Err(order));
    for bad in [-0.5, 1.5, f64::NAN, f64::INFINITY] {
        assert!(transition(&vp, 0.5, bad).is_err());
        assert!(posterior(&vp, bad, 0.5).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn batch_diffusion_is_diffusion_by_sample(
        (x0, eps) in (tensor([3, 2, 2]), tensor([3, 2, 2])),
        levels in prop::collection::vec((number(), number()), 3),
    ) {
        let (alpha, sigma): (Vec<f64>, Vec<f64>) = levels.into_iter().unzip();
        let batch = diffuse_batch(&x0, &eps, &alpha, &sigma).expect("shapes fit");
        for i in 0..3 {
            let sample = |x: &ArrayD<f64>| x.index_axis(Axis(0), i).to_owned();
            let alone = diffuse(&sample(&x0), &sample(&eps), alpha[i], sigma[i]).expect("shapes fit");
            prop_assert_eq!(sample(&batch), alone);
        }
    }

    /// 0 → s → t is 0 → t: `α_s α_{t|s} = α_t` and `α²_{t|s} σ_s² + σ²_{t|s} = σ_t²`.
    #[test]
    fn chapman_kolmogorov_holds(times in (time(), time(), time())) {
        let mut times = [times.0, times.1, times.2];
        times.sort_by(f64::total_cmp);
        let [r, s, t] = times;
        for kind in ScheduleKind::all() {
            let schedule = kind.schedule();
            let step = |a, b| transition(schedule.as_ref(), a, b).expect("ordered times");
            let (rs, st, rt) = (step(r, s), step(s, t), step(r, t));
            assert_close(rs.alpha_ts * st.alpha_ts, rt.alpha_ts, 64.0);
            assert_close(st.alpha_ts.powi(2) * rs.sigma2_ts + st.sigma2_ts, rt.sigma2_ts, 512.0);
            assert_close(schedule.alpha(s) * st.alpha_ts, schedule.alpha(t), 64.0);
            let marginal = st.alpha_ts.powi(2) * schedule.sigma(s).powi(2) + st.sigma2_ts;
            assert_close(marginal, schedule.sigma(t).powi(2), 512.0);
        }
    }

    /// Bayes: q(x_s|x_0) q(x_t|x_s) = q(x_t|x_0) q(x_s|x_t,x_0) as densities, at every x_0, x_s, x_t.
    #[test]
    fn posterior_is_consistent_with_bayes((s, t) in ordered_times(true), x0 in number(), x_s in number(), x_t in number()) {
        for kind in ScheduleKind::all() {
            let schedule = kind.schedule();
            let step = transition(schedule.as_ref(), s, t).expect("ordered times");
            let back = posterior(schedule.as_ref(), s, t).expect("ordered times");
            // (log density, size of its terms)
            let log_normal = |x: f64, mean: f64, var: f64| {
                let square = (x - mean).powi(2) / var;
                (-0.5 * (square + var.ln()), square + (x * x + mean * mean) / var + var.ln().abs())
            };
            let (a, size_a) = log_normal(x_s, schedule.alpha(s) * x0, schedule.sigma(s).powi(2));
            let (b, size_b) = log_normal(x_t, step.alpha_ts * x_s, step.sigma2_ts);
            let (c, size_c) = log_normal(x_t, schedule.alpha(t) * x0, schedule.sigma(t).powi(2));
            let (d, size_d) = log_normal(x_s, back.coef_xt * x_t + back.coef_x0 * x0, back.var);
            // The mean of the posterior is itself a sum: its terms may exceed it.
            let mean_terms = ((back.coef_xt * x_t).abs() + (back.coef_x0 * x0).abs()).powi(2) / back.var;
            assert_near(a + b, c + d, size_a + size_b + size_c + size_d + mean_terms, 2000.0);
        }
    }
}
