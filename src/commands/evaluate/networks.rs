//! Features of published networks, whose weights the user brings.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use sadm_gpu::data::Images;
use sadm_gpu::evaluation::{Resnet, Weights};
use sadm_gpu::features::{Inception, Resize};
use sadm_gpu::nn::softmax_last;
use serde::Serialize;

use super::Metric;
use super::features::Extracted;
use super::input::Whose;
use super::matrix::{Matrix, Rows};
use crate::numbers;
use crate::progress;

/// Name of the features of fid, kid, pr and is.
pub const INCEPTION: &str = "inception";
/// Name of the features of sfid.
pub const INCEPTION_SPATIAL: &str = "inception-spatial";

/// The arguments that concern networks with published weights.
#[derive(Debug, clap::Args)]
pub struct NetworkArgs {
    /// Weights of the network: for inception pt_inception-2015-12-05-6726825d.pth, or the same tensors as .safetensors
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// Weights of lpips: SqueezeNet 1.1 with the heads of LPIPS 0.1
    #[arg(long, value_name = "FILE")]
    pub lpips_weights: Option<PathBuf>,
    /// How pictures are brought to the Inception network's 299×299: as the tool of this name
    #[arg(long, value_enum, default_value = "pytorch-fid")]
    resize: Tool,
    /// Images that go through a network together
    #[arg(long, value_name = "N", default_value = "32", value_parser = numbers::from_one)]
    pub batch: NonZeroUsize,
}

/// A tool whose resizing is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Tool {
    /// Linear between pixel centres, scaled as 2x − 1
    PytorchFid,
    /// As TensorFlow 1 and ADM's evaluator: linear between corners, (x − 128)/128
    TorchFidelity,
    /// As clean-fid: Pillow's bicubic filter, (x − 128)/128
    Clean,
}

impl Tool {
    fn resize(self) -> Resize {
        match self {
            Self::PytorchFid => Resize::PytorchFid,
            Self::TorchFidelity => Resize::TorchFidelity,
            Self::Clean => Resize::Clean,
        }
    }
}

/// What features come from: said with every answer.
#[derive(Debug, Clone, Serialize)]
pub struct Provenance {
    /// The file of weights.
    pub weights: String,
    /// Its SHA-256.
    pub sha256: String,
    /// Where in the file the weights were found, and what was left out of their names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<String>,
    /// Whether it is the published file; unknown where there is none to compare with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<bool>,
    /// How images are resized, where they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resize: Option<&'static str>,
}

impl Provenance {
    /// A line of the table.
    pub fn line(&self) -> String {
        let digest: String = self.sha256.chars().take(8).collect();
        let whose = match self.published {
            Some(true) => ", published",
            Some(false) => ", not the published ones",
            None => "",
        };
        let resize = self.resize.map(|resize| format!("; resize {resize}"));
        let resize = resize.unwrap_or_default();
        let read = self.read.as_ref().map(|read| format!(", {read}"));
        let read = read.unwrap_or_default();
        format!("{}, sha256 {digest}…{whose}{read}{resize}", self.weights)
    }

    /// What a reader must know.
    pub fn note(&self) -> Option<&'static str> {
        const OTHERS: &str = "weights not the published ones (pt_inception-2015-12-05-6726825d.pth, by its SHA-256): \
            numbers are not comparable with published ones";
        (self.published == Some(false)).then_some(OTHERS)
    }
}

/// A network that gives features.
enum Network {
    Inception(Box<Inception>, Resize),
    Resnet(Box<Resnet>),
}

/// A network with what is wanted of it.
pub struct NetworkFeatures {
    network: Network,
    provenance: Provenance,
    name: String,
    batch: usize,
    device: Device,
    spatial: bool,
    probabilities: bool,
}

impl NetworkFeatures {
    /// The Inception network; only what the metrics need will be kept.
    ///
    /// # Errors
    /// No `--weights`, or a file that does not hold them.
    pub fn inception(args: &NetworkArgs, metrics: &[Metric], device: &Device) -> Result<Self> {
        let file = args.weights.as_ref().context(
            "--features inception needs --weights FILE: pt_inception-2015-12-05-6726825d.pth, as pytorch-fid and \
             torch-fidelity download it, or the same tensors as .safetensors",
        )?;
        let weights = Weights::open(file)?;
        let network = Inception::load(&weights, device)?;
        let resize = args.resize.resize();
        let published = Some(network.is_published());
        let network = Network::Inception(Box::new(network), resize);
        let mut this = Self::new(args, &weights, network, metrics, device);
        this.provenance.published = published;
        this.provenance.resize = Some(resize.name());
        Ok(this)
    }

    /// A residual network for CIFAR-10.
    ///
    /// # Errors
    /// No `--weights`, or a file that does not hold them.
    pub fn resnet(args: &NetworkArgs, metrics: &[Metric], device: &Device) -> Result<Self> {
        let file = args.weights.as_ref().context(
            "--features resnet needs --weights FILE: a CIFAR-10 network with option-A shortcuts, such as resnet20 of \
             pytorch_resnet_cifar10",
        )?;
        let weights = Weights::open(file)?;
        let network = Resnet::load(&weights, device)?;
        let name = network.name();
        let network = Network::Resnet(Box::new(network));
        let this = Self::new(args, &weights, network, metrics, device);
        Ok(Self { name, ..this })
    }

    fn new(
        args: &NetworkArgs,
        weights: &Weights,
        network: Network,
        metrics: &[Metric],
        device: &Device,
    ) -> Self {
        Self {
            network,
            provenance: Provenance {
                weights: weights.path().display().to_string(),
                sha256: weights.digest().to_owned(),
                read: weights.reading(),
                published: None,
                resize: None,
            },
            name: INCEPTION.to_owned(),
            // Each image goes through on one thread: with fewer images than threads some would stand idle.
            batch: args.batch.get().max(rayon::current_num_threads()),
            device: device.clone(),
            spatial: metrics.contains(&Metric::Sfid),
            probabilities: metrics.contains(&Metric::Is),
        }
    }

    /// Name of the features.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What to say with every answer.
    pub fn provenance(&self) -> Provenance {
        self.provenance.clone()
    }

    /// The features of images, in batches.
    ///
    /// # Errors
    /// Images of a shape that the network does not take.
    pub fn of(&self, whose: Whose, images: &Images) -> Result<Extracted> {
        let count = images.count();
        let [channels, height, width] = images.shape;
        let mut features = Rows::<f32>::new(count);
        let mut spatial = Rows::<f32>::new(count);
        let mut probabilities = Rows::<f64>::new(count);
        let scored = self.probabilities && whose == Whose::Generated;
        let bar = progress::count_bar(count, &format!("features of {whose}"));
        for pixels in images.pixels.parts(self.batch * images.size()) {
            let shape = (pixels.len() / images.size(), channels, height, width);
            let x = Tensor::from_slice(&pixels, shape, &self.device)?;
            match &self.network {
                Network::Inception(network, resize) => {
                    let found = network.features(&x, *resize)?;
                    features.push(&found.pooled)?;
                    if self.spatial {
                        spatial.push(&found.spatial)?;
                    }
                    if scored {
                        probabilities.push(&network.probabilities(&found.pooled)?)?;
                    }
                }
                Network::Resnet(network) => {
                    let found = network.features(&x)?;
                    features.push(&found)?;
                    if scored {
                        let logits = network.logits(&found)?.to_device(&Device::Cpu)?;
                        probabilities.push(&softmax_last(&logits.to_dtype(DType::F64)?)?)?;
                    }
                }
            }
            bar.inc(shape.0 as u64);
        }
        bar.finish_and_clear();
        Ok(Extracted {
            features: Matrix::F32(features.all().unwrap_or_default()),
            probabilities: probabilities.all(),
            spatial: spatial.all().map(Matrix::F32),
        })
    }
}
