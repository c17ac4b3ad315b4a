//! The CPU's way through frozen networks, one image at a time with its channels last, against the composed operations; and that
//! neither the batch nor the number of threads moves a bit.

use candle_core::{DType, Device, Tensor};
use sadm_gpu::evaluation::{Lpips, Resnet, Weights};
use sadm_gpu::features::layers::{BatchNorm, Convolution};
use sadm_gpu::features::{Inception, Resize};
use sadm_gpu::nn::composed;

use crate::hashed::{images, inception_weights, uniform};

fn drawn(name: &str, shape: &[usize]) -> Tensor {
    let values: Vec<f64> = uniform(name, shape.iter().product()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("as many as asked for")
}

fn numbers(x: &Tensor) -> Vec<f64> {
    let x = x.to_dtype(DType::F64).and_then(|x| x.flatten_all());
    x.and_then(|x| x.to_vec1()).expect("numbers")
}

/// A norm that changes nothing.
fn plain(outputs: usize) -> BatchNorm {
    let of = |value: f64| Tensor::full(value, outputs, &Device::Cpu).expect("a constant");
    BatchNorm {
        gamma: of(1.0),
        beta: of(0.0),
        mean: of(0.0),
        variance: of(1.0),
        eps: 0.0,
    }
}

#[test]
fn convolutions_agree_with_the_composed_ones() {
    // By tiles where channels and outputs suffice: even and odd sides, with a border and without, few rows.
    let shapes = [
        ([2, 3, 9, 8], [4, 3, 3, 3], 2, (0, 0)),
        ([1, 2, 7, 12], [2, 2, 1, 7], 1, (0, 3)),
        ([2, 1, 12, 7], [2, 1, 7, 1], 3, (3, 0)),
        ([1, 5, 6, 5], [33, 5, 5, 5], 1, (2, 2)),
        ([1, 40, 4, 6], [70, 40, 1, 1], 1, (0, 0)),
        ([1, 3, 6, 6], [5, 3, 1, 1], 2, (0, 0)),
        ([2, 32, 8, 6], [32, 32, 3, 3], 1, (1, 1)),
        ([1, 48, 7, 9], [64, 48, 3, 3], 1, (0, 0)),
        ([1, 16, 12, 11], [96, 16, 3, 3], 1, (0, 0)),
        ([1, 32, 3, 3], [32, 32, 3, 3], 1, (1, 1)),
        ([1, 64, 20, 19], [32, 64, 3, 3], 1, (1, 1)),
    ];
    for (x, w, stride, padding) in shapes {
        let (x, weight) = (drawn("x", &x), drawn("w", &w));
        let layer = Convolution::folded(&weight, &plain(w[0]), stride, padding).expect("it fits");
        let composed =
            composed::conv2d_strided(&x, &weight, None, stride, padding).expect("it fits");
        for dtype in [DType::F64, DType::F32] {
            let narrow = |x: &Tensor| x.to_dtype(dtype).expect("a type");
            let ours = if dtype == DType::F64 {
                layer.forward(&x)
            } else {
                let layer = Convolution::folded(&narrow(&weight), &plain(w[0]), stride, padding);
                layer.expect("it fits").forward(&narrow(&x))
            };
            let ours = ours.expect("it fits");
            assert_eq!(ours.dims(), composed.dims(), "{:?}", x.dims());
            let unit = if dtype == DType::F64 {
                f64::EPSILON
            } else {
                f64::from(f32::EPSILON)
            };
            // A sum of n products of numbers below 1, in another order; by tiles each is made of sums of up to 16 such numbers.
            let n = (w[1] * w[2] * w[3]) as f64;
            for (at, (ours, theirs)) in numbers(&ours).iter().zip(numbers(&composed)).enumerate() {
                let apart = (ours - theirs).abs();
                assert!(
                    apart <= 16.0 * n * unit,
                    "{:?} by {w:?}, {dtype:?}, element {at}: {apart:e}",
                    x.dims()
                );
            }
        }
    }
}

/// What is not a number stays so through ReLU and maxima.
#[test]
fn nan_is_not_cut_off() {
    use sadm_gpu::features::layers::{Window, max_pool};
    let window = Window {
        side: 3,
        stride: 2,
        padding: 0,
        ceil: false,
    };
    for at in [0, 4, 8] {
        let mut values = vec![1.0_f32; 9];
        values[at] = f32::NAN;
        let x = Tensor::from_vec(values, (1, 1, 3, 3), &Device::Cpu).expect("an image");
        let y = numbers(&max_pool(&x, window).expect("it fits"));
        assert!(y[0].is_nan(), "NaN at {at} became {}", y[0]);
    }
    let Some(file) = std::env::var_os("SADM_DATA_DIR") else {
        return;
    };
    let path = std::path::Path::new(&file).join("weights/cifar-resnet20-12fca82f.safetensors");
    if let Ok(weights) = Weights::open(&path) {
        let net = Resnet::load(&weights, &Device::Cpu).expect("a network");
        let mut values = vec![0.0_f32; 3 * 32 * 32];
        values[100] = f32::NAN;
        let x = Tensor::from_vec(values, (1, 3, 32, 32), &Device::Cpu).expect("an image");
        let features = numbers(&net.features(&x).expect("features"));
        assert!(features.iter().any(|x| x.is_nan()), "NaN was lost");
    }
}

/// `of` in pools of 1, 2 and 3 threads.
fn in_pools<T: Send>(of: impl Fn() -> T + Sync) -> Vec<T> {
    let pool = |threads| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("threads")
    };
    [1, 2, 3].map(|threads| pool(threads).install(&of)).into()
}

fn bits(x: &Tensor) -> Vec<u64> {
    numbers(x).iter().map(|x| x.to_bits()).collect()
}

#[test]
fn neither_threads_nor_batch_move_a_bit_of_inception_features() {
    let net = Inception::load(&inception_weights(), &Device::Cpu).expect("all tensors are there");
    let two = images();
    let three = Tensor::cat(&[&two, &two.narrow(0, 1, 1).expect("one")], 0).expect("three");
    let all = in_pools(|| {
        let found = net.features(&three, Resize::PytorchFid).expect("features");
        let p = net.probabilities(&found.pooled).expect("probabilities");
        [bits(&found.pooled), bits(&found.spatial), bits(&p)]
    });
    assert_eq!(all[0], all[1], "two threads");
    assert_eq!(all[0], all[2], "three threads");
    let alone = net
        .features(&two.narrow(0, 1, 1).expect("one"), Resize::PytorchFid)
        .expect("features");
    let pooled = bits(&alone.pooled);
    assert_eq!(
        all[0][0][pooled.len()..2 * pooled.len()],
        pooled,
        "in a batch of its own"
    );
    assert_eq!(
        all[0][0][2 * pooled.len()..],
        pooled,
        "the same image twice"
    );
}

#[test]
fn neither_threads_nor_batch_move_a_bit_of_lpips_and_residual_features() {
    let folder = std::env::var_os("SADM_DATA_DIR")
        .map(|folder| std::path::PathBuf::from(folder).join("weights"));
    let Some(folder) = folder.filter(|folder| folder.exists()) else {
        println!("skipped: SADM_DATA_DIR has no weights");
        return;
    };
    let open = |name: &str| Weights::open(&folder.join(name)).expect("a whole file");
    let lpips =
        Lpips::load(&open("lpips-squeeze-v0.1.safetensors"), &Device::Cpu).expect("a network");
    let resnet = Resnet::load(&open("cifar-resnet20-12fca82f.safetensors"), &Device::Cpu)
        .expect("a network");
    let x = images();
    let five = Tensor::cat(&[&x, &x, &x.narrow(0, 0, 1).expect("one")], 0).expect("five");
    let all = in_pools(|| {
        let embedding = lpips.embedding(&five).expect("an embedding");
        let features = resnet.features(&five).expect("features");
        [bits(&embedding), bits(&features)]
    });
    assert_eq!(all[0], all[1], "two threads");
    assert_eq!(all[0], all[2], "three threads");
    let alone = bits(&lpips.embedding(&x).expect("an embedding"));
    assert_eq!(all[0][0][..alone.len()], alone, "in a batch of its own");
}
