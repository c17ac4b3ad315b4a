//! Inputs of an evaluation: pictures, arrays of images or features, stored statistics.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use ndarray::{Array1, Array2, ArrayD, Ix1, Ix2};
use sadm_gpu::config::{Config, DatasetKind};
use sadm_gpu::data::npz::{self, Archive, Numbers};
use sadm_gpu::data::{Dataset, Images, PixelRange, Pixels, Rules};
use sadm_gpu::run::Run;
use sadm_gpu::train::{self};
use sadm_reference::metrics::Moments;
use safetensors::tensor::{Dtype, SafeTensors};

use super::matrix::Matrix;
use crate::{files, tensors};

/// Which set features are taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// What is judged: of it alone an inception score is asked.
    Generated,
    /// What it is held against.
    Reference,
    /// What the model was not trained on.
    HeldOut,
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generated => "generated",
            Self::Reference => "reference",
            Self::HeldOut => "held-out",
        })
    }
}

/// Refuses images of another shape than something takes.
///
/// # Errors
/// The shape they must have and the one they have.
pub fn must_be(images: &Images, shape: [usize; 3], whose: Whose, taker: &str) -> Result<()> {
    if images.shape != shape {
        bail!(
            "{whose} must be {shape:?} (channels, height, width) for the {taker}, got {:?}",
            images.shape
        );
    }
    Ok(())
}

/// What a path holds.
#[derive(Debug, Clone)]
pub enum Content {
    /// Images, from which features are taken.
    Images(Images),
    /// Features `[N, d]`, and class probabilities `[N, C]` where the file has them.
    Features {
        /// The features.
        features: Matrix,
        /// The probabilities.
        probabilities: Option<Array2<f64>>,
    },
    /// Mean and covariance, and the samples beside them where the file has them, as ADM's reference batches do.
    Statistics {
        /// The mean and the covariance.
        moments: Moments,
        /// Images or features.
        samples: Option<Box<Self>>,
    },
}

impl Content {
    /// Shape of its images, where it holds any.
    pub fn shape(&self) -> Option<[usize; 3]> {
        match self {
            Self::Images(images) => Some(images.shape),
            Self::Statistics {
                samples: Some(samples),
                ..
            } => samples.shape(),
            _ => None,
        }
    }

    /// What reading its images did, where it did something.
    pub fn found(&self) -> Option<String> {
        match self {
            Self::Images(images) if !images.found.is_nothing() => Some(images.found.to_string()),
            Self::Statistics {
                samples: Some(samples),
                ..
            } => samples.found(),
            _ => None,
        }
    }
}

/// Names of `.npz` arrays that hold mean and covariance: pooled features, and the spatial ones of ADM's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Stored {
    /// `mu` and `sigma`.
    Pooled,
    /// `mu_s` and `sigma_s`.
    Spatial,
}

impl Stored {
    /// The names of the two arrays.
    pub fn names(self) -> [&'static str; 2] {
        match self {
            Self::Pooled => ["mu", "sigma"],
            Self::Spatial => ["mu_s", "sigma_s"],
        }
    }
}

/// The built-in data sets.
const DATASETS: [(&str, DatasetKind); 3] = [
    ("digits", DatasetKind::Digits),
    ("mnist", DatasetKind::Mnist),
    ("cifar10", DatasetKind::Cifar10),
];

/// Reads a folder, a file, or a data set by name.
///
/// # Errors
/// Neither a path nor a name; an empty folder; a file that holds nothing of use; what the rules refuse.
pub fn read(source: &str, stored: Stored, rules: Rules) -> Result<Content> {
    let path = Path::new(source);
    if path.is_dir() {
        return Ok(Content::Images(Images::of_folder(path, rules)?));
    }
    if path.exists() {
        return file(path, stored, rules);
    }
    if let Some((_, kind)) = DATASETS.iter().find(|(name, _)| *name == source) {
        return dataset(*kind);
    }
    let names: Vec<_> = DATASETS.iter().map(|(name, _)| *name).collect();
    bail!(
        "there is no file or folder `{source}`, and it is none of the data sets {}",
        names.join(", ")
    )
}

fn dataset(kind: DatasetKind) -> Result<Content> {
    let mut config = Config::default();
    config.data.dataset = kind;
    Ok(Content::Images(of_dataset(train::dataset(&config)?)))
}

/// Names of the two parts of a run's data.
const PARTS: [&str; 2] = ["run:train", "run:holdout"];

/// Whether a source is a part of a run's data.
pub fn is_part(source: &str) -> bool {
    PARTS.contains(&source)
}

/// The images that a run was trained on, or those that were kept out.
///
/// # Errors
/// A data set that cannot be read; no images in that part.
pub fn part_of_run(source: &str, run: &Run) -> Result<Content> {
    let config = run.config();
    let (kept, held) = run.parts()?;
    let part = if source == PARTS[0] { kept } else { held };
    if part.is_empty() {
        bail!(
            "{source} holds no images: the run has data.holdout = {}",
            config.data.holdout
        );
    }
    Ok(Content::Images(of_dataset(part)))
}

fn of_dataset(data: Dataset) -> Images {
    Images {
        shape: data.shape,
        pixels: Pixels::Reals(data.images),
        spacing: data.spacing,
        labels: Some(data.labels),
        classes: data.class_names,
        found: data.found,
    }
}

fn file(path: &Path, stored: Stored, rules: Rules) -> Result<Content> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("npy") => {
            let arrays = BTreeMap::from([("arr_0".to_owned(), npz::read_npy(path)?)]);
            content(
                path,
                Archive {
                    arrays,
                    ..Archive::default()
                },
                stored,
                rules,
            )
        }
        Some("npz") => content(path, npz::read_some(path, &NAMES)?, stored, rules),
        Some("safetensors") => {
            let (arrays, samples) = safetensors(path)?;
            let mut rules = rules;
            if samples && rules.range == PixelRange::Signed {
                rules.range = PixelRange::Cut;
            }
            content(
                path,
                Archive {
                    arrays,
                    ..Archive::default()
                },
                stored,
                rules,
            )
        }
        _ => Err(anyhow!(
            "it must end in .npy, .npz or .safetensors, or be a folder of PNG pictures"
        )),
    }
    .with_context(|| format!("in `{}`", path.display()))
}

/// What `sadm sample` says in its files: their images are a model's, and may lie beyond the range of pictures.
pub const SAMPLES_MARK: (&str, &str) = ("sadm", "samples");

/// The tensors of a safetensors file that have a meaning here, and whether they are a model's samples.
fn safetensors(path: &Path) -> Result<(BTreeMap<String, Numbers>, bool)> {
    let mut arrays = BTreeMap::new();
    let mut wide = Vec::new();
    let mut samples = false;
    {
        // Closed before the file is read again: it may be large.
        let bytes = files::read(path)?;
        if let Ok((_, head)) = SafeTensors::read_metadata(&bytes) {
            let (key, mark) = SAMPLES_MARK;
            let said = head.metadata().as_ref().and_then(|said| said.get(key));
            samples = said.is_some_and(|said| said == mark);
        }
        let file = SafeTensors::deserialize(&bytes).map_err(|reason| {
            anyhow!(
                "`{}` is not a whole safetensors file: {reason}",
                path.display()
            )
        })?;
        for name in NAMES {
            let Ok(view) = file.tensor(name) else {
                continue;
            };
            let numbers = match view.dtype() {
                Dtype::U8 => Numbers::Bytes(ArrayD::from_shape_vec(
                    view.shape().to_vec(),
                    view.data().to_vec(),
                )?),
                Dtype::F32 => Numbers::Singles(tensors::singles(name, &view)?),
                dtype => {
                    if let Some(values) = whole(dtype, view.data()) {
                        Numbers::Whole(ArrayD::from_shape_vec(view.shape().to_vec(), values)?)
                    } else {
                        wide.push(name);
                        continue;
                    }
                }
            };
            arrays.insert(name.to_owned(), numbers);
        }
    }
    let read = tensors::read(path, wide)?;
    arrays.extend(
        read.into_iter()
            .map(|(name, x)| (name, Numbers::Reals(x.into_owned()))),
    );
    Ok((arrays, samples))
}

/// Little-endian whole numbers, such as labels; nothing of another type.
fn whole(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f64>> {
    macro_rules! each {
        ($kind:ty) => {{
            let chunks = bytes.as_chunks::<{ size_of::<$kind>() }>().0.iter();
            chunks.map(|b| <$kind>::from_le_bytes(*b) as f64).collect()
        }};
    }
    #[expect(clippy::cast_lossless, reason = "one macro for all widths")]
    Some(match dtype {
        Dtype::BOOL => each!(u8),
        Dtype::I8 => each!(i8),
        Dtype::I16 => each!(i16),
        Dtype::U16 => each!(u16),
        Dtype::I32 => each!(i32),
        Dtype::U32 => each!(u32),
        Dtype::I64 => each!(i64),
        Dtype::U64 => each!(u64),
        _ => return None,
    })
}

/// Names of arrays that are looked at; `arr_0` is what numpy calls an array without name.
const NAMES: [&str; 10] = [
    "images",
    "features",
    "probabilities",
    "arr_0",
    "labels",
    "arr_1",
    "mu",
    "sigma",
    "mu_s",
    "sigma_s",
];

fn content(path: &Path, mut file: Archive, stored: Stored, rules: Rules) -> Result<Content> {
    let [mu, sigma] = stored.names();
    let arrays = &mut file.arrays;
    if arrays.contains_key(mu) && arrays.contains_key(sigma) {
        let mut take = |name: &str| take_reals(arrays, name);
        let (mean, covariance) = (take(mu)?, take(sigma)?);
        let moments = Moments {
            mean: into_vector(mean, mu)?,
            covariance: into_matrix(covariance, sigma)?,
        };
        let beside = SAMPLES.iter().any(|name| arrays.contains_key(*name));
        let samples = beside
            .then(|| samples(path, file, [mu, sigma], rules))
            .transpose()?;
        return Ok(Content::Statistics {
            moments,
            samples: samples.map(Box::new),
        });
    }
    samples(path, file, [mu, sigma], rules)
}

/// Names of arrays of samples.
const SAMPLES: [&str; 3] = ["images", "arr_0", "features"];

fn samples(path: &Path, file: Archive, [mu, sigma]: [&str; 2], rules: Rules) -> Result<Content> {
    let Archive {
        mut arrays,
        classes,
        others,
    } = file;
    if let Some(name) = SAMPLES.into_iter().find(|name| arrays.contains_key(*name)) {
        let axes = arrays[name].shape().len();
        if axes != 2 && name != "features" {
            let images = Images::of_arrays(&mut arrays, rules)?;
            let images = images.context("it holds no images")?;
            let images = images.with_classes(path, classes)?;
            return Ok(Content::Images(
                images.without_unread(path, &others, rules)?,
            ));
        }
        let array = arrays.remove(name).context("it holds no features")?;
        return Ok(Content::Features {
            features: features(name, array)?,
            probabilities: match arrays.remove("probabilities") {
                Some(p) => Some(into_matrix(p.into_reals(), "probabilities")?),
                None => None,
            },
        });
    }
    if let Some(p) = arrays.remove("probabilities") {
        return Ok(Content::Features {
            features: features("probabilities", p.clone())?,
            probabilities: Some(into_matrix(p.into_reals(), "probabilities")?),
        });
    }
    let there = arrays.keys().chain(others.keys());
    let there: Vec<_> = there.map(String::as_str).collect();
    bail!(
        "there must be `images`, `features`, `probabilities`, `arr_0`, or `{mu}` and `{sigma}`; the file holds {}",
        if there.is_empty() {
            "nothing of these".to_owned()
        } else {
            there.join(", ")
        }
    )
}

fn take_reals(arrays: &mut BTreeMap<String, Numbers>, name: &str) -> Result<ArrayD<f64>> {
    let array = arrays
        .remove(name)
        .with_context(|| format!("array `{name}` is missing"))?;
    Ok(array.into_reals())
}

fn into_vector(x: ArrayD<f64>, name: &str) -> Result<Array1<f64>> {
    let shape = x.shape().to_vec();
    x.into_dimensionality::<Ix1>()
        .map_err(|_| anyhow!("array `{name}` must have one axis, got shape {shape:?}"))
}

fn features(name: &str, array: Numbers) -> Result<Matrix> {
    match array {
        Numbers::Singles(x) => Ok(Matrix::F32(into_matrix(x, name)?)),
        other => Ok(Matrix::F64(into_matrix(other.into_reals(), name)?)),
    }
}

fn into_matrix<A>(x: ArrayD<A>, name: &str) -> Result<Array2<A>> {
    let shape = x.shape().to_vec();
    x.into_dimensionality::<Ix2>()
        .map_err(|_| anyhow!("array `{name}` must have two axes, got shape {shape:?}"))
}
