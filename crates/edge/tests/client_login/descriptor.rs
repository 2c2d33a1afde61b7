//! What is at a hostname, signed.

use axum::body::Body;
use http::{Request, StatusCode, header};
use tunnel_auth::{app_issuer, verify_app};
use tunnel_proto::{
    access::{APP_LIFE, APP_PATH, SignedApp},
    enrol::EnrolProblem,
};

use crate::client_login::site::{HOME, NOW, Site, app, host};

// C3
#[tokio::test]
async fn a_host_says_what_is_there_by_the_key_that_the_login_host_publishes() {
    let site = Site::open().await;
    let get =
        async |host: &str, path: &str| site.send(host, HOME, Request::get(path).body(Body::empty()).unwrap()).await;
    let answer = get("rdp.example.com", APP_PATH).await;
    assert_eq!((answer.status, &answer.headers[header::CACHE_CONTROL]), (StatusCode::OK, &"no-store".parse().unwrap()));
    let SignedApp { descriptor } = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(app_issuer(&descriptor).as_deref(), Ok("https://access.example.com"));
    let keys = get("access.example.com", "/.access/certs").await.body;
    let claims = verify_app(&descriptor, &keys, &host("rdp"), NOW).unwrap();
    assert_eq!((claims.aud, claims.name.as_str(), claims.exp.0), (app("rdp"), "rdp", NOW.0 + APP_LIFE));
    assert!(verify_app(&descriptor, &keys, &host("db"), NOW).is_err(), "copied to another host");
}

#[tokio::test]
async fn where_no_application_is_a_program_is_told_so_in_json() {
    let site = Site::open().await;
    for host in ["nowhere.example.com", "access.example.com", "example.com"] {
        let request = Request::get(APP_PATH).header("accept", "text/html").body(Body::empty()).unwrap();
        let answer = site.send(host, HOME, request).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        let problem: EnrolProblem = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(problem.code, "unknown_hostname");
        assert!(problem.message.contains(host));
    }
}
