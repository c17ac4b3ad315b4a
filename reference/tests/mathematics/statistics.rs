//! Intervals and fits: values from scipy, quantiles at 50 digits, laws of least squares.

use proptest::prelude::*;
use sadm_reference::statistics::{StatisticsError, fit_line, mean_interval, student_quantile};

fn close(got: f64, want: f64) {
    assert!(
        (got - want).abs() <= 1e-9 * (1.0 + want.abs()),
        "got {got}, want {want}"
    );
}

/// `fixtures/statistics.py` (scipy): t intervals and `linregress`.
#[test]
fn intervals_agree_with_scipy() {
    let suite: serde_json::Value =
        serde_json::from_str(include_str!("../../../fixtures/statistics.json")).expect("JSON");
    let list = |value: &serde_json::Value| -> Vec<f64> {
        let values = value.as_array().expect("a list").iter();
        values.map(|x| x.as_f64().expect("a number")).collect()
    };
    let number = |value: &serde_json::Value| value.as_f64().expect("a number");
    let tests = suite["tests"].as_array().expect("tests");
    assert!(tests.len() >= 6);
    for test in tests {
        let (level, y) = (number(&test["level"]), list(&test["y"]));
        let got = mean_interval(&y, level).expect("good values");
        close(got.mean, number(&test["mean"]));
        close(got.std, number(&test["std"]));
        close(got.low, number(&test["low"]));
        close(got.high, number(&test["high"]));
        let line = fit_line(&list(&test["x"]), &y, level).expect("good points");
        close(line.slope, number(&test["slope"]));
        close(line.intercept, number(&test["intercept"]));
        close(line.half_width, number(&test["half_width"]));
    }
}

/// `fixtures/quantiles.py` (mpmath, 50 digits). What is allowed is what `student_quantile` states.
#[test]
fn student_s_quantiles_have_the_digits_they_claim() {
    let suite: serde_json::Value =
        serde_json::from_str(include_str!("../../../fixtures/quantiles.json")).expect("JSON");
    let tests = suite["student"].as_array().expect("tests");
    assert_eq!(tests.len(), 160);
    for test in tests {
        let freedom = test["freedom"].as_u64().expect("a whole number");
        let level = test["level"].as_f64().expect("a level");
        let want = test["quantile"].as_f64().expect("a quantile");
        let freedom = usize::try_from(freedom).expect("a 64-bit machine");
        let got = student_quantile(freedom, level).expect("good values");
        let (nu, s) = (freedom as f64, want * want);
        let allowed = if freedom <= 10_000 {
            (nu + 8.0 / (1.0 - level)) * f64::EPSILON
        } else {
            let left_out = ((79.0 * s + 776.0) * s + 1482.0) * s * s / (92_160.0 * nu.powi(4));
            4.0 * f64::EPSILON + 2.0 * left_out
        };
        let error = (got / want - 1.0).abs();
        assert!(
            error <= allowed,
            "ν {freedom} level {level}: got {got}, want {want}: {error:e}"
        );
    }
}

#[test]
fn many_values_have_their_interval() {
    // ±1 alternating, 100,002 of them: mean 0, s² = n/(n − 1), so half = t/√(n − 1).
    let values: Vec<f64> = (0..100_002)
        .map(|k| if k % 2 == 0 { 1.0 } else { -1.0 })
        .collect();
    let interval = mean_interval(&values, 0.95).expect("good values");
    let t = student_quantile(100_001, 0.95).expect("good values");
    // Between those of 10⁵ and of 10⁶ degrees of freedom, fixtures/quantiles.json.
    assert!(1.959_966_357 < t && t < 1.959_987_707_534_609, "{t}");
    let half = t / 100_001_f64.sqrt();
    assert!((interval.high / half - 1.0).abs() < 1e-13, "{interval:?}");
}

#[test]
fn nonsense_is_refused() {
    assert_eq!(student_quantile(0, 0.95), Err(StatisticsError::Freedom));
    for level in [0.0, 1.0, -0.5, f64::NAN] {
        assert!(matches!(
            student_quantile(3, level),
            Err(StatisticsError::Level(_))
        ));
    }
    assert!(matches!(
        mean_interval(&[1.0], 0.95),
        Err(StatisticsError::TooFew { got: 1, .. })
    ));
    assert!(matches!(
        mean_interval(&[1.0, f64::NAN], 0.95),
        Err(StatisticsError::NotFinite { index: 1, .. })
    ));
    for level in [0.0, 1.0, 95.0, f64::NAN] {
        assert!(matches!(
            mean_interval(&[1.0, 2.0], level),
            Err(StatisticsError::Level(_))
        ));
    }
    assert!(matches!(
        fit_line(&[1.0, 2.0], &[1.0, 2.0], 0.95),
        Err(StatisticsError::TooFew { got: 2, .. })
    ));
    assert_eq!(
        fit_line(&[1.0, 2.0, 3.0], &[1.0, 2.0], 0.95),
        Err(StatisticsError::Lengths { x: 3, y: 2 })
    );
    assert_eq!(
        fit_line(&[2.0; 3], &[1.0, 2.0, 3.0], 0.95),
        Err(StatisticsError::Vertical(3))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_line_is_found_exactly(a in -4.0..4.0f64, b in -4.0..4.0f64, x in prop::collection::vec(-8.0..8.0f64, 3..8)) {
        prop_assume!(x.iter().any(|v| (v - x[0]).abs() > 0.5));
        let y: Vec<f64> = x.iter().map(|x| a + b * x).collect();
        let line = fit_line(&x, &y, 0.95).expect("good points");
        prop_assert!((line.slope - b).abs() < 1e-10 && (line.intercept - a).abs() < 1e-10, "{line:?}");
        prop_assert!(line.half_width < 1e-9, "{line:?}");
    }

    /// Residuals of least squares are orthogonal to 1 and to x.
    #[test]
    fn residuals_are_orthogonal(points in prop::collection::vec((-8.0..8.0f64, -8.0..8.0f64), 3..8)) {
        let (x, y): (Vec<f64>, Vec<f64>) = points.into_iter().unzip();
        prop_assume!(x.iter().any(|v| (v - x[0]).abs() > 0.5));
        let line = fit_line(&x, &y, 0.9).expect("good points");
        let residual: Vec<f64> = x.iter().zip(&y).map(|(x, y)| y - line.intercept - line.slope * x).collect();
        prop_assert!(residual.iter().sum::<f64>().abs() < 1e-9);
        prop_assert!(residual.iter().zip(&x).map(|(r, x)| r * x).sum::<f64>().abs() < 1e-8);
    }

    #[test]
    fn a_higher_level_is_wider(values in prop::collection::vec(-8.0..8.0f64, 2..8), low in 0.1..0.8f64) {
        let (narrow, wide) = (mean_interval(&values, low).expect("good"), mean_interval(&values, low + 0.1).expect("good"));
        prop_assert!(wide.low <= narrow.low && narrow.low <= narrow.mean && narrow.mean <= narrow.high && narrow.high <= wide.high);
    }
}
