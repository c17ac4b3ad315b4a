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
