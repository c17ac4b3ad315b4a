//! The coupling of a live batch: the pool that it was taken from, assigned again by the reference.

use candle_core::TensorId;
use ndarray::{Array2, ArrayD, Axis};
use sadm_reference::{
    bound::{Tracked, coupling::mean_error},
    coupling::Cost,
};

use super::{Found, Judge, Memory, Precisions, Replay, seen::Seen};
use crate::{
    case::Case,
    check::{Computed, scalar},
    checks::coupling,
    error::{Error, Result},
};

/// The judge of the term `coupling`.
pub(super) struct Coupling;

/// What the total is called among the quantities.
pub(super) const TOTAL: &str = "coupling total";

impl Judge for Coupling {
    fn term(&self) -> &'static str {
        "coupling"
    }

    fn loss(&self) -> &'static str {
        TOTAL
    }

    /// Each noise once, no class left, the least total by the reference's solver and by its potentials; the mean costs; and the
    /// batch's own images and noise are those of its place in the pool. Only the last of these where the same pool, dealt out in the
    /// same way, was judged before.
    fn judge(&self, seen: Seen<'_>, found: &mut Found, memory: &mut Memory) -> Result<()> {
        seen.says("cost", &seen.config.coupling.cost)?;
        seen.says("classes", &seen.config.coupling.classes)?;
        let pool = Pool::of(seen)?;
        if memory.pools.get(seen.player) != Some(&pool) {
            let mut of_pool = Found::default();
            judge_pool(seen, &mut of_pool)?;
            if of_pool.holds() {
                memory.pools.insert(seen.player.to_owned(), pool);
            }
            found.extend(of_pool);
        }
        judge_place(seen, found)
    }

    fn case<'a>(&self, seen: Seen<'a>, quantity: &str) -> Option<Result<Replay<'a>>> {
        quantity.starts_with("coupling ").then(|| case(seen))
    }
}

/// A pool that was judged and found right: its live tensors, which nothing changes, and everything that was decided about it.
#[derive(Debug, PartialEq)]
pub(super) struct Pool {
    tensors: [TensorId; 2],
    /// As bits: NaN equals nothing, not even itself.
    numbers: Vec<Vec<u64>>,
    choices: [String; 2],
}

impl Pool {
    fn of(seen: Seen<'_>) -> Result<Self> {
        let bits = |x: &[f64]| x.iter().map(|x| x.to_bits()).collect();
        Ok(Self {
            tensors: [seen.tensor("x0")?.id(), seen.tensor("eps")?.id()],
            numbers: vec![
                bits(seen.samples("permutation")?),
                bits(seen.samples("labels")?),
                bits(&[seen.setting("before")?, seen.setting("after")?]),
            ],
            choices: [seen.choice("cost")?, seen.choice("classes")?].map(str::to_owned),
        })
    }
}

/// How a pool was dealt out.
fn judge_pool(seen: Seen<'_>, found: &mut Found) -> Result<()> {
    let (images, noise) = (rows(seen, "x0")?, rows(seen, "eps")?);
    let p = Precisions::of(seen.tensor("eps")?).wide;
    let cost: Cost = seen.parsed("cost")?;
    let judge = coupling::Judge::new(&images, &noise, labels(seen)?, cost, p)?;
    let permutation = whole(seen.samples("permutation")?);
    let values: Computed = judge.values(&permutation);
    for (name, bound) in &judge.bounds() {
        let name_here = format!("coupling {name}");
        found.add(&name_here, &values[name], bound, &exact(&bound.value));
    }

    let count = images.nrows();
    let drawn: Vec<usize> = (0..count).collect();
    for (name, permutation) in [("before", &drawn), ("after", &permutation)] {
        let mean = judge.total(permutation) / count as f64;
        let bound = Tracked {
            value: scalar(mean),
            error: scalar(mean_error(count, images.ncols(), mean, p)),
        };
        let got = scalar(seen.setting(name)?);
        found.add(
            &format!("coupling {name}"),
            &got,
            &bound,
            &exact(&bound.value),
        );
    }

    Ok(())
}

/// That the images and the noise of a batch are those of its place in the pool.
fn judge_place(seen: Seen<'_>, found: &mut Found) -> Result<()> {
    let (images, noise) = (rows(seen, "x0")?, rows(seen, "eps")?);
    let permutation = whole(seen.samples("permutation")?);
    let count = images.nrows();
    let at = whole(&[seen.setting("at")?])[0];
    let (own_images, own_noise) = (rows(seen, "batch x0")?, rows(seen, "batch eps")?);
    let place = at..at + own_images.nrows();
    let partners: Vec<usize> = permutation
        .iter()
        .copied()
        .skip(at)
        .take(place.len())
        .collect();
    let place: Vec<usize> = place.collect();
    for (name, got, all, rows) in [
        ("coupling images", own_images, &images, &place),
        ("coupling noise", own_noise, &noise, &partners),
    ] {
        if rows.iter().any(|row| *row >= count) {
            return Err(Error::Reference(format!(
                "{name}: the batch lies outside its pool"
            )));
        }
        let want = exact(&all.select(Axis(0), rows).into_dyn());
        found.add(name, &got.into_dyn(), &want, &want);
    }
    Ok(())
}

fn exact(value: &ArrayD<f64>) -> Tracked {
    Tracked::exact(value.clone())
}

/// A tensor `[N, …]` as a matrix.
fn rows(seen: Seen<'_>, name: &str) -> Result<Array2<f64>> {
    let x = seen.array(name)?;
    let count = x.shape()[0];
    let flat = x.to_shape((count, x.len() / count.max(1)));
    Ok(flat.map_err(Error::reference)?.to_owned())
}

/// Whole numbers that were kept as f64; what is none becomes one that no permutation holds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole numbers below 2³²"
)]
fn whole(numbers: &[f64]) -> Vec<usize> {
    let is_whole = |x: &f64| *x >= 0.0 && x.fract() == 0.0;
    let one = |x: &f64| if is_whole(x) { *x as usize } else { usize::MAX };
    numbers.iter().map(one).collect()
}

/// The classes, where noise stays within its own.
fn labels(seen: Seen<'_>) -> Result<Option<Vec<u32>>> {
    if seen.choice("classes")? != "within" {
        return Ok(None);
    }
    let labels = whole(seen.samples("labels")?).into_iter();
    let labels = labels.map(|label| u32::try_from(label).map_err(Error::reference));
    labels.collect::<Result<_>>().map(Some)
}

fn case(seen: Seen<'_>) -> Result<Replay<'_>> {
    let cost = seen.choice("cost")?;
    let labels = whole(seen.samples("labels")?);
    let case = Case::new()
        .tensor("images", rows(seen, "x0")?)
        .tensor("noise", rows(seen, "eps")?)
        .counts(
            "labels",
            labels.into_iter().map(|label| label as u64).collect(),
        )
        .flag("within", seen.choice("classes")? == "within")
        .text("cost", cost);
    Ok(Replay {
        check: format!("coupling.{cost}"),
        case,
        tensor: seen.tensor("eps")?,
    })
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use sadm_gpu::{
        config::Config,
        coupling::{Classes, Cost, CouplingConfig, Optimal, Pool},
        train::{
            batch::Batch,
            observer::{Observation, Observer, Verdict},
            term::Record,
            terms::coupled,
        },
    };

    use crate::{
        engine::Place,
        generators::seeded_normal,
        shadow::{Shadow, ShadowOptions},
    };

    /// A pool of three batches of four, of which the second is observed after `spoil`.
    fn judged(mut spoil: impl FnMut(&mut Record), folder: Option<std::path::PathBuf>) -> Verdict {
        let image = |seed| Place::cpu(DType::F32).tensor(&seeded_normal(seed, &[12, 1, 4, 4]));
        let (x0, eps) = (image(1).expect("images"), image(2).expect("noise"));
        let config = configured();
        let coupling = Optimal {
            cost: Cost::Euclidean,
            classes: config.classes,
        };
        let labels = (0..12).map(|i| i % 2).collect();
        let pool = Pool::new(&coupling, x0, eps, labels).expect("an assignment");
        let (x0, eps, labels) = pool.batch(1, 4).expect("the second batch");
        let batch = Batch {
            x0,
            eps,
            t: vec![0.5; 4],
            labels: Some(labels),
            augment: None,
            dropout: None,
        };
        let mut record = coupled(&pool, &config, 4, &batch).expect("it looks at a cost");
        spoil(&mut record);
        let mut shadow = Shadow::new(ShadowOptions { folder });
        looked(&mut shadow, record)
    }

    fn looked(shadow: &mut Shadow, record: Record) -> Verdict {
        let config = Config {
            coupling: configured(),
            ..Config::default()
        };
        let observation = Observation {
            step: 7,
            phase: "denoise",
            player: "theta",
            config: &config,
            terms: &[record],
        };
        let seen = shadow.observe(&observation);
        seen.expect("a shadow always answers")
    }

    fn configured() -> CouplingConfig {
        CouplingConfig {
            cost: Cost::Euclidean,
            classes: Classes::Within,
            ..CouplingConfig::default()
        }
    }

    /// A pool is solved at its first look; at later ones the place of the batch is checked, and what was solved must be what it was.
    #[test]
    fn a_pool_is_solved_once_and_again_when_anything_of_it_changed() {
        let mut shadow = Shadow::default();
        let mut record = None;
        judged(|r| record = Some(r.clone()), None);
        let record = record.expect("a record");
        let mut look = |spoil: &dyn Fn(&mut Record)| {
            let mut record = record.clone();
            spoil(&mut record);
            looked(&mut shadow, record)
        };
        let first = look(&|_| {});
        assert_eq!((first.ratios.len(), first.failure), (8, None));
        let second = look(&|_| {});
        assert_eq!((second.ratios.len(), second.failure), (2, None));
        let elsewhere = look(&|r| {
            r.settings.insert("at", 0.0);
        });
        assert!(elsewhere.failure.is_some(), "the images of another batch");
        let swapped = look(&|r| permutation(r).swap(0, 2));
        assert!(swapped.failure.is_some(), "another permutation passes");
        let again = look(&|r| permutation(r).swap(0, 2));
        assert!(
            again.failure.is_some(),
            "what failed is remembered as right"
        );
        let other = look(&|r| {
            let copy = r.tensors["eps"].copy().expect("a copy");
            r.tensors.insert("eps", copy);
        });
        assert_eq!(other.ratios.len(), 8, "another tensor is another pool");
    }

    fn permutation(record: &mut Record) -> &mut Vec<f64> {
        record
            .samples
            .get_mut("permutation")
            .expect("a permutation")
    }

    type Fault = (&'static str, fn(&mut Record));

    const FAULTS: [Fault; 8] = [
        ("coupling uses", |r| permutation(r)[3] = permutation(r)[2]),
        ("coupling uses", |r| permutation(r)[0] = f64::NAN),
        ("coupling strangers", |r| permutation(r).swap(0, 1)),
        ("coupling total", |r| permutation(r).swap(0, 2)),
        ("coupling certificate", |r| permutation(r).swap(0, 2)),
        ("coupling before", |r| {
            *r.settings.get_mut("before").expect("a mean") *= 1.001;
        }),
        ("coupling after", |r| {
            r.settings.insert("after", r.settings["before"]);
        }),
        ("coupling noise", |r| {
            // The noise of the batch before, a second time.
            let noise = r.tensors["eps"].narrow(0, 0, 4).expect("rows");
            r.tensors.insert("batch eps", noise);
        }),
    ];

    #[test]
    fn a_right_pool_passes_and_a_wrong_one_fails_by_name() {
        let right = judged(|_| {}, None);
        assert!(right.failure.is_none() && right.ratio <= 1.0, "{right:?}");
        assert_eq!(right.ratios.len(), 8, "{right:?}");
        for (name, fault) in FAULTS {
            let verdict = judged(fault, None);
            let ratio = verdict
                .ratios
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, ratio)| *ratio);
            assert!(ratio > Some(1.0), "a wrong {name} passes: {verdict:?}");
            assert!(verdict.failure.is_some(), "{name}: {verdict:?}");
        }
        let shifted = judged(|r| *r.settings.get_mut("at").expect("a place") = 0.0, None);
        assert!(
            shifted.failure.is_some(),
            "the images of another batch: {shifted:?}"
        );
    }

    #[test]
    fn a_failed_pool_leaves_its_case_and_what_the_reference_refuses_fails() {
        let folder = tempfile::tempdir().expect("a folder");
        let verdict = judged(
            |r| permutation(r).swap(0, 2),
            Some(folder.path().to_owned()),
        );
        assert!(verdict.failure.is_some_and(|f| f.contains("shadow-7.json")));
        let again = crate::replay(&folder.path().join("shadow-7.json"), None, None);
        let again = again.expect("it runs again");
        assert_eq!(again.name, "coupling.euclidean");
        assert!(
            !again.failed(),
            "the training system assigns this pool rightly: {}",
            again.place
        );
        let nan = judged(
            |r| {
                let nan = (&r.tensors["x0"] * f64::NAN).expect("a tensor");
                r.tensors.insert("x0", nan);
            },
            None,
        );
        assert!(
            nan.ratio.is_infinite() && nan.failure.is_some_and(|f| f.contains("images [0, 0]"))
        );
        let outside = judged(|r| *r.settings.get_mut("at").expect("a place") = 10.0, None);
        assert!(outside.ratio.is_infinite(), "{outside:?}");
    }
}
