//! Blocks that are computed again on the way back, so that what they make inside need not be kept (activation checkpointing).
//!
//! `[eq:recomputed-block]` A recomputed block is one operation in the graph, of its inputs and of a token. Its forward pass throws the block's own graph
//! away; its way back makes that graph again and takes the gradient of ⟨g, y⟩ in it. candle lets an operation have three inputs and
//! a block has as many as it has parameters: the token is a number that depends on all of these, and when candle comes to it on its
//! way back, it hands each the gradient that the block has left for it. So gradients arrive where they always do, and each sum
//! of them is made in the order in which it would have been made.

use std::sync::{Arc, Mutex, PoisonError};

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Layout, Shape, Storage, Tensor, Var,
};
use serde::{Deserialize, Serialize};

use super::Mode;
use crate::Result;
use crate::nn::concat_channels;

/// What the denoiser keeps for the way back. It changes no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recompute {
    /// Everything that its layers make.
    #[default]
    None,
    /// What goes from block to block; what is made inside is made again, for about a third more time.
    Blocks,
}

/// A part of a network that depends on its arguments and parameters alone.
pub(crate) trait Block: Clone + Send + Sync + 'static {
    /// The output. The input comes once for each use of it: gradients that leave the block through the first are added first.
    fn forward(&self, x: [&Tensor; 2], emb: &Tensor, mode: Mode<'_>) -> Result<Tensor>;
}

/// The input of a block.
#[derive(Debug, Clone)]
pub(crate) enum Given<'a> {
    /// One tensor.
    One(&'a Tensor),
    /// Two, whose channels are joined; given away, so that nobody holds them beside what they are joined to.
    Joined(Tensor, Tensor),
}

impl Recompute {
    /// The output of a block.
    pub(crate) fn run<B: Block>(
        self,
        block: &B,
        given: Given<'_>,
        emb: &Tensor,
        mode: Mode<'_>,
    ) -> Result<Tensor> {
        if self == Self::None {
            return match given {
                Given::One(x) => block.forward([x, x], emb, mode),
                Given::Joined(a, b) => {
                    let x = concat_channels(&a, &b)?;
                    drop((a, b));
                    block.forward([&x, &x], emb, mode)
                }
            };
        }
        let ([a, b], joined) = match &given {
            Given::One(x) => ([*x, *x], false),
            Given::Joined(a, b) => ([a, b], true),
        };
        let alone = emb.detach();
        let y = through(block, [&a.detach(), &b.detach()], joined, &alone, mode)?;
        let leaves = y.sorted_nodes().into_iter().filter(|x| x.is_variable());
        let parameters: Vec<Tensor> = leaves.cloned().collect();
        if parameters.is_empty() && ![a, b, emb].into_iter().any(Tensor::track_op) {
            return Ok(y);
        }
        let further: Vec<Tensor> = [emb.clone()].into_iter().chain(parameters).collect();
        let left = Arc::new(Mutex::new(vec![None; further.len()]));
        let mut token = Tensor::zeros((), DType::F32, a.device())?;
        for (place, to) in further.iter().enumerate() {
            let hand = HandOver {
                left: Arc::clone(&left),
                place,
            };
            token = token.apply_op2(to, hand)?;
        }
        let (block, drawn) = (block.clone(), mode.drawn());
        let again = move |x: [&Tensor; 2], emb: &Tensor| {
            through(&block, x, joined, emb, Mode::of(drawn.as_ref()))
        };
        let made = owned(&y)?;
        let shape = y.shape().clone();
        drop(y);
        let operation = Recomputed {
            made: Mutex::new(Some((made, shape))),
            emb: alone,
            further,
            left,
            again: Box::new(again),
        };
        Ok(a.apply_op3(b, &token, operation)?)
    }
}

fn through<B: Block>(
    block: &B,
    [a, b]: [&Tensor; 2],
    joined: bool,
    emb: &Tensor,
    mode: Mode<'_>,
) -> Result<Tensor> {
    if joined {
        let x = concat_channels(a, b)?;
        return block.forward([&x, &x], emb, mode);
    }
    block.forward([a, b], emb, mode)
}

/// A copy of a tensor's numbers without its graph.
fn owned(x: &Tensor) -> candle_core::Result<Storage> {
    let whole = x.is_contiguous() && x.layout().start_offset() == 0;
    let x = if whole {
        x.clone()
    } else {
        x.force_contiguous()?
    };
    let (storage, layout) = x.storage_and_layout();
    storage.try_clone(layout)
}

/// Gradients that a block has left, by their places.
type Left = Arc<Mutex<Vec<Option<Tensor>>>>;

/// A block on its inputs, whose way back makes it again.
struct Recomputed {
    /// The output, until it is taken.
    made: Mutex<Option<(Storage, Shape)>>,
    /// The embedding, without its graph.
    emb: Tensor,
    /// The embedding and the parameters, to which gradients are handed over.
    further: Vec<Tensor>,
    left: Left,
    again: Box<Again>,
}

/// A block as a function of its inputs and the embedding.
type Again = dyn Fn([&Tensor; 2], &Tensor) -> Result<Tensor> + Send + Sync;

impl Recomputed {
    fn take(&self) -> candle_core::Result<(Storage, Shape)> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.take()
            .ok_or_else(|| candle_core::Error::msg("a recomputed block is run twice"))
    }
}

impl CustomOp3 for Recomputed {
    fn name(&self) -> &'static str {
        "recomputed block"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        match self.take()? {
            (Storage::Cpu(storage), shape) => Ok((storage, shape)),
            _ => Err(candle_core::Error::msg("a block left the CPU")),
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        match self.take()? {
            (Storage::Cuda(storage), shape) => Ok((storage, shape)),
            _ => Err(candle_core::Error::msg("a block left the GPU")),
        }
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        token: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let leaf = |x: &Tensor| Var::from_tensor(&x.detach());
        let (x, emb) = ([leaf(a)?, leaf(b)?], leaf(&self.emb)?);
        let y = (self.again)([x[0].as_tensor(), x[1].as_tensor()], emb.as_tensor())?;
        let mut grads = y.apply_op1(Seed(grad.clone()))?.backward()?;
        drop(y);
        // candle asks for a gradient of every tensor that has a graph.
        let mut of = |leaf: &Tensor| match grads.remove(leaf) {
            Some(gradient) => Ok(gradient.detach()),
            None => leaf.zeros_like(),
        };
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, to) in self.further.iter().enumerate() {
            let leaf = if place == 0 { emb.as_tensor() } else { to };
            left[place] = Some(of(leaf)?);
        }
        let mut wanted = |x: &Tensor, leaf: &Tensor| x.track_op().then(|| of(leaf)).transpose();
        let (a, b) = (wanted(a, &x[0])?, wanted(b, &x[1])?);
        let token = token.track_op().then(|| token.zeros_like());
        Ok((a, b, token.transpose()?))
    }
}

/// A token that depends on one tensor more, to which it hands the gradient that was left for it.
struct HandOver {
    left: Left,
    place: usize,
}

impl CustomOp2 for HandOver {
    fn name(&self) -> &'static str {
        "hand over"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), ().into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        token: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        zero(token)
    }

    fn bwd(
        &self,
        token: &Tensor,
        to: &Tensor,
        _: &Tensor,
        _: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let gradient = left[self.place].take();
        let before = token.track_op().then(|| token.zeros_like()).transpose()?;
        Ok((before, gradient.filter(|_| to.track_op())))
    }
}

/// A number whose gradient in y is the given one, of whatever shape: ⟨g, y⟩ without its value.
struct Seed(Tensor);

impl CustomOp1 for Seed {
    fn name(&self) -> &'static str {
        "seed"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), ().into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, y: &CudaStorage, _: &Layout) -> candle_core::Result<(CudaStorage, Shape)> {
        zero(y)
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}

/// One number beside `x`.
#[cfg(feature = "cuda")]
fn zero(x: &CudaStorage) -> candle_core::Result<(CudaStorage, Shape)> {
    use candle_core::backend::{BackendDevice, BackendStorage};
    Ok((x.device().zeros_impl(&().into(), DType::F32)?, ().into()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use candle_core::{Device, Tensor};
    use toml::Table;

    use super::*;
    use crate::network::{ARCHITECTURES, Architecture, Compute, Condition, Domain, MixedPrecision};
    use crate::network::{Network, build};
    use crate::params::{Init, Params};
    use crate::random::Streams;

    const B: usize = 3;
    const SIDE: usize = 8;

    /// Numbers of the output and of each gradient as they lie in memory, and the operations of the graph.
    type Found = (BTreeMap<String, Vec<u64>>, usize);

    fn bits(x: &Tensor) -> Result<Vec<u64>> {
        let numbers = x.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        Ok(numbers.into_iter().map(f64::to_bits).collect())
    }

    fn normal(purpose: &str, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
        Streams::new(2).normal_tensor(purpose, 0, shape, &Device::Cpu, dtype)
    }

    /// Parameters none of which is 0, so that no gradient is.
    fn shaken(params: &Params) -> Result<()> {
        for (name, var) in params.vars() {
            let noise = normal(&name, var.shape(), var.dtype())?;
            var.set(&(var.as_tensor() + (noise * 0.1)?)?)?;
        }
        Ok(())
    }

    fn pass(
        network: &Architecture,
        dimensions: &Table,
        compute: Compute,
        recompute: Recompute,
    ) -> Result<Found> {
        let params = Params::new(&Device::Cpu, compute.kept(), 7);
        let images = Domain {
            channels: 1,
            size: SIDE,
            classes: Some(4),
            augment: 0,
        };
        let make = || {
            let at = params.builder().recomputing(recompute);
            let inner = build(network.name, dimensions, images, at)?;
            Ok::<_, crate::Error>(MixedPrecision { inner, compute })
        };
        make()?;
        shaken(&params)?;
        let net = make()?;
        let x = Var::from_tensor(&normal("x", (B, 1, SIDE, SIDE), compute.kept())?)?;
        let noise = [0.3, -0.5, 1.25];
        let condition = Condition::new(&noise, Some(&[0, 3, 4]));
        let mode = Mode::Train {
            dropout: &Streams::new(9),
            step: 5,
        };
        let y = net.forward(x.as_tensor(), &condition, mode)?;
        let loss = (&y * normal("g", y.shape(), y.dtype())?)?.sum_all()?;
        let nodes = loss.sorted_nodes().len();
        let grads = loss.backward()?;
        let mut found = BTreeMap::from([("output".to_owned(), bits(&y)?)]);
        for (name, var) in params.vars().into_iter().chain([("x".to_owned(), x)]) {
            let gradient = grads.get(&var).ok_or_else(|| {
                crate::Error::invalid(format!("the gradient of {name}"), "be there", "none")
            })?;
            found.insert(format!("gradient of {name}"), bits(gradient)?);
        }
        Ok((found, nodes))
    }

    #[test]
    fn every_network_has_the_same_output_and_gradients_to_the_last_bit() -> Result<()> {
        for network in ARCHITECTURES {
            for text in network.small {
                let mut dimensions: Table = text.parse().expect("TOML");
                if let Some(rate) = dimensions.get_mut("dropout") {
                    *rate = 0.25.into();
                }
                for compute in [Compute::F32, Compute::F64, Compute::Bf16] {
                    let found = |recompute| pass(network, &dimensions, compute, recompute);
                    let (want, plain) = found(Recompute::None)?;
                    let (got, nodes) = found(Recompute::Blocks)?;
                    for (name, want) in &want {
                        let said = format!("{}, {compute:?}, {text}: {name}", network.name);
                        assert_eq!(want.len(), got[name].len(), "{said}");
                        assert!(*want == got[name], "{said} is another");
                    }
                    assert!(want.len() == got.len() && nodes < plain, "{}", network.name);
                }
            }
        }
        Ok(())
    }

    /// y = dropout(x) w + x, of which the coins are drawn anew whenever it runs.
    #[derive(Clone)]
    struct Forgetful {
        w: Tensor,
        runs: Arc<AtomicUsize>,
        forgets: bool,
    }

    impl Block for Forgetful {
        fn forward(&self, x: [&Tensor; 2], emb: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
            let run = self.runs.fetch_add(1, Ordering::Relaxed);
            let layer = format!("{}", if self.forgets { run } else { 0 });
            let dropped = mode.dropout(x[1], 0.5, &layer)?;
            Ok(((dropped * &self.w)? + (x[0] * emb)?)?)
        }
    }

    /// Planted: another mask on the way back.
    #[test]
    fn a_block_that_forgets_its_mask_has_another_gradient() -> Result<()> {
        let gradient = |recompute: Recompute, forgets: bool| {
            let params = Params::new(&Device::Cpu, DType::F64, 1);
            let init = Init::Normal { std: 1.0 };
            let w = params.builder().get((8, 8), "w", init)?;
            let block = Forgetful {
                w: w.clone(),
                runs: Arc::default(),
                forgets,
            };
            let x = normal("x", (8, 8), DType::F64)?;
            let emb = normal("emb", (8, 8), DType::F64)?;
            let mode = Mode::Train {
                dropout: &Streams::new(4),
                step: 1,
            };
            let y = recompute.run(&block, Given::One(&x), &emb, mode)?;
            let grads = y.sum_all()?.backward()?;
            bits(grads.get(&w).expect("a gradient"))
        };
        let want = gradient(Recompute::None, false)?;
        assert!(want == gradient(Recompute::Blocks, false)?);
        assert!(want != gradient(Recompute::Blocks, true)?);
        Ok(())
    }
}
