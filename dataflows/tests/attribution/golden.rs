//! Runs hand-written cases: all of a test in one run, each under a tenant of its own.

use std::fmt::Display;

use dataflows::params::{Params, Span};
use dataflows::views::credits::CreditRow;
use dataflows::views::installs::InstallRow;
use schemas::Symbol;
use schemas::symbols::NO_CHANNEL;
use schemas::table::Verdict;
use schemas::view::{Method, Model, PathTouch};

use crate::events::{EPOCH_MS, Ev};
use crate::oracle;
use crate::stream::{rows_at, stream};

/// What a case looks at.
enum Ask {
    Winners,
    Paths,
    Credits(Model),
}

/// Cases with common parameters.
pub(crate) struct Golden {
    params: Params,
    cases: Vec<(&'static str, Vec<Ev>, Ask, String)>,
}

impl Golden {
    pub(crate) fn new(params: Params) -> Golden {
        params.validate().expect("parameters of cases are valid");
        Golden { params, cases: Vec::new() }
    }

    /// Expects of each install, in order of time, how it was won.
    pub(crate) fn winners(&mut self, name: &'static str, events: impl Into<Vec<Ev>>, expected: &str) {
        self.cases.push((name, events.into(), Ask::Winners, expected.to_owned()));
    }

    /// Expects of each install, in order of time, the path that it froze.
    pub(crate) fn paths(&mut self, name: &'static str, events: impl Into<Vec<Ev>>, expected: &str) {
        self.cases.push((name, events.into(), Ask::Paths, expected.to_owned()));
    }

    /// Expects of each conversion, in order of time, what each channel earned under a model.
    pub(crate) fn credits(&mut self, name: &'static str, model: Model, events: impl Into<Vec<Ev>>, expected: &str) {
        self.cases.push((name, events.into(), Ask::Credits(model), expected.to_owned()));
    }

    /// Runs the SQL, and the dataflow forwards with one worker and backwards with two; prints every case that differs.
    pub(crate) fn run(self) {
        let mut records = Vec::new();
        for (case, (_, events, _, _)) in self.cases.iter().enumerate() {
            let of_case = events.iter().enumerate();
            records.extend(of_case.map(|(place, event)| (event.accepted(case as u32 + 1), 1_000 + 10 * place as u64)));
        }
        let last = records.iter().map(|(_, tick)| *tick).max().unwrap_or(0);
        let backwards: Vec<_> = records.iter().map(|(record, tick)| (*record, last + 1_000 - tick)).collect();
        let for_sql: Vec<_> = records.iter().map(|(record, _)| (*record, Verdict::Ok)).collect();

        let sql = oracle::sql(&for_sql, &self.params);
        for (way, changes) in [
            ("forwards", stream(&records, &self.params, 1, &[true])),
            ("backwards", stream(&backwards, &self.params, 2, &[true, false])),
        ] {
            let installs = rows_at(&changes.installs, u64::MAX);
            let credits = rows_at(&changes.credits, u64::MAX);
            let mut wrong = Vec::new();
            for (case, (name, _, ask, expected)) in self.cases.iter().enumerate() {
                let tenant = Symbol(case as i64 + 1);
                let streamed = ask.answer(&installs, &credits, tenant);
                let in_sql = ask.answer(&sql.installs, &sql.credits, tenant);
                if streamed != *expected || in_sql != *expected {
                    wrong.push(format!("{name}\n  expected {expected}\n  streamed {streamed}\n  in SQL   {in_sql}"));
                }
            }
            assert!(wrong.is_empty(), "{way}: {} of {} cases\n{}", wrong.len(), self.cases.len(), wrong.join("\n"));
            assert!(installs == sql.installs && credits == sql.credits, "{way}: streamed rows are those of the SQL");
        }
    }
}

impl Ask {
    fn answer(&self, installs: &[InstallRow], credits: &[CreditRow], tenant: Symbol) -> String {
        let mut installs: Vec<&InstallRow> = installs.iter().filter(|row| row.tenant == tenant).collect();
        installs.sort_by_key(|row| (row.event_time, row.event_id, row.subject));
        match self {
            Ask::Winners => joined("; ", installs.into_iter().map(winner)),
            Ask::Paths => joined("; ", installs.into_iter().map(path)),
            Ask::Credits(model) => {
                let mut rows: Vec<&CreditRow> =
                    credits.iter().filter(|row| row.tenant == tenant && row.model == *model).collect();
                rows.sort_by_key(|row| (row.event_time, row.event_id, row.subject, row.touch));
                let conversions = rows.chunk_by(|one, other| one.key() == other.key());
                joined("; ", conversions.map(|rows| joined(", ", rows.iter().map(|row| share(row)))))
            }
        }
    }
}

fn joined(separator: &str, parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(separator)
}

fn winner(install: &InstallRow) -> String {
    let mut text = match &install.touch {
        None => "organic".to_owned(),
        Some(touch) => format!("{} {}", install.method.name(), place(touch)),
    };
    let ctit_ms = install.touch.map(|touch| install.event_time.0 - touch.event_time.0);
    assert_eq!(install.ctit_ms, ctit_ms);
    if install.method == Method::Fingerprint {
        text += &format!(" 1/{}", install.candidates);
    } else {
        assert_eq!(install.candidates, 1);
    }
    match (install.reinstall, install.reattribution) {
        (false, false) => text,
        (true, _) => text + " reinstall",
        (false, true) => format!("{text} reattribution with {}", install.event_type.name()),
    }
}

fn path(install: &InstallRow) -> String {
    let touches = install.path.iter().map(|touch| format!("{} {}", touch.method.name(), place(touch)));
    let path = joined(", ", touches);
    if install.path_dropped > 0 { format!("{path} after {}", install.path_dropped) } else { path }
}

fn place(touch: &PathTouch) -> String {
    format!("{}@{}", touch.event_type.name(), Span(touch.event_time.0 - EPOCH_MS))
}

/// `channel ppm`, `= revenue` where there is one.
fn share(row: &CreditRow) -> String {
    let channel = match &row.touch {
        None => NO_CHANNEL,
        Some(touch) => ["search", "social", "direct", "email", "organic", NO_CHANNEL]
            .into_iter()
            .find(|name| Symbol::of(name) == touch.channel)
            .map_or("?", |name| if name == NO_CHANNEL { "named (none)" } else { name }),
    };
    let revenue = row.revenue.map(|revenue| format!(" = {}", revenue.0));
    let dropped = (row.path_dropped > 0).then(|| format!(" after {}", row.path_dropped));
    format!("{channel} {}{}{}", row.credit_ppm, text(revenue), text(dropped))
}

fn text(part: Option<impl Display>) -> String {
    part.map_or(String::new(), |part| part.to_string())
}
