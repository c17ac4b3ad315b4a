//! The classifier's loss.

use super::attention::softmax_row;
use super::{NnError, ranked, require};
use ndarray::{Array2, ArrayD, Ix2};

const LAYER: &str = "cross_entropy";

/// Value and gradient of [`cross_entropy`].
#[derive(Debug, Clone, PartialEq)]
pub struct CrossEntropy {
    /// The mean loss, in nats.
    pub loss: f64,
    /// With respect to the logits, `[N, K]`; every row sums to 0.
    pub grad_logits: ArrayD<f64>,
}

/// Softmax cross-entropy, averaged over the batch. `[eq:cross-entropy]`
///
/// # Formula
/// ```text
/// L = 1/N Σ_n (ln Σ_k e^{z_nk} − z_{n,label_n}),   ∂z = (softmax(z) − onehot(label))/N
/// ```
/// # Shapes
/// `logits: [N, K]`, `labels: [N]`, each below K.
///
/// # Errors
/// [`NnError`] if the batch is empty, the counts differ, or a label is out of range.
pub fn cross_entropy(logits: &ArrayD<f64>, labels: &[u32]) -> Result<CrossEntropy, NnError> {
    let z = ranked::<Ix2>(LAYER, "logits", "[N, K]", logits)?;
    let (n, classes) = z.dim();
    require(n > 0, LAYER, "batch size", || "at least 1".to_owned(), n)?;
    require(
        labels.len() == n,
        LAYER,
        "number of labels",
        || format!("the batch size {n}"),
        labels.len(),
    )?;
    let mut loss = 0.0;
    let mut grad = Array2::zeros((n, classes));
    for (i, (row, &label)) in z.rows().into_iter().zip(labels).enumerate() {
        let label = label as usize;
        require(
            label < classes,
            LAYER,
            "label",
            || format!("below the {classes} classes"),
            label,
        )?;
        let largest = row.fold(f64::NEG_INFINITY, |a, &b| a.max(b));
        let log_sum = row.mapv(|z| (z - largest).exp()).sum().ln() + largest;
        loss += (log_sum - row[label]) / n as f64;
        let mut p = softmax_row(row);
        p[label] -= 1.0;
        grad.row_mut(i).assign(&(p / n as f64));
    }
    Ok(CrossEntropy {
        loss,
        grad_logits: grad.into_dyn(),
    })
}
