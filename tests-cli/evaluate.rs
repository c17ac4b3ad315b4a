//! `sadm evaluate` on folders, arrays, stored statistics and a run.

use ndarray::{Array2, ArrayD, array};
use serde_json::Value;

use crate::runs;
use crate::support::{Folder, answered, error_of, metric, sadm, says, write_f32, write_f64};

/// Features of full rank without a generator: a hash of the place in [−1, 1), exact in f64.
fn hashed(rows: usize, columns: usize, salt: u64) -> ArrayD<f64> {
    Array2::from_shape_fn((rows, columns), |(i, j)| {
        let mut h = (i * columns + j) as u64 + salt * 0x9E37_79B9;
        for _ in 0..2 {
            h = h.wrapping_add(1).wrapping_mul(0xD6E8_FEB8_6659_FD93);
            h ^= h >> 32;
        }
        (h >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    })
    .into_dyn()
}

fn save(folder: &Folder, name: &str, features: &ArrayD<f64>) -> String {
    let path = folder.path(name);
    write_f64(&path, &[("features", features.clone())]);
    path.display().to_string()
}

/// The arguments that hold features of a file against those of another.
fn given<'a>(generated: &'a str, reference: &'a str) -> [&'a str; 6] {
    [
        "--generated",
        generated,
        "--reference",
        reference,
        "--features",
        "given",
    ]
}

/// Runs `sadm evaluate` with a JSON answer; the answer and the table.
fn evaluated(folder: &Folder, args: &[&str]) -> (Value, String) {
    answered(folder, sadm().arg("evaluate").args(args))
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

/// Every digit, in features enough that OpenBLAS would divide its work.
#[test]
fn no_number_depends_on_the_number_of_threads() {
    let folder = Folder::new();
    let sets = [hashed(300, 160, 1), hashed(300, 160, 2) * 1.25];
    let a = save(&folder, "a.safetensors", &sets[0]);
    let b = save(&folder, "b.safetensors", &sets[1]);
    let answers = ["1", "2"].map(|threads| {
        let more = ["--metrics=fd,kid,pr,dc,nn", "--resamples=4", "--threads"];
        evaluated(&folder, &[&given(&a, &b)[..], &more, &[threads]].concat()).0
    });
    assert_eq!(answers[0]["metrics"], answers[1]["metrics"]);
    // A command without that option, and OpenBLAS told otherwise by the environment.
    let distances = ["1", "2"].map(|threads| {
        let [a, b] = [("a", sets[0].clone()), ("b", sets[1].clone())];
        let [input, output] = ["in.safetensors", "out.safetensors"].map(|name| folder.path(name));
        write_f64(&input, &[a, b]);
        sadm()
            .env("OPENBLAS_NUM_THREADS", threads)
            .args(["oracle", "frechet", "--input"])
            .arg(&input)
            .arg("--output")
            .arg(&output)
            .assert()
            .success();
        std::fs::read(&output).expect("an answer")
    });
    assert_eq!(distances[0], distances[1]);
}

#[test]
fn given_features_get_the_oracles_numbers() {
    let folder = Folder::new();
    let (a, b) = (hashed(60, 3, 1), hashed(50, 3, 2) * 1.25);
    let (generated, reference) = (
        save(&folder, "a.safetensors", &a),
        save(&folder, "b.safetensors", &b),
    );
    let more = ["--name=toy", "--metrics=fd,kid,pr,dc,nn", "--resamples=20"];
    let args = [&given(&generated, &reference)[..], &more].concat();
    let (answer, table) = evaluated(&folder, &args);
    let fd = folder.oracle("frechet", &[("a", a.clone()), ("b", b.clone())], &[]);
    let kid = folder.oracle("kid", &[("a", a.clone()), ("b", b.clone())], &[]);
    let prdc = folder.oracle("precision-recall", &[("real", b), ("generated", a)], &[]);
    for (name, want) in [
        ("fd-toy", &fd.json["scalars"]["frechet"]),
        ("kid-toy", &kid.json["scalars"]["kid"]),
        ("precision-toy", &prdc.json["scalars"]["precision"]),
        ("recall-toy", &prdc.json["scalars"]["recall"]),
        ("density-toy", &prdc.json["scalars"]["density"]),
        ("coverage-toy", &prdc.json["scalars"]["coverage"]),
    ] {
        assert_eq!(&metric(&answer, name)["value"], want, "{name}");
        assert!(table.contains(name), "{name} is not in {table}");
    }
    assert_eq!(answer["generated"]["samples"], 60);
    assert_eq!(answer["reference"]["samples"], 50);
    assert!(
        !table.contains("FID") && !table.contains("note:"),
        "{table}"
    );
    let interval = &metric(&answer, "precision-toy")["interval"];
    assert!(number(&interval[0]) <= number(&interval[1]));
    let again = evaluated(&folder, &args);
    assert_eq!(again.0, answer, "the same seed gives the same answer");
}

/// A `.npy` of `float32`.
fn npy(path: &std::path::Path, x: &ArrayD<f64>) {
    let shape: Vec<String> = x.shape().iter().map(usize::to_string).collect();
    let header = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}",
        shape.join(", ")
    );
    let padded = format!("{header:<117}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(padded.len()).expect("short").to_le_bytes());
    bytes.extend(padded.as_bytes());
    #[expect(clippy::cast_possible_truncation, reason = "exact in f32")]
    bytes.extend(x.iter().flat_map(|x| (*x as f32).to_le_bytes()));
    std::fs::write(path, bytes).expect("a file");
}

/// Features that a file has in f32 are kept so; every number of every metric is that of the same features in f64.
#[test]
fn features_in_f32_have_the_numbers_of_f64() {
    let folder = Folder::new();
    let narrow = |x: ArrayD<f64>| x.mapv(|x| (x * 4096.0).round() / 4096.0);
    let (a, b) = (narrow(hashed(60, 3, 1)), narrow(hashed(50, 3, 2) * 1.25));
    let p =
        ArrayD::from_elem(vec![60, 4], 0.25) + hashed(60, 1, 5) * array![0.125, -0.125, 0.0, 0.0];
    let p = narrow(p);
    let path = |name: &str| folder.path(name);
    write_f64(
        &path("a64.safetensors"),
        &[("features", a.clone()), ("probabilities", p.clone())],
    );
    write_f32(
        &path("a32.safetensors"),
        &[("features", a), ("probabilities", p)],
    );
    write_f64(&path("b64.safetensors"), &[("features", b.clone())]);
    npy(&path("b32.npy"), &b);
    let numbers = |generated: &str, reference: &str, more: &[&str]| {
        let [a, b] = [generated, reference].map(|name| path(name).display().to_string());
        let many = [
            "--metrics=fd,fd-inf,kid,is,pr,dc,nn",
            "--resamples=5",
            "--kid-subset-size=9",
        ];
        let (answer, _) = evaluated(&folder, &[&given(&a, &b)[..], &many, more].concat());
        answer["metrics"].clone()
    };
    for more in [
        &[][..],
        &["--half"],
        &["--held-out", &path("b32.npy").display().to_string()],
    ] {
        let want = numbers("a64.safetensors", "b64.safetensors", more);
        assert!(want.as_array().expect("metrics").len() >= 10, "{want}");
        for a in ["a64.safetensors", "a32.safetensors"] {
            for b in ["b64.safetensors", "b32.npy"] {
                assert_eq!(numbers(a, b, more), want, "{a} {b} {more:?}");
            }
        }
    }
}

#[test]
fn conventions_move_the_numbers_and_are_said() {
    let folder = Folder::new();
    let a = save(&folder, "a.safetensors", &hashed(30, 2, 1));
    let b = save(&folder, "b.safetensors", &(hashed(30, 2, 2) + 0.5));
    let base = [&given(&a, &b)[..], &["--resamples", "0"]].concat();
    let with = |more: &[&str]| evaluated(&folder, &[&base[..], more].concat()).0;
    let fd = |answer: &Value| number(&metric(answer, "fd-given")["value"]);
    let (unbiased, biased) = (
        with(&["--metrics", "fd"]),
        with(&["--metrics", "fd", "--covariance", "n"]),
    );
    // Only the trace term scales, by 29/30.
    let part = |name: &str| number(&metric(&unbiased, "fd-given")["parts"][name]);
    let want = part("mean_term") + part("trace_term") * 29.0 / 30.0;
    assert!(
        (fd(&biased) - want).abs() <= 1e-13,
        "{} {want}",
        fd(&biased)
    );
    let said = metric(&biased, "fd-given")["convention"]
        .as_str()
        .expect("text");
    assert_eq!(said, "covariance over N");
    let saved = |divisor: &str, name: &str| {
        let path = folder.path(name).display().to_string();
        let save = ["--save-statistics", &path, "--covariance", divisor];
        sadm()
            .args(["evaluate", "--features", "given", "--generated", &a])
            .args(save)
            .assert()
            .success();
        let args = given(&b, &path);
        let few = ["--metrics", "fd", "--resamples", "0"];
        let answer = evaluated(&folder, &[&args[..], &few].concat()).0;
        let line = metric(&answer, "fd-given").clone();
        let said = line["convention"].as_str().expect("text").to_owned();
        assert_eq!(
            said,
            "covariance over N−1 of generated, stored as it is of real"
        );
        number(&line["parts"]["trace_term"])
    };
    assert!((saved("n", "n.npz") - saved("n-1", "m.npz")).abs() > 1e-6);
    assert!(metric(&unbiased, "fd-given")["interval"].is_null());
    let subsets = with(&[
        "--metrics",
        "kid",
        "--kid-subset-size",
        "10",
        "--kid-subsets",
        "7",
    ]);
    let line = metric(&subsets, "kid-given-subsets");
    assert_eq!(line["convention"], "mean of 7 subsets of 10, std over n");
    assert!(number(&line["parts"]["std"]) > 0.0);
}

/// Balls are closed or open, and features rounded, as is asked for.
#[test]
fn balls_and_rounding_are_chosen() {
    let folder = Folder::new();
    let b = save(&folder, "b.safetensors", &(hashed(30, 2, 2) + 0.5));
    let half = |salt: f64| {
        let far = save(&folder, "far.safetensors", &(hashed(30, 2, 3) * salt));
        let args = given(&far, &b);
        let more = ["--metrics", "pr", "--half", "--resamples", "0"];
        let answer = evaluated(&folder, &[&args[..], &more].concat()).0;
        metric(&answer, "precision-given")["convention"].to_string()
    };
    // On whole numbers distances tie, and a point on the edge of a ball is in a closed one alone.
    let whole = array![[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]].into_dyn();
    let [grid, edge] = [("grid.safetensors", 0.0), ("edge.safetensors", 1.0)]
        .map(|(name, by)| save(&folder, name, &(&whole + by)));
    let precision = |more: &[&str]| {
        let args = given(&edge, &grid);
        let few = ["--metrics", "pr", "-k", "1", "--resamples", "0"];
        let answer = evaluated(&folder, &[&args[..], &few, more].concat()).0;
        number(&metric(&answer, "precision-given")["value"])
    };
    let found = [precision(&["--open-balls"]), precision(&[])];
    assert!(
        (found[0] - 0.25).abs() < 1e-12 && (found[1] - 0.75).abs() < 1e-12,
        "{found:?}"
    );
    assert!(half(1.0).contains("features rounded to f16;"));
    assert!(half(1e6).contains("rounded to f32, since f16 overflows"));
}

#[test]
fn stored_statistics_serve_as_reference_and_numpy_names_are_kept() {
    let folder = Folder::new();
    let (a, b) = (hashed(40, 3, 1), hashed(50, 3, 2) * 1.5);
    let (generated, real) = (
        save(&folder, "a.safetensors", &a),
        save(&folder, "b.safetensors", &b),
    );
    let stored = folder.path("real.npz").display().to_string();
    sadm()
        .args(["evaluate", "--features", "given", "--generated", &real])
        .args(["--save-statistics", &stored])
        .assert()
        .success();
    let by = |reference: &str| {
        let args = given(&generated, reference);
        evaluated(
            &folder,
            &[&args[..], &["--metrics", "fd", "--resamples", "0"]].concat(),
        )
        .0
    };
    let (direct, stored_answer) = (by(&real), by(&stored));
    let value = |answer: &Value| number(&metric(answer, "fd-given")["value"]);
    assert!((value(&direct) - value(&stored_answer)).abs() <= 1e-13);
    assert!(stored_answer["reference"]["samples"].is_null());
    let message = error_of(
        sadm()
            .arg("evaluate")
            .args(given(&generated, &stored))
            .args(["--metrics", "kid"]),
    );
    says(&message, &["kid needs the reference's samples"]);
}

/// `--moments spatial` reads the other two arrays of ADM's files.
#[test]
fn spatial_moments_are_read_by_their_names() {
    let folder = Folder::new();
    let generated = save(&folder, "a.safetensors", &hashed(40, 2, 1));
    let path = folder.path("four.safetensors");
    let (near, far) = (array![0.0, 0.0].into_dyn(), array![3.0, 0.0].into_dyn());
    let unit = array![[1.0, 0.0], [0.0, 1.0]].into_dyn();
    let four = [
        ("mu", near),
        ("sigma", unit.clone()),
        ("mu_s", far),
        ("sigma_s", unit),
    ];
    write_f64(&path, &four);
    let four = path.display().to_string();
    let mean = |more: &[&str]| {
        let args = given(&generated, &four);
        let few = ["--metrics", "fd", "--resamples", "0"];
        let answer = evaluated(&folder, &[&args[..], &few, more].concat()).0;
        number(&metric(&answer, "fd-given")["parts"]["mean_term"])
    };
    assert!(mean(&[]) < 1.0 && mean(&["--moments", "spatial"]) > 8.0);
}

/// As ADM's reference batches: moments for the Fréchet distance, samples for what needs them.
#[test]
fn moments_and_samples_of_one_file_serve_both() {
    let folder = Folder::new();
    let (a, b) = (hashed(40, 2, 1), hashed(50, 2, 2));
    let generated = save(&folder, "a.safetensors", &a);
    let path = folder.path("both.safetensors");
    let mu = array![0.0, 3.0].into_dyn();
    let sigma = array![[1.0, 0.0], [0.0, 2.0]].into_dyn();
    let tensors = [("features", b.clone()), ("mu", mu), ("sigma", sigma)];
    write_f64(&path, &tensors);
    let both = path.display().to_string();
    let args = given(&generated, &both);
    let with = |more: &[&str]| evaluated(&folder, &[&args[..], more].concat()).0;
    let answer = with(&["--metrics", "fd,pr", "--resamples", "0"]);
    // The stored mean is 3 away in its second coordinate, the samples' is not.
    assert!(number(&metric(&answer, "fd-given")["parts"]["mean_term"]) > 8.0);
    let prdc = folder.oracle("precision-recall", &[("real", b), ("generated", a)], &[]);
    let precision = &metric(&answer, "precision-given")["value"];
    assert_eq!(precision, &prdc.json["scalars"]["precision"]);
    assert_eq!(answer["reference"]["samples"], 50);
    let few = with(&[
        "--metrics",
        "pr",
        "--reference-count",
        "20",
        "--resamples",
        "0",
    ]);
    assert_eq!(few["reference"]["samples"], 20);
    let rank_one = folder.path("one.safetensors");
    let flat = array![[1.0, 1.0], [1.0, 1.0]].into_dyn();
    write_f64(
        &rank_one,
        &[("mu", array![0.0, 0.0].into_dyn()), ("sigma", flat)],
    );
    let rank_one = rank_one.display().to_string();
    let args = given(&generated, &rank_one);
    let (_, table) = evaluated(&folder, &[&args[..], &["--metrics", "fd,fd-inf"]].concat());
    assert_eq!(
        table.matches("do not suffice for covariances").count(),
        2,
        "{table}"
    );
}

/// Ten classes, told for certain: a split that has them all scores their number, one of a single class scores 1.
#[test]
fn a_perfect_classifier_scores_the_number_of_classes() {
    let folder = Folder::new();
    let score = |class: fn(usize) -> usize, more: &[&str]| {
        let one_hot = Array2::from_shape_fn((100, 10), |(i, j)| f64::from(u8::from(class(i) == j)));
        let path = folder.path("p.safetensors");
        write_f64(&path, &[("probabilities", one_hot.into_dyn())]);
        let path = path.display().to_string();
        let args = given(&path, &path);
        let (answer, _) = evaluated(&folder, &[&args[..], &["--metrics", "is"], more].concat());
        let line = metric(&answer, "is-given");
        let ends = [0, 1].map(|end: usize| number(&line["interval"][end]));
        (number(&line["value"]), ends)
    };
    let (shuffled, _) = score(|i| i / 10, &["--shuffle", "1"]);
    let (drawn, _) = score(|i| i / 10, &[]);
    let (as_torch_fidelity, _) = score(|i| i / 10, &["--torch-fidelity-draws"]);
    assert!(
        (drawn - as_torch_fidelity).abs() < 1e-12,
        "its shuffle is the default"
    );
    for value in [shuffled, drawn] {
        assert!((5.0..10.0).contains(&value), "{value}");
    }
    assert!((shuffled - drawn).abs() > 1e-6, "other permutations");
    let consecutive = ["--split-order", "consecutive"];
    let (in_turn, _) = score(|i| i % 10, &consecutive);
    assert!((in_turn - 10.0).abs() < 1e-9, "{in_turn}");
    let (sorted, [low, high]) = score(|i| i / 10, &consecutive);
    assert!(
        (sorted - 1.0).abs() < 1e-9,
        "one class to a split: {sorted}"
    );
    assert!(
        (low - 1.0).abs() < 1e-9 && (high - 1.0).abs() < 1e-9,
        "[{low}, {high}]"
    );
}

#[test]
fn too_few_samples_are_said() {
    let folder = Folder::new();
    let a = save(&folder, "a.safetensors", &hashed(5, 6, 1));
    let b = save(&folder, "b.safetensors", &hashed(50, 6, 2));
    let (answer, table) = evaluated(
        &folder,
        &[&given(&a, &b)[..], &["--metrics", "fd", "--resamples", "0"]].concat(),
    );
    says(
        &table,
        &["note: 5 generated and 50 real samples do not suffice"],
    );
    assert!(metric(&answer, "fd-given")["note"].is_string());

    // Enough for full rank, and still mostly bias: the interval is far below the value, and that is said.
    let a = save(&folder, "c.safetensors", &hashed(40, 12, 3));
    let b = save(&folder, "d.safetensors", &hashed(45, 12, 4));
    let args = given(&a, &b);
    let (answer, table) = evaluated(&folder, &[&args[..], &["--metrics", "fd"]].concat());
    let line = metric(&answer, "fd-given");
    let ends = [0, 1].map(|end: usize| number(&line["interval"][end]));
    assert!(0.0 <= ends[0] && ends[0] <= ends[1], "{ends:?}");
    assert!(number(&line["value"]) > ends[1], "{line}");
    says(&table, &["note: fd-given lies outside its interval"]);
}

#[test]
fn pictures_of_a_folder_are_their_pixels() {
    let folder = Folder::new();
    let pictures = folder.path("pictures");
    std::fs::create_dir(&pictures).expect("a folder");
    let mut rows = Vec::new();
    for k in 0..12_u8 {
        let bytes: Vec<u8> = (0..6)
            .map(|i| k.wrapping_mul(37).wrapping_add(i * 51))
            .collect();
        rows.extend(bytes.iter().map(|b| f64::from(f32::from(*b) / 127.5 - 1.0)));
        let picture = image::GrayImage::from_raw(3, 2, bytes).expect("3 × 2");
        picture
            .save(pictures.join(format!("{k:02}.png")))
            .expect("a file");
    }
    let same = ArrayD::from_shape_vec(vec![12, 1, 2, 3], rows).expect("12 pictures");
    let tensors = folder.path("same.safetensors");
    write_f64(&tensors, &[("images", same)]);
    let source = pictures.display().to_string();
    let (answer, _) = evaluated(
        &folder,
        &[
            "--generated",
            &source,
            "--reference",
            &tensors.display().to_string(),
            "--metrics",
            "fd,nn",
            "--resamples",
            "0",
        ],
    );
    assert_eq!(answer["dimension"], 6);
    assert!(number(&metric(&answer, "fd-pixels")["value"]) <= 1e-20);
    assert_eq!(metric(&answer, "nn-copies-pixels")["value"], 1.0);
    let odd = image::GrayImage::from_raw(2, 2, vec![0; 4]).expect("2 × 2");
    odd.save(pictures.join("odd.png")).expect("a file");
    let message =
        error_of(sadm().args(["evaluate", "--generated", &source, "--reference", "digits"]));
    says(&message, &["odd.png", "[1, 2, 2]"]);
    std::fs::write(pictures.join("00.png"), b"no picture").expect("a file");
    let message =
        error_of(sadm().args(["evaluate", "--generated", &source, "--reference", "digits"]));
    says(&message, &["00.png: is not a whole PNG"]);
}

#[test]
fn a_run_is_judged_by_its_own_encoder() {
    let folder = Folder::new();
    let run = folder.path("run");
    runs::train(&run, 8, &[]);
    let run = run.display().to_string();
    let (answer, _) = evaluated(
        &folder,
        &[
            "--run",
            &run,
            "--count",
            "20",
            "--reference",
            "digits",
            "--features",
            "encoder",
            "--metrics",
            "fd,is,pr",
            "--resamples",
            "5",
            "--splits",
            "2",
        ],
    );
    assert_eq!(answer["generated"]["samples"], 20);
    assert_eq!(answer["reference"]["samples"], 1797);
    assert_eq!(answer["dimension"], 8);
    let line = metric(&answer, "fd-encoder");
    assert!(number(&line["value"]) > 0.0);
    let psi = answer["encoder"].as_str().expect("whose features");
    let said = line["convention"].as_str().expect("text");
    let digest = psi.split(' ').nth(1).expect("a digest");
    assert!(
        digest.len() == 8 && said.ends_with(&format!("; Ψ {digest}")),
        "{said} {psi}"
    );
    assert!(psi.contains(&run), "{psi}");
    assert!(number(&metric(&answer, "is-encoder")["value"]) >= 1.0);

    // The images that a run has seen are copies of its data; those kept out are not.
    let seen = [
        "--run",
        &run,
        "--generated",
        "run:train",
        "--reference",
        "run:train",
    ];
    let more = [
        "--held-out",
        "run:holdout",
        "--metrics",
        "nn",
        "--resamples",
        "0",
    ];
    let (answer, _) = evaluated(&folder, &[&seen[..], &more].concat());
    assert_eq!(metric(&answer, "nn-copies-pixels")["value"], 1.0);
    assert!(number(&metric(&answer, "nn-copying-z-pixels")["value"]) > 3.0);
    let all: u64 = ["run:train", "run:holdout"]
        .map(|part| {
            let args = ["--run", &run, "--generated", part, "--reference", part];
            let more = ["--metrics", "kid", "--resamples", "0"];
            let answer = evaluated(&folder, &[&args[..], &more].concat()).0;
            answer["reference"]["samples"].as_u64().expect("a number")
        })
        .iter()
        .sum();
    assert_eq!(all, 64, "all of the tiny run's images");
    refuses(
        &["--generated", "digits", "--reference", "run:train"],
        &["--run DIR", "run:train"],
    );
}

#[test]
fn a_runs_likelihood_is_measured_and_kept() {
    let folder = Folder::new();
    let run = folder.path("run");
    runs::train(&run, 8, &[]);
    let place = run.display().to_string();
    let nll = |more: &[&str]| {
        let args = ["--run", &place, "--reference", "digits", "--metrics", "nll"];
        let few = ["--nll-samples", "6", "--nll-steps", "12"];
        let (answer, table) = evaluated(&folder, &[&args[..], &few, more].concat());
        let line = metric(&answer, "nll").clone();
        (number(&line["value"]), line, table)
    };
    let (exact, line, table) = nll(&["--nll-probes", "0"]);
    // Hardly trained, the model is worth little more than 17 equally likely values, log₂ 17 = 4.1 bits.
    assert!((1.0..6.0).contains(&exact), "{exact}");
    assert!(number(&line["parts"]["change_at_half_the_steps"]).abs() < 0.5);
    let convention = line["convention"].as_str().expect("a text");
    says(
        convention,
        &[
            "given the class",
            "1 in 17",
            "6 images",
            "12 steps",
            "exact trace",
        ],
    );
    assert!(
        table.contains("step 8") && !table.contains("stored mean"),
        "{table}"
    );
    // The same images and dequantisation, so the probes alone make a difference.
    let (estimated, _, _) = nll(&["--nll-probes", "16"]);
    assert!((estimated - exact).abs() < 0.05, "{estimated}, not {exact}");
    assert_ne!(estimated.to_bits(), exact.to_bits());
    let (other, _, _) = nll(&["--nll-probes", "0", "--seed", "1"]);
    assert_ne!(other.to_bits(), exact.to_bits());

    let kept = || std::fs::read_to_string(run.join("evaluation.jsonl")).expect("it was written");
    let lines = kept();
    let lines: Vec<Value> = lines
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    assert_eq!(
        lines.len(),
        2,
        "measured again, a line is replaced; with probes it is another: {lines:?}"
    );
    assert_eq!(lines[0]["step"], 8);
    assert_eq!(number(&lines[0]["nll"]).to_bits(), other.to_bits());

    let earlier = [
        "--step",
        "6",
        "--count",
        "20",
        "--metrics",
        "fd",
        "--resamples",
        "0",
    ];
    let args = [&["--run", &place, "--reference", "digits"][..], &earlier].concat();
    evaluated(&folder, &args);
    let lines = kept();
    let first: Value = serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON");
    assert_eq!(lines.lines().count(), 3);
    assert_eq!(first["step"], 6);
    assert!(
        number(&first["fd-pixels"]) > 0.0
            && first["of"] == "20 samples, classes in the data's shares"
    );
    let how = "covariance over N−1; pixels as bytes";
    assert_eq!(first["how"]["fd-pixels"], how);
    // The same numbers again replace a line; those of another convention are others.
    evaluated(&folder, &args);
    assert_eq!(kept().lines().count(), 3);
    evaluated(&folder, &[&args[..], &["--covariance", "n"]].concat());
    assert_eq!(kept().lines().count(), 4);

    std::fs::write(run.join("evaluation.jsonl"), "half a li").expect("a file");
    let output = sadm().arg("evaluate").args(&args).assert().success();
    let said = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    says(&said, &["line 1 of", "evaluation.jsonl"]);
    assert_eq!(kept(), "half a li");
    refuses(
        &["--run", &place, "--step", "5", "--reference", "digits"],
        &["checkpoint"],
    );
    let reals = save(&folder, "reals.safetensors", &hashed(5, 2, 1));
    refuses(
        &["--run", &place, "--reference", &reals, "--metrics", "nll"],
        &["nll needs images"],
    );
}

#[track_caller]
fn refuses(args: &[&str], parts: &[&str]) {
    says(&error_of(sadm().arg("evaluate").args(args)), parts);
}

#[test]
fn sources_that_cannot_be_judged_are_named() {
    let folder = Folder::new();
    let path = |name: &str| folder.path(name).display().to_string();
    let a = save(&folder, "a.safetensors", &hashed(5, 2, 1));
    refuses(
        &["--generated", "nowhere", "--reference", "digits"],
        &["no file or folder `nowhere`", "digits, mnist, cifar10"],
    );
    let alone = ["fd compares with real samples", "--reference SOURCE"];
    refuses(&["--generated", &a], &alone);
    let mixed = ["--generated", &a, "--reference", "digits"];
    refuses(&mixed, &["generated holds features", "--features given"]);
    let mixed = [
        "--generated",
        "digits",
        "--reference",
        &a,
        "--features",
        "given",
    ];
    refuses(&mixed, &["holds images"]);
    let no_run = [
        "--generated",
        "digits",
        "--reference",
        "digits",
        "--features",
        "encoder",
    ];
    refuses(&no_run, &["--run DIR"]);
    let nowhere = ["--generated", "digits", "--reference", "digits", "--json"];
    let nowhere = [&nowhere[..], &["no/such/folder/a.json"]].concat();
    refuses(&nowhere, &["--json", "no folder `no/such/folder`"]);
    let pixels = [
        "--generated",
        "digits",
        "--reference",
        "digits",
        "--metrics",
    ];
    refuses(&[&pixels[..], &["is"]].concat(), &["pixels have none"]);
    let model = ["--run DIR", "--metrics nll"];
    refuses(&[&pixels[..], &["nll"]].concat(), &model);
    let given = [
        "--run",
        &path("none"),
        "--reference",
        "digits",
        "--features",
        "given",
    ];
    refuses(&given, &["--generated FILE"]);
    refuses(
        &["--run", &path("none"), "--reference", "digits"],
        &["none", "config.toml"],
    );
    std::fs::write(folder.path("a.txt"), b"text").expect("a file");
    refuses(
        &["--generated", &path("a.txt"), "--reference", "digits"],
        &["a.txt", ".npy, .npz or .safetensors"],
    );
    std::fs::create_dir(folder.path("empty")).expect("a folder");
    let empty = ["--generated", &path("empty"), "--reference", "digits"];
    refuses(&empty, &["holds no .png picture"]);
}

#[test]
fn options_that_would_change_nothing_are_refused() {
    let base = ["--generated", "digits", "--reference", "digits"];
    let refused = |more: &[&str], parts: &[&str]| refuses(&[&base[..], more].concat(), parts);
    let fd = "--metrics=fd,nn";
    for (option, metrics, users) in [
        ("--held-out=digits", "--metrics=fd", "nn alone"),
        ("--open-balls", fd, "pr alone"),
        ("--half", fd, "pr and dc alone"),
        ("--torch-fidelity-draws", fd, "is and kid alone"),
        ("--shuffle=3", fd, "is alone"),
        ("--kid-subset-size=100", fd, "kid alone"),
        ("--lpips-weights=none", fd, "lpips alone"),
    ] {
        refused(
            &[option, metrics],
            &[option.split('=').next().unwrap_or(option), users],
        );
    }
    refused(&["--encoder=none"], &["--features encoder"]);
    refused(&["--weights=none"], &["--features inception or resnet"]);
    let mut alone = sadm();
    alone.args([
        "evaluate",
        "--kid-subsets=3",
        "--reference=digits",
        "--generated=digits",
    ]);
    let said = alone.assert().code(2);
    let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
    says(&said, &["--kid-subset-size"]);
    let neither = sadm()
        .args(["evaluate", "--reference=digits"])
        .assert()
        .code(2);
    let said = String::from_utf8_lossy(&neither.get_output().stderr).into_owned();
    says(&said, &["--generated", "--run"]);
}

#[test]
fn repetitions_without_end_are_refused() {
    for option in ["--resamples", "--nll-steps", "--nll-probes"] {
        let mut command = sadm();
        command.args([
            "evaluate",
            "--reference=digits",
            "--generated=digits",
            option,
        ]);
        let said = command.arg("1000000000000000").assert().code(2);
        let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
        says(&said, &[option, "must be a whole number from 0 to 1000000"]);
    }
}

#[test]
fn features_that_cannot_be_compared_are_named() {
    let folder = Folder::new();
    let a = save(&folder, "a.safetensors", &hashed(5, 2, 1));
    let refused = |generated: &str, reference: &str, more: &[&str], parts: &[&str]| {
        refuses(&[&given(generated, reference)[..], more].concat(), parts);
    };
    let cut = folder.path("cut.npz");
    std::fs::write(&cut, b"PK\x03\x04").expect("a file");
    let cut = cut.display().to_string();
    refused(&a, &cut, &[], &["cut.npz: is not a whole .npz file"]);
    let wide = save(&folder, "wide.safetensors", &hashed(5, 3, 1));
    refused(&a, &wide, &[], &["generated set's 2 features, got 3"]);
    let fid = ["--metrics", "fid"];
    refused(&a, &a, &fid, &["fid is the Fréchet distance", "ask for fd"]);
    // A name does not make them Inception's.
    let named = ["--metrics", "fid", "--name", "inception"];
    refused(&a, &a, &named, &["2048 features, got 2"]);
    let named = ["--metrics", "sfid", "--name", "inception-spatial"];
    refused(&a, &a, &named, &["2023 features, got 2"]);
    refused(&a, &a, &["--metrics", "is"], &["class probabilities"]);
    let mut two = array![[0.0, 1.0], [1.0, f64::NAN]].into_dyn();
    let nan = save(&folder, "nan.safetensors", &two);
    refused(&nan, &a, &[], &["NaN", "[1, 1]"]);
    two[[1, 1]] = 3.0;
    let two = save(&folder, "two.safetensors", &two);
    refused(
        &two,
        &a,
        &["--metrics", "pr"],
        &["k must be from 1 to 1", "got 3"],
    );
}
