//! Likelihood by the probability-flow ODE against laws whose density at every noise level is known.

use ndarray::{Array1, ArrayView1, array};
use sadm_reference::likelihood::{
    Denoised, Flow, LikelihoodError, bits_per_dimension, hutchinson_trace, probability_flow,
    terminal_log_density,
};
use sadm_theory::laws::{GaussianLaw, MixtureLaw, SmoothPosterior};

const LEVELS: [f64; 2] = [0.05, 80.0];
const X: [f64; 2] = [0.4, -0.7];

/// A refusal of the law's or of the ODE's.
type Refused = Box<dyn std::error::Error>;

fn mixture() -> MixtureLaw {
    let one = GaussianLaw::new(array![0.5, -1.0], &array![[1.5, 0.6], [0.6, 0.75]]);
    let other = GaussianLaw::new(array![-1.5, 0.25], &array![[0.5, -0.25], [-0.25, 1.0]]);
    let parts = [one, other].map(|law| law.expect("a covariance"));
    MixtureLaw::new(parts.to_vec(), vec![3.0, 1.0]).expect("a mixture")
}

fn posterior(law: &MixtureLaw, z: ArrayView1<f64>, sigma: f64) -> Result<SmoothPosterior, Refused> {
    let answer = law.posterior(&z.to_vec(), 1.0, sigma);
    Ok(answer?.1)
}

fn log_density(law: &MixtureLaw, z: &Array1<f64>, sigma: f64) -> f64 {
    posterior(law, z.view(), sigma)
        .expect("a point")
        .log_density
}

/// The flow with a trace taken of ∂x̂/∂z = Cov[x_0|z]/σ².
fn flow(law: &MixtureLaw, steps: usize, trace: impl Fn(&ndarray::Array2<f64>) -> f64) -> Flow {
    let denoise = |z: ArrayView1<f64>, sigma: f64| {
        let answer = posterior(law, z, sigma)?;
        Ok::<_, Refused>(Denoised {
            x_hat: answer.mean,
            trace: trace(&(answer.covariance / (sigma * sigma))),
        })
    };
    probability_flow(ArrayView1::from(&X), LEVELS, steps, denoise).expect("finite answers")
}

fn exact(jacobian: &ndarray::Array2<f64>) -> f64 {
    jacobian.diag().sum()
}

/// What the ODE says of ln p(X; σ_min), less what the law says.
fn error(law: &MixtureLaw, steps: usize) -> f64 {
    let flow = flow(law, steps, exact);
    let terminal = log_density(law, &flow.z, LEVELS[1]);
    terminal + flow.log_density_change - log_density(law, &Array1::from(X.to_vec()), LEVELS[0])
}

/// Fourth order: halving the step divides the error by 16, to the next term of its expansion.
#[test]
fn the_density_of_a_mixture_is_found_to_fourth_order() {
    let law = mixture();
    let errors = [128, 256, 512].map(|steps| error(&law, steps).abs());
    for pair in errors.windows(2) {
        let order = (pair[0] / pair[1]).log2();
        assert!(
            (order - 4.0).abs() < 0.25,
            "order {order}, errors {errors:?}"
        );
    }
    assert!(errors[2] < 1e-6, "{errors:?}");
}

/// One Gaussian: the flow has a closed form, z(σ) − m = √((λ + σ²)/(λ + σ_min²)) (z_0 − m) along each eigenvector.
#[test]
fn the_flow_of_a_gaussian_is_its_closed_form() {
    let gaussian = GaussianLaw::new(array![0.5, -1.0], &array![[2.0, 0.0], [0.0, 0.25]]);
    let law = MixtureLaw::new(vec![gaussian.expect("a covariance")], vec![1.0]).expect("a law");
    let got = flow(&law, 1024, exact);
    let grown = |lambda: f64| ((lambda + 6400.0) / (lambda + 0.0025)).sqrt();
    let want = [
        0.5 + grown(2.0) * (X[0] - 0.5),
        -1.0 + grown(0.25) * (X[1] + 1.0),
    ];
    for (got, want) in got.z.iter().zip(want) {
        // RK4 in steps of 0.0072: h⁴ times the length 7.4, over 120.
        assert!((got / want - 1.0).abs() < 1e-9, "{got} {want}");
    }
    let log_growth = grown(2.0).ln() + grown(0.25).ln();
    assert!((got.log_density_change - log_growth).abs() < 1e-9);
}

/// Over all sign vectors, the mean of vᵀJv is the trace, and the path does not depend on v.
#[test]
fn the_mean_over_all_signs_is_the_exact_trace() {
    let law = mixture();
    let mut sum = 0.0;
    for signs in [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]] {
        let v = array![signs[0], signs[1]];
        let estimate = flow(&law, 64, |j| hutchinson_trace(v.view(), j.dot(&v).view()));
        sum += estimate.log_density_change / 4.0;
    }
    let want = flow(&law, 64, exact).log_density_change;
    assert!(
        (sum - want).abs() <= 64.0 * 16.0 * f64::EPSILON * want.abs(),
        "{sum} {want}"
    );
}

/// The data's own spread is what a terminal law N(0, σ_max² I) leaves out: relative to σ_max², at most the trace of its
/// second moments, half of it for the exponent and half for the volume.
#[test]
fn the_terminal_law_leaves_out_the_data_only() {
    let law = mixture();
    let end = flow(&law, 256, exact).z;
    let apart = terminal_log_density(end.view(), LEVELS[1]) - log_density(&law, &end, LEVELS[1]);
    let second: f64 = law
        .components()
        .iter()
        .zip(law.prior())
        .map(|(c, p)| p * (c.covariance().diag().sum() + c.mean().dot(c.mean())))
        .sum();
    let reach = 1.0 + end.dot(&end).sqrt() / LEVELS[1];
    // The mean enters in first order, m·z/σ².
    let allowed = (second / LEVELS[1] + second.sqrt()) * reach * reach / LEVELS[1];
    assert!(
        apart.abs() <= allowed && apart.abs() > 0.0,
        "{apart} {allowed}"
    );
}

#[test]
fn bits_per_dimension_count_the_levels() {
    // A uniform density on [−1, 1] in each of three dimensions, of bytes: 255 spacings.
    let bits = bits_per_dimension(-3.0 * 2.0_f64.ln(), 3, 2.0 / 255.0).expect("a density");
    assert!((bits - 255.0_f64.log2()).abs() < 1e-14);
    let bits = bits_per_dimension(0.0, 1, 0.125).expect("a density");
    assert!((bits - 3.0).abs() < 1e-15);
}

#[test]
fn what_is_no_flow_is_refused() {
    let z = array![1.0, 2.0];
    let run = |levels, steps, answer: Denoised| {
        probability_flow(z.view(), levels, steps, |_, _| {
            Ok::<_, LikelihoodError>(answer.clone())
        })
        .expect_err("a refusal")
        .to_string()
    };
    let good = Denoised {
        x_hat: z.clone(),
        trace: 1.0,
    };
    assert!(run([1.0, 0.5], 4, good.clone()).contains("got 1 and 0.5"));
    assert!(run([0.0, 0.5], 4, good.clone()).contains("0 < sigma_min"));
    assert!(run([0.1, 0.5], 0, good.clone()).contains("at least one step"));
    let short = Denoised {
        x_hat: array![1.0],
        ..good.clone()
    };
    assert!(run([0.1, 0.5], 4, short).contains("2 dimensions, got 1"));
    let nan = Denoised {
        trace: f64::NAN,
        ..good
    };
    assert!(run([0.1, 0.5], 4, nan).contains("NaN"));
    assert_eq!(bits_per_dimension(0.0, 0, 1.0), Err(LikelihoodError::Empty));
    assert!(bits_per_dimension(0.0, 1, 0.0).is_err());
    assert!(bits_per_dimension(f64::NAN, 1, 1.0).is_err());
}
