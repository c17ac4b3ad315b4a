use ndarray::{Array2, ArrayView1, Axis, array};
use proptest::prelude::*;
use sadm_reference::bound::{self, Precision};
use sadm_reference::distance::Distance;
use sadm_reference::linalg::{orthonormal_factor, symmetric_eigenvalues};
use sadm_reference::relation::{Relation, RelationError, Rows, affinity, affinity_vjp};
use sadm_reference::schedule::{RectifiedFlow, ScheduleKind};
use sadm_reference::structure::{
    Diagonal, Eta, StructuralLoss, StructureError, StructureOptions, eta, structural_loss,
};

use crate::support::{U, assert_all_close, assert_close, assert_near, matrix, positive};

/// Every relation, those with a width with one that is no power of two.
fn relations() -> impl Iterator<Item = Relation> + Clone {
    Relation::all().map(|relation| relation.with(1.5))
}

/// Every distance, Huber's with a threshold that both branches meet.
fn distances() -> impl Iterator<Item = Distance> + Clone {
    Distance::all().map(|distance| distance.with(0.375))
}

pub fn all_options() -> impl Iterator<Item = StructureOptions> {
    relations().flat_map(|relation| {
        distances().flat_map(move |distance| {
            Diagonal::ALL
                .into_iter()
                .map(move |diagonal| StructureOptions {
                    relation,
                    distance,
                    diagonal,
                })
        })
    })
}

fn options(relation: Relation, distance: Distance, diagonal: Diagonal) -> StructureOptions {
    StructureOptions {
        relation,
        distance,
        diagonal,
    }
}

/// One η a sample of [`generic_batches`].
pub const ETA: [f64; 3] = [0.5, 2.0, 1.25];

/// A real and a generated batch with no symmetry.
pub fn generic_batches() -> [Array2<f64>; 2] {
    [
        array![[0.75, -1.5], [2.25, 0.5], [-0.375, 1.125]],
        array![[1.0, -0.625], [0.5, 1.75], [-1.25, 0.25]],
    ]
}

/// No row is zero, so that cosine takes it too.
pub fn away_from_zero(mut psi: Array2<f64>) -> Array2<f64> {
    for mut row in psi.rows_mut() {
        if row.iter().all(|&x| x == 0.0) {
            row[0] = 0.75;
        }
    }
    psi
}

/// Real and generated features, of different widths, and one η per sample.
pub fn batches() -> impl Strategy<Value = (Array2<f64>, Array2<f64>, Vec<f64>)> {
    (2..=5usize, 1..=4usize, 1..=4usize).prop_flat_map(|(b, d, d_hat)| {
        let eta = prop::collection::vec(positive(), b);
        (
            matrix(b, d).prop_map(away_from_zero),
            matrix(b, d_hat).prop_map(away_from_zero),
            eta,
        )
    })
}

fn loss(
    real: &Array2<f64>,
    generated: &Array2<f64>,
    eta: &[f64],
    opts: &StructureOptions,
) -> StructuralLoss {
    structural_loss(real, generated, eta, opts).expect("features that every relation takes")
}

/// What the loss may be off by, twice: it is computed on both sides of an identity.
fn rounding(
    real: &Array2<f64>,
    generated: &Array2<f64>,
    eta: &[f64],
    opts: &StructureOptions,
) -> f64 {
    let bound = bound::structure::structural_loss(real, generated, eta, opts, Precision::F64);
    2.0 * bound
        .expect("features that every relation takes")
        .loss
        .error
        .sum()
}

#[test]
fn a_shared_eta_multiplies_the_loss() {
    let [real, generated] = generic_batches();
    for opts in all_options() {
        let one = loss(&real, &generated, &[1.0], &opts);
        let shared = loss(&real, &generated, &[3.0], &opts);
        let repeated = loss(&real, &generated, &[3.0; 3], &opts);
        assert_close(shared.loss, 3.0 * one.loss, 8.0);
        assert_close(repeated.loss, shared.loss, 8.0);
        assert_all_close(&shared.grad_real, &(&one.grad_real * 3.0), 16.0);
        assert_all_close(&repeated.grad_generated, &shared.grad_generated, 16.0);
        assert_eq!(loss(&real, &generated, &[0.0], &opts).loss, 0.0);
    }
}

#[test]
fn affinities_by_hand() -> Result<(), RelationError> {
    // ‖(3,4)‖ = 5, ‖(0,2)‖ = 2, inner product 8, difference (3,2).
    let psi = array![[3.0, 4.0], [0.0, 2.0]];
    let of = |relation| affinity(relation, &psi);
    assert_close(of(Relation::COSINE)?[[0, 1]], 0.8, 4.0);
    assert_eq!(
        of(Relation::INNER_PRODUCT)?,
        array![[25.0, 8.0], [8.0, 4.0]]
    );
    assert_eq!(
        of(Relation::SQUARED_EUCLIDEAN)?,
        array![[0.0, 13.0], [13.0, 0.0]]
    );
    assert_close(of(Relation::EUCLIDEAN)?[[1, 0]], 13f64.sqrt(), 1.0);
    assert_close(
        of(Relation::RBF.with(2.0))?[[1, 0]],
        (-13.0_f64 / 8.0).exp(),
        4.0,
    );
    // ‖(3,2)‖₁ = 5.
    let laplacian = of(Relation::LAPLACIAN.with(2.0))?;
    assert_close(laplacian[[1, 0]], (-2.5_f64).exp(), 4.0);
    Ok(())
}

#[test]
fn vjp_by_hand_with_a_gradient_that_is_not_symmetric() -> Result<(), RelationError> {
    let psi = array![[3.0, 4.0], [0.0, 2.0]];
    let g = array![[0.5, 2.0], [1.0, -1.0]];
    let of = |relation| affinity_vjp(relation, &psi, &g);
    // H = [[1, 3], [3, −2]]
    assert_eq!(
        of(Relation::INNER_PRODUCT)?,
        array![[3.0, 10.0], [9.0, 8.0]]
    );
    // 3·2·(ψ_0 − ψ_1), opposite for the other.
    assert_eq!(
        of(Relation::SQUARED_EUCLIDEAN)?,
        array![[18.0, 12.0], [-18.0, -12.0]]
    );
    let euclidean = of(Relation::EUCLIDEAN)?;
    assert_all_close(
        &euclidean,
        &(array![[9.0, 6.0], [-9.0, -6.0]] / 13f64.sqrt()),
        4.0,
    );
    let m = (-13.0_f64 / 8.0).exp();
    let rbf = of(Relation::RBF.with(2.0))?;
    assert_all_close(&rbf, &(array![[9.0, 6.0], [-9.0, -6.0]] * (-m / 4.0)), 8.0);
    // 3·(−M/2)·sign(3, 2), opposite for the other.
    let m = (-2.5_f64).exp();
    let laplacian = of(Relation::LAPLACIAN.with(2.0))?;
    assert_all_close(
        &laplacian,
        &(array![[3.0, 3.0], [-3.0, -3.0]] * (-m / 2.0)),
        8.0,
    );
    // u_0 = (0.6, 0.8), u_1 = (0, 1): (3u_1 − 2.4u_0)/5 and (3u_0 − 2.4u_1)/2.
    let cosine = of(Relation::COSINE)?;
    assert_all_close(&cosine, &array![[-0.288, 0.216], [0.9, 0.0]], 8.0);
    Ok(())
}

#[test]
fn distances_by_hand() {
    let huber = Distance::HUBER.with(0.5);
    // (e, squared, absolute, huber and their slopes)
    let table = [
        (-2.0, [4.0, 2.0, 0.875], [-4.0, -1.0, -0.5]),
        (-0.25, [0.0625, 0.25, 0.03125], [-0.5, -1.0, -0.25]),
        (0.0, [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
        (-0.0, [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
        (0.5, [0.25, 0.5, 0.125], [1.0, 1.0, 0.5]),
        (0.75, [0.5625, 0.75, 0.25], [1.5, 1.0, 0.5]),
    ];
    for (e, values, slopes) in table {
        let of = |f: fn(Distance, f64) -> f64| {
            [Distance::SQUARED, Distance::ABSOLUTE, huber].map(|d| f(d, e))
        };
        assert_eq!(of(Distance::value), values, "D({e})");
        assert_eq!(of(Distance::grad), slopes, "D'({e})");
    }
}

#[test]
fn eta_by_hand() -> Result<(), StructureError> {
    let flow = RectifiedFlow;
    assert_eq!(eta(Eta::INVERSE_TIME, 0.25, 0.05, &flow)?, 4.0);
    assert_eq!(eta(Eta::INVERSE_TIME, 0.01, 0.05, &flow)?, 20.0);
    assert_eq!(eta(Eta::INVERSE_TIME, 0.0, 0.05, &flow)?, 20.0);
    assert_eq!(eta(Eta::CONSTANT, 0.25, 0.05, &flow)?, 1.0);
    // 0.75²/(0.75² + 0.25²)
    assert_close(eta(Eta::SNR, 0.25, 0.05, &flow)?, 0.9, 2.0);
    assert_eq!(eta(Eta::SNR, 1.0, 0.05, &flow)?, 0.0);
    assert_eq!(eta(Eta::SNR, 0.0, 0.05, &flow)?, 1.0);
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(
            eta(Eta::CONSTANT, 0.5, bad, &flow),
            Err(StructureError::TMin { .. })
        ));
    }
    assert!(matches!(
        eta(Eta::CONSTANT, 1.5, 0.05, &flow),
        Err(StructureError::Time(_))
    ));
    Ok(())
}

#[test]
fn bad_features_are_refused_by_matrix_row_and_column() {
    let good = array![[1.0, 2.0], [3.0, 4.0]];
    let opts = StructureOptions::default();
    assert_eq!(
        opts,
        options(Relation::COSINE, Distance::SQUARED, Diagonal::Include)
    );
    let refuse = |real: &Array2<f64>, generated: &Array2<f64>, opts: &StructureOptions| {
        structural_loss(real, generated, &[1.0], opts).expect_err("bad input")
    };
    let message =
        |real: &Array2<f64>, generated: &Array2<f64>| refuse(real, generated, &opts).to_string();

    let zero_row = array![[1.0, 2.0], [0.0, 0.0]];
    assert_eq!(
        message(&zero_row, &good),
        "real features must not be zero under cosine, but all of row 1 are"
    );
    assert_eq!(
        message(&good, &zero_row),
        "generated features must not be zero under cosine, but all of row 1 are"
    );
    // The other relations take it, and cosine takes a row that is zero in part.
    let inner = options(
        Relation::INNER_PRODUCT,
        Distance::SQUARED,
        Diagonal::Include,
    );
    assert!(structural_loss(&zero_row, &good, &[1.0], &inner).is_ok());
    assert!(structural_loss(&array![[0.0, 2.0], [3.0, 0.0]], &good, &[1.0], &opts).is_ok());

    let empty = Array2::zeros((0, 2));
    let nan = array![[1.0, 2.0], [f64::NAN, 4.0]];
    assert_eq!(
        message(&nan, &good),
        "real features must be finite, got NaN in row 1, column 0"
    );
    assert_eq!(
        message(&good, &array![[1.0, f64::INFINITY], [3.0, 4.0]]),
        "generated features must be finite, got inf in row 0, column 1"
    );
    assert_eq!(
        message(&empty, &good),
        "real features must have at least one row and one column, got [0, 2]"
    );
    assert_eq!(
        message(&good, &empty.t().to_owned()),
        "generated features must have at least one row and one column, got [2, 0]"
    );
    assert_eq!(
        message(&good, &array![[1.0, 2.0]]),
        "generated features must have one row per real one, 2, got 1"
    );
    let huge = array![[1.0, 2.0], [1e200, 4.0]];
    assert_eq!(
        refuse(&huge, &good, &inner).to_string(),
        "real affinities must be finite, but that of rows 1 and 1 overflows"
    );
    let large = array![[1.0, 2.0], [1e100, 4.0]];
    assert_eq!(refuse(&large, &good, &inner), StructureError::Overflow);
    // The loss is finite, its gradient is not: 2η exceeds what f64 holds.
    let wide = options(
        Relation::INNER_PRODUCT,
        Distance::ABSOLUTE,
        Diagonal::Include,
    );
    let judge = |eta| structural_loss(&array![[0.125]], &array![[0.0]], &[eta], &wide);
    assert_eq!(judge(1.7e308), Err(StructureError::Overflow));
    assert!(judge(0.8e308).is_ok());
}

#[test]
fn bad_parameters_are_refused() {
    let psi = array![[1.0, 2.0], [3.0, 4.0]];
    let judge = |eta: &[f64], opts: &StructureOptions| structural_loss(&psi, &psi, eta, opts);
    let opts = StructureOptions::default();
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        let refused = judge(&[1.0, bad], &opts).expect_err("bad eta").to_string();
        assert!(
            refused.starts_with("eta must be finite and >= 0, got ")
                && refused.ends_with("for sample 1")
        );
    }
    for length in [0, 3] {
        let eta = vec![1.0; length];
        let refused = StructureError::EtaLength {
            samples: 2,
            got: length,
        };
        assert_eq!(judge(&eta, &opts), Err(refused));
    }
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let huber = options(
            Relation::COSINE,
            Distance::HUBER.with(bad),
            Diagonal::Include,
        );
        assert!(matches!(
            judge(&[1.0], &huber),
            Err(StructureError::Parameter { .. })
        ));
        let rbf = options(
            Relation::RBF.with(bad),
            Distance::SQUARED,
            Diagonal::Include,
        );
        let refused = judge(&[1.0], &rbf).expect_err("bad bandwidth");
        assert!(matches!(
            refused,
            StructureError::Relation(RelationError::Parameter { .. })
        ));
        assert!(
            refused
                .to_string()
                .starts_with("bandwidth must be finite and > 0, got ")
        );
    }
    for absurd in [1e-300, 0.9e-18, 1.1e18, 1e300] {
        let beyond = |relation: Relation, distance: Distance| {
            let opts = options(relation, distance, Diagonal::Include);
            judge(&[1.0], &opts).expect_err("absurd").to_string()
        };
        let range = "must be from 1e-18 to 1e18, so that single precision holds its square and its inverse square, got ";
        for relation in [Relation::RBF, Relation::LAPLACIAN] {
            let message = beyond(relation.with(absurd), Distance::SQUARED);
            assert_eq!(message, format!("bandwidth {range}{absurd:?}"));
        }
        let message = beyond(Relation::COSINE, Distance::HUBER.with(absurd));
        assert_eq!(
            message,
            format!("delta of the huber distance {range}{absurd:?}")
        );
    }
    for wide in [1e-18, 1e18] {
        let opts = options(
            Relation::RBF.with(wide),
            Distance::SQUARED,
            Diagonal::Include,
        );
        assert!(judge(&[1.0], &opts).is_ok(), "{wide}");
    }
    let single = array![[1.0, 2.0]];
    let exclude = options(Relation::COSINE, Distance::SQUARED, Diagonal::Exclude);
    assert_eq!(
        structural_loss(&single, &single, &[1.0], &exclude),
        Err(StructureError::NoPairs { got: 1 })
    );
    assert!(structural_loss(&single, &single, &[1.0], &opts).is_ok());
    assert_eq!(
        affinity_vjp(Relation::INNER_PRODUCT, &psi, &array![[1.0, 2.0]]),
        Err(RelationError::GradShape {
            rows: 2,
            got: vec![1, 2]
        })
    );
}

#[test]
fn coincident_points_have_zero_subgradient() -> Result<(), RelationError> {
    let psi = array![[1.0, 2.0], [1.0, 2.0], [4.0, 6.0]];
    let g = Array2::ones((3, 3));
    let grad = affinity_vjp(Relation::EUCLIDEAN, &psi, &g)?;
    // Rows 0 and 1 are pulled by row 2 alone, at distance 5: 2·(−3, −4)/5.
    assert_all_close(&grad, &array![[-1.2, -1.6], [-1.2, -1.6], [2.4, 3.2]], 8.0);
    Ok(())
}

#[test]
fn cosine_does_not_over_or_underflow() -> Result<(), RelationError> {
    let psi = array![[3e200, 4e200], [3e-200, 4e-200], [-4.0, 3.0]];
    let m = affinity(Relation::COSINE, &psi)?;
    assert_close(m[[0, 1]], 1.0, 4.0);
    assert_near(m[[0, 2]], 0.0, 1.0, 4.0);
    Ok(())
}

/// What two points share pulls neither of them: the subgradient 0 of |x| at 0, component by component.
#[test]
fn laplacian_ignores_components_that_agree() -> Result<(), RelationError> {
    let psi = array![[1.0, 2.0], [1.0, -1.0]];
    let grad = affinity_vjp(Relation::LAPLACIAN, &psi, &array![[5.0, 1.0], [1.0, 5.0]])?;
    let m = (-3.0_f64).exp();
    assert_all_close(&grad, &array![[0.0, -2.0 * m], [0.0, 2.0 * m]], 4.0);
    Ok(())
}

/// The diagonal of the cosine matrix is 1 whatever ψ is; what a gradient says about it is dropped, not rounded away.
#[test]
fn cosine_ignores_the_gradient_of_its_diagonal() -> Result<(), RelationError> {
    let psi = array![[0.3, 0.7, -1.1], [2.3, -0.9, 0.1]];
    let grad = affinity_vjp(Relation::COSINE, &psi, &array![[3.0, 0.0], [0.0, -7.0]])?;
    assert!(grad.iter().all(|&g| g == 0.0), "{grad}");
    Ok(())
}

/// Rounding makes u·u' of parallel unit rows exceed 1 every few rows.
#[test]
fn cosine_of_parallel_rows_is_at_most_one() -> Result<(), RelationError> {
    for k in 1..200 {
        let row = [0.1, 0.7 * f64::from(k), 1.3, 0.01 * f64::from(k * k)];
        let psi = Array2::from_shape_fn((3, 4), |(i, j)| row[j] * [1.0, 3.0, -7.0][i]);
        let m = affinity(Relation::COSINE, &psi)?;
        assert!(m.iter().all(|x| x.abs() <= 1.0), "{m}");
        assert_close(m[[0, 2]], -1.0, 8.0);
    }
    Ok(())
}

/// E2 of the errata: V = (1 − 1/B) U needs M_ii to agree in both batches, which the inner product does not give.
#[test]
fn diagonal_does_not_cancel_for_the_inner_product() {
    let [real, generated] = generic_batches();
    let of = |diagonal| {
        let opts = options(Relation::INNER_PRODUCT, Distance::SQUARED, diagonal);
        loss(&real, &generated, &[1.0], &opts).loss
    };
    let ratio = of(Diagonal::Include) / of(Diagonal::Exclude);
    assert!((ratio - 2.0 / 3.0).abs() > 0.01, "ratio {ratio}");
}

/// Central differences of S along a direction, at steps h and h/2.
fn quotients(f: impl Fn(f64) -> f64, h: f64) -> (f64, f64) {
    let quotient = |h: f64| (f(h) - f(-h)) / (2.0 * h);
    (quotient(h), quotient(h / 2.0))
}

/// Whether a relation is smooth where ψ moves by s·v with |s| ≤ `reach`: no length that it divides by or takes the root of
/// vanishes there, and under ‖·‖₁ no component of a difference.
fn is_smooth(relation: Relation, psi: &Array2<f64>, v: &Array2<f64>, reach: f64) -> bool {
    let length = |x: ArrayView1<f64>| x.dot(&x).sqrt();
    let rows = || psi.rows().into_iter().zip(v.rows());
    let pairs = || {
        let apart = |(i, (x, dx))| {
            rows()
                .take(i)
                .map(move |(y, dy)| (&x - &y, &dx - &dy))
                .collect::<Vec<_>>()
        };
        rows().enumerate().flat_map(apart)
    };
    match relation.name() {
        "euclidean" => pairs().all(|(x, dx)| {
            length(x.view()) > reach * length(dx.view()) || length(dx.view()) == 0.0
        }),
        "laplacian" => pairs().all(|(x, dx)| {
            x.iter()
                .zip(&dx)
                .all(|(x, dx)| x.abs() > reach * dx.abs() || *dx == 0.0)
        }),
        _ if relation.rows() == Some(Rows::Unit) => {
            rows().all(|(x, dx)| length(x) > reach * length(dx))
        }
        _ => true,
    }
}

/// Whether D is smooth about each e, of which every one moves by less than half of `moved`: 0 is a kink of |e|, ±δ of Huber's D'.
fn has_no_kink(distance: Distance, e: &Array2<f64>, moved: &Array2<f64>) -> bool {
    let kinks = match distance.name() {
        "absolute" => vec![0.0],
        "huber" => vec![distance.number(), -distance.number()],
        _ => Vec::new(),
    };
    let mut each = e.iter().zip(moved);
    each.all(|(e, moved)| *moved == 0.0 || kinks.iter().all(|kink| (e - kink).abs() > *moved))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every relation × distance × diagonal, with η by sample, both gradients in a random direction.
    #[test]
    fn gradients_are_difference_quotients(
        (real, generated, eta) in batches(),
        // Multiples of 2⁻⁸, so that features move exactly.
        seed in prop::collection::vec((-256i32..=256).prop_map(|k| f64::from(k) / 256.0), 20),
    ) {
        let h = 2.0_f64.powi(-20);
        let direction = |shape: (usize, usize)| Array2::from_shape_fn(shape, |(i, k)| seed[i * 4 + k]);
        for opts in all_options() {
            let at = loss(&real, &generated, &eta, &opts);
            let noise = 2.0 * rounding(&real, &generated, &eta, &opts) / h;
            for (grad, real_moves) in [(&at.grad_real, true), (&at.grad_generated, false)] {
                let v = direction(grad.dim());
                let moved = |s: f64| {
                    let psi = if real_moves { &real } else { &generated } + &(&v * s);
                    let [real, generated] = if real_moves { [&psi, &generated] } else { [&real, &psi] };
                    loss(real, generated, &eta, &opts)
                };
                // Beyond 1000 steps from where a length vanishes, quotients of two steps tell their own error: it is in h², up to
                // 10⁻⁶ of itself.
                let psi = if real_moves { &real } else { &generated };
                let e = &at.affinity_real - &at.affinity_generated;
                let path = [moved(h), moved(-h)].map(|there| (&there.affinity_real - &there.affinity_generated - &e).mapv(f64::abs));
                if !is_smooth(opts.relation, psi, &v, 1024.0 * h) || !has_no_kink(opts.distance, &e, &((&path[0] + &path[1]) * 2.0)) {
                    continue;
                }
                let (coarse, fine) = quotients(|s| moved(s).loss, h);
                let exact = (grad * &v).sum();
                let allowed = (coarse - fine).abs() + noise + 1e-9 * exact.abs();
                prop_assert!((fine - exact).abs() <= allowed, "{opts:?} real {real_moves}: {fine} vs {exact}, allowed {allowed}");
            }
        }
    }

    #[test]
    fn affinities_are_symmetric_and_in_range((psi, _, _) in batches()) {
        for relation in relations() {
            let m = affinity(relation, &psi).expect("no zero row");
            prop_assert_eq!(&m, &m.t());
            let (low, high, diagonal) = match (relation.rows(), relation.parameter()) {
                (Some(Rows::Unit), _) => (-1.0, 1.0, Some(1.0)),
                (Some(Rows::Plain), _) => (f64::NEG_INFINITY, f64::INFINITY, None),
                // A kernel of a distance has a width.
                (None, Some(_)) => (0.0, 1.0, Some(1.0)),
                (None, None) => (0.0, f64::INFINITY, Some(0.0)),
            };
            prop_assert!(m.iter().all(|&x| low <= x && x <= high), "{relation}: {m}");
            if let Some(value) = diagonal {
                prop_assert!(m.diag().iter().all(|&x| x == value), "{relation}: {m}");
            }
            prop_assert!(m.diag().iter().all(|&x| x >= 0.0));
        }
    }

    #[test]
    fn gram_matrices_are_positive_semidefinite((psi, _, _) in batches()) {
        for relation in [Relation::INNER_PRODUCT, Relation::COSINE, Relation::RBF.with(1.5)] {
            let m = affinity(relation, &psi).expect("no zero row");
            let smallest = symmetric_eigenvalues(&m).expect("symmetric")[0];
            // Weyl: the eigenvalues move by at most the norm of the rounding errors, (d + 4) u trace M, and those of
            // the solver itself, a small multiple of B u trace M.
            let allowed = 32.0 * U * m.diag().sum() * psi.nrows() as f64;
            prop_assert!(smallest >= -allowed, "{relation}: {smallest}");
        }
    }

    #[test]
    fn loss_is_symmetric_in_its_batches((real, generated, eta) in batches()) {
        for opts in all_options() {
            let (a, b) = (loss(&real, &generated, &eta, &opts), loss(&generated, &real, &eta, &opts));
            prop_assert_eq!(a.loss, b.loss);
            prop_assert_eq!(a.grad_real, b.grad_generated);
        }
    }

    #[test]
    fn loss_is_invariant_under_a_common_permutation((real, generated, eta) in batches(), turn in 0usize..5, swap in 0usize..5) {
        let b = real.nrows();
        let mut order: Vec<usize> = (0..b).collect();
        order.rotate_left(turn % b);
        order.swap(0, swap % b);
        let permuted = |psi: &Array2<f64>| psi.select(Axis(0), &order);
        let permuted_eta: Vec<f64> = order.iter().map(|&i| eta[i]).collect();
        for opts in all_options() {
            let (a, b) = (loss(&real, &generated, &eta, &opts), loss(&permuted(&real), &permuted(&generated), &permuted_eta, &opts));
            prop_assert!((a.loss - b.loss).abs() <= rounding(&real, &generated, &eta, &opts));
            assert_all_close(&permuted(&a.grad_real), &b.grad_real, 1e5);
        }
    }

    /// Independent orthogonal maps on both sides, for every relation but the Laplacian, whose ‖·‖₁ sees the axes.
    #[test]
    fn loss_is_invariant_under_rotations((real, generated, eta) in batches(), seed in matrix(4, 4), other in matrix(4, 4)) {
        let rotated = |psi: &Array2<f64>, seed: &Array2<f64>| {
            let d = psi.ncols();
            let square = Array2::from_shape_fn((d, d), |(i, k)| seed[[i, k]] + if i == k { 9.0 } else { 0.0 });
            psi.dot(&orthonormal_factor(&square).expect("finite"))
        };
        let (real_q, generated_q) = (rotated(&real, &seed), rotated(&generated, &other));
        for opts in all_options().filter(|opts| opts.relation.name() != "laplacian") {
            let (a, b) = (loss(&real, &generated, &eta, &opts), loss(&real_q, &generated_q, &eta, &opts));
            // Rotated features carry errors of up to d + c_Q ≤ 16 units of their row's length, where the bound knows of
            // the d + 4 units of an inner product only, elementwise: a factor 16·√d ≤ 32 covers them. Points that
            // coincide come apart by that much, and r = √r² with them, to first order instead of second.
            let apart = 64.0 * U * (1.0 + real.iter().chain(&generated).fold(0.0_f64, |m, x| m.max(x.abs())));
            let slope = if opts.distance == Distance::SQUARED { 32.0 } else { 1.0 };
            let lost_roots = if opts.relation == Relation::EUCLIDEAN { apart * slope * eta.iter().fold(0.0_f64, |m, x| m.max(*x)) } else { 0.0 };
            let allowed = 32.0 * rounding(&real, &generated, &eta, &opts) + lost_roots;
            prop_assert!((a.loss - b.loss).abs() <= allowed, "{opts:?}: {} vs {}, allowed {allowed}", a.loss, b.loss);
        }
    }

    /// Rows may be scaled at will under cosine, and under cosine only.
    #[test]
    fn cosine_forgets_the_length_of_rows((real, generated, eta) in batches(), scales in prop::collection::vec(positive(), 5)) {
        let mut scaled = real.clone();
        for (mut row, &s) in scaled.rows_mut().into_iter().zip(&scales) {
            row *= s;
        }
        for opts in all_options().filter(|o| o.relation == Relation::COSINE) {
            let (a, b) = (loss(&real, &generated, &eta, &opts), loss(&scaled, &generated, &eta, &opts));
            prop_assert!((a.loss - b.loss).abs() <= rounding(&real, &generated, &eta, &opts));
            // The gradient shrinks as its row grows, and is orthogonal to it.
            for (i, &s) in (0..real.nrows()).zip(&scales) {
                let size = a.grad_real.iter().fold(0.0_f64, |m, x| m.max(x.abs())) + a.loss + 1.0;
                for k in 0..real.ncols() {
                    if opts.distance == Distance::SQUARED {
                        assert_near(b.grad_real[[i, k]] * s, a.grad_real[[i, k]], size, 1e5);
                    }
                }
                let along = a.grad_real.row(i).dot(&real.row(i));
                assert_near(along, 0.0, size * (1.0 + real.row(i).dot(&real.row(i))), 1e3);
            }
        }
    }

    /// Equal affinities: S = 0 and no gradient, although the features differ.
    #[test]
    fn loss_vanishes_where_affinities_agree((real, _, eta) in batches()) {
        for opts in all_options() {
            let at = loss(&real, &real, &eta, &opts);
            prop_assert_eq!(at.loss, 0.0);
            prop_assert!(at.grad_generated.iter().chain(&at.grad_real).all(|&g| g == 0.0));
            // A reflection is exact in floating point.
            prop_assert_eq!(loss(&real, &-&real, &eta, &opts).loss, 0.0);
        }
    }

    /// … and only there: every pair of affinities counts.
    #[test]
    fn loss_vanishes_nowhere_else((real, generated, eta) in batches()) {
        for opts in all_options() {
            let at = loss(&real, &generated, &eta, &opts);
            prop_assert!(at.loss >= 0.0);
            let mut apart = (&at.affinity_real - &at.affinity_generated).mapv(f64::abs);
            if opts.diagonal == Diagonal::Exclude {
                apart.diag_mut().fill(0.0);
            }
            // A difference between the two underflows when it is squared.
            if apart.iter().all(|&e| e == 0.0) {
                prop_assert_eq!(at.loss, 0.0, "{:?}", opts);
            } else if apart.iter().any(|&e| e > 1e-150) {
                prop_assert!(at.loss > 0.0, "{opts:?}");
            }
        }
    }

    /// V = (1 − 1/B) U where the diagonals agree.
    #[test]
    fn diagonal_cancels_where_it_is_constant((real, generated, eta) in batches()) {
        let b = real.nrows() as f64;
        for opts in all_options().filter(|o| o.relation != Relation::INNER_PRODUCT && o.diagonal == Diagonal::Include) {
            let v = loss(&real, &generated, &eta, &opts);
            let u = loss(&real, &generated, &eta, &StructureOptions { diagonal: Diagonal::Exclude, ..opts });
            assert_close(v.loss, (1.0 - 1.0 / b) * u.loss, 16.0);
            assert_all_close(&v.grad_real, &(&u.grad_real * (1.0 - 1.0 / b)), 1e4);
        }
    }

    /// E1 of the errata: S(cΨ, cΨ̂) = c⁴ S for the inner product, to the bit for c a power of 2.
    #[test]
    fn inner_product_loss_is_homogeneous_of_degree_four((real, generated, eta) in batches(), k in -3i32..=3) {
        let c = 2.0_f64.powi(k);
        for diagonal in Diagonal::ALL {
            let opts = options(Relation::INNER_PRODUCT, Distance::SQUARED, diagonal);
            let (one, scaled) = (loss(&real, &generated, &eta, &opts), loss(&(&real * c), &(&generated * c), &eta, &opts));
            prop_assert_eq!(one.loss * c.powi(4), scaled.loss);
            prop_assert_eq!(&one.grad_real * c.powi(3), scaled.grad_real);
            // Euler: ⟨∂S/∂Ψ, Ψ⟩ + ⟨∂S/∂Ψ̂, Ψ̂⟩ = 4 S.
            let euler = (&one.grad_real * &real).sum() + (&one.grad_generated * &generated).sum();
            let size = (&one.grad_real * &real).mapv(f64::abs).sum() + (&one.grad_generated * &generated).mapv(f64::abs).sum();
            assert_near(euler, 4.0 * one.loss, size + one.loss, 4096.0);
        }
    }

    /// The printed gradient: ∂S/∂Ψ̂ = (4η/B²)(Ĝ − G)Ψ̂ and ∂S/∂Ψ = (4η/B²)(G − Ĝ)Ψ.
    #[test]
    fn inner_product_gradient_is_the_printed_one((real, generated, eta) in batches()) {
        let factor = 4.0 * eta[0] / (real.nrows() as f64).powi(2);
        let e = real.dot(&real.t()) - generated.dot(&generated.t());
        let got = loss(&real, &generated, &eta[..1], &options(Relation::INNER_PRODUCT, Distance::SQUARED, Diagonal::Include));
        let size = 1.0 + factor * real.iter().chain(&generated).fold(0.0_f64, |m, x| m.max(x.abs())).powi(3) * 20.0;
        for (got, want) in got.grad_real.iter().zip(&(e.dot(&real) * factor)) {
            assert_near(*got, *want, size, 64.0);
        }
        for (got, want) in got.grad_generated.iter().zip(&(e.dot(&generated) * -factor)) {
            assert_near(*got, *want, size, 64.0);
        }
    }

    #[test]
    fn eta_of_snr_is_between_zero_and_one(t in 0.0f64..=1.0) {
        for kind in ScheduleKind::all() {
            let schedule = kind.schedule();
            let got = eta(Eta::SNR, t, 0.01, schedule.as_ref()).expect("inside the domain");
            prop_assert!((0.0..=1.0).contains(&got));
            let snr = schedule.snr(t);
            if snr.is_finite() {
                assert_close(got, snr / (1.0 + snr), 32.0);
            }
        }
    }
}

/// √η_i √η_i is not η_i in floating point (√3² = 3 − 4e-16); a sample's own weight is η_i itself.
#[test]
fn a_sample_meets_itself_with_its_own_weight() {
    let real = array![[1.0, 0.0], [0.0, 1.0]];
    let generated = array![[2.0, 0.0], [0.0, 1.0]];
    let options = StructureOptions {
        relation: Relation::INNER_PRODUCT,
        ..StructureOptions::default()
    };
    let answer = structural_loss(&real, &generated, &[3.0, 4.0], &options).expect("two batches");
    assert_eq!(answer.loss.to_bits(), (3.0_f64 / 4.0 * 9.0).to_bits());
}
