//! The book's figures: drawn from what the reference and the theory compute, when the book is built.
//!
//! `cargo run -p sadm-docs --example figures` writes each as a piece of HTML that a chapter includes. A figure is
//! inline SVG in the text's colour with its key in words, so that it suits light and dark pages and narrow ones.

mod affinity;
mod bounds;
mod chart;
mod diagram;
mod diagrams;
mod errata;
mod forward;
mod game;
mod joint;
mod likelihood;
mod neighbours;
mod orders;
mod precision;
mod structure;
mod svg;
mod symmetry;
mod table;
mod transport;

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use chart::Panel;
use diagram::Diagram;
use svg::escaped;
use table::Table;

/// Where the book looks for a figure: `docs/generated/figures/NAME.html`.
pub const FOLDER: &str = "docs/generated/figures";

/// A figure of the book.
pub struct Figure {
    /// Name of its file, without the ending.
    pub name: &'static str,
    /// What it shows; numbers in it are computed.
    pub caption: String,
    /// Its pictures, side by side where there is room.
    panels: Vec<Picture>,
}

/// One picture with its title and key.
struct Picture {
    title: String,
    svg: String,
    key: String,
    /// Whether it may be as small as a third of the page.
    small: bool,
}

impl Figure {
    fn new(name: &'static str, caption: impl Into<String>) -> Self {
        Self {
            name,
            caption: caption.into(),
            panels: Vec::new(),
        }
    }

    /// With curves on axes; `alt` describes what is seen.
    fn panel(mut self, panel: &Panel, alt: &str) -> Result<Self> {
        let mut key = String::new();
        for series in panel.series.iter().filter(|s| !s.label.is_empty()) {
            let swatch = series.stroke.css(series.colour);
            let label = escaped(&series.label);
            write!(key, "<li><span style=\"{swatch}\"></span> {label}</li>")?;
        }
        self.panels.push(Picture {
            title: panel.title.clone(),
            svg: panel.svg(alt).with_context(|| self.name)?,
            key,
            small: false,
        });
        Ok(self)
    }

    /// With a table of colours.
    fn table(mut self, title: &str, table: &Table, alt: &str) -> Result<Self> {
        self.panels.push(Picture {
            title: title.to_owned(),
            svg: table.svg(alt).with_context(|| self.name)?,
            key: String::new(),
            small: true,
        });
        Ok(self)
    }

    /// With boxes and arrows.
    fn diagram(mut self, title: &str, diagram: &Diagram, alt: &str) -> Result<Self> {
        self.panels.push(Picture {
            title: title.to_owned(),
            svg: diagram.svg(alt).with_context(|| self.name)?,
            key: String::new(),
            small: false,
        });
        Ok(self)
    }

    /// As a chapter includes it: HTML without an empty line, which would end the block.
    pub fn html(&self) -> String {
        let mut html = format!(
            "<figure class=\"computed\" id=\"fig-{}\">\n<div>\n",
            self.name
        );
        for Picture {
            title,
            svg,
            key,
            small,
        } in &self.panels
        {
            html += if *small {
                "<section class=\"small\">\n"
            } else {
                "<section>\n"
            };
            if !title.is_empty() {
                html += &["<p class=\"title\">", &escaped(title), "</p>\n"].concat();
            }
            html += svg;
            html += "\n";
            if !key.is_empty() {
                html += &["<ul>", key, "</ul>\n"].concat();
            }
            html += "</section>\n";
        }
        html + &format!(
            "</div>\n<figcaption>{}</figcaption>\n</figure>\n",
            escaped(&self.caption)
        )
    }
}

/// Every figure.
///
/// # Errors
/// If a quantity cannot be computed or a picture not drawn.
pub fn all() -> Result<Vec<Figure>> {
    Ok(vec![
        affinity::two_models()?,
        forward::schedules()?,
        forward::two_atoms()?,
        structure::tangent()?,
        structure::small_noise()?,
        diagrams::training_step()?,
        diagrams::joint_graph()?,
        orders::trajectories()?,
        neighbours::controller()?,
        precision::three_forms()?,
        joint::chain_of_eq_14()?,
        joint::relation_score()?,
        bounds::quotient_of_eq_14()?,
        bounds::weak_for_sharp()?,
        likelihood::split()?,
        errata::inverse_time()?,
        errata::unit_weight()?,
        errata::known_noise()?,
        game::homogeneity()?,
        game::update_order()?,
        neighbours::divergence()?,
        orders::samplers()?,
        symmetry::tied_pixels()?,
        transport::straightness()?,
        transport::churn()?,
        transport::costs()?,
    ])
}

/// `count` + 1 values from `low` to `high`, equally far apart.
fn places(low: f64, high: f64, count: u32) -> Vec<f64> {
    (0..=count)
        .map(|k| low + (high - low) * f64::from(k) / f64::from(count))
        .collect()
}

/// The same, equally far apart as powers of ten.
fn decades(low: f64, high: f64, count: u32) -> Vec<f64> {
    let powers = places(low.log10(), high.log10(), count);
    powers.into_iter().map(|p| 10.0_f64.powf(p)).collect()
}

/// The points (x, f(x)).
fn graph(places: &[f64], f: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
    places.iter().map(|&x| (x, f(x))).collect()
}

/// The points (x, f(x)) of a function that may refuse.
fn try_graph(places: &[f64], f: impl Fn(f64) -> Result<f64>) -> Result<Vec<(f64, f64)>> {
    places.iter().map(|&x| Ok((x, f(x)?))).collect()
}
