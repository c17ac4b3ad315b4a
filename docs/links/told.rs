//! Where the chapters speak of a label that another page defines: the way from the code to the derivation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::check::attributes;
use super::html::anchor;
use super::{below, read, repeats};

/// For each label the pages that link to it from elsewhere, and their titles.
pub type Told = BTreeMap<String, BTreeMap<String, String>>;

/// Collects the links between chapters whose end is a label.
pub fn told(book: &Path, pages: &[PathBuf]) -> Result<Told> {
    let mut told = Told::new();
    for page in pages.iter().filter(|p| !repeats(p)) {
        let (text, place) = (read(page)?, below(book, page));
        let title = title(&text).unwrap_or(&place);
        for link in attributes(&text, "href") {
            let Some((file, label)) = link.split_once('#') else {
                continue;
            };
            let is_label = ["eq:", "thm:"].iter().any(|kind| label.starts_with(kind));
            if is_label && !file.is_empty() && file != place {
                let pages = told.entry(label.to_owned()).or_default();
                pages.insert(place.clone(), title.to_owned());
            }
        }
    }
    Ok(told)
}

/// The words of the first heading.
fn title(text: &str) -> Option<&str> {
    let (_, heading) = text.split_once("<h1 id=")?;
    let (_, words) = heading.split_once("class=\"header\"")?;
    words.split_once('>')?.1.split('<').next()
}

/// `; told in …`, or nothing.
pub fn sentence(pages: Option<&BTreeMap<String, String>>) -> String {
    let Some(pages) = pages else {
        return String::new();
    };
    let links: Vec<String> = pages
        .iter()
        .map(|(page, title)| anchor(page, title))
        .collect();
    format!("; told in {}", links.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_pages_that_link_to_a_label_are_named() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let heading = "<h1 id=\"a\"><a class=\"header\" href=\"#a\">A story</a></h1>";
        let pages = [
            ("01-a.html", format!("{heading}<a href=\"02-b.html#eq:c\">c</a> <a href=\"02-b.html#eq:c\">c</a> <a href=\"#eq:d\">d</a>")),
            ("02-b.html", "<a id=\"eq:c\"></a> <a href=\"02-b.html#eq:c\">here</a> <a href=\"01-a.html#a\">a</a>".to_owned()),
            ("print.html", "<a href=\"02-b.html#eq:c\">c</a>".to_owned()),
        ];
        let pages: Vec<PathBuf> = pages
            .iter()
            .map(|(name, text)| {
                let page = folder.path().join(name);
                fs::write(&page, text).map(|()| page)
            })
            .collect::<Result<_, _>>()?;
        let told = told(folder.path(), &pages)?;
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(
            sentence(told.get("eq:c")),
            "; told in <a href=\"01-a.html\">A story</a>"
        );
        assert_eq!(sentence(told.get("eq:d")), "");
        Ok(())
    }
}
