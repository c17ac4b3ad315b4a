//! Named parameters: reproducible, shared, frozen, loaded.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use sadm_gpu::params::{Init, Params};

use crate::support::flat;

const NORMAL: Init = Init::Normal { std: 1.0 };

fn params(seed: u64) -> Params {
    Params::new(&Device::Cpu, DType::F32, seed)
}

#[test]
fn values_depend_on_seed_and_name_alone() {
    let (one, two, other) = (params(5), params(5), params(6));
    let a = one
        .builder()
        .pp("down.0")
        .get((3, 4), "weight", NORMAL)
        .expect("a parameter");
    two.builder().get(2, "first", NORMAL).expect("a parameter");
    two.builder()
        .pp("up")
        .get(7, "weight", NORMAL)
        .expect("a parameter");
    let again = two
        .builder()
        .pp("down")
        .pp("0")
        .get((3, 4), "weight", NORMAL)
        .expect("a parameter");
    assert_eq!(flat(&a), flat(&again));
    let elsewhere = two
        .builder()
        .pp("down.1")
        .get((3, 4), "weight", NORMAL)
        .expect("a parameter");
    assert_ne!(flat(&a), flat(&elsewhere));
    let reseeded = other
        .builder()
        .pp("down.0")
        .get((3, 4), "weight", NORMAL)
        .expect("a parameter");
    assert_ne!(flat(&a), flat(&reseeded));
    assert_eq!(
        two.names(),
        ["down.0.weight", "down.1.weight", "first", "up.weight"]
    );
    assert_eq!(two.len_elements(), 12 + 12 + 2 + 7);
}

/// Number of draws of the statistical tests.
const DRAWS: usize = 40_000;

#[test]
fn initial_values_have_their_distribution() {
    let draw = |init: Init| {
        let params = Params::new(&Device::Cpu, DType::F64, 1);
        flat(&params.builder().get(DRAWS, "x", init).expect("a parameter"))
    };
    let moments = |x: &[f64]| {
        let mean = x.iter().sum::<f64>() / DRAWS as f64;
        (mean, x.iter().map(|x| x * x).sum::<f64>() / DRAWS as f64)
    };
    assert!(draw(Init::Zeros).iter().all(|x| x.to_bits() == 0));
    assert!(
        draw(Init::Ones)
            .iter()
            .all(|x| x.to_bits() == 1.0_f64.to_bits())
    );
    // Five standard deviations: mean of N draws √(v/N), second moment √((μ₄ − v²)/N).
    let within = |x: &[f64], variance: f64, fourth: f64| {
        let (mean, second) = moments(x);
        let count = DRAWS as f64;
        assert!(mean.abs() <= 5.0 * (variance / count).sqrt(), "mean {mean}");
        let spread = ((fourth - variance * variance) / count).sqrt();
        assert!(
            (second - variance).abs() <= 5.0 * spread,
            "variance {second}, want {variance}"
        );
    };
    within(&draw(Init::Normal { std: 0.5 }), 0.25, 3.0 * 0.0625);
    let uniform = draw(Init::Uniform { bound: 2.0 });
    assert!(uniform.iter().all(|x| x.abs() < 2.0));
    within(&uniform, 4.0 / 3.0, 16.0 / 5.0);
    let kaiming = draw(Init::KaimingUniform { fan_in: 12 });
    assert!(kaiming.iter().all(|x| x.abs() < 0.5));
    within(&kaiming, 1.0 / 12.0, 0.0625 / 5.0);
}

#[test]
fn a_frozen_view_sees_updates_and_passes_no_gradient() {
    let params = params(2);
    let live = params.builder().get(3, "w", NORMAL).expect("a parameter");
    let frozen = params.frozen().get(3, "w", NORMAL).expect("a parameter");
    let also = params
        .frozen()
        .get(2, "made_frozen", Init::Ones)
        .expect("a parameter");
    assert!(live.track_op() && !frozen.track_op() && !also.track_op());
    let var = params.get("w").expect("the parameter");
    var.set(&Tensor::new(&[1.0_f32, 2.0, 3.0], &Device::Cpu).expect("a tensor"))
        .expect("an update");
    assert_eq!(flat(&frozen), [1.0, 2.0, 3.0]);
    assert_eq!(flat(&live), [1.0, 2.0, 3.0]);
    let loss = (&frozen * &frozen)
        .and_then(|x| x.sum_all())
        .expect("a loss");
    assert!(
        loss.backward()
            .expect("a backward pass")
            .get(&var)
            .is_none()
    );
    let loss = (&live * &frozen).and_then(|x| x.sum_all()).expect("a loss");
    let store = loss.backward().expect("a backward pass");
    assert_eq!(flat(store.get(&var).expect("a gradient")), [1.0, 2.0, 3.0]);
}

#[test]
fn a_fork_is_independent_and_a_clone_is_not() {
    let params = params(3);
    let w = params.builder().get(2, "w", NORMAL).expect("a parameter");
    let (fork, clone) = (params.fork().expect("a copy"), params.clone());
    let before = flat(&w);
    let update = BTreeMap::from([(
        "w".to_owned(),
        Tensor::new(&[7.0_f32, 8.0], &Device::Cpu).expect("a tensor"),
    )]);
    params.load(&update).expect("an update");
    assert_eq!(flat(&w), [7.0, 8.0]);
    assert_eq!(flat(&clone.tensors()["w"]), [7.0, 8.0]);
    assert_eq!(flat(&fork.tensors()["w"]), before);
    fork.copy_from(&params).expect("the same names");
    assert_eq!(flat(&fork.tensors()["w"]), [7.0, 8.0]);
    params.load(&params.tensors()).expect("its own values");
    params.copy_from(&params).expect("its own values");
    assert_eq!(flat(&w), [7.0, 8.0]);
}

#[test]
fn loading_names_the_first_difference_and_changes_nothing() {
    let params = params(4);
    for name in ["a", "b", "c"] {
        params
            .builder()
            .get(2, name, Init::Ones)
            .expect("a parameter");
    }
    let tensor = |n: usize| Tensor::zeros(n, DType::F32, &Device::Cpu).expect("zeros");
    let with = |names: &[(&str, usize)]| {
        names
            .iter()
            .map(|&(name, n)| (name.to_owned(), tensor(n)))
            .collect::<BTreeMap<_, _>>()
    };
    for (given, first) in [
        (with(&[("a", 2), ("c", 3)]), "`b`"),
        (with(&[("a", 2), ("b", 2), ("c", 3)]), "`c`"),
        (with(&[("a", 2), ("aa", 2), ("b", 1), ("c", 2)]), "`aa`"),
    ] {
        let message = params.load(&given).expect_err("a difference").to_string();
        assert!(message.contains(first), "{message}");
        assert_eq!(flat(&params.tensors()["a"]), [1.0, 1.0]);
    }
    let message = params
        .builder()
        .get(3, "a", Init::Ones)
        .expect_err("another shape")
        .to_string();
    assert!(
        message.contains("`a`") && message.contains("[3]"),
        "{message}"
    );
}
