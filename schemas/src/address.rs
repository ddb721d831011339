//! Addresses as logs and proxies write them: the one that may tell people apart, or why there is none.
//!
//! An address that strangers share (of a private or shared network, masked, of a whole network) must not become part of
//! a fingerprint, so it counts as absent. Ranges for documentation and benchmarks count as public: nobody has them, but
//! examples and generators do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::placeholders::placeholder;

/// As much of a text as is read: a list of proxies may be long.
const READ_BYTES_MAX: usize = 1_024;

/// Why a text has no address that counts.
pub(crate) const NOT_PUBLIC: &str = "not public";
pub(crate) const MASKED: &str = "masked";
pub(crate) const NO_ADDRESS: &str = "no address";
pub(crate) const NOT_KNOWN: &str = "placeholder";

/// The first public address of a text: of one address, or of a list as `X-Forwarded-For` and `Forwarded` have it. Blank
/// is none; the error is the reason of a fault, that of the list's first part.
pub(crate) fn first_public(text: &str) -> Result<Option<IpAddr>, &'static str> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return public(address).map(Some);
    }
    let text = &text[..text.floor_char_boundary(READ_BYTES_MAX)];
    let mut why = None;
    for part in text.split([',', ';', '|']).flat_map(str::split_whitespace) {
        let part = bare(part);
        if part.is_empty() || part.contains('=') {
            // Such as `proto=https` and `by=…` of `Forwarded`.
            continue;
        }
        match one(part).and_then(public) {
            Ok(address) => return Ok(Some(address)),
            Err(reason) => why = why.or(Some(reason)),
        }
    }
    // Words with a blank in them are cut apart above.
    let why = if placeholder(text).is_some() { Some(NOT_KNOWN) } else { why };
    Err(why.unwrap_or(NO_ADDRESS))
}

/// A part without quotes and the name of `Forwarded` before it.
fn bare(part: &str) -> &str {
    let quotes = ['"', '\'', ' '];
    let part = part.trim_matches(quotes);
    let named = part.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("for="));
    if named { part[4..].trim_matches(quotes) } else { part }
}

/// One address, with what may be around it: a port, brackets, a zone, the length of a whole prefix, zeros before numbers.
fn one(text: &str) -> Result<IpAddr, &'static str> {
    let (inner, bracketed) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inner, rest)) if rest.is_empty() || is_port(rest) || rest.starts_with('/') => (inner, true),
        Some(_) => return Err(NO_ADDRESS),
        None => (text, false),
    };
    let (inner, prefix) = inner.split_once('/').map_or((inner, None), |(inner, prefix)| (inner, Some(prefix)));
    let inner = inner.split_once('%').map_or(inner, |(address, _zone)| address);
    let dots = inner.bytes().filter(|byte| *byte == b'.').count();
    let colons = inner.bytes().filter(|byte| *byte == b':').count();
    let inner = match inner.rsplit_once(':') {
        Some((address, port)) if !bracketed && colons == 1 && is_port(&inner[address.len()..]) && !port.is_empty() => {
            address
        }
        _ => inner,
    };
    if let Ok(address) = inner.parse::<IpAddr>() {
        let whole = if address.is_ipv4() { "32" } else { "128" };
        return if prefix.is_none_or(|prefix| prefix == whole) { Ok(address) } else { Err(MASKED) };
    }
    let is_octet = |part: &str| !part.is_empty() && part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    if colons <= 1 && dots > 0 {
        let parts: Vec<&str> = inner.split('.').collect();
        let octets: Vec<u8> = parts.iter().filter(|part| is_octet(part)).filter_map(|part| part.parse().ok()).collect();
        if let (&[a, b, c, d], 4) = (&octets[..], parts.len()) {
            // Zeros before a number are padding, as logs write it, and no sign of octal numbers.
            return Ok(Ipv4Addr::new(a, b, c, d).into());
        }
        let hides = |part: &&str| part.is_empty() || part.bytes().all(|byte| b"xX*#_?-".contains(&byte));
        let hidden = parts.iter().filter(|part| hides(part)).count();
        if parts.len() <= 4 && octets.len() + hidden == parts.len() && !octets.is_empty() {
            return Err(MASKED);
        }
    }
    let hidden = |byte: u8| byte.is_ascii_hexdigit() || b"xX*:".contains(&byte);
    if colons > 1 && inner.bytes().all(hidden) && inner.bytes().any(|byte| b"xX*".contains(&byte)) {
        return Err(MASKED);
    }
    if placeholder(text).is_some() || text.starts_with('_') {
        // `_hidden` is how `Forwarded` leaves an address out.
        return Err(NOT_KNOWN);
    }
    Err(NO_ADDRESS)
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|port| port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// An address that one household or office has, in its shortest family.
fn public(address: IpAddr) -> Result<IpAddr, &'static str> {
    let address = match address.to_canonical() {
        // 64:ff9b::/96 is how an IPv6 network sees an IPv4 address.
        IpAddr::V6(v6) if v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] => {
            let [.., a, b, c, d] = v6.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        other => other,
    };
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            let shared = a == 100 && b & 0xc0 == 64;
            let assigned = a == 192 && b == 0 && c == 0;
            if a == 0 || shared || assigned || a >= 224 || v4.is_private() || v4.is_loopback() || v4.is_link_local() {
                Err(NOT_PUBLIC)
            } else if d == 0 {
                Err(MASKED)
            } else {
                Ok(address)
            }
        }
        IpAddr::V6(v6) => {
            let segments = v6.segments();
            let local =
                segments[0] & 0xffc0 == 0xfe80 || segments[0] & 0xffc0 == 0xfec0 || segments[0] & 0xfe00 == 0xfc00;
            let discard = segments[..4] == [0x100, 0, 0, 0];
            if local || discard || v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() {
                Err(NOT_PUBLIC)
            } else if segments[3..] == [0; 5] {
                Err(MASKED)
            } else {
                Ok(IpAddr::V6(Ipv6Addr::from(v6.octets())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(texts: &[&str], expected: Result<Option<&str>, &'static str>) {
        for text in texts {
            let expected = expected.map(|address| address.map(|address| address.parse::<IpAddr>().unwrap()));
            assert_eq!(first_public(text), expected, "{text:?}");
        }
    }

    #[test]
    fn an_address_is_found_as_logs_and_proxies_write_it() {
        check(
            &[
                "203.0.113.9",
                " 203.0.113.9 ",
                "203.0.113.9, 10.0.0.1",
                "10.0.0.1, 203.0.113.9, 198.51.100.7",
                "203.0.113.9:443",
                "203.0.113.9,198.51.100.7",
                "\"203.0.113.9\"",
                "203.000.113.009",
                "203.0.113.9/32",
                "::ffff:203.0.113.9",
                "::FFFF:cb00:7109",
                "[::ffff:203.0.113.9]:443",
                "64:ff9b::203.0.113.9",
                "for=203.0.113.9",
                "For=\"203.0.113.9:4711\"",
                "for=203.0.113.9;proto=http;by=198.51.100.7",
                "for=unknown, for=203.0.113.9",
                "unknown, 203.0.113.9",
                "192.168.1.4 203.0.113.9",
                "10.1.1.1,203.0.113.9:80",
                "'203.0.113.9'",
                "[203.0.113.9]",
                "fe80::1%eth0, 203.0.113.9",
                "100.64.3.4, 203.0.113.9",
            ],
            Ok(Some("203.0.113.9")),
        );
        check(
            &[
                "2001:db8:1:2::3",
                "[2001:db8:1:2::3]",
                "[2001:db8:1:2::3]:443",
                "2001:db8:1:2::3%eth0",
                "2001:0DB8:0001:0002::0003",
                "for=\"[2001:db8:1:2::3]:4711\"",
                "::1, 2001:db8:1:2::3",
                "2001:db8:1:2::3/128",
                "fd00::1,2001:db8:1:2::3",
            ],
            Ok(Some("2001:db8:1:2::3")),
        );
        check(&["", "  "], Ok(None));
    }

    #[test]
    fn what_strangers_share_is_no_address() {
        check(
            &[
                "10.0.0.1",
                "172.16.5.4",
                "192.168.0.1",
                "127.0.0.1",
                "169.254.1.1",
                "100.64.1.1",
                "100.127.255.1",
                "0.0.0.0",
                "0.1.2.3",
                "224.0.0.1",
                "255.255.255.255",
                "192.0.0.8",
                "::1",
                "::",
                "fe80::1",
                "fe80::1%en0",
                "fc00::1",
                "fd12:3456::1",
                "ff02::1",
                "::ffff:10.0.0.1",
                "64:ff9b::10.0.0.1",
                "10.0.0.1:80",
                "10.0.0.1, 192.168.0.1",
                "100::1",
                "fec0::1",
            ],
            Err(NOT_PUBLIC),
        );
        check(
            &[
                "203.0.113.xxx",
                "203.0.113.x",
                "203.0.113.*",
                "203.0.*.*",
                "203.0.113.XXX",
                "203.0.113.",
                "203.0.113",
                "203.0.113.0",
                "203.0.113.0/24",
                "203.0.113.9/24",
                "2001:db8:1::",
                "2001:db8:1::/48",
                "2001:db8:1:xxxx::",
                "2001:db8:*:*",
                "203.0.113.---",
            ],
            Err(MASKED),
        );
        check(
            &["unknown", "-", "null", "(not set)", "N/A", "_hidden", "for=unknown", "{ip}", "%%IP%%", "__IP__"],
            Err(NOT_KNOWN),
        );
        check(
            &["300.1.1.1", "1.2.3.4.5", "localhost", "example.com", "1.2.3.4:port", "12345", "2001:db8::1::2", "10,5"],
            Err(NO_ADDRESS),
        );
        check(&["100.63.0.1"], Ok(Some("100.63.0.1")));
        check(&["172.32.0.1"], Ok(Some("172.32.0.1")));
        check(&["198.18.4.5"], Ok(Some("198.18.4.5")));
    }
}
