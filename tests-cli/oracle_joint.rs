//! `jensen` and `relation-score` against a 40-digit evaluation (mpmath) of their definitions: sums
//! over atoms as they stand, gradients by numerical differentiation at that precision.

#![expect(
    clippy::excessive_precision,
    reason = "the literals are the 40-digit evaluation's first 18 digits, to be compared with it"
)]

use ndarray::{ArrayD, array};

use crate::support::{Answer, Folder, close, says};

/// Rounding units allowed: some dozens of operations, with weights whose exponents are below 8.
const UNITS: f64 = 256.0;

const PAIR: [&str; 2] = ["schedule=edm", "gamma=0.75"];

fn inputs() -> Vec<(&'static str, ArrayD<f64>)> {
    vec![
        (
            "atoms",
            array![[1.0, 0.5], [-1.0, 0.75], [0.25, -1.5]].into_dyn(),
        ),
        ("prior", array![1.0, 2.0, 0.5].into_dyn()),
        ("t", array![0.75].into_dyn()),
        ("yi", array![[0.75, 0.25]].into_dyn()),
        ("yj", array![[-0.5, -0.25]].into_dyn()),
        ("r", array![0.5].into_dyn()),
    ]
}

fn assert_tensor(answer: &Answer, name: &str, shape: &[usize], want: &[f64]) {
    let got = &answer.tensors[name];
    assert_eq!(got.shape(), shape, "{name}");
    let scale = want.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    close(name, got, want, UNITS, scale);
}

#[test]
fn without_a_prior_the_atoms_weigh_the_same() {
    let folder = Folder::new();
    let given = [
        ("atoms", array![[1.0], [-1.0]].into_dyn()),
        ("xt", array![[0.3], [-0.7]].into_dyn()),
        ("t", array![0.5, 2.0].into_dyn()),
    ];
    let answer = folder.oracle("finite-posterior", &given, &["schedule=edm"]);
    let want = [(0.3_f64 / 0.25).tanh(), (-0.7_f64 / 4.0).tanh()];
    assert_tensor(&answer, "mean", &[2, 1], &want);
}

#[test]
fn jensen_has_its_values() {
    let folder = Folder::new();
    let names = ["q_r", "plug_in", "error2", "gap", "jensen", "bound"];
    let cases = [
        (
            "inner-product",
            [
                0.186_668_537_017_917_587,
                0.307_651_184_046_923_792,
                0.014_636_800_882_145_103_8,
                0.002_715_795_148_927_911_66,
                0.017_352_596_031_073_015_4,
                0.116_071_817_531_671_505,
            ],
        ),
        (
            "squared-euclidean",
            [
                0.073_605_809_774_780_534_3,
                0.050_214_001_176_562_933_4,
                0.000_547_176_709_495_646_886,
                0.025_931_110_534_943_867_7,
                0.026_478_287_244_439_514_6,
                0.842_647_194_240_773_504,
            ],
        ),
    ];
    for (relation, want) in cases {
        let relation = format!("relation={relation}");
        let settings = [&PAIR[..], &[&relation]].concat();
        let answer = folder.oracle("jensen", &inputs(), &settings);
        for (name, want) in names.into_iter().zip(want) {
            assert_tensor(&answer, name, &[1], &[want]);
        }
        assert_tensor(&answer, "w_gamma", &[1], &[0.185_046_381_113_897_594]);
    }
}

#[test]
fn jensen_takes_numbers_and_prints_its_own() {
    // The instance of the book's chapter on joint samples, with the four members of Eq. 14 that it prints.
    let mut command = crate::support::sadm();
    command.args([
        "oracle",
        "jensen",
        "--set=schedule=cosine",
        "--set=gamma=0.5",
    ]);
    for tensor in [
        "atoms=[[1, 0], [0, 2], [-1, 0.5]]",
        "prior=[0.5, 0.25, 0.25]",
        "yi=[[0.9, 0.2]]",
        "yj=[[-0.3, 1.1]]",
        "t=[0.40966552939826695]",
        "r=[0.25]",
    ] {
        command.args(["--tensor", tensor]);
    }
    let printed = command.assert().success().get_output().stdout.clone();
    let answer: serde_json::Value = serde_json::from_slice(&printed).expect("one JSON object");
    for (name, want) in [
        ("q_r", 0.4411),
        ("plug_in", 0.5033),
        ("error2", 0.0039),
        ("gap", 0.0995),
        ("jensen", 0.1033),
        ("bound", 0.4369),
    ] {
        let got = answer["values"][name][0].as_f64().expect("a number");
        assert!((got - want).abs() < 5e-5, "{name}: {got}");
    }
}

#[test]
fn jensen_takes_the_predictions_it_is_given() {
    let folder = Folder::new();
    let mut given = inputs();
    given.push(("x_hat_i", array![[0.5, -0.25]].into_dyn()));
    let answer = folder.oracle("jensen", &given, &PAIR);
    assert_tensor(&answer, "plug_in", &[1], &[0.230_238_639_979_266_936]);
    assert_tensor(&answer, "q_r", &[1], &[0.186_668_537_017_917_587]);
}

#[test]
fn relation_score_has_its_values() {
    let folder = Folder::new();
    let names = ["grad_yi", "grad_yj", "plug_in_grad_yi", "plug_in_grad_yj"];
    let cases = [
        (
            "inner-product",
            [
                [0.045_382_610_729_323_16, 0.067_515_830_339_458_039_6],
                [0.233_756_119_566_957_881, -0.042_358_040_313_477_015_4],
                [-0.657_935_037_505_668_298, 0.170_184_347_048_236_827],
                [0.580_650_428_155_048_8, 0.039_443_964_421_920_089_7],
            ],
        ),
        (
            "squared-euclidean",
            [
                [-1.321_775_889_846_473_78, 0.209_483_434_727_660_164],
                [1.271_193_586_925_568_23, 0.134_834_965_045_495_813],
                [-5.631_752_227_913_743_33, 0.325_870_865_755_309_005],
                [6.812_782_004_182_110_88, -3.740_422_716_530_163_37],
            ],
        ),
    ];
    for (relation, want) in cases {
        let relation = format!("relation={relation}");
        let settings = [&PAIR[..], &[&relation]].concat();
        let answer = folder.oracle("relation-score", &inputs(), &settings);
        for (name, want) in names.into_iter().zip(want) {
            assert_tensor(&answer, name, &[1, 2], &want);
        }
    }
}

#[test]
fn what_cannot_be_answered_is_named() {
    let folder = Folder::new();
    let says = |given: &[(&str, ArrayD<f64>)], settings: &[&str], part: &str| {
        let message = folder.oracle_error("relation-score", given, settings);
        assert!(message.contains(part), "{message}");
    };
    let with = |name: &str, tensor: ArrayD<f64>| {
        let mut given = inputs();
        for entry in &mut given {
            if entry.0 == name {
                entry.1 = tensor.clone();
            }
        }
        given
    };
    let zero = with(
        "atoms",
        array![[1.0, 0.5], [0.0, 0.0], [0.25, -1.5]].into_dyn(),
    );
    says(&zero, &["schedule=edm", "relation=cosine"], "row 1");
    let negative = with("prior", array![1.0, -2.0, 0.5].into_dyn());
    says(&negative, &["schedule=edm"], "prior weight 1");
    let noiseless = with("t", array![0.0].into_dyn());
    says(&noiseless, &["schedule=edm"], "sigma = 0");
    let other = with("prior", array![1.0, 2.0].into_dyn());
    says(&other, &["schedule=edm"], "`prior` must have shape [K]");
    says(&inputs(), &["gamma=0"], "`gamma` must be");
}

/// With an entry replaced, or added.
fn with(name: &'static str, tensor: ArrayD<f64>) -> Vec<(&'static str, ArrayD<f64>)> {
    let mut given = inputs();
    given.retain(|entry| entry.0 != name);
    given.push((name, tensor));
    given
}

#[test]
fn tensors_that_are_not_used_are_refused() {
    let folder = Folder::new();
    let mut given = inputs();
    given.retain(|entry| entry.0 != "prior");
    given.push(("priors", array![1.0, 2.0, 0.5].into_dyn()));
    let message = folder.oracle_error("jensen", &given, &PAIR);
    says(
        &message,
        &["unknown tensor `priors`; did you mean `prior`?"],
    );
    let given = with("x_hat_i", array![[0.5, -0.25]].into_dyn());
    let message = folder.oracle_error("relation-score", &given, &PAIR);
    says(&message, &["unknown tensor `x_hat_i`"]);
    folder.oracle("jensen", &given, &PAIR);
}

#[test]
fn a_refusal_names_the_tensor_and_its_row() {
    let folder = Folder::new();
    let cosine = ["schedule=edm", "relation=cosine"];
    let symmetric = array![[1.0, 1.0], [-1.0, -1.0]].into_dyn();
    let mut centred = with("atoms", symmetric);
    centred.retain(|entry| entry.0 != "prior");
    for entry in &mut centred {
        if entry.0 == "yj" {
            entry.1 = array![[0.0, 0.0]].into_dyn();
        }
    }
    for (quantity, given, settings, parts) in [
        (
            "jensen",
            with("t", array![0.0].into_dyn()),
            &PAIR[..],
            ["element [0]: t = 0", "choose a later t"],
        ),
        (
            "jensen",
            with("t", array![1e-200].into_dyn()),
            &PAIR,
            ["element [0]: t = 1e-200", "sigma = 1e-200"],
        ),
        (
            "jensen",
            with("x_hat_j", array![[0.0, 0.0]].into_dyn()),
            &cosine,
            ["row 0 of tensor `x_hat_j` is zero", "another relation"],
        ),
        (
            "jensen",
            centred.clone(),
            &cosine,
            [
                "the posterior mean of row 0 of tensor `yj` is zero",
                "another relation",
            ],
        ),
        (
            "relation-score",
            centred,
            &cosine,
            [
                "the posterior mean of row 0 of tensor `yj` is zero",
                "another relation",
            ],
        ),
        (
            "jensen",
            with(
                "atoms",
                array![[1.0, 0.5], [0.0, 0.0], [0.25, -1.5]].into_dyn(),
            ),
            &cosine,
            ["tensor `atoms`", "row 1"],
        ),
        (
            "relation-score",
            with(
                "atoms",
                array![[1.0, 0.5], [1e-320, 0.0], [0.25, -1.5]].into_dyn(),
            ),
            &cosine,
            ["row 1 of tensor `atoms`", "scale it into"],
        ),
        (
            "jensen",
            with("yi", array![[1e170, 0.0]].into_dyn()),
            &PAIR,
            ["row 0 of tensor `yi` is too far", "within 1e150"],
        ),
        (
            "jensen",
            inputs(),
            &["schedule=edm", "gamma=1e80"],
            ["`gamma` must be from 1e-75 to 1e75", "got 1e80"],
        ),
        (
            "relation-score",
            inputs(),
            &["schedule=edm", "gamma=1e180"],
            ["`gamma` must be from 1e-150 to 1e150", "got 1e180"],
        ),
    ] {
        let message = folder.oracle_error(quantity, &given, settings);
        says(&message, &parts);
    }
}

#[test]
fn a_point_far_from_every_atom_is_named() {
    let folder = Folder::new();
    let mut far = with("xt", array![[0.75, 0.25], [1e170, 0.0]].into_dyn());
    far.retain(|entry| !["yi", "yj", "r"].contains(&entry.0));
    for entry in &mut far {
        if entry.0 == "t" {
            entry.1 = array![0.75, 0.75].into_dyn();
        }
    }
    let message = folder.oracle_error("finite-posterior", &far, &["schedule=edm"]);
    says(&message, &["row 1 of tensor `xt` is too far"]);
}
