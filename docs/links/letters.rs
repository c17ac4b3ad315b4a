//! What browsers no longer do for a formula: styled letters, and the space after ln.
//!
//! KaTeX writes 𝒩 as `<mi mathvariant="script">N</mi>`. MathML Core, which browsers implement, knows no variant but
//! `normal`; the letter itself must be the styled one.

/// A style: its name, the code points of its A and a, and the letters that Unicode keeps elsewhere.
type Style = (&'static str, u32, u32, &'static [(char, char)]);

const STYLES: [Style; 3] = [
    (
        "script",
        0x1D49C,
        0x1D4B6,
        &[
            ('B', 'ℬ'),
            ('E', 'ℰ'),
            ('F', 'ℱ'),
            ('H', 'ℋ'),
            ('I', 'ℐ'),
            ('L', 'ℒ'),
            ('M', 'ℳ'),
            ('R', 'ℛ'),
            ('e', 'ℯ'),
            ('g', 'ℊ'),
            ('o', 'ℴ'),
        ],
    ),
    (
        "double-struck",
        0x1D538,
        0x1D552,
        &[
            ('C', 'ℂ'),
            ('H', 'ℍ'),
            ('N', 'ℕ'),
            ('P', 'ℙ'),
            ('Q', 'ℚ'),
            ('R', 'ℝ'),
            ('Z', 'ℤ'),
        ],
    ),
    ("sans-serif", 0x1D5A0, 0x1D5BA, &[]),
];

fn styled(letter: char, (_, upper, lower, elsewhere): &Style) -> char {
    if let Some((_, found)) = elsewhere.iter().find(|(plain, _)| *plain == letter) {
        return *found;
    }
    let from =
        |start: u32, first: char| char::from_u32(start + u32::from(letter) - u32::from(first));
    let found = match letter {
        'A'..='Z' => from(*upper, 'A'),
        'a'..='z' => from(*lower, 'a'),
        _ => None,
    };
    found.unwrap_or(letter)
}

/// A page in which such letters are themselves.
pub fn styled_letters(page: &str) -> String {
    let mut page = page.to_owned();
    for style in &STYLES {
        let open = format!("<mi mathvariant=\"{}\">", style.0);
        let mut pieces = page.split(&open);
        let mut done = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let (letters, rest) = piece.split_once('<').unwrap_or((piece, ""));
            let letters: String = letters.chars().map(|c| styled(c, style)).collect();
            done += &["<mi mathvariant=\"normal\">", &letters, "<", rest].concat();
        }
        page = done;
    }
    page
}

/// A page with TeX's thin space between the name of a function and its argument, unless a bracket parts them: browsers
/// give the invisible operator that KaTeX writes there (U+2061) no width.
pub fn spaced_functions(page: &str) -> String {
    const APPLY: &str = "<mo>\u{2061}</mo>";
    let mut pieces = page.split(APPLY);
    let mut done = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let bracket =
            piece.starts_with("<mo stretchy=\"false\">") || piece.starts_with("<mrow><mo fence");
        done += APPLY;
        if !bracket {
            done += "<mspace width=\"0.17em\"></mspace>";
        }
        done += piece;
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_apart_from_its_argument() {
        let ln = "<mi>ln</mi><mo>\u{2061}</mo>";
        let apart = spaced_functions(&[ln, "<mi>x</mi>"].concat());
        assert_eq!(
            apart,
            [ln, "<mspace width=\"0.17em\"></mspace><mi>x</mi>"].concat()
        );
        let bracket = [ln, "<mo stretchy=\"false\">(</mo>"].concat();
        assert_eq!(spaced_functions(&bracket), bracket);
    }

    #[test]
    fn a_letter_is_itself_in_its_style() {
        let mi = |variant: &str, letter| format!("<mi mathvariant=\"{variant}\">{letter}</mi>");
        let page = mi("script", 'N')
            + &mi("double-struck", 'R')
            + &mi("sans-serif", 'T')
            + &mi("normal", 'x');
        let want = mi("normal", '𝒩') + &mi("normal", 'ℝ') + &mi("normal", '𝖳') + &mi("normal", 'x');
        assert_eq!(styled_letters(&page), want);
    }
}
