//! The laws against each other, against quadrature, differences of their own densities, and simulation.

use ndarray::{Array1, Array2, array};
use sadm_reference::relation::Relation;
use sadm_theory::laws::relation_oracle::{Finite, Pairs};
use sadm_theory::laws::{
    FiniteLaw, GaussianLaw, LawError, MixtureLaw, Observation, PairScore, SmoothPosterior,
};
use sadm_theory::rounding::Rounded;
use statrs::distribution::{Beta, ContinuousCDF, Normal};

const ALPHA: f64 = 0.8;
const SIGMA: f64 = 0.6;
const X: [f64; 2] = [0.4, -0.7];
fn kinds() -> impl Iterator<Item = Relation> {
    Relation::all().map(|kind| kind.with(1.25))
}
/// Each Monte-Carlo comparison fails by chance with at most this probability.
const DELTA: f64 = 1e-9;

/// Formulas of some forty operations on numbers and exponents below 16, in f64 without bounds of their own.
const PLAIN: f64 = 40.0 * 16.0 * f64::EPSILON;

fn near(got: f64, want: f64, allowed: f64, what: &str) {
    assert!(
        (got - want).abs() <= allowed,
        "{what}: {got} is {:e} from {want}, allowed {allowed:e}",
        got - want
    );
}

fn correlated() -> GaussianLaw {
    GaussianLaw::new(array![0.5, -1.0], &array![[1.5, 0.6], [0.6, 0.75]]).expect("a covariance")
}

fn mixture() -> MixtureLaw {
    let other = GaussianLaw::new(array![-1.5, 0.25], &array![[0.5, -0.25], [-0.25, 1.0]]);
    MixtureLaw::new(
        vec![correlated(), other.expect("a covariance")],
        vec![3.0, 1.0],
    )
    .expect("a mixture")
}

fn atoms() -> FiniteLaw {
    let atoms = array![[0.5, -1.0], [-1.5, 0.25], [1.0, 1.25]];
    FiniteLaw::new(atoms, vec![0.5, 1.0, 0.25]).expect("a law")
}

fn same(got: &SmoothPosterior, want: &SmoothPosterior) {
    let all = |p: &SmoothPosterior| -> Vec<f64> {
        let vectors = p.mean.iter().chain(&p.score).chain(&p.covariance);
        vectors.copied().chain([p.log_density]).collect()
    };
    for (g, w) in all(got).into_iter().zip(all(want)) {
        near(g, w, PLAIN, "posterior");
    }
}

#[test]
fn a_mixture_of_one_is_its_component() -> Result<(), LawError> {
    let one = MixtureLaw::new(vec![correlated()], vec![0.3])?;
    let (weights, posterior) = one.posterior(&X, ALPHA, SIGMA)?;
    assert_eq!(weights, array![1.0]);
    same(&posterior, &correlated().posterior(&X, ALPHA, SIGMA)?);
    // Two equal components are one.
    let twice = MixtureLaw::new(vec![correlated(), correlated()], vec![0.3, 1.7])?;
    let (weights, posterior) = twice.posterior(&X, ALPHA, SIGMA)?;
    near(weights[1], 0.85, PLAIN, "weight");
    same(&posterior, &correlated().posterior(&X, ALPHA, SIGMA)?);
    assert_eq!((twice.components().len(), twice.prior().len()), (2, 2));
    Ok(())
}

/// Variance 0 is the finite law; variance v differs from it by O(v), here less than 100 v.
#[test]
fn a_mixture_of_points_is_the_finite_law() -> Result<(), LawError> {
    let law = atoms();
    let want = law.posterior(&X, ALPHA, SIGMA)?;
    for variance in [0.0, 1e-7] {
        let points = law
            .atoms()
            .rows()
            .into_iter()
            .map(|a| GaussianLaw::isotropic(a.to_owned(), variance))
            .collect::<Result<_, _>>()?;
        let (weights, got) =
            MixtureLaw::new(points, law.prior().to_vec())?.posterior(&X, ALPHA, SIGMA)?;
        let check = |got: f64, want: Rounded| {
            near(
                got,
                want.value,
                want.error + PLAIN + 100.0 * variance,
                "limit",
            );
        };
        weights
            .iter()
            .zip(&want.weights)
            .for_each(|(&g, &w)| check(g, w));
        got.mean
            .iter()
            .zip(&want.mean)
            .for_each(|(&g, &w)| check(g, w));
        got.score
            .iter()
            .zip(&want.score)
            .for_each(|(&g, &w)| check(g, w));
        let pairs = got.covariance.iter().zip(&want.covariance);
        pairs.for_each(|(&g, &w)| check(g, w));
        check(got.log_density, want.log_density);
    }
    Ok(())
}

/// In one dimension against the scalar formulas on tracked numbers.
#[test]
fn a_gaussian_is_its_scalar_formulas() -> Result<(), LawError> {
    let (m, c, x) = (0.7, 1.9, 2.3);
    let got = GaussianLaw::new(array![m], &array![[c]])?.posterior(&[x], ALPHA, SIGMA)?;
    let exact = Rounded::exact;
    let v = exact(ALPHA).square() * c + exact(SIGMA).square();
    let z = exact(x) - exact(ALPHA) * m;
    let mean = exact(m) + exact(ALPHA) * c * z / v;
    let covariance = exact(c) - (exact(ALPHA) * c).square() / v;
    let tau = Rounded::within(std::f64::consts::TAU, f64::EPSILON * 4.0);
    let log_density = -((z.square() / v + (tau * v).ln()) * 0.5);
    for (got, want) in [
        (got.mean[0], mean),
        (got.covariance[[0, 0]], covariance),
        (got.score[0], -(z / v)),
        (got.log_density, log_density),
    ] {
        near(got, want.value, want.error + PLAIN, "scalar formula");
    }
    Ok(())
}

/// The trapezoidal rule on the line converges geometrically for these entire integrands: at step 1/32 its error is
/// below exp(−2π² v 32²) for a factor of variance v ≥ 0.1.
#[test]
fn quadrature_agrees_in_one_dimension() -> Result<(), LawError> {
    let parts = [(0.75, -1.0, 0.5), (0.25, 1.5, 1.25)];
    let components = parts
        .iter()
        .map(|&(_, m, c)| GaussianLaw::new(array![m], &array![[c]]))
        .collect::<Result<_, _>>()?;
    let law = MixtureLaw::new(components, parts.iter().map(|p| p.0).collect())?;
    let normal = |x: f64, m: f64, v: f64| {
        (-(x - m) * (x - m) / (2.0 * v)).exp() / (std::f64::consts::TAU * v).sqrt()
    };
    for x in [-0.6, 0.9] {
        let moment = |f: &dyn Fn(f64) -> f64| -> f64 {
            let at = |k: i32| {
                let x0 = f64::from(k) / 32.0;
                let density: f64 = parts.iter().map(|&(p, m, c)| p * normal(x0, m, c)).sum();
                density * normal(x, ALPHA * x0, SIGMA * SIGMA) * f(x0) / 32.0
            };
            (-512..=512).map(at).sum()
        };
        let total = moment(&|_| 1.0);
        let mean = moment(&|x0| x0) / total;
        let variance = moment(&|x0| (x0 - mean).powi(2)) / total;
        let score = moment(&|x0| (ALPHA * x0 - x) / (SIGMA * SIGMA)) / total;
        let (_, got) = law.posterior(&[x], ALPHA, SIGMA)?;
        near(got.log_density, total.ln(), 1e-13, "log density");
        near(got.mean[0], mean, 1e-13, "mean");
        near(got.covariance[[0, 0]], variance, 1e-13, "variance");
        near(got.score[0], score, 1e-13, "score");
    }
    Ok(())
}

type Ask<'a> = &'a dyn Fn(&[f64]) -> Result<SmoothPosterior, LawError>;

/// Central differences with h = 2⁻¹²: h² times a third derivative below 16, and rounding of about u·8/h.
#[test]
fn scores_are_gradients_and_obey_tweedie() -> Result<(), LawError> {
    let step = 1.0 / 4096.0;
    let allowed = step * step * 16.0 + 8.0 * f64::EPSILON / step;
    let (gaussian, mixture) = (correlated(), mixture());
    let asks: [Ask; 2] = [&|x| gaussian.posterior(x, ALPHA, SIGMA), &|x| {
        Ok(mixture.posterior(x, ALPHA, SIGMA)?.1)
    }];
    for ask in asks {
        let here = ask(&X)?;
        for i in 0..2 {
            let moved = |by: f64| {
                let mut x = X;
                x[i] += by;
                ask(&x)
            };
            let (up, down) = (moved(step)?, moved(-step)?);
            let slope = (up.log_density - down.log_density) / (2.0 * step);
            near(here.score[i], slope, allowed, "score");
            let tweedie = (ALPHA * here.mean[i] - X[i]) / (SIGMA * SIGMA);
            near(here.score[i], tweedie, PLAIN, "Tweedie");
            // The Jacobian of the denoiser is α/σ² times the posterior covariance.
            for j in 0..2 {
                let jacobian = (up.mean[j] - down.mean[j]) / (2.0 * step);
                let want = ALPHA / (SIGMA * SIGMA) * here.covariance[[j, i]];
                near(jacobian, want, allowed, "Jacobian");
            }
        }
    }
    Ok(())
}

#[test]
fn noising_a_gaussian_moves_its_moments() -> Result<(), LawError> {
    let noised = correlated().noised(ALPHA, SIGMA)?;
    let want =
        correlated().covariance() * (ALPHA * ALPHA) + Array2::<f64>::eye(2) * (SIGMA * SIGMA);
    for (g, w) in noised.covariance().iter().zip(&want) {
        near(*g, *w, PLAIN, "covariance");
    }
    assert_eq!(noised.mean(), &(array![0.5, -1.0] * ALPHA));
    Ok(())
}

/// Exact cases, the 2 × 2 closed form Tr (C₁^{1/2}C₂C₁^{1/2})^{1/2} = √(tr C₁C₂ + 2√(det C₁ det C₂)), and an equal pair.
#[test]
fn wasserstein_distances_are_exact() -> Result<(), LawError> {
    let law = |m: Array1<f64>, c: Array2<f64>| GaussianLaw::new(m, &c);
    let a = law(array![1.0, 2.0], array![[4.0, 0.0], [0.0, 9.0]])?;
    let b = law(array![0.0, 4.0], array![[1.0, 0.0], [0.0, 16.0]])?;
    near(
        a.wasserstein2_squared(&b)?,
        5.0 + 1.0 + 1.0,
        PLAIN,
        "commuting",
    );
    let flat = law(array![1.0, 2.0], array![[1.0, 1.0], [1.0, 1.0]])?;
    let other = law(array![1.0, 2.0], array![[2.0, -2.0], [-2.0, 2.0]])?;
    // Orthogonal supports share nothing: 2 + 4.
    near(flat.wasserstein2_squared(&other)?, 6.0, PLAIN, "rank one");
    let c = array![[1.5, 0.6], [0.6, 0.75]];
    let d = array![[0.5, -0.25], [-0.25, 1.0]];
    let det = |c: &Array2<f64>| c[[0, 0]] * c[[1, 1]] - c[[0, 1]] * c[[1, 0]];
    let root = (c.dot(&d).diag().sum() + 2.0 * (det(&c) * det(&d)).sqrt()).sqrt();
    let want = 3.75 - 2.0 * root;
    let (c, d) = (law(array![0.0, 0.0], c)?, law(array![0.0, 0.0], d)?);
    near(c.wasserstein2_squared(&d)?, want, PLAIN, "general");
    near(d.wasserstein2_squared(&c)?, want, PLAIN, "symmetric");
    assert!(c.wasserstein2_squared(&c)? <= PLAIN * PLAIN);
    let (ab, bc, ac) = (
        a.wasserstein2_squared(&c)?.sqrt(),
        c.wasserstein2_squared(&b)?.sqrt(),
        a.wasserstein2_squared(&b)?.sqrt(),
    );
    assert!(ac <= ab + bc);
    let line = GaussianLaw::isotropic(array![0.0], 1.0)?;
    assert!(matches!(
        line.wasserstein2_squared(&a),
        Err(LawError::PointLength {
            dimension: 1,
            got: 2
        })
    ));
    Ok(())
}

/// Uniform numbers in (0, 1) from a fixed seed (SplitMix64).
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((z ^ (z >> 31)) >> 11) as f64 + 0.5) / 9_007_199_254_740_992.0
    }
    fn normal(&mut self) -> f64 {
        Normal::standard().inverse_cdf(self.uniform())
    }
}

/// Counts the samples x with uᵀx ≤ line against the exact probability, by the Clopper–Pearson interval at level 1 − 1e-9.
fn share_is(samples: &Array2<f64>, u: &Array1<f64>, line: f64, exact: f64) {
    let all = samples.nrows() as f64;
    let below = samples.dot(u).iter().filter(|&&s| s <= line).count() as f64;
    let bound = |a: f64, b: f64, q: f64| Beta::new(a, b).expect("a beta law").inverse_cdf(q);
    let low = bound(below, all - below + 1.0, DELTA / 2.0);
    let high = bound(below + 1.0, all - below, 1.0 - DELTA / 2.0);
    assert!(low <= exact && exact <= high, "{low} ≤ {exact} ≤ {high}");
    assert!(high - low < 0.05, "{low} to {high}");
}

/// statrs against `fixtures/quantiles.py` (mpmath, 50 digits) over the range in which it is called here.
#[test]
fn the_laws_we_count_with_are_right() {
    let suite: serde_json::Value =
        serde_json::from_str(include_str!("../../fixtures/quantiles.json")).expect("JSON");
    let tests = |name: &str| suite[name].as_array().expect("tests").clone();
    let normal = Normal::standard();
    let check = |what: &str, got: f64, want: f64, relative: f64| {
        let error = (got - want).abs() / want.abs();
        assert!(
            got.to_bits() == want.to_bits() || error <= relative,
            "{what}: got {got}, want {want}: {error:e}"
        );
    };
    let (mut counted, number) = (0, |test: &serde_json::Value, key| {
        test[key].as_f64().expect("a number")
    });
    for test in tests("normal") {
        let (x, below) = (number(&test, "x"), number(&test, "below"));
        // Its erfc has ten digits, which a count among 20,000 does not see.
        check(&format!("Φ({x})"), normal.cdf(x), below, 1e-10);
        counted += 1;
    }
    for test in tests("normal_quantile") {
        let (below, x) = (number(&test, "below"), number(&test, "x"));
        check(
            &format!("Φ⁻¹({below})"),
            normal.inverse_cdf(below),
            x,
            1e-14,
        );
        counted += 1;
    }
    for test in tests("beta_quantile") {
        let [a, b, below, x] = ["a", "b", "below", "x"].map(|key| number(&test, key));
        let got = Beta::new(a, b).expect("a beta law").inverse_cdf(below);
        check(&format!("Beta({a}, {b}) at {below}"), got, x, 1e-12);
        counted += 1;
    }
    assert_eq!(counted, 53);
}

/// The law of uᵀx_0.
fn along(law: &GaussianLaw, u: &Array1<f64>) -> Normal {
    let spread = u.dot(&law.covariance().dot(u)).sqrt();
    Normal::new(u.dot(law.mean()), spread).expect("a normal law")
}

#[test]
fn mixture_samples_have_the_law() -> Result<(), LawError> {
    const N: usize = 20_000;
    let mut random = Random(20_240_917);
    let uniform: Vec<f64> = (0..N).map(|_| random.uniform()).collect();
    let z = Array2::from_shape_simple_fn((N, 2), || random.normal());
    let law = mixture();
    let samples = law.sample(&uniform, &z)?;
    for (direction, line) in [([1.0, 0.0], 0.2), ([0.6, 0.8], -0.5), ([-0.6, 0.8], -0.3)] {
        let u = Array1::from(direction.to_vec());
        let exact: f64 = law
            .components()
            .iter()
            .zip(law.prior())
            .map(|(c, p)| p * along(c, &u).cdf(line))
            .sum();
        share_is(&samples, &u, line, exact);
    }
    Ok(())
}

/// E[(1{x_0 = a_k} − w_k(x_t)) h] = 0 and E[1{r ≤ c} − E[Φ((c − R)/γ)|y_t]] = 0 for simulated pairs: means of
/// numbers in [−1, 1], by Hoeffding's inequality within √(2 ln(2/δ)/N) except with probability δ = 1e-9.
#[test]
fn posteriors_are_calibrated() -> Result<(), LawError> {
    const N: u32 = 20_000;
    let mut random = Random(7);
    let law = atoms();
    let seen = Observation {
        relation: Relation::INNER_PRODUCT,
        r: 0.0,
        gamma: 0.9,
    };
    let over_atoms = law.relation_over_atoms(seen.relation)?;
    let draw = |random: &mut Random| -> (usize, Vec<f64>) {
        let u = 1.75 * random.uniform();
        let k = if u < 0.5 {
            0
        } else if u < 1.5 {
            1
        } else {
            2
        };
        let x = law
            .atoms()
            .row(k)
            .mapv(|a| ALPHA * a + SIGMA * random.normal());
        (k, x.to_vec())
    };
    let (mut weight, mut relation, mut tilted) = (0.0, 0.0, 0.0);
    for _ in 0..N {
        let ((k, yi), (l, yj)) = (draw(&mut random), draw(&mut random));
        let pair = law.pair(&yi, &yj, ALPHA, SIGMA)?;
        let first = if k == 0 { 1.0 } else { 0.0 };
        if yi[0] < 0.3 {
            weight += first - pair.first[0].value;
        }
        let r = over_atoms[[k, l]].value + seen.gamma * random.normal();
        let below = |m: Rounded| {
            let normal = Normal::new(m.value, seen.gamma).expect("a normal law");
            Rounded::exact(normal.cdf(0.4))
        };
        let predicted = pair.expectation(|k, l| below(over_atoms[[k, l]])).value;
        relation += if r <= 0.4 { 1.0 } else { 0.0 } - predicted;
        let given = pair.given(&Observation { r, ..seen }, &over_atoms)?;
        if r > 0.0 {
            tilted += first - given.first()[0].value;
        }
    }
    let allowed = (2.0 * (2.0 / DELTA).ln() / f64::from(N)).sqrt();
    for (sum, what) in [
        (weight, "weight"),
        (relation, "relation"),
        (tilted, "tilted weight"),
    ] {
        near(sum / f64::from(N), 0.0, allowed, what);
    }
    Ok(())
}

/// ∇ ln q_t(r|y_t) and ∇ ln g(r|R(x̂, x̂)) against central differences, for every relation.
#[test]
fn relation_scores_are_gradients() -> Result<(), LawError> {
    let law = atoms();
    let (step, points) = (1.0 / 4096.0, [[0.4, -0.7], [-0.9, 0.8]]);
    let allowed = step * step * 64.0 + 64.0 * f64::EPSILON / step;
    for kind in kinds() {
        let seen = Observation {
            relation: kind,
            r: 0.35,
            gamma: 0.8,
        };
        let over_atoms = law.relation_over_atoms(kind)?;
        let exact = |y: &[[f64; 2]; 2]| -> Result<f64, LawError> {
            let pair = law.pair(&y[0], &y[1], ALPHA, SIGMA)?;
            Ok(pair.given(&seen, &over_atoms)?.log_density.value)
        };
        let plug_in = |y: &[[f64; 2]; 2]| -> Result<f64, LawError> {
            let mean = |y: &[f64; 2]| law.posterior(y, ALPHA, SIGMA).map(|p| p.mean);
            let both: [Vec<Rounded>; 2] = [mean(&y[0])?, mean(&y[1])?];
            let r = sadm_theory::laws::relation::relation(kind, &both[0], &both[1]);
            Ok(seen.density(r).ln().value)
        };
        let parts = |s: PairScore| [s.first, s.second];
        let scores = [
            parts(law.relation_score(&points[0], &points[1], ALPHA, SIGMA, &seen)?),
            parts(law.plug_in_score(&points[0], &points[1], ALPHA, SIGMA, &seen)?),
        ];
        for s in 0..2 {
            for i in 0..2 {
                let moved = |by: f64| {
                    let mut y = points;
                    y[s][i] += by;
                    y
                };
                let (up, down) = (moved(step), moved(-step));
                for (score, f) in scores.iter().zip([
                    &exact as &dyn Fn(&[[f64; 2]; 2]) -> Result<f64, LawError>,
                    &plug_in,
                ]) {
                    let slope = (f(&up)? - f(&down)?) / (2.0 * step);
                    near(score[s][i].value, slope, allowed, "relation score");
                    assert!(score[s][i].error < 1e-11);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_batch_of_two_is_a_pair_and_of_three_a_product() -> Result<(), LawError> {
    let law = atoms();
    let kind = Relation::SQUARED_EUCLIDEAN;
    let over_atoms = law.relation_over_atoms(kind)?;
    let points = array![[0.4, -0.7], [-0.9, 0.8], [0.1, 0.2]];
    let two = points.select(ndarray::Axis(0), &[0, 1]);
    let row = |b: usize| points.row(b).to_vec();
    let seen = Observation {
        relation: kind,
        r: 2.5,
        gamma: 1.25,
    };
    let pair = law.pair(&row(0), &row(1), ALPHA, SIGMA)?;
    let want = pair.given(&seen, &over_atoms)?;
    let batch = law.batch(&two, ALPHA, SIGMA)?;
    let got = law.batch_relation(&batch, kind, &[2.5], 1.25)?;
    let close = |got: Rounded, want: Rounded| {
        near(got.value, want.value, got.error + want.error, "batch");
    };
    close(got.log_density, want.log_density);
    close(
        got.log_density.exp(),
        pair.relation_density(2.5, &over_atoms.mapv(|m| m.value), 1.25)?,
    );
    for (b, tilted) in [want.first(), want.second()].into_iter().enumerate() {
        for (k, w) in tilted.into_iter().enumerate() {
            close(got.weights[[b, k]], w);
        }
    }
    // Three points: the order of r is (0,1), (0,2), (1,2).
    let r = [2.5, 0.5, 4.0];
    let got = law
        .batch(&points, ALPHA, SIGMA)?
        .given(&r, &over_atoms, 1.25)?;
    let weights: Vec<_> = (0..3)
        .map(|b| Ok(law.posterior(&row(b), ALPHA, SIGMA)?.weights))
        .collect::<Result<_, LawError>>()?;
    let g = |r: f64, k: usize, l: usize| Observation { r, ..seen }.density(over_atoms[[k, l]]);
    let mut total = Rounded::exact(0.0);
    let mut last = Rounded::exact(0.0);
    for i in 0..3 {
        for j in 0..3 {
            for k in 0..3 {
                let term = weights[0][i]
                    * weights[1][j]
                    * weights[2][k]
                    * (g(r[0], i, j) * g(r[1], i, k) * g(r[2], j, k));
                total = total + term;
                if k == 1 {
                    last = last + term;
                }
            }
        }
    }
    close(got.log_density, total.ln());
    close(got.weights[[2, 1]], last / total);
    Ok(())
}

/// The score of a batch: for two points the pair's, within both bounds; for three, central differences of the log density in
/// every coordinate, with the truncation and rounding of [`relation_scores_are_gradients`].
#[test]
fn batch_scores_are_gradients() -> Result<(), LawError> {
    let law = atoms();
    let points = array![[0.4, -0.7], [-0.9, 0.8], [0.1, 0.2]];
    let r = [2.5, 0.5, 4.0];
    let step = 1.0 / 4096.0;
    let allowed = step * step * 64.0 + 64.0 * f64::EPSILON / step;
    for kind in kinds() {
        let over_atoms = law.relation_over_atoms(kind)?;
        let log_density = |points: &Array2<f64>| -> Result<f64, LawError> {
            let batch = law.batch(points, ALPHA, SIGMA)?;
            Ok(batch.given(&r, &over_atoms, 1.25)?.log_density.value)
        };
        let score = law.batch_score(&points, ALPHA, SIGMA, kind, &r, 1.25)?;
        for ((b, i), got) in score.indexed_iter() {
            let moved = |by: f64| {
                let mut points = points.clone();
                points[[b, i]] += by;
                log_density(&points)
            };
            let slope = (moved(step)? - moved(-step)?) / (2.0 * step);
            near(got.value, slope, allowed, "batch score");
            assert!(got.error < 1e-11, "{got:?}");
        }
        let two = points.select(ndarray::Axis(0), &[2, 1]);
        let seen = Observation {
            relation: kind,
            r: 0.5,
            gamma: 0.8,
        };
        let (yi, yj) = (two.row(0).to_vec(), two.row(1).to_vec());
        let pair = law.relation_score(&yi, &yj, ALPHA, SIGMA, &seen)?;
        let batch = law.batch_score(&two, ALPHA, SIGMA, kind, &[0.5], 0.8)?;
        for (got, want) in batch.iter().zip(pair.first.iter().chain(&pair.second)) {
            near(got.value, want.value, got.error + want.error, "pair");
        }
        assert!(batch.iter().any(|s| s.value.abs() > 0.01), "{kind}");
    }
    let short = law.batch_score(&points, ALPHA, SIGMA, Relation::COSINE, &[0.5], 1.0);
    assert!(matches!(short, Err(LawError::Batch { got: 1, .. })));
    Ok(())
}

#[test]
fn batches_refuse_what_does_not_fit() -> Result<(), LawError> {
    let law = atoms();
    let relation = law.relation_over_atoms(Relation::INNER_PRODUCT)?;
    let batch = law.batch(&Array2::zeros((3, 2)), ALPHA, SIGMA)?;
    let wrong = [
        batch.given(&[0.0; 2], &relation, 1.0),
        batch.given(&[0.0; 3], &relation, 0.0),
        batch.given(&[0.0, f64::NAN, 0.0], &relation, 1.0),
        batch.given(&[0.0; 3], &Array2::from_elem((2, 2), 0.0.into()), 1.0),
        law.batch(&Array2::zeros((1, 2)), ALPHA, SIGMA)?
            .given(&[], &relation, 1.0),
    ];
    let words = [
        "got 3 points and 2",
        "gamma",
        "relation 1",
        "[3, 3]",
        "got 1 points",
    ];
    for (result, word) in wrong.into_iter().zip(words) {
        let message = result.expect_err("must be refused").to_string();
        assert!(message.contains(word), "{message}");
    }
    assert!(law.batch(&Array2::zeros((10, 2)), ALPHA, SIGMA).is_ok()); // 3^10 = 59049
    assert!(matches!(
        law.batch(&Array2::zeros((11, 2)), ALPHA, SIGMA),
        Err(LawError::TooManyProducts {
            atoms: 3,
            points: 11,
            ..
        })
    ));
    Ok(())
}

#[test]
fn laws_refuse_what_is_not_one() {
    let law = |c: Array2<f64>| GaussianLaw::new(array![0.0, 1.0], &c).map(|_| ());
    let message = |r: Result<(), LawError>| r.expect_err("must be refused").to_string();
    assert!(message(law(array![[1.0, 2.0], [2.0, 1.0]])).contains("eigenvalue"));
    assert!(message(law(array![[1.0, 0.5], [0.25, 1.0]])).contains("0.25"));
    assert!(message(law(array![[1.0, f64::NAN], [f64::NAN, 1.0]])).contains("NaN"));
    assert!(message(law(Array2::eye(3))).contains("[3, 3]"));
    assert!(law(array![[1.0, 1.0], [1.0, 1.0]]).is_ok());
    assert!(GaussianLaw::new(array![f64::NAN], &array![[1.0]]).is_err());
    assert!(GaussianLaw::new(Array1::zeros(0), &Array2::zeros((0, 0))).is_err());
    let line = GaussianLaw::isotropic(array![0.0], 1.0).expect("a law");
    assert!(line.posterior(&[0.0], 1.0, 0.0).is_err() && line.noised(1.0, -1.0).is_err());
    assert!(line.posterior(&[0.0, 1.0], 1.0, 1.0).is_err());
    assert!(line.sample(&Array2::zeros((3, 2))).is_err());
    let mixed = MixtureLaw::new(vec![line.clone(), correlated()], vec![1.0, 1.0]);
    assert!(matches!(mixed, Err(LawError::Shape { .. })));
    assert!(MixtureLaw::new(vec![], vec![]).is_err());
    assert!(MixtureLaw::new(vec![line.clone()], vec![-1.0]).is_err());
    let one = MixtureLaw::new(vec![line], vec![1.0]).expect("a law");
    assert!(one.sample(&[0.5], &Array2::zeros((2, 1))).is_err());
}

const ROW_ALPHA: [f64; 2] = [0.8, 0.5];
const ROW_SIGMA: [f64; 2] = [0.6, 1.25];
const ROW_R: [f64; 2] = [0.3, -0.4];
/// The r of a batch is in its rows; this one must not be read.
const SEEN: Observation = Observation {
    relation: Relation::COSINE,
    r: f64::NAN,
    gamma: 0.8,
};

fn two_pairs() -> (Array2<f64>, Array2<f64>) {
    (
        array![[0.4, -0.7], [1.0, 0.5]],
        array![[-0.9, 0.8], [0.2, 0.1]],
    )
}

fn asked<'a>(yi: &'a Array2<f64>, yj: &'a Array2<f64>) -> Pairs<'a> {
    Pairs {
        yi,
        yj,
        r: &ROW_R,
        observation: SEEN,
    }
}

fn by_rows(law: &FiniteLaw) -> Finite<'_> {
    Finite {
        law,
        alpha: &ROW_ALPHA,
        sigma: &ROW_SIGMA,
    }
}

/// The oracle's answers are the law's, row by row and to the bit.
#[test]
fn the_oracle_answers_by_rows() -> Result<(), LawError> {
    let law = atoms();
    let (yi, yj) = two_pairs();
    let posterior = by_rows(&law).posterior(&yi)?;
    let scores = by_rows(&law).relation_score(&asked(&yi, &yj))?;
    for row in 0..2 {
        let (alpha, sigma) = (ROW_ALPHA[row], ROW_SIGMA[row]);
        let (first, second) = (yi.row(row).to_vec(), yj.row(row).to_vec());
        let p = law.posterior(&first, alpha, sigma)?;
        let seen = Observation {
            r: ROW_R[row],
            ..SEEN
        };
        let exact = law.relation_score(&first, &second, alpha, sigma, &seen)?;
        let plug_in = law.plug_in_score(&first, &second, alpha, sigma, &seen)?;
        for (got, want) in [
            (posterior.weights[[row, 2]], p.weights[2]),
            (posterior.mean[[row, 0]], p.mean[0]),
            (posterior.covariance[[row, 0, 1]], p.covariance[[0, 1]]),
            (posterior.score[[row, 1]], p.score[1]),
            (posterior.log_density[row], p.log_density),
            (scores.grad_yi[[row, 1]], exact.first[1]),
            (scores.grad_yj[[row, 0]], exact.second[0]),
            (scores.plug_in_grad_yi[[row, 0]], plug_in.first[0]),
            (scores.plug_in_grad_yj[[row, 1]], plug_in.second[1]),
        ] {
            near(got, want.value, 0.0, "oracle");
        }
    }
    Ok(())
}

/// The terms of Eq. 14 with cos(x̂_i, x̂_j), g and w(γ) written out.
#[test]
fn the_oracle_splits_the_relation_error() -> Result<(), LawError> {
    let law = atoms();
    let (yi, yj) = two_pairs();
    let (finite, pairs) = (by_rows(&law), asked(&yi, &yj));
    let jensen = finite.jensen(&pairs, None)?;
    let (first, second) = (finite.posterior(&yi)?.mean, finite.posterior(&yj)?.mean);
    let again = finite.jensen(&pairs, Some((&first, &second)))?;
    let over_atoms = law.relation_over_atoms(Relation::COSINE)?;
    let weight = 1.0 / (std::f64::consts::TAU * std::f64::consts::E * 0.8_f64.powi(4));
    for row in 0..2 {
        let (a, b) = (first.row(row), second.row(row));
        let cosine = a.dot(&b) / (a.dot(&a) * b.dot(&b)).sqrt();
        let misfit = (ROW_R[row] - cosine) / 0.8;
        let plug_in = (-misfit * misfit / 2.0).exp() / (0.8 * std::f64::consts::TAU.sqrt());
        let (y, z) = (yi.row(row).to_vec(), yj.row(row).to_vec());
        let pair = law.pair(&y, &z, ROW_ALPHA[row], ROW_SIGMA[row])?;
        let q_r = pair.relation_density(ROW_R[row], &over_atoms.mapv(|m| m.value), 0.8)?;
        let spread = pair.expectation(|k, l| (over_atoms[[k, l]] - cosine.into()).square());
        let error2 = (q_r.value - plug_in).powi(2);
        for (got, want) in [
            (jensen.q_r[row], q_r.value),
            (jensen.plug_in[row], plug_in),
            (jensen.error2[row], error2),
            (jensen.jensen[row], error2 + jensen.gap[row]),
            (jensen.bound[row], weight * spread.value),
            (again.jensen[row], jensen.jensen[row]),
        ] {
            near(got, want, PLAIN, "Eq. 14");
        }
        assert!(jensen.gap[row] > 0.0 && jensen.jensen[row] <= jensen.bound[row]);
    }
    Ok(())
}

#[test]
fn the_oracle_names_what_it_refuses() {
    let law = atoms();
    let (yi, yj) = (array![[0.4, -0.7]], array![[-0.9, 0.8]]);
    let ask = |alpha: &[f64], sigma: &[f64], r: &[f64], gamma: f64, yj: &Array2<f64>| {
        let finite = Finite {
            law: &law,
            alpha,
            sigma,
        };
        let observation = Observation {
            relation: Relation::COSINE,
            r: 0.0,
            gamma,
        };
        let pairs = Pairs {
            yi: &yi,
            yj,
            r,
            observation,
        };
        let message = finite
            .jensen(&pairs, None)
            .expect_err("must be refused")
            .to_string();
        assert_eq!(
            message,
            finite.relation_score(&pairs).expect_err("too").to_string()
        );
        message
    };
    assert!(ask(&[], &[1.0], &[0.0], 1.0, &yj).contains("alpha must be [1]"));
    assert!(ask(&[1.0], &[1.0; 2], &[0.0], 1.0, &yj).contains("sigma must be [1]"));
    assert!(ask(&[1.0], &[0.0], &[0.0], 1.0, &yj).contains("sigma = 0"));
    assert!(ask(&[1.0], &[1.0], &[], 1.0, &yj).contains("r must be [1]"));
    assert!(ask(&[1.0], &[1.0], &[f64::INFINITY], 1.0, &yj).contains("relation 0"));
    assert!(ask(&[1.0], &[1.0], &[0.0], -1.0, &yj).contains("gamma"));
    assert!(ask(&[1.0], &[1.0], &[0.0], 1.0, &array![[0.0]]).contains("y_j"));
    let zero = FiniteLaw::uniform(array![[0.0, 0.0], [1.0, 0.0]]).expect("a law");
    let refused = zero
        .relation_over_atoms(Relation::COSINE)
        .expect_err("a zero atom");
    assert!(refused.to_string().contains("row 0"), "{refused}");
    let seen = Observation {
        relation: Relation::INNER_PRODUCT,
        r: f64::NAN,
        gamma: 1.0,
    };
    assert!(law.relation_score(&X, &X, 1.0, 1.0, &seen).is_err());
    assert!(law.plug_in_score(&X, &X, 1.0, 1.0, &seen).is_err());
    let finite = Finite {
        law: &law,
        alpha: &[1.0],
        sigma: &[1.0],
    };
    let observation = Observation { r: 0.0, ..seen };
    let pairs = Pairs {
        yi: &yi,
        yj: &yj,
        r: &[0.0],
        observation,
    };
    assert!(finite.jensen(&pairs, Some((&yi, &array![[1.0]]))).is_err());
    assert!(finite.jensen(&pairs, Some((&array![[1.0]], &yi))).is_err());
    let pair = law.pair(&X, &X, 1.0, 1.0).expect("a pair");
    assert!(
        pair.relation_density(0.0, &Array2::zeros((2, 2)), 1.0)
            .is_err()
    );
    assert!(
        pair.relation_density(0.0, &Array2::zeros((3, 3)), 0.0)
            .is_err()
    );
}

/// What a nearly exact relation leaves: Cγ²/(v²C + γ²) of one number, and as much of vᵀx_0 in the plane, where
/// (m, r) and C are those of the test below. To u/γ, the error of a singular value γ of a matrix of size 1.
#[test]
fn nearly_exact_relations_leave_a_variance_with_digits() -> Result<(), LawError> {
    for gamma in [1e-3, 1e-8, 1e-9] {
        for (c, v) in [(0.1, -2.0), (0.7, 0.3), (3.0, 1.7), (1.3, 0.01)] {
            let law = GaussianLaw::new(array![0.75], &array![[c]])?;
            let given = law.given_linear(&[v], 0.4, gamma)?;
            let want = c * gamma * gamma / (v * v * c + gamma * gamma);
            let got = given.covariance()[[0, 0]];
            assert!((got / want - 1.0).abs() < 1e-13, "{got:e} {want:e}");
            let mean = (0.75 * gamma * gamma + c * v * 0.4) / (v * v * c + gamma * gamma);
            near(given.mean()[0], mean, 1e-13, "mean");
        }
        let law = GaussianLaw::new(array![1.0, -0.5], &array![[2.0, 0.5], [0.5, 1.0]])?;
        let v = array![0.75, -1.5];
        let given = law.given_linear(&[v[0], v[1]], 2.0, gamma)?;
        // Rows Sᵀv of C' = SSᵀ: the samples of unit normals, less the mean.
        let spread = (given.sample(&Array2::eye(2))? - given.mean()).dot(&v);
        let before = v.dot(&law.covariance().dot(&v));
        let want = before * gamma * gamma / (before + gamma * gamma);
        let got = spread.dot(&spread);
        assert!((got / want - 1.0).abs() < 1e-14 / gamma, "{got:e} {want:e}");
    }
    Ok(())
}

/// Given vᵀx_0 + γε the precision grows by vvᵀ/γ² and precision times mean by v r/γ²; for a law known exactly nothing changes.
#[test]
fn linear_relations_condition_a_gaussian() {
    let (m, c) = (array![1.0, -0.5], array![[2.0, 0.5], [0.5, 1.0]]);
    let law = GaussianLaw::new(m.clone(), &c).expect("a law");
    let (v, r, gamma) = ([0.75, -1.5], 2.0, 0.5);
    let given = law.given_linear(&v, r, gamma).expect("a law");
    let determinant = c[[0, 0]] * c[[1, 1]] - c[[0, 1]] * c[[1, 0]];
    let inverse = array![[c[[1, 1]], -c[[0, 1]]], [-c[[1, 0]], c[[0, 0]]]] / determinant;
    let weight = 1.0 / (gamma * gamma);
    let outer = array![[v[0] * v[0], v[0] * v[1]], [v[1] * v[0], v[1] * v[1]]];
    let precision = &inverse + &(outer * weight);
    let unit = precision.dot(&given.covariance());
    assert!(
        (unit - Array2::<f64>::eye(2))
            .iter()
            .all(|x| x.abs() < 1e-13)
    );
    let pull = inverse.dot(&m) + array![v[0], v[1]] * (weight * r);
    assert!(
        (precision.dot(given.mean()) - pull)
            .iter()
            .all(|x| x.abs() < 1e-12)
    );
    let point = GaussianLaw::isotropic(m.clone(), 0.0).expect("a law");
    let still = point.given_linear(&v, r, gamma).expect("a law");
    assert_eq!(
        (still.mean(), still.covariance()),
        (&m, Array2::zeros((2, 2)))
    );
    assert!(law.given_linear(&v, r, 0.0).is_err());
    assert!(law.given_linear(&v[..1], r, gamma).is_err());
}

/// The Gaussian alone, as the mixture above: the same rule, at step 1/32; and its samples, by the interval of a share.
#[test]
fn a_gaussian_agrees_with_quadrature_and_its_samples() -> Result<(), LawError> {
    const N: usize = 20_000;
    let (m, c, x) = (0.75, 1.25, -0.6);
    let law = GaussianLaw::new(array![m], &array![[c]])?;
    let moment = |f: &dyn Fn(f64) -> f64| -> f64 {
        let at = |k: i32| {
            let x0 = f64::from(k) / 32.0;
            let exponent =
                (x0 - m).powi(2) / (2.0 * c) + (x - ALPHA * x0).powi(2) / (2.0 * SIGMA * SIGMA);
            (-exponent).exp() * f(x0) / 32.0
        };
        (-512..=512).map(at).sum()
    };
    let total = moment(&|_| 1.0);
    let got = law.posterior(&[x], ALPHA, SIGMA)?;
    let mean = moment(&|x0| x0) / total;
    near(got.mean[0], mean, 1e-13, "mean");
    let variance = moment(&|x0| (x0 - mean).powi(2)) / total;
    near(got.covariance[[0, 0]], variance, 1e-13, "variance");
    let constant = (std::f64::consts::TAU * c.sqrt() * SIGMA).ln();
    near(got.log_density, total.ln() - constant, 1e-13, "log density");

    let mut random = Random(11);
    let law = correlated();
    let z = Array2::from_shape_simple_fn((N, law.mean().len()), || random.normal());
    let samples = law.sample(&z)?;
    // Single coordinates do not see the correlation; of the oblique directions one lies along it and one across.
    for (direction, off) in [
        ([1.0, 0.0], 0.3),
        ([0.0, 1.0], -0.4),
        ([0.6, 0.8], 0.5),
        ([0.6, -0.8], -0.3),
    ] {
        let u = Array1::from(direction.to_vec());
        let line = u.dot(law.mean()) + off;
        share_is(&samples, &u, line, along(&law, &u).cdf(line));
    }
    Ok(())
}
