//! Bound for 3 × 3 convolutions by tiles: Winograd's minimal filtering F(2×2, 3×3).

use ndarray::{Array2, Array3, Array4, ArrayD, Axis, Ix4, Slice, Zip, array, indices};

use super::conv2d::conv2d_vjp as direct_vjp;
use super::linear::AffineBound;
use crate::bound::tracked::after_dot;
use crate::bound::{Precision, Tracked};
use crate::nn::{self, Conv2dOptions, NnError, ranked, require};

const LAYER: &str = "conv2d by tiles";

/// Places of a transformed tile.
const PLACES: usize = 16;

/// Roundings of a tile's transform: one addition along each axis.
const DATA: f64 = 2.0;
/// Roundings of the other transforms: two additions along each axis, and halving, which is exact above the underflow.
const OTHER: f64 = 4.0;

/// [`nn::conv2d`] of 3 × 3 kernels with stride 1 and padding 1 in precision `p`, computed for tiles of 2 × 2 outputs that
/// begin at even pixels. `[eq:winograd]`
///
/// # Formula
/// ```text
/// y = Aᵀ [ Σ_c (G w_c Gᵀ) ∘ (Bᵀ d_c B) ] A + b                  d_c: the 4×4 pixels of channel c under the tile
/// |ŷ − y| ≤ γ_{C+11} ( |A|ᵀ [ Σ_c (|G| |w_c| |G|ᵀ) ∘ (|B|ᵀ |d_c| |B|) ] |A| + |b| )
/// ```
/// The kernel's transform rounds 4 times, the tile's twice, the sum over C channels C times, the last transform 4 times
/// and the bias once.
///
/// # Shapes
/// `x: [B, C, H, W]`, `weight: [O, C, 3, 3]`, `bias: [O]` → `[B, O, H, W]`.
///
/// # Errors
/// Those of [`nn::conv2d`]; a kernel that is not 3 × 3.
///
/// # Source
/// Lavin and Gray 2015 (arXiv:1509.09308), §4.1.
pub fn conv2d_winograd(
    x: &Tracked,
    weight: &Tracked,
    bias: &Tracked,
    p: Precision,
) -> Result<Tracked, NnError> {
    let options = Conv2dOptions::same(3);
    let value = nn::conv2d(&x.value, &weight.value, &bias.value, options)?;
    let (size, channels) = (three_by_three(&largest(weight))?, weight.shape()[1]);
    // What the errors of the operands become: e_x |w| + (|x| + e_x) e_w + e_b.
    let none = ArrayD::zeros(bias.shape());
    let inherited = nn::conv2d(&x.error, &weight.value.mapv(f64::abs), &bias.error, options)?
        + nn::conv2d(&largest(x), &weight.error, &none, options)?;
    let (transforms, image) = (Transforms::of_magnitudes(), four(&largest(x), "x")?);
    // Halving a number that is near the smallest loses up to that much of each transformed weight.
    let underflow = transforms.outputs(&image, &Array4::from_elem(size.raw_dim(), p.tiny));
    let mut magnitude = transforms.outputs(&image, &size);
    for (mut y, &b) in magnitude.axis_iter_mut(Axis(1)).zip(&largest(bias)) {
        y += b;
    }
    let roundings = OTHER + DATA + channels as f64 + OTHER + 1.0;
    let inherited = inherited + underflow;
    Ok(bounded(
        value,
        &inherited,
        &magnitude.into_dyn(),
        roundings,
        p,
    ))
}

/// [`nn::conv2d_vjp`] of the same, the gradient of the weights by the same tiles.
///
/// # Formula
/// ```text
/// ∂L/∂w_c = Gᵀ [ Σ_tiles (A g Aᵀ) ∘ (Bᵀ d_c B) ] G          T + 8 roundings for T tiles
/// ∂L/∂x   = the convolution of g with w[c,o,2−k,2−l]          as in conv2d_winograd
/// ```
/// # Errors
/// Those of [`nn::conv2d_vjp`]; a kernel that is not 3 × 3.
pub fn conv2d_winograd_vjp(
    x: &Tracked,
    weight: &Tracked,
    grad: &Tracked,
    p: Precision,
) -> Result<AffineBound, NnError> {
    let options = Conv2dOptions::same(3);
    let direct = direct_vjp(x, weight, grad, options, p)?;
    three_by_three(&weight.value)?;
    let size = grad.value.mapv(f64::abs);
    let inherited = nn::conv2d_vjp(&x.error, &weight.value, &size, options)?.weight
        + nn::conv2d_vjp(&largest(x), &weight.value, &grad.error, options)?.weight;
    let (image, grad_size) = (four(&largest(x), "x")?, four(&largest(grad), "grad")?);
    let magnitude = Transforms::of_magnitudes().kernels(&image, &grad_size);
    let (batch, _, height, width) = grad_size.dim();
    let tiles = batch * height.div_ceil(2) * width.div_ceil(2);
    let roundings = DATA + DATA + tiles as f64 + OTHER;
    let none = Tracked::exact(ArrayD::zeros(vec![weight.shape()[1]]));
    Ok(AffineBound {
        x: conv2d_winograd(grad, &turned(weight), &none, p)?,
        weight: bounded(
            direct.weight.value,
            &inherited,
            &magnitude.into_dyn(),
            roundings,
            p,
        ),
        bias: direct.bias,
    })
}

/// |x| + e.
fn largest(x: &Tracked) -> ArrayD<f64> {
    x.value.mapv(f64::abs) + &x.error
}

fn four(x: &ArrayD<f64>, argument: &'static str) -> Result<Array4<f64>, NnError> {
    Ok(ranked::<Ix4>(LAYER, argument, "of rank 4", x)?.to_owned())
}

fn three_by_three(weight: &ArrayD<f64>) -> Result<Array4<f64>, NnError> {
    let weight = four(weight, "weight")?;
    for side in [weight.dim().2, weight.dim().3] {
        require(
            side == 3,
            LAYER,
            "side of the kernel",
            || "3".to_owned(),
            side,
        )?;
    }
    Ok(weight)
}

/// `w[o,c,k,l]` → `w[c,o,2−k,2−l]`.
fn turned(weight: &Tracked) -> Tracked {
    let turn = |w: &ArrayD<f64>| {
        let mut w = w.view().permuted_axes(vec![1, 0, 2, 3]);
        w.slice_each_axis_inplace(|axis| {
            Slice::new(0, None, if axis.axis.index() < 2 { 1 } else { -1 })
        });
        w.to_owned()
    };
    Tracked {
        value: turn(&weight.value),
        error: turn(&weight.error),
    }
}

fn bounded(
    value: ArrayD<f64>,
    inherited: &ArrayD<f64>,
    magnitude: &ArrayD<f64>,
    roundings: f64,
    p: Precision,
) -> Tracked {
    let error = Zip::from(magnitude)
        .and(inherited)
        .map_collect(|&m, &e| after_dot(m, e, roundings, p));
    Tracked { value, error }
}

/// `Bᵀ`, `G` and `Aᵀ`, or their absolute values.
struct Transforms {
    data: Array2<f64>,
    kernel: Array2<f64>,
    output: Array2<f64>,
}

impl Transforms {
    fn new() -> Self {
        Self {
            data: array![
                [1.0, 0.0, -1.0, 0.0],
                [0.0, 1.0, 1.0, 0.0],
                [0.0, -1.0, 1.0, 0.0],
                [0.0, 1.0, 0.0, -1.0]
            ],
            kernel: array![
                [1.0, 0.0, 0.0],
                [0.5, 0.5, 0.5],
                [0.5, -0.5, 0.5],
                [0.0, 0.0, 1.0]
            ],
            output: array![[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, -1.0, -1.0]],
        }
    }

    /// What becomes of magnitudes, nothing cancelling.
    fn of_magnitudes() -> Self {
        let Self {
            data,
            kernel,
            output,
        } = Self::new();
        Self {
            data: data.mapv_into(f64::abs),
            kernel: kernel.mapv_into(f64::abs),
            output: output.mapv_into(f64::abs),
        }
    }

    /// The convolution.
    fn outputs(&self, x: &Array4<f64>, weight: &Array4<f64>) -> Array4<f64> {
        let (batch, channels, height, width) = x.dim();
        let (rows, columns, outputs) = (height.div_ceil(2), width.div_ceil(2), weight.dim().0);
        let mut kernels = Array3::zeros((PLACES, channels, outputs));
        for (c, o) in indices((channels, outputs)) {
            let kernel = Array2::from_shape_fn((3, 3), |(k, l)| weight[(o, c, k, l)]);
            for (place, value) in both_ways(&self.kernel, &kernel).into_iter().enumerate() {
                kernels[(place, c, o)] = value;
            }
        }
        let products = products(&tiles(&self.data, x, 1), &kernels);
        let mut y = Array4::zeros((batch, outputs, height, width));
        for (n, i, j, o) in indices((batch, rows, columns, outputs)) {
            let tile = (n * rows + i) * columns + j;
            let m = Array2::from_shape_fn((4, 4), |(k, l)| products[(4 * k + l, tile, o)]);
            for ((k, l), &value) in both_ways(&self.output, &m).indexed_iter() {
                if let Some(y) = y.get_mut((n, o, 2 * i + k, 2 * j + l)) {
                    *y = value;
                }
            }
        }
        y
    }

    /// The gradient of the weights, for the gradient g of the outputs.
    fn kernels(&self, x: &Array4<f64>, grad: &Array4<f64>) -> Array4<f64> {
        let spread = tiles(&self.output.t().to_owned(), grad, 0);
        let spread = spread
            .permuted_axes([0, 2, 1])
            .as_standard_layout()
            .to_owned();
        let products = products(&spread, &tiles(&self.data, x, 1));
        let (_, outputs, channels) = products.dim();
        let back = self.kernel.t().to_owned();
        let mut kernels = Array4::zeros((outputs, channels, 3, 3));
        for (o, c) in indices((outputs, channels)) {
            let m = Array2::from_shape_fn((4, 4), |(k, l)| products[(4 * k + l, o, c)]);
            for ((k, l), &value) in both_ways(&back, &m).indexed_iter() {
                kernels[(o, c, k, l)] = value;
            }
        }
        kernels
    }
}

/// `t x tᵀ` of the tiles of images, which begin 2 pixels apart, `padding` outside the image: `[PLACES, tiles, C]`.
fn tiles(t: &Array2<f64>, x: &Array4<f64>, padding: usize) -> Array3<f64> {
    let (batch, channels, height, width) = x.dim();
    let (rows, columns, side) = (height.div_ceil(2), width.div_ceil(2), t.ncols());
    let pixel = |n: usize, c: usize, i: usize, j: usize| {
        let (i, j) = (i.checked_sub(padding)?, j.checked_sub(padding)?);
        x.get((n, c, i, j)).copied()
    };
    let mut tiles = Array3::zeros((PLACES, batch * rows * columns, channels));
    for (n, i, j, c) in indices((batch, rows, columns, channels)) {
        let tile = Array2::from_shape_fn((side, side), |(k, l)| {
            pixel(n, c, 2 * i + k, 2 * j + l).unwrap_or(0.0)
        });
        for (place, value) in both_ways(t, &tile).into_iter().enumerate() {
            tiles[(place, (n * rows + i) * columns + j, c)] = value;
        }
    }
    tiles
}

/// The product of each place's matrices.
fn products(a: &Array3<f64>, b: &Array3<f64>) -> Array3<f64> {
    let mut products = Array3::zeros((PLACES, a.dim().1, b.dim().2));
    for (mut product, (a, b)) in products
        .outer_iter_mut()
        .zip(a.outer_iter().zip(b.outer_iter()))
    {
        product.assign(&a.dot(&b));
    }
    products
}

fn both_ways(t: &Array2<f64>, x: &Array2<f64>) -> Array2<f64> {
    t.dot(x).dot(&t.t())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn array4(shape: [usize; 4]) -> impl Strategy<Value = Array4<f64>> {
        // Small integers: the transforms of these are exact, halves included.
        prop::collection::vec(-8..=8_i32, shape.iter().product::<usize>()).prop_map(move |values| {
            Array4::from_shape_vec(shape, values.into_iter().map(f64::from).collect())
                .expect("fits")
        })
    }

    fn cases() -> impl Strategy<Value = [Array4<f64>; 3]> {
        let sizes = (
            1..=2_usize,
            1..=3_usize,
            1..=3_usize,
            1..=5_usize,
            1..=5_usize,
        );
        sizes.prop_flat_map(|(b, c, o, h, w)| {
            (
                array4([b, c, h, w]),
                array4([o, c, 3, 3]),
                array4([b, o, h, w]),
            )
                .prop_map(|(x, w, g)| [x, w, g])
        })
    }

    proptest! {
        /// The tiles are the convolution, number by number.
        #[test]
        fn tiles_are_the_convolution([x, weight, grad] in cases()) {
            let (transforms, options) = (Transforms::new(), Conv2dOptions::same(3));
            let none = ArrayD::zeros(vec![weight.dim().0]);
            let (dx, dw) = (x.clone().into_dyn(), weight.clone().into_dyn());
            let y = nn::conv2d(&dx, &dw, &none, options).expect("fits");
            prop_assert_eq!(transforms.outputs(&x, &weight).into_dyn(), y);
            let g = grad.clone().into_dyn();
            let d = nn::conv2d_vjp(&dx, &dw, &g, options).expect("fits");
            prop_assert_eq!(transforms.kernels(&x, &grad).into_dyn(), d.weight);
            let back = turned(&Tracked::exact(dw)).value;
            let none = ArrayD::zeros(vec![x.dim().1]);
            prop_assert_eq!(nn::conv2d(&g, &back, &none, options).expect("fits"), d.x);
        }

        /// What does not cancel is at least what is left of it.
        #[test]
        fn magnitudes_cover_values([x, weight, grad] in cases()) {
            let (signed, sizes) = (Transforms::new(), Transforms::of_magnitudes());
            let (x_size, w_size, g_size) = (x.mapv(f64::abs), weight.mapv(f64::abs), grad.mapv(f64::abs));
            let pairs = [
                (signed.outputs(&x, &weight), sizes.outputs(&x_size, &w_size)),
                (signed.kernels(&x, &grad), sizes.kernels(&x_size, &g_size)),
            ];
            for (value, size) in pairs {
                prop_assert!(value.iter().zip(&size).all(|(v, s)| v.abs() <= *s));
            }
        }
    }
}
