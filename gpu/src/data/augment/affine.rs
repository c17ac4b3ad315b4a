//! Where a point of a transformed image comes from: x ↦ A x + b around the centre.

/// An affine map of the plane, the identity at first.
///
/// Each transformation is put on the side of the transformed image, so that the last one is undone first. `[eq:augment-matrix]`
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Affine {
    linear: [[f64; 2]; 2],
    offset: [f64; 2],
}

impl Default for Affine {
    fn default() -> Self {
        Self {
            linear: [[1.0, 0.0], [0.0, 1.0]],
            offset: [0.0; 2],
        }
    }
}

impl Affine {
    /// The place that (x, y) comes from.
    pub(super) fn at(&self, x: f64, y: f64) -> [f64; 2] {
        let [[a, b], [c, d]] = self.linear;
        let [e, f] = self.offset;
        [a * x + b * y + e, c * x + d * y + f]
    }

    /// How far from the image's centre along x and y a rectangle of these half sides reaches: down to, and up to.
    pub(super) fn reach(&self, [x, y]: [f64; 2]) -> [[f64; 2]; 2] {
        let half = self
            .linear
            .map(|[along_x, along_y]| along_x.abs() * x + along_y.abs() * y);
        let [e, f] = self.offset;
        [[e - half[0], f - half[1]], [e + half[0], f + half[1]]]
    }

    /// A after a linear map before it.
    fn before(&mut self, [[a, b], [c, d]]: [[f64; 2]; 2]) {
        self.linear = self.linear.map(|[x, y]| [x * a + y * c, x * b + y * d]);
    }

    /// Points come from `factor` times as far.
    pub(super) fn scale(&mut self, factor: f64) {
        self.before([[factor, 0.0], [0.0, factor]]);
    }

    /// Points come from further on by `angle`, from x towards y.
    pub(super) fn rotate(&mut self, angle: f64) {
        let (sin, cos) = angle.sin_cos();
        self.before([[cos, -sin], [sin, cos]]);
    }

    /// The image is `factor` times as long along the axis (cos r, −sin r), and 1/`factor` times across it.
    pub(super) fn stretch(&mut self, factor: f64, [cos, sin]: [f64; 2]) {
        let (shrinks, grows) = (factor.recip(), factor);
        let mixed = sin * cos * (grows - shrinks);
        self.before([
            [cos * cos * shrinks + sin * sin * grows, mixed],
            [mixed, sin * sin * shrinks + cos * cos * grows],
        ]);
    }

    /// The image moves by so many pixels.
    pub(super) fn shift(&mut self, [x, y]: [f64; 2]) {
        self.offset = self.at(-x, -y);
    }
}
