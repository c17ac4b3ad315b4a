//! The account of an update: what the optimiser was given, and what it left, for an observer.

use super::player::Player;
use crate::Result;
use crate::nn::with;
use crate::optim::AdamW;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;

/// Elements of a player's parameters that one account shows, about.
const SHOWN: usize = 1 << 12;

/// The least that is shown of each tensor.
const LEAST: usize = 8;

/// What an update did with its gradients.
#[derive(Debug, Clone)]
pub struct Account {
    /// Updates of the player's optimiser before this one.
    pub updates: usize,
    /// The learning rate, warm-up and decay in it.
    pub learning_rate: f64,
    /// AdamW's β₁, β₂, ε and weight decay.
    pub settings: [f64; 4],
    /// The global norm of the gradient, before clipping.
    pub norm: f64,
    /// Images of the batch.
    pub batch: f64,
    /// Images that the average counts before it.
    pub images_seen: f64,
    /// 1 − β of the average, if the player has one.
    pub step_size: Option<f64>,
    /// Every gradient by its parameter's name: as it was back-propagated, and as it was used.
    pub gradients: BTreeMap<String, [Tensor; 2]>,
    /// A window of every parameter: in each account the next, so that all elements are seen in turn.
    pub windows: BTreeMap<String, Window>,
}

/// Some consecutive elements of a parameter, in row-major order, and of what belongs to it.
#[derive(Debug, Clone)]
pub struct Window {
    /// The first of them.
    pub start: usize,
    /// The gradient as it was back-propagated and as it was used; empty where none arrived.
    pub gradient: [Vec<f64>; 2],
    /// Before the update.
    pub before: Numbers,
    /// After it.
    pub after: Numbers,
}

/// A parameter's elements with their moments and averages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Numbers {
    /// Of θ.
    pub theta: Vec<f64>,
    /// Of the first moment; 0 before there is one.
    pub m: Vec<f64>,
    /// Of the second.
    pub v: Vec<f64>,
    /// Of the average; empty where nothing follows.
    pub average: Vec<f64>,
}

impl Account {
    /// The account of the `look`-th update that is shown, before it is made.
    pub(super) fn open(look: usize, player: &Player, grads: &GradStore) -> Result<Self> {
        let vars = player.params.vars();
        let share = (SHOWN / vars.len().max(1)).max(LEAST);
        let (mut gradients, mut windows) = (BTreeMap::new(), BTreeMap::new());
        for (name, var) in vars {
            let count = var.elem_count();
            let start = look % count.div_ceil(share).max(1) * share;
            let size = share.min(count.saturating_sub(start));
            let mut gradient = [Vec::new(), Vec::new()];
            if let Some(raw) = grads.get(&var) {
                gradient[0] = elements(raw, start, size)?;
                gradients.insert(name.clone(), [raw.detach(), raw.detach()]);
            }
            let window = Window {
                start,
                gradient,
                before: numbers(player, &name, start, size)?,
                after: Numbers::default(),
            };
            windows.insert(name, window);
        }
        let AdamW {
            beta1,
            beta2,
            eps,
            weight_decay,
            ..
        } = player.optimizer;
        Ok(Self {
            updates: player.updates(),
            learning_rate: f64::NAN,
            settings: [beta1, beta2, eps, weight_decay],
            norm: f64::NAN,
            batch: f64::NAN,
            images_seen: f64::NAN,
            step_size: None,
            gradients,
            windows,
        })
    }

    /// Takes up the gradients as they are after clipping, with the norm that they had before.
    pub(super) fn clipped(&mut self, norm: f64, player: &Player, grads: &GradStore) -> Result<()> {
        self.norm = norm;
        for (name, var) in player.params.vars() {
            let (Some(used), Some(window)) = (grads.get(&var), self.windows.get_mut(&name)) else {
                continue;
            };
            window.gradient[1] = elements(used, window.start, window.before.theta.len())?;
            if let Some([_, shown]) = self.gradients.get_mut(&name) {
                *shown = used.detach();
            }
        }
        Ok(())
    }

    /// Takes up the scalars of an update about to be made.
    pub(super) fn scalars(&mut self, player: &Player, rate: f64, images: usize) {
        let [seen, batch] = player.counts(images);
        self.learning_rate = player.optimizer.learning_rate * rate;
        (self.images_seen, self.batch) = (seen, batch);
        let average = player.average.as_ref();
        self.step_size = average.map(|average| average.step_size(seen, batch));
    }

    /// Takes up what the update left.
    pub(super) fn close(&mut self, player: &Player) -> Result<()> {
        for (name, window) in &mut self.windows {
            window.after = numbers(player, name, window.start, window.before.theta.len())?;
        }
        Ok(())
    }
}

/// A window of a parameter as it is now.
fn numbers(player: &Player, name: &str, start: usize, size: usize) -> Result<Numbers> {
    let of = |tensor: Option<Tensor>| match tensor {
        Some(tensor) => elements(&tensor, start, size),
        None => Ok(Vec::new()),
    };
    let (m, v) = player.optimizer.moments_now(name).unzip();
    let zeros = |moment: Option<Tensor>| match moment {
        Some(moment) => elements(&moment, start, size),
        None => Ok(vec![0.0; size]),
    };
    let tensor = |params: &crate::params::Params| {
        let var = params.get(name);
        var.map(|var| var.as_detached_tensor())
    };
    Ok(Numbers {
        theta: of(tensor(&player.params))?,
        m: zeros(m)?,
        v: zeros(v)?,
        average: of((player.average.as_ref()).and_then(|ema| tensor(ema.params())))?,
    })
}

/// Some elements of a tensor, read where they lie if that is on the CPU.
fn elements(tensor: &Tensor, start: usize, size: usize) -> Result<Vec<f64>> {
    let range = start..start + size;
    let there = tensor.device().is_cpu() && tensor.is_contiguous();
    Ok(match tensor.dtype() {
        DType::F64 if there => with::<f64, _>(tensor, |x| Ok(x[range].to_vec()))?,
        DType::F32 if there => with::<f32, _>(tensor, |x| {
            Ok(x[range].iter().map(|&x| f64::from(x)).collect())
        })?,
        _ => (tensor.flatten_all()?.narrow(0, start, size)?)
            .to_device(&Device::Cpu)?
            .to_dtype(DType::F64)?
            .to_vec1()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::AdamW;
    use crate::params::{Init, Params};

    /// Every element of every parameter is in one of so many accounts as the longest tensor needs, and no account is empty.
    #[test]
    fn windows_walk_through_all_elements() -> Result<()> {
        let params = Params::new(&Device::Cpu, DType::F32, 1);
        let sizes = [1, 7, SHOWN, 3 * SHOWN + 5];
        for (i, size) in sizes.into_iter().enumerate() {
            params
                .builder()
                .get(size, &format!("p{i}"), Init::Normal { std: 1.0 })?;
        }
        let player = Player {
            name: "theta",
            params,
            optimizer: AdamW::default(),
            average: None,
        };
        let grads = Tensor::zeros(1, DType::F32, &Device::Cpu)?.backward()?;
        let mut seen: BTreeMap<String, Vec<bool>> = BTreeMap::new();
        for (name, var) in player.params.vars() {
            seen.insert(name, vec![false; var.elem_count()]);
        }
        let looks = (3 * SHOWN + 5).div_ceil(SHOWN / sizes.len());
        for look in 0..looks {
            for (name, window) in Account::open(look, &player, &grads)?.windows {
                assert!(!window.before.theta.is_empty(), "{name} at {look}");
                let at = window.start..window.start + window.before.theta.len();
                seen.get_mut(&name).expect("a parameter")[at].fill(true);
            }
        }
        assert!(seen.values().flatten().all(|seen| *seen), "not every one");
        Ok(())
    }
}
