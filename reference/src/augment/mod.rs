//! Augmentation that does not leak: random transformations of images, of which the network is told.
//!
//! A network trained on augmented images alone would learn to make augmented ones. One that is told by labels how each image was
//! transformed learns the law of images given the labels, and is asked for the labels of an image left as it was: zeros.
//!
//! Random numbers are arguments. Shifts are in pixels, angles in half turns, so that what is drawn is exact.

mod resample;

use std::collections::BTreeMap;
use std::ops::Range;

use ndarray::{Array2, Array3, ArrayD, Axis, Ix4};

use crate::check::first_non_finite;

pub use resample::{Matrix, SYM6, margins, reflected, resample};
pub(crate) use resample::{below_lattice, centre, corners, down, margin_of, up};

/// Why an augmentation was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AugmentError {
    /// Not a batch of images.
    #[error("images must have shape [B, C, H, W] with H, W ≥ 1, got {got:?}")]
    Shape {
        /// The refused shape.
        got: Vec<usize>,
    },
    /// Quarter turns of images that are not square.
    #[error("images must be square for quarter turns (rotate_int), got {height}×{width}")]
    NotSquare {
        /// H.
        height: usize,
        /// W.
        width: usize,
    },
    /// An infinite or missing number.
    #[error("image {at:?} must be finite")]
    NotFinite {
        /// Where.
        at: Vec<usize>,
    },
    /// Not one augmentation for each image.
    #[error("number of augmentations must be {images}, one for each image, got {got}")]
    Count {
        /// B.
        images: usize,
        /// Augmentations given.
        got: usize,
    },
    /// Another number of random numbers than are asked for.
    #[error("number of {law} numbers must be {must}, got {got}")]
    Draws {
        /// `uniform` or `normal`.
        law: &'static str,
        /// As many as are asked for.
        must: usize,
        /// As many as were given.
        got: usize,
    },
    /// A probability outside [0, 1].
    #[error("probability of {transform} must be in [0, 1], got {got}")]
    Probability {
        /// Of which transformation.
        transform: &'static str,
        /// The refused value.
        got: f64,
    },
}

/// A transformation, in the order in which they are applied.
///
/// # Source
/// Karras et al. 2022 (arXiv:2206.00364), App. F.2 and Table 6, after Karras et al. 2020 (arXiv:2006.06676), App. B; the names are
/// those of the published program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transform {
    /// Left and right exchanged.
    XFlip,
    /// Top and bottom exchanged.
    YFlip,
    /// Quarter turns.
    RotateInt,
    /// A shift by whole pixels, up to an eighth of the side.
    TranslateInt,
    /// The scale, log-normal.
    Scale,
    /// A rotation by any angle.
    RotateFrac,
    /// A stretch along an axis, log-normal.
    Aniso,
    /// A shift, normal.
    TranslateFrac,
}

impl Transform {
    /// Every transformation.
    pub const ALL: [Self; 8] = [
        Self::XFlip,
        Self::YFlip,
        Self::RotateInt,
        Self::TranslateInt,
        Self::Scale,
        Self::RotateFrac,
        Self::Aniso,
        Self::TranslateFrac,
    ];

    /// Its published name.
    pub const fn name(self) -> &'static str {
        [
            "xflip",
            "yflip",
            "rotate_int",
            "translate_int",
            "scale",
            "rotate_frac",
            "aniso",
            "translate_frac",
        ][self as usize]
    }

    /// How many labels it has.
    pub const fn labels(self) -> usize {
        [1, 1, 2, 2, 1, 2, 2, 2][self as usize]
    }

    /// How many random numbers it asks for an image: uniform ones and normal ones.
    pub const fn draws(self) -> [usize; 2] {
        [
            [2, 0],
            [2, 0],
            [2, 0],
            [3, 0],
            [1, 1],
            [2, 0],
            [3, 1],
            [1, 2],
        ][self as usize]
    }

    /// Whether it moves pixels as they are.
    pub const fn is_exact(self) -> bool {
        (self as usize) < (Self::Scale as usize)
    }
}

/// The largest shift by whole pixels, and the standard deviation of any other, as a share of the side.
const SHIFT: f64 = 0.125;
/// The standard deviation of log₂ of a scale.
const SCALE: f64 = 0.2;
/// How often a stretch is along another axis than that of x.
const TURNED: f64 = 0.5;

/// How one image is transformed; by default not at all.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Augmentation {
    /// Left and right are exchanged.
    pub xflip: bool,
    /// Top and bottom are exchanged.
    pub yflip: bool,
    /// Quarter turns, from 0 to 3.
    pub turns: u8,
    /// The shift by whole pixels along x and y, in units of the largest one: from −1 to 1.
    pub shift: [f64; 2],
    /// log₂ of the scale, in standard deviations.
    pub scale: f64,
    /// The rotation, in half turns: from −1 to 1.
    pub rotation: f64,
    /// log₂ of the stretch, in standard deviations.
    pub aniso: f64,
    /// The axis of the stretch, in half turns from that of x.
    pub axis: f64,
    /// The shift along x and y, in standard deviations.
    pub translation: [f64; 2],
}

/// Which transformations there are, each with its probability.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipe(BTreeMap<Transform, f64>);

impl Pipe {
    /// These transformations with these probabilities.
    ///
    /// # Errors
    /// [`AugmentError::Probability`].
    pub fn new(
        transforms: impl IntoIterator<Item = (Transform, f64)>,
    ) -> Result<Self, AugmentError> {
        let all: BTreeMap<Transform, f64> = transforms.into_iter().collect();
        let wrong = all.iter().find(|(_, p)| !(0.0..=1.0).contains(*p));
        match wrong {
            Some((&transform, &got)) => Err(AugmentError::Probability {
                transform: transform.name(),
                got,
            }),
            None => Ok(Self(all)),
        }
    }

    /// The nine labels that EDM trains with: every image is flipped from left to right or not, at even odds, and each of the other
    /// five transformations is made with probability `p`.
    ///
    /// # Errors
    /// [`AugmentError::Probability`].
    ///
    /// # Source
    /// Karras et al. 2022 (arXiv:2206.00364), Table 6 and App. F.2. The published program gives the flip the strength 10⁸, the others 1,
    /// and multiplies strengths with p.
    pub fn edm(p: f64) -> Result<Self, AugmentError> {
        let always = (1e8 * p).min(1.0);
        Self::new([
            (Transform::XFlip, always),
            (Transform::YFlip, p),
            (Transform::Scale, p),
            (Transform::RotateFrac, p),
            (Transform::Aniso, p),
            (Transform::TranslateFrac, p),
        ])
    }

    /// The transformations, in their order.
    pub fn transforms(&self) -> impl Iterator<Item = Transform> {
        self.0.keys().copied()
    }

    /// How many labels there are.
    pub fn label_dim(&self) -> usize {
        self.transforms().map(Transform::labels).sum()
    }

    /// How many random numbers are asked for an image: uniform ones and normal ones.
    pub fn draws(&self) -> [usize; 2] {
        self.transforms().fold([0, 0], |[u, z], transform| {
            let [more_u, more_z] = transform.draws();
            [u + more_u, z + more_z]
        })
    }

    /// Whether images are resampled, also where nothing was drawn that asks for it.
    pub fn resamples(&self) -> bool {
        self.transforms().any(|transform| !transform.is_exact())
    }

    /// What random numbers make of `images` images. `[eq:augment-draws]`
    ///
    /// # Formula
    /// Each number is asked for all images before the next, in the order of the transformations; u is uniform on [0, 1), z normal:
    /// ```text
    /// xflip, yflip        ⌊2 u₁⌋                                  if u₂ < p
    /// rotate_int          ⌊4 u₁⌋ quarter turns                    if u₂ < p
    /// translate_int       2u₁ − 1 along x, 2u₂ − 1 along y        if u₃ < p
    /// scale               z                                       if u₁ < p
    /// rotate_frac         2u₁ − 1 half turns                      if u₂ < p
    /// aniso               z                                       if u₂ < p, and its axis 2u₁ − 1 if u₃ < ½
    /// translate_frac      z₁ along x, z₂ along y                  if u₁ < p
    /// ```
    /// # Errors
    /// [`AugmentError::Draws`].
    ///
    /// # Source
    /// As [`Pipe::edm`].
    pub fn drawn(
        &self,
        images: usize,
        uniform: &[f64],
        normal: &[f64],
    ) -> Result<Vec<Augmentation>, AugmentError> {
        let [of_u, of_z] = self.draws();
        for (law, must, got) in [
            ("uniform", of_u * images, uniform.len()),
            ("normal", of_z * images, normal.len()),
        ] {
            if got != must {
                return Err(AugmentError::Draws { law, must, got });
            }
        }
        let mut u = uniform.chunks_exact(images.max(1));
        let mut z = normal.chunks_exact(images.max(1));
        let mut next = || u.next().unwrap_or_default();
        let mut normal = || z.next().unwrap_or_default();
        let centred = |u: f64| 2.0 * u - 1.0;
        let mut all = vec![Augmentation::default(); images];
        for (&transform, &p) in &self.0 {
            match transform {
                Transform::XFlip | Transform::YFlip => {
                    let (side, gate) = (next(), next());
                    for (i, image) in all.iter_mut().enumerate() {
                        let flip = gate[i] < p && side[i] >= 0.5;
                        if transform == Transform::XFlip {
                            image.xflip = flip;
                        } else {
                            image.yflip = flip;
                        }
                    }
                }
                Transform::RotateInt => {
                    let (turns, gate) = (next(), next());
                    for (i, image) in all.iter_mut().enumerate().filter(|(i, _)| gate[*i] < p) {
                        image.turns = [0.25, 0.5, 0.75]
                            .iter()
                            .map(|at| u8::from(turns[i] >= *at))
                            .sum();
                    }
                }
                Transform::TranslateInt => {
                    let (x, y, gate) = (next(), next(), next());
                    for (i, image) in all.iter_mut().enumerate().filter(|(i, _)| gate[*i] < p) {
                        image.shift = [centred(x[i]), centred(y[i])];
                    }
                }
                Transform::Scale => {
                    let (scale, gate) = (normal(), next());
                    for (i, image) in all.iter_mut().enumerate().filter(|(i, _)| gate[*i] < p) {
                        image.scale = scale[i];
                    }
                }
                Transform::RotateFrac => {
                    let (angle, gate) = (next(), next());
                    for (i, image) in all.iter_mut().enumerate().filter(|(i, _)| gate[*i] < p) {
                        image.rotation = centred(angle[i]);
                    }
                }
                Transform::Aniso => {
                    let (stretch, axis, gate, turned) = (normal(), next(), next(), next());
                    for (i, image) in all.iter_mut().enumerate() {
                        if gate[i] < p {
                            image.aniso = stretch[i];
                        }
                        if turned[i] < TURNED {
                            image.axis = centred(axis[i]);
                        }
                    }
                }
                Transform::TranslateFrac => {
                    let (x, y, gate) = (normal(), normal(), next());
                    for (i, image) in all.iter_mut().enumerate().filter(|(i, _)| gate[*i] < p) {
                        image.translation = [x[i], y[i]];
                    }
                }
            }
        }
        Ok(all)
    }

    /// What the network is told of each image. `[eq:augment-labels]`
    ///
    /// # Formula
    /// ```text
    /// xflip, yflip        1 if made, else 0
    /// rotate_int          1 if 1 or 2 quarter turns, else 0;  1 if 2 or 3, else 0
    /// translate_int       τ_x/(W/8), τ_y/(H/8)           τ_x = round(w_x W/8), ties to even
    /// scale               w
    /// rotate_frac         cos πw − 1, sin πw
    /// aniso               w cos πr, w sin πr
    /// translate_frac      w_x, w_y
    /// ```
    /// An image left as it was has zeros.
    ///
    /// # Shapes
    /// B augmentations → `[B, A]`.
    ///
    /// # Source
    /// As [`Pipe::edm`].
    pub fn labels(&self, all: &[Augmentation], size: [usize; 2]) -> Array2<f64> {
        let mut labels = Array2::zeros((all.len(), self.label_dim()));
        for (mut row, image) in labels.outer_iter_mut().zip(all) {
            let transforms = self.transforms();
            let numbers = transforms.flat_map(|transform| image.labels(transform, size));
            row.iter_mut().zip(numbers).for_each(|(to, x)| *to = x);
        }
        labels
    }

    /// Images, each transformed by its own augmentation.
    ///
    /// # Formula
    /// Flips, quarter turns and whole shifts move pixels as they are; then, if the pipe has any other transformation,
    /// [`resample`] by [`Augmentation::inverse_matrix`], with the [`margins`] that the batch needs.
    ///
    /// # Shapes
    /// `[B, C, H, W]` → `[B, C, H, W]`.
    ///
    /// # Errors
    /// [`AugmentError`] for other shapes and counts, numbers that are not finite, and quarter turns of images that are not square.
    pub fn augment(
        &self,
        images: &ArrayD<f64>,
        all: &[Augmentation],
    ) -> Result<ArrayD<f64>, AugmentError> {
        self.augment_some(images, all, 0..all.len())
    }

    /// [`Pipe::augment`], of which only the images `which` are computed.
    ///
    /// # Errors
    /// Those of [`Pipe::augment`]; [`AugmentError::Count`] for images that there are not.
    pub fn augment_some(
        &self,
        images: &ArrayD<f64>,
        all: &[Augmentation],
        which: Range<usize>,
    ) -> Result<ArrayD<f64>, AugmentError> {
        let size = self.size_of(images, all)?;
        if which.start > which.end || which.end > all.len() {
            return Err(AugmentError::Count {
                images: all.len(),
                got: which.end,
            });
        }
        let matrices: Vec<Matrix> = all.iter().map(|a| a.inverse_matrix(size)).collect();
        let margins = margins(&matrices, size);
        let mut out = images.slice_axis(Axis(0), which.clone().into()).to_owned();
        for (mut to, i) in out.outer_iter_mut().zip(which) {
            let mut moved = all[i].moved(&image(images, i));
            if self.resamples() {
                moved = resample(&moved, &matrices[i], margins);
            }
            to.assign(&moved);
        }
        Ok(out)
    }

    /// Height and width of a batch that can be augmented.
    pub(crate) fn size_of(
        &self,
        images: &ArrayD<f64>,
        all: &[Augmentation],
    ) -> Result<[usize; 2], AugmentError> {
        let &[count, _, height, width] = images.shape() else {
            let got = images.shape().to_vec();
            return Err(AugmentError::Shape { got });
        };
        if height == 0 || width == 0 {
            let got = images.shape().to_vec();
            return Err(AugmentError::Shape { got });
        }
        if self.0.contains_key(&Transform::RotateInt) && height != width {
            return Err(AugmentError::NotSquare { height, width });
        }
        if all.len() != count {
            return Err(AugmentError::Count {
                images: count,
                got: all.len(),
            });
        }
        match first_non_finite(images) {
            Some(at) => Err(AugmentError::NotFinite { at }),
            None => Ok([height, width]),
        }
    }
}

/// Image number `i` of a batch, `[C, H, W]`.
pub(crate) fn image(images: &ArrayD<f64>, i: usize) -> Array3<f64> {
    let batch = images.view().into_dimensionality::<Ix4>();
    let batch = batch.expect("a batch of images");
    batch.index_axis(Axis(0), i).to_owned()
}

impl Augmentation {
    /// The labels of one transformation.
    fn labels(&self, transform: Transform, size: [usize; 2]) -> Vec<f64> {
        let made = |made: bool| f64::from(u8::from(made));
        let turned = |half_turns: f64| {
            let (sin, cos) = (std::f64::consts::PI * half_turns).sin_cos();
            [cos, sin]
        };
        match transform {
            Transform::XFlip => vec![made(self.xflip)],
            Transform::YFlip => vec![made(self.yflip)],
            Transform::RotateInt => {
                vec![made([1, 2].contains(&self.turns)), made(self.turns >= 2)]
            }
            Transform::TranslateInt => {
                let [x, y] = self.pixels(size);
                let [h, w] = size.map(|side| side as f64 * SHIFT);
                vec![x / w, y / h]
            }
            Transform::Scale => vec![self.scale],
            Transform::RotateFrac => {
                let [cos, sin] = turned(self.rotation);
                vec![cos - 1.0, sin]
            }
            Transform::Aniso => turned(self.axis).map(|part| self.aniso * part).to_vec(),
            Transform::TranslateFrac => self.translation.to_vec(),
        }
    }

    /// The shift by whole pixels along x and y.
    fn pixels(&self, [height, width]: [usize; 2]) -> [f64; 2] {
        let [x, y] = self.shift;
        [(x, width), (y, height)].map(|(w, side)| (w * (side as f64 * SHIFT)).round_ties_even())
    }

    /// The image `[C, H, W]` after flips, quarter turns and the shift by whole pixels, which reflects it at its borders.
    ///
    /// # Formula
    /// ```text
    /// 1 quarter turn    y[i, j] = x[j, W−1−i]        2    y[i, j] = x[H−1−i, W−1−j]        3    y[i, j] = x[H−1−j, i]
    /// shift             y[i, j] = x[ρ(i + τ_y), ρ(j − τ_x)]        ρ: reflected
    /// ```
    /// A shift of positive label moves an image right and **up**: the published signs.
    pub fn moved(&self, x: &Array3<f64>) -> Array3<f64> {
        let mut y = x.clone();
        if self.xflip {
            y.invert_axis(Axis(2));
        }
        if self.yflip {
            y.invert_axis(Axis(1));
        }
        // One quarter turn exchanges left and right, then rows and columns; three exchange top and bottom first.
        if [1, 2].contains(&self.turns) {
            y.invert_axis(Axis(2));
        }
        if self.turns >= 2 {
            y.invert_axis(Axis(1));
        }
        if self.turns % 2 == 1 {
            y.swap_axes(1, 2);
        }
        let (_, height, width) = y.dim();
        let [right, up] = self.pixels([height, width]).map(whole);
        let rows: Vec<usize> = (0..height)
            .map(|i| reflected(i.cast_signed() + up, height))
            .collect();
        let columns: Vec<usize> = (0..width)
            .map(|j| reflected(j.cast_signed() - right, width))
            .collect();
        y.select(Axis(1), &rows).select(Axis(2), &columns)
    }

    /// Where a point of the transformed image comes from, in pixels from the centre. `[eq:augment-matrix]`
    ///
    /// # Formula
    /// ```text
    /// G⁻¹ = S(2^(−s/5), 2^(−s/5)) R(πw) R(−πr) S(2^(−a/5), 2^(a/5)) R(πr) T(−t_x W/8, −t_y H/8)
    /// R(θ) = [cos θ, −sin θ; sin θ, cos θ]
    /// ```
    /// with the labels' s (scale), w (rotation), a and r (stretch and its axis), t (shift).
    ///
    /// # Source
    /// As [`Pipe::edm`].
    pub fn inverse_matrix(&self, [height, width]: [usize; 2]) -> Matrix {
        let pi = std::f64::consts::PI;
        let half = (-SCALE * self.scale).exp2();
        let stretch = (SCALE * self.aniso).exp2();
        let [x, y] = self.translation;
        [
            resample::scaling(half, half),
            resample::rotation(pi * self.rotation),
            resample::rotation(-pi * self.axis),
            resample::scaling(stretch.recip(), stretch),
            resample::rotation(pi * self.axis),
            resample::translation(-x * (width as f64 * SHIFT), -y * (height as f64 * SHIFT)),
        ]
        .into_iter()
        .reduce(|product, next| product.dot(&next))
        .unwrap_or_else(|| Matrix::eye(3))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "whole pixels of an image")]
fn whole(x: f64) -> isize {
    x as isize
}
