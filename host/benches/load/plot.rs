//! A plot of the cost of a delivery (SVG), against the number of peers and the load.

use core::fmt::Write;

use crate::server::Kind;

const COLOURS: [&str; 7] = [
    "#c2185b", "#f48fb1", "#555555", "#1565c0", "#2e7d32", "#ef6c00", "#6a1b9a",
];

const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 320.0;
const MARGIN: f64 = 60.0;

/// A panel. Both axes are logarithmic.
#[derive(Debug)]
pub(crate) struct Panel {
    title: &'static str,
    x: &'static str,
    /// The values that are marked on the axis. It ends at the last of them.
    ticks: Vec<f64>,
    /// By server: positions on the axis, each with the microseconds for a delivery.
    series: Vec<(Kind, Vec<(f64, f64)>)>,
}

impl Panel {
    pub(crate) fn new(title: &'static str, x: &'static str, ticks: Vec<f64>) -> Self {
        Self {
            title,
            x,
            ticks,
            series: Vec::new(),
        }
    }

    pub(crate) fn point(&mut self, kind: Kind, x: f64, cost: f64) {
        let known = self.series.iter_mut().find(|(known, _)| *known == kind);
        if let Some((_, points)) = known {
            points.push((x, cost));
        } else {
            self.series.push((kind, vec![(x, cost)]));
        }
    }

    fn draw(&self, left: f64, svg: &mut String) -> core::fmt::Result {
        let costs = self.series.iter().flat_map(|(_, points)| points);
        let (low, high) = costs.fold((f64::MAX, f64::MIN), |(low, high), (_, cost)| {
            (low.min(*cost), high.max(*cost))
        });
        let scale = Scale {
            left,
            x: (self.ticks[0], self.ticks[self.ticks.len() - 1]),
            y: (low * 0.8, high * 1.2),
        };
        self.draw_axes(&scale, svg)?;
        self.series
            .iter()
            .try_for_each(|(kind, points)| draw_line(&scale, *kind, points, svg))
    }

    fn draw_axes(&self, scale: &Scale, svg: &mut String) -> core::fmt::Result {
        let (left, right) = (scale.left, scale.left + WIDTH);
        let (middle, bottom) = (left + WIDTH / 2.0, MARGIN + HEIGHT);
        writeln!(
            svg,
            r##"<rect x="{left}" y="{MARGIN}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999"/>
<text x="{middle}" y="{}" text-anchor="middle" font-weight="bold">{}</text>
<text x="{middle}" y="{}" text-anchor="middle">{}</text>"##,
            MARGIN - 12.0,
            self.title,
            bottom + 38.0,
            self.x
        )?;
        for tick in &self.ticks {
            let (x, y) = (scale.to_x(*tick), bottom + 18.0);
            writeln!(
                svg,
                r#"<text x="{x:.1}" y="{y}" text-anchor="middle">{tick}</text>"#
            )?;
        }
        let (low, high) = scale.y;
        let costs = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0];
        for cost in costs.iter().filter(|cost| (low..high).contains(cost)) {
            let y = scale.to_y(*cost);
            writeln!(
                svg,
                r##"<path d="M{left} {y:.1}H{right}" stroke="#ddd"/><text x="{}" y="{:.1}" text-anchor="end">{cost}</text>"##,
                left - 6.0,
                y + 4.0
            )?;
        }
        Ok(())
    }
}

/// Converts values to coordinates.
struct Scale {
    left: f64,
    /// The limits of both axes.
    x: (f64, f64),
    y: (f64, f64),
}

impl Scale {
    fn to_x(&self, value: f64) -> f64 {
        self.left + WIDTH * part(value, self.x)
    }

    fn to_y(&self, value: f64) -> f64 {
        MARGIN + HEIGHT * (1.0 - part(value, self.y))
    }
}

fn part(value: f64, (low, high): (f64, f64)) -> f64 {
    (value / low).ln() / (high / low).ln()
}

fn draw_line(
    scale: &Scale,
    kind: Kind,
    points: &[(f64, f64)],
    svg: &mut String,
) -> core::fmt::Result {
    let colour = colour(kind);
    let places = points
        .iter()
        .map(|(x, cost)| (scale.to_x(*x), scale.to_y(*cost)));
    let line: Vec<String> = places
        .clone()
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    writeln!(
        svg,
        r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
        line.join(" ")
    )?;
    for (x, y) in places {
        writeln!(
            svg,
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#
        )?;
    }
    Ok(())
}

/// Draws the panels side by side, with a legend below.
///
/// # Errors
///
/// None: writing to a string does not fail.
pub(crate) fn draw(panels: &[Panel]) -> Result<String, core::fmt::Error> {
    let (mut svg, mut body) = (String::new(), String::new());
    let mut left = MARGIN;
    for panel in panels {
        panel.draw(left, &mut body)?;
        left += WIDTH + MARGIN;
    }
    let (width, height) = (left - MARGIN / 2.0, HEIGHT + 2.5 * MARGIN);
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">
<rect width="{width}" height="{height}" fill="white"/>"#
    )?;
    svg.push_str(&body);
    let mut x = MARGIN;
    let is_there = |kind: &Kind| {
        let mut series = panels.iter().flat_map(|panel| &panel.series);
        series.any(|(known, _)| known == kind)
    };
    for kind in Kind::ALL.into_iter().filter(is_there) {
        let (y, colour) = (height - 25.0, colour(kind));
        writeln!(
            svg,
            r#"<circle cx="{x}" cy="{}" r="5" fill="{colour}"/><text x="{}" y="{y}">{}</text>"#,
            y - 4.0,
            x + 10.0,
            kind.name()
        )?;
        x += 120.0;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn colour(kind: Kind) -> &'static str {
    let index = Kind::ALL.iter().position(|known| *known == kind);
    COLOURS[index.unwrap_or_default() % COLOURS.len()]
}
