//! What producers send as ids, made comparable and then hashed. SQL functions find a person by the same rules.

use std::net::IpAddr;

use crate::ids::{ClickId, DeviceId, EventId, Fingerprint, Id, IdHasher, IdKind, IpHash, LoginId, UserId};
use crate::placeholders::placeholder;

/// The bytes of a UUID's text, with its hyphens and without.
const UUID_BYTES: usize = 36;
const UUID_DIGITS: usize = 32;

impl IdHasher {
    /// The id of a producer's event id.
    pub fn event(&self, tenant: &str, raw: &str) -> EventId {
        EventId(self.unless_blank(IdKind::Event, tenant, raw))
    }

    /// The id of a user. Blank and placeholders are none.
    pub fn user(&self, tenant: &str, raw: &str) -> UserId {
        UserId(self.unless_placeholder(IdKind::User, tenant, raw))
    }

    /// The id of a login. Blank and placeholders are none.
    pub fn login(&self, tenant: &str, raw: &str) -> LoginId {
        LoginId(self.unless_placeholder(IdKind::Login, tenant, raw))
    }

    /// The id of a device. Blank and placeholders are none; case, hyphens and braces of a UUID do not matter.
    pub fn device(&self, tenant: &str, raw: &str) -> DeviceId {
        let raw = raw.trim();
        if raw.is_empty() || placeholder(raw).is_some() { DeviceId::NONE } else { self.named_device(tenant, raw) }
    }

    /// The id of a device that is known to be no placeholder.
    pub(crate) fn named_device(&self, tenant: &str, raw: &str) -> DeviceId {
        let raw = raw.trim();
        let uuid = uuid(raw);
        let raw = uuid.as_ref().map_or(raw.as_bytes(), |uuid| uuid);
        DeviceId(self.hash(IdKind::Device, tenant, raw))
    }

    /// The id of a click id. Blank and placeholders are none.
    pub fn click(&self, tenant: &str, raw: &str) -> ClickId {
        ClickId(self.unless_placeholder(IdKind::Click, tenant, raw))
    }

    /// The id of an address: of all of an IPv4 address, of the /64 of an IPv6 address.
    pub fn ip(&self, tenant: &str, address: IpAddr) -> IpHash {
        IpHash(match address.to_canonical() {
            IpAddr::V4(address) => self.hash(IdKind::Ip, tenant, &address.octets()),
            IpAddr::V6(address) => self.hash(IdKind::Ip, tenant, &address.octets()[..8]),
        })
    }

    /// The id of address, operating system, its major version and device model together. A missing part is none.
    /// `scratch` is overwritten.
    pub fn fingerprint(
        &self,
        tenant: &str,
        ip: IpHash,
        [os, os_version, device_model]: [&str; 3],
        scratch: &mut Vec<u8>,
    ) -> Fingerprint {
        let os_major = os_major(os_version);
        if ip.is_none() || os.is_empty() || os_major.is_empty() || device_model.is_empty() {
            return Fingerprint::NONE;
        }
        scratch.clear();
        scratch.extend(ip.0.to_bytes());
        for part in [os, os_major, device_model] {
            // Lengths keep ("a", "bc") and ("ab", "c") apart.
            scratch.extend((part.len() as u32).to_be_bytes());
            scratch.extend(part.as_bytes());
        }
        Fingerprint(self.hash(IdKind::Fingerprint, tenant, scratch))
    }

    fn unless_placeholder(&self, kind: IdKind, tenant: &str, raw: &str) -> Id {
        let raw = raw.trim();
        if placeholder(raw).is_some() { Id::NONE } else { self.unless_blank(kind, tenant, raw) }
    }

    fn unless_blank(&self, kind: IdKind, tenant: &str, raw: &str) -> Id {
        match raw.trim() {
            "" => Id::NONE,
            raw => self.hash(kind, tenant, raw.as_bytes()),
        }
    }
}

/// The digits before the first dot of a version; empty where something else is there.
pub fn os_major(os_version: &str) -> &str {
    let major = os_version.split('.').next().unwrap_or_default();
    if major.bytes().all(|byte| byte.is_ascii_digit()) { major } else { "" }
}

/// The canonical text of a UUID, lower case with hyphens: lakes of 0.1.0 hold hashes of it. It may come in any case, without
/// hyphens, and in braces, brackets or parentheses, also percent-encoded ones.
fn uuid(raw: &str) -> Option<[u8; UUID_BYTES]> {
    if raw.len() < UUID_DIGITS {
        return None;
    }
    let scheme = raw.get(..9).is_some_and(|head| head.eq_ignore_ascii_case("urn:uuid:"));
    let raw = if scheme { &raw[9..] } else { raw };
    let pairs = [("{", "}"), ("(", ")"), ("[", "]"), ("%7B", "%7D"), ("%7b", "%7d")];
    let inner = pairs.iter().find_map(|(open, close)| raw.strip_prefix(open)?.strip_suffix(close));
    let raw = inner.unwrap_or(raw).as_bytes();
    let hyphens = raw.len() == UUID_BYTES;
    if !hyphens && raw.len() != UUID_DIGITS {
        return None;
    }
    let mut digits = raw.iter();
    let mut text = [b'-'; UUID_BYTES];
    for (at, place) in text.iter_mut().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if hyphens && digits.next() != Some(&b'-') {
                return None;
            }
        } else {
            *place = digits.next().filter(|digit| digit.is_ascii_hexdigit())?.to_ascii_lowercase();
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hasher() -> IdHasher {
        IdHasher::new(b"test")
    }

    #[test]
    fn devices_without_an_advertising_id_are_none() {
        for raw in [
            "",
            "  ",
            "0",
            "00000000-0000-0000-0000-000000000000",
            "0000000000000000",
            "-",
            "OptOut",
            "UNKNOWN",
            "null",
        ] {
            assert!(hasher().device("shop", raw).is_none(), "{raw:?}");
        }
        assert!(!hasher().device("shop", "0a").is_none());
    }

    #[test]
    fn a_uuid_is_the_same_in_any_writing_and_other_ids_are_not() {
        let device = |raw: &str| hasher().device("shop", raw);
        let uuid = "6D92078A-8246-4BA4-AE5B-76104861E7DC";
        for same in [
            " 6d92078a-8246-4ba4-ae5b-76104861e7dc\n",
            "6D92078A82464BA4AE5B76104861E7DC",
            "6d92078a82464ba4ae5b76104861e7dc",
            "{6D92078A-8246-4BA4-AE5B-76104861E7DC}",
            "{6d92078a82464ba4ae5b76104861e7dc}",
            "(6d92078a-8246-4ba4-ae5b-76104861e7dc)",
            "%7B6D92078A-8246-4BA4-AE5B-76104861E7DC%7D",
            "urn:uuid:6d92078a-8246-4ba4-ae5b-76104861e7dc",
        ] {
            assert_eq!(device(uuid), device(same), "{same}");
        }
        for other in [
            "6D92078A-8246-4BA4-AE5B-76104861E7DD",
            "6D92078A8246-4BA4-AE5B-76104861E7DC",
            "6D92078A-8246-4BA4-AE5B-76104861E7D",
        ] {
            assert_ne!(device(uuid), device(other), "{other}");
        }
        assert_ne!(device("Abc"), device("abc"));
        let user = |raw: &str| hasher().user("shop", raw);
        assert_ne!(user(uuid), user(&uuid.to_lowercase()), "users are what they are sent as");
    }

    #[test]
    fn placeholders_are_nobody() {
        for raw in ["null", "{gclid}", "0", "(not set)"] {
            assert!(hasher().user("shop", raw).is_none() && hasher().device("shop", raw).is_none(), "{raw}");
            assert!(hasher().click("shop", raw).is_none() && hasher().login("shop", raw).is_none(), "{raw}");
        }
        assert!(!hasher().user("shop", "7").is_none() && !hasher().user("shop", "22").is_none());
    }

    #[test]
    fn an_address_is_known_by_its_network() {
        let ip = |raw: &str| hasher().ip("shop", raw.parse().unwrap());
        assert_eq!(ip("203.0.113.9"), ip("::ffff:203.0.113.9"));
        assert_ne!(ip("203.0.113.9"), ip("203.0.113.8"));
        assert_eq!(ip("2001:db8:1:2::3"), ip("2001:db8:1:2:ffff::"));
        assert_ne!(ip("2001:db8:1:2::3"), ip("2001:db8:1:3::3"));
    }

    #[test]
    fn a_fingerprint_needs_all_its_parts_and_only_the_major_version() {
        let ip = hasher().ip("shop", IpAddr::from([203, 0, 113, 9]));
        let fingerprint = |ip, parts| hasher().fingerprint("shop", ip, parts, &mut Vec::new());
        let whole = fingerprint(ip, ["ios", "16.5", "iPhone"]);
        assert_eq!(whole, fingerprint(ip, ["ios", "16.6.1", "iPhone"]));
        assert_ne!(whole, fingerprint(ip, ["ios", "17", "iPhone"]));
        assert_ne!(fingerprint(ip, ["ios", "1", "6iPhone"]), fingerprint(ip, ["ios", "16", "iPhone"]));
        assert!(fingerprint(IpHash::NONE, ["ios", "16.5", "iPhone"]).is_none());
        for parts in [["", "16", "iPhone"], ["ios", "", "iPhone"], ["ios", "XP", "iPhone"], ["ios", "16", ""]] {
            assert!(fingerprint(ip, parts).is_none(), "{parts:?}");
        }
    }

    #[test]
    fn ids_stay_what_they_are() {
        // Lakes hold these: a change of them is a change of the lake's format.
        let hex = |id: Id| id.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let ip = hasher().ip("shop", IpAddr::from([203, 0, 113, 9]));
        assert_eq!(hex(hasher().user("shop", "u1").0), "da49a246da03c6983823f8e54bf37ddd");
        assert_eq!(
            hex(hasher().device("shop", "6D92078A-8246-4BA4-AE5B-76104861E7DC").0),
            "d9d94fb8a3f6067bf155f49b37f8c09e"
        );
        assert_eq!(
            hex(hasher().fingerprint("shop", ip, ["ios", "16.5", "iPhone"], &mut Vec::new()).0),
            "885b561fb98c7273bbd5f7eb0cfe8d5c"
        );
    }
}
