//! Steps of funnels that no event can be.

use super::*;
use crate::sql::steps::unmatched;

#[tokio::test]
async fn a_step_that_names_what_no_event_has_is_warned_of_with_what_there_is() {
    let lake = lake().await;
    let funnels = r#"[{ "name": "shop", "max_time": "1d", "steps": [
        { "step": "saw", "type": "click", "channel": "search" },
        { "step": "bought", "name": "purchase" },
        { "step": "again", "name": "purchse" },
        { "step": "elsewhere", "name": "search" },
        { "step": "opened", "type": "open" },
        { "step": "both", "type": ["install"], "channel": "search" },
        { "step": "abroad", "country": ["NO", "SE"] }] }]"#;
    let funnels: Vec<dataflows::funnels::Funnel> = serde_json::from_str(funnels).unwrap();
    let warnings = unmatched(lake.path(), &funnels, &hasher()).await.unwrap();
    assert_eq!(
        warnings,
        [
            r#"views.funnels[0].steps[2]: no event of the lake has the name "purchse", which step "again" of "shop" asks for; there are purchase"#,
            // A channel of that name there is.
            r#"views.funnels[0].steps[3]: no event of the lake has the name "search", which step "elsewhere" of "shop" asks for; there are purchase"#,
            r#"views.funnels[0].steps[4]: no event of the lake has the type "open", which step "opened" of "shop" asks for; there are conversion, click, install"#,
            r#"views.funnels[0].steps[5]: no event of the lake has all that step "both" of "shop" asks for: type "install", channel "search""#,
            r#"views.funnels[0].steps[6]: no event of the lake has the country "NO" or "SE", which step "abroad" of "shop" asks for; there are none"#,
        ]
    );
    assert!(unmatched(lake.path(), &[], &hasher()).await.unwrap().is_empty());
}
