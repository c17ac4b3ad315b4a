//! `sadm report`: one file that stands alone, whatever state the runs are in.

use std::path::{Path, PathBuf};

use scraper::{Html, Selector};

use crate::runs::train;
use crate::support::{Folder, error_of, sadm, says};

/// A tiny run with samples.
pub fn trained(folder: &Folder, name: &str, more: &[&str]) -> PathBuf {
    let run = folder.path(name);
    // Enough held-out images for four of each of four classes.
    let mut settings = vec![
        "--set=sample.every=10",
        "--set=data.limit=300",
        "--set=data.holdout=0.5",
    ];
    settings.extend(more);
    train(&run, 40, &settings);
    run
}

/// Reports on runs, checks what every page must be, and returns it.
pub fn report(out: &Path, runs: &[&Path]) -> String {
    sadm()
        .args(["report", "--threads=1", "--out"])
        .arg(out)
        .args(runs)
        .assert()
        .success();
    let text = std::fs::read_to_string(out).expect("the report");
    for reference in [
        "http://", "https://", "src=\"//", "url(", "@import", "<link", "<iframe",
    ] {
        assert!(!text.contains(reference), "the page refers to {reference}");
    }
    let page = Html::parse_document(&text);
    assert_eq!(page.errors, Vec::<String>::new(), "not well-formed");
    for source in attributes(&page, "img", "src") {
        assert!(source.starts_with("data:image/png;base64,"), "{source:.40}");
    }
    text
}

fn attributes(page: &Html, selector: &str, name: &str) -> Vec<String> {
    let selector = Selector::parse(selector).expect("a selector");
    let found = page.select(&selector);
    found
        .filter_map(|e| e.value().attr(name).map(str::to_owned))
        .collect()
}

fn texts(page: &Html, selector: &str) -> Vec<String> {
    let selector = Selector::parse(selector).expect("a selector");
    page.select(&selector)
        .map(|e| e.text().collect::<String>())
        .collect()
}

/// The entry of the summary's row `name`, for each run.
fn row(page: &Html, name: &str) -> Vec<String> {
    let selector = Selector::parse("tr").expect("a selector");
    let rows = page.select(&selector).map(|tr| {
        let cells = tr.children().filter_map(scraper::ElementRef::wrap);
        cells
            .map(|cell| cell.text().collect::<String>())
            .collect::<Vec<_>>()
    });
    let found = rows
        .into_iter()
        .find(|row| row.first().is_some_and(|head| head == name));
    found.unwrap_or_else(|| panic!("no row {name}"))[1..].to_vec()
}

#[test]
fn a_finished_run_has_every_figure() {
    let folder = Folder::new();
    let run = trained(&folder, "run", &[]);
    let text = report(&folder.path("report.html"), &[&run]);
    let page = Html::parse_document(&text);
    assert!(
        !text.contains("What could not be read"),
        "a problem is stated"
    );
    let titles = texts(&page, ".chart figcaption b");
    for title in [
        "Cross-entropy of Ψ",
        "Structural loss S",
        "Shadow check: error/bound",
        "Gradient norm",
        "Learning rate",
        "Images per second",
        "Denoising loss against steps",
        "Denoising loss against time",
    ] {
        assert!(
            titles.contains(&title.to_owned()),
            "no chart {title}: {titles:?}"
        );
    }
    // 40 steps: phases end at 4, 20, 32 and 40; samples at 10, 20, 30 and 40.
    let captions = texts(&page, ".samples figcaption");
    assert_eq!(captions, ["step 10", "step 20", "step 30", "step 40"]);
    // Labels, real, base, guided, adversarial, at two noise levels, 16 × 16 each.
    let maps = texts(&page, ".heat figcaption b");
    let level = [
        "labels",
        "real images",
        "base, step 20",
        "guided, step 32",
        "adversarial, step 40",
    ];
    assert_eq!(maps, [level, level].concat());
    assert_eq!(attributes(&page, ".heat rect", "fill").len(), 10 * 16 * 16);
    assert_eq!(texts(&page, ".strip img").len(), 2);

    let log = std::fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    let worst = lines
        .iter()
        .filter_map(|l| l["shadow"].as_f64())
        .fold(0.0, |m: f64, v| if v > m || v.is_nan() { v } else { m });
    assert!(row(&page, "worst shadow ratio")[0].starts_with(&format!("{worst:.3} ")));
    assert_eq!(row(&page, "state"), ["finished, 40 steps"]);
    assert_eq!(row(&page, "checkpoints kept"), ["4, 20, 32, 39, 40"]);
    assert_eq!(row(&page, "version of sadm"), [env!("CARGO_PKG_VERSION")]);
    let accuracy = lines
        .iter()
        .find_map(|l| l["accuracy"].as_f64())
        .expect("an accuracy");
    assert_eq!(
        row(&page, "accuracy of Ψ"),
        [format!("{:.1} %", 100.0 * accuracy)]
    );
    // Every point of the loss is in the page, to its digits.
    let points = attributes(&page, ".chart [data-points]", "data-points");
    for line in lines.iter().filter(|l| l["phase"] == "denoise") {
        let point = format!(
            "{:.6e},{:.4e}",
            line["step"].as_f64().expect("a step"),
            line["loss"].as_f64().expect("a loss")
        );
        assert!(
            points[0].split(' ').any(|p| p == point),
            "{point} is not drawn"
        );
    }
}

#[test]
fn the_default_place_is_the_run_s_folder_and_the_report_repeats() {
    let folder = Folder::new();
    let run = trained(&folder, "run", &[]);
    let output = sadm()
        .args(["report", "--threads=1"])
        .arg(&run)
        .assert()
        .success();
    let said = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    let path = run.join("report.html");
    says(&said, &[&format!("{} written", path.display())]);
    let first = std::fs::read(&path).expect("the report");
    assert!(
        report(&folder.path("again.html"), &[&run]).as_bytes() == first,
        "the second differs"
    );
}

#[test]
fn a_killed_run_is_reported_as_far_as_it_came() {
    let folder = Folder::new();
    let run = trained(&folder, "run", &[]);
    let log = run.join("metrics.jsonl");
    let text = std::fs::read_to_string(&log).expect("metrics");
    let end = text.find("\"step\":26").expect("a line") - 5;
    std::fs::write(&log, &text[..end]).expect("writable");
    for step in [32, 39, 40] {
        std::fs::remove_dir_all(run.join(format!("checkpoints/{step:08}"))).expect("removable");
    }
    std::fs::write(run.join("samples/00000030.png"), b"\x89PNG cut").expect("writable");
    let text = report(&folder.path("killed.html"), &[&run]);
    let page = Html::parse_document(&text);
    let problems = texts(&page, ".problems li").join("\n");
    says(&problems, &["the last line of metrics.jsonl is cut short"]);
    says(&problems, &["samples/00000030.png is no picture"]);
    assert!(
        row(&page, "state")[0].starts_with("step 25 of 40, still running"),
        "{:?}",
        row(&page, "state")
    );
    assert!(texts(&page, ".missing")[0].contains("no checkpoint after the base's (step 20) yet"));
}

#[test]
fn what_is_missing_is_said_plainly() {
    let folder = Folder::new();
    let run = trained(&folder, "run", &[]);
    let missing = |name: &str| {
        let text = report(&folder.path(&format!("{name}.html")), &[&run]);
        (
            texts(&Html::parse_document(&text), ".missing").join(" "),
            text,
        )
    };
    // A run of a version that kept the newest checkpoints only.
    for step in [4, 20, 32] {
        std::fs::remove_dir_all(run.join(format!("checkpoints/{step:08}"))).expect("removable");
    }
    let (said, _) = missing("old");
    says(&said, &["no checkpoint of step 20", "there are: 39, 40"]);

    std::fs::remove_dir_all(run.join("checkpoints")).expect("removable");
    std::fs::remove_dir_all(run.join("samples")).expect("removable");
    std::fs::remove_file(run.join("metrics.jsonl")).expect("removable");
    let (_, text) = missing("bare");
    for part in [
        "there is no checkpoint yet",
        "metrics.jsonl cannot be read",
        "No sample grid",
        "Nothing was logged yet",
    ] {
        assert!(text.contains(part), "no word of: {part}");
    }

    // A configuration of another version.
    let config = run.join("config.toml");
    let text = std::fs::read_to_string(&config).expect("a configuration");
    std::fs::write(&config, format!("later_key = 1\n{text}")).expect("writable");
    let (said, text) = missing("later");
    assert!(
        text.contains("unknown key `later_key`") && said.contains("configuration cannot be read"),
        "{said}"
    );

    let none = trained(&folder, "none", &["--set=structure.method=none"]);
    let text = report(&folder.path("none.html"), &[&none]);
    assert!(text.contains("trained without a structural loss"));
    assert!(
        !text.contains("Cross-entropy of Ψ"),
        "an empty chart is drawn"
    );
}

#[test]
fn several_runs_share_their_charts_and_show_their_differences() {
    let folder = Folder::new();
    let a = trained(&folder, "a", &[]);
    let b = trained(
        &folder,
        "b",
        &["--set=seed=1", "--set=structure.relation=euclidean"],
    );
    let out = folder.path("report.html");
    let text = report(&out, &[&a, &b]);
    let page = Html::parse_document(&text);
    assert_eq!(row(&page, "seed"), ["0", "1"]);
    assert_eq!(row(&page, "structure.relation"), ["cosine", "euclidean"]);
    assert!(
        !text.contains("<code>train.steps</code>"),
        "a key without a difference is listed"
    );
    let names = attributes(&page, ".chart:first-child .series", "data-name");
    assert!(names.len() >= 2 && names[..2] == ["a", "b"], "{names:?}");
    assert!(text.contains("No run here has evaluation numbers"));
    assert!(!text.contains("cannot be compared"));

    // Numbers of an evaluation are drawn, and who has none is named.
    let numbers = "{\"step\":20,\"frechet\":9.5}\n{\"step\":40,\"frechet\":7.25}\n";
    std::fs::write(a.join("evaluation.jsonl"), numbers).expect("writable");
    let page = Html::parse_document(&report(&out, &[&a, &b]));
    let titles = texts(&page, ".chart figcaption b");
    for title in ["frechet against steps", "frechet against time"] {
        assert!(titles.contains(&title.to_owned()), "{titles:?}");
    }
    assert!(texts(&page, "p").contains(&"Without evaluation numbers: b.".to_owned()));

    // What `sadm evaluate` itself writes; numbers of another count or convention are on charts of their own.
    std::fs::remove_file(a.join("evaluation.jsonl")).expect("there");
    let place = a.display().to_string();
    // An interval beside a number is no other convention.
    for more in [
        &["--count", "20", "--resamples", "0"][..],
        &["--count", "30", "--resamples", "0"],
        &["--count", "30", "--resamples", "20"],
        &["--count", "30", "--resamples", "0", "--covariance", "n"],
        &["--count", "30", "--resamples", "0", "--classes", "equal"],
    ] {
        let args = [
            "evaluate",
            "--run",
            &place,
            "--reference",
            "digits",
            "--metrics",
            "fd",
        ];
        sadm().args(args).args(more).assert().success();
    }
    let page = Html::parse_document(&report(&out, &[&a, &b]));
    let titles = texts(&page, ".chart figcaption b");
    let count = titles.iter().filter(|t| *t == "fd-pixels against steps");
    assert_eq!(count.count(), 4, "{titles:?}");
    let text = page.root_element().text().collect::<String>();
    for classes in ["in the data's shares", "in equal shares"] {
        let part = format!("against digits, 30 samples, classes {classes}; covariance over N−1");
        assert!(text.contains(&part), "no `{part}` in {text}");
    }

    // The same name twice: paths instead. Another objective: a warning.
    let c = trained(&folder, "deep/a", &["--set=objective.weight=constant"]);
    let text = report(&out, &[&a, &c]);
    assert!(text.contains(&c.display().to_string()) && text.contains("cannot be compared"));
}

#[test]
fn everything_printed_is_escaped() {
    let folder = Folder::new();
    let run = trained(&folder, "a <b>&\"quoted\" 'run'", &[]);
    let log = run.join("metrics.jsonl");
    let mut text = std::fs::read_to_string(&log).expect("metrics");
    for step in [41, 42] {
        let line = format!(
            "{{\"step\":{step},\"phase\":\"<script>\",\"<i>\":1,\"shadow\":9,\"shadow_quantity\":\"</td><script>\"}}\n"
        );
        text.push_str(&line);
    }
    std::fs::write(&log, text).expect("writable");
    let text = report(&folder.path("report.html"), &[&run]);
    let page = Html::parse_document(&text);
    assert_eq!(texts(&page, "script").len(), 1, "a script came in");
    assert!(texts(&page, "i, h1 b").is_empty(), "a tag came in");
    assert_eq!(texts(&page, "h1"), ["Run: a <b>&\"quoted\" 'run'"]);
    assert!(texts(&page, ".chart figcaption b").contains(&"<i>".to_owned()));
    assert!(row(&page, "worst shadow ratio")[0].contains("</td><script>"));
}

#[test]
fn wrong_paths_are_named() {
    let folder = Folder::new();
    let run = folder.path("run");
    let plain = folder.path("plain");
    std::fs::create_dir_all(&plain).expect("a folder");
    std::fs::write(folder.path("file"), "x").expect("a file");
    let refused = |args: &[&Path]| {
        let out = folder.path("out.html");
        let message = error_of(sadm().args(["report", "--out"]).arg(&out).args(args));
        assert!(!out.exists(), "a refused report was written");
        message
    };
    let message = refused(&[&run]);
    says(&message, &["is no folder", "run`"]);
    assert!(refused(&[&folder.path("file")]).contains("is no folder"));
    let message = refused(&[&plain]);
    says(&message, &["holds no config.toml"]);

    train(&run, 4, &[]);
    let message = error_of(sadm().arg("report").arg(&run).arg(&run));
    says(&message, &["--out report.html"]);
    let message = error_of(sadm().arg("report").arg(&run).arg("--out").arg(&plain));
    says(&message, &["is a folder"]);
    let message = error_of(sadm().arg("report").arg(&run).arg("--out=/nowhere/a.html"));
    says(&message, &["cannot write `/nowhere/a.html`"]);
    sadm().arg("report").assert().code(2);
}
