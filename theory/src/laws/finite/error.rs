//! Why a law, or a question to it, was refused.

use sadm_reference::relation::RelationError;

/// Why a law, or a question to it, was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LawError {
    /// There must be at least one atom in at least one dimension.
    #[error("atoms must be a [K, n] array with K ≥ 1 and n ≥ 1, got [{atoms}, {dimension}]")]
    Empty {
        /// Number of atoms given.
        atoms: usize,
        /// Dimension given.
        dimension: usize,
    },
    /// Atoms must be finite.
    #[error("atom {atom} must be finite, got {got} in coordinate {coordinate}")]
    NotFinite {
        /// Index of the atom.
        atom: usize,
        /// Index of the coordinate.
        coordinate: usize,
        /// The refused value.
        got: f64,
    },
    /// One prior weight per atom.
    #[error("prior must have one weight per atom ({atoms}), got {got}")]
    PriorLength {
        /// Number of atoms.
        atoms: usize,
        /// Number of weights given.
        got: usize,
    },
    /// Prior weights must be finite and positive.
    #[error("prior weight {atom} must be finite and > 0, got {got}")]
    PriorWeight {
        /// Index of the weight.
        atom: usize,
        /// The refused value.
        got: f64,
    },
    /// The noised point must live in the space of the atoms.
    #[error("x_t must have the dimension of the law ({dimension}), got {got}")]
    PointLength {
        /// Dimension of the law.
        dimension: usize,
        /// Length given.
        got: usize,
    },
    /// The noised point must be finite.
    #[error("x_t must be finite, got {got} in coordinate {coordinate}")]
    PointNotFinite {
        /// Index of the coordinate.
        coordinate: usize,
        /// The refused value.
        got: f64,
    },
    /// α must be finite and σ finite and positive.
    #[error("alpha must be finite and sigma finite and > 0, got alpha = {alpha}, sigma = {sigma}")]
    Noise {
        /// The α given.
        alpha: f64,
        /// The σ given.
        sigma: f64,
    },
    /// A relation over atoms is a [K, K] matrix.
    #[error("relation must be [{atoms}, {atoms}] over the atoms, got [{rows}, {columns}]")]
    RelationShape {
        /// Number of atoms.
        atoms: usize,
        /// Rows given.
        rows: usize,
        /// Columns given.
        columns: usize,
    },
    /// The standard deviation of an observed relation must be finite and positive.
    #[error("gamma must be finite and > 0, got {got}")]
    Gamma {
        /// The refused value.
        got: f64,
    },
    /// An observed relation must be finite.
    #[error("observed relation {index} must be finite, got {got}")]
    Observed {
        /// Index of the relation.
        index: usize,
        /// The refused value.
        got: f64,
    },
    /// The relation itself cannot be taken between these vectors (a zero vector under cosine, a bandwidth, …).
    #[error(transparent)]
    Relation(#[from] RelationError),
    /// A batch of B noised points has B(B − 1)/2 relations, and at least one.
    #[error(
        "a batch must have at least two points and one relation for each of its {pairs} pairs, got {points} points and {got} relations"
    )]
    Batch {
        /// Number of points given.
        points: usize,
        /// Number of pairs i < j among them.
        pairs: usize,
        /// Number of relations given.
        got: usize,
    },
    /// The sum over all assignments of atoms to a batch is too long.
    #[error("a batch of {points} over {atoms} atoms has more than {most} product atoms")]
    TooManyProducts {
        /// Number of atoms.
        atoms: usize,
        /// Number of points.
        points: usize,
        /// Largest number of product atoms that is summed.
        most: usize,
    },
    /// Arrays that describe one thing must agree.
    #[error("{what} must be {want:?}, got {got:?}")]
    Shape {
        /// Name of the array.
        what: &'static str,
        /// The shape it must have.
        want: Vec<usize>,
        /// The refused shape.
        got: Vec<usize>,
    },
    /// A covariance must be finite, symmetric and positive semidefinite.
    #[error("covariance must be finite, symmetric and positive semidefinite, but {why}")]
    Covariance {
        /// What is wrong with it.
        why: String,
    },
    /// LAPACK did not succeed.
    #[error("{0}")]
    Linalg(String),
}
