//! The exact transport velocity of any coupling of data and noise.

use ndarray::Array2;

use crate::laws::finite::softmax;
use crate::rounding::Rounded;
use crate::statements::{
    About, Built, Evidence, Instance, Kind, Parameter, Statement, StatementError,
};

const PAIRS: Parameter = Parameter::whole(
    "pairs",
    "number of coupled pairs (a_k, n_k)",
    1.0..=5.0,
    4.0,
);
const LEVEL: Parameter = Parameter::logarithmic("sigma", "noise level", 0.25..=8.0, 1.3);
/// Blur of the data.
pub const BLUR: Parameter = Parameter::logarithmic(
    "tau",
    "blur τ of the data: x_0 = a_k + τ g",
    0.5..=2.0,
    0.75,
);

/// `[thm:coupling-velocity]` Under any coupling of x_0 and n that does not depend on σ the flow of (x − D)/σ carries the law of x_0 + σn.
///
/// # Formula `[eq:coupling-velocity]`
/// ```text
/// x = x_0 + σn,  D(x, σ) = E[x_0 | x],  u(x, σ) = E[n | x] = (x − D)/σ
/// ∂_σ p + ∇·(p u) = 0,   that is   ∂_σ log p = −∇·u − u·∇log p
/// ```
/// for d/dσ E f(x_0 + σn) = E[n·∇f(x)] = E[u(x)·∇f(x)] for every test function f: independence is not used, but that (x_0, n) has one law at every σ is
/// (`[thm:coupling-of-sigma]`), and that the continuity equation has one solution from one start. Tried on
/// x_0 = a_k + τg with n = n_k: x is a mixture of N(a_k + σn_k, τ²I), with weights w_k(x)
/// ```text
/// u = Σ w_k n_k      ∇·u = Σ_k w_k n_k·(b_k − E b)/τ²,  b_k = a_k + σn_k      ∇log p = (E b − x)/τ²
/// ```
/// and ∂_σ log p from log p alone, by a central difference. Its remainder is h²/6·sup|∂³_σ log p|; with exponents
/// e_k(σ), the third derivative is κ₃(e') + 3 Cov(e', e''), at most R³/4 + (3/4)R R', R and R' being the ranges of
/// e'_k = n_k·(x − b_k)/τ² over [σ − h, σ + h] and of e''_k = −|n_k|²/τ². D is computed apart from u, from densities alone:
/// ```text
/// D_i = ∂_c log ∫ e^{c x_{0,i}} p(x_0, x) dx_0 at c = 0
/// ```
/// by a central difference, whose remainder is h²/6 times a third cumulant of x_{0,i} given x, at most (σ·range of n_i)³/4.
pub struct CouplingVelocity;

/// Dimension of the space.
pub const N: usize = 2;

/// Coupled pairs with their weights, a point and the levels.
pub struct Setting {
    /// a_k.
    pub data: Array2<f64>,
    /// n_k.
    pub noise: Array2<f64>,
    /// Weights, up to a factor.
    pub weights: Vec<f64>,
    /// x.
    pub point: Vec<f64>,
    /// σ.
    pub sigma: f64,
    /// τ.
    pub blur: f64,
}

impl Setting {
    fn of(instance: &Instance) -> Result<Self, StatementError> {
        let pairs = instance.size(PAIRS.name)?;
        let mut values = instance.values();
        Ok(Self {
            data: values.matrix(pairs, N)?,
            noise: values.matrix(pairs, N)?,
            weights: values.take(pairs)?.iter().map(|v| v.abs() + 0.25).collect(),
            point: values.take(N)?,
            sigma: instance.get(LEVEL.name)?,
            blur: instance.get(BLUR.name)?,
        })
    }

    /// b_k = a_k + σn_k, tracked.
    pub fn centre(&self, k: usize, i: usize) -> Rounded {
        self.centre_at(self.sigma, k, i)
    }

    fn centre_at(&self, sigma: f64, k: usize, i: usize) -> Rounded {
        Rounded::exact(self.data[[k, i]]) + Rounded::exact(sigma) * self.noise[[k, i]]
    }

    /// ln ∫ e^{c x_{0,i}} p(x_0, x) dx_0 at the point and level σ, up to a constant; c = 0 is log p.
    ///
    /// Under pair k, x_{0,i} = a_{k,i} + τg_i with g standard normal: the exponential shifts g_i by cτ and multiplies the mass by
    /// e^{c a_{k,i} + c²τ²/2}.
    fn log_density(&self, sigma: f64, tilt: f64, i: usize) -> Rounded {
        let variance = Rounded::exact(self.blur).square();
        let tilt = Rounded::exact(tilt);
        let term = |(k, &p): (usize, &f64)| {
            let off = |j: usize| {
                let shift = if i == j { tilt * variance } else { 0.0.into() };
                (Rounded::exact(self.point[j]) - self.centre_at(sigma, k, j) - shift).square()
            };
            let mass = tilt * self.data[[k, i]] + tilt.square() * variance * 0.5;
            Rounded::exact(p).ln() + mass - Rounded::sum((0..N).map(off)) / (variance * 2.0)
        };
        let terms: Vec<Rounded> = self.weights.iter().enumerate().map(term).collect();
        softmax(&terms).1
    }

    /// E[x_{0,i} | x] as the derivative of the tilted log density at c = 0.
    fn denoised(&self, i: usize) -> Rounded {
        let step = 2.0_f64.powi(-14);
        let rise = self.log_density(self.sigma, step, i) - self.log_density(self.sigma, -step, i);
        let ends = |(l, h): (f64, f64), &n: &f64| (l.min(n), h.max(n));
        let (low, high) = self.noise.column(i).iter().fold((f64::MAX, f64::MIN), ends);
        let range = 1.01 * self.sigma * (high - low);
        let truncation = 1.01 * step.powi(2) / 6.0 * range.powi(3) / 4.0;
        rise / (2.0 * step) + Rounded::within(0.0, truncation)
    }

    /// ∂_σ log p by a central difference.
    pub fn rate(&self) -> Rounded {
        let step = 2.0_f64.powi(-17);
        let (up, down) = (self.sigma + step, self.sigma - step);
        let width = Rounded::exact(up) - Rounded::exact(down);
        let quotient = (self.log_density(up, 0.0, 0) - self.log_density(down, 0.0, 0)) / width;
        let variance = self.blur * self.blur;
        let (mut low, mut high, mut longest) = (f64::MAX, f64::MIN, 0.0_f64);
        for k in 0..self.weights.len() {
            let square = self.noise.row(k).dot(&self.noise.row(k)) / variance;
            let slope: f64 = (0..N)
                .map(|i| self.noise[[k, i]] * (self.point[i] - self.centre(k, i).value) / variance)
                .sum();
            (low, high) = (low.min(slope), high.max(slope));
            longest = longest.max(square);
        }
        let range = 1.01 * (high - low + 2.0 * step * longest);
        let third = range.powi(3) / 4.0 + 0.75 * range * longest * 1.01;
        // σ ± h are rounded: |∂²_σ log p| ≤ R²/4 + sup|e''|, over a shift of u(σ + h).
        let shift = f64::EPSILON * up * (range * range / 4.0 + 1.01 * longest);
        let truncation = (0.51 * (up - down)).powi(2) / 6.0 * third;
        quotient + Rounded::within(0.0, truncation + shift)
    }

    /// The posterior's weights at σ with tracked centres: what follows is computed from them alone.
    pub fn moments(&self) -> Moments {
        let variance = Rounded::exact(self.blur).square();
        let pairs = self.weights.len();
        let terms: Vec<Rounded> = (0..pairs)
            .map(|k| {
                let square = Rounded::sum(
                    (0..N).map(|i| (Rounded::exact(self.point[i]) - self.centre(k, i)).square()),
                );
                (-(square / (variance * 2.0))).exp() * self.weights[k]
            })
            .collect();
        let total = Rounded::sum(terms.iter().copied());
        let weights: Vec<Rounded> = terms.into_iter().map(|t| t / total).collect();
        let mean = |f: &dyn Fn(usize) -> Rounded| {
            Rounded::sum(weights.iter().enumerate().map(|(k, &w)| w * f(k)))
        };
        let along = |i: usize| {
            let centre = mean(&|k| self.centre(k, i));
            let velocity = mean(&|k| Rounded::exact(self.noise[[k, i]]));
            let spread = mean(&|k| (self.centre(k, i) - centre) * self.noise[[k, i]]) / variance;
            let score = (centre - Rounded::exact(self.point[i])) / variance;
            (velocity, spread, score)
        };
        let both = [along(0), along(1)];
        Moments {
            velocity: both.map(|b| b.0),
            divergence: both[0].1 + both[1].1,
            score: both.map(|b| b.2),
        }
    }
}

/// What the posterior of the pair gives.
pub struct Moments {
    velocity: [Rounded; N],
    divergence: Rounded,
    score: [Rounded; N],
}

impl Moments {
    /// −∇·u − u·∇log p, with the two terms scaled.
    pub fn continuity(&self, divergence: f64, advection: f64) -> Rounded {
        let carried = self.velocity[0] * self.score[0] + self.velocity[1] * self.score[1];
        -(self.divergence * divergence + carried * advection)
    }
}

impl Statement for CouplingVelocity {
    fn about(&self) -> About {
        About {
            id: "coupling-velocity",
            source: "Approximated optimal transport (arXiv:2403.05069), Sec. 3; the statement for couplings is ours",
            kind: Kind::Identity,
            summary: "however data and noise are paired, if alike at every sigma, the flow of (x - D)/sigma keeps the marginals",
            terms: &[],
            parameters: &[PAIRS, LEVEL, BLUR],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        let Setting {
            data,
            noise,
            weights,
            point,
            ..
        } = Setting::of(instance)?;
        Ok(vec![
            Built::rows("atoms a_k", data),
            Built::rows("their noise n_k", noise),
            Built::row("weights", &weights),
            Built::row("point x", &point),
        ])
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let setting = Setting::of(instance)?;
        let moments = setting.moments();
        let mut claims = vec![Evidence::equal(
            "∂_σ log p = -∇·u - u·∇log p",
            setting.rate(),
            moments.continuity(1.0, 1.0),
        )];
        for i in 0..N {
            let step = Rounded::exact(setting.point[i]) - setting.denoised(i);
            claims.push(Evidence::equal(
                format!("(x - D)_{i}/σ = E[n_{i} | x], D from tilted densities"),
                step / setting.sigma,
                moments.velocity[i],
            ));
        }
        Ok(claims)
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let setting = Setting::of(&self.default_instance())?;
        let moments = setting.moments();
        let rate = setting.rate();
        let step = Rounded::exact(setting.point[0]) - setting.denoised(0);
        let claim = |text: &str, divergence: f64, advection: f64| {
            Evidence::equal(text, rate, moments.continuity(divergence, advection))
        };
        Ok(vec![
            Evidence::equal(
                "control: x - D is the velocity itself",
                step,
                moments.velocity[0],
            ),
            claim("control: without ∇·u", 0.0, 1.0),
            claim("control: without u·∇log p", 1.0, 0.0),
            claim("control: the flow backwards", -1.0, -1.0),
            claim(
                "control: velocity off by a thousandth",
                1.0 + 1.0 / 1024.0,
                1.0 + 1.0 / 1024.0,
            ),
        ])
    }
}
