//! E8: two printed values for one FID.

use crate::rounding::Rounded;
use crate::statements::{Evidence, Instance, Kind, Parameter, Statement, StatementError};

/// FID on ImageNet at 256×256 and 512×512 in the abstract.
const ABSTRACT: [f64; 2] = [1.58, 2.11];
/// The same in Table 1.
const TABLE: [f64; 2] = [1.58, 2.11];
/// The same in the text of Sec. 5.1.
const TEXT: [f64; 2] = [1.43, 2.18];

/// `[thm:e8]` Sec. 5.1 prints FID 1.43 / 2.18 where the abstract and Table 1 print 1.58 / 2.11: we quote the table.
///
/// A comparison of printed constants, nothing more: two values for one number cannot both be right. The text is better at
/// one resolution and worse at the other, so no common shift explains it.
pub struct PrintedFid;

/// The claim that two places print one pair of numbers.
fn agree(what: &str, a: [f64; 2], b: [f64; 2]) -> Vec<Evidence> {
    ["256", "512"]
        .iter()
        .zip(a.into_iter().zip(b))
        .map(|(size, (a, b))| {
            Evidence::equal(
                format!("{what}, {size}×{size}"),
                Rounded::exact(a),
                Rounded::exact(b),
            )
        })
        .collect()
}

impl Statement for PrintedFid {
    fn id(&self) -> &'static str {
        "e8"
    }
    fn source(&self) -> &'static str {
        "SADM (arXiv:2402.17563), Sec. 5.1 against abstract and Table 1"
    }
    fn kind(&self) -> Kind {
        Kind::Erratum
    }
    fn summary(&self) -> &'static str {
        "the text prints FID 1.43 / 2.18, abstract and table 1.58 / 2.11; we quote the table"
    }
    fn parameters(&self) -> &'static [Parameter] {
        &[]
    }
    fn evidence(&self, _: &Instance) -> Result<Vec<Evidence>, StatementError> {
        Ok(agree(
            "FID of the abstract = FID of Table 1",
            ABSTRACT,
            TABLE,
        ))
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        Ok(agree(
            "as printed: FID of Sec. 5.1 = FID of Table 1",
            TEXT,
            TABLE,
        ))
    }
}
