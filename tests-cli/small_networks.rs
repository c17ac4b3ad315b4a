//! `--features resnet` and `lpips` from a file of weights to the number, with weights so plain that the number is known.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use ndarray::{Array4, ArrayD};

use crate::support::{Folder, answered, error_of, metric, sadm, says, write_f32};

/// A colour of every pixel, in [−1, 1].
type Colour = [f64; 3];
const RED: Colour = [1.0, -1.0, -1.0];
const GREEN: Colour = [-1.0, 1.0, -1.0];
const BLUE: Colour = [-1.0, -1.0, 1.0];
const GREY: Colour = [0.25, 0.25, 0.25];

/// Weights by name, zeros but for a few.
#[derive(Default)]
struct Plain(HashMap<String, Tensor>);

impl Plain {
    fn put(&mut self, name: &str, shape: &[usize], nonzero: &[(usize, f32)]) {
        let mut values = vec![0.0_f32; shape.iter().product()];
        for (at, value) in nonzero {
            values[*at] = *value;
        }
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu).expect("as many as the shape");
        self.0.insert(name.to_owned(), tensor);
    }

    fn save(&self, path: &Path) {
        candle_core::safetensors::save(&self.0, path).expect("a file");
    }
}

/// resnet8: the stem hands the three colours on, every block adds nothing to its shortcut, and the classifier reads red
/// and green off the features in which they arrive.
fn resnet(path: &Path) {
    let mut all = Plain::default();
    let norm = |all: &mut Plain, name: &str, width: usize| {
        let ones: Vec<(usize, f32)> = (0..width).map(|i| (i, 1.0)).collect();
        // √(variance + ε) = 1.
        let variances: Vec<(usize, f32)> = (0..width).map(|i| (i, 1.0 - 1e-5)).collect();
        all.put(&format!("{name}.weight"), &[width], &ones);
        all.put(&format!("{name}.bias"), &[width], &[]);
        all.put(&format!("{name}.running_mean"), &[width], &[]);
        all.put(&format!("{name}.running_var"), &[width], &variances);
    };
    // Output c has the middle pixel of input c: (c·3 + c)·9 + 4.
    let middle = [0, 1, 2].map(|c| ((3 * c + c) * 9 + 4, 1.0));
    all.put("conv1.weight", &[16, 3, 3, 3], &middle);
    norm(&mut all, "bn1", 16);
    let mut inputs = 16;
    for (stage, width) in [16, 32, 64].into_iter().enumerate() {
        let name = |part: &str| format!("layer{}.0.{part}", stage + 1);
        all.put(&name("conv1.weight"), &[width, inputs, 3, 3], &[]);
        norm(&mut all, &name("bn1"), width);
        all.put(&name("conv2.weight"), &[width, width, 3, 3], &[]);
        norm(&mut all, &name("bn2"), width);
        inputs = width;
    }
    // Two paddings by half the new channels have moved colour c to feature 24 + c.
    let readings = [(24, 40.0), (64 + 25, 40.0)];
    all.put("linear.weight", &[10, 64], &readings);
    all.put("linear.bias", &[10], &[]);
    all.save(path);
}

/// The features of a colour in that network: ImageNet's scaling, and what is below the mean cut off.
fn features(colour: Colour) -> Colour {
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    [0, 1, 2].map(|c| ((f64::midpoint(colour[c], 1.0) - mean[c]) / std[c]).max(0.0))
}

/// SqueezeNet with a first layer of red and a constant 1, later layers of zeros, and a head that weighs these two by 0.5.
fn lpips(path: &Path) {
    const FIRES: [(&str, usize, usize, usize); 8] = [
        ("slice2.3", 64, 16, 64),
        ("slice2.4", 128, 16, 64),
        ("slice3.6", 128, 32, 128),
        ("slice3.7", 256, 32, 128),
        ("slice4.9", 256, 48, 192),
        ("slice5.10", 384, 48, 192),
        ("slice6.11", 384, 64, 256),
        ("slice7.12", 512, 64, 256),
    ];
    let mut all = Plain::default();
    let mut convolution = |name: &str, shape: [usize; 4], weight: &[(usize, f32)], bias: &[_]| {
        all.put(&format!("net.{name}.weight"), &shape, weight);
        all.put(&format!("net.{name}.bias"), &shape[..1], bias);
    };
    convolution("slice1.0", [64, 3, 3, 3], &[(4, 1.0)], &[(1, 1.0)]);
    for (name, inputs, squeezed, expanded) in FIRES {
        let of = |part: &str| format!("{name}.{part}");
        convolution(&of("squeeze"), [squeezed, inputs, 1, 1], &[], &[]);
        convolution(&of("expand1x1"), [expanded, squeezed, 1, 1], &[], &[]);
        convolution(&of("expand3x3"), [expanded, squeezed, 3, 3], &[], &[]);
    }
    for (i, width) in [64, 128, 256, 384, 384, 512, 512].into_iter().enumerate() {
        let weights: &[_] = if i == 0 { &[(0, 0.5), (1, 0.5)] } else { &[] };
        all.put(
            &format!("lin{i}.model.1.weight"),
            &[1, width, 1, 1],
            weights,
        );
    }
    let each = |value| [(0, value), (1, value), (2, value)];
    all.put("scaling_layer.shift", &[1, 3, 1, 1], &each(-0.5));
    all.put("scaling_layer.scale", &[1, 3, 1, 1], &each(0.75));
    all.save(path);
}

/// The distance of two colours in it: of (red, 1) brought to length 1.
fn distance(a: Colour, b: Colour) -> f64 {
    let direction = |colour: Colour| {
        let red = ((colour[0] + 0.5) / 0.75).max(0.0);
        [red, 1.0].map(|x| x / red.hypot(1.0))
    };
    let ([a0, a1], [b0, b1]) = (direction(a), direction(b));
    0.5 * ((a0 - b0).powi(2) + (a1 - b1).powi(2))
}

/// Pictures of one colour each, 3×32×32, in f32.
fn pictures(folder: &Folder, name: &str, colours: &[Colour]) -> PathBuf {
    let path = folder.path(name);
    let shape = (colours.len(), 3, 32, 32);
    let images = Array4::from_shape_fn(shape, |(i, c, _, _)| colours[i][c]);
    write_f32(&path, &[("images", images.into_dyn())]);
    path
}

/// `sadm evaluate` of two sets.
fn evaluate([generated, reference]: [&Path; 2]) -> assert_cmd::Command {
    let mut command = sadm();
    command
        .args(["evaluate", "--threads=1", "--resamples=0", "--as=reals"])
        .arg("--generated")
        .arg(generated)
        .arg("--reference")
        .arg(reference);
    command
}

#[test]
fn features_of_a_residual_network_come_from_its_file() {
    let folder = Folder::new();
    let weights = folder.path("resnet8.safetensors");
    resnet(&weights);
    let judged = [RED, GREEN, RED, GREEN];
    let real = [GREY, BLUE, GREEN];
    let sets = [
        &*pictures(&folder, "a.safetensors", &judged),
        &*pictures(&folder, "b.safetensors", &real),
    ];
    let mut command = evaluate(sets);
    let options = ["--features=resnet", "--metrics=fd,is,nn", "--splits=1"];
    let command = command
        .args(options)
        .args(["--batch=3", "--weights"])
        .arg(&weights);
    let (answer, table) = answered(&folder, command);
    assert_eq!(answer["dimension"], 64);
    says(&table, &["resnet8.safetensors, sha256 "]);
    let mean = |set: &[Colour], c: usize| {
        set.iter().map(|colour| features(*colour)[c]).sum::<f64>() / set.len() as f64
    };
    let want: f64 = (0..3)
        .map(|c| (mean(&judged, c) - mean(&real, c)).powi(2))
        .sum();
    let got = metric(&answer, "fd-resnet8")["parts"]["mean_term"]
        .as_f64()
        .expect("a number");
    assert!((got / want - 1.0).abs() < 1e-5, "{got}, not {want}");
    // Red and green are told apart for certain: two classes of ten.
    let score = metric(&answer, "is-resnet8")["value"]
        .as_f64()
        .expect("a number");
    assert!((score - 2.0).abs() < 1e-9, "{score}");
    // Green is among the real ones; red is nearest to grey.
    let nearest = &metric(&answer, "nn-distance-resnet8")["parts"];
    assert_eq!(nearest["least"].as_f64(), Some(0.0));
    assert_eq!(nearest["least_at_reference"].as_f64(), Some(2.0));
}

#[test]
fn lpips_diversity_comes_from_its_file() {
    let folder = Folder::new();
    let weights = folder.path("squeeze.safetensors");
    lpips(&weights);
    let colours = [RED, GREY, GREEN, [0.5, 0.0, 0.0]];
    let a = pictures(&folder, "a.safetensors", &colours);
    let mut command = evaluate([&a, &a]);
    let command = command.args(["--metrics=lpips", "--batch=3", "--lpips-weights"]);
    let (answer, _) = answered(&folder, command.arg(&weights));
    let pairs = (0..4).flat_map(|i| (0..i).map(move |j| (i, j)));
    let all: Vec<f64> = pairs
        .map(|(i, j)| distance(colours[i], colours[j]))
        .collect();
    let want = all.iter().sum::<f64>() / all.len() as f64;
    let line = metric(&answer, "lpips-diversity");
    let got = line["value"].as_f64().expect("a number");
    assert!((got / want - 1.0).abs() < 1e-5, "{got}, not {want}");
    let said = line["convention"].as_str().expect("text");
    assert!(
        said.starts_with("all pairs; LPIPS 0.1, SqueezeNet, weights sha256 "),
        "{said}"
    );
}

/// Classes of images are those of their file.
#[test]
fn lpips_within_classes_reads_the_labels_of_a_file() {
    let folder = Folder::new();
    let weights = folder.path("squeeze.safetensors");
    lpips(&weights);
    let colours = [RED, GREY, GREEN, [0.5, 0.0, 0.0], BLUE, [-0.25, 0.0, 0.0]];
    let path = folder.path("a.safetensors");
    let images = Array4::from_shape_fn((6, 3, 32, 32), |(i, c, _, _)| colours[i][c]);
    let labels = ArrayD::from_shape_fn(vec![6], |at| f64::from(u8::from(at[0] % 2 == 0)));
    write_f32(&path, &[("images", images.into_dyn()), ("labels", labels)]);
    let mut command = evaluate([&path, &path]);
    let command = command.args(["--metrics=lpips", "--batch=4", "--lpips-weights"]);
    let (answer, _) = answered(&folder, command.arg(&weights));
    let within = |first: usize| {
        let [a, b, c] = [0, 2, 4].map(|i| colours[first + i]);
        (distance(a, b) + distance(b, c) + distance(a, c)) / 3.0
    };
    let want = f64::midpoint(within(0), within(1));
    let line = metric(&answer, "lpips-diversity-class");
    let got = line["value"].as_f64().expect("a number");
    assert!((got / want - 1.0).abs() < 1e-5, "{got}, not {want}");
    // With one of three images left out one pair is left: (n − 1)/n Σ (d − d̄)², and the mean of two independent classes.
    let variance = |first: usize| {
        let [a, b, c] = [0, 2, 4].map(|i| colours[first + i]);
        let left = [distance(a, b), distance(b, c), distance(a, c)];
        let mean = left.iter().sum::<f64>() / 3.0;
        2.0 / 3.0 * left.map(|d| (d - mean).powi(2)).iter().sum::<f64>()
    };
    let half = 1.959_963_984_540_054 * (variance(0) + variance(1)).sqrt() / 2.0;
    for (end, want) in [want - half, want + half].into_iter().enumerate() {
        let got = line["interval"][end].as_f64().expect("an end");
        assert!(
            (got - want).abs() < 1e-5 * half.max(want),
            "{got}, not {want}"
        );
    }
    let said = line["convention"].as_str().expect("text");
    assert!(said.ends_with("; pixels as reals"), "{said}");
}

/// Writes a network's file; the options that read it; what another's lacks.
type Case = (fn(&Path), &'static [&'static str], &'static str);

#[test]
fn weights_that_are_cut_short_or_incomplete_are_named() {
    let folder = Folder::new();
    let a = pictures(&folder, "a.safetensors", &[RED, GREEN, BLUE]);
    let (whole, cut) = (
        folder.path("whole.safetensors"),
        folder.path("cut.safetensors"),
    );
    let cases: [Case; 2] = [
        (
            resnet,
            &["--features=resnet", "--weights"],
            "a tensor `layer1.0.conv1.weight`",
        ),
        (
            lpips,
            &["--metrics=lpips", "--lpips-weights"],
            "a tensor `scaling_layer.shift`",
        ),
    ];
    for (write, options, missing) in cases {
        write(&whole);
        let bytes = std::fs::read(&whole).expect("a file");
        for length in [0, 7, 200, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&cut, &bytes[..length]).expect("a file");
            let message = error_of(evaluate([&a, &a]).args(options).arg(&cut));
            assert!(
                message.contains("cut.safetensors: it is not a whole safetensors file"),
                "{length} bytes: {message}"
            );
        }
        // Another network's file: what is missing is named with its shape.
        let message = error_of(evaluate([&a, &a]).args(options).arg(&a));
        assert!(
            message.contains(missing) && message.contains("of shape ["),
            "{message}"
        );
    }
}
