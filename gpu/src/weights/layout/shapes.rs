//! The names and shapes of a state dictionary, and their fingerprint.

use std::collections::BTreeMap;

use crate::digest::sha256;

/// Names with shapes.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// What names a set of names and shapes: SHA-256 of the lines `name<TAB>d0,d1,…` in the order of the names, its first 16 digits.
///
/// Two files with one fingerprint hold tensors of the same names and shapes, whatever is in them.
pub fn fingerprint(shapes: &Shapes) -> String {
    let line = |(name, shape): (&String, &Vec<usize>)| {
        let sides: Vec<String> = shape.iter().map(ToString::to_string).collect();
        format!("{name}\t{}", sides.join(","))
    };
    let lines: Vec<String> = shapes.iter().map(line).collect();
    let mut digest = sha256(lines.join("\n").as_bytes());
    digest.truncate(16);
    digest
}

/// Elements of all tensors; the largest number for more.
pub fn elements<'a>(shapes: impl IntoIterator<Item = &'a Vec<usize>>) -> usize {
    let sides = |shape: &Vec<usize>| {
        shape
            .iter()
            .fold(1, |n: usize, side| n.saturating_mul(*side))
    };
    shapes.into_iter().map(sides).fold(0, usize::saturating_add)
}

/// The shapes below a prefix, without it.
pub(super) fn below(shapes: &Shapes, prefix: &str) -> Shapes {
    let rest = |(name, shape): (&String, &Vec<usize>)| {
        Some((name.strip_prefix(prefix)?.to_owned(), shape.clone()))
    };
    shapes.iter().filter_map(rest).collect()
}

/// The sides of a tensor, if there is one of this name with so many.
pub(super) fn sides<const N: usize>(shapes: &Shapes, name: &str) -> Option<[usize; N]> {
    shapes.get(name)?.as_slice().try_into().ok()
}

/// How many of the names that `name` gives to 0, 1, 2, … there are, one after another.
pub(super) fn run_of(shapes: &Shapes, name: impl Fn(usize) -> String) -> usize {
    (0..=shapes.len())
        .take_while(|i| shapes.contains_key(&name(*i)))
        .count()
}

/// A layout as it is written down.
#[derive(Debug, Default)]
pub(super) struct Keys(pub Shapes);

impl Keys {
    /// A tensor.
    pub(super) fn put(&mut self, name: impl Into<String>, shape: &[usize]) {
        self.0.insert(name.into(), shape.to_vec());
    }

    /// A weight of this shape and a bias for each of its rows.
    pub(super) fn affine(&mut self, stem: &str, shape: &[usize]) {
        self.put(format!("{stem}.weight"), shape);
        self.put(format!("{stem}.bias"), &shape[..1]);
    }

    /// A normalisation of so many channels.
    pub(super) fn norm(&mut self, stem: &str, channels: usize) {
        self.affine(stem, &[channels]);
    }

    /// A convolution with a bias.
    pub(super) fn conv(&mut self, stem: &str, [outputs, inputs, side]: [usize; 3]) {
        self.affine(stem, &[outputs, inputs, side, side]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_that_of_the_sorted_lines() {
        let mut keys = Keys::default();
        keys.put("b", &[]);
        keys.put("a.weight", &[2, 3]);
        // printf 'a.weight\t2,3\nb\t' | sha256sum
        assert_eq!(fingerprint(&keys.0), "5e0db03ce2e94fd0");
        assert_eq!(elements(keys.0.values()), 7);
    }
}
