//! The shadow check: the live tensors of a training step, held against the reference.

use std::path::PathBuf;

use candle_core::{DType, Tensor};
use ndarray::{Array2, ArrayD, Ix2};
use sadm_gpu::{
    structure as gpu,
    train::observer::{DenoisingObservation, Observation, Observer, StructureObservation, Verdict},
};
use sadm_reference::{
    bound::{self, Precision, Tracked},
    denoise,
    schedule::ScheduleKind,
    structure::StructureOptions,
};

use crate::{
    check::scalar,
    checks::{forward::denoiser_coefficients, per_sample, structure::loss_bound},
    compare::{Comparison, compare},
    engine::Place,
    error::{Error, Result},
};

mod cases;

/// Names of the two losses among the quantities.
const DENOISING_LOSS: &str = "denoising loss";
const STRUCTURAL_LOSS: &str = "structural loss";

/// How the shadow check reports.
#[derive(Debug, Clone, Default)]
pub struct ShadowOptions {
    /// Folder for the case of a step that fails, to be run again by `sadm verify --replay`; none is written
    /// without it.
    pub folder: Option<PathBuf>,
}

/// Holds each observed step to the reference's bounds.
///
/// Every quantity is recomputed in f64 from the *live* inputs of its own formula (x̂ from the live network
/// output, the loss from the live x̂, S from the live features), so an error is charged to the quantity that
/// made it and not to what it was given. Loss and gradients are judged in the wider of f32 and the run's
/// element type, the rest in the element type; each is allowed the reference's own rounding besides.
///
/// | part | quantities |
/// |---|---|
/// | denoising | w, skip, out, input, noise, x_t, x̂, L, ∂L/∂x̂ |
/// | structure | η, S, f ∂S/∂Ψ, f ∂S/∂Ψ̂ (f: the loss's factor, −1 for the player that ascends) |
#[derive(Debug, Default)]
pub struct Shadow {
    options: ShadowOptions,
    steps: u64,
    worst: f64,
}

impl Shadow {
    /// A shadow that has seen nothing yet.
    pub fn new(options: ShadowOptions) -> Self {
        Self {
            options,
            steps: 0,
            worst: 0.0,
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
        if let Some(denoising) = &observation.denoising {
            let judged = judge_denoising(denoising, &mut found);
            refused = judged.err().map(|error| (DENOISING_LOSS, error));
        }
        if let Some(structure) = &observation.structure {
            let judged = judge_structure(structure, &mut found);
            refused = refused.or(judged.err().map(|error| (STRUCTURAL_LOSS, error)));
        }
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
            && let Some(path) = cases::write(observation, &verdict.quantity, folder, failure)
        {
            verdict.failure = Some(format!("{failure}; the case is in {}", path.display()));
        }
        self.steps += 1;
        if verdict.ratio > self.worst {
            self.worst = verdict.ratio;
        }
        Ok(verdict)
    }
}

/// Comparisons of one step.
#[derive(Debug, Default)]
struct Found(Vec<(String, Comparison)>);

impl Found {
    /// |got − bound.value| against the bound and the reference's own error.
    fn add(&mut self, name: &str, got: &ArrayD<f64>, bound: &Tracked, own: &Tracked) {
        self.0.push((
            name.to_owned(),
            compare(name, got, &bound.value, &(&bound.error + &own.error)),
        ));
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

fn list(values: &[f64]) -> ArrayD<f64> {
    ndarray::Array1::from(values.to_vec()).into_dyn()
}

fn judge_denoising(o: &DenoisingObservation<'_>, found: &mut Found) -> Result<()> {
    let schedule: ScheduleKind = o.schedule.name().parse().map_err(Error::reference)?;
    let p = Precisions::of(o.x_t);
    let host = Precision::F64;
    let (x0, eps, x_t) = (
        Place::array(o.x0)?,
        Place::array(o.eps)?,
        Place::array(o.x_t)?,
    );
    let (network, x_hat) = (Place::array(o.network_out)?, Place::array(o.x_hat)?);

    let weight = o.weight.to_string().parse().map_err(Error::reference)?;
    let w = bound::denoise::weight(weight, schedule, o.t, o.sigma_data, host);
    let w = w.map_err(Error::reference)?;
    found.add("w", &list(o.weights), &w, &w);
    let kind = o.parametrisation.name().parse().map_err(Error::reference)?;
    let c = denoiser_coefficients(kind, schedule, o.t, o.sigma_data, true)?;
    for (name, bound, of) in [
        (
            "skip",
            &c.skip,
            (|c| c.skip) as fn(&sadm_gpu::objective::parametrisation::Coefficients) -> f64,
        ),
        ("out", &c.out, |c| c.out),
        ("input", &c.input, |c| c.input),
        ("noise", &c.noise, |c| c.noise),
    ] {
        found.add(
            name,
            &o.coefficients
                .iter()
                .map(of)
                .collect::<ndarray::Array1<f64>>()
                .into_dyn(),
            bound,
            bound,
        );
    }

    let levels = bound::schedule::levels(schedule, o.t, host).map_err(Error::reference)?;
    let rank = x0.ndim();
    let noised = |p: Precision| {
        let signal = Tracked::exact(x0.clone()).mul(&per_sample(levels.alpha.clone(), rank, p), p);
        signal.add(
            &Tracked::exact(eps.clone()).mul(&per_sample(levels.sigma.clone(), rank, p), p),
            p,
        )
    };
    found.add("x_t", &x_t, &noised(p.element), &noised(host));
    let denoised = |p: Precision| {
        let (skip, out) = (
            per_sample(c.skip.clone(), rank, p),
            per_sample(c.out.clone(), rank, p),
        );
        let (x_t, network) = (Tracked::exact(x_t.clone()), Tracked::exact(network.clone()));
        bound::parametrisation::denoised(&x_t, &network, &skip, &out, p)
    };
    found.add("x_hat", &x_hat, &denoised(p.element), &denoised(host));

    let loss =
        |p| bound::denoise::denoising_loss(&x_hat, &x0, o.weights, p).map_err(Error::reference);
    let (wide, own) = (loss(p.wide)?, loss(host)?);
    // The reference's plain value, so that the bound's own chain is not what it is compared with.
    let value = denoise::denoising_loss(&x_hat, &x0, o.weights).map_err(Error::reference)?;
    let exact = Tracked {
        value: scalar(value.loss),
        error: wide.loss.error,
    };
    found.add(DENOISING_LOSS, &scalar(o.loss), &exact, &own.loss);
    let grad = wide.grad_prediction.stored_as(p.element);
    found.add(
        "grad x_hat",
        &Place::array(o.grad_x_hat)?,
        &grad,
        &own.grad_prediction,
    );
    Ok(())
}

/// The training system's choices in the reference.
fn options_of(options: &gpu::StructureOptions) -> Result<StructureOptions> {
    let text = options.diagonal.to_string();
    Ok(StructureOptions {
        relation: (options.relation.to_string().parse()).map_err(Error::reference)?,
        distance: (options.distance.to_string().parse()).map_err(Error::reference)?,
        diagonal: text.parse().map_err(Error::reference)?,
    })
}

fn matrix(tensor: &Tensor) -> Result<Array2<f64>> {
    Place::array(tensor)?
        .into_dimensionality::<Ix2>()
        .map_err(Error::reference)
}

fn judge_structure(o: &StructureObservation<'_>, found: &mut Found) -> Result<()> {
    let schedule: ScheduleKind = o.schedule.name().parse().map_err(Error::reference)?;
    let kind = o.eta_kind.name().parse().map_err(Error::reference)?;
    let (p, host) = (Precisions::of(o.psi), Precision::F64);
    let eta = bound::structure::eta(kind, schedule, o.t, o.eta_t_min, host);
    let eta = eta.map_err(Error::reference)?;
    found.add("eta", &list(o.eta), &eta, &eta);

    let (psi, psi_hat, options) = (matrix(o.psi)?, matrix(o.psi_hat)?, options_of(&o.options)?);
    let (wide, own) = (
        loss_bound(&psi, &psi_hat, o.eta, &options, p.wide)?,
        loss_bound(&psi, &psi_hat, o.eta, &options, host)?,
    );
    found.add(STRUCTURAL_LOSS, &scalar(o.loss), &wide.loss, &own.loss);
    let gradients = [
        ("grad psi", o.grad_psi, &wide.grad_real, &own.grad_real),
        (
            "grad psi_hat",
            o.grad_psi_hat,
            &wide.grad_generated,
            &own.grad_generated,
        ),
    ];
    for (name, got, wide, own) in gradients {
        let wide = wide.scale(o.factor, p.wide).stored_as(p.element);
        found.add(name, &Place::array(got)?, &wide, &own.scale(o.factor, host));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use crate::{checks::networks, generators::seeded_normal};
    use candle_core::Device;
    use sadm_gpu::{
        forward::schedule::Schedule,
        objective::denoising::Weight as GpuWeight,
        objective::parametrisation::Parametrisation,
        params::Params,
        train::{
            observer::Player,
            step::{Batch, Objective, Probes, StructureTerm, phi_losses, theta_losses},
        },
    };

    const BATCH: usize = 6;

    /// A step's inputs, and everything an observation borrows.
    struct Step {
        objective: Objective,
        term: StructureTerm,
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
            let (unet, encoder) = (networks::unet(true, true), networks::encoder());
            networks::gpu_unet(&unet, theta.builder()).expect("the network exists");
            networks::gpu_encoder(&encoder, phi.builder()).expect("the network exists");
            // Training starts with an output of zero, where nothing could go wrong.
            let shapes =
                sadm_reference::network::Denoiser::parameter_shapes(&unet).expect("it is possible");
            networks::load(&theta, &networks::parameters(3, &shapes), &place)
                .expect("the same names");
            let shapes = encoder.parameter_shapes().expect("it is possible");
            networks::load(&phi, &networks::parameters(4, &shapes), &place)
                .expect("the same names");
            Self {
                objective: Objective {
                    schedule: Schedule::VP_LINEAR,
                    parametrisation: Parametrisation::Edm,
                    weight: GpuWeight::EDM,
                    sigma_data: 0.5,
                },
                term: StructureTerm {
                    options: gpu::StructureOptions {
                        relation,
                        distance,
                        diagonal: gpu::Diagonal::Include,
                    },
                    eta: gpu::Eta::INVERSE_TIME,
                    eta_t_min: 0.05,
                    weight: 0.7,
                },
                batch: Batch {
                    x0: image(5),
                    eps: image(6),
                    t: vec![0.31; BATCH],
                    labels: None,
                },
                theta,
                phi,
            }
        }

        /// The update of θ, looked at by a fresh shadow after `spoil`.
        fn theta(&self, spoil: impl Fn(&mut Observed), folder: Option<PathBuf>) -> Verdict {
            let network = networks::gpu_unet(&networks::unet(true, true), self.theta.builder())
                .expect("it exists");
            let psi =
                networks::gpu_encoder(&networks::encoder(), self.phi.frozen()).expect("it exists");
            let mut probes = Probes::default();
            let (objective, term) = (&self.objective, &self.term);
            let losses = theta_losses(
                &network,
                Some(&psi),
                objective,
                term,
                &self.batch,
                Some(&mut probes),
            )
            .expect("the step runs");
            let grads = losses.total.backward().expect("it has gradients");
            let gradients = probes.gradients(&grads).map(|g| g.expect("it was probed"));
            let structure = losses.structure.expect("the phase has one");
            let mut observed = Observed {
                x_t: losses.prediction.x_t,
                network_out: losses.prediction.answer.network_out,
                coefficients: losses.prediction.answer.coefficients,
                x_hat: losses.prediction.answer.x_hat,
                weights: losses.weights,
                loss: number(&losses.denoising),
                eta: structure.eta,
                psi: structure.psi,
                psi_hat: structure.psi_hat,
                structural_loss: number(&structure.loss),
                gradients,
                factor: term.weight,
            };
            spoil(&mut observed);
            observed.judged(self, Player::Theta, folder)
        }
    }

    fn number(loss: &Tensor) -> f64 {
        Place::array(loss).expect("a number")[ndarray::IxDyn(&[])]
    }

    /// An observation's contents, owned so that a test can spoil them.
    struct Observed {
        x_t: Tensor,
        network_out: Tensor,
        coefficients: Vec<sadm_gpu::objective::parametrisation::Coefficients>,
        x_hat: Tensor,
        weights: Vec<f64>,
        loss: f64,
        eta: Vec<f64>,
        psi: Tensor,
        psi_hat: Tensor,
        structural_loss: f64,
        gradients: [Tensor; 3],
        factor: f64,
    }

    impl Observed {
        fn judged(&self, step: &Step, player: Player, folder: Option<PathBuf>) -> Verdict {
            let [grad_x_hat, grad_psi, grad_psi_hat] = &self.gradients;
            let o = &step.objective;
            let denoising = (player == Player::Theta).then_some(DenoisingObservation {
                schedule: o.schedule,
                parametrisation: o.parametrisation,
                sigma_data: o.sigma_data,
                weight: o.weight,
                t: &step.batch.t,
                coefficients: &self.coefficients,
                weights: &self.weights,
                x0: &step.batch.x0,
                eps: &step.batch.eps,
                x_t: &self.x_t,
                network_out: &self.network_out,
                x_hat: &self.x_hat,
                loss: self.loss,
                grad_x_hat,
            });
            let structure = Some(StructureObservation {
                options: step.term.options,
                eta_kind: step.term.eta,
                eta_t_min: step.term.eta_t_min,
                eta: &self.eta,
                t: &step.batch.t,
                schedule: o.schedule,
                factor: self.factor,
                psi: &self.psi,
                psi_hat: &self.psi_hat,
                loss: self.structural_loss,
                grad_psi,
                grad_psi_hat,
            });
            let observation = Observation {
                step: 7,
                phase: "guided",
                player,
                denoising,
                structure,
            };
            Shadow::new(ShadowOptions { folder })
                .observe(&observation)
                .expect("a shadow always answers")
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
                        13,
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

    #[test]
    fn a_right_ascent_passes() {
        let step = cosine();
        let network = networks::gpu_unet(&networks::unet(true, true), step.theta.frozen())
            .expect("it exists");
        let psi =
            networks::gpu_encoder(&networks::encoder(), step.phi.builder()).expect("it exists");
        let mut probes = Probes::default();
        let losses = phi_losses(
            &network,
            &psi,
            &step.objective,
            &step.term,
            &step.batch,
            Some(&mut probes),
        )
        .expect("the step runs");
        let grads = losses.total.backward().expect("it has gradients");
        let [_, grad_psi, grad_psi_hat] = probes.gradients(&grads);
        let (grad_psi, grad_psi_hat) = (grad_psi.expect("probed"), grad_psi_hat.expect("probed"));
        let s = losses.structure;
        let judged = |factor| {
            let observed = Observed {
                x_t: step.batch.x0.clone(),
                network_out: step.batch.x0.clone(),
                coefficients: vec![],
                x_hat: step.batch.x0.clone(),
                weights: vec![],
                loss: 0.0,
                eta: s.eta.clone(),
                psi: s.psi.clone(),
                psi_hat: s.psi_hat.clone(),
                structural_loss: number(&s.loss),
                gradients: [grad_psi.clone(), grad_psi.clone(), grad_psi_hat.clone()],
                factor,
            };
            observed.judged(&step, Player::Phi, None)
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
        ("x_t", |o| o.x_t = scaled(&o.x_t)),
        ("x_hat", |o| o.x_hat = scaled(&o.x_hat)),
        ("skip", |o| {
            o.coefficients.iter_mut().for_each(|c| c.skip *= 1.001);
        }),
        ("out", |o| {
            o.coefficients.iter_mut().for_each(|c| c.out *= 1.001);
        }),
        ("input", |o| {
            o.coefficients.iter_mut().for_each(|c| c.input *= 1.001);
        }),
        ("noise", |o| {
            o.coefficients.iter_mut().for_each(|c| c.noise *= 1.001);
        }),
        ("w", |o| o.weights.iter_mut().for_each(|w| *w *= 1.001)),
        ("denoising loss", |o| o.loss *= 1.001),
        ("grad x_hat", |o| o.gradients[0] = scaled(&o.gradients[0])),
        ("eta", |o| o.eta.iter_mut().for_each(|eta| *eta *= 1.001)),
        ("structural loss", |o| o.structural_loss *= 2.0),
        ("grad psi", |o| {
            o.gradients[1] = o.gradients[1].zeros_like().expect("zeros");
        }),
        ("grad psi_hat", |o| {
            o.gradients[2] = o.gradients[2].neg().expect("a sign");
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
                    let psi = Place::array(&o.psi).expect("features");
                    let mut psi = psi.into_dimensionality::<Ix2>().expect("a matrix");
                    psi.row_mut(2).fill(row);
                    o.psi = Place::cpu(DType::F32)
                        .tensor(&psi.into_dyn())
                        .expect("features");
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
            |o| o.psi = o.psi.zeros_like().expect("zeros"),
            Some(folder.path().to_owned()),
        );
        assert_eq!(verdict.quantity, STRUCTURAL_LOSS, "{verdict:?}");
        let found = crate::replay::Counterexample::read(&folder.path().join("shadow-7.json"))
            .expect("it was written");
        assert_eq!(found.check, "structural-loss.cosine.squared");
    }
}
