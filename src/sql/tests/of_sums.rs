//! Sums of 64-bit integers fit, or say that they do not.

use super::*;

#[tokio::test]
async fn a_sum_is_exact_or_an_error() {
    let session = empty_session().await;
    let max = i64::MAX;
    let of = |numbers: &str, asked: &str| format!("SELECT {asked} FROM (VALUES {numbers}) AS t(k, x)");
    for (numbers, asked, rows) in [
        (format!("(1, {max}), (1, 1), (1, -1)"), "sum(x) AS s", "9223372036854775807\n"),
        (format!("(1, {max}), (1, 1), (1, -2)"), "sum(x) AS s", "9223372036854775806\n"),
        (format!("(1, {max}), (2, 1)"), "k, sum(x) AS s", "1,9223372036854775807\n2,1\n"),
        ("(1, NULL), (2, 3)".to_owned(), "k, sum(x) AS s", "1,\n2,3\n"),
        ("(1, 3), (2, 4)".to_owned(), "sum(x) FILTER (WHERE k > 5) AS s", "\n"),
        ("(1, 1), (2, 2), (3, 3)".to_owned(), "k, sum(x) OVER (ORDER BY k) AS s", "1,1\n2,3\n3,6\n"),
        (
            "(1, 1), (2, NULL), (3, 3), (4, 4)".to_owned(),
            "k, sum(x) OVER (ORDER BY k ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS s",
            "1,1\n2,1\n3,3\n4,7\n",
        ),
        ("(1, 0.5), (2, 0.25)".to_owned(), "sum(x) AS s", "0.75\n"),
        ("(1, 2), (2, 2)".to_owned(), "sum(DISTINCT x) AS s", "2\n"),
    ] {
        let grouped = if asked.starts_with("k, sum(x) AS") { " GROUP BY k ORDER BY k" } else { "" };
        let printed = printed(&session, &(of(&numbers, asked) + grouped)).await;
        assert_eq!(printed.split_once('\n').unwrap().1.replace("\"\"", ""), rows, "{asked} of {numbers}");
    }
    for (asked, grouped) in [
        ("sum(x) AS s", ""),
        ("k, sum(x) AS s", " GROUP BY k"),
        ("sum(x) OVER (ORDER BY x) AS s", ""),
        ("sum(x) + 1 AS s", ""),
    ] {
        let query = of(&format!("(1, {max}), (1, 1)"), asked) + grouped;
        let error = execute(&session, &query, Format::Csv, Vec::new()).await.unwrap_err().to_string();
        assert!(error.contains("a sum of 9223372036854775808 does not fit 64 bits: "), "{asked}: {error}");
    }
}
