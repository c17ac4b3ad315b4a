use ndarray::{ArrayD, array};
use proptest::prelude::*;
use sadm_reference::denoise::{DenoiseError, Weight, denoising_loss, discrete_elbo_weight, weight};
use sadm_reference::schedule::{
    Cosine, Ddpm, Edm, RectifiedFlow, Schedule, ScheduleError, ScheduleKind, VpLinear,
};

use crate::support::{assert_close, assert_near, number, positive, tensor, time};

#[test]
fn rectified_flow_weights_by_hand() -> Result<(), DenoiseError> {
    // t = 1/4: SNR = 9, dSNR/dt = −2(1−t)/t³ = −96.
    let flow = RectifiedFlow;
    assert_close(weight(Weight::ELBO, &flow, 0.25, 0.5)?, 48.0, 8.0);
    assert_close(
        weight(Weight::MIN_SNR.with(5.0), &flow, 0.25, 0.5)?,
        5.0,
        0.0,
    );
    assert_close(
        weight(Weight::MIN_SNR.with(10.0), &flow, 0.25, 0.5)?,
        9.0,
        4.0,
    );
    assert_close(weight(Weight::EDM, &flow, 0.25, 2.0)?, 9.25, 4.0);
    // ½(SNR_{1/4} − SNR_{1/2}) = ½(9 − 1).
    assert_close(discrete_elbo_weight(&flow, 0.25, 0.5)?, 4.0, 8.0);
    assert_eq!(discrete_elbo_weight(&flow, 0.5, 0.5)?, 0.0);
    Ok(())
}

#[test]
fn weights_at_the_ends() -> Result<(), DenoiseError> {
    let infinite = [
        Weight::ELBO,
        Weight::SOFT_TRUNCATION,
        Weight::SNR,
        Weight::ONE_PLUS_SNR,
        Weight::EDM,
    ];
    for schedule in [
        &VpLinear::default() as &dyn Schedule,
        &Cosine,
        &Edm,
        &RectifiedFlow,
    ] {
        for kind in infinite {
            let refused = DenoiseError::InfiniteWeight {
                weight: kind,
                t: 0.0,
            };
            assert_eq!(weight(kind, schedule, 0.0, 0.5), Err(refused));
        }
        assert_eq!(weight(Weight::CONSTANT, schedule, 0.0, 0.5)?, 1.0);
        assert_eq!(weight(Weight::MIN_SNR.with(5.0), schedule, 0.0, 0.5)?, 5.0);
        let refused = DenoiseError::InfiniteWeight {
            weight: Weight::ELBO,
            t: 0.0,
        };
        assert_eq!(discrete_elbo_weight(schedule, 0.0, 0.5), Err(refused));
    }
    // DDPM has noise at its first step.
    assert_close(
        weight(Weight::SNR, &Ddpm::default(), 0.0, 0.5)?,
        9999.0,
        1e5,
    );
    // Without signal the SNR and its slope vanish.
    for schedule in [&Cosine as &dyn Schedule, &RectifiedFlow] {
        assert_eq!(weight(Weight::ELBO, schedule, 1.0, 0.5)?, 0.0);
        assert_eq!(weight(Weight::SNR, schedule, 1.0, 0.5)?, 0.0);
        assert_eq!(weight(Weight::ONE_PLUS_SNR, schedule, 1.0, 0.5)?, 1.0);
    }
    Ok(())
}

#[test]
fn bad_weight_arguments_are_refused() {
    let flow = RectifiedFlow;
    assert!(matches!(
        weight(Weight::SNR, &flow, 1.5, 0.5),
        Err(DenoiseError::Time(_))
    ));
    assert!(matches!(
        discrete_elbo_weight(&flow, 0.5, 0.25),
        Err(DenoiseError::Time(ScheduleError::Order { .. }))
    ));
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let gamma = weight(Weight::MIN_SNR.with(bad), &flow, 0.5, 0.5);
        assert!(matches!(
            gamma,
            Err(DenoiseError::Parameter { name: "gamma", .. })
        ));
        let data = weight(Weight::EDM, &flow, 0.5, bad);
        assert!(matches!(
            data,
            Err(DenoiseError::Parameter {
                name: "sigma_data",
                ..
            })
        ));
    }
}

#[test]
fn loss_and_gradient_by_hand() -> Result<(), DenoiseError> {
    let x0 = array![[1.0, 2.0], [3.0, -1.0]].into_dyn();
    let x_hat = array![[1.5, 2.0], [1.0, 0.0]].into_dyn();
    // Residuals (0.5, 0), (−2, 1): (3·0.25 + 0.5·5)/2.
    let got = denoising_loss(&x_hat, &x0, &[3.0, 0.5])?;
    assert_eq!(got.loss, 1.625);
    assert_eq!(
        got.grad_prediction,
        array![[1.5, 0.0], [-1.0, 0.5]].into_dyn()
    );
    Ok(())
}

#[test]
fn bad_losses_are_refused() {
    let x = array![[1.0, 2.0], [3.0, -1.0]].into_dyn();
    let with = |v: f64| array![[1.0, 2.0], [v, -1.0]].into_dyn();
    let not_finite = |name, at: &[usize], got| DenoiseError::NotFinite {
        name,
        at: at.to_vec(),
        got,
    };
    let inf = f64::INFINITY;
    assert_eq!(
        denoising_loss(&with(inf), &x, &[1.0; 2]),
        Err(not_finite("prediction", &[1, 0], inf))
    );
    assert_eq!(
        denoising_loss(&x, &with(inf), &[1.0; 2]),
        Err(not_finite("x0", &[1, 0], inf))
    );
    assert!(denoising_loss(&x, &with(f64::NAN), &[1.0; 2]).is_err());
    assert_eq!(
        denoising_loss(&x, &x, &[1.0, -inf]),
        Err(not_finite("weight", &[1], -inf))
    );
    assert_eq!(
        denoising_loss(&x, &x, &[1.0]),
        Err(DenoiseError::Weights { samples: 2, got: 1 })
    );
    let wide = array![[1.0, 2.0, 3.0]].into_dyn();
    let shape = DenoiseError::Shape {
        data: vec![2, 2],
        prediction: vec![1, 3],
    };
    assert_eq!(denoising_loss(&wide, &x, &[1.0; 2]), Err(shape));
    for empty in [ArrayD::zeros(vec![0, 3]), ArrayD::zeros(vec![])] {
        assert!(matches!(
            denoising_loss(&empty, &empty, &[]),
            Err(DenoiseError::Empty { .. })
        ));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The loss is a quadratic: the central difference is exact but for rounding.
    #[test]
    fn gradient_is_the_difference_quotient(
        (x_hat, x0, direction) in (tensor([3, 2, 2]), tensor([3, 2, 2]), tensor([3, 2, 2])),
        w in prop::collection::vec(positive(), 3),
    ) {
        let at = |h: f64| denoising_loss(&(&x_hat + &(&direction * h)), &x0, &w).expect("fits").loss;
        let grad = denoising_loss(&x_hat, &x0, &w).expect("fits").grad_prediction;
        assert_near((at(0.5) - at(-0.5)) / 1.0, (&grad * &direction).sum(), 1.0 + at(0.5) + at(-0.5), 64.0);
    }

    /// Equal weights: the loss in the network's own target space, `[eq:loss-weights]`, for every schedule.
    #[test]
    fn weights_turn_the_loss_into_that_on_the_target(t in time(), x0 in number(), x_hat in number(), eps in number()) {
        for kind in [ScheduleKind::VP_LINEAR, ScheduleKind::COSINE, ScheduleKind::DDPM] {
            let schedule = kind.schedule();
            let (alpha, sigma) = (schedule.alpha(t), schedule.sigma(t));
            let x_t = alpha * x0 + sigma * eps;
            let eps_hat = (x_t - alpha * x_hat) / sigma;
            let v_of = |x: f64, e: f64| alpha * e - sigma * x;
            let squared = (x_hat - x0).powi(2);
            let terms = ((x_t.abs() + alpha * (x_hat.abs() + x0.abs())) / sigma).powi(2) + x0 * x0 + x_hat * x_hat + eps * eps;
            let w = |kind| weight(kind, schedule.as_ref(), t, 0.5).expect("inside the domain");
            assert_near(w(Weight::SNR) * squared, (eps_hat - eps).powi(2), terms, 256.0);
            assert_near(w(Weight::ONE_PLUS_SNR) * squared, (v_of(x_hat, eps_hat) - v_of(x0, eps)).powi(2), terms, 256.0);
        }
    }

    /// The discrete weight is the integral of the continuous one: Simpson's rule on a short step.
    #[test]
    fn discrete_elbo_weight_integrates_the_continuous_one(t in (64i32..=192).prop_map(|k| f64::from(k) / 256.0)) {
        for kind in [ScheduleKind::VP_LINEAR, ScheduleKind::COSINE, ScheduleKind::EDM, ScheduleKind::RECTIFIED_FLOW] {
            let schedule = kind.schedule();
            let h = 1.0 / 1024.0;
            let w = |t| weight(Weight::ELBO, schedule.as_ref(), t, 0.5).expect("inside the domain");
            let simpson = (w(t - h) + 4.0 * w(t) + w(t + h)) * h / 3.0;
            let exact = discrete_elbo_weight(schedule.as_ref(), t - h, t + h).expect("ordered");
            // h⁵ f⁗/90 with a fourth derivative of at most (20 + 8/t)⁴ f.
            prop_assert!((simpson / exact - 1.0).abs() <= h.powi(4) * 52f64.powi(4) / 90.0, "{kind}: {simpson} vs {exact}");
        }
    }
}
