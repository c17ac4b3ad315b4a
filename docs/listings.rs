//! Functions that the book shows, cut out of the sources when the book is built, so that a page shows what runs.
//!
//! A chapter names what it shows in the file that it includes: `../generated/code/FILE/ITEM.rs`, where `FILE` is a
//! source and `ITEM` the name of a function, struct or enum in it, or `TYPE.METHOD`. `cargo run -p sadm-docs --example
//! listings` writes all of them.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};

/// Where the book looks for what it shows.
pub const FOLDER: &str = "docs/generated/code";

/// How an include of a chapter begins that shows code.
const INCLUDE: &str = "{{#include ../generated/code/";

/// What a chapter shows of the code: source file and item.
pub fn shown(chapter: &str) -> Result<Vec<(String, String)>> {
    let pieces = chapter.split(INCLUDE).skip(1);
    let targets = pieces.filter_map(|p| p.split_once("}}"));
    targets
        .map(|(target, _)| {
            let parts = target.strip_suffix(".rs").and_then(|t| t.rsplit_once('/'));
            let (file, item) = parts.ok_or_else(|| anyhow!("{target} is no FILE/ITEM.rs"))?;
            Ok((file.to_owned(), item.to_owned()))
        })
        .collect()
}

/// An item of a source file: its signature and body without documentation, moved to the left margin.
///
/// # Errors
/// If the file has no such item, or several.
pub fn item(source: &str, name: &str) -> Result<String> {
    let lines: Vec<&str> = source.lines().collect();
    let (lines, name) = match name.split_once('.') {
        Some((of, method)) => (implemented(&lines, of), method),
        None => (lines, name),
    };
    let starts = lines.iter().enumerate().filter(|(_, l)| begins(l, name));
    let mut starts: Vec<_> = starts.collect();
    // A function of the module rather than methods of the same name.
    if starts.iter().any(|(_, l)| !l.starts_with(' ')) {
        starts.retain(|(_, l)| !l.starts_with(' '));
    }
    let [(start, first)] = starts[..] else {
        if starts.is_empty() {
            bail!("no item {name}");
        }
        bail!("several items {name}: say TYPE.{name}");
    };
    let margin = first.len() - first.trim_start().len();
    let alone = first.ends_with(';') || first.ends_with('}');
    let ends = |l: &&str| {
        l.len() > margin && l[..margin].trim().is_empty() && ["}", "};"].contains(&&l[margin..])
    };
    let length = if alone {
        0
    } else {
        let end = lines[start..].iter().position(ends);
        end.ok_or_else(|| anyhow!("{name} does not end"))?
    };
    let body = &lines[start..=start + length];
    let kept = body.iter().map(|l| l.get(margin..).unwrap_or_default());
    Ok(kept.collect::<Vec<_>>().join("\n"))
}

/// Whether a line begins an item of this name.
fn begins(line: &str, name: &str) -> bool {
    let mut rest = line.trim_start();
    for word in ["pub(super) ", "pub(crate) ", "pub ", "const "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    if rest.starts_with(name) && line.contains(&format!("const {name}: ")) {
        return true;
    }
    ["fn ", "struct ", "enum ", "trait "].iter().any(|kind| {
        let after = rest.strip_prefix(kind).and_then(|r| r.strip_prefix(name));
        after.is_some_and(|a| !a.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    })
}

/// The lines of all `impl` blocks of a type, and of a trait of that name.
fn implemented<'a>(lines: &[&'a str], of: &str) -> Vec<&'a str> {
    let mut inside = false;
    let opens = |line: &str| {
        let head = line.trim_end_matches([' ', '{']);
        let subject = head.strip_prefix("impl").map(|h| {
            let generics = h.starts_with('<').then(|| h.split_once("> "));
            let h = generics.flatten().map_or(h, |(_, h)| h);
            let last = h.rsplit(" for ").next().unwrap_or(h);
            last.trim().split('<').next().unwrap_or_default().trim()
        });
        line.ends_with('{') && (subject == Some(of) || begins(line, of) && head.contains("trait "))
    };
    let kept = lines.iter().filter(|line| {
        if line.starts_with('}') {
            inside = false;
        }
        let within = inside;
        inside |= opens(line);
        within
    });
    kept.copied().collect()
}

/// What the book shows for an item: where it is from, and the item.
///
/// # Errors
/// Names the file and the item.
pub fn listing(root: &Path, file: &str, name: &str) -> Result<String> {
    let source =
        fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {file}"))?;
    let item = item(&source, name).with_context(|| file.to_owned())?;
    Ok(format!("// {file}\n{item}\n"))
}

/// Writes everything that the chapters show, into [`FOLDER`] below `root`.
///
/// # Errors
/// If a chapter shows what is not there, or a file cannot be read or written.
pub fn write(root: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(root.join("docs/src"))? {
        let path = entry?.path();
        if path.extension() != Some("md".as_ref()) {
            continue;
        }
        let chapter = fs::read_to_string(&path)?;
        for (file, name) in shown(&chapter).with_context(|| path.display().to_string())? {
            let text = listing(root, &file, &name).with_context(|| path.display().to_string())?;
            let folder = root.join(FOLDER).join(&file);
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
            fs::write(folder.join(format!("{name}.rs")), text)?;
            count += 1;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "/// One.\npub fn one(\n    a: f64,\n) -> f64 {\n    if a > 0.0 {\n        a\n    } else {\n        0.0\n    }\n}\n\n\
        impl A {\n    /// Two.\n    pub fn step(&self) -> f64 {\n        2.0\n    }\n}\n\nimpl<'a> T for B<'a> {\n    fn step(&self) -> f64 {\n        3.0\n    }\n}\n\
        fn one_more() {}\n";

    #[test]
    fn an_item_is_cut_out_whole() -> Result<()> {
        let one = item(SOURCE, "one")?;
        assert!(one.starts_with("pub fn one(\n    a: f64,\n"), "{one}");
        assert!(one.ends_with("        0.0\n    }\n}"), "{one}");
        assert_eq!(item(SOURCE, "one_more")?, "fn one_more() {}");
        Ok(())
    }

    #[test]
    fn a_method_is_that_of_its_type() -> Result<()> {
        assert_eq!(
            item(SOURCE, "A.step")?,
            "pub fn step(&self) -> f64 {\n    2.0\n}"
        );
        assert_eq!(
            item(SOURCE, "B.step")?,
            "fn step(&self) -> f64 {\n    3.0\n}"
        );
        Ok(())
    }

    #[test]
    fn what_is_not_there_or_not_alone_is_named() {
        let none = item(SOURCE, "none").expect_err("no such item");
        assert_eq!(none.to_string(), "no item none");
        let both = item(SOURCE, "step").expect_err("two of them");
        assert_eq!(both.to_string(), "several items step: say TYPE.step");
    }

    #[test]
    fn a_chapter_names_file_and_item() -> Result<()> {
        let shown = shown("a {{#include ../generated/code/gpu/src/a.rs/A.step.rs}} b")?;
        assert_eq!(shown, [("gpu/src/a.rs".to_owned(), "A.step".to_owned())]);
        Ok(())
    }
}
