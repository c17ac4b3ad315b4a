"""Every quantity of the oracle as a function on arrays: any dtype in, float64 out.

Written by `python/generate.py` from the registry that `sadm oracle` uses; do not edit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ._arrays import F64, ArrayLike
from ._ask import ask

__all__ = ["Assignment", "assignment", "DenoisingLoss", "denoising_loss", "DiffusionGanController", "diffusion_gan_controller", "DiffusionGanSchedule", "diffusion_gan_schedule", "DiffusionGanTimes", "diffusion_gan_times", "EdmPrecondition", "edm_precondition", "EdmSigmas", "edm_sigmas", "FinitePosterior", "finite_posterior", "Forward", "forward", "Frechet", "frechet", "InceptionScore", "inception_score", "Jensen", "jensen", "Kid", "kid", "PrecisionRecall", "precision_recall", "RelationScore", "relation_score", "Transition", "transition"]


@dataclass(frozen=True)
class Assignment:
    """What `assignment` answers."""

    permutation: F64
    """[N]."""
    total: float
    """A number."""
    dual_images: F64
    """[N]."""
    dual_noise: F64
    """[N]."""


def assignment(
    images: ArrayLike,
    noise: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    cost: Literal["euclidean", "squared-euclidean"] = "euclidean",
) -> Assignment:
    """permutation = argmin_π Σ_i c(x_i, ε_π(i)),  total = Σ_i c(x_i, ε_π(i)),  c = ‖x − ε‖, or ‖x − ε‖² with squared-euclidean
    dual_images u, dual_noise v: u_i + v_j ≤ c(x_i, ε_j), with equality for j = π(i), so total = Σ u + Σ v is the least
    with labels (whole numbers) an image gets a noise that was given beside an image of its own class, and u + v ≤ c inside
    each class

    Args:
        images: [N, …], finite.
        noise: [N, …], finite.
        labels: [N], or nothing.
        cost: euclidean|squared-euclidean.

    Returns:
        `permutation` [N], `total`, `dual_images` [N], `dual_noise` [N].

    Raises:
        ValueError: a shape, number or option that the quantity is not defined for.
        TypeError: what is no array of real numbers on the CPU.
    """
    found = ask("assignment", {"images": images, "noise": noise, "labels": labels}, {"cost": cost})
    return Assignment(found["permutation"], found["total"], found["dual_images"], found["dual_noise"])


@dataclass(frozen=True)
class DenoisingLoss:
    """What `denoising_loss` answers."""

    loss: float
    """A number."""
    grad_prediction: F64
    """[N, …]."""
    weight: F64
    """[N]."""


def denoising_loss(
    x0: ArrayLike,
    prediction: ArrayLike,
    t: ArrayLike,
    *,
    schedule: Literal["vp-linear", "cosine", "ddpm", "edm", "rectified-flow"] = "vp-linear",
    weight: Literal["constant", "elbo", "snr", "one-plus-snr", "min-snr", "edm", "soft-truncation"] = "constant",
    gamma: float | None = None,
    sigma_data: float | None = None,
) -> DenoisingLoss:
    """loss = Σ_i weight_i ‖prediction_i − x0_i‖² / N
    elbo: −½ dSNR/dt = −½ SNR dλ/dt;  min-snr: min(SNR, gamma);  edm: (σ'²+σ_d²)/(σ'σ_d)² with σ' = σ/α
    elbo under ddpm, k = round(999·t): −½ SNR_k·999·(λ_{k+1} − λ_{k−1})/2, at the ends the one-sided difference:
    −½ SNR_0·999·(λ_1 − λ_0) and −½ SNR_999·999·(λ_999 − λ_998);  λ = ln SNR

    Args:
        x0: [N, …], finite.
        prediction: [N, …], finite.
        t: [N], finite.
        schedule: vp-linear|cosine|ddpm|edm|rectified-flow.
        weight: constant|elbo|snr|one-plus-snr|min-snr|edm|soft-truncation.
        gamma: a finite number > 0; 5 unless given, and only with weight=min-snr.
        sigma_data: a finite number > 0; 0.5 unless given, and only with weight=edm.

    Returns:
        `loss`, `grad_prediction` [N, …], `weight` [N].

    Raises:
        ValueError: a shape, number or option that the quantity is not defined for.
        TypeError: what is no array of real numbers on the CPU.
    """
    found = ask("denoising-loss", {"x0": x0, "prediction": prediction, "t": t}, {"schedule": schedule, "weight": weight, "gamma": gamma, "sigma_data": sigma_data})
    return DenoisingLoss(found["loss"], found["grad_prediction"], found["weight"])


@dataclass(frozen=True)
class DiffusionGanController:
    """What `diffusion_gan_controller` answers."""

    p: F64
    """[N]."""
    t: F64
    """[N]."""


def diffusion_gan_controller(
    signs: ArrayLike,
    *,
    update: Literal["published", "constant"] = "published",
    batch: int = 64,
    interval: int = 4,
    kimg: float = 100,
    target: float = 0.6,
    t_min: int = 10,
    t_max: int = 1000,
    step: int | None = None,
) -> DiffusionGanController:
    """signs: r_d = the mean sign of the logits of diffused real images at each update; it begins at p = 0, T = t_min
    published  p ← clip(p + sign(r_d−target)·batch·interval/(1000·kimg), 0, 1),  T = t_min + round(p(t_max−t_min)), halves to even
    constant   T ← clip(T + sign(r_d−target)·step, t_min, t_max),  p = (T−t_min)/(t_max−t_min);  sign(0) = 0

    Args:
        signs: [N], finite.
        update: published|constant.
        batch: a whole number from 1 to 1000000.
        interval: a whole number from 1 to 1000000.
        kimg: a finite number > 0.
        target: a finite number ≥ 0.
        t_min: a whole number from 1 to 1000000.
        t_max: a whole number from 1 to 1000000.
        step: a whole number from 1 to 1000000; 4 unless given, and only with update=constant.

    Returns:
        `p` [N], `t` [N].

    Raises:
        ValueError: a shape, number or option that the quantity is not defined for.
        TypeError: what is no array of real numbers on the CPU.
    """
    found = ask("diffusion-gan-controller", {"signs": signs}, {"update": update, "batch": batch, "interval": interval, "kimg": kimg, "target": target, "t_min": t_min, "t_max": t_max, "step": step})
    return DiffusionGanController(found["p"], found["t"])


@dataclass(frozen=True)
class DiffusionGanSchedule:
    """What `diffusion_gan_schedule` answers."""

    beta: F64
    """[T]."""
    alpha_bar: F64
    """[T+1]."""


def diffusion_gan_schedule(
    *,
    beta_schedule: Literal["linear", "quad", "const", "cosine", "continuous-t", "jsd", "sigmoid"] = "linear",
    beta_start: float = 0.0001,
    beta_end: float = 0.02,
    steps: int = 1000,
) -> DiffusionGanSchedule:
    """s = (t−1)/(T−1), T = steps:  linear β_start + s(β_end−β_start),  quad (√β_start + s(√β_end−√β_start))²,  const β_end,
    sigmoid β_start + (β_end−β_start)/(1+e^(6−12s)),  jsd 1/(T−t+1),  continuous-t 1 − exp(−0.1/T − ½(5−0.1)(2t−1)/T²),
    cosine min(1 − c(t/T)/c((t−1)/T), 0.999), c(u) = cos²((u+0.008)/1.008·π/2);  alpha_bar_t = Π_{i≤t} (1−β_i), alpha_bar_0 = 1

    Args:
        beta_schedule: linear|quad|const|cosine|continuous-t|jsd|sigmoid.
        beta_start: a finite number ≥ 0.
        beta_end: a finite number ≥ 0.
        steps: a whole number from 1 to 1000000.

    Returns:
        `beta` [T], `alpha_bar` [T+1].

    Raises:
        ValueError: a shape, number or option that the quantity is not defined for.
        TypeError: what is no array of real numbers on the CPU.
    """
    found = ask("diffusion-gan-schedule", {}, {"beta_schedule": beta_schedule, "beta_start": beta_start, "beta_end": beta_end, "steps": steps})
    return DiffusionGanSchedule(found["beta"], found["alpha_bar"])


@dataclass(frozen=True)
class DiffusionGanTimes:
    """What `diffusion_gan_times` answers."""

    probability: F64
    """[T]."""


def diffusion_gan_times(
    *,
    law: Literal["uniform", "priority", "priority-code"] = "priority",
    steps: int = 1000,
) -> DiffusionGanTimes:
    """p(t), t = 1, …, T = steps:  uniform 1/T,  priority 2t/(T(T+1)),  priority-code 2(t−1)/(T(T−1))

    Args:
        law: uniform|priority|priority-code.
        steps: a whole number from 1 to 1000000.

    Returns:
        `probability` [T].

    Raises:
        ValueError: a shape, number or option that the quantity is not defined for.
        TypeError: what is no array of real numbers on the CPU.
    """
    found = ask("diffusion-gan-times", {}, {"law": law, "steps": steps})
    return DiffusionGanTimes(found["probability"])


@dataclass(frozen=True)
class EdmPrecondition:
    """What `edm_precondition` answers."""

    c_skip: F64
    """[N]."""
    c_out: F64
    """[N]."""
    c_in: F64
    """[N]."""
    c_noise: F64
    """[N]."""
    loss_weight: F64
    """[N]."""


def edm_precondition(
    sigma: ArrayLike,
    *,
    sigma_data: float = 0.5,
) -> EdmPrecondition:
    """c_skip = σ_d²/(σ²+σ_d²),  c_out = σσ_d/√(σ²+σ_d²),  c_in = 1/√(σ²+σ_d²),  c_noise = ln(σ)/4
    loss_weight = (σ²+σ_d²)/(σσ_d)² = 1/c_out²

    Args:
        sigma: [N], finite.
        sigma_data: a finite number > 0.

    Returns:
        `c_skip` [N], `c_out` [N], `c_in` [N], `c_noise` [N], `loss_weight` [N].

    Raises:
        ValueError: a shape, number or option that the quantity is not defined for.
        TypeError: what is no array of real numbers on the CPU.
    """
    found = ask("edm-precondition", {"sigma": sigma}, {"sigma_data": sigma_data})
    return EdmPrecondition(found["c_skip"], found["c_out"], found["c_in"], found["c_noise"], found["loss_weight"])


@dataclass(frozen=True)
class EdmSigmas:
    """What `edm_sigmas` answers."""

    sigmas: F64
    """[steps+1]."""


def edm_sigmas(
    *,
    steps: int = 18,
    rho: float = 7,
    sigma_min: float = 0.002,
    sigma_max: float = 80,
) -> EdmSigmas:
    """sigmas_i = (sigma_max^(1/rho) + i/(steps−1)·(sigma_min^(1/rho) − sigma_max^(1/rho)))^rho, i < steps; then 0

    Args:
        steps: a whole number from 1 to 1000000.
        rho: a finite number > 0.
        sigma_min: a finite number > 0.
        sigma_max: a finite number > 0.

    Returns:
        `sigmas` [steps+1].

    Raises:
        ValueError: a shape, number or option that the quantity is not defined for.
        TypeError: what is no array of real numbers on the CPU.
    """
    found = ask("edm-sigmas", {}, {"steps": steps, "rho": rho, "sigma_min": sigma_min, "sigma_max": sigma_max})
    return EdmSigmas(found["sigmas"])


@dataclass(frozen=True)
class FinitePosterior:
    """What `finite_posterior` answers."""

    weights: F64
    """[N, K]."""
    mean: F64
    """[N, n]."""
    covariance: F64
    """[N, n, n]."""
    score: F64
    """[N, n]."""
    log_density: F64
    """[N]."""


def finite_posterior(
    atoms: ArrayLike,
    xt: ArrayLike,
    t: ArrayLike,
    prior: ArrayLike | None = None,
    *,
    schedule: Literal["vp-linear", "cosine", "ddpm", "edm", "rectified-flow"] = "vp-linear",
) -> FinitePosterior:
    """weights ∝ prior·exp(−‖xt − α·atom‖²/(2σ²)), the prior uniform unless given
    mean, covariance of x_0 given xt;  score = ∇ log q_t(xt), log_density = log q_t(xt)

    Args:
        atoms: [K, n], finite.
        xt: [N, n], finite.
        t: [N], finite.
        prior: [K], or nothing.
        schedule: vp-linear|cosine|ddpm|edm|rectified-flow.

    Returns:
        `weights` [N, K], `mean` [N, n], `covariance` [N, n, n], `score` [N, n], `log_density` [N].

    Raises:
        ValueError: a shape, number or option that the quantity is not defined for.
        TypeError: what is no array of real numbers on the CPU.
    """
    found = ask("finite-posterior", {"atoms": atoms, "xt": xt, "t": t, "prior": prior}, {"schedule": schedule})
    return FinitePosterior(found["weights"], found["mean"], found["covariance"], found["score"], found["log_density"])


@dataclass(frozen=True)
class Forward:
    """What `forward` answers."""

    xt: F64
    """[N, …]."""
    alpha: F64
    """[N]."""
    sigma: F64
    """[N]."""
    lambda_: F64
    """[N]."""


def forward(
    x0: ArrayLike,
    noise: ArrayLike,
    t: ArrayLike,
    *,
    schedule: Literal["vp-linear", "cosine", "ddpm", "edm", "rectified-flow"] = "vp-linear",
) -> Forward:
    """xt = alpha·x0 + sigma·noise,  lambda = ln(alpha²/sigma²), ±∞ where one of them is 0
    vp-linear: β from 0.1 to 20, α = exp(−½∫β);  ddpm: 1000 steps, k = round(999·t);
    edm: α = 1, σ = t;  rectified-flow: α = 1 − t, σ = t

    Args:
        x0: [N, …], finite.
        noise: [N, …], finite.
        t: [N], finite.
        schedule: vp-linear|cosine|ddpm|edm|rectified-flow.

    Returns:
        `xt` [N, …], `alpha` [N], `sigma` [N], `lambda_` [N].

    Raises:
        ValueError: a shape, number or option that the quantity is not defined for.
        TypeError: what is no array of real numbers on the CPU.
    """
    found = ask("forward", {"x0": x0, "noise": noise, "t": t}, {"schedule": schedule})
    return Forward(found["xt"], found["alpha"], found["sigma"], found["lambda"])


@dataclass(frozen=True)
class Frechet:
    """What `frechet` answers."""

    frechet: float
    """A number."""
    mean_term: float
    """A number."""
    trace_term: float
    """A number."""


def frechet(
    a: ArrayLike,
    b: ArrayLike,
) -> Frechet:
    """frechet = mean_term + trace_term,  mean_term = ‖μ_a − μ_b‖²
    trace_term = Tr(Σ_a + Σ_b − 2(Σ_a^½ Σ_b Σ_a^½)^½),  covariances over N−1 and M−1

    Args:
        a: [N, d], finite.
        b: [M, d], finite.

    Returns:
        `frechet`, `mean_term`, `trace_term`.

    Raises:
        ValueError: a shape, number or option that the quantity is not defined for.
        TypeError: what is no array of real numbers on the CPU.
    """
    found = ask("frechet", {"a": a, "b": b}, {})
    return Frechet(found["frechet"], found["mean_term"], found["trace_term"])


@dataclass(frozen=True)
class InceptionScore:
    """What `inception_score` answers."""

    mean: float
    """A number."""
    std: float
    """A number."""


def inception_score(
    probabilities: ArrayLike,
    *,
    splits: int = 10,
) -> InceptionScore:
    """score of a split = exp(mean_i Σ_c p_ic ln(p_ic/p̄_c)),  p̄ = mean_i p_i,  0·ln 0 = 0
    mean and std (over n, not n−1) of consecutive splits, rows ⌊sN/splits⌋ to ⌊(s+1)N/splits⌋

    Args:
        probabilities: [N, C], finite.
        splits: a whole number from 1 to 1000000.

    Returns:
        `mean`, `std`.

    Raises:
        ValueError: a shape, number or option that the quantity is not defined for.
        TypeError: what is no array of real numbers on the CPU.
    """
    found = ask("inception-score", {"probabilities": probabilities}, {"splits": splits})
    return InceptionScore(found["mean"], found["std"])


@dataclass(frozen=True)
class Jensen:
    """What `jensen` answers."""

    q_r: F64
    """[N]."""
    plug_in: F64
    """[N]."""
    error2: F64
    """[N]."""
    gap: F64
    """[N]."""
    jensen: F64
    """[N]."""
    bound: F64
    """[N]."""
    w_gamma: float
    """A number."""


def jensen(
    atoms: ArrayLike,
    yi: ArrayLike,
    yj: ArrayLike,
    t: ArrayLike,
    r: ArrayLike,
    prior: ArrayLike | None = None,
    x_hat_i: ArrayLike | None = None,
    x_hat_j: ArrayLike | None = None,
    *,
    schedule: Literal["vp-linear", "cosine", "ddpm", "edm", "rectified-flow"] = "vp-linear",
    relation: Literal["cosine", "inner-product", "squared-euclidean", "euclidean", "rbf", "laplacian"] = "inner-product",
    bandwidth: float | None = None,
    gamma: float = 1,
) -> Jensen:
    """g(r|y_0) = N(r; R(y_0), gamma²),  ŷ_0 = (x_hat_i, x_hat_j), the posterior means unless given
    q_r = E[g|y_t],  plug_in = g(r|ŷ_0),  error2 = (q_r − plug_in)²,  gap = Var[g|y_t]
    jensen = E[(g − plug_in)²|y_t] = error2 + gap  ≤  bound = w_gamma·E[(R(y_0) − R(ŷ_0))²|y_t]
    w_gamma = 1/(2πe·gamma⁴)

    Args:
        atoms: [K, n], finite.
        yi: [N, n], finite.
        yj: [N, n], finite.
        t: [N], finite.
        r: [N], finite.
        prior: [K], or nothing.
        x_hat_i: [N, n], or nothing.
        x_hat_j: [N, n], or nothing.
        schedule: vp-linear|cosine|ddpm|edm|rectified-flow.
        relation: cosine|inner-product|squared-euclidean|euclidean|rbf|laplacian.
        bandwidth: a finite number > 0; 1 unless given, and only with relation=rbf|laplacian.
        gamma: a finite number > 0.

    Returns:
        `q_r` [N], `plug_in` [N], `error2` [N], `gap` [N], `jensen` [N], `bound` [N], `w_gamma`.

    Raises:
        ValueError: a shape, number or option that the quantity is not defined for.
        TypeError: what is no array of real numbers on the CPU.
    """
    found = ask("jensen", {"atoms": atoms, "yi": yi, "yj": yj, "t": t, "r": r, "prior": prior, "x_hat_i": x_hat_i, "x_hat_j": x_hat_j}, {"schedule": schedule, "relation": relation, "bandwidth": bandwidth, "gamma": gamma})
    return Jensen(found["q_r"], found["plug_in"], found["error2"], found["gap"], found["jensen"], found["bound"], found["w_gamma"])


@dataclass(frozen=True)
class Kid:
    """What `kid` answers."""

    kid: float
    """A number."""


def kid(
    a: ArrayLike,
    b: ArrayLike,
) -> Kid:
    """kid = mean_{i≠j} k(a_i,a_j) + mean_{i≠j} k(b_i,b_j) − 2 mean_ij k(a_i,b_j),  k(x,y) = (xᵀy/d + 1)³

    Args:
        a: [N, d], finite.
        b: [M, d], finite.

    Returns:
        `kid`.

    Raises:
        ValueError: a shape, number or option that the quantity is not defined for.
        TypeError: what is no array of real numbers on the CPU.
    """
    found = ask("kid", {"a": a, "b": b}, {})
    return Kid(found["kid"])


@dataclass(frozen=True)
class PrecisionRecall:
    """What `precision_recall` answers."""

    precision: float
    """A number."""
    recall: float
    """A number."""
    density: float
    """A number."""
    coverage: float
    """A number."""


def precision_recall(
    real: ArrayLike,
    generated: ArrayLike,
    *,
    k: int = 3,
) -> PrecisionRecall:
    """r_i, ρ_j: distance of x_i (real), y_j (generated) to its k-th nearest neighbour in its own set, itself left out
    precision = mean_j [∃i ‖x_i−y_j‖ ≤ r_i],  recall = mean_i [∃j ‖x_i−y_j‖ ≤ ρ_j]
    density = 1/k mean_j Σ_i [‖x_i−y_j‖ < r_i],  coverage = mean_i [∃j ‖x_i−y_j‖ < r_i]

    Args:
        real: [N, d], finite.
        generated: [M, d], finite.
        k: a whole number from 1 to 1000000.

    Returns:
        `precision`, `recall`, `density`, `coverage`.

    Raises:
        ValueError: a shape, number or option that the quantity is not defined for.
        TypeError: what is no array of real numbers on the CPU.
    """
    found = ask("precision-recall", {"real": real, "generated": generated}, {"k": k})
    return PrecisionRecall(found["precision"], found["recall"], found["density"], found["coverage"])


@dataclass(frozen=True)
class RelationScore:
    """What `relation_score` answers."""

    grad_yi: F64
    """[N, n]."""
    grad_yj: F64
    """[N, n]."""
    plug_in_grad_yi: F64
    """[N, n]."""
    plug_in_grad_yj: F64
    """[N, n]."""


def relation_score(
    atoms: ArrayLike,
    yi: ArrayLike,
    yj: ArrayLike,
    t: ArrayLike,
    r: ArrayLike,
    prior: ArrayLike | None = None,
    *,
    schedule: Literal["vp-linear", "cosine", "ddpm", "edm", "rectified-flow"] = "vp-linear",
    relation: Literal["cosine", "inner-product", "squared-euclidean", "euclidean", "rbf", "laplacian"] = "inner-product",
    bandwidth: float | None = None,
    gamma: float = 1,
) -> RelationScore:
    """grad_yi, grad_yj = ∇ log q_t(r|y_t),  q_t(r|y_t) = E[N(r; R(y_0), gamma²)|y_t]
    plug_in_grad = ∇ log N(r; R(x̂(yi), x̂(yj)), gamma²),  x̂(y) = E[x_0|y]

    Args:
        atoms: [K, n], finite.
        yi: [N, n], finite.
        yj: [N, n], finite.
        t: [N], finite.
        r: [N], finite.
        prior: [K], or nothing.
        schedule: vp-linear|cosine|ddpm|edm|rectified-flow.
        relation: cosine|inner-product|squared-euclidean|euclidean|rbf|laplacian.
        bandwidth: a finite number > 0; 1 unless given, and only with relation=rbf|laplacian.
        gamma: a finite number > 0.

    Returns:
        `grad_yi` [N, n], `grad_yj` [N, n], `plug_in_grad_yi` [N, n], `plug_in_grad_yj` [N, n].

    Raises:
        ValueError: a shape, number or option that the quantity is not defined for.
        TypeError: what is no array of real numbers on the CPU.
    """
    found = ask("relation-score", {"atoms": atoms, "yi": yi, "yj": yj, "t": t, "r": r, "prior": prior}, {"schedule": schedule, "relation": relation, "bandwidth": bandwidth, "gamma": gamma})
    return RelationScore(found["grad_yi"], found["grad_yj"], found["plug_in_grad_yi"], found["plug_in_grad_yj"])


@dataclass(frozen=True)
class StructuralLoss:
    """What `structural_loss` answers."""

    loss: float
    """A number."""
    grad_real: F64
    """[B, d]."""
    grad_generated: F64
    """[B, d]."""
    affinity_real: F64
    """[B, B]."""
    affinity_generated: F64
    """[B, B]."""


def structural_loss(
    real: ArrayLike,
    generated: ArrayLike,
    *,
    relation: Literal["cosine", "inner-product", "squared-euclidean", "euclidean", "rbf", "laplacian"] = "cosine",
    bandwidth: float | None = None,
    distance: Literal["squared", "absolute", "huber"] = "squared",
    delta: float | None = None,
    eta: float = 1,
    diagonal: Literal["include", "exclude"] = "include",
) -> StructuralLoss:
    """loss = eta/B² Σ_ij D(M_ij − M̂_ij), or eta/(B(B−1)) Σ_{i≠j} with diagonal=exclude
    M of `real`, M̂ of `generated`; rbf: exp(−‖ψ_i−ψ_j‖²/(2·bandwidth²))
    D(e) = e², |e|, or huber: e²/2 for |e| ≤ delta, delta(|e| − delta/2) beyond
    cosine and inner-product with squared: M − M̂ = ½(P Sᵀ + S Pᵀ), P = Ψ − Ψ̂, S = Ψ + Ψ̂ (unit rows under cosine),
    so that no digits are lost at generated ≈ real; for all, the JSON's `bounds` gives the rounding bound of the loss

    Args:
        real: [B, d], finite.
        generated: [B, d], finite.
        relation: cosine|inner-product|squared-euclidean|euclidean|rbf|laplacian.
        bandwidth: a finite number > 0; 1 unless given, and only with relation=rbf|laplacian.
        distance: squared|absolute|huber.
        delta: a finite number > 0; 1 unless given, and only with distance=huber.
        eta: a finite number ≥ 0.
        diagonal: include|exclude.

    Returns:
        `loss`, `grad_real` [B, d], `grad_generated` [B, d], `affinity_real` [B, B], `affinity_generated` [B, B].

    Raises:
        ValueError: a shape, number or option that the quantity is not defined for.
        TypeError: what is no array of real numbers on the CPU.
    """
    found = ask("structural-loss", {"real": real, "generated": generated}, {"relation": relation, "bandwidth": bandwidth, "distance": distance, "delta": delta, "eta": eta, "diagonal": diagonal})
    return StructuralLoss(found["loss"], found["grad_real"], found["grad_generated"], found["affinity_real"], found["affinity_generated"])


@dataclass(frozen=True)
class Transition:
    """What `transition` answers."""

    alpha_ts: F64
    """[N]."""
    sigma2_ts: F64
    """[N]."""
    posterior_coef_xt: F64
    """[N]."""
    posterior_coef_x0: F64
    """[N]."""
    posterior_var: F64
    """[N]."""


def transition(
    s: ArrayLike,
    t: ArrayLike,
    *,
    schedule: Literal["vp-linear", "cosine", "ddpm", "edm", "rectified-flow"] = "vp-linear",
) -> Transition:
    """q(x_t | x_s) = N(alpha_ts·x_s, sigma2_ts),  s ≤ t
    q(x_s | x_t, x_0) = N(posterior_coef_xt·x_t + posterior_coef_x0·x_0, posterior_var)

    Args:
        s: [N], finite.
        t: [N], finite.
        schedule: vp-linear|cosine|ddpm|edm|rectified-flow.

    Returns:
        `alpha_ts` [N], `sigma2_ts` [N], `posterior_coef_xt` [N], `posterior_coef_x0` [N], `posterior_var` [N].

    Raises:
        ValueError: a shape, number or option that the quantity is not defined for.
        TypeError: what is no array of real numbers on the CPU.
    """
    found = ask("transition", {"s": s, "t": t}, {"schedule": schedule})
    return Transition(found["alpha_ts"], found["sigma2_ts"], found["posterior_coef_xt"], found["posterior_coef_x0"], found["posterior_var"])
