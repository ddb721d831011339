//! What tells events apart, and the halves of it by which an index finds one.

use schemas::units::MINUTE_MS;
use schemas::{EventId, EventTime, Subject};

/// What tells an event from all others: its ids hash the tenant.
pub type Identity = (EventTime, EventId, Subject);

/// 128 bits that tell an event from all others, to find it by the first half and confirm it by the second.
///
/// Ids are keyed hashes, so mixing them is as good as hashing them: events with the same ids differ in time, which
/// the first half tells, and of other events the halves differ like random words. The second differs where the first
/// does alone, so it tells apart also what was not found by one first half.
///
/// The last bits of the first half are the millisecond of the event's minute: an index that holds it and the minute knows
/// when the event was ([`Entry::may_precede`](crate::attribution::touches::Entry::may_precede)).
pub fn split_identity((event_time, event_id, subject): Identity) -> (u64, u64) {
    let word = (event_time.0 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mix = |id: u64, subject: u64| id ^ subject.rotate_left(32) ^ word;
    let mixed = mix(event_id.0.route(), subject.0.route());
    let first = mixed & !MS_OF_MINUTE | event_time.0.rem_euclid(MINUTE_MS) as u64;
    (first, mix(event_id.0.rest(), subject.0.rest()) ^ mixed.wrapping_mul(0xd6e8_feb8_6659_fd93))
}

/// The [`split_identity`] of costs of this identity. A cost is a copy of costs alone.
pub fn split_cost_identity(identity: Identity) -> (u64, u64) {
    let (first, second) = split_identity(identity);
    (first ^ 0x8bb8_4b93_962e_acc9 & !MS_OF_MINUTE, second ^ 0x2d35_8dcc_aa6c_78a5)
}

/// Where the first of [`split_identity`] tells the millisecond of the minute.
pub(super) const MS_OF_MINUTE: u64 = 0xffff;
const _: () = assert!(MINUTE_MS as u64 <= MS_OF_MINUTE);
