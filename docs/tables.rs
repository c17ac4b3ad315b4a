//! Markdown tables of the statements, generated from the registry so that the book cannot say anything else.

use std::fmt::Write as _;

use sadm_theory::statements::{
    Comparison, Evidence, Kind, Statement, StatementError, Verdict, registry,
};

/// The command that writes `docs/src/generated/statements.md`.
pub const COMMAND: &str =
    "cargo run -p sadm-docs --example tables > docs/src/generated/statements.md";

/// Both tables, as `docs/src/generated/statements.md` holds them: errata, then every statement.
///
/// The comments are mdBook's anchors, by which a chapter includes one table.
///
/// # Errors
/// [`StatementError`] if a statement cannot evaluate its witness.
pub fn page() -> Result<String, StatementError> {
    let statements = registry();
    let mut page = format!("<!-- Generated: {COMMAND} -->\n\n");
    page += "<!-- ANCHOR: errata -->\n";
    page += "| id | where | what is wrong, and what holds |\n|---|---|---|\n";
    let mut errata: Vec<_> = statements
        .iter()
        .filter(|s| s.kind() == Kind::Erratum)
        .collect();
    errata.sort_by_key(|s| (s.id().len(), s.id())); // e2 before e10
    for s in errata {
        let row = [format!("`{}`", s.id()), text(s.source()), text(s.summary())];
        page += &line(&row);
    }
    page += "<!-- ANCHOR_END: errata -->\n\n<!-- ANCHOR: statements -->\n";
    page += "| id | kind | statement | first refuted claim | its numbers | false by |\n";
    page += "|---|---|---|---|---|---|\n";
    for s in &statements {
        page += &line(&row(s.as_ref())?);
    }
    page += "<!-- ANCHOR_END: statements -->\n";
    Ok(page)
}

fn row(s: &dyn Statement) -> Result<Vec<String>, StatementError> {
    let kind = match s.kind() {
        Kind::Identity => "identity",
        Kind::Bound => "bound",
        Kind::Erratum => "erratum",
    };
    let mut row = vec![format!("`{}`", s.id()), kind.to_owned(), text(s.summary())];
    let refuted = s.refuted()?;
    row.extend(match refuted.first() {
        Some(claim) => {
            debug_assert_eq!(claim.verdict(), Verdict::Refuted, "{claim}");
            [
                text(&claim.claim),
                sides(claim),
                number(claim.excess(), claim.allowance),
            ]
        }
        None => ["—".to_owned(), "—".to_owned(), "—".to_owned()],
    });
    Ok(row)
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
