//! A player's losses on a batch, and the gradient of what it descends, put together by hand from the reference's parts.

use ndarray::{Array2, ArrayD, Axis, Ix2, IxDyn};
use sadm_reference::{
    bound::{self, Precision, Tracked},
    denoise, forward,
    network::{
        Condition, Denoiser, Encoder, Head, Parameters,
        graph::{Gradients, Graph, Value},
    },
    nn,
    parametrisation::{Coefficients, Preconditioner},
    polarised::{Form, polarised_loss},
    structure::{self, Eta, structural_loss},
};

use super::{
    Values,
    arithmetic::Arithmetic,
    draws::{Augmented, Batch, Clean},
    settings::Settings,
};
use crate::{
    check::scalar,
    error::{Error, Result},
};

/// The networks of a run and how they are computed.
pub(super) struct Networks {
    pub(super) denoiser: Box<dyn Denoiser>,
    pub(super) encoder: Encoder,
}

/// A player's update before it is made: what it descends, in numbers, and its gradient.
pub(super) struct Gradient {
    /// Every number on the way, by name.
    pub(super) values: Values,
    /// The gradient in the parameters that have one.
    pub(super) of: Parameters,
}

/// What a pass is made with.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub(super) settings: &'a Settings,
    pub(super) networks: &'a Networks,
    pub(super) a: &'a Arithmetic,
}

/// The denoiser's answer, on its tape.
struct Answer<'a> {
    graph: Graph<'a>,
    output: Value,
    coefficients: Vec<Coefficients>,
    x_hat: ArrayD<f64>,
}

/// Ψ's answer, on its tape.
struct Features<'a> {
    graph: Graph<'a>,
    x: Value,
    output: Value,
}

impl Features<'_> {
    fn value(&self) -> Result<Array2<f64>> {
        let value = self.graph.value(self.output).clone();
        value.into_dimensionality::<Ix2>().map_err(Error::reference)
    }

    fn backward(&self, grad: &ArrayD<f64>) -> Result<Gradients> {
        (self.graph.backward(self.output, grad)).map_err(Error::reference)
    }
}

/// The structural loss of two batches of features.
struct Structural {
    loss: f64,
    /// ∂S in Ψ and in Ψ̂.
    grads: [ArrayD<f64>; 2],
}

fn named(graph: &Graph<'_>, grads: &Gradients) -> Parameters {
    let each = graph.parameters().iter();
    each.map(|(name, &value)| (name.clone(), grads.of(graph, value)))
        .collect()
}

/// c_i x_i for sample i.
fn scaled(x: &ArrayD<f64>, c: &[Coefficients], of: fn(&Coefficients) -> f64) -> ArrayD<f64> {
    let mut y = x.clone();
    for (mut sample, c) in y.axis_iter_mut(Axis(0)).zip(c) {
        sample *= of(c);
    }
    y
}

fn vector(x: impl IntoIterator<Item = f64>) -> ArrayD<f64> {
    let x: Vec<f64> = x.into_iter().collect();
    ArrayD::from_shape_vec(IxDyn(&[x.len()]), x).unwrap_or_else(|_| ArrayD::zeros(IxDyn(&[0])))
}

impl<'a> Pass<'a> {
    fn answer(
        self,
        theta: &'a Parameters,
        batch: &Batch,
        values: &mut Values,
    ) -> Result<Answer<'a>> {
        let (o, a) = (&self.settings.objective, self.a);
        let schedule = o.schedule.schedule();
        let mut levels: Vec<[f64; 2]> = (batch.t.iter())
            .map(|&t| [schedule.alpha(t), schedule.sigma(t)])
            .collect();
        if let Some(precision) = a.precision() {
            let bound = bound::schedule::levels(o.schedule, &batch.t, precision);
            let bound = bound.map_err(Error::reference)?;
            let errors = bound.alpha.error.iter().zip(&bound.sigma.error);
            for ([alpha, sigma], (of_alpha, of_sigma)) in levels.iter_mut().zip(errors) {
                *alpha = a.within(*alpha, *of_alpha);
                *sigma = a.within(*sigma, *of_sigma);
            }
        }
        let mut x_t = batch.x0.clone();
        for (i, [alpha, sigma]) in levels.iter().enumerate() {
            let of = |x: &ArrayD<f64>| x.index_axis(Axis(0), i).to_owned();
            let noised = forward::diffuse(&of(&batch.x0), &of(&batch.eps), *alpha, *sigma);
            x_t.index_axis_mut(Axis(0), i)
                .assign(&noised.map_err(Error::reference)?);
        }
        let x_t = a.array(x_t);
        let preconditioner = Preconditioner {
            parametrisation: o.parametrisation,
            noise: o.noise_condition,
            sigma_data: o.sigma_data,
        };
        let coefficients = levels.iter().map(|[alpha, sigma]| {
            let c = preconditioner.coefficients(*alpha, *sigma);
            let c = c.map_err(Error::reference)?;
            Ok(Coefficients {
                skip: a.one(c.skip),
                out: a.one(c.out),
                input: a.one(c.input),
                noise: a.one(c.noise),
            })
        });
        let coefficients = coefficients.collect::<Result<Vec<_>>>()?;
        let noise: Vec<f64> = coefficients.iter().map(|c| c.noise).collect();
        let mut graph = a.graph(theta);
        let input = graph.input(a.array(scaled(&x_t, &coefficients, |c| c.input)));
        let condition = Condition {
            augment: batch.augmented.as_ref().map(|augmented| &augmented.labels),
            ..Condition::new(&noise, Some(&batch.labels))
        };
        let output = (self.networks.denoiser).build(&mut graph, input, condition);
        let output = output.map_err(Error::reference)?;
        let skipped = scaled(&x_t, &coefficients, |c| c.skip);
        let x_hat = skipped + scaled(graph.value(output), &coefficients, |c| c.out);
        let x_hat = a.array(x_hat);
        values.extend(images_of(batch.augmented.as_ref()));
        let of = |part: fn(&Coefficients) -> f64| vector(coefficients.iter().map(part));
        let named = [
            ("t", vector(batch.t.iter().copied())),
            ("skip", of(|c| c.skip)),
            ("out", of(|c| c.out)),
            ("input", of(|c| c.input)),
            ("noise", of(|c| c.noise)),
            ("x_t", x_t),
            ("network", graph.value(output).clone()),
            ("x_hat", x_hat.clone()),
        ];
        values.extend(named.map(|(name, value)| (name.to_owned(), value)));
        Ok(Answer {
            graph,
            output,
            coefficients,
            x_hat,
        })
    }

    fn features(
        self,
        phi: &'a Parameters,
        images: &ArrayD<f64>,
        head: Head,
    ) -> Result<Features<'a>> {
        let mut graph = self.a.graph(phi);
        let x = graph.input(images.clone());
        let output = self.networks.encoder.build(&mut graph, x, head);
        let output = output.map_err(Error::reference)?;
        Ok(Features { graph, x, output })
    }

    /// η of each sample.
    fn eta(self, eta: Eta, batch: &Batch) -> Result<Vec<f64>> {
        let schedule = self.settings.objective.schedule.schedule();
        let t_min = self.settings.structure.eta_t_min;
        let of = |&t: &f64| structure::eta(eta, t, t_min, schedule.as_ref());
        let values = batch
            .t
            .iter()
            .map(of)
            .collect::<std::result::Result<_, _>>();
        self.moved_by(values.map_err(Error::reference)?, |precision| {
            let of = self.settings.objective.schedule;
            bound::structure::eta(eta, of, &batch.t, t_min, precision).map_err(Error::reference)
        })
    }

    /// Numbers, each moved within its own bound.
    fn moved_by(
        self,
        mut values: Vec<f64>,
        bound: impl FnOnce(Precision) -> Result<Tracked>,
    ) -> Result<Vec<f64>> {
        if let Some(precision) = self.a.precision() {
            for (value, error) in values.iter_mut().zip(&bound(precision)?.error) {
                *value = self.a.within(*value, *error);
            }
        }
        Ok(values)
    }

    /// S, in polarised form where it has one: the difference of two nearly equal tables would cost digits that no rounding explains.
    fn structural(
        self,
        real: &Array2<f64>,
        generated: &Array2<f64>,
        eta: &[f64],
    ) -> Result<Structural> {
        let options = self.settings.structure.options();
        let form = Form::choose(real.nrows(), real.ncols());
        let (loss, grads) = match polarised_loss(real, generated, eta, &options, form) {
            Ok(s) => (s.loss, [s.grad_real, s.grad_generated]),
            Err(structure::StructureError::NotPolarised { .. }) => {
                let s = structural_loss(real, generated, eta, &options);
                let s = s.map_err(Error::reference)?;
                (s.loss, [s.grad_real, s.grad_generated])
            }
            Err(error) => return Err(Error::reference(error)),
        };
        let mut found = Structural {
            loss: self.a.one(loss),
            grads: grads.map(ndarray::Array::into_dyn),
        };
        // One operation here, hundreds of roundings there: each number moves within the bound that S has of its own.
        if let Some(precision) = self.a.precision() {
            let bound =
                bound::structure::structural_loss(real, generated, eta, &options, precision);
            let bound = bound.map_err(Error::reference)?;
            let error = bound.loss.error.iter().next().copied().unwrap_or(f64::NAN);
            found.loss = self.a.within(found.loss, error);
            let errors = [bound.grad_real.error, bound.grad_generated.error];
            for (grad, error) in found.grads.iter_mut().zip(errors) {
                grad.zip_mut_with(&error, |g, e| *g = self.a.within(*g, *e));
            }
        }
        Ok(found)
    }

    /// Of L + λS, or of L alone where η is none, in θ.
    pub(super) fn of_theta(
        self,
        theta: &'a Parameters,
        phi: &'a Parameters,
        batch: &Batch,
        eta: Option<Eta>,
    ) -> Result<Gradient> {
        let (o, a) = (&self.settings.objective, self.a);
        let mut values = Values::new();
        let answer = self.answer(theta, batch, &mut values)?;
        let schedule = o.schedule.schedule();
        let of = |&t: &f64| denoise::weight(o.weight, schedule.as_ref(), t, o.sigma_data);
        let w = batch
            .t
            .iter()
            .map(of)
            .collect::<std::result::Result<_, _>>();
        let w = self.moved_by(w.map_err(Error::reference)?, |precision| {
            bound::denoise::weight(o.weight, o.schedule, &batch.t, o.sigma_data, precision)
                .map_err(Error::reference)
        })?;
        let l = denoise::denoising_loss(&answer.x_hat, &batch.x0, &w).map_err(Error::reference)?;
        let mut into = a.array(l.grad_prediction);
        values.extend([
            ("w".to_owned(), vector(w)),
            ("loss".to_owned(), scalar(a.one(l.loss))),
            ("grad x_hat".to_owned(), into.clone()),
        ]);
        if let Some(eta) = eta {
            let factor = self.settings.structure.weight;
            let features = self.compared(phi, batch, &answer.x_hat, eta, factor, &mut values)?;
            let [_, generated] = &features.both;
            let grads = generated.backward(&features.grads[1])?;
            into = a.array(into + grads.of(&generated.graph, generated.x));
        }
        let into_output = a.array(scaled(&into, &answer.coefficients, |c| c.out));
        let grads = answer.graph.backward(answer.output, &into_output);
        let grads = grads.map_err(Error::reference)?;
        Ok(Gradient {
            values,
            of: named(&answer.graph, &grads),
        })
    }

    /// Of −S in φ: through Ψ(x_0) and through Ψ(x̂), x̂ being a constant.
    pub(super) fn of_phi(
        self,
        theta: &'a Parameters,
        phi: &'a Parameters,
        batch: &Batch,
        eta: Eta,
    ) -> Result<Gradient> {
        let mut values = Values::new();
        let x_hat = self.answer(theta, batch, &mut values)?.x_hat;
        let features = self.compared(phi, batch, &x_hat, eta, -1.0, &mut values)?;
        let mut sum = Parameters::new();
        for (features, grad) in features.both.iter().zip(&features.grads) {
            let grads = features.backward(grad)?;
            for (name, grad) in named(&features.graph, &grads) {
                let before = sum.remove(&name);
                let grad = before.map_or(grad.clone(), |before| self.a.array(before + grad));
                sum.insert(name, grad);
            }
        }
        Ok(Gradient { values, of: sum })
    }

    /// Ψ of both, S of these, and its gradients times `factor`.
    fn compared(
        self,
        phi: &'a Parameters,
        batch: &Batch,
        x_hat: &ArrayD<f64>,
        eta: Eta,
        factor: f64,
        values: &mut Values,
    ) -> Result<Compared<'a>> {
        let both = [&batch.x0, x_hat].map(|x| self.features(phi, x, Head::Features));
        let [real, generated] = both;
        let both = [real?, generated?];
        let [psi, psi_hat] = [both[0].value()?, both[1].value()?];
        let eta = self.eta(eta, batch)?;
        let s = self.structural(&psi, &psi_hat, &eta)?;
        let grads = s.grads.map(|grad| self.a.array(grad * factor));
        let named = [
            ("psi", psi.into_dyn()),
            ("psi_hat", psi_hat.into_dyn()),
            ("eta", vector(eta)),
            ("structure", scalar(s.loss)),
            ("grad psi", grads[0].clone()),
            ("grad psi_hat", grads[1].clone()),
        ];
        values.extend(named.map(|(name, value)| (name.to_owned(), value)));
        Ok(Compared { both, grads })
    }

    /// S of a batch, with the parameters as they are.
    pub(super) fn structure_now(
        self,
        theta: &'a Parameters,
        phi: &'a Parameters,
        batch: &Batch,
        eta: Eta,
    ) -> Result<f64> {
        let mut values = Values::new();
        let x_hat = self.answer(theta, batch, &mut values)?.x_hat;
        let [psi, psi_hat] = [&batch.x0, &x_hat].map(|x| self.features(phi, x, Head::Features));
        let (psi, psi_hat) = (psi?.value()?, psi_hat?.value()?);
        Ok(self
            .structural(&psi, &psi_hat, &self.eta(eta, batch)?)?
            .loss)
    }

    /// Of the cross-entropy of clean images in φ.
    pub(super) fn of_classifier(self, phi: &'a Parameters, clean: &Clean) -> Result<Gradient> {
        let answer = self.features(phi, &clean.x0, Head::Logits)?;
        let logits = answer.graph.value(answer.output).clone();
        let c = nn::cross_entropy(&logits, &clean.labels).map_err(Error::reference)?;
        let into = self.a.array(c.grad_logits);
        let grads = answer.backward(&into)?;
        let named_values = [
            ("loss", scalar(self.a.one(c.loss))),
            ("logits", logits),
            ("grad logits", into),
        ];
        let mut values: Values = named_values
            .map(|(name, value)| (name.to_owned(), value))
            .into();
        values.extend(images_of(clean.augmented.as_ref()));
        Ok(Gradient {
            values,
            of: named(&answer.graph, &grads),
        })
    }

    /// The share of images whose class has the largest logit.
    pub(super) fn accuracy(
        self,
        phi: &'a Parameters,
        images: &ArrayD<f64>,
        labels: &[u32],
    ) -> Result<Accuracy> {
        let logits = self.features(phi, images, Head::Logits)?.value()?;
        let (mut right, mut hangs) = (0, false);
        for (row, &label) in logits.rows().into_iter().zip(labels) {
            let own = row[label as usize];
            let others = row.iter().enumerate().filter(|(i, _)| *i != label as usize);
            let most = others.fold(f64::NEG_INFINITY, |m, (_, x)| m.max(*x));
            right += u32::from(own > most);
            hangs |= (own - most).abs() <= CLOSE;
        }
        Ok(Accuracy {
            share: f64::from(right) / labels.len() as f64,
            hangs,
        })
    }
}

/// Augmented images and their labels among the numbers of a pass: others are drawn, and equal to the bit.
fn images_of(augmented: Option<&Augmented>) -> impl Iterator<Item = (String, ArrayD<f64>)> {
    let parts = augmented.map(|a| [("x0", a.x0.clone()), ("augmentation", a.labels.clone())]);
    let parts = parts.into_iter().flatten();
    parts.map(|(name, value)| (name.to_owned(), value))
}

/// The share of images that Ψ tells right, and whether it hangs on the rounding of a logit.
pub(super) struct Accuracy {
    pub(super) share: f64,
    pub(super) hangs: bool,
}

/// Two logits that lie so near each other may be in either order.
const CLOSE: f64 = 1e-9;

/// Features of x_0 and of x̂, with the gradients of what is descended in both.
struct Compared<'a> {
    both: [Features<'a>; 2],
    grads: [ArrayD<f64>; 2],
}
