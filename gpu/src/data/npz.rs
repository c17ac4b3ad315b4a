//! NumPy files: arrays by name in `.npz`, one array in `.npy`.

use crate::error::{Error, Result};
use flate2::read::DeflateDecoder;
use ndarray::{ArrayD, IxDyn, ShapeBuilder};
use npyz::{DType, NpyFile, Order, TypeChar, npz};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use zip::{CompressionMethod, ZipArchive};

/// Why an array cannot be read.
type Reason = Box<dyn std::error::Error>;

/// An array as it is kept here, each in row-major order: images of 8 or 16 bits and single precision as they are, every
/// other type as f64.
#[derive(Debug, Clone, PartialEq)]
pub enum Numbers {
    /// `uint8`.
    Bytes(ArrayD<u8>),
    /// `uint16`.
    Words(ArrayD<u16>),
    /// `float32`, or `float16` widened.
    Singles(ArrayD<f32>),
    /// `float64`.
    Reals(ArrayD<f64>),
    /// Any other kind of whole numbers, or `bool` as 0 and 1; above 2⁵³ to the nearest f64.
    Whole(ArrayD<f64>),
}

impl Numbers {
    /// The shape.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Bytes(x) => x.shape(),
            Self::Words(x) => x.shape(),
            Self::Singles(x) => x.shape(),
            Self::Reals(x) | Self::Whole(x) => x.shape(),
        }
    }

    /// As f64.
    pub fn into_reals(self) -> ArrayD<f64> {
        match self {
            Self::Bytes(x) => x.mapv(f64::from),
            Self::Words(x) => x.mapv(f64::from),
            Self::Singles(x) => x.mapv(f64::from),
            Self::Reals(x) | Self::Whole(x) => x,
        }
    }
}

/// The array of a `.npy` file.
///
/// # Errors
/// A missing file, one that is no `.npy`, is cut short or holds no real numbers.
pub fn read_npy(path: &Path) -> Result<Numbers> {
    let file = open(path)?;
    let size = file.metadata().map_or(0, |about| about.len());
    array(BufReader::new(file), size)
        .map_err(|reason| Error::file(path, format!("is not a whole .npy file: {reason}")))
}

/// Contents of a `.npz` file.
#[derive(Debug, Clone, Default)]
pub struct Archive {
    /// The arrays that were asked for and are there.
    pub arrays: BTreeMap<String, Numbers>,
    /// Names of classes, from the array `classes` of texts, where there is one.
    pub classes: Vec<String>,
    /// Shapes of the others; no axes where they hold something that has no shape here, such as pickled objects.
    pub others: BTreeMap<String, Vec<usize>>,
}

impl Archive {
    /// The names of all arrays of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let all = self.arrays.keys().chain(self.others.keys());
        all.map(String::as_str)
    }
}

/// The arrays of a `.npz` file, stored or compressed.
///
/// # Errors
/// A missing file, one that is no `.npz`, is cut short or holds something other than real numbers.
pub fn read_npz(path: &Path) -> Result<BTreeMap<String, Numbers>> {
    Ok(read_where(path, |_| true)?.arrays)
}

/// The arrays of these names of a `.npz` file, and the shapes of the others, whatever they hold.
///
/// # Errors
/// As [`read_npz`], of the arrays that are asked for.
pub fn read_some(path: &Path, names: &[&str]) -> Result<Archive> {
    read_where(path, |name| names.contains(&name))
}

fn read_where(path: &Path, wanted: impl Fn(&str) -> bool) -> Result<Archive> {
    let broken = |reason| Error::file(path, format!("is not a whole .npz file: {reason}"));
    let mut archive = ZipArchive::new(BufReader::new(open(path)?)).map_err(broken)?;
    let mut found = Archive::default();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(broken)?;
        let file_name = entry.name().map_err(broken)?.into_owned();
        let Some(name) = npz::array_name_from_file_name(&file_name) else {
            continue;
        };
        let (size, method) = (entry.size(), entry.compression());
        if name == CLASSES && !wanted(name) {
            let read = if method == CompressionMethod::STORE {
                texts(entry, size)
            } else {
                texts(DeflateDecoder::new(entry), size)
            };
            match read {
                Ok(names) => found.classes = names,
                Err(shape) => {
                    found.others.insert(name.to_owned(), shape);
                }
            }
            continue;
        }
        if !wanted(name) {
            let shape = if method == CompressionMethod::STORE {
                shape(entry)
            } else {
                shape(DeflateDecoder::new(entry))
            };
            found.others.insert(name.to_owned(), shape);
            continue;
        }
        let read = if method == CompressionMethod::STORE {
            array(entry, size)
        } else if method == CompressionMethod::DEFLATE {
            // No deflated stream grows by more than 1032: a size beyond that is no size to make room for.
            let possible = entry.compressed_size().saturating_mul(1032);
            array(DeflateDecoder::new(entry), size.min(possible))
        } else {
            Err(format!("it is compressed by {method}, not deflated or stored").into())
        };
        let read = read.map_err(|reason| {
            Error::file(path, format!("array `{name}` cannot be read: {reason}"))
        })?;
        found.arrays.insert(name.to_owned(), read);
    }
    Ok(found)
}

/// The array of class names that `sadm sample` writes beside labels.
const CLASSES: &str = "classes";
/// Most names that are read: as many as a file may have classes.
const MOST_NAMES: u64 = 1_000_000;

/// The texts of an array of one axis, or the shape of an array of another kind, which is nobody's names.
fn texts(reader: impl Read, size: u64) -> Result<Vec<String>, Vec<usize>> {
    let file = NpyFile::new(reader).map_err(|_| Vec::new())?;
    let axes = shape_of(&file);
    let DType::Plain(kind) = file.dtype() else {
        return Err(axes);
    };
    let is_text = matches!(kind.type_char(), TypeChar::UnicodeStr | TypeChar::ByteStr);
    let width = kind.num_bytes().unwrap_or(0) as u64;
    let bytes = file.len().saturating_mul(width);
    if !is_text || axes.len() != 1 || file.len() > MOST_NAMES || bytes > size {
        return Err(axes);
    }
    let texts = file.data::<String>().map_err(|_| axes.clone())?;
    texts.collect::<Result<_, _>>().map_err(|_| axes)
}

/// The shape that an array's header names.
fn shape(reader: impl Read) -> Vec<usize> {
    NpyFile::new(reader).map_or_else(|_| Vec::new(), |file| shape_of(&file))
}

fn shape_of<R: Read>(file: &NpyFile<R>) -> Vec<usize> {
    let axes = file.shape().iter().copied().map(usize::try_from);
    axes.collect::<Result<_, _>>().unwrap_or_default()
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|reason| Error::io("read", path, reason))
}

/// The array that `reader` holds in at most `size` bytes.
fn array(reader: impl Read, size: u64) -> Result<Numbers, Reason> {
    let file = NpyFile::new(reader)?;
    let DType::Plain(kind) = file.dtype() else {
        return Err("its elements are records, not numbers".into());
    };
    let width = kind.num_bytes().unwrap_or(0) as u64;
    let bytes = file.len().checked_mul(width);
    if bytes.is_none_or(|bytes| bytes > size) {
        let shape = file.shape();
        return Err(format!("its shape {shape:?} needs more than its {size} bytes").into());
    }
    match (kind.type_char(), width) {
        (TypeChar::Uint, 1) => Ok(Numbers::Bytes(shaped(file, |x: u8| x)?)),
        (TypeChar::Float, 8) => Ok(Numbers::Reals(shaped(file, |x: f64| x)?)),
        (TypeChar::Float, 4) => Ok(Numbers::Singles(shaped(file, |x: f32| x)?)),
        (TypeChar::Float, 2) => Ok(Numbers::Singles(shaped(file, half::f16::to_f32)?)),
        (TypeChar::Uint, 2) => Ok(Numbers::Words(shaped(file, |x: u16| x)?)),
        (TypeChar::Int, 8) => whole(file, |x: i64| x as f64),
        (TypeChar::Int, 4) => whole(file, |x: i32| f64::from(x)),
        (TypeChar::Int, 2) => whole(file, |x: i16| f64::from(x)),
        (TypeChar::Int, 1) => whole(file, |x: i8| f64::from(x)),
        (TypeChar::Uint, 8) => whole(file, |x: u64| x as f64),
        (TypeChar::Uint, 4) => whole(file, |x: u32| f64::from(x)),
        (TypeChar::Bool, _) => whole(file, |x: bool| f64::from(u8::from(x))),
        _ => Err(format!("its elements are {kind}, not real numbers").into()),
    }
}

fn whole<T: npyz::Deserialize, R: Read>(
    file: NpyFile<R>,
    widen: fn(T) -> f64,
) -> Result<Numbers, Reason> {
    Ok(Numbers::Whole(shaped(file, widen)?))
}

/// Elements in the order of their indices, whatever their order in the file.
fn shaped<T: npyz::Deserialize, U: Clone, R: Read>(
    file: NpyFile<R>,
    convert: fn(T) -> U,
) -> Result<ArrayD<U>, Reason> {
    let shape = file
        .shape()
        .iter()
        .map(|n| usize::try_from(*n))
        .collect::<Result<Vec<_>, _>>()?;
    let fortran = file.order() == Order::Fortran;
    let elements = file
        .data::<T>()
        .map_err(|reason| reason.to_string())?
        .map(|x| x.map(convert))
        .collect::<Result<Vec<U>, _>>()?;
    let array = ArrayD::from_shape_vec(IxDyn(&shape).set_f(fortran), elements)?;
    Ok(if fortran {
        array.as_standard_layout().into_owned()
    } else {
        array
    })
}
