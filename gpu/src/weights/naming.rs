//! Which dictionary of a file the weights are, and by which names.

use std::collections::{BTreeMap, BTreeSet};

use super::entry::Entry;
use super::pickle::{Heap, Id, Loaded, Tensor, Value};
use super::refusal::{Outcome, unread};

/// Names under which training programs put the weights beside what else they keep.
pub(super) const WRAPPERS: [&str; 3] = ["state_dict", "model_state_dict", "model"];
/// Wrappers within wrappers.
const WRAPPED: usize = 3;
/// What `DataParallel`, averaged models and `torch.compile` write before every name.
const PREFIXES: [&str; 2] = ["module.", "_orig_mod."];
/// What an averaged model has beside its `module.`
pub(super) const COUNTER: &str = "n_averaged";
/// The module by which EDM and its relatives store objects with the source text of their classes.
const PERSISTENCE: &str = "torch_utils.persistence.";
/// What is said of such a file.
pub(super) const SNAPSHOT: &str = "it is a snapshot of EDM or a relative of it (`torch_utils.persistence`): it holds the source text of its program, \
     which would have to be run, and is not read; where that program is, run `python scripts/export_edm.py FILE OUT.safetensors` and read OUT.safetensors";
/// Dictionaries within dictionaries: how deep.
const DEEPEST: usize = 64;
/// Values that are looked at in search of tensors.
const MOST: usize = 1 << 24;

/// The tensors of a file by name.
#[derive(Debug)]
pub(super) struct Named {
    pub tensors: BTreeMap<String, Entry>,
    /// The dictionary that was taken for the weights, with a dot; empty for the outermost.
    pub under: String,
    /// What stood before every name in it.
    pub before: String,
    /// The names that do not lie in that dictionary.
    pub outside: BTreeSet<String>,
    /// The dictionaries that lie in the outermost, with how many tensors are in each.
    pub dictionaries: Vec<(String, usize)>,
    /// What a file of safetensors says of itself.
    pub metadata: BTreeMap<String, String>,
    /// The format of the file.
    pub format: &'static str,
}

impl Named {
    /// Tensors that lie in no dictionary of dictionaries.
    pub(super) fn flat(tensors: BTreeMap<String, Entry>) -> Self {
        let (tensors, before) = without_prefix(tensors);
        Self {
            before,
            ..Self::plain(tensors)
        }
    }

    /// Tensors whose names are left as they are.
    fn plain(tensors: BTreeMap<String, Entry>) -> Self {
        Self {
            tensors,
            under: String::new(),
            before: String::new(),
            outside: BTreeSet::new(),
            dictionaries: Vec::new(),
            metadata: BTreeMap::new(),
            format: "",
        }
    }

    /// A tensor by its name among the weights, or by its whole name in the file.
    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        let shorter = || {
            let name = name.strip_prefix(&self.under).unwrap_or(name);
            self.tensors
                .get(name.strip_prefix(&self.before).unwrap_or(name))
        };
        self.tensors.get(name).or_else(shorter)
    }
}

/// Whether something in a pickle is an object of EDM's with the source text of its class.
pub(super) fn is_snapshot(heap: &Heap) -> bool {
    heap.names().any(|name| name.starts_with(PERSISTENCE))
}

/// The tensors that a pickle names, read by `entry`.
pub(super) fn named(loaded: &Loaded, mut entry: impl FnMut(&Tensor) -> Entry) -> Outcome<Named> {
    let heap = &loaded.heap;
    let mut search = Search {
        heap,
        entry: &mut entry,
        left: MOST,
    };
    match heap.get(loaded.root) {
        Value::Tensor(tensor) => {
            let tensors = BTreeMap::from([("tensor".to_owned(), (search.entry)(tensor))]);
            return Ok(Named::flat(tensors));
        }
        Value::Object(class, items) if items.is_empty() => {
            return unread(format!(
                "it holds an object of `{class}`, which only a program with that class can read; there, save its state dictionary: \
                 torch.save(model.state_dict(), FILE)"
            ));
        }
        _ => {}
    }
    if is_snapshot(heap) {
        return unread(SNAPSHOT);
    }
    let dictionaries = dictionaries(&mut search, loaded.root)?;
    let (mut base, mut under, mut weights) = (loaded.root, String::new(), None);
    let mut empty = None;
    for _ in 0..WRAPPED {
        let found = WRAPPERS.iter().find_map(|wrapper| {
            let inner = item(heap, base, wrapper)?;
            heap.items(inner)?;
            Some(
                search
                    .tensors(inner)
                    .map(|tensors| (*wrapper, inner, tensors)),
            )
        });
        match found.transpose()? {
            Some((wrapper, inner, tensors)) if tensors.values().any(Entry::is_tensor) => {
                base = inner;
                under += wrapper;
                under.push('.');
                weights = Some(tensors);
            }
            Some((wrapper, ..)) => {
                empty = Some(wrapper);
                break;
            }
            None => break,
        }
    }
    let all = search.tensors(loaded.root)?;
    let Some(weights) = weights else {
        if let (Some(wrapper), true) = (empty, all.is_empty()) {
            return unread(format!("its dictionary `{wrapper}` holds no tensor"));
        }
        return Ok(Named {
            dictionaries,
            ..Named::flat(all)
        });
    };
    let (mut tensors, before) = without_prefix(weights);
    let mut outside = BTreeSet::new();
    for (name, entry) in all {
        if !name.starts_with(&under) && !tensors.contains_key(&name) {
            outside.insert(name.clone());
            tensors.insert(name, entry);
        }
    }
    Ok(Named {
        under,
        before,
        outside,
        dictionaries,
        ..Named::plain(tensors)
    })
}

/// The dictionaries in the outermost one that hold tensors, or nothing.
fn dictionaries<F: FnMut(&Tensor) -> Entry>(
    search: &mut Search<'_, F>,
    root: Id,
) -> Outcome<Vec<(String, usize)>> {
    let heap = search.heap;
    let mut found = Vec::new();
    for (key, value) in heap.items(root).unwrap_or_default() {
        let (Value::Text(key), Some(items)) = (heap.get(*key), heap.items(*value)) else {
            continue;
        };
        let tensors = search.tensors(*value)?;
        let count = tensors.values().filter(|entry| entry.is_tensor()).count();
        let is_dictionary = matches!(heap.get(*value), Value::Dict(_));
        if count > 0 || (items.is_empty() && is_dictionary) {
            found.retain(|(other, _)| other != key);
            found.push((key.clone(), count));
        }
    }
    Ok(found)
}

/// The value of a dictionary under a name; the last, if there are several.
fn item(heap: &Heap, dictionary: Id, name: &str) -> Option<Id> {
    let mut items = heap.items(dictionary)?.iter().rev();
    items
        .find(|(key, _)| heap.text(*key) == Some(name))
        .map(|(_, value)| *value)
}

/// Names without what stands before every one of them.
pub(super) fn without_prefix<T>(mut named: BTreeMap<String, T>) -> (BTreeMap<String, T>, String) {
    let mut before = String::new();
    loop {
        let common = PREFIXES.into_iter().find(|prefix| {
            let mut names = named.keys().filter(|name| *name != COUNTER);
            names.clone().next().is_some() && names.all(|name| name.starts_with(prefix))
        });
        let Some(prefix) = common else {
            return (named, before);
        };
        before += prefix;
        let shorter = |name: String| name.strip_prefix(prefix).map(str::to_owned).unwrap_or(name);
        named = named
            .into_iter()
            .map(|(name, entry)| (shorter(name), entry))
            .collect();
    }
}

struct Search<'a, F> {
    heap: &'a Heap,
    entry: &'a mut F,
    /// How many more values may be looked at: dictionaries that hold each other have no end.
    left: usize,
}

impl<F: FnMut(&Tensor) -> Entry> Search<'_, F> {
    /// The tensors in a value, the names of nested dictionaries joined by dots.
    fn tensors(&mut self, root: Id) -> Outcome<BTreeMap<String, Entry>> {
        let mut found = BTreeMap::new();
        self.walk(root, &mut String::new(), 0, &mut found)?;
        Ok(found)
    }

    fn walk(
        &mut self,
        id: Id,
        name: &mut String,
        depth: usize,
        found: &mut BTreeMap<String, Entry>,
    ) -> Outcome<()> {
        let Some(left) = self.left.checked_sub(1).filter(|_| depth < DEEPEST) else {
            return unread("its dictionaries hold each other without end");
        };
        self.left = left;
        match self.heap.get(id) {
            Value::Tensor(tensor) => {
                found.insert(name.clone(), (self.entry)(tensor));
            }
            Value::Object(class, items) => {
                if items.is_empty() {
                    let reason = format!("it is an object of `{class}`, which is not read");
                    found.insert(name.clone(), Entry::Unread(reason));
                }
                self.dictionary(items, name, depth, found)?;
            }
            Value::Dict(items) => self.dictionary(items, name, depth, found)?,
            Value::Tuple(elements) | Value::List(elements) => {
                for (i, element) in elements.iter().enumerate() {
                    self.inner(&i.to_string(), *element, name, depth, found)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn dictionary(
        &mut self,
        items: &[(Id, Id)],
        name: &mut String,
        depth: usize,
        found: &mut BTreeMap<String, Entry>,
    ) -> Outcome<()> {
        for (key, value) in items {
            match self.heap.get(*key) {
                Value::Text(key) => self.inner(key, *value, name, depth, found)?,
                Value::Int(key) => self.inner(&key.to_string(), *value, name, depth, found)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Walks on under a longer name.
    fn inner(
        &mut self,
        key: &str,
        value: Id,
        name: &mut String,
        depth: usize,
        found: &mut BTreeMap<String, Entry>,
    ) -> Outcome<()> {
        let length = name.len();
        if length > 0 {
            name.push('.');
        }
        name.push_str(key);
        self.walk(value, name, depth + 1, found)?;
        name.truncate(length);
        Ok(())
    }
}
