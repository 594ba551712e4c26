//! What was measured, as pictures.

use super::contender::{ALL, OURS};
use super::results::{Measured, Record, Results};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::error::Error;
use std::fs;
use std::path::Path;

/// Files, and what they show.
#[rustfmt::skip]
pub(crate) const CHARTS: [(&str, &str); 4] = [
    ("threads.svg", "Throughput by threads"),
    ("latency.svg", "Distribution of the time of a lock call"),
    ("alive.svg", "Cost of lock and unlock by alive keys"),
    ("memory.svg", "Heap over time: after many different keys"),
];

/// Dark on light, whatever is around the picture.
const PAPER: RGBColor = RGBColor(250, 250, 247);
const INK: RGBColor = RGBColor(40, 40, 40);
/// As in [`ALL`]. Ours is the darkest and the widest.
#[rustfmt::skip]
const COLOURS: [RGBColor; 12] = [
    RGBColor(10, 20, 60), RGBColor(214, 39, 40), RGBColor(31, 119, 180), RGBColor(227, 119, 194),
    RGBColor(140, 86, 75), RGBColor(255, 127, 14), RGBColor(44, 160, 44), RGBColor(148, 103, 189),
    RGBColor(23, 170, 190), RGBColor(170, 170, 40), RGBColor(120, 120, 120), RGBColor(180, 180, 180),
];
const THREADS: &str = "threads";
const PANEL: u32 = 330;
const LEGEND: u32 = 200;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Points = Vec<(f64, f64)>;

/// Axes with lines; a line is an index into [`ALL`].
struct Panel {
    title: String,
    x: &'static str,
    y: &'static str,
    /// Whether x grows by factors; y always does.
    log: bool,
    lines: Vec<(usize, Points)>,
}

/// Draws all charts into the directory; one for which nothing was measured stays as it is.
pub(crate) fn draw_all(dir: &Path, results: &Results) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(dir)?;
    let parts = [
        threads(results),
        latency(results),
        alive(results),
        memory(results),
    ];
    for ((file, title), panels) in CHARTS.iter().zip(parts) {
        let panels: Vec<_> = panels.into_iter().filter(|p| !p.lines.is_empty()).collect();
        if !panels.is_empty() {
            draw(&dir.join(file), title, &panels)?;
        }
    }
    Ok(())
}

fn of<'a>(results: &'a Results, workload: &'a str) -> impl Iterator<Item = &'a Measured> {
    let cases = results.cases.iter();
    cases.filter(move |m| m.case.workload() == workload)
}

/// The number at the end of the name of a case.
fn last(measured: &Measured) -> f64 {
    let last = measured.case.id.rsplit('/').next();
    last.and_then(|n| n.parse().ok()).unwrap_or(f64::NAN)
}

/// A line for each contender, made of one point of each case.
fn lines<'a>(
    cases: impl Iterator<Item = &'a Measured>,
    y: impl Fn(f64, &Record) -> Option<f64>,
) -> Vec<(usize, Points)> {
    let cases: Vec<_> = cases.collect();
    let line = |(i, name): (usize, &str)| {
        let points = cases.iter().filter_map(|m| {
            let x = last(m);
            Some((x, y(x, m.of.get(name)?)?))
        });
        (i, points.collect())
    };
    some(ALL.iter().map(|f| f.name).enumerate().map(line))
}

/// A line for each contender, which is a curve of one case.
fn curves(
    measured: &Measured,
    curve: &str,
    change: impl Fn((f64, f64)) -> (f64, f64),
) -> Vec<(usize, Points)> {
    let line = |(i, name): (usize, &str)| {
        let points = measured.of.get(name).map(|r| r.curve(curve));
        (
            i,
            points
                .unwrap_or_default()
                .into_iter()
                .map(&change)
                .collect(),
        )
    };
    some(ALL.iter().map(|f| f.name).enumerate().map(line))
}

fn some(lines: impl Iterator<Item = (usize, Points)>) -> Vec<(usize, Points)> {
    lines.filter(|(_, points)| points.len() > 1).collect()
}

fn threads(results: &Results) -> Vec<Panel> {
    let panel = |title: &str, lines| Panel {
        title: title.to_string(),
        x: THREADS,
        y: "million operations per second",
        log: true,
        lines,
    };
    let median = |r: &Record, metric: &str| Some(r.spread(metric)?.median);
    let of_ns = |x: f64, r: &Record| median(r, "ns").map(|ns| x * 1e3 / ns);
    let inside = |ns: &str| {
        let begin = format!("contended/{ns}/");
        let cases = results
            .cases
            .iter()
            .filter(move |m| m.case.id.starts_with(&begin));
        lines(cases, |_, r| median(r, "mops"))
    };
    vec![
        panel("never-repeated keys", lines(of(results, "never"), of_ns)),
        panel(
            "zipf, 100 ns inside",
            lines(of(results, "zipf"), |_, r| median(r, "mops")),
        ),
        panel("one key, nothing inside", inside("0")),
        panel("one key, 500 ns inside", inside("500")),
    ]
}

fn latency(results: &Results) -> Vec<Panel> {
    let cases = of(results, "latency").chain(of(results, "zipf"));
    let shown = cases.filter(|m| [2.0, 16.0].contains(&last(m)));
    let panel = |m: &Measured| Panel {
        title: format!("{}, {}", m.case.workload(), m.case.title),
        x: "quantile",
        y: "ns",
        log: false,
        lines: curves(m, "waits", |(x, y)| (x, y.max(1.0))),
    };
    shown.map(panel).collect()
}

fn alive(results: &Results) -> Vec<Panel> {
    let panel = |title: &str, metric: &'static str| Panel {
        title: title.to_string(),
        x: "alive keys",
        y: "ns",
        log: true,
        lines: lines(of(results, "alive"), |_, r| Some(r.spread(metric)?.median)),
    };
    vec![panel("one of them", "old"), panel("a new one", "new")]
}

fn memory(results: &Results) -> Vec<Panel> {
    let panel = |m: &Measured| Panel {
        title: String::new(),
        x: "million keys so far",
        y: "KiB",
        log: false,
        lines: curves(m, "heap", |(x, y)| (x / 1e6, (y / 1024.0).max(0.01))),
    };
    of(results, "distinct").map(panel).collect()
}

fn draw(file: &Path, title: &str, panels: &[Panel]) -> Result<(), Box<dyn Error>> {
    let rows = panels.len().div_ceil(2) as u32;
    let columns = panels.len().min(2) as u32;
    let size = (columns * 440 + LEGEND, rows * PANEL + 40);
    let root = SVGBackend::new(file, size).into_drawing_area();
    root.fill(&PAPER)?;
    let font = |size: u32| ("sans-serif", size).into_font().color(&INK);
    let root = root.titled(title, font(20))?;
    let (plots, legend) = root.split_horizontally(size.0 - LEGEND);
    let areas = plots.split_evenly((rows as usize, columns as usize));
    for (area, panel) in areas.iter().zip(panels) {
        draw_panel(area, panel)?;
    }
    let shown = |i: &usize| {
        panels
            .iter()
            .any(|p| p.lines.iter().any(|(line, _)| line == i))
    };
    for (row, i) in (0..ALL.len()).filter(shown).enumerate() {
        let y = 30 + row as i32 * 22;
        let line = vec![(4, y), (30, y)];
        legend.draw(&PathElement::new(
            line,
            COLOURS[i].stroke_width(width(i) + 1),
        ))?;
        legend.draw(&Text::new(ALL[i].name, (38, y - 7), font(14)))?;
    }
    root.present()?;
    Ok(())
}

fn width(line: usize) -> u32 {
    if ALL[line].name == OURS {
        4
    } else {
        2
    }
}

fn draw_panel(area: &Area<'_>, panel: &Panel) -> Result<(), Box<dyn Error>> {
    let all = || panel.lines.iter().flat_map(|(_, points)| points);
    let least = |pick: fn(&(f64, f64)) -> f64| all().map(pick).fold(f64::INFINITY, f64::min);
    let most = |pick: fn(&(f64, f64)) -> f64| all().map(pick).fold(f64::MIN_POSITIVE, f64::max);
    let y = (least(|p| p.1) * 0.8..most(|p| p.1) * 1.25).log_scale();
    let mut builder = ChartBuilder::on(area);
    builder
        .margin(12)
        .caption(&panel.title, ("sans-serif", 15).into_font().color(&INK))
        .x_label_area_size(34)
        .y_label_area_size(64);
    // The two kinds of axes are of different types.
    macro_rules! plot {
        ($x:expr) => {{
            let mut chart = builder.build_cartesian_2d($x, y)?;
            let small = ("sans-serif", 13).into_font().color(&INK);
            chart
                .configure_mesh()
                .label_style(small.clone())
                .axis_style(INK)
                .bold_line_style(INK.mix(0.15))
                .light_line_style(INK.mix(0.05))
                .x_desc(panel.x)
                .y_desc(panel.y)
                .x_labels(8)
                .y_labels(8)
                .x_label_formatter(&|x| label(panel, *x))
                .y_label_formatter(&|y| short(*y))
                .axis_desc_style(small)
                .draw()?;
            // Ours last, on top.
            for (i, points) in panel.lines.iter().rev() {
                let style = COLOURS[*i].stroke_width(width(*i));
                chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
            }
        }};
    }
    if panel.log {
        let base = if panel.x == THREADS { 2.0 } else { 10.0 };
        plot!((least(|p| p.0)..most(|p| p.0)).log_scale().base(base));
    } else {
        plot!(least(|p| p.0)..most(|p| p.0));
    }
    Ok(())
}

fn label(panel: &Panel, x: f64) -> String {
    if panel.x != "quantile" {
        return short(x);
    }
    // The number of nines.
    let percent = 100.0 * (1.0 - 10f64.powf(-x));
    format!("{percent:.*}", (x.ceil() as usize).saturating_sub(2))
}

fn short(x: f64) -> String {
    match x {
        x if x >= 1e6 => format!("{}M", x / 1e6),
        x if x >= 1e3 => format!("{}k", x / 1e3),
        x if x >= 1.0 || x == 0.0 => format!("{x:.0}"),
        x => format!("{x:.2}"),
    }
}
