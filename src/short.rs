//! Numbers as short as a mark of an axis or a table needs them.

/// About three digits.
pub fn short(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        return "0".to_owned();
    }
    if !(1e-3..1e6).contains(&size) {
        let text = format!("{value:.2e}");
        return match text.split_once('e') {
            Some((digits, exponent)) => format!("{}e{exponent}", trimmed(digits)),
            None => text,
        };
    }
    if size >= 1e4 {
        return format!("{}k", trimmed(&format!("{:.1}", value / 1e3)));
    }
    let decimals = match size {
        s if s >= 1e3 => 0,
        s if s >= 1e2 => 1,
        s if s >= 1.0 => 2,
        s if s >= 0.1 => 3,
        s if s >= 0.01 => 4,
        _ => 5,
    };
    trimmed(&format!("{value:.decimals$}")).to_owned()
}

/// Without zeros at the end of a fraction.
fn trimmed(text: &str) -> &str {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (531.25, "531.2"),
            (900.0, "900"),
            (0.0567, "0.0567"),
            (1.0, "1"),
            (2e-4, "2e-4"),
            (-1.25e-9, "-1.25e-9"),
            (20_000.0, "20k"),
            (12_345.0, "12.3k"),
            (3e7, "3e7"),
        ];
        for (value, want) in cases {
            assert_eq!(short(value), want);
        }
    }
}
