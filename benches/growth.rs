//! How the cost of a guided step grows: time and memory against |B|, image size, depth and d, with fitted exponents.
//!
//! ```text
//! cargo bench --bench growth -- [--threads 2] [--calls 7] [--clock wall|cpu] [FILTER…]
//! ```
//! Each point is a process of its own, so that its peak memory is its own. The time is the least of the calls, or by
//! CPU time, whose account is coarse, their mean over at least a fifth of a second; the memory is the peak over that before the first call. An exponent is the slope of a straight line through the
//! logarithms of the upper half of a series, where fixed costs matter least; the last two points alone are given too.

// Shared with the comparison, which uses more of them.
#[allow(dead_code, reason = "growth needs only some of them")]
#[path = "side_by_side/clock.rs"]
mod clock;
#[allow(dead_code, reason = "growth needs only some of them")]
#[path = "side_by_side/ours.rs"]
mod ours;

use std::process::Command;

use candle_core::Device;
use clock::Clock;
use ours::Work;
use sadm::gpu::config::Config;
use sadm::gpu::data::ImageKind;

/// A bench says what failed and stops.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A quantity that grows, the rest at the values of its base.
struct Series {
    name: &'static str,
    values: &'static [usize],
    make: fn(usize) -> Outcome<Work>,
}

const SERIES: [Series; 8] = [
    Series {
        name: "U-Net step, |B|",
        values: &[8, 16, 32, 64, 128, 256],
        make: |n| step("digits", 8, &[format!("train.batch={n}")]),
    },
    Series {
        name: "DiT step, |B|",
        values: &[8, 16, 32, 64, 128, 256],
        make: |n| step("digits-dit", 8, &[format!("train.batch={n}")]),
    },
    Series {
        name: "U-Net step, image side",
        values: &[8, 16, 32, 64],
        make: |side| step("digits", side, &["train.batch=8".to_owned()]),
    },
    Series {
        name: "DiT step, image side",
        values: &[8, 16, 32, 64],
        make: |side| step("digits-dit", side, &["train.batch=8".to_owned()]),
    },
    Series {
        name: "U-Net step, blocks",
        values: &[1, 2, 4, 8],
        make: |blocks| {
            step(
                "digits",
                8,
                &[BATCH.to_owned(), format!("model.unet.blocks={blocks}")],
            )
        },
    },
    Series {
        name: "DiT step, depth",
        values: &[2, 4, 8, 16],
        make: |depth| {
            step(
                "digits-dit",
                8,
                &[BATCH.to_owned(), format!("model.dit-small.depth={depth}")],
            )
        },
    },
    Series {
        name: "structural loss at d = 64, |B|",
        values: &[64, 256, 1024, 4096, 8192],
        make: |batch| ours::structure(batch, 64, &Device::Cpu),
    },
    Series {
        name: "structural loss at |B| = 512, d",
        values: &[64, 128, 256, 512, 1024, 2048],
        make: |dim| ours::structure(512, dim, &Device::Cpu),
    },
];

/// The batch of the series over depth.
const BATCH: &str = "train.batch=32";

fn step(preset: &str, size: usize, sets: &[String]) -> Outcome<Work> {
    let config = Config::preset(preset)?.with_sets(sets.iter().map(String::as_str))?;
    let image = ImageKind {
        channels: 1,
        size,
        classes: 10,
    };
    ours::step(&config, image, true, &Device::Cpu)
}

fn main() -> Outcome<()> {
    let (mut threads, mut calls, mut point, mut filters) = (2, 7, None, Vec::new());
    let mut clock = Clock::Wall;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--bench" => {} // from cargo
            "--threads" => threads = value()?.parse::<usize>()?.max(1),
            "--calls" => calls = value()?.parse::<usize>()?.max(1),
            "--clock" => clock = value()?.parse()?,
            "--point" => point = Some(value()?),
            filter => filters.push(filter.to_owned()),
        }
    }
    clock::with_threads(threads)?;
    if let Some(point) = point {
        let measured = || measure(&point, calls, clock).map_err(|error| error.to_string());
        return Ok(sadm::environment::in_pool(measured)?);
    }
    println!(
        "{threads} threads, {clock} time of {calls} calls, peak memory above that before the first call"
    );
    for (number, series) in SERIES.iter().enumerate() {
        if !filters.is_empty() && !filters.iter().any(|f| series.name.contains(f.as_str())) {
            continue;
        }
        println!("\n{:<32}{:>12}{:>12}", series.name, "ms", "MiB");
        let mut points = Vec::new();
        for &value in series.values {
            let output = Command::new(std::env::current_exe()?)
                .args(["--point", &format!("{number}:{value}")])
                .args([
                    "--threads",
                    &threads.to_string(),
                    "--calls",
                    &calls.to_string(),
                    "--clock",
                    if clock == Clock::Wall { "wall" } else { "cpu" },
                ])
                .output()?;
            let text = String::from_utf8(output.stdout)?;
            let numbers: Vec<f64> = text.split_whitespace().flat_map(str::parse).collect();
            let [seconds, bytes] = numbers[..] else {
                let why = String::from_utf8_lossy(&output.stderr).into_owned();
                return Err(format!("{} at {value}: {why}", series.name).into());
            };
            println!(
                "{value:<32}{:>12.2}{:>12.1}",
                1e3 * seconds,
                bytes / f64::from(1 << 20)
            );
            points.push((value as f64, seconds, bytes));
        }
        let upper = &points[points.len() / 2 - 1..];
        let last = &points[points.len() - 2..];
        println!(
            "{:<32}{:>12}{:>12}",
            "exponent (last two)",
            exponents(upper, last, |p| p.1),
            exponents(upper, last, |p| p.2)
        );
    }
    Ok(())
}

type Point = (f64, f64, f64);

fn exponents(upper: &[Point], last: &[Point], of: impl Fn(&Point) -> f64 + Copy) -> String {
    format!("{:.2} ({:.2})", slope(upper, of), slope(last, of))
}

/// Least-squares slope of ln y against ln x.
fn slope(points: &[Point], of: impl Fn(&Point) -> f64) -> f64 {
    let logs: Vec<(f64, f64)> = points.iter().map(|p| (p.0.ln(), of(p).ln())).collect();
    let count = logs.len() as f64;
    let mean = |f: fn(&(f64, f64)) -> f64| logs.iter().map(f).sum::<f64>() / count;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let (mut xy, mut xx) = (0.0, 0.0);
    for p in &logs {
        xy += (p.0 - x) * (p.1 - y);
        xx += (p.0 - x) * (p.0 - x);
    }
    xy / xx
}

/// Prints seconds and bytes of one point.
fn measure(point: &str, calls: usize, clock: Clock) -> Outcome<()> {
    let (series, value) = point.split_once(':').ok_or("a point is SERIES:VALUE")?;
    let series = SERIES
        .get(series.parse::<usize>()?)
        .ok_or("no such series")?;
    let mut work = (series.make)(value.parse()?)?;
    let before = status("VmRSS")?;
    (work.call)()?;
    let (mut least, mut done) = (f64::INFINITY, 0_u32);
    let (begin, first) = (Clock::Wall.now(), clock.now());
    while (done as usize) < calls || (clock == Clock::Cpu && Clock::Wall.now() - begin < 0.2) {
        let start = Clock::Wall.now();
        (work.call)()?;
        least = least.min(Clock::Wall.now() - start);
        done += 1;
    }
    let seconds = match clock {
        Clock::Wall => least,
        Clock::Cpu => (clock.now() - first) / f64::from(done),
    };
    println!("{seconds} {}", status("VmHWM")? - before);
    Ok(())
}

/// A size of this process in bytes, as the system counts it.
fn status(name: &str) -> Outcome<f64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
    Ok(1024.0
        * kibibytes
            .ok_or(format!("no {name} in /proc/self/status"))?
            .parse::<f64>()?)
}
