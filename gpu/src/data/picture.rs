//! One PNG picture: its pixels as a viewer shows them.

use super::rules::{Deep, Depth};
use crate::error::{Error, Result};
use image::metadata::Orientation;
use image::{DynamicImage, ImageFormat, ImageReader};
use std::fs;
use std::io::Cursor;
use std::path::Path;

/// Contents of a file.
pub(super) enum Read {
    /// One picture.
    Still(Picture),
    /// Several, one after the other.
    Animated,
}

/// A picture.
pub(super) struct Picture {
    /// Channels (1 or 3), height and width.
    pub(super) shape: [usize; 3],
    /// Its planes, one after the other.
    pub(super) planes: Deep,
    /// Whether it was turned or mirrored.
    pub(super) turned: bool,
    /// Whether the file has 16 bits a channel.
    pub(super) deep: bool,
}

/// Reads a picture.
///
/// # Errors
/// A file that is no whole PNG, transparent pixels, 16 bits where they are refused.
pub(super) fn read(path: &Path, depth: Depth) -> Result<Read> {
    let bytes = fs::read(path).map_err(|reason| Error::io("read", path, reason))?;
    let broken = |reason| Error::file(path, format!("is not a whole PNG: {reason}"));
    if let Ok(other) = image::guess_format(&bytes)
        && other != ImageFormat::Png
    {
        let problem = format!("is not a PNG but {other:?} under another name: convert it");
        return Err(Error::file(path, problem));
    }
    if frames(&bytes) > 1 {
        return Ok(Read::Animated);
    }
    let mut picture = ImageReader::with_format(Cursor::new(&bytes), ImageFormat::Png)
        .decode()
        .map_err(broken)?;
    if transparent(&picture) {
        let problem = "has transparent pixels: put the picture on a background first";
        return Err(Error::file(path, problem));
    }
    let turn = chunk(&bytes, *b"eXIf").and_then(Orientation::from_exif_chunk);
    let turn = turn.unwrap_or(Orientation::NoTransforms);
    picture.apply_orientation(turn);
    let (height, width) = (picture.height() as usize, picture.width() as usize);
    let color = picture.color();
    let channels = if color.has_color() { 3 } else { 1 };
    let deep = color.bytes_per_pixel() == 2 * color.channel_count();
    let planes = if deep {
        let values = match channels {
            3 => picture.into_rgb16().into_raw(),
            _ => picture.into_luma16().into_raw(),
        };
        let values: Vec<u16> = planes(&values, channels).collect();
        depth.bring(&values).map_err(|refused| {
            let problem = format!("must {}, got {}", refused.must, refused.got);
            Error::file(path, problem)
        })?
    } else {
        let bytes = match channels {
            3 => picture.into_rgb8().into_raw(),
            _ => picture.into_luma8().into_raw(),
        };
        Deep::Bytes(planes(&bytes, channels).collect())
    };
    Ok(Read::Still(Picture {
        shape: [channels, height, width],
        planes,
        turned: turn != Orientation::NoTransforms,
        deep,
    }))
}

/// The channels of one image, one after the other, from pixels whose channels lie together.
pub(super) fn planes<T: Copy>(pixels: &[T], channels: usize) -> impl Iterator<Item = T> {
    (0..channels).flat_map(move |c| pixels[c..].iter().step_by(channels).copied())
}

/// The content of the first chunk of a kind, wherever it stands: an orientation may follow the pixels.
fn chunk(png: &[u8], kind: [u8; 4]) -> Option<&[u8]> {
    let mut rest = png.get(8..)?;
    loop {
        let (length, after) = rest.split_first_chunk()?;
        let (found, after) = after.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let content = after.get(..length)?;
        if *found == kind {
            return Some(content);
        }
        rest = after.get(length.checked_add(4)?..)?;
    }
}

/// How many pictures a PNG shows in turn.
fn frames(png: &[u8]) -> u32 {
    let control = chunk(png, *b"acTL").and_then(|control| control.first_chunk());
    control.map_or(1, |count| u32::from_be_bytes(*count))
}

/// Whether some pixel shows what is behind it: what it hides is no colour to learn.
fn transparent(picture: &DynamicImage) -> bool {
    match picture {
        DynamicImage::ImageLumaA8(x) => x.pixels().any(|pixel| pixel[1] != u8::MAX),
        DynamicImage::ImageRgba8(x) => x.pixels().any(|pixel| pixel[3] != u8::MAX),
        DynamicImage::ImageLumaA16(x) => x.pixels().any(|pixel| pixel[1] != u16::MAX),
        DynamicImage::ImageRgba16(x) => x.pixels().any(|pixel| pixel[3] != u16::MAX),
        _ => false,
    }
}
