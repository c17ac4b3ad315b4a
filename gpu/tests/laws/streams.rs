//! The random streams themselves.

use crate::chance::{Chance, uniform};
use crate::support::apart;
use sadm_gpu::random::Streams;

fn wide(values: Vec<f32>) -> Vec<f64> {
    values.into_iter().map(f64::from).collect()
}

#[test]
fn normal_numbers_are_normal_and_unrelated() {
    let mut chance = Chance::of("normal numbers");
    let streams = Streams::new(chance.seed());
    let n = 400_000;
    let draw = |streams: Streams, purpose, index| wide(streams.normal(purpose, index, n));
    let z = draw(streams, "law", 0);
    chance.normal("the law", z.iter().copied());
    // 0.27 % lie beyond three standard deviations.
    chance.rate(
        "tails",
        z.iter().map(|z| z.abs() > 3.0),
        0.002_699_796_063_260_19,
    );
    chance.unrelated("the two numbers of a pair", apart(&z));
    chance.unrelated("neighbouring pairs", apart(&z[1..]));
    let other = |z: Vec<f64>, w: Vec<f64>| z.into_iter().zip(w);
    chance.unrelated("two indices", other(z.clone(), draw(streams, "law", 1)));
    chance.unrelated("two purposes", other(z.clone(), draw(streams, "other", 0)));
    let next = Streams::new(chance.seed() + 1);
    chance.unrelated("two seeds", other(z, draw(next, "law", 0)));
}

#[test]
fn uniform_numbers_are_uniform_and_unrelated() {
    let mut chance = Chance::of("uniform numbers");
    let streams = Streams::new(chance.seed());
    let u = streams.uniform("law", 0, 400_000);
    assert!(u.iter().all(|u| (0.0..1.0).contains(u)), "outside [0, 1)");
    chance.follows("the law", u.iter().copied(), uniform(0.0, 1.0));
    let centred: Vec<f64> = u.iter().map(|u| u - 0.5).collect();
    chance.unrelated("neighbours", apart(&centred));
    let last_bit = u.iter().map(|u| (u * 2f64.powi(53)) % 2.0 >= 1.0);
    chance.rate("the last bit", last_bit, 0.5);
    let next = streams
        .uniform("law", 1, 400_000)
        .into_iter()
        .map(|u| u - 0.5);
    chance.unrelated("two indices", centred.into_iter().zip(next));
}

#[test]
fn permutations_are_uniform_and_unrelated() {
    let mut chance = Chance::of("permutations");
    let streams = Streams::new(chance.seed());
    let drawn: Vec<Vec<usize>> = (0..8000)
        .map(|index| streams.permutation("law", index, 10))
        .collect();
    chance.permutations("each alone", &drawn);
    let between: Vec<_> = apart(&drawn)
        .map(|(one, other)| from_to(&one, &other))
        .collect();
    chance.permutations("from one to the next", &between);
}

/// For each thing by its place in one order, its place in the other.
pub fn from_to(one: &[usize], other: &[usize]) -> Vec<usize> {
    let mut place = vec![0; other.len()];
    for (at, thing) in other.iter().enumerate() {
        place[*thing] = at;
    }
    one.iter().map(|thing| place[*thing]).collect()
}

/// A bootstrap draws with replacement: of four things one resample in 32/3 has each once.
#[test]
fn resamples_are_drawn_with_replacement() {
    let mut chance = Chance::of("resamples");
    let streams = Streams::new(chance.seed());
    let (n, times) = (40, 5000);
    let drawn: Vec<Vec<usize>> = (0..times).map(|r| streams.resample("law", r, n)).collect();
    let mut counts = vec![0; n];
    drawn.iter().flatten().for_each(|index| counts[*index] += 1);
    chance.counts("indices", &counts, &vec![1.0 / n as f64; n]);
    let again = apart(&drawn).flat_map(|(one, other)| one.into_iter().zip(other));
    chance.rate(
        "the same index in the next resample",
        again.map(|(one, other)| one == other),
        1.0 / n as f64,
    );
    let complete = (0..20_000).map(|r| {
        let mut indices = streams.resample("four", r, 4);
        indices.sort_unstable();
        indices == [0, 1, 2, 3]
    });
    chance.rate("resamples without repetition", complete, 24.0 / 256.0);
}
