"""Golden numbers for the mathematics tests, from the printed formulas in 60-digit arithmetic (mpmath 1.3 or later).

    python3 golden.py > golden.rs && rustfmt golden.rs

Nothing here shares code or method with the crate: gradients are 60-digit difference quotients.
"""

from mpmath import mp, mpf, cos, diff, exp, log, pi, sin, sqrt

mp.dps = 60


def show(x):
    return repr(float(x))


def ddpm(k):
    product = mpf(1)
    for i in range(k + 1):
        product *= 1 - (mpf("1e-4") + (mpf("0.02") - mpf("1e-4")) * i / 999)
    return product


def vp_b(t):
    return mpf("0.1") * t + (mpf(20) - mpf("0.1")) * t * t / 2


LEVELS = {
    "VpLinear": (lambda t: exp(-vp_b(t) / 2), lambda t: sqrt(1 - exp(-vp_b(t)))),
    "Cosine": (lambda t: cos(pi * t / 2), lambda t: sin(pi * t / 2)),
    "Ddpm": (lambda t: sqrt(ddpm(int(round(999 * t)))), lambda t: sqrt(1 - ddpm(int(round(999 * t))))),
    "Edm": (lambda t: mpf(1), lambda t: t),
    "RectifiedFlow": (lambda t: 1 - t, lambda t: t),
}


def lam(name, t):
    alpha, sigma = LEVELS[name]
    return log(alpha(t) ** 2 / sigma(t) ** 2)


def lam_grad(name, t):
    if name == "Ddpm":
        k = int(round(999 * t))
        return (lam(name, mpf(k + 1) / 999) - lam(name, mpf(k - 1) / 999)) / 2 * 999
    return diff(lambda u: lam(name, u), t)


def levels():
    print("/// (schedule, t, α, σ, λ, dλ/dt).")
    print("pub const LEVELS: &[(ScheduleKind, f64, [f64; 4])] = &[")
    for name, (alpha, sigma) in LEVELS.items():
        for t in ["0.0625", "0.3125", "0.84375"]:
            u = mpf(t)
            row = [alpha(u), sigma(u), lam(name, u), lam_grad(name, u)]
            print(f"(ScheduleKind::{name}, {t}, [{', '.join(map(show, row))}]),")
    print("];")


def transitions():
    print("/// (schedule, s, t, α_ts, σ²_ts, coefficient of x_t, of x_0, variance, discrete ELBO weight).")
    print("pub const TRANSITIONS: &[(ScheduleKind, f64, f64, [f64; 6])] = &[")
    for name, (alpha, sigma) in LEVELS.items():
        for s, t in [("0.0625", "0.3125"), ("0.3125", "0.84375")]:
            a_s, a_t, v_s, v_t = alpha(mpf(s)), alpha(mpf(t)), sigma(mpf(s)) ** 2, sigma(mpf(t)) ** 2
            ratio = a_t / a_s
            v_ts = v_t - ratio**2 * v_s
            elbo = (a_s**2 / v_s - a_t**2 / v_t) / 2
            row = [ratio, v_ts, ratio * v_s / v_t, a_s * v_ts / v_t, v_ts * v_s / v_t, elbo]
            print(f"(ScheduleKind::{name}, {s}, {t}, [{', '.join(map(show, row))}]),")
    print("];")


REAL = [["0.75", "-1.5"], ["2.25", "0.5"], ["-0.375", "1.125"]]
GENERATED = [["1.0", "-0.625"], ["0.5", "1.75"], ["-1.25", "0.25"]]
ETA = ["0.5", "2.0", "1.25"]
BANDWIDTH, DELTA = mpf("1.5"), mpf("0.375")


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def gap(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b))


RELATIONS = {
    "Relation::Cosine": lambda a, b: dot(a, b) / sqrt(dot(a, a) * dot(b, b)),
    "Relation::InnerProduct": dot,
    "Relation::SquaredEuclidean": gap,
    "Relation::Euclidean": lambda a, b: sqrt(gap(a, b)),
    "Relation::Rbf { bandwidth: 1.5 }": lambda a, b: exp(-gap(a, b) / (2 * BANDWIDTH**2)),
}
DISTANCES = {
    "Distance::Squared": lambda e: e * e,
    "Distance::Absolute": abs,
    "Distance::Huber { delta: 0.375 }": lambda e: e * e / 2 if abs(e) <= DELTA else DELTA * (abs(e) - DELTA / 2),
}


def structural(relation, distance, diagonal, real, generated):
    total = mpf(0)
    for i in range(3):
        for j in range(3):
            if i == j and (diagonal == "Exclude" or relation != "Relation::InnerProduct"):
                continue  # M_ii agrees in both batches, except for the inner product
            e = RELATIONS[relation](real[i], real[j]) - RELATIONS[relation](generated[i], generated[j])
            total += sqrt(mpf(ETA[i]) * mpf(ETA[j])) * DISTANCES[distance](e)
    return total / (9 if diagonal == "Include" else 6)


def moved(batch, i, k, value):
    copy = [list(row) for row in batch]
    copy[i][k] = value
    return copy


def structures():
    real = [[mpf(x) for x in row] for row in REAL]
    generated = [[mpf(x) for x in row] for row in GENERATED]
    print("/// (relation, distance, diagonal, loss, ∂/∂Ψ by rows, ∂/∂Ψ̂ by rows).")
    print("pub type Structure = (Relation, Distance, Diagonal, f64, [f64; 6], [f64; 6]);")
    print("pub const STRUCTURES: &[Structure] = &[")
    for relation in RELATIONS:
        for distance in DISTANCES:
            for diagonal in ["Include", "Exclude"]:
                loss = structural(relation, distance, diagonal, real, generated)
                by_real = [
                    diff(lambda x: structural(relation, distance, diagonal, moved(real, i, k, x), generated), real[i][k])
                    for i in range(3)
                    for k in range(2)
                ]
                by_generated = [
                    diff(lambda x: structural(relation, distance, diagonal, real, moved(generated, i, k, x)), generated[i][k])
                    for i in range(3)
                    for k in range(2)
                ]
                print(
                    f"({relation}, {distance}, Diagonal::{diagonal}, {show(loss)}, "
                    f"[{', '.join(map(show, by_real))}], [{', '.join(map(show, by_generated))}]),"
                )
    print("];")


def array(name, rows):
    flat = [x for row in rows for x in row]
    print(f"pub const {name}: [f64; {len(flat)}] = [{', '.join(flat)}];")


print("//! Made by golden.py; do not edit.")
print("use sadm_reference::distance::Distance;")
print("use sadm_reference::relation::Relation;")
print("use sadm_reference::schedule::ScheduleKind;")
print("use sadm_reference::structure::Diagonal;")
levels()
transitions()
array("REAL", REAL)
array("GENERATED", GENERATED)
array("ETA", [ETA])
structures()
