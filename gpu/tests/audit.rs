//! The audit of gradients finds planted cuts and leaks, by name.

use candle_core::{DType, Device, Tensor};
use sadm_gpu::Result;
use sadm_gpu::config::Config;
use sadm_gpu::data::ImageKind;
use sadm_gpu::network::{Condition, Mode, Network};
use sadm_gpu::params::{Init, Params};
use sadm_gpu::random::Streams;
use sadm_gpu::run::phases::Phase;
use sadm_gpu::train::audit::{Plan, gradients_reach};
use sadm_gpu::train::batch::Batch;
use sadm_gpu::train::networks::Networks;
use sadm_gpu::train::terms::Structure;

const IMAGES: ImageKind = ImageKind {
    channels: 1,
    size: 8,
    classes: 10,
};

/// What is wrong with a denoiser.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    CutBefore,
    CutAfter,
    Times0,
}

/// x ↦ a·x + b·x², with a fault.
struct Quadratic {
    a: Tensor,
    b: Tensor,
    fault: Fault,
}

impl Quadratic {
    fn new(params: &Params, fault: Fault) -> Result<Self> {
        let builder = params.builder();
        Ok(Self {
            a: builder.get(1, "a", Init::Ones)?,
            b: builder.get(1, "b", Init::Ones)?,
            fault,
        })
    }
}

impl Network for Quadratic {
    fn forward(&self, x: &Tensor, _: &Condition<'_>, _: Mode<'_>) -> Result<Tensor> {
        let linear = x.broadcast_mul(&self.a)?;
        let square = x.sqr()?.broadcast_mul(&self.b)?;
        Ok(match self.fault {
            Fault::None => (linear + square)?,
            Fault::CutBefore => (linear.detach() + square)?,
            Fault::CutAfter => (linear + square)?.detach(),
            Fault::Times0 => (linear + (square * 0.0)?)?,
        })
    }
}

fn config() -> Config {
    ["encoder.widths=[8]", "encoder.groups=4", "encoder.dim=4"]
        .iter()
        .fold(Config::default(), |c, s| c.with_set(s).expect(s))
}

fn players(fault: Fault, leaky: bool) -> Networks {
    let make = || -> Result<Networks> {
        let (theta, phi) = (
            Params::new(&Device::Cpu, DType::F32, 1),
            Params::new(&Device::Cpu, DType::F32, 2),
        );
        let mut players = Networks::on(theta.fork()?, phi, &config(), IMAGES)?;
        players.denoiser = Box::new(Quadratic::new(&theta, fault)?);
        players.denoiser_frozen = Box::new(Quadratic::new(&theta, fault)?);
        players.theta_params = theta;
        if leaky {
            players.encoder_frozen = sadm_gpu::features::Encoder::new(
                &config().encoder.network(1, 10),
                players.phi_params.builder(),
            )?;
        } else {
            players.denoiser_frozen = Box::new(Cut(Quadratic::new(&players.theta_params, fault)?));
        }
        Ok(players)
    };
    make().expect("small networks")
}

/// A denoiser without gradients.
struct Cut(Quadratic);
impl Network for Cut {
    fn forward(&self, x: &Tensor, at: &Condition<'_>, mode: Mode<'_>) -> Result<Tensor> {
        Ok(self.0.forward(x, at, mode)?.detach())
    }
}

fn judged(players: &Networks, phase: Phase) -> Result<()> {
    let config = config();
    let plan = Plan {
        config: &config,
        images: IMAGES,
        objective: config.objective(),
        structure: Structure::of(&config, phase),
        weight: config.structure.weight,
    };
    let noise =
        |purpose| Streams::new(5).normal_tensor(purpose, 0, (4, 1, 8, 8), &Device::Cpu, DType::F32);
    let batch = Batch {
        x0: noise("x0")?,
        eps: noise("eps")?,
        t: vec![0.3, 0.5, 0.7, 0.9],
        labels: Some(vec![0, 1, 2, 3]),
        augment: None,
        dropout: None,
    };
    gradients_reach(players, phase, &plan, &batch)
}

#[test]
fn sound_players_pass_every_phase() {
    for phase in [Phase::Denoise, Phase::Guided, Phase::Adversarial] {
        judged(&players(Fault::None, false), phase).expect("sound");
    }
}

#[test]
fn a_cut_graph_is_found_and_the_parameter_named() {
    for (fault, name) in [
        (Fault::CutBefore, "`a`"),
        (Fault::CutAfter, "`a`"),
        (Fault::Times0, "`b`"),
    ] {
        let error = judged(&players(fault, false), Phase::Denoise)
            .expect_err("must be found")
            .to_string();
        assert!(error.contains(name) && error.contains("denoise"), "{error}");
    }
}

#[test]
fn a_leak_into_a_frozen_player_is_found() {
    let error = judged(&players(Fault::None, true), Phase::Guided)
        .expect_err("must be found")
        .to_string();
    assert!(error.contains("frozen"), "{error}");
}
