//! Files of pictures and arrays, as people have them.

use npyz::WriterBuilder;
use std::fs;
use std::io::Write;
use std::path::Path;

/// A PNG of `side`² pixels whose values are `first`, `first` + 1, …
pub fn png(path: &Path, colours: image::ColorType, side: u32, first: u8) {
    let count = side * side * u32::from(colours.bytes_per_pixel());
    let bytes: Vec<u8> = (first..).take(count as usize).collect();
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    image::save_buffer(path, &bytes, side, side, colours).expect("a picture");
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "pixels are in [−1, 1]"
)]
pub fn byte(pixel: f32) -> u8 {
    ((pixel + 1.0) * 127.5).round() as u8
}

/// An array for a `.npz` file.
pub type Written<'a> = (&'a str, Vec<u64>, Values<'a>);

pub enum Values<'a> {
    Bytes(&'a [u8]),
    Words(&'a [u16]),
    Integers(&'a [i64]),
    Unsigned(&'a [u64]),
    Truths(&'a [bool]),
    Reals(&'a [f32]),
    /// A whole `.npy` file.
    File(&'a [u8]),
}

pub fn save_npz(path: &Path, arrays: &[Written<'_>]) {
    let mut zip = zip::ZipWriter::new(fs::File::create(path).expect("a file"));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::STORE);
    for (name, shape, values) in arrays {
        zip.start_file(format!("{name}.npy"), options)
            .expect("an entry");
        macro_rules! write {
            ($values:expr) => {{
                let mut out = npyz::WriteOptions::new()
                    .default_dtype()
                    .shape(shape)
                    .writer(&mut zip)
                    .begin_nd()
                    .expect("a header");
                out.extend($values.iter().copied()).expect("elements");
                out.finish().expect("an array");
            }};
        }
        match values {
            Values::Bytes(values) => write!(values),
            Values::Words(values) => write!(values),
            Values::Integers(values) => write!(values),
            Values::Unsigned(values) => write!(values),
            Values::Truths(values) => write!(values),
            Values::Reals(values) => write!(values),
            Values::File(bytes) => zip.write_all(bytes).expect("bytes"),
        }
    }
    zip.finish().expect("an archive");
}

/// Adds a chunk to a PNG file, after its header or before its end.
pub fn add_chunk(path: &Path, kind: [u8; 4], content: &[u8], late: bool) {
    let png = fs::read(path).expect("a picture");
    let length = u32::try_from(content.len()).expect("a short chunk");
    let mut checked = flate2::Crc::new();
    checked.update(&kind);
    checked.update(content);
    let chunk = [
        &length.to_be_bytes()[..],
        &kind,
        content,
        &checked.sum().to_be_bytes(),
    ]
    .concat();
    // A signature of 8 bytes and a header of 25; the end takes 12.
    let at = if late { png.len() - 12 } else { 33 };
    fs::write(path, [&png[..at], &chunk, &png[at..]].concat()).expect("a file");
}

/// The Exif data of an orientation alone.
pub fn orientation(value: u8) -> Vec<u8> {
    let mut exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([value, 0, 0, 0, 0, 0, 0]);
    exif
}
