//! The data sets: the embedded digits as published, loaders on tiny files of the same layout, and on
//! the real files where `SADM_DATA_DIR` names them.

use candle_core::{DType, Device};
use flate2::Compression;
use flate2::write::GzEncoder;
use sadm_gpu::data::{Dataset, Split};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::{folder, message};

/// The folder of real data sets, or a line that says what is skipped without it.
fn real_data(what: &str) -> Option<PathBuf> {
    let dir = std::env::var_os("SADM_DATA_DIR").map(PathBuf::from);
    if dir.is_none() {
        println!("skipped: {what} needs SADM_DATA_DIR, which is not set");
    }
    dir
}

#[test]
fn the_digits_are_the_published_ones() {
    let digits = Dataset::digits().expect("embedded digits");
    assert_eq!(
        (digits.len(), digits.shape, digits.classes),
        (1797, [1, 8, 8], 10)
    );
    let counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180];
    assert_eq!(digits.class_counts(), counts);
    // On the published scale 0..=16 every pixel is an integer; the mean is 561718/115008.
    let raw: Vec<f64> = digits
        .images
        .iter()
        .map(|p| (f64::from(*p) + 1.0) * 8.0)
        .collect();
    assert!(
        raw.iter()
            .all(|v| v.fract() == 0.0 && (0.0..=16.0).contains(v)),
        "not 0..=16"
    );
    let mean = raw.iter().sum::<f64>() / raw.len() as f64;
    assert!((mean - 4.884_165).abs() < 5e-7, "mean {mean}");
}

#[test]
fn a_batch_is_the_images_asked_for_in_that_order() {
    let digits = Dataset::digits().expect("embedded digits");
    let (x, labels) = digits
        .batch(&[3, 0, 3], &Device::Cpu, DType::F64)
        .expect("a batch");
    assert_eq!((x.dims(), x.dtype()), (&[3, 1, 8, 8][..], DType::F64));
    assert_eq!(
        labels,
        [digits.labels[3], digits.labels[0], digits.labels[3]]
    );
    let x = x
        .flatten_all()
        .and_then(|x| x.to_vec1::<f64>())
        .expect("values");
    let want = [3, 0, 3]
        .iter()
        .flat_map(|i| &digits.images[i * 64..(i + 1) * 64]);
    assert!(
        x.iter().copied().eq(want.map(|p| f64::from(*p))),
        "other pixels"
    );
    let subset = digits.subset(&[7, 5]);
    assert_eq!(subset.labels, [digits.labels[7], digits.labels[5]]);
    assert_eq!(subset.images[..64], digits.images[7 * 64..8 * 64]);
    let refused = message(digits.batch(&[1797], &Device::Cpu, DType::F32));
    assert!(refused.contains("below 1797, got 1797"), "{refused}");
}

#[test]
fn a_dataset_refuses_parts_that_do_not_fit() {
    let new =
        |images: Vec<f32>, labels: Vec<u32>| Dataset::new("toy", [1, 1, 2], images, labels, 3);
    assert!(new(vec![0.0; 4], vec![0, 2]).is_ok(), "refuses good data");
    assert!(message(new(vec![0.0; 5], vec![0, 2])).contains("number of pixels"));
    assert!(message(new(vec![], vec![])).contains("number of pixels"));
    assert!(message(new(vec![0.0, 0.0, 0.0, 1.5], vec![0, 2])).contains("got 1.5"));
    assert!(message(new(vec![0.0, 0.0, 0.0, f32::NAN], vec![0, 2])).contains("got NaN"));
    assert!(message(new(vec![0.0; 4], vec![0, 3])).contains("below 3, got 3"));
}

/// An idx file of unsigned bytes.
fn idx(sizes: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, u8::try_from(sizes.len()).expect("few dimensions")];
    bytes.extend(sizes.iter().flat_map(|s| s.to_be_bytes()));
    bytes.extend(data);
    bytes
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("compression in memory");
    encoder.finish().expect("compression in memory")
}

/// Two images of 1×2 with labels 7 and 1.
fn tiny_mnist(dir: &Path) {
    let images = idx(&[2, 1, 2], &[0, 255, 51, 204]);
    fs::write(dir.join("train-images-idx3-ubyte.gz"), gz(&images)).expect("a file");
    fs::write(
        dir.join("train-labels-idx1-ubyte.gz"),
        gz(&idx(&[2], &[7, 1])),
    )
    .expect("a file");
}

#[test]
fn mnist_is_read_packed_and_plain() {
    let dir = folder();
    tiny_mnist(dir.path());
    let packed = Dataset::mnist(dir.path()).expect("tiny MNIST");
    assert_eq!(
        (packed.shape, packed.labels.as_slice()),
        ([1, 1, 2], &[7, 1][..])
    );
    for (got, want) in packed.images.iter().zip([-1.0, 1.0, -0.6, 0.6]) {
        assert!((got - want).abs() <= f32::EPSILON, "{got}, not {want}");
    }
    let plain = folder();
    let write =
        |name: &str, bytes: Vec<u8>| fs::write(plain.path().join(name), bytes).expect("a file");
    write(
        "t10k-images-idx3-ubyte",
        idx(&[2, 1, 2], &[0, 255, 51, 204]),
    );
    write("t10k-labels-idx1-ubyte", idx(&[2], &[7, 1]));
    let plain = Dataset::mnist_split(plain.path(), Split::Test).expect("tiny plain MNIST");
    assert_eq!(plain, packed);
}

#[test]
fn damaged_mnist_is_refused_by_name() {
    let with = |name: &str, bytes: &[u8]| {
        let dir = folder();
        tiny_mnist(dir.path());
        fs::write(dir.path().join(name), bytes).expect("a file");
        message(Dataset::mnist(dir.path()))
    };
    let images = "train-images-idx3-ubyte.gz";
    let labels = "train-labels-idx1-ubyte.gz";

    let short = with(images, &gz(&idx(&[2, 1, 2], &[0, 255, 51])));
    assert!(
        short.contains(images) && short.contains("4 bytes of data expected, got 3"),
        "{short}"
    );
    let long = with(images, &gz(&idx(&[2, 1, 2], &[0; 5])));
    assert!(long.contains("4 bytes of data expected, got 5"), "{long}");
    let header = with(images, &gz(&[0, 0, 8, 3, 0, 0]));
    assert!(header.contains("truncated"), "{header}");
    let empty = with(images, &gz(&[]));
    assert!(empty.contains("got nothing"), "{empty}");
    let magic = with(images, &gz(&idx(&[2], &[7, 1])));
    assert!(
        magic.contains("magic 0x00000803 expected, got 0x00000801"),
        "{magic}"
    );
    let whole = gz(&idx(&[2], &[7, 1]));
    let cut = with(labels, &whole[..whole.len() - 6]);
    assert!(
        cut.contains(labels) && cut.contains("truncated or not gzip"),
        "{cut}"
    );
    let not_gzip = with(labels, b"hello");
    assert!(not_gzip.contains("truncated or not gzip"), "{not_gzip}");
    let fewer = with(labels, &gz(&idx(&[1], &[7])));
    assert!(
        fewer.contains("1 labels") && fewer.contains("2 images"),
        "{fewer}"
    );
    let class = with(labels, &gz(&idx(&[2], &[7, 10])));
    assert!(class.contains("below 10, got 10"), "{class}");
    let huge = with(images, &gz(&idx(&[u32::MAX, u32::MAX, u32::MAX], &[])));
    assert!(huge.contains("truncated"), "{huge}");
}

#[test]
fn a_missing_file_is_named_with_its_full_path_and_what_to_do() {
    let dir = folder();
    let mnist = message(Dataset::mnist(dir.path()));
    let path = dir.path().join("train-images-idx3-ubyte.gz");
    assert!(mnist.contains(&path.display().to_string()), "{mnist}");
    assert!(
        mnist.contains("no such file") && mnist.contains("https://"),
        "{mnist}"
    );
    let cifar = message(Dataset::cifar10(dir.path()));
    let path = dir.path().join("data_batch_1.bin");
    assert!(cifar.contains(&path.display().to_string()), "{cifar}");
    assert!(
        cifar.contains("no such file") && cifar.contains("https://"),
        "{cifar}"
    );
}

/// One record with `label` whose red, green and blue planes are constant.
fn record(label: u8, planes: [u8; 3]) -> Vec<u8> {
    let mut bytes = vec![label];
    bytes.extend(planes.into_iter().flat_map(|p| [p; 1024]));
    bytes
}

fn tiny_cifar(dir: &Path) {
    for number in 1..=5u8 {
        let mut bytes = record(number, [0, 255, 51]);
        bytes.extend(record(9, [number; 3]));
        fs::write(dir.join(format!("data_batch_{number}.bin")), bytes).expect("a file");
    }
}

#[test]
fn cifar10_is_read_in_order() {
    let dir = folder();
    tiny_cifar(dir.path());
    let cifar = Dataset::cifar10(dir.path()).expect("tiny CIFAR-10");
    assert_eq!(
        (cifar.len(), cifar.shape, cifar.classes),
        (10, [3, 32, 32], 10)
    );
    assert_eq!(cifar.labels, [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]);
    for (plane, want) in [(0, -1.0), (1, 1.0), (2, -0.6)] {
        let got = &cifar.images[plane * 1024..(plane + 1) * 1024];
        assert!(
            got.iter().all(|p| (p - want).abs() <= f32::EPSILON),
            "plane {plane}"
        );
    }
}

#[test]
fn damaged_cifar10_is_refused_by_name() {
    let with = |bytes: &[u8]| {
        let dir = folder();
        tiny_cifar(dir.path());
        fs::write(dir.path().join("data_batch_4.bin"), bytes).expect("a file");
        message(Dataset::cifar10(dir.path()))
    };
    let cut = with(&record(0, [0; 3])[..3000]);
    assert!(
        cut.contains("data_batch_4.bin") && cut.contains("got 3000 bytes"),
        "{cut}"
    );
    let empty = with(&[]);
    assert!(empty.contains("got 0 bytes"), "{empty}");
    let class = with(&record(10, [0; 3]));
    assert!(class.contains("record 0 has label 10"), "{class}");
}

/// The published mean and standard deviation of the training pixels, 0.1307 and 0.3081.
#[test]
fn real_mnist_has_its_published_statistics() {
    let Some(dir) = real_data("real MNIST") else {
        return;
    };
    let mnist = Dataset::mnist(&dir.join("mnist")).expect("real MNIST");
    assert_eq!((mnist.len(), mnist.shape), (60_000, [1, 28, 28]));
    let counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949];
    assert_eq!(mnist.class_counts(), counts);
    let n = mnist.images.len() as f64;
    let unit = || mnist.images.iter().map(|p| 0.5 + 0.5 * f64::from(*p));
    let mean = unit().sum::<f64>() / n;
    let std = (unit().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
    assert!(
        (mean - 0.1307).abs() < 5e-5 && (std - 0.3081).abs() < 5e-5,
        "{mean} {std}"
    );
    let test = Dataset::mnist_split(&dir.join("mnist"), Split::Test).expect("real MNIST");
    assert_eq!(test.len(), 10_000);
}

/// The published channel means of the training pixels.
#[test]
fn real_cifar10_has_its_published_statistics() {
    let Some(dir) = real_data("real CIFAR-10") else {
        return;
    };
    let dir = dir.join("cifar10");
    if !dir.join("data_batch_1.bin").exists() {
        println!(
            "skipped: real CIFAR-10 needs {}/data_batch_1.bin",
            dir.display()
        );
        return;
    }
    let cifar = Dataset::cifar10(&dir).expect("real CIFAR-10");
    assert_eq!(cifar.class_counts(), [5000; 10]);
    let want = [0.491_399_68, 0.482_158_41, 0.446_530_91];
    for (channel, want) in want.into_iter().enumerate() {
        let planes = cifar.images.chunks_exact(1024).skip(channel).step_by(3);
        let sum: f64 = planes.flatten().map(|p| 0.5 + 0.5 * f64::from(*p)).sum();
        let mean = sum / (50_000.0 * 1024.0);
        // Pixels are rounded to f32 (6e-8).
        assert!((mean - want).abs() < 1e-7, "channel {channel}: {mean}");
    }
}
