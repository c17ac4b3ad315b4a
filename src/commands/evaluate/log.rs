//! `evaluation.jsonl` of a run: what its checkpoints were found to be worth.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::report::{Compared, Report, Side};
use crate::files;

/// Adds a report's numbers as a line of its step, each with its convention under `how`. Numbers of the same step, reference,
/// samples and convention are replaced: they have been measured again. Of another convention they are others, on a line of their own.
///
/// # Errors
/// A file there that is not one JSON object a line; a folder that cannot be written to. The file is left as it was then.
pub fn append(folder: &Path, report: &Report) -> Result<()> {
    let Some(model) = &report.model else {
        return Ok(());
    };
    let path = folder.join("evaluation.jsonl");
    let mut line = Map::new();
    line.insert("step".to_owned(), json!(model.step));
    // A part of a reference is another reference.
    let reference = match &report.reference {
        Some(Side {
            source,
            chosen: Some(chosen),
            ..
        }) => format!("{source}, {chosen}"),
        Some(side) => side.source.clone(),
        None => "none".to_owned(),
    };
    line.insert("reference".to_owned(), json!(reference));
    if let Some(Compared { generated, .. }) = &report.compared
        && let (Some(samples), Some(classes)) = (generated.samples, &generated.chosen)
    {
        // Those of earlier versions, in equal shares, do not say so.
        let of = format!("{samples} samples, {classes}");
        line.insert("of".to_owned(), json!(of));
    }
    let mut how = Map::new();
    for metric in &report.metrics {
        line.insert(metric.metric.clone(), json!(metric.value));
        how.insert(metric.metric.clone(), json!(metric.convention));
    }
    line.insert("how".to_owned(), Value::Object(how.clone()));
    let mut lines = read(&path)?;
    let same = |old: &Map<String, Value>| {
        ["step", "reference", "of"]
            .iter()
            .all(|key| old.get(*key) == line.get(*key))
            && how
                .iter()
                .all(|(metric, how)| match conventions(old).get(metric) {
                    Some(old) => old == how,
                    None => !old.contains_key(metric),
                })
    };
    match lines.iter_mut().find(|old| same(old)) {
        Some(old) => {
            let all = conventions(old).into_iter().chain(how.clone()).collect();
            old.extend(line);
            old.insert("how".to_owned(), Value::Object(all));
        }
        None => lines.push(line),
    }
    lines.sort_by_key(|line| line.get("step").and_then(Value::as_u64));
    files::write_atomically(&path, |out| {
        for line in &lines {
            writeln!(out, "{}", Value::Object(line.clone()))?;
        }
        Ok(())
    })
}

/// The conventions of a line, by metric; none on the lines of earlier versions.
fn conventions(line: &Map<String, Value>) -> Map<String, Value> {
    let how = line.get("how").and_then(Value::as_object);
    how.cloned().unwrap_or_default()
}

fn read(path: &Path) -> Result<Vec<Map<String, Value>>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(reason) if reason.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(reason) => {
            return Err(reason).with_context(|| format!("cannot read `{}`", path.display()));
        }
    };
    let lines = text.lines().enumerate();
    lines
        .map(|(i, line)| {
            serde_json::from_str(line).with_context(|| {
                format!(
                    "line {} of `{}` is no JSON object; mend or move the file",
                    i + 1,
                    path.display()
                )
            })
        })
        .collect()
}
