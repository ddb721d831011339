//! Field faults: what was wrong with an optional field of an event that counts all the same.
//!
//! Only what identifies, dates or pays is strict. Any other field that cannot be read is left out or cut, and the
//! fault is kept with the record, so that views can count it by field and reason.

/// A text that stands where an id or an amount is missing; the fault has it as its value.
pub const PLACEHOLDER: &str = "placeholder";
/// A value of another JSON type than its field.
pub const WRONG_TYPE: &str = "wrong type";
/// Bytes that are no UTF-8.
pub const NO_UTF8: &str = "invalid UTF-8: if the file has another encoding, its mapping can name it";
/// A text of JSON with half a surrogate pair.
pub const HALF_SURROGATE: &str = "half a surrogate pair";
/// A text that is no number or no time.
pub const UNREADABLE: &str = "unreadable";
/// A number or time beyond what the field holds.
pub const OUT_OF_RANGE: &str = "out of range";
/// A name longer than [`crate::decode::NAME_BYTES_MAX`], which was cut.
pub const CUT: &str = "cut";
/// An amount with more than six decimals, which was rounded half to even.
pub const ROUNDED: &str = "rounded to micros";
/// A field that a record has more than once; the last stands.
pub const GIVEN_TWICE: &str = "given twice";
/// An amount in units that is not the one in micros, which stands.
pub const DISAGREES: &str = "disagrees with the amount in micros";

/// Why a field of an accepted event is absent, cut or changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fault {
    /// The field of the event, as it is named in JSON and in mappings.
    pub field: &'static str,
    /// What was wrong, one of few texts: faults are counted by it.
    pub reason: &'static str,
    /// The value, where it is one of few and tells nothing of a person (a placeholder, say).
    pub value: Option<Box<str>>,
}

impl Fault {
    /// A placeholder where an id or an amount should be.
    pub fn placeholder(field: &'static str, placeholder: &str) -> Fault {
        Fault { field, reason: PLACEHOLDER, value: Some(placeholder.into()) }
    }
}

/// What few records have, besides what [`crate::table::RecordRow`] has of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// The faults of its optional fields.
    pub faults: Vec<Fault>,
    /// Names of fields that no event has.
    pub unknown_fields: Vec<Box<str>>,
    /// The referrer without what could be an id of a person.
    pub referrer: Option<Box<str>>,
    /// Of a dead letter: the key of the record.
    pub key: Option<Box<[u8]>>,
    /// Of a dead letter: the headers of the record, as a JSON object of texts.
    pub headers: Option<Box<str>>,
}

impl Extras {
    /// Whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        let Extras { faults, unknown_fields, referrer, key, headers } = self;
        faults.is_empty() && unknown_fields.is_empty() && referrer.is_none() && key.is_none() && headers.is_none()
    }

    /// Its size in memory, about.
    pub fn bytes(&self) -> usize {
        let Extras { faults, unknown_fields, referrer, key, headers } = self;
        let texts =
            faults.iter().filter_map(|fault| fault.value.as_deref()).chain(unknown_fields.iter().map(|name| &**name));
        let texts = texts.chain(referrer.as_deref()).chain(headers.as_deref());
        size_of::<Extras>()
            + faults.len() * size_of::<Fault>()
            + unknown_fields.len() * size_of::<Box<str>>()
            + texts.map(str::len).sum::<usize>()
            + key.as_ref().map_or(0, |key| key.len())
    }
}
