//! Texts that are placeholders, and texts that look alike and are ids.

use proptest::prelude::*;

use super::*;

fn check(texts: &[&str], expected: Option<&str>) {
    for text in texts {
        let found = placeholder(text.trim());
        match expected {
            Some(expected) => assert_eq!(found.as_deref(), Some(expected), "{text:?}"),
            None => assert_eq!(found, None, "{text:?}"),
        }
    }
}

#[test]
fn macros_of_every_network_are_none() {
    let macros = [
        "{gclid}",
        "{GCLID}",
        "{{click_id}}",
        "{{ click.id }}",
        "{{{x}}}",
        "{_gclid}",
        "{lpurl}",
        "{param:x}",
        "${CLICK_ID}",
        "${gclid}",
        "$(X)",
        "$[X]",
        "#{x}",
        "%{x}",
        "%%CLICK_ID%%",
        "%%CLICK_URL_ESC%%",
        "%CLICK_ID%",
        "__CLICKID__",
        "__click_id__",
        "__IDFA__",
        "__IMEI2__",
        "[CLICK_ID]",
        "[[x]]",
        "[timestamp]",
        "<x>",
        "<click id>",
        "<<x>>",
        "<%= x %>",
        "<?x?>",
        "(gclid)",
        "$(x)",
        "#X#",
        "##X##",
        "@X@",
        "@@X@@",
        "$X$",
        "$$X$$",
        "$CLICK_ID",
        "$gclid",
        "%GCLID",
        "|X|",
        "*|EMAIL|*",
        "%ecid!",
        "%eaid!",
        "%n",
        "%s",
        "%d",
        "{0}",
        "{1}",
        "[%x%]",
        "{%x%}",
        "{$x}",
        "{#x#}",
        "{@x}",
        "{sub id 1}",
        "~X~",
        "!!USER!!",
        "!USER!",
        "[0]",
        "{9b2c}_{gclid}_x",
        "{campaignid}_{adgroupid}",
        "{{ad.id}}-{{adset.id}}",
        "{{user.id|default:''}}",
        "{{ user.id | default: \"\" }}",
        "[CAMPAIGN]_[ADGROUP]",
        "<a>|<b>",
        "%A%-%B%",
        "##a##_##b##",
        "__CAMPAIGN_ID__-__AID__",
        "_{gclid}_",
        "{user",
        "{{user.id",
        "${CLICK",
        "%%CLICK_I",
    ];
    for text in macros {
        assert!(placeholder(text).is_some(), "{text}");
    }
    check(
        &["{gclid}", "%7Bgclid%7D", "%7bgclid%7d", "%257Bgclid%257D", "&#123;gclid&#125;", "\"{gclid}\""],
        Some("{gclid}"),
    );
    check(&["&lt;x&gt;", "%3Cx%3E", "%26lt;x%26gt;"], Some("<x>"));
    check(&["%5BCLICK_ID%5D"], Some("[CLICK_ID]"));
    check(&["%25%25X%25%25"], Some("%%X%%"));
    check(&["%24%7BX%7D"], Some("${X}"));
}

#[test]
fn a_macro_in_an_id_is_the_same_for_everybody() {
    for (text, held) in [
        ("cid-{gclid}", "{gclid}"),
        ("cid-%7Bgclid%7D", "{gclid}"),
        ("a-long-prefix-of-an-id-{campaignid}-and-what-follows-it", "{campaignid}"),
        ("{campaignid}_77_abcdef0123456789abcdef0123456789", "{campaignid}"),
        ("ann@shop.example/{{user.id|default:''}}", "{{user.id|default:''}}"),
        ("u-${user.id:-none}", "{user.id:-none}"),
        ("u-%%CLICK_ID%%-7", "%%CLICK_ID%%"),
        ("u-[CLICK_ID]-7", "[CLICK_ID]"),
        ("u-[GCLID]", "[GCLID]"),
        ("u-<%= id %>-7", "<%= id %>"),
        ("{user}@shop.example", "{user}"),
        ("{\"id\":7}{sub1}", "{sub1}"),
    ] {
        assert_eq!(placeholder(text).as_deref(), Some(held), "{text}");
    }
}

#[test]
fn a_hundred_thousand_ids_are_ids() {
    let mut state = 7u64;
    let mut random = || {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    };
    let text = |random: &mut dyn FnMut() -> u64, alphabet: &[u8], count: usize| -> String {
        (0..count).map(|_| char::from(alphabet[random() as usize % alphabet.len()])).collect()
    };
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let (standard, url) = ([&letters[..], b"+/"].concat(), [&letters[..], b"-_"].concat());
    for _ in 0..10_000 {
        let (a, b) = (random(), random());
        let uuid = format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            a >> 32,
            a & 0xffff,
            b >> 52,
            a >> 20 & 0xfff,
            b & 0xffff_ffff_ffff
        );
        let (small, large) = (text(&mut random, &standard, 22), text(&mut random, &url, 20 + a as usize % 70));
        let name = text(&mut random, b"abcdefghijklmnopqrstuvwxyz", 6);
        for id in [
            format!("{a:016x}{b:016x}"),
            format!("{{{uuid}}}"),
            format!("$device:{uuid}"),
            format!("{small}=="),
            large,
            format!("{name}{}@shop.example", a % 100),
            format!("{name}{{{b:x}"),
            format!("{{\"id\":\"{name}\"}}"),
            format!("[{}]", a % 1_000_000 + 1),
            uuid,
        ] {
            assert_eq!(placeholder(&id), None, "{id}");
        }
    }
}

#[test]
fn words_in_any_writing_are_none() {
    check(
        &[
            "null",
            "NULL",
            " Null ",
            "(null)",
            "\"null\"",
            "'null'",
            "<null>",
            "[null]",
            "{null}",
            "\\\"null\\\"",
            "%28null%29",
        ],
        Some("null"),
    );
    check(&["NaN", "nan", "(nan)"], Some("nan"));
    check(&["N/A", "n/a", "NA", "#N/A", "<NA>", "n%2Fa", "N-A"], Some("n/a"));
    check(&["none", "None", "(none)"], Some("none"));
    check(
        &[
            "(not set)",
            "not set",
            "not_set",
            "Not-Set",
            "%28not%20set%29",
            "(not%20set)",
            "not+set",
            "%28not+set%29",
            "notset",
        ],
        Some("not set"),
    );
    check(&["optout", "OptOut", "opt-out", "opt_out", "opt out", "OPT_OUT"], Some("opt out"));
    check(&["opted-out", "Opted Out"], Some("opted out"));
    check(&["undefined"], Some("undefined"));
    check(&["unknown", "UNKNOWN", "<unknown>", "_unknown_"], Some("unknown"));
    check(&["limited", "Limited"], Some("limited"));
    check(&["[object Object]", "%5Bobject%20Object%5D"], Some("object object"));
}

#[test]
fn zeros_and_repeated_characters_are_none_and_short_numbers_are_people() {
    check(
        &[
            "0",
            "00",
            "0.0",
            "0x0",
            "0000000000000000",
            "00000000-0000-0000-0000-000000000000",
            "{00000000-0000-0000-0000-000000000000}",
            "00000000000000000000000000000000",
            "00:00:00:00:00:00",
            "0x0000000000000000000000000000000000000000",
        ],
        Some("0"),
    );
    check(
        &[
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
            "{11111111-1111-1111-1111-111111111111}",
            "ffffffffffffffffffffffffffffffff",
            "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx",
            "1111111111111111",
            "aaaaaaaaaaaaaaaaa",
            "999999999999999999",
            "éééééééééééééééé",
        ],
        Some("one character repeated"),
    );
    check(&["-", "--", "---", "—", "?", "*", "********", "...", "{}", "[]", "\"\"", "_", "%%"], Some("-"));
    check(&["-1"], Some("-1"));
    check(&["\\N"], Some("\\N"));
    check(&["Emulator"], Some("emulator"));
    check(&["9774D56D682E549C"], Some("9774d56d682e549c"));
    check(
        &[
            "7",
            "22",
            "777",
            "111111111111111",
            "1",
            "10",
            "100",
            "0a",
            "00000000-0000-0000-0000-000000000001",
            "u0",
            "-7",
            "0000000000000001",
            "02",
            "a",
            "n",
            "e",
            "x",
        ],
        None,
    );
}

#[test]
fn ids_that_look_alike_are_ids() {
    check(
        &[
            "",
            "{6D92078A-8246-4BA4-AE5B-76104861E7DC}",
            "(6d92078a-8246-4ba4-ae5b-76104861e7dc)",
            "[6d92078a82464ba4ae5b76104861e7dc]",
            "%7B6D92078A-8246-4BA4-AE5B-76104861E7DC%7D",
            "$RCAnonymousID:87c1a4b2",
            "$device:6d92078a",
            "<a@b.example>",
            "{a@b.example}",
            "ana",
            "nanna",
            "nonesuch",
            "nullius",
            "unknown7",
            "user_null",
            "null@shop.example",
            "Nil Andersson",
            "guest-41",
            "truejoy",
            "a_b",
            "__aZ09bY8xK__",
            "__bob__",
            "$alice",
            "%alice",
            "(alice)",
            "(x)",
            "[42]",
            "{9b2c}",
            "<42>",
            "|bob|",
            "@bob@",
            "a{b",
            "a{b}c",
            "{a",
            "[team",
            "[ABC]player7",
            "{\"a\":1}",
            "u{42}",
            "u{9b2c}x",
            "u[1]",
            "u[index]",
            "50%%",
            "usd",
            "NOK",
            "EUR",
            "shopper",
            "nobody",
            "_x_",
            "zero",
            "o",
            "nan.cy",
            "n.a.",
            "a%20b",
            "u+1@shop.example",
            "@alice",
            "Cj0KCQjw&x;",
            "#1 fan",
            "100%",
            "Müller",
            "王",
            "IwAR2xYz_-",
            "a|b",
            "'t Hooft",
            "\"quoted name\"",
            "notsetting",
            "limitedx",
        ],
        None,
    );
}

#[test]
fn a_job_adds_exact_texts_in_any_case() {
    let own = Placeholders::with(&["TEST-User".to_owned(), " house account ".to_owned()]);
    assert_eq!(own.find(" test-user ").as_deref(), Some("test-user"));
    assert_eq!(own.find("House Account").as_deref(), Some("house account"));
    assert_eq!(own.find("{gclid}").as_deref(), Some("{gclid}"));
    assert_eq!(own.find("test-user-2"), None);
    assert_eq!(own.find("  "), None);
    assert_eq!(Placeholders::default().find("test-user"), None);
}

#[test]
fn the_words_are_in_order_and_found() {
    assert!(WORDS.windows(2).all(|pair| pair[0].as_bytes()[0] <= pair[1].as_bytes()[0]));
    for word in WORDS {
        assert_eq!(placeholder(word).as_deref(), Some(word));
        assert_eq!(placeholder(&word.replace([' ', '/'], "")).as_deref(), Some(word));
        assert_eq!(placeholder(&format!("({})", word.to_uppercase())).as_deref(), Some(word));
    }
}

#[test]
fn what_a_fault_keeps_of_a_macro_is_bounded() {
    let named = |bytes: usize| format!("{{{}}}", "xy".repeat(bytes / 2));
    assert_eq!(placeholder(&named(MACRO_BYTES_MAX)).unwrap().len(), MACRO_BYTES_MAX);
    assert_eq!(placeholder(&named(MACRO_BYTES_MAX + 2)), None);
}

proptest! {
    #[test]
    fn no_usual_id_is_a_placeholder(
        number in 1u64..,
        bits in any::<u128>(),
        base64 in "[A-Za-z0-9_-]{20,90}",
        standard in "[A-Za-z0-9+/]{22}==",
        hex in "[0-9a-f]{16}",
        mail in "[a-z]{1,8}@[a-z]{1,8}\\.example",
    ) {
        let uuid = format!("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", bits >> 96, bits >> 80 & 0xffff, bits >> 64 & 0xffff, bits >> 48 & 0xffff, bits & 0xffff_ffff_ffff);
        for id in [format!("{bits:032x}"), uuid.to_uppercase(), format!("{{{uuid}}}"), uuid, base64, standard, hex, mail, format!("u{number}")] {
            prop_assert_eq!(placeholder(&id), None, "{}", id);
        }
        let digits = number.to_string();
        let same = digits.len() >= SAME_CHARACTERS_MIN && digits.bytes().all(|byte| byte == digits.as_bytes()[0]);
        prop_assert_eq!(placeholder(&digits).is_some(), same, "{}", digits);
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,80}") {
        let _ = placeholder(text.trim());
    }
}
