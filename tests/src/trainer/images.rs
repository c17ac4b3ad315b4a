//! The images of a run: those that are learnt from, in the order of the hold-out's permutation, and those that are kept out.

use std::io::Read;

use flate2::read::GzDecoder;
use ndarray::{ArrayD, IxDyn};

use super::{settings::Data, streams::Streams};
use crate::error::{Error, Result};

/// 1797 lines of 64 whole numbers from 0 to 16 and a class.
const DIGITS: &[u8] = include_bytes!("../../../fixtures/digits.csv.gz");
/// Channels of an image.
pub(super) const CHANNELS: usize = 1;
/// Side of an image.
pub(super) const SIDE: usize = 8;
/// Classes.
pub(super) const CLASSES: usize = 10;
/// The label of an image whose class is not told.
pub(super) const NO_CLASS: u32 = 10;

/// An image and its class.
#[derive(Debug, Clone)]
struct Image {
    pixels: Vec<f64>,
    class: u32,
}

/// The images of a run.
#[derive(Debug, Clone)]
pub(super) struct Images {
    learnt: Vec<Image>,
    held_out: Vec<Image>,
}

impl Images {
    /// The configured images, divided.
    pub(super) fn of(data: &Data, streams: Streams) -> Result<Self> {
        let mut all = digits()?;
        if data.limit > 0 && data.limit < all.len() {
            let mut chosen = match data.limit_by.as_str() {
                "first" => (0..data.limit).collect(),
                _ => streams.order("limit", 0, all.len())[..data.limit].to_vec(),
            };
            // In the order of the file.
            chosen.sort_unstable();
            all = chosen.into_iter().map(|i| all[i].clone()).collect();
        }
        let mut wanted = held_out_of_each(&all, data.holdout);
        let (mut learnt, mut held_out) = (Vec::new(), Vec::new());
        for i in streams.order("holdout", 0, all.len()) {
            let left = &mut wanted[all[i].class as usize];
            let part = if *left > 0 {
                *left -= 1;
                &mut held_out
            } else {
                &mut learnt
            };
            part.push(all[i].clone());
        }
        Ok(Self { learnt, held_out })
    }

    /// How many are learnt from.
    pub(super) fn len(&self) -> usize {
        self.learnt.len()
    }

    /// These images and their classes, each mirrored or not.
    pub(super) fn batch(&self, numbers: &[usize], mirrored: &[bool]) -> (ArrayD<f64>, Vec<u32>) {
        let chosen: Vec<&Image> = numbers.iter().map(|&i| &self.learnt[i]).collect();
        let x = ArrayD::from_shape_fn(IxDyn(&[chosen.len(), CHANNELS, SIDE, SIDE]), |at| {
            let column = if mirrored[at[0]] {
                SIDE - 1 - at[3]
            } else {
                at[3]
            };
            chosen[at[0]].pixels[at[2] * SIDE + column]
        });
        (x, chosen.iter().map(|image| image.class).collect())
    }

    /// All images that are kept out, and their classes.
    pub(super) fn held_out(&self) -> (ArrayD<f64>, Vec<u32>) {
        let images = &self.held_out;
        let x = ArrayD::from_shape_fn(IxDyn(&[images.len(), CHANNELS, SIDE, SIDE]), |at| {
            images[at[0]].pixels[at[2] * SIDE + at[3]]
        });
        (x, images.iter().map(|image| image.class).collect())
    }
}

/// The digits, v/8 − 1.
fn digits() -> Result<Vec<Image>> {
    let mut text = String::new();
    let read = GzDecoder::new(DIGITS).read_to_string(&mut text);
    read.map_err(Error::reference)?;
    text.lines()
        .map(|line| {
            let numbers = line.trim().split(',').map(str::parse::<u32>);
            let numbers = numbers.collect::<std::result::Result<Vec<_>, _>>();
            let mut numbers = numbers.map_err(Error::reference)?;
            let class = numbers.pop().unwrap_or_default();
            let pixels = numbers.into_iter().map(|v| f64::from(v) / 8.0 - 1.0);
            Ok(Image {
                pixels: pixels.collect(),
                class,
            })
        })
        .collect()
}

/// How many images of each class are kept out: ⌊share · N⌋ of all N, each class its whole part of share · n but at least 1 and
/// at most n − 1, what is missing to the classes with the largest rest.
fn held_out_of_each(all: &[Image], share: f64) -> [usize; CLASSES] {
    let mut wanted = [0; CLASSES];
    if share <= 0.0 {
        return wanted;
    }
    let count = |class: usize| all.iter().filter(|i| i.class as usize == class).count();
    let most = |class: usize| count(class).saturating_sub(1);
    for (class, wanted) in wanted.iter_mut().enumerate() {
        *wanted = whole(share * count(class) as f64)
            .clamp(1, most(class).max(1))
            .min(most(class));
    }
    let rest = |class: usize, wanted: usize| share * count(class) as f64 - wanted as f64;
    let mut by_rest: Vec<usize> = (0..CLASSES)
        .filter(|&c| rest(c, wanted[c]) > 0.0 && wanted[c] < most(c))
        .collect();
    by_rest.sort_by(|&a, &b| rest(b, wanted[b]).total_cmp(&rest(a, wanted[a])));
    let missing = whole(share * all.len() as f64).saturating_sub(wanted.iter().sum());
    for class in by_rest.into_iter().take(missing) {
        wanted[class] += 1;
    }
    wanted
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a count"
)]
fn whole(x: f64) -> usize {
    x.floor() as usize
}
