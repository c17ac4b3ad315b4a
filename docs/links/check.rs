//! Links that lead nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{API, below, files, read};

/// The values of an attribute.
pub fn attributes<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let open = format!(" {name}=\"");
    let starts = text.match_indices(&open).map(|(at, _)| at + open.len());
    starts
        .filter_map(|at| text[at..].split('"').next())
        .collect()
}

/// Every link of a page of the book, and every link of the rustdoc to the book, whose file or anchor is missing.
pub fn dead_links(book: &Path) -> Result<Vec<String>> {
    let mut anchors = BTreeMap::<PathBuf, BTreeSet<String>>::new();
    let mut dead = Vec::new();
    for page in files(book, ".html")? {
        let (text, place) = (read(&page)?, below(book, &page));
        let in_api = place.starts_with(&format!("{API}/"));
        if place.starts_with(&format!("{API}/src/")) {
            continue; // rustdoc's own pages of source
        }
        let folder = page.parent().unwrap_or(book);
        let targets = attributes(&text, "href")
            .into_iter()
            .chain(attributes(&text, "src"));
        for link in targets.filter(|l| !leaves(l)) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                page.clone()
            } else {
                folder.join(file)
            };
            // rustdoc asks for the list of a trait's implementors whether or not there are any.
            let implementors = in_api && file.contains("trait.impl/");
            if !target.exists() && !implementors {
                dead.push(format!("{place}: {link}"));
            }
            if !target.exists() {
                continue;
            }
            // rustdoc's anchors are partly made by its script; those of the book are all in the page.
            let label = ["eq:", "thm:"].iter().any(|kind| anchor.starts_with(kind));
            if anchor.is_empty() || (in_api && !label) || below(book, &target).starts_with(API) {
                continue;
            }
            let target = target.canonicalize()?;
            if !anchors.contains_key(&target) {
                let text = read(&target)?;
                let ids = attributes(&text, "id").into_iter().map(str::to_owned);
                anchors.insert(target.clone(), ids.collect());
            }
            if !anchors[&target].contains(anchor) {
                dead.push(format!("{place}: {link}"));
            }
        }
    }
    Ok(dead)
}

/// Whether a link leaves the book.
fn leaves(link: &str) -> bool {
    link.contains("://")
        || link.starts_with("data:")
        || link.starts_with("mailto:")
        || link.starts_with("javascript:")
}
