//! Curves in a terminal. Lines are told apart by letters, not by colours: a plot is still read when
//! it is piped into a file, and by those who see no difference between colours.

use std::fmt::{self, Display};

/// Cells of the area that the curves are drawn in.
const WIDTH: usize = 64;
const HEIGHT: usize = 16;
/// Columns to the left of it.
const MARGIN: usize = 7;

/// Curves over a common logarithmic x axis.
#[derive(Clone, Debug)]
pub struct Plot {
    /// What the y axis shows, in percent.
    pub y_name: String,
    /// What the x axis shows.
    pub x_name: String,
    /// Each curve's name and its points, x ascending and above 0, y from 0 to 1. Where curves
    /// meet, the first one is drawn.
    pub curves: Vec<(String, Vec<(f64, f64)>)>,
}

impl Plot {
    fn range(&self, of: fn(&(f64, f64)) -> f64) -> (f64, f64) {
        let points = || self.curves.iter().flat_map(|(_, points)| points).map(of);
        let least = points().fold(f64::INFINITY, f64::min);
        (least, points().fold(f64::NEG_INFINITY, f64::max))
    }
}

impl Display for Plot {
    /// Draws the plot.
    ///
    /// # Panics
    /// If a curve has no point.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (left, right) = self.range(|point| point.0.ln());
        let (low, high) = self.range(|point| point.1);
        // Ten points at least, so that noise does not look like a slope.
        let low = low.min(high - 0.1).max(0.0);
        let high = high.max(low + 0.1);
        let mut cells = [[' '; WIDTH]; HEIGHT];
        let lettered: Vec<_> = ('A'..='Z').zip(&self.curves).collect();
        for &(letter, (_, points)) in lettered.iter().rev() {
            for (column, y) in columns(points, left, right) {
                let down = (high - y) / (high - low) * (HEIGHT - 1) as f64;
                cells[down.round() as usize][column] = letter;
            }
        }
        writeln!(f, "{}", self.y_name)?;
        for (row, line) in cells.iter().enumerate() {
            let y = high - (high - low) * row as f64 / (HEIGHT - 1) as f64;
            let label = if row % 5 == 0 {
                format!("{:.1}", 100.0 * y)
            } else {
                String::new()
            };
            let line: String = line.iter().collect();
            writeln!(
                f,
                "{label:>width$} │{}",
                line.trim_end(),
                width = MARGIN - 1
            )?;
        }
        writeln!(f, "{:MARGIN$}└{}", "", "─".repeat(WIDTH))?;
        let (first, last) = (left.exp(), right.exp());
        let middle = f64::midpoint(left, right).exp();
        let labels = [first, middle, last].map(|x| format!("{x:.0}"));
        let [first, middle, last] = labels;
        let half = WIDTH / 2 - first.len() + middle.len() / 2;
        let rest = WIDTH - first.len() - half;
        writeln!(f, "{:MARGIN$} {first}{middle:>half$}{last:>rest$}", "")?;
        writeln!(f, "{:MARGIN$} {:^WIDTH$}", "", self.x_name)?;
        for (letter, (name, _)) in lettered {
            write!(f, "  {letter} {name}")?;
        }
        writeln!(f)
    }
}

/// The columns that a curve crosses, each with its height there.
fn columns(points: &[(f64, f64)], left: f64, right: f64) -> Vec<(usize, f64)> {
    let last = (WIDTH - 1) as f64;
    let column = |x: f64| {
        let share = (x.ln() - left) / (right - left);
        // All points may have the same x.
        if share.is_nan() { 0.0 } else { share * last }
    };
    let mut crossed = Vec::new();
    for pair in points.windows(2) {
        let (from, to) = (column(pair[0].0), column(pair[1].0));
        for place in from.round() as usize..to.round() as usize {
            let part = ((place as f64 - from) / (to - from)).clamp(0.0, 1.0);
            crossed.push((place, pair[0].1 + part * (pair[1].1 - pair[0].1)));
        }
    }
    let &(x, y) = points.last().expect("a curve has a point");
    crossed.push((column(x).round() as usize, y));
    crossed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(curves: &[(&str, &[(f64, f64)])]) -> String {
        let curves = curves.iter();
        let plot = Plot {
            y_name: "miss ratio %".to_owned(),
            x_name: "entries".to_owned(),
            curves: curves
                .map(|(name, points)| ((*name).to_owned(), points.to_vec()))
                .collect(),
        };
        plot.to_string()
    }

    #[test]
    fn a_falling_curve_falls_from_corner_to_corner() {
        let text = plot(&[("lru", &[(10.0, 0.9), (100.0, 0.5), (1000.0, 0.1)])]);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].starts_with("  90.0 │A"), "{text}");
        assert!(lines[HEIGHT].starts_with("  10.0 │"), "{text}");
        assert!(lines[HEIGHT].ends_with('A'), "{text}");
        assert_eq!(lines[HEIGHT].chars().count(), MARGIN + 1 + WIDTH);
        assert!(text.contains("10 ") && text.contains(" 100 ") && text.contains(" 1000"));
        assert!(text.ends_with("  A lru\n"), "{text}");
    }

    #[test]
    fn where_curves_meet_the_first_one_shows() {
        let flat: &[(f64, f64)] = &[(1.0, 0.5), (2.0, 0.5)];
        let text = plot(&[("lru", flat), ("fifo", flat)]);
        assert_eq!(text.matches('A').count(), WIDTH + 1);
        assert_eq!(text.matches('B').count(), 1, "in the legend: {text}");
    }

    #[test]
    fn one_point_is_a_curve() {
        for y in [0.0, 0.5, 1.0] {
            assert!(plot(&[("lru", &[(10.0, y)])]).contains("│A"));
        }
    }
}
