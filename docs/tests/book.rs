//! The book cannot drift: labels resolve both ways, formulas parse, chapters run, the summary is complete.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use sadm_docs::figures::{self, Figure};
use sadm_docs::listings;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Files below `directory` with this extension.
fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a readable directory") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The written pages; what lies in `generated/` is included by them.
fn chapters() -> Vec<PathBuf> {
    let mut pages = files(&root().join("docs/src"), "md");
    pages.retain(|p| !p.components().any(|c| c.as_os_str() == "generated"));
    pages
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("UTF-8 text")
}

/// Where each label between `open` and `close` occurs. A label is `eq:` or `thm:` and a name in kebab-case.
fn labels(texts: &[(PathBuf, String)], open: &str, close: char) -> BTreeMap<String, Vec<PathBuf>> {
    let mut found = BTreeMap::<String, Vec<PathBuf>>::new();
    for (path, text) in texts {
        for piece in text.split(open).skip(1) {
            let Some((label, _)) = piece.split_once(close) else {
                continue;
            };
            if is_label(label) {
                found
                    .entry(label.to_owned())
                    .or_default()
                    .push(path.clone());
            }
        }
    }
    found
}

fn is_label(text: &str) -> bool {
    let name = text
        .strip_prefix("eq:")
        .or_else(|| text.strip_prefix("thm:"));
    name.is_some_and(|n| {
        !n.is_empty()
            && n.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    })
}

fn with_text(paths: Vec<PathBuf>) -> Vec<(PathBuf, String)> {
    paths.into_iter().map(|p| (p.clone(), read(&p))).collect()
}

/// What is wrong between the book's labels and the code's.
fn unresolved(book: &[(PathBuf, String)], code: &[(PathBuf, String)]) -> Vec<String> {
    let (defined, cited) = (labels(book, "id=\"", '"'), labels(code, "[", ']'));
    let mut wrong = Vec::new();
    for (label, places) in &defined {
        if places.len() > 1 {
            wrong.push(format!("{label}: defined {} times", places.len()));
        }
        if !cited.contains_key(label) {
            wrong.push(format!("{label}: in the book, nowhere in the code"));
        }
    }
    for (label, places) in &cited {
        if !defined.contains_key(label) {
            wrong.push(format!(
                "{label}: cited in {}, not in the book",
                places[0].display()
            ));
        }
    }
    wrong
}

#[test]
fn labels_resolve_both_ways() {
    let code = ["reference/src", "theory/src", "gpu/src", "tests/src"];
    let code = with_text(
        code.iter()
            .flat_map(|d| files(&root().join(d), "rs"))
            .collect(),
    );
    let wrong = unresolved(&with_text(chapters()), &code);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_unresolved_or_doubled_label_is_noticed() {
    let text = |t: &str| vec![(PathBuf::from("planted"), t.to_owned())];
    let book = text("<a id=\"eq:a\"></a> <a id=\"eq:a\"></a> <a id=\"thm:b\"></a>");
    let wrong = unresolved(&book, &text("`[eq:a]` `[eq:c]`"));
    assert_eq!(wrong.len(), 3, "{wrong:?}");
}

/// The prose of a chapter in pieces: what stands between blank lines, code blocks and the beginnings of a list's items.
fn paragraphs(text: &str) -> Vec<String> {
    let (mut done, mut current, mut code) = (Vec::new(), String::new(), false);
    for line in text.lines() {
        let fence = line.trim_start().starts_with("```");
        if fence || line.trim().is_empty() || begins_item(line) {
            done.push(std::mem::take(&mut current));
        }
        code ^= fence;
        if !code && !fence {
            current += line;
            current.push('\n');
        }
    }
    done.push(current);
    done.retain(|p| !p.trim().is_empty());
    done
}

fn begins_item(line: &str) -> bool {
    let line = line.trim_start();
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
    line.starts_with("- ") || (rest.len() < line.len() && rest.starts_with(". "))
}

/// Whether a text defines a label or links to one.
fn leads_to_code(text: &str) -> bool {
    let marks = ["<a id=\"eq:", "<a id=\"thm:", "#eq:", "#thm:"];
    marks.iter().any(|mark| text.contains(mark))
}

/// The display formulas with neither a label nor a link to one in their own paragraph, in the one before, or in the one
/// behind where that has no formula itself.
fn unlinked(text: &str) -> Vec<String> {
    let pieces = paragraphs(text);
    let formula = |at: usize| pieces[at].contains("$$");
    let linked = |at: usize| {
        let before = at > 0 && leads_to_code(&pieces[at - 1]);
        let behind = at + 1 < pieces.len() && !formula(at + 1) && leads_to_code(&pieces[at + 1]);
        leads_to_code(&pieces[at]) || before || behind
    };
    let wrong = (0..pieces.len()).filter(|&at| formula(at) && !linked(at));
    wrong.map(|at| pieces[at].trim().to_owned()).collect()
}

/// The sections with a display formula and no label: where labels open a part, all its formulas belong to it.
fn unlabelled_sections(text: &str) -> Vec<String> {
    let sections = text.split("\n## ");
    let wrong =
        sections.filter(|s| paragraphs(s).iter().any(|p| p.contains("$$")) && !leads_to_code(s));
    wrong
        .map(|s| s.lines().next().unwrap_or_default().to_owned())
        .collect()
}

/// The pages that list formulas.
const LISTS: [&str; 6] = [
    "formulas.md",
    "laws.md",
    "bounds.md",
    "diffusion-gan.md",
    "symmetry.md",
    "transport.md",
];

#[test]
fn every_formula_leads_to_the_code() {
    let mut wrong = Vec::new();
    for (path, text) in with_text(chapters()) {
        let name = path.file_name().expect("a file").to_string_lossy();
        // Some pages list formulas, each part of them under its label; the others tell, and link as they go.
        let missing = if LISTS.contains(&name.as_ref()) {
            unlabelled_sections(&text)
        } else {
            unlinked(&text)
        };
        wrong.extend(missing.iter().map(|formula| format!("{name}: {formula}")));
    }
    assert!(
        wrong.is_empty(),
        "no label, and no link to one, beside:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn a_formula_that_leads_nowhere_is_noticed() {
    let alone = "Text.\n\n$$ a $$\n\nText.\n";
    assert_eq!(unlinked(alone), ["$$ a $$"]);
    let labelled = "<a id=\"eq:a\"></a>\n\n$$ a $$\n\nText.\n";
    assert!(unlinked(labelled).is_empty());
    assert!(unlinked("Text.\n\n$$ a $$\n\n[text](b.md#thm:c)\n").is_empty());
    // A link belongs to its own item of a list, and to one formula behind it.
    let items = "1. [a](b.md#eq:c)\n   $$ a $$\n2. *Step.*\n   $$ b $$\n3. Text.\n   $$ c $$\n";
    assert_eq!(unlinked(items), ["3. Text.\n   $$ c $$"]);
    let code = "[a](b.md#eq:c)\n\n```text\n$$ no formula $$\n```\n\n```text\n#eq:no-link\n```\n\nText.\n\n$$ a $$\n";
    assert_eq!(unlinked(code), ["$$ a $$"]);
    assert_eq!(
        unlabelled_sections("# A\n\n## B\n\n$$ a $$\n\n## C\n\n#eq:c\n"),
        ["B"]
    );
}

/// The formulas of a chapter: `$$…$$` and `$…$` outside code.
fn formulas(text: &str) -> Vec<String> {
    let prose: String = text.split("```").step_by(2).collect();
    let prose: String = prose.split('`').step_by(2).collect();
    let display: Vec<&str> = prose.split("$$").collect();
    assert!(display.len() % 2 == 1, "unbalanced $$");
    let mut found: Vec<String> = display
        .iter()
        .skip(1)
        .step_by(2)
        .map(|s| (*s).to_owned())
        .collect();
    for part in display.iter().step_by(2) {
        let inline: Vec<&str> = part.split('$').collect();
        assert!(inline.len() % 2 == 1, "unbalanced $ in: {part}");
        found.extend(inline.iter().skip(1).step_by(2).map(|s| (*s).to_owned()));
    }
    found
}

/// Commands of which pulldown-latex 0.8 takes the argument as it stands: what TeX would do with it does not happen.
const VERBATIM: [&str; 8] = [
    "operatorname",
    "mathop",
    "text",
    "textrm",
    "textbf",
    "textit",
    "textsf",
    "texttt",
];

/// What pulldown-latex reads otherwise than TeX, without an error: it sets such an argument as text, and takes one of a single
/// character, as the star of `\operatorname*` is to it, for all that follows.
fn misread(tex: &str) -> Option<String> {
    let mut rest = tex;
    while let Some((_, behind)) = rest.split_once('\\') {
        let end = behind.find(|c: char| !c.is_ascii_alphabetic());
        let (name, behind) = behind.split_at(end.unwrap_or(behind.len()));
        if name.is_empty() {
            // A symbol, such as the second backslash of a line's end.
            let mut symbols = behind.chars();
            symbols.next();
            rest = symbols.as_str();
            continue;
        }
        rest = behind;
        if VERBATIM.contains(&name) {
            let group = behind.strip_prefix('{').and_then(|b| b.split_once('}'));
            let bad: &[char] = if name.starts_with("text") {
                &['\\', '{', '$']
            } else {
                &['\\', '{', '$', '_', '^']
            };
            if group.is_none_or(|(argument, _)| argument.contains(bad)) {
                return Some(format!("`\\{name}`: an argument other than a plain {{…}}"));
            }
        }
    }
    None
}

fn parses(tex: &str) -> Result<(), String> {
    if let Some(what) = misread(tex) {
        return Err(format!(
            "pulldown-latex misreads {what}; write it without, as in `\\min_x`"
        ));
    }
    let storage = pulldown_latex::Storage::new();
    let parsed: Result<Vec<_>, _> = pulldown_latex::Parser::new(tex, &storage).collect();
    parsed.map(drop).map_err(|e| e.to_string())
}

#[test]
fn every_formula_parses() {
    let mut bad = Vec::new();
    for (path, text) in with_text(chapters()) {
        for tex in formulas(&text) {
            if let Err(e) = parses(&tex) {
                bad.push(format!("{}: `{tex}`: {e}", path.display()));
            }
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn a_broken_formula_is_noticed() {
    assert_eq!(formulas("a $x$ `$` ```text\n$\n``` $$y$$").len(), 2);
    assert!(parses(r"\frac{1}{").is_err());
    assert!(parses(r"\nosuchcommand").is_err());
    // Without an error in pulldown-latex 0.8: "*{argmin}_x f" as the name, the rest once more behind it.
    for silent in [
        r"\operatorname*{argmin}_x f",
        r"\operatorname{arg\,min}_x f",
        r"\operatorname{K_x}",
        r"\operatorname tr A",
        r"\text*{a}",
        r"\text a",
        r"\mathop{arg\,min}_x",
        r"a \\ \operatorname{a^b}",
    ] {
        assert!(parses(silent).is_err(), "{silent}");
    }
    for good in [
        r"\operatorname{tr} A",
        r"x^* + \Psi^{*}",
        r"\text{if } x_1",
        r"\begin{align*} a &= b \\ c &= \text{a rest} \end{align*}",
        r"\min_{\text{all } W} f",
    ] {
        assert_eq!(parses(good), Ok(()), "{good}");
    }
}

#[test]
fn every_chapter_with_rust_is_doctested() {
    let lib = include_str!("../lib.rs");
    for (path, text) in with_text(chapters()) {
        let name = path
            .file_name()
            .expect("a file")
            .to_string_lossy()
            .into_owned();
        assert!(
            !text.contains("```rust") || lib.contains(&name),
            "{name} has Rust blocks but docs/lib.rs does not run it"
        );
        // An indented block, or a fence without a language, would be taken for Rust by rustdoc.
        let fences = text.lines().filter(|l| l.trim_start().starts_with("```"));
        for (k, fence) in fences.enumerate() {
            assert!(
                k % 2 == 1 || fence.trim() != "```",
                "{name}: a fence without a language"
            );
        }
    }
}

#[test]
fn the_summary_lists_every_chapter() {
    let summary = read(&root().join("docs/src/SUMMARY.md"));
    for path in chapters() {
        let name = path
            .file_name()
            .expect("a file")
            .to_string_lossy()
            .into_owned();
        assert!(
            name == "SUMMARY.md" || summary.contains(&format!("({name})")),
            "{name} is not in SUMMARY.md"
        );
    }
}

/// Pages that are looked up, not read.
const APPENDICES: [&str; 5] = [
    "SUMMARY.md",
    "introduction.md",
    "equations.md",
    "notation.md",
    "formulas.md",
];

/// What a chapter lacks of its frame: a question below the title, a summary, exercises with folded solutions.
fn unframed(text: &str) -> Vec<&'static str> {
    let first = text.lines().skip(1).find(|l| !l.trim().is_empty());
    let asks = first.is_some_and(|l| l.starts_with('*'));
    let question = text.split("\n\n").nth(1).unwrap_or_default();
    let exercises = text.split("\n## Exercises\n").nth(1).unwrap_or_default();
    let asked = exercises.matches("\n**").count();
    let solved = exercises
        .matches("<details><summary>Solution</summary>\n\n")
        .count();
    let parts = [
        ("a question", asks && question.trim_end().ends_with("?*")),
        ("a summary", text.contains("\n## Summary\n")),
        ("exercises", asked > 0),
        ("a solution for each exercise", asked == solved),
        (
            "an end of each solution",
            exercises.matches("\n</details>\n").count() == solved,
        ),
    ];
    let lacking = parts.into_iter().filter(|(_, there)| !there);
    lacking.map(|(what, _)| what).collect()
}

#[test]
fn every_chapter_asks_sums_up_and_sets_exercises() {
    for (path, text) in with_text(chapters()) {
        let name = path.file_name().expect("a file").to_string_lossy();
        let lacking = unframed(&text);
        assert!(
            APPENDICES.contains(&name.as_ref()) || lacking.is_empty(),
            "{name} has no {}",
            lacking.join(", no ")
        );
    }
}

#[test]
fn a_chapter_without_its_frame_is_noticed() {
    let whole = "# A\n\n*Why\nso?*\n\n## Summary\n\n- b\n\n## Exercises\n\n**1. C.** d\n\n<details><summary>Solution</summary>\n\ne\n\n</details>\n";
    assert!(unframed(whole).is_empty(), "{:?}", unframed(whole));
    assert_eq!(unframed(&whole.replace("so?*", "so.*")), ["a question"]);
    assert_eq!(
        unframed(&whole.replace("## Summary", "## End")),
        ["a summary"]
    );
    assert_eq!(
        unframed(&whole.replace("</details>", "")),
        ["an end of each solution"]
    );
    assert_eq!(
        unframed(&whole.replace("**1. C.** d\n", "**1. C.** d\n\n**2. F.** g\n")),
        ["a solution for each exercise"]
    );
}

/// The chapters in the order of the summary.
fn in_order() -> Vec<(String, String)> {
    let summary = read(&root().join("docs/src/SUMMARY.md"));
    let pages = summary
        .split("](")
        .skip(1)
        .filter_map(|p| p.split_once(')'));
    pages
        .map(|(page, _)| (page.to_owned(), read(&root().join("docs/src").join(page))))
        .collect()
}

#[test]
fn the_map_of_equations_is_complete() {
    let map = read(&root().join("docs/src/equations.md"));
    let (sadm, _) = map
        .split_once("## Diffusion-GAN")
        .expect("SADM comes first");
    for number in 1..=15 {
        assert!(sadm.contains(&format!("\n| {number} | ")), "Eq. {number}");
    }
    let order = in_order();
    let at = |page: &str| order.iter().position(|(p, _)| p == page);
    // Along the paper's numbers the derivations come in the book's order.
    let rows = sadm
        .lines()
        .filter(|l| l.starts_with("| ") && l.contains(".md"));
    let pages: Vec<usize> = rows
        .filter_map(|row| at(row.split("](").nth(1)?.split([')', '#']).next()?))
        .collect();
    let before_game: Vec<usize> = pages.iter().copied().take(7).collect();
    assert!(before_game.is_sorted(), "{before_game:?}");
    let joint: Vec<usize> = pages.iter().copied().skip(pages.len() - 5).collect();
    assert!(joint.is_sorted(), "{joint:?}");
}

#[test]
fn the_tables_are_what_the_registry_generates() {
    let path = root().join("docs/src/generated/statements.md");
    let generated = sadm_docs::tables::page().expect("every witness evaluates");
    assert!(
        read(&path) == generated,
        "docs/src/generated/statements.md is out of date; run: {}",
        sadm_docs::tables::COMMAND
    );
}

/// What a chapter includes: a part of a committed file, or a figure that is drawn when the book is built.
fn included(text: &str) -> Vec<&str> {
    let pieces = text.split("{{#include ").skip(1);
    pieces.filter_map(|p| p.split("}}").next()).collect()
}

#[test]
fn what_a_chapter_includes_exists() {
    for (path, text) in with_text(chapters()) {
        for target in included(&text) {
            if target.starts_with(FIGURES) || target.starts_with(LISTINGS) {
                continue; // see `every_figure_is_shown_once`, `what_is_shown_of_the_sources_exists`
            }
            let (file, anchor) = target.split_once(':').expect("a file and an anchor");
            let included = read(&path.parent().expect("a directory").join(file));
            assert!(
                included.contains(&format!("<!-- ANCHOR: {anchor} -->")),
                "{}: {target} names no anchor",
                path.display()
            );
        }
    }
}

/// The figures, drawn once for all tests.
static DRAWN: LazyLock<Vec<Figure>> =
    LazyLock::new(|| figures::all().expect("every figure is drawn"));

/// The folder of what is cut out of the sources, as a chapter names it.
const LISTINGS: &str = "../generated/code/";

#[test]
fn what_is_shown_of_the_sources_exists() {
    let mut shown = 0;
    for (path, text) in with_text(chapters()) {
        let name = path.display();
        for (file, item) in listings::shown(&text).unwrap_or_else(|e| panic!("{name}: {e:#}")) {
            let listing = listings::listing(&root(), &file, &item);
            let listing = listing.unwrap_or_else(|e| panic!("{name}: {e:#}"));
            let lines = listing.lines().count();
            assert!(
                lines <= 90,
                "{name}: {item} has {lines} lines, more than a page"
            );
            shown += 1;
        }
        let included = included(&text)
            .into_iter()
            .filter(|i| i.starts_with(LISTINGS))
            .count();
        let ignored = text
            .matches("```rust,ignore\n{{#include ../generated/code/")
            .count();
        assert!(
            included == 0 || ignored > 0,
            "{name}: what is shown is no code block"
        );
    }
    assert!(shown > 20, "the book shows the functions that it is about");
}

/// The figures' folder as a chapter names it.
const FIGURES: &str = "../generated/figures/";

#[test]
fn every_figure_is_shown_once() {
    let chapters = with_text(chapters());
    let mut shown: Vec<String> = chapters
        .iter()
        .flat_map(|(_, text)| included(text))
        .filter_map(|target| target.strip_prefix(FIGURES)?.strip_suffix(".html"))
        .map(str::to_owned)
        .collect();
    shown.sort();
    let mut drawn: Vec<String> = DRAWN.iter().map(|f| f.name.to_owned()).collect();
    drawn.sort();
    assert_eq!(shown, drawn, "shown by the chapters, drawn by docs/figures");
}

#[test]
fn a_figure_is_one_block_of_html_that_can_be_heard() {
    for figure in DRAWN.iter() {
        let (name, html) = (figure.name, figure.html());
        assert!(
            !html.contains("\n\n"),
            "{name}: an empty line ends the block"
        );
        assert!(
            !html.contains(['$', '\\', '`']),
            "{name}: Markdown or KaTeX would read it"
        );
        assert!(!html.contains("NaN"), "{name}: not a number");
        assert!(
            !html.contains("#010101") && !html.contains("#0201"),
            "{name}: a marker"
        );
        assert!(
            !html.contains("href") && !html.contains("url("),
            "{name}: a request"
        );
        let pictures = html.matches("<svg ").count();
        assert!(pictures > 0 && pictures == html.matches(" aria-label=\"").count());
        assert!(
            !html.contains("aria-label=\"\""),
            "{name}: a picture without words"
        );
    }
}

/// The links of a text to other pages of the book: file and label, which may be empty.
fn page_links(text: &str) -> Vec<(String, String)> {
    let links = text.split("](").skip(1).filter_map(|p| p.split_once(')'));
    links
        .map(|(link, _)| link.split_once('#').unwrap_or((link, "")))
        .filter(|(file, _)| Path::new(file).extension() == Some("md".as_ref()))
        .filter(|(file, _)| !file.contains("://"))
        .map(|(file, label)| (file.to_owned(), label.to_owned()))
        .collect()
}

/// Whether a page has an anchor or a heading that a link may name.
fn has_anchor(text: &str, label: &str) -> bool {
    let slug = |heading: &str| -> String {
        let kept = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| {
            if c == ' ' {
                '-'
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect()
    };
    let headings = text.lines().filter_map(|l| l.strip_prefix("## "));
    text.contains(&format!("<a id=\"{label}\">")) || headings.map(slug).any(|s| s == label)
}

#[test]
fn old_names_of_pages_lead_somewhere() {
    let settings = read(&root().join("docs/book.toml"));
    let lines = settings.lines().filter_map(|l| l.strip_prefix("\"/"));
    let mut count = 0;
    for (old, new) in lines.filter_map(|l| l.split_once("\" = \"")) {
        let new = new.trim_end_matches('"');
        let (page, label) = new.split_once('#').unwrap_or((new, ""));
        let source = root().join("docs/src").join(page.replace(".html", ".md"));
        assert!(source.exists(), "{old} leads to {new}, which is no page");
        assert!(
            label.is_empty() || has_anchor(&read(&source), label),
            "{old} leads to {new}, which is no label"
        );
        count += 1;
    }
    assert!(count > 26, "every page had another name: {count}");
}

#[test]
fn an_anchor_is_a_label_or_a_heading() {
    let text = "# A\n\n## The cost, and why\n\n<a id=\"eq:b\"></a>\n";
    assert!(has_anchor(text, "the-cost-and-why") && has_anchor(text, "eq:b"));
    assert!(!has_anchor(text, "the-cost") && !has_anchor(text, "b"));
}

#[test]
fn links_between_chapters_lead_to_a_label() {
    for (path, text) in with_text(chapters()) {
        for (file, label) in page_links(&text) {
            let target = path.parent().expect("a directory").join(&file);
            assert!(target.exists(), "{}: {file}", path.display());
            assert!(
                label.is_empty() || has_anchor(&read(&target), &label),
                "{}: {file}#{label} names no label",
                path.display()
            );
        }
    }
}

#[test]
fn only_links_to_pages_are_followed() {
    let links = page_links("[a](b.md#eq:c) [d](e.md) [f](https://g.org/h.md) [i](#j)");
    let file = |f: &str, l: &str| (f.to_owned(), l.to_owned());
    assert_eq!(links, [file("b.md", "eq:c"), file("e.md", "")]);
}

/// The paths `crate_name::…` in back-ticks whose last segment the code does not define.
fn undefined(text: &str, crate_name: &str, code: &str) -> Vec<String> {
    let kinds = ["fn", "struct", "enum", "trait", "mod", "const", "type"];
    let prefix = format!("`{crate_name}::");
    text.split(&prefix)
        .skip(1)
        .filter_map(|piece| piece.split('`').next())
        .filter(|path| {
            let last = path.rsplit("::").next().unwrap_or(path);
            let defines = |kind: &&str| {
                let start = format!("{kind} {last}");
                let ends =
                    |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
                code.split(&start).skip(1).any(ends)
            };
            !kinds.iter().any(defines)
        })
        .map(|path| format!("{crate_name}::{path}"))
        .collect()
}

#[test]
fn functions_named_in_the_book_exist() {
    let chapters = with_text(chapters());
    for (name, directory) in [
        ("sadm_reference", "reference/src"),
        ("sadm_theory", "theory/src"),
    ] {
        let code = with_text(files(&root().join(directory), "rs"));
        let code: String = code.into_iter().map(|(_, text)| text).collect();
        for (path, text) in &chapters {
            let missing = undefined(text, name, &code);
            assert!(missing.is_empty(), "{}: {missing:?}", path.display());
        }
    }
}

#[test]
fn a_function_that_does_not_exist_is_noticed() {
    let text = "`sadm_theory::a::find` and `sadm_theory::fin` and `find`";
    let missing = undefined(text, "sadm_theory", "pub fn find(id: &str) {}");
    assert_eq!(missing, ["sadm_theory::fin"]);
}

/// The documents outside the book.
fn documents() -> Vec<PathBuf> {
    let mut paths = files(&root().join("docs/measurements"), "md");
    paths.extend(
        [
            "README.md",
            "CONTRIBUTING.md",
            "CHANGELOG.md",
            "fixtures/README.md",
        ]
        .map(|f| root().join(f)),
    );
    paths
}

/// Files and folders of the repository that a text names in back ticks and that do not exist.
fn missing_files(text: &str) -> Vec<&str> {
    const FOLDERS: [&str; 9] = [
        "benches",
        "docs",
        "examples",
        "fixtures",
        "gpu",
        "reference",
        "scripts",
        "tests",
        "theory",
    ];
    let named = text.split('`').skip(1).step_by(2).filter(|span| {
        let (first, rest) = span.split_once('/').unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        FOLDERS.contains(&first) && !rest.is_empty() && rest.chars().all(plain)
    });
    named
        .filter(|path| !path.contains("NAME") && !root().join(path).exists())
        .filter(|path| !path.starts_with("docs/book"))
        .collect()
}

#[test]
fn files_named_in_the_documents_exist() {
    let paths = chapters().into_iter().chain(documents());
    for (path, text) in with_text(paths.collect()) {
        // What has been says where things lay then.
        if !path.ends_with("CHANGELOG.md") {
            let missing = missing_files(&text);
            assert!(missing.is_empty(), "{}: {missing:?}", path.display());
        }
    }
}

#[test]
fn a_file_that_does_not_exist_is_noticed() {
    let text =
        "`docs/lib.rs`, `docs/book/index.html`, `tests/NAME.rs`, `gpu/src/none.rs`, docs/none";
    assert_eq!(missing_files(text), ["gpu/src/none.rs"]);
}

#[test]
fn relative_links_lead_somewhere() {
    for path in documents() {
        let (file, text) = (path.display(), read(&path));
        for piece in text.split("](").skip(1) {
            let Some((link, _)) = piece.split_once(')') else {
                continue;
            };
            if !link.contains("://") && !link.starts_with('#') {
                let page = link.split('#').next().unwrap_or(link);
                let target = path.parent().expect("a directory").join(page);
                assert!(
                    target.exists(),
                    "{file} links to {link}, which does not exist"
                );
            }
        }
    }
}
