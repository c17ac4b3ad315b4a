//! Optimal assignment of noise to data, with a certificate that a reader can check.

use ndarray::Array2;

use crate::rounding::Rounded;

/// Why an assignment was refused.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// One noise for each sample.
    #[error("cost must be a square [B, B] array with B ≥ 1, got [{rows}, {columns}]")]
    Shape {
        /// Rows given.
        rows: usize,
        /// Columns given.
        columns: usize,
    },
    /// Costs must be finite.
    #[error("cost [{row}, {column}] must be finite, got {got}")]
    NotFinite {
        /// Row of the refused cost.
        row: usize,
        /// Its column.
        column: usize,
        /// The refused value.
        got: f64,
    },
    /// One class for each sample and for each noise.
    #[error("classes must have one entry per sample ({expected}), got {got}")]
    Classes {
        /// Batch size.
        expected: usize,
        /// Number of classes given.
        got: usize,
    },
}

/// A matching with dual potentials.
///
/// # Shapes
/// all of length B.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// π: sample i gets noise `permutation[i]`.
    pub permutation: Vec<usize>,
    /// u, one potential per sample.
    pub rows: Vec<f64>,
    /// v, one potential per noise.
    pub columns: Vec<f64>,
}

/// The assignment that minimises Σ_i c(i, π(i)).
///
/// # Formula `[eq:assignment]`
/// ```text
/// min_π Σ_i c(i, π(i)) = max { Σ_i u_i + Σ_j v_j : u_i + v_j ≤ c(i, j) }
/// ```
/// Samples enter one at a time; each is matched along a shortest alternating path in the reduced costs
/// c − u − v ≥ 0, and the potentials move by the path's lengths. B³ operations.
///
/// # Errors
/// [`TransportError::Shape`] or [`TransportError::NotFinite`].
///
/// # Source
/// Kuhn 1955 and Munkres 1957; in the form of shortest paths, Jonker & Volgenant 1987, doi:10.1007/BF02278710.
///
/// # Example
/// ```
/// # fn main() -> Result<(), sadm_theory::transport::TransportError> {
/// use ndarray::array;
/// let best = sadm_theory::transport::assign(&array![[4.0, 1.0, 3.0], [2.0, 0.0, 5.0], [3.0, 2.0, 2.0]])?;
/// assert_eq!(best.permutation, [1, 0, 2]); // 1 + 2 + 2 = 5
/// # Ok(()) }
/// ```
pub fn assign(cost: &Array2<f64>) -> Result<Assignment, TransportError> {
    let (count, columns) = cost.dim();
    if count == 0 || count != columns {
        return Err(TransportError::Shape {
            rows: count,
            columns,
        });
    }
    if let Some(((row, column), &got)) = cost.indexed_iter().find(|(_, c)| !c.is_finite()) {
        return Err(TransportError::NotFinite { row, column, got });
    }
    let mut solver = Solver::new(cost);
    for row in 0..count {
        solver.enter(row);
    }
    Ok(solver.finish())
}

/// The best assignment that gives every sample a noise of its own class: one problem per class.
///
/// # Shapes
/// cost `[B, B]`, classes `[B]`; noise j belongs to class `classes[j]`, as it was drawn with sample j. The
/// potentials certify each class's block.
///
/// # Errors
/// As [`assign`], and [`TransportError::Classes`].
pub fn assign_within(cost: &Array2<f64>, classes: &[usize]) -> Result<Assignment, TransportError> {
    if classes.len() != cost.nrows() {
        return Err(TransportError::Classes {
            expected: cost.nrows(),
            got: classes.len(),
        });
    }
    let count = classes.len();
    if cost.ncols() != count || count == 0 {
        return assign(cost);
    }
    let mut whole = Assignment {
        permutation: vec![0; count],
        rows: vec![0.0; count],
        columns: vec![0.0; count],
    };
    for first in 0..count {
        let members: Vec<usize> = (0..count)
            .filter(|&i| classes[i] == classes[first])
            .collect();
        if members[0] != first {
            continue; // this class is done
        }
        let n = members.len();
        let block = Array2::from_shape_fn((n, n), |(i, j)| cost[[members[i], members[j]]]);
        let part = assign(&block)?;
        for (k, &i) in members.iter().enumerate() {
            whole.permutation[i] = members[part.permutation[k]];
            whole.rows[i] = part.rows[k];
            whole.columns[i] = part.columns[k];
        }
    }
    Ok(whole)
}

/// The state of the shortest-path algorithm.
struct Solver<'a> {
    cost: &'a Array2<f64>,
    rows: Vec<f64>,
    columns: Vec<f64>,
    /// Row matched to each column.
    matched: Vec<Option<usize>>,
}

impl<'a> Solver<'a> {
    fn new(cost: &'a Array2<f64>) -> Self {
        let count = cost.nrows();
        Self {
            cost,
            rows: vec![0.0; count],
            columns: vec![0.0; count],
            matched: vec![None; count],
        }
    }

    /// Matches one more row: Dijkstra over the columns until a free one is the nearest, then the path is flipped.
    fn enter(&mut self, start: usize) {
        let count = self.columns.len();
        let mut distance = vec![f64::INFINITY; count];
        let mut parent = vec![start; count];
        let mut settled: Vec<usize> = Vec::with_capacity(count);
        let mut open: Vec<usize> = (0..count).collect();
        let (mut row, mut length) = (start, 0.0);
        loop {
            for &j in &open {
                let through = length + self.cost[[row, j]] - self.rows[row] - self.columns[j];
                if through < distance[j] {
                    (distance[j], parent[j]) = (through, row);
                }
            }
            // At most `count` rounds: `open` loses a column in each, and a free column is among them.
            let Some(place) =
                (0..open.len()).min_by(|&a, &b| distance[open[a]].total_cmp(&distance[open[b]]))
            else {
                return;
            };
            let nearest = open.swap_remove(place);
            length = distance[nearest];
            let Some(next) = self.matched[nearest] else {
                self.reweigh(start, &settled, &distance, length);
                self.flip(start, nearest, &parent);
                return;
            };
            settled.push(nearest);
            row = next;
        }
    }

    /// Potentials after a shortest path of this length: reduced costs stay ≥ 0, and = 0 along the path.
    fn reweigh(&mut self, start: usize, settled: &[usize], distance: &[f64], length: f64) {
        self.rows[start] += length;
        for &j in settled {
            let change = length - distance[j];
            self.columns[j] -= change;
            if let Some(row) = self.matched[j] {
                self.rows[row] += change;
            }
        }
    }

    /// Follows the path back from a free column and exchanges matched and unmatched edges.
    fn flip(&mut self, start: usize, free: usize, parent: &[usize]) {
        let mut column = free;
        loop {
            let row = parent[column];
            let left =
                (0..self.matched.len()).find(|&j| j != column && self.matched[j] == Some(row));
            self.matched[column] = Some(row);
            match left {
                Some(previous) if row != start => column = previous,
                _ => return,
            }
        }
    }

    fn finish(self) -> Assignment {
        let mut permutation = vec![0; self.rows.len()];
        for (column, row) in self.matched.iter().enumerate() {
            if let Some(row) = row {
                permutation[*row] = column;
            }
        }
        Assignment {
            permutation,
            rows: self.rows,
            columns: self.columns,
        }
    }
}

/// Σ_i c(i, π(i)).
pub fn total(cost: &Array2<Rounded>, permutation: &[usize]) -> Rounded {
    Rounded::sum(permutation.iter().enumerate().map(|(i, &j)| cost[[i, j]]))
}

/// A lower bound on every assignment's cost from any potentials.
///
/// # Formula `[eq:dual-bound]`
/// ```text
/// Σ_i c(i, π(i)) ≥ Σ_i u_i + Σ_j v_j + Σ_i min_j (c(i, j) − u_i − v_j)      for every π
/// ```
/// so the potentials need not be feasible to be used: what they lack is subtracted. Where the bound meets a
/// matching's cost to within rounding, the matching is optimal to within rounding, whoever found it.
///
/// # Shapes
/// cost `[B, B]`, rows and columns `[B]`; `allowed(i, j)` says which pairs π may use (all of them: always true).
pub fn dual_bound(
    cost: &Array2<Rounded>,
    assignment: &Assignment,
    allowed: impl Fn(usize, usize) -> bool,
) -> Rounded {
    let potentials = assignment.rows.iter().chain(&assignment.columns);
    let base = Rounded::sum(potentials.map(|&p| Rounded::exact(p)));
    let slack = |i: usize| {
        (0..cost.ncols())
            .filter(|&j| allowed(i, j))
            .map(|j| {
                cost[[i, j]]
                    - Rounded::exact(assignment.rows[i])
                    - Rounded::exact(assignment.columns[j])
            })
            .reduce(least)
            .unwrap_or(Rounded::exact(0.0))
    };
    base + Rounded::sum((0..cost.nrows()).map(slack))
}

/// min(a, b): its error is at most the larger of both. NaN if one is.
fn least(a: Rounded, b: Rounded) -> Rounded {
    let lesser = if b.value < a.value || b.value.is_nan() {
        b.value
    } else {
        a.value
    };
    let larger = if b.error > a.error || b.error.is_nan() {
        b.error
    } else {
        a.error
    };
    Rounded::within(lesser, larger)
}

/// The least cost over all permutations, by trying them; `allowed` as in [`dual_bound`].
///
/// # Range
/// B! permutations: for B ≤ 7.
pub fn by_brute_force(cost: &Array2<Rounded>, allowed: impl Fn(usize, usize) -> bool) -> Rounded {
    fn extend(
        cost: &Array2<Rounded>,
        allowed: &impl Fn(usize, usize) -> bool,
        taken: &mut Vec<usize>,
        so_far: Rounded,
        best: &mut Option<Rounded>,
    ) {
        let row = taken.len();
        if row == cost.nrows() {
            *best = Some(best.map_or(so_far, |b| least(b, so_far)));
            return;
        }
        for column in 0..cost.ncols() {
            if allowed(row, column) && !taken.contains(&column) {
                taken.push(column);
                extend(cost, allowed, taken, so_far + cost[[row, column]], best);
                taken.pop();
            }
        }
    }
    let mut best = None;
    extend(
        cost,
        &allowed,
        &mut Vec::new(),
        Rounded::exact(0.0),
        &mut best,
    );
    best.unwrap_or(Rounded::within(f64::NAN, f64::INFINITY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    /// Multiples of the golden ratio modulo 1.
    fn spread(count: usize) -> Array2<f64> {
        let at = |k: usize| (k as f64 * 0.618_033_988_749_894_9).fract();
        Array2::from_shape_fn((count, count), |(i, j)| {
            at(1 + i * count + j) + 3.0 * at(7 * i + 3) * at(5 * j + 2)
        })
    }

    fn gap(cost: &Array2<f64>, best: &Assignment) -> Rounded {
        let cost = cost.mapv(Rounded::exact);
        total(&cost, &best.permutation) - dual_bound(&cost, best, |_, _| true)
    }

    #[test]
    fn every_size_is_certified() -> Result<(), TransportError> {
        for count in [1, 2, 3, 5, 8, 13, 40, 100] {
            let cost = spread(count);
            let best = assign(&cost)?;
            let mut seen = best.permutation.clone();
            seen.sort_unstable();
            assert_eq!(seen, (0..count).collect::<Vec<_>>());
            let gap = gap(&cost, &best);
            assert!(
                gap.value <= gap.error && gap.error < 1e-10,
                "{count}: {gap:?}"
            );
        }
        Ok(())
    }

    #[test]
    fn small_sizes_agree_with_brute_force() -> Result<(), TransportError> {
        for count in 1..=7 {
            let cost = spread(count);
            let best = assign(&cost)?;
            let known = cost.mapv(Rounded::exact);
            let (got, want) = (
                total(&known, &best.permutation),
                by_brute_force(&known, |_, _| true),
            );
            assert!((got.value - want.value).abs() <= got.error + want.error);
        }
        Ok(())
    }

    #[test]
    fn a_worse_matching_or_worse_potentials_are_not_certified() -> Result<(), TransportError> {
        let cost = array![[4.0, 1.0, 3.0], [2.0, 0.0, 5.0], [3.0, 2.0, 2.0]];
        let best = assign(&cost)?;
        let (mut swapped, mut shifted) = (best.clone(), best.clone());
        swapped.permutation.swap(0, 1);
        shifted.columns[0] -= 0.5;
        assert!(gap(&cost, &best).value.abs() <= gap(&cost, &best).error);
        assert!(gap(&cost, &swapped).value > 0.5);
        assert!(gap(&cost, &shifted).value > 0.25);
        Ok(())
    }

    #[test]
    fn classes_keep_to_themselves() -> Result<(), TransportError> {
        let classes = [0, 1, 0, 1, 2];
        let cost = spread(5);
        let best = assign_within(&cost, &classes)?;
        for (i, &j) in best.permutation.iter().enumerate() {
            assert_eq!(classes[i], classes[j]);
        }
        let known = cost.mapv(Rounded::exact);
        let allowed = |i: usize, j: usize| classes[i] == classes[j];
        let (got, want) = (
            total(&known, &best.permutation),
            by_brute_force(&known, allowed),
        );
        assert!((got.value - want.value).abs() <= got.error + want.error);
        let bound = dual_bound(&known, &best, allowed);
        assert!((got.value - bound.value).abs() <= got.error + bound.error);
        Ok(())
    }

    #[test]
    fn refusals_name_what_was_got() {
        let message = |cost: Array2<f64>| assign(&cost).expect_err("refused").to_string();
        assert!(message(Array2::zeros((0, 0))).contains("[0, 0]"));
        assert!(message(Array2::zeros((2, 3))).contains("[2, 3]"));
        assert!(message(array![[1.0, f64::NAN], [0.0, 0.0]]).contains("[0, 1]"));
        let classes = |cost: Array2<f64>, classes: &[usize]| {
            assign_within(&cost, classes)
                .expect_err("refused")
                .to_string()
        };
        assert!(classes(Array2::zeros((2, 2)), &[0]).contains("got 1"));
        assert!(classes(Array2::zeros((2, 3)), &[0, 0]).contains("[2, 3]"));
        assert!(classes(Array2::zeros((0, 0)), &[]).contains("[0, 0]"));
        assert!(
            by_brute_force(&Array2::from_elem((1, 1), Rounded::exact(1.0)), |_, _| {
                false
            })
            .value
            .is_nan()
        );
    }
}
