//! Referrers: the click id in one, where it has one, and what else it tells.
//!
//! A referrer is the address of a page (`https://www.google.com/`), or the query string that a store passes on
//! (`utm_source=google-play&utm_medium=organic`). Strangers share both, so neither is an id. Only the value of a
//! parameter that is known to hold a click id is one ([`CLICK_PARAMETERS`], and those that a job file adds): it is
//! compared by value with click ids that came by any other way. The `utm_` parameters name source, channel and campaign.
//!
//! Read are addresses, query strings with or without `?`, fragments, what is percent-encoded as a whole, and what is
//! packed into a parameter that carries a whole referrer or address ([`CARRIERS`]), [`DEPTH_MAX`] times over. Any other
//! parameter is text that people or advertisers chose, as the `q` of a search: what looks like a click id in it is none.

use std::borrow::Cow;

use crate::fault::Fault;
use crate::placeholders::{Placeholders, percent_decoded};

/// The parameters that hold a click id, in the order in which they are believed.
pub const CLICK_PARAMETERS: [&str; 40] = [
    "gclid",
    "gbraid",
    "wbraid",
    "fbclid",
    "ttclid",
    "msclkid",
    "dclid",
    "twclid",
    "li_fat_id",
    "click_id",
    "clickid",
    "af_click_id",
    "af_clickid",
    "adjust_reftag",
    "irclickid",
    "sccid",
    "rdt_cid",
    "epik",
    "yclid",
    "cjevent",
    "awc",
    "tduid",
    "ransiteid",
    "af_tranid",
    "link_click_id",
    "_branch_match_id",
    "ko_click_id",
    "singular_click_id",
    "im_ref",
    "sscid",
    "qclid",
    "obclid",
    "dicbo",
    "tblci",
    "bd_vid",
    "gdt_vid",
    "vk_click_id",
    "rb_clickid",
    "ysclid",
    "_ef_transaction_id",
];

/// The parameters whose value is a referrer or an address of its own, and is looked into.
pub const CARRIERS: [&str; 27] = [
    "referrer",
    "referer",
    "install_referrer",
    "url",
    "u",
    "link",
    "deep_link",
    "deeplink",
    "deep_link_url",
    "deep_link_value",
    "af_dp",
    "af_web_dp",
    "af_ios_url",
    "af_android_url",
    "adurl",
    "lpurl",
    "landing_page",
    "ds_dest_url",
    "dest",
    "dest_url",
    "destination",
    "redirect",
    "redirect_to",
    "redirect_uri",
    "redirect_url",
    "target_url",
    "dl",
];

/// How often a carrier's value is looked into for parameters of its own.
pub const DEPTH_MAX: usize = 3;
/// As much of a referrer as is read.
const READ_BYTES_MAX: usize = 8_192;
/// As much of a referrer as is kept.
pub const KEPT_BYTES_MAX: usize = 1_024;
/// The most parameters that are read.
const PARAMETERS_MAX: usize = 256;

/// Reads referrers. Its buffers are used again.
#[derive(Debug, Default)]
pub(crate) struct Referrers {
    /// Besides [`CLICK_PARAMETERS`], behind them.
    own: Vec<Box<str>>,
    found: Found,
}

/// What a referrer tells.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The click id.
    pub(crate) click: Option<Vec<u8>>,
    /// `utm_source`; empty where there is none.
    pub(crate) source: String,
    /// `utm_medium`.
    pub(crate) medium: String,
    /// `utm_campaign`.
    pub(crate) campaign: String,
    /// What is kept of the referrer: an address without what could be an id, or the `utm_` parameters.
    pub(crate) kept: String,
    /// Values of click parameters by (place in the list, place in the referrer).
    clicks: Vec<(usize, usize, Vec<u8>)>,
    parameters: usize,
}

impl Found {
    fn clear(&mut self) {
        self.click = None;
        [&mut self.source, &mut self.medium, &mut self.campaign, &mut self.kept].into_iter().for_each(String::clear);
        self.clicks.clear();
        self.parameters = 0;
    }
}

impl Referrers {
    /// With these click parameters behind those of the list.
    pub(crate) fn with(own: &[String]) -> Referrers {
        Referrers { own: own.iter().map(|name| name.trim().into()).collect(), found: Found::default() }
    }

    /// What a referrer tells. Placeholders in it are faults.
    pub(crate) fn read(&mut self, text: &str, placeholders: &Placeholders, faults: &mut Vec<Fault>) -> &Found {
        self.found.clear();
        let text = text.trim();
        if text.is_empty() {
            return &self.found;
        }
        let mut text = Cow::Borrowed(&text[..text.floor_char_boundary(READ_BYTES_MAX)]);
        for _ in 0..DEPTH_MAX {
            if text.contains(['=', '#', '?']) || text.contains("://") || !text.contains('%') {
                break;
            }
            text = Cow::Owned(unescaped(&text));
        }
        let text = text.trim();
        let is_page = text.find("://").is_some_and(|at| !text[..at].contains(['=', '?', '#']));
        if !is_page && !text.contains('=') {
            match placeholders.find(text) {
                Some(placeholder) => faults.push(Fault::placeholder("referrer", &placeholder)),
                None => self.keep_plain(text, faults),
            }
            return &self.found;
        }
        self.scan(text, DEPTH_MAX);
        if is_page {
            self.found.kept.clear();
            keep_page(&mut self.found.kept, text);
        }
        self.found.kept.truncate(self.found.kept.floor_char_boundary(KEPT_BYTES_MAX));
        self.found.clicks.sort_by_key(|(rank, place, _)| (*rank, *place));
        for (_, _, value) in self.found.clicks.drain(..) {
            match std::str::from_utf8(&value).ok().and_then(|value| placeholders.find(value)) {
                Some(placeholder) => faults.push(Fault::placeholder("referrer", &placeholder)),
                None => {
                    self.found.click = Some(value);
                    break;
                }
            }
        }
        &self.found
    }

    /// A referrer without parameters: a host or page without a scheme, or plain words. Anything else may be an id.
    fn keep_plain(&mut self, text: &str, faults: &mut Vec<Fault>) {
        let is_word = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_' | b' ');
        if text.contains(['.', '/']) {
            keep_page(&mut self.found.kept, text);
            self.found.kept.truncate(self.found.kept.floor_char_boundary(KEPT_BYTES_MAX));
        } else if text.bytes().all(is_word) {
            self.found.kept.push_str(&text[..text.floor_char_boundary(KEPT_BYTES_MAX)]);
        } else {
            faults.push(Fault { field: "referrer", reason: "no address and no parameters", value: None });
        }
    }

    /// Looks for parameters in an address or query string.
    fn scan(&mut self, text: &str, depth: usize) {
        for part in text.split('#') {
            let query = match part.split_once('?') {
                Some((head, query))
                    if !head.contains('=') || head.find("://") < head.find('=') && head.contains("://") =>
                {
                    query
                }
                _ => part,
            };
            for pair in query.split(['&', ';']) {
                if self.found.parameters == PARAMETERS_MAX {
                    return;
                }
                self.found.parameters += 1;
                match pair.split_once('=') {
                    Some((name, value)) => self.pair(name.trim(), value.trim(), depth),
                    None => self.nested(pair, depth),
                }
            }
        }
    }

    fn pair(&mut self, name: &str, value: &str, depth: usize) {
        let name = if name.contains('%') { Cow::Owned(decoded_text(name)) } else { Cow::Borrowed(name) };
        let own = self.own.iter().map(|own| &**own);
        let rank = CLICK_PARAMETERS.into_iter().chain(own).position(|click| click.eq_ignore_ascii_case(&name));
        if let Some(rank) = rank {
            // No click id holds a blank, and those in base64 hold `+`.
            let value = percent_decoded(value);
            let value = value.trim_ascii();
            if !value.is_empty() {
                self.found.clicks.push((rank, self.found.parameters, value.to_owned()));
            }
            return;
        }
        let utm = name.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("utm_"));
        if CARRIERS.into_iter().any(|carrier| carrier.eq_ignore_ascii_case(&name)) {
            return self.nested(value, depth);
        }
        if !utm {
            return;
        }
        if !self.found.kept.is_empty() {
            self.found.kept.push('&');
        }
        self.found.kept.push_str(&name.to_ascii_lowercase());
        self.found.kept.push('=');
        self.found.kept.push_str(value);
        let slot = match &*name.to_ascii_lowercase() {
            "utm_source" => &mut self.found.source,
            "utm_medium" => &mut self.found.medium,
            "utm_campaign" => &mut self.found.campaign,
            _ => return,
        };
        if slot.is_empty() {
            slot.push_str(decoded_text(value).trim());
        }
    }

    /// Looks into a value that may hold parameters of its own, once it is decoded.
    fn nested(&mut self, value: &str, depth: usize) {
        if depth == 0 || !value.contains(['=', '%']) {
            return;
        }
        // A `+` stays until the parameter that it is in is known.
        let inner = unescaped(value);
        if inner.contains('=') {
            self.scan(&inner, depth - 1);
        } else if inner != value {
            self.nested(&inner, depth - 1);
        }
    }
}

/// A value of a query string, in which `+` is a blank.
fn decoded_text(value: &str) -> String {
    if value.contains('+') { unescaped(&value.replace('+', " ")) } else { unescaped(value) }
}

fn unescaped(text: &str) -> String {
    String::from_utf8_lossy(&percent_decoded(text)).into_owned()
}

/// Scheme, host and path of an address: neither the name of a person at the host, nor parameters, nor a path that holds
/// an e-mail address.
fn keep_page(kept: &mut String, text: &str) {
    let end = text.find(['?', '#', ';']).unwrap_or(text.len());
    let (scheme, rest) = text[..end].split_once("://").map_or(("", &text[..end]), |(scheme, rest)| (scheme, rest));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    kept.push_str(scheme);
    kept.push_str(if scheme.is_empty() { "" } else { "://" });
    kept.push_str(host);
    if !path.contains('@') && !path.contains("%40") {
        kept.push_str(path);
    }
}

/// The parameters of click ids as a section of `docs/reference/ids.md`.
pub fn reference() -> String {
    format!("{} (in any case of letters)\n", quoted(&CLICK_PARAMETERS))
}

/// The parameters that carry referrers, for the same section.
pub fn carriers() -> String {
    quoted(&CARRIERS)
}

fn quoted(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> (Option<String>, String, Vec<Fault>) {
        let (mut referrers, mut faults) = (Referrers::with(&["my_click".to_owned()]), Vec::new());
        let found = referrers.read(text, &Placeholders::default(), &mut faults);
        let click = found.click.clone().map(|click| String::from_utf8(click).unwrap());
        (click, found.kept.clone(), faults)
    }

    fn click(text: &str) -> Option<String> {
        read(text).0
    }

    #[test]
    fn a_click_id_is_found_wherever_it_is() {
        for text in [
            "gclid=X-1",
            "?gclid=X-1",
            "utm_source=a&gclid=X-1&b=c",
            "utm_source=a&amp;gclid=X-1",
            "utm_source=a;gclid=X-1",
            "https://shop.example/p/1?utm_source=a&GCLID=X-1#top",
            "https://shop.example/#gclid=X-1",
            "https://shop.example/#/route?gclid=X-1",
            "utm_source%3Dgoogle%26gclid%3DX-1",
            "utm_source%253Dgoogle%2526gclid%253DX-1",
            "referrer=utm_source%3Dx%26gclid%3DX-1",
            "id=com.game&referrer=utm_source%3Dx%26gclid%3DX-1",
            "https://play.google.com/store/apps/details?id=com.game&referrer=utm_source%3Dx%26gclid%3DX%2D1",
            "https://l.example/l.php?u=https%3A%2F%2Fshop.example%2F%3Fgclid%3DX-1&h=AT0",
            "https%3A%2F%2Fshop.example%2F%3Fgclid%3DX-1",
            "url=https://shop.example/?gclid=X-1",
            "gclid=%20X-1%20",
            "DEEP_LINK=app%3A%2F%2Fshop%3Fgclid%3DX-1",
            "gclid=&click_id=X-1",
            "gclid={gclid}&click_id=X-1",
            "gclid=%7Bgclid%7D&fbclid=null&click_id=X-1",
            "my_click=X-1",
            "MY_CLICK=X-1&utm_medium=cpc",
            "adjust_reftag=X-1&utm_source=Adjust",
            "utm_source=x&irclickid=X-1",
        ] {
            assert_eq!(click(text).as_deref(), Some("X-1"), "{text}");
        }
        for text in [
            "click_id=a%2Bb",
            "gclid=a+b",
            "referrer=x%3Dy%26gclid%3Da+b",
            "referrer=gclid%3Da%2Bb",
            "gclid%3Da+b",
            "gclid%3Da%2Bb",
        ] {
            assert_eq!(click(text).as_deref(), Some("a+b"), "{text}");
        }
        let (mut referrers, mut faults) = (Referrers::default(), Vec::new());
        let text = "referrer=utm_source%3Da%252Bb%26utm_medium%3Dc+d&utm_campaign=e+f";
        let found = referrers.read(text, &Placeholders::default(), &mut faults);
        assert_eq!(
            (&*found.source, &*found.medium, &*found.campaign),
            ("a+b", "c d", "e f"),
            "a plus is a blank there"
        );
        assert_eq!(click("click_id=%zz%4").as_deref(), Some("%zz%4"));
    }

    #[test]
    fn the_order_of_the_list_decides_not_that_of_the_referrer() {
        assert_eq!(click("my_click=m&click_id=c&fbclid=f&gclid=g").as_deref(), Some("g"));
        assert_eq!(click("my_click=m&click_id=c&fbclid=f").as_deref(), Some("f"));
        assert_eq!(click("my_click=m&click_id=c").as_deref(), Some("c"));
        assert_eq!(click("gclid=1&gclid=2").as_deref(), Some("1"));
    }

    #[test]
    fn what_is_no_click_id_matches_nobody() {
        for text in [
            "https://www.google.com/",
            "android-app://com.google.android.gm/",
            "www.google.com",
            "utm_source=google-play&utm_medium=organic",
            "utm_source=(not%20set)&utm_medium=(not%20set)",
            "utm_source=%28not+set%29&utm_medium=%28not+set%29",
            "organic",
            "Cj0KCQ-123",
            "af_click_lookback=7d&pid=x",
            "pid=network&c=campaign&af_siteid=1",
            "gclid",
            "gclid=",
            "xgclid=1&gclid2=2&my.gclid=3",
            "gclsrc=aw.ds&gad_source=1",
            "https://shop.example/gclid=1/x?y=2",
            "https://www.google.com/search?q=gclid%3DQ9",
            "https://www.google.com/search?q=https%3A%2F%2Fshop.example%2F%3Fgclid%3DQ9",
            "utm_content=gclid%3DX&utm_term=referrer%3Dgclid%253DX",
            "comment=a%26gclid%3DX",
            "referrer=q%3Dgclid%253DX",
            "{referrer}",
        ] {
            assert_eq!(click(text), None, "{text}");
        }
    }

    #[test]
    fn an_address_is_kept_without_what_may_be_an_id() {
        let kept = |text: &str| read(text).1;
        assert_eq!(kept("https://a.example/p/q?user=7&gclid=X#me"), "https://a.example/p/q");
        assert_eq!(kept("https://ann:secret@a.example/p;jsessionid=1"), "https://a.example/p");
        assert_eq!(kept("https://a.example/u/ann@b.example/x"), "https://a.example");
        assert_eq!(kept("www.google.com/search"), "www.google.com/search");
        assert_eq!(kept("android-app://com.example/"), "android-app://com.example/");
        assert_eq!(kept("mail=a@b.example&utm_source=a%20b&gclid=X&UTM_Medium=cpc"), "utm_source=a%20b&utm_medium=cpc");
        assert_eq!(kept("organic"), "organic");
        assert_eq!(kept(&format!("https://a.example/{}", "ü".repeat(2_000))).len(), KEPT_BYTES_MAX);
        assert_eq!(kept("https://a.example/?gclid=X"), "https://a.example/");
        let (_, kept, faults) = read("Cj0KCQ-123");
        assert_eq!((kept.as_str(), faults[0].reason), ("", "no address and no parameters"));
    }

    #[test]
    fn placeholders_are_counted_and_passed_over() {
        let (found, _, faults) = read("gclid={gclid}&fbclid=&click_id=null");
        assert_eq!(found, None);
        let values: Vec<&str> = faults.iter().filter_map(|fault| fault.value.as_deref()).collect();
        assert_eq!(values, ["{gclid}", "null"]);
        assert_eq!(read("%%REFERRER%%").2[0].value.as_deref(), Some("%%REFERRER%%"));
    }

    proptest! {
        #[test]
        fn only_a_listed_parameter_ever_matches(names in proptest::collection::vec("[a-z_]{1,12}", 0..5), value in "[A-Za-z0-9]{6,12}") {
            let listed = |name: &String| CLICK_PARAMETERS.contains(&name.as_str()) || name == "my_click";
            let query: Vec<String> = names.iter().map(|name| format!("{name}={value}")).collect();
            for text in [query.join("&"), format!("https://a.example/{value}?{}", query.join("&"))] {
                prop_assert_eq!(click(&text).is_some(), names.iter().any(listed), "{}", text);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,120}", pieces in proptest::collection::vec("[=&;?#%]|gclid|3D|ü|utm_source|://", 0..30)) {
            read(&text);
            read(&pieces.concat());
        }
    }
}
