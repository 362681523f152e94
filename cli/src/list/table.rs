//! Columns, each as wide as its widest cell.

use std::fmt;

/// Rows under a header, each with notes below it.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    rows: Vec<([String; N], Vec<String>)>,
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(header: [&str; N]) -> Self {
        Self { rows: vec![(header.map(str::to_owned), Vec::new())] }
    }

    pub(crate) fn row(&mut self, cells: [String; N], notes: Vec<String>) {
        self.rows.push((cells, notes));
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|(cells, _)| cells[column].chars().count());
        cells.max().unwrap_or(0)
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (cells, notes) in &self.rows {
            let mut line = String::new();
            for (column, cell) in cells.iter().enumerate() {
                let width = self.width(column);
                line.push_str(&format!("{cell:<width$}  "));
            }
            writeln!(f, "{}", line.trim_end())?;
            for note in notes {
                writeln!(f, "    {note}")?;
            }
        }
        Ok(())
    }
}
