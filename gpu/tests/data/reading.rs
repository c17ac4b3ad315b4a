//! The table of rules in the book, line by line: what files become, and what is refused.

use crate::files::{Values, Written, add_chunk, byte, orientation, png, save_npz};
use crate::{folder, message};
use image::{ColorType, ImageBuffer, Luma, LumaA, Rgb};
use sadm_gpu::data::{BYTES, Depth, Images, LeftOut, PixelRange, Pixels, Rules, Unread};
use std::fs;
use std::path::Path;

const SKIP: Rules = Rules {
    unread: Unread::Skip,
    range: PixelRange::Signed,
    depth: Depth::Refuse,
};

fn with_depth(depth: Depth) -> Rules {
    Rules {
        depth,
        ..Rules::default()
    }
}

fn with_range(range: PixelRange) -> Rules {
    Rules {
        range,
        ..Rules::default()
    }
}

fn read(path: &Path, rules: Rules) -> Images {
    Images::read(path, rules).expect("images")
}

fn bytes(images: &Images) -> Vec<u8> {
    match &images.pixels {
        Pixels::Bytes(bytes) => bytes.clone(),
        Pixels::Reals(_) => panic!("bytes"),
    }
}

fn reals(images: &Images) -> Vec<f32> {
    match &images.pixels {
        Pixels::Reals(reals) => reals.clone(),
        Pixels::Bytes(_) => panic!("reals"),
    }
}

/// That a message has these parts.
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

/// The eight orientations by the definition of Exif: where the stored rows begin and their columns begin.
#[test]
fn pictures_are_turned_as_viewers_turn_them() {
    let stored = [1, 2, 3, 4, 5, 6];
    let shown: [(u8, [usize; 2], [u8; 6]); 8] = [
        (1, [2, 3], [1, 2, 3, 4, 5, 6]),
        (2, [2, 3], [3, 2, 1, 6, 5, 4]),
        (3, [2, 3], [6, 5, 4, 3, 2, 1]),
        (4, [2, 3], [4, 5, 6, 1, 2, 3]),
        (5, [3, 2], [1, 4, 2, 5, 3, 6]),
        (6, [3, 2], [4, 1, 5, 2, 6, 3]),
        (7, [3, 2], [6, 3, 5, 2, 4, 1]),
        (8, [3, 2], [3, 6, 2, 5, 1, 4]),
    ];
    for late in [false, true] {
        for (value, [height, width], want) in shown {
            let folder = folder();
            let path = folder.path().join("a.png");
            image::save_buffer(&path, &stored, 3, 2, ColorType::L8).expect("a picture");
            add_chunk(&path, *b"eXIf", &orientation(value), late);
            let images = read(folder.path(), Rules::default());
            assert_eq!(images.shape, [1, height, width], "orientation {value}");
            assert_eq!(bytes(&images), want, "orientation {value}");
            assert_eq!(images.found.turned, usize::from(value != 1));
        }
    }
    // A picture without one, and one whose orientation means nothing, are as they are; the rest are counted.
    let folder = folder();
    for (name, value) in [
        ("a.png", None),
        ("b.png", Some(9)),
        ("c.png", Some(3)),
        ("d.png", Some(2)),
    ] {
        png(&folder.path().join(name), ColorType::Rgb8, 2, 0);
        if let Some(value) = value {
            add_chunk(
                &folder.path().join(name),
                *b"eXIf",
                &orientation(value),
                false,
            );
        }
    }
    let images = read(folder.path(), Rules::default());
    assert_eq!(images.found.to_string(), "2 turned upright");
    assert_eq!(bytes(&images)[..4], [0, 3, 6, 9]);
    assert_eq!(
        bytes(&images)[24..28],
        [9, 6, 3, 0],
        "turned by half a circle"
    );
}

#[test]
fn sixteen_bits_are_refused_or_scaled_as_is_said() {
    let folder = folder();
    let grey = |name: &str, values: &[u16]| {
        let picture = ImageBuffer::<Luma<u16>, _>::from_raw(2, 2, values.to_vec());
        let path = folder.path().join(name);
        picture.expect("four pixels").save(path).expect("a picture");
    };
    grey("a.png", &[0, 255, 256, 4095]);
    grey("b.png", &[0x1234, 0x00ff, 1, 4000]);
    let refused = message(Images::read(folder.path(), Rules::default()));
    says(
        &refused,
        &[
            "a.png",
            "16",
            "data.depth",
            "--depth",
            "high-byte",
            "0..65535",
        ],
    );

    let high = read(folder.path(), with_depth(Depth::HighByte));
    assert_eq!(bytes(&high), [0, 0, 1, 15, 0x12, 0, 0, 15]);
    assert_eq!(high.spacing, Some(BYTES));
    assert_eq!(high.found.to_string(), "16 bits cut to their high byte");

    let whole = read(folder.path(), with_depth(Depth::To(65535)));
    let want = [0, 255, 256, 4095, 0x1234, 0x00ff, 1, 4000_u16];
    #[expect(clippy::cast_possible_truncation, reason = "pixels are f32")]
    let want = want.map(|v| (f64::from(v) / 32767.5 - 1.0) as f32);
    assert_eq!(reals(&whole), want);
    assert_eq!(whole.spacing, Some(2.0 / 65535.0));
    assert_eq!(whole.found.to_string(), "16 bits of 0..65535");

    let above = message(Images::read(folder.path(), with_depth(Depth::To(4095))));
    says(&above, &["b.png", "up to 4095", "4660"]);
    fs::remove_file(folder.path().join("b.png")).expect("removable");
    let twelve = read(folder.path(), with_depth(Depth::To(4095)));
    assert!(
        reals(&twelve)[0] <= -1.0 && reals(&twelve)[3] >= 1.0,
        "black and white"
    );

    // 8 bits beside 16 are of one kind where 16 become 8, and of two otherwise.
    png(&folder.path().join("c.png"), ColorType::L8, 2, 9);
    let mixed = read(folder.path(), with_depth(Depth::HighByte));
    assert_eq!(bytes(&mixed), [0, 0, 1, 15, 9, 10, 11, 12]);
    let mixed = message(Images::read(folder.path(), with_depth(Depth::To(65535))));
    says(&mixed, &["c.png", "bits a channel"]);
}

#[test]
fn planes_of_sixteen_bits_are_by_colour_and_alpha_is_exact() {
    let folder = folder();
    let path = folder.path().join("a.png");
    let colours = vec![0x0100, 0x0200, 0x0300, 0x0400, 0x0500, 0x0600];
    let picture = ImageBuffer::<Rgb<u16>, _>::from_raw(2, 1, colours);
    picture.expect("two pixels").save(&path).expect("a picture");
    let high = read(folder.path(), with_depth(Depth::HighByte));
    assert_eq!(
        (high.shape, bytes(&high)),
        ([3, 1, 2], vec![1, 4, 2, 5, 3, 6])
    );
    for (alpha, fits) in [(65535, true), (65534, false)] {
        let picture = ImageBuffer::<LumaA<u16>, _>::from_raw(1, 1, vec![512, alpha]);
        picture.expect("a pixel").save(&path).expect("a picture");
        let found = Images::read(folder.path(), with_depth(Depth::HighByte));
        if fits {
            assert_eq!(bytes(&found.expect("opaque")), [2]);
        } else {
            says(&message(found), &["a.png", "transparent"]);
        }
    }
}

#[test]
fn arrays_of_sixteen_bits_follow_the_same_rule() {
    let folder = folder();
    let path = folder.path().join("a.npz");
    let words = [0, 256, 512, 768, 1024, 65535];
    save_npz(
        &path,
        &[("images", vec![1, 1, 2, 3], Values::Words(&words))],
    );
    let refused = message(Images::read(&path, Rules::default()));
    says(&refused, &["a.npz", "`images`", "8 bits", "data.depth"]);
    let high = read(&path, with_depth(Depth::HighByte));
    assert_eq!(
        (high.shape, bytes(&high)),
        ([3, 1, 2], vec![0, 3, 1, 4, 2, 255])
    );
    let whole = read(&path, with_depth(Depth::To(65535)));
    assert_eq!(reals(&whole)[5].to_bits(), 1.0_f32.to_bits());
    // Other whole numbers are no pixels: which is white?
    save_npz(
        &path,
        &[("images", vec![1, 1, 2], Values::Integers(&[0, 255]))],
    );
    says(
        &message(Images::read(&path, Rules::default())),
        &["uint8", "whole numbers"],
    );
}

#[test]
fn reals_are_refused_outside_their_range_and_where_it_is_in_doubt() {
    let folder = folder();
    let path = folder.path().join("a.npz");
    let save = |values: &[f32]| {
        let shape = vec![1, 1, 1, values.len() as u64];
        save_npz(&path, &[("images", shape, Values::Reals(values))]);
    };
    let refused = |rules: PixelRange, parts: &[&str]| {
        says(&message(Images::read(&path, with_range(rules))), parts);
    };
    save(&[0.0, 0.25, 1.0]);
    refused(
        PixelRange::Signed,
        &["a.npz", "below 0", "0 to 1", "\"0..1\"", "uint8", "--range"],
    );
    assert_eq!(
        reals(&read(&path, with_range(PixelRange::Symmetric))),
        [0.0, 0.25, 1.0]
    );
    let unit = read(&path, with_range(PixelRange::Unit));
    assert_eq!(reals(&unit), [-1.0, -0.5, 1.0]);
    assert_eq!(
        (unit.found.to_string(), unit.spacing),
        ("reals of 0..1".to_owned(), None)
    );

    save(&[0.0, 51.0, 255.0]);
    for range in [PixelRange::Signed, PixelRange::Symmetric, PixelRange::Unit] {
        refused(range, &["0 to 255", "\"0..255\""]);
    }
    assert_eq!(
        reals(&read(&path, with_range(PixelRange::Bytes))),
        [-1.0, 51.0 / 127.5 - 1.0, 1.0]
    );

    save(&[-1.25, 0.5, 1.0]);
    for range in [
        PixelRange::Signed,
        PixelRange::Symmetric,
        PixelRange::Unit,
        PixelRange::Bytes,
    ] {
        refused(range, &["-1.25 to 1", "\"cut\""]);
    }
    let cut = read(&path, with_range(PixelRange::Cut));
    assert_eq!(cut.found.to_string(), "1 value beyond −1..1");
    assert_eq!(
        reals(&cut),
        [-1.25, 0.5, 1.0],
        "kept for those who ask for reals"
    );
    assert_eq!(bytes(&cut.clone().into_bytes()), [0, 191, 255]);
    let data = cut.into_dataset("cut").expect("a data set");
    assert_eq!(data.images, [-1.0, 0.5, 1.0]);

    save(&[-0.5, 0.5]);
    let plain = read(&path, Rules::default());
    assert!(plain.found.is_nothing(), "{}", plain.found);
}

#[test]
fn reals_become_the_bytes_that_they_were() {
    let bytes: Vec<u8> = (0..=255).collect();
    for reals in [
        bytes
            .iter()
            .map(|v| f32::from(*v) / 127.5 - 1.0)
            .collect::<Vec<_>>(),
        bytes
            .iter()
            .map(|v| 2.0 * (f32::from(*v) / 255.0) - 1.0)
            .collect(),
    ] {
        assert_eq!(
            Pixels::Reals(reals).into_bytes(),
            Pixels::Bytes(bytes.clone())
        );
    }
    let beyond = vec![-7.0, 1.01, f32::MAX, 0.0];
    assert_eq!(
        Pixels::Reals(beyond).into_bytes(),
        Pixels::Bytes(vec![0, 255, 255, 128])
    );
}

/// Two classes with a picture each, and everything that is not read.
fn cluttered(root: &Path) {
    for name in ["cat/0.png", "dog/0.png", "cat/raw/1.png"] {
        png(&root.join(name), ColorType::L8, 2, 1);
    }
    for name in [
        "cat/a.heic",
        "cat/b.HEIC",
        "dog/c.avif",
        "dog/d.jfif",
        "e.jp2",
        "dog/notes.txt",
    ] {
        fs::write(root.join(name), "x").expect("a file");
    }
    fs::create_dir(root.join("bird")).expect("a folder");
    fs::create_dir(root.join(".cache")).expect("a folder");
    let moving = root.join("dog/1.png");
    png(&moving, ColorType::L8, 2, 100);
    add_chunk(&moving, *b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0], false);
}

#[test]
fn what_is_not_read_is_refused_with_its_numbers_or_counted() {
    let folder = folder();
    cluttered(folder.path());
    let refused = message(Images::read(folder.path(), Rules::default()));
    let parts = [
        "1 .avif",
        "2 .heic",
        "cat/a.heic",
        "1 .jfif",
        "1 .jp2",
        "1 inner folder",
        "cat/raw",
        "1 class without a picture",
        "bird",
        "\"skip\"",
    ];
    says(&refused, &parts);
    assert!(!refused.contains("txt"), "{refused}");

    let images = read(folder.path(), SKIP);
    assert_eq!(images.classes, ["cat", "dog"]);
    assert_eq!(images.labels, Some(vec![0, 1]));
    assert_eq!(
        bytes(&images),
        [1, 2, 3, 4, 1, 2, 3, 4],
        "no frame of the animation"
    );
    assert_eq!(
        images.found.to_string(),
        "left out: 1 .avif, 2 .heic, 1 .jfif, 1 .jp2, 1 animated, 1 inner folder, 1 class without a picture"
    );
    assert_eq!(
        images.found.left_out[&LeftOut::Format("heic".to_owned())],
        2
    );
    let data = images.into_dataset("left").expect("a data set");
    assert_eq!(
        data.subset(&[1]).found,
        data.found,
        "the parts of a data set still say it"
    );
}

#[test]
fn animations_are_no_pictures() {
    let folder = folder();
    for name in ["a/0.png", "b/0.png"] {
        png(&folder.path().join(name), ColorType::L8, 2, 1);
    }
    let moving = folder.path().join("a/0.png");
    add_chunk(&moving, *b"acTL", &[0, 0, 0, 3, 0, 0, 0, 0], false);
    says(
        &message(Images::read(folder.path(), Rules::default())),
        &["1 animated", "a/0.png"],
    );
    // A class whose only picture moves is no class.
    let images = read(folder.path(), SKIP);
    assert_eq!(
        (images.classes, images.labels),
        (vec!["b".to_owned()], Some(vec![0]))
    );
    assert_eq!(
        images.found.to_string(),
        "left out: 1 animated, 1 class without a picture"
    );
    // One that would show a single picture is a picture.
    let still = folder.path().join("b/0.png");
    add_chunk(&still, *b"acTL", &[0, 0, 0, 1, 0, 0, 0, 0], false);
    assert_eq!(read(folder.path(), SKIP).count(), 1);
}

#[test]
fn pictures_that_lie_deeper_and_parts_that_are_no_classes_are_named() {
    let root = folder();
    for name in ["test/cat/0.png", "train/cat/0.png", "train/dog/0.png"] {
        png(&root.path().join(name), ColorType::L8, 2, 1);
    }
    for rules in [Rules::default(), SKIP] {
        let deeper = message(Images::read(root.path(), rules));
        let train = root.path().join("train").display().to_string();
        says(&deeper, &["lie deeper", &train]);
    }
    assert_eq!(
        read(&root.path().join("train"), Rules::default()).classes,
        ["cat", "dog"]
    );
    let flat = folder();
    for name in ["test/0.png", "train/0.png"] {
        png(&flat.path().join(name), ColorType::L8, 2, 1);
    }
    let parts = message(Images::read(flat.path(), SKIP));
    says(&parts, &["test, train", "no classes"]);
    let empty = folder();
    fs::create_dir(empty.path().join("a")).expect("a folder");
    says(
        &message(Images::read(empty.path(), Rules::default())),
        &["holds no .png picture"],
    );
}

#[test]
fn folders_of_numbers_are_in_the_order_of_the_numbers() {
    let folder = folder();
    for class in 0..12_u8 {
        let name = format!("{class}/0.png");
        png(&folder.path().join(name), ColorType::L8, 1, 10 * class);
    }
    let images = read(folder.path(), Rules::default());
    let numbers: Vec<String> = (0..12).map(|class| class.to_string()).collect();
    assert_eq!(images.classes, numbers);
    assert_eq!(bytes(&images)[2], 20, "class 2 is the folder 2");
    let data = images.into_dataset("numbers").expect("a data set");
    assert_eq!(data.class_names, numbers);
    // One name that is no number, and all are text.
    png(&folder.path().join("x/0.png"), ColorType::L8, 1, 1);
    let images = read(folder.path(), Rules::default());
    assert_eq!(images.classes[..4], ["0", "1", "10", "11"]);
}

#[test]
fn another_format_under_the_name_of_png_is_called_what_it_is() {
    let folder = folder();
    let path = folder.path().join("a.png");
    fs::write(&path, b"\xff\xd8\xff\xe0\x00\x10JFIF\x00").expect("a file");
    says(
        &message(Images::read(folder.path(), SKIP)),
        &["a.png", "Jpeg under another name"],
    );
}

#[test]
fn labels_of_every_kind_of_whole_numbers_are_read_and_minus_one_is_none() {
    let folder = folder();
    let path = folder.path().join("a.npz");
    let pixels: [u8; 3] = [10, 20, 30];
    let images = || ("images", vec![3, 1, 1], Values::Bytes(&pixels));
    let labels = |name, values| {
        save_npz(&path, &[images(), (name, vec![3], values)]);
        read(&path, Rules::default()).labels
    };
    assert_eq!(
        labels("labels", Values::Unsigned(&[2, 0, 1])),
        Some(vec![2, 0, 1])
    );
    assert_eq!(
        labels("arr_1", Values::Words(&[2, 0, 1])),
        Some(vec![2, 0, 1])
    );
    assert_eq!(
        labels("labels", Values::Truths(&[true, false, true])),
        Some(vec![1, 0, 1])
    );
    assert_eq!(
        labels("labels", Values::Reals(&[2.0, 0.0, 1.0])),
        Some(vec![2, 0, 1])
    );
    assert_eq!(labels("labels", Values::Integers(&[-1, -1, -1])), None);
    assert_eq!(
        read(&path, Rules::default()).found.to_string(),
        "no labels (all −1)"
    );
    let some: [Written<'_>; 2] = [images(), ("labels", vec![3], Values::Integers(&[0, -1, 1]))];
    save_npz(&path, &some);
    says(
        &message(Images::read(&path, Rules::default())),
        &["`labels`", "−1", "1 of 3"],
    );
}

#[test]
fn labels_under_another_name_are_named_and_other_arrays_do_no_harm() {
    let folder = folder();
    let path = folder.path().join("a.npz");
    let pixels: [u8; 3] = [10, 20, 30];
    let images = || ("images", vec![3, 1, 1], Values::Bytes(&pixels));
    save_npz(
        &path,
        &[images(), ("y", vec![3], Values::Integers(&[0, 1, 0]))],
    );
    says(
        &message(Images::read(&path, Rules::default())),
        &["a.npz", "array `y`", "`labels`", "\"skip\""],
    );
    assert_eq!(
        read(&path, SKIP).found.to_string(),
        "left out: the array `y`"
    );
    // With labels there is no doubt, nor is there of arrays that cannot be any.
    let header = "{'descr': '<U3', 'fortran_order': False, 'shape': (2,), }";
    let padded = format!("{header:<117}\n");
    let text = [b"\x93NUMPY\x01\x00\x76\x00", padded.as_bytes(), &[0; 24]].concat();
    let names = ("names", vec![2], Values::File(&text));
    let more = ("weights", vec![3], Values::Reals(&[1.0, 2.0, 3.0]));
    let labels = ("labels", vec![3], Values::Integers(&[1, 1, 0]));
    save_npz(&path, &[images(), names, more, labels]);
    let found = read(&path, Rules::default());
    assert_eq!(
        (found.labels, found.found.is_nothing()),
        (Some(vec![1, 1, 0]), true)
    );
    assert_eq!(byte(found.pixels.at(1..2)[0]), 20);
}
