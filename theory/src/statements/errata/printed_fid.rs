//! E8: two printed values for one FID, and a best value that is not the best.

use crate::rounding::Rounded;
use crate::statements::{About, Evidence, Finding, Instance, Kind, Statement, StatementError};

/// FID on ImageNet at 256×256 and 512×512 in the abstract.
const ABSTRACT: [f64; 2] = [1.58, 2.11];
/// The same in Table 1.
const TABLE: [f64; 2] = [1.58, 2.11];
/// The same in the text of Sec. 5.1.
const TEXT: [f64; 2] = [1.43, 2.18];

/// Precision in Table 1 that is set in bold, at the two resolutions, and BigGAN's beside it.
const BOLD: [f64; 2] = [0.86, 0.87];
/// BigGAN's.
const BIGGAN: [f64; 2] = [0.87, 0.88];

/// `[thm:e8]` Sec. 5.1 prints FID 1.43 / 2.18 where the abstract and Table 1 print 1.58 / 2.11: we quote the table. Table 1 sets a precision of 0.86 /
/// 0.87 in bold, as the best, below BigGAN's 0.87 / 0.88.
///
/// Further contradictions in print that are no numbers: one FID, 4.59, is ADM-G's in Fig. 2 and DDPM's in Table 5; Algorithm 1 indexes the noise by
/// j and then by i; Eq. 12 prints a sum Σ_s ∇ for the stacking of gradients (`[thm:relation-score]`); Eq. 15 has the structural term outside the
/// weight w(λ_t), Eq. 6 has neither weight (`[thm:equation-six]`); Eq. 7's pairs i = j are not the independent ones of Eq. 12.
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

/// The claim that one of two printed numbers is at most the other, at both resolutions.
fn best(what: &str, a: [f64; 2], b: [f64; 2]) -> Vec<Evidence> {
    ["256", "512"]
        .iter()
        .zip(a.into_iter().zip(b))
        .map(|(size, (a, b))| {
            Evidence::at_most(format!("{what}, {size}×{size}"), a.into(), b.into())
        })
        .collect()
}

impl Statement for PrintedFid {
    fn about(&self) -> About {
        About {
            id: "e8",
            source: "SADM (arXiv:2402.17563), Sec. 5.1 against abstract and Table 1, and within Table 1",
            kind: Kind::Erratum(Finding::Contradiction),
            summary: "the text prints FID 1.43 / 2.18, abstract and table 1.58 / 2.11 (we quote the table); and a precision in bold is below another",
            terms: &[],
            parameters: &[],
        }
    }
    fn evidence(&self, _: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let mut claims = agree("FID of the abstract = FID of Table 1", ABSTRACT, TABLE);
        claims.extend(best(
            "corrected: BigGAN's precision is the better one",
            BOLD,
            BIGGAN,
        ));
        Ok(claims)
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let mut claims = agree("as printed: FID of Sec. 5.1 = FID of Table 1", TEXT, TABLE);
        claims.extend(best(
            "as printed in bold: the precision of SADM is the best; BigGAN's is at most it",
            BIGGAN,
            BOLD,
        ));
        Ok(claims)
    }
}
