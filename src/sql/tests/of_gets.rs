//! Reads by key: what is found, in which order, and what is refused.

use serde_json::Value;

use super::*;
use crate::sql::get::{GetOptions, run};

async fn get(lake: &TempDir, view: &str, keys: &[&str], limit: usize, as_of: Option<Tick>) -> Result<Value, String> {
    let options = GetOptions {
        lake: lake.path().to_owned(),
        view: view.to_owned(),
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        limit,
        as_of: as_of.map(|cut| cut.to_string()),
        format: Format::Json,
        memory: Memory::of_machine(),
    };
    let mut out = Vec::new();
    run(&options, &hasher(), &mut out).await.map_err(|error| error.to_string())?;
    Ok(serde_json::from_slice(&out).unwrap())
}

#[tokio::test]
async fn rows_are_read_by_raw_ids_at_one_cut() {
    let lake = lake().await;
    let last = get(&lake, "installs", &["tenant=shop", "user_id=u1"], 100, None).await.unwrap();
    assert_eq!((&last["view"], &last["cut"], &last["more"]), (&"installs".into(), &CUTS[2].into(), &false.into()));
    assert_eq!(last["as_of"], "2026-01-01T00:01:43.000Z");
    let rows = last["rows"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["channel"]), (1, &"search".into()));
    let first = get(&lake, "installs", &["tenant=shop", "user_id=u1"], 100, Some(CUTS[0])).await.unwrap();
    assert_eq!(first["rows"][0]["channel"], "display");
    // The same by the digits that tables show, and by whose id a subject is.
    let subject = format!("subject={}", rows[0]["subject"].as_str().unwrap());
    for key in [subject.as_str(), "subject=user:u1"] {
        assert_eq!(get(&lake, "installs", &["tenant=shop", key], 100, None).await.unwrap(), last, "{key}");
    }
    assert_eq!(
        get(&lake, "installs", &["tenant=shop", "user_id=u3"], 100, None).await.unwrap()["rows"],
        Value::Array(vec![])
    );
}

#[tokio::test]
async fn rows_come_in_the_order_of_their_key_up_to_a_limit() {
    let lake = lake().await;
    let by = ["tenant=shop", "grouping=channel", "period=day"];
    let all = get(&lake, "uniques", &by, 100, None).await.unwrap();
    let names = |found: &Value| {
        let rows = found["rows"].as_array().unwrap();
        rows.iter().map(|row| format!("{} {} {}", row["channel"], row["kind"], row["visitors"])).collect::<Vec<_>>()
    };
    // An impression was withdrawn; what has no channel was done by two visitors.
    assert_eq!(names(&all), ["null \"any\" 2", "\"search\" \"any\" 1", "\"search\" \"click\" 1"]);
    let some = get(&lake, "uniques", &by, 2, None).await.unwrap();
    assert_eq!((names(&some), &some["more"]), (names(&all)[..2].to_vec(), &true.into()));
    let null = get(&lake, "uniques", &[&by[..], &["channel="]].concat(), 100, None).await.unwrap();
    assert_eq!(names(&null), names(&all)[..1]);
    let timed = get(&lake, "uniques", &[&by[..], &["bucket=2026-01-01T00:00:00Z"]].concat(), 100, None).await.unwrap();
    assert_eq!(timed, all);
}

#[tokio::test]
async fn what_cannot_be_read_by_is_told_with_what_can() {
    let lake = lake().await;
    for (view, keys, message) in [
        ("instals", &["tenant=shop"][..], "there is no view \"instals\"; there are: events, "),
        ("sessions", &["tenant=shop"], "sessions is read by tenant=… visitor=…; other columns may follow"),
        (
            "installs",
            &["tenant=", "user_id=u1"],
            "installs is read by tenant=… user_id=…, or by tenant=… device_id=…, or by ",
        ),
        ("installs", &["tenant"], "\"tenant\" is no key: write column=value, as tenant=acme"),
        (
            "sessions",
            &["tenant=shop", "visitor=u1"],
            "visitor=u1: say whose id it is: user:…, device:…, login:… or click:…",
        ),
        (
            "uniques",
            &["tenant=shop", "grouping=tenant", "bucket=now"],
            "bucket=now: write a time as 2026-01-31T12:00:00Z",
        ),
        ("installs", &["tenant=shop", "user_id=u1", "user_id=u2"], "user_id=u1 and user_id=u2: name each column once"),
        (
            "uniques",
            &["tenant=shop", "grouping=tenant", "buckets=1"],
            "there is no column buckets; there are: grouping, ",
        ),
    ] {
        let error = get(&lake, view, keys, 100, None).await.unwrap_err();
        assert!(error.starts_with(message), "{view} {keys:?}: {error}");
    }
}
