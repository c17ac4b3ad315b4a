//! A run as its files say, with its networks in the reference's arithmetic.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use ndarray::{Array2, ArrayD, Axis, IxDyn};
use sadm_reference::network::graph::Graph;
use sadm_reference::network::{Condition, Denoiser, Domain, Encoder, Head, Parameters, build};
use sadm_reference::parametrisation::{NoiseCondition, Preconditioner};
use sadm_reference::schedule::{Schedule, ScheduleKind};
use safetensors::tensor::{Dtype, SafeTensors};
use serde_json::Value;

/// A denoiser of one level for tests of many images.
pub const SMALLER: [&str; 3] = [
    "--set=model.unet.channels=[4]",
    "--set=model.unet.attention=[]",
    "--set=model.unet.groups=2",
];

/// What is done to every result of an operation: nothing, or a rounding.
pub type Rounding<'a> = &'a dyn Fn(f64) -> f64;

/// A run's folder.
pub struct Written {
    folder: PathBuf,
    config: toml::Table,
    /// `state.json` of the newest checkpoint.
    pub state: Value,
    network: Box<dyn Denoiser>,
    average: Parameters,
    around: Preconditioner,
    /// Its forward process.
    pub schedule: Box<dyn Schedule>,
}

/// A safetensors file of f32.
pub fn tensors(path: &Path) -> Parameters {
    let bytes = std::fs::read(path).expect("a file of tensors");
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let read = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        assert_eq!(view.dtype(), Dtype::F32, "{name}");
        let values = view.data().as_chunks::<4>().0.iter();
        let values = values.map(|b| f64::from(f32::from_le_bytes(*b))).collect();
        let shape = IxDyn(view.shape());
        (name, ArrayD::from_shape_vec(shape, values).expect("whole"))
    };
    (file.tensors().into_iter()).map(read).collect()
}

/// Parameters whose elements are rounded, for all images alike.
fn moved(parameters: &Parameters, round: Rounding) -> Parameters {
    let rounded = |(name, x): (&String, &ArrayD<f64>)| (name.clone(), x.mapv(round));
    parameters.iter().map(rounded).collect()
}

/// JSON of a file.
pub fn json(path: &Path) -> Value {
    let bytes = std::fs::read(path);
    let bytes = bytes.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&bytes).expect("JSON")
}

/// A number of an answer.
#[track_caller]
pub fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

/// The lines of a file of JSON objects.
pub fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("a log");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// A size of an answer.
pub fn size(value: &Value) -> usize {
    usize::try_from(value.as_u64().expect("a size")).expect("a size")
}

/// Steps that the run in `folder` has a checkpoint of.
pub fn kept(folder: &Path) -> Vec<usize> {
    let entries = std::fs::read_dir(folder.join("checkpoints")).expect("checkpoints");
    let mut steps: Vec<usize> = entries
        .map(|entry| entry.expect("an entry").file_name())
        .map(|name| name.to_str().expect("UTF-8").parse().expect("a step"))
        .collect();
    steps.sort_unstable();
    steps
}

impl Written {
    /// Its newest checkpoint.
    pub fn newest(folder: &Path) -> Self {
        Self::at(folder, *kept(folder).last().expect("a checkpoint"))
    }

    /// Its checkpoint after `step` steps.
    pub fn at(folder: &Path, step: usize) -> Self {
        let text = std::fs::read_to_string(folder.join("config.toml")).expect("a configuration");
        let config: toml::Table = text.parse().expect("TOML");
        let checkpoint = folder.join(format!("checkpoints/{step:08}"));
        let state = json(&checkpoint.join("state.json"));
        let of = |section: &str, key: &str| config[section][key].clone();
        let word = |section, key| of(section, key).as_str().expect("a word").to_owned();
        let kind = word("model", "kind");
        let dimensions = config["model"][&kind].as_table().expect("a table").clone();
        let domain = Domain {
            channels: size(&state["images"]["channels"]),
            size: size(&state["images"]["size"]),
            classes: Some(size(&state["images"]["classes"])),
            augment: if config["data"]
                .get("augment")
                .and_then(toml::Value::as_float)
                > Some(0.0)
            {
                9
            } else {
                0
            },
        };
        let schedule: ScheduleKind = word("objective", "schedule").parse().expect("a schedule");
        let parametrisation = word("objective", "parametrisation");
        Self {
            network: build(&kind, &dimensions, domain).expect("a network"),
            average: tensors(&checkpoint.join("theta.average.safetensors")),
            around: Preconditioner {
                parametrisation: parametrisation.parse().expect("a parametrisation"),
                noise: match config["objective"].get("noise_condition") {
                    Some(name) => name
                        .as_str()
                        .map(str::parse)
                        .expect("a word")
                        .expect("known"),
                    None => NoiseCondition::LogSigma,
                },
                sigma_data: of("objective", "sigma_data").as_float().expect("a number"),
            },
            schedule: schedule.schedule(),
            folder: folder.to_owned(),
            config,
            state,
        }
    }

    /// The same run with the parameters of another file.
    pub fn with_parameters(mut self, file: &Path) -> Self {
        self.average = tensors(file);
        self
    }

    /// A number of its configuration.
    pub fn number(&self, section: &str, key: &str) -> f64 {
        match &self.config[section][key] {
            toml::Value::Float(x) => *x,
            toml::Value::Integer(n) => f64::from(i32::try_from(*n).expect("small")),
            other => panic!("{section}.{key} = {other}"),
        }
    }

    /// A word of it.
    pub fn word(&self, section: &str, key: &str) -> &str {
        self.config[section][key].as_str().expect("a word")
    }

    /// A whole number of it.
    pub fn count(&self, section: &str, key: &str) -> usize {
        usize::try_from(self.config[section][key].as_integer().expect("whole")).expect("≥ 0")
    }

    /// Shape of its images.
    pub fn shape(&self) -> [usize; 3] {
        let side = size(&self.state["images"]["size"]);
        [size(&self.state["images"]["channels"]), side, side]
    }

    /// The label "no class".
    pub fn no_class(&self) -> u32 {
        u32::try_from(size(&self.state["images"]["classes"])).expect("few")
    }

    /// Images of each class that it was trained on.
    pub fn shares(&self) -> Vec<usize> {
        let all = self.state["classes"]["training"]
            .as_array()
            .expect("counts");
        all.iter().map(size).collect()
    }

    /// The time of a level σ' = σ/α.
    pub fn time(&self, ratio: f64) -> f64 {
        self.schedule.t_of_lambda(-2.0 * ratio.ln())
    }

    /// α and σ of a level.
    fn levels(&self, ratio: f64) -> (f64, f64) {
        let t = self.time(ratio);
        (self.schedule.alpha(t), self.schedule.sigma(t))
    }

    /// x̂ at z = x_t/α and level σ', by the averaged parameters.
    pub fn denoised(
        &self,
        z: &ArrayD<f64>,
        ratio: f64,
        labels: &[u32],
        round: Rounding,
    ) -> ArrayD<f64> {
        let (alpha, sigma) = self.levels(ratio);
        let c = self
            .around
            .coefficients(alpha, sigma)
            .expect("coefficients");
        // Each is rounded once for all elements.
        let [alpha, input, skip, of_output] = [alpha, c.input, c.skip, c.out].map(round);
        let x_t = z.mapv(|z| round(alpha * z));
        let noise = vec![round(c.noise); labels.len()];
        let parameters = moved(&self.average, round);
        let mut graph = Graph::rounded(&parameters, round);
        let x = graph.input(x_t.mapv(|x| round(input * x)));
        let condition = Condition::new(&noise, Some(labels));
        let output = self.network.build(&mut graph, x, condition);
        let f = graph.value(output.expect("an output"));
        (&x_t * skip + f * of_output).mapv(round)
    }

    /// The network's answer for x_t as it is, told a number.
    pub fn output(
        &self,
        x_t: &ArrayD<f64>,
        told: f64,
        labels: &[u32],
        round: Rounding,
    ) -> ArrayD<f64> {
        let noise = vec![round(told); labels.len()];
        let parameters = moved(&self.average, round);
        let mut graph = Graph::rounded(&parameters, round);
        let x = graph.input(x_t.mapv(round));
        let output = (self.network).build(&mut graph, x, Condition::new(&noise, Some(labels)));
        graph.value(output.expect("an output")).clone()
    }

    /// x̂ and vᵀ(∂x̂/∂z)v of each sample.
    pub fn pulled(
        &self,
        z: &ArrayD<f64>,
        ratio: f64,
        labels: &[u32],
        v: &ArrayD<f64>,
    ) -> (ArrayD<f64>, Vec<f64>) {
        let (alpha, sigma) = self.levels(ratio);
        let c = self
            .around
            .coefficients(alpha, sigma)
            .expect("coefficients");
        let noise = vec![c.noise; labels.len()];
        let condition = Condition::new(&noise, Some(labels));
        let x_t = z * alpha;
        let pass = (self.network).forward_backward(&self.average, &(&x_t * c.input), condition, v);
        let pass = pass.expect("a pass");
        let x_hat = &x_t * c.skip + &pass.output * c.out;
        // v·∂x̂/∂z = skip α v + out · input · α · v·∂F.
        let of_z = v * (c.skip * alpha) + pass.grad_input * (c.out * c.input * alpha);
        let products = &of_z * v;
        let each = products.axis_iter(Axis(0)).map(|row| row.sum()).collect();
        (x_hat, each)
    }

    /// Ψ as the encoder's phase left it: of the newest checkpoint from there to the first adversarial step.
    pub fn encoder(&self) -> Psi {
        let log = lines(&self.folder.join("metrics.jsonl"));
        let of = |phase: &str| {
            let steps = log.iter().filter(|line| line["phase"] == phase);
            steps.map(|line| size(&line["step"])).collect::<Vec<_>>()
        };
        let trained = of("encoder").into_iter().max().expect("a phase");
        let moved = of("adversarial").into_iter().min();
        let steps = kept(&self.folder).into_iter();
        let step = steps.filter(|step| *step >= trained && moved.is_none_or(|moved| *step < moved));
        let step = step.max().expect("a checkpoint");
        Psi::at(&self.folder, &self.config, &self.state, step)
    }
}

/// A run's encoder.
pub struct Psi {
    network: Encoder,
    parameters: BTreeMap<String, ArrayD<f64>>,
    /// Step of its checkpoint.
    pub step: usize,
    /// The file it lies in.
    pub file: PathBuf,
}

impl Psi {
    fn at(folder: &Path, config: &toml::Table, state: &Value, step: usize) -> Self {
        let section = config["encoder"].as_table().expect("a table");
        let whole =
            |value: &toml::Value| usize::try_from(value.as_integer().expect("whole")).expect("≥ 0");
        let widths = section["widths"].as_array().expect("widths");
        let file = folder.join(format!("checkpoints/{step:08}/phi.safetensors"));
        Self {
            network: Encoder {
                in_channels: size(&state["images"]["channels"]),
                widths: widths.iter().map(whole).collect(),
                groups: whole(&section["groups"]),
                dim: whole(&section["dim"]),
                classes: size(&state["images"]["classes"]),
            },
            parameters: tensors(&file),
            step,
            file,
        }
    }

    fn of(&self, images: &ArrayD<f64>, head: Head, round: Rounding) -> Array2<f64> {
        let parameters = moved(&self.parameters, round);
        let mut graph = Graph::rounded(&parameters, round);
        let x = graph.input(images.clone());
        let answer = self.network.build(&mut graph, x, head).expect("an answer");
        let answer = graph.value(answer).clone();
        answer.into_dimensionality().expect("two axes")
    }

    /// ψ of images.
    pub fn features(&self, images: &ArrayD<f64>, round: Rounding) -> Array2<f64> {
        self.of(images, Head::Features, round)
    }

    /// Class probabilities of images.
    pub fn probabilities(&self, images: &ArrayD<f64>, round: Rounding) -> Array2<f64> {
        let mut logits = self.of(images, Head::Logits, round);
        for mut row in logits.rows_mut() {
            row.mapv_inplace(f64::exp);
            let sum = row.sum();
            row /= sum;
        }
        logits
    }
}

/// The 1797 digits `[N, 1, 8, 8]` in [−1, 1] with their labels, in the file's order.
pub fn digits() -> (ArrayD<f64>, Vec<u32>) {
    let packed = include_bytes!("../../fixtures/digits.csv.gz");
    let mut text = String::new();
    GzDecoder::new(&packed[..])
        .read_to_string(&mut text)
        .expect("a text");
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let numbers: Vec<u32> = line
            .split(',')
            .map(|n| n.trim().parse().expect("whole"))
            .collect();
        pixels.extend(numbers[..64].iter().map(|n| f64::from(*n) / 8.0 - 1.0));
        labels.push(numbers[64]);
    }
    let shape = vec![labels.len(), 1, 8, 8];
    (
        ArrayD::from_shape_vec(shape, pixels).expect("64 each"),
        labels,
    )
}

/// Images `[N, …]` as rows.
pub fn flat(images: &ArrayD<f64>) -> Array2<f64> {
    let n = images.shape()[0];
    let d = images.len() / n;
    let values = images.iter().copied().collect();
    Array2::from_shape_vec((n, d), values).expect("whole rows")
}

/// The given images, in that order.
pub fn chosen(images: &ArrayD<f64>, rows: &[usize]) -> ArrayD<f64> {
    images.select(Axis(0), rows)
}
