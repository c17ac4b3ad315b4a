//! Conditions that a run was trained with: its classes, and "no class".
//!
//! A class without training images, "no class" where labels were never dropped, and classes where they always were have
//! parameters that no step has moved towards anything: what they give looks like an answer and is none. Every command that
//! asks a denoiser for a class comes through here.

use crate::data::Classes;
use crate::random::Streams;
use crate::{Error, Result};

/// The conditions that a run's denoiser has learnt.
#[derive(Debug, Clone, PartialEq)]
pub struct Conditions {
    classes: Classes,
    /// Share of labels that training replaced by "no class".
    label_dropout: f64,
}

impl Conditions {
    /// Of classes, and the share of labels that training drops (`objective.label_dropout`).
    pub fn new(classes: Classes, label_dropout: f64) -> Self {
        Self {
            classes,
            label_dropout,
        }
    }

    /// The classes.
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    /// Whether classes were ever shown: not all labels were dropped.
    pub fn has_classes(&self) -> bool {
        self.label_dropout < 1.0
    }

    /// Whether "no class" was ever shown: some labels were dropped.
    pub fn has_no_class(&self) -> bool {
        self.label_dropout > 0.0
    }

    /// Refuses labels and a guidance that need what was never learnt.
    ///
    /// Guidance g takes x̂_u + g (x̂_c − x̂_u): only g = 1 does without "no class", only g = 0 without the classes.
    ///
    /// # Errors
    /// The first condition that was never learnt, and why.
    pub fn check(&self, labels: &[Option<u32>], guidance: f64) -> Result<()> {
        let [conditional, unconditional] = [1f64, 0.0].map(|g| guidance.to_bits() == g.to_bits());
        if let Some(number) = labels
            .iter()
            .flatten()
            .find(|l| **l as usize >= self.classes.count())
        {
            return Err(Error::invalid(
                "a class",
                format!("be below {}", self.classes.count()),
                number,
            ));
        }
        let free = labels.iter().any(Option::is_none);
        if !self.has_no_class() {
            let never = "the run never learnt without one (objective.label_dropout = 0)";
            if free {
                return Err(Error::invalid(
                    "a sample's class",
                    "be given",
                    format!("none: {never}"),
                ));
            }
            if !conditional {
                let got = format!("{guidance}: it takes a denoiser without class, and {never}");
                return Err(Error::invalid("guidance", "be 1", got));
            }
        }
        if unconditional {
            return Ok(());
        }
        labels
            .iter()
            .flatten()
            .try_for_each(|class| self.check_class(*class))
    }

    /// Refuses a class that was never learnt.
    fn check_class(&self, class: u32) -> Result<()> {
        let label = self.classes.label(class);
        if !self.has_classes() {
            return Err(Error::invalid(
                "a sample's class",
                "be none: the run learnt without classes (objective.label_dropout = 1)",
                label,
            ));
        }
        if !self.classes.is_learnt(class) {
            return Err(Error::invalid(
                "a class",
                format!(
                    "be one that the run learnt from (those with images: {})",
                    self.learnt_names()
                ),
                format!("{label}, of which no image was left to train on"),
            ));
        }
        Ok(())
    }

    fn learnt_names(&self) -> String {
        let learnt = self.classes.learnt();
        learnt
            .iter()
            .map(|class| self.classes.label(*class))
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// `label` if it was learnt, otherwise the best that was: "no class".
    pub fn or_none(&self, label: u32) -> Option<u32> {
        self.check_class(label).is_ok().then_some(label)
    }

    /// The classes to draw from, or none where the run learnt without.
    fn learnt(&self) -> Vec<Option<u32>> {
        let classes = self.classes.learnt();
        if self.has_classes() && !classes.is_empty() {
            classes.into_iter().map(Some).collect()
        } else {
            vec![None]
        }
    }

    /// Equal shares of all learnt classes, one class after the other.
    pub fn in_order(&self, count: usize) -> Vec<Option<u32>> {
        let learnt = self.learnt();
        (0..count)
            .map(|i| learnt[i * learnt.len() / count])
            .collect()
    }

    /// Equal shares of all learnt classes, in turn: any stretch has all of them.
    pub fn in_turn(&self, count: usize) -> Vec<Option<u32>> {
        self.learnt().into_iter().cycle().take(count).collect()
    }

    /// Each sample's class drawn from the learnt ones, all equally likely.
    pub fn at_random(&self, count: usize, seed: u64) -> Vec<Option<u32>> {
        let learnt = self.learnt();
        let weights = vec![1; learnt.len()];
        drawn(&learnt, &weights, count, seed)
    }

    /// Each sample's class drawn with the shares of the training images.
    pub fn in_shares(&self, count: usize, seed: u64) -> Vec<Option<u32>> {
        let learnt = self.learnt();
        let images =
            |class: &Option<u32>| class.map_or(1, |class| self.classes.training[class as usize]);
        let weights: Vec<usize> = learnt.iter().map(images).collect();
        drawn(&learnt, &weights, count, seed)
    }
}

/// Independent draws of classes with probabilities in proportion to whole weights > 0.
fn drawn(classes: &[Option<u32>], weights: &[usize], count: usize, seed: u64) -> Vec<Option<u32>> {
    let mut ends = Vec::with_capacity(weights.len());
    let mut total = 0;
    for weight in weights {
        total += weight;
        ends.push(total);
    }
    let uniform = Streams::new(seed).uniform("classes", 0, count);
    uniform
        .into_iter()
        .map(|u| {
            let place = ends.partition_point(|end| *end as f64 <= u * total as f64);
            classes[place.min(classes.len() - 1)]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(training: &[usize], label_dropout: f64) -> Conditions {
        let classes = Classes {
            names: Vec::new(),
            training: training.to_vec(),
            held_out: vec![0; training.len()],
        };
        Conditions::new(classes, label_dropout)
    }

    fn refusal(conditions: &Conditions, labels: &[Option<u32>], guidance: f64) -> String {
        conditions
            .check(labels, guidance)
            .expect_err("refused")
            .to_string()
    }

    #[test]
    fn what_was_never_learnt_is_refused() {
        let run = conditions(&[4, 0], 0.1);
        assert!(run.check(&[Some(0), None], 2.0).is_ok());
        let message = refusal(&run, &[Some(0), Some(1)], 1.0);
        assert!(
            message.contains("got 1, of which no image was left"),
            "{message}"
        );
        assert!(
            run.check(&[Some(1)], 0.0).is_ok(),
            "at g = 0 the class has no part in the answer"
        );
        let message = refusal(&run, &[Some(2)], 1.0);
        assert!(message.contains("be below 2, got 2"), "{message}");
    }

    #[test]
    fn without_dropped_labels_there_is_no_unconditional_answer() {
        let run = conditions(&[4, 3], 0.0);
        assert!(run.check(&[Some(0), Some(1)], 1.0).is_ok());
        for (labels, guidance) in [(&[None][..], 1.0), (&[Some(0)], 1.5), (&[Some(0)], 0.0)] {
            let message = refusal(&run, labels, guidance);
            assert!(message.contains("objective.label_dropout = 0"), "{message}");
        }
    }

    #[test]
    fn with_all_labels_dropped_there_is_no_class() {
        let run = conditions(&[4, 3], 1.0);
        assert!(run.check(&[None], 1.0).is_ok());
        let message = refusal(&run, &[Some(1)], 1.0);
        assert!(message.contains("objective.label_dropout = 1"), "{message}");
        assert_eq!(run.in_order(2), [None, None]);
        assert_eq!(run.in_shares(2, 0), [None, None]);
        assert_eq!(run.or_none(1), None);
    }

    #[test]
    fn only_learnt_classes_are_drawn() {
        let run = conditions(&[0, 30, 0, 10], 0.1);
        assert_eq!(run.in_order(4), [Some(1), Some(1), Some(3), Some(3)]);
        assert_eq!(run.in_turn(3), [Some(1), Some(3), Some(1)]);
        let known = |labels: Vec<Option<u32>>| labels.iter().all(|l| matches!(l, Some(1 | 3)));
        assert!(known(run.at_random(1000, 1)) && known(run.in_shares(1000, 1)));
        assert_eq!(run.or_none(3), Some(3));
    }

    /// (Their laws: `gpu/tests/laws/data.rs`.)
    #[test]
    fn a_seed_draws_the_same_classes_again() {
        let run = conditions(&[1; 10], 0.1);
        assert_eq!(run.at_random(100, 1), run.at_random(100, 1));
        assert_eq!(run.in_shares(100, 1), run.in_shares(100, 1));
        assert_eq!(conditions(&[7], 0.0).at_random(3, 1), [Some(0); 3]);
    }
}
