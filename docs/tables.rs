//! Markdown tables of the statements, generated from the registry so that the book cannot say anything else.

use std::fmt::Write as _;

use sadm_theory::statements::{
    Comparison, Evidence, Finding, Kind, Statement, StatementError, Verdict, registry,
};

/// The command that writes `docs/src/generated/statements.md`.
pub const COMMAND: &str =
    "cargo run -p sadm-docs --example tables > docs/src/generated/statements.md";

/// Where an erratum's correction is not the first of its evidence: its id, and how the claim begins that carries it.
const CORRECTED: [(&str, &str); 8] = [
    ("e1", "S ≤ 2η"),
    ("e3", "mean of S/max(t, t_min)"),
    ("e5", "corrected: E[-log p(y_0)]"),
    ("e6", "phi-first through the branches"),
    ("e8", "FID of the abstract"),
    ("e11", "(D - x)/σ² = ∇log p - "),
    ("e13", "‖x - σn‖²"),
    ("e14", "k ≥ 4"),
];

/// Both tables, as `docs/src/generated/statements.md` holds them: errata, then every statement.
///
/// The comments are mdBook's anchors, by which a chapter includes one table.
///
/// # Errors
/// [`StatementError`] if a statement cannot evaluate its witness or its default instance.
pub fn page() -> Result<String, StatementError> {
    let statements = registry();
    let mut page = format!("<!-- Generated: {COMMAND} -->\n\n");
    page += "<!-- ANCHOR: errata -->\n";
    page += "| id | what is wrong, and what holds | as printed or read, and where | its numbers | corrected | its numbers |\n";
    page += "|---|---|---|---|---|---|\n";
    for finding in Finding::ALL {
        let mut group: Vec<_> = statements
            .iter()
            .filter(|s| s.kind() == Kind::Erratum(finding))
            .collect();
        group.sort_by_key(|s| (s.id().len(), s.id())); // e2 before e10
        let mut head = vec![format!("**{}**", finding.heading())];
        head.resize(6, String::new());
        page += &line(&head);
        for s in group {
            page += &line(&erratum(s.as_ref())?);
        }
    }
    page += "<!-- ANCHOR_END: errata -->\n\n<!-- ANCHOR: statements -->\n";
    page += "| id | kind | statement | refuted claims | their numbers | false by |\n";
    page += "|---|---|---|---|---|---|\n";
    for s in &statements {
        for row in rows(s.as_ref())? {
            page += &line(&row);
        }
    }
    page += "<!-- ANCHOR_END: statements -->\n";
    Ok(page)
}

/// An erratum: its witness on the printed claim, and what holds on the default instance.
fn erratum(s: &dyn Statement) -> Result<Vec<String>, StatementError> {
    let mut row = vec![format!("`{}`", s.id()), text(s.summary())];
    let (refuted, evidence) = (s.refuted()?, s.evidence(&s.default_instance())?);
    row.extend(match refuted.first() {
        Some(claim) => [
            format!("{} — {}", text(bare(&claim.claim)), text(s.source())),
            sides(claim),
        ],
        None => [text(s.source()), "—".to_owned()],
    });
    row.extend(match corrected(s.id(), &evidence) {
        Some(claim) => [text(bare(&claim.claim)), sides(claim)],
        None => ["—".to_owned(), "—".to_owned()],
    });
    Ok(row)
}

/// The claim that says what holds instead of the printed one.
fn corrected<'a>(id: &str, evidence: &'a [Evidence]) -> Option<&'a Evidence> {
    let chosen = CORRECTED.iter().find(|(of, _)| *of == id);
    let start = chosen.map_or("corrected", |(_, start)| start);
    let named = evidence.iter().find(|c| c.claim.starts_with(start));
    named.or(evidence.first())
}

/// A claim without the word of what it is: the table's head says it.
fn bare(claim: &str) -> &str {
    ["as printed", "as read", "corrected"]
        .iter()
        .find_map(|word| claim.strip_prefix(word)?.strip_prefix([':', ',']))
        .map_or(claim, str::trim_start)
}

/// A statement, with a line for each claim that it refutes.
fn rows(s: &dyn Statement) -> Result<Vec<Vec<String>>, StatementError> {
    let kind = match s.kind() {
        Kind::Identity => "identity",
        Kind::Bound => "bound",
        Kind::Erratum(_) => "erratum",
    };
    let mut head = vec![format!("`{}`", s.id()), kind.to_owned(), text(s.summary())];
    let mut rows = Vec::new();
    for claim in s.refuted()? {
        debug_assert_eq!(claim.verdict(), Verdict::Refuted, "{claim}");
        head.extend([
            text(&claim.claim),
            sides(&claim),
            number(claim.excess(), claim.allowance),
        ]);
        rows.push(std::mem::replace(&mut head, vec![String::new(); 3]));
    }
    if rows.is_empty() {
        head.extend(["—".to_owned(), "—".to_owned(), "—".to_owned()]);
        rows.push(head);
    }
    Ok(rows)
}

/// `lhs = rhs` or `lhs ≤ rhs`, in numbers.
fn sides(claim: &Evidence) -> String {
    let sign = match claim.comparison {
        Comparison::Equal => '=',
        Comparison::AtMost => '≤',
    };
    let side = |value| number(value, claim.allowance);
    format!("{} {sign} {}", side(claim.lhs), side(claim.rhs))
}

/// Six digits, on which elementary functions agree; 0 where rounding alone makes the number.
fn number(value: f64, allowance: f64) -> String {
    if value.abs() <= allowance {
        return "0".to_owned();
    }
    let size = value.abs();
    if (1e-3..1e5).contains(&size) {
        let digits_before = [1.0, 10.0, 100.0, 1e3, 1e4].map(|b| size >= b);
        let zeros_behind = [0.1, 0.01].map(|b| size < b);
        let count = |flags: &[bool]| flags.iter().filter(|&&f| f).count();
        let decimals = 6 + count(&zeros_behind) - count(&digits_before);
        let digits = format!("{value:.decimals$}");
        digits
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned()
    } else {
        format!("{value:.4e}")
    }
}

fn line(cells: &[String]) -> String {
    let mut line = String::new();
    for cell in cells {
        write!(line, "| {cell} ").expect("writing to a string");
    }
    line + "|\n"
}

/// Plain text as one Markdown cell.
fn text(plain: &str) -> String {
    let mut cell = String::new();
    for c in plain.chars() {
        if "|*_<>[]\\`".contains(c) {
            cell.push('\\');
        }
        cell.push(c);
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_stays_a_cell() {
        assert_eq!(text("|g1|² ≤ a_b*c"), r"\|g1\|² ≤ a\_b\*c");
        assert_eq!(line(&["a".to_owned(), "b".to_owned()]), "| a | b |\n");
    }

    #[test]
    fn every_correction_is_among_the_evidence() -> Result<(), StatementError> {
        for (id, start) in CORRECTED {
            let s = sadm_theory::statements::find(id).expect("registered");
            let evidence = s.evidence(&s.default_instance())?;
            let claim = corrected(id, &evidence).expect("evidence");
            assert!(
                claim.claim.starts_with(start),
                "{id}: no claim begins with {start}"
            );
        }
        Ok(())
    }

    #[test]
    fn the_word_before_a_claim_goes() {
        assert_eq!(bare("as printed: a = b"), "a = b");
        assert_eq!(bare("as printed, w = 1: a ≤ b"), "w = 1: a ≤ b");
        assert_eq!(bare("as read: a = b"), "a = b");
        assert_eq!(bare("corrected: a = c"), "a = c");
        assert_eq!(bare("a = b as printed"), "a = b as printed");
    }

    /// Each erratum stands once, below the heading of its sort.
    #[test]
    fn errata_are_grouped_by_their_sort() -> Result<(), StatementError> {
        let page = page()?;
        let (table, _) = page
            .split_once("ANCHOR_END: errata")
            .expect("the first table");
        let place = |text: &str| {
            table
                .find(text)
                .unwrap_or_else(|| panic!("{text} in {table}"))
        };
        let heads = Finding::ALL.map(|f| place(&format!("| **{}** |", f.heading())));
        assert!(heads.is_sorted());
        for s in registry() {
            if let Kind::Erratum(finding) = s.kind() {
                let row = place(&format!("\n| `{}` |", s.id()));
                let group = Finding::ALL
                    .iter()
                    .position(|f| *f == finding)
                    .expect("listed");
                let next = heads.get(group + 1).copied().unwrap_or(table.len());
                assert!(heads[group] < row && row < next, "{}", s.id());
            }
        }
        Ok(())
    }

    #[test]
    fn every_refuted_claim_has_its_line() -> Result<(), StatementError> {
        let mut refuted = 0;
        for s in registry() {
            refuted += s.refuted()?.len();
        }
        let page = page()?;
        let (_, table) = page
            .split_once("ANCHOR: statements")
            .expect("the second table");
        let lines = table.lines().filter(|l| l.starts_with("| ")).count();
        assert_eq!(lines, refuted + 1, "the head, and a line for each");
        Ok(())
    }

    #[test]
    fn numbers_have_the_digits_that_matter() {
        assert_eq!(number(2.0, 1e-15), "2");
        assert_eq!(number(-0.25, 1e-15), "-0.25");
        assert_eq!(number(1e-17, 1e-16), "0");
        assert_eq!(number(1.0 / 3.0, 1e-15), "0.333333");
        assert_eq!(number(1.0 / 300.0, 1e-15), "0.00333333");
        assert_eq!(number(400.0 / 3.0, 1e-15), "133.333");
        assert_eq!(number(123_456_789.0, 1e-7), "1.2346e8");
    }
}
