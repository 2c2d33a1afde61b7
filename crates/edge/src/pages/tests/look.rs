//! The stylesheet, the logo, and a brand.

use super::*;

#[test]
fn assets_are_small_typed_and_kept_by_their_content() {
    let look = Look::plain();
    let link = look.link("tunnel.css");
    let query = link.split_once('?').unwrap().1;
    let response = look.serve("tunnel.css", Some(query), &HeaderMap::new()).unwrap();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/css; charset=utf-8");
    assert!(response.headers()[header::CACHE_CONTROL].to_str().unwrap().contains("immutable"));
    let etag = response.headers()[header::ETAG].clone();
    let css = body(response);
    assert!(css.len() <= 24 * 1024, "the stylesheet has {} bytes", css.len());
    let other = look.serve("tunnel.css", Some("v=old"), &HeaderMap::new()).unwrap();
    assert_eq!(other.headers()[header::CACHE_CONTROL], "public, max-age=300");
    let mut headers = HeaderMap::new();
    headers.insert(header::IF_NONE_MATCH, etag);
    let unchanged = look.serve("tunnel.css", None, &headers).unwrap();
    assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);
    assert!(body(unchanged).is_empty());
    for (name, kind) in [("logo.svg", "image/svg+xml"), ("passkey.js", "text/javascript; charset=utf-8")] {
        let asset = look.serve(name, None, &HeaderMap::new()).unwrap();
        assert_eq!(asset.headers()[header::CONTENT_TYPE], kind);
        assert_eq!(asset.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    }
    for missing in ["", "../tunnel.css", "tunnel.css/", "TUNNEL.CSS"] {
        assert!(look.serve(missing, None, &HeaderMap::new()).is_none(), "{missing}");
    }
}

// A2
#[test]
fn a_brand_is_on_every_page_and_its_logo_runs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("logo");
    let brand = |color: Option<&str>| crate::config::Brand {
        name: Some("Example & Co".into()),
        color: color.map(str::to_owned),
        logo: Some(file.clone()),
        logo_width: Some("7rem".into()),
        language: Lang::Ja,
        contact: None,
    };
    let svg = "<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>";
    std::fs::write(&file, svg).unwrap();
    let look = Look::load(&brand(Some("#7c3aed"))).unwrap();
    assert_eq!(look.lang(), Lang::Ja);
    let css = body(look.serve("tunnel.css", None, &HeaderMap::new()).unwrap());
    let (logo, kind) = look.icon();
    assert_eq!(kind, "image/svg+xml");
    let own = format!(":root {{ --brand: #7c3aed; --brand-logo: url(\"{logo}\"); --brand-logo-width: 7rem; }}");
    assert!(css.trim_end().ends_with(&own), "{own}");
    assert!(css.len() <= 24 * 1024);
    let logo = look.serve("brand.svg", None, &HeaderMap::new()).unwrap();
    let policy = logo.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'none'") && policy.contains("sandbox"), "{policy}");
    assert!(look.serve("logo.svg", None, &HeaderMap::new()).is_none());
    assert_ne!(look.link("tunnel.css"), Look::plain().link("tunnel.css"), "kept by its content");
    for (name, render, ..) in every_page("") {
        let mut context = context(Lang::En);
        context.look = look.clone();
        let html = body(render(&context));
        assert!(html.contains("</span>Example &#38; Co<") && html.contains("· Example &#38; Co</title>"), "{name}");
        assert!(html.contains(&look.link("tunnel.css")) && html.contains(&look.icon().0), "{name}");
    }
    std::fs::write(&file, b"\x89PNG\r\n\x1a\nrest").unwrap();
    let look = Look::load(&brand(None)).unwrap();
    let png = look.serve("brand.png", None, &HeaderMap::new()).unwrap();
    assert_eq!(png.headers()[header::CONTENT_TYPE], "image/png");
    for (bytes, why) in
        [(b"GIF89a".to_vec(), "neither"), (b"<svg>\xff".to_vec(), "neither"), (vec![b'x'; 64 * 1024 + 1], "larger")]
    {
        std::fs::write(&file, bytes).unwrap();
        let error = Look::load(&brand(None)).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("logo"), "{error}");
    }
    std::fs::remove_file(&file).unwrap();
    assert!(Look::load(&brand(None)).unwrap_err().to_string().contains("cannot be read"));
}
