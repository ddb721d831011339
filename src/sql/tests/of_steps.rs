//! Steps of funnels that no event can be.

use super::*;
use crate::sql::steps::unmatched;

#[tokio::test]
async fn a_step_that_names_what_no_event_has_is_warned_of_with_what_there_is() {
    let lake = lake().await;
    let funnels = r#"[{ "name": "shop", "max_time": "1d", "steps": [
        { "step": "saw", "type": "impression", "channel": "display" },
        { "step": "bought", "name": "purchase" },
        { "step": "again", "name": "purchse" }] }]"#;
    let funnels: Vec<dataflows::funnels::Funnel> = serde_json::from_str(funnels).unwrap();
    let warnings = unmatched(lake.path(), &funnels, &hasher()).await.unwrap();
    assert_eq!(
        warnings,
        [
            r#"views.funnels[0].steps[2]: no event of the lake has the name "purchse", which step "again" of "shop" asks for; there are purchase"#
        ]
    );
    assert!(unmatched(lake.path(), &[], &hasher()).await.unwrap().is_empty());
}
