//! Numbers of a row: a column, or the product of several.

use schemas::decimal::{Decimal, Notation};
use schemas::placeholders::placeholder;

use super::{Cells, Mapping};

/// Why a number cannot be read.
pub(super) struct Unread {
    /// The column that is to blame.
    pub(super) column: usize,
    pub(super) reason: String,
    /// What the cell has, where that only stands for a number that is not known (`N/A`).
    pub(super) placeholder: Option<Box<str>>,
}

impl Unread {
    pub(super) fn of(column: usize, reason: String) -> Unread {
        Unread { column, reason, placeholder: None }
    }
}

impl Mapping {
    /// The product of columns; none where one of them is empty.
    pub(super) fn product(
        &self,
        columns: &[usize],
        notation: &Notation,
        cells: &Cells,
    ) -> Result<Option<Decimal>, Unread> {
        let mut product: Option<Decimal> = None;
        for column in columns {
            let Some(text) = cells.get(*column) else { return Ok(None) };
            let factor = notation.parse(text).map_err(|reason| Unread {
                placeholder: placeholder(text).map(|found| found.into()),
                ..Unread::of(*column, reason)
            })?;
            product = Some(match product {
                None => factor,
                Some(product) => product
                    .times(factor)
                    .ok_or_else(|| Unread::of(*column, "the product has too many digits".to_owned()))?,
            });
        }
        Ok(product)
    }

    /// Why a cost whose amount is empty, or only stands for one, is none; and what to do about such rows.
    pub(super) fn empty_cost(&self, columns: &[usize], cells: &Cells) -> String {
        let column = columns.iter().copied().find(|column| cells.get(*column).is_none()).unwrap_or(columns[0]);
        let name = self.name(column);
        let (is, when) = match cells.get(column) {
            None => ("is empty".to_owned(), format!("{{ present: {name} }}")),
            Some(text) => (format!("{text:?} stands for no amount"), format!("{{ not: {{ {name}: [{text:?}] }} }}")),
        };
        let reason = format!(
            "{is}, and a cost needs its amount: write 0 in the file where nothing was spent, or leave such rows out, as by \
             `when: {when}`"
        );
        self.refuse(&[column], &reason)
    }
}
