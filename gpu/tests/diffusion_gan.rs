//! The plug-in for GANs: what is saved goes on, what is told wrongly is refused, and a GAN of somebody else's trains with it.

#[expect(dead_code, reason = "the example's own `main`")]
#[path = "../examples/diffusion_gan.rs"]
mod example;

use candle_core::{DType, Device, Tensor, Var};
use sadm_gpu::diffusion_gan::{
    Chain, ControllerOptions, Diffusion, DiffusionOptions, Discriminator, Game, GanLoss, Noise,
    Penalty, Priority, Seen, r1, r1_approximate,
};

fn image(value: f64) -> Tensor {
    Tensor::full(value, (8, 3, 4, 4), &Device::Cpu).expect("a tensor")
}

fn numbers(x: &Tensor) -> Vec<f64> {
    x.flatten_all()
        .and_then(|x| x.to_vec1())
        .expect("numbers of f64")
}

/// Quick to grow: each look at sure logits moves T by a tenth of its range.
fn quick() -> DiffusionOptions {
    DiffusionOptions {
        controller: ControllerOptions {
            kimg: 0.64,
            t_min: 5,
            t_max: 105,
            interval: 2,
            ..ControllerOptions::default()
        },
        ..DiffusionOptions::default()
    }
}

fn logits(value: f64) -> Tensor {
    Tensor::full(value, 32, &Device::Cpu).expect("a tensor")
}

#[test]
fn the_example_trains_and_is_short() {
    let text = include_str!("../examples/diffusion_gan.rs");
    assert!(text.lines().count() < 60);
    let mut noise = Diffusion::new(DiffusionOptions::default(), 3).expect("options");
    let points = example::train(20, &mut noise).expect("a GAN");
    assert_eq!(points.dims(), [5000, 2]);
    let points = points.to_dtype(DType::F64).expect("numbers");
    assert!(numbers(&points).iter().all(|x| x.is_finite()));
}

/// Twenty batches, the state saved and loaded after the seventh and in the middle of an interval: the same images, levels and T.
#[test]
fn what_is_saved_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("noise.json");
    let mut whole = Diffusion::new(quick(), 11).expect("options");
    let mut parts = whole.clone();
    for step in 0..20 {
        let (a, t) = whole.diffuse(&image(0.5)).expect("images");
        let (b, u) = parts.diffuse(&image(0.5)).expect("images");
        assert_eq!((numbers(&a), &t), (numbers(&b), &u), "step {step}");
        let sure = logits(if step < 14 { 2.0 } else { -1.0 });
        let (one, other) = (whole.observe(&sure), parts.observe(&sure));
        assert_eq!(one.expect("logits"), other.expect("logits"));
        if [6, 9].contains(&step) {
            parts.save(&path).expect("a file");
            parts = Diffusion::load(&path).expect("the same file");
        }
        if step == 13 {
            assert_eq!(whole.steps(), 75, "seven updates up by a tenth of 100");
        }
    }
    assert_eq!((whole.steps(), parts.steps()), (45, 45), "and three down");
}

#[test]
fn files_that_hold_no_state_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("noise.json");
    let refused = |path: &std::path::Path| Diffusion::load(path).expect_err("no state").to_string();
    assert!(refused(&path).contains("cannot read"));
    Diffusion::new(quick(), 1)
        .expect("options")
        .save(&path)
        .expect("a file");
    let text = std::fs::read_to_string(&path).expect("just written");
    std::fs::write(&path, &text[..text.len() / 2]).expect("writable");
    assert!(refused(&path).contains("is no saved diffusion"));
    std::fs::write(&path, text.replace("\"steps\": 5,", "\"steps\": 500,")).expect("writable");
    assert!(refused(&path).contains("T must be from 5 to 105"));
    let none = folder.path().join("nowhere").join("noise.json");
    assert!(
        Diffusion::new(quick(), 1)
            .expect("options")
            .save(&none)
            .is_err()
    );
}

#[test]
fn a_level_for_each_channel_and_shared_levels() {
    let per_channel = DiffusionOptions {
        per_channel: true,
        clean: 0.0,
        ..quick()
    };
    let mut diffusion = Diffusion::new(per_channel, 2).expect("options");
    let (y, t) = diffusion.diffuse(&image(1.0)).expect("images");
    assert_eq!((y.dims(), t.len()), ([8, 3, 4, 4].as_slice(), 24));
    let flat = Tensor::zeros(8, DType::F64, &Device::Cpu).expect("a tensor");
    assert!(diffusion.diffuse(&flat).is_err(), "no channels");
    for shared in [true, false] {
        let mut diffusion =
            Diffusion::new(DiffusionOptions { shared, ..quick() }, 2).expect("options");
        let [(real, t), (fake, u)] = diffusion
            .diffuse_both(&image(1.0), &image(1.0))
            .expect("images");
        assert_eq!(t == u, shared);
        assert_ne!(numbers(&real), numbers(&fake), "noise of its own");
    }
}

/// Cut short, the longest chain's first levels; made anew, the end of β at T. Signs for noise, and no buffer.
#[test]
fn switches_do_what_they_say() {
    let with = |chain| Diffusion::new(DiffusionOptions { chain, ..quick() }, 1).expect("options");
    let (remade, truncated) = (with(Chain::Remade), with(Chain::Truncated));
    let near = |got: Option<f64>, want: f64| assert!((got.expect("a level") - want).abs() < 1e-15);
    let beta = |t: f64, steps: f64| 1e-4 + (t - 1.0) / (steps - 1.0) * (2e-2 - 1e-4);
    let product = |steps: f64| {
        (1..=5)
            .map(|t| 1.0 - beta(f64::from(t), steps))
            .product::<f64>()
    };
    near(remade.alpha_bar(5), product(5.0));
    near(truncated.alpha_bar(5), product(105.0));
    near(remade.alpha_bar(0), 1.0);
    assert_eq!((remade.alpha_bar(6), truncated.alpha_bar(6)), (None, None));
    let signs = DiffusionOptions {
        noise: Noise::Bernoulli,
        buffer: 0,
        law: Priority::Uniform,
        scale: 2.0,
        ..quick()
    };
    let mut diffusion = Diffusion::new(signs, 4).expect("options");
    let (y, t) = diffusion.diffuse(&image(0.0)).expect("images");
    for (row, t) in numbers(&y).chunks(48).zip(&t) {
        assert!((1..=5).contains(t), "no clean image without a buffer");
        let size = 2.0 * (1.0 - diffusion.alpha_bar(*t).expect("a level")).sqrt();
        assert!(row.iter().all(|y| (y.abs() - size).abs() < 1e-12));
        assert!(row.iter().any(|y| *y > 0.0) && row.iter().any(|y| *y < 0.0));
    }
}

#[test]
fn what_is_told_wrongly_is_refused() {
    let refused =
        |options: DiffusionOptions| Diffusion::new(options, 0).expect_err("refused").to_string();
    let controller = |controller| DiffusionOptions {
        controller,
        ..quick()
    };
    let with = quick().controller;
    assert!(
        refused(controller(ControllerOptions { t_min: 0, ..with }))
            .contains("t_min must be from 1 to t_max, 105")
    );
    assert!(refused(controller(ControllerOptions { t_min: 106, ..with })).contains("t_min"));
    assert!(
        refused(controller(ControllerOptions {
            interval: 0,
            ..with
        }))
        .contains("interval must be at least 1")
    );
    assert!(
        refused(controller(ControllerOptions {
            target: 1.5,
            ..with
        }))
        .contains("target must be from -1 to 1")
    );
    assert!(refused(controller(ControllerOptions { kimg: 0.0, ..with })).contains("kimg"));
    assert!(
        refused(DiffusionOptions {
            scale: -1.0,
            ..quick()
        })
        .contains("scale")
    );
    assert!(
        refused(DiffusionOptions {
            clean: 1.0,
            ..quick()
        })
        .contains("clean must be in [0, 1)")
    );
    assert!(
        refused(DiffusionOptions {
            beta_end: 2.0,
            ..quick()
        })
        .contains("beta_end")
    );
    let short = ControllerOptions { t_min: 1, ..with };
    let late = DiffusionOptions {
        law: Priority::PriorityCode,
        ..controller(short)
    };
    assert!(refused(late).contains("at least 2 for law"));
    let mut diffusion = Diffusion::new(quick(), 0).expect("options");
    let said = |e: sadm_gpu::Error| e.to_string();
    let wrong = |diffusion: &mut Diffusion, t: &[usize]| {
        said(diffusion.diffuse_at(&image(0.0), t).expect_err("refused"))
    };
    assert!(wrong(&mut diffusion, &[1]).contains("number of levels t must be 8"));
    assert!(wrong(&mut diffusion, &[6; 8]).contains("level t must be at most T, 5, got 6"));
    let diverged = diffusion.observe(&logits(f64::NAN)).expect_err("diverged");
    assert!(said(diverged).contains("has the discriminator diverged?"));
    let empty = Tensor::zeros((0, 3), DType::F64, &Device::Cpu).expect("a tensor");
    assert!(diffusion.diffuse(&empty).is_err());
    assert!(diffusion.observe(&empty).is_err());
}

/// l = ⟨w, y⟩ + b(t), with or without its second derivative.
struct Straight {
    w: Var,
    refuses: bool,
}

impl Discriminator for Straight {
    fn logits(&self, y: &Tensor, t: &[usize]) -> sadm_gpu::Result<Tensor> {
        let t: Vec<f64> = t.iter().map(|t| *t as f64).collect();
        let plain = y.matmul(&self.w.as_tensor().unsqueeze(1)?)?.squeeze(1)?;
        Ok((plain + Tensor::new(t, y.device())?)?)
    }

    fn along(&self, _: &Tensor, _: &[usize], v: &Tensor) -> sadm_gpu::Result<Tensor> {
        if self.refuses {
            let what = "second derivative of this discriminator";
            return Err(sadm_gpu::Error::invalid(what, "exist for R1", "none"));
        }
        Ok(v.matmul(&self.w.as_tensor().unsqueeze(1)?)?.squeeze(1)?)
    }
}

fn straight(refuses: bool) -> Straight {
    let w = Var::new(&[3.0_f64, -4.0], &Device::Cpu).expect("a tensor");
    Straight { w, refuses }
}

/// ‖w‖² = 25 with the gradient 2w; its approximation ⟨w, n⟩², whatever σ is. Both count `every` times γ/2 where they are due.
#[test]
fn penalties_of_a_linear_discriminator_are_as_by_hand() {
    let d = straight(false);
    let y = Tensor::new(&[[1.0, 2.0], [-1.0, 0.5]], &Device::Cpu).expect("a tensor");
    let penalty = r1(&d, &y, &[1, 2], &[1.0, 0.5]).expect("shapes that fit");
    assert!((numbers(&penalty)[0] - 18.75).abs() < 1e-12);
    let grads = penalty.backward().expect("a graph");
    let gradient = numbers(grads.get(&d.w).expect("a gradient"));
    assert!((gradient[0] - 4.5).abs() < 1e-12 && (gradient[1] + 6.0).abs() < 1e-12);
    let n = Tensor::new(&[[1.0, 0.0], [1.0, 2.0]], &Device::Cpu).expect("a tensor");
    let near = r1_approximate(&d, &y, &[1, 2], &n, 1e-3).expect("shapes that fit");
    assert!((numbers(&near)[0] - f64::midpoint(9.0, 25.0)).abs() < 1e-8);
    assert!(r1_approximate(&d, &y, &[1, 2], &n, 0.0).is_err());
    for (penalty, worth) in [(Penalty::R1, 18.75), (Penalty::R1Approximate, 17.0)] {
        let game = Game {
            penalty,
            gamma: 0.5,
            every: 4,
            ..Game::default()
        };
        game.check().expect("options in their range");
        for number in 0..9 {
            let seen = [Seen { y: &y, t: &[1, 2] }; 2];
            let judged = game.discriminator(&d, seen, number, &[1.0, 0.5], || Ok(n.clone()));
            let judged = judged.expect("shapes that fit");
            let [total, loss] = [&judged.total, &judged.loss].map(|x| numbers(x)[0]);
            let want = if number % 4 == 0 { worth } else { 0.0 };
            assert!(
                (total - loss - want).abs() < 1e-8,
                "{number}: {total} {loss}"
            );
            assert_eq!(judged.penalty.is_some(), number % 4 == 0);
        }
    }
}

/// Without second derivatives R1 is refused by name; options outside their range too.
#[test]
fn what_cannot_be_played_is_refused() {
    let y = Tensor::new(&[[1.0, 2.0]], &Device::Cpu).expect("a tensor");
    let refused = r1(&straight(true), &y, &[1], &[1.0]).expect_err("no second derivative");
    assert!(
        refused
            .to_string()
            .contains("second derivative of this discriminator")
    );
    let of = |game: Game| game.check().expect_err("refused").to_string();
    assert!(
        of(Game {
            gamma: -1.0,
            ..Game::default()
        })
        .contains("gamma")
    );
    assert!(
        of(Game {
            every: 0,
            ..Game::default()
        })
        .contains("every")
    );
    assert!(
        of(Game {
            sigma: 0.0,
            ..Game::default()
        })
        .contains("sigma")
    );
    let none = Tensor::zeros(0, DType::F64, &Device::Cpu).expect("a tensor");
    assert!(GanLoss::Hinge.generator(&none).is_err());
}

/// The slope of ln(1 + eˣ) is ½ at 0, where relu and |x| have none, and nothing overflows far out.
#[test]
fn the_logistic_loss_has_its_slope_everywhere() {
    let l = Var::new(&[0.0_f64, 1000.0, -1000.0], &Device::Cpu).expect("a tensor");
    let loss = GanLoss::Logistic.generator(l.as_tensor()).expect("logits");
    assert!((numbers(&loss)[0] - (2f64.ln() + 1000.0) / 3.0).abs() < 1e-12);
    let grads = loss.backward().expect("a graph");
    let slopes = numbers(grads.get(&l).expect("a gradient"));
    for (slope, want) in slopes.iter().zip([-0.5, 0.0, -1.0]) {
        assert!((slope - want / 3.0).abs() < 1e-15, "{slope}");
    }
}
