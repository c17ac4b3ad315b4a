//! Classes of a run's images: names, numbers, and how many images each has.

use super::Dataset;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The classes of a data set that was split into training and held-out images.
///
/// Kept in every checkpoint, so that a class is a name and not only a place in a list that is read again later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Classes {
    /// Name of each class in the order of the numbers; empty where classes are numbers alone.
    pub names: Vec<String>,
    /// Training images of each class.
    pub training: Vec<usize>,
    /// Held-out images of each class.
    pub held_out: Vec<usize>,
}

impl Classes {
    /// Those of the two parts of a data set.
    pub fn of(training: &Dataset, held_out: &Dataset) -> Self {
        Self {
            names: training.class_names.clone(),
            training: training.class_counts(),
            held_out: held_out.class_counts(),
        }
    }

    /// Number of classes.
    pub fn count(&self) -> usize {
        self.training.len()
    }

    /// Whether class `number` has training images.
    pub fn is_learnt(&self, number: u32) -> bool {
        self.training.get(number as usize).is_some_and(|n| *n > 0)
    }

    /// The numbers of all classes that have training images, ascending.
    pub fn learnt(&self) -> Vec<u32> {
        (0..)
            .take(self.count())
            .filter(|c| self.is_learnt(*c))
            .collect()
    }

    /// A class by its number, with its name where it has one: ``3 `cat` ``.
    pub fn label(&self, number: u32) -> String {
        match self.names.get(number as usize) {
            Some(name) => format!("{number} `{name}`"),
            None => number.to_string(),
        }
    }

    /// The class that `text` names, or whose number it is where no class has that name.
    ///
    /// # Errors
    /// Neither a name nor a number of a class; the nearest name is in the message.
    pub fn find(&self, text: &str) -> Result<u32> {
        if let Some(number) = self.named(text) {
            return Ok(number);
        }
        match text.parse::<u32>() {
            Ok(number) if (number as usize) < self.count() => Ok(number),
            Ok(number) => {
                let must = format!("be below {}{}", self.count(), self.list_of_names());
                Err(Error::invalid("a class", must, number))
            }
            Err(_) if self.names.is_empty() => {
                let must = format!(
                    "be a number below {}: this run's classes have no names",
                    self.count()
                );
                Err(Error::invalid("a class", must, format!("`{text}`")))
            }
            Err(_) => {
                let known: Vec<&str> = self.names.iter().map(String::as_str).collect();
                Err(Error::unknown_name("class", text, &known))
            }
        }
    }

    /// The class of this very name; where classes are numbers alone, a name is the number written out.
    pub fn named(&self, name: &str) -> Option<u32> {
        let place = if self.names.is_empty() {
            let number: usize = name.parse().ok()?;
            (number < self.count()).then_some(number)
        } else {
            self.names.iter().position(|known| known == name)
        };
        place.and_then(|place| u32::try_from(place).ok())
    }

    fn list_of_names(&self) -> String {
        if self.names.is_empty() {
            String::new()
        } else {
            format!(" or a name ({})", self.names.join(", "))
        }
    }
}

/// All classes with their numbers of images, and which of them have none to learn from.
impl fmt::Display for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.training.iter().zip(&self.held_out).enumerate();
        for (number, (training, held_out)) in counts {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{number}")?;
            if let Some(name) = self.names.get(number) {
                write!(f, " {name}")?;
            }
            match training + held_out {
                0 => write!(f, ": none")?,
                all => write!(f, ": {all}")?,
            }
        }
        let missing: Vec<String> = (0..)
            .take(self.count())
            .filter(|number| !self.is_learnt(*number))
            .map(|number| self.label(number))
            .collect();
        if !missing.is_empty() {
            write!(f, "; nothing to learn from for {}", missing.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(names: &[&str]) -> Classes {
        Classes {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            training: vec![5, 0, 2],
            held_out: vec![1, 0, 0],
        }
    }

    #[test]
    fn a_class_is_found_by_its_name_before_its_number() -> Result<()> {
        let animals = classes(&["cat", "2", "dog"]);
        assert_eq!(animals.find("dog")?, 2);
        assert_eq!(animals.find("2")?, 1, "a name goes before a number");
        assert_eq!(animals.find("0")?, 0);
        let message = animals.find("dogs").expect_err("no such class").to_string();
        assert!(message.contains("did you mean `dog`"), "{message}");
        let message = animals.find("7").expect_err("no such number").to_string();
        assert!(
            message.contains("be below 3 or a name (cat, 2, dog), got 7"),
            "{message}"
        );
        let message = classes(&[]).find("cat").expect_err("no names").to_string();
        assert!(message.contains("have no names, got `cat`"), "{message}");
        assert_eq!(classes(&[]).find("2")?, 2);
        Ok(())
    }

    #[test]
    fn without_names_a_name_is_a_number_written_out() {
        assert_eq!(classes(&[]).named("2"), Some(2));
        assert_eq!(classes(&[]).named("3"), None);
        assert_eq!(classes(&["a", "b", "c"]).named("2"), None);
    }

    #[test]
    fn a_line_says_what_each_class_has_and_which_have_nothing() {
        let line = classes(&["cat", "cow", "dog"]).to_string();
        assert_eq!(
            line,
            "0 cat: 6, 1 cow: none, 2 dog: 2; nothing to learn from for 1 `cow`"
        );
        assert_eq!(classes(&[]).learnt(), [0, 2]);
    }
}
