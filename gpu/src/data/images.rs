//! Images of one's own: folders of PNG pictures and NumPy arrays.

use super::npz::{self, Numbers};
use super::{Dataset, pixel};
use crate::error::{Error, Result};
use image::DynamicImage;
use ndarray::{ArrayD, Dimension};
use rayon::prelude::*;
use std::borrow::Cow;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Images, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Images {
    /// Channels (1 or 3), height and width.
    pub shape: [usize; 3],
    /// Their pixels.
    pub pixels: Pixels,
    /// Distance of neighbouring values of a pixel in [−1, 1], where they are discrete.
    pub spacing: Option<f64>,
    /// Class of each image, where it is known.
    pub labels: Option<Vec<u32>>,
    /// What the classes are called, where they have names.
    pub classes: Vec<String>,
}

/// Pixels, each image `[C, H, W]` in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub enum Pixels {
    /// From 0 to 255, as they were read: a quarter of the room.
    Bytes(Vec<u8>),
    /// In [−1, 1].
    Reals(Vec<f32>),
}

impl Pixels {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Reals(reals) => reals.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some of them, in [−1, 1]; a byte v is v/127.5 − 1.
    ///
    /// # Panics
    /// If the range does not lie within them.
    pub fn at(&self, range: Range<usize>) -> Cow<'_, [f32]> {
        match self {
            Self::Bytes(bytes) => Cow::Owned(bytes[range].iter().copied().map(pixel).collect()),
            Self::Reals(reals) => Cow::Borrowed(&reals[range]),
        }
    }

    /// All of them in [−1, 1], so many at a time.
    pub fn parts(&self, size: usize) -> impl Iterator<Item = Cow<'_, [f32]>> {
        let all = self.len();
        let part = move |first: usize| self.at(first..(first + size).min(all));
        (0..all).step_by(size.max(1)).map(part)
    }

    /// Keeps the first `len`.
    pub fn truncate(&mut self, len: usize) {
        match self {
            Self::Bytes(bytes) => bytes.truncate(len),
            Self::Reals(reals) => reals.truncate(len),
        }
    }
}

/// Distance of neighbouring bytes in [−1, 1].
pub const BYTES: f64 = 2.0 / 255.0;

impl Images {
    /// Pixels of an image.
    pub fn size(&self) -> usize {
        self.shape.iter().product()
    }

    /// Number of images.
    pub fn count(&self) -> usize {
        self.pixels.len() / self.size().max(1)
    }

    /// The PNG pictures of a folder in the order of their names; or those of its subfolders, each of which is a class.
    ///
    /// Classes are numbered in the order of their names and come in turn, so that the first N images are of all classes.
    ///
    /// # Errors
    /// No picture, pictures beside class folders, pictures in another format, of several shapes, with transparent pixels, or
    /// one that cannot be read.
    pub fn of_folder(folder: &Path) -> Result<Self> {
        let listed = Listed::of(folder)?;
        let mut classes = Vec::new();
        for subfolder in &listed.folders {
            let inside = Listed::of(subfolder)?.pictures;
            if !inside.is_empty() {
                classes.push((name_of(subfolder), inside));
            }
        }
        match (classes.is_empty(), listed.pictures.is_empty()) {
            (false, true) => Self::of_classes(classes),
            (true, false) => Self::of_pictures(&listed.pictures),
            (false, false) => Err(Error::file(
                folder,
                "holds pictures beside folders of pictures: each picture must be in the folder of its class, or all in one",
            )),
            (true, true) => Err(Error::file(folder, "holds no .png picture")),
        }
    }

    fn of_classes(classes: Vec<(String, Vec<PathBuf>)>) -> Result<Self> {
        let mut all = Vec::new();
        for (label, (_, pictures)) in (0_u32..).zip(&classes) {
            all.extend(
                (0_usize..)
                    .zip(pictures)
                    .map(|(place, path)| (place, label, path.clone())),
            );
        }
        all.sort_by_key(|(place, label, _)| (*place, *label));
        let paths: Vec<PathBuf> = all.iter().map(|(_, _, path)| path.clone()).collect();
        Ok(Self {
            labels: Some(all.iter().map(|(_, label, _)| *label).collect()),
            classes: classes.into_iter().map(|(name, _)| name).collect(),
            ..Self::of_pictures(&paths)?
        })
    }

    fn of_pictures(paths: &[PathBuf]) -> Result<Self> {
        let read: Vec<([usize; 3], Vec<u8>)> =
            (paths.par_iter().map(|path| picture(path))).collect::<Result<_>>()?;
        let shape = read.first().map_or([0; 3], |(shape, _)| *shape);
        let other = (paths.iter().zip(&read)).find(|(_, (this, _))| *this != shape);
        if let Some((path, (this, _))) = other {
            return Err(Error::file(
                path,
                format!(
                    "is {this:?} (channels, height, width) after {shape:?}: all pictures must be alike; resize or convert them"
                ),
            ));
        }
        Ok(Self {
            shape,
            pixels: Pixels::Bytes(read.into_iter().flat_map(|(_, bytes)| bytes).collect()),
            spacing: Some(BYTES),
            labels: None,
            classes: Vec::new(),
        })
    }

    /// An array of images: bytes `[N, H, W, C]` or `[N, H, W]` from 0 to 255, reals `[N, C, H, W]` in [−1, 1].
    ///
    /// # Errors
    /// Another number of axes, channels other than 1 or 3, NaN or infinite values.
    pub fn of_array(name: &str, array: Numbers) -> Result<Self> {
        let shape = array.shape().to_vec();
        let refused = |must: &str| Error::shape(format!("array `{name}`"), must, &shape);
        let reals = |x: ArrayD<f32>| {
            if shape.len() != 4 || !matches!(shape[1], 1 | 3) {
                return Err(refused("[N, 1 or 3, H, W] for real numbers"));
            }
            if let Some((at, value)) = x.indexed_iter().find(|(_, value)| !value.is_finite()) {
                let what = format!("array `{name}` at {:?}", at.slice());
                return Err(Error::invalid(what, "be finite", value));
            }
            Ok((
                [shape[1], shape[2], shape[3]],
                Pixels::Reals(x.into_raw_vec_and_offset().0),
            ))
        };
        let (shape, pixels) = match array {
            Numbers::Bytes(x) => {
                let (h, w, c) = match shape[..] {
                    [_, h, w] => (h, w, 1),
                    [_, h, w, c @ (1 | 3)] => (h, w, c),
                    _ => return Err(refused("[N, H, W, 1 or 3] or [N, H, W] for bytes")),
                };
                let bytes = x.into_raw_vec_and_offset().0;
                let images = bytes.chunks_exact((h * w * c).max(1));
                (
                    [c, h, w],
                    Pixels::Bytes(images.flat_map(|image| planes(image, c)).collect()),
                )
            }
            Numbers::Singles(x) => reals(x)?,
            #[expect(clippy::cast_possible_truncation, reason = "pixels are kept as f32")]
            Numbers::Reals(x) => reals(x.mapv(|v| v as f32))?,
        };
        Ok(Self {
            shape,
            spacing: matches!(pixels, Pixels::Bytes(_)).then_some(BYTES),
            pixels,
            labels: None,
            classes: Vec::new(),
        })
    }

    /// The arrays `images` (or `arr_0`) and, if it has them, `labels` (or `arr_1`) of a `.npz` file.
    ///
    /// # Errors
    /// No such array; images as in [`Images::of_array`]; labels that are no whole numbers from 0, or not one for each image.
    pub fn of_npz(path: &Path) -> Result<Self> {
        let mut arrays = npz::read_npz(path)?;
        let mut take = |names: [&'static str; 2]| {
            names
                .into_iter()
                .find_map(|name| Some((name, arrays.remove(name)?)))
        };
        let (images, labels) = (take(["images", "arr_0"]), take(["labels", "arr_1"]));
        let Some((name, array)) = images else {
            let there: Vec<_> = arrays.into_keys().collect();
            return Err(Error::file(
                path,
                format!(
                    "must hold an array `images` or `arr_0`; it holds {}",
                    there.join(", ")
                ),
            ));
        };
        let inside = |error: Error| Error::file(path, error.to_string());
        let mut found = Self::of_array(name, array).map_err(inside)?;
        if let Some((name, labels)) = labels {
            found.labels = Some(classes(name, labels, found.count()).map_err(inside)?);
        }
        Ok(found)
    }

    /// As the data set called `name`; without labels all are of one class.
    ///
    /// # Errors
    /// No image at all, pixels outside [−1, 1].
    pub fn into_dataset(self, name: &str) -> Result<Dataset> {
        let labels = self.labels.clone().unwrap_or_else(|| vec![0; self.count()]);
        let most = labels.iter().copied().max().unwrap_or(0) as usize;
        let images = match self.pixels {
            Pixels::Reals(reals) => reals,
            bytes @ Pixels::Bytes(_) => bytes.at(0..bytes.len()).into_owned(),
        };
        let classes = (most + 1).max(self.classes.len());
        Ok(Dataset {
            class_names: self.classes,
            ..Dataset::new(name, self.shape, images, labels, classes)?
        })
    }
}

/// What a folder holds, by name.
struct Listed {
    pictures: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

/// Endings of pictures that are not read.
const OTHERS: [&str; 8] = ["jpg", "jpeg", "gif", "webp", "bmp", "tif", "tiff", "ppm"];

impl Listed {
    fn of(folder: &Path) -> Result<Self> {
        let (mut pictures, mut folders) = (Vec::new(), Vec::new());
        let failed = |e| Error::io("list", folder, e);
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if name_of(&path).starts_with('.') {
                continue;
            }
            let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
            if path.is_dir() {
                folders.push(path);
            } else if ending.as_deref() == Some("png") {
                pictures.push(path);
            } else if ending.is_some_and(|ending| OTHERS.contains(&ending.as_str())) {
                return Err(Error::file(
                    &path,
                    "is a picture in another format: convert it to PNG, or take it away; it would be left out in silence",
                ));
            }
        }
        pictures.sort();
        folders.sort();
        Ok(Self { pictures, folders })
    }
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// A picture's shape, and its planes one after the other.
fn picture(path: &Path) -> Result<([usize; 3], Vec<u8>)> {
    let picture = image::open(path)
        .map_err(|reason| Error::file(path, format!("is not a whole PNG: {reason}")))?;
    refuse_transparent(path, &picture)?;
    let (height, width) = (picture.height() as usize, picture.width() as usize);
    let (channels, bytes) = if picture.color().has_color() {
        (3, picture.into_rgb8().into_raw())
    } else {
        (1, picture.into_luma8().into_raw())
    };
    Ok((
        [channels, height, width],
        planes(&bytes, channels).collect(),
    ))
}

/// The channels of one image, one after the other, from pixels whose channels lie together.
fn planes(pixels: &[u8], channels: usize) -> impl Iterator<Item = u8> {
    (0..channels).flat_map(move |c| pixels[c..].iter().step_by(channels).copied())
}

/// What a transparent pixel hides is no colour to learn.
fn refuse_transparent(path: &Path, picture: &DynamicImage) -> Result<()> {
    let transparent =
        picture.color().has_alpha() && picture.to_rgba8().pixels().any(|pixel| pixel[3] != 255);
    if transparent {
        let problem = "has transparent pixels: put the picture on a background first";
        return Err(Error::file(path, problem));
    }
    Ok(())
}

/// Most classes of a file: a label beyond is a mistake, and the network has a vector for each.
const CLASSES: f64 = 1e6;

/// Labels `[N]` or `[N, 1]` of `count` images.
fn classes(name: &str, labels: Numbers, count: usize) -> Result<Vec<u32>> {
    let shape = labels.shape().to_vec();
    if !(shape == [count] || shape == [count, 1]) {
        let must = format!("[{count}], one number for each image");
        return Err(Error::shape(format!("array `{name}`"), must, &shape));
    }
    let labels = labels.into_reals().into_raw_vec_and_offset().0;
    if let Some(label) = (labels.iter()).find(|l| l.fract() != 0.0 || !(0.0..CLASSES).contains(*l))
    {
        let must = format!("hold whole numbers from 0, below {CLASSES}");
        return Err(Error::invalid(format!("array `{name}`"), must, label));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, from 0 to 1e6"
    )]
    Ok(labels.into_iter().map(|label| label as u32).collect())
}
