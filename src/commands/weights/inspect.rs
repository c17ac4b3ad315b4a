//! `sadm weights inspect`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use sadm_gpu::weights::layout::{Recognised, elements, fingerprint, is_buffer, known_by, possible};
use sadm_gpu::weights::{Part, Weights};
use serde_json::{Value, json};

use super::first_of;
use crate::files;

/// The arguments of `sadm weights inspect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file
    file: PathBuf,
    /// The dictionary to look into, such as ema or model [default: averaged weights where there are some]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Says what a file is.
pub fn run(args: &Args) -> Result<()> {
    let weights = Weights::open(&args.file)?;
    let part = weights.part(args.key.as_deref())?;
    let facts = Facts::of(&weights, &part)?;
    let text = if args.json {
        format!("{}\n", serde_json::to_string_pretty(&facts.json())?)
    } else {
        facts.text()
    };
    Ok(files::print(&text)?)
}

/// What is said of a file.
struct Facts<'a> {
    weights: &'a Weights,
    part: &'a Part<'a>,
    tensors: usize,
    /// Parameters, and numbers that are none.
    numbers: [usize; 2],
    dtypes: BTreeMap<&'static str, usize>,
    fingerprint: String,
    layouts: Vec<Recognised>,
    /// Tensors with how many of their elements are not finite.
    not_finite: Vec<(String, usize)>,
    unread: Vec<(String, String)>,
}

impl<'a> Facts<'a> {
    fn of(weights: &'a Weights, part: &'a Part<'a>) -> Result<Self> {
        let shapes = part.shapes();
        let (buffers, parameters): (Vec<_>, Vec<_>) =
            shapes.iter().partition(|(name, _)| is_buffer(name));
        let count =
            |some: Vec<(&String, &Vec<usize>)>| elements(some.into_iter().map(|(_, shape)| shape));
        let (mut dtypes, mut not_finite) = (BTreeMap::new(), Vec::new());
        for name in shapes.keys() {
            *dtypes.entry(part.dtype(name)?).or_insert(0) += 1;
            let values = part.raw(name)?.values();
            let bad = values.iter().filter(|x| !x.is_finite()).count();
            if bad > 0 {
                not_finite.push((name.clone(), bad));
            }
        }
        let unread = weights.unread();
        Ok(Self {
            tensors: shapes.len(),
            numbers: [count(parameters), count(buffers)],
            fingerprint: fingerprint(&shapes),
            layouts: part.recognised(),
            unread: unread
                .map(|(name, why)| (name.to_owned(), why.to_owned()))
                .collect(),
            weights,
            part,
            dtypes,
            not_finite,
        })
    }

    fn averaged(&self) -> &'static str {
        match self.part.averaged() {
            Some(true) => "averaged weights",
            Some(false) => "weights that are not averaged",
            None => "weights; whether they are averaged the file does not say",
        }
    }

    fn json(&self) -> Value {
        let known = known_by(&self.fingerprint);
        let dictionaries = self.weights.dictionaries();
        let dictionaries = dictionaries
            .iter()
            .map(|one| json!({"key": one.key, "tensors": one.tensors, "averaged": one.averaged}));
        let layouts = self.layouts.iter().map(|one| {
            json!({
                "layout": one.layout.name,
                "network": one.layout.family,
                "published": one.known().map(|known| known.name),
                "prefix": one.prefix,
                "config": one.found.config,
                "missing": one.missing,
                "left_over": one.left_over,
                "convert_to": one.layout.relatives().map(|layout| layout.name).collect::<Vec<_>>(),
            })
        });
        let counts = self.not_finite.iter();
        json!({
            "file": self.weights.path().display().to_string(),
            "format": self.weights.format(),
            "sha256": self.weights.digest(),
            "dictionary": self.part.key(),
            "dictionaries": dictionaries.collect::<Vec<_>>(),
            "averaged": self.part.averaged(),
            "tensors": self.tensors,
            "parameters": self.numbers[0],
            "buffers": self.numbers[1],
            "dtypes": self.dtypes,
            "fingerprint": self.fingerprint,
            "published": known.map(|known| known.name),
            "layouts": layouts.collect::<Vec<_>>(),
            "not_finite": counts.map(|(name, n)| json!({"name": name, "count": n})).collect::<Vec<_>>(),
            "unread": self.unread.iter().map(|(name, why)| json!({"name": name, "reason": why})).collect::<Vec<_>>(),
            "metadata": self.weights.metadata(),
        })
    }

    fn text(&self) -> String {
        let mut lines = vec![format!(
            "{}: {}, SHA-256 {}",
            self.weights.path().display(),
            self.weights.format(),
            self.weights.digest()
        )];
        let dictionaries = self.weights.dictionaries();
        if !dictionaries.is_empty() {
            let list = dictionaries.iter().map(|one| {
                let averaged = if one.averaged { ", averaged" } else { "" };
                format!("{} ({} tensors{averaged})", one.key, one.tensors)
            });
            lines.push(format!(
                "dictionaries: {}",
                list.collect::<Vec<_>>().join(", ")
            ));
        }
        let of = self
            .part
            .key()
            .map_or(String::new(), |key| format!("`{key}`: "));
        let types: Vec<String> = (self.dtypes.iter())
            .map(|(dtype, count)| format!("{count} of {dtype}"))
            .collect();
        lines.push(format!(
            "{of}{}; {} tensors ({}), {} parameters, {} elements of buffers",
            self.averaged(),
            self.tensors,
            types.join(", "),
            self.numbers[0],
            self.numbers[1]
        ));
        let published = known_by(&self.fingerprint);
        let published = published.map_or("of no published file".to_owned(), |known| {
            known.name.to_owned()
        });
        lines.push(format!("fingerprint {}: {published}", self.fingerprint));
        if self.layouts.is_empty() {
            lines.push("layout: none of those that are known (sadm weights list)".to_owned());
        }
        lines.extend(self.layouts.iter().flat_map(of_layout));
        lines.extend(
            self.unread
                .iter()
                .map(|(name, why)| format!("not read: {name}: {why}")),
        );
        let spoilt = self.not_finite.iter();
        lines.extend(spoilt.map(|(name, count)| format!("not finite: {count} elements of {name}")));
        for (key, value) in self.weights.metadata() {
            lines.push(format!("metadata {key}: {value}"));
        }
        lines.join("\n") + "\n"
    }
}

/// What is said of a layout.
fn of_layout(one: &Recognised) -> Vec<String> {
    let under = if one.prefix.is_empty() {
        String::new()
    } else {
        format!(" under `{}`", one.prefix)
    };
    let name = one
        .known()
        .map_or(String::new(), |known| format!(", {}", known.name));
    let mut lines = vec![
        format!("layout {}{under}{name}", one.layout.name),
        format!("  {}", one.layout.about),
        format!("  {}", one.found.config),
    ];
    for (what, names) in [("missing", &one.missing), ("left over", &one.left_over)] {
        lines.push(match names.len() {
            0 => format!("  {what}: nothing"),
            count => format!("  {what}: {count}: {}", first_of(names)),
        });
    }
    lines.push(format!("  convert --to: {}", possible(one.layout)));
    lines
}
