//! Plots as SVG, drawn by hand: a few lines with a logarithmic or linear axis each.

use std::fmt::Write;

/// One line of a plot.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// What the legend calls it.
    pub name: &'a str,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// An axis: its name, and whether it is logarithmic.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    /// What is written beside it.
    pub name: &'static str,
    /// Whether each factor, rather than each difference, takes the same room.
    pub is_log: bool,
}

/// The plot of these lines as the text of an SVG file. Both axes reach as far as the points do.
pub fn draw(title: &str, x: Axis, y: Axis, lines: &[Line<'_>]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let (x_low, x_high) = range(points().map(|p| p.0), x);
    let (y_low, y_high) = range(points().map(|p| p.1), y);
    let at = |value: f64, low: f64, high: f64, axis: Axis| {
        let scale = |v: f64| if axis.is_log { v.max(1e-9).ln() } else { v };
        (scale(value) - scale(low)) / (scale(high) - scale(low)).max(1e-9)
    };
    let left = |v: f64| MARGIN + at(v, x_low, x_high, x) * WIDTH;
    let top = |v: f64| MARGIN + (1.0 - at(v, y_low, y_high, y)) * HEIGHT;
    let title = escaped(title);
    let (full_width, full_height) = (WIDTH + 2.0 * MARGIN, HEIGHT + 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {full_width} {full_height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{MARGIN}\" y=\"24\" font-size=\"15\">{title}</text>\n"
    );
    let bottom = MARGIN + HEIGHT;
    for value in ticks(x_low, x_high, x) {
        let place = left(value);
        // Writing to a string cannot fail.
        let _tick = writeln!(
            svg,
            "<path d=\"M{place:.1} {MARGIN}V{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{place:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 16.0,
            short(value)
        );
    }
    for value in ticks(y_low, y_high, y) {
        let place = top(value);
        let _tick = writeln!(
            svg,
            "<path d=\"M{MARGIN} {place:.1}h{WIDTH}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            MARGIN - 6.0,
            place + 4.0,
            short(value)
        );
    }
    for (index, line) in lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let path: Vec<String> =
            line.points.iter().map(|&(a, b)| format!("{:.1},{:.1}", left(a), top(b))).collect();
        let _line = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{:.1}\" y=\"{}\" fill=\"{colour}\">{}</text>",
            path.join(" "),
            MARGIN + 12.0,
            MARGIN + 18.0 + 16.0 * index as f64,
            escaped(line.name)
        );
    }
    let (x_name, y_name) = (x.name, y.name);
    let _names = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{x_name}</text>\
         <text x=\"16\" y=\"{:.1}\" transform=\"rotate(-90 16 {:.1})\" \
         text-anchor=\"middle\">{y_name}</text>\n</svg>",
        MARGIN + WIDTH / 2.0,
        full_height - 12.0,
        MARGIN + HEIGHT / 2.0,
        MARGIN + HEIGHT / 2.0
    );
    svg
}

fn range(values: impl Iterator<Item = f64>, axis: Axis) -> (f64, f64) {
    let (low, high) =
        values.fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), v| (low.min(v), high.max(v)));
    if low.is_infinite() {
        return (1.0, 10.0);
    }
    if axis.is_log { (low.clamp(1e-3, 1e12), high.max(low * 1.01)) } else { (0.0, high.max(1e-9)) }
}

fn ticks(low: f64, high: f64, axis: Axis) -> Vec<f64> {
    if axis.is_log {
        let decades = (-3..12).flat_map(|n| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(n)));
        return decades.filter(|v| (low..=high).contains(v)).collect();
    }
    let raw = high / 5.0;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= raw);
    let step = step.unwrap_or(raw);
    (0..10).map(|n| f64::from(n) * step).take_while(|v| *v <= high * 1.001).collect()
}

/// A text that names things, inside of an element.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", trimmed(v / 1e6)),
        v if v >= 1e3 => format!("{}k", trimmed(v / 1e3)),
        v => trimmed(v),
    }
}

fn trimmed(value: f64) -> String {
    format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

const WIDTH: f64 = 620.0;
const HEIGHT: f64 = 340.0;
const MARGIN: f64 = 64.0;
const COLOURS: [&str; 8] =
    ["#1b6ca8", "#c8553d", "#4c956c", "#7a5195", "#b8860b", "#3b3b3b", "#d6618f", "#2aa1a1"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_lie_inside_of_the_axis() {
        let log = Axis { name: "", is_log: true };
        assert_eq!(ticks(9.0, 60.0, log), [10.0, 20.0, 50.0]);
        let linear = Axis { name: "", is_log: false };
        assert_eq!(ticks(0.0, 1.0, linear), [0.0, 0.2, 0.4, 0.600_000_000_000_000_1, 0.8, 1.0]);
    }

    #[test]
    fn names_do_not_break_the_file() {
        let axis = Axis { name: "", is_log: false };
        let line = Line { name: "a<b", points: vec![(0.0, 0.0), (1.0, 2.0)] };
        let svg = draw("R&D", axis, axis, &[line]);
        assert!(svg.contains(">R&amp;D</text>") && svg.contains(">a&lt;b</text>"), "{svg}");
        assert!(svg.contains("<polyline points=\"64.0,404.0 684.0,64.0\" "), "{svg}");
    }

    #[test]
    fn numbers_are_written_short() {
        assert_eq!(
            [short(1500.0), short(2e6), short(0.2), short(10.0)],
            ["1.5k", "2M", "0.2", "10"]
        );
    }
}
