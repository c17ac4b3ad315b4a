//! The values of a pickle. A value is held by its number, so that a dictionary that is filled after it was put into two places is
//! full in both.

use crate::weights::elements::Elements;
use crate::weights::refusal::{Outcome, unread};
use crate::weights::view::View;

/// Values beyond which a pickle is refused: a state dictionary of a million tensors has some thirty millions.
const MOST: usize = 1 << 26;

/// The number of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id(u32);

impl Id {
    /// Python's `None`.
    pub(super) const NONE: Self = Self(0);
    /// `True`.
    pub(super) const TRUE: Self = Self(1);
    /// `False`.
    pub(super) const FALSE: Self = Self(2);
    /// `()`.
    pub(super) const EMPTY: Self = Self(3);
}

/// Elements that tensors share, kept outside the pickle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Its name in the file.
    pub key: String,
    /// Its class, such as `torch.FloatStorage`.
    pub class: String,
    /// Elements of its class: of an untyped one, bytes.
    pub count: usize,
    /// The element of this storage at which the one that is meant begins: not 0 only in files of 2017 and before.
    pub offset: usize,
}

impl Stored {
    /// Bytes of an element, where its class says it; that of an untyped one is a byte.
    pub(crate) fn size(&self) -> Option<usize> {
        let kind = self.class.rsplit('.').next()?.strip_suffix("Storage")?;
        match kind {
            "ComplexDouble" => Some(16),
            "ComplexFloat" => Some(8),
            "QInt32" => Some(4),
            "QInt8" | "QUInt8" | "QUInt4x2" | "QUInt2x4" | "Untyped" => Some(1),
            _ => self.elements().map(Elements::size),
        }
    }

    /// Type of its elements, where its class says it.
    pub(crate) fn elements(&self) -> Option<Elements> {
        Elements::of_storage(&self.class)
    }
}

/// A value, as far as it is of interest here.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    None,
    Bool(bool),
    /// At most 16 bytes.
    Int(i128),
    Float(f64),
    /// Bytes, or an integer of more than 16.
    Bytes,
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or a function by its name with that of its module.
    Name(String),
    Stored(Stored),
    Tensor(Tensor),
    /// What only a program that is not run could make: the name of the class or function, and the items that were put into it.
    Object(String, Vec<(Id, Id)>),
}

/// A tensor and the storage that it looks at.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tensor {
    pub key: String,
    pub view: View,
}

/// All values of a pickle.
#[derive(Debug)]
pub(crate) struct Heap {
    values: Vec<Value>,
}

impl Heap {
    pub(super) fn new() -> Self {
        let constants = [Value::None, Value::Bool(true), Value::Bool(false)];
        let mut values = constants.to_vec();
        values.push(Value::Tuple(Vec::new()));
        Self { values }
    }

    pub(super) fn put(&mut self, value: Value) -> Outcome<Id> {
        match u32::try_from(self.values.len()) {
            Ok(id) if self.values.len() < MOST => {
                self.values.push(value);
                Ok(Id(id))
            }
            _ => unread(format!("its pickle holds more than {MOST} values")),
        }
    }

    /// A value.
    pub(crate) fn get(&self, id: Id) -> &Value {
        // Every number was given by `put`, or is one of the constants.
        self.values.get(id.0 as usize).unwrap_or(&Value::None)
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Value> {
        // The constants are shared by all that name them.
        if id.0 <= Id::EMPTY.0 {
            return None;
        }
        self.values.get_mut(id.0 as usize)
    }

    /// Every storage that is named.
    pub(crate) fn storages(&self) -> impl Iterator<Item = &Stored> {
        self.values.iter().filter_map(|value| match value {
            Value::Stored(stored) => Some(stored),
            _ => None,
        })
    }

    /// Every class or function that is named.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.iter().filter_map(|value| match value {
            Value::Name(name) | Value::Object(name, _) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The text, if it is one.
    pub(crate) fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is a whole one that counts something.
    pub(super) fn count(&self, id: Id) -> Option<usize> {
        match self.get(id) {
            Value::Int(n) => usize::try_from(*n).ok(),
            _ => None,
        }
    }

    /// The elements of a tuple or a list.
    pub(crate) fn elements(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Tuple(ids) | Value::List(ids) => Some(ids),
            _ => None,
        }
    }

    /// The whole numbers of a tuple or a list.
    pub(super) fn counts(&self, id: Id) -> Option<Vec<usize>> {
        self.elements(id)?
            .iter()
            .map(|&id| self.count(id))
            .collect()
    }

    /// The items of a dictionary, or of an object that is used as one.
    pub(crate) fn items(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.get(id) {
            Value::Dict(items) | Value::Object(_, items) => Some(items),
            _ => None,
        }
    }

    /// What is said of a value that should have been another.
    pub(crate) fn kind(&self, id: Id) -> String {
        match self.get(id) {
            Value::None => "None".to_owned(),
            Value::Bool(_) => "a truth value".to_owned(),
            Value::Int(_) | Value::Float(_) => "a number".to_owned(),
            Value::Bytes => "bytes".to_owned(),
            Value::Text(_) => "a text".to_owned(),
            Value::Tuple(_) => "a tuple".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Dict(_) => "a dictionary".to_owned(),
            Value::Name(name) => format!("the name `{name}`"),
            Value::Stored(stored) => format!("a storage of class `{}`", stored.class),
            Value::Tensor(_) => "a tensor".to_owned(),
            Value::Object(class, _) => format!("an object of `{class}`"),
        }
    }
}
