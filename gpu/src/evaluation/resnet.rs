//! Residual networks for CIFAR-10, as features.

use candle_core::{DType, Device, Tensor};

use super::Weights;
use super::field::{Field, each, map, one_by_one, stacked};
use crate::features::layers::Convolution;
use crate::nn::{global_avg_pool, linear};
use crate::{Error, Result};

/// ε of their batch norms.
const EPS: f64 = 1e-5;
/// Mean and standard deviation of ImageNet's channels, in [0, 1], by which inputs are scaled.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];
const WIDTHS: [usize; 3] = [16, 32, 64];
const CLASSES: usize = 10;

/// A network of 6n + 2 layers with shortcuts without parameters (option A), frozen.
///
/// # Source
/// He et al. 2015 (arXiv:1512.03385), Sec. 4.2; names of tensors as in the public `pytorch_resnet_cifar10`.
#[derive(Debug)]
pub struct Resnet {
    stem: Convolution,
    blocks: Vec<Block>,
    classifier: (Tensor, Tensor),
    depth: usize,
    device: Device,
}

#[derive(Debug)]
struct Block {
    first: Convolution,
    second: Convolution,
    widens: bool,
}

impl Block {
    fn forward<F: Field>(&self, x: &F) -> Result<F> {
        let y = x.convolved(&self.first, true)?;
        let y = y.convolved(&self.second, false)?;
        if self.widens {
            y.add_relu(&x.halved()?)
        } else {
            y.add_relu(x)
        }
    }
}

impl Resnet {
    /// The network whose weights a file holds; its depth is read off the names.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape, named with what would be right.
    pub fn load(weights: &Weights, device: &Device) -> Result<Self> {
        let convolution = |names: [&str; 2], sizes, stride| {
            Convolution::load(weights, names, sizes, ((3, 3), stride, (1, 1)), EPS, device)
        };
        let mut each = 0;
        while weights.has(&format!("layer1.{each}.conv1.weight")) {
            each += 1;
        }
        let mut blocks = Vec::new();
        let mut inputs = WIDTHS[0];
        for (stage, width) in WIDTHS.into_iter().enumerate() {
            for i in 0..each.max(1) {
                let names = ["conv1", "bn1", "conv2", "bn2"]
                    .map(|part| format!("layer{}.{i}.{part}", stage + 1));
                let widens = inputs != width;
                blocks.push(Block {
                    first: convolution(
                        [&names[0], &names[1]],
                        [width, inputs],
                        1 + usize::from(widens),
                    )?,
                    second: convolution([&names[2], &names[3]], [width, width], 1)?,
                    widens,
                });
                inputs = width;
            }
        }
        let place = |x: Tensor| x.to_dtype(DType::F32)?.to_device(device);
        let weight = weights.get("linear.weight", &[CLASSES, inputs])?;
        Ok(Self {
            stem: convolution(["conv1", "bn1"], [WIDTHS[0], 3], 1)?,
            blocks,
            classifier: (
                place(weight)?,
                place(weights.get("linear.bias", &[CLASSES])?)?,
            ),
            depth: 6 * each + 2,
            device: device.clone(),
        })
    }

    /// Its name, such as `resnet20`.
    pub fn name(&self) -> String {
        format!("resnet{}", self.depth)
    }

    /// Features of images `[N, 3, 32, 32]` in [−1, 1]: `[N, 64]`.
    ///
    /// # Errors
    /// Images of another shape.
    pub fn features(&self, x: &Tensor) -> Result<Tensor> {
        if x.dims().get(1..) != Some(&[3, 32, 32]) {
            return Err(Error::shape(
                "images for a CIFAR-10 network",
                "[N, 3, 32, 32]",
                x.dims(),
            ));
        }
        let channels = |values: [f32; 3]| Tensor::new(&values, &self.device)?.reshape((1, 3, 1, 1));
        let x = x.to_device(&self.device)?.to_dtype(DType::F32)?;
        let x = ((x + 1.0)? * 0.5)?.broadcast_sub(&channels(MEAN)?)?;
        let x = x.broadcast_div(&channels(STD)?)?;
        if one_by_one(&self.device) {
            let features = each(&x, |x| Ok(self.through(&map(x)?)?.means()))?;
            return stacked(features, WIDTHS[2]);
        }
        Ok(global_avg_pool(&self.through(&x)?)?)
    }

    /// From the scaled image to the last map.
    fn through<F: Field>(&self, x: &F) -> Result<F> {
        let x = x.convolved(&self.stem, true)?;
        self.blocks.iter().try_fold(x, |x, block| block.forward(&x))
    }

    /// The classifier's logits of features: `[N, 64]` → `[N, 10]`.
    ///
    /// # Errors
    /// Another width.
    pub fn logits(&self, features: &Tensor) -> Result<Tensor> {
        Ok(linear(
            features,
            &self.classifier.0,
            Some(&self.classifier.1),
        )?)
    }
}
