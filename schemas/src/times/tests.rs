//! Each way to write a time, zones with their gaps and folds, and what is refused.

use super::*;

/// 2024-03-13T10:21:14Z.
const T: i64 = 1_710_325_274_000;
const MIDNIGHT: i64 = T - T % 86_400_000;

fn read(format: &str, text: &str) -> Result<i64, String> {
    TimeFormat::parse(format).unwrap().read(text)
}

#[test]
fn iso_8601_is_read_as_people_write_it() {
    for (text, expected) in [
        ("2024-03-13T10:21:14Z", T),
        ("2024-03-13T10:21:14z", T),
        ("2024-03-13t10:21:14Z", T),
        (" 2024-03-13T10:21:14Z ", T),
        ("2024-03-13T11:21:14+01:00", T),
        ("2024-03-13T11:21:14+0100", T),
        ("2024-03-13T11:21:14+01", T),
        ("2024-03-13 11:21:14+01", T),
        ("2024-03-13 11:21:14 +01:00", T),
        ("2024-03-13 11:21:14 +0100", T),
        ("2024-03-13T10:21:14+0000", T),
        ("2024-03-13T10:21:14+00", T),
        ("2024-03-13T10:21:14-00:00", T),
        ("2024-03-13T04:51:14-0530", T),
        ("2024-03-13 10:21:14 UTC", T),
        ("2024-03-13 10:21:14 GMT", T),
        ("2024-03-13 10:21:14Z", T),
        ("2024-03-13 10:21:14", T),
        ("2024-03-13  10:21:14", T),
        ("2024-03-13T11:21:14+01:00[Europe/Berlin]", T),
        ("2024-03-13T10:21Z", T - 14_000),
        ("2024-03-13 10:21", T - 14_000),
        ("2024-03-13T10:21+00:00", T - 14_000),
        ("2024-03-13T10:21:14.123Z", T + 123),
        ("2024-03-13T10:21:14,123Z", T + 123),
        ("2024-03-13T10:21:14.5", T + 500),
        ("2024-03-13 10:21:14.9999999", T + 999),
        ("2024-03-13 10:21:14.123456 UTC", T + 123),
        ("20240313T102114Z", T),
        ("20240313T102114", T),
        ("20240313T1021Z", T - 14_000),
        ("20240313T102114.5+0000", T + 500),
        ("20240313 10:21:14", T),
        ("2024-03-13", MIDNIGHT),
        ("20240313", MIDNIGHT),
        ("2024-03-13 UTC", MIDNIGHT),
        ("2024-03-12T24:00:00Z", MIDNIGHT),
        ("2024-03-12T24:00", MIDNIGHT),
        ("2024-03-12T23:59:60Z", MIDNIGHT),
        ("2024-02-29", MIDNIGHT - 13 * 86_400_000),
        ("1970-01-01", 0),
        ("1969-12-31T23:59:59.5Z", -500),
        ("2000-02-29T00:00:00Z", 951_782_400_000),
        ("9999-12-31T23:59:59.999Z", crate::units::TIME_MS_MAX),
    ] {
        assert_eq!(read("iso8601", text), Ok(expected), "{text}");
        assert_eq!(read("rfc3339", text), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_no_iso_8601_is_refused() {
    for text in [
        "",
        "x",
        "2024",
        "2024-03",
        "2024-3-13",
        "24-03-13",
        "13/03/2024",
        "2024/03/13",
        "2024-W11-3",
        "2024-073",
        "2024-13-01",
        "2024-00-01",
        "2024-02-30",
        "2023-02-29",
        "1900-02-29",
        "2024-03-13T",
        "2024-03-13T10",
        "2024-03-13T10:",
        "2024-03-13T25:00",
        "2024-03-13T24:00:01",
        "2024-03-13T24:01",
        "2024-03-13T10:60",
        "2024-03-13T10:21:61",
        "2024-03-13T10:21:14.",
        "2024-03-13T10:21:14.Z",
        "2024-03-13T10:21:14+1",
        "2024-03-13T10:21:14+24:00",
        "2024-03-13T10:21:14+01:60",
        "2024-03-13T10:21:14+01:",
        "2024-03-13T10:21:14 EST",
        "2024-03-13T10:21:14Zx",
        "2024-03-13 10:21:14 PM",
        "10:00 AM",
        "2024-03-13_10:21",
        "2024-03-13Z",
        "1710325274",
        "2024-03-13T10:21:14[UTC]",
        "-2024-03-13",
        "2024-03-13T10:21:14ü",
        "２０２４-03-13",
    ] {
        assert!(read("iso8601", text).is_err(), "{text}: {:?}", read("iso8601", text));
    }
    for (text, hint) in [
        ("1710325274", "epoch_s"),
        ("2024-03-13T10:21:14 EST", "abbreviation of a zone"),
        ("2024-03-13 10:21 CEST", "and name the zone, as time_zone: Europe/Berlin"),
        ("2024-03-13 10:21CET", "and name the zone, as time_zone: Europe/Berlin"),
        ("03/13/2024 10:21 PM", "other ways are a strftime pattern"),
        ("13 Mar 2024 10:21", "other ways are a strftime pattern"),
        ("13/03/2024 10:21", "strftime pattern"),
        ("10:00 AM", "strftime pattern"),
        ("2024-W11-3", "weeks"),
        ("2026-02-29T10:00:00Z", "no such day"),
        ("2026-13-01", "no such day"),
        ("2026-03-01T25:00", "no such time of day"),
        ("2026-03-01 10:61:00Z", "no such time of day"),
    ] {
        let error = read("iso8601", text).unwrap_err();
        assert!(
            error.starts_with(&format!("{text:?} is no time in the format iso8601: ")) && error.contains(hint),
            "{error}"
        );
    }
    assert_eq!(read("%F", "x").unwrap_err(), r#""x" is no time in the format "%F""#);
    assert!(read("epoch_s", "2024-03-13").unwrap_err().ends_with(": it is iso8601"));
}

#[test]
fn iso_days_are_those_of_the_calendar() {
    for day in (-800_000i64..800_000).step_by(97) {
        let date = chrono::DateTime::from_timestamp(day * 86_400, 0).unwrap();
        let text = date.format("%Y-%m-%d").to_string();
        if text.len() == 10 {
            assert_eq!(read("iso8601", &text), Ok(day * 86_400_000), "{text}");
        }
    }
}

#[test]
fn epochs_are_read_by_unit_or_by_magnitude() {
    for (format, text, expected) in [
        ("epoch_s", "1710325274", T),
        ("epoch_s", "1710325274.1239", T + 123),
        ("epoch_s", "1.710325274E9", T),
        ("epoch_s", "-1", -1_000),
        ("epoch_ms", "1710325274001", T + 1),
        ("epoch_ms", "1710325274001.9", T + 1),
        ("epoch_ms", "1710325274000.0", T),
        ("epoch_ms", "-1", -1),
        ("epoch_us", "1710325274000999", T),
        ("epoch_ns", "1710325274001000000", T + 1),
        ("epoch", "1710325274", T),
        ("epoch", "1710325274.5", T + 500),
        ("epoch", "1710325274000", T),
        ("epoch", "1710325274000000", T),
        ("epoch", "1710325274000000000", T),
        ("epoch", "99999999999", 99_999_999_999_000),
        ("epoch", "100000000000", 100_000_000_000),
        ("epoch", "0", 0),
        ("epoch", "-5", -5_000),
    ] {
        assert_eq!(read(format, text), Ok(expected), "{format} {text}");
    }
    for (format, text) in [("epoch_ms", "soon"), ("epoch_s", ""), ("epoch", "1,000"), ("epoch_ms", "1e40")] {
        assert!(read(format, text).is_err(), "{format} {text}");
    }
}

#[test]
fn patterns_and_rfc_2822_are_read() {
    for (format, text, expected) in [
        ("%Y-%m-%d %H:%M:%S", "2024-03-13 10:21:14", T),
        ("%Y-%m-%d %H:%M:%S%.f", "2024-03-13 10:21:14.5", T + 500),
        ("%d/%m/%Y %H:%M", "13/03/2024 10:21", T - 14_000),
        ("%d.%m.%Y", "13.03.2024", MIDNIGHT),
        ("%Y-%m-%d %H:%M:%S %z", "2024-03-13 11:21:14 +0100", T),
        ("%Y-%m-%d %H:%M:%S %Z", "2024-03-13 10:21:14 CET", T),
        ("%m/%d/%Y %I:%M:%S %p", "03/13/2024 10:21:14 AM", T),
        ("%m/%d/%Y %I:%M:%S %p", "03/13/2024 12:21:14 am", T - 36_000_000),
        ("%d %b %Y %I:%M %p", "13 Mar 2024 10:21 PM", T - 14_000 + 43_200_000),
        ("rfc2822", "Wed, 13 Mar 2024 11:21:14 +0100", T),
        ("rfc2822", "13 Mar 2024 10:21:14 GMT", T),
    ] {
        assert_eq!(read(format, text), Ok(expected), "{format} {text}");
    }
    for (format, text) in [("%Y-%m-%d %H:%M", "2024-03-13"), ("rfc2822", "2024-03-13")] {
        assert!(read(format, text).is_err(), "{format} {text}");
    }
}

#[test]
fn zones_tell_the_offset_that_a_text_does_not() {
    let in_zone = |zone: &str, text: &str| {
        TimeFormat::Iso8601.read_in(text, &Zone::parse(zone).unwrap()).map(show).unwrap_or_else(|error| error)
    };
    for (zone, text, expected) in [
        ("Europe/Berlin", "2026-01-15 12:00", "2026-01-15T11:00:00Z"),
        ("Europe/Berlin", "2026-07-15 12:00", "2026-07-15T10:00:00Z"),
        ("Europe/Berlin", "2026-07-15", "2026-07-14T22:00:00Z"),
        ("Europe/Berlin", "2026-07-15 12:00Z", "2026-07-15T12:00:00Z"),
        ("Europe/Berlin", "2026-07-15 12:00-04", "2026-07-15T16:00:00Z"),
        // The gap: 02:00 to 03:00 never is; the offset before it, +01:00, holds on.
        ("Europe/Berlin", "2026-03-29 01:59:59", "2026-03-29T00:59:59Z"),
        ("Europe/Berlin", "2026-03-29 02:00", "2026-03-29T01:00:00Z"),
        ("Europe/Berlin", "2026-03-29 02:30", "2026-03-29T01:30:00Z"),
        ("Europe/Berlin", "2026-03-29 03:00", "2026-03-29T01:00:00Z"),
        // The fold: 02:00 to 03:00 is twice; the earlier one.
        ("Europe/Berlin", "2026-10-25 01:59:59", "2026-10-24T23:59:59Z"),
        ("Europe/Berlin", "2026-10-25 02:30", "2026-10-25T00:30:00Z"),
        ("Europe/Berlin", "2026-10-25 03:00", "2026-10-25T02:00:00Z"),
        ("America/New_York", "2026-03-08 02:30", "2026-03-08T07:30:00Z"),
        ("America/New_York", "2026-11-01 01:30", "2026-11-01T05:30:00Z"),
        ("Australia/Lord_Howe", "2026-10-04 02:15", "2026-10-03T15:45:00Z"),
        ("Asia/Kolkata", "2026-07-15 12:00", "2026-07-15T06:30:00Z"),
        // Samoa had no 30 December 2011.
        ("Pacific/Apia", "2011-12-30 12:00", "2011-12-30T22:00:00Z"),
        ("Etc/GMT+5", "2026-07-15 12:00", "2026-07-15T17:00:00Z"),
        ("+05:30", "2026-07-15 12:00", "2026-07-15T06:30:00Z"),
        ("UTC", "2026-07-15 12:00", "2026-07-15T12:00:00Z"),
    ] {
        assert_eq!(in_zone(zone, text), expected, "{zone} {text}");
    }
    let pattern = TimeFormat::parse("%d.%m.%Y %H:%M").unwrap();
    let berlin = Zone::parse("Europe/Berlin").unwrap();
    assert_eq!(pattern.read_in("15.07.2026 12:00", &berlin).map(show), Ok("2026-07-15T10:00:00Z".to_owned()));
    assert_eq!(TimeFormat::EpochMs.read_in("5", &berlin), Ok(5));
    assert_eq!(in_zone("Japan", "2026-01-15 12:00"), "2026-01-15T03:00:00Z");
    for name in ["Europe/Bonn", "EST", "CET", "EST5EDT", "cet", "UTC+1", "Pacific Standard Time", "", "europe", "+1"] {
        assert!(Zone::parse(name).unwrap_err().contains("Europe/Berlin, or an offset"), "{name}");
    }
    assert!(Zone::parse("CET").unwrap_err().contains("changes with the season"));
    for pattern in ["%H:%M", "%m/%d", "%A", "%Y-%m", "%d.%m.%Y %I:%M"] {
        assert!(TimeFormat::parse(pattern).unwrap_err().contains("tells no whole time"), "{pattern}");
    }
    for pattern in ["%s", "%Y-%m-%d", "%d.%m.%y %I:%M %p", "%Y-%j", "%+", "%Y-%m-%dT%H:%M:%S%.f%#z", "%F %T %Z"] {
        assert!(TimeFormat::parse(pattern).is_ok(), "{pattern}");
    }
}

#[test]
fn formats_that_are_none_are_refused() {
    for text in ["iso", "%Q%", "%Y-%!"] {
        assert!(TimeFormat::parse(text).unwrap_err().contains("iso8601, rfc2822, epoch, epoch_s, epoch_ms"), "{text}");
    }
    for (name, _) in TimeFormat::NAMES {
        assert_eq!(TimeFormat::parse(name).unwrap().to_string(), name);
    }
}
