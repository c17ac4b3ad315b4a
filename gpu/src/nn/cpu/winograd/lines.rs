//! The transforms of a line, vector by vector, and of a tile: of its columns, then of its rows.

use pulp::Simd;

use crate::nn::cpu::real::Real;

type Vector<R, S> = <R as Real>::Vector<S>;

/// `Bᵀ d`.
#[inline(always)]
pub(crate) fn data<R: Real, S: Simd>(
    simd: S,
    [a, b, c, d]: [Vector<R, S>; 4],
) -> [Vector<R, S>; 4] {
    [
        R::minus(simd, a, c),
        R::plus(simd, b, c),
        R::minus(simd, c, b),
        R::minus(simd, b, d),
    ]
}

/// `G w`.
#[inline(always)]
pub(crate) fn kernel<R: Real, S: Simd>(simd: S, [a, b, c]: [Vector<R, S>; 3]) -> [Vector<R, S>; 4] {
    let half = R::splat(simd, R::of(0.5));
    let ends = R::times(simd, half, R::plus(simd, a, c));
    let middle = R::times(simd, half, b);
    [
        a,
        R::plus(simd, ends, middle),
        R::minus(simd, ends, middle),
        c,
    ]
}

/// `Aᵀ m`.
#[inline(always)]
pub(crate) fn output<R: Real, S: Simd>(
    simd: S,
    [a, b, c, d]: [Vector<R, S>; 4],
) -> [Vector<R, S>; 2] {
    [
        R::plus(simd, a, R::plus(simd, b, c)),
        R::minus(simd, R::minus(simd, b, c), d),
    ]
}

/// `Gᵀ m`.
#[inline(always)]
pub(crate) fn kernel_gradient<R: Real, S: Simd>(
    simd: S,
    [a, b, c, d]: [Vector<R, S>; 4],
) -> [Vector<R, S>; 3] {
    let half = R::splat(simd, R::of(0.5));
    let sum = R::times(simd, half, R::plus(simd, b, c));
    let difference = R::times(simd, half, R::minus(simd, b, c));
    [R::plus(simd, a, sum), difference, R::plus(simd, sum, d)]
}

/// `T x Tᵀ` for a transform T of lines: N × N to M × M vectors.
///
/// Loops, since a closure in `map` or `from_fn` is a function of its own, compiled without the vector instructions.
#[inline(always)]
pub(crate) fn both_ways<V: Copy, const N: usize, const M: usize>(
    x: [[V; N]; N],
    line: impl Fn([V; N]) -> [V; M],
) -> [[V; M]; M] {
    let mut rows = [[x[0][0]; M]; N];
    for (row, x) in rows.iter_mut().zip(x) {
        *row = line(x);
    }
    let mut y = [[x[0][0]; M]; M];
    for j in 0..M {
        let mut column = [x[0][0]; N];
        for i in 0..N {
            column[i] = rows[i][j];
        }
        let column = line(column);
        for i in 0..M {
            y[i][j] = column[i];
        }
    }
    y
}

/// N × N vectors: that of row i and column j begins at `at + i · down + j · across`.
#[expect(
    clippy::needless_range_loop,
    reason = "constant indices keep the vectors in registers"
)]
#[inline(always)]
pub(crate) fn square<R: Real, S: Simd, const N: usize>(
    simd: S,
    from: &[R],
    at: usize,
    (down, across): (usize, usize),
) -> [[Vector<R, S>; N]; N] {
    let mut square = [[R::splat(simd, R::default()); N]; N];
    for i in 0..N {
        for j in 0..N {
            let at = at + i * down + j * across;
            square[i][j] = R::vectors::<S>(&from[at..][..R::lanes::<S>()]).0[0];
        }
    }
    square
}

/// Writes N × N vectors: that of row i and column j from `at + i · down + j · across` on.
#[expect(
    clippy::needless_range_loop,
    reason = "constant indices keep the vectors in registers"
)]
#[inline(always)]
pub(crate) fn write<R: Real, S: Simd, const N: usize>(
    square: [[Vector<R, S>; N]; N],
    to: &mut [R],
    at: usize,
    (down, across): (usize, usize),
) {
    for i in 0..N {
        for j in 0..N {
            let at = at + i * down + j * across;
            R::vectors_mut::<S>(&mut to[at..][..R::lanes::<S>()]).0[0] = square[i][j];
        }
    }
}
