//! What can be evaluated: pictures, arrays of images or features, stored statistics.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use ndarray::{Array1, Array2, ArrayD, Ix1, Ix2};
use sadm_gpu::config::{Config, DatasetKind};
use sadm_gpu::data::npz::{self, Numbers};
use sadm_gpu::data::{BYTES, Dataset, Images, Pixels};
use sadm_gpu::train::{self, Run};
use sadm_reference::metrics::Moments;
use safetensors::tensor::{Dtype, SafeTensors};

use super::features::Whose;
use super::matrix::Matrix;
use crate::{files, tensors};

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
/// Neither a path nor a name; an empty folder; a file that holds nothing of use.
pub fn read(source: &str, stored: Stored) -> Result<Content> {
    let path = Path::new(source);
    if path.is_dir() {
        return Ok(Content::Images(Images::of_folder(path)?));
    }
    if path.exists() {
        return file(path, stored);
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
    Ok(Content::Images(of_dataset(train::dataset(&config)?, kind)))
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
    Ok(Content::Images(of_dataset(part, config.data.dataset)))
}

fn of_dataset(data: Dataset, kind: DatasetKind) -> Images {
    let spacing = match kind {
        DatasetKind::Digits => 2.0 / 16.0,
        _ => BYTES,
    };
    Images {
        shape: data.shape,
        pixels: Pixels::Reals(data.images),
        spacing: Some(spacing),
        labels: Some(data.labels),
        classes: data.class_names,
    }
}

fn file(path: &Path, stored: Stored) -> Result<Content> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("npy") => {
            let arrays = BTreeMap::from([("arr_0".to_owned(), npz::read_npy(path)?)]);
            content(arrays, stored)
        }
        Some("npz") => content(npz::read_npz(path)?, stored),
        Some("safetensors") => content(safetensors(path)?, stored),
        _ => Err(anyhow!(
            "it must end in .npy, .npz or .safetensors, or be a folder of PNG pictures"
        )),
    }
    .with_context(|| format!("in `{}`", path.display()))
}

/// The tensors of a safetensors file that have a meaning here.
fn safetensors(path: &Path) -> Result<BTreeMap<String, Numbers>> {
    let mut arrays = BTreeMap::new();
    let mut wide = Vec::new();
    {
        // Closed before the file is read again: it may be large.
        let bytes = files::read(path)?;
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
                _ => {
                    wide.push(name);
                    continue;
                }
            };
            arrays.insert(name.to_owned(), numbers);
        }
    }
    let read = tensors::read(path, wide)?;
    arrays.extend(read.into_iter().map(|(name, x)| (name, Numbers::Reals(x))));
    Ok(arrays)
}

/// Names of arrays that are looked at; `arr_0` is what numpy calls an array without name.
const NAMES: [&str; 8] = [
    "images",
    "features",
    "probabilities",
    "arr_0",
    "mu",
    "sigma",
    "mu_s",
    "sigma_s",
];

fn content(mut arrays: BTreeMap<String, Numbers>, stored: Stored) -> Result<Content> {
    let [mu, sigma] = stored.names();
    if arrays.contains_key(mu) && arrays.contains_key(sigma) {
        let mut take = |name: &str| take_reals(&mut arrays, name);
        let (mean, covariance) = (take(mu)?, take(sigma)?);
        let moments = Moments {
            mean: into_vector(mean, mu)?,
            covariance: into_matrix(covariance, sigma)?,
        };
        let beside = SAMPLES.iter().any(|name| arrays.contains_key(*name));
        let samples = beside.then(|| samples(arrays, [mu, sigma])).transpose()?;
        return Ok(Content::Statistics {
            moments,
            samples: samples.map(Box::new),
        });
    }
    samples(arrays, [mu, sigma])
}

/// Names of arrays of samples.
const SAMPLES: [&str; 3] = ["images", "arr_0", "features"];

fn samples(mut arrays: BTreeMap<String, Numbers>, [mu, sigma]: [&str; 2]) -> Result<Content> {
    for name in SAMPLES {
        let Some(array) = arrays.remove(name) else {
            continue;
        };
        return match array.shape().len() {
            4 => Ok(Content::Images(Images::of_array(name, array)?)),
            2 => Ok(Content::Features {
                features: features(name, array)?,
                probabilities: match arrays.remove("probabilities") {
                    Some(p) => Some(into_matrix(p.into_reals(), "probabilities")?),
                    None => None,
                },
            }),
            _ => bail!(
                "array `{name}` must be images of four axes or features of two, got shape {:?}",
                array.shape()
            ),
        };
    }
    if let Some(p) = arrays.remove("probabilities") {
        return Ok(Content::Features {
            features: features("probabilities", p.clone())?,
            probabilities: Some(into_matrix(p.into_reals(), "probabilities")?),
        });
    }
    let there: Vec<_> = arrays.keys().map(String::as_str).collect();
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
