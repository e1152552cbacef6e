//! Pictures of results, through `plotters`: curves, bars and tables of coloured cells.
//!
//! The background is transparent and all that is not data a middle grey, so a picture can be read on
//! white and on black. Series differ by colour (after Okabe and Ito, whose colours colour-blind
//! readers tell apart, in shades that show on either background) and by mark, and are named below
//! the plot, where no data is. All text is large enough to be read where a picture of this width
//! fills a phone.

mod bars;
mod curves;
mod heat;

pub use bars::{BarChart, BarGroup};
pub use curves::{Curve, LineChart, Point};
pub use heat::HeatMap;

use plotters::coord::Shift;
use plotters::prelude::{
    Circle, DrawingArea, IntoDrawingArea, IntoFont, PathElement, RGBColor, SVGBackend, Text,
    TextStyle, TriangleMarker,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontTransform, ShapeStyle};
use std::error::Error;

/// The colour of all that is not data, as SVG writes it: a page that shows a picture inline may put
/// its own text's colour there.
pub const GREY_TEXT: &str = "#787878";
const GREY: RGBColor = RGBColor(0x78, 0x78, 0x78);
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(160, 140, 20),
    RGBColor(128, 128, 128),
];
const WIDTH: u32 = 600;
/// What the title takes.
const TITLE_HEIGHT: i32 = 34;
const LEGEND_LINE: i32 = 25;
const LEGEND_COLUMNS: usize = 2;
const MARK: i32 = 4;
/// The sizes of titles, of names of axes, and of all other text.
const TITLE_PIXELS: i32 = 19;
const NAME_PIXELS: i32 = 17;
const TEXT_PIXELS: i32 = 16;

type Drawing = Result<(), Box<dyn Error + Send + Sync>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// How values become places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Equal differences are equally far apart, from 0 on.
    Linear,
    /// Equal ratios are; values must be above 0.
    Log,
}

/// One direction of a plot.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it shows, with the unit.
    pub name: String,
    /// How values become places.
    pub scale: Scale,
    /// What stands at which values, if not the values themselves.
    pub ticks: &'static [(f64, &'static str)],
}

impl Axis {
    /// An axis with equal steps.
    pub fn linear(name: impl Into<String>) -> Self {
        Self::new(name.into(), Scale::Linear)
    }

    /// An axis with equal ratios.
    pub fn log(name: impl Into<String>) -> Self {
        Self::new(name.into(), Scale::Log)
    }

    /// The axis with these words at these values.
    pub fn with_ticks(self, ticks: &'static [(f64, &'static str)]) -> Self {
        Self { ticks, ..self }
    }

    fn new(name: String, scale: Scale) -> Self {
        Self {
            name,
            scale,
            ticks: &[],
        }
    }

    /// What stands at a value.
    fn label(&self, value: f64) -> String {
        let mut ticks = self.ticks.iter();
        let word = ticks.find(|(at, _)| *at == value);
        word.map_or_else(|| short(value), |(_, word)| (*word).to_owned())
    }
}

impl Scale {
    /// Where a value is.
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Log => value.log10(),
        }
    }

    /// The places that an axis for these values runs between, with a little room.
    fn range(self, least: f64, most: f64) -> (f64, f64) {
        match self {
            Self::Linear => (0.0, if most > 0.0 { 1.06 * most } else { 1.0 }),
            Self::Log => {
                let (low, high) = (least.log10(), most.log10());
                let room = (0.05 * (high - low)).max(0.05);
                (low - room, high + room)
            }
        }
    }

    /// Round values between two places, some six of them.
    fn ticks(self, (low, high): (f64, f64)) -> Vec<f64> {
        match self {
            Self::Linear => {
                let rough = (high - low) / 6.0;
                let decade = 10_f64.powf(rough.log10().floor());
                let factor = [1.0, 2.0, 5.0, 10.0]
                    .into_iter()
                    .find(|factor| factor * decade >= rough);
                let step = factor.unwrap_or(10.0) * decade;
                let steps = 0..=(high / step).floor() as u32;
                steps.map(|number| f64::from(number) * step).collect()
            }
            Self::Log => {
                let factors: &[f64] = match high - low {
                    decades if decades < 2.5 => &[1.0, 2.0, 5.0],
                    _ => &[1.0],
                };
                let stride = (((high - low) / 7.0).floor() as usize).max(1);
                let decades = (low.floor() as i32..=high.ceil() as i32).step_by(stride);
                decades
                    .flat_map(|decade| {
                        factors
                            .iter()
                            .map(move |factor| factor * 10_f64.powi(decade))
                    })
                    .filter(|value| (low..=high).contains(&value.log10()))
                    .collect()
            }
        }
    }
}

/// A number as an axis shows it: short, and exact for round ones.
pub fn short(value: f64) -> String {
    let digits = |value: f64| {
        let decimals = match value.abs() {
            value if value >= 100.0 || value == 0.0 => 0,
            value if value >= 10.0 => 1,
            value if value >= 0.1 => 2,
            value => (2.0 - value.log10().floor()).min(9.0) as usize,
        };
        let text = format!("{value:.decimals$}");
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text,
        }
    };
    match value.abs() {
        size if size >= 1e9 => format!("{} G", digits(value / 1e9)),
        size if size >= 1e6 => format!("{} M", digits(value / 1e6)),
        size if size >= 1e4 => format!("{} k", digits(value / 1e3)),
        _ => digits(value),
    }
}

/// Draws into memory.
fn svg(width: u32, height: u32, draw: impl FnOnce(&Area<'_>) -> Drawing) -> String {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (width, height)).into_drawing_area();
        draw(&area).expect("nothing fails that draws into memory");
        area.present()
            .expect("nothing fails that draws into memory");
    }
    text
}

fn style(pixels: i32, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    ("sans-serif", pixels)
        .into_font()
        .color(&GREY)
        .pos(Pos::new(horizontal, vertical))
}

/// Text that reads upwards.
fn upright(pixels: i32, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    style(pixels, horizontal, vertical).transform(FontTransform::Rotate270)
}

fn write(area: &Area<'_>, text: &str, at: (i32, i32), style: TextStyle<'_>) -> Drawing {
    area.draw(&Text::new(text.to_owned(), at, style))?;
    Ok(())
}

fn write_title(area: &Area<'_>, title: &str) -> Drawing {
    let at = (area.dim_in_pixel().0 as i32 / 2, TITLE_HEIGHT / 2);
    write(
        area,
        title,
        at,
        style(TITLE_PIXELS, HPos::Center, VPos::Center),
    )
}

/// The marks that tell series apart beside their colours.
#[derive(Clone, Copy)]
enum Mark {
    Disc,
    Ring,
    Triangle,
}

impl Mark {
    fn of(number: usize) -> Self {
        [Self::Disc, Self::Ring, Self::Triangle][number % 3]
    }

    fn draw(self, area: &Area<'_>, at: (i32, i32), colour: RGBColor) -> Drawing {
        match self {
            Self::Disc => area.draw(&Circle::new(at, MARK, colour.filled()))?,
            Self::Ring => {
                let line = ShapeStyle::from(colour).stroke_width(2);
                area.draw(&Circle::new(at, MARK, line))?;
            }
            Self::Triangle => area.draw(&TriangleMarker::new(at, MARK + 1, colour.filled()))?,
        }
        Ok(())
    }
}

/// The height of a legend with so many names.
fn legend_height(names: usize) -> i32 {
    names.div_ceil(LEGEND_COLUMNS) as i32 * LEGEND_LINE + 6
}

/// Names the series in the lowest part of a picture, row by row; `sample` draws the line or box of the
/// series of a number around a place.
fn draw_legend(
    area: &Area<'_>,
    names: &[(usize, &str)],
    sample: impl Fn(usize, (i32, i32)) -> Drawing,
) -> Drawing {
    let (width, height) = area.dim_in_pixel();
    let top = height as i32 - legend_height(names.len());
    let column_width = (width as i32 - 40) / LEGEND_COLUMNS as i32;
    for (place, &(number, name)) in names.iter().enumerate() {
        let x = 20 + (place % LEGEND_COLUMNS) as i32 * column_width;
        let y = top + (place / LEGEND_COLUMNS) as i32 * LEGEND_LINE + LEGEND_LINE / 2;
        sample(number, (x + 14, y))?;
        let text = style(TEXT_PIXELS, HPos::Left, VPos::Center);
        write(area, name, (x + 36, y), text)?;
    }
    Ok(())
}

fn line(area: &Area<'_>, ends: [(i32, i32); 2], style: impl Into<ShapeStyle>) -> Drawing {
    area.draw(&PathElement::new(ends.to_vec(), style.into()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within_the_axis() {
        assert_eq!(
            Scale::Linear.ticks((0.0, 100.0)),
            [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
        );
        assert_eq!(
            Scale::Linear.ticks((0.0, 0.7)),
            [0.0, 0.2, 0.4, 0.6000000000000001]
        );
        assert_eq!(Scale::Log.ticks((0.9, 2.1)), [10.0, 20.0, 50.0, 100.0]);
        assert_eq!(Scale::Log.ticks((3.0, 7.0)), [1e3, 1e4, 1e5, 1e6, 1e7]);
    }

    #[test]
    fn numbers_are_short_and_exact_where_they_are_round() {
        for (value, text) in [
            (0.0, "0"),
            (0.05, "0.05"),
            (0.001, "0.001"),
            (1.5, "1.5"),
            (20.0, "20"),
            (1000.0, "1000"),
            (10_000.0, "10 k"),
            (2_500_000.0, "2.5 M"),
            (1e10, "10 G"),
            (0.6000000000000001, "0.6"),
        ] {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn a_range_has_its_values_inside() {
        for scale in [Scale::Linear, Scale::Log] {
            for (least, most) in [(1.0, 1.0), (0.01, 100.0), (5.0, 6.0)] {
                let (low, high) = scale.range(least, most);
                assert!(low < scale.place(least) && scale.place(most) < high);
            }
        }
        assert_eq!(Scale::Linear.range(0.0, 0.0), (0.0, 1.0));
    }
}
