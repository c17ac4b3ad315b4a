//! Classes of a reference's images as those of a run.

use anyhow::{Context, Result, bail};
use sadm_gpu::data::Images;
use sadm_gpu::train::Conditions;

use super::input::Content;
use super::subset::select_images;

/// The run's class of each image: a class is matched by its name, in a file without names by its number. None where the images
/// have no labels, or the run learnt without classes.
///
/// # Errors
/// A class that the run does not have.
pub fn of_run(conditions: &Conditions, images: &Images) -> Result<Vec<Option<u32>>> {
    let classes = conditions.classes();
    let Some(labels) = images.labels.as_ref().filter(|_| conditions.has_classes()) else {
        return Ok(vec![None; images.count()]);
    };
    if classes.count() == 1 && classes.names.is_empty() {
        // A run without classes has all its images in one.
        return Ok(vec![Some(0); images.count()]);
    }
    if images.classes.is_empty() {
        return Ok(labels.iter().copied().map(Some).collect());
    }
    let matched: Vec<u32> = (images.classes.iter())
        .map(|name| {
            classes.named(name).with_context(|| {
                format!("has the class `{name}`, and the run has none of that name; its classes: {classes}")
            })
        })
        .collect::<Result<_>>()?;
    let of = |label: &u32| matched.get(*label as usize).copied();
    Ok(labels.iter().map(of).collect())
}

/// The samples of a reference that are of the run's class `class`; all of them where the images have no labels, since a folder of one
/// class need not say so.
///
/// # Errors
/// No image of that class; features or stored statistics, which have no classes.
pub fn only(content: Content, conditions: &Conditions, class: u32) -> Result<Content> {
    let label = conditions.classes().label(class);
    let Content::Images(images) = content else {
        bail!(
            "--class {label} takes images as the reference: features and stored statistics do not say their classes"
        );
    };
    if images.labels.is_none() {
        return Ok(Content::Images(images));
    }
    let labels = of_run(conditions, &images).context("the reference")?;
    let rows: Vec<usize> = (0..labels.len())
        .filter(|row| labels[*row] == Some(class))
        .collect();
    if rows.is_empty() {
        bail!("the reference has no image of class {label}");
    }
    Ok(Content::Images(select_images(images, &rows)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sadm_gpu::data::{Classes, Found, Pixels};

    fn conditions(names: &[&str], label_dropout: f64) -> Conditions {
        let classes = Classes {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            training: vec![2; names.len()],
            held_out: vec![0; names.len()],
        };
        Conditions::new(classes, label_dropout)
    }

    fn images(names: &[&str], labels: &[u32]) -> Images {
        Images {
            shape: [1, 1, 1],
            pixels: Pixels::Bytes((0..).take(labels.len()).collect()),
            spacing: None,
            labels: Some(labels.to_vec()),
            classes: names.iter().map(|&name| name.to_owned()).collect(),
            found: Found::default(),
        }
    }

    #[test]
    fn a_reference_with_one_class_fewer_keeps_its_classes() -> Result<()> {
        let run = conditions(&["dark", "grey", "light"], 0.1);
        let found = of_run(&run, &images(&["dark", "light"], &[0, 1, 1]))?;
        assert_eq!(found, [Some(0), Some(2), Some(2)]);
        Ok(())
    }

    #[test]
    fn a_class_that_the_run_does_not_have_is_refused_with_those_it_has() {
        let run = conditions(&["dark", "light"], 0.1);
        let message = of_run(&run, &images(&["dark", "bright"], &[0, 1])).expect_err("renamed");
        let message = format!("{message:#}");
        assert!(
            message.contains("`bright`") && message.contains("0 dark: 2, 1 light: 2"),
            "{message}"
        );
    }

    #[test]
    fn numbers_are_numbers_and_a_run_without_classes_takes_none() -> Result<()> {
        let run = conditions(&["dark", "light"], 0.1);
        assert_eq!(of_run(&run, &images(&[], &[1, 0]))?, [Some(1), Some(0)]);
        let free = conditions(&["dark", "light"], 1.0);
        assert_eq!(of_run(&free, &images(&[], &[1, 0]))?, [None, None]);
        let mut classes = run.classes().clone();
        classes.names.clear();
        classes.training.truncate(1);
        let single = Conditions::new(classes, 0.1);
        assert_eq!(
            of_run(&single, &images(&["x", "y"], &[1, 0]))?,
            [Some(0), Some(0)]
        );
        Ok(())
    }

    #[test]
    fn a_run_of_one_class_with_a_name_takes_no_others() -> Result<()> {
        let run = conditions(&["light"], 0.1);
        assert_eq!(of_run(&run, &images(&["light"], &[0]))?, [Some(0)]);
        let others = images(&["dark", "light"], &[0, 1]);
        assert!(of_run(&run, &others).is_err());
        Ok(())
    }

    #[test]
    fn one_class_of_a_reference() -> Result<()> {
        let run = conditions(&["dark", "light"], 0.1);
        let reference = Content::Images(images(&["light", "dark"], &[0, 1, 0]));
        let Content::Images(light) = only(reference.clone(), &run, 1)? else {
            panic!("images");
        };
        assert_eq!(light.pixels, Pixels::Bytes(vec![0, 2]));
        let without = Content::Images(images(&["dark"], &[0]));
        assert!(only(without, &run, 1).is_err());
        Ok(())
    }
}
