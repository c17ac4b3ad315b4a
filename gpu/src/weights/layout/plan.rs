//! How the tensors of one layout are made from those of another.
//!
//! Every step moves elements and changes none: a tensor is another one as it is (perhaps in another shape), rows of others in another
//! order, one turned over, or numbers that the layout prescribes. So a way there and back gives the same bits.

use std::collections::{BTreeMap, BTreeSet};

use super::Source;
use super::shapes::{Shapes, elements};
use crate::weights::elements::Elements;
use crate::weights::raw::Raw;

/// What a file does not say and a person may.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask {
    /// The side of the network's (square) input.
    pub size: Option<usize>,
}

/// Where a tensor comes from.
#[derive(Debug, Clone)]
enum Piece {
    /// The elements of another, in their order.
    Same(String),
    /// Row by row: which row of which of these.
    Rows(Vec<String>, Vec<(usize, usize)>),
    /// The columns of a matrix as rows.
    Turned(String),
    /// Numbers that the layout prescribes, in f32.
    Made(Vec<f32>),
}

/// What must hold of tensors that the new layout does not have, for nothing to be lost.
#[derive(Debug, Clone)]
enum Check {
    /// Bit for bit that other one.
    Equal(String, String),
    /// These numbers, to this error.
    Numbers(String, Vec<f32>, f64),
}

/// A layout's tensors, each with where it comes from.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    shapes: Shapes,
    pieces: BTreeMap<String, Piece>,
    checks: Vec<Check>,
    remarks: Vec<String>,
}

impl Plan {
    /// A plan for tensors of these shapes, of which each must be given a piece.
    pub(super) fn new(shapes: Shapes) -> Self {
        Self {
            shapes,
            ..Self::default()
        }
    }

    /// Everything as it is.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "one of the functions of a layout, of which others fail"
    )]
    pub(super) fn same(shapes: &Shapes, _: &Ask) -> Result<Self, String> {
        let mut plan = Self::new(shapes.clone());
        for name in shapes.keys() {
            plan.same_of(name, name);
        }
        Ok(plan)
    }

    pub(super) fn same_of(&mut self, name: impl Into<String>, from: impl Into<String>) {
        self.pieces.insert(name.into(), Piece::Same(from.into()));
    }

    /// A weight and a bias.
    pub(super) fn module(&mut self, stem: &str, from: &str) {
        for part in ["weight", "bias"] {
            self.same_of(format!("{stem}.{part}"), format!("{from}.{part}"));
        }
    }

    pub(super) fn rows(
        &mut self,
        name: impl Into<String>,
        from: Vec<String>,
        rows: Vec<(usize, usize)>,
    ) {
        self.pieces.insert(name.into(), Piece::Rows(from, rows));
    }

    pub(super) fn turned(&mut self, name: impl Into<String>, from: impl Into<String>) {
        self.pieces.insert(name.into(), Piece::Turned(from.into()));
    }

    pub(super) fn made(&mut self, name: impl Into<String>, values: Vec<f32>) {
        self.pieces.insert(name.into(), Piece::Made(values));
    }

    pub(super) fn must_equal(&mut self, name: impl Into<String>, other: impl Into<String>) {
        self.checks.push(Check::Equal(name.into(), other.into()));
    }

    pub(super) fn must_be(&mut self, name: impl Into<String>, values: Vec<f32>, error: f64) {
        self.checks.push(Check::Numbers(name.into(), values, error));
    }

    pub(super) fn remark(&mut self, remark: impl Into<String>) {
        self.remarks.push(remark.into());
    }

    /// What is to be known of the outcome.
    pub(super) fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// The names that it takes or looks at.
    pub(super) fn used(&self) -> BTreeSet<&str> {
        let mut used = BTreeSet::new();
        for piece in self.pieces.values() {
            match piece {
                Piece::Same(name) | Piece::Turned(name) => {
                    used.insert(name.as_str());
                }
                Piece::Rows(names, _) => used.extend(names.iter().map(String::as_str)),
                Piece::Made(_) => {}
            }
        }
        for check in &self.checks {
            match check {
                Check::Equal(a, b) => used.extend([a.as_str(), b.as_str()]),
                Check::Numbers(name, ..) => {
                    used.insert(name);
                }
            }
        }
        used
    }
}

/// Tensors made by a plan from others, one after another as they are asked for.
pub(super) struct Converted<'a> {
    inner: Box<dyn Source + 'a>,
    plan: Plan,
}

impl<'a> Converted<'a> {
    /// # Errors
    /// A tensor that would be lost and holds something, as the end of a sentence on the file.
    pub(super) fn new(inner: Box<dyn Source + 'a>, plan: Plan) -> Result<Self, String> {
        for check in &plan.checks {
            match check {
                Check::Equal(a, b) => {
                    let same = inner.raw(a)?.bytes == inner.raw(b)?.bytes;
                    if !same {
                        return Err(format!(
                            "`{a}` must be the same as `{b}`, and is another: the new layout has one place for both"
                        ));
                    }
                }
                Check::Numbers(name, values, error) => {
                    let got = inner.raw(name)?.values();
                    let at = |(i, (got, must)): (usize, (&f64, &f32))| {
                        let close = (got - f64::from(*must)).abs() <= *error;
                        (!close).then_some((i, *got, *must))
                    };
                    let wrong = got.iter().zip(values).enumerate().find_map(at);
                    if got.len() != values.len() {
                        return Err(format!(
                            "`{name}` has another shape than the layout prescribes"
                        ));
                    }
                    if let Some((i, got, must)) = wrong {
                        return Err(format!(
                            "`{name}` has no place in the new layout, which prescribes its numbers: element {i} must be {must}, got {got}"
                        ));
                    }
                }
            }
        }
        Ok(Self { inner, plan })
    }
}

impl Source for Converted<'_> {
    fn shapes(&self) -> Shapes {
        self.plan.shapes.clone()
    }

    fn elements(&self, name: &str) -> Result<Elements, String> {
        match self.plan.pieces.get(name) {
            Some(Piece::Same(from) | Piece::Turned(from)) => self.inner.elements(from),
            Some(Piece::Rows(from, _)) => from
                .first()
                .map_or(Ok(Elements::F32), |from| self.inner.elements(from)),
            Some(Piece::Made(_)) => Ok(Elements::F32),
            None => Err(format!("the layout has no tensor `{name}`")),
        }
    }

    fn raw(&self, name: &str) -> Result<Raw, String> {
        let (Some(piece), Some(shape)) = (self.plan.pieces.get(name), self.plan.shapes.get(name))
        else {
            return Err(format!("the layout has no tensor `{name}`"));
        };
        let mut raw = match piece {
            Piece::Same(from) => self.inner.raw(from)?,
            Piece::Rows(from, rows) => {
                let parts = from
                    .iter()
                    .map(|from| self.inner.raw(from))
                    .collect::<Result<Vec<_>, _>>()?;
                picked(&parts, rows).ok_or_else(|| {
                    format!("{} must have rows of one length and type", quoted(from))
                })?
            }
            Piece::Turned(from) => {
                let raw = self.inner.raw(from)?;
                turned(&raw).ok_or_else(|| format!("`{from}` must be a matrix"))?
            }
            Piece::Made(values) => Raw {
                elements: Elements::F32,
                shape: shape.clone(),
                bytes: values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            },
        };
        if raw.bytes.len() != elements([shape]).saturating_mul(raw.elements.size()) {
            return Err(format!(
                "`{name}` must have shape {shape:?}, and {:?} was found for it",
                raw.shape
            ));
        }
        raw.shape.clone_from(shape);
        Ok(raw)
    }
}

fn quoted(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// The rows of tensors in another order.
fn picked(parts: &[Raw], rows: &[(usize, usize)]) -> Option<Raw> {
    let first = parts.first()?;
    let length = |raw: &Raw| raw.bytes.len().checked_div(*raw.shape.first()?);
    let row = length(first)?;
    if !parts
        .iter()
        .all(|raw| raw.elements == first.elements && length(raw) == Some(row))
    {
        return None;
    }
    let mut bytes = Vec::with_capacity(rows.len() * row);
    for (part, at) in rows {
        bytes.extend_from_slice(parts.get(*part)?.bytes.get(at * row..(at + 1) * row)?);
    }
    let mut shape = first.shape.clone();
    shape[0] = rows.len();
    Some(Raw {
        elements: first.elements,
        shape,
        bytes,
    })
}

/// The transposed matrix.
fn turned(raw: &Raw) -> Option<Raw> {
    let [rows, columns] = raw.shape.as_slice().try_into().ok()?;
    let size = raw.elements.size();
    let mut bytes = Vec::with_capacity(raw.bytes.len());
    for column in 0..columns {
        for row in 0..rows {
            let at = (row * columns + column) * size;
            bytes.extend_from_slice(raw.bytes.get(at..at + size)?);
        }
    }
    Some(Raw {
        elements: raw.elements,
        shape: vec![columns, rows],
        bytes,
    })
}
