//! Between the CPU's memory and a device's, without waiting where the device allows it.
//!
//! A GPU works through a queue. Reading a number from it in the usual way waits until the queue is empty, and the GPU then has
//! nothing to do until the CPU has filled it again; sending much from ordinary memory can wait likewise. Here numbers are
//! copied when the queue comes to them, into memory that the GPU can write by itself, and read later.

#[cfg(feature = "cuda")]
use super::pinned;
use crate::Result;
use crate::forward::widest;
use candle_core::{DType, Device, Shape, Tensor};

/// Numbers that a device may still be computing.
#[derive(Debug)]
pub struct Later(Held);

#[derive(Debug)]
enum Held {
    Known(Vec<f64>),
    #[cfg(feature = "cuda")]
    Coming(pinned::Coming),
}

impl Later {
    /// Scalars on one device, widened to f64 (on Metal f32). On a CPU they are known at once.
    pub fn of(scalars: &[&Tensor]) -> Result<Self> {
        let wide = scalars
            .iter()
            .map(|x| Ok(x.detach().to_dtype(widest(x.device()))?.reshape(())?))
            .collect::<Result<Vec<Tensor>>>()?;
        if wide.is_empty() {
            return Ok(Self(Held::Known(Vec::new())));
        }
        let all = Tensor::stack(&wide, 0)?;
        #[cfg(feature = "cuda")]
        if all.device().is_cuda() {
            return Ok(Self(Held::Coming(pinned::Coming::of(&all)?)));
        }
        Ok(Self(Held::Known(all.to_dtype(DType::F64)?.to_vec1()?)))
    }

    /// A number that is known.
    pub fn known(number: f64) -> Self {
        Self(Held::Known(vec![number]))
    }

    /// The numbers, if reading them waits for nothing.
    pub fn if_known(&self) -> Option<&[f64]> {
        match &self.0 {
            Held::Known(numbers) => Some(numbers),
            #[cfg(feature = "cuda")]
            Held::Coming(_) => None,
        }
    }

    /// The numbers, in the order of the scalars; waits until the device has come to them, and no longer.
    pub fn wait(&mut self) -> Result<&[f64]> {
        #[cfg(feature = "cuda")]
        if let Held::Coming(coming) = &mut self.0 {
            self.0 = Held::Known(coming.wait()?);
        }
        match &self.0 {
            Held::Known(numbers) => Ok(numbers),
            #[cfg(feature = "cuda")]
            Held::Coming(_) => unreachable!("what came is known"),
        }
    }
}

/// A tensor on `device`; as many elements as an image batch has reach a GPU from pinned memory, while the CPU goes on.
pub(crate) fn to_device(
    values: Vec<f32>,
    shape: impl Into<Shape>,
    device: &Device,
) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device
        && values.len() >= pinned::MANY
    {
        return pinned::to_device(&values, &shape.into(), device);
    }
    Ok(Tensor::from_vec(values, shape, device)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_their_order_and_without_a_graph() {
        let x = candle_core::Var::new(&[1.5f32, -2.0], &Device::Cpu).expect("a variable");
        let (sum, first) = (x.sum_all().expect("a sum"), x.get(0).expect("an element"));
        let mut later = Later::of(&[&sum, &first]).expect("two scalars");
        assert_eq!(later.if_known(), Some(&[-0.5, 1.5][..]));
        assert_eq!(later.wait().expect("they are known"), [-0.5, 1.5]);
        assert!(
            Later::of(&[])
                .expect("none")
                .if_known()
                .is_some_and(<[f64]>::is_empty)
        );
        assert!(Later::of(&[x.as_tensor()]).is_err(), "two numbers for one");
    }
}
