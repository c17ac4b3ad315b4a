//! Gaussian diffusion with learned variances as published: tables, respacing, losses, samplers, bits.

use std::path::Path;

use candle_core::{DType, Tensor, Var};
use ndarray::{ArrayD, Axis, concatenate};
use sadm_gpu::gaussian::{self as gpu, Betas, GaussianDiffusion, GaussianObjective, StepNoise};
use sadm_gpu::network::{self, Mode};
use sadm_reference::bound::{self, Precision};
use sadm_reference::gaussian::{self as exact, Diffusion, Objective, Variance};
use sadm_reference::network::Condition;
use serde_json::Value;

use super::{
    Arrays, OUTPUT, array, candle, close, folders, json, labels, networks, numbers, reference,
    tensor, tensors, within,
};

/// A process on both sides.
struct Process {
    exact: Diffusion,
    gpu: GaussianDiffusion,
}

impl Process {
    fn new(betas: Betas, steps: usize, respacing: &str, learnt: bool) -> Self {
        let all = match betas {
            Betas::Linear => exact::linear_betas(steps),
            Betas::Cosine => exact::cosine_betas(steps),
        };
        let kept = exact::respaced_steps(steps, respacing).expect("steps");
        let (ours, theirs) = if learnt {
            (Variance::LearnedRange, gpu::Variance::LearnedRange)
        } else {
            (Variance::FixedLarge, gpu::Variance::FixedLarge)
        };
        Self {
            exact: Diffusion::new(&all, &kept, ours).expect("a process"),
            gpu: GaussianDiffusion::new(betas, steps, respacing, theirs).expect("a process"),
        }
    }

    fn of(settings: &Value) -> Self {
        let flag = |key: &str, otherwise| settings[key].as_bool().unwrap_or(otherwise);
        let betas = match settings["noise_schedule"].as_str() {
            None | Some("linear") => Betas::Linear,
            Some("squaredcos_cap_v2") => Betas::Cosine,
            Some(other) => panic!("no schedule {other}"),
        };
        let steps = settings["diffusion_steps"].as_u64().unwrap_or(1000);
        let steps = usize::try_from(steps).expect("a number of steps");
        let respacing = settings["timestep_respacing"].as_str().unwrap_or_default();
        Self::new(betas, steps, respacing, flag("learn_sigma", true))
    }
}

fn steps(t: &ArrayD<f64>) -> Vec<usize> {
    labels(t).into_iter().map(|t| t as usize).collect()
}

fn table(values: &[f64]) -> ArrayD<f64> {
    ndarray::arr1(values).into_dyn()
}

fn each(path: &Path) -> Vec<(String, Value)> {
    let listed = json(path);
    let listed = listed.as_object().expect("an object").clone();
    listed.into_iter().collect()
}

#[test]
fn losses_and_their_gradients_are_the_published_ones() {
    let mut variants = 0;
    for folder in folders("dit") {
        let all = tensors(&folder.join("losses.safetensors"));
        for (name, about) in each(&folder.join("losses.json")) {
            variants += 1;
            let settings = &about["create_diffusion"];
            let process = Process::of(settings);
            let of = |key: &str| &all[&format!("{name}.{key}")];
            let (x0, noise, output) = (of("x_start"), of("noise"), of("model_output"));
            let (t, probe) = (steps(of("t")), of("probe"));
            let is = |key: &str| settings[key].as_bool() == Some(true);
            let (ours, theirs) = if is("use_kl") {
                (Objective::Bound, GaussianObjective::Bound)
            } else if is("rescale_learned_sigmas") {
                (Objective::RescaledNoise, GaussianObjective::RescaledNoise)
            } else {
                (Objective::Noise, GaussianObjective::Noise)
            };
            let got = exact::training_loss(
                &process.exact,
                ours,
                output,
                (x0, noise),
                &t,
                &numbers(probe),
            );
            let got = got.expect("it fits");
            let x_t = process.exact.noised(x0, &t, noise).expect("it fits");
            close(&format!("{name}: x_t"), &x_t, of("x_t"), OUTPUT);
            let told: Vec<f64> = t.iter().map(|&t| process.exact.steps[t] as f64).collect();
            assert_eq!(told, numbers(of("model_timesteps")), "{name}");
            assert_eq!(process.gpu.told(&t), told, "{name}");

            let var = Var::from_tensor(&tensor(output)).expect("a variable");
            let (x, z) = (tensor(x0), tensor(noise));
            let fast =
                gpu::training_losses(&process.gpu, theirs, &var, (&x, &z), &t).expect("fits");
            let sum = (&fast.loss * tensor(probe))
                .and_then(|l| l.sum_all())
                .expect("a sum");
            let grads = sum.backward().expect("a gradient");
            let grad = array(grads.get(&var).expect("a gradient of the output"));

            for (what, ours, theirs) in [
                ("loss", Some(&got.terms.loss), Some(&fast.loss)),
                ("mse", got.terms.mse.as_ref(), fast.mse.as_ref()),
                ("vb", got.terms.vb.as_ref(), fast.vb.as_ref()),
            ] {
                let Some(want) = all.get(&format!("{name}.{what}")) else {
                    assert!(ours.is_none() && theirs.is_none(), "{name}: {what}");
                    continue;
                };
                let ours = table(ours.expect("the reference has it"));
                close(&format!("{name}: reference, {what}"), &ours, want, OUTPUT);
                let theirs = array(theirs.expect("candle has it"));
                close(&format!("{name}: candle, {what}"), &theirs, want, OUTPUT);
            }
            let want = of("grad.model_output");
            close(
                &format!("{name}: reference, gradient"),
                &got.output,
                want,
                1e-8,
            );
            close(&format!("{name}: candle, gradient"), &grad, want, 1e-8);

            if ours == Objective::Noise && process.exact.variance == Variance::LearnedRange {
                variances_alone(&name, &process, output, (x0, &x_t), &t, of("vb"));
            }
            predictions(&name, &process, &all, (output, &x_t), &t);
        }
    }
    assert!(variants >= 4, "{variants} variants");
}

/// Mean, variance and clean image of a step backwards.
fn predictions(
    name: &str,
    process: &Process,
    all: &Arrays,
    (output, x_t): (&ArrayD<f64>, &ArrayD<f64>),
    t: &[usize],
) {
    let of = |key: &str| &all[&format!("{name}.{key}")];
    for clip in [false, true] {
        let way = if clip { "clip" } else { "noclip" };
        let Some(mean) = all.get(&format!("{name}.p.{way}.mean")) else {
            continue;
        };
        let ours = exact::predict(&process.exact, output, x_t, t, clip).expect("fits");
        let theirs = process.gpu.predict(&tensor(output), &tensor(x_t), t, clip);
        let theirs = theirs.expect("fits");
        for (what, want, ours, theirs) in [
            ("mean", mean, &ours.mean, &theirs.mean),
            (
                "log variance",
                of(&format!("p.{way}.log_variance")),
                &ours.log_variance,
                &theirs.log_variance,
            ),
            (
                "x0",
                of(&format!("p.{way}.pred_xstart")),
                &ours.x0,
                &theirs.x0,
            ),
        ] {
            close(
                &format!("{name}: reference, {way} {what}"),
                ours,
                want,
                OUTPUT,
            );
            close(
                &format!("{name}: candle, {way} {what}"),
                &array(theirs),
                want,
                OUTPUT,
            );
        }
    }
}

/// The term that a run adds: the published one, summed over the elements of a sample and meant over the batch; and its bound holds for f32.
fn variances_alone(
    name: &str,
    process: &Process,
    output: &ArrayD<f64>,
    (x0, x_t): (&ArrayD<f64>, &ArrayD<f64>),
    t: &[usize],
    vb: &ArrayD<f64>,
) {
    let channels = x0.shape()[1];
    let (eps, v) = output.view().split_at(Axis(1), channels);
    let (eps, v) = (eps.to_owned(), v.to_owned());
    let each = (x0.len() / t.len()) as f64;
    let want = table(&[vb.sum() / t.len() as f64 * each]);
    let ours = exact::variance_loss(&process.exact, (&eps, &v), (x0, x_t), t).expect("fits");
    close(
        &format!("{name}: variances"),
        &table(&[ours.loss]),
        &want,
        OUTPUT,
    );
    let bound =
        bound::gaussian::variance_loss(&process.exact, (&eps, &v), (x0, x_t), t, Precision::F32);
    let bound = bound.expect("fits");
    for dtype in [DType::F64, DType::F32] {
        let to = |x: &ArrayD<f64>| tensor(x).to_dtype(dtype).expect("a tensor");
        let (eps, v) = (to(&eps), Var::from_tensor(&to(&v)).expect("a variable"));
        let fast = gpu::variance_loss(&process.gpu, (&eps, &v), (&to(x0), &to(x_t)), t);
        let fast = fast.expect("fits");
        let grads = fast.backward().expect("a gradient");
        let grad = array(grads.get(&v).expect("a gradient"));
        if dtype == DType::F64 {
            close(
                &format!("{name}: variances, candle"),
                &array(&fast),
                &want.index_axis(Axis(0), 0).to_owned(),
                OUTPUT,
            );
            close(
                &format!("{name}: gradient of variances"),
                &grad,
                &ours.grad,
                1e-8,
            );
        } else {
            let finite = bound.grad.error.iter().filter(|e| e.is_finite()).count();
            assert!(
                finite * 10 > grad.len() * 8,
                "{name}: the bound says nothing"
            );
            let apart = (&grad - &bound.grad.value).mapv(f64::abs);
            let size = bound.grad.value.mapv(f64::abs).sum();
            assert!(
                apart.sum() < 1e-2 * size,
                "{name}: {} of {size}",
                apart.sum()
            );
        }
    }
}

#[test]
fn tables_and_respacing_are_the_published_ones() {
    let mut compared = 0;
    for folder in folders("dit") {
        let all = tensors(&folder.join("schedules.safetensors"));
        let listed = json(&folder.join("respacing.json"));
        let whole = |value: &Value| -> Vec<usize> {
            let numbers = value.as_array().expect("a list").iter();
            numbers
                .map(|n| usize::try_from(n.as_u64().expect("a step")).expect("a step"))
                .collect()
        };
        for (name, about) in listed.as_object().expect("an object") {
            let Some(respacing) = about["respacing"].as_str() else {
                continue;
            };
            compared += 1;
            let count =
                usize::try_from(about["diffusion_steps"].as_u64().expect("steps")).expect("steps");
            let process = Process::new(Betas::Linear, count, respacing, true);
            let (d, fast) = (&process.exact, &process.gpu);
            let at: Vec<usize> = match about["timestep_map"].as_array() {
                Some(_) => {
                    let map = whole(&about["timestep_map"]);
                    assert_eq!(d.steps, map, "{name}");
                    assert_eq!(fast.numbers(), map, "{name}");
                    (0..map.len()).collect()
                }
                None => whole(&listed[&format!("{name} indices")]),
            };
            let pick = |table: &[f64]| at.iter().map(|&i| table[i]).collect::<Vec<f64>>();
            let make = |f: &dyn Fn(usize) -> f64| at.iter().map(|&i| f(i)).collect::<Vec<f64>>();
            for (key, ours, theirs) in [
                ("betas", pick(&d.betas), pick(fast.betas())),
                (
                    "alphas_cumprod",
                    pick(&d.alphas_bar),
                    pick(fast.alphas_bar()),
                ),
                (
                    "posterior_variance",
                    pick(&d.posterior_variance),
                    make(&|t| fast.posterior_variance(t)),
                ),
                (
                    "posterior_log_variance_clipped",
                    pick(&d.posterior_log_variance),
                    make(&|t| fast.posterior_log_variance(t)),
                ),
                (
                    "posterior_mean_coef1",
                    pick(&d.of_x0),
                    make(&|t| fast.posterior_factors(t)[0]),
                ),
                (
                    "posterior_mean_coef2",
                    pick(&d.of_x_t),
                    make(&|t| fast.posterior_factors(t)[1]),
                ),
            ] {
                let want = &all[&format!("{name}.{key}")];
                for (side, got) in [("reference", ours), ("candle", theirs)] {
                    for (got, want) in got.iter().zip(want) {
                        let error = (got - want).abs();
                        assert!(
                            error <= 1e-11 * want.abs(),
                            "{name}, {side}: {key} {got}, not {want}"
                        );
                    }
                    assert_eq!(got.len(), want.len(), "{name}: {key}");
                }
            }
        }
        if let Some(want) = all.get("cosine-T1000.betas") {
            let at = whole(&listed["cosine-T1000.betas indices"]);
            for (side, betas) in [
                ("reference", exact::cosine_betas(1000)),
                ("candle", Betas::Cosine.of(1000)),
            ] {
                let got: Vec<f64> = at.iter().map(|&i| betas[i]).collect();
                within(&format!("cosine, {side}"), &table(&got), want, 1e-13);
            }
        }
    }
    assert!(compared >= 2, "{compared} respacings");
    for text in ["ddim3000", "ddim999", "1001", "2,x", "10,2000", "ddim"] {
        assert!(exact::respaced_steps(1000, text).is_err(), "{text}");
        assert!(gpu::respaced_steps(1000, text).is_err(), "{text}");
    }
    let one = GaussianDiffusion::new(Betas::Linear, 1000, "1", gpu::Variance::LearnedRange);
    assert!(one.is_err());
}

/// Entry i of the first axis.
fn entry(x: &ArrayD<f64>, i: usize) -> ArrayD<f64> {
    x.index_axis(Axis(0), i).to_owned()
}

/// Candle's network of the file, told steps and classes.
fn asked(built: &dyn network::Network, x: &Tensor, t: &[f64], y: &[u32]) -> Tensor {
    let at = network::Condition::new(t, Some(y));
    built.forward(x, &at, Mode::Evaluate).expect("it fits")
}

/// A trajectory of the file.
struct Run<'a> {
    name: &'a str,
    all: &'a Arrays,
    process: Process,
    clip: bool,
    eta: Option<f64>,
    scale: Option<f64>,
    y: Vec<u32>,
}

impl Run<'_> {
    fn of(&self, key: &str) -> &ArrayD<f64> {
        &self.all[&format!("{}.{key}", self.name)]
    }

    /// By the reference. The published code guides three channels; the first half of what goes in is the state of both.
    fn exactly(&self, network: &super::Network) {
        let built = reference("dit", network);
        let (d, y) = (&self.process.exact, &self.y);
        let doubled = |x: &ArrayD<f64>| {
            let half = x.slice_axis(Axis(0), (0..x.len_of(Axis(0)) / 2).into());
            concatenate![Axis(0), half, half]
        };
        let mut x = self.of("x_T").clone();
        for call in 0..d.len() {
            let step = d.len() - 1 - call;
            let t = vec![step; y.len()];
            let told = vec![d.steps[step] as f64; y.len()];
            let input = if self.scale.is_some() {
                doubled(&x)
            } else {
                x.clone()
            };
            let output = built.forward(&network.weights, &input, Condition::new(&told, Some(y)));
            let output = output.expect("fits");
            let output = match self.scale {
                None => output,
                Some(scale) => exact::guided_pair(&output, scale, 3).expect("pairs"),
            };
            let said = exact::predict(d, &output, &x, &t, self.clip).expect("fits");
            let noise = entry(self.of("noise"), call);
            x = match self.eta {
                None => exact::ddpm_step(&said, &t, &noise),
                Some(eta) => exact::ddim_step(d, &said, &x, &t, eta, &noise),
            }
            .expect("fits");
            let what = format!("{}: reference, call {call}", self.name);
            close(&what, &x, &entry(self.of("samples"), call), OUTPUT);
        }
    }

    /// By the training system.
    fn fast(&self, network: &super::Network) {
        let (_params, built) = candle("dit", network);
        let y = &self.y;
        let kind = self
            .eta
            .map_or(StepNoise::Ddpm, |eta| StepNoise::Ddim { eta });
        let mut call = 0;
        gpu::sample_steps(
            &self.process.gpu,
            &mut |x, t| {
                let Some(scale) = self.scale else {
                    return Ok(asked(built.as_ref(), x, t, y));
                };
                let half = x.narrow(0, 0, y.len() / 2)?;
                let x = Tensor::cat(&[&half, &half], 0)?;
                gpu::guided_pair(&asked(built.as_ref(), &x, t, y), scale, 3)
            },
            &tensor(self.of("x_T")),
            (kind, self.clip),
            &mut |call| Ok(tensor(&entry(self.of("noise"), call))),
            &mut |said, x| {
                let what = format!("{}: candle, call {call}", self.name);
                close(&what, &array(x), &entry(self.of("samples"), call), OUTPUT);
                if let Some(want) = self.all.get(&format!("{}.pred_xstart", self.name)) {
                    close(&what, &array(&said.x0), &entry(want, call), OUTPUT);
                }
                call += 1;
                Ok(())
            },
        )
        .expect("a sample");
        assert_eq!(call, self.process.exact.len());
    }
}

#[test]
fn trajectories_are_the_published_ones() {
    let files = networks("dit");
    let network = files
        .iter()
        .find(|network| network.what.contains("p2-sigma"));
    let network = network.expect("its weights");
    let mut compared = 0;
    for folder in folders("dit") {
        let all = tensors(&folder.join("sampling.safetensors"));
        for (name, about) in each(&folder.join("sampling.json")) {
            compared += 1;
            let y = labels(&all[&format!("{name}.y")]);
            if name == "bpd" {
                bits(&all, &about, &y, network);
                continue;
            }
            let respacing = about["respacing"].as_str().expect("text");
            let run = Run {
                name: &name,
                all: &all,
                process: Process::new(Betas::Linear, 1000, respacing, true),
                clip: about["kwargs"]["clip_denoised"].as_bool().expect("a flag"),
                eta: about["kwargs"]["eta"].as_f64(),
                scale: about["cfg_scale"].as_f64(),
                y,
            };
            run.exactly(network);
            run.fast(network);
        }
    }
    assert!(compared >= 2, "{compared} trajectories");
}

/// Bits per dimension of every step, the largest first.
fn bits(all: &Arrays, about: &Value, y: &[u32], network: &super::Network) {
    let of = |key: &str| &all[&format!("bpd.{key}")];
    let respacing = about["respacing"].to_string();
    let process = Process::new(Betas::Linear, 1000, respacing.trim_matches('"'), true);
    let clip = about["clip_denoised"].as_bool().expect("a flag");
    let (built, (_params, fast)) = (reference("dit", network), candle("dit", network));
    let x0 = of("x_start");
    let mut total = exact::prior_bits(&process.exact, x0);
    close(
        "bpd: reference, prior",
        &table(&total),
        of("prior_bpd"),
        OUTPUT,
    );
    let prior = gpu::prior_bits(&process.gpu, &tensor(x0)).expect("numbers");
    close(
        "bpd: candle, prior",
        &array(&prior),
        of("prior_bpd"),
        OUTPUT,
    );
    for call in 0..process.exact.len() {
        let t = vec![process.exact.len() - 1 - call; y.len()];
        let told = process.gpu.told(&t);
        let noise = entry(of("noise"), call);
        let x_t = process.exact.noised(x0, &t, &noise).expect("fits");
        let output = built
            .forward(&network.weights, &x_t, Condition::new(&told, Some(y)))
            .expect("fits");
        let ours = exact::bits_per_dimension(&process.exact, &output, (x0, &noise), &t, clip)
            .expect("fits");
        for (sum, part) in total.iter_mut().zip(&ours[0]) {
            *sum += part;
        }
        let output = asked(fast.as_ref(), &tensor(&x_t), &told, y);
        let pair = (&tensor(x0), &tensor(&noise));
        let theirs = gpu::bits_per_dimension(&process.gpu, &output, pair, &t, clip).expect("fits");
        let theirs = [theirs.vb, theirs.x0_mse, theirs.mse];
        for ((key, ours), theirs) in ["vb", "xstart_mse", "mse"].iter().zip(&ours).zip(&theirs) {
            let want = of(key).index_axis(Axis(1), call).to_owned();
            close(
                &format!("bpd: reference, {key} of call {call}"),
                &table(ours),
                &want,
                OUTPUT,
            );
            close(
                &format!("bpd: candle, {key} of call {call}"),
                &array(theirs),
                &want,
                OUTPUT,
            );
        }
    }
    close("bpd: total", &table(&total), of("total_bpd"), OUTPUT);
}
