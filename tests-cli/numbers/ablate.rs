//! `sadm ablate`: every number of every run, every difference, and both tables by their rows and columns.

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::ArrayD;
use serde_json::Value;

use crate::draws::order;
use crate::formulas::{balls, close, deviation, frechet, kid, mean, percentiles, share};
use crate::runs::TINY;
use crate::support::{Folder, sadm};
use crate::tables::{markdown, shows};
use crate::walk::{Asked, FACTOR, spread, walk};
use crate::written::{Psi, Rounding, Written, chosen, digits, flat, json, number, size};

const METRICS: [(&str, &str, bool); 7] = [
    ("fd-encoder", "fd_encoder", true),
    ("fd-pixels", "fd_pixels", true),
    ("kid", "kid", true),
    ("precision", "precision", false),
    ("recall", "recall", false),
    ("density", "density", false),
    ("coverage", "coverage", false),
];

/// What each of the runs is worth by its own files: the seven metrics of 16 images.
fn measured(
    written: &Written,
    psi: &Psi,
    real: &ArrayD<f64>,
    seed: u64,
    round: Rounding,
) -> Vec<f64> {
    let labels = (0..16_u32).map(|i| Some(10 * i / 16)).collect();
    let asked = Asked::of(written, labels, seed + 0x5ad0_0000_0000);
    let images = walk(written, &asked, round).images;
    let (ours, theirs) = (psi.features(&images, round), psi.features(real, round));
    let near = balls(&theirs, &ours, 3);
    let dense = balls(&theirs, &ours, 5);
    vec![
        frechet(&ours, &theirs, 1.0).iter().sum(),
        frechet(&flat(&images), &flat(real), 1.0).iter().sum(),
        kid(&ours, &theirs),
        share(&near.precise).0,
        share(&near.recalled).0,
        mean(&dense.held),
        share(&dense.covered).0,
    ]
}

/// Metrics of a run by name.
type Numbers = BTreeMap<&'static str, f64>;

struct Arms {
    out: std::path::PathBuf,
    results: Value,
    text: String,
}

impl Arms {
    fn of(&self, name: &str) -> BTreeMap<u64, Numbers> {
        let arms = self.results["arms"].as_array().expect("arms");
        let arm = arms.iter().find(|arm| arm["name"] == name).expect("an arm");
        let runs = arm["runs"].as_object().expect("runs").iter();
        runs.map(|(seed, run)| {
            let numbers = METRICS.map(|(name, key, _)| (name, number(&run[key])));
            (seed.parse().expect("a seed"), numbers.into())
        })
        .collect()
    }

    fn difference(&self, name: &str, key: &str) -> &Value {
        let arms = self.results["arms"].as_array().expect("arms");
        &arms.iter().find(|arm| arm["name"] == name).expect("an arm")[key]
    }
}

fn ablation(out: &Path) -> Arms {
    let mut command = sadm();
    command.args([
        "ablate",
        "--preset=digits",
        "--threads=1",
        "--seeds=2",
        "--sweep-seeds=1",
    ]);
    command.args([
        "--samples=16",
        "--reference-count=40",
        "--evaluator-steps=5",
    ]);
    command.arg("--sweep=relation=euclidean");
    command.args(TINY.iter().map(|setting| format!("--set={setting}")));
    command.args(["--set=train.steps=20", "--set=data.limit=0"]);
    let output = command.arg("--out").arg(out).assert().success();
    let printed = String::from_utf8(output.get_output().stdout.clone()).expect("UTF-8");
    let text = std::fs::read_to_string(out.join("table.md")).expect("a table");
    assert_eq!(printed, text);
    Arms {
        out: out.to_owned(),
        results: json(&out.join("results.json")),
        text,
    }
}

#[test]
fn every_number_of_an_ablation_is_its_run_s() {
    let folder = Folder::new();
    let arms = ablation(&folder.path("ablation"));
    runs(&arms);
    differences(&arms);
    means(&arms);
    compared(&arms);
    // Two seeds of so short runs decide nothing: the same of numbers that do.
    plant(&arms.out);
    let arms = ablation(&arms.out);
    differences(&arms);
    means(&arms);
    compared(&arms);
    for verdict in ["better", "worse", "undecided", "one seed: none"] {
        assert!(
            arms.text.contains(&format!("| {verdict} |")),
            "no {verdict}"
        );
    }
}

/// Puts other numbers in place of what the runs were found to be worth: arms on either side of the base, but for the kernel distance by
/// the same in each seed.
fn plant(out: &Path) {
    for (arm, (_, slug, seeds)) in RUNS.into_iter().enumerate() {
        for seed in seeds {
            let path = out.join(format!("runs/{slug}/seed-{seed}/evaluation.json"));
            let mut own = json(&path);
            for (k, (metric, key, _)) in METRICS.into_iter().enumerate() {
                let sign = if (arm + k / 2) % 2 == 0 { 1.0 } else { -1.0 };
                let scatter = if metric == "kid" {
                    0.0
                } else {
                    0.001 * *seed as f64
                };
                let apart = sign * arm as f64 * (0.125 + scatter);
                own[key] = (2.0 + k as f64 + 0.5 * *seed as f64 + apart).into();
            }
            std::fs::write(path, own.to_string()).expect("writable");
        }
    }
}

const RUNS: [(&str, &str, &[u64]); 4] = [
    ("base", "base", &[0, 1]),
    ("guided", "guided", &[0, 1]),
    ("adversarial", "adversarial", &[0, 1]),
    (
        "guided, relation=euclidean",
        "guided-relation-euclidean",
        &[0],
    ),
];

/// The numbers of each run are those of its own folder and its own images, in the evaluator's features.
fn runs(arms: &Arms) {
    let evaluator = Written::newest(&arms.out.join("evaluator-5"));
    let psi = evaluator.encoder();
    let (images, labels) = digits();
    let real = chosen(
        &images,
        &order(0x5ad0_0001, "reality", 0, labels.len())[..40],
    );
    for (name, slug, seeds) in RUNS {
        for seed in seeds {
            let folder = arms.out.join(format!("runs/{slug}/seed-{seed}"));
            let written = Written::newest(&folder);
            let own = json(&folder.join("evaluation.json"));
            let of = |round: Rounding<'_>| measured(&written, &psi, &real, *seed, round);
            let all = std::cell::RefCell::new(Vec::new());
            let (want, _) = spread(|round| {
                let found = of(round);
                all.borrow_mut().push(found.clone());
                found
            });
            let all = all.into_inner();
            for (k, (metric, key, _)) in METRICS.into_iter().enumerate() {
                let apart = all.iter().map(|found| (found[k] - want[k]).abs());
                // Shares are counted, and a count is the same or not.
                let allowed = if k < 3 {
                    FACTOR * apart.fold(0.0, f64::max)
                } else {
                    1e-12
                };
                let got = number(&own[key]);
                assert!(
                    (got - want[k]).abs() <= allowed && allowed < 1e-2 * want[k].abs().max(0.1),
                    "{name} {seed}, {key}: {got}, not {} ± {allowed:e}",
                    want[k]
                );
                close(metric, arms.of(name)[seed][metric], got, 0.0);
            }
            assert_eq!(size(&own["steps"]), size(&written.state["step"]), "{name}");
            let phases = ["denoise", "guided", "adversarial"];
            let phases = phases.map(|phase| written.number("phases", phase));
            let want = match name {
                "base" => [18.0, 0.0, 0.0],
                "adversarial" => [8.0, 6.0, 4.0],
                _ => [8.0, 10.0, 0.0],
            };
            for (got, want) in phases.iter().zip(want) {
                close(name, *got, want, 1e-12);
            }
        }
    }
}

/// Differences within seeds, Student's interval, and percentiles over all resamples.
fn differences(arms: &Arms) {
    for (name, against, key) in [
        ("guided", "base", "difference_to_base"),
        ("adversarial", "base", "difference_to_base"),
        ("guided, relation=euclidean", "base", "difference_to_base"),
        ("adversarial", "guided", "difference_to_parent"),
        (
            "guided, relation=euclidean",
            "guided",
            "difference_to_parent",
        ),
    ] {
        let mut said = arms.difference(name, key);
        if key == "difference_to_parent" {
            assert_eq!(said["parent"], against);
            said = &said["of"];
        }
        for (metric, want) in paired(arms, name, against) {
            let found = &said[metric];
            let each: Vec<f64> = found["each"]
                .as_array()
                .expect("each")
                .iter()
                .map(number)
                .collect();
            assert_eq!(each, want.each, "{name}, {metric}");
            assert!((number(&found["mean"]) - want.mean).abs() < 1e-12);
            for (key, ends) in [("student", want.student), ("bootstrap", want.bootstrap)] {
                assert_eq!(found[key].is_null(), ends.is_none());
                for (k, end) in ends.iter().flatten().enumerate() {
                    let got = number(&found[key][k]);
                    assert!(
                        (got - end).abs() <= 1e-9 * end.abs() + 1e-12,
                        "{name}, {metric}, {key}: {got}, not {end}"
                    );
                }
            }
        }
    }
}

struct Paired {
    each: Vec<f64>,
    mean: f64,
    student: Option<[f64; 2]>,
    bootstrap: Option<[f64; 2]>,
}

/// Student's quantile of 97.5 % with one degree of freedom.
const STUDENT_1: f64 = 12.706_204_736_432_095;

fn paired(arms: &Arms, name: &str, against: &str) -> BTreeMap<&'static str, Paired> {
    let (own, other) = (arms.of(name), arms.of(against));
    let of = |metric: &str| {
        let both = own
            .iter()
            .filter_map(|(seed, own)| Some((own, other.get(seed)?)));
        let each: Vec<f64> = both.map(|(a, b)| a[metric] - b[metric]).collect();
        let middle = mean(&each);
        let two = each.len() == 2;
        assert!(two || each.len() == 1);
        Paired {
            mean: middle,
            student: two.then(|| {
                let half = STUDENT_1 * deviation(&each, 1.0) / 2_f64.sqrt();
                [middle - half, middle + half]
            }),
            // All four resamples of two: each twice, and both orders of one of each.
            bootstrap: two.then(|| percentiles(&[each[0], middle, middle, each[1]])),
            each,
        }
    };
    METRICS.map(|(metric, _, _)| (metric, of(metric))).into()
}

/// The first table: mean and standard deviation over the seeds of each arm.
fn means(arms: &Arms) {
    let table = &markdown(&arms.text)[0];
    assert_eq!(table.rows.len(), RUNS.len());
    for (row, (name, _, seeds)) in RUNS.into_iter().enumerate() {
        assert_eq!(
            (table.cell(row, "arm"), table.cell(row, "seeds")),
            (name, &*seeds.len().to_string())
        );
        let numbers = arms.of(name);
        for (metric, _, less) in METRICS {
            let head = format!("{metric} {}", if less { "↓" } else { "↑" });
            let values: Vec<f64> = numbers.values().map(|run| run[metric]).collect();
            let cell = table.cell(row, &head);
            let (middle, spread) = match cell.split_once(" ± ") {
                Some((middle, spread)) => (middle, Some(spread)),
                None => (cell, None),
            };
            shows(&head, middle, mean(&values));
            assert_eq!(spread.is_some(), values.len() > 1);
            if let Some(spread) = spread {
                shows(&head, spread, deviation(&values, 1.0));
            }
        }
    }
    let settings = &arms.results["settings"];
    let said = format!(
        "Evaluated on 16 images of each run, on the same noise for all arms of a seed, against 40 real images, in the features of a separate encoder (5 steps, {:.1} % of held-out images right).",
        100.0 * number(&settings["evaluator_accuracy"])
    );
    assert!(arms.text.contains(&said), "{}", arms.text);
}

/// The other two: differences with both intervals, and a verdict where Student's lies on one side of zero.
fn compared(arms: &Arms) {
    let tables = markdown(&arms.text);
    let wanted: [(&str, Vec<(&str, &str, &str)>); 2] = [
        (
            "arm − base",
            vec![
                ("guided", "base", "guided"),
                ("adversarial", "base", "adversarial"),
                (
                    "guided, relation=euclidean",
                    "base",
                    "guided, relation=euclidean",
                ),
            ],
        ),
        (
            "variant − the arm it varies",
            vec![
                ("adversarial", "guided", "adversarial − guided"),
                (
                    "guided, relation=euclidean",
                    "guided",
                    "guided, relation=euclidean − guided",
                ),
            ],
        ),
    ];
    for (table, (head, rows)) in tables[1..].iter().zip(wanted) {
        assert_eq!(table.heads[0], head);
        assert_eq!(table.rows.len(), 7 * rows.len());
        for (name, against, shown) in rows {
            let found = paired(arms, name, against);
            for (metric, _, less) in METRICS {
                let want = &found[metric];
                let row = table.row(&[shown, metric]);
                assert_eq!(table.cell(row, "pairs"), want.each.len().to_string());
                shows(metric, table.cell(row, "mean difference"), want.mean);
                for (head, ends) in [
                    ("95 % t-interval", want.student),
                    ("95 % bootstrap", want.bootstrap),
                ] {
                    let cell = table.cell(row, head);
                    let Some(ends) = ends else {
                        assert_eq!(cell, "-");
                        continue;
                    };
                    let inside = cell.trim_start_matches('[').trim_end_matches(']');
                    let (low, high) = inside.split_once(", ").expect("two ends");
                    shows(metric, low, ends[0]);
                    shows(metric, high, ends[1]);
                }
                let verdict = match want.student {
                    None => "one seed: none",
                    Some([low, high]) if low < high && (low > 0.0 || high < 0.0) => {
                        if (high < 0.0) == less {
                            "better"
                        } else {
                            "worse"
                        }
                    }
                    Some(_) => "undecided",
                };
                assert_eq!(table.cell(row, "verdict"), verdict, "{shown}, {metric}");
            }
        }
    }
}
