//! Curves over a common axis, each point with the range that it was measured in.

use super::{
    Area, Axis, COLOURS, Drawing, GREY, Mark, NAME_PIXELS, Scale, TEXT_PIXELS, TITLE_HEIGHT, WIDTH,
    draw_legend, legend_height, line, short, style, svg, upright, write, write_title,
};
use plotters::style::Color;
use plotters::style::text_anchor::{HPos, VPos};

const PLOT_HEIGHT: i32 = 310;
/// Left of the plot stand the y axis' name and numbers, below it the x axis'.
const LEFT: i32 = 88;
const RIGHT: i32 = 34;
const BELOW: i32 = 64;
/// The width of a digit, roughly. Numbers of the x axis that would run into each other are left out.
const DIGIT_WIDTH: i32 = 9;

/// Curves to draw.
#[derive(Clone, Debug)]
pub struct LineChart {
    /// What it shows.
    pub title: String,
    /// The x axis; its ticks are the points' own values.
    pub x: Axis,
    /// The y axis.
    pub y: Axis,
    /// The curves, eight at most; the first one is drawn in front. One without points is left out, and
    /// its colour with it.
    pub curves: Vec<Curve>,
}

/// One curve.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Its name in the legend.
    pub name: String,
    /// Its points, by ascending x.
    pub points: Vec<Point>,
}

/// One point, with the least and the greatest value measured there.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Where it is on the x axis.
    pub x: f64,
    /// Its value,
    pub y: f64,
    /// the least
    pub low: f64,
    /// and the greatest.
    pub high: f64,
}

impl Point {
    /// A point that is known exactly.
    pub fn exact(x: f64, y: f64) -> Self {
        let (low, high) = (y, y);
        Self { x, y, low, high }
    }
}

/// Where values lie in the picture.
struct Plot<'a> {
    chart: &'a LineChart,
    x: (f64, f64),
    y: (f64, f64),
}

impl LineChart {
    /// The picture, as the text of an SVG file.
    ///
    /// # Panics
    /// If there are more than eight curves, or no point at all.
    pub fn to_svg(&self) -> String {
        assert!(
            self.curves.len() <= COLOURS.len(),
            "there are eight colours"
        );
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let least = |of: fn(&Point) -> f64| points().map(of).fold(f64::INFINITY, f64::min);
        let most = |of: fn(&Point) -> f64| points().map(of).fold(f64::NEG_INFINITY, f64::max);
        assert!(points().count() > 0, "there is something to draw");
        let plot = Plot {
            chart: self,
            x: match self.x.scale {
                Scale::Log => self.x.scale.range(least(|at| at.x), most(|at| at.x)),
                // Unlike values, places need not begin at 0.
                Scale::Linear => {
                    let (low, high) = (least(|at| at.x), most(|at| at.x));
                    let room = (0.04 * (high - low)).max(0.01);
                    (low - room, high + room)
                }
            },
            y: self.y.scale.range(least(|at| at.low), most(|at| at.high)),
        };
        let height = TITLE_HEIGHT
            + PLOT_HEIGHT
            + BELOW
            + legend_height(
                self.curves
                    .iter()
                    .filter(|curve| !curve.points.is_empty())
                    .count(),
            );
        svg(WIDTH, height as u32, |area| plot.draw(area))
    }
}

impl Plot<'_> {
    fn draw(&self, area: &Area<'_>) -> Drawing {
        write_title(area, &self.chart.title)?;
        self.draw_y_axis(area)?;
        self.draw_x_axis(area)?;
        for (number, curve) in self.chart.curves.iter().enumerate().rev() {
            self.draw_curve(area, number, curve)?;
        }
        let curves = self.chart.curves.iter().enumerate();
        let drawn: Vec<_> = curves
            .filter(|(_, curve)| !curve.points.is_empty())
            .map(|(number, curve)| (number, curve.name.as_str()))
            .collect();
        draw_legend(area, &drawn, |number, (x, y)| {
            let ends = [(x - 14, y), (x + 14, y)];
            line(area, ends, COLOURS[number].stroke_width(2))?;
            Mark::of(number).draw(area, (x, y), COLOURS[number])
        })
    }

    fn draw_y_axis(&self, area: &Area<'_>) -> Drawing {
        let (left, right) = (LEFT, WIDTH as i32 - RIGHT);
        for value in self.chart.y.scale.ticks(self.y) {
            let y = self.y_pixel(value);
            line(area, [(left, y), (right, y)], GREY.mix(0.25))?;
            let text = style(TEXT_PIXELS, HPos::Right, VPos::Center);
            write(area, &short(value), (left - 8, y), text)?;
        }
        line(area, [(left, TITLE_HEIGHT), (left, bottom())], GREY)?;
        let middle = (14, TITLE_HEIGHT + PLOT_HEIGHT / 2);
        write(
            area,
            &self.chart.y.name,
            middle,
            upright(NAME_PIXELS, HPos::Center, VPos::Center),
        )
    }

    fn draw_x_axis(&self, area: &Area<'_>) -> Drawing {
        let mut values: Vec<_> = self
            .chart
            .curves
            .iter()
            .flat_map(|curve| curve.points.iter().map(|point| point.x))
            .collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        let mut free = 0;
        for value in values {
            let x = self.x_pixel(value);
            let label = self.chart.x.label(value);
            let half = (label.chars().count() as i32 * DIGIT_WIDTH) / 2 + 4;
            if x - half < free {
                continue;
            }
            free = x + half;
            line(area, [(x, bottom()), (x, bottom() + 5)], GREY)?;
            let text = style(TEXT_PIXELS, HPos::Center, VPos::Top);
            write(area, &label, (x, bottom() + 9), text)?;
        }
        line(
            area,
            [(LEFT, bottom()), (WIDTH as i32 - RIGHT, bottom())],
            GREY,
        )?;
        let middle = (LEFT + plot_width() / 2, bottom() + 46);
        write(
            area,
            &self.chart.x.name,
            middle,
            style(NAME_PIXELS, HPos::Center, VPos::Center),
        )
    }

    fn draw_curve(&self, area: &Area<'_>, number: usize, curve: &Curve) -> Drawing {
        let colour = COLOURS[number];
        let places = curve
            .points
            .iter()
            .map(|point| (self.x_pixel(point.x), self.y_pixel(point.y)));
        let path = plotters::prelude::PathElement::new(
            places.clone().collect::<Vec<_>>(),
            colour.stroke_width(2),
        );
        area.draw(&path)?;
        for point in curve.points.iter().filter(|point| point.low < point.high) {
            let x = self.x_pixel(point.x);
            let ends = [(x, self.y_pixel(point.low)), (x, self.y_pixel(point.high))];
            line(area, ends, colour.mix(0.5).stroke_width(2))?;
        }
        for place in places {
            Mark::of(number).draw(area, place, colour)?;
        }
        Ok(())
    }

    fn x_pixel(&self, value: f64) -> i32 {
        let part = (self.chart.x.scale.place(value) - self.x.0) / (self.x.1 - self.x.0);
        LEFT + (part * f64::from(plot_width())).round() as i32
    }

    fn y_pixel(&self, value: f64) -> i32 {
        let part = (self.chart.y.scale.place(value) - self.y.0) / (self.y.1 - self.y.0);
        bottom() - (part.clamp(0.0, 1.0) * f64::from(PLOT_HEIGHT)).round() as i32
    }
}

fn bottom() -> i32 {
    TITLE_HEIGHT + PLOT_HEIGHT
}

fn plot_width() -> i32 {
    WIDTH as i32 - LEFT - RIGHT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(x: Axis, y: Axis, points: &[Point]) -> LineChart {
        let curve = |name: &str| Curve {
            name: name.to_owned(),
            points: points.to_vec(),
        };
        LineChart {
            title: "web".to_owned(),
            x,
            y,
            curves: ["default", "lru", "a<b"].map(curve).to_vec(),
        }
    }

    #[test]
    fn a_picture_names_its_curves_axes_and_sizes() {
        let points = [(100.0, 80.0), (200.0, 60.0), (400.0, 50.0)].map(|(x, y)| Point {
            x,
            y,
            low: y - 1.0,
            high: y + 1.0,
        });
        let svg = chart(Axis::log("entries"), Axis::linear("misses (%)"), &points).to_svg();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for text in [
            "web",
            "entries",
            "misses (%)",
            "default",
            "lru",
            "a&lt;b",
            "400",
        ] {
            assert!(svg.contains(text), "{text}");
        }
    }

    #[test]
    fn one_point_is_a_picture_on_every_scale() {
        for x in [Axis::log("x"), Axis::linear("x")] {
            for y in [Axis::log("y"), Axis::linear("y")] {
                let svg = chart(x.clone(), y, &[Point::exact(1.0, 1.0)]).to_svg();
                assert!(svg.contains("circle") && !svg.contains("NaN"));
            }
        }
    }
}
