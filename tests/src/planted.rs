//! Planted bugs: wrong implementations that the checker must catch, each put in place of a right one that it
//! passes. A checker that misses one of them proves nothing about the others.

use candle_core::{DType, Tensor};
use ndarray::{Array2, ArrayD, Axis};
use proptest::strategy::BoxedStrategy;
use sadm_reference::{
    bound::Precision,
    coupling::{Cost, assign as transport, costs},
};

use sadm_gpu::diffusion_gan::{Discriminator, Game, GanLoss, Judgement, Seen};
use sadm_gpu::gaussian::{self, GaussianObjective};
use sadm_gpu::structure::{Relation, affinity};

use crate::{
    Bounds, Case, Check, CheckReport, Computed, Exact, Outcome, Place, Result, VerifyOptions,
    checks::{
        coupling,
        denoise::{gpu_process, steps_of, variances_by},
        differentiated,
        gan_step::{self, Judging, Noising},
    },
    ledger::Rule,
    registry::{registry, select},
    run,
};

/// A check whose training system is replaced by a wrong one.
pub(crate) struct Planted<'a, F> {
    inner: &'a dyn Check,
    wrong: F,
}

impl<'a, F: Fn(&dyn Check, &Case, &Place) -> Result<Computed> + Send + Sync> Planted<'a, F> {
    /// `inner` with a wrong training system.
    pub(crate) fn new(inner: &'a dyn Check, wrong: F) -> Self {
        Self { inner, wrong }
    }
}

impl<F: Fn(&dyn Check, &Case, &Place) -> Result<Computed> + Send + Sync> Check for Planted<'_, F> {
    fn name(&self) -> &str {
        self.inner.name()
    }
    fn about(&self) -> &str {
        self.inner.about()
    }
    fn source(&self) -> &str {
        self.inner.source()
    }
    fn cost(&self) -> crate::Cost {
        self.inner.cost()
    }
    fn strategy(&self) -> BoxedStrategy<Case> {
        self.inner.strategy()
    }
    fn reference(&self, case: &Case) -> Result<Exact> {
        self.inner.reference(case)
    }
    fn bound(&self, case: &Case, rule: &Rule) -> Result<Bounds> {
        self.inner.bound(case, rule)
    }
    fn candle(&self, case: &Case, place: &Place) -> Result<Computed> {
        (self.wrong)(self.inner, case, place)
    }
    fn path(&self) -> Option<sadm_gpu::nn::Path> {
        self.inner.path()
    }
}

/// Runs a check with a wrong implementation and requires a failure.
fn caught<F>(name: &str, dtype: DType, wrong: F) -> CheckReport
where
    F: Fn(&dyn Check, &Case, &Place) -> Result<Computed> + Send + Sync,
{
    let inner = select(registry(), name)
        .expect("the check exists")
        .remove(0);
    assert_eq!(inner.name(), name, "a planted bug names its check exactly");
    let planted = Planted::new(inner.as_ref(), wrong);
    let options = VerifyOptions {
        shrinks: false,
        ..VerifyOptions::cpu(dtype)
    };
    let report = run(&planted, &options).expect("it has a ledger entry");
    assert!(report.failed(), "`{name}` passes a planted bug: {report}");
    report
}

/// Runs a check with its own, right values changed by `spoil`.
fn caught_after(
    name: &str,
    dtype: DType,
    spoil: impl Fn(&mut Computed) + Send + Sync,
) -> CheckReport {
    caught(name, dtype, |check, case, place| {
        let mut values = check.candle(case, place)?;
        spoil(&mut values);
        Ok(values)
    })
}

fn times(values: &mut Computed, name: &str, factor: f64) {
    values
        .get_mut(name)
        .expect("the check has this quantity")
        .mapv_inplace(|x| x * factor);
}

#[test]
fn a_factor_of_two() {
    for dtype in [DType::F32, DType::F64, DType::BF16] {
        caught_after("denoising-loss", dtype, |v| times(v, "y", 2.0));
        caught_after("structural-loss.cosine.squared", dtype, |v| {
            times(v, "grad_generated", 2.0);
        });
        caught_after("weight.elbo", dtype, |v| times(v, "w", 2.0));
    }
}

#[test]
fn a_wrong_sign() {
    caught_after("structural-loss.inner-product.huber", DType::F32, |v| {
        times(v, "grad_real", -1.0);
    });
    caught_after("nn.time-features", DType::F32, |v| times(v, "y", -1.0));
    caught_after("nn.step-features", DType::F32, |v| times(v, "y", -1.0));
}

#[test]
fn a_transposed_gradient() {
    let transpose = |x: &mut ArrayD<f64>| {
        // Only a square one: the shape of any other gives it away.
        if x.shape()[0] == x.shape()[1] {
            x.swap_axes(0, 1);
        }
    };
    let report = caught_after("nn.linear", DType::F32, |v| {
        transpose(v.get_mut("grad_weight").expect("linear has a weight"));
    });
    let Outcome::Failed { counterexample } = report.outcome else {
        unreachable!("it failed")
    };
    let weight = counterexample
        .case
        .get("weight")
        .expect("the case has a weight");
    let &[rows, columns] = weight.shape() else {
        unreachable!("a weight is a matrix")
    };
    assert!(
        rows == columns && rows > 1,
        "{rows}×{columns} has no other transpose"
    );
    caught_after("affinity.cosine", DType::F64, |v| {
        transpose(v.get_mut("grad_psi").expect("a gradient"));
    });
}

#[test]
fn a_missing_diagonal() {
    caught(
        "structural-loss.inner-product.squared",
        DType::F32,
        |check, case, place| {
            let batch = case.get("real")?.shape()[0] as f64;
            let wrong = case.clone().text("diagonal", "exclude");
            let mut values = check.candle(&wrong, place)?;
            if case.get_text("diagonal")? == "include" {
                // Σ_{i≠j} over B² pairs.
                for x in values.values_mut() {
                    x.mapv_inplace(|x| x * (batch - 1.0) / batch);
                }
            }
            Ok(values)
        },
    );
}

#[test]
fn the_mean_over_other_pairs() {
    caught(
        "structural-loss.cosine.absolute",
        DType::F32,
        |check, case, place| {
            let batch = case.get("real")?.shape()[0] as f64;
            let mut values = check.candle(case, place)?;
            if case.get_text("diagonal")? == "exclude" {
                for x in values.values_mut() {
                    x.mapv_inplace(|x| x * (batch - 1.0) / batch);
                }
            }
            Ok(values)
        },
    );
}

#[test]
fn eta_applied_twice() {
    caught(
        "structural-loss.rbf.huber",
        DType::F32,
        |check, case, place| {
            let eta = case
                .get_numbers("eta")?
                .iter()
                .map(|eta| eta * eta)
                .collect();
            check.candle(&case.clone().numbers("eta", eta), place)
        },
    );
}

#[test]
fn eta_of_one_sample_for_the_pair() {
    caught(
        "structural-loss.squared-euclidean.squared",
        DType::F32,
        |check, case, place| {
            let first = case.get_numbers("eta")?[0];
            check.candle(&case.clone().numbers("eta", vec![first]), place)
        },
    );
}

#[test]
fn a_detached_branch() {
    for relation in ["cosine", "euclidean"] {
        caught_after(
            &format!("structural-loss.{relation}.squared"),
            DType::F32,
            |v| times(v, "grad_real", 0.0),
        );
    }
}

/// Lengths where sums of absolute values are meant.
#[test]
fn a_laplacian_of_euclidean_lengths() {
    caught("affinity.laplacian", DType::F64, |_, case, place| {
        let bandwidth = case.get_number("bandwidth")?;
        differentiated(case, place, &["psi"], |inputs| {
            let lengths = affinity(&inputs[0], Relation::EUCLIDEAN)?;
            Ok((lengths * (-1.0 / bandwidth))?.exp()?)
        })
    });
}

/// The bound's term moves ε̂ too: its value, and what it says to the variances, are right.
#[test]
fn variances_that_move_the_mean() {
    let report = caught("variance-loss", DType::F32, |_, case, place| {
        variances_by(case, place, |eps, v, (x0, x_t), t| {
            let output = Tensor::cat(&[eps, v], 1)?;
            // The objective of the bound alone is T times the term of each sample, which holds nothing; its x_t is made of the noise.
            let process = gpu_process()?;
            let bars = process.alphas_bar();
            let of = |number: &dyn Fn(usize) -> f64| -> Result<Tensor> {
                let numbers: Vec<f64> = t.iter().map(|&t| number(t)).collect();
                let numbers = Tensor::from_vec(numbers, (t.len(), 1, 1, 1), x0.device())?;
                Ok(numbers.to_dtype(x0.dtype())?)
            };
            let clean = x0.broadcast_mul(&of(&|t| bars[t].sqrt())?)?;
            let noise = (x_t - clean)?.broadcast_div(&of(&|t| (1.0 - bars[t]).sqrt())?)?;
            let alone = GaussianObjective::Bound;
            let terms = gaussian::training_losses(&process, alone, &output, (x0, &noise), t)?;
            let each = x0.elem_count() as f64 / t.len() as f64;
            Ok((terms.loss.mean_all()? * (each / process.count() as f64))?)
        })
    });
    assert!(report.place.contains("grad_eps"), "{}", report.place);
}

/// The factor T/1000 of a process with another number of steps, T in place of 1, and a mean over the pixels.
#[test]
fn variances_with_another_weight() {
    for dtype in [DType::F32, DType::BF16] {
        for factor in [0.25, 1000.0] {
            caught_after("variance-loss", dtype, |v| {
                times(v, "y", factor);
                times(v, "grad_v", factor);
            });
        }
    }
    caught("variance-loss", DType::F32, |check, case, place| {
        let x0 = case.get("x0")?;
        let each = (x0.len() / x0.shape()[0]) as f64;
        let mut values = check.candle(case, place)?;
        times(&mut values, "y", 1.0 / each);
        times(&mut values, "grad_v", 1.0 / each);
        Ok(values)
    });
}

/// At the first step: the divergence in place of the likelihood, and bins of pixels at ±1 that end there.
#[test]
fn a_first_step_without_its_bins() {
    caught("variance-loss", DType::F32, |_, case, place| {
        variances_by(case, place, |eps, v, images, t| {
            let second: Vec<usize> = t.iter().map(|&t| t.max(1)).collect();
            Ok(gaussian::variance_loss(
                &gpu_process()?,
                (eps, v),
                images,
                &second,
            )?)
        })
    });
    caught("variance-loss", DType::F32, |check, case, place| {
        let mut closed = case.clone();
        let steps = steps_of(case)?;
        let mut x0 = case.get("x0")?.clone();
        for (mut image, step) in x0.outer_iter_mut().zip(steps) {
            if step == 0 {
                image.mapv_inplace(|x| x.clamp(-0.998, 0.998));
            }
        }
        closed.tensors.insert("x0".to_owned(), x0);
        check.candle(&closed, place)
    });
}

#[test]
fn a_silently_frozen_layer() {
    caught_after("network.encoder", DType::F32, |v| {
        times(v, "grad of conv.1.weight", 0.0);
    });
    caught_after("network.unet", DType::F64, |v| {
        times(v, "grad of mid.attn.qkv.weight", 0.0);
    });
    for name in ["network.dit", "network.sit"] {
        caught_after(name, DType::F32, |v| {
            times(v, "grad of t_embedder.mlp.2.weight", 0.0);
        });
    }
    caught_after("network.song-unet", DType::F64, |v| {
        times(v, "grad of map_layer0.weight", 0.0);
    });
    caught_after("network.dhariwal-unet", DType::F64, |v| {
        times(v, "grad of out_norm.weight", 0.0);
    });
    caught_after("step.guided", DType::F32, |v| {
        times(v, "gradient of conv_in.weight", 0.0);
    });
    caught_after("network.autoencoder-kl", DType::F64, |v| {
        times(v, "grad of encoder.conv_in.weight", 0.0);
    });
    caught_after("network.autoencoder-tiny", DType::F32, |v| {
        times(v, "grad of decoder.layers.0.weight", 0.0);
    });
}

#[test]
fn a_latent_whose_deviation_is_its_variance() {
    caught_after("network.autoencoder-kl", DType::F32, |v| {
        (v.get_mut("std").expect("it has deviations")).mapv_inplace(|std| std * std);
    });
}

#[test]
fn a_layer_without_any_gradient() {
    let report = caught("network.encoder", DType::F32, |_, _, _| {
        Err(crate::Error::Gpu(
            "`conv_in.weight` receives no gradient".to_owned(),
        ))
    });
    assert!(
        report.place.contains("conv_in.weight"),
        "the layer is not named: {}",
        report.place
    );
}

#[test]
fn accumulation_in_f32_where_f64_is_meant() {
    for name in [
        "structural-loss.cosine.squared",
        "nn.linear",
        "denoising-loss",
        "nn.group-norm",
        "adamw",
    ] {
        caught(name, DType::F64, |check, case, _| {
            check.candle(case, &Place::cpu(DType::F32))
        });
    }
}

#[test]
fn accumulation_in_bf16_where_f32_is_meant() {
    caught("nn.conv2d", DType::F32, |check, case, _| {
        check.candle(case, &Place::cpu(DType::BF16))
    });
}

#[test]
fn tiles_in_bf16_where_f32_is_meant() {
    caught("nn.conv2d.tiles", DType::F32, |check, case, _| {
        check.candle(case, &Place::cpu(DType::BF16))
    });
}

/// The last row of tiles, half of which lies outside an image of odd height, is forgotten.
#[test]
fn a_row_of_tiles_that_is_left_out() {
    caught_after("nn.conv2d.tiles", DType::F32, |v| {
        let y = v.get_mut("y").expect("a result");
        let last = y.shape()[2] - 1;
        y.index_axis_mut(Axis(2), last).fill(0.0);
    });
}

/// The naive M − M̂ in f32, where the polarised form is meant: the cancellation the form was made to avoid.
#[test]
fn a_naive_difference_where_the_polarised_one_is_meant() {
    caught(
        "structural-loss.polarised.inner-product.batch",
        DType::F32,
        |check, case, place| {
            let mut values = check.candle(case, place)?;
            let gram = |name| {
                let psi = case.get2(name)?;
                Ok::<_, crate::Error>(psi.dot(&psi.t()).mapv(|x| place.round(x)))
            };
            let e = gram("real")? - gram("generated")?;
            let pairs = (e.len()) as f64;
            let loss = case.get_numbers("eta")?[0] * e.mapv(|e| e * e).sum() / pairs;
            values.insert("y".to_owned(), crate::check::scalar(loss));
            Ok(values)
        },
    );
}

/// An excluded diagonal that is counted all the same, over the right number of pairs.
#[test]
fn a_diagonal_that_was_not_subtracted() {
    caught(
        "structural-loss.polarised.inner-product.feature.off-diagonal",
        DType::F32,
        |check, case, place| {
            let mut values = check.candle(case, place)?;
            let (real, generated) = (case.get2("real")?, case.get2("generated")?);
            let own = ((&real - &generated) * (&real + &generated)).sum_axis(Axis(1));
            let pairs = (real.nrows() * (real.nrows() - 1)) as f64;
            let more = case.get_numbers("eta")?[0] * own.mapv(|e| e * e).sum() / pairs;
            let loss = values.get_mut("y").expect("a loss");
            loss.mapv_inplace(|loss| loss + more);
            Ok(values)
        },
    );
}

/// The gradient in Ψ̂ taken for that in −Ψ: right to first order at Ψ̂ ≈ Ψ, in both forms of the own operation.
#[test]
fn the_other_batchs_gradient() {
    for form in ["batch", "feature"] {
        caught_after(
            &format!("structural-loss.polarised.inner-product.{form}"),
            DType::F32,
            |v| {
                let real = v.get("grad_real").expect("a gradient").mapv(|x| -x);
                v.insert("grad_generated".to_owned(), real);
            },
        );
    }
}

#[test]
fn noise_by_variance() {
    caught("forward", DType::F32, |check, case, place| {
        let sigma = case.get_numbers("sigma")?.iter().map(|s| s * s).collect();
        check.candle(&case.clone().numbers("sigma", sigma), place)
    });
}

#[test]
fn a_time_shared_by_mistake() {
    caught("forward", DType::F32, |check, case, place| {
        let first = |name| Ok::<_, crate::Error>(vec![case.get_numbers(name)?[0]]);
        let wrong = case
            .clone()
            .numbers("alpha", first("alpha")?)
            .numbers("sigma", first("sigma")?);
        check.candle(&wrong, place)
    });
}

#[test]
fn a_batch_of_which_one_sample_is_forgotten() {
    caught_after("nn.conv2d", DType::F32, |v| {
        let grad = v.get_mut("grad_x").expect("a gradient");
        let last = grad.shape()[0] - 1;
        grad.index_axis_mut(Axis(0), last).fill(0.0);
    });
}

#[test]
fn an_average_that_forgets_what_it_should_keep() {
    caught("ema", DType::F32, |check, case, place| {
        let swapped = case.clone().tensor("average", case.get("theta")?.clone());
        check.candle(
            &swapped.tensor("theta", case.get("average")?.clone()),
            place,
        )
    });
}

#[test]
fn an_average_of_parameters_that_missed_a_gradient() {
    for dtype in [DType::F32, DType::F64] {
        caught("adamw.ema", dtype, |check, case, place| {
            let mut values = check.candle(case, place)?;
            let start = case.get("theta")?;
            let zero = ArrayD::zeros(start.raw_dim());
            let once = check.candle(&case.clone().tensor("second", zero), place)?;
            values.insert("average".to_owned(), once["average"].clone());
            Ok(values)
        });
    }
}

#[test]
fn moments_from_the_last_gradient_only() {
    caught("adamw", DType::F32, |check, case, place| {
        let zero = ArrayD::zeros(case.get("first")?.raw_dim());
        check.candle(&case.clone().tensor("first", zero), place)
    });
}

#[test]
fn a_gate_of_the_wrong_sample() {
    caught("nn.gated-sum", DType::F32, |check, case, place| {
        let mut gate = case.get("gate")?.clone();
        gate.invert_axis(Axis(0));
        let gate = gate.as_standard_layout().into_owned();
        check.candle(&case.clone().tensor("gate", gate), place)
    });
    caught_after("nn.gated-sum", DType::F32, |v| times(v, "grad_gate", 2.0));
}

/// The filter read from its other end, and an enlargement that spreads a pixel without making four of it.
#[test]
fn a_resampling_filter_turned_round_or_without_its_factor() {
    for name in ["nn.fir-down", "composed.fir-up"] {
        caught(name, DType::F32, |check, case, place| {
            let turned = case.get_counts("taps")?.iter().rev().copied().collect();
            check.candle(&case.clone().counts("taps", turned), place)
        });
    }
    caught_after("nn.fir-up", DType::F32, |v| times(v, "grad_x", 0.25));
}

/// The last frequency of one published network in the place of the other's.
#[test]
fn positions_with_the_other_end_point() {
    caught("nn.positional-features", DType::F32, |_, case, place| {
        let (noise, dim) = (case.get_numbers("noise")?, case.get_count("dim")?);
        let y = sadm_gpu::nn::step_features(noise, dim, &place.device, place.dtype)?;
        Ok(crate::check::values([("y", Place::array(&y)?)]))
    });
    caught("nn.fourier-features", DType::F32, |check, case, place| {
        let once = case.get("frequencies")? / std::f64::consts::TAU;
        check.candle(&case.clone().tensor("frequencies", once), place)
    });
}

#[test]
fn a_clip_that_never_clips() {
    caught("clip", DType::F32, |check, case, place| {
        check.candle(&case.clone().number("max", 1e9), place)
    });
}

/// Each part centred by its own mean, and the distance of the two means lost.
#[test]
fn a_merge_that_forgets_how_far_the_means_are_apart() {
    for dtype in [DType::F32, DType::F64] {
        caught("feature-statistics", dtype, |check, case, place| {
            let (mut x, cut) = (case.get2("x")?, case.get_count("cut")?);
            let mean =
                |part: ndarray::ArrayView2<f64>| part.sum_axis(Axis(0)) / part.nrows() as f64;
            let (first, mut second) = x.view_mut().split_at(Axis(0), cut);
            second += &(mean(first.view()) - mean(second.view()));
            let mut values = check.candle(&case.clone().tensor("x", x), place)?;
            let right = check.candle(case, place)?;
            values.insert("mean".to_owned(), right["mean"].clone());
            Ok(values)
        });
    }
}

#[test]
fn a_covariance_over_n_and_one_summed_in_f32() {
    caught("feature-statistics", DType::F32, |check, case, place| {
        let n = case.get("x")?.shape()[0] as f64;
        let mut values = check.candle(case, place)?;
        times(&mut values, "covariance", (n - 1.0) / n);
        Ok(values)
    });
    caught_after("feature-statistics", DType::F64, |v| {
        let covariance = v.get_mut("covariance").expect("a covariance");
        covariance.mapv_inplace(|x| Place::cpu(DType::F32).round(x));
    });
}

/// The padding counted in a mean, as PyTorch does by default and TensorFlow does not.
#[test]
fn a_mean_that_counts_the_padding() {
    caught("frozen.avg-pool", DType::F32, |check, case, place| {
        let mut values = check.candle(case, place)?;
        let y = values.get_mut("y").expect("a mean");
        let (h, w) = (y.shape()[2], y.shape()[3]);
        let inside = |i: usize, side: usize| (i + 2).min(side) - i.saturating_sub(1);
        for (at, y) in y.indexed_iter_mut() {
            *y *= (inside(at[2], h) * inside(at[3], w)) as f64 / 9.0;
        }
        Ok(values)
    });
}

/// A maximum with zeros over the edge: right after a ReLU, wrong for what is negative.
#[test]
fn a_maximum_over_the_padding() {
    caught("frozen.max-pool", DType::F64, |check, case, place| {
        let mut values = check.candle(case, place)?;
        if case.get_count("padding")? == 1 {
            values
                .get_mut("y")
                .expect("a maximum")
                .mapv_inplace(|y| y.max(0.0));
        }
        Ok(values)
    });
}

/// ε outside the root, and a running mean that is added.
#[test]
fn a_norm_folded_wrongly() {
    caught("frozen.conv-norm", DType::F32, |check, case, place| {
        let scaled = case
            .get("variance")?
            .mapv(|v| place.round((v.sqrt() + 1e-3).powi(2)));
        check.candle(&case.clone().tensor("variance", scaled), place)
    });
    caught("frozen.conv-norm", DType::F32, |check, case, place| {
        let mean = case.get("mean")?.mapv(|x| -x);
        check.candle(&case.clone().tensor("mean", mean), place)
    });
}

/// One tool's resizing taken for another's.
#[test]
fn another_tools_resizing() {
    let tools = ["pytorch-fid", "torch-fidelity", "clean"];
    for (tool, other) in tools
        .into_iter()
        .zip(["torch-fidelity", "clean", "pytorch-fid"])
    {
        caught(
            &format!("frozen.resize.{tool}"),
            DType::F32,
            |_, case, place| {
                let name = format!("frozen.resize.{other}");
                let other = select(registry(), &name)?.remove(0);
                other.candle(case, place)
            },
        );
    }
}

#[test]
fn nan_and_a_missing_quantity() {
    let report = caught_after("nn.softmax", DType::F32, |v| times(v, "y", f64::NAN));
    assert!(
        report.worst.is_infinite(),
        "NaN has the finite ratio {}",
        report.worst
    );
    caught_after("nn.softmax", DType::F32, |v| {
        v.remove("grad_x");
    });
}

/// A panic in the training system is a failure of its check, not the end of the verification. (When it is
/// judged again after shrinking it panics outside the runner; there the engine must catch it itself.)
#[test]
fn a_panic() {
    let report = caught("nn.silu", DType::F32, |_, _, _| panic!("planted"));
    assert!(
        report.place.contains("planted"),
        "the panic's message is lost: {}",
        report.place
    );
}

/// One unit in the last place too many is already caught where the bound is tight: upsampling is exact.
#[test]
fn one_unit_in_the_last_place() {
    caught_after("nn.upsample", DType::F64, |v| {
        times(v, "y", 1.0 + 2.0 * f64::EPSILON);
    });
}

/// The ratio of the two steps upside down, as a reader of r = h₋/h may write it.
#[test]
fn a_multistep_sampler_with_its_steps_exchanged() {
    for dtype in [DType::F32, DType::F64] {
        caught("sampler.dpmpp-2m", dtype, |check, case, place| {
            let mut values = check.candle(case, place)?;
            let [before, from, to] = ["before", "from", "to"].map(|name| case.get_number(name));
            let (before, from, to) = (before?, from?, to?);
            let c = 0.5 * (before / from).ln() / (from / to).ln();
            let denoised = case.get("denoised")?;
            let middle = denoised + &((denoised - case.get("denoised_next")?) * c);
            values.insert(
                "z".to_owned(),
                &middle + &((case.get("z")? - &middle) * (to / from)),
            );
            Ok(values)
        });
    }
}

/// A sampler that never looks back is DDIM.
#[test]
fn a_multistep_sampler_without_memory() {
    caught_after("sampler.dpmpp-2m", DType::F32, |values| {
        let first = values["z_first"].clone();
        values.insert("z".to_owned(), first);
    });
}

/// Steps of EDM's family in EDM's own time, or at its own scale, whatever was asked for.
#[test]
fn a_family_with_one_member() {
    for (choice, plain) in [("schedule", "linear"), ("scaling", "none")] {
        for dtype in [DType::F32, DType::F64] {
            caught("sampler.family", dtype, |check, case, place| {
                check.candle(&case.clone().text(choice, plain), place)
            });
        }
    }
    // A grid of another kind with the same ends, and a second evaluation at the end of every step.
    caught("edm-sigmas.family", DType::F64, |check, case, place| {
        check.candle(&case.clone().text("discretization", "ve"), place)
    });
    caught("sampler.family", DType::F64, |check, case, place| {
        check.candle(&case.clone().number("alpha", 1.0), place)
    });
}

/// A chain that is one longer, noise by its variance instead of its deviation, levels of another chain, and a generator that hears nothing.
#[test]
fn noise_before_a_discriminator_that_is_wrong() {
    for dtype in [DType::F32, DType::F64] {
        caught("diffusion-gan.diffuse", dtype, |check, case, place| {
            let longer = |name: &str| Ok::<_, crate::Error>(case.get_count(name)? + 1);
            let longer = case
                .clone()
                .count("t_min", longer("t_min")?)
                .count("t_max", longer("t_max")?);
            check.candle(&longer, place)
        });
        caught("diffusion-gan.diffuse", dtype, |check, case, place| {
            let scale = case.get_number("scale")?;
            check.candle(&case.clone().number("scale", scale * scale), place)
        });
        caught("diffusion-gan.diffuse", dtype, |check, case, place| {
            let other = 1 - case.get_count("truncated")?;
            check.candle(&case.clone().count("truncated", other), place)
        });
        caught_after("diffusion-gan.diffuse", dtype, |values| {
            times(values, "grad_x", 0.0);
        });
    }
    caught(
        "diffusion-gan-controller.published",
        DType::F64,
        |check, case, place| {
            let images = case.get_count("images")?;
            check.candle(&case.clone().count("images", images + 1), place)
        },
    );
}

/// In D's step: real and generated points exchanged, a D that is not told t, a penalty without its second derivative or of the slope behind the
/// noise, generated points with their graph. In G's: a gradient that stops at the noise, a D that is told another t.
#[test]
fn games_that_are_played_wrongly() {
    type Answer = sadm_gpu::Result<Judgement>;
    let right = |game: &Game, d: &dyn Discriminator, seen: [Seen<'_>; 2], weights: &[f64]| {
        game.discriminator(d, seen, 0, weights, || unreachable!("R1 asks for no noise"))
    };
    let wrong: [Judging<'_>; 5] = [
        &|game, d, [real, fake], weights| right(game, d, [fake, real], weights),
        &|game, d, [real, fake], weights| {
            let unknown = vec![0; real.t.len()];
            let seen = [real, fake].map(|seen| Seen {
                t: &unknown,
                ..seen
            });
            right(game, d, seen, weights)
        },
        &|game, d, seen, weights| -> Answer {
            let judged = right(game, d, seen, weights)?;
            Ok(Judgement {
                total: judged.loss.clone(),
                ..judged
            })
        },
        &|game, d, seen, weights| right(game, d, seen, &vec![1.0; weights.len()]),
        &|game, d, [real, fake], weights| -> Answer {
            let judged = right(game, d, [real, fake], weights)?;
            let kept = game
                .loss
                .discriminator(&d.logits(real.y, real.t)?, &d.logits(fake.y, fake.t)?)?;
            Ok(Judgement {
                total: (&judged.total - &judged.loss)?.add(&kept)?,
                ..judged
            })
        },
    ];
    for judging in wrong {
        caught(
            "step.gan.discriminator.logistic",
            DType::F32,
            |_, case, place| gan_step::gpu_judge(GanLoss::Logistic, case, place, judging),
        );
    }
    let wrong: [Noising<'_>; 2] = [
        &|diffusion, x| diffusion.diffuse(&x.detach()),
        &|diffusion, x| {
            let (y, t) = diffusion.diffuse(x)?;
            Ok((y, t.into_iter().map(|t| t + 1).collect()))
        },
    ];
    for noising in wrong {
        caught(
            "step.gan.generator.logistic",
            DType::F32,
            |_, case, place| gan_step::gpu_generate(GanLoss::Logistic, case, place, noising),
        );
    }
}

/// The divergence of z − x̂ taken for that of x̂: the sign of the trace.
#[test]
fn a_density_that_changes_the_wrong_way() {
    for (dtype, name) in [(DType::F32, "change"), (DType::F64, "change_estimated")] {
        caught_after("likelihood.flow", dtype, |values| times(values, name, -1.0));
    }
}

/// Probes whose mean is not the trace: the sum of a row instead of the product on both sides.
#[test]
fn a_trace_estimated_on_one_side_only() {
    caught("likelihood.flow", DType::F64, |check, case, place| {
        let ones = case.get("signs")?.mapv(|_| 1.0);
        check.candle(&case.clone().tensor("signs", ones), place)
    });
}

/// φ descends what it should ascend, and one branch of S is cut.
#[test]
fn an_ascent_that_goes_down() {
    caught_after("step.phi", DType::F32, |v| {
        for (name, gradient) in v.iter_mut() {
            if name.starts_with("gradient of ") {
                gradient.mapv_inplace(|g| -g);
            }
        }
    });
    // x̂ for x_0: Ψ(x_0) has no part in the gradient.
    caught("step.phi", DType::F64, |check, case, place| {
        let psi_hat = check.candle(case, place)?["x_hat"].clone();
        let wrong = check.candle(&case.clone().tensor("x0", psi_hat), place)?;
        let mut values = check.candle(case, place)?;
        for (name, value) in wrong {
            if name.starts_with("gradient of ") {
                values.insert(name, value);
            }
        }
        Ok(values)
    });
}

/// The players of a round in the other order, each on its own batches.
#[test]
fn a_round_in_the_other_order() {
    let batch = |i: usize, name: &str| match i {
        0 => name.to_owned(),
        i => format!("{name}, update {i}"),
    };
    for (name, other, batches) in [
        ("step.round.theta-first", "step.round.phi-first", [1, 2, 0]),
        ("step.round.phi-first", "step.round.theta-first", [2, 0, 1]),
    ] {
        caught(name, DType::F64, |check, case, place| {
            let mut turned = case.clone();
            for (to, from) in batches.into_iter().enumerate() {
                for part in ["x0", "eps"] {
                    let tensor = case.get(&batch(from, part))?.clone();
                    turned = turned.tensor(&batch(to, part), tensor);
                }
                let t = case.get_number(&batch(from, "t"))?;
                turned = turned.number(&batch(to, "t"), t);
            }
            let wrong = select(registry(), other)?
                .remove(0)
                .candle(&turned, place)?;
            let mut values = check.candle(case, place)?;
            // What stays after the round. In f32 so small a difference may be rounding.
            let kept = ["theta of ", "phi of ", "m of ", "v of "];
            for (name, value) in wrong {
                if kept.iter().any(|part| name.starts_with(part)) {
                    values.insert(name, value);
                }
            }
            Ok(values)
        });
    }
}

/// A round that forgets the last of its φ-ascents.
#[test]
fn one_ascent_too_few() {
    caught(
        "step.round.theta-first",
        DType::F32,
        |check, case, place| {
            let mut values = check.candle(case, place)?;
            let names: Vec<String> = values.keys().cloned().collect();
            for name in names {
                if let Some(parameter) = name.strip_prefix("phi of ") {
                    values.insert(name.clone(), case.get(&format!("phi {parameter}"))?.clone());
                }
            }
            Ok(values)
        },
    );
}

#[test]
fn updates_that_are_wrong_in_one_place() {
    // The sum over the batch for its mean.
    caught_after("step.encoder", DType::F32, |v| {
        times(v, "gradient of classifier.weight", 3.0);
    });
    caught_after("step.guided.dit-small", DType::F32, |v| {
        times(v, "gradient of block.1.attn.qkv.weight", 0.0);
    });
    caught("step.guided.edm", DType::F32, |check, case, place| {
        let eps = case.get("eps")?.mapv(|e| -e);
        check.candle(&case.clone().tensor("eps", eps), place)
    });
}

/// The coupling check with another assignment in place of the training system's.
fn a_wrong_coupling(assign: impl Fn(&Case, Vec<usize>, &Array2<f64>) -> Vec<usize> + Send + Sync) {
    for (name, cost) in [
        ("coupling.euclidean", Cost::Euclidean),
        ("coupling.squared-euclidean", Cost::SquaredEuclidean),
    ] {
        caught(name, DType::F32, |_, case, _| {
            let (images, noise) = (case.get2("images")?, case.get2("noise")?);
            let costs = costs(images.view(), noise.view(), cost).expect("finite costs");
            let classes = coupling::labels(case)?;
            let right = transport(&costs, classes.as_deref()).expect("it has a solution");
            let wrong = assign(case, right.permutation, &costs);
            Ok(coupling::judge(case, Precision::F64)?.values(&wrong))
        });
    }
}

/// Takes the free noise that `cost` likes best, image by image.
fn one_after_the_other(count: usize, cost: impl Fn(usize, usize) -> f64) -> Vec<usize> {
    let mut free: Vec<usize> = (0..count).collect();
    let nearest = |free: &mut Vec<usize>, image| {
        let place =
            (0..free.len()).min_by(|a, b| cost(image, free[*a]).total_cmp(&cost(image, free[*b])));
        free.swap_remove(place.expect("a free noise"))
    };
    (0..count).map(|image| nearest(&mut free, image)).collect()
}

#[test]
fn a_greedy_matching() {
    a_wrong_coupling(|case, right, costs| {
        let within = coupling::labels(case).expect("labels");
        match within {
            Some(_) => right,
            None => one_after_the_other(costs.nrows(), |i, j| costs[[i, j]]),
        }
    });
}

#[test]
fn a_class_mask_with_its_sign_turned() {
    a_wrong_coupling(|case, right, costs| match coupling::labels(case) {
        Ok(Some(class)) => {
            let masked = |i: usize, j: usize| {
                let mask = if class[i] == class[j] { 1e6 } else { 0.0 };
                costs[[i, j]] + mask
            };
            one_after_the_other(costs.nrows(), masked)
        }
        _ => right,
    });
}

#[test]
fn a_draw_of_noise_with_replacement() {
    a_wrong_coupling(|_, right, _| {
        let drawn = |at: usize| right[at * at % right.len()];
        (0..right.len()).map(drawn).collect()
    });
}

#[test]
fn noise_used_twice() {
    a_wrong_coupling(|_, mut right, _| {
        if let [.., before, last] = right.as_mut_slice() {
            *last = *before;
        }
        right
    });
}

/// The augmentation check on a batch whose draws were changed first.
fn another_augmentation(change: impl Fn(&mut [f64], &mut [f64], usize) + Send + Sync) {
    caught("augmentation.edm", DType::F64, |check, case, place| {
        let numbers = |name| case.get_numbers(name).map(<[f64]>::to_vec);
        let (mut uniform, mut normal) = (numbers("uniform")?, numbers("normal")?);
        let images = case.get("images")?.shape()[0];
        change(&mut uniform, &mut normal, images);
        let wrong = case
            .clone()
            .numbers("uniform", uniform)
            .numbers("normal", normal);
        let mut values = check.candle(case, place)?;
        let images = check.candle(&wrong, place)?.remove("images");
        values.insert("images".to_owned(), images.expect("images"));
        Ok(values)
    });
}

/// The labels are right in all of these.
#[test]
fn images_that_are_augmented_otherwise() {
    // The transformation in place of its inverse: an angle, a scale and a shift of the other sign.
    another_augmentation(|uniform, _, n| {
        for u in &mut uniform[5 * n..6 * n] {
            *u = (1.0 - *u).min(0.999);
        }
    });
    another_augmentation(|_, normal, n| normal[..n].iter_mut().for_each(|z| *z = -*z));
    another_augmentation(|_, normal, n| normal[2 * n..].iter_mut().for_each(|z| *z = -*z));
    // x and y exchanged.
    another_augmentation(|_, normal, n| {
        let (x, y) = normal[2 * n..].split_at_mut(n);
        x.swap_with_slice(y);
    });
    // The stretch along another axis.
    another_augmentation(|uniform, _, n| uniform[9 * n..10 * n].fill(0.9));
    // Each image by the draws of the next one.
    another_augmentation(|_, normal, n| {
        for each in normal.chunks_mut(n) {
            each.rotate_left(1);
        }
    });
}

#[test]
fn images_that_come_out_turned() {
    caught_after("augmentation.kinds", DType::F64, |v| {
        let images = v.get_mut("images").expect("images");
        images.swap_axes(2, 3);
    });
}

#[test]
fn wrong_augmentation_labels() {
    let caught_in_labels = |spoil: fn(&mut ArrayD<f64>)| {
        caught_after("augmentation.edm", DType::F64, |v| {
            spoil(v.get_mut("labels").expect("labels"));
        });
    };
    // Two of them exchanged.
    caught_in_labels(|labels| {
        let first = labels.index_axis(Axis(1), 7).to_owned();
        let second = labels.index_axis(Axis(1), 8).to_owned();
        labels.index_axis_mut(Axis(1), 7).assign(&second);
        labels.index_axis_mut(Axis(1), 8).assign(&first);
    });
    // A flip that the network is not told of.
    caught_in_labels(|labels| labels.index_axis_mut(Axis(1), 0).fill(0.0));
    // A cosine that is not 0 for no angle.
    caught_in_labels(|labels| labels.index_axis_mut(Axis(1), 3).mapv_inplace(|x| x + 1.0));
}
