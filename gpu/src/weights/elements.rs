//! The types of elements that tensors in files have.

use half::{bf16, f16};

use super::narrow;

/// A type of elements that is read; all are little-endian in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Elements {
    F64,
    F32,
    F16,
    Bf16,
    F8E4m3,
    F8E5m2,
    F8E4m3Fnuz,
    F8E5m2Fnuz,
    F8E8m0,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
}

impl Elements {
    /// The type of a storage by its class, such as `torch.FloatStorage` or `torch.cuda.HalfStorage`.
    pub(super) fn of_storage(class: &str) -> Option<Self> {
        let kind = class.rsplit('.').next()?.strip_suffix("Storage")?;
        Some(match kind {
            "Double" => Self::F64,
            "Float" => Self::F32,
            "Half" => Self::F16,
            "BFloat16" => Self::Bf16,
            "Long" => Self::I64,
            "Int" => Self::I32,
            "Short" => Self::I16,
            "Char" => Self::I8,
            "Byte" => Self::U8,
            "Bool" => Self::Bool,
            _ => return None,
        })
    }

    /// The type by PyTorch's name, such as `torch.float8_e4m3fn`.
    pub(super) fn of_dtype(name: &str) -> Option<Self> {
        Some(match name.strip_prefix("torch.")? {
            "float64" => Self::F64,
            "float32" => Self::F32,
            "float16" => Self::F16,
            "bfloat16" => Self::Bf16,
            "float8_e4m3fn" => Self::F8E4m3,
            "float8_e5m2" => Self::F8E5m2,
            "float8_e4m3fnuz" => Self::F8E4m3Fnuz,
            "float8_e5m2fnuz" => Self::F8E5m2Fnuz,
            "float8_e8m0fnu" => Self::F8E8m0,
            "int64" => Self::I64,
            "int32" => Self::I32,
            "int16" => Self::I16,
            "int8" => Self::I8,
            "uint64" => Self::U64,
            "uint32" => Self::U32,
            "uint16" => Self::U16,
            "uint8" => Self::U8,
            "bool" => Self::Bool,
            _ => return None,
        })
    }

    /// The type by safetensors' name.
    pub(super) fn of_safetensors(dtype: safetensors::Dtype) -> Option<Self> {
        use safetensors::Dtype;
        Some(match dtype {
            Dtype::F64 => Self::F64,
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::Bf16,
            Dtype::F8_E4M3 => Self::F8E4m3,
            Dtype::F8_E5M2 => Self::F8E5m2,
            Dtype::F8_E4M3FNUZ => Self::F8E4m3Fnuz,
            Dtype::F8_E5M2FNUZ => Self::F8E5m2Fnuz,
            Dtype::F8_E8M0 => Self::F8E8m0,
            Dtype::I64 => Self::I64,
            Dtype::I32 => Self::I32,
            Dtype::I16 => Self::I16,
            Dtype::I8 => Self::I8,
            Dtype::U64 => Self::U64,
            Dtype::U32 => Self::U32,
            Dtype::U16 => Self::U16,
            Dtype::U8 => Self::U8,
            Dtype::BOOL => Self::Bool,
            _ => return None,
        })
    }

    /// The name in a file of safetensors.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::F8E4m3 => "F8_E4M3",
            Self::F8E5m2 => "F8_E5M2",
            Self::F8E4m3Fnuz => "F8_E4M3FNUZ",
            Self::F8E5m2Fnuz => "F8_E5M2FNUZ",
            Self::F8E8m0 => "F8_E8M0",
            Self::I64 => "I64",
            Self::I32 => "I32",
            Self::I16 => "I16",
            Self::I8 => "I8",
            Self::U64 => "U64",
            Self::U32 => "U32",
            Self::U16 => "U16",
            Self::U8 => "U8",
            Self::Bool => "BOOL",
        }
    }

    /// Bytes of an element.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            _ => 1,
        }
    }

    /// The elements that begin at the given bytes, as f64: exact but for integers beyond 2⁵³.
    pub(super) fn gather(self, bytes: &[u8], at: impl Iterator<Item = usize>) -> Vec<f64> {
        match self {
            Self::F64 => each(bytes, at, f64::from_le_bytes),
            Self::F32 => each(bytes, at, |x| f64::from(f32::from_le_bytes(x))),
            Self::F16 => each(bytes, at, |x| f16::from_le_bytes(x).to_f64()),
            Self::Bf16 => each(bytes, at, |x| bf16::from_le_bytes(x).to_f64()),
            Self::F8E4m3 => each(bytes, at, |[x]| narrow::e4m3(x)),
            Self::F8E5m2 => each(bytes, at, |[x]| narrow::e5m2(x)),
            Self::F8E4m3Fnuz => each(bytes, at, |[x]| narrow::e4m3_fnuz(x)),
            Self::F8E5m2Fnuz => each(bytes, at, |[x]| narrow::e5m2_fnuz(x)),
            Self::F8E8m0 => each(bytes, at, |[x]| narrow::e8m0(x)),
            Self::I64 => each(bytes, at, |x| i64::from_le_bytes(x) as f64),
            Self::I32 => each(bytes, at, |x| f64::from(i32::from_le_bytes(x))),
            Self::I16 => each(bytes, at, |x| f64::from(i16::from_le_bytes(x))),
            Self::I8 => each(bytes, at, |x| f64::from(i8::from_le_bytes(x))),
            Self::U64 => each(bytes, at, |x| u64::from_le_bytes(x) as f64),
            Self::U32 => each(bytes, at, |x| f64::from(u32::from_le_bytes(x))),
            Self::U16 => each(bytes, at, |x| f64::from(u16::from_le_bytes(x))),
            Self::U8 => each(bytes, at, |[x]| f64::from(x)),
            Self::Bool => each(bytes, at, |[x]| f64::from(u8::from(x != 0))),
        }
    }
}

/// `of` the N bytes at each place. A place beyond the end gives NaN; [`View`](super::view::View) has checked that there is none.
fn each<const N: usize>(
    bytes: &[u8],
    at: impl Iterator<Item = usize>,
    of: impl Fn([u8; N]) -> f64,
) -> Vec<f64> {
    let one = |at: usize| {
        let element = bytes.get(at..).and_then(|rest| rest.first_chunk::<N>());
        element.map_or(f64::NAN, |element| of(*element))
    };
    at.map(one).collect()
}
