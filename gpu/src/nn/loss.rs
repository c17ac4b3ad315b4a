//! The classification loss.

use candle_core::{D, DType, Result, Tensor};

use crate::Error;

/// Softmax cross-entropy, averaged over the batch, in its log-sum-exp form.
///
/// # Formula `[eq:cross-entropy]`
/// ```text
/// L = 1/N Σ_n (log Σ_k e^{z_nk} − z_{n,label(n)}),   ∂L/∂z = (softmax(z) − onehot(label)) / N
/// ```
///
/// # Shapes
/// `logits: [N, K]`, N labels below K → scalar. bf16 and f16 logits are widened to f32, the loss is
/// then f32.
///
/// # Errors
/// A label that is not below K, a number of labels other than N, an empty batch.
pub fn cross_entropy(logits: &Tensor, labels: &[u32]) -> Result<Tensor> {
    let (batch, classes) = logits.dims2()?;
    if batch == 0 || labels.len() != batch {
        let must = format!("match the {batch} rows of logits and be positive");
        return Err(Error::invalid("number of labels", must, labels.len()).into());
    }
    if let Some(label) = labels.iter().find(|&&label| label as usize >= classes) {
        let must = format!("be below the number of classes, {classes}");
        return Err(Error::invalid("label", must, label).into());
    }
    let logits = match logits.dtype() {
        DType::BF16 | DType::F16 => logits.to_dtype(DType::F32)?,
        _ => logits.clone(),
    };
    let largest = logits.max_keepdim(D::Minus1)?.detach();
    let shifted = logits.broadcast_sub(&largest)?;
    let log_sum = shifted.exp()?.sum(D::Minus1)?.log()?;
    let picked = (&shifted * one_hot(labels, &logits)?)?.sum(D::Minus1)?;
    (log_sum - picked)?.sum_all()? * (1.0 / batch as f64)
}

/// Rows with a one at their label, shaped like `logits`.
fn one_hot(labels: &[u32], logits: &Tensor) -> Result<Tensor> {
    let (batch, classes) = logits.dims2()?;
    let mut rows = vec![0.0; batch * classes];
    for (row, &label) in rows.chunks_exact_mut(classes).zip(labels) {
        row[label as usize] = 1.0;
    }
    super::embedding::from_f64(rows, (batch, classes), logits.device(), logits.dtype())
}
