//! Theorems, bounds and errata as objects that a machine can try to break.

mod built;
mod coupling_entropy;
mod diffusion_gan;
mod elementary;
mod errata;
mod evidence;
mod forward;
mod instance;
mod jensen;
mod joint;
mod likelihood;
mod plug_in_score;
mod rate_integral;
mod relation_score;
mod setting;
mod structural;
mod sweep;
mod symmetry;
mod transport;
mod trial;

use sadm_reference::forward::ForwardError;
use sadm_reference::parametrisation::LevelError;
use sadm_reference::relation::RelationError;
use sadm_reference::schedule::ScheduleError;
use sadm_reference::structure::StructureError;

pub use built::Built;
pub use coupling_entropy::CouplingEntropy;
pub use diffusion_gan::{
    BoundedData, Controller, ControllerStaysInRange, GradientsEverywhere, KlNeedsMoments,
    KnownNoise, MonotoneOnBoxes, Priority, PriorityLaw, jensen_shannon, jensen_shannon_grad,
    proofs as monotone_proofs,
};
pub use errata::{
    DiagonalIncluded, InverseTimeWeight, PrintedFid, UnboundedRelation, UnitWeight,
    UnspecifiedWeight, UpdateOrder, Variants,
};
pub use evidence::{Comparison, Evidence, Verdict};
pub use forward::{BayesPosterior, ChapmanKolmogorov, Tweedie};
pub use instance::{Instance, Parameter, Scale, VALUES, Values};
pub use jensen::{CoveredBounds, DensityDifference, IntegratedDifference, VectorRelation, proofs};
pub use joint::{RelationByBayes, RelationErrorSplits};
pub use likelihood::{
    ContinuousLimit, EvidenceBound, FirstTime, PairBound, QuadraticRelation, SeparateTimes,
    WeightsThatBound, structural_part,
};
pub use plug_in_score::PlugInScore;
pub use relation_score::RelationScore;
pub use structural::{
    Accuracies, AccuracyUnderCosine, CosineBound, CosineMinimiser, EquationSix, LogNormalTime,
    TargetsNearZero, cosine_accuracies, structure_near_zero,
};
pub use sweep::{Sweep, sweep, swept_by_default};
pub use symmetry::{
    DriftUpToInvisibleFields, EquivariantForAllStarts, EquivariantNoise, Group,
    InvarianceIsEquivariance, InvariantFlow, PixelMap, WeightTying,
};
pub use transport::{
    CostsDiffer, CoupledBatch, CoupledDenoiserIsNoScore, CouplingOfSigma, CouplingStraightens,
    CouplingVelocity, TransportCertificate,
};
pub use trial::{Failure, Trial, instances, try_on};

use crate::laws::LawError;
use crate::transport::TransportError;

/// What sort of statement it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Two expressions that are equal.
    Identity,
    /// An inequality.
    Bound,
    /// Something in a paper that cannot stay as it is, and what holds instead.
    Erratum(Finding),
}

/// What sort of erratum it is. Only of the first two is the printed sentence itself refuted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// Two things that are printed, or printed and published as code, contradict each other.
    Contradiction,
    /// A printed sentence that is true under a condition that is not printed, and false without it.
    MissingCondition,
    /// A printed sentence that can be read in two ways; under one of them it is false, or another quantity.
    Reading,
    /// Nothing printed is false; something that follows from it is not said, and a reader may trust its opposite.
    Consequence,
}

impl Finding {
    /// Every sort, in the order in which the book lists them.
    pub const ALL: [Self; 4] = [
        Self::Contradiction,
        Self::MissingCondition,
        Self::Reading,
        Self::Consequence,
    ];

    /// The heading of its group.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Contradiction => "contradictions in print",
            Self::MissingCondition => "missing conditions",
            Self::Reading => "readings",
            Self::Consequence => "consequences not drawn",
        }
    }
}

/// Why a statement could not be tried.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// No such parameter.
    #[error("parameter must be one of {known}, got {got}")]
    UnknownParameter {
        /// The refused name.
        got: String,
        /// The names there are.
        known: String,
    },
    /// A value outside the parameter's range.
    #[error("parameter {name} must lie in [{low}, {high}] (and be whole if it counts), got {got}")]
    OutOfRange {
        /// The parameter.
        name: &'static str,
        /// Smallest value allowed.
        low: f64,
        /// Largest value allowed.
        high: f64,
        /// The refused value.
        got: f64,
    },
    /// The instance carries too few free values.
    #[error("instance must carry {needed} more free values, got {left}")]
    TooFewValues {
        /// How many were asked for.
        needed: usize,
        /// How many were left.
        left: usize,
    },
    /// The law refused a question.
    #[error(transparent)]
    Law(#[from] LawError),
    /// The chain refused its steps or a question.
    #[error(transparent)]
    Chain(#[from] crate::laws::ChainError),
    /// The reference refused a pair of times.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// The reference refused a time.
    #[error(transparent)]
    Time(#[from] ScheduleError),
    /// The reference refused the levels α, σ.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// The reference refused the features or atoms under a relation.
    #[error(transparent)]
    Relation(#[from] RelationError),
    /// The reference refused the two batches.
    #[error(transparent)]
    Structure(#[from] StructureError),
    /// The assignment was refused.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// What a statement says of itself.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// Name used in the book, on the command line and in tests.
    pub id: &'static str,
    /// Paper and equation.
    pub source: &'static str,
    /// Identity, bound or erratum.
    pub kind: Kind,
    /// The statement in one line.
    pub summary: &'static str,
    /// The terms that its claims speak of, each with what it is; empty where the claims say it themselves.
    pub terms: &'static [(&'static str, &'static str)],
    /// What an instance is made of.
    pub parameters: &'static [Parameter],
}

/// A theorem, bound or erratum.
///
/// # Contract
/// [`Statement::evidence`] holds on **every** instance within the parameters' ranges; every claim of
/// [`Statement::refuted`] is false by more than its rounding allowance. A refuted claim says whose it is by its first words:
/// `as printed`, a sentence that the paper prints (only under [`Finding::Contradiction`] and [`Finding::MissingCondition`]);
/// `as read`, a reading of one; `control`, a falsehood of our own that shows that the evidence could have failed.
pub trait Statement: Send + Sync {
    /// What it says of itself.
    fn about(&self) -> About;
    /// What the instance is built into, where it is built of free values.
    ///
    /// # Errors
    /// As [`Statement::evidence`].
    fn built(&self, _instance: &Instance) -> Result<Vec<Built>, StatementError> {
        Ok(Vec::new())
    }
    /// Claims that hold on this instance.
    ///
    /// # Errors
    /// [`StatementError`] if the instance lacks a parameter or values, or the reference refuses it.
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError>;
    /// Claims that fail, on a fixed witness.
    ///
    /// # Errors
    /// As [`Statement::evidence`].
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError>;
    /// [`About::id`].
    fn id(&self) -> &'static str {
        self.about().id
    }
    /// [`About::source`].
    fn source(&self) -> &'static str {
        self.about().source
    }
    /// [`About::kind`].
    fn kind(&self) -> Kind {
        self.about().kind
    }
    /// [`About::summary`].
    fn summary(&self) -> &'static str {
        self.about().summary
    }
    /// [`About::terms`].
    fn terms(&self) -> &'static [(&'static str, &'static str)] {
        self.about().terms
    }
    /// [`About::parameters`].
    fn parameters(&self) -> &'static [Parameter] {
        self.about().parameters
    }
    /// The default instance.
    fn default_instance(&self) -> Instance {
        Instance::of(self.parameters())
    }
}

/// Every statement, in the order of the mathematics.
pub fn registry() -> Vec<Box<dyn Statement>> {
    vec![
        Box::new(ChapmanKolmogorov),
        Box::new(BayesPosterior),
        Box::new(Tweedie),
        Box::new(RelationScore),
        Box::new(RelationByBayes),
        Box::new(RelationErrorSplits),
        Box::new(PlugInScore),
        Box::new(DensityDifference),
        Box::new(VectorRelation),
        Box::new(IntegratedDifference),
        Box::new(CoveredBounds),
        Box::new(EvidenceBound),
        Box::new(PairBound),
        Box::new(WeightsThatBound),
        Box::new(SeparateTimes),
        Box::new(ContinuousLimit),
        Box::new(FirstTime),
        Box::new(EquationSix),
        Box::new(CouplingEntropy),
        Box::new(CosineBound),
        Box::new(CosineMinimiser),
        Box::new(AccuracyUnderCosine),
        Box::new(TargetsNearZero),
        Box::new(LogNormalTime),
        Box::new(UnboundedRelation),
        Box::new(DiagonalIncluded),
        Box::new(InverseTimeWeight),
        Box::new(UnspecifiedWeight),
        Box::new(UnitWeight),
        Box::new(UpdateOrder),
        Box::new(Variants),
        Box::new(PrintedFid),
        Box::new(GradientsEverywhere),
        Box::new(MonotoneOnBoxes),
        Box::new(KlNeedsMoments),
        Box::new(ControllerStaysInRange),
        Box::new(KnownNoise),
        Box::new(BoundedData),
        Box::new(PriorityLaw),
        Box::new(InvarianceIsEquivariance),
        Box::new(EquivariantNoise),
        Box::new(EquivariantForAllStarts),
        Box::new(DriftUpToInvisibleFields),
        Box::new(InvariantFlow),
        Box::new(WeightTying),
        Box::new(TransportCertificate),
        Box::new(CostsDiffer),
        Box::new(CouplingVelocity),
        Box::new(CouplingOfSigma),
        Box::new(CoupledDenoiserIsNoScore),
        Box::new(CoupledBatch),
        Box::new(CouplingStraightens),
    ]
}

/// The statement with this id.
pub fn find(id: &str) -> Option<Box<dyn Statement>> {
    registry().into_iter().find(|s| s.id() == id)
}
