//! Ours and PyTorch, side by side: steps, layers and losses on the same shapes, in turns.
//!
//! ```text
//! cargo bench --bench side_by_side -- [--python PATH] [--threads 2] [--rounds 5] [--seconds 0.5] [--compile]
//!                                     [--clock wall|cpu] [--device cpu|cuda:N] [--memory] [FILTER…]
//! ```
//! `--clock cpu` counts the CPU time of all threads: on a machine that others use too, with one thread, it is
//! the time that the work would take alone. With more threads it also counts their waiting.
//!
//! On a GPU both sides wait for it after every group of calls; the presets keep their own batches, and a network of the size
//! of DiT-B/2 is timed with the structure and without.
//!
//! Of a step the peak memory of each side is measured too, in processes of their own: of the whole process, and beyond what it
//! held before the network was made (PyTorch's libraries are large). `--memory` measures nothing else.
//!
//! Without `--python` only our side is timed. `scripts/bench.sh` installs PyTorch and calls this.

mod clock;
mod items;
mod memory;
mod ours;
mod theirs;

use candle_core::Device;
use clock::Clock;
use items::{Item, items};
use ours::Work;
use sadm_crosscheck::{Error, Place};
use theirs::Python;

/// A bench says what failed and stops.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What the command line asks for.
struct Options {
    python: Option<String>,
    rounds: usize,
    seconds: f64,
    compile: bool,
    clock: Clock,
    device: String,
    threads: usize,
    /// Memory and no time.
    memory: bool,
    /// The item whose memory this process, started for it, measures.
    peak_of: Option<String>,
    filters: Vec<String>,
}

impl Options {
    fn parse() -> Outcome<Self> {
        let mut options = Self {
            python: None,
            rounds: 5,
            seconds: 0.5,
            compile: false,
            clock: Clock::Wall,
            device: "cpu".to_owned(),
            threads: 2,
            memory: false,
            peak_of: None,
            filters: Vec::new(),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let missing = format!("{argument} needs a value");
                arguments.next().ok_or(missing)
            };
            match argument.as_str() {
                "--bench" => {} // from cargo
                "--python" => options.python = Some(value()?),
                "--rounds" => options.rounds = value()?.parse::<usize>()?.max(1),
                "--seconds" => options.seconds = value()?.parse()?,
                "--threads" => options.threads = value()?.parse::<usize>()?.max(1),
                "--clock" => options.clock = value()?.parse()?,
                "--device" => options.device = value()?,
                "--compile" => options.compile = true,
                "--memory" => options.memory = true,
                memory::PEAK_OF => options.peak_of = Some(value()?),
                flag if flag.starts_with('-') => {
                    return Err(format!("unknown option {flag}; known: --python PATH, --threads N, --rounds N, --seconds S, --compile, --clock wall|cpu, --device cpu|cuda:N, --memory").into());
                }
                filter => options.filters.push(filter.to_owned()),
            }
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter))
    }
}

/// Times of one item: for each round the calls of each side.
struct Row {
    name: String,
    ours: Vec<Vec<f64>>,
    eager: Option<Vec<Vec<f64>>>,
    compiled: Option<Vec<Vec<f64>>>,
}

fn main() -> Outcome<()> {
    let options = Options::parse()?;
    clock::with_threads(options.threads)?;
    // Errors cross to the main thread as what they say.
    let done = sadm::environment::in_pool(|| compare(&options).map_err(|error| error.to_string()));
    Ok(done?)
}

fn compare(options: &Options) -> Outcome<()> {
    let device = match Place::open(&options.device, "f32") {
        Err(none @ Error::NoGpu(_)) => {
            println!("{none}: nothing to time");
            return Ok(());
        }
        outcome => outcome?.device,
    };
    if let Some(name) = &options.peak_of {
        return memory::print_own(name, items(&device)?, &device);
    }
    let start = |interpreter: &str| Python::start(interpreter, &options.device);
    let mut python = options.python.as_deref().map(start).transpose()?;
    match &python {
        Some(python) => println!("PyTorch {}, {} threads", python.version, python.threads),
        None => println!("PyTorch: not there; our side alone"),
    }
    println!(
        "sadm: {}, {} threads; {} rounds of {} s for each side; milliseconds of {} time, median (least); ratio = ours / PyTorch: \
         median of the rounds [least – largest]",
        options.device,
        candle_core::utils::get_num_threads(),
        options.rounds,
        options.seconds,
        options.clock
    );
    println!(
        "{:<44}{:>22}{:>22}{:>24}{:>22}{:>24}",
        "", "sadm", "PyTorch eager", "ratio", "torch.compile", "ratio"
    );
    for item in items(&device)?
        .into_iter()
        .filter(|item| options.wants(&item.name))
    {
        let has_memory = device.is_cpu() && item.name.starts_with("step/");
        let memory = has_memory.then(|| (item.name.clone(), item.what.clone()));
        if !options.memory {
            println!(
                "{}",
                line(&measure(item, options, &device, python.as_mut())?)
            );
        }
        if let Some((name, what)) = memory {
            println!("{}", memory::line(&name, &what, options)?);
        }
    }
    Ok(())
}

fn measure(
    item: Item,
    options: &Options,
    device: &Device,
    mut python: Option<&mut Python>,
) -> Outcome<Row> {
    let mut work = (item.make)(device)?;
    for _ in 0..2 {
        (work.call)()?;
    }
    let mut modes = Vec::new();
    if let Some(python) = python.as_deref_mut().filter(|_| !item.what.is_null()) {
        modes.push("eager");
        if options.compile && item.compilable {
            modes.push("compile");
        }
        for mode in modes.clone() {
            match python.make(&format!("{mode}:{}", item.name), &item.what, mode)? {
                Ok(parameters) => same_parameters(&item.name, &work, parameters)?,
                Err(error) => {
                    eprintln!("{} ({mode}): {error}", item.name);
                    modes.retain(|m| *m != mode);
                }
            }
        }
    }
    let mut ours = Vec::new();
    let mut theirs = vec![Vec::new(); modes.len()];
    for _ in 0..options.rounds {
        ours.push(timed(&mut work, options, device)?);
        for (mode, times) in modes.iter().zip(&mut theirs) {
            if let Some(python) = python.as_deref_mut() {
                times.push(python.time(
                    &format!("{mode}:{}", item.name),
                    options.seconds,
                    options.clock,
                )?);
            }
        }
    }
    let mut row = Row {
        name: item.name.clone(),
        ours,
        eager: None,
        compiled: None,
    };
    for (mode, times) in modes.iter().zip(theirs) {
        if let Some(python) = python.as_deref_mut() {
            python.drop_item(&format!("{mode}:{}", item.name))?;
        }
        let slot = if *mode == "eager" {
            &mut row.eager
        } else {
            &mut row.compiled
        };
        *slot = Some(times);
    }
    Ok(row)
}

fn same_parameters(name: &str, work: &Work, theirs: Option<usize>) -> Outcome<()> {
    if work.parameters != theirs {
        let message = format!(
            "{name}: the networks differ: {:?} parameters here, {theirs:?} in PyTorch",
            work.parameters
        );
        return Err(message.into());
    }
    Ok(())
}

/// Seconds that a group of calls lasts at least: around a call of some microseconds the clock would measure itself.
const GROUP: f64 = 2e-4;

/// Times of a call, each the mean of a group, at least 3 until the seconds are over.
fn timed(work: &mut Work, options: &Options, device: &Device) -> Outcome<Vec<f64>> {
    let (mut times, mut calls) = (Vec::new(), 1);
    let start = Clock::Wall.now();
    while times.len() < 3 || Clock::Wall.now() - start < options.seconds {
        let (begun, group) = (Clock::Wall.now(), options.clock.now());
        for _ in 0..calls {
            (work.call)()?;
        }
        device.synchronize()?;
        let time = options.clock.now() - group;
        if Clock::Wall.now() - begun < GROUP {
            calls *= 2;
        } else {
            times.push(time / f64::from(calls));
        }
    }
    Ok(times)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn least(values: impl Iterator<Item = f64>) -> f64 {
    values.min_by(f64::total_cmp).unwrap_or(f64::NAN)
}

fn line(row: &Row) -> String {
    let time = |rounds: &[Vec<f64>]| {
        let all = rounds.concat();
        format!(
            "{} ({})",
            milliseconds(median(&all)),
            milliseconds(least(all.iter().copied()))
        )
    };
    let pair = |rounds: &Option<Vec<Vec<f64>>>| match rounds {
        None => ("–".to_owned(), "–".to_owned()),
        Some(rounds) => (time(rounds), ratio(&row.ours, rounds)),
    };
    let (eager, compiled) = (pair(&row.eager), pair(&row.compiled));
    format!(
        "{:<44}{:>22}{:>22}{:>24}{:>22}{:>24}",
        row.name,
        time(&row.ours),
        eager.0,
        eager.1,
        compiled.0,
        compiled.1
    )
}

/// Milliseconds, to a hundredth; short ones to a tenth of a microsecond.
fn milliseconds(seconds: f64) -> String {
    let digits = if seconds < 1e-3 { 4 } else { 2 };
    format!("{:.digits$}", 1e3 * seconds)
}

/// Median, least and largest of the rounds' ratios of medians.
fn ratio(ours: &[Vec<f64>], theirs: &[Vec<f64>]) -> String {
    let ratios: Vec<f64> = ours
        .iter()
        .zip(theirs)
        .map(|(ours, theirs)| median(ours) / median(theirs))
        .collect();
    let largest = ratios
        .iter()
        .copied()
        .max_by(f64::total_cmp)
        .unwrap_or(f64::NAN);
    format!(
        "{:.2} [{:.2} – {:.2}]",
        median(&ratios),
        least(ratios.iter().copied()),
        largest
    )
}
