//! Runs checks: draws cases with proptest, judges each, shrinks the first that fails.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    time::Instant,
};

use candle_core::{DType, Device, Tensor, cuda::set_gemm_reduced_precision_f32};
use ndarray::{Array, ArrayD, IxDyn};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use sadm_gpu::nn::{Path, traced};
use sadm_reference::bound::Precision;

use crate::{
    case::Case,
    check::{Bounds, Check, Computed, Exact},
    compare::{Comparison, compare},
    error::{Error, Result},
    ledger::{self, Rule},
    registry::{registry, select},
    replay::Counterexample,
    report::{CheckReport, Outcome, Report},
};

/// A kind of device, as the ledger knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The CPU.
    Cpu,
    /// A GPU.
    Accelerator,
}

/// Where the training system computes: a device and an element type.
#[derive(Debug, Clone)]
pub struct Place {
    /// The device.
    pub device: Device,
    /// Its name: `cpu` or `cuda:N`.
    pub label: String,
    /// The element type.
    pub dtype: DType,
    /// Whether the GPU multiplies matrices of f32 in TF32: their elements are rounded to 11 bits first.
    pub tf32: bool,
}

impl Place {
    /// The CPU, in the given element type.
    pub fn cpu(dtype: DType) -> Self {
        Self {
            device: Device::Cpu,
            label: "cpu".to_owned(),
            dtype,
            tf32: false,
        }
    }

    /// Opens a device by name, and for the whole program turns TF32 on for the element type `tf32`, else off.
    ///
    /// # Errors
    /// When the device is not `cpu` or `cuda:N`, cannot be opened, the element type is not one of f64, f32,
    /// tf32, bf16, f16, or is tf32 on a CPU.
    pub fn open(device: &str, dtype: &str) -> Result<Self> {
        let tf32 = dtype == "tf32";
        let place = Self {
            device: open_device(device)?,
            label: device.to_owned(),
            dtype: parse_dtype(dtype)?,
            tf32,
        };
        if tf32 && place.kind() == Kind::Cpu {
            return Err(Error::Tf32(place.label));
        }
        set_gemm_reduced_precision_f32(tf32);
        Ok(place)
    }

    /// The kind of the device.
    pub fn kind(&self) -> Kind {
        if self.device.is_cpu() {
            Kind::Cpu
        } else {
            Kind::Accelerator
        }
    }

    /// Name of the element type: `f64`, `f32`, `tf32`, `bf16`, `f16`.
    pub fn dtype_name(&self) -> &'static str {
        if self.tf32 {
            "tf32"
        } else {
            self.dtype.as_str()
        }
    }

    /// Copies numbers to the device; each is rounded to the element type.
    pub fn tensor(&self, value: &ArrayD<f64>) -> Result<Tensor> {
        not_alone()?;
        let flat: Vec<f64> = value.iter().copied().collect();
        Ok(Tensor::from_vec(flat, value.shape(), &Device::Cpu)?
            .to_dtype(self.dtype)?
            .to_device(&self.device)?)
    }

    /// Copies a tensor back; every element type widens to f64 exactly.
    pub fn array(tensor: &Tensor) -> Result<ArrayD<f64>> {
        not_alone()?;
        let flat = tensor
            .to_device(&Device::Cpu)?
            .to_dtype(DType::F64)?
            .flatten_all()?
            .to_vec1::<f64>()?;
        Array::from_shape_vec(IxDyn(tensor.dims()), flat).map_err(Error::reference)
    }

    /// The number as the element type holds it.
    #[expect(clippy::cast_possible_truncation, reason = "rounding is meant")]
    pub fn round(&self, x: f64) -> f64 {
        match self.dtype {
            DType::F32 => f64::from(x as f32),
            DType::BF16 => half::bf16::from_f64(x).to_f64(),
            DType::F16 => half::f16::from_f64(x).to_f64(),
            _ => x,
        }
    }
}

fn open_device(name: &str) -> Result<Device> {
    let refuse = |why: String| Error::Device {
        got: name.to_owned(),
        why,
    };
    if name == "cpu" {
        return Ok(Device::Cpu);
    }
    let number = name
        .strip_prefix("cuda:")
        .or_else(|| (name == "cuda").then_some("0"));
    let number = number.ok_or_else(|| refuse("no such kind of device".to_owned()))?;
    let number: usize = number
        .parse()
        .map_err(|_| refuse("the GPU's number is no number".to_owned()))?;
    if !cfg!(feature = "cuda") {
        return Err(Error::WithoutCuda(name.to_owned()));
    }
    Device::new_cuda(number).map_err(|e| refused_by_cuda(name, &e.to_string()))
}

/// A machine without any GPU is told from a GPU that is there and cannot be opened.
fn refused_by_cuda(name: &str, why: &str) -> Error {
    if why.contains("CUDA_ERROR_NO_DEVICE") {
        return Error::NoGpu(name.to_owned());
    }
    Error::Cuda {
        got: name.to_owned(),
        why: why.to_owned(),
    }
}

pub(crate) fn parse_dtype(name: &str) -> Result<DType> {
    match name {
        "f64" => Ok(DType::F64),
        "f32" | "tf32" => Ok(DType::F32),
        "bf16" => Ok(DType::BF16),
        "f16" => Ok(DType::F16),
        other => Err(Error::Dtype(other.to_owned())),
    }
}

/// Options of a verification.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// Where the training system computes.
    pub place: Place,
    /// Cases for each cheap check; dearer ones run fewer, see [`crate::Cost`].
    pub cases: u32,
    /// Only the checks whose name is, begins with, or contains this.
    pub only: Option<String>,
    /// Seed of the generators: the same seed draws the same cases.
    pub seed: u64,
    /// Whether a case that fails is made smaller.
    pub shrinks: bool,
}

impl VerifyOptions {
    /// 64 cases of every check on the CPU.
    pub fn cpu(dtype: DType) -> Self {
        Self {
            place: Place::cpu(dtype),
            cases: 64,
            only: None,
            seed: 0,
            shrinks: true,
        }
    }
}

/// Runs the registry.
///
/// `progress` is called after each check, so that a long run can print as it goes.
///
/// # Errors
/// When `only` names no check, or the ledger lacks an entry. A wrong number is not an error but part of the
/// report.
pub fn verify(options: &VerifyOptions, progress: &mut dyn FnMut(&CheckReport)) -> Result<Report> {
    let checks = match &options.only {
        Some(name) => select(registry(), name)?,
        None => registry(),
    };
    let mut reports = Vec::with_capacity(checks.len());
    for check in &checks {
        let report = run(check.as_ref(), options)?;
        progress(&report);
        reports.push(report);
    }
    Ok(Report {
        device: options.place.label.clone(),
        dtype: options.place.dtype_name().to_owned(),
        seed: options.seed,
        cases: options.cases,
        checks: reports,
    })
}

/// Runs one check.
///
/// # Errors
/// When the ledger has no entry for it.
pub fn run(check: &dyn Check, options: &VerifyOptions) -> Result<CheckReport> {
    let rule = ledger::rule(check, &options.place)?;
    let began = Instant::now();
    let tally = RefCell::new(Tally::default());
    let config = Config {
        cases: check.cost().cases(options.cases),
        max_shrink_iters: if options.shrinks {
            check.cost().shrink_budget()
        } else {
            0
        },
        failure_persistence: None,
        ..Config::default()
    };
    let found = TestRunner::new_with_rng(config, stream(options.seed, check.name())).run(
        &check.strategy(),
        |case| {
            let judged = judge(check, &case, &options.place, &rule);
            tally.borrow_mut().take(judged).map_err(TestCaseError::fail)
        },
    );
    let mut tally = tally.into_inner();
    match found {
        Ok(()) => {}
        Err(TestError::Fail(reason, case)) => {
            tally.conclude(judge(check, &case, &options.place, &rule), &reason);
            tally.failed = Some(case);
        }
        Err(TestError::Abort(reason)) => return Err(Error::Reference(reason.to_string())),
    }
    Ok(tally.report(check, &options.place, &rule, began.elapsed().as_secs_f64()))
}

/// Judges one given case.
///
/// # Errors
/// When the ledger has no entry for the check.
pub fn judge_once(check: &dyn Check, case: &Case, place: &Place) -> Result<CheckReport> {
    let rule = ledger::rule(check, place)?;
    let began = Instant::now();
    let mut tally = Tally::default();
    if let Err(reason) = tally.take(judge(check, case, place, &rule)) {
        tally.conclude(judge(check, case, place, &rule), &reason.into());
        tally.failed = Some(case.clone());
    }
    Ok(tally.report(check, place, &rule, began.elapsed().as_secs_f64()))
}

/// A generator for one check: its own stream of the seed, so that `--only` changes no case.
pub(crate) fn stream(seed: u64, name: &str) -> TestRng {
    let mut key = [0_u8; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    // FNV-1a, four times over with different starts: a name is 24 more bytes of the key.
    for (lane, chunk) in key[8..].chunks_exact_mut(8).enumerate() {
        let start = 0xcbf2_9ce4_8422_2325_u64 ^ lane as u64;
        let hash = name.bytes().fold(start, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        });
        chunk.copy_from_slice(&hash.to_le_bytes());
    }
    TestRng::from_seed(RngAlgorithm::ChaCha, &key)
}

/// Holds every quantity of one case against its bound.
///
/// # Formula
/// ```text
/// |candle − reference| ≤ bound(u) + bound(2⁻⁵³)
/// ```
/// with u the unit roundoff of the ledger: the second term is the reference's own rounding, so that in f64
/// both sides are charged alike; an underflow to zero is allowed on top. A rounding of the outputs to a narrower type adds one more unit of that
/// type. The bound carries its own copy of the value, from another chain of operations than the
/// reference's; the two must agree within 2·bound(2⁻⁵³).
pub fn judge(
    check: &dyn Check,
    case: &Case,
    place: &Place,
    rule: &Rule,
) -> Result<Vec<(String, Comparison)>> {
    let mut judged = Vec::new();
    for Sides {
        name,
        got,
        want,
        allowed,
        inconsistent,
    } in sides(check, case, place, rule)?
    {
        if let Some(comparison) = inconsistent {
            judged.push((format!("{name} (the bound's own value)"), comparison));
        }
        let comparison = compare(&name, &got, &want, &allowed);
        judged.push((name, comparison));
    }
    Ok(judged)
}

/// Both sides of a quantity of one case.
#[derive(Debug)]
pub(crate) struct Sides {
    pub(crate) name: String,
    /// The training system's number.
    pub(crate) got: ArrayD<f64>,
    /// The reference's.
    pub(crate) want: ArrayD<f64>,
    /// How far they may be apart.
    pub(crate) allowed: ArrayD<f64>,
    /// The comparison of the bound's own value with the reference's, if they contradict each other.
    inconsistent: Option<Comparison>,
}

/// Both sides of every quantity of one case; see [`judge`].
pub(crate) fn sides(
    check: &dyn Check,
    case: &Case,
    place: &Place,
    rule: &Rule,
) -> Result<Vec<Sides>> {
    let case = case.map_tensors(|x| place.round(x));
    let one = reference_side(check, &case, rule)?;
    let (got, ran) = traced(|| without_panic(|| check.candle(&case, place)));
    let got = got?;
    the_path_ran(check, place, &ran)?;
    same_names(&got, &one.want, &one.bound)?;
    let each = one.want.keys().map(|name| {
        let consistent = compare(
            name,
            &one.own[name].value,
            &one.want[name],
            &(&one.own[name].error * 2.0),
        );
        Sides {
            inconsistent: (!consistent.holds()).then_some(consistent),
            ..both(name, &got, &one.want, one.allowed(name, rule))
        }
    });
    Ok(each.collect())
}

/// What the reference says of a case.
pub(crate) struct ReferenceSide {
    /// Its numbers.
    pub(crate) want: Exact,
    /// Its own rounding.
    own: Bounds,
    /// The bound in the rule's precision.
    bound: Bounds,
}

impl ReferenceSide {
    /// How far a number computed elsewhere may be from the reference's; see [`judge`].
    pub(crate) fn allowed(&self, name: &str, rule: &Rule) -> ArrayD<f64> {
        let tracked = match rule.store {
            Some(store) => self.bound[name].stored_as(store),
            None => self.bound[name].clone(),
        };
        // Below the smallest normal number no relative accuracy is left, whatever the formula.
        tracked.error + &self.own[name].error + rule.compute.tiny
    }
}

/// The reference's side of a case, whose tensors are numbers of the element type.
pub(crate) fn reference_side(check: &dyn Check, case: &Case, rule: &Rule) -> Result<ReferenceSide> {
    alone(|| {
        let host = Rule {
            compute: Precision::F64,
            store: None,
            ..*rule
        };
        Ok(ReferenceSide {
            want: check.reference(case)?,
            own: check.bound(case, &host)?,
            bound: check.bound(case, rule)?,
        })
    })
}

/// A quantity of the training system beside the reference's: the types of the sides keep one from being taken for the other.
fn both(name: &str, got: &Computed, want: &Exact, allowed: ArrayD<f64>) -> Sides {
    Sides {
        name: name.to_owned(),
        got: got[name].clone(),
        want: want[name].clone(),
        allowed,
        inconsistent: None,
    }
}

/// That a check of one of a layer's two implementations ran that one: on the CPU, where both can.
fn the_path_ran(check: &dyn Check, place: &Place, ran: &BTreeSet<Path>) -> Result<()> {
    let Some(path) = check.path().filter(|_| place.kind() == Kind::Cpu) else {
        return Ok(());
    };
    // Some fused layers are put together of others; no chain contains a fused one.
    let other = path == Path::Composed && ran.contains(&Path::Fused);
    if ran.contains(&path) && !other {
        return Ok(());
    }
    Err(Error::Gpu(format!(
        "`{}` must run its path {path:?}, and ran {ran:?}",
        check.name()
    )))
}

thread_local! {
    /// Whether the reference computes: nothing may go to a device then, or come from one.
    static REFERENCE_ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Runs what belongs to the reference; whatever it asks of the training system's tensors is refused.
fn alone<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            REFERENCE_ALONE.set(self.0);
        }
    }
    let _before = Before(REFERENCE_ALONE.replace(true));
    f()
}

fn not_alone() -> Result<()> {
    if REFERENCE_ALONE.get() {
        let problem = "a check's reference must not compute with the training system's tensors";
        return Err(Error::Reference(problem.to_owned()));
    }
    Ok(())
}

/// A panic inside candle is a failure of the quantity, not the end of the verification.
fn without_panic<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(Error::Gpu(format!(
            "panicked: {}",
            text.unwrap_or_default()
        )))
    })
}

fn same_names(got: &Computed, want: &Exact, bound: &Bounds) -> Result<()> {
    let list = |names: Vec<&String>| names.into_iter().cloned().collect::<Vec<_>>().join(", ");
    let (got, want, bound) = (
        list(got.keys().collect()),
        list(want.keys().collect()),
        list(bound.keys().collect()),
    );
    if got == want && bound == want {
        return Ok(());
    }
    Err(Error::Missing {
        name: want,
        held: format!("`{got}` from candle and `{bound}` from the bound"),
    })
}

/// Progress of one check.
#[derive(Debug, Default)]
struct Tally {
    cases: u64,
    elements: u64,
    worst: f64,
    place: String,
    vacuous: u64,
    unsupported: Option<String>,
    shrinking: bool,
    failed: Option<Case>,
}

impl Tally {
    /// Adds one case; the message of the first quantity that fails.
    fn take(
        &mut self,
        judged: Result<Vec<(String, Comparison)>>,
    ) -> std::result::Result<(), String> {
        let judged = match judged {
            Ok(judged) => judged,
            Err(Error::Unsupported { what }) => {
                self.unsupported = Some(what);
                return Ok(());
            }
            Err(error) => {
                self.shrinking = true;
                return Err(error.to_string());
            }
        };
        let failure = judged
            .iter()
            .find(|(_, c)| !c.holds())
            .map(|(name, c)| format!("{name}: {}", c.place));
        // Cases tried while shrinking are chosen, not drawn: they do not count.
        if !self.shrinking {
            self.count(&judged);
        }
        self.shrinking |= failure.is_some();
        failure.map_or(Ok(()), Err)
    }

    fn count(&mut self, judged: &[(String, Comparison)]) {
        self.cases += 1;
        self.vacuous += u64::from(judged.iter().any(|(_, c)| c.vacuous));
        for (_, comparison) in judged {
            self.elements += comparison.elements as u64;
            if comparison.worst > self.worst {
                self.worst = comparison.worst;
                self.place.clone_from(&comparison.place);
            }
        }
    }

    /// The numbers of the smallest failing case take the place of the first one's.
    fn conclude(
        &mut self,
        judged: Result<Vec<(String, Comparison)>>,
        reason: &proptest::test_runner::Reason,
    ) {
        self.worst = f64::INFINITY;
        reason.message().clone_into(&mut self.place);
        let Ok(judged) = judged else { return };
        let worst = judged.iter().max_by(|a, b| a.1.worst.total_cmp(&b.1.worst));
        if let Some((name, comparison)) = worst.filter(|(_, c)| !c.holds()) {
            self.worst = comparison.worst;
            self.place = format!("{name}: {}", comparison.place);
        }
    }

    fn report(self, check: &dyn Check, place: &Place, rule: &Rule, seconds: f64) -> CheckReport {
        let outcome = match (self.failed, self.unsupported) {
            (Some(case), _) => Outcome::Failed {
                counterexample: Box::new(Counterexample {
                    check: check.name().to_owned(),
                    device: place.label.clone(),
                    dtype: place.dtype_name().to_owned(),
                    message: self.place.clone(),
                    case,
                }),
            },
            (None, Some(reason)) if self.cases == 0 => Outcome::Unsupported { reason },
            (None, _) => Outcome::Passed,
        };
        CheckReport {
            name: check.name().to_owned(),
            about: check.about().to_owned(),
            cases: self.cases,
            elements: self.elements,
            worst: self.worst,
            place: self.place,
            vacuous: self.vacuous,
            judged_by: rule.reason.to_owned(),
            seconds,
            outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Quantity, bounds, values};
    use ndarray::arr1;
    use proptest::prelude::*;
    use sadm_reference::bound::Tracked;

    /// y = x, wrong by 1 wherever x > 3. It borrows the ledger's entry `forward`.
    fn toy(wrong: bool) -> Quantity {
        Quantity::new("forward.toy", "y = x, for testing the engine", "nowhere")
            .draws(|| {
                prop::collection::vec(crate::generators::number(), 1..=6)
                    .prop_map(|x| Case::new().tensor("x", arr1(&x)))
                    .boxed()
            })
            .reference(|case| Ok(values([("y", case.get("x")?.clone())])))
            .bound(|case, _| Ok(bounds([("y", Tracked::exact(case.get("x")?.clone()))])))
            .candle(move |case, _| {
                Ok(values([(
                    "y",
                    case.get("x")?
                        .mapv(|x| if wrong && x > 3.0 { x + 1.0 } else { x }),
                )]))
            })
    }

    #[test]
    fn a_right_quantity_passes_all_its_cases() {
        let report = run(&toy(false), &VerifyOptions::cpu(DType::F32)).expect("it has an entry");
        assert_eq!(
            (report.verdict(), report.cases, report.worst),
            ("pass", 64, 0.0)
        );
    }

    #[test]
    fn a_wrong_quantity_fails_with_the_smallest_case_there_is() {
        let report = run(&toy(true), &VerifyOptions::cpu(DType::F32)).expect("it has an entry");
        let Outcome::Failed { counterexample } = &report.outcome else {
            panic!("it passes: {report}")
        };
        let x = counterexample
            .case
            .get("x")
            .expect("the case has its tensor");
        // 193/64 is the smallest number of the grid above 3; a full mantissa does not shrink.
        assert_eq!(x.len(), 1, "not the shortest case: {x}");
        assert!(x[[0]] > 3.0, "this case is right: {x}");
        assert!(
            report.place.contains("`y` at [0]"),
            "no place: {}",
            report.place
        );
    }

    #[test]
    fn a_counterexample_survives_its_file() {
        let report = run(&toy(true), &VerifyOptions::cpu(DType::F32)).expect("it has an entry");
        let Outcome::Failed { counterexample } = report.outcome else {
            panic!("it passes")
        };
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("case.json");
        counterexample.write(&path).expect("it can be written");
        let back = Counterexample::read(&path).expect("it can be read");
        assert_eq!(*counterexample, back);
        let again =
            judge_once(&toy(true), &back.case, &Place::cpu(DType::F32)).expect("it can be judged");
        assert!(again.failed(), "the case no longer fails");
        let unknown = crate::replay(&path, None, None)
            .expect_err("the toy is in no registry")
            .to_string();
        assert!(unknown.contains("forward.toy"), "unclear: {unknown}");
        std::fs::write(&path, "{").expect("it can be spoiled");
        let spoiled = crate::replay(&path, None, None)
            .expect_err("half a file")
            .to_string();
        assert!(spoiled.contains("case.json"), "no path in: {spoiled}");
    }

    #[test]
    fn the_same_seed_draws_the_same_cases() {
        let options = |seed| VerifyOptions {
            seed,
            ..VerifyOptions::cpu(DType::F32)
        };
        let find = |seed| {
            run(&toy(true), &options(seed))
                .expect("it has an entry")
                .outcome
        };
        assert_eq!(find(1), find(1));
    }

    #[test]
    fn an_unsupported_operation_is_neither_pass_nor_failure() {
        let missing = toy(false).candle(|_, _| {
            Err(Error::Unsupported {
                what: "no kernel".to_owned(),
            })
        });
        let report = run(&missing, &VerifyOptions::cpu(DType::BF16)).expect("it has an entry");
        assert_eq!((report.verdict(), report.cases), ("unsupported", 0));
        assert!(!report.failed(), "a missing kernel fails");
    }

    #[test]
    fn a_bound_that_contradicts_the_reference_fails() {
        let off = toy(false).bound(|case, _| {
            Ok(bounds([(
                "y",
                Tracked::exact(case.get("x")?.mapv(|x| x + 1.0)),
            )]))
        });
        let report = run(&off, &VerifyOptions::cpu(DType::F32)).expect("it has an entry");
        assert!(
            report.failed() && report.place.contains("bound's own value"),
            "{}",
            report.place
        );
    }

    /// Whatever a check's author does, it compares two things: the sides have types of their own, and the reference has no tensors.
    #[test]
    fn a_check_cannot_compare_the_training_system_with_itself() {
        let same = toy(false).reference(|case| {
            let x = Place::cpu(DType::F32).tensor(case.get("x")?)?;
            Ok(values([("y", Place::array(&x)?)]))
        });
        let report = run(&same, &VerifyOptions::cpu(DType::F32)).expect("it has an entry");
        assert!(
            report.failed() && report.place.contains("must not compute"),
            "{}",
            report.place
        );
    }

    /// A check of the composed path that runs the fused one, and the other way round, and one that runs none.
    #[test]
    fn a_check_of_one_path_cannot_run_the_other() {
        use sadm_gpu::nn::{composed, silu};
        type Run = fn(&Tensor) -> candle_core::Result<Tensor>;
        let runs: [Run; 3] = [silu, composed::silu, |x| Ok(x.clone())];
        for (path, right) in [(Path::Fused, 0), (Path::Composed, 1)] {
            for (i, run_it) in runs.into_iter().enumerate() {
                let check = toy(false).on(Some(path)).candle(move |case, place| {
                    let x = place.tensor(case.get("x")?)?;
                    run_it(&x)?;
                    Ok(values([("y", Place::array(&x)?)]))
                });
                let report = run(&check, &VerifyOptions::cpu(DType::F32)).expect("an entry");
                assert_eq!(
                    report.failed(),
                    i != right,
                    "{path:?}, {i}: {}",
                    report.place
                );
                assert!(i == right || report.place.contains("must run its path"));
            }
        }
    }

    #[test]
    fn devices_and_types_are_read_or_refused_by_name() {
        assert_eq!(
            Place::open("cpu", "bf16").expect("both exist").dtype,
            DType::BF16
        );
        let wrong = [
            ("tpu", "f32"),
            ("cuda:x", "f32"),
            ("cpu", "f31"),
            ("cpu", "tf32"),
        ];
        for (device, dtype) in wrong {
            let message = Place::open(device, dtype)
                .expect_err("one of them is wrong")
                .to_string();
            assert!(message.contains("must be"), "unclear: {message}");
        }
    }

    #[test]
    fn no_gpu_at_all_is_told_from_a_gpu_that_cannot_be_opened() {
        let none = refused_by_cuda("cuda:0", "DriverError(CUDA_ERROR_NO_DEVICE, \"…\")");
        assert!(matches!(none, Error::NoGpu(name) if name == "cuda:0"));
        let other = refused_by_cuda("cuda:7", "DriverError(CUDA_ERROR_INVALID_DEVICE, \"…\")");
        assert!(matches!(other, Error::Cuda { .. }));
    }
}
