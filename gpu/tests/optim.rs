//! AdamW, gradient clipping, warm-up and EMA against numbers worked out by hand.

#![expect(
    clippy::float_cmp,
    reason = "what is compared with == must be equal to the last bit"
)]

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use sadm_gpu::ema::Ema;
use sadm_gpu::optim::{AdamW, clip_grad_norm, warm_up};
use sadm_gpu::params::{Init, Params};
use std::collections::BTreeMap;

const F32_U: f64 = 5.960_464_477_539_063e-8;

/// Parameters with the given values, each a vector.
fn params(dtype: DType, values: &[(&str, &[f64])]) -> Params {
    let params = Params::new(&Device::Cpu, dtype, 0);
    let builder = params.builder();
    for (name, values) in values {
        builder
            .get(values.len(), name, Init::Zeros)
            .expect("a new parameter");
        set(&params, name, values);
    }
    params
}

fn vector(dtype: DType, values: &[f64]) -> Tensor {
    Tensor::from_slice(values, values.len(), &Device::Cpu)
        .and_then(|t| t.to_dtype(dtype))
        .expect("a CPU tensor")
}

fn var(params: &Params, name: &str) -> Var {
    let found = params.vars().into_iter().find(|(n, _)| n == name);
    found.expect("a parameter of that name").1
}

fn set(params: &Params, name: &str, values: &[f64]) {
    let var = var(params, name);
    var.set(&vector(var.dtype(), values)).expect("equal shapes");
}

fn get(tensor: &Tensor) -> Vec<f64> {
    tensor
        .to_dtype(DType::F64)
        .and_then(|t| t.flatten_all()?.to_vec1())
        .expect("values")
}

fn grads(params: &Params, values: &[(&str, &[f64])]) -> GradStore {
    // A backward pass of Σ θ·g leaves exactly g behind.
    let terms: Vec<Tensor> = values
        .iter()
        .map(|(name, g)| {
            let var = var(params, name);
            (var.as_tensor() * vector(var.dtype(), g))
                .and_then(|p| p.sum_all())
                .expect("a product")
        })
        .collect();
    let sum = Tensor::stack(&terms, 0)
        .and_then(|t| t.sum_all())
        .expect("a sum");
    sum.backward().expect("gradients")
}

fn adam() -> AdamW {
    AdamW {
        learning_rate: 0.1,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.01,
        ..AdamW::default()
    }
}

/// θ_0 = 1 under gradients 0.5, −0.2, 0.1 and the numbers of [`adam`], in 30-digit decimals.
const HAND: [(f64, [f64; 3]); 3] = [
    (0.5, [0.899_000_002, 0.05, 0.000_25]),
    (-0.2, [0.863_540_418_114_510_5, 0.025, 0.000_289_75]),
    (0.1, [0.824_737_700_415_580_9, 0.0325, 0.000_299_460_25]),
];

#[test]
fn adamw_takes_the_steps_worked_out_by_hand() {
    for (dtype, u) in [(DType::F64, f64::EPSILON), (DType::F32, F32_U)] {
        let params = params(dtype, &[("w", &[1.0])]);
        let mut adam = adam();
        for (k, (g, want)) in HAND.into_iter().enumerate() {
            adam.step(&params, &grads(&params, &[("w", &[g])]), 1.0)
                .expect("a step");
            let state = adam.state();
            let got = [&var(&params, "w"), &state["m.w"], &state["v.w"]].map(|t| get(t)[0]);
            for (got, want) in got.into_iter().zip(want) {
                // At most ten roundings a step, each of a quantity no larger than 1.
                let allowed = 10.0 * (k + 1) as f64 * u * want.abs().max(want / 0.05);
                assert!(
                    (got - want).abs() <= allowed,
                    "{dtype:?} step {k}: {got}, not {want}"
                );
            }
        }
        assert_eq!(adam.steps(), 3);
    }
}

/// bf16 parameters take the path of composed tensor operations, with f32 moments.
#[test]
fn the_composed_path_takes_the_same_steps() {
    let params = params(DType::BF16, &[("w", &[1.0])]);
    let mut adam = adam();
    for (g, want) in HAND {
        // Parameters and gradients that bf16 holds only roughly: 2⁻⁸ relative.
        adam.step(&params, &grads(&params, &[("w", &[g])]), 1.0)
            .expect("a step");
        let theta = get(&var(&params, "w"))[0];
        assert!(
            (theta - want[0]).abs() <= 3.0 * want[0] / 256.0,
            "{theta}, not {}",
            want[0]
        );
        let state = adam.state();
        assert_eq!(state["m.w"].dtype(), DType::F32);
        let m = get(&state["m.w"])[0];
        assert!(
            (m - want[1]).abs() <= 0.5 / 256.0,
            "m = {m}, not {}",
            want[1]
        );
    }
}

#[test]
fn the_learning_rate_scale_multiplies_step_and_decay() {
    let params = params(DType::F64, &[("w", &[2.0])]);
    let mut adam = adam();
    adam.step(&params, &grads(&params, &[("w", &[3.0])]), 0.25)
        .expect("a step");
    // First step: m̂/√v̂ = sign g. 2 (1 − 0.025·0.01) − 0.025.
    let got = get(&var(&params, "w"))[0];
    assert!((got - 1.9745).abs() < 1e-9, "{got}");
    adam.step(&params, &grads(&params, &[("w", &[3.0])]), 0.0)
        .expect("a step");
    assert_eq!(get(&var(&params, "w"))[0], got, "a zero rate moves");
}

#[test]
fn a_parameter_without_a_gradient_is_left_alone() {
    let params = params(DType::F32, &[("a", &[1.0, 2.0]), ("b", &[3.0])]);
    let mut adam = adam();
    adam.step(&params, &grads(&params, &[("a", &[1.0, -1.0])]), 1.0)
        .expect("a step");
    assert_eq!(get(&var(&params, "b")), [3.0]);
    assert_eq!(adam.state().into_keys().collect::<Vec<_>>(), ["m.a", "v.a"]);
    let a = get(&var(&params, "a"));
    assert!(a[0] < 1.0 && a[1] > 1.99, "not against the gradient: {a:?}");
}

/// A resumed optimiser goes on bit for bit.
#[test]
fn state_goes_out_and_in_exactly() {
    let all: [(&str, &[f64]); 2] = [("x.weight", &[0.3, -0.7]), ("x.bias", &[0.1])];
    let one = params(DType::F32, &all);
    let mut first = adam();
    let step = |adam: &mut AdamW, params: &Params, g: f64| {
        let g = grads(params, &[("x.weight", &[g, 0.3]), ("x.bias", &[-g])]);
        adam.step(params, &g, 0.7).expect("a step");
    };
    step(&mut first, &one, 0.2);
    step(&mut first, &one, -0.4);

    let two = one.fork().expect("a copy");
    let saved: BTreeMap<String, Tensor> = first
        .state()
        .into_iter()
        .map(|(name, t)| (name, t.copy().expect("a copy")))
        .collect();
    let mut second = adam();
    second
        .load_state(first.steps(), saved)
        .expect("a whole state");
    step(&mut first, &one, 0.9);
    step(&mut second, &two, 0.9);
    for (name, var) in one.vars() {
        assert_eq!(get(&var), get(&self::var(&two, &name)), "{name}");
    }
    assert_eq!(second.steps(), 3);
}

#[test]
fn damaged_states_and_numbers_are_refused() {
    let tensor = |n: usize| Tensor::zeros(n, DType::F32, &Device::Cpu).expect("a tensor");
    let load = |pairs: &[(&str, usize)]| {
        let state = pairs
            .iter()
            .map(|(k, n)| ((*k).to_owned(), tensor(*n)))
            .collect();
        adam().load_state(1, state).map_err(|e| e.to_string())
    };
    assert_eq!(load(&[("m.w", 2), ("v.w", 2)]), Ok(()));
    let refused = |pairs: &[(&str, usize)]| load(pairs).expect_err("must be refused");
    assert!(refused(&[("m.w", 2)]).contains("partner `v.w`"));
    assert!(refused(&[("v.w", 2)]).contains("partner `m.w`"));
    assert!(refused(&[("m.w", 2), ("v.w", 3)]).contains("shape [2]"));
    assert!(refused(&[("w", 2)]).contains("`m.NAME` or `v.NAME`"));

    let params = params(DType::F32, &[("w", &[1.0])]);
    let g = grads(&params, &[("w", &[1.0])]);
    let refused = |mut adam: AdamW| {
        let result = adam.step(&params, &g, 1.0);
        result.expect_err("must be refused").to_string()
    };
    assert!(
        refused(AdamW {
            beta1: 1.0,
            ..adam()
        })
        .contains("beta1 must be in [0, 1)")
    );
    assert!(
        refused(AdamW {
            beta2: -0.1,
            ..adam()
        })
        .contains("beta2")
    );
    assert!(
        refused(AdamW {
            eps: f64::NAN,
            ..adam()
        })
        .contains("eps")
    );
    let mut wrong = adam();
    let state = [("m.w", 2), ("v.w", 2)].map(|(k, n)| (k.to_owned(), tensor(n)));
    wrong.load_state(1, state.into()).expect("a whole state");
    assert!(refused(wrong).contains("moment `m.w` must have shape [1]"));
    assert_eq!(
        get(&var(&params, "w")),
        [1.0],
        "a refused step moved the parameter"
    );
}

#[test]
fn warm_up_rises_in_equal_steps_to_1() {
    assert_eq!(
        [0, 1, 2, 3, 4, 9].map(|k| warm_up(k, 4)),
        [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    );
    assert_eq!(warm_up(0, 0), 1.0);
}

#[test]
fn clipping_scales_all_gradients_to_the_largest_norm() {
    let params = params(DType::F32, &[("a", &[0.0, 0.0]), ("b", &[0.0])]);
    // ‖(3, 4, 12)‖ = 13.
    let fresh = || grads(&params, &[("a", &[3.0, 4.0]), ("b", &[12.0])]);
    let of =
        |grads: &GradStore, name: &str| get(grads.get(&var(&params, name)).expect("a gradient"));

    let mut g = fresh();
    assert_eq!(clip_grad_norm(&params, &mut g, 26.0).expect("a norm"), 13.0);
    assert_eq!(
        (of(&g, "a"), of(&g, "b")),
        (vec![3.0, 4.0], vec![12.0]),
        "scaled without need"
    );
    assert_eq!(clip_grad_norm(&params, &mut g, 0.0).expect("a norm"), 13.0);
    assert_eq!(of(&g, "b"), [12.0], "0 must mean no clipping");

    assert_eq!(clip_grad_norm(&params, &mut g, 6.5).expect("a norm"), 13.0);
    assert_eq!((of(&g, "a"), of(&g, "b")), (vec![1.5, 2.0], vec![6.0]));
    assert_eq!(clip_grad_norm(&params, &mut g, 6.5).expect("a norm"), 6.5);

    let mut bad = grads(&params, &[("a", &[f64::INFINITY, 0.0]), ("b", &[1.0])]);
    let message = clip_grad_norm(&params, &mut bad, 1.0)
        .expect_err("infinite")
        .to_string();
    assert!(
        message.contains("gradient norm must be finite, got inf"),
        "{message}"
    );
    assert_eq!(of(&bad, "b"), [1.0]);
    assert!(
        clip_grad_norm(&params, &mut fresh(), f64::NAN).is_err(),
        "NaN accepted"
    );
    let mut none = grads(
        &self::params(DType::F32, &[("c", &[0.0])]),
        &[("c", &[1.0])],
    );
    assert_eq!(
        clip_grad_norm(&params, &mut none, 1.0).expect("no gradient"),
        0.0
    );
}

/// EDM's ramp: with half-life min(1000, 0.05·n) and batches of 10, β = 2^(−10/h).
#[test]
fn ema_ramps_up_as_edm_does() {
    let params = params(DType::F64, &[("w", &[0.0])]);
    let ema = Ema::new(&params, 1000.0, 0.05).expect("good numbers");
    for (seen, half_life) in [
        (200.0, 10.0),
        (2000.0, 100.0),
        (20_000.0, 1000.0),
        (1e9, 1000.0),
    ] {
        let want = 1.0 - 0.5_f64.powf(10.0 / half_life);
        let got = ema.step_size(seen, 10.0);
        assert!(
            (got - want).abs() <= 1e-14,
            "{seen} images: {got}, not {want}"
        );
    }
    assert_eq!(
        ema.step_size(0.0, 10.0),
        1.0,
        "the average must start at the parameters"
    );
    let steady = Ema::new(&params, 1000.0, f64::INFINITY).expect("good numbers");
    assert_eq!(steady.step_size(0.0, 10.0), ema.step_size(1e9, 10.0));
    assert!(Ema::new(&params, 0.0, 0.05).is_err() && Ema::new(&params, 1.0, f64::NAN).is_err());
}

#[test]
fn ema_moves_by_its_step_and_does_not_follow_the_parameters() {
    for dtype in [DType::F64, DType::F32, DType::BF16] {
        let params = params(dtype, &[("w", &[1.0, -2.0])]);
        let mut ema = Ema::new(&params, 10.0, f64::INFINITY).expect("good numbers");
        set(&params, "w", &[3.0, 2.0]);
        assert_eq!(
            get(&var(ema.params(), "w")),
            [1.0, -2.0],
            "{dtype:?}: shares storage"
        );
        // One half-life: half the way; two more: 7/8 of it.
        ema.update(&params, 0.0, 10.0).expect("an update");
        assert_eq!(get(&var(ema.params(), "w")), [2.0, 0.0], "{dtype:?}");
        ema.update(&params, 0.0, 20.0).expect("an update");
        assert_eq!(get(&var(ema.params(), "w")), [2.75, 1.5], "{dtype:?}");
        // No image seen with a ramp: exactly the parameters.
        let mut ramped = Ema::new(&params, 10.0, 0.5).expect("good numbers");
        set(&params, "w", &[0.1, 1e6]);
        ramped.update(&params, 0.0, 10.0).expect("an update");
        assert_eq!(
            get(&var(ramped.params(), "w")),
            get(&var(&params, "w")),
            "{dtype:?}"
        );
    }
}

#[test]
fn ema_refuses_other_parameters() {
    let mut ema = Ema::new(&params(DType::F32, &[("w", &[1.0])]), 10.0, 1.0).expect("good numbers");
    for other in [
        params(DType::F32, &[("x", &[1.0])]),
        params(DType::F32, &[("w", &[1.0, 2.0])]),
        params(DType::F32, &[("a", &[3.0]), ("w", &[1.0])]),
    ] {
        let error = ema.update(&other, 1.0, 1.0).expect_err("accepted");
        assert!(
            error.to_string().contains("where `w` [1] is averaged"),
            "{error}"
        );
        let mut adam = AdamW::default();
        let all = other
            .vars()
            .into_iter()
            .map(|(name, var)| (name, get(&var)));
        let before: Vec<(String, Vec<f64>)> = all.collect();
        let steps: Vec<(&str, &[f64])> = before.iter().map(|(n, x)| (&**n, &**x)).collect();
        let grads = grads(&other, &steps);
        adam.step_and_average(&other, &grads, 1.0, &mut ema, [1.0; 2])
            .expect_err("accepted");
        assert_eq!(adam.steps(), 0);
        for (name, x) in &before {
            assert_eq!(get(&var(&other, name)), *x, "`{name}` was moved");
        }
    }
    assert_eq!(get(&var(ema.params(), "w")), [1.0]);
}

#[test]
fn an_average_follows_a_parameter_that_has_no_gradient() {
    for dtype in [DType::F32, DType::F64, DType::BF16] {
        let start = params(dtype, &[("still", &[0.0]), ("w", &[0.0])]);
        let mut ema = Ema::new(&start, 10.0, f64::INFINITY).expect("good numbers");
        set(&start, "still", &[4.0]);
        let grads = grads(&start, &[("w", &[1.0])]);
        let mut adam = AdamW::default();
        adam.step_and_average(&start, &grads, 1.0, &mut ema, [0.0, 10.0])
            .expect("a step");
        // One half-life is half of the way.
        assert_eq!(get(&var(&start, "still")), [4.0], "{dtype:?}");
        assert_eq!(get(&var(ema.params(), "still")), [2.0], "{dtype:?}");
        let moved = get(&var(&start, "w"))[0];
        assert!(moved < 0.0, "{dtype:?}");
        assert_eq!(get(&var(ema.params(), "w")), [moved / 2.0], "{dtype:?}");
    }
}

/// An update that reads what it writes is one update after the other; to wait for its own lock would be to wait for ever.
#[test]
fn tensors_of_one_storage_are_no_trap() {
    for dtype in [DType::F32, DType::F64] {
        let theta = params(dtype, &[("w", &[1.0, -2.0])]);
        let mut ema = Ema::new(&theta, 10.0, 1.0).expect("good numbers");
        let own = ema.params().clone();
        ema.update(&own, 1.0, 1.0).expect("an update");
        assert_eq!(get(&var(&own, "w")), [1.0, -2.0], "{dtype:?}");

        let other = params(dtype, &[("w", &[1.0, -2.0])]);
        let mut shared = grads(&theta, &[("w", &[0.0, 0.0])]);
        let w = var(&theta, "w");
        shared.insert(&w, w.as_tensor().clone());
        let apart = grads(&other, &[("w", &[1.0, -2.0])]);
        for (params, grads) in [(&theta, &shared), (&other, &apart)] {
            AdamW::default().step(params, grads, 1.0).expect("a step");
        }
        assert_ne!(get(&w), [1.0, -2.0], "{dtype:?}");
        let distance = get(&w).into_iter().zip(get(&var(&other, "w")));
        for (a, b) in distance {
            assert!((a - b).abs() <= 4.0 * F32_U * b.abs(), "{dtype:?}: {a} {b}");
        }
        AdamW::default()
            .step_and_average(
                &own,
                &grads(&own, &[("w", &[1.0, 1.0])]),
                1.0,
                &mut ema,
                [1.0; 2],
            )
            .expect("a step");
    }
}
