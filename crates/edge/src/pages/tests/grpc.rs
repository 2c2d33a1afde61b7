//! Failures as clients of gRPC read them.

use super::*;

/// What a failure says to a client of gRPC: the status of HTTP, and the two fields that it reads.
fn as_grpc(response: &Response) -> (u16, &str, &str) {
    let field = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    assert_eq!(field("content-type"), "application/grpc");
    (response.status().as_u16(), field("grpc-status"), field("grpc-message"))
}

#[test]
fn a_client_of_grpc_is_told_in_its_own_way() {
    let said = |lang, render: &dyn Fn(&PageContext) -> Response| {
        let mut context = context(lang);
        (context.json, context.grpc) = (true, true);
        let response = render(&context);
        let (status, code, message) = as_grpc(&response);
        assert!(message.is_ascii() && message.contains("7F3A-92C1-E08B"), "{message}");
        let said = (status, code.to_owned());
        assert_eq!(body(response), "", "trailers only");
        said
    };
    let failure = |failure| ServiceError { failure, host: host("www.tnkeng.work"), reference: reference(), at: AT };
    for lang in LANGS {
        assert_eq!(
            said(lang, &|c| LoginRequired { login: None, reference: reference() }.render(c)),
            (200, "16".to_owned())
        );
        assert_eq!(said(lang, &|c| failure(Failure::NoTunnel).render(c)), (200, "14".to_owned()));
        assert_eq!(said(lang, &|c| failure(Failure::BadAnswer).render(c)), (200, "14".to_owned()));
        assert_eq!(said(lang, &|c| BadRequest { reference: reference(), at: AT }.render(c)), (200, "13".to_owned()));
    }
    for (kind, te, is) in [
        ("application/grpc", "trailers", true),
        ("application/grpc+proto", "trailers", true),
        ("Application/gRPC;x=y", "Trailers", true),
        ("application/grpc-web", "trailers", false),
        ("application/grpcx", "trailers", false),
        ("application/grpc", "", false),
        ("application/json", "trailers", false),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static(kind));
        headers.insert("te", HeaderValue::from_static(te));
        assert_eq!(is_grpc(&headers), is, "{kind} {te}");
    }
}
