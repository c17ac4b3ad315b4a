//! Which keys of configurations differ.

use std::collections::BTreeMap;

/// A key and its value in each configuration; nothing where one has no such key.
pub type Difference<'a> = (&'a str, Vec<Option<&'a str>>);

/// The keys in which the configurations differ, in order.
pub fn differences<'a>(configurations: &[&'a BTreeMap<String, String>]) -> Vec<Difference<'a>> {
    let mut keys: Vec<&str> = configurations
        .iter()
        .flat_map(|keys| keys.keys())
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter()
        .map(|key| {
            let values = configurations
                .iter()
                .map(|keys| keys.get(key).map(String::as_str));
            (key, values.collect::<Vec<_>>())
        })
        .filter(|(_, values)| values.iter().any(|value| *value != values[0]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_listed() {
        let keys = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        let a = keys(&[("seed", "0"), ("train.steps", "9"), ("only.a", "x")]);
        let b = keys(&[("seed", "0"), ("train.steps", "8")]);
        assert_eq!(
            differences(&[&a, &b]),
            [
                ("only.a", vec![Some("x"), None]),
                ("train.steps", vec![Some("9"), Some("8")]),
            ]
        );
        assert_eq!(differences(&[&a, &a]), []);
    }
}
