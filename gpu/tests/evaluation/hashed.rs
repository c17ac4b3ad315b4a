//! Weights and images from a hash, the same as in `fixtures/make_inception.py`.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use sadm_gpu::evaluation::Weights;

/// FNV-1a, 64 bits.
fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |h, byte| {
        (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// Numbers in [−1, 1): SplitMix64 from the name's hash, its upper 53 bits.
pub fn uniform(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let seed = name_hash(name);
    (1..=count as u64).map(move |i| {
        let mut z = seed.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 11) as f64 * 2.0_f64.powi(-52) - 1.0
    })
}

/// A parameter of ordinary size, rounded once to f32.
#[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is meant")]
pub fn weight(name: &str, shape: &[usize]) -> Tensor {
    let count = shape.iter().product::<usize>();
    let of: Box<dyn Fn(f64) -> f64> = if name.ends_with("conv.weight") {
        let scale = (6.0 / shape[1..].iter().product::<usize>() as f64).sqrt();
        Box::new(move |u| u * scale)
    } else if name.ends_with("bn.weight") {
        Box::new(|u| 1.0 + 0.25 * u)
    } else if name.ends_with("bn.running_var") {
        Box::new(|u| 1.0 + 0.5 * u)
    } else if name == "fc.weight" {
        Box::new(|u| u * 0.125)
    } else {
        Box::new(|u| 0.25 * u)
    };
    let values: Vec<f32> = uniform(name, count).map(|u| of(u) as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("as many numbers as the shape asks for")
}

/// Convolutions of the network: name and shape of the weights, from pytorch-fid's class and not from the code under test.
const CONVOLUTIONS: &str = include_str!("../../../fixtures/inception-layout.txt");

/// The weights of the whole network.
pub fn inception() -> BTreeMap<String, Tensor> {
    let mut tensors = BTreeMap::new();
    let mut put = |name: String, shape: &[usize]| {
        let tensor = weight(&name, shape);
        tensors.insert(name, tensor);
    };
    for line in CONVOLUTIONS.lines() {
        let (name, shape) = line.split_once(' ').expect("a name and a shape");
        let shape: Vec<usize> = shape
            .split('x')
            .map(|n| n.parse().expect("a size"))
            .collect();
        put(format!("{name}.conv.weight"), &shape);
        for part in ["weight", "bias", "running_mean", "running_var"] {
            put(format!("{name}.bn.{part}"), &shape[..1]);
        }
    }
    put("fc.weight".to_owned(), &[1008, 2048]);
    put("fc.bias".to_owned(), &[1008]);
    tensors
}

/// The same as [`Weights`].
pub fn inception_weights() -> Weights {
    Weights::from_tensors("hashed", inception())
}

/// Two images [2, 3, 32, 32] in [−1, 1]: noise, and a pattern with edges.
pub fn images() -> Tensor {
    let noise = uniform("image", 3 * 32 * 32).map(|u| ((u + 1.0) * 128.0).floor());
    let pattern = (0..3 * 32 * 32).map(|at| {
        let (c, y, x) = (at / 1024, at / 32 % 32, at % 32);
        f64::from((7 * y + 3 * x + 40 * c + 5 * ((x * y) % 11)) % 256)
    });
    #[expect(clippy::cast_possible_truncation, reason = "bytes are exact in f32")]
    let pixels: Vec<f32> = noise
        .chain(pattern)
        .map(|byte| byte as f32 / 127.5 - 1.0)
        .collect();
    Tensor::from_vec(pixels, (2, 3, 32, 32), &Device::Cpu).expect("two images")
}
