//! Checks: a quantity, its reference, its bound, and the training system's computation of it.

use std::{
    collections::BTreeMap,
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
};

use ndarray::ArrayD;
use proptest::strategy::BoxedStrategy;
use sadm_gpu::nn::Path;
use sadm_reference::bound::Tracked;

use crate::{case::Case, engine::Place, error::Result, ledger::Rule};

/// Quantities by name, a loss and its gradients, say, with the side that computed them: what one side computed cannot be passed for
/// the other's, so that nothing is compared with itself.
pub struct Sided<S> {
    values: BTreeMap<String, ArrayD<f64>>,
    side: PhantomData<fn() -> S>,
}

/// The side of the reference.
#[derive(Debug, Clone, Copy)]
pub enum OfReference {}

/// The side of the training system.
#[derive(Debug, Clone, Copy)]
pub enum OfCandle {}

/// What the reference computed.
pub type Exact = Sided<OfReference>;

/// What the training system computed.
pub type Computed = Sided<OfCandle>;

impl<S> Sided<S> {
    /// No quantity yet.
    pub fn new() -> Self {
        BTreeMap::new().into()
    }
}

impl<S> From<BTreeMap<String, ArrayD<f64>>> for Sided<S> {
    fn from(values: BTreeMap<String, ArrayD<f64>>) -> Self {
        Self {
            values,
            side: PhantomData,
        }
    }
}

impl<S, const N: usize> From<[(String, ArrayD<f64>); N]> for Sided<S> {
    fn from(values: [(String, ArrayD<f64>); N]) -> Self {
        BTreeMap::from(values).into()
    }
}

impl<S> FromIterator<(String, ArrayD<f64>)> for Sided<S> {
    fn from_iter<I: IntoIterator<Item = (String, ArrayD<f64>)>>(values: I) -> Self {
        values.into_iter().collect::<BTreeMap<_, _>>().into()
    }
}

impl<S> IntoIterator for Sided<S> {
    type Item = (String, ArrayD<f64>);
    type IntoIter = std::collections::btree_map::IntoIter<String, ArrayD<f64>>;

    fn into_iter(self) -> Self::IntoIter {
        self.values.into_iter()
    }
}

impl<S> Default for Sided<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Clone for Sided<S> {
    fn clone(&self) -> Self {
        self.values.clone().into()
    }
}

impl<S> fmt::Debug for Sided<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.values.fmt(f)
    }
}

impl<S> Deref for Sided<S> {
    type Target = BTreeMap<String, ArrayD<f64>>;

    fn deref(&self) -> &Self::Target {
        &self.values
    }
}

impl<S> DerefMut for Sided<S> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.values
    }
}

/// Quantities by name, each with a bound for its error.
pub type Bounds = BTreeMap<String, Tracked>;

/// How long one case takes, hence how many of the cases asked for are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// Microseconds: all of them.
    Cheap,
    /// A few milliseconds: a quarter, at least four.
    Moderate,
    /// A tenth of a second and more: one in thirty-two, at least two.
    Heavy,
}

impl Cost {
    /// Cases that are run when `asked` are asked for.
    pub fn cases(self, asked: u32) -> u32 {
        match self {
            Self::Cheap => asked,
            Self::Moderate => asked.div_ceil(4).max(asked.min(4)),
            Self::Heavy => asked.div_ceil(32).max(asked.min(2)),
        }
    }

    /// How many smaller cases are tried when one fails. proptest's own default, four times the number
    /// of cases, would make a short run's counter-examples large as well as few.
    pub fn shrink_budget(self) -> u32 {
        match self {
            Self::Cheap => 20_000,
            Self::Moderate => 4_000,
            Self::Heavy => 20,
        }
    }
}

/// A quantity with two independent implementations and a bound for their distance.
pub trait Check: Send + Sync {
    /// Name in the registry: `family.choice.choice`, as in `structural-loss.cosine.squared`.
    fn name(&self) -> &str;

    /// The quantity in words, with its formula.
    fn about(&self) -> &str;

    /// Where the formula comes from.
    fn source(&self) -> &str;

    /// How long one case takes.
    fn cost(&self) -> Cost;

    /// The inputs. Tensors hold numbers that are exact in f32, so both sides get the same ones.
    fn strategy(&self) -> BoxedStrategy<Case>;

    /// The quantities in f64, by the reference's plain formulas.
    fn reference(&self, case: &Case) -> Result<Exact>;

    /// The same quantities with a bound for any computation of them in the ledger's precision.
    fn bound(&self, case: &Case, rule: &Rule) -> Result<Bounds>;

    /// The same quantities by the training system, in the element type and on the device of `place`.
    fn candle(&self, case: &Case, place: &Place) -> Result<Computed>;

    /// Which of a layer's two implementations this is the check of, if it has two: on the CPU that one, and no other, must run.
    fn path(&self) -> Option<Path> {
        None
    }

    /// First part of the name; the ledger has one entry for each.
    fn family(&self) -> &str {
        self.name().split('.').next().unwrap_or_default()
    }
}

type Draw = dyn Fn() -> BoxedStrategy<Case> + Send + Sync;
type Reference = dyn Fn(&Case) -> Result<Exact> + Send + Sync;
type Bounded = dyn Fn(&Case, &Rule) -> Result<Bounds> + Send + Sync;
type Candle = dyn Fn(&Case, &Place) -> Result<Computed> + Send + Sync;

/// A check put together from its four functions.
pub struct Quantity {
    name: String,
    about: String,
    source: &'static str,
    cost: Cost,
    strategy: Box<Draw>,
    reference: Box<Reference>,
    bound: Box<Bounded>,
    candle: Box<Candle>,
    path: Option<Path>,
}

impl Quantity {
    /// Names a quantity; its functions follow. Until they do it has no input, so it cannot pass.
    pub fn new(name: impl Into<String>, about: impl Into<String>, source: &'static str) -> Self {
        let missing =
            |what: &'static str| crate::error::Error::Reference(format!("the check has no {what}"));
        Self {
            name: name.into(),
            about: about.into(),
            source,
            cost: Cost::Cheap,
            strategy: Box::new(|| {
                proptest::strategy::Strategy::boxed(proptest::strategy::Just(Case::new()))
            }),
            reference: Box::new(move |_| Err(missing("reference"))),
            bound: Box::new(move |_, _| Err(missing("bound"))),
            candle: Box::new(move |_, _| Err(missing("candle computation"))),
            path: None,
        }
    }

    /// States how long a case takes.
    #[must_use]
    pub fn cost(mut self, cost: Cost) -> Self {
        self.cost = cost;
        self
    }

    /// States the inputs.
    #[must_use]
    pub fn draws(
        mut self,
        strategy: impl Fn() -> BoxedStrategy<Case> + Send + Sync + 'static,
    ) -> Self {
        self.strategy = Box::new(strategy);
        self
    }

    /// States the reference.
    #[must_use]
    pub fn reference(mut self, f: impl Fn(&Case) -> Result<Exact> + Send + Sync + 'static) -> Self {
        self.reference = Box::new(f);
        self
    }

    /// States the bound.
    #[must_use]
    pub fn bound(
        mut self,
        f: impl Fn(&Case, &Rule) -> Result<Bounds> + Send + Sync + 'static,
    ) -> Self {
        self.bound = Box::new(f);
        self
    }

    /// States the training system's computation.
    #[must_use]
    pub fn candle(
        mut self,
        f: impl Fn(&Case, &Place) -> Result<Computed> + Send + Sync + 'static,
    ) -> Self {
        self.candle = Box::new(f);
        self
    }

    /// States which of a layer's two implementations computes it.
    #[must_use]
    pub fn on(mut self, path: Option<Path>) -> Self {
        self.path = path;
        self
    }

    /// Ready for the registry.
    pub fn boxed(self) -> Box<dyn Check> {
        Box::new(self)
    }
}

impl Check for Quantity {
    fn name(&self) -> &str {
        &self.name
    }
    fn about(&self) -> &str {
        &self.about
    }
    fn source(&self) -> &str {
        self.source
    }
    fn cost(&self) -> Cost {
        self.cost
    }
    fn strategy(&self) -> BoxedStrategy<Case> {
        (self.strategy)()
    }
    fn reference(&self, case: &Case) -> Result<Exact> {
        (self.reference)(case)
    }
    fn bound(&self, case: &Case, rule: &Rule) -> Result<Bounds> {
        (self.bound)(case, rule)
    }
    fn candle(&self, case: &Case, place: &Place) -> Result<Computed> {
        (self.candle)(case, place)
    }
    fn path(&self) -> Option<Path> {
        self.path
    }
}

impl fmt::Debug for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quantity")
            .field("name", &self.name)
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}

/// Collects named quantities.
pub fn values<S, const N: usize>(entries: [(&str, ArrayD<f64>); N]) -> Sided<S> {
    entries
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Collects named quantities with their bounds.
pub fn bounds<const N: usize>(entries: [(&str, Tracked); N]) -> Bounds {
    entries
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// A number as a tensor without axes.
pub fn scalar(value: f64) -> ArrayD<f64> {
    ndarray::arr0(value).into_dyn()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expensive_checks_run_fewer_cases_but_never_none() {
        assert_eq!(Cost::Cheap.cases(64), 64);
        assert_eq!(Cost::Moderate.cases(64), 16);
        assert_eq!(Cost::Heavy.cases(64), 2);
        assert_eq!(Cost::Heavy.cases(1000), 32);
        assert_eq!((Cost::Heavy.cases(1), Cost::Moderate.cases(1)), (1, 1));
    }
}
