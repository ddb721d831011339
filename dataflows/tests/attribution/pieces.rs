//! What is taken of `credits` comes in pieces.

use std::collections::BTreeSet;

use arrow::array::{AsArray, RecordBatch};
use dataflows::changes::{BATCH_ROWS, Cutover};
use dataflows::grid::CUT_MS;
use dataflows::horizon::Bounds;
use dataflows::inputs::Inputs;
use dataflows::params::Params;
use dataflows::views::credits;
use operators::Hub;
use schemas::ids::Id;
use schemas::{
    Accepted, ClickId, DeviceId, Event, EventId, EventTime, EventType, Micros, PayloadHash, Symbol, Tick, UserId,
};
use timely::dataflow::ProbeHandle;

/// An event of a person, at a second of the first minute.
fn event(event_type: EventType, person: u128, number: u128, second: i64) -> Accepted {
    let id = |number: u128| Id::from_bytes((number << 64 | number).to_be_bytes());
    let (user, event_id) = (UserId(id(person + 1)), EventId(id(number + 1)));
    let event = Event {
        event_type,
        tenant: Symbol(1),
        event_id,
        event_time: EventTime(second * 1_000),
        subject: Event::subject_of(user, DeviceId::NONE, ClickId::NONE),
        user,
        revenue: (event_type == EventType::Conversion).then_some(Micros(1_000_001)),
        ..Event::default()
    };
    Accepted { event, payload_hash: PayloadHash(event_id.0), ..Accepted::default() }
}

#[test]
fn rows_of_credits_come_in_pieces_of_whole_conversions_and_only_what_changed() {
    const PEOPLE: u128 = 200;
    let taken = timely::execute_directly(move |worker| {
        let (hub, probe) = (Hub::new(1), ProbeHandle::new());
        let (mut feed, mut backlog) = worker.dataflow::<Tick, _, _>(|scope| {
            let (feed, mut inputs) = Inputs::new(scope, &Params::default(), Bounds::default());
            let cutover = Cutover { replay_from: 0, snapshot_at: None };
            (
                feed,
                credits::output(inputs.attribution().credited, &inputs.params).attach(
                    &mut hub.publisher(0),
                    &probe,
                    cutover,
                ),
            )
        });
        let mut batch = feed.batch();
        // In the first cut each person's two touches and conversion; in the second, for half of them one touch more.
        for person in 0..PEOPLE {
            let number = person * 10;
            batch.push(&event(EventType::Click, person, number, 10), 5);
            batch.push(&event(EventType::Impression, person, number + 1, 20), 5);
            batch.push(&event(EventType::Conversion, person, number + 2, 30), 5);
            if person % 2 == 0 {
                batch.push(&event(EventType::Click, person, number + 3, 25), CUT_MS + 5);
            }
        }
        feed.take(&mut batch);
        feed.advance_to(2 * CUT_MS);
        feed.flush();
        worker.step_while(|| probe.less_than(&(2 * CUT_MS)));
        backlog.take_through(2 * CUT_MS)
    });
    // Two touches earn 9 rows under six models, three earn 12; the first touch's whole credit stays as it is.
    let (first, second) = (PEOPLE as usize * 9, PEOPLE as usize / 2 * (8 + 11));
    for (done, rows) in [(0, first + second), (CUT_MS, second)] {
        let pieces: Vec<_> = taken.after(done).collect();
        assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.num_rows() < 2 * BATCH_ROWS), "{}", pieces.len());
        let conversions = |piece: &RecordBatch| -> BTreeSet<Vec<u8>> {
            piece["event_id"].as_binary::<i32>().iter().flatten().map(<[u8]>::to_vec).collect()
        };
        let mut all = BTreeSet::new();
        assert!(pieces.iter().flat_map(conversions).all(|id| all.insert(id)), "no conversion is in two pieces");
        assert_eq!(pieces.iter().map(RecordBatch::num_rows).sum::<usize>(), rows, "after {done}");
    }
}
