//! What is drawn of which rows, and what is refused.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray, TimestampMillisecondArray};

use super::*;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn days(values: &[i64]) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from(values.iter().map(|day| day * 86_400_000).collect::<Vec<_>>()))
}

fn numbers(values: &[Option<i64>]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

#[test]
fn the_first_columns_say_what_is_drawn() {
    let by_channel = batch(vec![
        ("day", days(&[1, 0, 0])),
        ("channel", texts(&["search", "search", "social"])),
        ("clicks", numbers(&[Some(3), Some(2), None])),
    ]);
    let lines = vec![
        ("search".to_owned(), vec![(0.0, Some(2.0)), (86_400_000.0, Some(3.0))]),
        ("social".to_owned(), vec![(0.0, None)]),
    ];
    let expected = Picture::Lines { x: "day".to_owned(), y: "clicks".to_owned(), scale: Scale::Time, lines };
    assert_eq!(picture(&[by_channel], None).unwrap(), expected);

    let names = batch(vec![
        ("channel", texts(&["a", "b"])),
        ("spend", numbers(&[Some(1), None])),
        ("rest", numbers(&[Some(2), Some(4)])),
    ]);
    let bars = vec![("a".to_owned(), vec![Some(1.0), Some(2.0)]), ("b".to_owned(), vec![None, Some(4.0)])];
    let expected = Picture::Bars { y: "value".to_owned(), series: vec!["spend".to_owned(), "rest".to_owned()], bars };
    assert_eq!(picture(&[names], None).unwrap(), expected);

    let cohorts = batch(vec![
        ("cohort", days(&[31, 0, 0])),
        ("age", numbers(&[Some(0), Some(10), Some(2)])),
        ("retention", Arc::new(Float64Array::from(vec![1.0, 0.5, f64::NAN]))),
    ]);
    let down = vec![
        ("1970-02-01".to_owned(), vec![Some(1.0), None, None]),
        ("1970-01-01".to_owned(), vec![None, None, Some(0.5)]),
    ];
    let across = ["0", "2", "10"].map(str::to_owned).to_vec();
    assert_eq!(
        picture(&[cohorts], Some(Chart::Heatmap)).unwrap(),
        Picture::Heatmap { across, down, value: "retention".to_owned() }
    );
}

#[test]
fn what_cannot_be_drawn_is_told_why() {
    let text = batch(vec![("channel", texts(&["a"])), ("campaign", texts(&["b"]))]);
    let many: Vec<String> = (0..100).map(|n| format!("n{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let bars = batch(vec![("name", texts(&many)), ("n", numbers(&[Some(1); 100]))]);
    let series = batch(vec![("day", days(&[0; 100])), ("name", texts(&many)), ("n", numbers(&[Some(1); 100]))]);
    for (rows, chart, message) in [
        (vec![], None, "there is no row to draw"),
        (
            vec![text.clone()],
            None,
            "there is no number to draw beside the first column: channel (Utf8), campaign (Utf8)",
        ),
        (vec![text], Some(Chart::Heatmap), "a heat map takes three columns: "),
        (vec![bars.clone()], None, "there are more than 60 bars: "),
        (vec![bars], Some(Chart::Lines), "lines take a time or a number as their first column; name is neither"),
        (vec![series], None, "there are more than 12 series: "),
    ] {
        let error = picture(&rows, chart).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
    assert!(check_name(Path::new("a.pdf")).unwrap_err().to_string().starts_with("a.pdf: a picture is .svg or .png"));
}

/// Texts are there as well: with a font that cannot be read the picture would say nothing.
#[test]
fn pictures_have_their_texts_without_a_font_that_is_installed() {
    let dir = tempfile::tempdir().unwrap();
    let rows = |name: &str| [batch(vec![("day", days(&[0, 1, 2])), (name, numbers(&[Some(3), None, Some(5)]))])];
    for chart in [None, Some(Chart::Bars)] {
        let path = dir.path().join("a.svg");
        draw(&rows("clicks"), chart, &path).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("clicks"), "{svg}");
    }
    let bytes = |name: &str| {
        let path = dir.path().join("a.png");
        draw(&rows(name), None, &path).unwrap();
        std::fs::read(&path).unwrap()
    };
    let (one, other) = (bytes("clicks"), bytes("views"));
    assert!(one.starts_with(b"\x89PNG") && one != other, "the name of the axis is part of the picture");
}

#[test]
fn flows_and_text_are_drawn_of_the_same_rows() {
    let bands = batch(vec![
        ("from", texts(&["1 search", "1 search", "2 email"])),
        ("to", texts(&["2 email", "left", "converted"])),
        ("visitors", numbers(&[Some(3), Some(1), Some(3)])),
    ]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("paths.svg");
    draw(std::slice::from_ref(&bands), Some(Chart::Flows), &path).unwrap();
    let svg = std::fs::read_to_string(&path).unwrap();
    assert!(["1 search 4", "2 email 3", "left 1", "converted 3"].iter().all(|text| svg.contains(text)), "{svg}");
    let text = as_text(&[bands], Chart::Flows).unwrap();
    assert_eq!(
        text.lines().map(|line| line.split('→').next().unwrap().trim()).collect::<Vec<_>>(),
        ["1 search", "2 email", "1 search"]
    );
}

#[test]
fn a_terminal_shows_bars_lines_and_cells() {
    let bars = batch(vec![("step", texts(&["cart", "paid"])), ("visitors", numbers(&[Some(120), Some(30)]))]);
    let text = as_text(&[bars], Chart::Bars).unwrap();
    let lengths: Vec<usize> = text.lines().skip(1).map(|line| line.matches('█').count()).collect();
    assert_eq!(lengths, [60, 15], "{text}");
    let lines = batch(vec![("day", days(&[0, 1, 2])), ("clicks", numbers(&[Some(0), None, Some(8)]))]);
    let text = as_text(&[lines], Chart::Lines).unwrap();
    assert!(text.ends_with("clicks ▁ █ 8\n"), "{text}");
    let cells = batch(vec![
        ("cohort", days(&[0, 0])),
        ("age", numbers(&[Some(0), Some(1)])),
        ("there", numbers(&[Some(100), Some(0)])),
    ]);
    let text = as_text(&[cells], Chart::Heatmap).unwrap();
    assert!(text.contains("1970-01-01 ██"), "{text}");
    let twice = batch(vec![("name", texts(&["a", "a"])), ("n", numbers(&[Some(1), Some(2)]))]);
    assert!(as_text(&[twice], Chart::Bars).unwrap_err().to_string().starts_with("two rows are one bar, a: "));
}
