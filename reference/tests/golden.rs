//! The reference against golden vectors from neither of our implementations.
//!
//! `fixtures/*.json` hold each quantity evaluated from its definition by mpmath at 60 digits, gradients by central
//! differences of that, and rounded once to `f64` (`fixtures/README.md`). The tolerance is the running-error bound of
//! an `f64` computation, plus that one rounding: so these tests hold the bounds to account as well.
//!
//! A bound is centred on the reference's result, and grows by the distance of that from the bound's own evaluation.
//! A wrong reference would widen its own tolerance. That part, and the cost of evaluating the bound's centre in `f64`,
//! do not depend on the precision asked for: they are what remains at unit roundoff 0, and are taken off.

use ndarray::{Array1, Array2, ArrayD, IxDyn};
use sadm_reference::bound::{self, Precision, Tracked};
use sadm_reference::denoise::{Weight, denoising_loss, weight};
use sadm_reference::distance::Distance;
use sadm_reference::forward::{posterior, transition};
use sadm_reference::nn::{self, Conv2dOptions};
use sadm_reference::optim::{AdamW, Moments};
use sadm_reference::parametrisation::{self, Level, NoiseCondition, Parametrisation, coefficients};
use sadm_reference::polarised::{Form, polarised_loss};
use sadm_reference::precondition::{self, Sigma};
use sadm_reference::relation::Relation;
use sadm_reference::sampler::{Previous, dpmpp_2m_step, edm_sigmas};
use sadm_reference::schedule::ScheduleKind;
use sadm_reference::structure::{Diagonal, StructureOptions, structural_loss};
use serde_json::Value;

const F64: Precision = Precision::F64;

/// The cases of a file, after checking that the file is what it says it is.
fn suite(text: &str, op: &str) -> Vec<Value> {
    let suite: Value = serde_json::from_str(text).expect("a JSON file");
    assert_eq!(suite["op"], op);
    let tests = suite["tests"].as_array().expect("tests").clone();
    assert_eq!(
        suite["numberOfTests"].as_u64(),
        Some(tests.len() as u64),
        "{op}: numberOfTests"
    );
    assert!(!tests.is_empty(), "{op} has no cases");
    for (k, test) in tests.iter().enumerate() {
        assert_eq!(
            test["tcId"].as_u64(),
            Some(k as u64 + 1),
            "{op}: ids count from 1"
        );
        for flag in test["flags"].as_array().expect("flags") {
            let flag = flag.as_str().expect("a name");
            assert!(
                suite["notes"][flag]["description"].is_string(),
                "{op}: flag {flag} is not explained"
            );
        }
    }
    tests
}

/// Reads `fixtures/$op.json` at compile time.
macro_rules! suite {
    ($op:literal) => {
        suite(include_str!(concat!("../../fixtures/", $op, ".json")), $op)
    };
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn count(value: &Value) -> usize {
    usize::try_from(value.as_u64().expect("a whole number")).expect("a size")
}

fn name(value: &Value) -> &str {
    value.as_str().expect("a name")
}

fn tensor(value: &Value) -> ArrayD<f64> {
    let shape: Vec<usize> = value["shape"]
        .as_array()
        .expect("shape")
        .iter()
        .map(count)
        .collect();
    let data = value["data"]
        .as_array()
        .expect("data")
        .iter()
        .map(number)
        .collect();
    ArrayD::from_shape_vec(shape, data).expect("data that fill the shape")
}

fn matrix(value: &Value) -> Array2<f64> {
    tensor(value).into_dimensionality().expect("a matrix")
}

fn vector(values: &[f64]) -> ArrayD<f64> {
    Array1::from(values.to_vec()).into_dyn()
}

fn scalar(value: f64) -> ArrayD<f64> {
    ArrayD::from_elem(IxDyn(&[]), value)
}

/// Requires |got − want| ≤ error + u|want|, elementwise, with a finite error.
fn check(what: &str, got: &ArrayD<f64>, error: &ArrayD<f64>, want: &ArrayD<f64>) {
    assert_eq!(got.shape(), want.shape(), "{what}: shape");
    assert_eq!(error.shape(), want.shape(), "{what}: shape of the bound");
    for ((at, &g), (&e, &w)) in got.indexed_iter().zip(error.iter().zip(want)) {
        let allowed = e + F64.unit * w.abs();
        assert!(
            allowed.is_finite(),
            "{what} at {at:?}: the bound promises nothing"
        );
        let off = (g - w).abs();
        assert!(
            off <= allowed,
            "{what} at {at:?}: {g:e} is {off:e} from {w:e}, allowed {allowed:e}"
        );
    }
}

/// Arithmetic without rounding: what a bound still charges for it is not the computation's own error.
const EXACT: Precision = Precision {
    unit: 0.0,
    tiny: 0.0,
    largest: f64::INFINITY,
};

/// Requires the reference's result to lie within an `f64` computation's error of the golden value; `bound` in [`F64`],
/// `still` in [`EXACT`].
fn keeps(what: &str, got: ArrayD<f64>, [bound, still]: [&Tracked; 2], want: &ArrayD<f64>) {
    let error = &bound.error - &still.error;
    check(what, &got, &error, want);
}

fn exact(value: &Value) -> Tracked {
    Tracked::exact(tensor(value))
}

#[test]
fn schedules_match() {
    for test in suite!("schedules") {
        let (input, output) = (&test["input"], &test["output"]);
        let kind: ScheduleKind = name(&input["schedule"]).parse().expect("a schedule");
        let (schedule, t) = (kind.schedule(), number(&input["t"]));
        let [bound, still] = [F64, EXACT]
            .map(|p| bound::schedule::levels(kind, &[t], p).expect("a time of the domain"));
        let mut parts = vec![
            ("alpha", schedule.alpha(t), [&bound.alpha, &still.alpha]),
            ("sigma", schedule.sigma(t), [&bound.sigma, &still.sigma]),
            ("lambda", schedule.lambda(t), [&bound.lambda, &still.lambda]),
        ];
        if kind != ScheduleKind::DDPM {
            parts.push((
                "lambda_grad",
                schedule.lambda_grad(t),
                [&bound.lambda_grad, &still.lambda_grad],
            ));
        }
        for (part, got, bounds) in parts {
            let what = format!("{} {part}", test["comment"]);
            keeps(
                &what,
                vector(&[got]),
                bounds,
                &vector(&[number(&output[part])]),
            );
        }
    }
}

/// σ²_{t|s} as a tracked number. Each schedule forms it without cancellation from a few factors: less than 48
/// roundings (cosine, the longest: two sines and a squared cosine of 8 each, and 8 products and quotients). For
/// `ddpm`, up to 1000 logarithms are summed: 1008, at a condition number of at most 1.
fn step_variance(kind: ScheduleKind, value: f64, p: Precision) -> Tracked {
    let units = if kind == ScheduleKind::DDPM {
        1008.0
    } else {
        48.0
    };
    Tracked {
        value: vector(&[value]),
        error: vector(&[units * p.unit * value]),
    }
}

#[test]
fn transitions_match() {
    for test in suite!("transition") {
        let (input, output) = (&test["input"], &test["output"]);
        let kind: ScheduleKind = name(&input["schedule"]).parse().expect("a schedule");
        let (schedule, s, t) = (kind.schedule(), number(&input["s"]), number(&input["t"]));
        let step = transition(schedule.as_ref(), s, t).expect("ordered times");
        let back = posterior(schedule.as_ref(), s, t).expect("ordered times");
        let bounds = |p| {
            let level = |t| bound::schedule::levels(kind, &[t], p).expect("a time of the domain");
            let (at_s, at_t) = (level(s), level(t));
            let scale = at_t.alpha.div(&at_s.alpha, p);
            let variance = step_variance(kind, step.sigma2_ts, p);
            let ratio = at_s.sigma.div(&at_t.sigma, p);
            let squared = ratio.mul(&ratio, p);
            let coef_x0 = at_s.alpha.mul(&variance.div(&at_t.sigma.square(p), p), p);
            let (coef_xt, var) = (scale.mul(&squared, p), variance.mul(&squared, p));
            [scale, variance, coef_xt, coef_x0, var]
        };
        let (bound, still) = (bounds(F64), bounds(EXACT));
        let parts = [
            ("alpha_ts", step.alpha_ts),
            ("sigma2_ts", step.sigma2_ts),
            ("posterior_coef_xt", back.coef_xt),
            ("posterior_coef_x0", back.coef_x0),
            ("posterior_var", back.var),
        ];
        for (k, (part, got)) in parts.into_iter().enumerate() {
            let what = format!("{} {part}", test["comment"]);
            keeps(
                &what,
                vector(&[got]),
                [&bound[k], &still[k]],
                &vector(&[number(&output[part])]),
            );
        }
    }
}

#[test]
fn parametrisations_match() {
    for test in suite!("parametrisation") {
        let (input, output) = (&test["input"], &test["output"]);
        let [alpha, sigma, data] = ["alpha", "sigma", "sigma_data"].map(|k| number(&input[k]));
        for kind in Parametrisation::ALL {
            let got = coefficients(kind, alpha, sigma, data).expect("positive levels");
            let [bound, still] = [F64, EXACT].map(|p| {
                bound::parametrisation::coefficients(kind, &[alpha], &[sigma], data, p)
                    .expect("positive levels")
            });
            let want = &output[kind.to_string()];
            for (part, got, bounds) in [
                ("skip", got.skip, [&bound.skip, &still.skip]),
                ("out", got.out, [&bound.out, &still.out]),
                ("input", got.input, [&bound.input, &still.input]),
                ("noise", got.noise, [&bound.noise, &still.noise]),
            ] {
                keeps(
                    &format!("{} {kind} {part}", test["comment"]),
                    vector(&[got]),
                    bounds,
                    &vector(&[number(&want[part])]),
                );
            }
        }
        let (x0, xt) = (number(&input["x0"]), number(&input["xt"]));
        let level = Level::new(alpha, sigma).expect("positive levels");
        let bounds = |p| {
            let [a, s, x, y] = [alpha, sigma, x0, xt].map(|v| Tracked::exact(scalar(v)));
            let eps = y.sub(&a.mul(&x, p), p).div(&s, p);
            let v = a.mul(&eps, p).sub(&s.mul(&x, p), p);
            let score = eps.div(&s, p).neg();
            [eps, v, score]
        };
        let (bound, still) = (bounds(F64), bounds(EXACT));
        let parts = [
            ("eps", parametrisation::eps_from_x0(xt, x0, level)),
            ("v", parametrisation::v_from_x0(xt, x0, level)),
            ("score", parametrisation::score_from_x0(xt, x0, level)),
        ];
        for (k, (part, got)) in parts.into_iter().enumerate() {
            let what = format!("{} {part}", test["comment"]);
            keeps(
                &what,
                scalar(got),
                [&bound[k], &still[k]],
                &scalar(number(&output["converted"][part])),
            );
        }
    }
}

#[test]
fn noise_conditions_match() {
    for test in suite!("noise-conditions") {
        let sigma = number(&test["input"]["sigma"]);
        for kind in NoiseCondition::ALL {
            let got = kind.at(Sigma::new(sigma).expect("positive"));
            let ratio = Tracked::exact(vector(&[sigma]));
            let [bound, still] = [F64, EXACT]
                .map(|p| bound::precondition::noise_condition(kind, &ratio, p).expect("positive"));
            let want = number(&test["output"][kind.to_string()]);
            let what = format!("{} {kind}", test["comment"]);
            keeps(&what, vector(&[got]), [&bound, &still], &vector(&[want]));
        }
    }
}

#[test]
fn preconditioning_matches() {
    for test in suite!("edm-precondition") {
        let (input, output) = (&test["input"], &test["output"]);
        let [sigma, data] =
            ["sigma", "sigma_data"].map(|k| Sigma::new(number(&input[k])).expect("positive"));
        let [bound, still] =
            [F64, EXACT].map(|p| bound::precondition::precondition(&[sigma], data, p));
        for (part, got, bounds) in [
            (
                "c_skip",
                precondition::c_skip(sigma, data),
                [&bound.c_skip, &still.c_skip],
            ),
            (
                "c_out",
                precondition::c_out(sigma, data),
                [&bound.c_out, &still.c_out],
            ),
            (
                "c_in",
                precondition::c_in(sigma, data),
                [&bound.c_in, &still.c_in],
            ),
            (
                "c_noise",
                precondition::c_noise(sigma),
                [&bound.c_noise, &still.c_noise],
            ),
            (
                "loss_weight",
                precondition::loss_weight(sigma, data),
                [&bound.loss_weight, &still.loss_weight],
            ),
        ] {
            if output[part].is_number() {
                keeps(
                    &format!("{} {part}", test["comment"]),
                    vector(&[got]),
                    bounds,
                    &vector(&[number(&output[part])]),
                );
            }
        }
    }
}

#[test]
fn noise_levels_match() {
    for test in suite!("edm-sigmas") {
        let input = &test["input"];
        let steps = count(&input["steps"]);
        let [rho, low, high] = ["rho", "sigma_min", "sigma_max"].map(|k| number(&input[k]));
        let got = edm_sigmas(steps, rho, low, high).expect("valid levels");
        let [bound, still] = [F64, EXACT]
            .map(|p| bound::sampler::sigmas(steps, rho, low, high, p).expect("valid levels"));
        keeps(
            name(&test["comment"]),
            vector(&got),
            [&bound, &still],
            &tensor(&test["output"]["sigmas"]),
        );
    }
}

#[test]
fn multistep_steps_match() {
    for test in suite!("dpmpp-2m") {
        let (input, output) = (&test["input"], &test["output"]);
        let [sigma_before, from, to] = ["before", "from", "to"].map(|k| number(&input[k]));
        let [z, now, before] = ["z", "denoised", "denoised_before"].map(|k| tensor(&input[k]));
        let exact = [&z, &now, &before].map(|x| Tracked::exact(x.clone()));
        let previous = Previous {
            denoised: &before,
            sigma: sigma_before,
        };
        for (part, previous, history) in [
            ("z", Some(previous), Some((&exact[2], sigma_before))),
            ("z_first", None, None),
        ] {
            let got = dpmpp_2m_step(&z, &now, previous, from, to).expect("descending levels");
            let [bound, still] = [F64, EXACT].map(|p| {
                bound::sampler::dpmpp_2m_step(&exact[0], &exact[1], history, [from, to], p)
            });
            keeps(
                &format!("{} {part}", name(&test["comment"])),
                got,
                [&bound, &still],
                &tensor(&output[part]),
            );
        }
    }
}

#[test]
fn weights_match() {
    for test in suite!("denoising-weights") {
        let (input, output) = (&test["input"], &test["output"]);
        let kind: ScheduleKind = name(&input["schedule"]).parse().expect("a schedule");
        let [t, gamma, sigma_data] = ["t", "gamma", "sigma_data"].map(|k| number(&input[k]));
        let bounds = |p| {
            let levels = bound::schedule::levels(kind, &[t], p).expect("a time of the domain");
            let constant = |v: f64| Tracked::exact(vector(&[v]));
            let snr = levels.alpha.div(&levels.sigma, p).square(p);
            let elbo = snr.mul(&levels.lambda_grad, p).scale(-0.5, p);
            let edm = constant(sigma_data).recip(p).square(p).add(&snr, p);
            // For min-snr: where γ is the smaller one the result is exact, elsewhere it is the SNR.
            [
                constant(1.0),
                snr.clone(),
                snr.add_scalar(1.0, p),
                snr,
                edm,
                elbo.clone(),
                elbo,
            ]
        };
        let (bound, still) = (bounds(F64), bounds(EXACT));
        let kinds = [
            ("constant", Weight::CONSTANT),
            ("snr", Weight::SNR),
            ("one-plus-snr", Weight::ONE_PLUS_SNR),
            ("min-snr", Weight::MIN_SNR.with(gamma)),
            ("edm", Weight::EDM),
            ("elbo", Weight::ELBO),
            ("elbo", Weight::SOFT_TRUNCATION),
        ];
        for (k, (part, weight_kind)) in kinds.into_iter().enumerate() {
            if output[part].is_number() {
                let got = weight(weight_kind, kind.schedule().as_ref(), t, sigma_data)
                    .expect("a finite weight");
                let what = format!("{} {weight_kind}", test["comment"]);
                keeps(
                    &what,
                    vector(&[got]),
                    [&bound[k], &still[k]],
                    &vector(&[number(&output[part])]),
                );
            }
        }
    }
}

#[test]
fn denoising_losses_match() {
    for test in suite!("denoising-loss") {
        let (input, output) = (&test["input"], &test["output"]);
        let (x_hat, x0) = (tensor(&input["x_hat"]), tensor(&input["x0"]));
        let w: Vec<f64> = tensor(&input["weight"]).iter().copied().collect();
        let got = denoising_loss(&x_hat, &x0, &w).expect("matching shapes");
        let [bound, still] = [F64, EXACT]
            .map(|p| bound::denoise::denoising_loss(&x_hat, &x0, &w, p).expect("matching shapes"));
        let what = name(&test["comment"]);
        keeps(
            what,
            scalar(got.loss),
            [&bound.loss, &still.loss],
            &scalar(number(&output["loss"])),
        );
        keeps(
            what,
            got.grad_prediction,
            [&bound.grad_prediction, &still.grad_prediction],
            &tensor(&output["grad_prediction"]),
        );
    }
}

fn options(input: &Value) -> StructureOptions {
    let relation: Relation = name(&input["relation"]).parse().expect("a relation");
    let relation = relation.with(number(&input["bandwidth"]));
    let distance: Distance = name(&input["distance"]).parse().expect("a distance");
    let distance = distance.with(number(&input["delta"]));
    let diagonal: Diagonal = name(&input["diagonal"]).parse().expect("a diagonal");
    StructureOptions {
        relation,
        distance,
        diagonal,
    }
}

#[test]
fn structural_losses_match() {
    for test in suite!("structural-loss") {
        let (input, output) = (&test["input"], &test["output"]);
        let (real, generated) = (matrix(&input["real"]), matrix(&input["generated"]));
        let eta: Vec<f64> = tensor(&input["eta"]).iter().copied().collect();
        let opts = options(input);
        let got = structural_loss(&real, &generated, &eta, &opts).expect("valid features");
        let [bound, still] = [F64, EXACT].map(|p| {
            bound::structure::structural_loss(&real, &generated, &eta, &opts, p)
                .expect("valid features")
        });
        for (part, got, bounds) in [
            (
                "grad_real",
                got.grad_real,
                [&bound.grad_real, &still.grad_real],
            ),
            (
                "grad_generated",
                got.grad_generated,
                [&bound.grad_generated, &still.grad_generated],
            ),
            (
                "affinity_real",
                got.affinity_real,
                [&bound.affinity_real, &still.affinity_real],
            ),
            (
                "affinity_generated",
                got.affinity_generated,
                [&bound.affinity_generated, &still.affinity_generated],
            ),
        ] {
            keeps(
                &format!("{} {part}", test["comment"]),
                got.into_dyn(),
                bounds,
                &tensor(&output[part]),
            );
        }
        keeps(
            name(&test["comment"]),
            scalar(got.loss),
            [&bound.loss, &still.loss],
            &scalar(number(&output["loss"])),
        );
    }
}

#[test]
fn polarised_losses_match() {
    let mut tried = 0;
    for test in suite!("structural-loss") {
        let (input, output) = (&test["input"], &test["output"]);
        let opts = options(input);
        if opts.relation.rows().is_none() || opts.distance != Distance::SQUARED {
            continue;
        }
        let (real, generated) = (matrix(&input["real"]), matrix(&input["generated"]));
        let eta: Vec<f64> = tensor(&input["eta"]).iter().copied().collect();
        for form in [Form::Batch, Form::Feature] {
            if form == Form::Feature && opts.diagonal == Diagonal::Exclude {
                continue;
            }
            tried += 1;
            let what = format!("{} {form:?}", test["comment"]);
            let got = polarised_loss(&real, &generated, &eta, &opts, form).expect("valid features");
            let [bound, still] = [F64, EXACT].map(|p| {
                bound::structure::polarised_loss(&real, &generated, &eta, &opts, form, p)
                    .expect("valid features")
            });
            keeps(
                &what,
                scalar(got.loss),
                [&bound.loss, &still.loss],
                &scalar(number(&output["loss"])),
            );
            keeps(
                &what,
                got.grad_real.into_dyn(),
                [&bound.grad_real, &still.grad_real],
                &tensor(&output["grad_real"]),
            );
            keeps(
                &what,
                got.grad_generated.into_dyn(),
                [&bound.grad_generated, &still.grad_generated],
                &tensor(&output["grad_generated"]),
            );
        }
    }
    assert!(tried >= 16, "only {tried} polarised cases");
}

#[test]
fn group_norms_match() {
    for test in suite!("group-norm") {
        let (input, output, what) = (&test["input"], &test["output"], name(&test["comment"]));
        let [x, gamma, beta, grad] = ["x", "gamma", "beta", "grad_out"].map(|k| exact(&input[k]));
        let (groups, eps) = (count(&input["groups"]), number(&input["eps"]));
        let got =
            nn::group_norm(&x.value, groups, &gamma.value, &beta.value, eps).expect("valid shapes");
        let [bound, still] = [F64, EXACT].map(|p| {
            bound::nn::group_norm(&x, groups, &gamma, &beta, eps, p).expect("valid shapes")
        });
        keeps(what, got, [&bound, &still], &tensor(&output["out"]));
        let got = nn::group_norm_vjp(&x.value, groups, &gamma.value, &grad.value, eps)
            .expect("valid shapes");
        let [bound, still] = [F64, EXACT].map(|p| {
            bound::nn::group_norm_vjp(&x, groups, &gamma, &grad, eps, p).expect("valid shapes")
        });
        keeps(
            what,
            got.x,
            [&bound.x, &still.x],
            &tensor(&output["grad_x"]),
        );
        keeps(
            what,
            got.gamma,
            [&bound.gamma, &still.gamma].map(|b| b.as_ref().expect("affine")),
            &tensor(&output["grad_gamma"]),
        );
        keeps(
            what,
            got.beta,
            [&bound.beta, &still.beta].map(|b| b.as_ref().expect("affine")),
            &tensor(&output["grad_beta"]),
        );
    }
}

#[test]
fn layer_norms_match() {
    for test in suite!("layer-norm") {
        let (input, output, what) = (&test["input"], &test["output"], name(&test["comment"]));
        let [x, gamma, beta, grad] = ["x", "gamma", "beta", "grad_out"].map(|k| exact(&input[k]));
        let eps = number(&input["eps"]);
        let got =
            nn::layer_norm(&x.value, Some((&gamma.value, &beta.value)), eps).expect("valid shapes");
        let [bound, still] = [F64, EXACT].map(|p| {
            bound::nn::layer_norm(&x, Some((&gamma, &beta)), eps, p).expect("valid shapes")
        });
        keeps(what, got, [&bound, &still], &tensor(&output["out"]));
        let got = nn::layer_norm_vjp(&x.value, Some(&gamma.value), &grad.value, eps)
            .expect("valid shapes");
        let [bound, still] = [F64, EXACT].map(|p| {
            bound::nn::layer_norm_vjp(&x, Some(&gamma), &grad, eps, p).expect("valid shapes")
        });
        let (grad_gamma, grad_beta) = got.affine.expect("affine");
        keeps(
            what,
            got.x,
            [&bound.x, &still.x],
            &tensor(&output["grad_x"]),
        );
        keeps(
            what,
            grad_gamma,
            [&bound.gamma, &still.gamma].map(|b| b.as_ref().expect("affine")),
            &tensor(&output["grad_gamma"]),
        );
        keeps(
            what,
            grad_beta,
            [&bound.beta, &still.beta].map(|b| b.as_ref().expect("affine")),
            &tensor(&output["grad_beta"]),
        );
    }
}

#[test]
fn silu_matches() {
    for test in suite!("silu") {
        let (input, output, what) = (&test["input"], &test["output"], name(&test["comment"]));
        let (x, grad) = (exact(&input["x"]), exact(&input["grad_out"]));
        keeps(
            what,
            nn::silu(&x.value),
            [F64, EXACT].map(|p| bound::nn::silu(&x, p)).each_ref(),
            &tensor(&output["out"]),
        );
        let got = nn::silu_vjp(&x.value, &grad.value).expect("valid shapes");
        let [bound, still] =
            [F64, EXACT].map(|p| bound::nn::silu_vjp(&x, &grad, p).expect("valid shapes"));
        keeps(what, got, [&bound, &still], &tensor(&output["grad_x"]));
    }
}

#[test]
fn gelu_matches() {
    for test in suite!("gelu") {
        let (input, output, what) = (&test["input"], &test["output"], name(&test["comment"]));
        let (x, grad) = (exact(&input["x"]), exact(&input["grad_out"]));
        keeps(
            what,
            nn::gelu(&x.value),
            [F64, EXACT].map(|p| bound::nn::gelu(&x, p)).each_ref(),
            &tensor(&output["out"]),
        );
        let got = nn::gelu_vjp(&x.value, &grad.value).expect("valid shapes");
        let [bound, still] =
            [F64, EXACT].map(|p| bound::nn::gelu_vjp(&x, &grad, p).expect("valid shapes"));
        keeps(what, got, [&bound, &still], &tensor(&output["grad_x"]));
    }
}

#[test]
fn attention_matches() {
    for test in suite!("attention") {
        let (input, output, what) = (&test["input"], &test["output"], name(&test["comment"]));
        let [q, k, v, grad] = ["q", "k", "v", "grad_out"].map(|name| exact(&input[name]));
        let got = nn::attention(&q.value, &k.value, &v.value).expect("valid shapes");
        let [bound, still] =
            [F64, EXACT].map(|p| bound::nn::attention(&q, &k, &v, p).expect("valid shapes"));
        keeps(what, got, [&bound, &still], &tensor(&output["out"]));
        let got =
            nn::attention_vjp(&q.value, &k.value, &v.value, &grad.value).expect("valid shapes");
        let [bound, still] = [F64, EXACT]
            .map(|p| bound::nn::attention_vjp(&q, &k, &v, &grad, p).expect("valid shapes"));
        keeps(
            what,
            got.q,
            [&bound.q, &still.q],
            &tensor(&output["grad_q"]),
        );
        keeps(
            what,
            got.k,
            [&bound.k, &still.k],
            &tensor(&output["grad_k"]),
        );
        keeps(
            what,
            got.v,
            [&bound.v, &still.v],
            &tensor(&output["grad_v"]),
        );
    }
}

#[test]
fn convolutions_match() {
    for test in suite!("conv2d") {
        let (input, output, what) = (&test["input"], &test["output"], name(&test["comment"]));
        let [x, w, b, grad] = ["x", "w", "b", "grad_out"].map(|k| exact(&input[k]));
        let options = Conv2dOptions {
            stride: count(&input["stride"]),
            padding: count(&input["padding"]),
        };
        let got = nn::conv2d(&x.value, &w.value, &b.value, options).expect("valid shapes");
        let [bound, still] =
            [F64, EXACT].map(|p| bound::nn::conv2d(&x, &w, &b, options, p).expect("valid shapes"));
        keeps(what, got, [&bound, &still], &tensor(&output["out"]));
        let got = nn::conv2d_vjp(&x.value, &w.value, &grad.value, options).expect("valid shapes");
        let [bound, still] = [F64, EXACT]
            .map(|p| bound::nn::conv2d_vjp(&x, &w, &grad, options, p).expect("valid shapes"));
        keeps(
            what,
            got.x,
            [&bound.x, &still.x],
            &tensor(&output["grad_x"]),
        );
        keeps(
            what,
            got.weight,
            [&bound.weight, &still.weight],
            &tensor(&output["grad_w"]),
        );
        keeps(
            what,
            got.bias,
            [&bound.bias, &still.bias],
            &tensor(&output["grad_b"]),
        );
    }
}

#[test]
fn adamw_matches() {
    for test in suite!("adamw") {
        let (input, what) = (&test["input"], name(&test["comment"]));
        let [lr, beta1, beta2, eps, weight_decay] =
            ["lr", "beta1", "beta2", "eps", "weight_decay"].map(|k| number(&input[k]));
        let adamw = AdamW {
            lr,
            beta1,
            beta2,
            eps,
            weight_decay,
        };
        let (mut theta, grads) = (tensor(&input["params"]), matrix(&input["grads"]));
        let mut state = Moments::zeros(theta.shape());
        let start = [&theta, &state.m, &state.v].map(|x| Tracked::exact(x.clone()));
        // Each precision carries its own errors from step to step.
        let mut chains = [(F64, start.clone()), (EXACT, start)];
        for (k, want) in test["output"]["steps"]
            .as_array()
            .expect("steps")
            .iter()
            .enumerate()
        {
            let grad = grads.row(k).to_owned().into_dyn();
            let steps = u32::try_from(k).expect("a few steps");
            for (p, chain) in &mut chains {
                let [t, m, v] = &*chain;
                let grad = Tracked::exact(grad.clone());
                let next = bound::optim::adamw_step(&adamw, t, &grad, [m, v], steps, *p)
                    .expect("valid shapes");
                *chain = [next.theta, next.m, next.v];
            }
            (theta, state) = adamw.step(&theta, &grad, &state).expect("valid shapes");
            let [(_, bound), (_, still)] = &chains;
            for (k, (part, got)) in [("params", &theta), ("m", &state.m), ("v", &state.v)]
                .into_iter()
                .enumerate()
            {
                let what = format!("{what} {part}");
                keeps(
                    &what,
                    got.clone(),
                    [&bound[k], &still[k]],
                    &tensor(&want[part]),
                );
            }
        }
    }
}

/// The comparison itself can fail: a golden value moved by a few thousand units in the last place is noticed.
#[test]
fn a_planted_change_is_noticed() {
    let test = &suite!("structural-loss")[0];
    let (real, generated) = (
        matrix(&test["input"]["real"]),
        matrix(&test["input"]["generated"]),
    );
    let [bound, still] = [F64, EXACT].map(|p| {
        bound::structure::structural_loss(&real, &generated, &[1.75], &options(&test["input"]), p)
            .expect("valid features")
    });
    let golden = number(&test["output"]["loss"]);
    let planted = golden * (1.0 + 4096.0 * F64.unit);
    let kept = |want: f64| {
        std::panic::catch_unwind(|| {
            keeps(
                "",
                bound.loss.value.clone(),
                [&bound.loss, &still.loss],
                &scalar(want),
            );
        })
        .is_ok()
    };
    assert!(kept(golden));
    assert!(!kept(planted));
    assert!(!kept(f64::NAN));
}

/// PyTorch's and Pillow's layers of the Inception network.
///
/// PyTorch computes in f64; the bound of an f64 computation is the allowance, doubled since the tool errs as well. torch-fidelity
/// rounds the ratio of sizes to f32, so a position errs by up to 2⁻²⁴ of the side, times the steepest slope of these images, 4, in
/// both directions; Pillow keeps rows in f32.
#[test]
fn layers_of_the_inception_network() {
    const SINGLE: f64 = 1.0 / 16_777_216.0;
    for test in suite!("inception-layers") {
        let input = &test["input"];
        let x = tensor(&input["x"]);
        let size = || (count(&input["height"]), count(&input["width"]));
        let window = || Conv2dOptions {
            stride: count(&input["stride"]),
            padding: count(&input["padding"]),
        };
        let layer = name(&input["layer"]);
        let interpolated = |rule| {
            let y = nn::interpolate(&x, rule, size()).expect("a fitting case");
            let bound = bound::nn::interpolate(&Tracked::exact(x.clone()), rule, size(), F64);
            (y, bound.expect("a fitting case").error)
        };
        let plain = |y: ArrayD<f64>| {
            let error = y.mapv(|_| 64.0 * f64::EPSILON * 4.0);
            (y, error)
        };
        let (got, error) = match layer {
            "batch-norm" => {
                let part = |part: &str| tensor(&input[part]);
                let (gamma, beta) = (part("gamma"), part("beta"));
                let (mean, variance) = (part("mean"), part("variance"));
                let eps = number(&input["eps"]);
                let y = nn::batch_norm(&x, [&gamma, &beta], [&mean, &variance], eps);
                plain(y.expect("a fitting case"))
            }
            "avg-pool" => plain(nn::avg_pool(&x, 3, window()).expect("a fitting case")),
            "max-pool" => plain(nn::max_pool(&x, 3, window()).expect("a fitting case")),
            "centres" => interpolated(nn::Interpolation::Centres),
            "corners" => interpolated(nn::Interpolation::Corners),
            "bicubic" => interpolated(nn::Interpolation::Bicubic),
            other => panic!("no layer {other}"),
        };
        let side = x.shape()[2].max(x.shape()[3]) as f64;
        let tool = match layer {
            "corners" => 2.0 * side * SINGLE * 4.0,
            "bicubic" => 8.0 * SINGLE * 4.0,
            _ => 0.0,
        };
        let want = tensor(&test["output"]["y"]);
        assert_eq!(got.shape(), want.shape(), "{layer}");
        for ((got, want), error) in got.iter().zip(&want).zip(&error) {
            let apart = (got - want).abs();
            assert!(
                apart <= 2.0 * error + tool,
                "{layer} {:?}: {got} for {want}",
                test["tcId"]
            );
        }
    }
}
