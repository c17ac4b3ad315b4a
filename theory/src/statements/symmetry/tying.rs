//! E14: what tying the weights of a kernel leaves free.

use super::group::{Group, PixelMap};
use super::rank::rank;
use crate::rounding::Rounded;
use crate::statements::elementary::dot;
use crate::statements::{
    About, Built, Evidence, Finding, Instance, Kind, Parameter, Statement, StatementError,
};

const KERNEL: Parameter = Parameter::whole("k", "side of the kernel", 1.0..=9.0, 5.0);
/// Side of the image that kernels and maps are tried on.
const IMAGE: usize = 3;

/// `[thm:e14]` For 3 × 3 kernels tying under C4 already is tying under D4; from 4 × 4 on it is not.
///
/// # Formula `[eq:weight-tying]`
/// ```text
/// P = (1/|G|) Σ_κ κ,  P² = P = Pᵀ,  rank P = tr P = (1/|G|) Σ_κ |fixed pixels of κ|     (Burnside)
/// C4: (k² + 3)/4 for odd k, k²/4 for even k        D4: (k + 1)(k + 3)/8 for odd k, k(k + 2)/8 for even k
/// ```
/// so C4/D4 leave 1/1, 1/1, 3/3, 4/3, 7/6, 9/6, 13/10, 16/10, 21/15 parameters for k = 1, …, 9: equal exactly for
/// k ≤ 3. The rank is also computed by elimination on |G|P, a matrix of whole numbers. A tied kernel convolves
/// equivariantly, and so does any map averaged over the group, S(x) = (1/|G|) Σ κ⁻¹ s(κx).
pub struct WeightTying;

/// Pw.
fn project(elements: &[PixelMap], w: &[Rounded]) -> Vec<Rounded> {
    let moved: Vec<Vec<Rounded>> = elements.iter().map(|e| e.apply(w)).collect();
    let mean = |i: usize| Rounded::sum(moved.iter().map(|m| m[i])) / elements.len() as f64;
    (0..w.len()).map(mean).collect()
}

/// (1/|G|) Σ_κ |fixed pixels|; a whole number.
fn burnside(elements: &[PixelMap]) -> usize {
    elements.iter().map(PixelMap::fixed).sum::<usize>() / elements.len()
}

/// |G|P.
fn scaled_projection(elements: &[PixelMap], pixels: usize) -> Vec<Vec<u64>> {
    let mut rows = vec![vec![0; pixels]; pixels];
    for element in elements {
        for (i, row) in rows.iter_mut().enumerate() {
            row[element.source(i)] += 1;
        }
    }
    rows
}

/// What the formula says is left: C4 and D4.
fn formula(k: usize) -> (usize, usize) {
    if k % 2 == 1 {
        ((k * k).div_ceil(4), (k + 1) * (k + 3) / 8)
    } else {
        (k * k / 4, k * (k + 2) / 8)
    }
}

/// The full convolution of an IMAGE × IMAGE image with a k × k kernel; its side is IMAGE + k − 1.
fn convolve(image: &[f64], kernel: &[Rounded], k: usize) -> Vec<Rounded> {
    let side = IMAGE + k - 1;
    let mut out = vec![Rounded::exact(0.0); side * side];
    for (i, &x) in image.iter().enumerate() {
        for (j, &w) in kernel.iter().enumerate() {
            let place = (i / IMAGE + j / k) * side + i % IMAGE + j % k;
            out[place] = out[place] + w * x;
        }
    }
    out
}

/// A map without any symmetry: x_i (x_{i+1} + b_i).
fn arbitrary(x: &[Rounded], b: &[f64]) -> Vec<Rounded> {
    let next = |i: usize| x[(i + 1) % x.len()] + Rounded::exact(b[i]);
    (0..x.len()).map(|i| x[i] * next(i)).collect()
}

/// (1/|G|) Σ κ⁻¹ s(κx) over these elements.
fn averaged(elements: &[PixelMap], x: &[Rounded], b: &[f64]) -> Vec<Rounded> {
    let outputs: Vec<Vec<Rounded>> = elements
        .iter()
        .map(|e| e.inverse().apply(&arbitrary(&e.apply(x), b)))
        .collect();
    let mean = |i: usize| Rounded::sum(outputs.iter().map(|o| o[i])) / elements.len() as f64;
    (0..x.len()).map(mean).collect()
}

fn exact(values: &[f64]) -> Vec<Rounded> {
    values.iter().map(|&v| Rounded::exact(v)).collect()
}

/// Kernel entries of every size from 16 values: v_{i mod 16} + (i mod 7)/8. (A shift linear or quadratic in i would
/// have equal sums over the C4 orbits that D4 joins at k = 4.)
fn kernel(values: &[f64], k: usize) -> Vec<Rounded> {
    let entry = |i: usize| values[i % 16] + (i % 7) as f64 / 8.0;
    (0..k * k).map(|i| Rounded::exact(entry(i))).collect()
}

/// What is drawn with an instance: two kernels, an image, and the b of an arbitrary map.
struct Drawn {
    kernels: [Vec<Rounded>; 2],
    image: Vec<f64>,
    bias: Vec<f64>,
}

impl Drawn {
    fn of(instance: &Instance) -> Result<Self, StatementError> {
        let k = instance.size(KERNEL.name)?;
        let mut values = instance.values();
        let (first, second) = (values.take(16)?, values.take(16)?);
        let pixels = IMAGE * IMAGE;
        Ok(Self {
            kernels: [kernel(&first, k), kernel(&second, k)],
            image: values.take(pixels)?,
            bias: values.take(pixels)?,
        })
    }
}

/// Σ_i g_i a_i with g the multiples of the golden ratio modulo 1: one number that notices differences of two images.
/// (Weights linear in the place would not: they see only the centre of mass, which every turn-invariant image shares.)
fn weighted(a: &[Rounded]) -> Rounded {
    let weights: Vec<f64> = (1..=a.len())
        .map(|i| (i as f64 * 0.618_033_988_749_894_9).fract())
        .collect();
    dot(&weights, a)
}

fn count(n: usize) -> Rounded {
    Rounded::exact(n as f64)
}

impl WeightTying {
    /// Both sides of conv(κx, w) = κ conv(x, w).
    fn convolved(
        image: &[f64],
        kernel: &[Rounded],
        k: usize,
        turns: usize,
        flip: bool,
    ) -> (Rounded, Rounded) {
        let moved = convolve(&PixelMap::new(IMAGE, turns, flip).apply(image), kernel, k);
        let large = PixelMap::new(IMAGE + k - 1, turns, flip);
        (
            weighted(&moved),
            weighted(&large.apply(&convolve(image, kernel, k))),
        )
    }

    /// Claims on ranks, for both groups.
    fn ranks(k: usize) -> Vec<Evidence> {
        let (c4, d4) = formula(k);
        let mut claims = Vec::new();
        for (name, group, left) in [("C4", Group::C4, c4), ("D4", Group::D4, d4)] {
            let elements = group.elements(k);
            claims.push(Evidence::equal(
                format!("{name}: Burnside's count is the formula"),
                count(burnside(&elements)),
                count(left),
            ));
            claims.push(Evidence::equal(
                format!("{name}: rank of the projection is the formula"),
                count(rank(scaled_projection(&elements, k * k))),
                count(left),
            ));
        }
        claims.push(if k <= 3 {
            Evidence::equal("k ≤ 3: C4 leaves as much as D4", count(c4), count(d4))
        } else {
            Evidence::at_most("k ≥ 4: C4 leaves more than D4", count(d4 + 1), count(c4))
        });
        claims
    }
}

impl Statement for WeightTying {
    fn about(&self) -> About {
        About {
            id: "e14",
            source: "Structure preserving diffusion models (arXiv:2402.19369), weight tying for C4 and D4",
            kind: Kind::Erratum(Finding::Consequence),
            summary: "for kernels up to 3 x 3, tying under C4 is tying under D4; beyond, it is weaker",
            terms: &[],
            parameters: &[KERNEL],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        let k = instance.size(KERNEL.name)?;
        let Drawn {
            kernels: [u, w],
            image,
            bias,
        } = Drawn::of(instance)?;
        let values = |kernel: Vec<Rounded>| kernel.iter().map(|w| w.value).collect::<Vec<_>>();
        Ok(vec![
            Built::square("kernel u", &values(u), k),
            Built::square("kernel w", &values(w), k),
            Built::square("image x", &image, IMAGE),
            Built::square("b of the map s", &bias, IMAGE),
        ])
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let k = instance.size(KERNEL.name)?;
        let Drawn {
            kernels: [u, w],
            image,
            bias,
        } = Drawn::of(instance)?;
        let mut claims = Self::ranks(k);
        let elements = Group::D4.elements(k);
        let (tied_u, tied_w) = (project(&elements, &u), project(&elements, &w));
        let inner =
            |a: &[Rounded], b: &[Rounded]| Rounded::sum(a.iter().zip(b).map(|(&a, &b)| a * b));
        claims.push(Evidence::equal(
            "P is idempotent",
            weighted(&project(&elements, &tied_w)),
            weighted(&tied_w),
        ));
        claims.push(Evidence::equal(
            "P is symmetric: ⟨u, Pw⟩ = ⟨Pu, w⟩",
            inner(&u, &tied_w),
            inner(&tied_u, &w),
        ));
        let x = exact(&image);
        let small = Group::D4.elements(IMAGE);
        let output = averaged(&small, &x, &bias);
        for (j, map) in small.iter().enumerate().skip(1) {
            let (moved, still) = Self::convolved(&image, &tied_w, k, j % 4, j >= 4);
            claims.push(Evidence::equal(
                format!("tied: conv(κ_{j} x, Pw) = κ_{j} conv(x, Pw)"),
                moved,
                still,
            ));
            claims.push(Evidence::equal(
                format!("averaged output: S(κ_{j} x) = κ_{j} S(x)"),
                weighted(&averaged(&small, &map.apply(&x), &bias)),
                weighted(&map.apply(&output)),
            ));
        }
        Ok(claims)
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let instance = self.default_instance();
        let mut values = instance.values();
        let (w, image, bias) = (values.take(16)?, values.take(9)?, values.take(9)?);
        let left = |group: Group, k: usize| count(burnside(&group.elements(k)));
        let tied = |group: Group, k: usize| project(&group.elements(k), &kernel(&w, k));
        let x = exact(&image);
        let flip = PixelMap::new(IMAGE, 0, true);
        let turns = Group::C4.elements(IMAGE);
        let claim =
            |text: &str, (moved, still): (Rounded, Rounded)| Evidence::equal(text, moved, still);
        Ok(vec![
            Evidence::at_most(
                "as read, two models: D4 tying takes parameters from a 3 x 3 kernel that C4 leaves",
                left(Group::D4, 3) + Rounded::exact(1.0),
                left(Group::C4, 3),
            ),
            Evidence::equal(
                "control: at k = 4 they leave the same",
                left(Group::D4, 4),
                left(Group::C4, 4),
            ),
            claim(
                "control: an untied kernel turns with the image",
                Self::convolved(&image, &kernel(&w, 3), 3, 1, false),
            ),
            claim(
                "control: a kernel tied under C4 flips with the image at k = 4",
                Self::convolved(&image, &tied(Group::C4, 4), 4, 0, true),
            ),
            Evidence::equal(
                "control: an output averaged over turns flips with the image",
                weighted(&averaged(&turns, &flip.apply(&x), &bias)),
                weighted(&flip.apply(&averaged(&turns, &x, &bias))),
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_the_published_table() {
        let table = [
            (1, 1),
            (1, 1),
            (3, 3),
            (4, 3),
            (7, 6),
            (9, 6),
            (13, 10),
            (16, 10),
            (21, 15),
        ];
        for (k, want) in (1..=9).zip(table) {
            assert_eq!(formula(k), want, "k = {k}");
            let elements = Group::C4.elements(k);
            assert_eq!(burnside(&elements), want.0);
            assert_eq!(rank(scaled_projection(&elements, k * k)), want.0);
        }
    }

    /// A single bright pixel prints the kernel at its place.
    #[test]
    fn a_point_convolves_to_the_kernel() {
        let mut image = [0.0; 9];
        image[5] = 2.0; // row 1, column 2
        let out = convolve(&image, &exact(&[1.0, 2.0, 3.0, 4.0]), 2);
        let lit: Vec<(usize, f64)> = out
            .iter()
            .enumerate()
            .filter(|(_, x)| x.value > 0.0)
            .map(|(i, x)| (i, x.value))
            .collect();
        assert_eq!(lit, [(6, 2.0), (7, 4.0), (10, 6.0), (11, 8.0)]);
    }

    #[test]
    fn the_arbitrary_map_is_as_by_hand() {
        let out: Vec<f64> = arbitrary(&exact(&[1.0, 2.0, 3.0]), &[0.5, -1.0, 0.25])
            .iter()
            .map(|x| x.value)
            .collect();
        assert_eq!(out, [2.5, 4.0, 3.75]);
    }
}
