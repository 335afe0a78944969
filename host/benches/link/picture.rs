//! A picture (SVG) of values against the number of relays: as measured, and computed for more relays. It has
//! colours for light and for dark pages.

use core::fmt::{Error, Write};

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 48.0;
const TOP: f64 = 34.0;

/// Limits of the number of relays, and the numbers on the axis.
const RELAYS: (f64, f64) = (1.0, 1000.0);
const MARKS: [f64; 7] = [1.0, 3.0, 8.0, 20.0, 100.0, 300.0, 1000.0];

const STYLE: &str = "\
<style>
text{fill:#333;font:11px sans-serif}.page{fill:#fff}.grid{stroke:#ddd}.axis{fill:none;stroke:#888}
.s0{--c:#c2185b}.s1{--c:#1565c0}.s2{--c:#2e7d32}
.line{fill:none;stroke:var(--c);stroke-width:1.6}.more{stroke-dasharray:4 3}.dot{fill:var(--c)}
@media(prefers-color-scheme:dark){text{fill:#ccc}.page{fill:#161b22}.grid{stroke:#333}
.s0{--c:#f06292}.s1{--c:#64b5f6}.s2{--c:#81c784}}
</style>
";

/// Values by number of relays.
#[derive(Debug)]
pub(crate) struct Series {
    name: &'static str,
    points: Vec<(f64, f64)>,
}

/// Series with one axis. Both axes are logarithmic.
#[derive(Debug)]
pub(crate) struct Panel {
    title: &'static str,
    series: Vec<Series>,
}

impl Series {
    pub(crate) const fn new(name: &'static str, points: Vec<(f64, f64)>) -> Self {
        Self { name, points }
    }

    /// Returns the constant and the slope of the line that fits the points of more than one relay best (the
    /// sum of its squared errors is the smallest).
    fn fit(&self) -> (f64, f64) {
        let points = self.points.iter().filter(|(relays, _)| *relays > 1.0);
        let (mut n, mut x, mut y, mut xx, mut xy) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (relays, value) in points {
            n += 1.0;
            x += relays;
            y += value;
            xx += relays * relays;
            xy += relays * value;
        }
        let slope = (n * xy - x * y) / (n * xx - x * x);
        ((y - slope * x) / n, slope)
    }

    /// Returns the values for more relays than were measured.
    fn computed(&self) -> Vec<(f64, f64)> {
        let (constant, slope) = self.fit();
        let (last, value) = self.points[self.points.len() - 1];
        let more = [1.5, 2.5, 5.0, 10.0, 25.0, 50.0].map(|times| last * times);
        let more = more.map(|relays| (relays, (constant + slope * relays).max(0.0)));
        [(last, value)].into_iter().chain(more).collect()
    }
}

impl Panel {
    pub(crate) const fn new(title: &'static str, series: Vec<Series>) -> Self {
        Self { title, series }
    }

    fn draw(&self, left: f64, svg: &mut String) -> Result<(), Error> {
        let drawn: Vec<[Vec<(f64, f64)>; 2]> = self
            .series
            .iter()
            .map(|series| [series.points.clone(), series.computed()])
            .collect();
        let values = drawn.iter().flatten().flatten().map(|(_, value)| *value);
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        let scale = Scale {
            left,
            y: (low / 1.5, high * 1.5),
        };
        self.draw_axes(&scale, svg)?;
        let mut legend = left + 5.0;
        for (index, ([measured, computed], series)) in drawn.iter().zip(&self.series).enumerate() {
            writeln!(svg, r#"<g class="s{index}">"#)?;
            scale.draw_line("line", measured, svg)?;
            scale.draw_line("line more", computed, svg)?;
            for (relays, value) in measured {
                let (x, y) = scale.at(*relays, *value);
                writeln!(
                    svg,
                    r#"<circle class="dot" cx="{x:.1}" cy="{y:.1}" r="2.5"/>"#
                )?;
            }
            let name = series.name;
            let (x, y) = (legend, TOP + HEIGHT + 48.0);
            legend += 30.0 + 5.6 * as_f64(name.len());
            writeln!(
                svg,
                r#"<circle class="dot" cx="{x}" cy="{}" r="4"/></g>"#,
                y - 4.0
            )?;
            writeln!(svg, r#"<text x="{}" y="{y}">{name}</text>"#, x + 8.0)?;
        }
        Ok(())
    }

    fn draw_axes(&self, scale: &Scale, svg: &mut String) -> Result<(), Error> {
        let (left, right, bottom) = (scale.left, scale.left + WIDTH, TOP + HEIGHT);
        let title = self.title;
        writeln!(svg, r#"<text x="{left}" y="{}">{title}</text>"#, TOP - 10.0)?;
        let powers = (-3..6).map(|power| 10f64.powi(power));
        for value in powers.filter(|value| (scale.y.0..scale.y.1).contains(value)) {
            let (_, y) = scale.at(1.0, value);
            let x = left - 5.0;
            writeln!(
                svg,
                r#"<path class="grid" d="M{left} {y:.1}H{right}"/><text x="{x}" y="{:.1}" text-anchor="end">{value}</text>"#,
                y + 4.0
            )?;
        }
        for relays in MARKS {
            let (x, y) = (scale.at(relays, scale.y.0).0, bottom + 15.0);
            writeln!(
                svg,
                r#"<text x="{x:.1}" y="{y}" text-anchor="middle">{relays}</text>"#
            )?;
        }
        let (x, middle) = (scale.at(20.0, scale.y.0).0, left + WIDTH / 2.0);
        writeln!(
            svg,
            r#"<path class="grid" d="M{x:.1} {TOP}V{bottom}"/><text x="{:.1}" y="{}">computed</text>
<rect class="axis" x="{left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}"/>
<text x="{middle}" y="{}" text-anchor="middle">relays</text>"#,
            x + 5.0,
            TOP + 13.0,
            bottom + 30.0
        )
    }
}

/// Converts values to coordinates.
struct Scale {
    left: f64,
    /// The limits of the values.
    y: (f64, f64),
}

impl Scale {
    fn at(&self, relays: f64, value: f64) -> (f64, f64) {
        let part = |value: f64, (low, high): (f64, f64)| (value / low).ln() / (high / low).ln();
        let x = self.left + WIDTH * part(relays, RELAYS);
        (x, TOP + HEIGHT * (1.0 - part(value, self.y)))
    }

    fn draw_line(&self, class: &str, points: &[(f64, f64)], svg: &mut String) -> Result<(), Error> {
        let points = points.iter().map(|(relays, value)| {
            let (x, y) = self.at(*relays, *value);
            format!("{x:.1},{y:.1}")
        });
        let points: Vec<String> = points.collect();
        let points = points.join(" ");
        writeln!(svg, r#"<polyline class="{class}" points="{points}"/>"#)
    }
}

/// Draws the panels side by side.
///
/// # Errors
///
/// None: writing to a string does not fail.
pub(crate) fn draw(panels: &[Panel]) -> Result<String, Error> {
    let mut svg = String::new();
    let width = (WIDTH + LEFT + 12.0) * as_f64(panels.len()) + 8.0;
    let height = TOP + HEIGHT + 58.0;
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">
{STYLE}<rect class="page" width="{width}" height="{height}"/>"#
    )?;
    for (index, panel) in panels.iter().enumerate() {
        panel.draw(LEFT + (WIDTH + LEFT + 12.0) * as_f64(index), &mut svg)?;
        for series in &panel.series {
            let (constant, slope) = series.fit();
            let (title, name) = (panel.title, series.name);
            println!("{title}, {name}: {constant:.3} + {slope:.4} for each relay");
        }
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn as_f64(number: usize) -> f64 {
    crate::as_f64(number as u64)
}
