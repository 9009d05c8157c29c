//! Answers of commands: rows of cells under named columns, and how they are printed.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use stockade_core::text;

use super::words::Format;

/// Longest cell that is printed as text.
const CELL_CHARS_MAX: usize = 100_000;

/// What a command answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// One list of cells for each row, as many as there are columns.
    pub rows: Vec<Vec<String>>,
    /// What else is to be known, such as a warning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Table {
    /// An empty one with these columns.
    #[must_use]
    pub fn new(columns: &[&str]) -> Self {
        Self { columns: columns.iter().map(|&name| name.to_owned()).collect(), ..Self::default() }
    }

    /// One row of names and values.
    #[must_use]
    pub fn of<const N: usize>(cells: [(&str, String); N]) -> Self {
        let mut table = Self::new(&cells.each_ref().map(|cell| cell.0));
        table.rows.push(cells.into_iter().map(|cell| cell.1).collect());
        table
    }

    /// Adds a row.
    pub fn push<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// The same with these columns only. Where one is unknown it is the whole with a note about that: what answers was
    /// done already.
    pub(crate) fn only(mut self, wanted: &[String]) -> Self {
        if wanted.is_empty() {
            return self;
        }
        let place = |name: &str| self.columns.iter().position(|known| known.eq_ignore_ascii_case(name));
        if let Some(unknown) = wanted.iter().find(|name| place(name).is_none()) {
            let (name, columns) = (text::shown(unknown, 60), self.columns.join(", "));
            self.notes.push(format!("there is no column `{name}`, so all are shown: {columns}"));
            return self;
        }
        let places: Vec<usize> = wanted.iter().filter_map(|name| place(name)).collect();
        let pick = |cells: &[String]| places.iter().filter_map(|&place| cells.get(place).cloned()).collect();
        self.columns = pick(&self.columns);
        self.rows = self.rows.iter().map(|row| pick(row)).collect();
        self
    }

    /// What of it is printed for a node, but for JSON.
    pub(crate) fn print(&self, service: &str, format: Format, first: bool) -> String {
        let mut out = String::new();
        match format {
            Format::Text | Format::Json => self.as_text(service, &mut out),
            Format::Csv => self.as_csv(service, first, &mut out),
        }
        out
    }

    /// One line for each cell, rows with an empty line between them.
    fn as_text(&self, service: &str, out: &mut String) {
        let service = text::shown(service, 200);
        for (number, row) in self.rows.iter().enumerate() {
            if number > 0 {
                out.push('\n');
            }
            for (name, cell) in self.columns.iter().zip(row) {
                for line in cell.split('\n') {
                    // Writing into a text does not fail.
                    let (name, line) = (text::shown(name, 200), text::shown(line, CELL_CHARS_MAX));
                    let _infallible = writeln!(out, "[{service}] {name} = {line}");
                }
            }
        }
    }

    fn as_csv(&self, service: &str, first: bool, out: &mut String) {
        let mut line = |cells: &mut dyn Iterator<Item = &str>| {
            let cells: Vec<_> = cells.map(csv_cell).collect();
            out.push_str(&cells.join(","));
            out.push_str("\r\n");
        };
        if first {
            line(&mut std::iter::once("Service").chain(self.columns.iter().map(String::as_str)));
        }
        for row in &self.rows {
            line(&mut std::iter::once(service).chain(row.iter().map(String::as_str)));
        }
    }
}

/// As RFC 4180 has it. A spreadsheet would take a cell for a formula that begins like one, so such a cell gets an
/// apostrophe before it.
fn csv_cell(cell: &str) -> String {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let cell = if formula { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> Table {
        let mut table = Table::new(&["Network Address", "Host Name", "Source"]);
        table.push(["127.0.0.1".to_owned(), "localhost".to_owned(), "default".to_owned()]);
        table.push(["::1".to_owned(), "a,\"b\"".to_owned(), "=cmd()".to_owned()]);
        table
    }

    #[test]
    fn text_has_a_line_for_each_cell_as_epadmin_has() {
        let text = "[A.X] Network Address = 127.0.0.1\n[A.X] Host Name = localhost\n[A.X] Source = default\n\n\
                    [A.X] Network Address = ::1\n[A.X] Host Name = a,\"b\"\n[A.X] Source = =cmd()\n";
        assert_eq!(hosts().print("A.X", Format::Text, true), text);
    }

    #[test]
    fn no_cell_writes_a_line_of_another_node_or_controls_a_terminal() {
        let table = Table::of([("Text", "one\n[B.X] Text = \u{1b}[2J two\r\n".to_owned())]);
        let printed = table.print("A.X", Format::Text, true);
        assert!(printed.lines().all(|line| line.starts_with("[A.X] Text = ")), "{printed}");
        assert!(!printed.contains('\u{1b}') && !printed.contains('\r'));
    }

    #[test]
    fn csv_is_read_as_cells_and_not_as_formulas() {
        let text = "Service,Network Address,Host Name,Source\r\nA.X,127.0.0.1,localhost,default\r\n\
                    A.X,::1,\"a,\"\"b\"\"\",'=cmd()\r\n";
        assert_eq!(hosts().print("A.X", Format::Csv, true), text);
    }

    #[test]
    fn columns_are_chosen_in_the_order_that_is_asked_for() {
        let few = hosts().only(&["source".to_owned(), "Network Address".to_owned()]);
        assert_eq!(few.columns, ["Source", "Network Address"]);
        assert_eq!(few.rows[0], ["default", "127.0.0.1"]);
        let whole = hosts().only(&["sauce".to_owned()]);
        assert_eq!((&whole.columns, &whole.rows), (&hosts().columns, &hosts().rows));
        assert!(whole.notes[0].contains("`sauce`"), "{whole:?}");
    }
}
