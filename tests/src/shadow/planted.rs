//! Planted bugs in live steps: a small run is recorded once, and every wrong step that can be made of it must fail by name.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock, Mutex, atomic::AtomicBool},
};

use candle_core::{Device, Tensor};
use ndarray::ArrayD;
use sadm_gpu::{
    config::Config,
    train::{
        Silent, Trainer,
        account::{Account, Window},
        observer::{Observation, Observer, Verdict},
        player::{PHI, THETA},
        term::Record,
    },
};
use sadm_reference::{
    optim::{AdamW, Moments},
    schedule::ScheduleKind,
    time::TimeLaw,
};

use super::{Found, JUDGES, Memory, Shadow, ShadowOptions, seen, update};
use crate::{compare::compare, error::Result, generators::round_f32};

/// What was compared.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    pub(super) name: String,
    pub(super) got: ArrayD<f64>,
    pub(super) want: ArrayD<f64>,
    pub(super) allowed: ArrayD<f64>,
}

/// An update as an observer was shown it.
#[derive(Debug, Clone)]
struct Seen {
    step: usize,
    phase: String,
    player: String,
    terms: Vec<Record>,
    account: Option<Account>,
}

impl Seen {
    fn observation<'a>(&'a self, config: &'a Config) -> Observation<'a> {
        Observation {
            step: self.step,
            phase: &self.phase,
            player: &self.player,
            config,
            terms: &self.terms,
        }
    }

    fn account(&mut self) -> &mut Account {
        self.account.as_mut().expect("every update has an account")
    }

    fn term(&mut self, name: &str) -> &mut Record {
        let term = self.terms.iter_mut().find(|term| term.term == name);
        term.expect("a record of the step")
    }

    /// Both verdicts of a fresh shadow.
    fn judged(&self, config: &Config, folder: Option<std::path::PathBuf>) -> Vec<Verdict> {
        let mut shadow = Shadow::new(ShadowOptions { folder });
        let observation = self.observation(config);
        let before = shadow.observe(&observation).expect("it answers");
        let account = self.account.as_ref().expect("an account");
        let after = shadow.observe_update(&observation, account);
        let after = after.expect("it answers").expect("it looks");
        vec![before, after]
    }
}

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Seen>>>);

impl Observer for Recorder {
    fn observe(&mut self, o: &Observation<'_>) -> sadm_gpu::Result<Verdict> {
        self.0.lock().expect("one thread").push(Seen {
            step: o.step,
            phase: o.phase.to_owned(),
            player: o.player.to_owned(),
            terms: o.terms.to_vec(),
            account: None,
        });
        Ok(Verdict {
            ratio: 0.0,
            quantity: String::new(),
            ratios: Vec::new(),
            failure: None,
        })
    }

    fn observe_update(
        &mut self,
        _: &Observation<'_>,
        account: &Account,
    ) -> sadm_gpu::Result<Option<Verdict>> {
        let mut seen = self.0.lock().expect("one thread");
        seen.last_mut().expect("it was shown before").account = Some(account.clone());
        Ok(None)
    }
}

/// Every update of a run in all phases.
struct Recorded {
    config: Config,
    seen: Vec<Seen>,
}

impl Recorded {
    fn of(keys: &[&str]) -> Self {
        let common = [
            "model.unet.channels=[8, 8]",
            "model.unet.blocks=1",
            "model.unet.attention=[1]",
            "model.unet.heads=2",
            "model.unet.groups=4",
            "model.unet.emb_dim=16",
            "model.unet.time_dim=8",
            "encoder.widths=[8, 8]",
            "encoder.groups=4",
            "encoder.dim=5",
            "encoder.batch=6",
            "encoder.learning_rate=0.003",
            "encoder.weight_decay=0.03",
            "adversarial.learning_rate=0.0004",
            "adversarial.theta_steps=2",
            "train.steps=24",
            "train.batch=6",
            "train.warmup=0.3",
            "train.decay=cosine",
            "train.weight_decay=0.02",
            "train.clip_norm=2.0",
            "train.ema_half_life=1000.0",
            "train.ema_ramp=0.5",
            "phases.encoder=0.25",
            "phases.denoise=0.25",
            "phases.guided=0.25",
            "phases.adversarial=0.25",
            "sample.count=1",
            "sample.steps=2",
            "shadow.every=1",
        ];
        let config = Config::default().with_sets(common).expect("known keys");
        let config = config.with_sets(keys.iter().copied()).expect("known keys");
        let folder = tempfile::tempdir().expect("a folder");
        let recorder = Recorder::default();
        let observer: Box<dyn Observer> = Box::new(recorder.clone());
        let mut trainer = Trainer::new(
            config.clone(),
            &folder.path().join("run"),
            &Device::Cpu,
            Some(observer),
            false,
        )
        .expect("a run");
        let done = trainer.run(&mut Silent, &AtomicBool::new(false));
        assert!(done.expect("it trains").finished);
        let seen = std::mem::take(&mut *recorder.0.lock().expect("one thread"));
        Self { config, seen }
    }

    /// The update of a player in a step.
    fn at(&self, step: usize, player: &str) -> Seen {
        let mut all = self.seen.iter();
        let one = all.find(|s| s.step == step && s.player == player);
        one.unwrap_or_else(|| panic!("no update of {player} at {step}"))
            .clone()
    }
}

/// One t for the batch, log-normal.
static SHARED: LazyLock<Recorded> = LazyLock::new(|| Recorded::of(&[]));

/// A t for each sample, softly truncated; φ first, in two ascents; linear decay, in micro-batches, coupled.
static OTHER: LazyLock<Recorded> = LazyLock::new(|| {
    Recorded::of(&[
        "objective.time=soft-truncation",
        "objective.time_sharing=per-sample",
        "objective.schedule=vp-linear",
        "adversarial.update_order=phi-first",
        "adversarial.phi_steps=2",
        "train.decay=linear",
        "train.micro_batches=2",
        "train.clip_norm=0.0",
        "coupling.method=optimal",
        "coupling.pool=12",
    ])
});

#[test]
fn every_step_of_right_runs_passes() {
    for run in [&*SHARED, &*OTHER] {
        let mut phases = BTreeSet::new();
        let mut clipped = 0;
        for seen in &run.seen {
            phases.insert((seen.phase.clone(), seen.player.clone()));
            for verdict in seen.judged(&run.config, None) {
                assert!(
                    verdict.failure.is_none() && verdict.ratio <= 1.0,
                    "{} {} {}: {verdict:?}",
                    seen.step,
                    seen.phase,
                    seen.player
                );
            }
            let account = seen.account.as_ref().expect("an account");
            clipped += usize::from(account.norm > run.config.train.clip_norm);
        }
        assert_eq!(phases.len(), 5, "{phases:?}");
        assert!(clipped > 0 && clipped < run.seen.len() + 1, "{clipped}");
    }
}

type Spoil = fn(&mut Seen, &Config);

/// A step and a player whose update shows a fault, the quantity that must fail, and the fault.
struct Fault(usize, &'static str, &'static str, Spoil);

/// Steps of the recorded runs.
const CLASSIFIER: usize = 3;
const RISING: usize = 7;
const FALLING: usize = 15;
const ADVERSARIAL: usize = 21;

/// AdamW on the windows that have a gradient, element by element: `f(θ, g, m', v', k)` is the new θ.
fn descend(account: &mut Account, f: impl Fn(f64, f64, f64, f64, i32) -> f64) {
    let k = i32::try_from(account.updates).expect("few updates") + 1;
    for window in windows(account) {
        for i in 0..window.after.theta.len() {
            let (m, v) = (window.after.m[i], window.after.v[i]);
            let new = f(window.before.theta[i], window.gradient[1][i], m, v, k);
            window.after.theta[i] = round_f32(new);
        }
    }
}

fn windows(account: &mut Account) -> impl Iterator<Item = &mut Window> {
    let all = account.windows.values_mut();
    all.filter(|window| !window.gradient[0].is_empty())
}

const FAULTS: &[Fault] = &[
    Fault(FALLING, THETA, "number of the update", |s, _| {
        s.account().updates += 6;
    }),
    // The course of the rate.
    Fault(RISING, THETA, "learning rate", |s, _| {
        // Off by one: the first update already has two parts.
        s.account().learning_rate *= 3.0 / 2.0;
    }),
    Fault(FALLING, THETA, "learning rate", |s, c| {
        // The decay over all steps, the encoder's among them.
        let rate = sadm_gpu::optim::rate(FALLING - 6, 24, c.train.warmup, c.train.decay);
        s.account().learning_rate = rate * c.train.learning_rate;
    }),
    Fault(FALLING, THETA, "learning rate", |s, c| {
        s.account().learning_rate = c.train.learning_rate;
    }),
    Fault(ADVERSARIAL, PHI, "learning rate", |s, c| {
        // φ at θ's peak.
        s.account().learning_rate *= c.train.learning_rate / c.adversarial.learning_rate;
    }),
    Fault(CLASSIFIER, PHI, "learning rate", |s, c| {
        s.account().learning_rate *= c.train.learning_rate / c.encoder.learning_rate;
    }),
    Fault(FALLING, THETA, "updated parameters", |s, _| {
        // Another rate than the one shown.
        s.account().learning_rate *= 1.0 + 1e-3;
    }),
    Fault(ADVERSARIAL, PHI, "AdamW's settings", |s, c| {
        s.account().settings[3] = c.encoder.weight_decay;
    }),
    Fault(FALLING, THETA, "AdamW's settings", |s, _| {
        s.account().settings.swap(0, 1);
    }),
    // Clipping.
    Fault(ADVERSARIAL, THETA, "gradient norm", |s, _| {
        // Of the other player's gradient.
        s.account().norm = SHARED.at(ADVERSARIAL, PHI).account().norm;
    }),
    Fault(FALLING, THETA, "gradient norm", |s, _| {
        // Without the last parameter.
        let account = s.account();
        let squares = |g: &Tensor| g.sqr().and_then(|g| g.sum_all()?.to_scalar::<f32>());
        let [last, _] = account.gradients.values().next_back().expect("a gradient");
        let last = f64::from(squares(last).expect("a sum"));
        account.norm = (account.norm.powi(2) - last).sqrt();
    }),
    Fault(FALLING, THETA, "clipped norm", |s, _| {
        // One parameter is left as it was.
        let account = s.account();
        let (_, [raw, used]) = account.gradients.iter_mut().next().expect("a gradient");
        *used = raw.clone();
    }),
    Fault(FALLING, THETA, "clipped gradient", |s, _| {
        for window in windows(s.account()) {
            window.gradient[1] = window.gradient[0].clone();
        }
    }),
    Fault(FALLING, THETA, "clipped gradient", |s, c| {
        // Each tensor to the norm, not all of them.
        let limit = c.train.clip_norm;
        for window in windows(s.account()) {
            let norm = window.gradient[0].iter().map(|g| g * g).sum::<f64>().sqrt();
            let factor = (limit / norm).min(1.0);
            window.gradient[1] = window.gradient[0].iter().map(|g| g * factor).collect();
        }
    }),
    // AdamW.
    Fault(FALLING, THETA, "updated parameters", |s, c| {
        // The second moment without its bias correction.
        let (lr, wd, eps, beta1) = (
            s.account().learning_rate,
            c.train.weight_decay,
            c.train.epsilon,
            c.train.beta1,
        );
        descend(s.account(), |theta, _, m, v, k| {
            theta * (1.0 - lr * wd) - lr * (m / (1.0 - beta1.powi(k))) / (v.sqrt() + eps)
        });
    }),
    Fault(FALLING, THETA, "updated parameters", |s, c| {
        // The first moment without its bias correction.
        let (lr, wd, eps, beta2) = (
            s.account().learning_rate,
            c.train.weight_decay,
            c.train.epsilon,
            c.train.beta2,
        );
        descend(s.account(), |theta, _, m, v, k| {
            theta * (1.0 - lr * wd) - lr * m / ((v / (1.0 - beta2.powi(k))).sqrt() + eps)
        });
    }),
    Fault(FALLING, THETA, "updated parameters", |s, c| {
        // Decay coupled: added to the gradient, and not taken from the parameters.
        let options = AdamW {
            lr: s.account().learning_rate,
            beta1: c.train.beta1,
            beta2: c.train.beta2,
            eps: c.train.epsilon,
            weight_decay: 0.0,
        };
        let steps = u32::try_from(s.account().updates).expect("few updates");
        for window in windows(s.account()) {
            let list = |x: &[f64]| ndarray::Array1::from(x.to_vec()).into_dyn();
            let theta = list(&window.before.theta);
            let g = list(&window.gradient[1]) + &theta * c.train.weight_decay;
            let state = Moments {
                steps,
                m: list(&window.before.m),
                v: list(&window.before.v),
            };
            let (new, _) = options.step(&theta, &g, &state).expect("one shape");
            window.after.theta = new.iter().map(|x| round_f32(*x)).collect();
        }
    }),
    Fault(FALLING, THETA, "updated parameters", |s, c| {
        // Decay by the weight decay alone, not times the rate.
        let wd = c.train.weight_decay;
        for window in windows(s.account()) {
            for (new, old) in window.after.theta.iter_mut().zip(&window.before.theta) {
                *new -= wd * old;
            }
        }
    }),
    Fault(FALLING, THETA, "first moment", |s, _| {
        for window in windows(s.account()) {
            window.after.m.clone_from(&window.before.m);
        }
    }),
    Fault(FALLING, THETA, "second moment", |s, c| {
        // Of the gradient before clipping.
        let beta2 = c.train.beta2;
        for window in windows(s.account()) {
            let each = window.before.v.iter().zip(&window.gradient[0]);
            let v = each.map(|(v, g)| round_f32(beta2 * v + (1.0 - beta2) * g * g));
            window.after.v = v.collect();
        }
    }),
    Fault(ADVERSARIAL, PHI, "parameters without gradient", |s, _| {
        // The classifier's head has no part in S.
        let all = s.account().windows.values_mut();
        let idle = all.filter(|window| window.gradient[0].is_empty());
        for window in idle {
            window.after.theta[0] += 1e-4;
        }
    }),
    // The average.
    Fault(FALLING, THETA, "images seen", |s, _| {
        // The encoder's steps counted.
        s.account().images_seen += 36.0;
    }),
    Fault(FALLING, THETA, "rate of the average", |s, c| {
        // The half-life, where the ramp is shorter.
        let step = 1.0 - 0.5_f64.powf(6.0 / c.train.ema_half_life);
        s.account().step_size = Some(step);
    }),
    Fault(FALLING, THETA, "average", |s, c| {
        let step = 1.0 - 0.5_f64.powf(6.0 / c.train.ema_half_life);
        for window in windows(s.account()) {
            let each = window.before.average.iter().zip(&window.after.theta);
            let new = each.map(|(a, t)| round_f32(a + step * (t - a)));
            window.after.average = new.collect();
        }
    }),
    Fault(FALLING, THETA, "average", |s, _| {
        // Of the parameters before the step.
        let step = s.account().step_size.expect("an average");
        for window in windows(s.account()) {
            let each = window.before.average.iter().zip(&window.before.theta);
            let new = each.map(|(a, t)| round_f32(a + step * (t - a)));
            window.after.average = new.collect();
        }
    }),
    // The times.
    Fault(FALLING, THETA, "t", |s, c| {
        let law = TimeLaw::LogNormal {
            mean: -c.objective.p_mean,
            std: c.objective.p_std,
        };
        retimed(s, &law);
    }),
    Fault(FALLING, THETA, "t", |s, c| {
        let law = TimeLaw::LogNormal {
            mean: c.objective.p_mean,
            std: c.objective.p_std.powi(2),
        };
        retimed(s, &law);
    }),
    // Ψ as a classifier.
    Fault(CLASSIFIER, PHI, "classification loss", |s, _| {
        s.term("classification").loss *= 6.0;
    }),
    Fault(CLASSIFIER, PHI, "grad logits", |s, _| {
        let gradient = s.term("classification").gradients.get_mut("logits");
        let gradient = gradient.expect("a gradient");
        *gradient = (&*gradient * 6.0).expect("a product");
    }),
    Fault(CLASSIFIER, PHI, "classification loss", |s, _| {
        let labels = s.term("classification").samples.get_mut("labels");
        labels.expect("labels").rotate_left(1);
    }),
];

/// t of a shared batch under another law.
fn retimed(seen: &mut Seen, law: &TimeLaw) {
    let record = seen.term("time");
    let kind: ScheduleKind = record.choices["schedule"].parse().expect("a schedule");
    let t = law.times(&record.samples["draws"], kind.schedule().as_ref())[0];
    let all = record.samples.get_mut("t").expect("times");
    all.fill(t);
}

#[test]
fn every_wrong_step_fails_by_name() {
    for (i, Fault(step, player, name, spoil)) in FAULTS.iter().enumerate() {
        let mut seen = SHARED.at(*step, player);
        spoil(&mut seen, &SHARED.config);
        let verdicts = seen.judged(&SHARED.config, None);
        let found = verdicts.iter().flat_map(|v| &v.ratios);
        let ratio = found.filter(|(n, _)| n == name).map(|(_, ratio)| *ratio);
        let ratio = ratio.fold(0.0, |a: f64, b| if b > a || b.is_nan() { b } else { a });
        assert!(
            ratio > 1.0,
            "fault {i}: a wrong {name} passes: {verdicts:?}"
        );
        assert!(verdicts.iter().any(|v| v.failure.is_some()));
    }
}

/// Soft truncation's own mistakes: the draw of τ used again, and a τ for each sample.
#[test]
fn soft_truncation_with_the_wrong_draws_fails() {
    let faults: [fn(&mut Vec<f64>, &[f64], [f64; 2]); 3] = [
        |t, u, [low, high]| {
            let tau = low + u[0] * (high - low);
            t[0] = tau + u[0] * (high - tau);
        },
        |t, u, [low, high]| {
            for (t, u) in t.iter_mut().zip(u) {
                *t = low + u * (high - low);
            }
        },
        |t, _, [_, high]| t[0] = high * (1.0 + 1e-9),
    ];
    let o = &OTHER.config.objective;
    for fault in faults {
        let mut seen = OTHER.at(FALLING, THETA);
        let record = seen.term("time");
        let draws = record.samples["draws"].clone();
        let t = record.samples.get_mut("t").expect("times");
        fault(t, &draws, [o.time_min, o.time_max]);
        let verdict = &seen.judged(&OTHER.config, None)[0];
        assert!(verdict.failure.is_some(), "{verdict:?}");
        assert_eq!(verdict.quantity, "t");
    }
}

/// What fails leaves a case that runs again: with another program's numbers, which are right.
#[test]
fn a_failed_update_leaves_the_case_of_its_quantity() {
    let checks = [
        ("learning rate", "learning-rate.cosine"),
        ("gradient norm", "clip"),
        ("clipped norm", "clip"),
        ("clipped gradient", "clip"),
        ("updated parameters", "adamw.step"),
        ("first moment", "adamw.step"),
        ("second moment", "adamw.step"),
        ("rate of the average", "ema"),
        ("average", "ema"),
        ("t", "time.log-normal"),
        ("classification loss", "nn.cross-entropy"),
        ("grad logits", "nn.cross-entropy"),
    ];
    let mut written = BTreeSet::new();
    for Fault(step, player, _, spoil) in FAULTS {
        let mut seen = SHARED.at(*step, player);
        spoil(&mut seen, &SHARED.config);
        let folder = tempfile::tempdir().expect("a folder");
        let verdicts = seen.judged(&SHARED.config, Some(folder.path().to_owned()));
        for verdict in verdicts.iter().filter(|v| v.failure.is_some()) {
            let quantity = verdict.quantity.as_str();
            let check = checks.iter().find(|(name, _)| *name == quantity);
            let path = folder.path().join(format!("shadow-{step}.json"));
            let Some((_, check)) = check else {
                assert!(!path.exists(), "a case of {quantity}, which is counted");
                continue;
            };
            let again = crate::replay(&path, None, None).expect("it runs again");
            assert_eq!(again.name, *check, "{quantity}");
            assert!(!again.failed(), "{quantity}: {}", again.place);
            written.insert(*check);
        }
    }
    assert_eq!(written.len(), 6, "{written:?}");
}

/// Everything that is compared in the recorded steps.
fn compared() -> Result<Vec<Raw>> {
    let mut all = Vec::new();
    for run in [&*SHARED, &*OTHER] {
        for one in &run.seen {
            let observation = one.observation(&run.config);
            let (mut found, mut memory) = (Found::default(), Memory::default());
            for record in &one.terms {
                let judge = JUDGES.iter().find(|judge| judge.term() == record.term);
                let judge = judge.expect("every term has a judge");
                judge.judge(seen(record, &observation), &mut found, &mut memory)?;
            }
            let account = one.account.as_ref().expect("an account");
            update::judge(&observation, account, &mut found)?;
            all.extend(found.1);
        }
    }
    Ok(all)
}

/// Quantities in which 16 units of roundoff may hide, with the most that may, and why; units as in the ledger's `COARSE`.
const COARSE: &[(&str, f64, &str)] = &[
    (
        "classification loss",
        32.0,
        "a sum over the batch, of logarithms of sums",
    ),
    (
        "denoising loss",
        1024.0,
        "a sum of 384 squares, in any order",
    ),
    ("structural loss", 4096.0, PAIRS),
    ("grad psi", 2048.0, PAIRS),
    ("grad psi_hat", 1024.0, PAIRS),
    ("gradient norm", 1024.0, ALL),
    ("clipped norm", 1024.0, ALL),
    ("coupling before", 17_179_869_184.0, COSTS),
    ("coupling after", 17_179_869_184.0, COSTS),
    ("coupling total", 34_359_738_368.0, COSTS),
    ("coupling certificate", 34_359_738_368.0, COSTS),
];

const PAIRS: &str = "sums over all pairs of differences that nearly cancel, Ψ̂ being near Ψ";
const ALL: &str = "a sum in f64 of as many squares as there are parameters, in any order";
const COSTS: &str = "inner products in f32, 2²⁹ units of f64 each, added in f64";

/// A planted error of four bounds, and of 16 u of the largest element, is caught in every quantity: u is that of f32 where all
/// numbers of the quantity are numbers of f32, and else that of f64, of which four are one unit here.
#[test]
fn a_planted_error_of_16_units_is_caught_in_every_quantity() {
    // The least bound of a quantity in units, and whether the error was caught in a step.
    let mut found = BTreeMap::<String, (f64, bool)>::new();
    for raw in compared().expect("right steps") {
        let all = raw.want.indexed_iter();
        let largest = all.max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
        let Some((at, size)) = largest.map(|(at, x)| (at, x.abs())) else {
            continue;
        };
        let planted = |error: f64| {
            let (mut got, below) = (raw.got.clone(), raw.got[&at] < raw.want[&at]);
            got[&at] = raw.want[&at] + if below { -error } else { error };
            !compare(&raw.name, &got, &raw.want, &raw.allowed).holds()
        };
        let bound = raw.allowed[&at];
        let least = size.max(f64::MIN_POSITIVE) * 4.0 * f64::EPSILON;
        let name = &raw.name;
        assert!(
            planted((4.0 * bound).max(least)),
            "{name}: four bounds pass"
        );
        if size <= 0.0 {
            continue;
        }
        let is_f32 = (raw.got.iter()).all(|x| round_f32(*x).to_bits() == x.to_bits());
        let unit = if is_f32 {
            2f64.powi(-24)
        } else {
            4.0 * 2f64.powi(-53)
        };
        let stated = COARSE.iter().find(|(coarse, ..)| coarse == name);
        let most = stated.map_or(16.0, |(_, most, _)| *most);
        let entry = found.entry(name.clone()).or_insert((f64::INFINITY, false));
        entry.0 = entry.0.min(bound / (unit * size));
        entry.1 |= planted(most * unit * size);
    }
    let mut wrong: Vec<String> = Vec::new();
    for (name, (units, caught)) in &found {
        let stated = COARSE.iter().find(|(coarse, ..)| coarse == name);
        let tight = stated.is_none_or(|(_, most, _)| *units > 16.0 && most / units < 4.0);
        if !caught || !tight {
            wrong.push(format!("{name}: bound/u is {units:.1}"));
        }
    }
    assert!(found.len() > 30, "{found:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn precisions_are_those_of_the_types() {
    use super::Precisions;
    use candle_core::DType;
    for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
        let tensor = Tensor::zeros(1, dtype, &Device::Cpu).expect("a tensor");
        let p = Precisions::of(&tensor);
        let wide = match dtype {
            DType::F64 => DType::F64,
            _ => DType::F32,
        };
        for (precision, dtype) in [(p.element, dtype), (p.wide, wide)] {
            let place = crate::Place::cpu(dtype);
            let next = |x: f64| place.round(1.0 + x) > 1.0;
            let of_f64 = precision.unit.to_bits() == (f64::EPSILON / 2.0).to_bits();
            match dtype {
                DType::F64 => assert!(of_f64),
                _ => assert!(!next(precision.unit) && next(1.01 * precision.unit)),
            }
        }
    }
}
