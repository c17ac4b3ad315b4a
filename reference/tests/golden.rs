//! The reference against golden vectors from neither of our implementations.
//!
//! `fixtures/*.json` hold each quantity evaluated from its definition by mpmath at 60 digits, gradients by central
//! differences of that, and rounded once to `f64` (`fixtures/README.md`). The tolerance is the running-error bound of
//! an `f64` computation, plus that one rounding: so these tests hold the bounds to account as well.
//!
//! A bound is centred on the reference's result, and grows by the distance of that from the bound's own evaluation.
//! A wrong reference would widen its own tolerance. That part, and the cost of evaluating the bound's centre in `f64`,
//! do not depend on the precision asked for: they are what remains at unit roundoff 0, and are taken off.

use std::collections::BTreeMap;

use ndarray::{Array1, Array2, ArrayD, IxDyn};
use sadm_reference::augment::SYM6;
use sadm_reference::bound::{self, Precision, Tracked};
use sadm_reference::denoise::{Weight, denoising_loss, discrete_elbo_weight, weight};
use sadm_reference::distance::Distance;
use sadm_reference::forward::{posterior, transition};
use sadm_reference::nn::{self, Conv2dOptions};
use sadm_reference::operation::{Inputs, Operation};
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

/// Arithmetic without rounding: what a bound still charges for it is not the computation's own error.
const EXACT: Precision = Precision {
    unit: 0.0,
    tiny: 0.0,
    largest: f64::INFINITY,
};

/// One golden case.
struct Case {
    what: String,
    input: Value,
    output: Value,
    /// The tensors of the input.
    tensors: BTreeMap<String, ArrayD<f64>>,
}

/// The cases of a file, after checking that the file is what it says it is.
fn suite(text: &str, op: &str) -> Vec<Case> {
    let suite: Value = serde_json::from_str(text).expect("a JSON file");
    assert_eq!(suite["op"], op);
    let tests = suite["tests"].as_array().expect("tests");
    assert_eq!(suite["numberOfTests"].as_u64(), Some(tests.len() as u64));
    assert!(!tests.is_empty(), "{op} has no cases");
    let case = |(k, test): (usize, &Value)| {
        assert_eq!(test["tcId"].as_u64(), Some(k as u64 + 1), "{op}");
        for flag in test["flags"].as_array().expect("flags") {
            let note = &suite["notes"][flag.as_str().expect("a name")];
            assert!(
                note["description"].is_string(),
                "{op}: {flag} is not explained"
            );
        }
        let input = test["input"].as_object().expect("inputs");
        let tensors = input.iter().filter(|(_, value)| value["shape"].is_array());
        Case {
            what: test["comment"].as_str().expect("a comment").to_owned(),
            input: test["input"].clone(),
            output: test["output"].clone(),
            tensors: tensors
                .map(|(name, value)| (name.clone(), tensor(value)))
                .collect(),
        }
    };
    tests.iter().enumerate().map(case).collect()
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

fn tensor(value: &Value) -> ArrayD<f64> {
    let list = |key: &str| value[key].as_array().expect("a list").iter();
    let size = |n: &Value| usize::try_from(n.as_u64().expect("a whole number")).expect("a size");
    let shape: Vec<usize> = list("shape").map(size).collect();
    let data = list("data").map(number).collect();
    ArrayD::from_shape_vec(shape, data).expect("data that fill the shape")
}

fn scalar(value: f64) -> ArrayD<f64> {
    ArrayD::from_elem(IxDyn(&[]), value)
}

impl Inputs for Case {
    fn tensor(&self, name: &str) -> Option<&ArrayD<f64>> {
        self.tensors.get(name)
    }
    fn number(&self, name: &str) -> Option<f64> {
        self.input[name].as_f64()
    }
    fn count(&self, name: &str) -> Option<usize> {
        usize::try_from(self.input[name].as_u64()?).ok()
    }
    fn indices(&self, _: &str) -> Option<Vec<u32>> {
        None
    }
}

impl Case {
    fn number(&self, name: &str) -> f64 {
        number(&self.input[name])
    }

    fn count(&self, name: &str) -> usize {
        Inputs::count(self, name).expect("a size")
    }

    fn name(&self, name: &str) -> &str {
        self.input[name].as_str().expect("a name")
    }

    fn schedule(&self) -> ScheduleKind {
        self.name("schedule").parse().expect("a schedule")
    }

    fn matrix(&self, name: &str) -> Array2<f64> {
        self.tensors[name]
            .clone()
            .into_dimensionality()
            .expect("a matrix")
    }

    fn list(&self, name: &str) -> Vec<f64> {
        self.tensors[name].iter().copied().collect()
    }

    /// [`keeps`] of the output `part`, whose bound is `of` the bounds.
    fn keeps<B>(&self, part: &str, got: ArrayD<f64>, bounds: &[B; 2], of: impl Fn(&B) -> &Tracked) {
        let want = &self.output[part];
        let want = if want.is_number() {
            scalar(number(want))
        } else {
            tensor(want)
        };
        let what = format!("{} {part}", self.what);
        keeps(&what, got, bounds.each_ref().map(of), &want);
    }

    fn keeps_number<B>(&self, part: &str, got: f64, bounds: &[B; 2], of: impl Fn(&B) -> &Tracked) {
        self.keeps(part, scalar(got), bounds, of);
    }
}

/// The bounds of an `f64` computation and of one without rounding.
fn both<B>(bound: impl Fn(Precision) -> B) -> [B; 2] {
    [F64, EXACT].map(bound)
}

/// Requires the reference's result to lie within an `f64` computation's error, and one rounding, of the golden value:
/// elementwise, with a finite error. `bound` in [`F64`], `still` in [`EXACT`].
fn keeps(what: &str, got: ArrayD<f64>, [bound, still]: [&Tracked; 2], want: &ArrayD<f64>) {
    assert_eq!(got.shape(), want.shape(), "{what}: shape");
    let error = &bound.error - &still.error;
    assert_eq!(error.len(), want.len(), "{what}: size of the bound");
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

#[test]
fn schedules_match() {
    for case in suite!("schedules") {
        let (kind, t) = (case.schedule(), case.number("t"));
        let schedule = kind.schedule();
        let levels =
            both(|p| bound::schedule::levels(kind, &[t], p).expect("a time of the domain"));
        case.keeps_number("alpha", schedule.alpha(t), &levels, |b| &b.alpha);
        case.keeps_number("sigma", schedule.sigma(t), &levels, |b| &b.sigma);
        case.keeps_number("lambda", schedule.lambda(t), &levels, |b| &b.lambda);
        case.keeps_number("lambda_grad", schedule.lambda_grad(t), &levels, |b| {
            &b.lambda_grad
        });
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
        value: Array1::from(vec![value]).into_dyn(),
        error: Array1::from(vec![units * p.unit * value]).into_dyn(),
    }
}

#[test]
fn transitions_match() {
    for case in suite!("transition") {
        let (kind, s, t) = (case.schedule(), case.number("s"), case.number("t"));
        let schedule = kind.schedule();
        let step = transition(schedule.as_ref(), s, t).expect("ordered times");
        let back = posterior(schedule.as_ref(), s, t).expect("ordered times");
        let elbo = discrete_elbo_weight(schedule.as_ref(), s, t).expect("a finite weight");
        let bounds = both(|p| {
            let level = |t| bound::schedule::levels(kind, &[t], p).expect("a time of the domain");
            let (at_s, at_t) = (level(s), level(t));
            let scale = at_t.alpha.div(&at_s.alpha, p);
            let variance = step_variance(kind, step.sigma2_ts, p);
            let ratio = at_s.sigma.div(&at_t.sigma, p);
            let squared = ratio.mul(&ratio, p);
            let drop = variance.div(&at_t.sigma.square(p), p);
            let coef_x0 = at_s.alpha.mul(&drop, p);
            let snr = at_s.alpha.div(&at_s.sigma, p).square(p);
            let (coef_xt, var) = (scale.mul(&squared, p), variance.mul(&squared, p));
            let elbo = snr.mul(&drop, p).scale(0.5, p);
            [scale, variance, coef_xt, coef_x0, var, elbo]
        });
        let parts = [
            ("alpha_ts", step.alpha_ts),
            ("sigma2_ts", step.sigma2_ts),
            ("posterior_coef_xt", back.coef_xt),
            ("posterior_coef_x0", back.coef_x0),
            ("posterior_var", back.var),
            ("discrete_elbo", elbo),
        ];
        for (k, (part, got)) in parts.into_iter().enumerate() {
            case.keeps_number(part, got, &bounds, |b| &b[k]);
        }
    }
}

#[test]
fn parametrisations_match() {
    for case in suite!("parametrisation") {
        let [alpha, sigma, data] = ["alpha", "sigma", "sigma_data"].map(|k| case.number(k));
        for kind in Parametrisation::ALL {
            let got = coefficients(kind, alpha, sigma, data).expect("positive levels");
            let bounds = both(|p| {
                bound::parametrisation::coefficients(kind, &[alpha], &[sigma], data, p)
                    .expect("positive levels")
            });
            let case = case.nested(&kind.to_string());
            case.keeps_number("skip", got.skip, &bounds, |b| &b.skip);
            case.keeps_number("out", got.out, &bounds, |b| &b.out);
            case.keeps_number("input", got.input, &bounds, |b| &b.input);
            case.keeps_number("noise", got.noise, &bounds, |b| &b.noise);
        }
        let (x0, xt) = (case.number("x0"), case.number("xt"));
        let level = Level::new(alpha, sigma).expect("positive levels");
        let bounds = both(|p| {
            let [a, s, x, y] = [alpha, sigma, x0, xt].map(|v| Tracked::exact(scalar(v)));
            let eps = y.sub(&a.mul(&x, p), p).div(&s, p);
            let v = a.mul(&eps, p).sub(&s.mul(&x, p), p);
            let score = eps.div(&s, p).neg();
            [eps, v, score]
        });
        let case = case.nested("converted");
        case.keeps_number(
            "eps",
            parametrisation::eps_from_x0(xt, x0, level),
            &bounds,
            |b| &b[0],
        );
        case.keeps_number(
            "v",
            parametrisation::v_from_x0(xt, x0, level),
            &bounds,
            |b| &b[1],
        );
        let score = parametrisation::score_from_x0(xt, x0, level);
        case.keeps_number("score", score, &bounds, |b| &b[2]);
    }
}

impl Case {
    /// The case of one part of the output.
    fn nested(&self, part: &str) -> Self {
        Self {
            what: format!("{} {part}", self.what),
            input: self.input.clone(),
            output: self.output[part].clone(),
            tensors: self.tensors.clone(),
        }
    }
}

#[test]
fn noise_conditions_match() {
    for case in suite!("noise-conditions") {
        let sigma = case.number("sigma");
        for kind in NoiseCondition::ALL {
            let got = kind.at(Sigma::new(sigma).expect("positive"));
            let ratio = Tracked::exact(scalar(sigma).insert_axis(ndarray::Axis(0)));
            let bounds =
                both(|p| bound::precondition::noise_condition(kind, &ratio, p).expect("positive"));
            case.keeps_number(&kind.to_string(), got, &bounds, |b| b);
        }
    }
}

#[test]
fn preconditioning_matches() {
    for case in suite!("edm-precondition") {
        let [sigma, data] =
            ["sigma", "sigma_data"].map(|k| Sigma::new(case.number(k)).expect("positive"));
        let bounds = both(|p| bound::precondition::precondition(&[sigma], data, p));
        case.keeps_number("c_skip", precondition::c_skip(sigma, data), &bounds, |b| {
            &b.c_skip
        });
        case.keeps_number("c_out", precondition::c_out(sigma, data), &bounds, |b| {
            &b.c_out
        });
        case.keeps_number("c_in", precondition::c_in(sigma, data), &bounds, |b| {
            &b.c_in
        });
        case.keeps_number("c_noise", precondition::c_noise(sigma), &bounds, |b| {
            &b.c_noise
        });
        // It over- or underflows at the ends, where the coefficients do not.
        if case.output["loss_weight"].is_number() {
            let weight = precondition::loss_weight(sigma, data);
            case.keeps_number("loss_weight", weight, &bounds, |b| &b.loss_weight);
        }
    }
}

#[test]
fn noise_levels_match() {
    for case in suite!("edm-sigmas") {
        let steps = case.count("steps");
        let [rho, low, high] = ["rho", "sigma_min", "sigma_max"].map(|k| case.number(k));
        let got = edm_sigmas(steps, rho, low, high).expect("valid levels");
        let bounds =
            both(|p| bound::sampler::sigmas(steps, rho, low, high, p).expect("valid levels"));
        case.keeps("sigmas", Array1::from(got).into_dyn(), &bounds, |b| b);
    }
}

/// The taps are those of the definition, rounded once to single precision.
#[test]
fn the_filter_of_augmentation_matches() {
    for case in suite!("sym6") {
        let want = tensor(&case.output["h"]);
        assert_eq!(want.len(), case.count("taps"));
        #[expect(clippy::cast_possible_truncation, reason = "the rounding is meant")]
        let want: Vec<u32> = want.iter().map(|h| (*h as f32).to_bits()).collect();
        assert_eq!(SYM6.map(f32::to_bits).to_vec(), want);
    }
}

#[test]
fn multistep_steps_match() {
    for case in suite!("dpmpp-2m") {
        let [sigma_before, from, to] = ["before", "from", "to"].map(|k| case.number(k));
        let [z, now, before] = ["z", "denoised", "denoised_before"].map(|k| &case.tensors[k]);
        let exact = [z, now, before].map(|x| Tracked::exact(x.clone()));
        let previous = Previous {
            denoised: before,
            sigma: sigma_before,
        };
        for (part, previous, history) in [
            ("z", Some(previous), Some((&exact[2], sigma_before))),
            ("z_first", None, None),
        ] {
            let got = dpmpp_2m_step(z, now, previous, from, to).expect("descending levels");
            let bounds = both(|p| {
                bound::sampler::dpmpp_2m_step(&exact[0], &exact[1], history, [from, to], p)
            });
            case.keeps(part, got, &bounds, |b| b);
        }
    }
}

#[test]
fn weights_match() {
    for case in suite!("denoising-weights") {
        let kind = case.schedule();
        let [t, gamma, sigma_data] = ["t", "gamma", "sigma_data"].map(|k| case.number(k));
        let bounds = both(|p| {
            let levels = bound::schedule::levels(kind, &[t], p).expect("a time of the domain");
            let constant = |v: f64| Tracked::exact(Array1::from(vec![v]).into_dyn());
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
        });
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
            let schedule = kind.schedule();
            let got = weight(weight_kind, schedule.as_ref(), t, sigma_data);
            let got = got.expect("a finite weight");
            case.keeps_number(part, got, &bounds, |b| &b[k]);
        }
    }
}

#[test]
fn denoising_losses_match() {
    for case in suite!("denoising-loss") {
        let (x_hat, x0, w) = (
            &case.tensors["x_hat"],
            &case.tensors["x0"],
            case.list("weight"),
        );
        let got = denoising_loss(x_hat, x0, &w).expect("matching shapes");
        let bounds =
            both(|p| bound::denoise::denoising_loss(x_hat, x0, &w, p).expect("matching shapes"));
        case.keeps_number("loss", got.loss, &bounds, |b| &b.loss);
        case.keeps("grad_prediction", got.grad_prediction, &bounds, |b| {
            &b.grad_prediction
        });
    }
}

impl Case {
    fn options(&self) -> StructureOptions {
        let relation: Relation = self.name("relation").parse().expect("a relation");
        let distance: Distance = self.name("distance").parse().expect("a distance");
        StructureOptions {
            relation: relation.with(self.number("bandwidth")),
            distance: distance.with(self.number("delta")),
            diagonal: self.name("diagonal").parse().expect("a diagonal"),
        }
    }
}

#[test]
fn structural_losses_match() {
    for case in suite!("structural-loss") {
        let (real, generated) = (case.matrix("real"), case.matrix("generated"));
        let (eta, opts) = (case.list("eta"), case.options());
        let got = structural_loss(&real, &generated, &eta, &opts).expect("valid features");
        let bounds = both(|p| {
            bound::structure::structural_loss(&real, &generated, &eta, &opts, p)
                .expect("valid features")
        });
        let affinities = [got.affinity_real, got.affinity_generated].map(Array2::into_dyn);
        let [affinity_real, affinity_generated] = affinities;
        case.keeps_number("loss", got.loss, &bounds, |b| &b.loss);
        case.keeps("grad_real", got.grad_real.into_dyn(), &bounds, |b| {
            &b.grad_real
        });
        let grad_generated = got.grad_generated.into_dyn();
        case.keeps("grad_generated", grad_generated, &bounds, |b| {
            &b.grad_generated
        });
        case.keeps("affinity_real", affinity_real, &bounds, |b| {
            &b.affinity_real
        });
        case.keeps("affinity_generated", affinity_generated, &bounds, |b| {
            &b.affinity_generated
        });
    }
}

#[test]
fn polarised_losses_match() {
    let mut tried = 0;
    for case in suite!("structural-loss") {
        let opts = case.options();
        if opts.relation.rows().is_none() || opts.distance != Distance::SQUARED {
            continue;
        }
        let (real, generated) = (case.matrix("real"), case.matrix("generated"));
        let eta = case.list("eta");
        for form in [Form::Batch, Form::Feature] {
            if form == Form::Feature && opts.diagonal == Diagonal::Exclude {
                continue;
            }
            tried += 1;
            let got = polarised_loss(&real, &generated, &eta, &opts, form).expect("valid features");
            let bounds = both(|p| {
                bound::structure::polarised_loss(&real, &generated, &eta, &opts, form, p)
                    .expect("valid features")
            });
            case.keeps_number("loss", got.loss, &bounds, |b| &b.loss);
            case.keeps("grad_real", got.grad_real.into_dyn(), &bounds, |b| {
                &b.grad_real
            });
            let grad_generated = got.grad_generated.into_dyn();
            case.keeps("grad_generated", grad_generated, &bounds, |b| {
                &b.grad_generated
            });
        }
    }
    assert!(tried >= 16, "only {tried} polarised cases");
}

/// Value and every gradient of the layers in the registry that have a file.
#[test]
fn layers_match() {
    for (cases, name) in [
        (suite!("group-norm"), "group-norm"),
        (suite!("layer-norm"), "layer-norm-affine"),
        (suite!("silu"), "silu"),
        (suite!("gelu"), "gelu"),
        (suite!("attention"), "attention"),
        (suite!("conv2d"), "conv2d"),
    ] {
        let operation = Operation::find(name).expect("a name of the registry");
        for case in cases {
            let got = operation.value(&case).expect("valid shapes");
            let bounds = both(|p| operation.bound(&case, p).expect("valid shapes"));
            assert_eq!(
                got.len(),
                case.output.as_object().map_or(0, serde_json::Map::len)
            );
            for (k, (part, got)) in got.into_iter().enumerate() {
                case.keeps(&part, got, &bounds, |b| &b[k].1);
            }
        }
    }
}

#[test]
fn adamw_matches() {
    for case in suite!("adamw") {
        let [lr, beta1, beta2, eps, weight_decay] =
            ["lr", "beta1", "beta2", "eps", "weight_decay"].map(|k| case.number(k));
        let adamw = AdamW {
            lr,
            beta1,
            beta2,
            eps,
            weight_decay,
        };
        let (mut theta, grads) = (case.tensors["params"].clone(), case.matrix("grads"));
        let mut state = Moments::zeros(theta.shape());
        let start = [&theta, &state.m, &state.v].map(|x| Tracked::exact(x.clone()));
        // Each precision carries its own errors from step to step.
        let mut chains = [start.clone(), start];
        let wanted = case.output["steps"].as_array().expect("steps");
        for (steps, (want, grad)) in (0..).zip(wanted.iter().zip(grads.rows())) {
            let grad = grad.to_owned().into_dyn();
            for (p, chain) in [F64, EXACT].into_iter().zip(&mut chains) {
                let [t, m, v] = &*chain;
                let grad = Tracked::exact(grad.clone());
                let next = bound::optim::adamw_step(&adamw, t, &grad, [m, v], steps, p)
                    .expect("valid shapes");
                *chain = [next.theta, next.m, next.v];
            }
            (theta, state) = adamw.step(&theta, &grad, &state).expect("valid shapes");
            let parts = [("params", &theta), ("m", &state.m), ("v", &state.v)];
            for (k, (part, got)) in parts.into_iter().enumerate() {
                let what = format!("{} {part}", case.what);
                let bounds = chains.each_ref().map(|chain| &chain[k]);
                keeps(&what, got.clone(), bounds, &tensor(&want[part]));
            }
        }
    }
}

/// The comparison itself can fail: a golden value moved by a few thousand units in the last place is noticed.
#[test]
fn a_planted_change_is_noticed() {
    let case = &suite!("structural-loss")[0];
    let (real, generated) = (case.matrix("real"), case.matrix("generated"));
    let [bound, still] = both(|p| {
        bound::structure::structural_loss(&real, &generated, &[1.75], &case.options(), p)
            .expect("valid features")
    });
    let golden = number(&case.output["loss"]);
    let planted = golden * (1.0 + 4096.0 * F64.unit);
    let kept = |want: f64| {
        let got = bound.loss.value.clone();
        let bounds = [&bound.loss, &still.loss];
        std::panic::catch_unwind(|| keeps("", got, bounds, &scalar(want))).is_ok()
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
    for case in suite!("inception-layers") {
        let x = case.tensors["x"].clone();
        let size = || (case.count("height"), case.count("width"));
        let window = || Conv2dOptions {
            stride: case.count("stride"),
            padding: case.count("padding"),
        };
        let layer = case.name("layer");
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
                let part = |part: &str| &case.tensors[part];
                let (affine, moments) = (
                    [part("gamma"), part("beta")],
                    [part("mean"), part("variance")],
                );
                let y = nn::batch_norm(&x, affine, moments, case.number("eps"));
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
        let want = tensor(&case.output["y"]);
        assert_eq!(got.shape(), want.shape(), "{layer}");
        for ((got, want), error) in got.iter().zip(&want).zip(&error) {
            let apart = (got - want).abs();
            assert!(
                apart <= 2.0 * error + tool,
                "{}: {got} for {want}",
                case.what
            );
        }
    }
}
