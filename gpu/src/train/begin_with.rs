//! Weights from a file that a run begins with.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::player::{Players, THETA};
use crate::config::Config;
use crate::params::Tensors;
use crate::weights::layout::{
    self, Ask, ClassTable, Layout, Recognised, Shapes, chosen, convert, is_buffer,
};
use crate::weights::{Part, Weights};
use crate::{Error, Result};

/// What a denoiser begins with, from a file.
#[derive(Debug, Clone, Copy)]
pub struct Init<'a> {
    /// The file.
    pub file: &'a Path,
    /// Its dictionary; without one that of the averaged weights if there are some.
    pub key: Option<&'a str>,
    /// Its layout, where names and shapes allow several.
    pub layout: Option<&'a str>,
    /// What becomes of the table of classes.
    pub classes: Option<&'a ClassPolicy>,
}

/// What becomes of the table of classes of a file whose classes are others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClassPolicy {
    /// Every class begins as the seed draws it.
    Fresh,
    /// Every class begins as the mean of the file's.
    Mean,
    /// Class k begins as that class of the file which stands k-th here.
    Chosen(Vec<usize>),
    /// Every row of the file is a class, and none is "no class", which begins as the seed draws it.
    All,
}

impl std::str::FromStr for ClassPolicy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "fresh" => Ok(Self::Fresh),
            "mean" => Ok(Self::Mean),
            "all" => Ok(Self::All),
            list => {
                let numbers = list.split(',').map(|number| number.trim().parse());
                let numbers: Result<Vec<usize>, _> = numbers.collect();
                numbers.map(Self::Chosen).map_err(|_| {
                    let must = "be fresh, mean, all or the numbers of the file's classes, one for each class here, such as 3,17,4";
                    Error::invalid("the policy for the table of classes", must, text)
                })
            }
        }
    }
}

impl std::fmt::Display for ClassPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fresh => f.write_str("fresh"),
            Self::Mean => f.write_str("mean"),
            Self::All => f.write_str("all"),
            Self::Chosen(list) => {
                let list: Vec<String> = list.iter().map(ToString::to_string).collect();
                f.write_str(&list.join(","))
            }
        }
    }
}

/// The file that a run's first weights were read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// The file.
    pub file: PathBuf,
    /// Its SHA-256.
    pub sha256: String,
    /// The dictionary in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its layout, where it is a known one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
    /// What became of the table of classes, where it is not as in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_table: Option<String>,
    /// What of the file was not taken over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_taken_over: Vec<String>,
}

/// Takes the parameters of θ, and its average, from a file; where they are from, and what is to be said of it.
pub(super) fn begin_with(
    init: &Init<'_>,
    config: &Config,
    size: usize,
    players: &Players,
) -> Result<(File, Vec<String>)> {
    let weights = Weights::open(init.file)?;
    let part = weights.part(init.key)?;
    let theta = players.get(THETA)?;
    let here = theta.params.tensors();
    let wanted: Shapes = here
        .iter()
        .map(|(name, x)| (name.clone(), x.dims().to_vec()))
        .collect();
    let own = layout::recognise(&wanted);
    let table = own.first().and_then(|one| one.found.classes);
    let wrong = |problem: String| Error::file(init.file, problem);
    let network = Target {
        size,
        wanted: &wanted,
        table,
        families: own.iter().map(|one| one.layout.family).collect(),
        order: order(config)?,
    };
    let given = given(&part, init, &network).map_err(wrong)?;
    let mut notes = Vec::new();
    let mut changed = None;
    let mut taken = Tensors::new();
    for (name, own) in &here {
        let is_table = table.is_some_and(|table| table.name == name);
        let there = given.tensors.get(name).map(read).transpose()?;
        let value = match (there, table) {
            (there, Some(table)) if is_table => {
                let there = there.as_ref();
                let (value, said) = classes(table, there, own, init.classes).map_err(wrong)?;
                changed = said;
                value
            }
            (Some(there), _) if there.dims() == own.dims() => there,
            (there, _) => return Err(wrong(unfit(&given, &wanted, name, there.as_ref()))),
        };
        let values: Vec<f64> = value.flatten_all()?.to_vec1()?;
        if let Some(at) = values.iter().position(|x| !x.is_finite()) {
            return Err(wrong(format!(
                "tensor `{name}` must be finite, got {} as element {at}",
                values[at]
            )));
        }
        taken.insert(name.clone(), value);
    }
    theta.params.load(&taken)?;
    if let Some(average) = &theta.average {
        average.params().load(&taken)?;
    }
    let mut left: Vec<String> = (given.tensors.keys())
        .filter(|name| !wanted.contains_key(*name) && !is_buffer(name))
        .cloned()
        .collect();
    left.extend(given.left_out);
    let of = part.key().map_or(String::new(), |key| format!(", `{key}`"));
    notes.push(format!(
        "weights from {}{of}{}: {} tensors, {}",
        init.file.display(),
        given
            .layout
            .map_or(String::new(), |name| format!(", layout {name}")),
        taken.len(),
        match part.averaged() {
            Some(true) => "averaged there",
            Some(false) => "not averaged there",
            None => "whether averaged there the file does not say",
        }
    ));
    notes.extend(given.remarks);
    notes.extend(changed.clone());
    if !left.is_empty() {
        notes.push(format!("not taken over: {}", left.join(", ")));
    }
    let origin = File {
        file: std::path::absolute(init.file).unwrap_or_else(|_| init.file.to_owned()),
        sha256: weights.digest().to_owned(),
        key: part.key().map(str::to_owned),
        layout: given.layout.map(str::to_owned),
        class_table: changed,
        not_taken_over: left,
    };
    Ok((origin, notes))
}

/// What a network wants.
struct Target<'a> {
    /// Side of its input.
    size: usize,
    wanted: &'a Shapes,
    table: Option<ClassTable>,
    /// The families that its names and shapes are of.
    families: Vec<&'static str>,
    /// Its layout, where names and shapes leave the order of elements open.
    order: Option<&'static Layout>,
}

/// The layout of a network that can be built in two orders of q, k and v.
fn order(config: &Config) -> Result<Option<&'static Layout>> {
    let (_, dimensions) = config.model.network()?;
    let new = dimensions
        .get("use_new_attention_order")
        .and_then(toml::Value::as_bool);
    let name = |new| if new { "adm" } else { "adm-legacy" };
    new.map(|new| layout::layout(name(new))).transpose()
}

/// The tensors of a file by the names of the network.
struct Given {
    layout: Option<&'static str>,
    tensors: std::collections::BTreeMap<String, crate::weights::Raw>,
    left_out: Vec<String>,
    remarks: Vec<String>,
}

fn read(raw: &crate::weights::Raw) -> Result<Tensor> {
    raw.tensor()
}

/// The tensors of a file in the layout of the network: as they are, or converted to that layout of the file's family which has most of
/// the wanted names. A file that may be of either of two orders is taken to be of the network's.
fn given(part: &Part<'_>, init: &Init<'_>, network: &Target<'_>) -> Result<Given, String> {
    let said = init.layout.map(layout::layout).transpose();
    let said = said.map_err(|e| e.to_string())?;
    let all = part.recognised().into_iter();
    let mut whole: Vec<Recognised> = all.filter(|one| one.missing.is_empty()).collect();
    let missing_of = |shapes: &Shapes| {
        let is_table = |name: &String| network.table.is_some_and(|table| table.name == name);
        let names = network.wanted.keys().filter(|name| !is_table(name));
        names.filter(|name| !shapes.contains_key(*name)).count()
    };
    let own = network.order.map(|own| own.name);
    if said.is_none() && whole.iter().any(|one| Some(one.layout.name) == own) {
        whole.retain(|one| Some(one.layout.name) == own);
    }
    let of_this_order = own.is_none() || whole.iter().any(|one| Some(one.layout.name) == own);
    let shapes = part.shapes();
    // Of another network nothing can be made, in whatever order its elements are.
    let is_ours = |one: &Recognised| network.families.contains(&one.layout.family);
    let foreign = !network.families.is_empty() && !whole.iter().any(is_ours);
    if whole.is_empty() || foreign || (missing_of(&shapes) == 0 && said.is_none() && of_this_order)
    {
        let layout = whole.first().map(|one| one.layout.name);
        return gathered(layout, &shapes, Vec::new(), Vec::new(), |name| {
            part.raw(name).map_err(|e| e.to_string())
        });
    }
    let from = chosen(whole, said, None);
    let from = from.map_err(|problem| problem.replace("--from", "--init-layout"))?;
    let ask = Ask {
        size: Some(network.size),
    };
    let mut best = None;
    for to in from.layout.relatives() {
        if to.is_in_an_order() && Some(to.name) != own {
            continue;
        }
        let Ok(conversion) = convert(part, &from, to, &ask) else {
            continue;
        };
        let missing = missing_of(&conversion.found.shapes);
        if best.as_ref().is_none_or(|(least, _)| missing < *least) {
            best = Some((missing, conversion));
        }
    }
    let Some((_, conversion)) = best else {
        return Err(format!(
            "it is {}, which could not be read",
            from.layout.name
        ));
    };
    let (shapes, tensors) = (conversion.found.shapes, conversion.tensors);
    gathered(
        Some(from.layout.name),
        &shapes,
        conversion.left_out,
        conversion.remarks,
        |name| tensors.raw(name),
    )
}

fn gathered(
    layout: Option<&'static str>,
    shapes: &Shapes,
    left_out: Vec<String>,
    remarks: Vec<String>,
    raw: impl Fn(&str) -> Result<crate::weights::Raw, String>,
) -> Result<Given, String> {
    let tensors = shapes.keys().map(|name| Ok((name.clone(), raw(name)?)));
    Ok(Given {
        layout,
        tensors: tensors.collect::<Result<_, String>>()?,
        left_out,
        remarks,
    })
}

/// Message for a file whose tensors are not those of the network.
fn unfit(given: &Given, wanted: &Shapes, name: &str, there: Option<&Tensor>) -> String {
    let fits = |(name, shape): &(&String, &Vec<usize>)| {
        given
            .tensors
            .get(*name)
            .is_some_and(|raw| raw.shape() == shape.as_slice())
    };
    let fitting = wanted.iter().filter(fits).count();
    let what = given
        .layout
        .map_or("of no layout that is known".to_owned(), |name| {
            format!("{name} by its names and shapes")
        });
    let shape = wanted.get(name).cloned().unwrap_or_default();
    let found = there.map_or("none of this name".to_owned(), |there| {
        format!("one of shape {:?}", there.dims())
    });
    format!(
        "its weights (it is {what}) are not those of this network: {fitting} of the network's {} tensors fit; `{name}` must have shape {shape:?}, and there is {found}. \
         The section [model] of the configuration must describe the network of the file (sadm weights inspect shows its dimensions)",
        wanted.len()
    )
}

/// The table of classes to begin with, and what is to be said of it.
fn classes(
    table: ClassTable,
    there: Option<&Tensor>,
    here: &Tensor,
    policy: Option<&ClassPolicy>,
) -> Result<(Tensor, Option<String>), String> {
    let failed = |e: candle_core::Error| e.to_string();
    let ways = "--class-table fresh (as the seed draws them), mean (the mean of the file's), or a list of the file's classes, one for each class here";
    let fresh = || {
        let own = here
            .to_device(&Device::Cpu)
            .and_then(|x| x.to_dtype(candle_core::DType::F64));
        own.map_err(failed)
    };
    let beside = usize::from(table.no_class);
    let count = |x: &Tensor| {
        x.dim(table.side)
            .map(|n| n.saturating_sub(beside))
            .map_err(failed)
    };
    let here_count = count(here)?;
    let Some(there) = there else {
        return match policy {
            Some(ClassPolicy::Fresh) => Ok((
                fresh()?,
                Some(format!(
                    "table of classes {}: none in the file, {here_count} classes here, fresh",
                    table.name
                )),
            )),
            _ => Err(format!(
                "it has no table of classes `{}`, and the network has {here_count} classes: choose --class-table fresh",
                table.name
            )),
        };
    };
    let there_count = count(there)?;
    let width = |x: &Tensor| x.dim(1 - table.side).map_err(failed);
    if width(there)? != width(here)? {
        return Err(format!(
            "its table of classes `{}` must be {} wide, got {}",
            table.name,
            width(here)?,
            width(there)?
        ));
    }
    let Some(policy) = policy else {
        if there_count == here_count {
            return Ok((there.clone(), None));
        }
        let all = if table.no_class && there_count + 1 == here_count {
            "; or all, if its last row is a class too and none is \"no class\""
        } else {
            ""
        };
        return Err(format!(
            "it has {there_count} classes and the network {here_count}: choose {ways}{all}"
        ));
    };
    if *policy == ClassPolicy::All {
        return every_row(table, there, &fresh()?, [there_count + beside, here_count]);
    }
    // The network multiplies by the root of the number of its classes: what reaches it stays.
    let scale = if table.per_root {
        (there_count as f64 / here_count.max(1) as f64).sqrt()
    } else {
        1.0
    };
    let of_file = there.narrow(table.side, 0, there_count).map_err(failed)?;
    let entries = match policy {
        ClassPolicy::Fresh | ClassPolicy::All => fresh()?.narrow(table.side, 0, here_count),
        ClassPolicy::Mean => of_file
            .mean_keepdim(table.side)
            .and_then(|mean| (mean * scale)?.repeat(repeats(table.side, here_count))),
        ClassPolicy::Chosen(list) => {
            if list.len() != here_count || list.iter().any(|class| *class >= there_count) {
                return Err(format!(
                    "--class-table must list {here_count} of its classes 0 to {}, got {policy}",
                    there_count.saturating_sub(1)
                ));
            }
            let rows = list
                .iter()
                .map(|class| of_file.narrow(table.side, *class, 1));
            rows.collect::<Result<Vec<_>, _>>()
                .and_then(|rows| Tensor::cat(&rows, table.side)? * scale)
        }
    };
    let mut value = entries.map_err(failed)?;
    if table.no_class {
        let last = there.narrow(table.side, there_count, 1).map_err(failed)?;
        value = Tensor::cat(&[&value, &last], table.side).map_err(failed)?;
    }
    let kept = if table.no_class {
        "; \"no class\" as in the file"
    } else {
        ""
    };
    Ok((
        value,
        Some(format!(
            "table of classes {}: {there_count} classes in the file, {here_count} here, {policy}{kept}",
            table.name
        )),
    ))
}

/// A table whose file has `rows` rows for as many classes, and none for "no class": that one is the network's own.
fn every_row(
    table: ClassTable,
    there: &Tensor,
    own: &Tensor,
    [rows, here]: [usize; 2],
) -> Result<(Tensor, Option<String>), String> {
    if !table.no_class || rows != here {
        let no_class = if table.no_class { "a" } else { "no" };
        return Err(format!(
            "--class-table all takes each of the {rows} rows of its `{}` for a class, beside which the network has a row for \"no class\": it has {here} classes, and {no_class} row for \"no class\"",
            table.name
        ));
    }
    let last = own.narrow(table.side, here, 1);
    let value = last.and_then(|last| Tensor::cat(&[there, &last], table.side));
    let said = format!(
        "table of classes {}: {rows} rows in the file, each a class; \"no class\" fresh",
        table.name
    );
    Ok((value.map_err(|e| e.to_string())?, Some(said)))
}

/// How often each side is repeated.
fn repeats(side: usize, count: usize) -> (usize, usize) {
    if side == 0 { (count, 1) } else { (1, count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: ClassTable = ClassTable {
        name: "class.weight",
        side: 0,
        no_class: true,
        per_root: false,
    };

    fn matrix(rows: &[[f64; 2]]) -> Tensor {
        Tensor::from_vec(rows.concat(), (rows.len(), 2), &Device::Cpu).expect("a matrix")
    }

    fn rows(x: &Tensor) -> Vec<Vec<f64>> {
        x.to_vec2().expect("a matrix")
    }

    #[test]
    fn a_table_of_classes_follows_its_policy() {
        let there = matrix(&[[1.0, 2.0], [3.0, 4.0], [5.0, 9.0], [7.0, 8.0]]);
        let here = matrix(&[[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]);
        let of = |policy: &str| {
            let policy: ClassPolicy = policy.parse().expect("a policy");
            classes(TABLE, Some(&there), &here, Some(&policy)).expect("a table")
        };
        let (fresh, said) = of("fresh");
        assert_eq!(rows(&fresh), [[0.1, 0.2], [0.3, 0.4], [7.0, 8.0]]);
        assert!(
            said.expect("a line")
                .contains("3 classes in the file, 2 here, fresh")
        );
        assert_eq!(rows(&of("mean").0), [[3.0, 5.0], [3.0, 5.0], [7.0, 8.0]]);
        assert_eq!(rows(&of("2, 0").0), [[5.0, 9.0], [1.0, 2.0], [7.0, 8.0]]);
        // A file without "no class".
        let (all, said) = classes(
            TABLE,
            Some(&there.narrow(0, 0, 2).expect("two rows")),
            &here,
            Some(&ClassPolicy::All),
        )
        .expect("a table");
        assert_eq!(rows(&all), [[1.0, 2.0], [3.0, 4.0], [0.5, 0.6]]);
        assert!(said.expect("a line").contains("\"no class\" fresh"));
        // As columns, without "no class", in a network that multiplies by √n: what reaches it is the same.
        let columns = ClassTable {
            side: 1,
            no_class: false,
            per_root: true,
            ..TABLE
        };
        let there = matrix(&[[1.0, 2.0], [3.0, 4.0]]);
        let here = Tensor::zeros((2, 8), candle_core::DType::F64, &Device::Cpu).expect("zeros");
        let list: ClassPolicy = "1,0,1,0,1,0,1,0".parse().expect("a policy");
        let (got, _) = classes(columns, Some(&there), &here, Some(&list)).expect("a table");
        assert_eq!(rows(&got)[0][..2], [1.0, 0.5]);
        assert_eq!(rows(&got)[1][..2], [2.0, 1.5]);
        let (mean, _) =
            classes(columns, Some(&there), &here, Some(&ClassPolicy::Mean)).expect("a table");
        assert_eq!(rows(&mean)[1][7].to_bits(), 1.75_f64.to_bits());
    }

    #[test]
    fn without_a_policy_other_classes_are_refused() {
        let there = matrix(&[[1.0, 2.0], [3.0, 4.0], [7.0, 8.0]]);
        let same = matrix(&[[0.0, 0.0]; 3]);
        let (kept, said) = classes(TABLE, Some(&there), &same, None).expect("as many");
        assert_eq!((rows(&kept), said), (rows(&there), None));
        let other = matrix(&[[0.0, 0.0]; 5]);
        let refused = classes(TABLE, Some(&there), &other, None).expect_err("two and four");
        assert!(
            refused.contains("2 classes and the network 4: choose --class-table fresh"),
            "{refused}"
        );
        let list: ClassPolicy = "0,1,2,1".parse().expect("a policy");
        let refused = classes(TABLE, Some(&there), &other, Some(&list)).expect_err("no class 2");
        assert!(
            refused.contains("list 4 of its classes 0 to 1, got 0,1,2,1"),
            "{refused}"
        );
        classes(TABLE, None, &other, Some(&ClassPolicy::Mean)).expect_err("none to take a mean of");
        classes(TABLE, None, &other, Some(&ClassPolicy::Fresh)).expect("fresh");
        "some".parse::<ClassPolicy>().expect_err("no policy");
        // As many rows as classes here: whether the last is "no class" only a person knows.
        let three = matrix(&[[0.0, 0.0]; 4]);
        let refused = classes(TABLE, Some(&there), &three, None).expect_err("two or three");
        assert!(
            refused.contains("2 classes and the network 3") && refused.contains("or all"),
            "{refused}"
        );
        let refused = classes(TABLE, Some(&there), &other, Some(&ClassPolicy::All));
        let refused = refused.expect_err("three rows for four classes");
        assert!(refused.contains("each of the 3 rows"), "{refused}");
        let columns = ClassTable {
            no_class: false,
            ..TABLE
        };
        let refused = classes(columns, Some(&there), &same, Some(&ClassPolicy::All));
        assert!(refused.expect_err("no such row").contains("no row for"));
    }
}
