//! What every command gives: a table for people, and with `--json FILE` an array of flat objects
//! for scripts.

use serde::Serialize;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// How a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table of text cells, as wide as its content.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these headings.
    pub fn new<S: Into<String>>(columns: impl IntoIterator<Item = (S, Align)>) -> Self {
        let columns = columns
            .into_iter()
            .map(|(name, align)| (name.into(), align))
            .collect();
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// Appends a row.
    ///
    /// # Panics
    /// If the row does not have a cell for each column.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let cells: Vec<_> = cells.into_iter().map(Into::into).collect();
        assert_eq!(
            cells.len(),
            self.columns.len(),
            "a row has a cell for each column"
        );
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heading: Vec<_> = self.columns.iter().map(|(name, _)| name.clone()).collect();
        let lines = || std::iter::once(&heading).chain(&self.rows);
        let widths: Vec<_> = (0..self.columns.len())
            .map(|column| {
                lines()
                    .map(|line| line[column].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let rule: Vec<_> = widths.iter().map(|&width| "─".repeat(width)).collect();
        for (number, line) in lines().enumerate() {
            write_line(f, line, &self.columns, &widths)?;
            if number == 0 {
                writeln!(f, "{}", rule.join("  "))?;
            }
        }
        Ok(())
    }
}

fn write_line(
    f: &mut fmt::Formatter<'_>,
    cells: &[String],
    columns: &[(String, Align)],
    widths: &[usize],
) -> fmt::Result {
    let padded = cells
        .iter()
        .zip(columns)
        .zip(widths)
        .map(|((cell, (_, align)), &width)| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
    writeln!(f, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())
}

/// Writes to stdout, at once. Unlike `print!` it returns the error if nobody reads any more.
pub fn show(text: impl fmt::Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    write!(stdout, "{text}")?;
    stdout.flush()
}

/// A file for results, opened before they are measured: who asked for it should not wait for them
/// to hear that it cannot be written. Until then what was in it stays.
#[derive(Debug)]
pub struct ResultFile {
    path: PathBuf,
    file: File,
}

impl ResultFile {
    /// Opens the file, or makes an empty one.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = File::options();
        let file = options
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes `rows` its content: one JSON array, an object a line.
    pub fn write_rows<R: Serialize>(&self, rows: &[R]) -> io::Result<()> {
        let mut output = self.emptied()?;
        output.write_all(b"[")?;
        for (number, row) in rows.iter().enumerate() {
            output.write_all(if number == 0 { b"\n" } else { b",\n" })?;
            serde_json::to_writer(&mut output, row)?;
        }
        output.write_all(b"\n]\n")?;
        output.flush()
    }

    /// Makes `text` its content.
    pub fn write_text(&self, text: &str) -> io::Result<()> {
        let mut output = self.emptied()?;
        output.write_all(text.as_bytes())?;
        output.flush()
    }

    fn emptied(&self) -> io::Result<BufWriter<&File>> {
        // A terminal or a pipe cannot be cut, and holds nothing.
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        Ok(BufWriter::new(&self.file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new([("policy", Align::Left), ("misses", Align::Right)]);
        table.row(["lru", "1,234,567"]);
        table.row(["w_tiny_lfu", "9"]);
        let expected = "\
policy         misses
──────────  ─────────
lru         1,234,567
w_tiny_lfu          9
";
        assert_eq!(table.to_string(), expected);
    }

    #[derive(Serialize)]
    struct Row {
        name: &'static str,
        ratio: f64,
    }

    #[test]
    fn json_is_an_array_with_an_object_a_line_in_place_of_what_was_there() {
        let path = std::env::temp_dir().join(format!("nuthatch-json-{}", std::process::id()));
        let longer = "[]".repeat(100);
        fs::write(&path, &longer).unwrap();
        let file = ResultFile::open(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), longer);
        let rows = [("a", 0.5), ("b", 1.0)].map(|(name, ratio)| Row { name, ratio });
        file.write_rows(&rows).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let expected = "[\n{\"name\":\"a\",\"ratio\":0.5},\n{\"name\":\"b\",\"ratio\":1.0}\n]\n";
        assert_eq!(text, expected);
    }
}
