//! What `sadm train` says first, the accuracy that it logs, and its event files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::draws::order;
use crate::formulas::deviation;
use crate::runs::tiny;
use crate::support::{Folder, sadm, says};
use crate::walk::exactly;
use crate::written::{Written, chosen, digits, lines, number, size};

/// Trains; what was said on standard error.
fn said(run: &Path, steps: usize, seed: u64) -> String {
    let mut command = sadm();
    command
        .args(tiny(run, steps))
        .arg(format!("--set=seed={seed}"));
    let output = command.assert().success();
    String::from_utf8(output.get_output().stderr.clone()).expect("UTF-8")
}

/// Images of each class, how many were kept out, and how the others scatter; what Ψ says of those that were kept out.
#[test]
fn the_first_line_and_the_accuracy_are_of_the_images() {
    // Of some seeds the images that were kept out scatter as the others do, to two digits.
    let told_apart = [0, 1, 2].map(of_the_images);
    assert!(told_apart.contains(&true));
}

/// Holds a run of this seed; whether the deviation of the images that were kept out is shown as another.
fn of_the_images(seed: u64) -> bool {
    let folder = Folder::new();
    let run = folder.path("run");
    let said = said(&run, 12, seed);
    let (images, labels) = digits();
    let mut part = order(seed, "limit", 0, labels.len())[..64].to_vec();
    part.sort_unstable();
    let (images, labels): (_, Vec<u32>) = (
        chosen(&images, &part),
        part.iter().map(|row| labels[*row]).collect(),
    );
    let written = Written::newest(&run);
    let counts = |key: &str| -> Vec<usize> {
        let counts = written.state["classes"][key].as_array().expect("counts");
        counts.iter().map(size).collect()
    };
    let (training, mut quota) = (counts("training"), counts("held_out"));
    let (mut held, mut kept) = (Vec::new(), Vec::new());
    for row in order(seed, "holdout", 0, 64) {
        let class = labels[row] as usize;
        if quota[class] > 0 {
            quota[class] -= 1;
            held.push(row);
        } else {
            kept.push(row);
        }
    }
    let of_class =
        |rows: &[usize], class: u32| rows.iter().filter(|row| labels[**row] == class).count();
    let each: Vec<String> = (0..10)
        .map(|class| {
            assert_eq!(of_class(&kept, class), training[class as usize]);
            format!(
                "{class}: {}",
                of_class(&kept, class) + of_class(&held, class)
            )
        })
        .collect();
    let scatter = |rows: &[usize]| {
        let pixels: Vec<f64> = chosen(&images, rows).iter().copied().collect();
        format!("{:.2}", deviation(&pixels, 0.0))
    };
    let line = format!(
        "64 images of 1×8×8 in 10 classes ({}), {} of them held out; standard deviation {}\n",
        each.join(", "),
        held.len(),
        scatter(&kept)
    );
    says(&said, &[&line]);
    let answers = written.encoder();
    let log = lines(&run.join("metrics.jsonl"));
    let accuracy = log
        .iter()
        .find_map(|line| line["accuracy"].as_f64())
        .expect("logged");
    let p = Written::at(&run, 1)
        .encoder()
        .probabilities(&chosen(&images, &held), &exactly);
    let right = p.rows().into_iter().zip(&held).filter(|(p, row)| {
        let own = p[labels[**row] as usize];
        p.iter().all(|other| *other <= own)
    });
    assert!(answers.step >= 1);
    let want = right.count() as f64 / held.len() as f64;
    assert!((accuracy - want).abs() < 1e-12, "{accuracy}, not {want}");
    assert_eq!(
        number(&written.state["encoder_accuracy"]).to_bits(),
        accuracy.to_bits()
    );
    says(
        &said,
        &[&format!(
            "Ψ classifies {:.1} % of {} held-out images",
            100.0 * want,
            held.len()
        )],
    );
    scatter(&kept) != scatter(&held)
}

/// A field of a message of protocol buffers: its number, and its bytes or value.
enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Word(u32),
    Long,
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Varint(varint(&mut bytes)),
            1 => {
                bytes = &bytes[8..];
                Field::Long
            }
            2 => {
                let length = usize::try_from(varint(&mut bytes)).expect("short");
                let (own, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(own)
            }
            5 => {
                let (own, rest) = bytes.split_at(4);
                bytes = rest;
                Field::Word(u32::from_le_bytes(own.try_into().expect("four")))
            }
            kind => panic!("kind {kind}"),
        };
        found.push((key >> 3, field));
    }
    found
}

/// The records of an event file, each with the checksums of its length and of itself.
fn records(bytes: &[u8]) -> Vec<&[u8]> {
    let masked = |bytes: &[u8]| {
        let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(bytes);
        sum.rotate_right(15).wrapping_add(0xa282_ead8)
    };
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four"));
    let (mut at, mut found) = (0, Vec::new());
    while at < bytes.len() {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight"));
        assert_eq!(word(at + 8), masked(&bytes[at..at + 8]));
        let (start, end) = (at + 12, at + 12 + usize::try_from(length).expect("short"));
        assert_eq!(word(end), masked(&bytes[start..end]));
        found.push(&bytes[start..end]);
        at = end + 4;
    }
    found
}

/// Every number of the log is a scalar of the whole run and one of its phase, at its step, and there are no others.
#[test]
fn event_files_have_the_numbers_of_the_log() {
    let folder = Folder::new();
    let run = folder.path("run");
    said(&run, 12, 0);
    let entries = std::fs::read_dir(&run).expect("a folder");
    let mut paths = entries.map(|entry| entry.expect("an entry").path());
    let path = paths.find(|path| path.to_string_lossy().contains("events.out.tfevents."));
    let bytes = std::fs::read(path.expect("an event file")).expect("readable");
    let mut scalars = BTreeSet::new();
    let mut pictures = BTreeMap::new();
    for record in records(&bytes) {
        let event = fields(record);
        let step = event.iter().find_map(|(number, field)| match field {
            Field::Varint(step) if *number == 2 => Some(*step),
            _ => None,
        });
        for (number, field) in &event {
            let Field::Bytes(summary) = field else {
                continue;
            };
            if *number != 5 {
                continue;
            }
            for (_, value) in fields(summary) {
                let Field::Bytes(value) = value else {
                    panic!("a value")
                };
                let parts = fields(value);
                let tag = parts.iter().find_map(|(number, field)| match field {
                    Field::Bytes(tag) if *number == 1 => {
                        Some(String::from_utf8_lossy(tag).into_owned())
                    }
                    _ => None,
                });
                let tag = tag.expect("a tag");
                for (number, part) in parts {
                    match part {
                        Field::Word(bits) if number == 2 => {
                            assert!(
                                scalars.insert((step.unwrap_or(0), tag.clone(), bits)),
                                "twice: {tag}"
                            );
                        }
                        Field::Bytes(image) if number == 4 => {
                            for (number, part) in fields(image) {
                                if let (4, Field::Bytes(png)) = (number, part) {
                                    pictures.insert(step.unwrap_or(0), png.to_vec());
                                }
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    let mut want = BTreeSet::new();
    for line in lines(&run.join("metrics.jsonl")) {
        let step = line["step"].as_u64().expect("a step");
        let phase = line["phase"].as_str().expect("a phase");
        for (key, value) in line.as_object().expect("an object") {
            if let (true, Some(value)) = (key != "step", value.as_f64()) {
                #[expect(clippy::cast_possible_truncation, reason = "the format's")]
                let bits = (value as f32).to_bits();
                for group in ["run", phase] {
                    want.insert((step, format!("{group}/{key}"), bits));
                }
            }
        }
    }
    assert_eq!(scalars, want);
    let grid = std::fs::read(run.join("samples/00000012.png")).expect("a picture");
    assert_eq!(pictures, BTreeMap::from([(12, grid)]));
}
