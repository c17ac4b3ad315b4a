//! `sadm report`: the summary, curves of many points and their means, and the relations, computed again from the run's files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ndarray::{Array2, ArrayD, Axis, IxDyn};
use scraper::{ElementRef, Html, Selector};
use serde_json::{Value, json};

use crate::draws::normal;
use crate::evaluate_run::hex;
use crate::formulas::{close, line, mean, quantile};
use crate::runs::train;
use crate::support::{Folder, sadm};
use crate::tables::shows;
use crate::walk::exactly;
use crate::written::{Written, lines, number, tensors};

fn all<'a>(inside: ElementRef<'a>, selector: &str) -> Vec<ElementRef<'a>> {
    inside
        .select(&Selector::parse(selector).expect("a selector"))
        .collect()
}

fn text(element: ElementRef) -> String {
    element.text().collect()
}

fn attribute<'a>(element: ElementRef<'a>, name: &str) -> &'a str {
    element
        .value()
        .attr(name)
        .unwrap_or_else(|| panic!("no {name}"))
}

fn report(folder: &Folder, run: &Path) -> Html {
    let out = folder.path("report.html");
    let mut command = sadm();
    command
        .args(["report", "--threads=1", "--out"])
        .arg(&out)
        .arg(run);
    command.assert().success();
    Html::parse_document(&std::fs::read_to_string(out).expect("a page"))
}

/// A run with held-out images of every class.
fn trained(folder: &Folder) -> PathBuf {
    let run = folder.path("run");
    train(
        &run,
        40,
        &["--set=data.limit=300", "--set=data.holdout=0.5"],
    );
    run
}

/// The summary's entries by their rows' names.
fn summary(page: &Html) -> BTreeMap<String, String> {
    let rows = all(page.root_element(), "tr").into_iter();
    let pairs = rows.filter_map(|row| {
        let (head, cell) = (all(row, "th[scope=row]"), all(row, "td"));
        Some((text(*head.first()?), text(*cell.first()?)))
    });
    // The first of a name: the summary stands before the configuration.
    let mut found = BTreeMap::new();
    for (name, entry) in pairs {
        found.entry(name).or_insert(entry);
    }
    found
}

/// A number as a mark has it, such as `12.3k`.
#[track_caller]
fn marked(what: &str, shown: &str, value: f64) {
    match shown.strip_suffix('k') {
        Some(thousands) => shows(what, thousands, value / 1e3),
        // Zeros at the end are left out, so that fewer digits may be shown than are meant.
        None => close(what, shown.parse().expect("a number"), value, 5e-3),
    }
}

#[test]
fn every_entry_of_the_summary_is_in_the_files() {
    let folder = Folder::new();
    let run = trained(&folder);
    let found = summary(&report(&folder, &run));
    let log = lines(&run.join("metrics.jsonl"));
    let of = |key: &str, phase: &dyn Fn(&str) -> bool| -> Vec<f64> {
        let own = log
            .iter()
            .filter(|line| phase(line["phase"].as_str().expect("a phase")));
        own.filter_map(|line| line[key].as_f64()).collect()
    };
    let later = |phase: &str| phase != "encoder";
    for (row, key) in [
        ("denoising loss, last lines", "loss"),
        ("structural loss, last lines", "structure"),
    ] {
        let values = of(key, &later);
        let last = &values[values.len() - values.len().div_ceil(20)..];
        let (shown, rest) = found[row].split_once(' ').expect("more");
        marked(row, shown, mean(last));
        let lines = if last.len() == 1 { "line" } else { "lines" };
        assert_eq!(rest, format!("(mean of {} {lines})", last.len()));
    }
    let speeds = ["encoder", "denoise", "guided", "adversarial"].map(|name| {
        let values = of("images_per_second", &|phase| phase == name);
        format!("{:.0} {name}", quantile(&values, 0.5))
    });
    assert_eq!(found["images per second, median"], speeds.join(", "));
    // Every step is logged, so that the time is the sum.
    let seconds = of("seconds", &|_| true).iter().sum::<f64>();
    assert_eq!(found["time in training steps"], format!("{seconds:.0} s"));
    let accuracy = of("accuracy", &|_| true)[0];
    assert_eq!(found["accuracy of Ψ"], format!("{:.1} %", 100.0 * accuracy));
    let checked = log.iter().filter(|line| line["shadow"].is_number());
    let worst = checked.max_by(|a, b| {
        let order = number(&a["shadow"]).total_cmp(&number(&b["shadow"]));
        order.then(number(&b["step"]).total_cmp(&number(&a["step"])))
    });
    let worst = worst.expect("a check");
    let said = format!(
        "{:.3} ({}), by step {}",
        number(&worst["shadow"]),
        worst["shadow_quantity"].as_str().expect("a name"),
        worst["step"]
    );
    assert_eq!(found["worst shadow ratio"], said);
    let checkpoint = run.join("checkpoints/00000040");
    let elements = |name: &str| -> usize {
        let file = tensors(&checkpoint.join(format!("{name}.safetensors")));
        file.values().map(ArrayD::len).sum()
    };
    let digits = |text: &str| text.replace('\u{202f}', "");
    let said = format!("θ {}, φ {}", elements("theta"), elements("phi"));
    assert_eq!(digits(&found["parameters"]), said);
    let digest = |path: PathBuf| hex(&std::fs::read(path).expect("a file"))[..12].to_owned();
    let config = digest(run.join("config.toml"));
    assert_eq!(found["configuration, SHA-256"], format!("{config}…"));
    let average = digest(checkpoint.join("theta.average.safetensors"));
    assert_eq!(
        found["averaged parameters, SHA-256"],
        format!("{average}… at step 40")
    );
    assert_eq!(found["seed"], "0");
    assert_eq!(found["data, model, method"], "digits, unet, adversarial");
}

/// `a,b c,d …`.
fn pairs(text: &str) -> Vec<(f64, f64)> {
    let pair = |pair: &str| {
        let (a, b) = pair.split_once(',').expect("two numbers");
        (a.parse().expect("a number"), b.parse().expect("a number"))
    };
    text.split(' ').map(pair).collect()
}

type Points = Vec<(f64, f64)>;

/// The least and the greatest of each of three hundred stretches, where there are more than twice as many points.
fn thin(points: &[(f64, f64)]) -> Points {
    let ends = |chunk: &[(f64, f64)]| {
        let by = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let (least, greatest) = (chunk.iter().min_by(by), chunk.iter().max_by(by));
        let mut ends: Points = least.into_iter().chain(greatest).copied().collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        ends.dedup();
        ends
    };
    if points.len() <= 600 {
        return points.to_vec();
    }
    let stretches = points.chunks(points.len().div_ceil(300));
    stretches.flat_map(ends).collect()
}

/// The mean of each point and of `window` on either side.
fn smooth(points: &[(f64, f64)], window: usize) -> Points {
    let of = |i: usize| {
        let (from, to) = (i.saturating_sub(window), (i + window + 1).min(points.len()));
        let inside: Vec<f64> = points[from..to].iter().map(|p| p.1).collect();
        (points[i].0, mean(&inside))
    };
    (0..points.len()).map(of).collect()
}

/// Of more points than are drawn the least and greatest of each stretch; over them the mean of a window, not across a phase's end.
#[test]
fn curves_of_many_points_keep_extremes_and_have_means() {
    let folder = Folder::new();
    let run = folder.path("run");
    train(&run, 4, &[]);
    // Phases of 4 steps end at 1, 2, 3 and 4; a long log of the same run, on which the last phase goes on.
    let values: Vec<f64> = (1..=1400_i32)
        .map(|k| {
            let k = f64::from(k);
            2.0 + (k * 0.37).sin() + 0.5 * (k * 1.7).cos() + if k > 3.0 { 5.0 } else { 0.0 }
        })
        .collect();
    let log: Vec<String> = (1..)
        .zip(&values)
        .map(|(step, value)| {
            let line = json!({"step": step, "phase": "denoise", "loss": value, "seconds": 0.5});
            format!("{line}\n")
        })
        .collect();
    std::fs::write(run.join("metrics.jsonl"), log.concat()).expect("writable");
    let page = report(&folder, &run);
    let charts = all(page.root_element(), ".chart");
    let find = |title: &str| {
        let chart = charts
            .iter()
            .find(|chart| text(all(**chart, "figcaption b")[0]) == title);
        *chart.unwrap_or_else(|| panic!("no chart {title}"))
    };
    let points: Vec<(f64, f64)> = (1..).map(f64::from).zip(values).collect();
    let window = points.len() / 40;
    let timed: Vec<(f64, f64)> = points
        .iter()
        .map(|(step, value)| (0.5 * step, *value))
        .collect();
    let part = |step: f64| {
        [1.0, 2.0, 3.0, 4.0]
            .iter()
            .filter(|end| **end < step)
            .count()
    };
    let parts: Vec<Vec<(f64, f64)>> = points
        .chunk_by(|a, b| part(a.0) == part(b.0))
        .map(<[_]>::to_vec)
        .collect();
    for (title, points, parts) in [
        ("Denoising loss against steps", &points, parts),
        ("Denoising loss against time", &timed, vec![timed.clone()]),
    ] {
        let chart = find(title);
        let series = all(chart, ".series")[0];
        let shown = pairs(attribute(series, "data-points"));
        let want = thin(points);
        assert_eq!(shown.len(), want.len(), "{title}");
        for (got, want) in shown.iter().zip(&want) {
            close(title, got.0, want.0, 1e-6);
            close(title, got.1, want.1, 1e-4);
        }
        // Where the raw curve lies says where an axis puts a value.
        let raw = pairs(attribute(all(series, "polyline.raw")[0], "points"));
        let logarithmic = text(all(chart, "figcaption")[0]).contains(", logarithmic");
        let of = |value: f64| if logarithmic { value.ln() } else { value };
        let column = |points: &[(f64, f64)], k: usize| -> Vec<f64> {
            points
                .iter()
                .map(|p| if k == 0 { p.0 } else { of(p.1) })
                .collect()
        };
        let axes = [0, 1].map(|k| {
            let places: Vec<f64> = raw.iter().map(|p| if k == 0 { p.0 } else { p.1 }).collect();
            line(&column(&want, k), &places)
        });
        let curves = all(series, "polyline");
        let means: Vec<_> = curves
            .iter()
            .filter(|c| c.value().attr("class").is_none())
            .collect();
        assert_eq!(means.len(), parts.len(), "{title}");
        for (curve, part) in means.iter().zip(parts) {
            let drawn = pairs(attribute(**curve, "points"));
            let want = thin(&smooth(&part, window));
            assert_eq!(drawn.len(), want.len());
            for (drawn, want) in drawn.iter().zip(&want) {
                let place = [
                    axes[0].0 + axes[0].1 * want.0,
                    axes[1].0 + axes[1].1 * of(want.1),
                ];
                let apart = [drawn.0 - place[0], drawn.1 - place[1]];
                assert!(
                    apart.iter().all(|d| d.abs() < 0.3),
                    "{title}: {drawn:?}, not {place:?}"
                );
            }
        }
    }
}

/// The affinities of every player: cosines of the base's Ψ, of the images that the page itself shows.
#[test]
fn relations_are_those_of_the_players() {
    let folder = Folder::new();
    let run = trained(&folder);
    let page = report(&folder, &run);
    let root = page.root_element();
    let log = lines(&run.join("metrics.jsonl"));
    let ends = ["denoise", "guided", "adversarial"].map(|phase| {
        let steps = log.iter().filter(|line| line["phase"] == phase);
        steps
            .map(|line| crate::written::size(&line["step"]))
            .max()
            .expect("a phase")
    });
    let base = Written::at(&run, ends[0]);
    let psi = base.encoder();
    assert!(psi.step <= ends[1], "moved");
    let strips = all(root, ".strip img");
    let maps = all(root, ".heat");
    let heads: Vec<String> = all(root, "h4").into_iter().map(text).collect();
    assert_eq!((strips.len(), maps.len(), heads.len()), (2, 10, 2));
    let labels: Vec<u32> = (0..16).map(|i| i / 4).collect();
    for (level, deviations) in [0.0, 1.0].into_iter().enumerate() {
        let picture = Picture::of(attribute(strips[level], "src"));
        // 17 levels of a pixel, 15.94 bytes apart.
        let real = picture
            .row(0)
            .mapv(|byte| (byte / 15.9375).round() / 8.0 - 1.0);
        let sigma = (base.number("objective", "p_mean")
            + deviations * base.number("objective", "p_std"))
        .exp();
        let shown = heads[level].strip_prefix("Noise σ/α = ").expect("a level");
        marked("σ/α", shown, sigma);
        let eps = normal(0, "report", level as u64, 16 * 64);
        let eps = ArrayD::from_shape_vec(IxDyn(&[16, 1, 8, 8]), eps).expect("16 images");
        let noised = &real + &(&eps * sigma);
        picture.shows(1, &noised);
        let truth = cosines(&psi.features(&real, &exactly));
        let same = Array2::from_shape_fn((16, 16), |(i, j)| {
            f64::from(u8::from(labels[i] == labels[j]))
        });
        caption(
            maps[5 * level + 1],
            "real images",
            None,
            correlation(&truth, &same),
        );
        for (k, (name, step)) in ["base", "guided", "adversarial"]
            .into_iter()
            .zip(ends)
            .enumerate()
        {
            let x_hat = Written::at(&run, step).denoised(&noised, sigma, &labels, &exactly);
            picture.shows(2 + k, &x_hat);
            let own = cosines(&psi.features(&x_hat, &exactly));
            let name = format!("{name}, step {step}");
            let apart = mean(
                &pairs_of(&own, &truth)
                    .iter()
                    .map(|(a, b)| (a - b).abs())
                    .collect::<Vec<_>>(),
            );
            caption(
                maps[5 * level + 2 + k],
                &name,
                Some(apart),
                correlation(&own, &same),
            );
        }
    }
}

fn cosines(psi: &Array2<f64>) -> Array2<f64> {
    let mut unit = psi.clone();
    for mut row in unit.axis_iter_mut(Axis(0)) {
        let length = row.dot(&row).sqrt();
        row /= length;
    }
    unit.dot(&unit.t())
}

/// Entries of two matrices above the diagonal.
fn pairs_of(a: &Array2<f64>, b: &Array2<f64>) -> Vec<(f64, f64)> {
    let places = (0..16).flat_map(|i| (i + 1..16).map(move |j| [i, j]));
    places.map(|at| (a[at], b[at])).collect()
}

fn correlation(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    let pairs = pairs_of(a, b);
    let (x, y): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
    let (mx, my) = (mean(&x), mean(&y));
    let sum = |f: &dyn Fn(f64, f64) -> f64| {
        x.iter()
            .zip(&y)
            .map(|(x, y)| f(x - mx, y - my))
            .sum::<f64>()
    };
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}

/// The caption of a map: its name, the mean difference from the real images' and the correlation with "same class".
fn caption(map: ElementRef, name: &str, apart: Option<f64>, with_labels: f64) {
    assert_eq!(text(all(map, "b")[0]), name);
    let said = text(all(map, "figcaption")[0]);
    let mut rest = said.strip_prefix(name).expect("the name");
    if let Some(apart) = apart {
        let (shown, after) = rest
            .strip_prefix("mean |A − Areal| ")
            .and_then(|rest| rest.split_once("correlation"))
            .expect("a difference");
        // Three digits of what was computed in f32, of cosines near 1.
        close(name, shown.parse().expect("a number"), apart, 1e-2);
        rest = &said[said.len() - after.len() - "correlation".len()..];
    }
    let shown = rest
        .strip_prefix("correlation with labels ")
        .expect("a correlation");
    let shown: f64 = shown.parse().expect("a number");
    assert!(
        (shown - with_labels).abs() < 2e-3,
        "{name}: {shown}, not {with_labels}"
    );
}

/// Rows of 16 images in a picture, each pixel a square of six, between gaps of two.
struct Picture(image::RgbImage);

impl Picture {
    fn of(uri: &str) -> Self {
        let data = uri
            .strip_prefix("data:image/png;base64,")
            .expect("a picture");
        let bytes = STANDARD.decode(data).expect("base64");
        Self(
            image::load_from_memory(&bytes)
                .expect("a picture")
                .into_rgb8(),
        )
    }

    /// The bytes of a row of images.
    fn row(&self, row: u32) -> ArrayD<f64> {
        let at = |image: usize, y: usize, x: usize| {
            let place = |cell: usize, pixel: usize| {
                u32::try_from(2 + 50 * cell + 6 * pixel + 3).expect("small")
            };
            f64::from(self.0.get_pixel(place(image, x), place(row as usize, y)).0[0])
        };
        ArrayD::from_shape_fn(IxDyn(&[16, 1, 8, 8]), |i| at(i[0], i[2], i[3]))
    }

    /// Whether a row shows these images, to the byte or the next one.
    fn shows(&self, row: usize, images: &ArrayD<f64>) {
        let shown = self.row(u32::try_from(row).expect("small"));
        for (shown, x) in shown.iter().zip(images) {
            let want = ((x + 1.0) * 127.5).clamp(0.0, 255.0);
            assert!((shown - want).abs() < 0.51, "row {row}: {shown} for {want}");
        }
    }
}

/// Numbers of an evaluation, over steps and over the seconds until then.
#[test]
fn evaluated_numbers_lie_at_their_steps_and_seconds() {
    let folder = Folder::new();
    let run = folder.path("run");
    // Every third step is logged: its time stands for the two before it as well.
    train(&run, 12, &["--set=train.log_every=3"]);
    let log = lines(&run.join("metrics.jsonl"));
    let timed: Vec<[f64; 2]> = (log.iter())
        .filter_map(|line| Some([number(&line["step"]), line["seconds"].as_f64()?]))
        .collect();
    let between = (2..12_u32).find(|step| {
        !timed
            .iter()
            .any(|[logged, _]| (logged - f64::from(*step)).abs() < 0.5)
    });
    let between = between.expect("a step that is not logged");
    let evaluation: [Value; 2] = [
        json!({"step": between, "fd": 9.5, "kid": 0.25, "reference": "digits", "of": "9 samples", "how": {"fd": "one way"}}),
        json!({"step": 12, "fd": 7.25, "kid": 0.125, "reference": "digits", "of": "9 samples", "how": {"fd": "one way"}}),
    ];
    let text_of = evaluation
        .each_ref()
        .map(|line| format!("{line}\n"))
        .concat();
    std::fs::write(run.join("evaluation.jsonl"), text_of).expect("writable");
    let page = report(&folder, &run);
    let seconds_until = |until: f64| -> f64 {
        let mut before = 0.0;
        let each = timed.iter().map(|[step, seconds]| {
            let steps = step.min(until) - before;
            before = step.min(until);
            steps * seconds
        });
        each.sum()
    };
    let found = summary(&page);
    let whole = format!("{:.0} s", seconds_until(12.0));
    assert_eq!(found["time in training steps"], whole);
    let charts = all(page.root_element(), ".chart");
    for (key, said) in [
        ("fd", "against digits, 9 samples; one way"),
        ("kid", "against digits, 9 samples"),
    ] {
        for (over, at) in [
            ("steps", &(|s| s) as &dyn Fn(f64) -> f64),
            ("time", &seconds_until),
        ] {
            let title = format!("{key} against {over}");
            let chart = charts
                .iter()
                .find(|chart| text(all(**chart, "figcaption b")[0]) == title);
            let chart = *chart.unwrap_or_else(|| panic!("no chart {title}"));
            assert!(text(all(chart, "figcaption")[0]).ends_with(said), "{title}");
            let shown = pairs(attribute(all(chart, ".series")[0], "data-points"));
            assert_eq!(shown.len(), 2);
            for (shown, line) in shown.iter().zip(&evaluation) {
                close(&title, shown.0, at(number(&line["step"])), 1e-5);
                close(&title, shown.1, number(&line[key]), 1e-4);
            }
        }
    }
}

/// Where a curve lies says where its axes put values: the line that gradients are clipped to, the bound, and the phases' stretches.
#[test]
fn lines_and_stretches_lie_at_their_values() {
    let folder = Folder::new();
    let run = trained(&folder);
    let page = report(&folder, &run);
    let log = lines(&run.join("metrics.jsonl"));
    let mut spans: Vec<(String, f64, f64)> = Vec::new();
    for line in &log {
        let (phase, step) = (
            line["phase"].as_str().expect("a phase"),
            number(&line["step"]),
        );
        match spans.last_mut() {
            Some((name, _, end)) if name == phase => *end = step,
            last => {
                let start = last.map_or(0.0, |(_, _, end)| *end);
                spans.push((phase.to_owned(), start, step));
            }
        }
    }
    let clipped = Written::newest(&run).number("train", "clip_norm");
    for (title, key, value, said) in [
        ("Gradient norm", "grad_norm", clipped, "clipped to"),
        ("Shadow check: error/bound", "shadow", 1.0, "bound"),
    ] {
        let charts = all(page.root_element(), ".chart");
        let chart = charts
            .into_iter()
            .find(|chart| text(all(*chart, "figcaption b")[0]) == title)
            .expect("a chart");
        let curve = all(chart, ".series polyline")[0];
        let drawn = pairs(attribute(curve, "points"));
        let logarithmic = text(all(chart, "figcaption")[0]).contains(", logarithmic");
        let of = |value: f64| if logarithmic { value.ln() } else { value };
        let logged = log.iter().filter(|line| line[key].is_number());
        let (steps, values): (Vec<f64>, Vec<f64>) = logged
            .map(|line| (number(&line["step"]), of(number(&line[key]))))
            .unzip();
        let (across, up): (Vec<f64>, Vec<f64>) = drawn.into_iter().unzip();
        let (x, y) = (line(&steps, &across), line(&values, &up));
        let at = |(start, slope): (f64, f64), value: f64| start + slope * value;
        let limit = all(chart, "line.limit")[0];
        for end in ["y1", "y2"] {
            let place: f64 = attribute(limit, end).parse().expect("a number");
            assert!((place - at(y, of(value))).abs() < 0.3, "{title}: {place}");
        }
        assert_eq!(text(all(chart, "text.limit")[0]), said);
        // Every second phase is shaded, and a name stands in the middle where there is room for it.
        let shaded = all(chart, "rect.band");
        let odd: Vec<_> = spans.iter().skip(1).step_by(2).collect();
        assert_eq!(shaded.len(), odd.len(), "{title}");
        for (rect, (_, start, end)) in shaded.into_iter().zip(odd) {
            let of = |name: &str| -> f64 { attribute(rect, name).parse().expect("a number") };
            assert!((of("x") - at(x, *start)).abs() < 0.3, "{title}: {start}");
            let right = of("x") + of("width");
            assert!((right - at(x, *end)).abs() < 0.3, "{title}: {end}");
        }
        for name in all(chart, "text.band") {
            let span = spans.iter().find(|(phase, _, _)| *phase == text(name));
            let (_, start, end) = span.expect("a phase");
            let place: f64 = attribute(name, "x").parse().expect("a number");
            assert!((place - at(x, 0.5 * (start + end))).abs() < 0.3, "{title}");
        }
    }
}
