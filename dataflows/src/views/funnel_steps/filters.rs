//! Of which steps of funnels is an event one?

use schemas::{EventType, Symbol};

use crate::event_row::EventRow;
use crate::funnels::{Funnel, symbols};

/// The filters of all steps of all funnels, in a row.
#[derive(Clone)]
pub struct Filters(Vec<Filter>);

#[derive(Clone)]
struct Filter {
    /// Any type of visitors' where it is empty.
    types: Vec<EventType>,
    /// What columns may be; all hold.
    columns: Vec<(Column, Vec<Symbol>)>,
}

type Column = fn(&EventRow) -> Symbol;

/// Where an event has a column.
fn column(name: &str) -> Column {
    match name {
        "name" => |event| event.name,
        "app" => |event| event.app,
        "campaign" => |event| event.campaign,
        "ad_group" => |event| event.ad_group,
        "creative" => |event| event.creative,
        "source" => |event| event.source,
        "channel" => |event| event.channel,
        "country" => |event| event.country,
        other => unreachable!("no step is asked for {other}"),
    }
}

impl Filters {
    /// Of these funnels.
    pub fn new(funnels: &[Funnel]) -> Filters {
        let steps = funnels.iter().flat_map(|funnel| &funnel.steps);
        Filters(
            steps
                .map(|step| {
                    let asked = step.columns.all().into_iter().filter(|(_, names)| !names.is_empty());
                    let columns = asked.map(|(name, names)| (column(name), symbols(names).collect()));
                    Filter { types: step.types.clone(), columns: columns.collect() }
                })
                .collect(),
        )
    }

    /// The steps of which an event is one: a bit each.
    pub fn steps(&self, event: &EventRow) -> u64 {
        if !event.event_type.is_of_visitors() {
            return 0;
        }
        let is_one = |filter: &Filter| {
            (filter.types.is_empty() || filter.types.contains(&event.event_type))
                && filter.columns.iter().all(|(column, names)| names.contains(&column(event)))
        };
        self.0.iter().enumerate().fold(0, |steps, (place, filter)| steps | u64::from(is_one(filter)) << place)
    }
}
