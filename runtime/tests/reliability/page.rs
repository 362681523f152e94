//! The page: what it says, and whether the one in the book says it.
//!
//! It begins with prose that people write; everything after [`MARK`] is what was seen.

use std::{collections::BTreeMap, fs, path::PathBuf};

use crate::{
    cell::{Cell, Column, Row},
    outcome::Seen,
};

pub(crate) const COMMAND: &str = "cargo test -p dmaring --test reliability";

/// What every run showed: without a CPU engine and with one.
#[derive(Debug, Default)]
pub(crate) struct Page(BTreeMap<Cell, (Seen, Seen)>);

impl Page {
    pub(crate) fn add(&mut self, cell: Cell, alone: Seen, with_cpu: Seen) {
        self.0.insert(cell, (alone, with_cpu));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Holds the page in the book against these runs, or writes it.
    pub(crate) fn check_or_bless(&self) {
        let present = read();
        let text = format!("{}{}", prose(&present), self.render());
        if std::env::var_os("DMARING_BLESS").is_some() {
            fs::write(path(), text).unwrap();
            return;
        }
        let differing = present.lines().zip(text.lines()).find(|(present, text)| present != text);
        let (present_line, line) = differing.unwrap_or(("fewer or more lines", ""));
        assert!(
            present == text,
            "docs/reliability.md differs from what was seen:\n  there: {present_line}\n  here:  {line}\n\
             write it anew, and look at the difference: DMARING_BLESS=1 {COMMAND}"
        );
    }

    /// Prints these cells, and holds each against the page in the book.
    pub(crate) fn check_cells(&self) {
        let present = read();
        for (cell, (alone, with_cpu)) in &self.0 {
            let line = detail(*cell, alone, with_cpu);
            let same = present.lines().any(|present| present == line);
            assert!(
                same,
                "docs/reliability.md does not have:\n{line}\nwrite it: DMARING_BLESS=1 {COMMAND}"
            );
        }
    }

    fn render(&self) -> String {
        let mut text = matrix(|cell| {
            let (alone, with_cpu) = &self.0[&cell];
            format!(
                "{}/{} · {}/{}",
                alone.failed, alone.operations, with_cpu.failed, with_cpu.operations
            )
        });
        for column in Column::ALL {
            text.push_str(&format!("\n## {}\n\n{}\n\n", title(column), situation(column)));
            text.push_str(DETAIL_HEAD);
            for row in Row::all() {
                let cell = Cell { column, row };
                let (alone, with_cpu) = &self.0[&cell];
                text.push_str(&detail(cell, alone, with_cpu));
                text.push('\n');
            }
        }
        text
    }
}

/// The page as it is in the book.
pub(crate) fn read() -> String {
    fs::read_to_string(path()).unwrap_or_default()
}

/// Whether the matrix has a row for each fault and a column for each situation, and each cell its line, with its name and seed.
pub(crate) fn check_complete(text: &str) {
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with("| **")).collect();
    assert_eq!(rows.len(), Row::all().len(), "rows of the matrix");
    for (line, row) in rows.iter().zip(Row::all()) {
        assert!(line.starts_with(&format!("| **{}**", row.name())), "{line}");
        let cells: Vec<_> = line.trim_matches('|').split('|').skip(2).collect();
        assert_eq!(cells.len(), Column::ALL.len(), "{line}");
        assert!(cells.iter().all(|cell| cell.contains('/')), "{line}");
    }
    let details = text.lines().filter(|line| line.starts_with("| `"));
    assert_eq!(details.count(), Cell::all().len(), "lines of cells");
    for cell in Cell::all() {
        let start = format!("| `{}` | {:04x} | ", cell.name(), cell.seed());
        let mut lines = text.lines().filter(|line| line.starts_with(&start));
        let line = lines.next().unwrap_or_else(|| panic!("{} has no line", cell.name()));
        let parts: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(parts.len(), DETAIL_COLUMNS, "{line}");
        assert!(parts.iter().all(|part| !part.is_empty()), "{line}");
        assert_eq!(lines.next(), None, "{} has more than one line", cell.name());
    }
}

/// What is before the line after which everything is written by these tests.
fn prose(text: &str) -> &str {
    let end = text.find(MARK).map(|at| at + MARK.len());
    let end = end.unwrap_or_else(|| panic!("docs/reliability.md has no line {MARK}"));
    &text[..end]
}

const MARK: &str = "<!-- From here on: written by `DMARING_BLESS=1 cargo test -p dmaring --test reliability` -->\n\n";
const DETAIL_COLUMNS: usize = 8;
const DETAIL_HEAD: &str = "\
| test | seed | the culprit | the others | then | with a CPU: all | then | outside |
| --- | --- | --- | --- | --- | --- | --- | --- |
";

fn matrix(cell: impl Fn(Cell) -> String) -> String {
    let mut text = "| fault | what happens |".to_owned();
    Column::ALL.iter().for_each(|column| text.push_str(&format!(" {} |", column.name())));
    text.push_str("\n| --- | --- |");
    Column::ALL.iter().for_each(|_| text.push_str(" --- |"));
    text.push('\n');
    for row in Row::all() {
        text.push_str(&format!("| **{}** | {} |", row.name(), row.meaning()));
        for column in Column::ALL {
            text.push_str(&format!(" {} |", cell(Cell { column, row })));
        }
        text.push('\n');
    }
    text
}

fn detail(cell: Cell, alone: &Seen, with_cpu: &Seen) -> String {
    format!(
        "| `{}` | {:04x} | {} | {} | {} | {} | {} | {} |",
        cell.name(),
        cell.seed(),
        alone.culprit.as_deref().unwrap_or("not told"),
        alone.outcomes(),
        alone.ending(),
        with_cpu.outcomes(),
        with_cpu.ending(),
        alone.outside + with_cpu.outside,
    )
}

fn title(column: Column) -> &'static str {
    match column {
        Column::OneOperation => "One operation",
        Column::FullRing => "A full ring",
        Column::MidBatch => "In the midst of a batch",
        Column::DuringReset => "During a reset",
        Column::DuringShutdown => "During a shutdown",
    }
}

fn situation(column: Column) -> &'static str {
    match column {
        Column::OneOperation => "One operation is under way, and the fault is its descriptor's.",
        Column::FullRing => {
            "Both rings are full: 40 operations for 32 places of the submission ring, so that eight wait for a place, and a \
             ring of 16 descriptors. The fault is that of the sixth descriptor."
        }
        Column::MidBatch => {
            "21 operations, 20 of them under one doorbell: copies and fills, one behind the culprit in parts, the last one \
             fenced and reading what another writes. The fault is that of the sixth descriptor."
        }
        Column::DuringReset => {
            "The same 21 operations. The sixth descriptor halts the channel with bit 9; its operation is the culprit. The \
             fault hits the channel while it is being reset for that: it is that of the null descriptor which proves the reset; where that fails, the reset is tried again."
        }
        Column::DuringShutdown => {
            "The same 21 operations. `shutdown` was called after they were submitted and before the channel carried out any \
             of them; the fault is that of the sixth descriptor, and hits while the runtime drains."
        }
    }
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/reliability.md")
}
