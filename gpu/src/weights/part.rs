//! One state dictionary of a file.

use std::collections::{BTreeMap, BTreeSet};

use super::elements::Elements;
use super::layout::{Shapes, Source};
use super::naming::{COUNTER, WRAPPERS, without_prefix};
use super::raw::Raw;
use super::{Weights, layout};
use crate::{Error, Result};

/// Names under which programs keep the moving average of the weights, in the order in which one is taken.
const AVERAGES: [&str; 11] = [
    "ema",
    "model_ema",
    "ema_model",
    "ema_state_dict",
    "state_dict_ema",
    "model_state_dict_ema",
    "params_ema",
    "ema_params",
    "average",
    "averaged",
    "averaged_model",
];

/// A dictionary in the outermost dictionary of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dictionary {
    /// Its key.
    pub key: String,
    /// Tensors in it.
    pub tensors: usize,
    /// Whether its key is one under which averaged weights are kept.
    pub averaged: bool,
}

/// One state dictionary of a file, by names of its own.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    weights: &'a Weights,
    key: Option<String>,
    averaged: Option<bool>,
    /// The name of each tensor here and in the whole file.
    names: BTreeMap<String, String>,
}

impl Weights {
    /// The dictionaries in the outermost one that hold tensors, or nothing; none in a file that is one flat dictionary.
    pub fn dictionaries(&self) -> Vec<Dictionary> {
        let of = |(key, tensors): &(String, usize)| Dictionary {
            averaged: AVERAGES.contains(&key.as_str()),
            key: key.clone(),
            tensors: *tensors,
        };
        self.named.dictionaries.iter().map(of).collect()
    }

    /// The state dictionary under `key`; without one that of the averaged weights if the file has them, else the one that
    /// [`Weights`] takes for the weights.
    ///
    /// # Errors
    /// [`Error::File`] for a key that is not there, or under which there is no tensor.
    pub fn part(&self, key: Option<&str>) -> Result<Part<'_>> {
        let dictionaries = self.dictionaries();
        let wrong = |problem: String| Error::file(self.path(), problem);
        let averages = AVERAGES.iter().filter_map(|name| {
            let found = dictionaries.iter().find(|one| one.key == *name);
            found.filter(|one| one.tensors > 0)
        });
        let average = averages.map(|one| one.key.as_str()).next();
        let emptied = || {
            let empty = dictionaries.iter().filter(|one| one.tensors == 0);
            empty
                .map(|one| one.key.as_str())
                .find(|key| WRAPPERS.contains(key))
        };
        let chosen = match key.or(average) {
            None if self.named.under.is_empty() => match emptied() {
                Some(empty) => return Err(wrong(empty_dictionary(empty, &dictionaries))),
                None => return Ok(self.whole()),
            },
            None => return Ok(self.whole()),
            Some(key) => key,
        };
        let Some(dictionary) = dictionaries.iter().find(|one| one.key == chosen) else {
            let problem = if dictionaries.is_empty() {
                format!("it is one dictionary of tensors, without a dictionary `{chosen}` in it")
            } else {
                let known: Vec<String> = dictionaries
                    .iter()
                    .map(|one| format!("`{}`", one.key))
                    .collect();
                format!(
                    "it holds no dictionary `{chosen}`, but {}",
                    known.join(", ")
                )
            };
            return Err(wrong(problem));
        };
        if dictionary.tensors == 0 {
            return Err(wrong(empty_dictionary(chosen, &dictionaries)));
        }
        if self.named.under.split('.').next() == Some(chosen) {
            return Ok(Part {
                key: Some(chosen.to_owned()),
                averaged: Some(dictionary.averaged),
                ..self.whole()
            });
        }
        let before = format!("{chosen}.");
        let inner = |name: &str| Some((name.strip_prefix(&before)?.to_owned(), name.to_owned()));
        Ok(Part {
            weights: self,
            key: Some(chosen.to_owned()),
            averaged: Some(dictionary.averaged),
            names: without_prefix(self.names().filter_map(inner).collect()).0,
        })
    }

    /// What is taken for the weights where no key is given.
    fn whole(&self) -> Part<'_> {
        let outside = &self.named.outside;
        let own: Vec<&str> = self
            .names()
            .filter(|name| !outside.contains(*name))
            .collect();
        let counted = own.contains(&COUNTER);
        let said = self
            .metadata()
            .get("averaged")
            .and_then(|said| said.parse().ok());
        let file = self
            .path()
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let averaged = said.or((counted || file.ends_with(".average.safetensors")).then_some(true));
        let key = self.named.under.strip_suffix('.').map(str::to_owned);
        Part {
            weights: self,
            averaged: averaged.or(key
                .as_ref()
                .map(|key| AVERAGES.contains(&key.as_str()))
                .filter(|a| *a)),
            key,
            names: own
                .iter()
                .map(|&name| (name.to_owned(), name.to_owned()))
                .collect(),
        }
    }
}

fn empty_dictionary(key: &str, all: &[Dictionary]) -> String {
    let others: Vec<String> = (all.iter())
        .filter(|one| one.tensors > 0)
        .map(|one| format!("`{}` ({} tensors)", one.key, one.tensors))
        .collect();
    let others = if others.is_empty() {
        String::new()
    } else {
        format!("; there are {}", others.join(", "))
    };
    format!("its dictionary `{key}` holds no tensor{others}")
}

impl Part<'_> {
    /// The key of the dictionary in the file; none for a file that is one dictionary.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Whether these are averaged weights, as far as the file says it.
    pub fn averaged(&self) -> Option<bool> {
        self.averaged
    }

    /// The shapes by name.
    pub fn shapes(&self) -> Shapes {
        Source::shapes(self)
    }

    /// The type of a tensor's elements by safetensors' name.
    ///
    /// # Errors
    /// [`Error::File`] if there is no such tensor.
    pub fn dtype(&self, name: &str) -> Result<&'static str> {
        let elements = Source::elements(self, name);
        let elements = elements.map_err(|problem| Error::file(self.weights.path(), problem))?;
        Ok(elements.name())
    }

    /// A tensor.
    ///
    /// # Errors
    /// [`Error::File`] if there is none of this name, or it is damaged.
    pub fn raw(&self, name: &str) -> Result<Raw> {
        Source::raw(self, name).map_err(|problem| Error::file(self.weights.path(), problem))
    }

    /// What these tensors are, by their names and shapes.
    pub fn recognised(&self) -> Vec<layout::Recognised> {
        layout::recognise(&self.shapes())
    }

    fn place(&self, name: &str) -> Result<&str, String> {
        let place = self.names.get(name).map(String::as_str);
        place.ok_or_else(|| format!("there is no tensor `{name}`"))
    }

    /// The names of tensors that are not in this part.
    pub fn elsewhere(&self) -> Vec<&str> {
        let here: BTreeSet<&str> = self.names.values().map(String::as_str).collect();
        self.weights
            .names()
            .filter(|name| !here.contains(name))
            .collect()
    }
}

impl Source for Part<'_> {
    fn shapes(&self) -> Shapes {
        let shape = |(name, place): (&String, &String)| {
            Some((name.clone(), self.weights.shape(place)?.to_vec()))
        };
        self.names.iter().filter_map(shape).collect()
    }

    fn elements(&self, name: &str) -> Result<Elements, String> {
        self.weights.elements(self.place(name)?)
    }

    fn raw(&self, name: &str) -> Result<Raw, String> {
        self.weights.raw(self.place(name)?)
    }
}
