//! Neighbours and balls decided by the bounds of a matrix product, against all distances formed one by one: the same to
//! the bit, whatever the points.

use ndarray::{Array2, ArrayView1, Axis, Slice, concatenate};
use proptest::prelude::*;
use sadm_reference::metrics::{
    Ball, FeatureView, Nearest, PrdcSamples, kid_estimate, nearest, neighbour_radii, prdc_samples,
};

use crate::support::matrix;

/// ‖a − b‖² in the library's order: eight sums, then the rest.
fn squared(a: ArrayView1<f64>, b: ArrayView1<f64>) -> f64 {
    let (mut sums, mut rest) = ([0.0; 8], 0.0);
    let whole = a.len() / 8 * 8;
    for (k, (a, b)) in a.iter().zip(b).enumerate() {
        let square = (a - b) * (a - b);
        if k < whole {
            sums[k % 8] += square;
        } else {
            rest += square;
        }
    }
    sums.iter().sum::<f64>() + rest
}

fn radii(x: &Array2<f64>, k: usize) -> Vec<f64> {
    let radius = |i| {
        let others = (0..x.nrows()).filter(|j| *j != i);
        let mut all: Vec<f64> = others.map(|j| squared(x.row(i), x.row(j))).collect();
        all.sort_by(f64::total_cmp);
        all[k - 1]
    };
    (0..x.nrows()).map(radius).collect()
}

/// Of all squared distances and those of each set's k-th neighbours.
fn shares(all: &Array2<f64>, [r, rho]: [&[f64]; 2], k: usize, ball: Ball) -> PrdcSamples {
    let holds = |distance: f64, radius: f64| match ball {
        Ball::Closed => distance <= radius,
        Ball::Open => distance < radius,
    };
    let (n, m) = all.dim();
    PrdcSamples {
        k,
        precise: (0..m)
            .map(|j| (0..n).any(|i| holds(all[[i, j]], r[i])))
            .collect(),
        recalled: (0..n)
            .map(|i| (0..m).any(|j| holds(all[[i, j]], rho[j])))
            .collect(),
        holders: (0..m)
            .map(|j| (0..n).filter(|i| all[[*i, j]] < r[*i]).count())
            .collect(),
        covered: (0..n).map(|i| (0..m).any(|j| all[[i, j]] < r[i])).collect(),
    }
}

fn neighbours(queries: &Array2<f64>, training: &Array2<f64>) -> Vec<Nearest> {
    let of = |query: ArrayView1<f64>| {
        let mut all: Vec<(f64, usize)> = training
            .rows()
            .into_iter()
            .enumerate()
            .map(|(j, row)| (squared(query, row), j))
            .collect();
        all.sort_by(|x, y| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1)));
        Nearest {
            index: all[0].1,
            distance: all[0].0.sqrt(),
            second: all.get(1).map_or(f64::INFINITY, |(d, _)| d.sqrt()),
        }
    };
    queries.rows().into_iter().map(of).collect()
}

#[track_caller]
fn same(real: &Array2<f64>, generated: &Array2<f64>, k: usize) {
    let (r, rho) = (radii(real, k), radii(generated, k));
    assert_eq!(neighbour_radii("a", real.view(), k).expect("a set"), r);
    assert_eq!(
        nearest(generated.view(), real.view()).expect("two sets"),
        neighbours(generated, real)
    );
    let all = Array2::from_shape_fn((real.nrows(), generated.nrows()), |(i, j)| {
        squared(real.row(i), generated.row(j))
    });
    for ball in [Ball::Closed, Ball::Open] {
        let got = prdc_samples(real.view(), generated.view(), k, ball).expect("two sets");
        assert_eq!(got, shares(&all, [&r, &rho], k, ball));
    }
}

/// How points lie, in an order from where the bounds say all to where they say nothing.
#[derive(Debug, Clone, Copy)]
enum Lie {
    /// As they are drawn: k/64 and full mantissas.
    Spread,
    /// On a grid of thirds: ties in exact arithmetic, whose computed values differ by rounding or not at all.
    Grid,
    /// Every row three times.
    Copies,
    /// Few places, rows within 2⁻³⁰ of them.
    Clusters,
    /// Around 2²⁰ in each coordinate.
    Offset,
    /// Clusters far from each other, so that no centre is near.
    FarClusters,
    /// Squares of 2⁻¹⁰⁴⁰: they lose digits.
    Tiny,
    /// Squares vanish.
    Vanishing,
    /// Squares of 2¹⁰¹⁶.
    Huge,
    /// Squares overflow where the differences' do not.
    HugeOffset,
}

impl Lie {
    const ALL: [Self; 10] = [
        Self::Spread,
        Self::Grid,
        Self::Copies,
        Self::Clusters,
        Self::Offset,
        Self::FarClusters,
        Self::Tiny,
        Self::Vanishing,
        Self::Huge,
        Self::HugeOffset,
    ];

    fn of(self, x: Array2<f64>) -> Array2<f64> {
        let power = |p: i32| f64::from(p).exp2();
        match self {
            Self::Spread => x,
            Self::Grid => x.mapv(|v| v.round() / 3.0),
            Self::Copies => concatenate![Axis(0), x, x, x],
            Self::Clusters => {
                let places = x.mapv(f64::round);
                places + x * power(-30)
            }
            Self::Offset => x.mapv(|v| v.round() / 3.0) + power(20) / 3.0,
            Self::FarClusters => {
                let far = x.mapv(|v| if v > 0.0 { power(26) } else { -power(26) });
                far + x
            }
            Self::Tiny => x * power(-520),
            Self::Vanishing => x * power(-545),
            Self::Huge => x * power(506),
            Self::HugeOffset => x.mapv(|v| {
                if v > 0.0 {
                    power(511)
                } else {
                    power(511) * 1.5
                }
            }),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn shares_and_neighbours_are_those_of_all_distances(
        (lie, real, generated) in (0..Lie::ALL.len(), 3..=9usize, 3..=9usize, 1..=19usize).prop_flat_map(
            |(lie, n, m, d)| (Just(Lie::ALL[lie]), matrix(n, d), matrix(m, d))
        ),
        k in 1..=2usize,
        shared in 0..=2usize,
    ) {
        let (real, mut generated) = (lie.of(real), lie.of(generated));
        // Some rows of one set lie in the other too.
        for i in 0..shared {
            generated.row_mut(i).assign(&real.row(i));
        }
        same(&real, &generated, k);
    }
}

/// A hash of a place, in [−1, 1) and exact in f32.
fn hashed(rows: usize, columns: usize, salt: u64) -> Array2<f32> {
    Array2::from_shape_fn((rows, columns), |(i, j)| {
        let mut h = (i * columns + j) as u64 + salt * 0x9E37_79B9;
        for _ in 0..2 {
            h = h.wrapping_add(1).wrapping_mul(0xD6E8_FEB8_6659_FD93);
            h ^= h >> 32;
        }
        (h >> 41) as f32 / (1_u64 << 22) as f32 - 1.0
    })
}

/// Several blocks of rows, the last of them shorter; more neighbours than are kept; ties across blocks.
#[test]
fn many_rows_are_compared_in_full() {
    let wide = |x: Array2<f32>| x.mapv(f64::from);
    let (mut real, generated) = (wide(hashed(2300, 9, 1)), wide(hashed(400, 9, 2)));
    let first = real.row(3).to_owned();
    for i in [7, 2100, 2299] {
        real.row_mut(i).assign(&first);
    }
    same(&real, &generated, 3);
    same(&generated, &real.mapv(|x| x * 1.5), 3);
    // Every distance is a tie with many others.
    let some = |x: &Array2<f64>, rows| x.slice_axis(Axis(0), Slice::from(..rows)).to_owned();
    let (real, generated) = (some(&real, 150), some(&generated, 90));
    same(&real.mapv(f64::round), &generated.mapv(f64::round), 5);
    same(&real, &generated, 70);
}

/// What is kept as f32 has the numbers of the same widened, to the last bit.
#[test]
fn features_in_f32_have_the_numbers_of_f64() {
    let (a, b) = (hashed(2300, 11, 3), hashed(1200, 11, 4) * 1.25);
    let wide = [a.mapv(f64::from), b.mapv(f64::from)];
    let narrow = [FeatureView::from(a.view()), FeatureView::from(b.view())];
    let kinds = |i: usize| [FeatureView::from(wide[i].view()), narrow[i]];
    let want_kid = kid_estimate(wide[0].view(), wide[1].view()).expect("two sets");
    let want_prdc = prdc_samples(wide[0].view(), wide[1].view(), 3, Ball::Closed).expect("sets");
    let want_near = nearest(wide[1].view(), wide[0].view()).expect("two sets");
    for a in kinds(0) {
        for b in kinds(1) {
            assert_eq!(kid_estimate(a, b).expect("two sets"), want_kid);
            assert_eq!(
                prdc_samples(a, b, 3, Ball::Closed).expect("sets"),
                want_prdc
            );
            assert_eq!(nearest(b, a).expect("two sets"), want_near);
        }
    }
    let some = [7, 0, 7, 1000, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21];
    let factors = |x| {
        let all = sadm_reference::metrics::Factor::of_features("x", x).expect("a set");
        (
            all,
            sadm_reference::metrics::Factor::of_rows("x", x, &some).expect("rows"),
        )
    };
    let [wide, narrow] = kinds(0);
    assert_eq!(factors(narrow), factors(wide));
    let mut odd = a.clone();
    odd[[5, 6]] = f32::NAN;
    let said = neighbour_radii("a", odd.view(), 1)
        .expect_err("NaN")
        .to_string();
    assert!(
        said.contains("row 5") && said.contains("column 6"),
        "{said}"
    );
}
