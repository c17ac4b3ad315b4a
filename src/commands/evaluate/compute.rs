//! The metrics of two sets, each with its convention and an interval.

use std::cell::OnceCell;

use anyhow::{Context, Result, bail};
use ndarray::{Array2, ArrayView2, Axis};
use sadm_gpu::random::Streams;
use sadm_reference::metrics::{
    Ball, Extrapolation, Factor, FeatureView, Interval, Moments, basic_interval, bootstrap_means,
    extrapolate, frechet_of_factors, inception_score, kid_estimate, kid_of_subsets, mann_whitney,
    nearest, percentile_interval, prdc_samples, split_rows, wilson_interval,
};
use sadm_reference::statistics;

use super::args::SplitOrder;
use super::draws::RandomState;
use super::matrix::{Matrix, rounded};
use super::report::{Line, NORMAL};
use super::request::NO_PROBABILITIES;
use super::{Args, Divisor, Metric};
use crate::progress::{self, say};

/// Confidence level of every interval.
pub const LEVEL: f64 = 0.95;
/// Widths of the Inception network's features, pooled and spatial.
const INCEPTION_WIDTH: usize = 2048;
const SPATIAL_WIDTH: usize = 2023;
/// A nearest neighbour this much nearer than the second is suspicious (Yoon et al. 2023).
const RATIO: f64 = 1.0 / 3.0;
/// Samples that the kernel distance's jackknife needs of each set.
const LEAST_OF_KID: usize = 3;

/// Reference of a comparison: at least one of the two.
#[derive(Debug, Default)]
pub struct Reference {
    /// Features of real samples.
    pub samples: Option<Matrix>,
    /// A stored mean and covariance.
    pub moments: Option<Moments>,
}

impl Reference {
    /// How many samples; unknown for their moments alone.
    pub fn count(&self) -> Option<usize> {
        self.samples.as_ref().map(|x| x.view().nrows())
    }

    /// How many features.
    pub fn columns(&self) -> usize {
        match (&self.samples, &self.moments) {
            (Some(x), _) => x.view().ncols(),
            (None, Some(moments)) => moments.mean.len(),
            (None, None) => 0,
        }
    }

    /// Factor of its covariance, over the chosen divisor where it is of samples.
    fn factor(&self, args: &Args) -> Result<Factor> {
        match (&self.moments, &self.samples) {
            (Some(moments), _) => Ok(Factor::of_moments("reference", moments, None)?),
            (None, Some(x)) => factor("reference", x.view(), None, args),
            (None, None) => {
                bail!("the reference holds neither samples nor a mean and a covariance")
            }
        }
    }
}

/// Everything a metric may need.
pub struct Sets<'a> {
    /// Features of the generated samples.
    pub generated: FeatureView<'a>,
    /// Their class probabilities, where a classifier gave them.
    pub probabilities: Option<ArrayView2<'a, f64>>,
    /// What they are held against.
    pub reference: &'a Reference,
    /// Features of real samples that the model was not trained on.
    pub held_out: Option<FeatureView<'a>>,
    /// Name of the features.
    pub features: &'a str,
    /// The lines of precision, recall, density and coverage, once one of them was asked for: they come together.
    pub shares: OnceCell<Vec<Line>>,
    /// Whether the generated samples come one class after the other.
    pub class_by_class: bool,
}

impl<'a> Sets<'a> {
    /// The features of the real samples; stored moments are not enough for `metric`.
    fn real(&self, metric: &str) -> Result<FeatureView<'a>> {
        match &self.reference.samples {
            Some(x) => Ok(x.view()),
            None => bail!(
                "{metric} needs the reference's samples or features; its stored mean and covariance serve fd alone"
            ),
        }
    }

    /// The lines of one metric.
    pub fn compute(&self, metric: Metric, args: &Args) -> Result<Vec<Line>> {
        match metric {
            Metric::Fd => self.fd(args, format!("fd-{}", self.features)),
            // That the features have the name is decided by `request::check`.
            Metric::Fid => {
                self.must_have(INCEPTION_WIDTH)?;
                self.fd(args, "fid".to_owned())
            }
            Metric::Sfid => {
                self.must_have(SPATIAL_WIDTH)?;
                self.fd(args, "sfid".to_owned())
            }
            Metric::FdInf => self.fd_inf(args),
            Metric::Kid => self.kid(args),
            Metric::Is => self.inception(args),
            Metric::Pr => Ok(self.shares(args)?[..2].to_vec()),
            Metric::Dc => Ok(self.shares(args)?[2..].to_vec()),
            Metric::Nn => self.neighbours(),
            Metric::Nll => bail!("nll is of a model, not of samples"),
            Metric::Lpips => bail!("lpips compares generated images; features have no looks"),
        }
    }

    /// A name alone does not make features those of the network.
    fn must_have(&self, width: usize) -> Result<()> {
        let got = self.generated.ncols();
        if got != width {
            bail!(
                "`{}` are {width} features, got {got}: these are others, ask for fd under another --name",
                self.features
            );
        }
        Ok(())
    }

    fn fd(&self, args: &Args, name: String) -> Result<Vec<Line>> {
        let (generated, real) = (self.generated, self.reference);
        let (reference, own) = rayon::join(
            || real.factor(args),
            || factor("generated", generated, None, args),
        );
        let (reference, own) = (reference?, own?);
        let answer = frechet_of_factors(&own, &reference)?;
        let bar = progress::count_bar(args.resamples, "resamples of fd");
        let mut replicates = Vec::new();
        for r in 0..args.resamples {
            let drawn = |what, x: FeatureView<'_>| {
                let rows = draws(x.nrows(), args.seed, what, r);
                factor(what, x, Some(&rows), args)
            };
            let own = || drawn("generated", generated);
            let distance = match (&real.moments, &real.samples) {
                (None, Some(x)) => {
                    let (own, real) = rayon::join(own, || drawn("reference", x.view()));
                    frechet_of_factors(&own?, &real?)?
                }
                _ => frechet_of_factors(&own()?, &reference)?,
            };
            replicates.push(distance.distance());
            bar.inc(1);
        }
        bar.finish_and_clear();
        let interval = match replicates.as_slice() {
            [] | [_] => None,
            many => Some(basic_interval(answer.distance(), many, LEVEL)?),
        };
        let stored = match self.reference.moments {
            Some(_) => " of generated, stored as it is of real",
            None => "",
        };
        let mut line = Line::new(name, answer.distance())
            .with_interval(interval.map(|i| Interval {
                low: i.low.max(0.0),
                high: i.high.max(0.0),
            }))
            .with_convention(format!(
                "covariance over {}{stored}",
                args.covariance.name()
            ))
            .with_part("mean_term", answer.mean_term)
            .with_part("trace_term", answer.trace_term);
        if answer.rank_deficient {
            line.note = Some(self.too_few());
        }
        line.note_bias();
        Ok(vec![line])
    }

    /// Why a Fréchet distance of so few samples says little.
    fn too_few(&self) -> String {
        let real = match (&self.reference.moments, self.reference.count()) {
            (None, Some(count)) => format!(" and {count} real samples"),
            _ => " samples, or those behind the stored covariance,".to_owned(),
        };
        format!(
            "{} generated{real} do not suffice for covariances of full rank in {} features: \
             the distance is biased upwards, and comparable only at the same numbers of samples",
            self.generated.nrows(),
            self.generated.ncols()
        )
    }

    fn fd_inf(&self, args: &Args) -> Result<Vec<Line>> {
        const POINTS: usize = 10;
        let (n, d) = self.generated.dim();
        let least = (n / POINTS).max(d + 1);
        if n < least + POINTS {
            bail!(
                "fd-inf needs more generated samples than features by {POINTS} at least ({}), got {n}",
                d + 1 + POINTS
            );
        }
        let reference = self.reference.factor(args)?;
        let order = Streams::new(args.seed).permutation("fd-inf", 0, n);
        let limit = |rows: &[usize]| -> Result<Extrapolation> {
            let mut points = Vec::new();
            for k in 0..POINTS {
                let size = least + (n - least) * k / (POINTS - 1);
                // Cyclic stretches of one random order: different samples for different sizes, as far as they go.
                let chosen: Vec<usize> =
                    (0..size).map(|i| rows[(k * n / POINTS + i) % n]).collect();
                let own = factor("generated", self.generated, Some(&chosen), args)?;
                points.push((size, frechet_of_factors(&own, &reference)?.distance()));
            }
            Ok(extrapolate(&points)?)
        };
        let line = limit(&order)?;
        // The points share samples, so that the line's own residuals say nothing of the limit's error: the whole is resampled, and
        // its spread taken. Resamples tend to another limit, the empirical law's, so that their quantiles would lie elsewhere.
        let bar = progress::count_bar(args.resamples, "resamples of fd-inf");
        let mut replicates = Vec::new();
        for r in 0..args.resamples {
            replicates.push(limit(&draws(n, args.seed, "fd-inf", r))?.intercept);
            bar.inc(1);
        }
        bar.finish_and_clear();
        let real = match (&self.reference.moments, self.reference.count()) {
            (None, Some(count)) => format!("its {count} samples"),
            _ => "its stored moments".to_owned(),
        };
        let mut answer = Line::new(format!("fd-inf-{}", self.features), line.intercept)
            .with_error(spread(&replicates)?)
            .with_convention(format!(
                "line in 1/N through {POINTS} sizes from {least}; the reference, with the bias of {real}, as it is"
            ))
            .with_part("slope", line.slope);
        if reference.is_rank_deficient() {
            answer.note = Some(self.too_few());
        }
        Ok(vec![answer])
    }

    fn kid(&self, args: &Args) -> Result<Vec<Line>> {
        let real = self.real("kid")?;
        for (whose, set) in [("generated", self.generated), ("reference", real)] {
            if set.nrows() < LEAST_OF_KID {
                bail!(
                    "kid needs at least {LEAST_OF_KID} samples of each set, and the {whose} one holds {}",
                    set.nrows()
                );
            }
        }
        let answer = kid_estimate(self.generated, real)?;
        let name = format!("kid-{}", self.features);
        let mut lines = vec![
            Line::new(name.clone(), answer.value)
                .with_error(Some(answer.standard_error))
                .with_convention("one block of all samples; jackknife".to_owned()),
        ];
        if let Some(size) = args.kid_subset_size {
            let sizes = [self.generated.nrows(), real.nrows()];
            let (a, b) = subsets(sizes, size, args)?;
            let answer = kid_of_subsets(self.generated, real, &a, &b)?;
            lines.push(
                Line::new(format!("{name}-subsets"), answer.mean)
                    .with_convention(format!(
                        "mean of {} subsets of {size}{}, std over n",
                        args.kid_subsets,
                        if args.torch_fidelity_draws {
                            " as torch-fidelity draws them"
                        } else {
                            ""
                        }
                    ))
                    .with_part("std", answer.std),
            );
        }
        Ok(lines)
    }

    fn inception(&self, args: &Args) -> Result<Vec<Line>> {
        let p = self.probabilities.context(NO_PROBABILITIES)?;
        let n = p.nrows();
        let (order, named): (Vec<usize>, _) = match (args.split_order, args.shuffle) {
            (SplitOrder::Consecutive, _) => ((0..n).collect(), "consecutive, as ADM".to_owned()),
            (SplitOrder::Shuffled, Some(seed)) => {
                let order = Streams::new(seed).permutation("is", 0, n);
                (order, format!("shuffled with seed {seed}"))
            }
            (SplitOrder::Shuffled, None) => (
                RandomState::torch_fidelity().permutation(n),
                "shuffled as torch-fidelity".to_owned(),
            ),
        };
        let answer = inception_score(p.select(Axis(0), &order).view(), args.splits)?;
        let mut replicates = Vec::new();
        for r in 0..args.resamples {
            // Within each split, so that the replicates are of what was asked: its order belongs to the number.
            let rows: Vec<usize> = split_rows(p.nrows(), args.splits)
                .enumerate()
                .flat_map(|(split, rows)| {
                    let drawn = draws(rows.len(), args.seed, &format!("is-{split}"), r);
                    drawn.into_iter().map(move |i| rows.start + i)
                })
                .map(|i| order[i])
                .collect();
            let drawn = p.select(Axis(0), &rows);
            replicates.push(inception_score(drawn.view(), args.splits)?.mean);
        }
        let interval = match replicates.as_slice() {
            [] | [_] => None,
            many => Some(basic_interval(answer.mean, many, LEVEL)?),
        };
        // No inception score is below 1 or above the number of classes.
        let most = p.ncols() as f64;
        let interval = interval.map(|i| Interval {
            low: i.low.clamp(1.0, most),
            high: i.high.clamp(1.0, most),
        });
        let mut line = Line::new(format!("is-{}", self.features), answer.mean)
            .with_interval(interval)
            .with_convention(format!("{} splits, {named}; std over n", args.splits))
            .with_part("std", answer.std);
        if args.split_order == SplitOrder::Consecutive && self.class_by_class {
            line.note = Some(
                "the samples come class by class: each split holds few classes, and the score is lower than of mixed samples \
                 (--split-order shuffled)"
                    .to_owned(),
            );
        }
        line.note_bias();
        Ok(vec![line])
    }

    /// Lines of precision, recall, density and coverage.
    fn shares(&self, args: &Args) -> Result<&[Line]> {
        if let Some(found) = self.shares.get() {
            return Ok(found);
        }
        let found = self.prdc(args)?;
        Ok(self.shares.get_or_init(|| found))
    }

    fn prdc(&self, args: &Args) -> Result<Vec<Line>> {
        let sets = [self.real("pr")?, self.generated];
        let rounded = args.half.then(|| halves(sets));
        let ball = if args.open_balls {
            Ball::Open
        } else {
            Ball::Closed
        };
        let samples = match &rounded {
            None => prdc_samples(sets[0], sets[1], args.k, ball)?,
            Some((sets, _)) => prdc_samples(sets[0].view(), sets[1].view(), args.k, ball)?,
        };
        let means = samples.means();
        let kind = if args.open_balls { "open" } else { "closed" };
        let half = match rounded {
            None => "",
            Some((_, false)) => ", features rounded to f16",
            Some((_, true)) => ", features rounded to f32, since f16 overflows",
        };
        let line = |name: &str, value: f64, interval: Option<Interval>, kind: &str| {
            Line::new(format!("{name}-{}", self.features), value)
                .with_interval(interval)
                .with_convention(format!(
                    "k = {}, {kind} balls{half}; interval given the balls",
                    args.k
                ))
        };
        let each: Vec<f64> = samples
            .holders
            .iter()
            .map(|n| *n as f64 / args.k as f64)
            .collect();
        let density = mean_interval(&each, args, "density")?;
        let mut lines = vec![
            line(
                "precision",
                means.precision,
                share_interval(&samples.precise)?,
                kind,
            ),
            line(
                "recall",
                means.recall,
                share_interval(&samples.recalled)?,
                kind,
            ),
            line("density", means.density, density, "open"),
            line(
                "coverage",
                means.coverage,
                share_interval(&samples.covered)?,
                "open",
            ),
        ];
        // Open balls of equal samples hold nothing, closed ones all of them.
        if !args.open_balls && means.precision > 0.0 && means.density <= 0.0 {
            lines[2].note = Some(
                "density and coverage are 0 beside a precision above 0: samples tie (many are equal), and open balls count ties as \
                 outside"
                    .to_owned(),
            );
        }
        Ok(lines)
    }

    fn neighbours(&self) -> Result<Vec<Line>> {
        let real = self.real("nn")?;
        let found = nearest(self.generated, real)?;
        let close: Vec<bool> = found.iter().map(|near| near.ratio() < RATIO).collect();
        let share = close.iter().filter(|near| **near).count() as f64 / close.len() as f64;
        let distances: Vec<f64> = found.iter().map(|near| near.distance).collect();
        let median = sadm_reference::metrics::quantile(&distances, 0.5)?;
        let nearest_one = found
            .iter()
            .enumerate()
            .min_by(|a, b| a.1.distance.total_cmp(&b.1.distance))
            .context("there are no generated samples")?;
        let mut lines = vec![
            Line::new(format!("nn-copies-{}", self.features), share)
                .with_interval(share_interval(&close)?)
                .with_convention("share with nearest < 1/3 of second nearest".to_owned()),
            Line::new(format!("nn-distance-{}", self.features), median)
                .with_convention("median distance to the nearest reference sample".to_owned())
                .with_part("least", nearest_one.1.distance)
                .with_part("least_of_sample", nearest_one.0 as f64)
                .with_part("least_at_reference", nearest_one.1.index as f64),
        ];
        if let Some(held_out) = self.held_out {
            let control = nearest(held_out, real)?;
            let control: Vec<f64> = control.iter().map(|near| near.distance).collect();
            let test = mann_whitney(&distances, &control)?;
            lines.push(
                Line::new(format!("nn-copying-z-{}", self.features), test.z)
                    .with_convention(format!(
                        "rank test against {} held-out samples; above 3: copies",
                        control.len()
                    ))
                    .with_part("below", test.below),
            );
        }
        Ok(lines)
    }
}

/// Rows of the subsets of kid, of both sets.
type Subsets = (Vec<Vec<usize>>, Vec<Vec<usize>>);

fn subsets([generated, real]: [usize; 2], size: usize, args: &Args) -> Result<Subsets> {
    for (what, n) in [("generated", generated), ("reference", real)] {
        if size > n {
            bail!("--kid-subset-size must be at most the {n} samples of {what}, got {size}");
        }
    }
    let mut numpy = RandomState::torch_fidelity();
    let mut draw = |what: &str, n: usize, r: u64| {
        let mut order = if args.torch_fidelity_draws {
            numpy.permutation(n)
        } else {
            Streams::new(args.seed).permutation(what, r, n)
        };
        order.truncate(size);
        order
    };
    // One generator draws for both sets in turn, as there.
    let pairs = (0..args.kid_subsets.get() as u64)
        .map(|r| (draw("generated", generated, r), draw("reference", real, r)));
    Ok(pairs.unzip())
}

/// Factor of the covariance over the chosen divisor, of all rows or of some.
fn factor(
    what: &'static str,
    x: FeatureView<'_>,
    rows: Option<&[usize]>,
    args: &Args,
) -> Result<Factor> {
    let (mut factor, n) = match rows {
        Some(rows) => (Factor::of_rows(what, x, rows)?, rows.len() as f64),
        None => (Factor::of_features(what, x)?, x.nrows() as f64),
    };
    if args.covariance == Divisor::N {
        factor.root *= ((n - 1.0) / n).sqrt();
    }
    Ok(factor)
}

/// Wilson's interval of the share of flags that are set.
fn share_interval(flags: &[bool]) -> Result<Option<Interval>> {
    let counted = flags.iter().filter(|flag| **flag).count();
    Ok(Some(wilson_interval(counted, flags.len(), NORMAL)?))
}

/// Percentile interval of a mean over samples.
fn mean_interval(each: &[f64], args: &Args, purpose: &str) -> Result<Option<Interval>> {
    if args.resamples < 2 {
        return Ok(None);
    }
    let mut indices = Array2::zeros((args.resamples, each.len()));
    for (r, mut row) in indices.rows_mut().into_iter().enumerate() {
        row.assign(&ndarray::Array1::from(draws(
            each.len(),
            args.seed,
            purpose,
            r,
        )));
    }
    let means = bootstrap_means(each, indices.view())?;
    Ok(Some(percentile_interval(&means, LEVEL)?))
}

/// `n` indices below `n`, drawn with replacement.
fn draws(n: usize, seed: u64, purpose: &str, r: usize) -> Vec<usize> {
    Streams::new(seed).resample(&format!("bootstrap-{purpose}"), r as u64, n)
}

/// Standard deviation, from two values on.
fn spread(values: &[f64]) -> Result<Option<f64>> {
    match values {
        [] | [_] => Ok(None),
        many => Ok(Some(statistics::mean_interval(many, LEVEL)?.std)),
    }
}

/// Two sets rounded to f16, or to f32 where f16 overflows in one of them, and which it was. Either lies in f32.
fn halves(sets: [FeatureView<'_>; 2]) -> ([Array2<f32>; 2], bool) {
    let f16 = |x: f64| half::f16::from_f64(x).to_f32();
    let rounded_to_f16 = sets.map(|x| rounded(x, f16));
    if rounded_to_f16.iter().flatten().all(|x| x.is_finite()) {
        return (rounded_to_f16, false);
    }
    drop(rounded_to_f16);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the rounding that is asked for"
    )]
    let f32 = |x: f64| x as f32;
    (sets.map(|x| rounded(x, f32)), true)
}

/// Says which metric is being computed, where that takes long.
pub fn announce(metric: Metric, sets: &Sets, args: &Args) {
    let (n, d) = sets.generated.dim();
    let frechet = matches!(
        metric,
        Metric::Fd | Metric::Fid | Metric::Sfid | Metric::FdInf
    );
    if frechet && args.resamples > 1 && n.saturating_mul(d).saturating_mul(d) > 10_000_000_000 {
        say(&format!(
            "{} resamples of {n} × {d} features take long; --resamples 0 leaves the interval out",
            args.resamples
        ));
    }
    if n * d > 10_000_000 {
        say(&format!(
            "computing {} of {:?} features",
            metric.name(),
            sets.generated.dim()
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        args: Args,
    }

    /// 40 draws of 200 samples of N(δ, I) in four dimensions against N(0, I) itself: the distance is ‖δ‖². An interval of 95 % misses
    /// eight or more times of 40 once in 2000.
    #[test]
    fn the_interval_of_fd_inf_covers_the_limit() -> Result<()> {
        let (n, d, shift) = (200, 4, 0.5);
        let arguments = ["x", "--generated", "x", "--resamples", "40"];
        let args = Alone::try_parse_from(arguments)?.args;
        let reference = Reference {
            samples: None,
            moments: Some(Moments {
                mean: ndarray::Array1::zeros(d),
                covariance: Array2::eye(d),
            }),
        };
        let mut covered = 0;
        for seed in 0..40 {
            let drawn = Streams::new(seed).normal("fd-inf-test", 0, n * d);
            let drawn = drawn.into_iter().map(f64::from).collect();
            let generated = Array2::from_shape_vec((n, d), drawn)? + shift;
            let sets = Sets {
                generated: generated.view().into(),
                probabilities: None,
                reference: &reference,
                held_out: None,
                features: "toy",
                shares: OnceCell::new(),
                class_by_class: false,
            };
            let line = sets.fd_inf(&args)?.swap_remove(0);
            let [low, high] = line.interval.context("an interval")?;
            covered += usize::from((low..=high).contains(&(shift * shift * d as f64)));
        }
        assert!(covered > 32, "{covered} of 40");
        Ok(())
    }
}
