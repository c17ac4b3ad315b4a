//! Bound for the classifier's loss.

use super::attention::Softmax;
use crate::bound::{Precision, Tracked};
use crate::nn::{self, NnError};
use ndarray::{ArrayD, IxDyn};

/// Bounds for value and gradient of [`cross_entropy`].
#[derive(Debug, Clone, PartialEq)]
pub struct CrossEntropyBound {
    /// The mean loss, shape `[]`.
    pub loss: Tracked,
    /// With respect to the logits.
    pub grad_logits: Tracked,
}

/// [`nn::cross_entropy`] in precision `p`.
///
/// The loss as `ln Σ e^{z−m} − (z_label − m)` or `(ln Σ e^{z−m} + m) − z_label`; the gradient as
/// `(softmax − onehot)/N`, or with the 1/N taken into both terms, with or without the derivative of m.
///
/// # Errors
/// Those of [`nn::cross_entropy`].
pub fn cross_entropy(
    logits: &Tracked,
    labels: &[u32],
    p: Precision,
) -> Result<CrossEntropyBound, NnError> {
    nn::cross_entropy(&logits.value, labels)?;
    let n = labels.len() as f64;
    let one_hot = ArrayD::from_shape_fn(IxDyn(logits.shape()), |i| {
        f64::from(u8::from(labels[i[0]] as usize == i[1]))
    });
    let at_label = |x: &Tracked| Tracked {
        value: (&x.value * &one_hot).sum_axis(ndarray::Axis(1)),
        error: (&x.error * &one_hot).sum_axis(ndarray::Axis(1)),
    };

    let softmax = Softmax::of(logits, p);
    let log_sum = softmax.sum.ln(p).reshape(&[labels.len()]);
    let largest = softmax.largest.reshape(&[labels.len()]);
    let shifted = log_sum.sub(&at_label(&softmax.shifted), p);
    let absolute = log_sum.add(&largest, p).sub(&at_label(logits), p);
    let loss = shifted.either(&absolute).sum_all(p).scale(1.0 / n, p);

    let one_hot = Tracked::exact(one_hot.clone());
    let after = softmax.value.sub(&one_hot, p).scale(1.0 / n, p);
    let before = softmax
        .value
        .scale(1.0 / n, p)
        .sub(&one_hot.scale(1.0 / n, p), p);
    let grad_logits = after
        .either(&before)
        .either(&softmax.through_maximum(&before, p));
    Ok(CrossEntropyBound { loss, grad_logits })
}
