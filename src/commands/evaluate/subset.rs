//! A part of a reference: fewer samples than there are.

use anyhow::{Result, bail};
use ndarray::Axis;
use sadm_gpu::data::{Images, Pixels};
use sadm_gpu::random::Streams;

use super::input::Content;

/// Which samples of a reference remain where --reference-count takes fewer than there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ReferenceBy {
    /// A random subset, drawn by --seed
    Random,
    /// Those that come first; of a file sorted by class these are of few classes
    First,
}

/// `most` samples of a set, or all where there are fewer, and how they were chosen; stored moments stay what they are.
///
/// # Errors
/// Moments without samples.
pub fn of(
    content: Content,
    most: usize,
    by: ReferenceBy,
    seed: u64,
) -> Result<(Content, Option<String>)> {
    let count = match &content {
        Content::Images(images) => images.count(),
        Content::Features { features, .. } => features.view().nrows(),
        Content::Statistics {
            samples: Some(samples),
            moments,
        } => {
            let (samples, how) = of(*samples.clone(), most, by, seed)?;
            let content = Content::Statistics {
                samples: Some(Box::new(samples)),
                moments: moments.clone(),
            };
            return Ok((content, how));
        }
        Content::Statistics { samples: None, .. } => {
            bail!("--reference-count takes samples, and the reference holds none")
        }
    };
    if most >= count {
        return Ok((content, None));
    }
    let (rows, how) = match by {
        ReferenceBy::Random => {
            let mut rows = Streams::new(seed).permutation("reference", 0, count);
            rows.truncate(most);
            rows.sort_unstable();
            (rows, format!("drawn at random from {count}, seed {seed}"))
        }
        ReferenceBy::First => ((0..most).collect(), format!("the first of {count}")),
    };
    Ok((select(content, &rows), Some(how)))
}

fn select(content: Content, rows: &[usize]) -> Content {
    match content {
        Content::Images(images) => Content::Images(select_images(images, rows)),
        Content::Features {
            features,
            probabilities,
        } => Content::Features {
            features: features.select(rows),
            probabilities: probabilities.map(|p| p.select(Axis(0), rows)),
        },
        statistics @ Content::Statistics { .. } => statistics,
    }
}

/// The given images, in that order, with their labels.
pub fn select_images(images: Images, rows: &[usize]) -> Images {
    fn pick<T: Copy>(all: &[T], rows: &[usize], size: usize) -> Vec<T> {
        let image = |row: &usize| &all[row * size..(row + 1) * size];
        rows.iter().flat_map(image).copied().collect()
    }
    let size = images.size();
    Images {
        pixels: match &images.pixels {
            Pixels::Bytes(bytes) => Pixels::Bytes(pick(bytes, rows, size)),
            Pixels::Reals(reals) => Pixels::Reals(pick(reals, rows, size)),
        },
        labels: (images.labels.as_ref()).map(|labels| pick(labels, rows, 1)),
        ..images
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    fn images(count: u8) -> Content {
        Content::Images(Images {
            shape: [1, 1, 2],
            pixels: Pixels::Bytes((0..2 * count).collect()),
            spacing: None,
            labels: Some((0..u32::from(count)).collect()),
            classes: Vec::new(),
            found: sadm_gpu::data::Found::default(),
        })
    }

    fn chosen(content: Content) -> (Pixels, Vec<u32>) {
        match content {
            Content::Images(images) => (images.pixels, images.labels.unwrap_or_default()),
            other => panic!("images, got {other:?}"),
        }
    }

    #[test]
    fn a_random_subset_keeps_images_with_their_labels() -> Result<()> {
        let (part, how) = of(images(100), 10, ReferenceBy::Random, 3)?;
        assert_eq!(how.as_deref(), Some("drawn at random from 100, seed 3"));
        let (pixels, labels) = chosen(part);
        let Pixels::Bytes(bytes) = pixels else {
            panic!("bytes stay bytes");
        };
        let of_labels: Vec<u8> = labels
            .iter()
            .flat_map(|l| [2 * l, 2 * l + 1])
            .map(|v| u8::try_from(v).expect("below 200"))
            .collect();
        assert_eq!(bytes, of_labels);
        assert!(
            labels.iter().any(|l| *l >= 50),
            "not the first ones: {labels:?}"
        );
        let (other, _) = of(images(100), 10, ReferenceBy::Random, 4)?;
        assert_ne!(chosen(other).1, labels, "another seed draws others");
        Ok(())
    }

    #[test]
    fn the_first_ones_are_had_by_name_and_all_without_a_word() -> Result<()> {
        let (part, how) = of(images(5), 2, ReferenceBy::First, 0)?;
        assert_eq!(how.as_deref(), Some("the first of 5"));
        assert_eq!(chosen(part), (Pixels::Bytes(vec![0, 1, 2, 3]), vec![0, 1]));
        let (part, how) = of(images(5), 5, ReferenceBy::Random, 0)?;
        assert_eq!((chosen(part).1, how), (vec![0, 1, 2, 3, 4], None));
        Ok(())
    }

    #[test]
    fn features_keep_their_probabilities() -> Result<()> {
        let column = |k: f64| Array2::from_shape_fn((20, 1), move |(i, _)| k * i as f64);
        let content = Content::Features {
            features: super::super::matrix::Matrix::F64(column(1.0)),
            probabilities: Some(column(2.0)),
        };
        let (part, _) = of(content, 6, ReferenceBy::Random, 1)?;
        let Content::Features {
            features,
            probabilities: Some(p),
        } = part
        else {
            panic!("features with probabilities");
        };
        let rows = features.view().rows(0..6).to_owned();
        assert_eq!(rows * 2.0, p);
        Ok(())
    }
}
