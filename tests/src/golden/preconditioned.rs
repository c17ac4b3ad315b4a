//! EDM's four preconditioners, their losses, and the published samplers around a network.

use std::path::PathBuf;

use candle_core::{DType, Tensor};
use ndarray::{ArrayD, Axis, s};
use sadm_gpu::config::Config;
use sadm_gpu::forward::schedule::Schedule as GpuSchedule;
use sadm_gpu::network as gpu;
use sadm_gpu::objective::{
    parametrisation as gpu_parametrisation, preconditioner as gpu_preconditioner,
};
use sadm_gpu::params::Params;
use sadm_gpu::random::Streams;
use sadm_gpu::sampler as gpu_sampler;
use sadm_gpu::train;
use sadm_reference::denoise::{Weight, denoising_loss, weight};
use sadm_reference::network::{Condition, Denoiser, Parameters};
use sadm_reference::parametrisation::{
    Coefficients, NoiseCondition, Parametrisation, Preconditioner,
};
use sadm_reference::sampler::{Churn, Family};
use sadm_reference::schedule::ScheduleKind;
use sadm_reference::time::TimeLaw;
use serde_json::Value as Json;

use super::{
    Arrays, Network, OUTPUT, array, candle, close, folders, gradients, json, numbers, reference,
    tensor, tensors,
};

const SIGMA_DATA: f64 = 0.5;

/// A published preconditioner in the project's words.
struct Known {
    schedule: ScheduleKind,
    parametrisation: Parametrisation,
    noise: NoiseCondition,
    weight: Weight,
    /// Law of the levels in training.
    law: TimeLaw,
    /// The same in a configuration's words.
    sets: &'static [&'static str],
}

fn known(class: &str) -> Known {
    let (schedule, parametrisation, noise, weight, law, sets): (_, _, _, _, _, &[&str]) =
        match class {
            "EDMPrecond" => (
                ScheduleKind::EDM,
                Parametrisation::Edm,
                NoiseCondition::LogSigma,
                Weight::EDM,
                TimeLaw::LogNormal {
                    mean: -1.2,
                    std: 1.2,
                },
                // The defaults.
                &[],
            ),
            "VPPrecond" => (
                ScheduleKind::VP_LINEAR,
                Parametrisation::Eps,
                NoiseCondition::VpTime,
                Weight::SNR,
                TimeLaw::Uniform {
                    low: 1e-5,
                    high: 1.0,
                },
                &[
                    "objective.schedule=vp-linear",
                    "objective.parametrisation=eps",
                    "objective.noise_condition=vp-time",
                    "objective.weight=snr",
                    "objective.time=uniform",
                    "objective.time_min=1e-5",
                ],
            ),
            "VEPrecond" => (
                ScheduleKind::EDM,
                Parametrisation::Ve,
                NoiseCondition::LogHalfSigma,
                Weight::SNR,
                TimeLaw::LogUniform {
                    low: 0.02,
                    high: 100.0,
                },
                &[
                    "objective.parametrisation=ve",
                    "objective.noise_condition=log-half-sigma",
                    "objective.weight=snr",
                    "objective.time=log-uniform",
                ],
            ),
            "iDDPMPrecond" => (
                // Its highest level is beyond the end of `vp-linear`.
                ScheduleKind::COSINE,
                Parametrisation::Eps,
                NoiseCondition::IddpmStep,
                Weight::SNR,
                TimeLaw::IddpmStep,
                &[
                    "objective.schedule=cosine",
                    "objective.parametrisation=eps",
                    "objective.noise_condition=iddpm-step",
                    "objective.weight=snr",
                    "objective.time=iddpm-step",
                ],
            ),
            other => panic!("no preconditioner is called {other}"),
        };
    Known {
        schedule,
        parametrisation,
        noise,
        weight,
        law,
        sets,
    }
}

/// The recorded draws are from the levels' end where ours begin.
fn draws_of(class: &str, draws: &[f64]) -> Vec<f64> {
    let turned = class == "VPPrecond";
    let draw = |draw: &f64| if turned { 1.0 - draw } else { *draw };
    draws.iter().map(draw).collect()
}

impl Known {
    /// The times of draws on both sides, which must be at these levels σ', and have the loss's weights.
    fn drawn(&self, what: &str, draws: &[f64], levels: &[f64]) -> Vec<f64> {
        let schedule = self.schedule.schedule();
        let times = self.law.times(draws, schedule.as_ref());
        let config = Config::default().with_sets(self.sets.iter().copied());
        let o = config.expect("a configuration").objective;
        let said = [
            (o.schedule.to_string(), self.schedule.to_string()),
            (
                o.parametrisation.to_string(),
                self.parametrisation.to_string(),
            ),
            (o.noise_condition.to_string(), self.noise.to_string()),
            (o.weight.to_string(), self.weight.to_string()),
        ];
        for (config, known) in said {
            assert_eq!(config, known, "{what}");
        }
        let ours = train::times(&o, draws, draws.len());
        assert_eq!(times.len(), levels.len(), "{what}");
        for (i, level) in levels.iter().enumerate() {
            let reference = schedule.sigma(times[i]) / schedule.alpha(times[i]);
            for (side, got) in [
                ("reference", reference),
                ("candle", o.schedule.sigma_ratio(ours[i])),
            ] {
                assert!(
                    (got / level - 1.0).abs() < OUTPUT,
                    "{what}, {side}: {got}, not {level}"
                );
            }
            let weight = weight(self.weight, schedule.as_ref(), times[i], SIGMA_DATA);
            let weight = weight.expect("a weight");
            let candle = o.weight.at(o.schedule, ours[i], SIGMA_DATA);
            assert!((candle / weight - 1.0).abs() < OUTPUT, "{what}: weight");
        }
        times
    }

    /// α and σ_t at the level σ'.
    fn level(&self, ratio: f64) -> [f64; 2] {
        if self.schedule == ScheduleKind::EDM {
            return [1.0, ratio];
        }
        let alpha = 1.0 / ratio.hypot(1.0);
        [alpha, alpha * ratio]
    }

    fn coefficients(&self, ratio: f64) -> Coefficients {
        let [alpha, sigma] = self.level(ratio);
        let told = Preconditioner {
            parametrisation: self.parametrisation,
            noise: self.noise,
            sigma_data: SIGMA_DATA,
        };
        told.coefficients(alpha, sigma).expect("a level")
    }

    fn gpu_coefficients(&self, ratio: f64) -> gpu_preconditioner::Coefficients {
        let [alpha, sigma] = self.level(ratio);
        let parametrisation = self.parametrisation.to_string();
        let told = gpu_preconditioner::Preconditioner {
            parametrisation: parametrisation
                .parse::<gpu_parametrisation::Parametrisation>()
                .expect("its name"),
            noise: self.noise.to_string().parse().expect("its name"),
            sigma_data: SIGMA_DATA,
        };
        told.coefficients(alpha, sigma)
    }
}

/// The registered name of the network inside a published preconditioner, and its configuration.
fn inner_config(entry: &Json) -> (&'static str, toml::Table) {
    let mut config = entry["config"]
        .as_object()
        .expect("a configuration")
        .clone();
    let channels = config.remove("img_channels").expect("channels");
    let name = match config.remove("model_type").expect("a class").as_str() {
        Some("SongUNet") => "song-unet",
        _ => "dhariwal-unet",
    };
    let both = entry["cls"] == "iDDPMPrecond";
    let out = channels.as_u64().expect("a number") * if both { 2 } else { 1 };
    config.insert("in_channels".to_owned(), channels);
    config.insert("out_channels".to_owned(), out.into());
    // How the published program computes, and not what.
    config.remove("use_fp16");
    let config = gpu::config_of_json(&Json::Object(config).to_string());
    (name, config.expect("known keys"))
}

/// The network inside a published preconditioner, and its registered name.
fn inner(
    what: String,
    entry: &Json,
    folder: &std::path::Path,
    weights: &str,
    io: Arrays,
) -> (&'static str, Network) {
    let (name, config) = inner_config(entry);
    let weights = tensors(&folder.join(weights));
    // A table of the preconditioner lies beside the network.
    let bare = |(name, value): (String, ArrayD<f64>)| {
        Some((name.strip_prefix("model.")?.to_owned(), value))
    };
    let network = Network {
        what,
        class: String::new(),
        config,
        weights: weights.into_iter().filter_map(bare).collect(),
        io,
    };
    (name, network)
}

/// One factor for each sample, times the samples.
fn scaled(x: &ArrayD<f64>, factors: &[f64]) -> ArrayD<f64> {
    let mut y = x.clone();
    for (mut row, factor) in y.axis_iter_mut(Axis(0)).zip(factors) {
        row *= *factor;
    }
    y
}

/// The first channels of a network's answer; the others are its variances.
fn first_channels(x: &ArrayD<f64>, channels: usize) -> ArrayD<f64> {
    x.slice_axis(Axis(1), (0..channels).into()).to_owned()
}

/// A denoiser in EDM's variables: D(z; σ) by the reference.
struct Exact<'a> {
    known: &'a Known,
    network: &'a dyn Denoiser,
    weights: &'a Parameters,
}

impl Exact<'_> {
    fn parts(&self, levels: &[f64]) -> Vec<Coefficients> {
        levels
            .iter()
            .map(|&level| self.known.coefficients(level))
            .collect()
    }

    /// x_t of z, the network's input and what it is told.
    fn asked(&self, z: &ArrayD<f64>, levels: &[f64]) -> [ArrayD<f64>; 2] {
        let alpha: Vec<f64> = levels.iter().map(|&s| self.known.level(s)[0]).collect();
        let x_t = scaled(z, &alpha);
        let input: Vec<f64> = self.parts(levels).iter().map(|c| c.input).collect();
        let input = scaled(&x_t, &input);
        [x_t, input]
    }

    fn denoised(
        &self,
        z: &ArrayD<f64>,
        levels: &[f64],
        classes: Option<&ArrayD<f64>>,
    ) -> ArrayD<f64> {
        let [x_t, input] = self.asked(z, levels);
        let parts = self.parts(levels);
        let of = |part: fn(&Coefficients) -> f64| parts.iter().map(part).collect::<Vec<f64>>();
        let noise = of(|c| c.noise);
        let told = Condition {
            soft_labels: classes,
            ..Condition::new(&noise, None)
        };
        let answer = self
            .network
            .forward(self.weights, &input, told)
            .expect("it fits");
        let answer = first_channels(&answer, z.len_of(Axis(1)));
        scaled(&x_t, &of(|c| c.skip)) + scaled(&answer, &of(|c| c.out))
    }

    /// The gradients of Σ D·probe, by the names of `io`.
    fn gradients(
        &self,
        z: &ArrayD<f64>,
        levels: &[f64],
        classes: Option<&ArrayD<f64>>,
        probe: &ArrayD<f64>,
    ) -> Arrays {
        let [x_t, input] = self.asked(z, levels);
        let parts = self.parts(levels);
        let of = |part: fn(&Coefficients) -> f64| parts.iter().map(part).collect::<Vec<f64>>();
        let (noise, out) = (of(|c| c.noise), scaled(probe, &of(|c| c.out)));
        let told = Condition {
            soft_labels: classes,
            ..Condition::new(&noise, None)
        };
        let answer = self
            .network
            .forward(self.weights, &input, told)
            .expect("it fits");
        let mut upstream = ArrayD::zeros(answer.raw_dim());
        upstream
            .slice_axis_mut(Axis(1), (0..z.len_of(Axis(1))).into())
            .assign(&out);
        let pass = self
            .network
            .forward_backward(self.weights, &input, told, &upstream);
        let pass = pass.expect("it fits");
        let alpha: Vec<f64> = levels.iter().map(|&s| self.known.level(s)[0]).collect();
        let through = scaled(&pass.grad_input, &of(|c| c.input)) + scaled(probe, &of(|c| c.skip));
        assert_eq!(x_t.shape(), through.shape());
        let named = pass
            .grad_parameters
            .into_iter()
            .map(|(name, g)| (format!("model.{name}"), g));
        named
            .chain([("input.x".to_owned(), scaled(&through, &alpha))])
            .collect()
    }
}

/// The same by the training system.
fn gpu_denoised(
    known: &Known,
    network: &dyn gpu::Network,
    z: &Tensor,
    levels: &[f64],
    classes: Option<&ArrayD<f64>>,
) -> sadm_gpu::Result<Tensor> {
    let parts: Vec<_> = levels
        .iter()
        .map(|&level| known.gpu_coefficients(level))
        .collect();
    let column = |values: Vec<f64>| {
        let shape = (values.len(), 1, 1, 1);
        Tensor::from_vec(values, shape, z.device())
    };
    let alpha = column(levels.iter().map(|&s| known.level(s)[0]).collect())?;
    let x_t = z.broadcast_mul(&alpha)?;
    let input = x_t.broadcast_mul(&column(parts.iter().map(|c| c.input).collect())?)?;
    let noise: Vec<f64> = parts.iter().map(|c| c.noise).collect();
    let classes = classes.map(tensor);
    let told = gpu::Condition {
        soft_labels: classes.as_ref(),
        ..gpu::Condition::new(&noise, None)
    };
    let answer = network.forward(&input, &told, gpu::Mode::Evaluate)?;
    let answer = answer.narrow(1, 0, z.dim(1)?)?;
    let kept = x_t.broadcast_mul(&column(parts.iter().map(|c| c.skip).collect())?)?;
    Ok((kept + answer.broadcast_mul(&column(parts.iter().map(|c| c.out).collect())?)?)?)
}

fn entries(family: &str, list: &str) -> Vec<(PathBuf, Json)> {
    let mut found = Vec::new();
    for folder in folders(family) {
        let path = folder.join(list);
        if path.is_file() {
            let listed = json(&path);
            let listed = listed.as_array().expect("a list").clone();
            found.extend(listed.into_iter().map(|entry| (folder.clone(), entry)));
        }
    }
    found
}

#[test]
fn preconditioners_and_their_losses_are_the_published_ones() {
    for (folder, entry) in entries("edm", "preconditioners.json") {
        let io = tensors(&folder.join(entry["io"].as_str().expect("a name")));
        let class = entry["cls"].as_str().expect("a class");
        let (what, weights) = (class.to_owned(), entry["weights"].as_str().expect("a name"));
        let (name, network) = inner(what.clone(), &entry, &folder, weights, io);
        let (known, io) = (known(class), &network.io);
        let built = reference(name, &network);
        let exact = Exact {
            known: &known,
            network: built.as_ref(),
            weights: &network.weights,
        };
        let (levels, z) = (numbers(&io["sigma"]), &io["x"]);
        let classes = io.get("class_labels");

        let told: Vec<f64> = levels
            .iter()
            .map(|&s| known.coefficients(s).noise)
            .collect();
        let want = numbers(&io["inner.noise_labels"]);
        for (got, want) in told.iter().zip(&want) {
            assert!(
                (got - want).abs() <= OUTPUT * want.abs().max(1.0),
                "{what}: {got}, not {want}"
            );
        }
        close(
            &format!("{what}: input"),
            &exact.asked(z, &levels)[1],
            &io["inner.input"],
            OUTPUT,
        );
        close(
            &format!("{what}: reference"),
            &exact.denoised(z, &levels, classes),
            &io["output"],
            OUTPUT,
        );
        let named = |prefix: &str| -> Arrays {
            let of = io
                .iter()
                .filter_map(|(name, x)| Some((name.strip_prefix(prefix)?, x)));
            of.filter(|(name, _)| name.starts_with("grad."))
                .map(|(name, x)| (name.to_owned(), x.clone()))
                .collect()
        };
        gradients(
            &what,
            &exact.gradients(z, &levels, classes, &io["probe"]),
            &named(""),
        );

        let (_, gpu_network) = candle(name, &network);
        let denoised = |classes: Option<&ArrayD<f64>>| {
            let answer = gpu_denoised(&known, gpu_network.as_ref(), &tensor(z), &levels, classes);
            array(&answer.expect("it fits"))
        };
        close(
            &format!("{what}: candle"),
            &denoised(classes),
            &io["output"],
            OUTPUT,
        );
        if let Some(want) = io.get("output.class_labels_none") {
            close(
                &format!("{what}: candle, no class"),
                &denoised(None),
                want,
                OUTPUT,
            );
            close(
                &format!("{what}: reference, no class"),
                &exact.denoised(z, &levels, None),
                want,
                OUTPUT,
            );
        }

        losses(&what, &exact, io, &named("loss."));
    }
}

/// The published full-size networks from their published configurations: every tensor, without memory for any.
#[test]
fn presets_have_the_published_tensors() {
    let mut compared = 0;
    for folder in folders("edm") {
        let path = folder.join("presets.json");
        if !path.is_file() {
            continue;
        }
        for (preset, entry) in json(&path).as_object().expect("an object") {
            let (name, config) = inner_config(entry);
            let params = Params::outline();
            gpu::published(name, &config, params.builder()).expect("a published network");
            let all = params.shapes();
            let said = |key: &str| usize::try_from(entry[key].as_u64().expect("a number"));
            // iDDPM's preconditioner keeps its levels beside the network.
            let table = usize::from(entry["cls"] == "iDDPMPrecond");
            for (trained, tensors, numbers) in [
                (true, "param_tensors", "parameters"),
                (false, "buffer_tensors", "buffer_elements"),
            ] {
                let of = all.values().filter(|one| one.trained == trained);
                let more = if trained { 0 } else { table };
                let count = of.clone().count() + more;
                assert_eq!(count, said(tensors).expect("small"), "{preset}: {tensors}");
                let sizes = of.map(|one| one.shape.iter().product::<usize>());
                let count = sizes.sum::<usize>() + 1001 * more;
                assert_eq!(count, said(numbers).expect("small"), "{preset}: {numbers}");
            }
            let listed = folder.join(format!("preset-{preset}.json"));
            if listed.is_file() {
                let listed = json(&listed);
                for (part, trained) in [("params", true), ("buffers", false)] {
                    let want = listed[part].as_object().expect("an object");
                    let of = all.iter().filter(|(_, one)| one.trained == trained);
                    let got: serde_json::Map<String, Json> = of
                        .map(|(key, one)| (format!("model.{key}"), one.shape.clone().into()))
                        .collect();
                    assert_eq!(&got, want, "{preset}: {part}");
                }
            }
            compared += 1;
        }
    }
    assert!(compared >= 8, "{compared} presets");
}

/// The levels of published draws, and of a table that is drawn from.
#[test]
fn levels_of_training_are_the_published_ones() {
    let mut compared = 0;
    for folder in folders("edm") {
        let path = folder.join("levels.json");
        if !path.is_file() {
            continue;
        }
        let listed = json(&path);
        for (class, entry) in listed.as_object().expect("an object") {
            let of = |key: &str| -> Vec<f64> {
                let numbers = entry[key].as_array().expect("a list").iter();
                numbers.map(|x| x.as_f64().expect("a number")).collect()
            };
            known(class).drawn(class, &draws_of(class, &of("draw")), &of("sigma"));
            compared += 1;
        }
    }
    assert!(compared >= 4, "{compared} laws");
}

/// The loss with recorded draws, and its gradients.
fn losses(what: &str, exact: &Exact<'_>, io: &Arrays, want: &Arrays) {
    let classes = io.get("class_labels");
    let Some(draws) = io.get("loss.draw") else {
        return;
    };
    let levels = numbers(&io["loss.sigma"]);
    let times = exact
        .known
        .drawn(what, &draws_of(what, &numbers(draws)), &levels);
    let (clean, noise) = (&io["loss.images"], &io["loss.noise"]);
    let noisy = clean + &scaled(noise, &levels);
    close(&format!("{what}: noisy"), &noisy, &io["loss.noisy"], OUTPUT);
    let got = exact.denoised(
        &noisy,
        &levels,
        classes.filter(|c| c.len_of(Axis(0)) == levels.len()),
    );
    let schedule = exact.known.schedule.schedule();
    let weights: Vec<f64> = (times.iter())
        .map(|&t| weight(exact.known.weight, schedule.as_ref(), t, SIGMA_DATA).expect("a weight"))
        .collect();
    let each = scaled(&(&got - clean).mapv(|d| d * d), &weights);
    close(&format!("{what}: loss"), &each, &io["loss.value"], OUTPUT);
    let loss = denoising_loss(&got, clean, &weights).expect("they fit");
    let mean = io["loss.value"].sum() / levels.len() as f64;
    assert!(
        (loss.loss / mean - 1.0).abs() < OUTPUT,
        "{what}: {}, not {mean}",
        loss.loss
    );
    let mut grads = exact.gradients(&noisy, &levels, classes, &loss.grad_prediction);
    grads.remove("input.x");
    gradients(&format!("{what}: loss"), &grads, want);
}

/// Options of a published sampler.
fn family(entry: &Json, name: &str) -> Family {
    let plain = Family::default();
    let number = |key: &str| entry.get(key).and_then(Json::as_f64);
    let churn = Churn::default();
    let choices: Vec<&str> = name.split('-').collect();
    let mut family = Family {
        steps: number("num_steps").map_or(18, |n| format!("{n}").parse().expect("a count")),
        rho: number("rho").unwrap_or(7.0),
        sigma_min: number("sigma_min"),
        sigma_max: number("sigma_max"),
        alpha: number("alpha").unwrap_or(1.0),
        churn: Churn {
            s_churn: number("S_churn").unwrap_or(churn.s_churn),
            s_min: number("S_min").unwrap_or(churn.s_min),
            s_max: number("S_max").unwrap_or(churn.s_max),
            s_noise: number("S_noise").unwrap_or(churn.s_noise),
        },
        ..plain
    };
    if let [solver, grid, time, scale] = choices[..] {
        family.second_order = solver == "heun";
        family.discretization = grid.parse().expect("a grid");
        family.schedule = time.parse().expect("a time");
        family.scaling = scale.parse().expect("a scale");
    }
    family
}

const ALL: [f64; 2] = [0.0, f64::INFINITY];

#[test]
fn trajectories_are_the_published_ones() {
    for folder in folders("sampler") {
        let info = json(&folder.join("sampler.json"));
        let (name, network) = inner(
            "sampler".to_owned(),
            &info["net"],
            &folder,
            "net.weights.safetensors",
            Arrays::new(),
        );
        let known = known("EDMPrecond");
        let built = reference(name, &network);
        let exact = Exact {
            known: &known,
            network: built.as_ref(),
            weights: &network.weights,
        };
        let (_, gpu_network) = candle(name, &network);
        let (whole, ablation) = (
            tensors(&folder.join("trajectories.safetensors")),
            tensors(&folder.join("ablation.safetensors")),
        );
        let runs = info.as_object().expect("an object").iter();
        let runs = runs.filter(|(_, run)| run.get("function").is_some());
        let runs: Vec<(&String, &Json, &Arrays)> = runs
            .map(|(name, run)| (name, &run["kwargs"], &whole))
            .collect();
        let more = info["ablation"].as_object().expect("an object").iter();
        for (run, options, io) in runs
            .into_iter()
            .chain(more.map(|(name, options)| (name, options, &ablation)))
        {
            let of = |key: &str| io.get(&format!("{run}.{key}"));
            let start = of("latents").expect("a start");
            let samples = start.len_of(Axis(0));
            let one_hot = || {
                let mut classes = ArrayD::zeros(vec![samples, 3]);
                classes.index_axis_mut(Axis(1), 0).fill(1.0);
                classes
            };
            let classes = of("class_labels").cloned().unwrap_or_else(one_hot);
            let family = family(options, run);
            let mut asked = Vec::new();
            let mut denoise = |z: &ArrayD<f64>, sigma: f64| {
                let answer = exact.denoised(z, &vec![sigma; samples], Some(&classes));
                asked.push((sigma, z.clone(), answer.clone()));
                answer
            };
            let noise = of("noise");
            let mut added = |i: usize| {
                noise
                    .expect("recorded noise")
                    .index_axis(Axis(0), i)
                    .to_owned()
            };
            let end = family.sample(start, (ALL, &|sigma| sigma), &mut added, &mut denoise);
            close(
                run,
                &end.expect("a trajectory"),
                of("final").expect("an end"),
                OUTPUT,
            );
            let levels = numbers(of("net_sigma").expect("levels"));
            assert_eq!(levels.len(), asked.len(), "{run}");
            for (i, (sigma, z, answer)) in asked.iter().enumerate() {
                assert!((sigma / levels[i] - 1.0).abs() < OUTPUT, "{run}, call {i}");
                for (key, got) in [("net_x", z), ("net_D", answer)] {
                    if let Some(want) = of(key) {
                        let want = want.slice(s![i, .., .., .., ..]).to_owned().into_dyn();
                        close(&format!("{run}, {key} {i}"), got, &want, OUTPUT);
                    }
                }
            }
            walked(run, &family, (&known, gpu_network.as_ref()), &classes, io);
        }
    }
}

/// The same trajectory by the training system.
fn walked(
    run: &str,
    family: &Family,
    (known, gpu_network): (&Known, &dyn gpu::Network),
    classes: &ArrayD<f64>,
    io: &Arrays,
) {
    let of = |key: &str| io.get(&format!("{run}.{key}"));
    let samples = classes.len_of(Axis(0));
    if family.churn.s_churn > 0.0 {
        // The training system draws its own noise; its churn is held to the reference's in `all_members_agree`.
        return;
    }
    let range = family.range(ALL).expect("a range");
    let choice = gpu_sampler::SamplerOptions {
        kind: if family.second_order {
            gpu_sampler::SamplerKind::HEUN
        } else {
            gpu_sampler::SamplerKind::EULER
        },
        steps: family.steps,
        rho: family.rho,
        sigma_min: range[0],
        sigma_max: range[1],
        family: gpu_sampler::Family {
            discretization: family.discretization.to_string().parse().expect("its name"),
            schedule: family.schedule.to_string().parse().expect("its name"),
            scaling: family.scaling.to_string().parse().expect("its name"),
            alpha: family.alpha,
        },
        ..gpu_sampler::SamplerOptions::default()
    };
    let denoise = |z: &Tensor, sigma: f64| {
        gpu_denoised(known, gpu_network, z, &vec![sigma; samples], Some(classes))
    };
    let start = tensor(of("latents").expect("a start"));
    assert_eq!(start.dtype(), DType::F64);
    let end = gpu_sampler::sample(&denoise, GpuSchedule::EDM, &choice, &start, Streams::new(0));
    close(
        &format!("{run}: candle"),
        &array(&end.expect("a trajectory")),
        of("final").expect("an end"),
        OUTPUT,
    );
}
