//! Every quantity of the oracle against numbers worked out elsewhere.
//!
//! The literals come from a 40-digit evaluation (mpmath) of the definitions in `sadm oracle list`, at points
//! where no two readings of a formula agree. Gradients are held against central differences of the loss
//! that the program itself prints.

#![expect(
    clippy::excessive_precision,
    reason = "the literals are the 40-digit evaluation's first 18 digits, to be compared with it"
)]

use std::collections::BTreeMap;

use ndarray::{ArrayD, array};
use predicates::str::contains;

use crate::support::{Answer, Folder, close, sadm, write_f32};

/// Rounding units allowed where at most a few dozen operations and a few elementary functions were done on
/// numbers of about the result's size: 64 units, 7e-15 relative, against 2e-16 of one operation.
const UNITS: f64 = 64.0;

/// Three rows of two features each, real and generated.
fn features() -> [(&'static str, ArrayD<f64>); 2] {
    let real = array![[1.0, 2.0], [3.0, -1.0], [0.5, 0.25]].into_dyn();
    let generated = array![[0.5, 1.5], [2.0, -2.0], [-1.0, 0.75]].into_dyn();
    [("real", real), ("generated", generated)]
}

/// Loss at `features()` with eta = 3/4, bandwidth = 3/2, delta = 7/16
/// (no |M_ij − M̂_ij| is there, where the Huber slope has a kink): for each relation the distances squared,
/// absolute, huber, each with the diagonal and without.
const STRUCTURAL_LOSSES: [(&str, [f64; 6]); 5] = [
    (
        "cosine",
        [
            0.576_754_446_796_632_413,
            0.865_131_670_194_948_62,
            0.461_577_243_428_023_928,
            0.692_365_865_142_035_892,
            0.154_088_481_499_760_469,
            0.231_132_722_249_640_703,
        ],
    ),
    (
        "inner-product",
        [
            6.268_229_166_666_666_67,
            7.925_781_25,
            1.833_333_333_333_333_33,
            2.031_25,
            0.730_631_510_416_666_667,
            0.817_382_812_5,
        ],
    ),
    (
        "squared-euclidean",
        [
            13.177_083_333_333_333_3,
            19.765_625,
            1.791_666_666_666_666_67,
            2.687_5,
            0.736_002_604_166_666_667,
            1.104_003_906_25,
        ],
    ),
    (
        "euclidean",
        [
            0.281_006_406_161_504_805,
            0.421_509_609_242_257_208,
            0.269_988_657_302_240_27,
            0.404_982_985_953_360_405,
            0.082_105_687_164_755_351_7,
            0.123_158_530_747_133_028,
        ],
    ),
    (
        "rbf",
        [
            0.004_369_454_727_995_836_09,
            0.006_554_182_091_993_754_13,
            0.037_175_905_151_573_635_2,
            0.055_763_857_727_360_452_8,
            0.002_184_727_363_997_918_04,
            0.003_277_091_045_996_877_06,
        ],
    ),
];

/// Every relation × distance × diagonal, as settings, with its loss.
fn structural_cases() -> impl Iterator<Item = (Vec<String>, f64)> {
    STRUCTURAL_LOSSES
        .into_iter()
        .flat_map(|(relation, losses)| {
            let kinds = ["squared", "absolute", "huber"]
                .into_iter()
                .flat_map(|distance| ["include", "exclude"].map(|diagonal| (distance, diagonal)));
            kinds.zip(losses).map(move |((distance, diagonal), loss)| {
                let mut settings = with_bandwidth(relation);
                settings.push(format!("distance={distance}"));
                settings.push(format!("diagonal={diagonal}"));
                settings.push("eta=0.75".to_owned());
                if distance == "huber" {
                    settings.push("delta=0.4375".to_owned());
                }
                (settings, loss)
            })
        })
}

/// A relation, with its bandwidth if it has one.
fn with_bandwidth(relation: &str) -> Vec<String> {
    let mut settings = vec![format!("relation={relation}")];
    if ["rbf", "laplacian"].contains(&relation) {
        settings.push("bandwidth=1.5".to_owned());
    }
    settings
}

fn structural(folder: &Folder, inputs: &[(&str, ArrayD<f64>)], settings: &[String]) -> Answer {
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    folder.oracle("structural-loss", inputs, &settings)
}

fn loss_of(answer: &Answer) -> f64 {
    answer.json["scalars"]["loss"].as_f64().expect("a number")
}

#[test]
fn structural_loss_has_its_value_for_every_relation_distance_and_diagonal() {
    let folder = Folder::new();
    for (settings, want) in structural_cases() {
        let answer = structural(&folder, &features(), &settings);
        // The affinities that are subtracted are at most 16.5625 and their differences enter squared.
        close(
            &format!("{settings:?}"),
            &answer.tensors["loss"],
            &[want],
            UNITS,
            17.0 * 17.0,
        );
        assert_eq!(
            answer.json["scalars"]["loss"].as_f64(),
            answer.tensors["loss"].first().copied()
        );
    }
}

#[test]
fn structural_loss_returns_both_affinity_matrices() {
    let folder = Folder::new();
    let entries = [
        (
            "cosine",
            0.141_421_356_237_309_505,
            -0.989_949_493_661_166_534,
        ),
        ("inner-product", 1.0, -3.5),
        ("squared-euclidean", 13.0, 16.5625),
        (
            "euclidean",
            3.605_551_275_463_989_29,
            4.069_705_149_024_926_6,
        ),
        (
            "rbf",
            0.055_637_998_277_842_810_9,
            0.025_208_965_963_143_533_8,
        ),
        (
            "laplacian",
            0.035_673_993_347_252_397_6,
            0.021_637_370_719_493_092_6,
        ),
    ];
    for (relation, m01, generated_m12) in entries {
        let answer = structural(&folder, &features(), &with_bandwidth(relation));
        let (m, g) = (
            &answer.tensors["affinity_real"],
            &answer.tensors["affinity_generated"],
        );
        close(
            relation,
            &array![m[[0, 1]], m[[1, 0]]].into_dyn(),
            &[m01, m01],
            UNITS,
            m01.abs(),
        );
        let want = [generated_m12, generated_m12];
        close(
            relation,
            &array![g[[1, 2]], g[[2, 1]]].into_dyn(),
            &want,
            UNITS,
            generated_m12.abs(),
        );
    }
}

/// Central difference along a fixed direction in one tensor, with what its truncation may be.
///
/// # Tolerance
/// With steps h and h/2 the difference D(h) − D(h/2) is ¾ of the truncation error of D(h) up to O(h⁴), so
/// the error of D(h/2), a quarter of D(h)'s, is a third of |D(h) − D(h/2)|; one whole such difference is
/// allowed. Rounding adds u·|loss terms|/h.
fn assert_gradient(
    what: &str,
    gradient: &ArrayD<f64>,
    loss_along: impl Fn(f64) -> f64,
    direction: &ArrayD<f64>,
    magnitude: f64,
) {
    let h = 2.0_f64.powi(-10);
    let central = |h: f64| (loss_along(h) - loss_along(-h)) / (2.0 * h);
    let (coarse, fine) = (central(h), central(h / 2.0));
    let got = (gradient * direction).sum();
    let rounding = UNITS * f64::EPSILON * magnitude / h;
    let allowed = (coarse - fine).abs() + rounding;
    assert!(
        (got - fine).abs() <= allowed,
        "{what}: got {got}, difference quotient {fine} ± {allowed:e}"
    );
    assert!(
        allowed < 1e-3 * magnitude,
        "{what}: the allowance {allowed:e} says nothing"
    );
}

#[test]
fn structural_gradients_are_the_slopes_of_the_printed_loss() {
    let folder = Folder::new();
    let direction = array![[0.6, -0.3], [0.2, 0.8], [-0.7, 0.5]].into_dyn();
    for (settings, _) in structural_cases() {
        let answer = structural(&folder, &features(), &settings);
        for moved in [0, 1] {
            let [real, generated] = features();
            let name = [real.0, generated.0][moved];
            let loss_along = |h: f64| {
                let mut inputs = features();
                inputs[moved].1.scaled_add(h, &direction);
                loss_of(&structural(&folder, &inputs, &settings))
            };
            let gradient = &answer.tensors[&format!("grad_{name}")];
            let what = format!("{settings:?} d/d{name}");
            assert_gradient(&what, gradient, loss_along, &direction, 17.0 * 17.0);
        }
    }
}

#[test]
fn the_answer_names_quantity_parameters_with_defaults_and_shapes() {
    let folder = Folder::new();
    let answer = folder.oracle(
        "structural-loss",
        &features(),
        &["relation=rbf", "bandwidth=2"],
    );
    assert_eq!(answer.json["quantity"], "structural-loss");
    let want = serde_json::json!({
        "relation": "rbf", "bandwidth": 2.0, "distance": "squared", "eta": 1.0, "diagonal": "include",
    });
    assert_eq!(answer.json["parameters"], want);
    let want = serde_json::json!({
        "loss": [1], "grad_real": [3, 2], "grad_generated": [3, 2],
        "affinity_real": [3, 3], "affinity_generated": [3, 3],
    });
    assert_eq!(answer.json["shapes"], want);
    let shapes: BTreeMap<&str, Vec<usize>> = answer
        .tensors
        .iter()
        .map(|(name, x)| (name.as_str(), x.shape().to_vec()))
        .collect();
    assert_eq!(serde_json::json!(shapes), want);
}

#[test]
fn f32_inputs_are_widened_and_not_rounded_again() {
    let folder = Folder::new();
    let third = 1.0_f64 / 3.0;
    let inputs = features().map(|(name, x)| (name, x * third));
    #[expect(clippy::cast_possible_truncation, reason = "what an f32 file holds")]
    let rounded = inputs
        .clone()
        .map(|(name, x)| (name, x.mapv(|x| f64::from(x as f32))));
    let want = folder.oracle("structural-loss", &rounded, &[]);
    write_f32(&folder.path("f32.safetensors"), &inputs);
    sadm()
        .args(["oracle", "structural-loss", "--input"])
        .arg(folder.path("f32.safetensors"))
        .assert()
        .success()
        .stdout(contains(format!("\"loss\":{}", loss_of(&want))));
}

/// α, σ, λ at t = 1/4 and t = 3/4.
const SCHEDULES: [(&str, [[f64; 3]; 2]); 5] = [
    (
        "vp-linear",
        [
            [
                0.723_657_185_083_086_434,
                0.690_159_603_626_308_735,
                0.094_789_797_070_855_336_3,
            ],
            [
                0.058_663_503_011_880_823_9,
                0.998_277_813_744_438_102,
                -5.668_427_658_153_722_18,
            ],
        ],
    ),
    (
        "cosine",
        [
            [
                0.923_879_532_511_286_756,
                0.382_683_432_365_089_772,
                1.762_747_174_039_086_05,
            ],
            [
                0.382_683_432_365_089_772,
                0.923_879_532_511_286_756,
                -1.762_747_174_039_086_05,
            ],
        ],
    ),
    (
        "ddpm",
        [
            [
                0.722_096_275_172_865_953,
                0.691_792_576_847_621_757,
                0.085_744_617_744_912_979_2,
            ],
            [
                0.057_883_939_386_817_653_6,
                0.998_323_319_151_197_239,
                -5.695_274_460_409_590_65,
            ],
        ],
    ),
    (
        "edm",
        [
            [1.0, 0.25, 2.772_588_722_239_781_24],
            [1.0, 0.75, 0.575_364_144_903_561_855],
        ],
    ),
    (
        "rectified-flow",
        [
            [0.75, 0.25, 2.197_224_577_336_219_38],
            [0.25, 0.75, -2.197_224_577_336_219_38],
        ],
    ),
];

/// ᾱ of ddpm is a product of up to 750 factors, each rounded twice.
fn schedule_units(schedule: &str) -> f64 {
    if schedule == "ddpm" {
        2.0 * 750.0
    } else {
        UNITS
    }
}

#[test]
fn forward_noises_each_row_at_its_own_time() {
    let folder = Folder::new();
    let x0 = array![[[1.0, -2.0]], [[0.5, 4.0]]].into_dyn();
    let noise = array![[[-0.5, 1.5]], [[2.0, -1.0]]].into_dyn();
    for (schedule, [[a0, s0, l0], [a1, s1, l1]]) in SCHEDULES {
        let t = array![0.25, 0.75].into_dyn();
        let inputs = [("x0", x0.clone()), ("noise", noise.clone()), ("t", t)];
        let answer = folder.oracle("forward", &inputs, &[&format!("schedule={schedule}")]);
        let units = schedule_units(schedule);
        close(schedule, &answer.tensors["alpha"], &[a0, a1], units, 1.0);
        close(schedule, &answer.tensors["sigma"], &[s0, s1], units, 1.0);
        close(schedule, &answer.tensors["lambda"], &[l0, l1], units, 6.0);
        let want = [
            a0 - 0.5 * s0,
            -2.0 * a0 + 1.5 * s0,
            0.5 * a1 + 2.0 * s1,
            4.0 * a1 - s1,
        ];
        close(schedule, &answer.tensors["xt"], &want, units, 5.0);
        assert_eq!(answer.json["shapes"]["xt"], serde_json::json!([2, 1, 2]));
    }
}

#[test]
fn forward_at_the_ends_of_time_gives_the_limit() {
    let folder = Folder::new();
    let (x0, noise) = (
        array![[3.0], [3.0]].into_dyn(),
        array![[-2.0], [-2.0]].into_dyn(),
    );
    for schedule in ["rectified-flow", "cosine"] {
        let inputs = [
            ("x0", x0.clone()),
            ("noise", noise.clone()),
            ("t", array![0.0, 1.0].into_dyn()),
        ];
        let answer = folder.oracle("forward", &inputs, &[&format!("schedule={schedule}")]);
        assert_eq!(
            answer.tensors["xt"],
            array![[3.0], [-2.0]].into_dyn(),
            "{schedule}"
        );
        let lambda = &answer.tensors["lambda"];
        assert_eq!(
            lambda,
            &array![f64::INFINITY, f64::NEG_INFINITY].into_dyn(),
            "{schedule}"
        );
    }
}

#[test]
fn transition_from_a_quarter_to_three_quarters() {
    let folder = Folder::new();
    // alpha_ts, sigma2_ts, posterior_coef_xt, posterior_coef_x0, posterior_var
    let table = [
        (
            "vp-linear",
            [
                0.081_065_322_394_533_255_9,
                0.993_428_413_505_070_385,
                0.038_746_399_050_704_763_8,
                0.721_384_185_585_675_878,
                0.474_824_161_564_942_359,
            ],
        ),
        (
            "cosine",
            [
                0.414_213_562_373_095_049,
                0.828_427_124_746_190_098,
                0.071_067_811_865_475_244,
                0.896_683_058_335_930_236,
                0.142_135_623_730_950_488,
            ],
        ),
        (
            "ddpm",
            [
                0.080_160_972_126_549_954_5,
                0.993_574_218_547_726_481,
                0.038_492_165_043_479_036_1,
                0.719_868_197_024_621_831,
                0.477_100_286_943_972_908,
            ],
        ),
        ("edm", [1.0, 0.5, 1.0 / 9.0, 8.0 / 9.0, 1.0 / 18.0]),
        (
            "rectified-flow",
            [1.0 / 3.0, 5.0 / 9.0, 1.0 / 27.0, 20.0 / 27.0, 5.0 / 81.0],
        ),
    ];
    let names = [
        "alpha_ts",
        "sigma2_ts",
        "posterior_coef_xt",
        "posterior_coef_x0",
        "posterior_var",
    ];
    for (schedule, wants) in table {
        let inputs = [
            ("s", array![0.25].into_dyn()),
            ("t", array![0.75].into_dyn()),
        ];
        let answer = folder.oracle("transition", &inputs, &[&format!("schedule={schedule}")]);
        for (name, want) in names.into_iter().zip(wants) {
            let what = format!("{schedule} {name}");
            close(
                &what,
                &answer.tensors[name],
                &[want],
                schedule_units(schedule),
                1.0,
            );
        }
    }
}

#[test]
fn transition_to_the_same_time_changes_nothing() {
    let folder = Folder::new();
    let times = array![0.0, 0.5, 1.0].into_dyn();
    for schedule in ["vp-linear", "cosine", "ddpm", "rectified-flow"] {
        let inputs = [("s", times.clone()), ("t", times.clone())];
        let answer = folder.oracle("transition", &inputs, &[&format!("schedule={schedule}")]);
        for (name, want) in [
            ("alpha_ts", 1.0),
            ("sigma2_ts", 0.0),
            ("posterior_coef_xt", 1.0),
            ("posterior_coef_x0", 0.0),
            ("posterior_var", 0.0),
        ] {
            close(
                &format!("{schedule} {name}"),
                &answer.tensors[name],
                &[want; 3],
                0.0,
                1.0,
            );
        }
    }
}

/// Weights at t = 1/4: snr, elbo, edm with sigma_data = 1/2, edm with sigma_data = 4/5.
const WEIGHTS: [(&str, [f64; 4]); 4] = [
    (
        "vp-linear",
        [
            1.099_427_727_906_355_9,
            5.856_978_981_619_058_41,
            5.099_427_727_906_355_9,
            2.661_927_727_906_355_9,
        ],
    ),
    (
        "cosine",
        [
            5.828_427_124_746_190_1,
            25.895_019_428_834_271_7,
            9.828_427_124_746_190_1,
            7.390_927_124_746_190_1,
        ],
    ),
    ("edm", [16.0, 64.0, 20.0, 17.5625]),
    ("rectified-flow", [9.0, 48.0, 13.0, 10.5625]),
];

#[test]
fn denoising_loss_has_every_weight() {
    let folder = Folder::new();
    let x0 = array![[1.0, -2.0, 0.5]].into_dyn();
    let prediction = array![[0.5, -1.0, 2.0]].into_dyn();
    let squares = 0.25 + 1.0 + 2.25;
    for (schedule, [snr, elbo, edm, edm_wide]) in WEIGHTS {
        let cases = [
            ("weight=constant", None, 1.0),
            ("weight=snr", None, snr),
            ("weight=one-plus-snr", None, 1.0 + snr),
            ("weight=min-snr", Some("gamma=5"), snr.min(5.0)),
            ("weight=min-snr", Some("gamma=1.05"), 1.05),
            ("weight=elbo", None, elbo),
            ("weight=edm", Some("sigma_data=0.5"), edm),
            ("weight=edm", Some("sigma_data=0.8"), edm_wide),
        ];
        for (weight, other, want) in cases {
            let inputs = [
                ("x0", x0.clone()),
                ("prediction", prediction.clone()),
                ("t", array![0.25].into_dyn()),
            ];
            let schedule = format!("schedule={schedule}");
            let settings: Vec<&str> = [schedule.as_str(), weight]
                .into_iter()
                .chain(other)
                .collect();
            let answer = folder.oracle("denoising-loss", &inputs, &settings);
            let what = format!("{settings:?}");
            close(&what, &answer.tensors["weight"], &[want], UNITS, want);
            close(
                &what,
                &answer.tensors["loss"],
                &[want * squares],
                UNITS,
                want * squares,
            );
            let gradient = [-0.5, 1.0, 1.5].map(|e| 2.0 * want * e);
            close(
                &what,
                &answer.tensors["grad_prediction"],
                &gradient,
                UNITS,
                3.0 * want,
            );
        }
    }
}

#[test]
fn denoising_loss_weighs_each_row_by_its_own_time_and_divides_by_the_batch() {
    let folder = Folder::new();
    let inputs = [
        ("x0", array![[1.0, 0.0], [0.0, 0.0]].into_dyn()),
        ("prediction", array![[0.0, 0.0], [0.0, 2.0]].into_dyn()),
        ("t", array![0.25, 0.5].into_dyn()),
    ];
    // SNR of rectified flow: 9 and 1. Loss (9·1 + 1·4)/2.
    let answer = folder.oracle(
        "denoising-loss",
        &inputs,
        &["schedule=rectified-flow", "weight=snr"],
    );
    close("weight", &answer.tensors["weight"], &[9.0, 1.0], UNITS, 9.0);
    close("loss", &answer.tensors["loss"], &[6.5], UNITS, 6.5);
    close(
        "gradient",
        &answer.tensors["grad_prediction"],
        &[-9.0, 0.0, 0.0, 2.0],
        UNITS,
        9.0,
    );
}

#[test]
fn denoising_gradient_is_the_slope_of_the_printed_loss() {
    let folder = Folder::new();
    let x0 = array![[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]].into_dyn();
    let prediction = array![[0.5, -1.0, 2.0], [1.0, 1.0, 0.0]].into_dyn();
    let direction = array![[0.3, -0.6, 0.9], [0.4, 0.7, -0.2]].into_dyn();
    let settings = ["schedule=vp-linear", "weight=elbo"];
    let at = |h: f64| {
        let moved = &prediction + &(h * &direction);
        let t = array![0.25, 0.75].into_dyn();
        let inputs = [("x0", x0.clone()), ("prediction", moved), ("t", t)];
        folder.oracle("denoising-loss", &inputs, &settings)
    };
    let loss_along = |h: f64| loss_of(&at(h));
    assert_gradient(
        "grad_prediction",
        &at(0.0).tensors["grad_prediction"],
        loss_along,
        &direction,
        32.0,
    );
}

#[test]
fn weights_at_the_ends_of_time_are_limits_where_these_are_finite() {
    let folder = Folder::new();
    let ends = [
        ("schedule=rectified-flow", "weight=elbo", 1.0, 0.0),
        ("schedule=rectified-flow", "weight=snr", 1.0, 0.0),
        ("schedule=rectified-flow", "weight=min-snr", 0.0, 5.0),
        ("schedule=rectified-flow", "weight=edm", 1.0, 4.0),
        ("schedule=cosine", "weight=elbo", 1.0, 0.0),
        ("schedule=cosine", "weight=one-plus-snr", 1.0, 1.0),
        ("schedule=vp-linear", "weight=min-snr", 0.0, 5.0),
    ];
    for (schedule, weight, t, want) in ends {
        let inputs = [
            ("x0", array![[1.0]].into_dyn()),
            ("prediction", array![[3.0]].into_dyn()),
            ("t", array![t].into_dyn()),
        ];
        let answer = folder.oracle("denoising-loss", &inputs, &[schedule, weight]);
        // cos(π/2) is 6e-17 in f64, so the cosine schedule's end may keep that much of the signal.
        close(
            &format!("{schedule} {weight}"),
            &answer.tensors["weight"],
            &[want],
            UNITS,
            5.0,
        );
    }
}

/// The definition that `oracle list` prints, from β_i itself.
#[test]
fn the_elbo_weight_of_the_discrete_schedule_is_the_printed_difference() {
    let steps: Vec<f64> = (0..1000)
        .scan(0.0, |log_keep: &mut f64, i| {
            *log_keep += (-(1e-4 + (0.02 - 1e-4) * f64::from(i) / 999.0)).ln_1p();
            Some(log_keep.exp() / -log_keep.exp_m1())
        })
        .collect();
    let lambda = |k: usize| steps[k].ln();
    let want = [
        -0.5 * steps[0] * 999.0 * (lambda(1) - lambda(0)),
        -0.5 * steps[400] * 999.0 * (lambda(401) - lambda(399)) / 2.0,
        -0.5 * steps[999] * 999.0 * (lambda(999) - lambda(998)),
    ];
    let inputs = [
        ("x0", array![[0.0], [0.0], [0.0]].into_dyn()),
        ("prediction", array![[1.0], [1.0], [1.0]].into_dyn()),
        ("t", array![0.0, 400.0 / 999.0, 1.0].into_dyn()),
    ];
    let answer = Folder::new().oracle("denoising-loss", &inputs, &["schedule=ddpm", "weight=elbo"]);
    for (got, want) in answer.tensors["weight"].iter().zip(want) {
        // λ ≈ 9 at most, differences of 0.01 at least, some thousand roundings in the sum.
        assert!((got - want).abs() <= 1e-9 * want, "{got} {want}");
    }
}

#[test]
fn edm_precondition_at_two_noise_levels() {
    let folder = Folder::new();
    let inputs = [("sigma", array![0.3, 2.0].into_dyn())];
    let answer = folder.oracle("edm-precondition", &inputs, &["sigma_data=0.8"]);
    for (name, want) in [
        (
            "c_skip",
            [0.876_712_328_767_123_288, 0.137_931_034_482_758_621],
        ),
        (
            "c_out",
            [0.280_898_753_270_713_353, 0.742_781_352_708_207_453],
        ),
        (
            "c_in",
            [1.170_411_471_961_305_64, 0.464_238_345_442_629_658],
        ),
        (
            "c_noise",
            [-0.300_993_201_081_483_998, 0.173_286_795_139_986_327],
        ),
        ("loss_weight", [12.673_611_111_111_111_1, 1.812_5]),
    ] {
        close(name, &answer.tensors[name], &want, UNITS, want[0].abs());
    }
    assert_eq!(answer.json["scalars"], serde_json::json!({}));
}

#[test]
fn edm_sigmas_by_default_and_by_hand() {
    let folder = Folder::new();
    let settings = ["steps=4", "rho=3", "sigma_min=0.01", "sigma_max=10"];
    let answer = folder.oracle("edm-sigmas", &[], &settings);
    // Cubes of numbers near 2 that were rounded to u, relative to the largest.
    close(
        "four",
        &answer.tensors["sigmas"],
        &[10.0, 3.43, 0.64, 0.01, 0.0],
        UNITS,
        10.0,
    );
    let answer = folder.oracle("edm-sigmas", &[], &[]);
    let sigmas = &answer.tensors["sigmas"];
    assert_eq!(sigmas.shape(), [19]);
    let some = array![
        sigmas[0], sigmas[1], sigmas[9], sigmas[16], sigmas[17], sigmas[18]
    ]
    .into_dyn();
    let want = [
        80.0,
        57.585_984_721_248_157_8,
        1.923_339_837_040_049_93,
        0.007_528_019_962_784_070_4,
        0.002,
        0.0,
    ];
    close("default", &some, &want, UNITS, 80.0);
    assert_eq!(answer.json["parameters"]["steps"], 18);
}

#[test]
fn list_prints_every_name_of_the_table() {
    let names = [
        "structural-loss",
        "forward",
        "transition",
        "denoising-loss",
        "edm-precondition",
        "edm-sigmas",
        "grad_generated",
        "affinity_real",
        "posterior_coef_x0",
        "grad_prediction",
        "c_noise",
        "relation=cosine|inner-product|squared-euclidean|euclidean|rbf|laplacian",
        "schedule=vp-linear|cosine|ddpm|edm|rectified-flow",
        "weight=constant|elbo|snr|one-plus-snr|min-snr|edm|soft-truncation",
    ];
    let mut listed = sadm().args(["oracle", "list"]).assert().success();
    for name in names {
        listed = listed.stdout(contains(name));
    }
}
