//! Floating-point numbers of eight bits.

/// A layout of sign, exponent and mantissa, and what its last codes mean.
#[derive(Debug, Clone, Copy)]
struct Layout {
    mantissa: u32,
    bias: i32,
    specials: Specials,
}

/// Which codes are no ordinary numbers.
#[derive(Debug, Clone, Copy)]
enum Specials {
    /// As IEEE 754: an exponent of ones is ∞, or NaN with a mantissa.
    Ieee,
    /// Only exponent and mantissa of ones, which is NaN; there is no ∞.
    LastIsNan,
    /// Only minus zero, which is NaN; there is no ∞.
    MinusZeroIsNan,
}

/// `float8_e4m3fn`: numbers up to 448.
pub(super) fn e4m3(code: u8) -> f64 {
    decode(code, 3, 7, Specials::LastIsNan)
}

/// `float8_e5m2`: numbers up to 57344, ∞ and NaN.
pub(super) fn e5m2(code: u8) -> f64 {
    decode(code, 2, 15, Specials::Ieee)
}

/// `float8_e4m3fnuz`: numbers up to 240.
pub(super) fn e4m3_fnuz(code: u8) -> f64 {
    decode(code, 3, 8, Specials::MinusZeroIsNan)
}

/// `float8_e5m2fnuz`: numbers up to 57344.
pub(super) fn e5m2_fnuz(code: u8) -> f64 {
    decode(code, 2, 16, Specials::MinusZeroIsNan)
}

/// `float8_e8m0fnu`: powers of two without a sign, 2⁻¹²⁷ to 2¹²⁷.
pub(super) fn e8m0(code: u8) -> f64 {
    match code {
        u8::MAX => f64::NAN,
        exponent => 2.0_f64.powi(i32::from(exponent) - 127),
    }
}

fn decode(code: u8, mantissa: u32, bias: i32, specials: Specials) -> f64 {
    Layout {
        mantissa,
        bias,
        specials,
    }
    .decode(code)
}

impl Layout {
    fn decode(self, code: u8) -> f64 {
        let (sign, size) = (code >> 7, code & 0x7F);
        let (exponent, fraction) = (size >> self.mantissa, size & ((1 << self.mantissa) - 1));
        let ones = 0x7F >> self.mantissa;
        match self.specials {
            Specials::Ieee if exponent == ones && fraction > 0 => return f64::NAN,
            Specials::Ieee if exponent == ones => {
                return if sign == 0 {
                    f64::INFINITY
                } else {
                    f64::NEG_INFINITY
                };
            }
            Specials::LastIsNan if size == 0x7F => return f64::NAN,
            Specials::MinusZeroIsNan if code == 0x80 => return f64::NAN,
            _ => {}
        }
        let steps = f64::from(1_u32 << self.mantissa);
        let value = if exponent == 0 {
            f64::from(fraction) / steps * 2.0_f64.powi(1 - self.bias)
        } else {
            (1.0 + f64::from(fraction) / steps) * 2.0_f64.powi(i32::from(exponent) - self.bias)
        };
        if sign == 0 { value } else { -value }
    }
}
