//! The augmented images of a live batch, and what the network is told of them.

use ndarray::Axis;
use sadm_reference::{
    augment::Pipe,
    bound::{Precision, augment},
};

use super::{Found, Judge, Memory, Precisions, Replay, seen::Seen};
use crate::{
    case::Case,
    error::{Error, Result},
};

/// The judge of the record `augmentation`.
pub(super) struct Augmentation;

/// What the images are called among the quantities.
const IMAGES: &str = "augmented images";
/// What their labels are called.
const LABELS: &str = "augmentation labels";

/// Pixels that are computed again at a look, or those of one image if it has more: a look must cost little beside the steps between.
const PIXELS: usize = 512;

impl Judge for Augmentation {
    fn term(&self) -> &'static str {
        "augmentation"
    }

    fn loss(&self) -> &'static str {
        IMAGES
    }

    /// The labels of all images, and some of the images themselves: with the margins that the whole batch needs.
    fn judge(&self, seen: Seen<'_>, found: &mut Found, memory: &mut Memory) -> Result<()> {
        let p = seen.setting("p")?;
        found.exact("augmentation probability", p, seen.config.data.augment);
        let (before, after) = (seen.array("before")?, seen.array("x0")?);
        let element = Precisions::of(seen.tensor("x0")?).element;
        let host = Precision::F64;
        let pipe = Pipe::edm(p).map_err(Error::reference)?;
        let count = before.shape().first().copied().unwrap_or(0);
        let drawn = pipe.drawn(count, seen.samples("uniform")?, seen.samples("normal")?);
        let drawn = drawn.map_err(Error::reference)?;
        let &[_, _, height, width] = before.shape() else {
            return Err(Error::Gpu("images must have four axes".to_owned()));
        };
        let labels = augment::labels(&pipe, &drawn, [height, width], host);
        let got = seen.array("labels")?;
        found.add(LABELS, &got, &labels.stored_as(element), &labels);

        let pixels: usize = before.shape().iter().skip(1).product();
        let at_once = (PIXELS / pixels.max(1)).clamp(1, count.max(1));
        let first = memory.augmented % count.max(1);
        let which = first..(first + at_once).min(count);
        memory.augmented += which.len();
        let got = after.select(Axis(0), &which.clone().collect::<Vec<_>>());
        let images = augment::augment_some(&pipe, &before, &drawn, which, host);
        let images = images.map_err(Error::reference)?;
        found.add(IMAGES, &got, &images.stored_as(element), &images);
        Ok(())
    }

    fn case<'a>(&self, seen: Seen<'a>, quantity: &str) -> Option<Result<Replay<'a>>> {
        [IMAGES, LABELS].contains(&quantity).then(|| case(seen))
    }
}

fn case(seen: Seen<'_>) -> Result<Replay<'_>> {
    let case = Case::new()
        .counts("kinds", Vec::new())
        .number("p", seen.setting("p")?)
        .numbers("uniform", seen.samples("uniform")?.to_vec())
        .numbers("normal", seen.samples("normal")?.to_vec())
        .tensor("images", seen.array("before")?);
    Ok(Replay {
        check: "augmentation.edm".to_owned(),
        case,
        tensor: seen.tensor("x0")?,
    })
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use ndarray::ArrayD;
    use sadm_gpu::{
        config::Config,
        data::augment::Pipe,
        random::Streams,
        train::{
            batch::Batch,
            observer::{Observation, Observer, Verdict},
            term::Record,
            terms::augmented,
        },
    };

    use crate::{engine::Place, generators::seeded_normal, shadow::Shadow};

    const SHAPE: [usize; 4] = [4, 1, 6, 6];

    /// A live batch of four augmented images, after `spoil`.
    fn judged(spoil: impl Fn(&mut Record)) -> Verdict {
        let place = Place::cpu(DType::F32);
        let tensor = |shape: &[usize], values: Vec<f64>| {
            let array = ArrayD::from_shape_vec(shape, values).expect("as many");
            place.tensor(&array).expect("a tensor")
        };
        let pipe = Pipe::edm(0.7).expect("a probability");
        let draws = pipe.draws(Streams::new(3), "theta", 5, SHAPE[0]);
        let before = seeded_normal(1, &SHAPE);
        let pixels: Vec<f64> = before.iter().copied().collect();
        let out = pipe.apply(&pixels, SHAPE, &draws).expect("images");
        let x0 = tensor(&SHAPE, out.images);
        let batch = Batch {
            eps: x0.zeros_like().expect("zeros"),
            x0,
            t: vec![0.5; SHAPE[0]],
            labels: None,
            augment: Some(tensor(&[SHAPE[0], 9], out.labels)),
            dropout: None,
        };
        let mut record = augmented(0.7, tensor(&SHAPE, pixels), draws, &batch);
        spoil(&mut record);
        let sets = ["model.kind=song-unet", "data.augment=0.7"];
        let observation = Observation {
            step: 7,
            phase: "denoise",
            player: "theta",
            config: &Config::default().with_sets(sets).expect("known keys"),
            terms: &[record],
        };
        let seen = Shadow::default().observe(&observation);
        seen.expect("a shadow always answers")
    }

    fn replaced(record: &mut Record, name: &'static str, scale: f64, shift: f64) {
        let other = record.tensors[name].affine(scale, shift).expect("a tensor");
        record.tensors.insert(name, other);
    }

    type Fault = (&'static str, fn(&mut Record));

    const FAULTS: [Fault; 6] = [
        ("augmentation probability", |r| {
            r.settings.insert("p", 0.8);
        }),
        ("augmentation labels", |r| {
            replaced(r, "labels", 1.0001, 0.0);
        }),
        ("augmentation labels", |r| {
            // Each image's labels with the next one's.
            let labels = r.tensors["labels"].roll(1, 0).expect("rows");
            r.tensors.insert("labels", labels);
        }),
        ("augmented images", |r| replaced(r, "x0", 1.00001, 0.0)),
        ("augmented images", |r| {
            r.tensors.insert("x0", r.tensors["before"].clone());
        }),
        ("augmented images", |r| {
            // The shifts of the next image.
            let normal = r.samples.get_mut("normal").expect("numbers");
            normal[12..].rotate_left(1);
        }),
    ];

    #[test]
    fn a_right_batch_passes_and_a_wrong_one_fails_by_name() {
        let right = judged(|_| {});
        assert!(right.failure.is_none() && right.ratio <= 1.0, "{right:?}");
        assert_eq!(right.ratios.len(), 3, "{right:?}");
        for (name, fault) in FAULTS {
            let verdict = judged(fault);
            let ratio = verdict.ratios.iter().find(|(n, _)| n == name);
            let ratio = ratio.map(|(_, ratio)| *ratio);
            assert!(ratio > Some(1.0), "a wrong {name} passes: {verdict:?}");
            assert!(verdict.failure.is_some(), "{name}: {verdict:?}");
        }
    }

    #[test]
    fn another_number_of_draws_and_missing_labels_are_failures() {
        let few = judged(|r| {
            r.samples.insert("uniform", vec![0.5; 3]);
        });
        assert!(
            few.failure
                .is_some_and(|f| f.contains("uniform numbers must be 44"))
        );
        let untold = judged(|r| {
            r.tensors.remove("labels");
        });
        assert!(
            untold
                .failure
                .is_some_and(|f| f.contains("no tensor `labels`"))
        );
    }
}
