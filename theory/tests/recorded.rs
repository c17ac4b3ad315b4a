//! What every statement said when it was last read, number by number: a bound that has become looser, a witness that has
//! moved or a summary that has changed still holds, and is noticed here.

use std::fmt::Write as _;

use sadm_theory::statements::{Evidence, Instance, Statement, StatementError, VALUES, registry};

/// The file that is compared with; what is new is left in `target/tmp/recorded.tsv`, to be read and then copied there.
const RECORDED: &str = include_str!("recorded.tsv");

/// The default instance and these others.
const OTHERS: u32 = 6;

/// An instance away from the default: parameters at places of their ranges that walk with the golden ratio, free values
/// shifted by five for each.
fn instance(statement: &dyn Statement, k: u32) -> Instance {
    let mut at = statement.default_instance();
    if k == 0 {
        return at;
    }
    let mut values = at.values().take(VALUES).expect("the free values");
    values.rotate_left(5 * k as usize);
    for (i, p) in (0_u32..).zip(statement.parameters()) {
        let part = (f64::from(7 * k + i) * 0.618_033_988_749_894_9).fract();
        let known = statement.parameters();
        at = at
            .with(known, p.name, p.at(part))
            .expect("within the range");
    }
    at.with_values(values)
}

/// One line for each claim: statement, instance (or that it is a control, refuted), claim, sides and comparison, allowance.
fn lines() -> String {
    let mut text = String::from("statement\tinstance\tclaim\tlhs\t\trhs\tallowance\n");
    for statement in registry() {
        let id = statement.id();
        writeln!(text, "{id}\tsource\t{}", statement.source()).expect("a string");
        writeln!(text, "{id}\tsummary\t{}", statement.summary()).expect("a string");
        for k in 0..=OTHERS {
            let claims = statement.evidence(&instance(statement.as_ref(), k));
            write(&mut text, id, &k.to_string(), claims);
        }
        write(&mut text, id, "refuted", statement.refuted());
    }
    text
}

fn write(text: &mut String, id: &str, place: &str, claims: Result<Vec<Evidence>, StatementError>) {
    match claims {
        Ok(claims) => claims.iter().for_each(|claim| {
            let Evidence {
                claim,
                lhs,
                comparison,
                rhs,
                allowance,
            } = claim;
            writeln!(
                text,
                "{id}\t{place}\t{claim}\t{lhs:e}\t{comparison:?}\t{rhs:e}\t{allowance:.3e}"
            )
            .expect("a string");
        }),
        Err(refusal) => panic!("{id}, {place}: {refusal}"),
    }
}

/// Whether two lines say the same. Sides may differ by what both runs allow them (another LAPACK, another `exp`), allowances
/// and numbers of pieces by a quarter.
fn agree(new: &str, old: &str) -> bool {
    if new == old {
        return true;
    }
    let (new, old): (Vec<&str>, Vec<&str>) = (new.split('\t').collect(), old.split('\t').collect());
    if new.len() != 7 || old.len() != 7 {
        return false;
    }
    let number = |fields: &[&str], i: usize| fields[i].parse::<f64>().expect("a number");
    let near = |new: f64, old: f64| (new - old).abs() <= 0.25 * new.abs().max(old.abs());
    let allowed = number(&new, 6) + number(&old, 6);
    let same_side = |i| (number(&new, i) - number(&old, i)).abs() <= allowed;
    let (claim, pieces) = claim_and_pieces(new[2]);
    let (old_claim, old_pieces) = claim_and_pieces(old[2]);
    new[..2] == old[..2]
        && claim == old_claim
        && near(pieces, old_pieces)
        && new[4] == old[4]
        && same_side(3)
        && same_side(5)
        && near(number(&new, 6), number(&old, 6))
}

/// A claim that covers a box ends in its number of pieces.
fn claim_and_pieces(claim: &str) -> (&str, f64) {
    let split = claim
        .strip_suffix(" pieces")
        .and_then(|c| c.rsplit_once(", on "));
    split.map_or((claim, 0.0), |(claim, pieces)| {
        (claim, pieces.parse().expect("a number"))
    })
}

#[test]
fn statements_say_what_they_said() {
    let text = lines();
    let place = concat!(env!("CARGO_TARGET_TMPDIR"), "/recorded.tsv");
    std::fs::write(place, &text).expect("the test's own folder");
    let new: Vec<&str> = text.lines().collect();
    let old: Vec<&str> = RECORDED.lines().collect();
    for (new, old) in new.iter().zip(&old) {
        assert!(
            agree(new, old),
            "now:  {new}\nonce: {old}\nall that is said now: {place}"
        );
    }
    assert_eq!(
        new.len(),
        old.len(),
        "claims; all that is said now: {place}"
    );
}

#[test]
fn small_changes_agree_and_large_ones_do_not() {
    let line = |claim: &str, lhs: f64, allowance: f64| {
        format!("e1\t0\t{claim}\t{lhs:e}\tEqual\t1e0\t{allowance:e}")
    };
    let old = line("a = b, on 100 pieces", 1.0, 1e-12);
    assert!(agree(
        &line("a = b, on 120 pieces", 1.0 + 1e-12, 1.2e-12),
        &old
    ));
    for other in [
        line("a = c, on 100 pieces", 1.0, 1e-12),
        line("a = b, on 200 pieces", 1.0, 1e-12),
        line("a = b, on 100 pieces", 1.0 + 1e-11, 1e-12),
        line("a = b, on 100 pieces", 1.0, 2e-12),
        "e1\t0\tatoms coincide".to_owned(),
    ] {
        assert!(!agree(&other, &old), "{other}");
    }
}
