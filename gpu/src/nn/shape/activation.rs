//! The constants of GELU.

/// `√(2/π)`, the scale of GELU's tanh form.
pub(crate) const GELU_SCALE: f64 = 0.797_884_560_802_865_4;

/// The cubic coefficient of GELU's tanh form.
pub(crate) const GELU_CUBIC: f64 = 0.044_715;
