//! The native part of the Python package `sadm`: the oracle's quantities, the checks of the registry and files of weights and
//! samples of runs, on NumPy arrays.
//!
//! What people call is in `python/sadm`; the functions here take arrays of f64 in C order and leave conversion to it. The interpreter
//! goes on while they compute.

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::Device;
use ndarray::{ArrayD, ArrayViewD};
use numpy::{IntoPyArray, PyArrayDyn, PyReadonlyArrayDyn};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString};
use sadm_crosscheck::{Case, Place, foreign, registry};
use sadm_gpu::Error;
use sadm_gpu::run::{Run, SampleRequest};
use sadm_gpu::weights::Weights;
use sadm_oracle::{Kind, Options, Port, QUANTITIES, Tensors, find};

/// Arrays of a call, by name.
type Arrays<'py> = BTreeMap<String, PyReadonlyArrayDyn<'py, f64>>;
/// A computed array beside another one of its shape.
type Pair<'py> = (Bound<'py, PyArrayDyn<f64>>, Bound<'py, PyArrayDyn<f64>>);

/// What Python holds, read where it lies: as in NumPy itself, no thread may write to it while the interpreter goes on.
fn lent<'a>(arrays: &'a Arrays<'_>) -> Tensors<'a> {
    let each = arrays.iter();
    each.map(|(name, array)| (name.clone(), seen(array).into()))
        .collect()
}

/// An array where it lies. NumPy's strides of an empty one are such that ndarray refuses to own a copy, by a panic: it gets its own.
fn seen<'a>(array: &'a PyReadonlyArrayDyn<'_, f64>) -> ArrayViewD<'a, f64> {
    let view = array.as_array();
    if view.is_empty() {
        return ArrayViewD::from_shape(view.raw_dim(), &[]).unwrap_or(view);
    }
    view
}

/// An error with its causes, in the sentences that the command line prints.
fn refused(error: anyhow::Error) -> PyErr {
    PyValueError::new_err(format!("{error:#}"))
}

pyo3::create_exception!(
    _sadm,
    Refused,
    PyValueError,
    "What the reference has no number for, such as features that are all zero under the cosine relation."
);

fn judged(error: sadm_crosscheck::Error) -> PyErr {
    match error {
        sadm_crosscheck::Error::Io { .. } => PyOSError::new_err(error.to_string()),
        sadm_crosscheck::Error::Reference(_) => Refused::new_err(error.to_string()),
        _ => PyValueError::new_err(error.to_string()),
    }
}

/// What the oracle computes: of each quantity its name, formula, tensors and options.
#[pyfunction]
fn quantities(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let ports = |ports: &'static [Port]| -> Vec<(&'static str, Vec<&'static str>)> {
        ports.iter().map(|p| (p.name, p.shape.to_vec())).collect()
    };
    let described = QUANTITIES.iter().map(|quantity| {
        let options = quantity.options.iter().map(|option| {
            let (kind, words) = match option.kind {
                Kind::Choice(words) => ("choice", words()),
                Kind::Positive => ("positive", vec![]),
                Kind::NonNegative => ("non-negative", vec![]),
                Kind::Count(_) => ("count", vec![]),
            };
            let one = PyDict::new(py);
            one.set_item("name", option.name)?;
            one.set_item("kind", kind)?;
            one.set_item("words", words)?;
            one.set_item("domain", option.kind.domain())?;
            one.set_item("default", option.default)?;
            let only_with = option.only_with.map(|(key, words)| (key, words()));
            one.set_item("only_with", only_with)?;
            Ok(one)
        });
        let one = PyDict::new(py);
        one.set_item("name", quantity.name)?;
        one.set_item("formula", quantity.formula)?;
        one.set_item("inputs", ports(quantity.inputs))?;
        one.set_item("optional", ports(quantity.optional))?;
        one.set_item("outputs", ports(quantity.outputs))?;
        one.set_item("options", options.collect::<PyResult<Vec<_>>>()?)?;
        Ok(one)
    });
    described.collect()
}

/// A quantity of the oracle: its tensors, and what is to be known of the inputs.
#[pyfunction]
fn oracle<'py>(
    py: Python<'py>,
    name: &str,
    tensors: Arrays<'py>,
    options: BTreeMap<String, String>,
) -> PyResult<(Bound<'py, PyDict>, Option<String>)> {
    let quantity = find(name).map_err(refused)?;
    let settings: Vec<String> = options
        .iter()
        .map(|(key, v)| format!("{key}={v}"))
        .collect();
    let options = Options::resolve(quantity.options, &settings).map_err(refused)?;
    let inputs = lent(&tensors);
    let answer = py
        .detach(|| quantity.answer(&inputs, options))
        .map_err(refused)?;
    let outputs = PyDict::new(py);
    for (port, tensor) in quantity.outputs.iter().zip(answer.outputs) {
        match tensor.first().filter(|_| port.is_scalar()) {
            Some(number) => outputs.set_item(port.name, *number)?,
            None => outputs.set_item(port.name, tensor.into_pyarray(py))?,
        }
    }
    Ok((outputs, answer.note))
}

/// The checks of the registry: name, what is computed, source.
#[pyfunction]
fn checks() -> Vec<(String, String, String)> {
    let each = registry().into_iter();
    each.map(|check| {
        let [name, about, source] = [check.name(), check.about(), check.source()];
        (name.to_owned(), about.to_owned(), source.to_owned())
    })
    .collect()
}

/// A case from a dictionary: arrays are tensors, lists are numbers (counts where all are whole), the rest parameters.
fn case_of(entries: &Bound<'_, PyDict>) -> PyResult<Case> {
    let mut case = Case::new();
    for (key, value) in entries.iter() {
        let name: String = key.extract()?;
        case = if let Ok(array) = value.extract::<PyReadonlyArrayDyn<'_, f64>>() {
            case.tensor(&name, seen(&array).to_owned())
        } else if let Ok(list) = value.cast::<PyList>() {
            if !list.is_empty() && list.iter().all(|item| item.is_instance_of::<PyInt>()) {
                case.counts(&name, list.extract()?)
            } else {
                case.numbers(&name, list.extract()?)
            }
        } else if value.is_instance_of::<PyBool>() {
            case.flag(&name, value.extract()?)
        } else if value.is_instance_of::<PyInt>() {
            case.count(&name, value.extract()?)
        } else if value.is_instance_of::<PyFloat>() {
            case.number(&name, value.extract()?)
        } else if value.is_instance_of::<PyString>() {
            case.text(&name, &value.extract::<String>()?)
        } else {
            let kind = value.get_type().name()?;
            let message = format!(
                "`{name}` must be an array of float64, a list of numbers, a number, a word or a flag, got {kind}"
            );
            return Err(PyValueError::new_err(message));
        };
    }
    Ok(case)
}

/// The reference's numbers of a case, each beside how far numbers of the element type may be from it.
#[pyfunction]
fn expected<'py>(
    py: Python<'py>,
    check: &str,
    case: &Bound<'py, PyDict>,
    dtype: &str,
) -> PyResult<BTreeMap<String, Pair<'py>>> {
    let case = case_of(case)?;
    let all = py
        .detach(|| foreign::expected(check, &case, dtype))
        .map_err(judged)?;
    let each = all.into_iter();
    Ok(each
        .map(|one| {
            let pair = (one.want.into_pyarray(py), one.allowed.into_pyarray(py));
            (one.name, pair)
        })
        .collect())
}

/// Error/allowance of computed numbers, each with where it is largest.
#[pyfunction]
fn hold(
    py: Python<'_>,
    check: &str,
    case: &Bound<'_, PyDict>,
    dtype: &str,
    computed: Arrays<'_>,
) -> PyResult<Vec<(String, f64, String)>> {
    let case = case_of(case)?;
    let each = computed.iter();
    let computed: BTreeMap<String, ArrayD<f64>> = each
        .map(|(name, array)| (name.clone(), seen(array).to_owned()))
        .collect();
    let found = py
        .detach(|| foreign::hold(check, &case, dtype, &computed))
        .map_err(judged)?;
    let each = found.into_iter();
    Ok(each
        .map(|(name, comparison)| (name, comparison.worst, comparison.place))
        .collect())
}

/// Writes a case for `sadm verify --replay`.
#[pyfunction]
fn write_case(
    path: PathBuf,
    check: &str,
    case: &Bound<'_, PyDict>,
    dtype: &str,
    message: &str,
) -> PyResult<()> {
    let found = foreign::counterexample(check, case_of(case)?, dtype, message).map_err(judged)?;
    found.write(&path).map_err(judged)
}

/// The tensors of a file of weights as arrays of f64; nothing in the file is executed.
#[pyfunction]
fn load_tensors(
    py: Python<'_>,
    path: PathBuf,
) -> PyResult<BTreeMap<String, Bound<'_, PyArrayDyn<f64>>>> {
    let read = || -> sadm_crosscheck::Result<BTreeMap<String, ArrayD<f64>>> {
        let weights = Weights::open(&path)?;
        let mut all = BTreeMap::new();
        for name in weights.names() {
            let shape = weights.shape(name).unwrap_or_default();
            all.insert(name.to_owned(), Place::array(&weights.get(name, shape)?)?);
        }
        Ok(all)
    };
    let each = py.detach(read).map_err(judged)?.into_iter();
    Ok(each.map(|(name, x)| (name, x.into_pyarray(py))).collect())
}

/// Images of a run's newest checkpoint, `[count, channels, size, size]`, and the class of each.
#[pyfunction]
#[pyo3(signature = (run, count, class, guidance, sampler, steps, seed))]
#[expect(
    clippy::too_many_arguments,
    reason = "keywords of a function of Python's"
)]
fn sample(
    py: Python<'_>,
    run: PathBuf,
    count: usize,
    class: Option<u32>,
    guidance: Option<f64>,
    sampler: Option<String>,
    steps: Option<usize>,
    seed: Option<u64>,
) -> PyResult<(Bound<'_, PyArrayDyn<f64>>, Vec<Option<u32>>)> {
    let drawn = py.detach(|| -> sadm_crosscheck::Result<_> {
        let run = Run::open(&run, &Device::Cpu)?;
        let mut request = SampleRequest::from_config(run.config());
        request.labels = match class {
            Some(class) => vec![Some(class); count],
            None => run.conditions().in_order(count),
        };
        request.guidance = guidance.unwrap_or(request.guidance);
        request.options.steps = steps.unwrap_or(request.options.steps);
        request.seed = seed.unwrap_or(request.seed);
        if let Some(sampler) = sampler {
            request.options.kind = sampler.parse()?;
        }
        // Ctrl-C is asked for before every call of the network.
        let images = run.sample_along(&request, &mut |_| {
            Python::attach(|py: Python<'_>| Python::check_signals(py))
                .map_err(|_| Error::invalid("the samples", "be drawn to the end", "an interrupt"))
        })?;
        Ok((Place::array(&images)?, request.labels))
    });
    // An interrupt is raised as such, not as what it led to.
    py.check_signals()?;
    let (images, labels) = drawn.map_err(judged)?;
    Ok((images.into_pyarray(py), labels))
}

#[pymodule]
fn _sadm(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("Refused", module.py().get_type::<Refused>())?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(quantities, module)?)?;
    module.add_function(wrap_pyfunction!(oracle, module)?)?;
    module.add_function(wrap_pyfunction!(checks, module)?)?;
    module.add_function(wrap_pyfunction!(expected, module)?)?;
    module.add_function(wrap_pyfunction!(hold, module)?)?;
    module.add_function(wrap_pyfunction!(write_case, module)?)?;
    module.add_function(wrap_pyfunction!(load_tensors, module)?)?;
    module.add_function(wrap_pyfunction!(sample, module)?)
}
