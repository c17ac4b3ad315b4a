//! What evaluation draws: dequantisation and the probes of the trace. (Resamples: `streams`.)

use crate::chance::{Chance, uniform};
use crate::support::{CPU, apart, rows};
use candle_core::{DType, Tensor};
use sadm_gpu::likelihood::{dequantised, signs};
use sadm_gpu::random::Streams;

#[test]
fn dequantisation_is_uniform_on_the_cell_of_a_value() {
    let mut chance = Chance::of("dequantisation");
    let spacing = 2.0 / 16.0;
    let pixels: Vec<f32> = (0..400).map(|k| (k % 17) as f32 / 8.0 - 1.0).collect();
    let within = |image: u64| -> Vec<f64> {
        let values = dequantised(&pixels, spacing, Streams::new(chance.seed()), image);
        values
            .iter()
            .zip(&pixels)
            .map(|(value, pixel)| (value - f64::from(*pixel)) / spacing)
            .collect()
    };
    let images: Vec<Vec<f64>> = (0..500).map(within).collect();
    chance.follows(
        "the law",
        images.iter().flatten().copied(),
        uniform(-0.5, 0.5),
    );
    chance.unrelated("pixels", images.iter().flat_map(|image| apart(image)));
    chance.unrelated(
        "images",
        apart(&images).flat_map(|(one, other)| one.into_iter().zip(other)),
    );
}

#[test]
fn probes_of_the_trace_are_independent_signs() {
    let mut chance = Chance::of("probes");
    let like = Tensor::zeros((64, 100), DType::F32, &CPU).expect("a tensor");
    let probes = signs(Streams::new(chance.seed()), 4, &like).expect("probes");
    let probes: Vec<Vec<f64>> = probes.iter().flat_map(rows).collect();
    assert!(
        probes
            .iter()
            .flatten()
            .all(|sign| (sign.abs() - 1.0).abs() <= 0.0),
        "±1"
    );
    chance.rate(
        "the law",
        probes.iter().flatten().map(|sign| *sign > 0.0),
        0.5,
    );
    chance.unrelated("dimensions", probes.iter().flat_map(|probe| apart(probe)));
    let pairs = |distance: usize| {
        let pairs = probes
            .chunks_exact(2 * distance)
            .flat_map(move |both| both[..distance].iter().zip(&both[distance..]));
        pairs
            .flat_map(|(one, other)| one.iter().copied().zip(other.iter().copied()))
            .collect::<Vec<_>>()
    };
    chance.unrelated("images", pairs(1));
    chance.unrelated("probes", pairs(64));
}
