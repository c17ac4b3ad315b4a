//! The Inception network of 2015-12-05, in whose features FID is defined.

use candle_core::{DType, Device, Tensor};

use super::layers::{Convolution, Window};
use crate::evaluation::Weights;
use crate::evaluation::field::{Field, each, map, one_by_one, stacked};
use crate::features::Resize;
use crate::nn::{global_avg_pool, softmax_last};
use crate::{Error, Result};

/// Pooled features: the width of the last layer.
pub const POOLED: usize = 2048;
/// Spatial features: seven channels of 17×17.
pub const SPATIAL: usize = SPATIAL_CHANNELS * 17 * 17;
const SPATIAL_CHANNELS: usize = 7;
const CLASSES: usize = 1008;
/// ε of the graph's batch norms.
const EPS: f64 = 1e-3;

/// SHA-256 of the published file, `pt_inception-2015-12-05-6726825d.pth`, as pytorch-fid and torch-fidelity load it.
const PUBLISHED: &str = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2";

/// Features of a batch of images.
#[derive(Debug, Clone)]
pub struct Features {
    /// The last layer's mean over its 8×8 pixels, `[N, 2048]`: those of FID, KID, precision and recall.
    pub pooled: Tensor,
    /// The first seven channels of `mixed_6/conv`, `[N, 17·17·7]` with the channel innermost as in TensorFlow: those of sFID.
    pub spatial: Tensor,
}

/// The network of pytorch-fid, torch-fidelity and ADM's evaluator, frozen.
///
/// Inception-V3 with the differences of the TensorFlow graph: averages do not count the padding, the last block takes a maximum where the
/// paper takes a mean, and there are 1008 classes. Parameters have the names of torchvision, as in the published file.
///
/// # Source
/// Szegedy et al. 2016 (arXiv:1512.00567); the graph `inception-2015-12-05` by its converted file, whose layout pytorch-fid 0.3.0 and
/// torch-fidelity 0.4.0 document.
#[derive(Debug)]
pub struct Inception {
    /// From the image to `Mixed_6c`.
    trunk: Vec<Layer>,
    /// `Mixed_6d`, whose first branch the spatial features are.
    sixth: Vec<Vec<Layer>>,
    /// From there to `Mixed_7c`.
    head: Vec<Layer>,
    /// The classifier's weights `[2048, 1008]`.
    classifier: Tensor,
    device: Device,
    published: bool,
}

/// A step of the network. Branches see the same input; their outputs are put side by side.
#[derive(Debug)]
enum Layer {
    Convolution(Convolution),
    Maximum(Window),
    Mean,
    Branches(Vec<Vec<Layer>>),
}

impl Layer {
    fn forward<F: Field>(&self, x: &F) -> Result<F> {
        match self {
            Self::Convolution(convolution) => x.convolved(convolution, true),
            Self::Maximum(window) => x.greatest(*window),
            Self::Mean => x.mean3(),
            Self::Branches(branches) => joined(branches, x),
        }
    }
}

fn through<F: Field>(layers: &[Layer], x: &F) -> Result<F> {
    match layers {
        [] => Ok(x.copied()),
        [first, rest @ ..] => {
            let first = first.forward(x)?;
            rest.iter().try_fold(first, |x, layer| layer.forward(&x))
        }
    }
}

fn joined<F: Field>(branches: &[Vec<Layer>], x: &F) -> Result<F> {
    let parts = branches.iter().map(|branch| through(branch, x));
    F::joined(parts.collect::<Result<Vec<_>>>()?)
}

impl Inception {
    /// The network with the weights of a file.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape, named with what would be right.
    pub fn load(weights: &Weights, device: &Device) -> Result<Self> {
        let maker = Maker { weights, device };
        let classifier = weights.get("fc.weight", &[CLASSES, POOLED]);
        let classifier = classifier.map_err(|reason| maker.explained(reason))?;
        Ok(Self {
            trunk: maker.trunk()?,
            sixth: maker.block_c("Mixed_6d", 160)?,
            head: maker.head()?,
            classifier: classifier
                .t()?
                .contiguous()?
                .to_dtype(DType::F32)?
                .to_device(device)?,
            device: device.clone(),
            published: weights.digest() == PUBLISHED,
        })
    }

    /// Whether the weights are, byte for byte, the published file's.
    pub fn is_published(&self) -> bool {
        self.published
    }

    /// Features of images `[N, 1 or 3, H, W]` in [−1, 1].
    ///
    /// # Errors
    /// As [`Resize::input`].
    pub fn features(&self, images: &Tensor, resize: Resize) -> Result<Features> {
        let images = images.to_device(&self.device)?;
        if one_by_one(&self.device) {
            let input = |image: &Tensor| resize.input(image);
            return self.features_one_by_one(&images, input);
        }
        self.features_of_input(&resize.input(&images)?)
    }

    /// Features of images of which `input` makes what the network reads, each on one thread.
    fn features_one_by_one(
        &self,
        images: &Tensor,
        input: impl Fn(&Tensor) -> Result<Tensor> + Sync,
    ) -> Result<Features> {
        let features = each(images, |image| {
            let x = through(&self.trunk, &map(&input(image)?)?)?;
            let x = joined(&self.sixth, &x)?;
            let spatial: Vec<f32> = x
                .pixels()
                .flat_map(|x| &x[..SPATIAL_CHANNELS])
                .copied()
                .collect();
            Ok((through(&self.head, &x)?.means(), spatial))
        })?;
        let (pooled, spatial) = features.into_iter().unzip();
        Ok(Features {
            pooled: stacked(pooled, POOLED)?,
            spatial: stacked(spatial, SPATIAL)?,
        })
    }

    /// Features of what the network reads, `[N, 3, 299, 299]`.
    ///
    /// # Errors
    /// Another shape.
    pub fn features_of_input(&self, x: &Tensor) -> Result<Features> {
        if x.dims().get(1..) != Some(&[3, 299, 299]) {
            return Err(Error::shape(
                "input of the Inception network",
                "[N, 3, 299, 299]",
                x.dims(),
            ));
        }
        if one_by_one(&self.device) {
            return self.features_one_by_one(x, |x| Ok(x.clone()));
        }
        let x = joined(&self.sixth, &through(&self.trunk, x)?)?;
        let spatial = x.narrow(1, 0, SPATIAL_CHANNELS)?.permute((0, 2, 3, 1))?;
        Ok(Features {
            spatial: spatial.flatten_from(1)?,
            pooled: global_avg_pool(&through(&self.head, &x)?)?,
        })
    }

    /// Class probabilities of pooled features: `[N, 2048]` → `[N, 1008]` in f64.
    ///
    /// The softmax of the logits *without* their bias, as the inception score has been computed since its first publication, and as
    /// ADM's evaluator and torch-fidelity (`logits_unbiased`) do.
    ///
    /// # Errors
    /// Another width.
    pub fn probabilities(&self, pooled: &Tensor) -> Result<Tensor> {
        let logits = self.logits(pooled)?;
        Ok(softmax_last(
            &logits.to_device(&Device::Cpu)?.to_dtype(DType::F64)?,
        )?)
    }

    /// The logits without their bias: `[N, 2048]` → `[N, 1008]`.
    ///
    /// # Errors
    /// Another width.
    pub fn logits(&self, pooled: &Tensor) -> Result<Tensor> {
        Ok(pooled.matmul(&self.classifier)?)
    }
}

/// A maximum over 3×3.
fn maximum(stride: usize, padding: usize) -> Layer {
    Layer::Maximum(Window {
        side: 3,
        stride,
        padding,
        ceil: false,
    })
}

/// Makes layers from the tensors of a file.
struct Maker<'a> {
    weights: &'a Weights,
    device: &'a Device,
}

/// A branch: the name after the block's, outputs and kernel of each convolution in turn.
type Plan<'a> = &'a [(&'a str, usize, (usize, usize))];

impl Maker<'_> {
    /// Says more of a file of the other Inception-V3.
    fn explained(&self, reason: Error) -> Error {
        if self.weights.get("fc.weight", &[1000, POOLED]).is_err() {
            return reason;
        }
        let problem = "it holds torchvision's Inception-V3 of 1000 classes, whose features are others; \
             wanted are the weights of 2015-12-05 with 1008 classes (pt_inception-2015-12-05-6726825d.pth)";
        Error::file(self.weights.path(), problem)
    }

    fn convolution(
        &self,
        name: &str,
        sizes: [usize; 2],
        kernel: (usize, usize),
        stride: usize,
        padding: (usize, usize),
    ) -> Result<Layer> {
        let shape = (kernel, stride, padding);
        let parts = [format!("{name}.conv"), format!("{name}.bn")];
        let parts = [parts[0].as_str(), parts[1].as_str()];
        let layer = Convolution::load(self.weights, parts, sizes, shape, EPS, self.device)?;
        Ok(Layer::Convolution(layer))
    }

    /// Convolutions that keep the size.
    fn branch(&self, block: &str, mut inputs: usize, plan: Plan) -> Result<Vec<Layer>> {
        let mut layers = Vec::new();
        for &(name, outputs, kernel) in plan {
            let padding = (kernel.0 / 2, kernel.1 / 2);
            let name = format!("{block}.{name}");
            layers.push(self.convolution(&name, [outputs, inputs], kernel, 1, padding)?);
            inputs = outputs;
        }
        Ok(layers)
    }

    /// The same, and at the end one of 3×3 that halves the size.
    fn halving(
        &self,
        block: &str,
        inputs: usize,
        plan: Plan,
        last: (&str, usize),
    ) -> Result<Vec<Layer>> {
        let mut layers = self.branch(block, inputs, plan)?;
        let inputs = plan.last().map_or(inputs, |(_, outputs, _)| *outputs);
        let name = format!("{block}.{}", last.0);
        layers.push(self.convolution(&name, [last.1, inputs], (3, 3), 2, (0, 0))?);
        Ok(layers)
    }

    /// A pooling and a 1×1 convolution.
    fn pooled(
        &self,
        block: &str,
        inputs: usize,
        pooling: Layer,
        outputs: usize,
    ) -> Result<Vec<Layer>> {
        let mut layers = vec![pooling];
        layers.extend(self.branch(block, inputs, &[("branch_pool", outputs, (1, 1))])?);
        Ok(layers)
    }

    fn trunk(&self) -> Result<Vec<Layer>> {
        let stem = |name: &str, outputs, inputs, side, stride, padding| {
            self.convolution(
                name,
                [outputs, inputs],
                (side, side),
                stride,
                (padding, padding),
            )
        };
        Ok(vec![
            stem("Conv2d_1a_3x3", 32, 3, 3, 2, 0)?,
            stem("Conv2d_2a_3x3", 32, 32, 3, 1, 0)?,
            stem("Conv2d_2b_3x3", 64, 32, 3, 1, 1)?,
            maximum(2, 0),
            stem("Conv2d_3b_1x1", 80, 64, 1, 1, 0)?,
            stem("Conv2d_4a_3x3", 192, 80, 3, 1, 0)?,
            maximum(2, 0),
            Layer::Branches(self.block_a("Mixed_5b", 192, 32)?),
            Layer::Branches(self.block_a("Mixed_5c", 256, 64)?),
            Layer::Branches(self.block_a("Mixed_5d", 288, 64)?),
            Layer::Branches(self.block_b("Mixed_6a")?),
            Layer::Branches(self.block_c("Mixed_6b", 128)?),
            Layer::Branches(self.block_c("Mixed_6c", 160)?),
        ])
    }

    fn head(&self) -> Result<Vec<Layer>> {
        Ok(vec![
            Layer::Branches(self.block_c("Mixed_6e", 192)?),
            Layer::Branches(self.block_d("Mixed_7a")?),
            Layer::Branches(self.block_e("Mixed_7b", 1280, Layer::Mean)?),
            Layer::Branches(self.block_e("Mixed_7c", 2048, maximum(1, 1))?),
        ])
    }

    /// 35×35: 1×1, 5×5 and two 3×3.
    fn block_a(&self, block: &str, inputs: usize, pooled: usize) -> Result<Vec<Vec<Layer>>> {
        Ok(vec![
            self.branch(block, inputs, &[("branch1x1", 64, (1, 1))])?,
            self.branch(
                block,
                inputs,
                &[("branch5x5_1", 48, (1, 1)), ("branch5x5_2", 64, (5, 5))],
            )?,
            self.branch(
                block,
                inputs,
                &[
                    ("branch3x3dbl_1", 64, (1, 1)),
                    ("branch3x3dbl_2", 96, (3, 3)),
                    ("branch3x3dbl_3", 96, (3, 3)),
                ],
            )?,
            self.pooled(block, inputs, Layer::Mean, pooled)?,
        ])
    }

    /// From 35×35 to 17×17.
    fn block_b(&self, block: &str) -> Result<Vec<Vec<Layer>>> {
        let double: Plan = &[
            ("branch3x3dbl_1", 64, (1, 1)),
            ("branch3x3dbl_2", 96, (3, 3)),
        ];
        Ok(vec![
            self.halving(block, 288, &[], ("branch3x3", 384))?,
            self.halving(block, 288, double, ("branch3x3dbl_3", 96))?,
            vec![maximum(2, 0)],
        ])
    }

    /// 17×17: 1×1 and 7×7 as 1×7 and 7×1, of width `inner`.
    fn block_c(&self, block: &str, inner: usize) -> Result<Vec<Vec<Layer>>> {
        Ok(vec![
            self.branch(block, 768, &[("branch1x1", 192, (1, 1))])?,
            self.branch(
                block,
                768,
                &[
                    ("branch7x7_1", inner, (1, 1)),
                    ("branch7x7_2", inner, (1, 7)),
                    ("branch7x7_3", 192, (7, 1)),
                ],
            )?,
            self.branch(
                block,
                768,
                &[
                    ("branch7x7dbl_1", inner, (1, 1)),
                    ("branch7x7dbl_2", inner, (7, 1)),
                    ("branch7x7dbl_3", inner, (1, 7)),
                    ("branch7x7dbl_4", inner, (7, 1)),
                    ("branch7x7dbl_5", 192, (1, 7)),
                ],
            )?,
            self.pooled(block, 768, Layer::Mean, 192)?,
        ])
    }

    /// From 17×17 to 8×8.
    fn block_d(&self, block: &str) -> Result<Vec<Vec<Layer>>> {
        let seven: Plan = &[
            ("branch7x7x3_1", 192, (1, 1)),
            ("branch7x7x3_2", 192, (1, 7)),
            ("branch7x7x3_3", 192, (7, 1)),
        ];
        Ok(vec![
            self.halving(
                block,
                768,
                &[("branch3x3_1", 192, (1, 1))],
                ("branch3x3_2", 320),
            )?,
            self.halving(block, 768, seven, ("branch7x7x3_4", 192))?,
            vec![maximum(2, 0)],
        ])
    }

    /// 8×8: 1×1, and 3×3 as 1×3 beside 3×1.
    fn block_e(&self, block: &str, inputs: usize, pooling: Layer) -> Result<Vec<Vec<Layer>>> {
        let fork = |wide: &str, tall: &str| -> Result<Layer> {
            Ok(Layer::Branches(vec![
                self.branch(block, 384, &[(wide, 384, (1, 3))])?,
                self.branch(block, 384, &[(tall, 384, (3, 1))])?,
            ]))
        };
        let mut single = self.branch(block, inputs, &[("branch3x3_1", 384, (1, 1))])?;
        single.push(fork("branch3x3_2a", "branch3x3_2b")?);
        let double: Plan = &[
            ("branch3x3dbl_1", 448, (1, 1)),
            ("branch3x3dbl_2", 384, (3, 3)),
        ];
        let mut double = self.branch(block, inputs, double)?;
        double.push(fork("branch3x3dbl_3a", "branch3x3dbl_3b")?);
        Ok(vec![
            self.branch(block, inputs, &[("branch1x1", 320, (1, 1))])?,
            single,
            double,
            self.pooled(block, inputs, pooling, 192)?,
        ])
    }
}
