//! The term of learnt variances as sizes, operation by operation as [`variance_loss`](crate::gaussian::variance_loss) makes it.

use super::sketch::{Id, Sketch};

/// The term of variances `v` of so many pixels, of a batch with a first step.
pub(super) fn variance_loss(s: &mut Sketch, v: Id, pixels: f64) -> Id {
    s.at("the term of the variances");
    let given = s.input(pixels);
    // The noise is held, but goes with them through one tensor.
    let both = s.wide_operation(2.0 * pixels, &[given, v]);
    let [eps, v] = [(); 2].map(|()| s.broadcast(both, pixels));
    let one = |s: &mut Sketch, x: Id| s.wide_operation(pixels, &[x]);
    let two = |s: &mut Sketch, x: Id, y: Id| s.wide_operation(pixels, &[x, y]);
    let scaled = one(s, v);
    let log = one(s, scaled);
    let noise = one(s, eps);
    let x0 = s.sum(given, noise);
    let of_x0 = one(s, x0);
    let mean = s.sum(of_x0, given);

    let ratio = one(s, log);
    let off = s.sum(given, mean);
    let off = s.squares(off);
    let negative = one(s, log);
    let precision = one(s, negative);
    let square = two(s, off, precision);
    let expanded = one(s, ratio);
    let sum = s.sum(expanded, ratio);
    let sum = s.sum(sum, square);
    let divergence = one(s, sum);

    let halved = one(s, log);
    let precision = one(s, halved);
    let centred = s.sum(given, mean);
    let [upper, lower] = [(); 2].map(|()| {
        let edge = one(s, centred);
        let z = two(s, edge, precision);
        let linear = one(s, z);
        let square = s.squares(z);
        let cube = two(s, z, square);
        let cube = one(s, cube);
        let inner = s.sum(linear, cube);
        let inner = one(s, inner);
        one(s, inner)
    });
    let within = s.sum(upper, lower);
    let above = one(s, lower);
    let chosen = two(s, above, within);
    let chosen = two(s, upper, chosen);
    let kept = one(s, chosen);
    let logs = one(s, kept);
    let likelihood = one(s, logs);
    let [divergence, likelihood] = [divergence, likelihood].map(|x| one(s, x));
    let nats = s.sum(divergence, likelihood);
    s.wide_operation(1.0, &[nats])
}
