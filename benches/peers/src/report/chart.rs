//! Bar charts as SVG: readable on light and on dark, without a script or a font of their own.

use std::fmt::Write as _;

use super::table::number;
use crate::results::{Family, Part, Spread};

/// A chart of lying bars.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    /// What it shows, its unit, and which way is better.
    pub(super) title: String,
    /// The names of the bars that each row has; with one or none there is no legend.
    pub(super) series: Vec<String>,
    /// From above.
    pub(super) rows: Vec<Row>,
}

/// A row: one way.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) title: String,
    pub(super) family: Family,
    /// One for each of the series.
    pub(super) values: Vec<Option<Spread>>,
    /// What the bar is made of, where that is shown.
    pub(super) parts: Vec<Part>,
}

const WIDTH: f64 = 840.0;
/// Where bars begin.
const LEFT: f64 = 330.0;
/// Where the longest ends; the number follows.
const RIGHT: f64 = 740.0;
const BAR: f64 = 13.0;
const GAP: f64 = 12.0;

/// The colours of both themes. The picture has its own ground, so that it does not depend on the page's.
const STYLE: &str = "<style>\
    text{font:13px system-ui,-apple-system,\"Segoe UI\",\"Liberation Sans\",sans-serif;fill:#1f2328}\
    .ground{fill:#ffffff}.title{font-weight:600;font-size:14px}.small{font-size:11px;fill:#59636e}\
    .ours{fill:#0a6674}.peer{fill:#818b98}.bare{fill:#b9c0c8}.line{stroke:#1f2328}.edge{stroke:#ffffff}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}.ground{fill:#0d1117}.small{fill:#9198a1}\
    .ours{fill:#3fb8c9}.peer{fill:#7d8590}.bare{fill:#565e67}.line{stroke:#e6edf3}.edge{stroke:#0d1117}}\
    </style>";

impl Chart {
    /// Every figure of it, for who does not see it.
    pub(super) fn in_words(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            let values: Vec<_> =
                row.values.iter().map(|value| value.map_or("–".into(), |value| number(value.median))).collect();
            format!("{} {}", row.title, values.join(" / "))
        });
        escape(&format!("{}: {}", self.title, rows.collect::<Vec<_>>().join("; ")))
    }

    /// The picture.
    pub(super) fn svg(&self) -> String {
        let bars = self.rows.iter().map(|row| row.values.len()).max().unwrap_or(1) as f64;
        let (step, top) = (bars * BAR + GAP, if self.series.len() > 1 { 62.0 } else { 42.0 });
        let height = top + step * self.rows.len() as f64 + 8.0;
        let most = self.rows.iter().flat_map(|row| &row.values).flatten().map(|value| value.most).fold(0.0, f64::max);
        let scale = if most > 0.0 { (RIGHT - LEFT) / most } else { 0.0 };
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
             role=\"img\">\n<title>{}</title>\n{STYLE}\n<rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
             <text class=\"title\" x=\"12\" y=\"24\">{}</text>\n",
            escape(&self.title),
            escape(&self.title)
        );
        self.legend(&mut svg);
        for (at, row) in self.rows.iter().enumerate() {
            row.draw(&mut svg, top + step * at as f64, scale);
        }
        svg += "</svg>\n";
        svg
    }

    fn legend(&self, svg: &mut String) {
        if self.series.len() < 2 {
            return;
        }
        for (at, name) in self.series.iter().enumerate() {
            let x = LEFT + 125.0 * at as f64;
            let _ = writeln!(
                svg,
                "<rect class=\"ours\" fill-opacity=\"{}\" x=\"{x}\" y=\"38\" width=\"10\" height=\"10\"/>\
                 <text class=\"small\" x=\"{}\" y=\"47\">{}</text>",
                opacity(at),
                x + 15.0,
                escape(name)
            );
        }
    }
}

impl Row {
    fn draw(&self, svg: &mut String, top: f64, scale: f64) {
        let class = match self.family {
            Family::Bare => "bare",
            Family::Ours => "ours",
            Family::Peer => "peer",
        };
        let middle = top + self.values.len() as f64 * BAR / 2.0 + 4.0;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{middle:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 10.0,
            escape(&self.title)
        );
        for (at, value) in self.values.iter().enumerate() {
            let Some(value) = value else { continue };
            let (y, end) = (top + at as f64 * BAR, LEFT + (value.median * scale).max(1.0));
            if self.parts.is_empty() {
                let _ = writeln!(
                    svg,
                    "<rect class=\"{class}\" fill-opacity=\"{}\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{}\"/>",
                    opacity(at),
                    end - LEFT,
                    BAR - 2.0
                );
            } else {
                self.stack(svg, class, y, scale);
            }
            let mut after = end;
            if value.most > value.least {
                let (least, most) = (LEFT + value.least * scale, LEFT + value.most * scale);
                let line = y + (BAR - 2.0) / 2.0;
                let _ = writeln!(svg, "<path class=\"line\" d=\"M{least:.1} {line:.1}H{most:.1}\"/>");
                after = after.max(most);
            }
            let _ = writeln!(
                svg,
                "<text class=\"small\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                after + 6.0,
                y + BAR - 4.0,
                number(value.median)
            );
        }
    }

    /// The parts one behind the other. Medians of parts need not add up to that of the whole, but nearly do.
    fn stack(&self, svg: &mut String, class: &str, y: f64, scale: f64) {
        let mut x = LEFT;
        for (at, part) in self.parts.iter().enumerate() {
            let width = (part.value * scale).max(0.0);
            let _ = writeln!(
                svg,
                "<rect class=\"{class} edge\" fill-opacity=\"{}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{}\">\
                 <title>{} {}</title></rect>",
                opacity(at),
                BAR - 2.0,
                escape(&part.name),
                number(part.value)
            );
            x += width;
        }
    }
}

/// The first bar is the strongest.
fn opacity(at: usize) -> f64 {
    [1.0, 0.75, 0.55, 0.38].get(at).copied().unwrap_or(0.38)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
