//! Folders of pictures: what of them is read, in which order, and what is not.

use super::images::{BYTES, Images, Pixels};
use super::picture::{self, Picture, Read};
use super::rules::{Deep, Found, LeftOut, Rules};
use crate::error::{Error, Result};
use rayon::prelude::*;
use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};

/// Endings of files that hold images and are not read from a folder.
const UNREAD: [&str; 59] = [
    "apng", "arw", "avif", "avifs", "bmp", "cr2", "cr3", "dcm", "dds", "dib", "dng", "emf", "eps",
    "exr", "fits", "gif", "hdr", "heic", "heics", "heif", "hif", "ico", "j2c", "j2k", "jfi",
    "jfif", "jif", "jls", "jp2", "jpc", "jpe", "jpeg", "jpf", "jpg", "jpm", "jpx", "jxl", "jxr",
    "mng", "nef", "npy", "npz", "orf", "pam", "pbm", "pcx", "pfm", "pgm", "pnm", "ppm", "psd",
    "qoi", "raf", "raw", "rw2", "svg", "tif", "tiff", "webp",
];

/// More such endings, apart for the length of a line.
const RARE: [&str; 6] = ["svgz", "tga", "wbmp", "xbm", "xcf", "xpm"];

/// Names of the parts of a data set, which are no classes.
const PARTS: [&str; 11] = [
    "dev",
    "eval",
    "holdout",
    "test",
    "testing",
    "train",
    "training",
    "val",
    "valid",
    "validation",
    "unlabeled",
];

/// What is wrong with a folder that holds nothing to read.
const NONE: &str = "holds no .png picture";

/// Contents of a folder, in order.
#[derive(Default)]
struct Listed {
    pictures: Vec<PathBuf>,
    folders: Vec<PathBuf>,
    unread: Vec<(LeftOut, PathBuf)>,
}

impl Listed {
    fn of(folder: &Path) -> Result<Self> {
        let mut listed = Self::default();
        let failed = |e| Error::io("list", folder, e);
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if name_of(&path).starts_with('.') {
                continue;
            }
            let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
            if path.is_dir() {
                listed.folders.push(path);
            } else if ending.as_deref() == Some("png") {
                listed.pictures.push(path);
            } else if let Some(ending) = ending
                && (UNREAD.contains(&ending.as_str()) || RARE.contains(&ending.as_str()))
            {
                listed.unread.push((LeftOut::Format(ending), path));
            }
        }
        listed.pictures.sort();
        listed.folders.sort();
        let names: Vec<String> = listed.folders.iter().map(|path| name_of(path)).collect();
        if names.iter().all(|name| is_number(name)) {
            listed
                .folders
                .sort_by(|a, b| by_number(&name_of(a), &name_of(b)));
        }
        listed.unread.sort();
        Ok(listed)
    }

    /// Whether there is a picture of any format.
    fn has_pictures(&self) -> bool {
        !self.pictures.is_empty() || !self.unread.is_empty()
    }
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn is_number(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|c| c.is_ascii_digit())
}

/// Decimal numbers of any length; equal ones by their text.
fn by_number(a: &str, b: &str) -> Ordering {
    let [x, y] = [a, b].map(|text| text.trim_start_matches('0'));
    (x.len().cmp(&y.len()))
        .then_with(|| x.cmp(y))
        .then_with(|| a.cmp(b))
}

/// A class, or the only one there is, and its pictures.
struct Class {
    folder: PathBuf,
    pictures: Vec<PathBuf>,
}

impl Images {
    /// The PNG pictures of a folder in the order of their names; or those of its subfolders, each of which is a class.
    ///
    /// Classes are numbered in the order of their names, as numbers where all are numbers, and come in turn, so that the first
    /// N images are of all classes.
    ///
    /// # Errors
    /// No picture, pictures beside class folders, folders that are parts of a data set and no classes, pictures of several
    /// shapes, with transparent pixels, or one that cannot be read; whatever the rules refuse.
    pub fn of_folder(folder: &Path, rules: Rules) -> Result<Self> {
        let mut found = Found::default();
        let top = Listed::of(folder)?;
        let inside: Vec<Listed> = (top.folders.iter())
            .map(|folder| Listed::of(folder))
            .collect::<Result<_>>()?;
        refuse_deeper(folder, &top, &inside)?;
        let with_classes = inside.iter().any(Listed::has_pictures);
        if with_classes && !top.pictures.is_empty() {
            return Err(Error::file(
                folder,
                "holds pictures beside folders of pictures: each picture must be in the folder of its class, or all in one",
            ));
        }
        let mut left = top.unread;
        let mut classes = Vec::new();
        if with_classes {
            for (folder, listed) in top.folders.into_iter().zip(inside) {
                left.extend(listed.unread);
                left.extend(
                    listed
                        .folders
                        .into_iter()
                        .map(|inner| (LeftOut::Folder, inner)),
                );
                classes.push(Class {
                    folder,
                    pictures: listed.pictures,
                });
            }
        } else if top.pictures.is_empty() && left.is_empty() {
            return Err(Error::file(folder, NONE));
        } else {
            left.extend(
                top.folders
                    .into_iter()
                    .map(|inner| (LeftOut::Folder, inner)),
            );
            classes.push(Class {
                folder: folder.to_owned(),
                pictures: top.pictures,
            });
        }
        if with_classes {
            // A class of which nothing is left after this is counted when its pictures have been read.
            let empty = classes.iter().filter(|class| class.pictures.is_empty());
            left.extend(empty.map(|class| (LeftOut::EmptyClass, class.folder.clone())));
            classes.retain(|class| !class.pictures.is_empty());
        }
        found.leave_out(left, rules.unread, folder)?;
        let names: Vec<String> = classes.iter().map(|class| name_of(&class.folder)).collect();
        if with_classes {
            refuse_parts(folder, &names)?;
        }
        let (names, pictures) = read_all(folder, classes, names, with_classes, rules, &mut found)?;
        if pictures.is_empty() {
            let left = if found.is_nothing() {
                String::new()
            } else {
                format!(" ({found})")
            };
            return Err(Error::file(folder, format!("{NONE}{left}")));
        }
        let (labels, pictures): (Vec<u32>, Vec<_>) = pictures.into_iter().unzip();
        let images = of_pictures(pictures, rules, found)?;
        Ok(if with_classes {
            Self {
                labels: Some(labels),
                classes: names,
                ..images
            }
        } else {
            images
        })
    }
}

/// Names of the classes that have pictures, and the pictures of all in turn, with their classes.
type Assembled = (Vec<String>, Vec<(u32, (PathBuf, Picture))>);

/// Reads every picture; classes are numbered after animations have been left out.
fn read_all(
    folder: &Path,
    classes: Vec<Class>,
    names: Vec<String>,
    with_classes: bool,
    rules: Rules,
    found: &mut Found,
) -> Result<Assembled> {
    let mut left = Vec::new();
    let (mut kept, mut all) = (Vec::new(), Vec::new());
    for (class, name) in classes.into_iter().zip(names) {
        let read: Vec<Read> = (class.pictures.par_iter())
            .map(|path| picture::read(path, rules.depth))
            .collect::<Result<_>>()?;
        let label = u32::try_from(kept.len())
            .map_err(|_| Error::file(folder, "holds more classes than can be counted"))?;
        let before = all.len();
        for (place, (path, read)) in class.pictures.into_iter().zip(read).enumerate() {
            match read {
                Read::Still(picture) => all.push((place, label, (path, picture))),
                Read::Animated => left.push((LeftOut::Animated, path)),
            }
        }
        if all.len() > before {
            kept.push(name);
        } else if with_classes {
            left.push((LeftOut::EmptyClass, class.folder));
        }
    }
    found.leave_out(left, rules.unread, folder)?;
    all.sort_by_key(|(place, label, _)| (*place, *label));
    let all = all.into_iter().map(|(_, label, picture)| (label, picture));
    Ok((kept, all.collect()))
}

/// Pictures that must be alike, one after the other.
fn of_pictures(
    pictures: Vec<(PathBuf, Picture)>,
    rules: Rules,
    mut found: Found,
) -> Result<Images> {
    let shape = pictures.first().map_or([0; 3], |(_, first)| first.shape);
    let deep = pictures
        .first()
        .is_some_and(|(_, first)| matches!(first.planes, Deep::Reals(_)));
    let (mut bytes, mut reals) = (Vec::new(), Vec::new());
    for (path, picture) in pictures {
        if picture.shape != shape {
            return Err(Error::file(
                path,
                format!(
                    "is {:?} (channels, height, width) after {shape:?}: all pictures must be alike; resize or convert them",
                    picture.shape
                ),
            ));
        }
        found.turned += usize::from(picture.turned);
        if picture.deep {
            found.depth = Some(rules.depth);
        }
        match picture.planes {
            Deep::Bytes(planes) if !deep => bytes.extend(planes),
            Deep::Reals(planes) if deep => reals.extend(planes),
            _ => {
                return Err(Error::file(
                    path,
                    "has another number of bits a channel than the pictures before it: all must have 8 or all 16, unless \
                     depth = \"high-byte\" makes 8 of them",
                ));
            }
        }
    }
    Ok(Images {
        shape,
        pixels: if deep {
            Pixels::Reals(reals)
        } else {
            Pixels::Bytes(bytes)
        },
        spacing: if deep {
            rules.depth.spacing()
        } else {
            Some(BYTES)
        },
        labels: None,
        classes: Vec::new(),
        found,
    })
}

/// Refuses a folder whose folders hold folders of pictures, and none themselves.
fn refuse_deeper(folder: &Path, top: &Listed, inside: &[Listed]) -> Result<()> {
    if top.has_pictures() || inside.iter().any(Listed::has_pictures) {
        return Ok(());
    }
    let mut deeper = Vec::new();
    for (path, listed) in top.folders.iter().zip(inside) {
        for inner in &listed.folders {
            if Listed::of(inner)?.has_pictures() {
                deeper.push(path);
                break;
            }
        }
    }
    let training = deeper.iter().find(|path| name_of(path) == "train");
    let Some(instead) = training.or(deeper.first()) else {
        return Ok(());
    };
    Err(Error::file(
        folder,
        format!(
            "holds no pictures and no classes: pictures lie deeper; name the folder whose subfolders are the classes, such \
             as `{}`",
            instead.display()
        ),
    ))
}

/// Refuses the parts of a data set as its classes.
fn refuse_parts(folder: &Path, names: &[String]) -> Result<()> {
    let part = |name: &String| PARTS.contains(&name.to_lowercase().as_str());
    if names.len() < 2 || !names.iter().all(part) {
        return Ok(());
    }
    let training = names.iter().find(|name| name.as_str() == "train");
    let instead = folder.join(training.unwrap_or(&names[0]));
    Err(Error::file(
        folder,
        format!(
            "has the folders {}, which are parts of a data set and no classes: name one of them, such as `{}` (if they are \
             classes, give them other names)",
            names.join(", "),
            instead.display()
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_order_whatever_their_length() {
        let mut names = ["10", "9", "007", "7", "123456789012345678901234567890", "0"];
        names.sort_by(|a, b| by_number(a, b));
        let sorted = ["0", "007", "7", "9", "10", "123456789012345678901234567890"];
        assert_eq!(names, sorted);
        assert!(is_number("007") && !is_number("7a") && !is_number(""));
    }
}
