//! Images of one's own: folders of pictures, NumPy arrays, mirrored batches.

use crate::files::{Values, Written, byte, png, save_npz};
use crate::{folder, message};
use candle_core::{DType, Device};
use sadm_gpu::data::{Dataset, Rules};
use std::fs;
use std::path::Path;

/// Images of one's own under the rules that hold where nothing is said.
fn images(path: &Path) -> sadm_gpu::Result<Dataset> {
    Dataset::images(path, Rules::default())
}

#[test]
fn a_folder_for_each_class_gives_classes_by_name_in_turn() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    for (name, first) in [
        ("cat/1.png", 10),
        ("cat/0.PNG", 0),
        ("ant/z.png", 100),
        ("ant/zz.png", 150),
        ("cat/2.png", 20),
    ] {
        png(&at(name), image::ColorType::Rgb8, 2, first);
    }
    fs::write(at("cat/notes.txt"), "not a picture").expect("a file");
    fs::create_dir(at(".hidden")).expect("a folder");
    let data = images(folder.path()).expect("pictures");
    assert_eq!((data.shape, data.classes), ([3, 2, 2], 2));
    assert_eq!(data.class_names, ["ant", "cat"]);
    assert_eq!(data.labels, [0, 1, 0, 1, 1]);
    let firsts: Vec<u8> = (0..5).map(|i| byte(data.images[i * 12])).collect();
    assert_eq!(firsts, [100, 0, 150, 10, 20]);
    // Channels are planes: red, green and blue of the first picture's first pixel are 100, 101, 102.
    let planes: Vec<u8> = (0..3).map(|c| byte(data.images[4 * c])).collect();
    assert_eq!(planes, [100, 101, 102]);
    assert_eq!(data.images[12..13], [-1.0], "0 is −1");
}

#[test]
fn a_folder_of_pictures_is_one_class() {
    let folder = folder();
    for (name, first) in [("b.png", 7), ("a.png", 3)] {
        png(&folder.path().join(name), image::ColorType::L8, 3, first);
    }
    let data = images(folder.path()).expect("pictures");
    assert_eq!((data.shape, data.classes, data.len()), ([1, 3, 3], 1, 2));
    assert_eq!(byte(data.images[0]), 3, "in the order of their names");
}

#[test]
fn pictures_that_do_not_fit_together_are_refused() {
    let refused = |make: &dyn Fn(&Path), parts: &[&str]| {
        let folder = folder();
        png(&folder.path().join("a/0.png"), image::ColorType::Rgb8, 2, 0);
        make(folder.path());
        let message = message(images(folder.path()));
        for part in parts {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    };
    let add = |name: &'static str, colours, side| {
        move |root: &Path| png(&root.join(name), colours, side, 1)
    };
    refused(
        &add("b/1.png", image::ColorType::Rgb8, 3),
        &["b/1.png", "[3, 3, 3]", "[3, 2, 2]"],
    );
    refused(
        &add("b/1.png", image::ColorType::L8, 2),
        &["b/1.png", "[1, 2, 2]"],
    );
    refused(
        &add("b/1.png", image::ColorType::Rgba8, 2),
        &["b/1.png", "transparent"],
    );
    refused(
        &add("1.png", image::ColorType::Rgb8, 2),
        &["beside folders"],
    );
    let write = |name: &'static str, bytes: &'static [u8]| {
        move |root: &Path| fs::write(root.join(name), bytes).expect("a file")
    };
    refused(
        &write("a/photo.JPG", b"x"),
        &["1 .jpg", "photo.JPG", "convert pictures to PNG"],
    );
    refused(
        &write("a/cut.png", b"\x89PNG"),
        &["cut.png", "not a whole PNG"],
    );
    let nowhere = message(images(Path::new("nowhere")));
    assert!(nowhere.contains("no such folder or file"), "{nowhere}");
    let empty = folder();
    let none = message(images(empty.path()));
    assert!(none.contains("holds no .png picture"), "{none}");
}

#[test]
fn opaque_pictures_with_an_alpha_channel_are_read() {
    let folder = folder();
    let bytes = [[9_u8, 8, 7, 255]; 4].concat();
    let path = folder.path().join("a.png");
    image::save_buffer(path, &bytes, 2, 2, image::ColorType::Rgba8).expect("a picture");
    let data = images(folder.path()).expect("a picture");
    assert_eq!(data.shape, [3, 2, 2]);
    assert_eq!(byte(data.images[4]), 8);
}

#[test]
fn arrays_of_images_and_labels_are_read() {
    let folder = folder();
    let path = folder.path().join("a.npz");
    // Two images of 2×3 pixels and three channels, channels last.
    let bytes: Vec<u8> = (0..36).collect();
    let array = ("arr_0", vec![2, 2, 3, 3], Values::Bytes(&bytes));
    save_npz(
        &path,
        &[array, ("arr_1", vec![2, 1], Values::Integers(&[4, 1]))],
    );
    let data = images(&path).expect("images");
    assert_eq!((data.shape, data.classes), ([3, 2, 3], 5));
    assert_eq!(data.labels, [4, 1]);
    let read: Vec<u8> = data.images[..12].iter().map(|v| byte(*v)).collect();
    assert_eq!(read, [0, 3, 6, 9, 12, 15, 1, 4, 7, 10, 13, 16]);
    // Grey bytes without an axis of channels, no labels.
    save_npz(
        &path,
        &[("images", vec![3, 2, 2], Values::Bytes(&bytes[..12]))],
    );
    let data = images(&path).expect("images");
    assert_eq!((data.shape, data.classes, data.len()), ([1, 2, 2], 1, 3));
    // Reals are in [−1, 1], channels first.
    let reals: Vec<f32> = (0..12_u8).map(|i| f32::from(i) / 12.0 - 0.5).collect();
    save_npz(
        &path,
        &[("images", vec![1, 3, 2, 2], Values::Reals(&reals))],
    );
    assert_eq!(images(&path).expect("images").images, reals);
}

#[test]
fn arrays_that_are_no_images_are_refused() {
    let folder = folder();
    let path = folder.path().join("a.npz");
    let bytes = [0_u8; 24];
    let refused = |arrays: &[Written<'_>], parts: &[&str]| {
        save_npz(&path, arrays);
        let message = message(images(&path));
        for part in parts.iter().chain(&["a.npz"]) {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    };
    let two = || ("images", vec![2, 2, 2, 3], Values::Bytes(&bytes));
    refused(
        &[("x", vec![24], Values::Bytes(&bytes))],
        &["`images` or `arr_0`", "holds x"],
    );
    refused(
        &[("images", vec![6, 4], Values::Bytes(&bytes))],
        &["[N, H, W, 1 or 3]", "[6, 4]"],
    );
    refused(
        &[("images", vec![3, 2, 2, 2], Values::Bytes(&bytes))],
        &["1 or 3", "[3, 2, 2, 2]"],
    );
    refused(
        &[two(), ("labels", vec![3], Values::Integers(&[0, 1, 2]))],
        &["[2], one number", "[3]"],
    );
    for bad in [-2, 1_000_000] {
        refused(
            &[two(), ("labels", vec![2], Values::Integers(&[0, bad]))],
            &["whole numbers from 0", &bad.to_string()],
        );
    }
    refused(
        &[two(), ("labels", vec![2], Values::Reals(&[0.0, 0.5]))],
        &["whole numbers", "0.5"],
    );
    refused(
        &[("images", vec![1, 1, 1, 2], Values::Reals(&[0.0, f32::NAN]))],
        &["finite", "[0, 0, 0, 1]"],
    );
    refused(
        &[("images", vec![1, 1, 1, 2], Values::Reals(&[0.0, 1.5]))],
        &["from −1 to 1", "0 to 1.5"],
    );
    fs::write(&path, b"PK\x03\x04").expect("a file");
    let cut = message(images(&path));
    assert!(cut.contains("not a whole .npz"), "{cut}");
}

#[test]
fn mirrored_images_have_left_and_right_exchanged() {
    let pixels: Vec<f32> = (0..24_u8).map(|i| f32::from(i) / 24.0).collect();
    let data = Dataset::new("d", [2, 2, 3], pixels, vec![0, 1], 2).expect("a data set");
    let plain = data
        .batch(&[1, 0], &Device::Cpu, DType::F32)
        .expect("a batch")
        .0;
    let (mirrored, labels) = data
        .mirrored_batch(&[1, 0], &[true, false], &Device::Cpu)
        .expect("a batch");
    assert_eq!(labels, [1, 0]);
    let of = |x: &candle_core::Tensor, i| {
        let image = x.get(i).expect("an image");
        image.to_vec3::<f32>().expect("values")
    };
    assert_eq!(of(&mirrored, 1), of(&plain, 1), "the second is as it was");
    for (rows, turned) in of(&plain, 0).iter().zip(of(&mirrored, 0)) {
        for (row, turned) in rows.iter().zip(turned) {
            assert_eq!(row.iter().rev().copied().collect::<Vec<_>>(), turned);
        }
    }
    let wrong = message(data.mirrored_batch(&[0, 1], &[true], &Device::Cpu));
    assert!(wrong.contains("number of flips must be 2"), "{wrong}");
}

#[test]
fn the_digest_is_of_shape_labels_and_pixels() {
    let of = |shape, pixels: &[f32], labels: &[u32]| {
        let data = Dataset::new("d", shape, pixels.to_vec(), labels.to_vec(), 3);
        data.expect("a data set").sha256()
    };
    let pixels = [0.0, 0.5, -0.5, 1.0];
    let base = of([1, 1, 2], &pixels, &[0, 1]);
    assert_eq!(base, of([1, 1, 2], &pixels, &[0, 1]));
    for other in [
        of([1, 2, 1], &pixels, &[0, 1]),
        of([1, 1, 2], &pixels, &[0, 2]),
        of([1, 1, 2], &[0.0, 0.5, -0.5, 0.999], &[0, 1]),
    ] {
        assert_ne!(base, other);
    }
}

#[test]
fn the_standard_deviation_is_of_all_pixels() {
    let data = Dataset::new("d", [1, 1, 2], vec![0.5, -0.5, 1.0, 0.0], vec![0, 1], 2);
    // Around 0.25: 0.0625, 0.5625, 0.5625, 0.0625.
    let found = data.expect("a data set").standard_deviation();
    assert!((found - 0.3125_f64.sqrt()).abs() < 1e-15, "{found}");
}
