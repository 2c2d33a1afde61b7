//! Services are asked about a person when their program gets its token, and not before.

use http::StatusCode;
use tunnel_edge::store::AuditEvent;
use tunnel_policy::Selector;
use tunnel_proto::access::TokenAnswer;

use crate::{
    client_login::site::{NOW, Site, answer, app, issued},
    providers::evaluator::{Evaluator, Way},
};

#[tokio::test]
async fn a_program_gets_a_token_only_if_the_service_says_yes_when_it_is_made() {
    let evaluator = Evaluator::start(Way::Yes).await;
    let site = Site::open().await;
    site.keys.tend(&*site.store, NOW).await.unwrap();
    let rule = Selector::ExternalEvaluation(evaluator.evaluation());
    site.change(|declared| declared.policies[0].rules.require.push(rule));
    let code = site.code("rdp").await;
    assert_eq!(evaluator.asked().len(), 0, "neither the page nor its form asks anybody");
    let token = issued(&site.redeem(&code).await);
    assert_eq!(evaluator.asked().len(), 1);
    let session = site.opens(&token.token, "rdp").unwrap();
    assert_eq!(session.attributes().evaluations, [evaluator.evaluation().key(&app("rdp"))]);
    for way in [Way::No, Way::Status(500)] {
        evaluator.behave(way);
        let code = site.code("rdp").await;
        let refused = site.redeem(&code).await;
        assert_eq!(refused.status, StatusCode::OK);
        let TokenAnswer::Refused { reason } = answer(&refused) else { panic!("{}", refused.body) };
        assert!(reason.contains("no policy of `rdp.example.com` admits"), "{reason}");
    }
    assert_eq!(site.audited(AuditEvent::EvaluationFailed).await.len(), 1);
}
