//! The tolerance ledger: in which arithmetic each family of quantities is judged, and why.
//!
//! The *size* of every tolerance comes from the reference's running error analysis; what the ledger adds
//! is only which unit roundoff that analysis is run with, and, where no a-priori bound exists, the factor
//! on a measured spread. An entry no check uses fails a test, and so does an override that widens nothing.

use candle_core::DType;
use sadm_reference::bound::Precision;

use crate::{
    check::Check,
    engine::{Kind, Place},
    error::{Error, Result},
};

/// The arithmetic a quantity is judged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// f64 on the host, whatever the element type.
    Host,
    /// Every operation rounds to the element type.
    Element,
    /// Every operation rounds to the wider of f32 and the element type; outputs are rounded once more to the
    /// element type.
    Wide,
}

impl Arithmetic {
    /// The precision of each operation, and of the outputs if that is another one.
    fn precision(self, dtype: DType) -> (Precision, Option<Precision>) {
        match (self, dtype) {
            (Self::Host, _) | (_, DType::F64) => (F64, None),
            (_, DType::F32) => (F32, None),
            (Self::Element, DType::F16) => (F16, None),
            (Self::Element, _) => (BF16, None),
            (Self::Wide, DType::F16) => (F32, Some(F16)),
            (Self::Wide, _) => (F32, Some(BF16)),
        }
    }
}

const F64: Precision = Precision::F64;
const F32: Precision = Precision::F32;
const BF16: Precision = Precision::BF16;
/// IEEE binary16: u = 2⁻¹¹; underflow is gradual, by at most the smallest subnormal 2⁻²⁴.
pub(crate) const F16: Precision = Precision {
    unit: 4.882_812_5e-4,
    tiny: 5.960_464_477_539_063e-8,
    largest: 65504.0,
};
/// TF32: both factors of a product of f32 are rounded to 11 bits first, `(1 + 2⁻¹¹)²(1 + 2⁻²⁴) − 1 < 2⁻¹⁰ + 2⁻²¹`. With this as
/// its unit roundoff the bound of an inner product of n terms, `n u Σ|x y|`, holds for every n: those of n > 1 also pay
/// for the sum, in f32.
const TF32: Precision = Precision {
    unit: 9.765_625e-4 + 4.768_371_582_031_25e-7,
    ..Precision::F32
};

/// How one check is judged at one place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// Each operation rounds to this.
    pub compute: Precision,
    /// The outputs are rounded to this once more.
    pub store: Option<Precision>,
    /// Factor on the measured spread; 1 where the allowance is an a-priori bound.
    pub factor: f64,
    /// Why.
    pub reason: &'static str,
}

/// The ledger's entry for a family, valid for every device and element type without an override.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// First part of the checks' names.
    pub family: &'static str,
    /// The arithmetic.
    pub arithmetic: Arithmetic,
    /// Factor on the measured spread; 1 for an a-priori bound.
    pub factor: f64,
    /// Why this arithmetic and this factor.
    pub reason: &'static str,
}

/// A wider rule for one check, one kind of device and one element type.
#[derive(Debug, Clone, Copy)]
pub struct Override {
    /// The whole name of the check.
    pub check: &'static str,
    /// The kind of device, or every kind.
    pub device: Option<Kind>,
    /// The element type.
    pub dtype: DType,
    /// The arithmetic.
    pub arithmetic: Arithmetic,
    /// Factor on the measured spread.
    pub factor: f64,
    /// Why it must be wider.
    pub reason: &'static str,
}

const HOST: &str = "scalars are computed in f64 on the host and never rounded to the element type";
const PREPARED: &str =
    "images are augmented in f64 on the host, and rounded once where a tensor is made of them";
const ACCUMULATED: &str = "features are widened to f64, exactly, before anything is added; every sum runs in f64 on the host";
const FUSED: &str =
    "own kernels: f32 and f64 natively, narrower types in f32 with one rounding at the end";
const COMPOSED: &str = "a chain of candle operations, each of which rounds to the element type";
const REDUCED: &str = "inputs of a narrower type are brought to f32 first, sums run in f32";
const NETWORK: &str = "no useful a-priori bound exists: the allowance is the largest deviation \
seen in f64 when every input and every result of every operation, forward and backward, is moved by \
at most one unit roundoff at random, times 16: what is one operation there (a dot product of up to \
54 terms, a normalisation) is up to 54 roundings here, which add up like their root, 7.3, rounded up \
to 8, and the largest of 8 samples is held against another draw of the same law, 2";

/// Factor on a measured spread; see the reason of `network`.
const SPREAD: f64 = 16.0;

const fn entry(family: &'static str, arithmetic: Arithmetic, reason: &'static str) -> Entry {
    Entry {
        family,
        arithmetic,
        factor: 1.0,
        reason,
    }
}

/// One entry for each family of the registry.
pub const ENTRIES: &[Entry] = &[
    entry("schedule", Arithmetic::Host, HOST),
    entry("weight", Arithmetic::Host, HOST),
    entry("eta", Arithmetic::Host, HOST),
    entry("coefficients", Arithmetic::Host, HOST),
    entry("noise-condition", Arithmetic::Host, HOST),
    entry("edm-sigmas", Arithmetic::Host, HOST),
    entry("time", Arithmetic::Host, HOST),
    entry("learning-rate", Arithmetic::Host, HOST),
    entry("augmentation", Arithmetic::Host, PREPARED),
    entry("diffusion-gan-levels", Arithmetic::Host, HOST),
    entry("diffusion-gan-times", Arithmetic::Host, HOST),
    entry("diffusion-gan-controller", Arithmetic::Host, HOST),
    entry("diffusion-gan", Arithmetic::Element, COMPOSED),
    entry("forward", Arithmetic::Element, COMPOSED),
    entry("coupling", Arithmetic::Wide, REDUCED),
    entry("denoise", Arithmetic::Element, COMPOSED),
    entry("denoising-loss", Arithmetic::Wide, REDUCED),
    entry("variance-loss", Arithmetic::Wide, REDUCED),
    entry("affinity", Arithmetic::Wide, REDUCED),
    entry("structural-loss", Arithmetic::Wide, REDUCED),
    entry("sampler", Arithmetic::Element, COMPOSED),
    entry("likelihood", Arithmetic::Element, COMPOSED),
    entry("nn", Arithmetic::Wide, FUSED),
    entry("composed", Arithmetic::Element, COMPOSED),
    entry("adamw", Arithmetic::Element, COMPOSED),
    entry("clip", Arithmetic::Element, COMPOSED),
    entry("ema", Arithmetic::Element, COMPOSED),
    entry("frozen", Arithmetic::Element, COMPOSED),
    entry("feature-statistics", Arithmetic::Host, ACCUMULATED),
    Entry {
        family: "network",
        arithmetic: Arithmetic::Element,
        factor: SPREAD,
        reason: NETWORK,
    },
    Entry {
        family: "step",
        arithmetic: Arithmetic::Element,
        factor: SPREAD,
        reason: NETWORK,
    },
];

const fn wider(check: &'static str, dtype: DType, reason: &'static str) -> Override {
    Override {
        check,
        device: None,
        dtype,
        arithmetic: Arithmetic::Element,
        factor: 1.0,
        reason,
    }
}

/// As [`wider`], on GPUs alone.
const fn on_gpus(check: &'static str, dtype: DType, reason: &'static str) -> Override {
    Override {
        device: Some(Kind::Accelerator),
        ..wider(check, dtype, reason)
    }
}

const REUSED: &str = "the backward pass starts from the forward pass's output, which is already rounded to the element type";
const CHAIN: &str =
    "not one kernel but a chain of operations in the element type: two products and a softmax";
const AVERAGE: &str = "a sum and a product with 1/(HW), both in the element type";
const SCATTER: &str =
    "candle adds the gradients of a row that is used several times in the element type";
const FILTER: &str =
    "on a GPU the filter is a kernel of the element type, to which its numbers are rounded";
const BIASED: &str = "on a GPU the product is rounded to the element type before the bias is added to it, as in `composed`";

/// Where a check needs more than its family's entry.
pub const OVERRIDES: &[Override] = &[
    wider("nn.softmax", DType::BF16, REUSED),
    wider("nn.softmax", DType::F16, REUSED),
    wider("nn.attention", DType::BF16, CHAIN),
    wider("nn.attention", DType::F16, CHAIN),
    wider("nn.global-avg-pool", DType::BF16, AVERAGE),
    wider("nn.global-avg-pool", DType::F16, AVERAGE),
    wider("nn.embedding", DType::BF16, SCATTER),
    wider("nn.embedding", DType::F16, SCATTER),
    on_gpus("nn.linear", DType::BF16, BIASED),
    on_gpus("nn.linear", DType::F16, BIASED),
    on_gpus("nn.conv2d", DType::BF16, BIASED),
    on_gpus("nn.conv2d", DType::F16, BIASED),
    on_gpus("nn.fir-down", DType::BF16, FILTER),
    on_gpus("nn.fir-down", DType::F16, FILTER),
    on_gpus("nn.fir-up", DType::BF16, FILTER),
    on_gpus("nn.fir-up", DType::F16, FILTER),
    on_gpus("nn.conv2d.tiles", DType::BF16, BIASED),
    on_gpus("nn.conv2d.tiles", DType::F16, BIASED),
];

/// A quantity in which an error of 16 units of roundoff of its largest element may hide, because its bound is wider by right.
#[derive(Debug, Clone, Copy)]
pub struct Coarse {
    /// The check, or the beginning of its name before a dot.
    pub check: &'static str,
    /// The beginning of the quantity's name; all of them if empty.
    pub quantity: &'static str,
    /// The error that must be caught instead, in units of roundoff (in f64, where both sides round and each bound pays for its own
    /// value as well, in four of them).
    pub units: f64,
    /// What makes the bound so wide.
    pub reason: &'static str,
}

impl Coarse {
    /// Whether it is said of this quantity of this check.
    pub fn is_of(&self, check: &str, quantity: &str) -> bool {
        let rest = check.strip_prefix(self.check);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            && quantity.starts_with(self.quantity)
    }
}

const fn coarse(
    check: &'static str,
    quantity: &'static str,
    units: f64,
    reason: &'static str,
) -> Coarse {
    Coarse {
        check,
        quantity,
        units,
        reason,
    }
}

const BACKWARD: &str = "the backward pass is a chain of ten and more roundings, among them differences of terms that are larger than the result";
const STEEP: &str =
    "quotients of squared levels, each of them from a sine, an exponential or a sum of logarithms";
const PRODUCT: &str = "a thousand levels, each a product or a sum over all before it; their differences are charged with all of it";
const PAIRS: &str = "sums over all pairs of a batch, of differences of affinities that nearly cancel; two or three ways to compute them";
const UNIT_ROWS: &str = "rows are normalised first, and the gradient goes back through that; two forms of the loss, by pairs and by features";
const VARIANCES: &str = "in f64 the range of the variances is a difference of logarithms of β and 1 − ᾱ, which are themselves differences of numbers near 1; \
in f32, to which these tables are rounded once, it is some hundred units";
const MEASURED: &str = "no a-priori bound: sixteen times a measured spread of a whole network";

/// Of 32 channels in 32 groups each is normalised alone, and a shift of it is taken away again.
const SHIFTED: &str = "the gradient of a bias before a normalisation of single channels is 0, and its error that of what cancels";

/// Where less than 16 units cannot be asked for, the first that fits; tests measure that each is needed, and no wider than four times
/// what is needed.
pub const COARSE: &[Coarse] = &[
    coarse("affinity", "grad_psi", 32.0, BACKWARD),
    coarse("nn.fir-up", "grad_x", 64.0, BACKWARD),
    coarse("composed.fir-up", "grad_x", 64.0, BACKWARD),
    coarse("nn.attention", "grad", 128.0, BACKWARD),
    coarse("composed.attention", "grad", 128.0, BACKWARD),
    coarse("nn.group-norm", "grad", 64.0, BACKWARD),
    coarse("composed.group-norm", "grad", 64.0, BACKWARD),
    coarse("nn.layer-norm", "grad_x", 64.0, BACKWARD),
    coarse("composed.layer-norm", "grad_x", 64.0, BACKWARD),
    coarse("nn.layer-norm-affine", "grad_x", 64.0, BACKWARD),
    coarse("composed.layer-norm-affine", "grad_x", 64.0, BACKWARD),
    coarse("nn.softmax", "grad_x", 32.0, BACKWARD),
    coarse("composed.softmax", "grad_x", 32.0, BACKWARD),
    coarse(
        "nn.conv2d.tiles",
        "grad_weight",
        64.0,
        "sums of as many products as there are pixels, some tens, in any order",
    ),
    coarse(
        "nn.conv2d.tiles",
        "",
        2048.0,
        "sums of 288 products that pass through tiles of 4×4, whose transforms have coefficients up to 8",
    ),
    coarse(
        "coupling",
        "total",
        256.0,
        "twice the errors of all costs of an assignment, each an inner product",
    ),
    coarse(
        "coupling",
        "certificate",
        256.0,
        "twice the errors of all costs of an assignment, each an inner product",
    ),
    coarse("eta", "snr", 64.0, STEEP),
    coarse("weight", "w", 64.0, STEEP),
    coarse("noise-condition.vp-time", "noise", 32.0, STEEP),
    coarse("schedule.cosine", "lambda_grad", 32.0, STEEP),
    coarse("schedule.ddpm", "alpha", 32.0, PRODUCT),
    coarse("schedule.ddpm", "lambda_grad", 131_072.0, PRODUCT),
    coarse("schedule.ddpm", "lambda", 1024.0, PRODUCT),
    coarse(
        "augmentation",
        "images",
        256.0,
        "four sums of products with a filter, and an interpolation between them at places that a product of six matrices names",
    ),
    coarse(
        "feature-statistics",
        "covariance",
        512.0,
        "products of deviations from a mean that is itself off, summed over all rows in any order",
    ),
    coarse(
        "feature-statistics",
        "mean",
        32.0,
        "a sum over all rows, in parts that are merged",
    ),
    coarse(
        "frozen.resize",
        "y",
        4096.0,
        "the positions of source pixels are charged with the type that the published programs compute them in, f32",
    ),
    coarse("likelihood.flow", "change", 32.0, BACKWARD),
    coarse("variance-loss", "y", 1_048_576.0, VARIANCES),
    coarse("variance-loss", "grad_v", 8_388_608.0, VARIANCES),
    coarse(
        "network.adm",
        "grad of input_blocks.1.0.in_layers.2.bias",
        72_057_594_037_927_936.0,
        SHIFTED,
    ),
    coarse(
        "network.adm",
        "grad of input_blocks.2.0.in_layers.2.bias",
        72_057_594_037_927_936.0,
        SHIFTED,
    ),
    coarse(
        "network.adm",
        "grad of output_blocks.2.0.in_layers.2.bias",
        144_115_188_075_855_872.0,
        SHIFTED,
    ),
    coarse(
        "network.adm",
        "grad of output_blocks.3.0.in_layers.2.bias",
        72_057_594_037_927_936.0,
        SHIFTED,
    ),
    coarse(
        "network.adm",
        "grad of output_blocks.3.0.out_layers.3.bias",
        72_057_594_037_927_936.0,
        SHIFTED,
    ),
    coarse(
        "network.adm",
        "grad of output_blocks.3.0.skip_connection.bias",
        72_057_594_037_927_936.0,
        SHIFTED,
    ),
    coarse("network", "", 1024.0, MEASURED),
    coarse(
        "step",
        "gradient norm",
        8192.0,
        "of a gradient that nearly vanishes: S where Ψ̂ is near Ψ",
    ),
    coarse(
        "step",
        "gradient of",
        32_768.0,
        "of a gradient that nearly vanishes: S where Ψ̂ is near Ψ",
    ),
    coarse(
        "step",
        "m of",
        8192.0,
        "made of the gradient, which nearly vanishes",
    ),
    coarse("step", "structural loss", 8192.0, PAIRS),
    coarse("step", "", 512.0, MEASURED),
    coarse("structural-loss.polarised.cosine", "", 512.0, UNIT_ROWS),
    coarse("structural-loss.composed.cosine", "", 512.0, UNIT_ROWS),
    coarse("structural-loss.cosine", "", 128.0, UNIT_ROWS),
    coarse(
        "structural-loss.squared-euclidean.huber",
        "grad",
        512.0,
        PAIRS,
    ),
    coarse("structural-loss.inner-product.huber", "grad", 128.0, PAIRS),
    coarse("structural-loss", "", 64.0, PAIRS),
];

/// Quantities that are f64 although their family is judged in a narrower type: sums in f64 of what is that narrow, and a number that
/// has a bound in f64 by itself.
pub const WIDE: &[(&str, &str)] = &[
    ("coupling", "total"),
    ("coupling", "certificate"),
    ("clip", "norm"),
    ("likelihood", "change"),
    ("step", "gradient norm"),
    ("denoise", "noise"),
];

/// Whether a check's numbers are f64 on the host, whatever the element type.
pub fn is_on_host(check: &dyn Check) -> bool {
    let entry = ENTRIES.iter().find(|e| e.family == check.family());
    entry.is_some_and(|entry| entry.arithmetic == Arithmetic::Host)
}

/// Families and checks that multiply matrices: with TF32 every operation of theirs is judged in it. All others are
/// judged in f32, as if TF32 were off.
pub const PRODUCTS: &[&str] = &[
    "coupling",
    "affinity",
    "structural-loss",
    "nn.linear",
    "composed.linear",
    "nn.conv2d",
    "nn.conv2d.tiles",
    "composed.conv2d",
    "nn.fir-down",
    "composed.fir-down",
    "nn.fir-up",
    "composed.fir-up",
    "nn.attention",
    "composed.attention",
    "frozen.conv-norm",
    "frozen.avg-pool",
    "frozen.resize.pytorch-fid",
    "frozen.resize.torch-fidelity",
    "frozen.resize.clean",
    "network",
    "step",
];

/// How a check is judged at a place.
///
/// # Errors
/// When the ledger has no entry for the check's family.
pub fn rule(check: &dyn Check, place: &Place) -> Result<Rule> {
    let (family, name) = (check.family(), check.name());
    let mut rule =
        rule_of(family, name, place.kind(), place.dtype).ok_or_else(|| Error::NoEntry {
            check: name.to_owned(),
            device: place.label.clone(),
            dtype: place.dtype_name().to_owned(),
        })?;
    if place.tf32 && (PRODUCTS.contains(&family) || PRODUCTS.contains(&name)) {
        rule.compute = TF32;
    }
    Ok(rule)
}

fn rule_of(family: &str, check: &str, kind: Kind, dtype: DType) -> Option<Rule> {
    let entry = ENTRIES.iter().find(|e| e.family == family)?;
    let wider = OVERRIDES
        .iter()
        .find(|o| o.check == check && o.dtype == dtype && o.device.is_none_or(|d| d == kind));
    let (arithmetic, factor, reason) = wider
        .map_or((entry.arithmetic, entry.factor, entry.reason), |o| {
            (o.arithmetic, o.factor, o.reason)
        });
    let (compute, store) = arithmetic.precision(dtype);
    Some(Rule {
        compute,
        store,
        factor,
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::judge;
    use crate::registry::registry;
    use proptest::test_runner::{Config, TestCaseError, TestRunner};
    use proptest::{prop_assert, proptest};
    use sadm_reference::bound::Tracked;
    use std::collections::BTreeSet;

    fn families() -> BTreeSet<String> {
        registry()
            .iter()
            .map(|check| check.family().to_owned())
            .collect()
    }

    /// The unit roundoff of each type as the type itself shows it: 1 + u is rounded to 1, and what is a little more is not.
    #[test]
    fn units_are_those_of_the_types() {
        let shown = |precision: Precision, dtype| {
            let (place, u) = (Place::cpu(dtype), precision.unit);
            let next = |x: f64| place.round(1.0 + x) > 1.0;
            match dtype {
                DType::F64 => u.to_bits() == (f64::EPSILON / 2.0).to_bits(),
                _ => !next(u) && next(1.01 * u),
            }
        };
        for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
            let (element, none) = Arithmetic::Element.precision(dtype);
            assert!(shown(element, dtype) && none.is_none(), "{dtype:?}");
            let (host, none) = Arithmetic::Host.precision(dtype);
            assert!(shown(host, DType::F64) && none.is_none(), "{dtype:?}");
            let (wide, store) = Arithmetic::Wide.precision(dtype);
            match dtype {
                DType::F64 | DType::F32 => assert!(shown(wide, dtype) && store.is_none()),
                _ => {
                    assert!(shown(wide, DType::F32), "{dtype:?}");
                    assert!(store.is_some_and(|p| shown(p, dtype)), "{dtype:?}");
                }
            }
        }
    }

    #[test]
    fn every_check_has_one_entry_with_a_reason() {
        for family in families() {
            let entries: Vec<_> = ENTRIES.iter().filter(|e| e.family == family).collect();
            assert_eq!(
                entries.len(),
                1,
                "family `{family}` has {} ledger entries",
                entries.len()
            );
            assert!(entries[0].reason.len() > 20, "`{family}` has no reason");
        }
    }

    #[test]
    fn every_entry_has_a_check() {
        let families = families();
        for entry in ENTRIES {
            assert!(
                families.contains(entry.family),
                "no check uses the entry `{}`: delete it",
                entry.family
            );
        }
    }

    #[test]
    fn every_override_widens_its_entry() {
        for wider in OVERRIDES {
            let checks = registry();
            let check = checks.iter().find(|c| c.name() == wider.check);
            let check = check.expect("an override needs a check to override");
            let entry = ENTRIES.iter().find(|e| e.family == check.family());
            let entry = entry.expect("an override needs an entry to override");
            let unit = |a: Arithmetic| a.precision(wider.dtype).0.unit;
            assert!(
                unit(wider.arithmetic) > unit(entry.arithmetic) || wider.factor > entry.factor,
                "the override of `{}` for {:?} widens nothing: delete it",
                wider.check,
                wider.dtype
            );
            assert!(
                wider.reason.len() > 20,
                "an override of `{}` has no reason",
                wider.check
            );
        }
    }

    #[test]
    fn tf32_widens_what_multiplies_matrices_and_nothing_else() {
        let place = Place {
            tf32: true,
            ..Place::cpu(DType::F32)
        };
        let judged = |check: &dyn Check| rule(check, &place).expect("the entry exists").compute;
        let checks = registry();
        for product in PRODUCTS {
            let check = checks
                .iter()
                .find(|c| c.family() == *product || c.name() == *product);
            let check = check.unwrap_or_else(|| panic!("no check is called `{product}`"));
            assert_eq!(judged(check.as_ref()), TF32, "`{product}`");
        }
        for plain in ["forward", "nn.silu", "adamw", "nn.group-norm"] {
            let check = checks.iter().find(|c| c.name() == plain);
            assert_eq!(judged(check.expect("it exists").as_ref()), F32, "`{plain}`");
        }
    }

    /// To the 11 bits of TF32.
    fn tf32(x: f32) -> f64 {
        let bits = x.to_bits();
        f64::from(f32::from_bits((bits + 0xfff + (bits >> 13 & 1)) & !0x1fff))
    }

    proptest! {
        #[test]
        fn a_product_in_tf32_is_within_one_unit_and_may_need_more_than_half(a in 1.0f32..2.0, b in 1.0f32..2.0) {
            let error = |a: f32, b: f32| {
                #[expect(clippy::cast_possible_truncation, reason = "the product is rounded to f32")]
                let product = f64::from((tf32(a) * tf32(b)) as f32);
                (product / (f64::from(a) * f64::from(b)) - 1.0).abs()
            };
            prop_assert!(error(a, b) <= TF32.unit);
            // Both factors a little less than half way to the next number of 11 bits, where it matters most.
            let worst = f32::from_bits(0x3f80_0fff);
            prop_assert!(error(worst, worst) > 0.99 * TF32.unit);
        }
    }

    /// On a GPU `nn` runs the chains called `composed`: on the CPU they must be within what `nn` is allowed there. But for
    /// plain sums, in gradients and in avg-pool: a GPU adds narrow types in f32.
    #[test]
    fn the_composed_layers_are_within_what_gpus_are_allowed() {
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let place = Place::cpu(dtype);
            for check in registry().iter().filter(|c| c.family() == "composed") {
                if check.name() == "composed.avg-pool" {
                    continue;
                }
                let twin = check.name().replace("composed.", "nn.");
                let rule = rule_of("nn", &twin, Kind::Accelerator, dtype).expect("an entry");
                let config = Config {
                    cases: 16,
                    failure_persistence: None,
                    ..Config::default()
                };
                let convolution = ["conv", "fir"]
                    .iter()
                    .any(|part| check.name().contains(part));
                let held = TestRunner::new(config).run(&check.strategy(), |case| {
                    let judged = match judge(check.as_ref(), &case, &place, &rule) {
                        Ok(judged) => judged,
                        // candle has no convolution of narrow types on the CPU.
                        Err(_) if convolution && dtype != DType::F32 => return Ok(()),
                        Err(error) => return Err(TestCaseError::fail(error.to_string())),
                    };
                    let outputs: Vec<_> = judged.iter().filter(|(name, _)| name == "y").collect();
                    prop_assert!(!outputs.is_empty(), "no output");
                    for (name, comparison) in outputs {
                        prop_assert!(comparison.holds(), "{name}: {comparison:?}");
                    }
                    Ok(())
                });
                assert!(held.is_ok(), "{twin} in {dtype:?} on a GPU: {held:?}");
            }
        }
    }

    #[test]
    fn nothing_is_promised_of_what_overflows() {
        for (p, largest) in [
            (F16, 65504.0),
            (BF16, f64::from(half::bf16::MAX)),
            (F32, f64::from(f32::MAX)),
        ] {
            let error = |x: f64| {
                let one = Tracked::exact(ndarray::arr0(x).into_dyn()).stored_as(p);
                one.error.sum()
            };
            assert!(error(largest).is_finite(), "{p:?}");
            assert!(error(largest * 1.001).is_infinite(), "{p:?}");
        }
    }

    #[test]
    fn only_measured_spreads_have_a_factor() {
        for entry in ENTRIES {
            let measured = ["network", "step"].contains(&entry.family);
            assert!(
                measured == (entry.factor > 1.0),
                "`{}`: an a-priori bound takes no factor",
                entry.family
            );
        }
    }

    #[test]
    fn narrow_types_are_judged_no_stricter_than_wide_ones() {
        for entry in ENTRIES.iter().filter(|e| e.arithmetic != Arithmetic::Host) {
            let unit = |dtype| {
                let rule = rule_of(entry.family, entry.family, Kind::Cpu, dtype)
                    .expect("the entry exists");
                rule.store.map_or(rule.compute.unit, |store| store.unit)
            };
            assert!(
                unit(DType::F64) < unit(DType::F32),
                "f64 of `{}`",
                entry.family
            );
            assert!(
                unit(DType::F32) < unit(DType::F16),
                "f32 of `{}`",
                entry.family
            );
            assert!(
                unit(DType::F16) < unit(DType::BF16),
                "f16 of `{}`",
                entry.family
            );
        }
    }
}
