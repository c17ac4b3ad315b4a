//! The shadow check: the live tensors of a training step, held against the reference.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use candle_core::{DType, DeviceLocation, Tensor};
use ndarray::ArrayD;
use sadm_gpu::train::{
    account::Account,
    observer::{Observation, Observer, Verdict},
    term::Record,
};
use sadm_reference::bound::{Precision, Tracked};

use crate::{
    case::Case,
    check::scalar,
    compare::{Comparison, compare},
    error::Result,
    replay::Counterexample,
};
use seen::Seen;

mod augmentation;
mod classification;
mod coupling;
mod denoising;
mod plan;
mod seen;
mod structure;
mod time;
mod update;

/// Judge of a term.
trait Judge: Sync {
    /// The name of the term.
    fn term(&self) -> &'static str;
    /// The quantity that is charged with what the reference refuses.
    fn loss(&self) -> &'static str;
    /// Holds every number of a live step against its bound.
    fn judge(&self, seen: Seen<'_>, found: &mut Found, memory: &mut Memory) -> Result<()>;
    /// The check of the registry that computes a quantity again, on the live tensors that it was given; none of a quantity that is
    /// not this judge's.
    fn case<'a>(&self, seen: Seen<'a>, quantity: &str) -> Option<Result<Replay<'a>>>;
}

/// The judges, one for each term that is observed.
const JUDGES: [&dyn Judge; 6] = [
    &classification::Classification,
    &denoising::Denoising,
    &structure::Structure,
    &time::Times,
    &augmentation::Augmentation,
    &coupling::Coupling,
];

/// What earlier looks found, so that nothing is solved twice.
#[derive(Debug, Default)]
struct Memory {
    /// The pool of each player that was judged last, and found right.
    pools: BTreeMap<String, coupling::Pool>,
    /// Images that were augmented again so far.
    augmented: usize,
}

/// A check of the registry, its case, and a tensor that was where the step was computed.
struct Replay<'a> {
    check: String,
    case: Case,
    tensor: &'a Tensor,
}

/// How the shadow check reports.
#[derive(Debug, Clone, Default)]
pub struct ShadowOptions {
    /// Folder for the case of a step that fails, to be run again by `sadm verify --replay`; none is written
    /// without it.
    pub folder: Option<PathBuf>,
}

/// Holds each observed step to the reference's bounds.
///
/// What a step was configured to do is read from the configuration, and its number, learning rate and counts are worked out from that
/// and the step. Every other quantity is recomputed in f64 from the *live* inputs of its own formula (x̂ from the live network
/// output, the loss from the live x̂, S from the live features), so an error is charged to the quantity that
/// made it and not to what it was given. Loss and gradients are judged in the wider of f32 and the run's
/// element type, the rest in the element type; each is allowed the reference's own rounding besides.
///
/// | part | quantities |
/// |---|---|
/// | time | t of each sample from its draws by the configured law, and its range |
/// | augmentation | nine labels of each image from its draws; the images, of a few at each look, then the next ones |
/// | classification | cross-entropy of Ψ as a classifier, its gradient in the logits |
/// | denoising | w, skip, out, input, noise, x_t, x̂, L, ∂L/∂x̂ |
/// | structure | η, S, f ∂S/∂Ψ, f ∂S/∂Ψ̂ (f: the loss's factor, −1 for the player that ascends) |
/// | update | its number, learning rate, AdamW's settings; norms of the whole gradient before and after clipping, clipped gradient, θ, both moments, what has no gradient; images seen, rate of the average, average |
/// | coupling | each noise once, classes, total by the reference's solver and by potentials, mean costs, once for each pool; the batch's place in its pool |
///
/// Choices and factors of the terms must be the configured ones. Of each parameter an update shows a window of consecutive elements, about
/// 4096 of a player in all, at each look the next; the norms are of everything.
#[derive(Debug, Default)]
pub struct Shadow {
    options: ShadowOptions,
    steps: u64,
    worst: f64,
    memory: Memory,
}

impl Shadow {
    /// A shadow that has seen nothing yet.
    pub fn new(options: ShadowOptions) -> Self {
        Self {
            options,
            steps: 0,
            worst: 0.0,
            memory: Memory::default(),
        }
    }

    /// Steps judged so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Largest error/bound seen so far.
    pub fn worst(&self) -> f64 {
        self.worst
    }
}

impl Observer for Shadow {
    fn observe(&mut self, observation: &Observation<'_>) -> sadm_gpu::Result<Verdict> {
        let mut found = Found::default();
        let mut refused = None;
        for record in observation.terms {
            let Some(judge) = JUDGES.iter().find(|judge| judge.term() == record.term) else {
                let problem = format!("the term `{}` has no judge", record.term);
                refused = refused.or(Some((record.term, problem)));
                continue;
            };
            let seen = seen(record, observation);
            if let Err(error) = judge.judge(seen, &mut found, &mut self.memory) {
                refused = refused.or(Some((judge.loss(), error.to_string())));
            }
        }
        self.steps += 1;
        Ok(self.conclude(observation, found, refused, |quantity| {
            let mut of_terms = observation.terms.iter().filter_map(|record| {
                let judge = JUDGES.iter().find(|judge| judge.term() == record.term)?;
                judge.case(seen(record, observation), quantity)
            });
            of_terms.next()
        }))
    }

    fn observe_update(
        &mut self,
        observation: &Observation<'_>,
        account: &Account,
    ) -> sadm_gpu::Result<Option<Verdict>> {
        let mut found = Found::default();
        let judged = update::judge(observation, account, &mut found);
        let refused = judged
            .err()
            .map(|error| (update::UPDATE, error.to_string()));
        let verdict = self.conclude(observation, found, refused, |quantity| {
            update::case(observation, account, quantity)
        });
        Ok(Some(verdict))
    }
}

impl Shadow {
    /// The verdict of what was found; what failed is written into a file as the case that computes it again.
    fn conclude<'a>(
        &mut self,
        observation: &Observation<'_>,
        found: Found,
        refused: Option<(&str, String)>,
        case: impl Fn(&str) -> Option<Result<Replay<'a>>>,
    ) -> Verdict {
        let mut verdict = found.verdict(observation);
        if let Some((quantity, error)) = refused {
            // The reference refuses NaN and zero rows by name: that is a failure of the step, not of the check. A
            // quantity that failed before is what led to it.
            if verdict.failure.is_none() {
                quantity.clone_into(&mut verdict.quantity);
            }
            verdict.ratio = f64::INFINITY;
            verdict.failure = Some(format!("step {}: {error}", observation.step));
        }
        if let (Some(failure), Some(folder)) = (&verdict.failure, &self.options.folder)
            && let Some(Ok(replay)) = case(&verdict.quantity)
            && let Some(path) = write_case(observation.step, replay, folder, failure)
        {
            verdict.failure = Some(format!("{failure}; the case is in {}", path.display()));
        }
        if verdict.ratio > self.worst {
            self.worst = verdict.ratio;
        }
        verdict
    }
}

/// A record with what a judge needs to know around it.
fn seen<'a>(record: &'a Record, observation: &Observation<'a>) -> Seen<'a> {
    Seen {
        record,
        config: observation.config,
        phase: observation.phase,
        player: observation.player,
    }
}

/// The number of a choice, and any number where it has none: nothing reads it.
fn any(number: f64) -> f64 {
    if number.is_nan() { 1.0 } else { number }
}

/// Writes a case to a file in `folder`. A case that cannot be written costs the run nothing: the failure itself is reported
/// either way.
fn write_case(step: usize, replay: Replay<'_>, folder: &Path, message: &str) -> Option<PathBuf> {
    let Replay {
        check,
        case,
        tensor,
    } = replay;
    let path = folder.join(format!("shadow-{step}.json"));
    let found = Counterexample {
        check,
        device: device(tensor.device().location()),
        dtype: tensor.dtype().as_str().to_owned(),
        message: message.to_owned(),
        case,
    };
    found.write(&path).ok().map(|()| path)
}

fn device(location: DeviceLocation) -> String {
    match location {
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        DeviceLocation::Cpu | DeviceLocation::Metal { .. } => "cpu".to_owned(),
    }
}

/// Comparisons of one step.
#[derive(Debug, Default)]
struct Found(Vec<(String, Comparison)>, #[cfg(test)] Vec<planted::Raw>);

impl Found {
    /// |got − bound.value| against the bound and the reference's own error.
    fn add(&mut self, name: &str, got: &ArrayD<f64>, bound: &Tracked, own: &Tracked) {
        let allowed = &bound.error + &own.error;
        #[cfg(test)]
        self.1.push(planted::Raw {
            name: name.to_owned(),
            got: got.clone(),
            want: bound.value.clone(),
            allowed: allowed.clone(),
        });
        let compared = compare(name, got, &bound.value, &allowed);
        self.0.push((name.to_owned(), compared));
    }

    /// A number that is counted or configured, not computed: it must be this one.
    fn exact(&mut self, name: &str, got: f64, want: f64) {
        let want = Tracked::exact(scalar(want));
        self.add(name, &scalar(got), &want, &want);
    }

    /// Takes up what was found elsewhere.
    fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
        #[cfg(test)]
        self.1.extend(other.1);
    }

    /// Whether everything is within its bound.
    fn holds(&self) -> bool {
        self.0.iter().all(|(_, comparison)| comparison.holds())
    }

    fn verdict(self, observation: &Observation<'_>) -> Verdict {
        let worst = self.0.iter().max_by(|a, b| a.1.worst.total_cmp(&b.1.worst));
        let failure = worst.filter(|(_, c)| !c.holds()).map(|(_, c)| {
            format!(
                "step {} ({}): {}, {:.3} times the bound",
                observation.step, observation.phase, c.place, c.worst
            )
        });
        Verdict {
            ratio: worst.map_or(0.0, |(_, c)| c.worst),
            quantity: worst.map_or_else(String::new, |(name, _)| name.clone()),
            failure,
            ratios: self
                .0
                .into_iter()
                .map(|(name, c)| (name, c.worst))
                .collect(),
        }
    }
}

/// Precision of elementwise work in the tensor's type, of sums in the wider one, and of storing a result.
#[derive(Debug, Clone, Copy)]
struct Precisions {
    element: Precision,
    wide: Precision,
}

impl Precisions {
    fn of(tensor: &Tensor) -> Self {
        let (element, wide) = match tensor.dtype() {
            DType::F64 => (Precision::F64, Precision::F64),
            DType::BF16 => (Precision::BF16, Precision::F32),
            DType::F16 => (crate::ledger::F16, Precision::F32),
            _ => (Precision::F32, Precision::F32),
        };
        Self { element, wide }
    }
}

#[cfg(test)]
mod planted;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use crate::{
        checks::networks::{self, Small},
        generators::seeded_normal,
    };
    use candle_core::Device;
    use ndarray::Ix2;
    use sadm_gpu::{
        config::Config,
        forward::schedule::Schedule,
        objective::denoising::Weight as GpuWeight,
        objective::{Objective, parametrisation::Parametrisation, preconditioner::NoiseCondition},
        params::Params,
        structure as gpu,
        train::{
            batch::Batch,
            pass::{Moves, Pass, View},
            player::{PHI, THETA},
            term::{Record, Summand, Tape, losses},
            terms,
        },
    };

    use crate::engine::Place;

    const BATCH: usize = 6;

    /// λ.
    const WEIGHT: f64 = 0.7;

    /// A step's inputs.
    struct Step {
        objective: Objective,
        term: terms::Structure,
        batch: Batch,
        theta: Params,
        phi: Params,
    }

    impl Step {
        fn new(dtype: DType, relation: gpu::Relation, distance: gpu::Distance) -> Self {
            let place = Place::cpu(dtype);
            let image = |seed| {
                place
                    .tensor(&seeded_normal(seed, &[BATCH, 1, 4, 4]))
                    .expect("an image")
            };
            let (theta, phi) = (
                Params::new(&Device::Cpu, dtype, 1),
                Params::new(&Device::Cpu, dtype, 2),
            );
            let (unet, encoder) = (Small::of("unet").expect("it is known"), networks::encoder());
            unet.gpu(theta.builder()).expect("the network exists");
            networks::gpu_encoder(&encoder, phi.builder()).expect("the network exists");
            // Training starts with an output of zero, where nothing could go wrong.
            let own = unet.parameters(3).expect("it is possible");
            networks::load(&theta, &own, &place).expect("the same names");
            let shapes = encoder.parameter_shapes().expect("it is possible");
            networks::load(&phi, &networks::parameters(4, &shapes), &place)
                .expect("the same names");
            Self {
                objective: Objective {
                    schedule: Schedule::VP_LINEAR,
                    parametrisation: Parametrisation::Edm,
                    noise: NoiseCondition::LogSigma,
                    weight: GpuWeight::EDM,
                    sigma_data: 0.5,
                    variance: sadm_gpu::objective::variance::PredictedVariance::None,
                },
                term: terms::Structure {
                    options: gpu::StructureOptions {
                        relation,
                        distance,
                        diagonal: gpu::Diagonal::Include,
                    },
                    eta: gpu::Eta::INVERSE_TIME,
                    eta_t_min: 0.05,
                },
                batch: Batch {
                    x0: image(5),
                    eps: image(6),
                    t: vec![0.31; BATCH],
                    labels: None,
                    augment: None,
                    dropout: None,
                },
                theta,
                phi,
            }
        }

        /// The configuration of which this is a step.
        fn config(&self) -> Config {
            let mut config = Config::default();
            let (objective, structure) = (&mut config.objective, &mut config.structure);
            objective.schedule = self.objective.schedule;
            objective.parametrisation = self.objective.parametrisation;
            objective.noise_condition = self.objective.noise;
            objective.weight = self.objective.weight;
            objective.sigma_data = self.objective.sigma_data;
            structure.weight = WEIGHT;
            structure.relation = self.term.options.relation;
            structure.distance = self.term.options.distance;
            structure.diagonal = self.term.options.diagonal;
            (structure.eta, structure.eta_t_min) = (self.term.eta, self.term.eta_t_min);
            config
        }

        /// The records of a player's update.
        fn records(&self, player: &str) -> Vec<Record> {
            let (theta, phi) = if player == THETA {
                (self.theta.builder(), self.phi.frozen())
            } else {
                (self.theta.frozen(), self.phi.builder())
            };
            let network = Small::of("unet").and_then(|unet| unet.gpu(theta));
            let network = network.expect("it exists");
            let psi = networks::gpu_encoder(&networks::encoder(), phi).expect("it exists");
            let (moves, summands): (_, Vec<Summand<'_>>) = if player == THETA {
                let both: Vec<Summand<'_>> = vec![(1.0, &terms::Denoising), (WEIGHT, &self.term)];
                (Moves::Denoiser, both)
            } else {
                (Moves::Encoder, vec![(-1.0, &self.term)])
            };
            let view = View {
                denoiser: &network,
                encoder: Some(&psi),
                moves,
            };
            let pass = Pass::new(view, &self.objective, &self.batch);
            let mut tape = Tape::on();
            let losses = losses(&summands, &pass, &mut tape).expect("the step runs");
            let grads = losses.total.backward().expect("it has gradients");
            let records = summands
                .iter()
                .zip(&losses.each)
                .map(|((factor, term), loss)| Record {
                    factor: *factor,
                    loss: number(loss),
                    gradients: tape.gradients(term.name(), &grads).expect("it was probed"),
                    ..term.record(&pass).expect("the pass has been made")
                });
            records.collect()
        }

        /// The update of θ, looked at by a fresh shadow after `spoil`.
        fn theta(&self, spoil: impl Fn(&mut Observed), folder: Option<PathBuf>) -> Verdict {
            let mut observed = Observed(self.records(THETA), self.config());
            spoil(&mut observed);
            observed.judged(THETA, folder)
        }
    }

    fn number(loss: &Tensor) -> f64 {
        Place::array(loss).expect("a number")[ndarray::IxDyn(&[])]
    }

    /// Records that a test can spoil.
    struct Observed(Vec<Record>, Config);

    impl Observed {
        fn judged(&self, player: &str, folder: Option<PathBuf>) -> Verdict {
            let observation = Observation {
                step: 7,
                phase: "guided",
                player,
                config: &self.1,
                terms: &self.0,
            };
            Shadow::new(ShadowOptions { folder })
                .observe(&observation)
                .expect("a shadow always answers")
        }

        fn term(&mut self, name: &str) -> &mut Record {
            let record = self.0.iter_mut().find(|record| record.term == name);
            record.expect("a term of the step")
        }

        fn samples(&mut self, term: &str, name: &str) {
            let numbers = self.term(term).samples.get_mut(name).expect("numbers");
            for x in numbers {
                *x *= 1.001;
            }
        }

        fn tensor(&mut self, term: &str, name: &str, change: fn(&Tensor) -> Tensor) {
            let tensor = self.term(term).tensors.get_mut(name).expect("a tensor");
            *tensor = change(tensor);
        }

        fn gradient(&mut self, term: &str, name: &str, change: fn(&Tensor) -> Tensor) {
            let tensor = self.term(term).gradients.get_mut(name).expect("a gradient");
            *tensor = change(tensor);
        }
    }

    fn cosine() -> Step {
        Step::new(DType::F32, gpu::Relation::COSINE, gpu::Distance::SQUARED)
    }

    #[test]
    fn a_right_step_passes_with_every_quantity_judged() {
        for dtype in [DType::F32, DType::F64] {
            for relation in [
                gpu::Relation::COSINE,
                gpu::Relation::EUCLIDEAN,
                gpu::Relation::INNER_PRODUCT,
            ] {
                for distance in [gpu::Distance::SQUARED, gpu::Distance::HUBER.with(0.5)] {
                    let verdict = Step::new(dtype, relation, distance).theta(|_| {}, None);
                    assert!(
                        verdict.failure.is_none() && verdict.ratio <= 1.0,
                        "{relation} {distance}: {verdict:?}"
                    );
                    assert_eq!(
                        verdict.ratios.len(),
                        17,
                        "a quantity is missing: {verdict:?}"
                    );
                    assert!(
                        verdict.ratio > 0.0,
                        "nothing was rounded in {dtype:?}, or nothing compared"
                    );
                }
            }
        }
    }

    type Misread = (&'static str, fn(&mut Config));

    /// A step whose choices are not the configured ones is no step of this run.
    #[test]
    fn what_is_not_as_configured_fails_by_name() {
        let step = cosine();
        let misread: [Misread; 7] = [
            ("schedule", |c| c.objective.schedule = Schedule::COSINE),
            ("weight", |c| c.objective.weight = GpuWeight::CONSTANT),
            ("relation", |c| {
                c.structure.relation = gpu::Relation::EUCLIDEAN;
            }),
            ("eta", |c| c.structure.eta = gpu::Eta::CONSTANT),
            ("structural factor", |c| c.structure.weight = 0.6),
            ("sigma_data", |c| c.objective.sigma_data = 0.75),
            ("eta_t_min", |c| c.structure.eta_t_min = 0.1),
        ];
        for (name, change) in misread {
            let mut observed = Observed(step.records(THETA), step.config());
            change(&mut observed.1);
            let verdict = observed.judged(THETA, None);
            let failure = verdict.failure.expect("another configuration passes");
            assert!(failure.contains(name), "{name}: {failure}");
        }
    }

    #[test]
    fn a_right_ascent_passes() {
        let step = cosine();
        let judged = |factor| {
            let mut observed = Observed(step.records(PHI), step.config());
            observed.term("structure").factor = factor;
            observed.judged(PHI, None)
        };
        assert!(judged(-1.0).failure.is_none(), "{:?}", judged(-1.0));
        assert!(
            judged(1.0).failure.is_some(),
            "a descent passes for an ascent"
        );
    }

    type Fault = (&'static str, fn(&mut Observed));

    fn scaled(x: &Tensor) -> Tensor {
        (x * 1.001).expect("a product")
    }

    /// Each fault in the quantity that made it, by name.
    const FAULTS: [Fault; 13] = [
        ("x_t", |o| o.tensor("denoising", "x_t", scaled)),
        ("x_hat", |o| o.tensor("denoising", "x_hat", scaled)),
        ("skip", |o| o.samples("denoising", "skip")),
        ("out", |o| o.samples("denoising", "out")),
        ("input", |o| o.samples("denoising", "input")),
        ("noise", |o| o.samples("denoising", "noise")),
        ("w", |o| o.samples("denoising", "w")),
        ("denoising loss", |o| o.term("denoising").loss *= 1.001),
        ("grad x_hat", |o| o.gradient("denoising", "x_hat", scaled)),
        ("eta", |o| o.samples("structure", "eta")),
        ("structural loss", |o| o.term("structure").loss *= 2.0),
        ("grad psi", |o| {
            o.gradient("structure", "psi", |g| g.zeros_like().expect("zeros"));
        }),
        ("grad psi_hat", |o| {
            o.gradient("structure", "psi_hat", |g| g.neg().expect("a sign"));
        }),
    ];

    #[test]
    fn a_wrong_step_fails_by_name() {
        let step = cosine();
        for (name, fault) in FAULTS {
            let verdict = step.theta(fault, None);
            let ratio = verdict
                .ratios
                .iter()
                .find(|(n, _)| n == name)
                .map_or(0.0, |(_, ratio)| *ratio);
            assert!(ratio > 1.0, "a wrong {name} passes: {verdict:?}");
            assert!(
                verdict.ratio >= ratio && verdict.failure.is_some(),
                "{name}: {verdict:?}"
            );
        }
    }

    #[test]
    fn nan_and_a_zero_row_fail_by_name() {
        let spoiled = |row: f64| {
            cosine().theta(
                move |o| {
                    let psi = &o.term("structure").tensors["psi"];
                    let psi = Place::array(psi).expect("features");
                    let mut psi = psi.into_dimensionality::<Ix2>().expect("a matrix");
                    psi.row_mut(2).fill(row);
                    let psi = Place::cpu(DType::F32).tensor(&psi.into_dyn());
                    (o.term("structure").tensors).insert("psi", psi.expect("features"));
                },
                None,
            )
        };
        for row in [0.0, f64::NAN] {
            let verdict = spoiled(row);
            let failure = verdict.failure.expect("a degenerate row fails");
            assert!(
                verdict.ratio.is_infinite() && failure.contains('2'),
                "{failure}"
            );
        }
    }

    /// The file holds the quantity that failed, whatever the message says, and runs again.
    #[test]
    fn a_failed_step_leaves_the_case_of_its_quantity() {
        let step = cosine();
        let mut seen = BTreeSet::new();
        for (fault_name, fault) in FAULTS {
            let folder = tempfile::tempdir().expect("a folder");
            let verdict = step.theta(fault, Some(folder.path().to_owned()));
            let failure = verdict.failure.expect("a wrong step fails");
            assert!(failure.contains("shadow-7.json"), "no file in: {failure}");
            let check = match verdict.quantity.as_str() {
                "w" => "weight.edm",
                "x_t" => "forward",
                "skip" | "out" | "input" | "noise" | "x_hat" => "denoise.edm",
                "denoising loss" | "grad x_hat" => "denoising-loss",
                "eta" => "eta.vp-linear",
                "structural loss" | "grad psi" | "grad psi_hat" => "structural-loss.cosine.squared",
                other => panic!("{fault_name}: no check for {other}"),
            };
            let again = crate::replay(&folder.path().join("shadow-7.json"), None, None)
                .expect("it runs again");
            assert_eq!(again.name, check, "{fault_name}");
            assert!(
                !again.failed(),
                "candle computes this case rightly; the live step did not: {}",
                again.place
            );
            seen.insert(check);
        }
        assert_eq!(seen.len(), 6, "not every check was written: {seen:?}");
    }

    #[test]
    fn a_refused_step_leaves_the_case_of_what_was_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let verdict = cosine().theta(
            |o| o.tensor("structure", "psi", |x| x.zeros_like().expect("zeros")),
            Some(folder.path().to_owned()),
        );
        assert_eq!(verdict.quantity, structure::LOSS, "{verdict:?}");
        let found =
            Counterexample::read(&folder.path().join("shadow-7.json")).expect("it was written");
        assert_eq!(found.check, "structural-loss.cosine.squared");
    }

    #[test]
    fn a_term_without_a_judge_fails_by_name() {
        let step = cosine();
        let mut observed = Observed(step.records(THETA), step.config());
        observed.term("structure").term = "another";
        let failure = observed
            .judged(THETA, None)
            .failure
            .expect("nobody judged it");
        assert!(failure.contains("`another` has no judge"), "{failure}");
    }

    #[test]
    fn a_gpu_keeps_its_number() {
        assert_eq!(device(DeviceLocation::Cuda { gpu_id: 3 }), "cuda:3");
        assert_eq!(device(DeviceLocation::Cpu), "cpu");
    }
}
