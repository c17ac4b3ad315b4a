//! E12: the law of t of the paper and of its code, half of whose draws are t = 0, and times that are shared or not.

use crate::rounding::Rounded;
use crate::statements::{
    About, Built, Evidence, Finding, Instance, Kind, Parameter, Statement, StatementError,
};

const LENGTH: Parameter = Parameter::whole("T", "length of the diffusion chain", 2.0..=32.0, 5.0);

/// The two laws of t that go by the name "priority".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// p(t) ∝ t, as the paper prints it.
    Paper,
    /// p(t) ∝ t − 1, as the published code draws it: t = 1 never occurs.
    Code,
}

impl Priority {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Paper, Self::Code];

    /// p(1), …, p(T).
    ///
    /// # Formula `[eq:priority]`
    /// ```text
    /// paper:  p(t) = 2t/(T(T + 1))        code:  p(t) = 2(t − 1)/(T(T − 1))
    /// ```
    /// # Range
    /// T ≥ 2 for the code's law; T ≥ 1 for the paper's. Shorter chains give weights that are not a law.
    pub fn weights(self, length: u32) -> Vec<Rounded> {
        let shift = match self {
            Self::Paper => 0.0,
            Self::Code => 1.0,
        };
        let t = || (1..=length).map(|t| f64::from(t) - shift);
        // Whole numbers below 2⁵³: the sum is exact.
        let total: f64 = t().sum();
        t().map(|w| Rounded::exact(w) / total).collect()
    }

    /// P(0), …, P(T) of what the discriminator sees, clean images at t = 0 included.
    ///
    /// # Formula `[eq:clean-half]`
    /// ```text
    /// paper:  P(0) = 0,  P(t) = p(t)        code:  P(0) = ½,  P(t) = ½p(t)
    /// ```
    /// The code draws t from a pool of 64 entries of which 32 are drawn from p and the others 0, and ᾱ_0 = 1 (StyleGAN2 variant,
    /// `diffusion-stylegan2/training/diffusion.py`). The law is that of t with the pool's own draw averaged. In the ProjectedGAN variant the noised part is
    /// min(round(64p), 48)/64, p the controller's state, which begins at 0.
    pub fn with_clean(self, length: u32) -> Vec<Rounded> {
        let clean = match self {
            Self::Paper => 0.0,
            Self::Code => 0.5,
        };
        let noised = self.weights(length).into_iter().map(|p| p * (1.0 - clean));
        std::iter::once(Rounded::exact(clean))
            .chain(noised)
            .collect()
    }

    /// The smallest chain, T_min: 5 in the paper and in the code's ProjectedGAN variant, 10 in its StyleGAN2 variant.
    pub fn shortest_chain(self) -> u32 {
        match self {
            Self::Paper => 5,
            Self::Code => 10,
        }
    }
}

/// `[thm:e12]` What the paper's and the code's discriminators see is ½ apart in total variation, for every T: half of the code's images are clean.
///
/// # Formula `[eq:priority-distance]`
/// ```text
/// TV = ½ Σ_t |p(t) − p'(t)| = ⌊T²/2⌋ / (T(T² − 1))          E_code[t] − E_paper[t] = 1/3
/// ```
/// for p(t) − p'(t) = 2(T + 1 − 2t)/(T(T² − 1)), between the two laws of a noised image's t. With the clean half (`[eq:clean-half]`)
/// ```text
/// TV = ½ exactly:   p(t) ≥ ½ p'(t) at every t ≥ 1, as 2t(T − 1) ≥ (t − 1)(T + 1)
/// ```
/// At the smallest chains, T = 5 (paper) and T = 10 (code), TV is 1/10
/// and 5/99. Real and generated samples may share t or draw it twice: for a loss a(t) + b(t') that is separable, as
/// the discriminator's is, the mean is the same; the laws of (t, t') are 1 − Σp² apart, and the variances differ by
/// 2 Cov(a, b).
pub struct PriorityLaw;

/// ½ Σ |p − q|, from differences whose sign is certain or whose error covers it.
fn total_variation(p: &[Rounded], q: &[Rounded]) -> Rounded {
    let terms = p.iter().zip(q).map(|(&p, &q)| {
        let d = p - q;
        Rounded::within(d.value.abs(), d.error)
    });
    Rounded::sum(terms) * 0.5
}

/// Σ_t p(t) f(t), t counted from 0.
fn mean(p: &[Rounded], f: impl Fn(usize) -> Rounded) -> Rounded {
    Rounded::sum(p.iter().enumerate().map(|(t, &p)| p * f(t)))
}

/// Weights of (t, t') in rows of t, t' drawn together or apart.
fn joint(p: &[Rounded], shared: bool) -> Vec<Rounded> {
    let cell = |t: usize, u: usize| match (shared, t == u) {
        (true, true) => p[t],
        (true, false) => Rounded::exact(0.0),
        (false, _) => p[t] * p[u],
    };
    let n = p.len();
    (0..n * n).map(|k| cell(k / n, k % n)).collect()
}

/// Mean and variance of a(t) + b(t') under a joint law.
fn moments(joint: &[Rounded], a: &[f64], b: &[f64]) -> (Rounded, Rounded) {
    let loss = |k: usize| Rounded::exact(a[k / a.len()]) + Rounded::exact(b[k % a.len()]);
    let mean_loss = mean(joint, loss);
    (mean_loss, mean(joint, |k| (loss(k) - mean_loss).square()))
}

/// ⌊T²/2⌋/(T(T² − 1)).
fn distance(length: u32) -> Rounded {
    let (whole, t) = (f64::from(length * length / 2), f64::from(length));
    Rounded::exact(whole) / (t * (t * t - 1.0))
}

/// a(t) and b(t') at every time.
fn losses(instance: &Instance) -> Result<[Vec<f64>; 2], StatementError> {
    let count = instance.size(LENGTH.name)?;
    let mut values = instance.values();
    Ok([values.take(count)?, values.take(count)?])
}

impl Statement for PriorityLaw {
    fn about(&self) -> About {
        About {
            id: "e12",
            source: "Diffusion-GAN (arXiv:2206.02262), priority p_pi and T_min against the published code",
            kind: Kind::Erratum(Finding::Contradiction),
            summary: "half of what the code's discriminator sees is clean: its law of t is 1/2 from the paper's in total variation, and the noised half is drawn otherwise too",
            terms: &[],
            parameters: &[LENGTH],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        let [a, b] = losses(instance)?;
        Ok(vec![Built::row("a(t)", &a), Built::row("b(t')", &b)])
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let count = instance.size(LENGTH.name)?;
        let length = u32::try_from(count).unwrap_or(u32::MAX);
        let (paper, code) = (
            Priority::Paper.weights(length),
            Priority::Code.weights(length),
        );
        let t = |k: usize| Rounded::exact(k as f64 + 1.0);
        let [a, b] = losses(instance)?;
        let (together, apart) = (joint(&paper, true), joint(&paper, false));
        let ((mean_together, var_together), (mean_apart, var_apart)) =
            (moments(&together, &a, &b), moments(&apart, &a, &b));
        let centred = |x: &[f64]| mean(&paper, |k| Rounded::exact(x[k]));
        let (mean_a, mean_b) = (centred(&a), centred(&b));
        let covariance = mean(&paper, |k| {
            (Rounded::exact(a[k]) - mean_a) * (Rounded::exact(b[k]) - mean_b)
        });
        let squares = mean(&paper, |k| paper[k]);
        let clean = Priority::ALL.map(|law| law.with_clean(length));
        Ok(vec![
            Evidence::equal(
                "with the clean half: TV = 1/2",
                total_variation(&clean[0], &clean[1]),
                Rounded::exact(0.5),
            ),
            Evidence::equal(
                "of the noised images alone: TV = ⌊T²/2⌋/(T(T² - 1))",
                total_variation(&paper, &code),
                distance(length),
            ),
            Evidence::equal(
                "E_code[t] - E_paper[t] = 1/3",
                mean(&code, t) - mean(&paper, t),
                Rounded::exact(1.0) / 3.0,
            ),
            Evidence::equal(
                "shared or not, a separable loss has one mean",
                mean_together,
                mean_apart,
            ),
            Evidence::equal(
                "sharing t adds 2 Cov(a, b) to the variance",
                var_together,
                var_apart + covariance * 2.0,
            ),
            Evidence::equal(
                "the laws of (t, t') are 1 - Σp² apart",
                total_variation(&together, &apart),
                Rounded::exact(1.0) - squares,
            ),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let shortest = |p: Priority| p.weights(p.shortest_chain());
        let (paper, code) = (Priority::Paper.weights(5), Priority::Code.weights(5));
        let a = [0.5, -1.0, 2.0, 0.25, 1.0];
        let variance = |shared| moments(&joint(&paper, shared), &a, &a).1;
        let seen = Priority::ALL.map(|law| law.with_clean(5));
        Ok(vec![
            Evidence::equal(
                "as printed, t from 1 to T: no image is clean; P(t = 0) at T = 5",
                seen[1][0],
                seen[0][0],
            ),
            Evidence::equal(
                "control: the clean half leaves the distance of the noised images as it is, T = 5",
                total_variation(&seen[0], &seen[1]),
                distance(5),
            ),
            Evidence::equal(
                "as printed: one priority; P(t = 1) at T = 5",
                paper[0],
                code[0],
            ),
            Evidence::equal(
                "as printed: one priority; P(t = 5) at T = 5",
                paper[4],
                code[4],
            ),
            Evidence::equal(
                "as printed: one shortest chain",
                f64::from(Priority::Paper.shortest_chain()).into(),
                f64::from(Priority::Code.shortest_chain()).into(),
            ),
            Evidence::equal(
                "as printed: at their shortest chains they draw t = 2 alike",
                shortest(Priority::Paper)[1],
                shortest(Priority::Code)[1],
            ),
            Evidence::equal(
                "control: sharing t leaves the variance of a(t) + a(t') alone",
                variance(true),
                variance(false),
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: Rounded, want: f64) {
        assert!(
            (got.value - want).abs() <= got.error + 1e-16,
            "{got:?} {want}"
        );
    }

    #[test]
    fn weights_and_distances_are_as_by_hand() {
        let (paper, code) = (Priority::Paper.weights(5), Priority::Code.weights(5));
        for t in 0..5_u32 {
            close(paper[t as usize], f64::from(t + 1) / 15.0);
            close(code[t as usize], f64::from(t) / 10.0);
        }
        close(distance(5), 0.1);
        close(distance(10), 5.0 / 99.0);
        close(total_variation(&paper, &code), 0.1);
        assert_eq!(Priority::Paper.shortest_chain(), 5);
        assert_eq!(Priority::Code.shortest_chain(), 10);
    }

    /// Half of the code's images are clean and the law adds up; ½ to the paper's for every T from 2 to 199.
    #[test]
    fn the_clean_half_is_half_of_the_distance() {
        for length in 2..200 {
            let [paper, code] = Priority::ALL.map(|law| law.with_clean(length));
            close(Rounded::sum(code.iter().copied()), 1.0);
            close(code[0], 0.5);
            close(total_variation(&paper, &code), 0.5);
        }
    }

    /// T = 2: p = (1/3, 2/3).
    #[test]
    fn shared_times_lie_on_the_diagonal() {
        let p = Priority::Paper.weights(2);
        for (k, (shared, apart)) in [(3.0, 1.0), (0.0, 2.0), (0.0, 2.0), (6.0, 4.0)]
            .iter()
            .enumerate()
        {
            close(joint(&p, true)[k], shared / 9.0);
            close(joint(&p, false)[k], apart / 9.0);
        }
    }
}
