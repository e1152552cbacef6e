//! A table of numbers whose cells are the darker, the larger the number is.

use super::{
    Area, COLOURS, Drawing, TEXT_PIXELS, TITLE_HEIGHT, style, svg, upright, write, write_title,
};
use plotters::prelude::Rectangle;
use plotters::style::Color;
use plotters::style::text_anchor::{HPos, VPos};

const LEFT: i32 = 210;
/// Names of columns read upwards.
const ABOVE: i32 = 104;
const CELL_WIDTH: i32 = 44;
const CELL_HEIGHT: i32 = 24;
const MARGIN: i32 = 10;
/// The darkest shade, which text is still read on.
const DARKEST: f64 = 0.62;

/// A table to draw.
#[derive(Clone, Debug)]
pub struct HeatMap {
    /// What it shows, with the unit.
    pub title: String,
    /// The columns' names.
    pub columns: Vec<String>,
    /// Each row's name, and a number for each column.
    pub rows: Vec<(String, Vec<Option<f64>>)>,
    /// From this on all are equally dark.
    pub most: f64,
}

impl HeatMap {
    /// The picture, as the text of an SVG file.
    pub fn to_svg(&self) -> String {
        let width = LEFT + self.columns.len() as i32 * CELL_WIDTH + MARGIN;
        let height = TITLE_HEIGHT + ABOVE + self.rows.len() as i32 * CELL_HEIGHT + MARGIN;
        svg(width as u32, height as u32, |area| self.draw(area))
    }

    fn draw(&self, area: &Area<'_>) -> Drawing {
        write_title(area, &self.title)?;
        let (left, top) = (LEFT, TITLE_HEIGHT + ABOVE);
        for (x, column) in (left..).step_by(CELL_WIDTH as usize).zip(&self.columns) {
            let at = (x + CELL_WIDTH / 2, top - 8);
            write(
                area,
                column,
                at,
                upright(TEXT_PIXELS, HPos::Left, VPos::Center),
            )?;
        }
        for (y, (name, values)) in (top..).step_by(CELL_HEIGHT as usize).zip(&self.rows) {
            let middle = y + CELL_HEIGHT / 2;
            let text = style(TEXT_PIXELS, HPos::Right, VPos::Center);
            write(area, name, (left - 8, middle), text)?;
            for (x, value) in (left..).step_by(CELL_WIDTH as usize).zip(values) {
                let Some(value) = value else { continue };
                let shade = DARKEST * (value / self.most).clamp(0.0, 1.0);
                let corners = [(x + 1, y + 1), (x + CELL_WIDTH - 1, y + CELL_HEIGHT - 1)];
                area.draw(&Rectangle::new(corners, COLOURS[5].mix(shade).filled()))?;
                let text = style(TEXT_PIXELS - 1, HPos::Center, VPos::Center);
                write(
                    area,
                    &format!("{value:.1}"),
                    (x + CELL_WIDTH / 2, middle),
                    text,
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_names_rows_and_columns_and_leaves_out_what_is_not_known() {
        let map = HeatMap {
            title: "points behind the best".to_owned(),
            columns: ["lru", "fifo"].map(str::to_owned).to_vec(),
            rows: vec![
                ("web".to_owned(), vec![Some(0.0), Some(12.34)]),
                ("db".to_owned(), vec![None, Some(99.0)]),
            ],
            most: 10.0,
        };
        let svg = map.to_svg();
        for text in ["points behind", "lru", "fifo", "web", "db", "12.3", "99.0"] {
            assert!(svg.contains(text), "{text}");
        }
        assert_eq!(
            svg.matches("0.0").count(),
            1 + svg.matches("opacity=\"0.0").count()
        );
    }
}
