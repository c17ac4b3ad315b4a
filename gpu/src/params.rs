//! Named parameters: created once from a seed and their name, trained through one view, frozen
//! through another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Shape, Tensor, Var};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use crate::network::Recompute;
use crate::nn::from_f64;
use crate::{Error, Result};

/// How a parameter starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All 0.
    Zeros,
    /// All 1.
    Ones,
    /// N(0, std²).
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// Uniform on (−bound, bound).
    Uniform {
        /// Half the width of the interval.
        bound: f64,
    },
    /// Uniform on (−√(3/fan_in), √(3/fan_in)): variance 1/fan_in, which keeps the scale of the
    /// inputs of a linear map (He et al. 2015, arXiv:1502.01852, with gain 1).
    KaimingUniform {
        /// Inputs of one output.
        fan_in: usize,
    },
}

/// Named tensors, in the order of their names.
pub type Tensors = BTreeMap<String, Tensor>;

/// A set of named parameters on one device.
///
/// Beside them it holds *fixed* tensors ([`Builder::fixed`]), which are stored and loaded with the parameters and never trained.
/// Cloning gives another handle on the same parameters; [`fork`](Self::fork) copies them.
/// Names are sorted wherever they are listed.
#[derive(Debug, Clone)]
pub struct Params {
    held: Arc<Mutex<Held>>,
    device: Device,
    dtype: DType,
    seed: u64,
    outline: bool,
}

/// The tensors of a set.
#[derive(Debug, Default)]
struct Held {
    /// What is trained.
    vars: BTreeMap<String, Var>,
    /// What is only stored.
    fixed: BTreeMap<String, Var>,
    /// Which of that follows from the configuration.
    constants: BTreeSet<String>,
    /// Of an [outline](Params::outline), the shape of each and whether it is trained.
    shapes: BTreeMap<String, Outlined>,
}

impl Held {
    /// Trained and fixed tensors by name.
    fn all(&self) -> BTreeMap<&String, &Var> {
        self.vars.iter().chain(&self.fixed).collect()
    }
}

/// A tensor of which only the shape is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlined {
    /// The sides; none of a single number.
    pub shape: Vec<usize>,
    /// Whether it is a parameter, not a fixed tensor.
    pub trained: bool,
}

impl Params {
    /// An empty set whose parameters will be drawn from `seed`.
    pub fn new(device: &Device, dtype: DType, seed: u64) -> Self {
        Self {
            held: Arc::default(),
            device: device.clone(),
            dtype,
            seed,
            outline: false,
        }
    }

    /// A set in which nothing takes room: a network that is made on it leaves its names and shapes ([`shapes`](Self::shapes)) and cannot be run.
    pub fn outline() -> Self {
        Self {
            outline: true,
            ..Self::new(&Device::Cpu, DType::F32, 0)
        }
    }

    /// Shapes of everything that was asked of an [outline](Self::outline), by name.
    pub fn shapes(&self) -> BTreeMap<String, Outlined> {
        self.lock().shapes.clone()
    }

    /// The trainable view: gradients flow to the parameters.
    pub fn builder(&self) -> Builder {
        self.view(false)
    }

    /// The frozen view: tensors that share the parameters' storage, so that updates are seen, but
    /// that no gradient reaches.
    pub fn frozen(&self) -> Builder {
        self.view(true)
    }

    fn view(&self, frozen: bool) -> Builder {
        Builder {
            params: self.clone(),
            prefix: String::new(),
            frozen,
            recompute: Recompute::None,
        }
    }

    /// The device of the parameters.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The type of the parameters.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Every name, those of fixed tensors too, sorted.
    pub fn names(&self) -> Vec<String> {
        self.lock().all().into_keys().cloned().collect()
    }

    /// Every parameter with its name, sorted by name; no fixed tensor.
    pub fn vars(&self) -> Vec<(String, Var)> {
        let held = self.lock();
        let vars = held.vars.iter();
        vars.map(|(name, var)| (name.clone(), var.clone()))
            .collect()
    }

    /// The parameter called `name`.
    pub fn get(&self, name: &str) -> Option<Var> {
        self.lock().vars.get(name).cloned()
    }

    /// Number of scalars in all parameters.
    pub fn len_elements(&self) -> usize {
        let held = self.lock();
        held.vars.values().map(|var| var.elem_count()).sum()
    }

    /// The values of parameters and fixed tensors by name: tensors without graph that share their storage, so a later
    /// update is seen through them.
    pub fn tensors(&self) -> Tensors {
        let held = self.lock();
        let all = held.all().into_iter();
        all.map(|(name, var)| (name.clone(), var.as_detached_tensor()))
            .collect()
    }

    /// Overwrites every parameter and fixed tensor; nothing is changed if anything does not fit.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the first name, in sorted order, that only one side has or whose
    /// shapes differ; a [constant](Builder::constant) with other numbers.
    pub fn load(&self, tensors: &Tensors) -> Result<()> {
        let held = self.lock();
        let vars = held.all();
        if let Some((name, must, got)) = first_difference(&vars, tensors) {
            return Err(Error::invalid(format!("parameter `{name}`"), must, got));
        }
        for name in &held.constants {
            if !agree(&held.fixed[name], &tensors[name])? {
                let must = "hold what follows from the configuration";
                return Err(Error::invalid(
                    format!("tensor `{name}`"),
                    must,
                    "other numbers",
                ));
            }
        }
        // Copied, since candle refuses to set a parameter from a tensor that shares its storage.
        let place = |tensor: &Tensor| tensor.copy()?.to_dtype(self.dtype)?.to_device(&self.device);
        let values: Vec<Tensor> = tensors.values().map(place).collect::<Result<_, _>>()?;
        for (var, value) in vars.values().zip(&values) {
            var.set(value)?;
        }
        Ok(())
    }

    /// Overwrites every parameter with that of `other`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn copy_from(&self, other: &Self) -> Result<()> {
        if Arc::ptr_eq(&self.held, &other.held) {
            return Ok(());
        }
        self.load(&other.tensors())
    }

    /// A copy with its own storage.
    ///
    /// # Errors
    /// The device's.
    pub fn fork(&self) -> Result<Self> {
        let held = self.lock();
        let copies = |vars: &BTreeMap<String, Var>| {
            let copy = |(name, var): (&String, &Var)| {
                Ok((name.clone(), Var::from_tensor(&var.as_detached_tensor())?))
            };
            vars.iter().map(copy).collect::<Result<_>>()
        };
        let copied = Held {
            vars: copies(&held.vars)?,
            fixed: copies(&held.fixed)?,
            constants: held.constants.clone(),
            shapes: held.shapes.clone(),
        };
        Ok(Self {
            held: Arc::new(Mutex::new(copied)),
            ..self.clone()
        })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // The maps are valid between any two statements that hold the lock.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn create(&self, shape: &Shape, values: Vec<f64>) -> Result<Var> {
        let value = from_f64(values, shape.clone(), &self.device, self.dtype)?;
        Ok(Var::from_tensor(&value)?)
    }

    /// One number that stands for a tensor of this shape, which is noted.
    fn outlined(&self, shape: &Shape, name: String, trained: bool) -> Result<Tensor> {
        let outlined = Outlined {
            shape: shape.dims().to_vec(),
            trained,
        };
        let mut held = self.lock();
        let known = held
            .shapes
            .entry(name.clone())
            .or_insert_with(|| outlined.clone());
        if *known != outlined {
            return Err(other_shape(&name, shape, &known.shape));
        }
        Ok(Tensor::zeros((), self.dtype, &self.device)?.broadcast_as(shape)?)
    }
}

/// Whether two tensors of one shape hold the same numbers, up to a rounding to bf16.
fn agree(ours: &Tensor, theirs: &Tensor) -> Result<bool> {
    let numbers = |x: &Tensor| {
        let flat = x.to_device(&Device::Cpu)?.flatten_all()?;
        flat.to_dtype(DType::F64)?.to_vec1::<f64>()
    };
    let (ours, theirs) = (numbers(ours)?, numbers(theirs)?);
    let near = |(a, b): (&f64, &f64)| (a - b).abs() <= a.abs() / 128.0;
    Ok(ours.iter().zip(&theirs).all(near))
}

/// A tensor that is asked for again, with another shape.
fn other_shape(name: &str, must: &Shape, got: &[usize]) -> Error {
    Error::shape(format!("parameter `{name}`"), format!("{must:?}"), got)
}

/// The first name at which two sets of parameters differ, what it must be, and what it is.
fn first_difference(
    vars: &BTreeMap<&String, &Var>,
    tensors: &BTreeMap<String, Tensor>,
) -> Option<(String, String, String)> {
    let names = vars.keys().copied().chain(tensors.keys());
    let names: BTreeSet<_> = names.collect();
    names.into_iter().find_map(|name| {
        let (must, got) = match (vars.get(name), tensors.get(name)) {
            (Some(var), None) => (
                format!("be given with shape {:?}", var.dims()),
                "none".to_owned(),
            ),
            (None, Some(tensor)) => (
                "not be given: there is no such parameter".to_owned(),
                format!("{:?}", tensor.dims()),
            ),
            (Some(var), Some(tensor)) if var.dims() != tensor.dims() => (
                format!("have shape {:?}", var.dims()),
                format!("{:?}", tensor.dims()),
            ),
            _ => return None,
        };
        Some((name.clone(), must, got))
    })
}

/// A generator for one name: keyed by the SHA-256 of seed and name.
fn generator(seed: u64, name: &str) -> ChaCha8Rng {
    let digest = Sha256::new()
        .chain_update(seed.to_le_bytes())
        .chain_update(name)
        .finalize();
    ChaCha8Rng::from_seed(digest.into())
}

impl Init {
    fn draw(self, count: usize, generator: &mut ChaCha8Rng) -> Vec<f64> {
        let uniform = |bound: f64, generator: &mut ChaCha8Rng| {
            (0..count)
                .map(|_| bound * (2.0 * unit(generator) - 1.0))
                .collect()
        };
        match self {
            Self::Zeros => vec![0.0; count],
            Self::Ones => vec![1.0; count],
            Self::Normal { std } => (0..count).map(|_| std * normal(generator)).collect(),
            Self::Uniform { bound } => uniform(bound, generator),
            Self::KaimingUniform { fan_in } => {
                uniform((3.0 / fan_in.max(1) as f64).sqrt(), generator)
            }
        }
    }
}

/// Uniform on (0, 1): the middles of 2⁵³ equal intervals, so never 0.
fn unit(generator: &mut ChaCha8Rng) -> f64 {
    ((generator.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

/// Standard normal, by Box and Muller's transformation of two uniform numbers.
fn normal(generator: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * unit(generator).ln()).sqrt();
    radius * (std::f64::consts::TAU * unit(generator)).cos()
}

/// A view of [`Params`] below a prefix, from which networks take their parameters.
#[derive(Debug, Clone)]
pub struct Builder {
    params: Params,
    prefix: String,
    frozen: bool,
    recompute: Recompute,
}

impl Builder {
    /// The view below `prefix.name`.
    #[must_use]
    pub fn pp(&self, name: impl AsRef<str>) -> Self {
        Self {
            prefix: self.full_name(name.as_ref()),
            ..self.clone()
        }
    }

    /// The view for networks that keep so much for the way back.
    #[must_use]
    pub fn recomputing(self, recompute: Recompute) -> Self {
        Self { recompute, ..self }
    }

    /// What a network on this view keeps for the way back.
    pub(crate) fn recompute(&self) -> Recompute {
        self.recompute
    }

    /// The parameter `prefix.name`, made by `init` unless it exists.
    ///
    /// Its value depends on the seed and its full name alone, not on what was made before.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it exists with another shape, or has more than 2³⁰ numbers.
    pub fn get(&self, shape: impl Into<Shape>, name: &str, init: Init) -> Result<Tensor> {
        let draw = |count, name: &str| init.draw(count, &mut generator(self.params.seed, name));
        self.held(shape.into(), self.full_name(name), draw, true)
    }

    /// The tensor `prefix.name`, made of `values` row by row unless it exists: stored and loaded with the parameters, never trained.
    ///
    /// # Errors
    /// As [`get`](Self::get); another number of values than the shape has.
    pub fn fixed(
        &self,
        shape: impl Into<Shape>,
        name: &str,
        values: impl FnOnce() -> Vec<f64>,
    ) -> Result<Tensor> {
        self.held(shape.into(), self.full_name(name), |_, _| values(), false)
    }

    /// As [`fixed`](Self::fixed), of numbers that follow from the configuration: a file must agree with them.
    ///
    /// # Errors
    /// As [`fixed`](Self::fixed).
    pub fn constant(
        &self,
        shape: impl Into<Shape>,
        name: &str,
        values: impl FnOnce() -> Vec<f64>,
    ) -> Result<Tensor> {
        let tensor = self.fixed(shape, name, values)?;
        if !self.params.outline {
            let name = self.full_name(name);
            self.params.lock().constants.insert(name);
        }
        Ok(tensor)
    }

    /// As [`fixed`](Self::fixed), of numbers that are drawn by `init` as a parameter's are.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn drawn(&self, shape: impl Into<Shape>, name: &str, init: Init) -> Result<Tensor> {
        let draw = |count, name: &str| init.draw(count, &mut generator(self.params.seed, name));
        self.held(shape.into(), self.full_name(name), draw, false)
    }

    fn held(
        &self,
        shape: Shape,
        name: String,
        values: impl FnOnce(usize, &str) -> Vec<f64>,
        trained: bool,
    ) -> Result<Tensor> {
        refuse_too_large(&shape, &name)?;
        if self.params.outline {
            return self.params.outlined(&shape, name, trained);
        }
        let mut held = self.params.lock();
        let Held { vars, fixed, .. } = &mut *held;
        let vars = if trained { vars } else { fixed };
        if !vars.contains_key(&name) {
            let values = values(shape.elem_count(), &name);
            vars.insert(name.clone(), self.params.create(&shape, values)?);
        }
        let var = &vars[&name];
        if var.shape() != &shape {
            return Err(other_shape(&name, &shape, var.dims()));
        }
        Ok(if self.frozen || !trained {
            var.as_detached_tensor()
        } else {
            var.as_tensor().clone()
        })
    }

    /// The device of the parameters.
    pub fn device(&self) -> &Device {
        &self.params.device
    }

    /// The type of the parameters.
    pub fn dtype(&self) -> DType {
        self.params.dtype
    }

    fn full_name(&self, name: &str) -> String {
        if self.prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.prefix)
        }
    }
}

/// Numbers of one parameter: 4 GiB in f32, beyond any network these are; a mistyped width asks for more.
const LARGEST: usize = 1 << 30;

fn refuse_too_large(shape: &Shape, name: &str) -> Result<()> {
    let numbers = (shape.dims().iter()).try_fold(1_usize, |product, &n| product.checked_mul(n));
    match numbers {
        Some(numbers) if numbers <= LARGEST => Ok(()),
        _ => Err(Error::shape(
            format!("parameter `{name}`"),
            format!("with at most {LARGEST} numbers; a width of the network may be mistyped"),
            shape.dims(),
        )),
    }
}
