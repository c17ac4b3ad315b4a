//! One instance of a statement in text: its numbers, what it refutes, and a small plot.

use std::fmt::Write;

use anyhow::Result;
use sadm_theory::statements::{Built, Evidence, Instance, Scale};
use textplots::{Chart, Plot, Shape};

use super::{Chosen, VALUES_KEY, described, plot::Curves};

/// Points of the plot along its parameter, and its size in dots (2 × 4 to a letter).
const POINTS: usize = 61;
const WIDTH: u32 = 120;
const HEIGHT: u32 = 48;

/// Everything there is to say of an instance: what it claims and whether that is so, what the terms are, a plot, and last what the
/// instance is made of.
pub fn text(chosen: &Chosen) -> Result<String> {
    let statement = chosen.statement.as_ref();
    let mut out = format!(
        "{} ({}): {}\n{}\n",
        statement.id(),
        described(statement),
        statement.summary(),
        statement.source()
    );
    out += "\nholds:\n";
    write_lines(&mut out, &statement.evidence(&chosen.instance)?)?;
    out += "\nrefuted, on a fixed witness:\n";
    write_lines(&mut out, &statement.refuted()?)?;
    if !statement.terms().is_empty() {
        out += "\nterms:\n";
        for (name, meaning) in statement.terms() {
            writeln!(out, "  {name}: {meaning}")?;
        }
    }
    if let Some((over, swept)) = chosen.sweep(POINTS)?
        && let all = Curves::all(&swept)
        && let Some(curves) = all.first()
    {
        let log = |is: bool| if is { "log10 of " } else { "" };
        let (values, place) = (log(curves.powers), log(over.scale == Scale::Log));
        writeln!(
            out,
            "\n{}\n{values}left (dots) and right (line) over {place}{} (claim 1 of {}; `sadm theory plot` draws all)",
            curves.claim,
            over.name,
            all.len()
        )?;
        out += &chart(curves, over.scale == Scale::Log);
    }
    out += &made_of(chosen)?;
    Ok(out)
}

/// The instance: its parameters, what is built of the free values, and these, where there is anything built.
fn made_of(chosen: &Chosen) -> Result<String> {
    let statement = chosen.statement.as_ref();
    let mut out = String::new();
    if !statement.parameters().is_empty() {
        out += "\ninstance:\n";
    }
    for parameter in statement.parameters() {
        let value = chosen.instance.get(parameter.name)?;
        let range = format!("[{}, {}]", parameter.low, parameter.high);
        let (name, meaning) = (parameter.name, parameter.meaning);
        writeln!(out, "  {name:10} {value:<12} in {range:16} {meaning}")?;
    }
    let built = statement.built(&chosen.instance)?;
    for Built { name, rows } in &built {
        writeln!(out, "  {name}:")?;
        for row in rows.rows() {
            let numbers: Vec<String> = row.iter().map(|x| format!("{x:.6}")).collect();
            writeln!(out, "    {}", numbers.join("  "))?;
        }
    }
    if !built.is_empty() {
        writeln!(
            out,
            "\nfree values, of which it builds these, in order; any may be set: --set values=…\n  {:10} {}",
            VALUES_KEY,
            free_values(&chosen.instance)
        )?;
    }
    Ok(out)
}

/// As `--set values=` takes them.
fn free_values(instance: &Instance) -> String {
    let text = instance.to_string();
    let (_, values) = text.rsplit_once("values=").unwrap_or_default();
    values.to_owned()
}

fn write_lines(out: &mut String, evidence: &[Evidence]) -> std::fmt::Result {
    evidence.iter().try_for_each(|e| writeln!(out, "  {e}"))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a plot's dots are coarser than f32"
)]
fn chart(curves: &Curves, log: bool) -> String {
    let x = |place: f64| (if log { place.log10() } else { place }) as f32;
    let side = |points: &[(f64, f64)]| -> Vec<(f32, f32)> {
        points
            .iter()
            .map(|&(place, y)| (x(place), y as f32))
            .collect()
    };
    let (lhs, rhs) = (side(&curves.lhs), side(&curves.rhs));
    let (Some(first), Some(last)) = (lhs.first(), lhs.last()) else {
        return String::new();
    };
    let (points, line) = (Shape::Points(&lhs), Shape::Lines(&rhs));
    let mut chart = Chart::new(WIDTH, HEIGHT, first.0, last.0);
    let chart = chart.lineplot(&line).lineplot(&points);
    chart.axis();
    chart.figures();
    chart.to_string()
}
