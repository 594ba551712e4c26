//! The run as a picture.

use crate::watch::Sample;
use plotters::coord::Shift;
use plotters::prelude::*;
use std::error::Error;
use std::path::Path;

const SIZE: (u32, u32) = (900, 900);
/// Dark on light, whatever is around the picture.
const PAPER: RGBColor = RGBColor(250, 250, 247);
const INK: RGBColor = RGBColor(40, 40, 40);
const COLOURS: [RGBColor; 2] = [RGBColor(31, 100, 170), RGBColor(196, 88, 20)];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Points = Vec<(f64, f64)>;

/// Three plots over time: operations and waits per second, memory, threads.
pub(crate) fn draw(file: &Path, samples: &[Sample], title: &str) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&PAPER)?;
    let root = root.titled(title, ("sans-serif", 20).into_font().color(&INK))?;
    let parts = root.split_evenly((3, 1));
    let mib = f64::from(1 << 20);
    let each = |f: fn(&Sample) -> u64| {
        let lines = samples.iter().map(|s| (s.at.as_secs_f64(), real(f(s))));
        lines.collect::<Points>()
    };
    let per_second = |f: fn(&Sample) -> u64| {
        let pairs = samples.windows(2).map(|two| {
            let passed = two[1].at.saturating_sub(two[0].at).as_secs_f64().max(0.1);
            (
                two[1].at.as_secs_f64(),
                real(f(&two[1]) - f(&two[0])) / passed,
            )
        });
        pairs.collect::<Points>()
    };
    let scaled = |points: Points| points.into_iter().map(|(x, y)| (x, y / mib)).collect();
    let panels = [
        (
            "per second",
            vec![
                ("operations", per_second(|s| s.operations)),
                ("waits", per_second(|s| s.waits)),
            ],
        ),
        (
            "MiB",
            vec![
                ("live heap", scaled(each(|s| s.heap))),
                ("resident", scaled(each(|s| s.resident.unwrap_or(0)))),
            ],
        ),
        ("threads", vec![("threads", each(|s| s.threads))]),
    ];
    for (part, (unit, lines)) in parts.iter().zip(&panels) {
        panel(part, unit, lines)?;
    }
    root.present()?;
    Ok(())
}

#[allow(clippy::cast_precision_loss)] // it is a picture
fn real(n: u64) -> f64 {
    n as f64
}

fn panel(area: &Area<'_>, unit: &str, lines: &[(&str, Points)]) -> Result<(), Box<dyn Error>> {
    let most = |pick: fn(&(f64, f64)) -> f64| {
        let all = lines.iter().flat_map(|(_, points)| points).map(pick);
        all.fold(1.0, f64::max)
    };
    let small = ("sans-serif", 14).into_font().color(&INK);
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(34)
        .y_label_area_size(80)
        .build_cartesian_2d(0.0..most(|p| p.0), 0.0..most(|p| p.1) * 1.05)?;
    chart
        .configure_mesh()
        .label_style(small.clone())
        .axis_style(INK)
        .bold_line_style(INK.mix(0.15))
        .light_line_style(INK.mix(0.05))
        .x_desc("seconds")
        .y_desc(unit)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y}"))
        .axis_desc_style(small.clone())
        .draw()?;
    for ((name, points), colour) in lines.iter().zip(COLOURS) {
        chart
            .draw_series(LineSeries::new(
                points.iter().copied(),
                colour.stroke_width(2),
            ))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(PAPER.mix(0.85))
        .border_style(INK.mix(0.3))
        .label_font(small)
        .draw()?;
    Ok(())
}
