//! Horizontal bars: a group for each thing measured, a bar in it for each series.

use super::{
    Area, Axis, COLOURS, Drawing, GREY, NAME_PIXELS, TEXT_PIXELS, TITLE_HEIGHT, WIDTH, draw_legend,
    legend_height, line, short, style, svg, write, write_title,
};
use plotters::prelude::Rectangle;
use plotters::style::Color;
use plotters::style::text_anchor::{HPos, VPos};

/// Where bars begin: what they are of stands left of it.
const LEFT: i32 = 196;
/// The numbers behind the longest bar need room.
const RIGHT: i32 = 84;
const BAR_HEIGHT: i32 = 19;
const GAP: i32 = 11;
const BELOW: i32 = 66;

/// Bars to draw.
#[derive(Clone, Debug)]
pub struct BarChart {
    /// What it shows.
    pub title: String,
    /// What the bars' lengths are.
    pub axis: Axis,
    /// The names of the bars in each group, eight at most; with one alone there is no legend.
    pub series: Vec<String>,
    /// The groups, from above.
    pub groups: Vec<BarGroup>,
}

/// Bars of one thing.
#[derive(Clone, Debug)]
pub struct BarGroup {
    /// What it is.
    pub name: String,
    /// A value for each series, `None` where there is none.
    pub values: Vec<Option<f64>>,
}

impl BarChart {
    /// The picture, as the text of an SVG file.
    ///
    /// # Panics
    /// If there are more than eight series, or no value at all.
    pub fn to_svg(&self) -> String {
        assert!(
            self.series.len() <= COLOURS.len(),
            "there are eight colours"
        );
        let height = self.bottom() + BELOW + self.legend_height();
        svg(WIDTH, height as u32, |area| self.draw(area))
    }

    fn group_height(&self) -> i32 {
        self.series.len() as i32 * BAR_HEIGHT + GAP
    }

    fn bottom(&self) -> i32 {
        TITLE_HEIGHT + GAP + self.groups.len() as i32 * self.group_height()
    }

    fn legend_height(&self) -> i32 {
        match self.series.len() {
            1 => 0,
            names => legend_height(names),
        }
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        self.groups
            .iter()
            .flat_map(|group| &group.values)
            .flatten()
            .copied()
    }

    fn draw(&self, area: &Area<'_>) -> Drawing {
        write_title(area, &self.title)?;
        let least = self.values().fold(f64::INFINITY, f64::min);
        let most = self.values().fold(f64::NEG_INFINITY, f64::max);
        assert!(most.is_finite(), "there is something to draw");
        let scale = self.axis.scale;
        let range = scale.range(least, most);
        let width = f64::from(WIDTH as i32 - LEFT - RIGHT);
        let pixel = |value: f64| {
            let part = (scale.place(value) - range.0) / (range.1 - range.0);
            LEFT + (part * width).round() as i32
        };
        for value in scale.ticks(range) {
            let x = pixel(value);
            line(
                area,
                [(x, TITLE_HEIGHT), (x, self.bottom())],
                GREY.mix(0.25),
            )?;
            let text = style(TEXT_PIXELS, HPos::Center, VPos::Top);
            write(area, &short(value), (x, self.bottom() + 6), text)?;
        }
        line(area, [(LEFT, TITLE_HEIGHT), (LEFT, self.bottom())], GREY)?;
        let middle = (LEFT + width as i32 / 2, self.bottom() + 46);
        let name = style(NAME_PIXELS, HPos::Center, VPos::Center);
        write(area, &self.axis.name, middle, name)?;
        for (number, group) in self.groups.iter().enumerate() {
            let top = TITLE_HEIGHT + GAP + number as i32 * self.group_height();
            let middle = top + (self.group_height() - GAP) / 2;
            let text = style(TEXT_PIXELS, HPos::Right, VPos::Center);
            write(area, &group.name, (LEFT - 10, middle), text)?;
            for ((value, colour), y) in group
                .values
                .iter()
                .zip(COLOURS)
                .zip((top..).step_by(BAR_HEIGHT as usize))
            {
                let (text, end) = match value {
                    Some(value) => (short(*value), pixel(*value).max(LEFT + 1)),
                    None => ("not known".to_owned(), LEFT),
                };
                if end > LEFT {
                    let corners = [(LEFT, y + 1), (end, y + BAR_HEIGHT - 1)];
                    area.draw(&Rectangle::new(corners, colour.filled()))?;
                }
                let at = (end + 6, y + BAR_HEIGHT / 2);
                write(
                    area,
                    &text,
                    at,
                    style(TEXT_PIXELS - 1, HPos::Left, VPos::Center),
                )?;
            }
        }
        if self.series.len() > 1 {
            let series = self.series.iter().enumerate();
            let names: Vec<_> = series
                .map(|(number, series)| (number, series.as_str()))
                .collect();
            draw_legend(area, &names, |number, (x, y)| {
                let corners = [(x - 12, y - 6), (x + 12, y + 6)];
                area.draw(&Rectangle::new(corners, COLOURS[number].filled()))?;
                Ok(())
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_names_groups_and_series_and_writes_each_value() {
        let chart = BarChart {
            title: "memory".to_owned(),
            axis: Axis::linear("bytes per entry"),
            series: ["fill", "churn"].map(str::to_owned).to_vec(),
            groups: vec![
                BarGroup {
                    name: "ours".to_owned(),
                    values: vec![Some(39.26), Some(40.5)],
                },
                BarGroup {
                    name: "theirs".to_owned(),
                    values: vec![Some(0.0), None],
                },
            ],
        };
        let svg = chart.to_svg();
        for text in [
            "memory",
            "bytes per entry",
            "fill",
            "churn",
            "ours",
            "39.3",
            "40.5",
            "not known",
        ] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(!svg.contains("NaN"));
    }
}
