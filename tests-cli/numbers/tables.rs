//! Tables as they are printed, by row and column.

/// A table of Markdown: the heads of its columns, and its rows.
pub struct Table {
    pub heads: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

fn cells(line: &str) -> Vec<String> {
    let inside = line.trim().trim_start_matches('|').trim_end_matches('|');
    inside
        .split('|')
        .map(|cell| cell.trim().to_owned())
        .collect()
}

/// Every table of a text.
pub fn markdown(text: &str) -> Vec<Table> {
    let lines: Vec<&str> = text.lines().collect();
    let mut tables = Vec::new();
    let mut at = 0;
    while at + 1 < lines.len() {
        if lines[at].starts_with('|') && lines[at + 1].starts_with("|---") {
            let rows = lines[at + 2..]
                .iter()
                .take_while(|line| line.starts_with('|'));
            let rows: Vec<_> = rows.map(|line| cells(line)).collect();
            let table = Table {
                heads: cells(lines[at]),
                rows,
            };
            at += 2 + table.rows.len();
            tables.push(table);
        } else {
            at += 1;
        }
    }
    tables
}

impl Table {
    /// The cell of a row under a head.
    #[track_caller]
    pub fn cell(&self, row: usize, head: &str) -> &str {
        let column = self.heads.iter().position(|found| found == head);
        let column = column.unwrap_or_else(|| panic!("no column {head} in {:?}", self.heads));
        &self.rows[row][column]
    }

    /// The row that starts with these cells.
    #[track_caller]
    pub fn row(&self, starts: &[&str]) -> usize {
        let found = self
            .rows
            .iter()
            .position(|row| row.iter().zip(starts).all(|(a, b)| a == b));
        found.unwrap_or_else(|| panic!("no row {starts:?} in {:?}", self.rows))
    }
}

/// Whether a text is a number to as many digits as it shows.
#[track_caller]
pub fn shows(what: &str, text: &str, value: f64) {
    let plain = text.replace('−', "-");
    let shown: f64 = plain
        .parse()
        .unwrap_or_else(|_| panic!("{what}: `{text}` is no number"));
    let (mantissa, power) = match plain.split_once('e') {
        Some((mantissa, power)) => (mantissa.to_owned(), power.parse().expect("a power")),
        None => (plain.clone(), 0),
    };
    let after = mantissa.split_once('.').map_or(0, |(_, after)| after.len());
    let after = i32::try_from(after).expect("few");
    // Half of the last digit that is shown, and the rounding of the comparison itself.
    let allowed = 0.5 * 10_f64.powi(power - after) * (1.0 + 1e-9) + 1e-15 * value.abs();
    assert!(
        (shown - value).abs() <= allowed,
        "{what}: {text} for {value}"
    );
}
