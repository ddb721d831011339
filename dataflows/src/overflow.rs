//! Sums that do not fit 64 bits: a run ends with what it was, as a wrong number would be worse.

/// The sum, where it fits.
///
/// # Panics
/// Where it does not, with what to do about it.
#[track_caller]
pub(crate) fn fits(sum: Option<i64>, what: &str) -> i64 {
    sum.unwrap_or_else(|| {
        panic!(
            "{what} does not fit 64 bits, which is 9.2e12 units of a currency: look at the largest amounts of the input, whether they are in \
             another unit or are no amounts"
        )
    })
}
