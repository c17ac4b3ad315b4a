//! A batch of images as one PNG.

use std::io::Cursor;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor};
use image::{ImageFormat, Rgb, RgbImage};

use crate::files;

/// Smallest side, in pixels, that an image is brought to by whole-number enlargement.
const VISIBLE: usize = 48;
/// Pixels between images.
const GAP: usize = 2;
/// What lies between them.
const BACKGROUND: Rgb<u8> = Rgb([64, 64, 64]);

/// Writes images `[N, C, H, W]` with values in [−1, 1] (C = 1 grey, C = 3 RGB) side by side.
///
/// Every pixel becomes a square of pixels, so that an 8×8 digit can be seen. Values beyond [−1, 1] are
/// clipped; the file is written whole or not at all.
///
/// # Errors
/// Another shape, or a file that cannot be written.
pub fn write(path: &Path, images: &Tensor) -> Result<()> {
    let png = png(images)?;
    files::write_atomically(path, |out| Ok(out.write_all(&png)?))
}

/// The same picture as the bytes of a PNG.
///
/// # Errors
/// Another shape.
pub fn png(images: &Tensor) -> Result<Vec<u8>> {
    png_of_columns(images, columns(images.dim(0)?))
}

/// The same with a chosen number of columns.
///
/// # Errors
/// Another shape, or no column.
pub fn png_of_columns(images: &Tensor, columns: usize) -> Result<Vec<u8>> {
    let mut png = Cursor::new(Vec::new());
    draw(images, columns)?
        .write_to(&mut png, ImageFormat::Png)
        .context("cannot encode a PNG")?;
    Ok(png.into_inner())
}

fn draw(images: &Tensor, columns: usize) -> Result<RgbImage> {
    let (count, channels, height, width) = images.dims4().context("a grid needs [N, C, H, W]")?;
    if count == 0 || columns == 0 || !matches!(channels, 1 | 3) || height == 0 || width == 0 {
        bail!(
            "a grid needs [N, 1 or 3, H, W] with no axis empty, got {:?}",
            images.dims()
        );
    }
    let values = images
        .to_device(&Device::Cpu)?
        .to_dtype(DType::F32)?
        .flatten_all()?
        .to_vec1::<f32>()?;
    let scale = VISIBLE.div_ceil(height.min(width));
    let (cell_height, cell_width) = (height * scale + GAP, width * scale + GAP);
    let mut picture = RgbImage::from_pixel(
        u32::try_from(columns * cell_width + GAP)?,
        u32::try_from(count.div_ceil(columns) * cell_height + GAP)?,
        BACKGROUND,
    );
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let (x, y) = (x as usize, y as usize);
        let Some((column, x)) = inside(x, cell_width) else {
            continue;
        };
        let Some((row, y)) = inside(y, cell_height) else {
            continue;
        };
        let index = row * columns + column;
        if index < count {
            let at = |channel: usize| {
                let plane = index * channels + channel.min(channels - 1);
                grey(values[(plane * height + y / scale) * width + x / scale])
            };
            *pixel = Rgb([at(0), at(1), at(2)]);
        }
    }
    Ok(picture)
}

/// Which cell a pixel lies in and where in it; nothing in a gap.
fn inside(at: usize, cell: usize) -> Option<(usize, usize)> {
    let from_gap = at.checked_sub(GAP)?;
    let (index, offset) = (from_gap / cell, from_gap % cell);
    (offset < cell - GAP).then_some((index, offset))
}

/// Columns of the grid: the divisor of `count` next below its square root, so that no row is short; where
/// that gives more than three rows to a column, the square root itself.
///
/// For 80 samples of 10 classes in order this gives 8, a row for each class.
fn columns(count: usize) -> usize {
    let root = count.isqrt();
    (1..=root)
        .rev()
        .find(|columns| count.is_multiple_of(*columns) && count <= 3 * columns * columns)
        .unwrap_or(root + usize::from(root * root < count))
}

/// A byte of a picture: −1 → 0, 1 → 255; NaN → 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the value was clamped to 0..=255"
)]
pub fn grey(value: f32) -> u8 {
    ((value + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_stands_in_its_cell_enlarged() -> Result<()> {
        // Two 1×2 images: pixels −1 and 1, then 0 and 3 (clipped).
        let images = Tensor::from_vec(vec![-1f32, 1., 0., 3.], (2, 1, 1, 2), &Device::Cpu)?;
        let picture = draw(&images, columns(2))?;
        let side = u32::try_from(VISIBLE)?;
        let gap = u32::try_from(GAP)?;
        assert_eq!(
            picture.dimensions(),
            (2 * side + 2 * gap, 2 * side + 3 * gap)
        );
        let at = |x, y| picture.get_pixel(x, y).0;
        assert_eq!(at(0, 0), BACKGROUND.0);
        assert_eq!(at(gap, gap), [0; 3]);
        assert_eq!(at(gap + side - 1, gap + side - 1), [0; 3]);
        assert_eq!(at(gap + side, gap), [255; 3]);
        assert_eq!(at(gap, gap + side), BACKGROUND.0);
        assert_eq!(at(gap, 2 * gap + side), [128; 3]);
        assert_eq!(at(gap + side, 2 * gap + side), [255; 3]);
        Ok(())
    }

    #[test]
    fn colours_keep_their_channels() -> Result<()> {
        let images = Tensor::from_vec(vec![1f32, 0., -1.], (1, 3, 1, 1), &Device::Cpu)?;
        let picture = draw(&images, 1)?;
        let gap = u32::try_from(GAP)?;
        assert_eq!(picture.get_pixel(gap, gap).0, [255, 128, 0]);
        Ok(())
    }

    #[test]
    fn columns_fill_their_rows_where_they_can() {
        for (count, want) in [
            (1, 1),
            (2, 1),
            (7, 3),
            (10, 2),
            (16, 4),
            (64, 8),
            (80, 8),
            (100, 10),
        ] {
            assert_eq!(columns(count), want, "{count}");
        }
    }
}
