//! E14: which pixels of a kernel a symmetry ties.

use anyhow::Result;
use sadm_theory::statements::Group;

use super::{Figure, Table};

/// The orbit of each pixel of a k × k kernel, numbered as met, and how many there are.
fn orbits(group: Group, size: usize) -> (Vec<Vec<f64>>, usize) {
    let mut orbit = vec![0_usize; size * size];
    let mut count = 0;
    let pixels: Vec<usize> = (0..size * size).collect();
    let moved: Vec<Vec<usize>> = group
        .elements(size)
        .iter()
        .map(|e| e.apply(&pixels))
        .collect();
    for pixel in pixels {
        if orbit[pixel] == 0 {
            count += 1;
            for image in &moved {
                orbit[image[pixel]] = count;
            }
        }
    }
    let rows = orbit
        .chunks(size)
        .map(|row| row.iter().map(|&o| o as f64).collect());
    (rows.collect(), count)
}

/// Kernels of 3 × 3 and 5 × 5 pixels under C4 and D4.
pub fn tied_pixels() -> Result<Figure> {
    let caption = "E14. Pixels with the same number share one parameter. For 3 × 3 kernels the four turns (C4) already tie everything \
        that turns and flips together (D4) tie; for 4 × 4 and beyond they do not.";
    let mut figure = Figure::new("tied-pixels", caption);
    for (size, group, name) in [
        (3, Group::C4, "C4"),
        (3, Group::D4, "D4"),
        (4, Group::C4, "C4"),
        (4, Group::D4, "D4"),
    ] {
        let (rows, count) = orbits(group, size);
        let title = format!("{size} × {size} under {name}: {count} parameters");
        let table = Table {
            rows: &rows,
            full: 1.6 * count as f64,
            numbers: true,
        };
        figure = figure.table(&title, &table, &format!("{title}, one number per pixel"))?;
    }
    Ok(figure)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counts of the book, from the fixed pixels: 3 and 3, 4 and 3, 7 and 6.
    #[test]
    fn orbits_are_as_many_as_burnside_counts() {
        let counts = [3, 4, 5].map(|k| [Group::C4, Group::D4].map(|g| orbits(g, k).1));
        assert_eq!(counts, [[3, 3], [4, 3], [7, 6]]);
    }
}
