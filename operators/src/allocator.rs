//! The allocator of our programs, and how long it keeps what was freed.
//!
//! Large batches come and go, and rows are freed on other threads than made them: mimalloc holds less and is faster there than
//! the system's allocator. By itself it gives memory back to the system after a second, and what it asks for next the
//! kernel must clear again, page by page: a tenth of all time of a run. Kept for longer, memory goes round
//! (`docs/decisions/0012-readers.md`).
//!
//! What sets this is a foreign function, so this file calls one.
#![allow(unsafe_code)]

use std::ffi::c_long;

use libmimalloc_sys::{mi_option_set_default, mi_option_t};

/// What a program's `#[global_allocator]` is.
pub use mimalloc::MiMalloc as Allocator;

/// `mi_option_purge_delay` of `mimalloc.h`.
const PURGE_DELAY: mi_option_t = 15;
/// So long free memory is kept: longer than from one commit to the next but one.
const KEPT_MS: c_long = 10_000;

/// Has the allocator keep free memory for a while. `MIMALLOC_PURGE_DELAY` (ms) in the environment has precedence. To be called
/// first in a program, while it has one thread.
pub fn keep_memory() {
    // SAFETY: sets a number that the allocator reads when memory becomes free; no other thread is there to do so meanwhile.
    unsafe { mi_option_set_default(PURGE_DELAY, KEPT_MS) }
}

#[cfg(test)]
mod tests {
    use libmimalloc_sys::mi_option_get;

    use super::*;

    #[test]
    fn the_number_is_that_of_the_option() {
        // SAFETY: reads a number.
        let delay = || unsafe { mi_option_get(PURGE_DELAY) };
        assert_eq!(delay(), 1_000, "the default of the option, which no other has");
        keep_memory();
        assert_eq!(delay(), KEPT_MS);
    }
}
