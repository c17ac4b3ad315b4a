//! Items that a chapter names by their path, `sadm_reference::forward::posterior`, linked to their pages.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::html::anchor;
use super::{API, below, files, read};

/// The beginning of a path in a chapter, after which the package is named.
const OPEN: &str = "<code>sadm_";
/// What rustdoc calls the members of an item on its page.
const MEMBERS: [&str; 5] = [
    "method",
    "tymethod",
    "variant",
    "structfield",
    "associatedconstant",
];

/// Links every path in the chapters, and says how many; a path that names no public item is an error.
pub fn link(book: &Path, pages: &[PathBuf]) -> Result<usize> {
    let items = items(book)?;
    let (mut count, mut unknown) = (0, Vec::new());
    for page in pages {
        let text = read(page)?;
        let (mut linked, mut rest) = (String::new(), 0);
        for (at, path) in paths(&text) {
            let Some(href) = address(book, &items, path)? else {
                unknown.push(format!("{}: {path}", below(book, page)));
                continue;
            };
            let end = at + "<code></code>".len() + path.len();
            linked += &text[rest..at];
            linked += &anchor(&href, &text[at..end]);
            rest = end;
            count += 1;
        }
        linked += &text[rest..];
        fs::write(page, linked).with_context(|| format!("cannot write {}", page.display()))?;
    }
    if !unknown.is_empty() {
        bail!("paths of no public item:\n{}", unknown.join("\n"));
    }
    Ok(count)
}

/// The paths that stand in code of their own and are no link yet, each with where its element begins.
fn paths(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    text.match_indices(OPEN).filter_map(move |(at, _)| {
        let (path, _) = text[at + "<code>".len()..].split_once("</code>")?;
        let before = &text[..at];
        let in_link = before.rfind("<a ") > before.rfind("</a>");
        (path.chars().all(plain) && !in_link).then_some((at, path))
    })
}

/// The page of every public item and module of the rustdoc, by each of its paths.
fn items(book: &Path) -> Result<BTreeMap<String, String>> {
    let (mut items, mut aliases) = (BTreeMap::new(), Vec::new());
    for page in files(&book.join(API), ".html")? {
        let place = below(book, &page);
        let inside = place.trim_start_matches(API).trim_start_matches('/');
        let Some((module, file)) = inside.rsplit_once('/') else {
            continue;
        };
        let module = module.replace('/', "::");
        let name = file.trim_end_matches(".html").split_once('.');
        if file == "index.html" {
            aliases.extend(reexports(&read(&page)?, &module));
            items.insert(module, place);
        } else if let Some((_, name)) = name {
            items.insert(format!("{module}::{name}"), place);
        }
    }
    for (alias, path) in aliases {
        if let Some(place) = items.get(&path).cloned() {
            items.insert(alias, place);
        }
    }
    Ok(items)
}

/// What a module takes from others without a page of its own for it: the path here, and the path there.
fn reexports(index: &str, module: &str) -> Vec<(String, String)> {
    let entries = index.split(" id=\"reexport.").skip(1);
    let pair = |entry: &str| {
        let (name, rest) = entry.split_once('"')?;
        let (own, _) = rest.split_once("</dt>")?;
        // The last link of the entry is the item's own, with its kind and path as title.
        let (_, title) = own.rsplit_once(" title=\"")?;
        let (_, path) = title.split_once('"')?.0.split_once(' ')?;
        Some((format!("{module}::{name}"), path.to_owned()))
    };
    entries.filter_map(pair).collect()
}

/// Where a path leads: to the page of an item, or to a member on the page of one.
fn address(book: &Path, items: &BTreeMap<String, String>, path: &str) -> Result<Option<String>> {
    if let Some(place) = items.get(path) {
        return Ok(Some(place.clone()));
    }
    let Some((item, member)) = path.rsplit_once("::") else {
        return Ok(None);
    };
    let Some(place) = items.get(item) else {
        return Ok(None);
    };
    let text = read(&book.join(place))?;
    let ids = MEMBERS.iter().map(|kind| format!("{kind}.{member}"));
    let id = ids
        .into_iter()
        .find(|id| text.contains(&format!(" id=\"{id}\"")));
    Ok(id.map(|id| format!("{place}#{id}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rustdoc of one function, and of one type with one method, taken from the module below.
    fn planted(chapter: &str) -> Result<(tempfile::TempDir, PathBuf)> {
        let folder = tempfile::tempdir()?;
        let laws = folder.path().join("api/sadm_theory/laws");
        fs::create_dir_all(laws.join("finite"))?;
        let index = "<dt id=\"reexport.Law\"><code>pub use <a href=\"finite/index.html\" title=\"mod sadm_theory::laws::finite\">\
                     finite</a>::<a title=\"struct sadm_theory::laws::finite::Law\">Law</a>;</code></dt>";
        fs::write(laws.join("index.html"), index)?;
        fs::write(laws.join("fn.find.html"), "")?;
        fs::write(
            laws.join("finite/struct.Law.html"),
            "<section id=\"method.mean\">",
        )?;
        let page = folder.path().join("01-a.html");
        fs::write(&page, chapter)?;
        Ok((folder, page))
    }

    #[test]
    fn a_path_leads_to_its_page() -> Result<()> {
        let chapter = "<p>α <code>sadm_theory::laws::find</code>, <code>sadm_theory::laws</code>, \
                       <code>sadm_theory::laws::Law::mean</code>.</p>";
        let (book, page) = planted(chapter)?;
        assert_eq!(link(book.path(), std::slice::from_ref(&page))?, 3);
        let linked = read(&page)?;
        for href in [
            "api/sadm_theory/laws/fn.find.html",
            "api/sadm_theory/laws/index.html",
            "api/sadm_theory/laws/finite/struct.Law.html#method.mean",
        ] {
            assert!(
                linked.contains(&format!("<a href=\"{href}\"><code>")),
                "{linked}"
            );
        }
        assert!(linked.ends_with("</code></a>.</p>"), "{linked}");
        Ok(())
    }

    #[test]
    fn a_path_to_nothing_is_named() -> Result<()> {
        for path in ["sadm_theory::laws::lost", "sadm_theory::laws::Law::lost"] {
            let (book, page) = planted(&format!("<code>{path}</code>"))?;
            let error = link(book.path(), &[page]).expect_err("no such item");
            assert!(
                error.to_string().contains(&format!("01-a.html: {path}")),
                "{error}"
            );
        }
        Ok(())
    }

    #[test]
    fn links_and_other_code_are_left_alone() -> Result<()> {
        let chapter = "<a href=\"b.html\"><code>sadm_theory::laws::find</code></a> \
                       <code>sadm_gpu::Patches&lt;R&gt;::fill</code>";
        let (book, page) = planted(chapter)?;
        assert_eq!(link(book.path(), std::slice::from_ref(&page))?, 0);
        assert_eq!(read(&page)?, chapter);
        Ok(())
    }
}
