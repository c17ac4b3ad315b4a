//! Names in messages: quoted lists and the nearest known name.

/// `` `a`, `b`, `c` ``.
pub fn quoted<S: AsRef<str>>(names: &[S]) -> String {
    names
        .iter()
        .map(|name| format!("`{}`", name.as_ref()))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The known name that `got` was probably meant to be.
///
/// Nearest by Damerau–Levenshtein distance among those at most half the name away, so that a wild
/// guess gets no suggestion.
pub fn nearest<'a>(got: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(got, name), name))
        .filter(|(distance, name)| 2 * distance <= name.chars().count().max(2))
        .min()
        .map(|(_, name)| name)
}

/// `unknown WHAT `got`; did you mean `x`?` or, where nothing is near, the list of known names.
pub fn unknown(what: &str, got: &str, known: &[&str]) -> String {
    if known.is_empty() {
        return format!("unknown {what} `{got}`; there are none here");
    }
    match nearest(got, known.iter().copied()) {
        Some(name) => format!("unknown {what} `{got}`; did you mean `{name}`?"),
        None => format!("unknown {what} `{got}`; known: {}", quoted(known)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_a_wild_guess_finds_none() {
        let known = ["bandwidth", "delta", "relation"];
        assert_eq!(nearest("bandwith", known), Some("bandwidth"));
        assert_eq!(nearest("detla", known), Some("delta"));
        assert_eq!(nearest("zzz", known), None);
    }
}
