//! LPIPS, a perceptual distance of two images.

use candle_core::{DType, Device, Tensor};

use super::Weights;
use super::field::{Field, each, map, one_by_one};
use crate::features::layers::{Convolution, Window};
use crate::nn::cpu::channels_last::Map;
use crate::{Error, Result};

/// Constant added to the norm of a pixel's channels.
const EPS: f64 = 1e-10;
/// Smallest image that the three poolings leave a pixel of.
const LEAST: usize = 25;
/// The fire modules: their place, inputs, squeezed and expanded channels, and whether a pooling comes before.
const FIRES: [(&str, usize, usize, usize, bool); 8] = [
    ("slice2.3", 64, 16, 64, true),
    ("slice2.4", 128, 16, 64, false),
    ("slice3.6", 128, 32, 128, true),
    ("slice3.7", 256, 32, 128, false),
    ("slice4.9", 256, 48, 192, true),
    ("slice5.10", 384, 48, 192, false),
    ("slice6.11", 384, 64, 256, false),
    ("slice7.12", 512, 64, 256, false),
];
/// The fires after which a layer is compared; the first compared layer is that of the stem.
const COMPARED: [usize; 6] = [1, 3, 4, 5, 6, 7];

/// LPIPS 0.1 in the features of SqueezeNet 1.1.
///
/// # Formula `[eq:lpips]`
/// ```text
/// d(x, y) = Σ_l mean_{ij} Σ_c w_{l,c} (x̂_{l,c,i,j} − ŷ_{l,c,i,j})²,    x̂_l = x_l/(‖x_l‖_c + 10⁻¹⁰)
/// ```
/// over seven layers l, after x has been shifted and scaled per channel.
///
/// # Source
/// Zhang et al. 2018 (arXiv:1801.03924), Eq. 1; version 0.1 of their weights, with the names of the package `lpips`.
#[derive(Debug)]
pub struct Lpips {
    shift: Tensor,
    scale: Tensor,
    stem: Convolution,
    fires: Vec<Fire>,
    /// w of each layer, `[1, C, 1, 1]`.
    heads: Vec<Tensor>,
    device: Device,
}

/// A squeeze by 1×1, expanded by 1×1 and 3×3 side by side.
#[derive(Debug)]
struct Fire {
    squeeze: Convolution,
    expand: [Convolution; 2],
    pooled: bool,
}

impl Fire {
    fn forward<F: Field>(&self, x: &F) -> Result<F> {
        let squeezed = if self.pooled {
            let window = Window {
                side: 3,
                stride: 2,
                padding: 0,
                ceil: true,
            };
            x.greatest(window)?.convolved(&self.squeeze, true)?
        } else {
            x.convolved(&self.squeeze, true)?
        };
        let expand = |layer: &Convolution| squeezed.convolved(layer, true);
        F::joined(self.expand.iter().map(expand).collect::<Result<_>>()?)
    }
}

impl Lpips {
    /// The network and its heads from a file.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape, named; a negative weight of a head.
    pub fn load(weights: &Weights, device: &Device) -> Result<Self> {
        let get = |name: &str, channels: usize| -> Result<Tensor> {
            let tensor = weights.get(name, &[1, channels, 1, 1])?;
            Ok(tensor.to_dtype(DType::F32)?.to_device(device)?)
        };
        let convolution = |name: String, sizes, shape| {
            Convolution::load_plain(weights, &format!("net.{name}"), sizes, shape, device)
        };
        let fire = |&(name, inputs, squeezed, expanded, pooled): &(
            &str,
            usize,
            usize,
            usize,
            bool,
        )|
         -> Result<Fire> {
            let one = ((1, 1), 1, (0, 0));
            let three = ((3, 3), 1, (1, 1));
            Ok(Fire {
                squeeze: convolution(format!("{name}.squeeze"), [squeezed, inputs], one)?,
                expand: [
                    convolution(format!("{name}.expand1x1"), [expanded, squeezed], one)?,
                    convolution(format!("{name}.expand3x3"), [expanded, squeezed], three)?,
                ],
                pooled,
            })
        };
        let widths = std::iter::once(64).chain(COMPARED.map(|at| 2 * FIRES[at].3));
        let head = |(i, width): (usize, usize)| -> Result<Tensor> {
            let name = format!("lin{i}.model.1.weight");
            let head = get(&name, width)?;
            let least = head.flatten_all()?.min(0)?.to_scalar::<f32>()?;
            if least < 0.0 {
                let problem = format!("tensor `{name}` must not be negative, got {least}");
                return Err(Error::file(weights.path(), problem));
            }
            Ok(head)
        };
        Ok(Self {
            shift: get("scaling_layer.shift", 3)?,
            scale: get("scaling_layer.scale", 3)?,
            stem: convolution("slice1.0".to_owned(), [64, 3], ((3, 3), 2, (0, 0)))?,
            fires: FIRES.iter().map(fire).collect::<Result<_>>()?,
            heads: widths.enumerate().map(head).collect::<Result<_>>()?,
            device: device.clone(),
        })
    }

    /// The distances of two batches of images `[N, 1 or 3, H, W]` in [−1, 1], pair by pair: `[N]`.
    ///
    /// # Errors
    /// As [`embedding`](Self::embedding); batches of different shapes.
    pub fn distances(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        let apart = (self.embedding(x)? - self.embedding(y)?)?;
        Ok(apart.sqr()?.sum(1)?)
    }

    /// Vectors whose squared distances are LPIPS: `[N, 1 or 3, H, W]` → `[N, D]`.
    ///
    /// # Formula `[eq:lpips-embedding]`
    /// ```text
    /// φ(x) = (√(w_{l,c}/(H_l W_l)) x̂_{l,c,i,j})_{l,c,i,j},     d(x, y) = ‖φ(x) − φ(y)‖²
    /// ```
    ///
    /// # Errors
    /// Another number of channels; images smaller than 25×25, of which the poolings leave nothing.
    pub fn embedding(&self, x: &Tensor) -> Result<Tensor> {
        let (n, channels, height, width) = x.dims4()?;
        if !matches!(channels, 1 | 3) || height.min(width) < LEAST {
            let must = format!("[N, 1 or 3, H ≥ {LEAST}, W ≥ {LEAST}]");
            return Err(Error::shape("images for LPIPS", must, x.dims()));
        }
        let x = x.to_device(&self.device)?.to_dtype(DType::F32)?;
        let x = x.broadcast_as((n, 3, height, width))?;
        let x = x.broadcast_sub(&self.shift)?.broadcast_div(&self.scale)?;
        if one_by_one(&self.device) {
            let heads: Vec<Vec<f32>> = self
                .heads
                .iter()
                .map(|head| Ok(head.flatten_all()?.to_vec1()?))
                .collect::<Result<_>>()?;
            let parts = each(&x, |x| {
                let layers = self.compared(&map(x)?)?;
                let parts = layers.iter().zip(&heads);
                Ok(parts
                    .flat_map(|(layer, head)| weighted_map(layer, head))
                    .collect::<Vec<f32>>())
            })?;
            let width = parts.first().map_or(0, Vec::len);
            return Ok(Tensor::from_vec(parts.concat(), (n, width), &Device::Cpu)?);
        }
        let layers = self.compared(&x)?;
        let parts = layers.iter().zip(&self.heads);
        let parts = parts.map(|(layer, head)| weighted(layer, head));
        Ok(Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 1)?)
    }

    /// The layers that are compared.
    fn compared<F: Field>(&self, x: &F) -> Result<Vec<F>> {
        let mut y = x.convolved(&self.stem, true)?;
        let mut layers = vec![y.copied()];
        for (i, fire) in self.fires.iter().enumerate() {
            y = fire.forward(&y)?;
            if COMPARED.contains(&i) {
                layers.push(y.copied());
            }
        }
        Ok(layers)
    }
}

/// `√(w/(H W)) x/(‖x‖ + ε)` of one image, channel by channel.
#[expect(
    clippy::cast_possible_truncation,
    reason = "ε is a number of f32, and rounding to it is meant"
)]
fn weighted_map(x: &Map<f32>, head: &[f32]) -> Vec<f32> {
    let (height, width) = x.side();
    let pixels = (height * width) as f32;
    let norms: Vec<f32> = x
        .pixels()
        .map(|x| x.iter().map(|x| x * x).sum::<f32>().sqrt() + EPS as f32)
        .collect();
    let mut weighted = Vec::with_capacity(x.values().len());
    for (c, w) in head.iter().enumerate() {
        let root = (w / pixels).sqrt();
        weighted.extend(x.pixels().zip(&norms).map(|(x, norm)| x[c] / norm * root));
    }
    weighted
}

/// `√(w/(H W)) x/(‖x‖ + ε)`, flattened: `[N, C, H, W]` → `[N, C·H·W]`.
fn weighted(x: &Tensor, head: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    let norm = (x.sqr()?.sum_keepdim(1)?.sqrt()? + EPS)?;
    let root = (head / (height * width) as f64)?.sqrt()?;
    Ok(x.broadcast_div(&norm)?
        .broadcast_mul(&root)?
        .flatten_from(1)?)
}
