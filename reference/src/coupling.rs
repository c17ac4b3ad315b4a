//! Couplings: which noise goes with which image of a batch, by optimal transport.

use std::fmt;
use std::str::FromStr;

use ndarray::{Array2, ArrayView1, ArrayView2};
use rayon::prelude::*;

use crate::check::first_non_finite;
use crate::choice::{UnknownName, parse};

/// Why a coupling was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CouplingError {
    /// One noise for each image, of the same dimension.
    #[error(
        "noise must have the shape of the images [N, d] = {images:?} with N ≥ 1, got {noise:?}"
    )]
    Shapes {
        /// Shape of the images.
        images: [usize; 2],
        /// Shape of the noise.
        noise: [usize; 2],
    },
    /// A matrix of costs that is not square, or empty.
    #[error("costs must be a square matrix [N, N] with N ≥ 1, got {got:?}")]
    Square {
        /// The refused shape.
        got: [usize; 2],
    },
    /// An infinite or missing number.
    #[error("{what} {at:?} must be finite, got {got}")]
    NotFinite {
        /// `images`, `noise` or `cost`.
        what: &'static str,
        /// Row and column.
        at: Vec<usize>,
        /// The refused value.
        got: f64,
    },
    /// Not one class for each image.
    #[error("classes must have one entry for each of the {images} images, got {got}")]
    Classes {
        /// Number of images.
        images: usize,
        /// Number of classes given.
        got: usize,
    },
    /// Not one partner for each image.
    #[error("a permutation of {images} must hold each of 0..{images} once, got {got} at {at}")]
    Permutation {
        /// Number of images.
        images: usize,
        /// Place of the first entry that is too large or there already, or the number of entries if that is wrong.
        at: usize,
        /// That entry, or the number of entries.
        got: usize,
    },
}

/// What it costs to move a noise ε onto an image x. `[eq:transport-costs]`
///
/// # Source
/// Kim et al. 2024 (arXiv:2403.05069), Sec. 3.2, leave open which of the two; their code has the first, on unit noise. The two
/// assign differently: erratum E13.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// `euclidean`: ‖x − ε‖.
    Euclidean,
    /// `squared-euclidean`: ‖x − ε‖².
    SquaredEuclidean,
}

impl Cost {
    /// Every cost.
    pub const ALL: [Self; 2] = [Self::Euclidean, Self::SquaredEuclidean];

    /// c(x, ε), from the differences: no digits cancel.
    pub fn of(self, image: ArrayView1<'_, f64>, noise: ArrayView1<'_, f64>) -> f64 {
        let square = square_distance(image, noise);
        match self {
            Self::Euclidean => square.sqrt(),
            Self::SquaredEuclidean => square,
        }
    }
}

/// ‖x − ε‖², in eight partial sums.
fn square_distance(x: ArrayView1<'_, f64>, eps: ArrayView1<'_, f64>) -> f64 {
    const LANES: usize = 8;
    let square = |(a, b): (&f64, &f64)| (a - b) * (a - b);
    let (Some(a), Some(b)) = (x.as_slice(), eps.as_slice()) else {
        return x.iter().zip(eps).map(square).sum();
    };
    let mut sums = [0.0; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(square).sum();
    for (a, b) in a.zip(b) {
        for (sum, pair) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += square(pair);
        }
    }
    sums.iter().sum::<f64>() + rest
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Euclidean => "euclidean",
            Self::SquaredEuclidean => "squared-euclidean",
        })
    }
}

impl FromStr for Cost {
    type Err = UnknownName;
    fn from_str(name: &str) -> Result<Self, UnknownName> {
        parse("cost", &Self::ALL, name)
    }
}

/// c(x_i, ε_j) of every image with every noise. `[eq:transport-costs]`
///
/// # Shapes
/// images, noise `[N, d]` → `[N, N]`, images in rows.
/// # Error
/// Relative, ⌈d/8⌉ + 10 roundings and half of them under the root: each difference is rounded once, squares of one sign are added.
/// # Errors
/// [`CouplingError::Shapes`]; [`CouplingError::NotFinite`] for an input, or a cost that overflows.
pub fn costs(
    images: ArrayView2<'_, f64>,
    noise: ArrayView2<'_, f64>,
    cost: Cost,
) -> Result<Array2<f64>, CouplingError> {
    let shape = |x: ArrayView2<'_, f64>| [x.nrows(), x.ncols()];
    if images.is_empty() || images.dim() != noise.dim() {
        return Err(CouplingError::Shapes {
            images: shape(images),
            noise: shape(noise),
        });
    }
    finite("images", images)?;
    finite("noise", noise)?;
    let count = images.nrows();
    let values = (0..count * count).into_par_iter();
    let values = values.map(|at| cost.of(images.row(at / count), noise.row(at % count)));
    let costs = Array2::from_shape_vec((count, count), values.collect());
    let costs = costs.map_err(|_| CouplingError::Square {
        got: [count, count],
    })?;
    finite("cost", costs.view())?;
    Ok(costs)
}

fn finite(what: &'static str, x: ArrayView2<'_, f64>) -> Result<(), CouplingError> {
    match first_non_finite(&x) {
        None => Ok(()),
        Some(at) => Err(CouplingError::NotFinite {
            got: x[[at[0], at[1]]],
            what,
            at,
        }),
    }
}

/// An assignment with the dual potentials that prove it optimal.
///
/// # Shapes
/// all of length N.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// π: image i gets the noise π(i).
    pub permutation: Vec<usize>,
    /// Σ_i c(i, π(i)).
    pub total: f64,
    /// u, one for each image.
    pub dual_images: Vec<f64>,
    /// v, one for each noise.
    pub dual_noise: Vec<f64>,
}

/// The assignment of least total cost; with `classes`, among those that give each image a noise of its own class.
///
/// # Formula `[eq:assignment]`
/// ```text
/// min_π Σ_i c(i, π(i)) = max { Σ_i u_i + Σ_j v_j : u_i + v_j ≤ c(i, j) }
/// ```
/// Images enter one after the other. Each is matched along a path of alternately unmatched and matched pairs that is shortest
/// in the reduced costs c − u − v ≥ 0 (Dijkstra), after which u and v move by what the nodes on the way lay nearer than its end.
/// At last u_i = min_j (c(i, j) − v_j), so that only v carries the rounding of the way.
///
/// # Shapes
/// costs `[N, N]`, images in rows; classes `[N]`: image i and noise i, drawn with it, belong to class `classes[i]`. With them
/// each class is a problem of its own, and u + v ≤ c holds inside the classes.
/// # Error
/// [`Assignment::slack`] is exactly 0 in exact arithmetic; here it is at most [`rounding`] for each image.
/// # Errors
/// [`CouplingError::Square`], [`CouplingError::NotFinite`], [`CouplingError::Classes`].
/// # Source
/// Kim et al. 2024 (arXiv:2403.05069), Sec. 3.2; shortest paths: Jonker and Volgenant 1987, doi:10.1007/BF02278710; duality: Kuhn 1955.
///
/// # Example
/// ```
/// use ndarray::array;
/// use sadm_reference::coupling::assign;
/// let costs = array![[4.0, 1.0, 3.0], [2.0, 0.0, 5.0], [3.0, 2.0, 2.0]];
/// let best = assign(&costs, None)?;
/// assert_eq!((best.permutation.as_slice(), best.total), (&[1, 0, 2][..], 5.0));
/// // Alone in its class, the third image keeps its noise.
/// assert_eq!(assign(&costs, Some(&[7, 7, 9]))?.permutation, [1, 0, 2]);
/// assert_eq!(assign(&costs, Some(&[7, 9, 9]))?.permutation, [0, 1, 2]);
/// # Ok::<(), sadm_reference::coupling::CouplingError>(())
/// ```
pub fn assign(costs: &Array2<f64>, classes: Option<&[u32]>) -> Result<Assignment, CouplingError> {
    let count = costs.nrows();
    if costs.is_empty() || count != costs.ncols() {
        return Err(CouplingError::Square {
            got: [count, costs.ncols()],
        });
    }
    finite("cost", costs.view())?;
    let mut best = Assignment {
        permutation: vec![0; count],
        total: 0.0,
        dual_images: vec![0.0; count],
        dual_noise: vec![0.0; count],
    };
    for members in groups(count, classes)? {
        let block = Array2::from_shape_fn((members.len(), members.len()), |(i, j)| {
            costs[[members[i], members[j]]]
        });
        let mut paths = Paths::new(&block);
        (0..members.len()).for_each(|image| paths.enter(image));
        for (j, &noise) in members.iter().enumerate() {
            best.permutation[members[paths.image_of[j]]] = noise;
            best.dual_noise[noise] = paths.v[j];
        }
        for (i, &image) in members.iter().enumerate() {
            let reduced = block.row(i).into_iter().zip(&paths.v).map(|(c, v)| c - v);
            best.dual_images[image] = reduced.fold(f64::INFINITY, f64::min);
        }
    }
    best.total = total(costs, &best.permutation)?;
    Ok(best)
}

/// The images of each class, in the order of the first of each; all of them without classes.
fn groups(count: usize, classes: Option<&[u32]>) -> Result<Vec<Vec<usize>>, CouplingError> {
    let Some(classes) = classes else {
        return Ok(vec![(0..count).collect()]);
    };
    if classes.len() != count {
        return Err(CouplingError::Classes {
            images: count,
            got: classes.len(),
        });
    }
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (image, class) in classes.iter().enumerate() {
        match groups.iter_mut().find(|group| classes[group[0]] == *class) {
            Some(group) => group.push(image),
            None => groups.push(vec![image]),
        }
    }
    Ok(groups)
}

/// Σ_i c(i, π(i)).
///
/// # Errors
/// [`CouplingError::Permutation`]: a noise is used twice or does not exist, or not every image has one.
pub fn total(costs: &Array2<f64>, permutation: &[usize]) -> Result<f64, CouplingError> {
    let images = costs.nrows();
    let refused = |at, got| CouplingError::Permutation { images, at, got };
    if permutation.len() != images {
        return Err(refused(permutation.len(), permutation.len()));
    }
    let mut used = vec![false; costs.ncols()];
    for (at, &got) in permutation.iter().enumerate() {
        if *used.get(got).unwrap_or(&true) {
            return Err(refused(at, got));
        }
        used[got] = true;
    }
    Ok(permutation
        .iter()
        .enumerate()
        .map(|(i, &j)| costs[[i, j]])
        .sum())
}

impl Assignment {
    /// How much a matching costs more than the potentials prove to be necessary, image by image:
    /// c(i, π(i)) − u_i − v_π(i) ≥ 0, and 0 for every image exactly where π is optimal. `[eq:dual-bound]`
    ///
    /// # Shapes
    /// costs `[N, N]`, permutation `[N]` → `[N]`; their sum is its total cost less the least possible.
    pub fn slack(&self, costs: &Array2<f64>, permutation: &[usize]) -> Vec<f64> {
        let pairs = permutation.iter().enumerate();
        pairs
            .map(|(i, &j)| costs[[i, j]] - self.dual_images[i] - self.dual_noise[j])
            .collect()
    }

    /// The largest u_i + v_j − c(i, j) of pairs in one class; not above 0 but for rounding, which makes u and v a proof.
    pub fn violation(&self, costs: &Array2<f64>, classes: Option<&[u32]>) -> f64 {
        let allowed = |i: usize, j: usize| classes.is_none_or(|class| class[i] == class[j]);
        let pairs = costs.indexed_iter().filter(|((i, j), _)| allowed(*i, *j));
        pairs
            .map(|((i, j), c)| self.dual_images[i] + self.dual_noise[j] - c)
            .fold(f64::NEG_INFINITY, f64::max)
    }
}

/// A bound for what rounding adds to an image's slack in [`assign`].
///
/// # Formula
/// ```text
/// 3 N (N + 1) u M,   M = 6 max |c|
/// ```
/// While a noise is free its v is 0, so |u| ≤ max |c| and −2 max |c| ≤ v ≤ 0, and every intermediate number lies below M. A path
/// adds up at most N reduced costs of three roundings each, moving u and v by it rounds once more, and each of the N entering
/// images may loosen by as much what was tight.
pub fn rounding(costs: &Array2<f64>) -> f64 {
    let count = costs.nrows() as f64;
    let largest = costs.iter().fold(0.0_f64, |m, c| m.max(c.abs()));
    3.0 * count * (count + 1.0) * 0.5 * f64::EPSILON * 6.0 * largest
}

/// No image.
const FREE: usize = usize::MAX;

/// The state of the shortest-path algorithm.
struct Paths<'a> {
    costs: &'a Array2<f64>,
    u: Vec<f64>,
    v: Vec<f64>,
    /// Image matched to each noise, or [`FREE`].
    image_of: Vec<usize>,
    /// How far each noise is from the entering image, and the image before it on the way.
    length: Vec<f64>,
    before: Vec<usize>,
    /// Noises by number: those settled, then the others.
    order: Vec<usize>,
}

impl<'a> Paths<'a> {
    fn new(costs: &'a Array2<f64>) -> Self {
        let count = costs.nrows();
        Self {
            costs,
            u: vec![0.0; count],
            v: vec![0.0; count],
            image_of: vec![FREE; count],
            length: vec![0.0; count],
            before: vec![0; count],
            order: (0..count).collect(),
        }
    }

    /// Matches one more image.
    fn enter(&mut self, entering: usize) {
        self.length.fill(f64::INFINITY);
        let (mut image, mut reached) = (entering, 0.0);
        let mut settled = 0;
        let free = loop {
            let nearest = self.relax(image, reached, settled);
            self.order.swap(settled, nearest);
            let noise = self.order[settled];
            reached = self.length[noise];
            if self.image_of[noise] == FREE {
                break noise;
            }
            settled += 1;
            image = self.image_of[noise];
        };
        self.u[entering] += reached;
        for &noise in &self.order[..settled] {
            let nearer = reached - self.length[noise];
            self.v[noise] -= nearer;
            self.u[self.image_of[noise]] += nearer;
        }
        self.turn(entering, free);
    }

    /// Tries the ways through `image` to all noises that are not settled; the place of the nearest of them, a free one if
    /// it can be.
    fn relax(&mut self, image: usize, reached: f64, settled: usize) -> usize {
        let costs = self.costs.row(image);
        let base = reached - self.u[image];
        let (mut nearest, mut least) = (settled, f64::INFINITY);
        for (place, &noise) in self.order.iter().enumerate().skip(settled) {
            let through = base + (costs[noise] - self.v[noise]);
            if through < self.length[noise] {
                self.length[noise] = through;
                self.before[noise] = image;
            }
            let length = self.length[noise];
            if length < least || (length <= least && self.image_of[noise] == FREE) {
                (nearest, least) = (place, length);
            }
        }
        nearest
    }

    /// Exchanges matched and unmatched pairs on the way that ends at `free`.
    fn turn(&mut self, entering: usize, free: usize) {
        let mut noise = free;
        loop {
            let image = self.before[noise];
            let left = self.image_of.iter().position(|i| *i == image);
            self.image_of[noise] = image;
            match left {
                Some(left) if image != entering => noise = left,
                _ => return,
            }
        }
    }
}
