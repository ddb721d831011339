//! What producers send as ids, made comparable and then hashed. SQL functions find a person by the same rules.

use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr};

use crate::ids::{ClickId, DeviceId, EventId, Fingerprint, Id, IdHasher, IdKind, IpHash, LoginId, UserId};

/// The texts by which devices say that they have no advertising id, besides zeros and dashes.
const OPTED_OUT: [&str; 11] = [
    "optout",
    "opt-out",
    "opt_out",
    "optedout",
    "opted-out",
    "opted_out",
    "unknown",
    "null",
    "none",
    "nil",
    "undefined",
];

/// The parameters of a referrer that hold a click id, the most specific first.
const CLICK_PARAMETERS: [&str; 10] =
    ["click_id", "clickid", "gclid", "gbraid", "wbraid", "dclid", "fbclid", "msclkid", "ttclid", "twclid"];

/// The bytes of a UUID's text.
const UUID_BYTES: usize = 36;

impl IdHasher {
    /// The id of a producer's event id.
    pub fn event(&self, tenant: &str, raw: &str) -> EventId {
        EventId(self.unless_blank(IdKind::Event, tenant, raw))
    }

    /// The id of a user. Blank is none.
    pub fn user(&self, tenant: &str, raw: &str) -> UserId {
        UserId(self.unless_blank(IdKind::User, tenant, raw))
    }

    /// The id of a login. Blank is none.
    pub fn login(&self, tenant: &str, raw: &str) -> LoginId {
        LoginId(self.unless_blank(IdKind::Login, tenant, raw))
    }

    /// The id of a device. Blank, zero and opted-out ids are none; the case of a UUID does not matter.
    pub fn device(&self, tenant: &str, raw: &str) -> DeviceId {
        let raw = raw.trim();
        if raw.bytes().all(|byte| matches!(byte, b'0' | b'-')) || opted_out(raw) {
            return DeviceId::NONE;
        }
        let mut lower = [0u8; UUID_BYTES];
        let raw = if is_uuid(raw) {
            lower.copy_from_slice(raw.as_bytes());
            lower.make_ascii_lowercase();
            &lower
        } else {
            raw.as_bytes()
        };
        DeviceId(self.hash(IdKind::Device, tenant, raw))
    }

    /// The id of a click id. Blank is none.
    pub fn click(&self, tenant: &str, raw: &str) -> ClickId {
        ClickId(self.unless_blank(IdKind::Click, tenant, raw))
    }

    /// The id of the click that an install referrer names: its click id parameter (`gclid=…`), else all of it.
    pub fn referrer(&self, tenant: &str, raw: &str) -> ClickId {
        let query = raw.split_once('?').map_or(raw, |(_, query)| query);
        let query = query.split('#').next().unwrap_or_default();
        for name in CLICK_PARAMETERS {
            let values = query.split('&').filter_map(|pair| pair.split_once('='));
            let mut values = values.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value);
            if let Some(value) = values.find(|value| !value.trim().is_empty()) {
                let value = percent_decoded(value.trim());
                return ClickId(self.hash(IdKind::Click, tenant, &value));
            }
        }
        self.click(tenant, raw)
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

/// The network that tables keep of an address: the /24 of an IPv4, the /48 of an IPv6 address.
pub fn ip_net(address: IpAddr) -> String {
    let mut text = String::new();
    write_ip_net(&mut text, address);
    text
}

/// Appends [`ip_net`] to a text.
pub(crate) fn write_ip_net(text: &mut String, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            write!(text, "{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            write!(text, "{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
    .expect("a text takes in what is written to it");
}

fn opted_out(raw: &str) -> bool {
    OPTED_OUT.iter().any(|text| raw.eq_ignore_ascii_case(text))
}

fn is_uuid(raw: &str) -> bool {
    raw.len() == UUID_BYTES
        && raw.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
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
    fn a_uuid_is_the_same_in_any_case_and_other_ids_are_not() {
        let device = |raw: &str| hasher().device("shop", raw);
        let uuid = "6D92078A-8246-4BA4-AE5B-76104861E7DC";
        assert_eq!(device(uuid), device(&format!(" {}\n", uuid.to_lowercase())));
        assert_ne!(device("Abc"), device("abc"));
    }

    #[test]
    fn a_referrer_stands_for_its_click_id() {
        let referrer = |raw| hasher().referrer("shop", raw);
        let click = |raw| hasher().click("shop", raw);
        assert_eq!(referrer("utm_source=x&gclid=Cj0K-1"), click("Cj0K-1"));
        assert_eq!(referrer("https://a.example/?fbclid=f&GCLID=g#top"), click("g"));
        assert_eq!(referrer("gclid=&click_id=a%2Bb"), click("a+b"));
        assert_eq!(referrer("click_id=%zz%4"), click("%zz%4"));
        assert_eq!(referrer(" utm_source=x "), click("utm_source=x"));
        assert!(referrer(" ").is_none());
    }

    #[test]
    fn an_address_is_known_by_its_network() {
        let ip = |raw: &str| hasher().ip("shop", raw.parse().unwrap());
        let net = |raw: &str| ip_net(raw.parse().unwrap());
        assert_eq!(ip("203.0.113.9"), ip("::ffff:203.0.113.9"));
        assert_ne!(ip("203.0.113.9"), ip("203.0.113.8"));
        assert_eq!(ip("2001:db8:1:2::3"), ip("2001:db8:1:2:ffff::"));
        assert_ne!(ip("2001:db8:1:2::3"), ip("2001:db8:1:3::3"));
        assert_eq!(net("203.0.113.9"), "203.0.113.0/24");
        assert_eq!(net("::ffff:203.0.113.9"), "203.0.113.0/24");
        assert_eq!(net("2001:db8:1:2::3"), "2001:db8:1::/48");
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
