//! What the oracle says to inputs it must refuse: one sentence, exit code 1, no output file.

use ndarray::{ArrayD, array};
use safetensors::tensor::Dtype;

use crate::support::{Folder, error_of, sadm, says, write, write_f64};

fn features() -> Vec<(&'static str, ArrayD<f64>)> {
    let real = array![[1.0, 2.0], [3.0, -1.0], [0.5, 0.25]].into_dyn();
    let generated = array![[0.5, 1.5], [2.0, -2.0], [-1.0, 0.75]].into_dyn();
    vec![("real", real), ("generated", generated)]
}

#[test]
fn an_unknown_quantity_gets_the_nearest_name() {
    let message = error_of(sadm().args(["oracle", "structural-los"]));
    says(
        &message,
        &[
            "unknown quantity `structural-los`",
            "did you mean `structural-loss`?",
        ],
    );
}

#[test]
fn an_unknown_key_gets_the_nearest_name() {
    let message = Folder::new().oracle_error("structural-loss", &features(), &["bandwith=2"]);
    says(
        &message,
        &["unknown option `bandwith`", "did you mean `bandwidth`?"],
    );
    let message = Folder::new().oracle_error("structural-loss", &features(), &["sigma_data=2"]);
    says(
        &message,
        &["unknown option `sigma_data`", "known: `relation`"],
    );
    let message = Folder::new().oracle_error("structural-loss", &features(), &["eta"]);
    says(&message, &["--set needs key=value", "`eta`"]);
}

#[test]
fn an_option_without_effect_or_set_twice_is_refused() {
    let clean = [
        ("x0", array![[1.0]].into_dyn()),
        ("prediction", array![[3.0]].into_dyn()),
        ("t", array![0.5].into_dyn()),
    ];
    for (quantity, inputs, settings, parts) in [
        (
            "structural-loss",
            &features()[..],
            &["delta=2"][..],
            ["`delta`", "only with distance=huber"],
        ),
        (
            "structural-loss",
            &features(),
            &["relation=euclidean", "bandwidth=2"],
            ["`bandwidth`", "only with relation=rbf"],
        ),
        (
            "structural-loss",
            &features(),
            &["eta=2", "eta=3"],
            ["`eta` is set twice", "once"],
        ),
        (
            "denoising-loss",
            &clean,
            &["gamma=2"],
            ["`gamma`", "only with weight=min-snr"],
        ),
        (
            "denoising-loss",
            &clean,
            &["weight=snr", "sigma_data=2"],
            ["`sigma_data`", "only with weight=edm"],
        ),
    ] {
        says(
            &Folder::new().oracle_error(quantity, inputs, settings),
            &parts,
        );
    }
}

#[test]
fn an_unknown_tensor_is_named_with_the_known_ones() {
    let mut inputs = features();
    inputs.push(("generatd", array![[1.0]].into_dyn()));
    let message = Folder::new().oracle_error("structural-loss", &inputs, &[]);
    says(
        &message,
        &[
            "unknown tensor `generatd`",
            "did you mean `generated`?",
            "known: `real`, `generated`",
            "in.safetensors",
        ],
    );
}

#[test]
fn a_bad_value_is_named_with_its_domain() {
    for (setting, parts) in [
        (
            "relation=cosin",
            ["`relation`", "`cosin`; did you mean `cosine`?"],
        ),
        (
            "bandwidth=0",
            ["`bandwidth` must be a finite number > 0", "got `0`"],
        ),
        (
            "bandwidth=NaN",
            ["`bandwidth` must be a finite number > 0", "got `NaN`"],
        ),
        ("eta=-1", ["`eta` must be a finite number ≥ 0", "got `-1`"]),
        (
            "delta=inf",
            ["`delta` must be a finite number > 0", "got `inf`"],
        ),
        (
            "distance=",
            [
                "`distance` must be one of `squared`, `absolute`, `huber`",
                "got ``",
            ],
        ),
    ] {
        says(
            &Folder::new().oracle_error("structural-loss", &features(), &[setting]),
            &parts,
        );
    }
    for (setting, part) in [
        ("steps=0", "`steps` must be a whole number from 1"),
        ("steps=2.5", "`steps` must be a whole number from 1"),
        ("sigma_min=-1", "`sigma_min` must be a finite number > 0"),
        ("sigma_min=100", "sigma"),
    ] {
        let message = error_of(sadm().args(["oracle", "edm-sigmas", "--set", setting]));
        says(&message, &[part]);
    }
}

#[test]
fn chains_and_controllers_that_are_none_are_refused() {
    for (quantity, settings, part) in [
        (
            "schedule",
            ["beta_end=1.5", "steps=4"],
            "beta_end must be from 0 to 1, got 1.5",
        ),
        (
            "schedule",
            ["beta_schedule=lin", "steps=4"],
            "did you mean `linear`?",
        ),
        (
            "times",
            ["law=priority-code", "steps=1"],
            "at least 2 for this law of t, got 1",
        ),
        ("times", ["law=late", "steps=4"], "`priority`"),
    ] {
        let quantity = format!("diffusion-gan-{quantity}");
        let [one, two] = settings;
        let set = ["oracle", &quantity, "--set", one, "--set", two];
        says(&error_of(sadm().args(set)), &[part]);
    }
    for (signs, settings, part) in [
        (
            0.5,
            ["t_min=9", "t_max=8"],
            "t_min must be from 1 to t_max, 8, got 9",
        ),
        (
            1.5,
            ["t_min=1", "t_max=8"],
            "r_d must be from -1 to 1, got 1.5",
        ),
        (
            0.5,
            ["target=2", "t_max=80"],
            "target must be from -1 to 1, got 2",
        ),
        (
            0.5,
            ["step=2", "t_max=80"],
            "`step` has an effect only with update=constant",
        ),
    ] {
        let signs = [("signs", array![signs].into_dyn())];
        let message = Folder::new().oracle_error("diffusion-gan-controller", &signs, &settings);
        says(&message, &[part]);
    }
}

#[test]
fn files_that_are_missing_cut_short_or_something_else_are_named() {
    let folder = Folder::new();
    let path = folder.path("in.safetensors");
    let run = || {
        error_of(
            sadm()
                .args(["oracle", "structural-loss", "--input"])
                .arg(&path),
        )
    };
    says(&run(), &["cannot read", "in.safetensors", "No such file"]);

    write_f64(&path, &features());
    let whole = std::fs::read(&path).expect("just written");
    for length in [0, 4, 40, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).expect("writable");
        says(
            &run(),
            &["in.safetensors", "is not a whole safetensors file"],
        );
    }
    std::fs::write(&path, "no tensors here, only a sentence\n").expect("writable");
    says(
        &run(),
        &["in.safetensors", "is not a whole safetensors file"],
    );
}

#[test]
fn a_missing_input_option_says_what_it_must_hold() {
    let message = error_of(sadm().args(["oracle", "forward"]));
    says(
        &message,
        &[
            "forward needs --input FILE",
            "x0 [N, …], noise [N, …], t [N]",
        ],
    );
    let message = Folder::new().oracle_error("edm-sigmas", &features(), &[]);
    says(&message, &["edm-sigmas takes no --input"]);
}

#[test]
fn a_missing_tensor_is_named_with_what_there_is() {
    let mut inputs = features();
    inputs[1].0 = "generate";
    let message = Folder::new().oracle_error("structural-loss", &inputs, &[]);
    says(
        &message,
        &[
            "no tensor `generated`",
            "`generate`, `real`",
            "in.safetensors",
        ],
    );
}

#[test]
fn wrong_shapes_are_named() {
    let mut inputs = features();
    inputs[1].1 = array![[0.5, 1.5], [2.0, -2.0]].into_dyn();
    let message = Folder::new().oracle_error("structural-loss", &inputs, &[]);
    says(
        &message,
        &[
            "`generated` must have shape [B, d] with B = 3, d = 2",
            "got [2, 2]",
        ],
    );
    inputs[0].1 = array![0.5, 1.5].into_dyn();
    let message = Folder::new().oracle_error("structural-loss", &inputs, &[]);
    says(&message, &["`real` must have shape [B, d]", "got [2]"]);
    inputs[0].1 = ArrayD::zeros(vec![0, 2]);
    let message = Folder::new().oracle_error("structural-loss", &inputs, &[]);
    says(&message, &["`real` must not be empty"]);

    let inputs = [
        ("x0", array![[1.0], [2.0]].into_dyn()),
        ("noise", array![[1.0], [2.0]].into_dyn()),
        ("t", array![0.5].into_dyn()),
    ];
    let message = Folder::new().oracle_error("forward", &inputs, &[]);
    says(&message, &["`t` must have shape [N] with N = 2", "got [1]"]);
}

#[test]
fn nan_and_infinity_are_named_with_their_place() {
    for (value, shown) in [(f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        let mut inputs = features();
        inputs[1].1[[2, 1]] = value;
        let message = Folder::new().oracle_error("structural-loss", &inputs, &[]);
        says(
            &message,
            &["`generated`", &format!("got {shown} at [2, 1]")],
        );
    }
}

#[test]
fn other_dtypes_are_refused_by_name() {
    let folder = Folder::new();
    let path = folder.path("in.safetensors");
    write(&path, &features(), Dtype::I64, |x| x.to_le_bytes().to_vec());
    let message = error_of(
        sadm()
            .args(["oracle", "structural-loss", "--input"])
            .arg(&path),
    );
    says(&message, &["`real` must be F32 or F64, got I64"]);
}

#[test]
fn a_zero_row_under_cosine_names_the_row() {
    let mut inputs = features();
    inputs[1].1 = array![[0.5, 1.5], [0.0, 0.0], [-1.0, 0.75]].into_dyn();
    let message = Folder::new().oracle_error("structural-loss", &inputs, &[]);
    says(&message, &["generated", "row 1"]);
    // Other relations have no quarrel with it.
    Folder::new().oracle("structural-loss", &inputs, &["relation=euclidean"]);
}

#[test]
fn excluding_the_diagonal_of_a_single_row_is_refused() {
    let inputs = [
        ("real", array![[1.0, 2.0]].into_dyn()),
        ("generated", array![[2.0, 1.0]].into_dyn()),
    ];
    let message = Folder::new().oracle_error("structural-loss", &inputs, &["diagonal=exclude"]);
    says(&message, &["at least 2"]);
}

#[test]
fn times_outside_the_schedule_are_named() {
    let inputs = [
        ("x0", array![[1.0], [2.0]].into_dyn()),
        ("noise", array![[1.0], [2.0]].into_dyn()),
        ("t", array![0.5, 1.25].into_dyn()),
    ];
    let message = Folder::new().oracle_error("forward", &inputs, &["schedule=cosine"]);
    says(
        &message,
        &["element [1]", "time t must be in [0, 1], got 1.25"],
    );
}

#[test]
fn a_transition_backwards_is_refused() {
    let inputs = [
        ("s", array![0.1, 0.75].into_dyn()),
        ("t", array![0.5, 0.25].into_dyn()),
    ];
    let message = Folder::new().oracle_error("transition", &inputs, &[]);
    says(&message, &["element [1]", "s = 0.75, t = 0.25"]);
}

#[test]
fn an_infinite_weight_is_refused_with_its_time() {
    for weight in ["elbo", "snr", "one-plus-snr", "edm"] {
        let inputs = [
            ("x0", array![[1.0], [1.0]].into_dyn()),
            ("prediction", array![[3.0], [3.0]].into_dyn()),
            ("t", array![0.5, 0.0].into_dyn()),
        ];
        let message =
            Folder::new().oracle_error("denoising-loss", &inputs, &[&format!("weight={weight}")]);
        says(
            &message,
            &["element [1]", &format!("weight {weight}"), "t = 0"],
        );
    }
}

#[test]
fn a_noise_level_that_is_none_is_named() {
    for sigma in [0.0, -1.0] {
        let inputs = [("sigma", array![1.0, sigma].into_dyn())];
        let message = Folder::new().oracle_error("edm-precondition", &inputs, &[]);
        says(&message, &["sigma", "> 0", "[1]"]);
    }
}

#[test]
fn a_result_beyond_f64_is_refused() {
    let inputs = [
        ("real", array![[1e200]].into_dyn()),
        ("generated", array![[1.0]].into_dyn()),
    ];
    let message =
        Folder::new().oracle_error("structural-loss", &inputs, &["relation=inner-product"]);
    says(&message, &["real", "rows 0 and 0", "overflows"]);
    let inputs = [
        ("x0", array![[1.0]].into_dyn()),
        ("prediction", array![[1e200]].into_dyn()),
        ("t", array![0.5].into_dyn()),
    ];
    let message = Folder::new().oracle_error("denoising-loss", &inputs, &[]);
    says(
        &message,
        &["`loss` is inf", "largest 1e200 (`prediction` [0, 0])"],
    );
    let mut inputs = features();
    inputs[1].1 = array![[0.5, 1.5], [5e-324, 0.0], [-1.0, 0.75]].into_dyn();
    let message = Folder::new().oracle_error("structural-loss", &inputs, &[]);
    says(&message, &["row 1 of `generated`", "scale that row"]);
    inputs[1].1 = array![[0.5, 1.5], [5e107, 0.0], [-1.0, 0.75]].into_dyn();
    let settings = ["relation=inner-product"];
    let message = Folder::new().oracle_error("structural-loss", &inputs, &settings);
    says(&message, &["row 1 of `generated`", "scale the features"]);
}

#[test]
fn an_output_folder_that_does_not_exist_is_named() {
    let folder = Folder::new();
    let path = folder.path("nowhere/out.safetensors");
    let message = error_of(sadm().args(["oracle", "edm-sigmas", "--output"]).arg(&path));
    says(
        &message,
        &["cannot write", "nowhere/out.safetensors", "No such file"],
    );
}
