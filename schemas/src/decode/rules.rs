//! What a job file may add to the rules of ids: `ids: { placeholders: […], click_parameters: […] }`.

use serde::{Deserialize, Serialize};

/// The most entries of a list.
const ENTRIES_MAX: usize = 256;
/// The longest entry, in bytes.
const ENTRY_BYTES_MAX: usize = 128;

/// Additions of a job to the lists of placeholders and of click parameters. They apply to records from then on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdRules {
    /// Further texts that are no ids: whole texts, in any case of letters. At most 256, of 1 to 128 bytes; default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub placeholders: Vec<String>,
    /// Further parameters of a referrer that hold a click id, after those of the list and in this order; in any case of
    /// letters. At most 256, of 1 to 128 bytes; default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub click_parameters: Vec<String>,
}

impl IdRules {
    /// Whether there are no additions.
    pub fn is_empty(&self) -> bool {
        self.placeholders.is_empty() && self.click_parameters.is_empty()
    }

    /// Checks the additions; an error begins with the field.
    pub fn check(&self) -> Result<(), String> {
        for (field, list) in [("placeholders", &self.placeholders), ("click_parameters", &self.click_parameters)] {
            if list.len() > ENTRIES_MAX {
                return Err(format!("{field} has {} entries: at most {ENTRIES_MAX} are allowed", list.len()));
            }
            let wrong = list.iter().find(|entry| entry.trim().is_empty() || entry.len() > ENTRY_BYTES_MAX);
            if let Some(entry) = wrong {
                return Err(format!("{field} has the entry {entry:?}: write texts of 1 to {ENTRY_BYTES_MAX} bytes"));
            }
        }
        let reserved = |byte: char| byte.is_whitespace() || "=&;?#%+".contains(byte);
        match self.click_parameters.iter().find(|name| name.trim().contains(reserved)) {
            Some(name) => {
                Err(format!("click_parameters has {name:?}: write the bare name of a parameter, as clickref"))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_that_cannot_work_are_refused() {
        let rules = |placeholders: &[&str], parameters: &[&str]| {
            let list = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect();
            IdRules { placeholders: list(placeholders), click_parameters: list(parameters) }.check()
        };
        assert_eq!(rules(&["test user"], &["clickref"]), Ok(()));
        assert!(rules(&[" "], &[]).unwrap_err().starts_with("placeholders has the entry"));
        assert!(rules(&[], &[""]).unwrap_err().starts_with("click_parameters has the entry"));
        assert!(rules(&[], &["clickref="]).unwrap_err().contains("bare name"));
        assert!(rules(&["x"; 257], &[]).unwrap_err().contains("257 entries"));
    }
}
