//! A player: parameters, their first values, their optimiser.

use std::{collections::BTreeMap, f64::consts::TAU};

use ndarray::{ArrayD, IxDyn};
use sadm_reference::{
    network::Parameters,
    optim::{AdamW, Moments, global_norm},
};

use super::{arithmetic::Arithmetic, streams::first_values};
use crate::error::{Error, Result};

/// What distinguishes φ's seed from θ's.
pub(super) const PHI: u64 = 0x5a5a_0f0f_3c3c_9696;
/// Standard deviation of a class's first embedding.
const CLASS: f64 = 0.5;

/// A player.
#[derive(Debug, Clone)]
pub(super) struct Player {
    pub(super) parameters: Parameters,
    /// Moments of the parameters that ever had a gradient.
    pub(super) moments: BTreeMap<String, Moments>,
    /// How it moves, with its peak rate.
    pub(super) adamw: AdamW,
    /// Updates since it has this optimiser.
    pub(super) updates: usize,
}

impl Player {
    /// With the first values of parameters of these shapes, by the laws of this kind of network.
    pub(super) fn new(
        seed: u64,
        (kind, shapes): (&str, BTreeMap<String, Vec<usize>>),
        adamw: AdamW,
    ) -> Self {
        let value = |(name, shape): (String, Vec<usize>)| {
            let value = first_value(seed, kind, &name, &shape);
            (name, value)
        };
        Self {
            parameters: shapes.into_iter().map(value).collect(),
            moments: BTreeMap::new(),
            adamw,
            updates: 0,
        }
    }

    /// Takes another optimiser, which knows nothing yet.
    pub(super) fn begin_again(&mut self, adamw: AdamW) {
        self.moments.clear();
        self.adamw = adamw;
        self.updates = 0;
    }

    /// Moves the parameters that have a gradient, after all these gradients together were clipped; their norm before.
    pub(super) fn descend(
        &mut self,
        grads: &Parameters,
        rate: f64,
        clip_norm: f64,
        a: &Arithmetic,
    ) -> Result<f64> {
        let norm = a.one(global_norm(grads));
        let scale = if clip_norm > 0.0 && norm > clip_norm {
            clip_norm / norm
        } else {
            1.0
        };
        let adamw = AdamW {
            lr: self.adamw.lr * rate,
            ..self.adamw
        };
        self.updates += 1;
        for (name, grad) in grads {
            let Some(parameter) = self.parameters.get_mut(name) else {
                return Err(Error::Reference(format!("`{name}` is no parameter")));
            };
            let state = self.moments.entry(name.clone());
            let state = state.or_insert_with(|| Moments::zeros(parameter.shape()));
            let stepped = adamw.step(parameter, &a.array(grad * scale), state);
            let (moved, after) = stepped.map_err(Error::reference)?;
            *parameter = a.array(moved);
            *state = Moments {
                m: a.array(after.m),
                v: a.array(after.v),
                ..after
            };
        }
        Ok(norm)
    }
}

/// The first value of a parameter.
fn first_value(seed: u64, network: &str, name: &str, shape: &[usize]) -> ArrayD<f64> {
    let mut numbers = first_values(seed, name);
    let mut next = || numbers.next().unwrap_or(f64::NAN);
    let filled = |next: &mut dyn FnMut() -> f64| {
        let count = shape.iter().product();
        let values: Vec<f64> = (0..count).map(|_| next()).collect();
        ArrayD::from_shape_vec(IxDyn(shape), values)
            .unwrap_or_else(|_| ArrayD::from_elem(IxDyn(shape), f64::NAN))
    };
    let (map, kind) = name.rsplit_once('.').unwrap_or_default();
    let is_gain = shape.len() == 1 && kind == "weight";
    if is_gain {
        return ArrayD::ones(shape);
    }
    if network == "song-unet" {
        // Glorot's law.
        let places: usize = shape.iter().skip(2).product();
        let fans: usize = shape.iter().take(2).map(|channels| channels * places).sum();
        let bound = if kind == "bias" {
            0.0
        } else {
            factor_of_song(map) * (6.0 / fans as f64).sqrt()
        };
        return filled(&mut || bound * (2.0 * next() - 1.0));
    }
    if kind == "bias" || begins_at_zero(map) {
        return ArrayD::zeros(shape);
    }
    if name == "class.weight" {
        return filled(&mut || {
            let radius = (-2.0 * next().ln()).sqrt();
            CLASS * (radius * (TAU * next()).cos())
        });
    }
    let inputs: usize = shape[1..].iter().product();
    let bound = (3.0 / inputs as f64).sqrt();
    filled(&mut || bound * (2.0 * next() - 1.0))
}

/// What a map of a `SongUNet` is multiplied by at first: the last ones of branches, and queries, keys and values, are smaller.
fn factor_of_song(map: &str) -> f64 {
    let ends = |ends: &[&str]| ends.iter().any(|end| map.ends_with(end));
    if ends(&["conv1", "proj", "aux_conv"]) {
        1e-5
    } else if ends(&["qkv"]) {
        0.2_f64.sqrt()
    } else {
        1.0
    }
}

/// The maps that give 0 until they are trained, so that a block is at first the identity: the last convolution of each residual block and of the
/// U-Net, the projection of its attention; the modulations of the transformer, and its last map.
fn begins_at_zero(map: &str) -> bool {
    let last = map.rsplit('.').next().unwrap_or(map);
    let of_transformer = map.starts_with("block.") || map.starts_with("final.");
    if of_transformer {
        last == "ada" || map == "final.linear"
    } else {
        ["conv_out", "conv2", "proj"].contains(&last)
    }
}
