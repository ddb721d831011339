//! The canonical text of a row of cells: a line of CSV with commas, and quotes where they are needed.
//!
//! It is what is kept of a bad row, what is hashed, and what a replay reads again; it must stay what it is, byte for byte,
//! as a row's hash is in the ledger.

/// Appends a row.
pub(super) fn write<'a>(cells: impl Iterator<Item = &'a [u8]>, text: &mut Vec<u8>) {
    let (start, mut count) = (text.len(), 0);
    for cell in cells {
        if count > 0 {
            text.push(b',');
        }
        count += 1;
        if cell.iter().any(|byte| matches!(byte, b',' | b'"' | b'\r' | b'\n')) {
            text.push(b'"');
            for byte in cell {
                if *byte == b'"' {
                    text.push(b'"');
                }
                text.push(*byte);
            }
            text.push(b'"');
        } else {
            text.extend_from_slice(cell);
        }
    }
    // A row of one empty cell is not an empty line.
    if count == 1 && text.len() == start {
        text.extend_from_slice(b"\"\"");
    }
}

/// Reads a row: the cells one after another, and where each ends.
pub(super) fn read(text: &[u8], cells: &mut Vec<u8>, ends: &mut Vec<usize>) {
    cells.clear();
    ends.clear();
    let mut rest = text;
    loop {
        let mut bytes = rest;
        if let Some(quoted) = rest.strip_prefix(b"\"") {
            bytes = quoted;
            loop {
                let close = memchr::memchr(b'"', bytes).unwrap_or(bytes.len());
                cells.extend_from_slice(&bytes[..close]);
                bytes = &bytes[(close + 1).min(bytes.len())..];
                // A quote that is doubled is one of the cell's.
                if bytes.first() != Some(&b'"') {
                    break;
                }
                cells.push(b'"');
                bytes = &bytes[1..];
            }
        }
        let comma = memchr::memchr(b',', bytes);
        cells.extend_from_slice(&bytes[..comma.unwrap_or(bytes.len())]);
        ends.push(cells.len());
        match comma {
            Some(comma) => rest = &bytes[comma + 1..],
            None => return,
        }
    }
}
