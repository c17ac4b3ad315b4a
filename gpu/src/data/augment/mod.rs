//! EDM's augmentation: random transformations of training images, of which the network is told by nine labels.
//!
//! Computed on the host in f64, like everything that is drawn, and rounded once where a tensor is made: a run sees the same images on
//! every device and in every element type.

mod affine;
mod wavelet;

use rayon::prelude::*;

use crate::random::{Streams, standard_normals};
use crate::{Error, Result};
use affine::Affine;
use wavelet::Resampler;

/// A transformation by its published name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `xflip`: left for right.
    XFlip,
    /// `yflip`: top for bottom.
    YFlip,
    /// `rotate_int`: quarter turns.
    RotateInt,
    /// `translate_int`: whole pixels, up to an eighth of the side.
    TranslateInt,
    /// `scale`: larger or smaller by a log-normal factor.
    Scale,
    /// `rotate_frac`: any angle.
    RotateFrac,
    /// `aniso`: stretched along an axis by a log-normal factor.
    Aniso,
    /// `translate_frac`: a normal shift, an eighth of the side.
    TranslateFrac,
}

/// Every transformation, in the order in which they ask for random numbers and have labels.
pub const KINDS: [Kind; 8] = [
    Kind::XFlip,
    Kind::YFlip,
    Kind::RotateInt,
    Kind::TranslateInt,
    Kind::Scale,
    Kind::RotateFrac,
    Kind::Aniso,
    Kind::TranslateFrac,
];

impl Kind {
    /// Labels of an image.
    fn labels(self) -> usize {
        match self {
            Self::XFlip | Self::YFlip | Self::Scale => 1,
            _ => 2,
        }
    }

    /// Uniform and normal numbers for an image.
    fn draws(self) -> [usize; 2] {
        match self {
            Self::XFlip | Self::YFlip | Self::RotateInt | Self::RotateFrac => [2, 0],
            Self::TranslateInt => [3, 0],
            Self::Scale => [1, 1],
            Self::Aniso => [3, 1],
            Self::TranslateFrac => [1, 2],
        }
    }

    /// Whether pixels stay as they are and only change places.
    fn moves_pixels(self) -> bool {
        matches!(
            self,
            Self::XFlip | Self::YFlip | Self::RotateInt | Self::TranslateInt
        )
    }
}

/// Transformations with their probabilities.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipe {
    kinds: Vec<(Kind, f64)>,
}

/// The random numbers of a batch: of each kind one for every image, then the next.
#[derive(Debug, Clone, PartialEq)]
pub struct Draws {
    /// Uniform on [0, 1).
    pub uniform: Vec<f64>,
    /// Standard normal.
    pub normal: Vec<f64>,
}

/// A batch after augmentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Augmented {
    /// Pixels `[B, C, H, W]`.
    pub images: Vec<f64>,
    /// Labels `[B, A]`.
    pub labels: Vec<f64>,
}

/// What happens to an image.
#[derive(Debug, Clone, Default)]
struct Plan {
    flips: [bool; 2],
    turns: usize,
    /// Whole pixels to the right, and up.
    shift: [f64; 2],
    affine: Affine,
    labels: Vec<f64>,
}

/// One number for each of the `images` of a batch after another.
struct Reader<'a> {
    rest: &'a [f64],
    images: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> &'a [f64] {
        let (row, rest) = self.rest.split_at(self.images.min(self.rest.len()));
        self.rest = rest;
        row
    }
}

impl Pipe {
    /// How many labels the published pipe has.
    pub const EDM_LABELS: usize = 9;

    /// Transformations of one's own choice, each with its probability.
    ///
    /// # Errors
    /// A probability outside [0, 1].
    pub fn new(kinds: &[(Kind, f64)]) -> Result<Self> {
        if let Some((kind, p)) = kinds.iter().find(|(_, p)| !(0.0..=1.0).contains(p)) {
            let what = format!("probability of {kind:?}");
            return Err(Error::invalid(what, "be in [0, 1]", p));
        }
        let named = |kind: &Kind| kinds.iter().rev().find(|(known, _)| known == kind).copied();
        Ok(Self {
            kinds: KINDS.iter().filter_map(named).collect(),
        })
    }

    /// The published pipe: half of the images flipped from left to right whatever `p` is, and with probability `p` each of the
    /// transformations yflip, scale, `rotate_frac`, aniso and `translate_frac`.
    ///
    /// # Errors
    /// A probability outside [0, 1].
    ///
    /// # Source
    /// Karras et al. 2022 (arXiv:2206.00364), Table 6 and App. F.2: p is 12 % of CIFAR-10, 15 % of FFHQ and AFHQv2, 0 of `ImageNet`.
    pub fn edm(p: f64) -> Result<Self> {
        const ALWAYS: f64 = 1e8;
        Self::new(&[
            (Kind::XFlip, (ALWAYS * p).min(1.0)),
            (Kind::YFlip, p),
            (Kind::Scale, p),
            (Kind::RotateFrac, p),
            (Kind::Aniso, p),
            (Kind::TranslateFrac, p),
        ])
    }

    /// Labels of an image.
    pub fn label_dim(&self) -> usize {
        self.kinds.iter().map(|(kind, _)| kind.labels()).sum()
    }

    /// The random numbers of batch `number` of a player: those of the streams `PLAYER-augment` (uniform) and
    /// `PLAYER-augment-normal`.
    pub fn draws(&self, streams: Streams, player: &str, number: u64, images: usize) -> Draws {
        let [uniform, normal] = self.needed().map(|each| each * images);
        let purpose = format!("{player}-augment");
        let mut rng = streams.rng(&format!("{purpose}-normal"), number);
        Draws {
            uniform: streams.uniform(&purpose, number, uniform),
            normal: standard_normals(&mut rng, normal),
        }
    }

    /// Uniform and normal numbers for an image.
    fn needed(&self) -> [usize; 2] {
        self.kinds.iter().fold([0, 0], |[u, z], (kind, _)| {
            let [more_u, more_z] = kind.draws();
            [u + more_u, z + more_z]
        })
    }

    /// The images `[B, C, H, W]` transformed by what was drawn, with their labels. `[eq:augment-resampling]` `[eq:augment-labels]`
    ///
    /// # Errors
    /// Another number of pixels or random numbers; quarter turns of images that are not square.
    pub fn apply(&self, images: &[f64], shape: [usize; 4], draws: &Draws) -> Result<Augmented> {
        let [batch, channels, height, width] = shape;
        let pixels = channels * height * width;
        let [of_u, of_z] = self.needed();
        for (what, must, got) in [
            ("pixels", batch * pixels, images.len()),
            ("uniform draws", batch * of_u, draws.uniform.len()),
            ("normal draws", batch * of_z, draws.normal.len()),
        ] {
            if must != got {
                let what = format!("number of {what} of an augmented batch");
                return Err(Error::invalid(what, format!("be {must}"), got));
            }
        }
        let turns = self.kinds.iter().any(|(kind, _)| *kind == Kind::RotateInt);
        if turns && height != width {
            let must = "be square for quarter turns";
            return Err(Error::invalid(
                "augmented images",
                must,
                format!("{height}×{width}"),
            ));
        }
        let plans = self.plans([height, width], batch, draws);
        let resampler = (self.kinds.iter())
            .any(|(kind, _)| !kind.moves_pixels())
            .then(|| Resampler::new([height, width], plans.iter().map(|plan| &plan.affine)));
        let mut out = vec![0.0; images.len()];
        let each = out.par_chunks_mut(pixels.max(1));
        each.zip(images.par_chunks(pixels.max(1)))
            .zip(&plans)
            .for_each(|((out, image), plan)| {
                let planes = out.chunks_exact_mut(height * width);
                for (out, plane) in planes.zip(image.chunks_exact(height * width)) {
                    plan.place(plane, out, [height, width]);
                }
                if let Some(resampler) = &resampler {
                    resampler.apply(out, &plan.affine);
                }
            });
        Ok(Augmented {
            images: out,
            labels: plans.into_iter().flat_map(|plan| plan.labels).collect(),
        })
    }

    /// What the draws mean. `[eq:augment-draws]`
    fn plans(&self, size: [usize; 2], batch: usize, draws: &Draws) -> Vec<Plan> {
        let reader = |rest| Reader {
            rest,
            images: batch,
        };
        let (mut uniform, mut normal) = (reader(&draws.uniform), reader(&draws.normal));
        let mut plans = vec![Plan::default(); batch];
        for &(kind, p) in &self.kinds {
            // In the order in which the published program asks: normal numbers before uniform ones, and the coin last.
            let z: Vec<&[f64]> = (0..kind.draws()[1]).map(|_| normal.next()).collect();
            let u: Vec<&[f64]> = (0..kind.draws()[0]).map(|_| uniform.next()).collect();
            for (i, plan) in plans.iter_mut().enumerate() {
                let u: Vec<f64> = u.iter().map(|row| row[i]).collect();
                let z: Vec<f64> = z.iter().map(|row| row[i]).collect();
                plan.add(kind, size, p, (&u, &z));
            }
        }
        plans
    }
}

/// Uniform on [−1, 1).
fn signed(u: f64) -> f64 {
    2.0 * u - 1.0
}

impl Plan {
    /// One more transformation, if its coin says so.
    fn add(&mut self, kind: Kind, size: [usize; 2], p: f64, (u, z): (&[f64], &[f64])) {
        let eighth = size.map(|side| side as f64 / 8.0);
        let on = |coin: f64, w: f64| if coin < p { w } else { 0.0 };
        match (kind, u, z) {
            (Kind::XFlip | Kind::YFlip, &[side, coin], _) => {
                let flips = side >= 0.5 && coin < p;
                self.flips[usize::from(kind == Kind::YFlip)] = flips;
                self.labels.push(if flips { 1.0 } else { 0.0 });
            }
            (Kind::RotateInt, &[turns, coin], _) => {
                let turns = on(coin, (4.0 * turns).floor());
                self.turns = (1..4).filter(|&n| turns >= f64::from(n)).count();
                for two in [[1, 2], [2, 3]] {
                    let label = f64::from(u8::from(two.contains(&self.turns)));
                    self.labels.push(label);
                }
            }
            (Kind::TranslateInt, &[x, y, coin], _) => {
                let [height, width] = eighth;
                let pixels = |u: f64, most: f64| (on(coin, signed(u)) * most).round_ties_even();
                self.shift = [pixels(x, width), pixels(y, height)];
                let [right, up] = self.shift;
                self.labels.extend([right / width, up / height]);
            }
            (Kind::Scale, &[coin], &[scale]) => {
                let scale = on(coin, scale);
                self.affine.scale((-0.2 * scale).exp2());
                self.labels.push(scale);
            }
            (Kind::RotateFrac, &[angle, coin], _) => {
                let angle = on(coin, signed(angle)) * std::f64::consts::PI;
                self.affine.rotate(angle);
                self.labels.extend([angle.cos() - 1.0, angle.sin()]);
            }
            (Kind::Aniso, &[axis, coin, turned], &[stretch]) => {
                let stretch = on(coin, stretch);
                let axis = if turned < 0.5 { signed(axis) } else { 0.0 };
                let (sin, cos) = (axis * std::f64::consts::PI).sin_cos();
                self.affine.stretch((0.2 * stretch).exp2(), [cos, sin]);
                self.labels.extend([stretch * cos, stretch * sin]);
            }
            (Kind::TranslateFrac, &[coin], &[x, y]) => {
                let [x, y] = [x, y].map(|w| on(coin, w));
                self.affine.shift([x * eighth[1], y * eighth[0]]);
                self.labels.extend([x, y]);
            }
            // Each kind is given as many numbers as it asks for.
            _ => {}
        }
    }

    /// A plane after flips, quarter turns and the shift by whole pixels: for each pixel, which one comes there.
    #[expect(clippy::cast_possible_truncation, reason = "whole pixels")]
    fn place(&self, from: &[f64], to: &mut [f64], [height, width]: [usize; 2]) {
        let [right, up] = self.shift.map(|pixels| pixels as isize);
        for (row, line) in to.chunks_exact_mut(width).enumerate() {
            let row = wavelet::mirror(row.cast_signed() + up, height);
            for (column, pixel) in line.iter_mut().enumerate() {
                let column = wavelet::mirror(column.cast_signed() - right, width);
                // What stands there after the turns came from here before them; the flips were made first.
                let (mut i, mut j) = match self.turns {
                    1 => (column, width - 1 - row),
                    2 => (height - 1 - row, width - 1 - column),
                    3 => (height - 1 - column, row),
                    _ => (row, column),
                };
                if self.flips[0] {
                    j = width - 1 - j;
                }
                if self.flips[1] {
                    i = height - 1 - i;
                }
                *pixel = from[i * width + j];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let says = |result: Result<Augmented>, what: &str| {
            let said = result.expect_err(what).to_string();
            assert!(said.contains(what), "{said}");
        };
        let pipe = Pipe::edm(0.5).expect("a probability");
        assert_eq!(pipe.label_dim(), Pipe::EDM_LABELS);
        let draws = pipe.draws(Streams::new(1), "theta", 0, 2);
        assert_eq!((draws.uniform.len(), draws.normal.len()), (22, 8));
        let few = Draws {
            uniform: vec![0.5; 21],
            ..draws.clone()
        };
        says(pipe.apply(&[0.0; 8], [2, 1, 2, 2], &few), "uniform draws");
        let few = Draws {
            normal: vec![],
            ..draws.clone()
        };
        says(pipe.apply(&[0.0; 8], [2, 1, 2, 2], &few), "normal draws");
        says(pipe.apply(&[0.0; 7], [2, 1, 2, 2], &draws), "pixels");
        let turns = Pipe::new(&[(Kind::RotateInt, 1.0)]).expect("a probability");
        let one = turns.draws(Streams::new(1), "theta", 0, 1);
        says(turns.apply(&[0.0; 6], [1, 1, 2, 3], &one), "be square");
        for p in [-0.1, 1.1, f64::NAN] {
            assert!(Pipe::edm(p).is_err(), "{p}");
        }
    }
}
