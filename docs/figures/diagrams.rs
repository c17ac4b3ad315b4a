//! What depends on what: a training step with its gradients, and the graph of Eq. 11.

use anyhow::Result;
use ndarray::array;
use sadm_reference::distance::Distance;
use sadm_reference::relation::{Relation, affinity};
use sadm_reference::structure::{Diagonal, StructureOptions, structural_loss};
use sadm_theory::laws::FiniteLaw;

use super::Figure;
use super::chart::number;
use super::diagram::{Arrow, Diagram, Node};
use super::svg::Colour;

fn node(at: (i32, i32), half: i32, text: impl Into<String>) -> Node {
    Node {
        at,
        half,
        text: text.into(),
    }
}

/// Forward: thin, in the text's colour.
fn forward(from: (i32, i32), to: (i32, i32)) -> Arrow {
    Arrow {
        ends: [from, to],
        colour: None,
        dashed: false,
        text: String::new(),
        beside: (0, 0),
    }
}

/// A gradient with its number.
fn gradient(from: (i32, i32), to: (i32, i32), value: f64, beside: (i32, i32)) -> Arrow {
    Arrow {
        ends: [from, to],
        colour: Some(Colour::Orange),
        dashed: false,
        text: number(value),
        beside,
    }
}

/// The numbers of the small game's step at x = 2, θ = φ = 1.
struct Step {
    x: f64,
    theta: f64,
    phi: f64,
    psi: f64,
    psi_hat: f64,
    loss: f64,
    structure: f64,
    to_real: f64,
    to_generated: f64,
}

impl Step {
    fn new() -> Result<Self> {
        let (x, theta, phi) = (2.0, 1.0, 1.0);
        let inner = StructureOptions {
            relation: Relation::INNER_PRODUCT,
            distance: Distance::SQUARED,
            diagonal: Diagonal::Include,
        };
        let (psi, psi_hat) = (phi * x, phi * theta);
        let s = structural_loss(&array![[psi]], &array![[psi_hat]], &[1.0], &inner)?;
        Ok(Self {
            x,
            theta,
            phi,
            psi,
            psi_hat,
            loss: (theta - x) * (theta - x),
            structure: s.loss,
            to_real: s.grad_real[[0, 0]],
            to_generated: s.grad_generated[[0, 0]],
        })
    }

    fn nodes(&self) -> Vec<Node> {
        vec![
            node((55, 60), 42, format!("x = {}", number(self.x))),
            node((55, 200), 42, format!("x̂ = θ = {}", number(self.theta))),
            node((190, 60), 48, format!("Ψ = φx = {}", number(self.psi))),
            node((190, 200), 48, format!("Ψ̂ = φx̂ = {}", number(self.psi_hat))),
            node((190, 130), 30, format!("φ = {}", number(self.phi))),
            node((335, 130), 40, format!("S = {}", number(self.structure))),
            node((335, 260), 40, format!("L = {}", number(self.loss))),
        ]
    }
}

/// Forward arrows of both players' steps.
fn computed() -> Vec<Arrow> {
    vec![
        forward((97, 54), (142, 54)),
        forward((97, 194), (142, 194)),
        forward((184, 115), (184, 75)),
        forward((184, 145), (184, 185)),
        forward((238, 54), (318, 115)),
        forward((238, 194), (312, 145)),
        forward((80, 215), (295, 256)),
    ]
}

/// One step of θ and one of φ, with the gradients that the reference computes.
pub fn training_step() -> Result<Figure> {
    let step = Step::new()?;
    let mut down = computed();
    down.extend([
        gradient((324, 145), (238, 208), step.to_generated, (20, 12)),
        gradient((142, 206), (97, 206), step.to_generated * step.phi, (0, 22)),
        gradient(
            (295, 266),
            (66, 222),
            2.0 * (step.theta - step.x),
            (-20, 14),
        ),
    ]);
    let theta = Diagram {
        nodes: step.nodes(),
        arrows: down,
        stops: vec![(268, 77), (184, 165)],
    };
    let mut up = computed();
    let (by_real, by_generated) = (step.to_real * step.x, step.to_generated * step.theta);
    up.extend([
        gradient((330, 115), (246, 48), step.to_real, (16, -12)),
        gradient((324, 145), (238, 208), step.to_generated, (20, 12)),
        gradient((198, 75), (198, 115), by_real, (18, 0)),
        gradient((198, 185), (198, 145), by_generated, (20, 0)),
    ]);
    let phi = Diagram {
        nodes: step.nodes(),
        arrows: up,
        stops: vec![(119, 194), (180, 236)],
    };
    let caption = format!(
        "The smallest game: one sample x, an encoder φx, a denoiser whose answer is θ. Thin arrows compute, orange ones carry gradients back, \
         purple bars stop them. θ receives {} from L and {} from S, through a frozen φ and the predicted branch only. φ receives {} from the real and \
         {} from the predicted branch, together {}; x̂ is detached, and L does not concern φ.",
        number(2.0 * (step.theta - step.x)),
        number(step.to_generated * step.phi),
        number(by_real),
        number(by_generated),
        number(by_real + by_generated)
    );
    Figure::new("training-step", caption)
        .diagram("θ descends L + S", &theta, "gradients flow from S through the predicted features and from L to θ; the real branch and φ are barred")?
        .diagram("φ ascends S", &phi, "gradients flow from S through both features to φ; the prediction is barred")
}

/// Eq. 11: the noised pair and the relation hang together through the clean pair alone.
pub fn joint_graph() -> Result<Figure> {
    let law = FiniteLaw::new(
        array![[1.0, 0.0], [0.0, 2.0], [-1.0, 0.5]],
        vec![0.5, 0.25, 0.25],
    )?;
    let relation = affinity(Relation::INNER_PRODUCT, law.atoms())?;
    // Very much noise: the pair before anything is seen.
    let moments = |sigma: f64| -> Result<(f64, f64)> {
        let pair = law.pair(&[0.9, 0.2], &[-0.3, 1.1], 0.8, sigma)?;
        let r = |k: usize, l: usize| relation[[k, l]].into();
        Ok((pair.expectation(r).value, pair.variance(r).value.sqrt()))
    };
    let ((mean, spread), (mean_seen, spread_seen)) = (moments(1e9)?, moments(0.6)?);
    let graph = Diagram {
        nodes: vec![
            node((200, 60), 70, "y₀ = (xⁱ, xʲ)"),
            node((85, 220), 62, "yₜ = αy₀ + σε"),
            node((315, 220), 68, "R = R(y₀) + γε′"),
        ],
        arrows: vec![
            Arrow {
                text: "noise, A2".to_owned(),
                beside: (-42, -6),
                ..forward((175, 75), (95, 205))
            },
            Arrow {
                text: "observation, A4".to_owned(),
                beside: (62, -6),
                ..forward((225, 75), (305, 205))
            },
            Arrow {
                ends: [(147, 220), (247, 220)],
                colour: Some(Colour::Grey),
                dashed: true,
                text: "none: A3".to_owned(),
                beside: (0, -12),
            },
        ],
        stops: vec![(197, 220)],
    };
    let caption = format!(
        "Eq. 11 as a graph. There is no arrow between yₜ and R (assumption A3): all that the noised pair says about the relation, it says through the clean pair. \
         On this chapter's instance the relation is {} ± {} before anything is seen, and {} ± {} once the noised pair is.",
        number(mean),
        number(spread),
        number(mean_seen),
        number(spread_seen)
    );
    Figure::new("joint-graph", caption).diagram(
        "",
        &graph,
        "the clean pair points to the noised pair and to the relation; between these two there is a barred, broken arrow",
    )
}
