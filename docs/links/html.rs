//! What the pages that mdBook and rustdoc write say about labels.

use std::collections::{BTreeMap, BTreeSet};

/// One place that cites a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Citation {
    /// Address from the book's folder.
    pub href: String,
    /// Path of the item as a reader would write it, or file and line.
    pub name: String,
}

impl Citation {
    /// An item of the rustdoc: its page, and the id of the member on it.
    fn item(place: &str, member: Option<&str>) -> Self {
        let path = place.trim_start_matches("api/").trim_end_matches(".html");
        let mut parts: Vec<&str> = path.split('/').collect();
        let file = parts.pop().unwrap_or_default();
        let own = file.split_once('.').map_or("", |(_, name)| name);
        let member_name = member.and_then(|m| m.split_once('.')).map(|(_, name)| name);
        let name = match (own, member_name) {
            ("", _) => parts.join("::"), // a module
            (own, Some(member)) => format!("{own}::{member}"),
            (own, None) if file.starts_with("fn.") => {
                let module = parts.last().map(|m| format!("{m}::")).unwrap_or_default();
                module + own
            }
            (own, None) => own.to_owned(),
        };
        let fragment = member.map(|m| format!("#{m}")).unwrap_or_default();
        Self {
            href: format!("{place}{fragment}"),
            name,
        }
    }

    /// A line of a source.
    pub fn source(place: &str, line: usize) -> Self {
        let path = place
            .trim_start_matches("api/src/sadm_")
            .trim_end_matches(".html");
        let (package, file) = path.split_once('/').unwrap_or(("", path));
        Self {
            href: format!("{place}#{line}"),
            name: format!("{package}/src/{file}:{line}"),
        }
    }

    /// Smaller is a better place to send a reader to: what defines before what repeats, functions before types.
    fn rank(&self) -> usize {
        let kinds = [
            "#tymethod.",
            "fn.",
            "#method.",
            "trait.",
            "struct.",
            "enum.",
        ];
        let found = kinds.iter().position(|kind| self.href.contains(kind));
        found.unwrap_or(kinds.len())
    }
}

/// Whether this is a label: `eq:` or `thm:` and a name in kebab-case.
fn is_label(text: &str) -> bool {
    let name = text
        .strip_prefix("eq:")
        .or_else(|| text.strip_prefix("thm:"));
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.is_some_and(|n| !n.is_empty() && n.chars().all(fits))
}

/// The labels between `open` and `close`, each with where `open` begins.
fn labels<'a>(
    text: &'a str,
    open: &'a str,
    close: &'a str,
) -> impl Iterator<Item = (usize, &'a str)> {
    text.match_indices(open).filter_map(move |(at, _)| {
        let (label, _) = text[at + open.len()..].split_once(close)?;
        is_label(label).then_some((at, label))
    })
}

/// The labels that a chapter defines.
pub fn defined(text: &str) -> Vec<String> {
    labels(text, "<a id=\"", "\"></a>")
        .map(|(_, label)| label.to_owned())
        .collect()
}

/// The places of a rustdoc page that cite a label, outside its table of contents.
pub fn cited(text: &str, place: &str) -> Vec<(String, Citation)> {
    let mut found = Vec::new();
    for (at, label) in citations(text) {
        let before = &text[..at];
        // A module's list of items repeats their first lines.
        if before.rfind("class=\"docblock\"") > before.rfind("class=\"item-table\"") {
            found.push((label.to_owned(), Citation::item(place, member(before))));
        }
    }
    found
}

/// `<code>[label]</code>` in the page's own text.
fn citations(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let main = text.find("id=\"main-content\"").unwrap_or(0);
    labels(text, "<code>[", "]</code>").filter(move |(at, _)| *at > main)
}

/// The id of the method, variant or constant that the text before a place is about.
fn member(before: &str) -> Option<&str> {
    let kinds = [
        "method.",
        "tymethod.",
        "variant.",
        "associatedconstant.",
        "structfield.",
    ];
    let starts = kinds.iter().filter_map(|kind| {
        let id = format!(" id=\"{kind}");
        before.rfind(&id).map(|at| at + " id=\"".len())
    });
    let last = starts.max()?;
    before[last..].split('"').next()
}

/// A link around a piece of a page.
pub fn anchor(href: &str, inner: &str) -> String {
    format!("<a href=\"{href}\">{inner}</a>")
}

/// A rustdoc page whose citations lead to the chapters, `up` being the way to the book's folder; and how many do.
pub fn with_chapters(text: &str, defined: &BTreeMap<String, String>, up: &str) -> (String, usize) {
    let (mut linked, mut rest, mut count) = (String::new(), 0, 0);
    for (at, label) in citations(text) {
        if let Some(page) = defined.get(label) {
            let end = at + format!("<code>[{label}]</code>").len();
            linked += &text[rest..at];
            linked += &anchor(&format!("{up}{page}#{label}"), &text[at..end]);
            rest = end;
            count += 1;
        }
    }
    (linked + &text[rest..], count)
}

/// The labels that a source page cites, with their lines.
pub fn source_lines(text: &str) -> Vec<(String, usize)> {
    let line = |at: usize| -> Option<usize> {
        let id = text[..at].rfind(" id=")?;
        text[id + 4..]
            .split(' ')
            .next()?
            .trim_matches('"')
            .parse()
            .ok()
    };
    labels(text, "[", "]")
        .filter_map(|(at, label)| Some((label.to_owned(), line(at)?)))
        .collect()
}

/// The best places, one for each name; a member that several pages repeat counts where it is defined.
pub fn best(places: &[Citation], most: usize) -> Vec<Citation> {
    let mut sorted = places.to_vec();
    sorted.sort_by_key(|c| (c.rank(), c.href.clone()));
    let of_trait = |c: &Citation| c.href.contains("/trait.");
    let member = |c: &Citation| {
        let (_, id) = c.href.rsplit_once('#')?;
        id.split_once('.').map(|(_, name)| name.to_owned())
    };
    let of_traits = sorted.iter().filter(|c| of_trait(c));
    let of_traits: BTreeSet<String> = of_traits.filter_map(member).collect();
    let mut names = BTreeSet::new();
    sorted.retain(|c| {
        let repeated = member(c).is_some_and(|m| of_traits.contains(&m));
        (of_trait(c) || !repeated) && names.insert(c.name.clone())
    });
    sorted.truncate(most);
    sorted
}

/// Text inside markup.
pub fn escaped_line(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_has_the_name_a_reader_would_write() {
        let name = |place: &str, member| Citation::item(place, member).name;
        assert_eq!(
            name(
                "api/sadm_theory/laws/struct.FiniteLaw.html",
                Some("method.posterior")
            ),
            "FiniteLaw::posterior"
        );
        assert_eq!(
            name("api/sadm_reference/schedule/fn.eta.html", None),
            "schedule::eta"
        );
        assert_eq!(
            name("api/sadm_theory/statements/struct.Tweedie.html", None),
            "Tweedie"
        );
        assert_eq!(
            name("api/sadm_theory/laws/index.html", None),
            "sadm_theory::laws"
        );
    }

    #[test]
    fn a_repeated_trait_method_is_linked_once() {
        let places = [
            Citation::item("api/r/s/struct.Edm.html", Some("method.lambda")),
            Citation::item("api/r/s/trait.Schedule.html", Some("tymethod.lambda")),
        ];
        let best = best(&places, 6);
        assert_eq!(best.len(), 1);
        assert_eq!(best[0].name, "Schedule::lambda");
    }

    #[test]
    fn the_table_of_contents_is_left_alone() {
        let page = "<nav><code>[eq:a]</code></nav><section id=\"main-content\"><div class=\"docblock\"><code>[eq:a]</code>";
        assert_eq!(cited(page, "api/c/fn.f.html").len(), 1);
        let chapters = BTreeMap::from([("eq:a".to_owned(), "01.html".to_owned())]);
        let (linked, count) = with_chapters(page, &chapters, "../../");
        assert_eq!(count, 1);
        assert!(linked.ends_with("<a href=\"../../01.html#eq:a\"><code>[eq:a]</code></a>"));
    }
}
