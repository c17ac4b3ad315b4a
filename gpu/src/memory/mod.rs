//! Peak memory of a run, estimated before anything is made, and the memory available.
//!
//! Each pass through the networks is sketched: its tensors are listed with their sizes, and candle's way back is walked with them. What
//! is kept for it, the gradients that wait for their turn and the buffers of the operations follow from how they are implemented; no number
//! is fitted. It is of the CPU: what a device's libraries take for themselves is not known here.

pub(crate) mod layers;
mod networks;
mod room;
pub(crate) mod sketch;
mod variance;

use std::collections::BTreeMap;

use layers::Images;
use room::ABSURD;
pub use room::{Room, gibibytes, peak_of_process};
use sketch::{ENCODER, Id, NETWORK, Peak, Sketch, WIDE};

use crate::config::{Config, StructureMethod};
use crate::data::ImageKind;
use crate::features::EncoderConfig;
use crate::network::Compute;
use crate::objective::variance::PredictedVariance;
use crate::run::phases::{Phase, phases};
use crate::structure::Distance;
use crate::{Error, Result};

/// Peak memory of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Bytes beyond the images, which are there by then.
    pub bytes: f64,
    /// When that is, such as "a step of the phase `guided`".
    pub when: String,
    /// The layer that takes the most of it, with its bytes.
    pub layer: Option<(String, f64)>,
    /// The settings that make it less, with their values.
    pub remedies: Vec<String>,
}

/// A run's sizes besides its configuration.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    /// Shape of the images and number of classes.
    pub images: ImageKind,
    /// Bytes of all images, which are copied once when some are held out.
    pub data: f64,
    /// Images that are held out.
    pub held_out: usize,
    /// Threads that work at the same time.
    pub threads: usize,
    /// Whether a checkpoint will be read.
    pub resumed: bool,
}

/// Images drawn together, at most; held-out images classified together.
const DRAWN: usize = 128;
const CLASSIFIED: usize = 256;
/// Arrays of f64, each as large as the batch, that the shadow check holds at its fullest: five tensors, x̂ with its bound and its
/// own error, loss and gradient with theirs, and the terms of one of them.
const SHADOW_ARRAYS: f64 = 18.0;

/// A moment at which much is held.
struct Moment {
    bytes: f64,
    when: String,
    layer: Option<(String, f64)>,
    remedies: Vec<String>,
}

/// The fullest moment of a run.
pub fn estimate(config: &Config, circumstances: &Circumstances) -> Estimate {
    let run = Plan {
        config,
        around: *circumstances,
        encoder: config
            .encoder
            .network(circumstances.images.channels, circumstances.images.classes),
    };
    let doubled = match config.train.compute {
        Compute::F64 => 2.0,
        Compute::F32 | Compute::Bf16 => 1.0,
    };
    let moments = run.moments().into_iter();
    let fullest = moments.max_by(|a, b| a.bytes.total_cmp(&b.bytes));
    fullest.map_or(
        Estimate {
            bytes: 0.0,
            when: "a run without a phase".to_owned(),
            layer: None,
            remedies: Vec::new(),
        },
        |m| Estimate {
            bytes: doubled * m.bytes,
            when: m.when,
            layer: m.layer.map(|(name, bytes)| (name, doubled * bytes)),
            remedies: m.remedies,
        },
    )
}

/// The fullest moment of drawing `count` images from an opened run, which computes in f32: its parameters, a batch on its way, and
/// all images.
pub fn drawing(config: &Config, images: ImageKind, threads: usize, count: usize) -> Estimate {
    let mut config = config.clone();
    config.sample.count = count;
    config.train.compute = Compute::F32;
    let run = Plan {
        config: &config,
        around: Circumstances {
            images,
            data: 0.0,
            held_out: 0,
            threads,
            resumed: false,
        },
        encoder: config.encoder.network(images.channels, images.classes),
    };
    let [theta, phi] = run.parameters();
    let moment = run.drawing(WIDE * (theta + phi));
    // A whole checkpoint is read: both players with two moments each, the average, beside the networks that take them over.
    let opening = WIDE * (5.0 * theta + 4.0 * phi);
    let (bytes, when, layer) = if opening > moment.bytes {
        (opening, "the opening of the run".to_owned(), None)
    } else {
        (moment.bytes, moment.when, moment.layer)
    };
    Estimate {
        bytes,
        when,
        layer,
        remedies: vec![format!("--count = {count}")],
    }
}

impl Estimate {
    /// Refuses what there is no room for; `anyway` says how to have it all the same.
    ///
    /// # Errors
    /// More bytes than there are: the layer that takes the most, and what makes it less.
    pub fn fits(&self, room: &Room, anyway: &str) -> Result<()> {
        if self.bytes <= room.bytes {
            return Ok(());
        }
        let layer = match &self.layer {
            Some((name, bytes)) if *bytes < self.bytes && self.bytes < ABSURD => {
                format!(", {} of it for `{name}`", gibibytes(*bytes))
            }
            Some((name, _)) => format!(", the most of it for `{name}`"),
            None => String::new(),
        };
        let in_parts = if self.when.starts_with(STEP) {
            ", and so do a larger train.micro_batches and train.recompute = \"blocks\""
        } else {
            ""
        };
        Err(Error::invalid(
            format!("the memory of {}", self.when),
            format!("fit into the {} that {}", gibibytes(room.bytes), room.whose),
            format!(
                "about {}{layer}; smaller values of these make it less: {}{in_parts}; {anyway}",
                gibibytes(self.bytes),
                self.remedies.join(", ")
            ),
        ))
    }
}

/// How the name of a step begins.
const STEP: &str = "a step of the phase";

struct Plan<'a> {
    config: &'a Config,
    around: Circumstances,
    encoder: EncoderConfig,
}

/// Memory held by a pass, where, and the number of its parameters.
struct Pass {
    peak: Peak,
    layer: Option<(String, f64)>,
}

impl Pass {
    fn of(sketch: &Sketch) -> Self {
        let largest = sketch
            .layers()
            .into_iter()
            .find(|(name, _)| !name.is_empty());
        Self {
            peak: sketch.peak(),
            layer: largest.map(|(name, bytes)| (name.to_owned(), bytes)),
        }
    }

    /// The most at once.
    fn most(&self) -> f64 {
        self.peak.most + self.peak.scratch
    }
}

impl Plan<'_> {
    fn sketch(&self) -> Sketch {
        let width = match self.config.train.compute {
            // Of f64 all numbers, twice as wide: `estimate` doubles the sum.
            Compute::F32 | Compute::F64 => WIDE,
            Compute::Bf16 => 2.0,
        };
        let threads = self.around.threads.max(1) as f64;
        Sketch::new(width, threads, self.config.train.recompute)
    }

    /// Numbers of a batch of images.
    fn batch(&self, size: usize) -> f64 {
        let ImageKind {
            channels,
            size: side,
            ..
        } = self.around.images;
        size as f64 * channels as f64 * (side as f64).powi(2)
    }

    fn images(&self, id: Id, batch: usize) -> Images {
        let ImageKind { channels, size, .. } = self.around.images;
        Images {
            id,
            batch: batch as f64,
            channels: channels as f64,
            side: size as f64,
        }
    }

    /// x̂ of a batch, with all that leads to it, and what the network predicts.
    fn predicted(&self, s: &mut Sketch, batch: usize) -> [Id; 2] {
        let images = self.around.images;
        let pixels = self.batch(batch);
        s.at("");
        let x0 = s.input(pixels);
        let noised = s.wide_operation(pixels, &[x0]);
        let scaled = s.wide_operation(pixels, &[noised]);
        let input = s.narrowed(scaled);
        let x = self.images(input, batch);
        let labels = (images.classes, self.config.data.augment_labels());
        let y = self.config.model.sketch(s, x, labels);
        s.at("");
        let output = s.widened(y.id);
        let skipped = s.wide_operation(pixels, &[noised]);
        let scaled = s.wide_operation(pixels, &[output]);
        [s.sum(skipped, scaled), output]
    }

    fn features(&self, s: &mut Sketch, x: Id, batch: usize) -> Id {
        networks::encoder(s, &self.encoder, self.images(x, batch))
    }

    /// S of features.
    fn structure(&self, s: &mut Sketch, [psi, psi_hat]: [Id; 2], batch: usize) -> Id {
        s.at("the structural loss");
        let (b, d) = (batch as f64, self.encoder.dim as f64);
        let structure = &self.config.structure;
        let inner_product = structure.relation.rows().is_some();
        if inner_product && structure.distance == Distance::SQUARED {
            // The smaller of B×B and d×d, in f64 and f32, and the products that wait for the way back.
            let side = b.min(d);
            return s.operation(2.0 * b * d, &[psi, psi_hat], [6.0 * side * side, 0.0]);
        }
        let [real, generated] = [psi, psi_hat].map(|psi| {
            if inner_product {
                return s.wide_operation(b * b, &[psi]);
            }
            // Rows and columns of all pairs, each with a gradient of its own.
            let [rows, columns] = [(); 2].map(|()| s.broadcast(psi, b * b * d));
            let differences = s.sum(rows, columns);
            let squares = s.squares(differences);
            s.wide_operation(b * b, &[squares])
        });
        let [real, generated] = [real, generated].map(|q| s.wide_operation(3.0 * b * b, &[q]));
        let difference = s.sum(real, generated);
        let weighted = s.wide_operation(2.0 * b * b, &[difference]);
        s.wide_operation(1.0, &[weighted])
    }

    /// The loss of θ in a phase.
    fn theta(&self, phase: Phase, batch: usize) -> Sketch {
        let mut s = self.sketch();
        let [x_hat, output] = self.predicted(&mut s, batch);
        let pixels = self.batch(batch);
        let x0 = s.input(pixels);
        let difference = s.wide_operation(pixels, &[x_hat, x0]);
        let squares = s.squares(difference);
        let mut total = s.wide_operation(1.0, &[squares]);
        if self.config.objective.variance == PredictedVariance::LearnedRange {
            let v = s.broadcast(output, pixels);
            let of_variances = variance::variance_loss(&mut s, v, pixels);
            total = s.sum(total, of_variances);
        }
        if phase.has_structure() {
            s.freeze(true);
            let psi = self.features(&mut s, x0, batch);
            let psi_hat = self.features(&mut s, x_hat, batch);
            let loss = self.structure(&mut s, [psi, psi_hat], batch);
            let loss = s.wide_operation(1.0, &[loss]);
            total = s.sum(total, loss);
        }
        s.view(total);
        s
    }

    /// The loss of φ in a round.
    fn phi(&self, batch: usize) -> Sketch {
        let mut s = self.sketch();
        s.freeze(true);
        let [x_hat, _] = self.predicted(&mut s, batch);
        let x_hat = s.detached(x_hat);
        s.freeze(false);
        let x0 = s.input(self.batch(batch));
        let psi = self.features(&mut s, x0, batch);
        let psi_hat = self.features(&mut s, x_hat, batch);
        self.structure(&mut s, [psi, psi_hat], batch);
        s
    }

    /// S of the features of all micro-batches.
    fn coupled(&self, batch: usize) -> Sketch {
        let mut s = self.sketch();
        let rows = (batch * self.encoder.dim) as f64;
        let features = [(); 2].map(|()| s.input(rows));
        self.structure(&mut s, features, batch);
        s
    }

    /// The classifier's loss.
    fn classifier(&self, batch: usize, trained: bool) -> Sketch {
        let mut s = self.sketch();
        s.freeze(!trained);
        let x0 = s.input(self.batch(batch));
        let features = self.features(&mut s, x0, batch);
        let logits = networks::classifier(&mut s, &self.encoder, features, batch as f64);
        s.wide_operation(1.0, &[logits]);
        s
    }

    /// Numbers of each parameter.
    fn named_parameters(&self) -> BTreeMap<String, f64> {
        let mut all = self.theta(Phase::Denoise, 1).parameters().clone();
        all.extend(self.classifier(1, true).parameters().clone());
        all
    }

    /// Numbers of the denoiser's parameters and of the encoder's.
    fn parameters(&self) -> [f64; 2] {
        let all = self.named_parameters();
        let of = |player: &str| {
            let own = all.iter().filter(|(name, _)| name.starts_with(player));
            own.map(|(_, numbers)| numbers).sum()
        };
        [of(NETWORK), of(ENCODER)]
    }

    fn moments(&self) -> Vec<Moment> {
        let [theta, phi] = self.parameters();
        // Parameters, averages and two moments; parameters and two moments.
        let held = WIDE * (4.0 * theta + 3.0 * phi) + self.pools();
        let mut moments: Vec<Moment> = phases(self.config)
            .iter()
            .flat_map(|span| self.steps(span.phase))
            .map(|moment| Moment {
                bytes: moment.bytes + held,
                ..moment
            })
            .collect();
        moments.push(self.opening([theta, phi]));
        moments.push(self.drawing(held));
        if !self.config.coupling.is_independent() {
            moments.push(self.assigning(held));
        }
        if self.config.structure.method != StructureMethod::None {
            moments.push(self.classifying(held));
        }
        moments.push(self.storing(held, [theta, phi]));
        moments
    }

    /// The steps of a phase.
    fn steps(&self, phase: Phase) -> Vec<Moment> {
        let when = format!("{STEP} `{}`", phase.name());
        let moment = |sketch: &Sketch, batch: usize, more: f64| {
            let pass = Pass::of(sketch);
            // Real images, their noise, and the choice of them that was sent.
            let batches = 3.0 * WIDE * self.batch(batch);
            let of_graph = more - (pass.peak.most - pass.peak.kept).min(more);
            Moment {
                bytes: pass.most() + of_graph + batches,
                when: when.clone(),
                remedies: self.remedies(phase, pass.layer.as_ref()),
                layer: pass.layer,
            }
        };
        let train = &self.config.train;
        let part = |batch: usize| batch.div_ceil(train.micro_batches.clamp(1, batch.max(1)));
        // The gradients of the micro-batches before.
        let [of_theta, of_phi] = self.parameters();
        let sums = |parameters: f64| {
            let several = train.micro_batches > 1;
            if several { WIDE * parameters } else { 0.0 }
        };
        if phase == Phase::Encoder {
            let batch = self.config.encoder.batch;
            let pass = self.classifier(part(batch), true);
            return vec![moment(&pass, batch, sums(of_phi))];
        }
        let batch = train.batch;
        // While the graph is there: what an observer makes.
        let shadow = if self.config.shadow.every > 0 {
            SHADOW_ARRAYS * 2.0 * WIDE * self.batch(batch)
        } else {
            0.0
        };
        let theta = self.theta(phase, part(batch));
        let mut steps = vec![moment(&theta, batch, shadow + sums(of_theta))];
        if phase.has_structure() && train.micro_batches > 1 {
            steps.push(moment(&self.coupled(batch), batch, 0.0));
        }
        if phase != Phase::Adversarial {
            return steps;
        }
        let phi = self.phi(part(batch));
        steps.push(moment(&phi, batch, sums(of_phi)));
        // Several φ-ascents can be given up: everything is held as it was before them.
        let before = if self.config.adversarial.phi_steps > 1 {
            WIDE * (4.0 * of_theta + 3.0 * of_phi)
        } else {
            0.0
        };
        let with_before = |moment: Moment| Moment {
            bytes: moment.bytes + before,
            ..moment
        };
        steps.into_iter().map(with_before).collect()
    }

    /// Pairs that are assigned together.
    fn pool(&self) -> usize {
        let batch = self.config.train.batch;
        batch * self.config.coupling.batches(batch)
    }

    /// The pools that wait to be used up: images, noise as drawn and as assigned, of θ and of φ where it has steps.
    fn pools(&self) -> f64 {
        if self.config.coupling.is_independent() {
            return 0.0;
        }
        let spans = phases(self.config);
        let phi = spans.iter().any(|span| span.phase == Phase::Adversarial);
        3.0 * WIDE * self.batch(self.pool()) * if phi { 2.0 } else { 1.0 }
    }

    /// The assignment of a pool: costs as they are computed, as they are scaled and in classes, and rows beside them; or the shadow
    /// check's own, in f64.
    fn assigning(&self, held: f64) -> Moment {
        let pool = self.pool();
        let costs = 3.0 * 2.0 * WIDE * (pool as f64).powi(2);
        Moment {
            bytes: held + costs + 4.0 * WIDE * self.batch(pool),
            when: "the assignment of a pool".to_owned(),
            layer: Some(("the matrix of transport costs".to_owned(), costs)),
            remedies: vec![format!("coupling.pool = {pool}")],
        }
    }

    /// The audit before the first step: few images, but with all of the data beside those chosen from it, and copies of the players.
    fn opening(&self, [theta, phi]: [f64; 2]) -> Moment {
        let batch = self.config.train.batch.clamp(2, 8);
        let spans = phases(self.config);
        let sketches = spans.iter().map(|span| match span.phase {
            Phase::Encoder => self.classifier(batch, true),
            phase => self.theta(phase, batch),
        });
        let passes = sketches.map(|sketch| Pass::of(&sketch));
        let pass = passes.max_by(|a, b| a.most().total_cmp(&b.most()));
        // Parameters, averages, the copy.
        let held = WIDE * (3.0 * theta + 2.0 * phi);
        let layer = pass.as_ref().and_then(|pass| pass.layer.clone());
        Moment {
            bytes: held + self.around.data + pass.map_or(0.0, |pass| pass.most()),
            when: "the audit before the first step".to_owned(),
            remedies: self.remedies(Phase::Denoise, layer.as_ref()),
            layer,
        }
    }

    /// Samples.
    fn drawing(&self, held: f64) -> Moment {
        let count = self.config.sample.count;
        let batch = count.min(DRAWN);
        let mut s = self.sketch();
        s.freeze(true);
        self.predicted(&mut s, batch);
        let drawn = Pass::of(&s);
        // Noise, z before and after, two answers and one that waits; all samples, and once more when they are put together.
        let pixels = WIDE * (6.0 * self.batch(batch) + 2.0 * self.batch(count));
        let mut remedies = self.remedies(Phase::Denoise, drawn.layer.as_ref());
        remedies.retain(|remedy| !remedy.starts_with("train.batch"));
        remedies.insert(0, format!("sample.count = {count}"));
        Moment {
            bytes: held + drawn.most() + pixels,
            when: "drawing samples".to_owned(),
            remedies,
            layer: drawn.layer,
        }
    }

    /// The held-out images through the encoder.
    fn classifying(&self, held: f64) -> Moment {
        let batch = self.around.held_out.min(CLASSIFIED);
        let pass = Pass::of(&self.classifier(batch, false));
        let mut remedies = self.remedies(Phase::Encoder, pass.layer.as_ref());
        remedies.retain(|remedy| !remedy.starts_with("encoder.batch"));
        remedies.insert(0, format!("data.holdout = {}", self.config.data.holdout));
        Moment {
            bytes: held + pass.most() + WIDE * self.batch(batch),
            when: "the classification of held-out images".to_owned(),
            remedies,
            layer: pass.layer,
        }
    }

    /// A checkpoint being written, or read.
    fn storing(&self, held: f64, [theta, phi]: [f64; 2]) -> Moment {
        let moments = 2.0 * WIDE * (theta + phi);
        let bytes = if self.around.resumed {
            // The tensors of its files, the bytes of the last, and the moments' own copies.
            2.0 * held + 2.0 * moments
        } else {
            held + moments
        };
        let named = self.named_parameters().into_iter();
        let largest = named.max_by(|a, b| a.1.total_cmp(&b.1));
        let layer = largest.map(|(name, numbers)| (name, WIDE * numbers));
        let of_encoder = layer.iter().any(|(name, _)| name.starts_with(ENCODER));
        Moment {
            bytes,
            when: "a checkpoint".to_owned(),
            remedies: if of_encoder {
                vec![format!("encoder.widths = {:?}", self.encoder.widths)]
            } else {
                self.widths()
            },
            layer,
        }
    }

    /// The settings that make a pass smaller, those of its largest layer first.
    fn remedies(&self, phase: Phase, layer: Option<&(String, f64)>) -> Vec<String> {
        let size = self.around.images.size;
        let batch = match phase {
            Phase::Encoder => format!("encoder.batch = {}", self.config.encoder.batch),
            _ => format!("train.batch = {}", self.config.train.batch),
        };
        let name = layer.map_or("", |(name, _)| name.as_str());
        let pictures = format!("side of the images = {size}");
        if name.starts_with("the structural loss") {
            return vec![batch, format!("encoder.dim = {}", self.encoder.dim)];
        }
        let widths = if name.starts_with(ENCODER) {
            vec![format!("encoder.widths = {:?}", self.encoder.widths)]
        } else {
            self.widths()
        };
        let [own, _] = self.config.model.smaller(name);
        own.into_iter()
            .chain([batch, pictures])
            .chain(widths)
            .collect()
    }

    /// The settings that make a network smaller.
    fn widths(&self) -> Vec<String> {
        let [_, whole] = self.config.model.smaller("");
        whole
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use candle_core::{CpuStorage, DType, Device, Storage, Tensor};

    use super::*;
    use crate::network::{Condition, Mode};
    use crate::params::Params;
    use crate::train::networks as trained;

    const IMAGES: ImageKind = ImageKind {
        channels: 3,
        size: 8,
        classes: 5,
    };

    fn config(sets: &[&str]) -> Config {
        Config::default()
            .with_sets(sets.iter().copied())
            .expect("known keys")
    }

    fn plan(config: &Config) -> Plan<'_> {
        Plan {
            config,
            around: Circumstances {
                images: IMAGES,
                data: 0.0,
                held_out: 0,
                threads: 2,
                resumed: false,
            },
            encoder: config.encoder.network(IMAGES.channels, IMAGES.classes),
        }
    }

    /// Where a tensor's numbers lie, and how many bytes they are.
    fn storage(tensor: &Tensor) -> (usize, usize) {
        let (storage, _) = tensor.storage_and_layout();
        let bytes = match &*storage {
            Storage::Cpu(CpuStorage::F32(values)) => 4 * values.len(),
            Storage::Cpu(CpuStorage::BF16(values)) => 2 * values.len(),
            Storage::Cpu(CpuStorage::F64(values)) => 8 * values.len(),
            _ => panic!("a tensor on the CPU"),
        };
        (std::ptr::from_ref(&*storage).addr(), bytes)
    }

    /// Bytes of the tensors in candle's graph, each once, without variables.
    fn in_graph(last: &Tensor) -> f64 {
        let nodes = last.sorted_nodes();
        let is_variable = |node: &&&Tensor| node.is_variable();
        let variables: BTreeSet<_> = (nodes.iter().filter(is_variable))
            .map(|node| storage(node).0)
            .collect();
        let made: BTreeMap<_, _> = nodes.iter().map(|node| storage(node)).collect();
        let bytes = made
            .iter()
            .filter(|(address, _)| !variables.contains(address));
        bytes.map(|(_, bytes)| *bytes as f64).sum()
    }

    fn sizes(params: &Params) -> BTreeMap<String, u64> {
        let vars = params.vars().into_iter();
        vars.map(|(name, var)| (name, var.elem_count() as u64))
            .collect()
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole numbers of parameters"
    )]
    fn sketched(sketch: &Sketch, player: &str) -> BTreeMap<String, u64> {
        let own = sketch.parameters().iter().filter_map(|(name, numbers)| {
            let name = name.strip_prefix(player)?.strip_prefix('.')?;
            Some((name.to_owned(), *numbers as u64))
        });
        own.collect()
    }

    fn batch() -> (Tensor, [f64; 3], [u32; 3]) {
        let x = Tensor::randn(0f32, 1.0, (3, 3, 8, 8), &Device::Cpu).expect("noise");
        (x, [0.1, 0.2, 0.3], [0, 4, 5])
    }

    /// Both networks with and without every optional part, in both types.
    #[test]
    fn a_sketch_has_the_parameters_and_the_tensors_of_the_denoiser() {
        for sets in [
            &["model.unet.channels=[16, 24]", "model.unet.blocks=2"][..],
            &[
                "model.unet.channels=[32, 32, 64]",
                "model.unet.attention=[0, 2]",
            ],
            &[
                "model.unet.channels=[8]",
                "model.unet.attention=[]",
                "model.unet.emb_dim=7",
            ],
            &[
                "model.kind=dit-small",
                "model.dit-small.depth=3",
                "model.dit-small.dim=24",
            ],
            &[
                "model.kind=dit-small",
                "model.dit-small.patch=4",
                "model.dit-small.mlp_ratio=3",
            ],
            &["train.compute=bf16"],
            &["train.compute=bf16", "model.kind=dit-small"],
            &[
                "model.kind=dit",
                "model.dit.depth=2",
                "model.dit.learn_sigma=true",
            ],
            &[
                "train.compute=bf16",
                "model.kind=sit",
                "model.sit.patch_size=4",
            ],
        ] {
            let config = config(sets);
            let params = Params::new(&Device::Cpu, DType::F32, 1);
            let inner = trained::denoiser(&config, IMAGES, params.builder()).expect("a network");
            let (x, noise, labels) = batch();
            let condition = Condition::new(&noise, Some(&labels));
            let y = config
                .train
                .compute
                .within(&x, |x| inner.forward(x, &condition, Mode::Evaluate))
                .expect("an answer");
            let plan = plan(&config);
            let mut s = plan.sketch();
            let x = s.input(plan.batch(3));
            let x = s.narrowed(x);
            let image = plan.images(x, 3);
            let labels = (5, config.data.augment_labels());
            let y_sketched = config.model.sketch(&mut s, image, labels);
            s.widened(y_sketched.id);
            assert_eq!(sketched(&s, NETWORK), sizes(&params), "{sets:?}");
            assert_eq!(
                s.tracked().to_bits(),
                in_graph(&y).to_bits(),
                "{sets:?}: {} sketched, {} made",
                s.tracked(),
                in_graph(&y)
            );
        }
    }

    #[test]
    fn a_sketch_has_the_parameters_and_the_tensors_of_the_encoder() {
        for sets in [
            &["encoder.widths=[16, 32]", "encoder.dim=7"][..],
            &["encoder.widths=[8]", "train.compute=bf16"],
        ] {
            let config = config(sets);
            let params = Params::new(&Device::Cpu, DType::F32, 1);
            let plan = plan(&config);
            let encoder = crate::features::Encoder::new(&plan.encoder, params.builder())
                .expect("a network")
                .computing_in(config.train.compute);
            let logits = encoder.logits(&batch().0).expect("logits");
            let mut s = plan.sketch();
            let x = s.input(plan.batch(3));
            let features = plan.features(&mut s, x, 3);
            networks::classifier(&mut s, &plan.encoder, features, 3.0);
            assert_eq!(sketched(&s, ENCODER), sizes(&params), "{sets:?}");
            assert_eq!(
                s.tracked().to_bits(),
                in_graph(&logits).to_bits(),
                "{sets:?}: {} sketched, {} made",
                s.tracked(),
                in_graph(&logits)
            );
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_layer_and_the_settings() {
        let room = |bytes: f64| Room {
            bytes,
            whose: "a test has".to_owned(),
        };
        let judged = |sets: &[&str], size: usize, room: &Room| {
            let config = config(sets);
            let around = Circumstances {
                images: ImageKind {
                    channels: 1,
                    size,
                    classes: 10,
                },
                ..plan(&config).around
            };
            estimate(&config, &around).fits(room, "train.check_memory = false trains all the same")
        };
        let gib = 2f64.powi(30);
        judged(&[], 8, &room(gib)).expect("8×8 pixels fit");
        for (sets, size, parts) in [
            // Each of 128² pixels with each, in f32: a GiB, six of which two threads have at the same time.
            (
                &[][..],
                256,
                ["`model.down.1.attn.0`", "model.unet.attention = [1]"],
            ),
            (
                &["model.unet.attention=[]", "train.batch=4096"],
                32,
                ["train.batch = 4096", "side of the images = 32"],
            ),
            (
                &[
                    "model.unet.channels=[1000000000]",
                    "model.unet.attention=[]",
                ],
                8,
                [
                    "more than any machine has",
                    "model.unet.channels = [1000000000]",
                ],
            ),
            (
                &["model.kind=dit-small", "model.dit-small.dim=1000000000"],
                8,
                [
                    "more than any machine has",
                    "model.dit-small.dim = 1000000000",
                ],
            ),
            (
                &["encoder.widths=[1000000000]"],
                8,
                ["more than any machine has", "encoder.widths = [1000000000]"],
            ),
            (
                &["encoder.batch=1000000"],
                8,
                ["phase `encoder`", "encoder.batch = 1000000"],
            ),
            (
                &["sample.count=1000000"],
                32,
                ["drawing samples", "sample.count = 1000000"],
            ),
            (
                &[
                    "structure.relation=euclidean",
                    "train.batch=8192",
                    "structure.method=guided",
                    "model.unet.channels=[1]",
                    "model.unet.groups=1",
                    "model.unet.heads=1",
                    "model.unet.attention=[]",
                ],
                8,
                ["the structural loss", "encoder.dim = 64"],
            ),
        ] {
            let refused = judged(sets, size, &room(gib)).expect_err("too large");
            let message = refused.to_string();
            for part in parts
                .iter()
                .chain(&["1.0 GiB that a test has", "train.check_memory"])
            {
                assert!(
                    message.contains(part),
                    "{sets:?}: `{part}` is not in: {message}"
                );
            }
        }
    }
}
