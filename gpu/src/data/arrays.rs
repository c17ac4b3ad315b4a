//! Images and labels in arrays of NumPy.

use super::images::{BYTES, Images, Pixels};
use super::npz::{self, Numbers};
use super::picture::planes;
use super::rules::{Deep, Found, LeftOut, Rules};
use crate::error::{Error, Result};
use ndarray::{ArrayD, Dimension};
use std::collections::BTreeMap;
use std::path::Path;

/// Names of arrays of images; NumPy calls the first one without a name `arr_0`.
const IMAGES: [&str; 2] = ["images", "arr_0"];
/// Names of arrays of labels.
const LABELS: [&str; 2] = ["labels", "arr_1"];
/// Names of arrays that are something else, and known: they may have a number for each image.
const KNOWN: [&str; 6] = [
    "features",
    "probabilities",
    "mu",
    "sigma",
    "mu_s",
    "sigma_s",
];

impl Images {
    /// An array of images: whole numbers of 8 or 16 bits `[N, H, W, C]` or `[N, H, W]`, reals `[N, C, H, W]`.
    ///
    /// # Errors
    /// Another number of axes, channels other than 1 or 3, NaN or infinite values, other kinds of whole numbers, and what
    /// the rules refuse.
    pub fn of_array(name: &str, array: Numbers, rules: Rules) -> Result<Self> {
        let shape = array.shape().to_vec();
        let what = format!("array `{name}`");
        let refused = |must: &str| Error::shape(&what, must, &shape);
        let mut found = Found::default();
        let last = || match shape[..] {
            [_, h, w] => Ok([1, h, w]),
            [_, h, w, c @ (1 | 3)] => Ok([c, h, w]),
            _ => Err(refused("[N, H, W, 1 or 3] or [N, H, W] for bytes")),
        };
        let mut reals = |x: ArrayD<f32>| {
            if shape.len() != 4 || !matches!(shape[1], 1 | 3) {
                return Err(refused("[N, 1 or 3, H, W] for real numbers"));
            }
            if let Some((at, value)) = x.indexed_iter().find(|(_, value)| !value.is_finite()) {
                let what = format!("{what} at {:?}", at.slice());
                return Err(Error::invalid(what, "be finite", value));
            }
            let mut pixels = x.into_raw_vec_and_offset().0;
            rules.range.bring(&what, &mut pixels, &mut found)?;
            Ok(([shape[1], shape[2], shape[3]], Pixels::Reals(pixels), None))
        };
        let (shape, pixels, spacing) = match array {
            Numbers::Bytes(x) => {
                let shape = last()?;
                (shape, Pixels::Bytes(by_planes(x, shape)), Some(BYTES))
            }
            Numbers::Words(x) => {
                let shape = last()?;
                found.depth = Some(rules.depth);
                let words = by_planes(x, shape);
                let brought = rules.depth.bring(&words);
                let brought = brought.map_err(|no| Error::invalid(&what, no.must, no.got));
                match brought? {
                    Deep::Bytes(bytes) => (shape, Pixels::Bytes(bytes), Some(BYTES)),
                    Deep::Reals(reals) => (shape, Pixels::Reals(reals), rules.depth.spacing()),
                }
            }
            Numbers::Singles(x) => reals(x)?,
            #[expect(clippy::cast_possible_truncation, reason = "pixels are kept as f32")]
            Numbers::Reals(x) => reals(x.mapv(|v| v as f32))?,
            Numbers::Whole(_) => {
                let must = "be of uint8 or of real numbers: make uint8 of pixels from 0 to 255";
                return Err(Error::invalid(what, must, "another kind of whole numbers"));
            }
        };
        Ok(Self {
            shape,
            pixels,
            spacing,
            labels: None,
            classes: Vec::new(),
            found,
        })
    }

    /// The arrays `images` (or `arr_0`) and, if there are any, `labels` (or `arr_1`), which are taken out; nothing without
    /// images. Labels that are all −1, as `sadm sample --class none` writes, are none.
    ///
    /// # Errors
    /// Images as in [`Images::of_array`]; labels that are no whole numbers from 0, or not one for each image.
    pub fn of_arrays(arrays: &mut BTreeMap<String, Numbers>, rules: Rules) -> Result<Option<Self>> {
        let mut take = |names: [&'static str; 2]| {
            names
                .into_iter()
                .find_map(|name| Some((name, arrays.remove(name)?)))
        };
        let Some((name, array)) = take(IMAGES) else {
            return Ok(None);
        };
        let mut images = Self::of_array(name, array, rules)?;
        if let Some((name, labels)) = take(LABELS) {
            images.labels = classes(name, labels, images.count())?;
            images.found.unlabelled = images.labels.is_none();
        }
        Ok(Some(images))
    }

    /// The images and labels of a `.npz` file, as in [`Images::of_arrays`].
    ///
    /// # Errors
    /// As there; no array of images; an array under another name that may hold labels, where the rules refuse that.
    pub fn of_npz(path: &Path, rules: Rules) -> Result<Self> {
        let mut file = npz::read_some(path, &[IMAGES, LABELS].concat())?;
        let inside = |error: Error| Error::file(path, error.to_string());
        let found = Self::of_arrays(&mut file.arrays, rules).map_err(inside)?;
        let Some(images) = found else {
            let there: Vec<_> = file.names().collect();
            let must = "must hold an array `images` or `arr_0`; it holds";
            return Err(Error::file(path, format!("{must} {}", there.join(", "))));
        };
        let images = images.with_classes(path, file.classes)?;
        images.without_unread(path, &file.others, rules)
    }

    /// The same with names of the classes; none leave them numbers.
    ///
    /// # Errors
    /// A label without a name.
    pub fn with_classes(mut self, path: &Path, names: Vec<String>) -> Result<Self> {
        if names.is_empty() || self.found.unlabelled {
            return Ok(self);
        }
        let named = |problem: String| Error::file(path, format!("`classes` {problem}"));
        let Some(labels) = self.labels.as_ref() else {
            return Err(named(
                "names classes, and there are no labels; they are whole numbers, the places of these names".to_owned(),
            ));
        };
        let mut sorted: Vec<&String> = names.iter().collect();
        sorted.sort();
        let mut neighbours = sorted.iter().zip(sorted.iter().skip(1));
        if let Some((twice, _)) = neighbours.find(|(a, b)| a == b) {
            return Err(named(format!("names two classes `{twice}`")));
        }
        if names.iter().any(String::is_empty) {
            return Err(named("holds an empty name".to_owned()));
        }
        if let Some(label) = labels.iter().find(|label| **label as usize >= names.len()) {
            let problem = format!(
                "has a label {label}, and `classes` names {} classes, from 0",
                names.len()
            );
            return Err(Error::file(path, problem));
        }
        self.classes = names;
        Ok(self)
    }

    /// The same, after a look at a file's other arrays: one with a number for each of images without labels may be their
    /// labels.
    ///
    /// # Errors
    /// Such an array, where the rules refuse what is not read.
    pub fn without_unread(
        mut self,
        path: &Path,
        others: &BTreeMap<String, Vec<usize>>,
        rules: Rules,
    ) -> Result<Self> {
        let count = self.count();
        let one_each = |shape: &[usize]| shape == [count] || shape == [count, 1];
        if self.labels.is_none() && !self.found.unlabelled && count > 1 {
            let left = (others.iter())
                .filter(|(name, shape)| one_each(shape) && !KNOWN.contains(&name.as_str()))
                .map(|(name, _)| (LeftOut::Array(name.clone()), path.to_owned()));
            self.found.leave_out(left.collect(), rules.unread, path)?;
        }
        Ok(self)
    }
}

/// The pixels of images whose channels lie together, by planes.
fn by_planes<T: Copy>(x: ArrayD<T>, [c, h, w]: [usize; 3]) -> Vec<T> {
    let pixels = x.into_raw_vec_and_offset().0;
    if c == 1 {
        return pixels;
    }
    let mut all = Vec::with_capacity(pixels.len());
    for image in pixels.chunks_exact((h * w * c).max(1)) {
        all.extend(planes(image, c));
    }
    all
}

/// Most classes of a file: a label beyond is a mistake, and the network has a vector for each.
const CLASSES: f64 = 1e6;

/// Labels `[N]` or `[N, 1]` of `count` images; none where all are −1.
fn classes(name: &str, labels: Numbers, count: usize) -> Result<Option<Vec<u32>>> {
    let shape = labels.shape().to_vec();
    let what = format!("array `{name}`");
    if !(shape == [count] || shape == [count, 1]) {
        let must = format!("[{count}], one number for each image");
        return Err(Error::shape(what, must, &shape));
    }
    let labels = labels.into_reals().into_raw_vec_and_offset().0;
    #[expect(clippy::float_cmp, reason = "−1 itself, as a whole number")]
    let none = labels.iter().filter(|label| **label == -1.0).count();
    if none == count && count > 0 {
        return Ok(None);
    }
    if none > 0 {
        let got = format!("−1, no class, for {none} of {count}: take these images away");
        return Err(Error::invalid(what, "hold a class for each image", got));
    }
    if let Some(label) = (labels.iter()).find(|l| l.fract() != 0.0 || !(0.0..CLASSES).contains(*l))
    {
        let must = format!("hold whole numbers from 0, below {CLASSES}");
        return Err(Error::invalid(what, must, label));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, from 0 to 1e6"
    )]
    Ok(Some(labels.into_iter().map(|label| label as u32).collect()))
}
