//! Layouts: by which names and in which shapes and orders programs store the parameters of a network.
//!
//! A layout is a file with a constant, and a line in `LAYOUTS`. It says which configuration the shapes of a state dictionary
//! belong to and what then must be in it; so a file is recognised by everything that it holds, at sizes too that nobody named, and what is
//! missing or left over has names. Layouts of one family hold the same parameters: each has a way to the family's hub (the
//! first of it in `LAYOUTS`) and back.
//!
//! | module | holds |
//! |---|---|
//! | `dit`, `edm`, `adm`, `autoencoder`, `taesd`, `inception`, `own` | the layouts |
//! | `known` | published files by their fingerprints |
//! | `plan` | how the tensors of one layout are made from those of another |
//! | `shapes` | names, shapes, fingerprints |

mod adm;
mod autoencoder;
mod dit;
mod edm;
mod inception;
mod known;
mod own;
mod plan;
mod shapes;
mod taesd;

use serde_json::Value;

use super::elements::Elements;
use super::part::Part;
use super::raw::Raw;
use plan::{Converted, Plan};

pub use known::{KNOWN, Known, known_by};
pub use plan::Ask;
pub use shapes::{Shapes, elements, fingerprint};

/// Every layout.
pub const LAYOUTS: &[Layout] = &[
    dit::DIT,
    dit::SIT,
    dit::DIFFUSERS,
    edm::SONG,
    edm::SONG_PUBLISHED,
    edm::DHARIWAL,
    edm::DHARIWAL_PUBLISHED,
    adm::NEW,
    adm::LEGACY,
    autoencoder::NEW,
    autoencoder::OLD,
    autoencoder::COMPVIS,
    taesd::ENCODER,
    taesd::TINY_ENCODER,
    taesd::DECODER,
    taesd::TINY_DECODER,
    inception::INCEPTION,
    own::UNET,
    own::DIT_SMALL,
];

/// Named tensors, each read when it is asked for. An error is a sentence without the name of the file.
pub(crate) trait Source {
    /// Their shapes.
    fn shapes(&self) -> Shapes;

    /// The type of the elements of one of them.
    fn elements(&self, name: &str) -> Result<Elements, String>;

    /// One of them.
    fn raw(&self, name: &str) -> Result<Raw, String>;
}

/// By which names, in which shapes and orders a program stores a network's parameters.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Its name.
    pub name: &'static str,
    /// A line on it.
    pub about: &'static str,
    /// The layouts that hold the same parameters have the same.
    pub family: &'static str,
    /// The order of elements, where layouts of the same names and shapes differ in nothing else.
    order: &'static str,
    /// A name that every file of it has; `*` stands for anything without a dot.
    anchor: &'static str,
    /// The configuration that shapes belong to, if they have what tells it.
    find: fn(&Shapes) -> Option<Found>,
    /// The family's hub from this.
    to_hub: fn(&Shapes, &Ask) -> Result<Plan, String>,
    /// This from the family's hub.
    from_hub: fn(&Shapes, &Ask) -> Result<Plan, String>,
}

/// A layout at one size.
#[derive(Debug, Clone)]
pub struct Found {
    /// Everything that must be there.
    pub shapes: Shapes,
    /// The dimensions by the published names, as far as shapes say them.
    pub config: Value,
    /// The table of classes, if there is one.
    pub classes: Option<ClassTable>,
}

/// Where a network keeps what it knows of each class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassTable {
    /// The tensor.
    pub name: &'static str,
    /// The side along which the classes lie.
    pub side: usize,
    /// Whether the last entry is "no class".
    pub no_class: bool,
    /// Whether the network multiplies an entry by the root of the number of classes.
    pub per_root: bool,
}

/// A state dictionary that was recognised.
#[derive(Debug, Clone)]
pub struct Recognised {
    /// What it is.
    pub layout: &'static Layout,
    /// What stands before every name of it.
    pub prefix: String,
    /// The layout at its size.
    pub found: Found,
    /// What is missing or of another shape.
    pub missing: Vec<String>,
    /// What the layout does not have.
    pub left_over: Vec<String>,
}

/// The layout of this name.
///
/// # Errors
/// [`Error::UnknownName`](crate::Error::UnknownName) with the known ones.
pub fn layout(name: &str) -> crate::Result<&'static Layout> {
    let found = LAYOUTS.iter().find(|layout| layout.name == name);
    found.ok_or_else(|| {
        let known: Vec<&str> = LAYOUTS.iter().map(|layout| layout.name).collect();
        crate::Error::unknown_name("layout", name, &known)
    })
}

impl Layout {
    /// The layouts of the same family, this one among them; the first is the hub.
    pub fn relatives(&self) -> impl Iterator<Item = &'static Layout> {
        let family = self.family;
        LAYOUTS.iter().filter(move |layout| layout.family == family)
    }

    /// Whether another layout of its family has the same names and shapes and another order of elements.
    pub(crate) fn is_in_an_order(&self) -> bool {
        !self.order.is_empty()
    }

    /// What of these shapes this layout has, under the prefix under which most is right.
    fn recognise(&'static self, shapes: &Shapes) -> Option<Recognised> {
        let at = |prefix: String| {
            let inner = shapes::below(shapes, &prefix);
            let found = (self.find)(&inner)?;
            let missing = found
                .shapes
                .iter()
                .filter_map(|(name, must)| match inner.get(name) {
                    Some(got) if got == must => None,
                    Some(got) => Some(format!("{name} must have shape {must:?}, got {got:?}")),
                    None => Some(name.clone()),
                });
            let missing: Vec<String> = missing.collect();
            let known = |name: &&String| {
                let inner = name.strip_prefix(&prefix);
                inner.is_some_and(|inner| found.shapes.contains_key(inner))
            };
            let left_over = shapes.keys().filter(|name| !known(name)).cloned().collect();
            Some(Recognised {
                layout: self,
                prefix,
                missing,
                left_over,
                found,
            })
        };
        let prefixes: std::collections::BTreeSet<&str> = shapes
            .keys()
            .filter_map(|name| prefix_before(self.anchor, name))
            .collect();
        let candidates = prefixes
            .into_iter()
            .filter_map(|prefix| at(prefix.to_owned()));
        candidates.min_by_key(|found| (found.missing.len(), found.prefix.len()))
    }
}

/// What stands before `anchor` in a name that ends with it.
fn prefix_before<'a>(anchor: &str, name: &'a str) -> Option<&'a str> {
    let prefix = match anchor.split_once('*') {
        None => name.strip_suffix(anchor)?,
        Some((before, after)) => {
            let rest = name.strip_suffix(after)?;
            let at = rest.rfind(before)?;
            if rest[at + before.len()..].contains('.') {
                return None;
            }
            &rest[..at]
        }
    };
    (prefix.is_empty() || prefix.ends_with('.')).then_some(prefix)
}

/// The layouts that these shapes are of, the whole ones first; a layout of which much is missing comes last.
///
/// Where a published fingerprint is known it decides between layouts that differ in nothing but the order of elements. A layout under a shorter
/// prefix, such as that of EDM's files, excludes the same network under a longer one.
pub fn recognise(shapes: &Shapes) -> Vec<Recognised> {
    // No network is so wide; a damaged file may say anything, and products of sides must have room.
    if shapes.values().flatten().any(|side| *side > 1 << 31) {
        return Vec::new();
    }
    let mut all: Vec<Recognised> = LAYOUTS
        .iter()
        .filter_map(|layout| layout.recognise(shapes))
        .filter(|one| 2 * one.missing.len() <= one.found.shapes.len())
        .collect();
    if all.iter().any(|one| one.missing.is_empty()) {
        all.retain(|one| one.missing.is_empty());
    }
    let families: Vec<(&str, usize)> = (all.iter())
        .map(|one| (one.layout.family, one.prefix.len()))
        .collect();
    let shortest = |family: &str| {
        families
            .iter()
            .filter(|(of, _)| *of == family)
            .map(|(_, length)| *length)
            .min()
    };
    all.retain(|one| shortest(one.layout.family) == Some(one.prefix.len()));
    all.retain(|one| {
        let known = one.known();
        known.is_none_or(|known| known.layouts.contains(&one.layout.name))
    });
    all.sort_by_key(|one| one.missing.len());
    all
}

impl Recognised {
    /// The publication of this layout at this size, if it is known.
    pub fn known(&self) -> Option<&'static Known> {
        known_by(&fingerprint(&self.found.shapes))
    }
}

/// The layout of a file where names and shapes allow several: the one that is said to be, or the only one.
///
/// # Errors
/// As the end of a sentence on the file: none that is known; several that differ in the order of elements; another than is said.
pub fn chosen(
    all: Vec<Recognised>,
    said: Option<&Layout>,
    to: Option<&Layout>,
) -> Result<Recognised, String> {
    let names = |all: &[Recognised]| {
        let names: Vec<&str> = all.iter().map(|one| one.layout.name).collect();
        names.join(" or ")
    };
    if all.is_empty() {
        return Err(
            "its names and shapes are of no layout that is known (sadm weights list)".to_owned(),
        );
    }
    let found = names(&all);
    let mut fitting = all;
    if let Some(said) = said {
        fitting.retain(|one| one.layout.name == said.name);
        if fitting.is_empty() {
            return Err(format!(
                "it is said to be {}, and its names and shapes are of {found}",
                said.name
            ));
        }
    } else if let Some(to) = to
        && fitting.iter().any(|one| one.layout.family == to.family)
    {
        fitting.retain(|one| one.layout.family == to.family);
    }
    let order = fitting[0].layout.order;
    if fitting
        .iter()
        .any(|one| one.layout.order != order && one.missing.is_empty())
    {
        return Err(format!(
            "by its names and shapes it may be {}, which differ in the order of their elements: say which it is by --from",
            names(&fitting)
        ));
    }
    Ok(fitting.swap_remove(0))
}

/// Whether a tensor of this name is no parameter: a statistic, a filter, a table of frequencies or of noise levels.
pub fn is_buffer(name: &str) -> bool {
    const LAST: [&str; 6] = [
        "running_mean",
        "running_var",
        "num_batches_tracked",
        "resample_filter",
        "freqs",
        "u",
    ];
    name.rsplit('.')
        .next()
        .is_some_and(|last| LAST.contains(&last))
}

/// What a conversion gives.
pub struct Conversion<'a> {
    pub(crate) tensors: Box<dyn Source + 'a>,
    /// The new layout at its size.
    pub found: Found,
    /// What of the old one has no place in the new one.
    pub left_out: Vec<String>,
    /// What is to be known of it.
    pub remarks: Vec<String>,
}

impl std::fmt::Debug for Conversion<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conversion")
            .field("left_out", &self.left_out)
            .field("remarks", &self.remarks)
            .finish_non_exhaustive()
    }
}

/// The largest side of a network's input.
const LARGEST: usize = 4096;

/// The tensors of a recognised dictionary in another layout of its family.
///
/// # Errors
/// What stands in the way, as a sentence without the name of the file: something missing, another family, a dimension that a file
/// does not say, a tensor that would be lost.
pub fn convert<'a>(
    part: &'a Part<'a>,
    from: &Recognised,
    to: &'static Layout,
    ask: &Ask,
) -> Result<Conversion<'a>, String> {
    if let Some(first) = from.missing.first() {
        return Err(format!(
            "as {} it is not whole: {} of {} tensors are missing, the first {first}",
            from.layout.name,
            from.missing.len(),
            from.found.shapes.len()
        ));
    }
    if from.layout.family != to.family {
        return Err(format!(
            "it is {}, of which there is no way to {}; possible here: {}",
            from.layout.name,
            to.name,
            possible(from.layout)
        ));
    }
    if let Some(size) = ask.size.filter(|size| !(1..=LARGEST).contains(size)) {
        return Err(format!("--size must be from 1 to {LARGEST}, got {size}"));
    }
    let mut left_out = from.left_over.clone();
    let ask = Ask {
        size: ask.size.or(from.known().map(|known| known.size)),
    };
    let mut remarks = Vec::new();
    let mut tensors: Box<dyn Source + 'a> = Box::new(Inner {
        prefix: from.prefix.clone(),
        names: from.found.shapes.clone(),
        source: part,
    });
    if from.layout.name != to.name {
        for way in [from.layout.to_hub, to.from_hub] {
            let shapes = tensors.shapes();
            let plan = way(&shapes, &ask)?;
            let used = plan.used();
            let lost = shapes.keys().filter(|name| !used.contains(name.as_str()));
            left_out.extend(lost.cloned());
            remarks.extend(plan.remarks().iter().cloned());
            drop(used);
            tensors = Box::new(Converted::new(tensors, plan)?);
        }
    }
    let found = (to.find)(&tensors.shapes())
        .ok_or_else(|| format!("its tensors do not make a whole {}", to.name))?;
    remarks.dedup();
    Ok(Conversion {
        tensors,
        found,
        left_out,
        remarks,
    })
}

/// The layouts that one can be converted to.
pub fn possible(layout: &Layout) -> String {
    let names: Vec<&str> = layout.relatives().map(|layout| layout.name).collect();
    names.join(", ")
}

/// The tensors of a layout without their prefix, and without what is left over.
struct Inner<'a> {
    source: &'a Part<'a>,
    prefix: String,
    names: Shapes,
}

impl Source for Inner<'_> {
    fn shapes(&self) -> Shapes {
        self.names.clone()
    }

    fn elements(&self, name: &str) -> Result<Elements, String> {
        Source::elements(self.source, &format!("{}{name}", self.prefix))
    }

    fn raw(&self, name: &str) -> Result<Raw, String> {
        Source::raw(self.source, &format!("{}{name}", self.prefix))
    }
}

#[cfg(test)]
mod tests;
