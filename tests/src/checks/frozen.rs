//! The layers of frozen networks, forward only.

use ndarray::{ArrayD, Axis, Slice, concatenate};
use proptest::prelude::*;
use sadm_gpu::features::{
    Resize,
    layers::{BatchNorm, Convolution, Window, avg_pool3, max_pool},
};
use sadm_reference::{
    bound::{Tracked, nn as bound},
    nn::{self, Conv2dOptions, Interpolation},
};

use super::exact;
use crate::{
    case::Case,
    check::{Check, Quantity, bounds, values},
    engine::Place,
    error::{Error, Result},
    generators::{moderate, positive, tensor_of},
};

/// ε of the batch norms: that of the Inception graph.
const EPS: f64 = 1e-3;

pub(super) fn checks() -> Vec<Box<dyn Check>> {
    let mut checks = vec![convolution(), maximum(), mean()];
    checks.extend(Resize::ALL.map(|(name, rule)| resize(name, rule)));
    checks
}

fn options(case: &Case) -> Result<Conv2dOptions> {
    Ok(Conv2dOptions {
        stride: case.get_count("stride")?,
        padding: 0,
    })
}

/// `x` with zeros around it, `tall` rows and `wide` columns on each side: the reference pads both directions alike.
fn padded(x: &ArrayD<f64>, tall: usize, wide: usize) -> Result<ArrayD<f64>> {
    let mut y = x.clone();
    for (axis, zeros) in [(2, tall), (3, wide)] {
        let mut shape = y.shape().to_vec();
        shape[axis] = zeros;
        let edge = ArrayD::zeros(shape);
        y = concatenate(Axis(axis), &[edge.view(), y.view(), edge.view()])
            .map_err(Error::reference)?;
    }
    Ok(y)
}

const PARAMETERS: [&str; 4] = ["gamma", "beta", "mean", "variance"];

fn convolution() -> Box<dyn Check> {
    Quantity::new(
        "frozen.conv-norm",
        "convolution and batch norm as one convolution with folded weights, any stride, rows and columns padded apart",
        "Ioffe and Szegedy 2015, Algorithm 2; sadm_reference::nn, not folded",
    )
    .draws(|| {
        let kernel = prop_oneof![Just((1, 1)), Just((3, 3)), Just((1, 3)), Just((3, 1))];
        (1..=2_usize, 1..=3_usize, 1..=3_usize, 3..=5_usize, 3..=5_usize, kernel, 1..=2_usize, any::<bool>())
            .prop_flat_map(|(n, c, o, h, w, (kh, kw), stride, same)| {
                let [tall, wide] = if same { [kh / 2, kw / 2] } else { [0, 0] };
                (
                    tensor_of(&[n, c, h, w], moderate()),
                    tensor_of(&[o, c, kh, kw], moderate()),
                    proptest::collection::vec(tensor_of(&[o], moderate()), 3),
                    tensor_of(&[o], positive()),
                )
                    .prop_map(move |(x, weight, affine, variance)| {
                        let [gamma, beta, mean] = [0, 1, 2].map(|i: usize| affine[i].clone());
                        Case::new()
                            .tensor("x", x)
                            .tensor("weight", weight)
                            .tensor("gamma", gamma)
                            .tensor("beta", beta)
                            .tensor("mean", mean)
                            .tensor("variance", variance)
                            .count("stride", stride)
                            .count("tall", tall)
                            .count("wide", wide)
                    })
            })
            .boxed()
    })
    .reference(|case| {
        let x = padded(case.get("x")?, case.get_count("tall")?, case.get_count("wide")?)?;
        let weight = case.get("weight")?;
        let none = ArrayD::zeros(vec![weight.shape()[0]]);
        let y = nn::conv2d(&x, weight, &none, options(case)?).map_err(Error::reference)?;
        let [gamma, beta, mean, variance] = PARAMETERS.map(|name| case.get(name));
        let y = nn::batch_norm(&y, [gamma?, beta?], [mean?, variance?], EPS);
        Ok(values([("y", y.map_err(Error::reference)?)]))
    })
    .bound(|case, rule| {
        let x = padded(case.get("x")?, case.get_count("tall")?, case.get_count("wide")?)?;
        let [gamma, beta, mean, variance] = PARAMETERS.map(|name| exact(case, name));
        let y = bound::conv2d_batch_norm(
            &Tracked::exact(x),
            &exact(case, "weight")?,
            [&gamma?, &beta?],
            [&mean?, &variance?],
            EPS,
            options(case)?,
            rule.compute,
        );
        Ok(bounds([("y", y.map_err(Error::reference)?)]))
    })
    .candle(|case, place| {
        let tensor = |name: &str| place.tensor(case.get(name)?);
        let norm = BatchNorm {
            gamma: tensor("gamma")?,
            beta: tensor("beta")?,
            mean: tensor("mean")?,
            variance: tensor("variance")?,
            eps: EPS,
        };
        let padding = (case.get_count("tall")?, case.get_count("wide")?);
        let folded = Convolution::folded(&tensor("weight")?, &norm, case.get_count("stride")?, padding)?;
        Ok(values([("y", Place::array(&folded.forward(&tensor("x")?)?)?)]))
    })
    .boxed()
}

/// Images of at least three pixels a side.
fn image() -> BoxedStrategy<ArrayD<f64>> {
    (1..=2_usize, 1..=2_usize, 3..=7_usize, 3..=7_usize)
        .prop_flat_map(|(n, c, h, w)| tensor_of(&[n, c, h, w], moderate()))
        .boxed()
}

fn maximum() -> Box<dyn Check> {
    Quantity::new(
        "frozen.max-pool",
        "the greatest of each 3×3 window, stride 1 or 2, with windows over the edge or without, and with one cut off at the end",
        "sadm_reference::nn",
    )
    .draws(|| {
        (image(), 1..=2_usize, 0..=1_usize, any::<bool>())
            .prop_map(|(x, stride, padding, ceil)| {
                Case::new()
                    .tensor("x", x)
                    .count("stride", stride)
                    .count("padding", padding)
                    .flag("ceil", ceil && padding == 0)
            })
            .boxed()
    })
    .reference(|case| Ok(values([("y", greatest(case)?)])))
    // Comparisons round nothing.
    .bound(|case, _| Ok(bounds([("y", Tracked::exact(greatest(case)?))])))
    .candle(|case, place| {
        let window = Window {
            side: 3,
            stride: case.get_count("stride")?,
            padding: case.get_count("padding")?,
            ceil: case.get_flag("ceil")?,
        };
        let y = max_pool(&place.tensor(case.get("x")?)?, window)?;
        Ok(values([("y", Place::array(&y)?)]))
    })
    .boxed()
}

/// The reference has no windows that are cut off: they are those of the image widened by pixels that are never the greatest.
fn greatest(case: &Case) -> Result<ArrayD<f64>> {
    let options = Conv2dOptions {
        stride: case.get_count("stride")?,
        padding: case.get_count("padding")?,
    };
    let mut x = case.get("x")?.clone();
    if case.get_flag("ceil")? {
        for axis in [2, 3] {
            let missing = (x.shape()[axis] - 3) % options.stride;
            let mut edge = x.slice_axis(Axis(axis), Slice::from(..missing)).to_owned();
            edge.fill(f64::NEG_INFINITY);
            x = concatenate(Axis(axis), &[x.view(), edge.view()]).map_err(Error::reference)?;
        }
    }
    nn::max_pool(&x, 3, options).map_err(Error::reference)
}

fn mean() -> Box<dyn Check> {
    Quantity::new(
        "frozen.avg-pool",
        "the mean of each 3×3 window over the pixels inside the image",
        "sadm_reference::nn",
    )
    .draws(|| image().prop_map(|x| Case::new().tensor("x", x)).boxed())
    .reference(|case| {
        let around = Conv2dOptions {
            stride: 1,
            padding: 1,
        };
        let y = nn::avg_pool(case.get("x")?, 3, around).map_err(Error::reference)?;
        Ok(values([("y", y)]))
    })
    .bound(|case, rule| {
        let y = bound::avg_pool3(&exact(case, "x")?, rule.compute).map_err(Error::reference)?;
        Ok(bounds([("y", y)]))
    })
    .candle(|case, place| {
        let y = avg_pool3(&place.tensor(case.get("x")?)?)?;
        Ok(values([("y", Place::array(&y)?)]))
    })
    .boxed()
}

/// The reference's name for a tool's way to resize.
fn rule_of(resize: Resize) -> Interpolation {
    match resize {
        Resize::PytorchFid => Interpolation::Centres,
        Resize::TorchFidelity => Interpolation::Corners,
        Resize::Clean => Interpolation::Bicubic,
    }
}

fn resize(name: &str, resize: Resize) -> Box<dyn Check> {
    let to = |case: &Case| Ok::<_, Error>((case.get_count("height")?, case.get_count("width")?));
    Quantity::new(
        format!("frozen.resize.{name}"),
        "an image brought to another size, larger or smaller, as the tool of that name does it",
        "sadm_reference::nn::interpolate: every pixel weighted by the kernel's formula",
    )
    .draws(|| {
        (
            1..=2_usize,
            1..=6_usize,
            1..=6_usize,
            1..=9_usize,
            1..=9_usize,
        )
            .prop_flat_map(|(c, h, w, height, width)| {
                tensor_of(&[1, c, h, w], moderate()).prop_map(move |x| {
                    Case::new()
                        .tensor("x", x)
                        .count("height", height)
                        .count("width", width)
                })
            })
            .boxed()
    })
    .reference(move |case| {
        let y = nn::interpolate(case.get("x")?, rule_of(resize), to(case)?);
        Ok(values([("y", y.map_err(Error::reference)?)]))
    })
    .bound(move |case, rule| {
        let y = bound::interpolate(&exact(case, "x")?, rule_of(resize), to(case)?, rule.compute);
        Ok(bounds([("y", y.map_err(Error::reference)?)]))
    })
    .candle(move |case, place| {
        let (height, width) = to(case)?;
        let y = resize.resized(&place.tensor(case.get("x")?)?, [height, width])?;
        Ok(values([("y", Place::array(&y)?)]))
    })
    .boxed()
}
