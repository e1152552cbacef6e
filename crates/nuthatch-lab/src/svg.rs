//! Miss-ratio curves as a picture, through `plotters`.
//!
//! The background is transparent and all that is not a curve a middle grey, so the picture can be
//! read on white and on black. Curves differ by colour (after Okabe and Ito, whose colours
//! colour-blind readers tell apart, in shades that show on either background) and by mark, and are
//! named beside the plot, where no data is.

use plotters::prelude::{
    ChartBuilder, Circle, DrawingArea, IntoDrawingArea, IntoFont, LineSeries, PathElement,
    RGBColor, SVGBackend, Text, TextStyle, TriangleMarker,
};
use plotters::style::{Color, ShapeStyle};
use std::error::Error;

const GREY: RGBColor = RGBColor(128, 128, 128);
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
const WIDTH: u32 = 900;
const HEIGHT: u32 = 520;
const LEGEND_WIDTH: u32 = 170;
const LEGEND_LINE: usize = 26;
const MARK: i32 = 4;

/// Curves to draw.
#[derive(Clone, Debug)]
pub struct Chart<'a> {
    /// What it shows.
    pub title: &'a str,
    /// What the x axis counts.
    pub x_name: &'a str,
    /// The curves, eight at most.
    pub curves: Vec<Curve<'a>>,
}

/// One curve.
#[derive(Clone, Debug)]
pub struct Curve<'a> {
    /// Its name in the legend.
    pub name: &'a str,
    /// Size, miss ratio in percent, and its error in points; at least one point.
    pub points: Vec<(f64, f64, f64)>,
}

/// The marks that a curve's points get.
#[derive(Clone, Copy)]
enum Mark {
    Disc,
    Ring,
    Triangle,
}

impl Mark {
    fn of(curve: usize) -> Self {
        [Self::Disc, Self::Ring, Self::Triangle][curve % 3]
    }
}

type Drawing = Result<(), Box<dyn Error + Send + Sync>>;

impl Chart<'_> {
    /// The picture, as the text of an SVG file.
    ///
    /// # Panics
    /// If there is no curve, or more than eight, or one without points.
    pub fn to_svg(&self) -> String {
        assert!(
            self.curves.len() <= COLOURS.len(),
            "there are eight colours"
        );
        let mut text = String::new();
        {
            let root = SVGBackend::with_string(&mut text, (WIDTH, HEIGHT)).into_drawing_area();
            self.draw(&root)
                .expect("nothing fails that draws into memory");
        }
        text
    }

    fn draw(&self, root: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>) -> Drawing {
        let (plot, legend) = root.split_horizontally(WIDTH - LEGEND_WIDTH);
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let least = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
        let most = points().map(|point| point.0).fold(1.0, f64::max);
        let high = points().map(|point| point.1 + point.2).fold(1.0, f64::max);
        // The axis counts doublings of the smallest size, so that its ticks are sizes.
        let doublings = |size: f64| (size / least).log2();
        let last = doublings(most).max(1.0);
        let mut chart = ChartBuilder::on(&plot)
            .caption(self.title, style(18))
            .margin(12)
            .x_label_area_size(52)
            .y_label_area_size(62)
            .build_cartesian_2d(-0.15..last + 0.15, 0.0..(high * 1.05).min(100.0))?;
        chart
            .configure_mesh()
            .x_desc(self.x_name)
            .y_desc("requests that miss (%)")
            .x_labels(last.floor() as usize + 1)
            .y_labels(10)
            .x_label_formatter(&|doublings| format!("{:.0}", least * doublings.exp2()))
            .y_label_formatter(&|percent| format!("{percent:.0}"))
            .label_style(style(14))
            .axis_desc_style(style(15))
            .axis_style(GREY)
            .bold_line_style(GREY.mix(0.25))
            .light_line_style(GREY.mix(0.0))
            .draw()?;
        // The first one last, and so in front.
        for (number, curve) in self.curves.iter().enumerate().rev() {
            let colour = COLOURS[number];
            let line = curve
                .points
                .iter()
                .map(|point| (doublings(point.0), point.1));
            chart.draw_series(LineSeries::new(line.clone(), colour.stroke_width(2)))?;
            let bars = curve.points.iter().map(|&(size, percent, error)| {
                let x = doublings(size);
                let ends = [(x, (percent - error).max(0.0)), (x, percent + error)];
                PathElement::new(ends.to_vec(), colour.mix(0.5))
            });
            chart.draw_series(bars)?;
            match Mark::of(number) {
                Mark::Disc => {
                    chart.draw_series(line.map(|at| Circle::new(at, MARK, colour.filled())))?
                }
                Mark::Ring => {
                    chart.draw_series(line.map(|at| {
                        Circle::new(at, MARK, ShapeStyle::from(colour).stroke_width(2))
                    }))?
                }
                Mark::Triangle => chart.draw_series(
                    line.map(|at| TriangleMarker::new(at, MARK + 1, colour.filled())),
                )?,
            };
        }
        for ((curve, number), y) in self.curves.iter().zip(0..).zip((60..).step_by(LEGEND_LINE)) {
            draw_legend(&legend, curve.name, number, y)?;
        }
        root.present()?;
        Ok(())
    }
}

fn draw_legend(
    legend: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    name: &str,
    number: usize,
    y: i32,
) -> Drawing {
    let colour = COLOURS[number];
    let line = vec![(0, y), (28, y)];
    legend.draw(&PathElement::new(line, colour.stroke_width(2)))?;
    let middle = (14, y);
    match Mark::of(number) {
        Mark::Disc => legend.draw(&Circle::new(middle, MARK, colour.filled()))?,
        Mark::Ring => legend.draw(&Circle::new(
            middle,
            MARK,
            ShapeStyle::from(colour).stroke_width(2),
        ))?,
        Mark::Triangle => legend.draw(&TriangleMarker::new(middle, MARK + 1, colour.filled()))?,
    }
    legend.draw(&Text::new(name.to_owned(), (36, y - 7), style(15)))?;
    Ok(())
}

fn style(pixels: i32) -> TextStyle<'static> {
    ("sans-serif", pixels).into_font().color(&GREY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_names_its_curves_axes_and_sizes() {
        let curve = |name| Curve {
            name,
            points: vec![(100.0, 80.0, 1.0), (200.0, 60.0, 0.5), (400.0, 50.0, 0.0)],
        };
        let chart = Chart {
            title: "web",
            x_name: "entries",
            curves: ["default", "lru", "a<b"].map(curve).to_vec(),
        };
        let svg = chart.to_svg();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for text in [
            "web",
            "entries",
            "that miss (%)",
            "default",
            "lru",
            "a&lt;b",
            "400",
        ] {
            assert!(svg.contains(text), "{text}");
        }
    }

    #[test]
    fn one_point_is_a_picture() {
        let chart = Chart {
            title: "web",
            x_name: "entries",
            curves: vec![Curve {
                name: "lru",
                points: vec![(1.0, 0.0, 0.0)],
            }],
        };
        assert!(chart.to_svg().contains("circle"));
    }
}
