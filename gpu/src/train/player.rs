//! Players: parameters, and everything that updates them.

use super::networks::Networks;
use super::pass::View;
use crate::config::{Config, TrainConfig};
use crate::data::ImageKind;
use crate::ema::Ema;
use crate::optim::AdamW;
use crate::params::{Params, Tensors};
use crate::run::checkpoint::Contents;
use crate::{Error, Result};
use candle_core::Device;
use candle_core::backprop::GradStore;
use std::collections::BTreeMap;

/// The name of the denoiser's player.
pub const THETA: &str = "theta";
/// The name of Ψ's player, as a classifier and as the structure discriminator.
pub const PHI: &str = "phi";

/// A player: parameters with their optimiser, and the average that follows them if there is one.
#[derive(Debug)]
pub struct Player {
    /// Its name in checkpoints, messages and observations.
    pub name: &'static str,
    /// What it moves.
    pub params: Params,
    /// How.
    pub optimizer: AdamW,
    /// The moving average of its parameters.
    pub average: Option<Ema>,
}

impl Player {
    /// Updates that its optimiser has behind it.
    pub fn updates(&self) -> usize {
        self.optimizer.steps()
    }

    /// One step of the optimiser at `rate` times its learning rate after a batch of so many images; the average follows.
    pub(crate) fn descend(&mut self, grads: &GradStore, rate: f64, images: usize) -> Result<()> {
        let counts = self.counts(images);
        match &mut self.average {
            None => self.optimizer.step(&self.params, grads, rate),
            Some(average) => {
                (self.optimizer).step_and_average(&self.params, grads, rate, average, counts)
            }
        }
    }

    /// Images that the average has seen before an update on so many, and these.
    pub(crate) fn counts(&self, images: usize) -> [f64; 2] {
        let batch = images as f64;
        [self.updates() as f64 * batch, batch]
    }

    /// The files of a checkpoint that are its own.
    fn contents(&self) -> impl Iterator<Item = (String, Tensors)> {
        let name = self.name;
        let average = self.average.iter();
        let average = average.map(move |ema| (format!("{name}.average"), ema.params().tensors()));
        let optimizer = (format!("{name}.optimizer"), self.optimizer.state());
        [(name.to_owned(), self.params.tensors()), optimizer]
            .into_iter()
            .chain(average)
    }

    /// Takes up parameters and average.
    fn load(&self, contents: &Contents) -> Result<()> {
        self.params.load(contents.of(self.name))?;
        match &self.average {
            Some(ema) => (ema.params()).load(contents.of(&format!("{}.average", self.name))),
            None => Ok(()),
        }
    }
}

/// The players of a run and their networks.
#[derive(Debug)]
pub struct Players {
    players: Vec<Player>,
    /// Their networks, which share the parameters.
    pub networks: Networks,
}

impl Players {
    /// θ and φ with fresh parameters.
    pub fn new(config: &Config, images: ImageKind, device: &Device) -> Result<Self> {
        Self::of(Networks::new(config, images, device)?, config)
    }

    /// θ and φ on the parameters of networks.
    pub(crate) fn of(networks: Networks, config: &Config) -> Result<Self> {
        let t = &config.train;
        let theta = Player {
            name: THETA,
            params: networks.theta_params.clone(),
            optimizer: adamw(t, t.learning_rate, t.weight_decay),
            average: Some(Ema::new(
                &networks.theta_params,
                t.ema_half_life,
                t.ema_ramp,
            )?),
        };
        let phi = Player {
            name: PHI,
            params: networks.phi_params.clone(),
            optimizer: adamw(t, config.encoder.learning_rate, config.encoder.weight_decay),
            average: None,
        };
        Ok(Self {
            players: vec![theta, phi],
            networks,
        })
    }

    /// A player by name.
    pub fn get(&self, name: &str) -> Result<&Player> {
        let player = self.players.iter().find(|player| player.name == name);
        player.ok_or_else(|| Error::unknown_name("player", name, &[THETA, PHI]))
    }

    /// A player by name, to be moved.
    pub fn get_mut(&mut self, name: &str) -> Result<&mut Player> {
        let player = self.players.iter_mut().find(|player| player.name == name);
        player.ok_or_else(|| Error::unknown_name("player", name, &[THETA, PHI]))
    }

    /// The networks as a player's update sees them.
    pub fn view(&self, name: &str) -> View<'_> {
        if name == PHI {
            self.networks.phi()
        } else {
            self.networks.theta()
        }
    }

    /// Updates that a player's optimiser has behind it.
    pub fn updates(&self, name: &str) -> usize {
        self.get(name).map_or(0, Player::updates)
    }

    /// The updates of every player.
    pub fn all_updates(&self) -> BTreeMap<String, usize> {
        let each = self.players.iter();
        each.map(|p| (p.name.to_owned(), p.updates())).collect()
    }

    /// Everything of theirs that training changes; it shares storage with them.
    pub fn contents(&self) -> Contents {
        Contents(self.players.iter().flat_map(Player::contents).collect())
    }

    /// Takes up the parameters and averages of a checkpoint, not its optimisers.
    pub fn load(&self, contents: &Contents) -> Result<()> {
        self.players.iter().try_for_each(|p| p.load(contents))
    }

    /// Takes up the optimisers of a checkpoint, each with its number of updates.
    pub fn load_optimizers(
        &mut self,
        contents: &Contents,
        updates: &BTreeMap<String, usize>,
    ) -> Result<()> {
        for player in &mut self.players {
            let name = player.name;
            let moments = contents.of(&format!("{name}.optimizer")).clone();
            let steps = updates.get(name).copied();
            let steps = steps.filter(|steps| *steps == 0 || !moments.is_empty());
            let steps = steps.ok_or_else(|| {
                let must =
                    format!("say how many updates `{name}` has behind it, and have its moments");
                Error::invalid("a checkpoint", must, "one without them")
            })?;
            player.optimizer.load_state(steps, moments)?;
        }
        Ok(())
    }

    /// φ begins as a discriminator: a new optimiser, without decay.
    pub(crate) fn begin_discriminator(&mut self, config: &Config) -> Result<()> {
        let rate = config.adversarial.learning_rate;
        self.get_mut(PHI)?.optimizer = adamw(&config.train, rate, 0.0);
        Ok(())
    }
}

fn adamw(train: &TrainConfig, learning_rate: f64, weight_decay: f64) -> AdamW {
    AdamW {
        learning_rate,
        beta1: train.beta1,
        beta2: train.beta2,
        eps: train.epsilon,
        weight_decay,
        ..AdamW::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No image was seen before the first update: with a ramp the average is then where the parameters are, and later behind them.
    #[test]
    fn the_average_begins_at_the_first_update() -> Result<()> {
        let keys = [
            "model.unet.channels=[8]",
            "model.unet.attention=[]",
            "encoder.widths=[8]",
        ];
        let config = Config::default().with_sets(keys).expect("known keys");
        let images = ImageKind {
            channels: 1,
            size: 8,
            classes: 3,
        };
        let mut players = Players::new(&config, images, &Device::Cpu)?;
        let theta = players.get_mut(THETA)?;
        for update in 1..=2 {
            let sums = theta
                .params
                .vars()
                .into_iter()
                .map(|(_, var)| var.sum_all());
            let sums = sums.collect::<candle_core::Result<Vec<_>>>()?;
            let grads = candle_core::Tensor::stack(&sums, 0)?
                .sum_all()?
                .backward()?;
            theta.descend(&grads, 1.0, 4)?;
            let average = theta
                .average
                .as_ref()
                .expect("θ has one")
                .params()
                .tensors();
            let mut same = true;
            for (name, parameter) in theta.params.tensors() {
                let apart = (parameter - &average[&name])?.abs()?.sum_all()?;
                same &= apart.to_scalar::<f32>()? <= 0.0;
            }
            assert_eq!(same, update == 1, "after {update} updates");
        }
        Ok(())
    }
}
