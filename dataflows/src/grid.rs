//! The grids on which ticks and cuts lie.

use schemas::Tick;

/// Ticks lie on this grid.
pub const GRID_MS: Tick = 10;
/// Cuts lie on this grid. A multiple of [`GRID_MS`]; fixed when a lake is made.
pub const CUT_MS: Tick = 1_000;

const _: () = assert!(CUT_MS.is_multiple_of(GRID_MS));

/// The cut that holds a tick: cut *n* holds the ticks in [*n* − [`CUT_MS`], *n*).
pub fn cut_of(tick: Tick) -> Tick {
    (tick / CUT_MS * CUT_MS).saturating_add(CUT_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_holds_the_ticks_before_it() {
        assert_eq!((cut_of(0), cut_of(999), cut_of(1_000), cut_of(1_990)), (1_000, 1_000, 2_000, 2_000));
    }
}
