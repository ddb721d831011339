//! Pictures as SVG and PNG. Texts are set in DejaVu Sans, which comes with the program: no font need be installed.

use std::path::Path;
use std::sync::Once;

use chrono::DateTime;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};

use super::flows::Flows;
use super::{Picture, Scale};

/// How a picture is written.
#[derive(Clone, Copy)]
pub(super) enum Form {
    Svg,
    Png,
}

impl Form {
    /// As a file's name says.
    pub(super) fn of(path: &Path) -> Option<Form> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "svg" => Some(Form::Svg),
            "png" => Some(Form::Png),
            _ => None,
        }
    }
}

const WIDTH: u32 = 960;
const HEIGHT: u32 = 540;
const MARGIN: i32 = 20;
const FONT: &str = "DejaVu Sans";
const TEXT_SIZE: i32 = 14;
/// Room for a name beside a bar or a row of cells.
const NAMES_WIDTH: i32 = 200;
const BAR_HEIGHT: i32 = 16;
const CELL_HEIGHT: i32 = 22;
const LEGEND_HEIGHT: i32 = 26;
const DAY_MS: f64 = 86_400_000.0;

/// Colours that are told apart, also by most who see fewer (after Okabe and Ito), then others.
const COLOURS: [RGBColor; super::SERIES_MAX] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(120, 120, 120),
    RGBColor(240, 228, 66),
    RGBColor(102, 51, 153),
    RGBColor(139, 69, 19),
    RGBColor(0, 0, 0),
    RGBColor(60, 179, 60),
];

static FONTS: Once = Once::new();

/// Draws a picture into a file.
pub(super) fn write(picture: &Picture, form: Form, path: &Path) -> Result<(), String> {
    FONTS.call_once(|| {
        // One that is not readable would leave texts out; a test sees them.
        let _unreadable = register_font(FONT, FontStyle::Normal, dejavu::sans::regular());
    });
    let size = (WIDTH, height(picture));
    match form {
        Form::Svg => draw(&SVGBackend::new(path, size).into_drawing_area(), picture),
        Form::Png => draw(&BitMapBackend::new(path, size).into_drawing_area(), picture),
    }
}

fn height(picture: &Picture) -> u32 {
    let rows = match picture {
        Picture::Lines { .. } => return HEIGHT,
        Picture::Bars { series, bars, .. } => {
            (bars.len() * series.len()) as i32 * BAR_HEIGHT + bars.len() as i32 * BAR_HEIGHT / 2
        }
        Picture::Heatmap { down, .. } => down.len() as i32 * CELL_HEIGHT,
        Picture::Flows(_) => return HEIGHT,
    };
    (rows + 2 * MARGIN + 2 * LEGEND_HEIGHT) as u32
}

type Area<DB> = DrawingArea<DB, Shift>;

fn draw<DB: DrawingBackend>(area: &Area<DB>, picture: &Picture) -> Result<(), String>
where
    DB::ErrorType: 'static,
{
    let drawn = || -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
        area.fill(&WHITE)?;
        match picture {
            Picture::Lines { x, y, scale, lines } => draw_lines(area, (x, y, *scale), lines)?,
            Picture::Bars { y, series, bars } => draw_bars(area, y, series, bars)?,
            Picture::Heatmap { across, down, value } => draw_cells(area, across, down, value)?,
            Picture::Flows(flows) => draw_flows(area, flows)?,
        }
        area.present()
    };
    drawn().map_err(|error| error.to_string())
}

fn text(size: i32) -> TextStyle<'static> {
    (FONT, size).into_font().color(&BLACK)
}

fn right() -> TextStyle<'static> {
    text(TEXT_SIZE).pos(Pos::new(HPos::Right, VPos::Center))
}

fn left() -> TextStyle<'static> {
    text(TEXT_SIZE).pos(Pos::new(HPos::Left, VPos::Center))
}

fn centred() -> TextStyle<'static> {
    text(TEXT_SIZE - 3).pos(Pos::new(HPos::Center, VPos::Center))
}

fn draw_lines<DB: DrawingBackend>(
    area: &Area<DB>,
    (x, y, scale): (&str, &str, Scale),
    lines: &super::Lines,
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let (from, to) = bounds(points().map(|(x, _)| *x));
    let (low, high) = bounds(points().filter_map(|(_, value)| *value).chain([0.0]));
    let beside = if lines.len() > 1 { NAMES_WIDTH } else { 0 };
    let mut chart = ChartBuilder::on(area)
        .margin(MARGIN)
        .margin_right(MARGIN + beside)
        .x_label_area_size(46)
        .y_label_area_size(84)
        .build_cartesian_2d(from..to, low..high + (high - low) * 0.05)?;
    let days = (to - from) > 3.0 * DAY_MS;
    chart
        .configure_mesh()
        .x_desc(x)
        .y_desc(y)
        .x_labels(8)
        .x_label_formatter(&|x| if scale == Scale::Time { time(*x, days) } else { short(*x) })
        .y_label_formatter(&|y| short(*y))
        .label_style(text(TEXT_SIZE))
        .axis_desc_style(text(TEXT_SIZE))
        .light_line_style(WHITE)
        .draw()?;
    for ((_, points), colour) in lines.iter().zip(COLOURS) {
        let mut of_line = points.split(|(_, value)| value.is_none()).filter(|part| !part.is_empty());
        let mut part = |points: &[(f64, Option<f64>)]| -> Result<_, DrawingAreaErrorKind<DB::ErrorType>> {
            let known: Vec<(f64, f64)> = points.iter().filter_map(|(x, value)| Some((*x, (*value)?))).collect();
            // A point by itself would be no line.
            let size = if known.len() == 1 { 3 } else { 0 };
            chart.draw_series(LineSeries::new(known, colour.stroke_width(2)).point_size(size)).map(drop)
        };
        of_line.try_for_each(&mut part)?;
    }
    // What the colours stand for, beside the lines: it covers none.
    let x = WIDTH as i32 - beside;
    for (row, ((name, _), colour)) in lines.iter().zip(COLOURS).enumerate().filter(|_| beside > 0) {
        let y = 2 * MARGIN + row as i32 * CELL_HEIGHT;
        area.draw(&Rectangle::new([(x, y - 4), (x + 14, y + 4)], colour.filled()))?;
        area.draw_text(&fitting(name), &left(), (x + 19, y))?;
    }
    Ok(())
}

fn draw_bars<DB: DrawingBackend>(
    area: &Area<DB>,
    y: &str,
    series: &[String],
    bars: &[(String, Vec<Option<f64>>)],
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    let (low, high) = bounds(bars.iter().flat_map(|(_, values)| values.iter().flatten().copied()).chain([0.0]));
    let (from, to) = (MARGIN + NAMES_WIDTH, WIDTH as i32 - MARGIN - 90);
    let at = |value: f64| from + ((value - low) / (high - low) * f64::from(to - from)).round() as i32;
    legend(area, y, series)?;
    let mut top = MARGIN + LEGEND_HEIGHT;
    for (name, values) in bars {
        let middle = top + BAR_HEIGHT * series.len() as i32 / 2;
        area.draw_text(&fitting(name), &right(), (from - 8, middle))?;
        for (value, colour) in values.iter().zip(COLOURS) {
            if let Some(value) = value {
                let (one, other) = (at(0.0).min(at(*value)), at(0.0).max(at(*value)));
                area.draw(&Rectangle::new([(one, top + 1), (other, top + BAR_HEIGHT - 1)], colour.filled()))?;
                area.draw_text(&short(*value), &left(), (other + 5, top + BAR_HEIGHT / 2))?;
            }
            top += BAR_HEIGHT;
        }
        top += BAR_HEIGHT / 2;
    }
    area.draw(&PathElement::new([(at(0.0), MARGIN + LEGEND_HEIGHT), (at(0.0), top)], BLACK.mix(0.6)))
}

fn draw_cells<DB: DrawingBackend>(
    area: &Area<DB>,
    across: &[String],
    down: &[(String, Vec<Option<f64>>)],
    value: &str,
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    let (low, high) = bounds(down.iter().flat_map(|(_, values)| values.iter().flatten().copied()));
    let (from, to) = (MARGIN + NAMES_WIDTH, WIDTH as i32 - MARGIN);
    let at = |column: usize| from + (to - from) * column as i32 / across.len() as i32;
    let wide = (to - from) / across.len() as i32 >= 34;
    legend(area, &format!("{value}: {} (white) to {} (blue)", short(low), short(high)), &[])?;
    let top = MARGIN + 2 * LEGEND_HEIGHT;
    let every = 1 + 34 * across.len() / (to - from) as usize;
    for (column, name) in across.iter().enumerate().filter(|(column, _)| column % every == 0) {
        area.draw_text(name, &centred(), ((at(column) + at(column + 1)) / 2, top - LEGEND_HEIGHT / 2))?;
    }
    for (row, (name, values)) in down.iter().enumerate() {
        let top = top + row as i32 * CELL_HEIGHT;
        area.draw_text(&fitting(name), &right(), (from - 8, top + CELL_HEIGHT / 2))?;
        for (column, value) in values.iter().enumerate() {
            let Some(value) = value else { continue };
            let share = (value - low) / (high - low);
            let colour =
                RGBColor((255.0 - 247.0 * share) as u8, (255.0 - 174.0 * share) as u8, (255.0 - 99.0 * share) as u8);
            area.draw(&Rectangle::new(
                [(at(column), top), (at(column + 1) - 1, top + CELL_HEIGHT - 1)],
                colour.filled(),
            ))?;
            if wide {
                let style = centred().color(if share > 0.55 { &WHITE } else { &BLACK });
                area.draw_text(&short(*value), &style, ((at(column) + at(column + 1)) / 2, top + CELL_HEIGHT / 2))?;
            }
        }
    }
    Ok(())
}

/// Nodes as bars from left to right, each as high as what flows through it, and bands between them.
fn draw_flows<DB: DrawingBackend>(area: &Area<DB>, flows: &Flows) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    const NODE_WIDTH: i32 = 14;
    const STEPS: usize = 24;
    let (width, height) = (WIDTH as i32 - 2 * MARGIN - NODE_WIDTH - 150, f64::from(HEIGHT as i32 - 2 * MARGIN));
    let left_of = |layer: usize| MARGIN + width * layer as i32 / (flows.layers.max(2) - 1) as i32;
    let down = |share: f64| MARGIN + (share * height) as i32;
    for band in &flows.bands {
        let (from, to) = (&flows.nodes[band.from], &flows.nodes[band.to]);
        let (x0, x1) = (left_of(from.layer) + NODE_WIDTH, left_of(to.layer));
        let edge = |begin: f64, end: f64, step: usize| {
            let at = step as f64 / STEPS as f64;
            let eased = at * at * (3.0 - 2.0 * at);
            (x0 + ((x1 - x0) as f64 * at) as i32, down(begin + (end - begin) * eased))
        };
        let upper = (0..=STEPS).map(|step| edge(band.leaves_at, band.arrives_at, step));
        let lower = (0..=STEPS).rev().map(|step| edge(band.leaves_at + band.share, band.arrives_at + band.share, step));
        let colour = COLOURS[band.from % COLOURS.len()].mix(0.35);
        area.draw(&Polygon::new(upper.chain(lower).collect::<Vec<_>>(), colour))?;
    }
    for (place, node) in flows.nodes.iter().enumerate() {
        let (x, top, bottom) = (left_of(node.layer), down(node.top), down(node.top + node.share));
        let colour = COLOURS[place % COLOURS.len()];
        area.draw(&Rectangle::new([(x, top), (x + NODE_WIDTH, bottom.max(top + 1))], colour.filled()))?;
        let text = format!("{} {}", fitting(&node.name), short(node.amount));
        area.draw_text(&text, &left(), (x + NODE_WIDTH + 5, (top + bottom) / 2))?;
    }
    Ok(())
}

/// What the colours of bars stand for; one colour needs the name of the value alone.
fn legend<DB: DrawingBackend>(
    area: &Area<DB>,
    value: &str,
    series: &[String],
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    let (mut x, mut y) = (MARGIN + NAMES_WIDTH, MARGIN + LEGEND_HEIGHT / 2 - 4);
    if series.len() <= 1 {
        return area.draw_text(value, &left(), (x, y));
    }
    let wide = |name: &str| 19 + 14 + 7 * name.chars().count() as i32;
    // What does not fit into one row begins another above it.
    let width: i32 = series.iter().map(|name| wide(&fitting(name))).sum();
    if x + width > WIDTH as i32 {
        (x, y) = (MARGIN, y - 12);
    }
    for (name, colour) in series.iter().zip(COLOURS) {
        let name = fitting(name);
        if x + wide(&name) > WIDTH as i32 {
            (x, y) = (MARGIN, y + 14);
        }
        area.draw(&Rectangle::new([(x, y - 5), (x + 14, y + 5)], colour.filled()))?;
        area.draw_text(&name, &left(), (x + 19, y))?;
        x += wide(&name);
    }
    Ok(())
}

/// A name that fits beside its bar.
pub(super) fn fitting(name: &str) -> String {
    const CHARS_MAX: usize = 24;
    if name.chars().count() <= CHARS_MAX {
        name.to_owned()
    } else {
        name.chars().take(CHARS_MAX - 1).chain(['…']).collect()
    }
}

/// The least and the greatest; apart, also where they are one.
pub(super) fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    match (low.is_finite(), low < high) {
        (true, true) => (low, high),
        (true, false) => (low, low + 1.0),
        (false, _) => (0.0, 1.0),
    }
}

/// A number as short as a label should be: `12.5k`.
pub(super) fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        of if of >= 1e9 => (value / 1e9, "G"),
        of if of >= 1e6 => (value / 1e6, "M"),
        of if of >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = if scaled.abs() >= 100.0 {
        0
    } else if scaled.abs() >= 1.0 || scaled == 0.0 {
        1
    } else {
        3
    };
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

pub(super) fn time(ms: f64, days: bool) -> String {
    let form = if days { "%Y-%m-%d" } else { "%m-%d %H:%M" };
    DateTime::from_timestamp_millis(ms as i64).map(|time| time.format(form).to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in
            [(0.0, "0"), (0.25, "0.25"), (7.0, "7"), (12_500.0, "12.5k"), (-3_000_000.0, "-3M"), (1_234.0, "1234")]
        {
            assert_eq!(short(value), text);
        }
    }
}
