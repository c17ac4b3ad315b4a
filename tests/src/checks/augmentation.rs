//! Augmented images and their labels.

use proptest::prelude::*;
use sadm_gpu::data::augment as gpu;
use sadm_reference::{
    augment::{Augmentation, Pipe, Transform},
    bound,
};

use crate::{
    case::Case,
    check::{Check, Cost, Quantity, bounds, values},
    error::{Error, Result},
    generators::{moderate, tensor_of},
};

pub(super) fn checks() -> Vec<Box<dyn Check>> {
    vec![published(), all_kinds()]
}

/// The transformations of a case, by their numbers in their order.
fn kinds(case: &Case) -> Result<Vec<usize>> {
    let kinds = case.get_counts("kinds")?.iter();
    kinds
        .map(|&kind| usize::try_from(kind).map_err(Error::reference))
        .collect()
}

/// The pipe of a case, and what its draws make of its images.
fn drawn(case: &Case) -> Result<(Pipe, Vec<Augmentation>)> {
    let p = case.get_number("p")?;
    let pipe = match kinds(case)?.as_slice() {
        [] => Pipe::edm(p),
        kinds => Pipe::new(kinds.iter().map(|&kind| (Transform::ALL[kind], p))),
    };
    let pipe = pipe.map_err(Error::reference)?;
    let images = case.get("images")?.shape()[0];
    let numbers = |name| case.get_numbers(name);
    let drawn = pipe.drawn(images, numbers("uniform")?, numbers("normal")?);
    Ok((pipe, drawn.map_err(Error::reference)?))
}

fn size(case: &Case) -> Result<[usize; 2]> {
    let shape = case.get("images")?.shape();
    Ok([shape[2], shape[3]])
}

/// Kinds with `draws` numbers of each law for an image.
fn cases(
    kinds: impl Strategy<Value = Vec<usize>> + 'static,
    draws: fn(&[usize]) -> [usize; 2],
) -> BoxedStrategy<Case> {
    // As the training system draws them: multiples of 2⁻⁵³.
    let uniform = (0..1_u64 << 53).prop_map(|k| k as f64 * 2f64.powi(-53));
    let normal = (-192..=192_i32).prop_map(|k| f64::from(k) / 64.0);
    let shape = (1..=3_usize, 1..=2_usize, 1..=6_usize, 1..=6_usize);
    let p = prop::sample::select(vec![1.0, 0.5, 0.12]);
    (kinds, shape, p)
        .prop_flat_map(move |(kinds, (b, c, height, width), p)| {
            let turns = kinds.contains(&(Transform::RotateInt as usize));
            let height = if turns { width } else { height };
            let [of_u, of_z] = draws(&kinds).map(|each| each * b);
            let images = tensor_of(&[b, c, height, width], moderate());
            let uniform = prop::collection::vec(uniform.clone(), of_u);
            let normal = prop::collection::vec(normal.clone(), of_z);
            (Just((kinds, p)), images, uniform, normal)
        })
        .prop_map(|((kinds, p), images, uniform, normal)| {
            Case::new()
                .counts("kinds", kinds.into_iter().map(|k| k as u64).collect())
                .number("p", p)
                .numbers("uniform", uniform)
                .numbers("normal", normal)
                .tensor("images", images)
        })
        .boxed()
}

fn quantity(name: &'static str, about: &'static str) -> Quantity {
    Quantity::new(
        name,
        about,
        "Karras et al. 2022, App. F.2; Karras et al. 2020 (arXiv:2006.06676), App. B",
    )
    .cost(Cost::Moderate)
    .reference(|case| {
        let (pipe, all) = drawn(case)?;
        let images = pipe.augment(case.get("images")?, &all);
        let labels = pipe.labels(&all, size(case)?).into_dyn();
        Ok(values([
            ("images", images.map_err(Error::reference)?),
            ("labels", labels),
        ]))
    })
    .bound(|case, rule| {
        let ((pipe, all), p) = (drawn(case)?, rule.compute);
        let images = bound::augment::augment(&pipe, case.get("images")?, &all, p);
        let labels = bound::augment::labels(&pipe, &all, size(case)?, p);
        Ok(bounds([
            ("images", images.map_err(Error::reference)?),
            ("labels", labels),
        ]))
    })
    .candle(|case, _| augmented(case))
}

/// Images and labels by the training system.
fn augmented(case: &Case) -> Result<crate::check::Computed> {
    let p = case.get_number("p")?;
    let pipe = match kinds(case)?.as_slice() {
        [] => gpu::Pipe::edm(p)?,
        kinds => {
            let chosen: Vec<_> = kinds.iter().map(|&kind| (gpu::KINDS[kind], p)).collect();
            gpu::Pipe::new(&chosen)?
        }
    };
    let images = case.get("images")?;
    let &[b, c, height, width] = images.shape() else {
        return Err(Error::Gpu("images must have four axes".to_owned()));
    };
    let draws = gpu::Draws {
        uniform: case.get_numbers("uniform")?.to_vec(),
        normal: case.get_numbers("normal")?.to_vec(),
    };
    let pixels: Vec<f64> = images.iter().copied().collect();
    let out = pipe.apply(&pixels, [b, c, height, width], &draws)?;
    let array =
        |shape: &[usize], x| ndarray::ArrayD::from_shape_vec(shape, x).map_err(Error::reference);
    Ok(values([
        ("images", array(images.shape(), out.images)?),
        ("labels", array(&[b, pipe.label_dim()], out.labels)?),
    ]))
}

fn published() -> Box<dyn Check> {
    let nine = quantity(
        "augmentation.edm",
        "images of EDM's augmentation y = D v, v(q) = u(G⁻¹q), u = U x, and its nine labels",
    );
    nine.draws(|| {
        let nine = Pipe::edm(1.0).map_or([0, 0], |pipe| pipe.draws());
        debug_assert_eq!(nine, [11, 4]);
        cases(Just(Vec::new()), |_| [11, 4])
    })
    .boxed()
}

fn all_kinds() -> Box<dyn Check> {
    let some = quantity(
        "augmentation.kinds",
        "images and labels of any of the eight transformations, in their order",
    );
    some.draws(|| {
        let all: Vec<usize> = (0..Transform::ALL.len()).collect();
        let some = prop::sample::subsequence(all, 1..=8);
        cases(some, |kinds| {
            kinds.iter().fold([0, 0], |[u, z], &kind| {
                let [more_u, more_z] = Transform::ALL[kind].draws();
                [u + more_u, z + more_z]
            })
        })
    })
    .boxed()
}
