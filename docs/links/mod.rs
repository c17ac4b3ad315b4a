//! Links between the built book and its rustdoc, from labels: `cargo run -p sadm-docs --example links -- docs/book`.
//!
//! A label such as `eq:c-skip` is the `id` of an anchor in a chapter and stands in brackets in a doc comment. Here the
//! two ends are tied: each label in the chapter gets the pages of the items that cite it, each citation in the
//! rustdoc gets the chapter. What is tied is what the tools wrote, so a label that no page of the rustdoc cites is
//! linked to the line of the source; a label without any other end, or a link to a file that is not there, is an error.
//! The items that a chapter names by their path become links too, and a label says which chapters speak of it.

mod check;
mod html;
mod letters;
mod paths;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use html::{Citation, escaped_line};

/// Folder of the rustdoc inside the book.
pub const API: &str = "api";
/// Most links at one label: beyond, a reader is better served by the search.
const MOST: usize = 6;

/// What was tied.
#[derive(Debug, PartialEq, Eq)]
pub struct Summary {
    /// Labels in the book.
    pub labels: usize,
    /// Links from the book to the rustdoc.
    pub forth: usize,
    /// Links from the rustdoc to the book.
    pub back: usize,
    /// Items that the book names by their path.
    pub named: usize,
}

/// Files below a folder with this ending, sorted.
fn files(folder: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, ending)?);
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The chapters: pages at the top of the book but for the one that repeats them all.
fn chapters(book: &Path) -> Result<Vec<PathBuf>> {
    let mut pages = files(book, ".html")?;
    pages.retain(|p| p.parent() == Some(book));
    Ok(pages)
}

/// Whether a page repeats what other pages say.
fn repeats(page: &Path) -> bool {
    let name = page.file_name().unwrap_or_default().to_string_lossy();
    ["print.html", "index.html", "404.html", "toc.html"].contains(&name.as_ref())
}

/// The path of a file below a folder, with `/`.
fn below(folder: &Path, path: &Path) -> String {
    let relative = path.strip_prefix(folder).unwrap_or(path);
    let parts = relative
        .components()
        .map(|c| c.as_os_str().to_string_lossy());
    parts.collect::<Vec<_>>().join("/")
}

/// The page on top of the rustdoc, which rustdoc itself links to and does not write.
fn write_api_index(book: &Path) -> Result<()> {
    let api = book.join(API);
    let mut items = String::new();
    for page in files(&api, "index.html")? {
        let place = below(&api, &page);
        if !place.starts_with("src/") && place.matches('/').count() == 1 {
            let name = place.trim_end_matches("/index.html");
            items += &["<li>", &html::anchor(&place, name), "</li>"].concat();
        }
    }
    let page = [
        "<!DOCTYPE html><meta charset=\"utf-8\"><title>The code</title>",
        "<p>",
        &html::anchor("../index.html", "The book"),
        "</p><ul>",
        &items,
        "</ul>\n",
    ];
    let path = api.join("index.html");
    fs::write(&path, page.concat()).with_context(|| format!("cannot write {}", path.display()))
}

/// Ties both ends and checks every link.
///
/// # Errors
/// Names every label without an end and every dead link; files that cannot be read or written.
pub fn tie(book: &Path) -> Result<Summary> {
    write_api_index(book)?;
    let mut defined = BTreeMap::<String, String>::new();
    let pages = chapters(book)?;
    for page in pages.iter().filter(|p| !repeats(p)) {
        for label in html::defined(&read(page)?) {
            defined.insert(label, below(book, page));
        }
    }
    let mut cited = BTreeMap::<String, Vec<Citation>>::new();
    let mut back = 0;
    for page in files(&book.join(API), ".html")? {
        let place = below(book, &page);
        if place.starts_with("api/src/") {
            continue;
        }
        let text = read(&page)?;
        for (label, citation) in html::cited(&text, &place) {
            cited.entry(label).or_default().push(citation);
        }
        let up = "../".repeat(place.matches('/').count());
        let (linked, count) = html::with_chapters(&text, &defined, &up);
        back += count;
        if count > 0 {
            fs::write(&page, linked).with_context(|| format!("cannot write {}", page.display()))?;
        }
    }
    for page in files(&book.join(API).join("src"), ".html")? {
        let (text, place) = (read(&page)?, below(book, &page));
        for (label, line) in html::source_lines(&text) {
            let known = cited.entry(label).or_default();
            if known.is_empty() {
                known.push(Citation::source(&place, line));
            }
        }
    }
    let wrong = one_ended(&defined, &cited);
    if !wrong.is_empty() {
        bail!("labels without both ends:\n{}", wrong.join("\n"));
    }
    let told = told::told(book, &pages)?;
    let forth = write_forth(&pages, &cited, &told)?;
    let named = paths::link(book, &pages)?;
    let dead = check::dead_links(book)?;
    if !dead.is_empty() {
        bail!("dead links:\n{}", dead.join("\n"));
    }
    Ok(Summary {
        labels: defined.len(),
        forth,
        back,
        named,
    })
}

/// Labels of one side only.
fn one_ended(
    defined: &BTreeMap<String, String>,
    cited: &BTreeMap<String, Vec<Citation>>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (label, page) in defined {
        if !cited.contains_key(label) {
            wrong.push(format!("{label}: in {page}, nowhere in the rustdoc"));
        }
    }
    for (label, places) in cited {
        if !defined.contains_key(label) {
            wrong.push(format!(
                "{label}: in {}, nowhere in the book",
                places[0].href
            ));
        }
    }
    wrong
}

/// Puts the links of each label behind its anchor.
fn write_forth(
    pages: &[PathBuf],
    cited: &BTreeMap<String, Vec<Citation>>,
    told: &told::Told,
) -> Result<usize> {
    let mut forth = 0;
    for page in pages {
        let text = letters::styled_letters(&read(page)?);
        let mut text = letters::spaced_functions(&text);
        let labels: BTreeSet<String> = html::defined(&text).into_iter().collect();
        for label in labels {
            let Some(places) = cited.get(&label) else {
                continue;
            };
            let places = html::best(places, MOST);
            if !repeats(page) {
                forth += places.len();
            }
            let links: Vec<String> = places
                .iter()
                .map(|c| {
                    let name = format!("<code>{}</code>", escaped_line(&c.name));
                    html::anchor(&c.href, &name)
                })
                .collect();
            let anchor = format!("<a id=\"{label}\"></a>");
            let line = format!(
                "{anchor}<span class=\"in-code\"><code>{label}</code> in the code: {}{}</span>",
                links.join(", "),
                told::sentence(told.get(&label))
            );
            text = text.replace(&anchor, &line);
        }
        fs::write(page, text).with_context(|| format!("cannot write {}", page.display()))?;
    }
    Ok(forth)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A book of one chapter with one function.
    fn planted(chapter: &str, item: &str) -> Result<tempfile::TempDir> {
        let folder = tempfile::tempdir()?;
        let api = folder.path().join("api/sadm_theory/laws");
        fs::create_dir_all(&api)?;
        fs::create_dir_all(folder.path().join("api/src/sadm_theory"))?;
        fs::write(folder.path().join("index.html"), "")?;
        fs::write(folder.path().join("01-a.html"), chapter)?;
        fs::write(api.join("fn.find.html"), item)?;
        Ok(folder)
    }

    const CHAPTER: &str = "<p><a id=\"eq:a\"></a></p>";
    const ITEM: &str = "<section id=\"main-content\"><div class=\"docblock\"><p>Sum. <code>[eq:a]</code></p></div></section>";

    #[test]
    fn both_ends_are_tied() -> Result<()> {
        let book = planted(CHAPTER, ITEM)?;
        let summary = tie(book.path())?;
        assert_eq!(
            summary,
            Summary {
                labels: 1,
                forth: 1,
                back: 1,
                named: 0
            }
        );
        let chapter = read(&book.path().join("01-a.html"))?;
        assert!(
            chapter.contains(
                "<a href=\"api/sadm_theory/laws/fn.find.html\"><code>laws::find</code></a>"
            ),
            "{chapter}"
        );
        let item = read(&book.path().join("api/sadm_theory/laws/fn.find.html"))?;
        assert!(
            item.contains("<a href=\"../../../01-a.html#eq:a\"><code>[eq:a]</code></a>"),
            "{item}"
        );
        Ok(())
    }

    #[test]
    fn a_label_with_one_end_is_named() -> Result<()> {
        let alone = tie(planted(CHAPTER, "")?.path()).expect_err("no citation");
        assert!(
            alone
                .to_string()
                .contains("eq:a: in 01-a.html, nowhere in the rustdoc"),
            "{alone}"
        );
        let lost = tie(planted("", ITEM)?.path()).expect_err("no definition");
        assert!(lost.to_string().contains("nowhere in the book"), "{lost}");
        Ok(())
    }

    #[test]
    fn a_dead_link_is_named() -> Result<()> {
        let chapter = format!("{CHAPTER}<a href=\"02-b.html\">b</a>");
        let dead = tie(planted(&chapter, ITEM)?.path()).expect_err("a dead link");
        assert!(dead.to_string().contains("01-a.html: 02-b.html"), "{dead}");
        let chapter = format!("{CHAPTER}<a href=\"#eq:b\">b</a>");
        let dead = tie(planted(&chapter, ITEM)?.path()).expect_err("a dead anchor");
        assert!(dead.to_string().contains("01-a.html: #eq:b"), "{dead}");
        Ok(())
    }

    #[test]
    fn a_private_item_is_linked_to_its_line() -> Result<()> {
        let book = planted(CHAPTER, "")?;
        let source = book.path().join("api/src/sadm_theory/game.rs.html");
        fs::write(&source, "<a href=#7 id=7 data-nosnippet>7</a>/// `[eq:a]`")?;
        tie(book.path())?;
        let chapter = read(&book.path().join("01-a.html"))?;
        assert!(chapter.contains("<a href=\"api/src/sadm_theory/game.rs.html#7\"><code>theory/src/game.rs:7</code></a>"), "{chapter}");
        Ok(())
    }
}
