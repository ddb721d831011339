//! Pictures as a terminal shows them: a bar a row, a line of blocks a series.

use std::fmt::Write;

use super::draw::{bounds, fitting, short, time};
use super::{Picture, Scale};

/// The longest bar, and the most points of a line.
const WIDTH: usize = 60;
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];

/// The text of a picture.
pub(super) fn of(picture: &Picture) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let written = match picture {
        Picture::Lines { x, y, scale, lines } => of_lines(&mut text, (x, y, *scale), lines),
        Picture::Bars { y, series, bars } => of_bars(&mut text, y, series, bars),
        Picture::Heatmap { across, down, value } => of_cells(&mut text, across, down, value),
        Picture::Flows(flows) => {
            let name = |at: usize| fitting(&flows.nodes[at].name);
            let most = flows.bands.iter().map(|band| band.amount).fold(0.0, f64::max);
            flows.bands.iter().try_for_each(|band| {
                let (from, to) = (name(band.from), name(band.to));
                writeln!(text, "{from:>24} → {to:<24} {} {}", bar(band.amount, most), short(band.amount))
            })
        }
    };
    debug_assert!(written.is_ok());
    text
}

fn bar(value: f64, most: f64) -> String {
    let eighths = if most > 0.0 { (value.abs() / most * (WIDTH * 8) as f64).round() as usize } else { 0 };
    let part = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let rest = (eighths % 8).checked_sub(1).map(|at| part[at]);
    let sign = if value < 0.0 { "-" } else { "" };
    sign.chars().chain(std::iter::repeat_n('█', eighths / 8)).chain(rest).collect()
}

fn of_bars(text: &mut String, y: &str, series: &[String], bars: &[(String, Vec<Option<f64>>)]) -> std::fmt::Result {
    let most =
        bars.iter().flat_map(|(_, values)| values.iter().flatten()).fold(0.0, |most, value| value.abs().max(most));
    writeln!(text, "{y}")?;
    for (name, values) in bars {
        for (at, (of, value)) in series.iter().zip(values).enumerate() {
            let name = if at == 0 { fitting(name) } else { String::new() };
            let of = if series.len() > 1 { format!("{:<18} ", fitting(of)) } else { String::new() };
            match value {
                Some(value) => writeln!(text, "{name:>24} {of}{} {}", bar(*value, most), short(*value))?,
                None => writeln!(text, "{name:>24} {of}-")?,
            }
        }
    }
    Ok(())
}

/// The last value of each of so many equal parts of the axis.
fn of_lines(text: &mut String, (x, y, scale): (&str, &str, Scale), lines: &super::Lines) -> std::fmt::Result {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let (from, to) = bounds(points().map(|(x, _)| *x));
    let (low, high) = bounds(points().filter_map(|(_, value)| *value).chain([0.0]));
    let at = |x: f64| if scale == Scale::Time { time(x, false) } else { short(x) };
    writeln!(text, "{y} by {x}, {} to {}; {} to {}", at(from), at(to), short(low), short(high))?;
    let places = points().map(|(x, _)| x.to_bits()).collect::<std::collections::HashSet<_>>().len().clamp(2, WIDTH);
    for (name, points) in lines {
        let mut levels = vec![' '; places];
        for (x, value) in points {
            let place = ((x - from) / (to - from) * (places - 1) as f64).round() as usize;
            if let Some(value) = value {
                levels[place] = LEVELS[((value - low) / (high - low) * 7.0).round() as usize];
            }
        }
        let last = points.iter().rev().find_map(|(_, value)| *value).map(short).unwrap_or_default();
        writeln!(text, "{:>24} {} {last}", fitting(name), levels.into_iter().collect::<String>())?;
    }
    Ok(())
}

fn of_cells(
    text: &mut String,
    across: &[String],
    down: &[(String, Vec<Option<f64>>)],
    value: &str,
) -> std::fmt::Result {
    let (low, high) = bounds(down.iter().flat_map(|(_, values)| values.iter().flatten().copied()));
    let [first, last] = [across.first(), across.last()].map(|name| name.map_or("", String::as_str));
    writeln!(text, "{value}: {} (light) to {} (dark); across {first} to {last}", short(low), short(high))?;
    for (name, values) in down {
        let shade = |value: &Option<f64>| {
            value.map_or(' ', |value| SHADES[((value - low) / (high - low) * 4.0).round() as usize])
        };
        let cells: String = values.iter().map(shade).flat_map(|shade| [shade, shade]).collect();
        writeln!(text, "{:>24} {}", fitting(name), cells.trim_end())?;
    }
    Ok(())
}
