//! Throughput and latency against size, as a drawing.
//!
//! A column for each state of the caches and number of threads; throughput above, median latency below. memcpy is one
//! line, every engine at every depth another. A circle marks where an engine passes memcpy.

use std::{error::Error, fmt};

use plotters::{
    coord::{Shift, combinators::LogCoord},
    prelude::*,
};

use super::{
    axes::{height, range},
    figures::{Point, Report},
    settings::Cache,
    table::{bytes, nanos},
};
use crate::failure::is_unprintable;

/// Width of a column and height of a row, in pixels.
const PANEL: (u32, u32) = (760, 400);

/// What stands above the panels, and below them, in pixels.
const MARGINS: (u32, u32) = (48, 20);

/// Of lines, memcpy's first: colours that are told apart by most eyes (Okabe and Ito).
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 0, 0),
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 120, 120),
];

/// The drawing cannot be made.
#[derive(Debug)]
pub(super) struct DrawError(String);

impl fmt::Display for DrawError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: Error + Send + Sync> From<DrawingAreaErrorKind<E>> for DrawError {
    fn from(error: DrawingAreaErrorKind<E>) -> Self {
        Self(error.to_string())
    }
}

/// Draws a report, as SVG.
///
/// # Errors
///
/// What the drawing library says.
pub(super) fn draw(report: &Report) -> Result<String, DrawError> {
    let groups = report.groups();
    let columns = u32::try_from(groups.len().max(1)).unwrap_or(u32::MAX);
    let (above, below) = MARGINS;
    let size = (PANEL.0.saturating_mul(columns), above + 2 * PANEL.1 + below);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE)?;
        let machine = report.machine.cpu.as_deref().unwrap_or("unknown processor");
        // XML has no place for control characters.
        let machine: String = machine.chars().filter(|c| !is_unprintable(*c)).collect();
        let title = format!("dmaring bench {}, {machine}", report.version);
        let root = root.titled(&title, ("sans-serif", 22))?;
        for (column, (cache, threads)) in groups.into_iter().enumerate() {
            let panels = root.split_evenly((2, columns as usize));
            let [above, below] = [column, column + columns as usize].map(|index| &panels[index]);
            let group = Group { report, cache, threads };
            group.draw(above, Measure::Throughput)?;
            group.draw(below, Measure::Latency)?;
        }
        root.present()?;
    }
    Ok(svg)
}

type Panel<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<LogCoord<f64>, LogCoord<f64>>>;

/// What the vertical axis shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    Throughput,
    Latency,
}

impl Measure {
    /// Never 0, which has no place on a logarithmic axis.
    fn of(self, point: &Point) -> f64 {
        match self {
            Self::Throughput => (point.bytes_per_second / 1e9).max(1e-6),
            Self::Latency => (point.latency_ns.p50 as f64).max(1.0),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput, GB/s",
            Self::Latency => "median latency",
        }
    }

    fn label(self, value: f64) -> String {
        match self {
            Self::Throughput => format!("{value}"),
            Self::Latency => nanos(value.round() as u64),
        }
    }
}

/// What one column shows.
#[derive(Clone, Copy, Debug)]
struct Group<'a> {
    report: &'a Report,
    cache: Cache,
    threads: u32,
}

/// One contender's points.
type Line<'a> = (String, Vec<&'a Point>);

impl<'a> Group<'a> {
    fn draw(self, panel: &Panel<'_>, measure: Measure) -> Result<(), DrawError> {
        let lines = self.lines();
        let points = || lines.iter().flat_map(|(_, points)| points);
        let sizes = range(points().map(|point| point.size_bytes as f64), 1.2);
        let values = range(points().map(|point| measure.of(point)), 1.6);
        let threads = if self.threads == 1 { "thread" } else { "threads" };
        let caption =
            format!("{}, {} {threads}: {}", self.cache.name(), self.threads, measure.name());
        let mut chart = ChartBuilder::on(panel)
            .caption(caption, ("sans-serif", 16))
            .margin(12)
            .margin_right(28)
            .x_label_area_size(36)
            .y_label_area_size(72)
            .build_cartesian_2d(sizes.log_scale().base(4.0), values.log_scale())?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(225, 225, 225))
            .x_labels(12)
            .y_labels(8)
            .x_desc("size of a copy")
            .x_label_formatter(&|size| bytes(size.round() as u64))
            .y_label_formatter(&|value| measure.label(*value))
            .label_style(("sans-serif", 12))
            .draw()?;
        for (number, (label, points)) in lines.iter().enumerate() {
            let colour = colour(number);
            let place = |point: &&Point| (point.size_bytes as f64, measure.of(point));
            let line = LineSeries::new(points.iter().map(place), colour.stroke_width(2));
            chart.draw_series(line.point_size(3))?.label(label).legend(move |(x, y)| {
                PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2))
            });
        }
        if measure == Measure::Throughput {
            self.mark(&mut chart, &lines)?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(RGBColor(180, 180, 180))
            .label_font(("sans-serif", 12))
            .draw()?;
        Ok(())
    }

    /// memcpy first, then the engines in the order of their measurement.
    fn lines(self) -> Vec<Line<'a>> {
        let mut lines: Vec<Line<'a>> = Vec::new();
        for point in self.report.group(self.cache, self.threads) {
            let label = label(point.engine.as_deref(), point.depth);
            match lines.iter_mut().find(|(name, _)| *name == label) {
                Some((_, points)) => points.push(point),
                None => lines.push((label, vec![point])),
            }
        }
        lines
    }

    /// A circle on memcpy's line wherever an engine passes it, in the colour of the engine's.
    fn mark(self, chart: &mut Chart<'_, '_>, lines: &[Line<'_>]) -> Result<(), DrawError> {
        let memcpy: Vec<_> = self
            .report
            .group(self.cache, self.threads)
            .filter(|point| point.engine.is_none())
            .map(|point| (point.size_bytes as f64, Measure::Throughput.of(point)))
            .collect();
        // Labels of marks that lie close together stand one below the other.
        let mut below = 10;
        for series in &self.report.crossovers {
            if (series.cache, series.threads) != (self.cache, self.threads) {
                continue;
            }
            let label = label(Some(&series.engine), Some(series.depth));
            let line = lines.iter().position(|(name, _)| *name == label).unwrap_or(0);
            let colour = colour(line);
            for crossing in series.crossover.crossings.iter().filter(|crossing| crossing.ahead) {
                let at = (crossing.bytes as f64, height(&memcpy, crossing.bytes as f64));
                let text = format!("crossover {}", bytes(crossing.bytes));
                let font = ("sans-serif", 12).into_font().color(&colour);
                let mark = EmptyElement::at(at)
                    + Circle::new((0, 0), 7, colour.stroke_width(2))
                    + Text::new(text, (-110, below), font);
                chart.draw_series(std::iter::once(mark))?;
                below += 14;
            }
        }
        Ok(())
    }
}

fn label(engine: Option<&str>, depth: Option<u32>) -> String {
    match (engine, depth) {
        (Some(engine), Some(depth)) => format!("{engine}, depth {depth}"),
        _ => String::from("memcpy"),
    }
}

fn colour(line: usize) -> RGBColor {
    COLOURS[line % COLOURS.len()]
}

#[cfg(test)]
mod tests {
    use roxmltree::{Document, Node};

    use super::draw;
    use crate::bench::figures::{Report, tests::report};

    fn texts(svg: &str) -> Vec<String> {
        let document = Document::parse(svg).unwrap();
        let is_text = |node: &Node<'_, '_>| node.has_tag_name("text");
        document
            .descendants()
            .filter(is_text)
            .map(|node| node.text().unwrap_or_default().trim().to_owned())
            .collect()
    }

    fn count(svg: &str, tag: &str) -> usize {
        let document = Document::parse(svg).unwrap();
        document.descendants().filter(|node| node.tag_name().name() == tag).count()
    }

    #[test]
    fn it_is_well_formed_and_names_what_it_shows() {
        let svg = draw(&report()).unwrap();
        let texts = texts(&svg);
        for text in [
            "cold, 1 thread: throughput, GB/s",
            "cold, 1 thread: median latency",
            "warm, 1 thread: throughput, GB/s",
            "memcpy",
            "emulated, depth 8",
            "crossover 2 KiB",
            "1 KiB",
            "4 KiB",
            "size of a copy",
        ] {
            assert!(texts.iter().any(|shown| shown == text), "{text:?} is not in {texts:?}");
        }
        assert!(texts.iter().any(|shown| shown.ends_with("A processor")));
    }

    #[test]
    fn each_contender_has_a_line_and_only_crossovers_have_marks() {
        let with = report();
        let mut without = report();
        without.crossovers.clear();
        let circles = |report: &Report| count(&draw(report).unwrap(), "circle");
        // Two points on each of two lines in each of four panels, and one crossover.
        assert_eq!((circles(&with), circles(&without)), (17, 16));
    }

    #[test]
    fn what_is_drawn_is_well_formed_whatever_the_names_and_however_few_the_points() {
        let mut report = report();
        report.machine.cpu = Some(String::from("<b>&\"'\u{1}"));
        report.points.truncate(1);
        assert!(texts(&draw(&report).unwrap()).iter().any(|text| text.ends_with("<b>&\"'")));
        report.points.clear();
        report.crossovers.clear();
        assert_eq!(count(&draw(&report).unwrap(), "svg"), 1);
    }
}
