//! Tokens that must get nobody in, each beside why somebody might believe it, and a few that must be believed.

use serde_json::{Value, json};

use super::{
    By, Forge, PublicForm,
    forge::{base64, now},
    keys::{OCT, pem},
};

/// One way to make a token.
pub type Making = fn(&Forge) -> String;

/// Tokens that are as good as any, in the forms that real providers use.
pub const GOOD: &[(&str, Making)] = &[
    ("RS256", Forge::good),
    ("ES256", |f| f.signed(&f.header("ES256", "ec"), &claims(f), By::Es256(&f.keys))),
    ("PS256", |f| f.signed(&f.header("PS256", "rsa"), &claims(f), By::Ps256(&f.keys))),
    ("EdDSA", |f| f.signed(&f.header("EdDSA", "ed"), &claims(f), By::EdDsa(&f.keys))),
    ("no typ", |f| f.headed(|header| drop(header.remove("typ")))),
    ("the audience as a list", |f| f.claiming("aud", json!([f.client.0]))),
    ("several audiences, and azp", |f| {
        f.saying(|claims| {
            claims.insert("aud".into(), json!(["another", f.client.0]));
            claims.insert("azp".into(), json!(f.client.0));
        })
    }),
    ("the right at_hash", |f| f.claiming("at_hash", json!(f.at_hash()))),
    ("clocks that differ by half a minute", |f| {
        f.saying(|claims| {
            claims.insert("iat".into(), json!(now() + 30));
            claims.insert("nbf".into(), json!(now() + 30));
        })
    }),
    ("expired half a minute ago, by our clock", |f| {
        f.saying(|claims| {
            claims.insert("iat".into(), json!(now() - 330));
            claims.insert("exp".into(), json!(now() - 30));
        })
    }),
    ("claims nobody has heard of", |f| f.claiming("https://example.com/x", json!({"a": [1, null, {"b": "c"}]}))),
];

/// Tokens that are not.
pub const FORGERIES: &[(&str, Making)] = &[
    // Which algorithm: what the header asks for is not what is allowed.
    ("alg none", |f| unsigned(f, "none")),
    ("alg None", |f| unsigned(f, "None")),
    ("alg nOnE", |f| unsigned(f, "nOnE")),
    ("alg none, with the signature of the good token", |f| {
        let [_, claims, signature] = f.parts();
        format!("{}.{claims}.{signature}", base64(br#"{"alg":"none","typ":"JWT"}"#))
    }),
    ("alg none, two parts", |f| unsigned(f, "none").trim_end_matches('.').to_owned()),
    ("no alg", |f| f.headed(|header| drop(header.remove("alg")))),
    ("an empty alg", |f| alg(f, "")),
    ("alg in lower case", |f| alg(f, "rs256")),
    ("alg with a space", |f| alg(f, "RS256 ")),
    ("alg of a list", |f| f.headed(|header| drop(header.insert("alg".into(), json!(["RS256"]))))),
    ("RS384, which nobody asked for", |f| f.signed(&f.header("RS384", "rsa"), &claims(f), By::Rs384(&f.keys))),
    ("RS512, which nobody asked for", |f| f.signed(&f.header("RS512", "rsa"), &claims(f), By::Rs512(&f.keys))),
    ("HS256 with the public key, PEM", |f| confused(f, &f.keys.rsa_public(PublicForm::SpkiPem))),
    ("HS256 with the public key, PEM without the last line's end", |f| {
        confused(f, f.keys.rsa_public(PublicForm::SpkiPem).trim_ascii_end())
    }),
    ("HS256 with the public key, PEM of PKCS #1", |f| confused(f, &f.keys.rsa_public(PublicForm::Pkcs1Pem))),
    ("HS256 with the public key, DER", |f| confused(f, &f.keys.rsa_public(PublicForm::SpkiDer))),
    ("HS256 with the public key, DER of PKCS #1", |f| confused(f, &f.keys.rsa_public(PublicForm::Pkcs1Der))),
    ("HS256 with the modulus", |f| confused(f, &f.keys.rsa_public(PublicForm::Modulus))),
    ("HS256 with the modulus as text", |f| confused(f, &f.keys.rsa_public(PublicForm::ModulusText))),
    ("HS256 with the key as it is published", |f| confused(f, &f.keys.rsa_public(PublicForm::Jwk))),
    ("HS256 with the client's secret", |f| confused(f, f.client.1.as_bytes())),
    ("HS256 with the client's secret, no kid", |f| {
        f.headed_by(By::Hs256(f.client.1.as_bytes()), |header| {
            header.insert("alg".into(), json!("HS256"));
            header.remove("kid");
        })
    }),
    ("HS256 with an empty secret", |f| confused(f, b"")),
    ("HS256 with a symmetric key that is published", |f| {
        f.headed_by(By::Hs256(OCT), |header| {
            header.insert("alg".into(), json!("HS256"));
            header.insert("kid".into(), json!(f.keys.kid("oct")));
        })
    }),
    ("ES256 over the RSA key's id", |f| f.signed(&f.header("ES256", "rsa"), &claims(f), By::Es256(&f.keys))),
    ("RS256 over the P-256 key's id", |f| f.signed(&f.header("RS256", "ec"), &claims(f), By::Rs256(&f.keys))),
    ("ES256 with a signature of zeros", |f| f.signed(&f.header("ES256", "ec"), &claims(f), By::Bytes(&[0; 64]))),
    ("EdDSA with a signature of zeros", |f| f.signed(&f.header("EdDSA", "ed"), &claims(f), By::Bytes(&[0; 64]))),
    ("RS256 with a signature of zeros", |f| f.signed(&f.header("RS256", "rsa"), &claims(f), By::Bytes(&[0; 256]))),
    ("no signature", |f| f.signed(&f.header("RS256", "rsa"), &claims(f), By::Nobody)),
    // Whose key: only those that the provider publishes, for signing.
    ("a stolen key under the good kid", |f| f.headed_by(By::Rs256(&f.stolen), |_| ())),
    ("a stolen key under its own kid", |f| kid(f, json!(f.stolen.kid("rsa")))),
    ("a stolen key and no kid", |f| f.headed_by(By::Rs256(&f.stolen), |header| drop(header.remove("kid")))),
    ("a key that is published for encryption", |f| {
        f.headed(|header| drop(header.insert("kid".into(), json!(f.keys.kid("enc")))))
    }),
    ("another provider's key under its kid", |f| {
        let other = f.other.1.kid("rsa");
        f.headed_by(By::Rs256(&f.other.1), |header| drop(header.insert("kid".into(), json!(other))))
    }),
    ("another provider's key under the good kid", |f| f.headed_by(By::Rs256(&f.other.1), |_| ())),
    ("another provider's whole token", |f| {
        let mut claims = f.claims.clone();
        claims.insert("iss".into(), json!(f.other.0));
        let header = json!({"alg": "RS256", "kid": f.other.1.kid("rsa"), "typ": "JWT"});
        f.signed(&header, &Value::Object(claims), By::Rs256(&f.other.1))
    }),
    ("a kid that is a path", |f| confused_kid(f, "../../../../../../dev/null", b"")),
    ("a kid that is a device", |f| confused_kid(f, "/dev/null", b"")),
    ("a kid that is a file everybody has", |f| {
        confused_kid(f, "/etc/hostname", std::fs::read("/etc/hostname").unwrap_or_default().as_slice())
    }),
    ("a kid that is an address", |f| kid(f, json!(format!("{}/jwks", f.attacker)))),
    ("a kid that is a query", |f| confused_kid(f, "x' UNION SELECT 'secret' -- ", b"secret")),
    ("a kid that is a command", |f| confused_kid(f, "| echo secret", b"secret")),
    ("a kid with a zero byte", |f| kid(f, json!(format!("{}\0", f.keys.kid("rsa"))))),
    ("a kid that is empty", |f| kid(f, json!(""))),
    ("a kid that is a number", |f| f.headed(|header| drop(header.insert("kid".into(), json!(7))))),
    ("a kid that is a list", |f| f.headed(|header| drop(header.insert("kid".into(), json!([f.keys.kid("rsa")]))))),
    ("jku", |f| keyed(f, "jku", json!(format!("{}/jwks", f.attacker)))),
    ("x5u", |f| keyed(f, "x5u", json!(format!("{}/certificate", f.attacker)))),
    ("jwk", |f| keyed(f, "jwk", f.stolen.rsa_jwk())),
    ("x5c", |f| {
        let der = f.stolen.rsa_public(PublicForm::SpkiDer);
        keyed(f, "x5c", json!([data_encoding::BASE64.encode(&der)]))
    }),
    ("x5c as a file", |f| {
        let text = pem("CERTIFICATE", &f.stolen.rsa_public(PublicForm::SpkiDer));
        keyed(f, "x5c", json!([String::from_utf8_lossy(&text)]))
    }),
    ("jku under the good kid", |f| {
        f.headed_by(By::Rs256(&f.stolen), |header| {
            drop(header.insert("jku".into(), json!(format!("{}/jwks", f.attacker))))
        })
    }),
    ("jwk under the good kid", |f| {
        f.headed_by(By::Rs256(&f.stolen), |header| drop(header.insert("jwk".into(), f.stolen.rsa_jwk())))
    }),
    // What kind of token.
    ("typ of an access token", |f| typ(f, "at+jwt")),
    ("typ of a logout token", |f| typ(f, "logout+jwt")),
    ("typ of a security event", |f| typ(f, "secevent+jwt")),
    ("typ of an encrypted token", |f| typ(f, "JWE")),
    ("an extension that is critical", |f| {
        f.headed(|header| {
            header.insert("crit".into(), json!(["https://example.com/rule"]));
            header.insert("https://example.com/rule".into(), json!(true));
        })
    }),
    ("crit of nothing", |f| f.headed(|header| drop(header.insert("crit".into(), json!([]))))),
    ("compressed, it says", |f| f.headed(|header| drop(header.insert("zip".into(), json!("DEF"))))),
    ("claims that are not encoded", |f| {
        let header = json!({"alg": "RS256", "kid": f.keys.kid("rsa"), "b64": false, "crit": ["b64"]}).to_string();
        let message = format!("{}.{}", base64(header.as_bytes()), claims(f));
        format!("{message}.{}", base64(&By::Rs256(&f.keys).sign(message.as_bytes())))
    }),
    ("encrypted, five parts", |f| {
        let [_, claims, signature] = f.parts();
        let header = json!({"alg": "RSA-OAEP-256", "enc": "A256GCM", "kid": f.keys.kid("enc")}).to_string();
        format!("{}.{signature}.AAAAAAAAAAAAAAAA.{claims}.AAAAAAAAAAAAAAAAAAAAAA", base64(header.as_bytes()))
    }),
    ("encrypted to nobody", |f| {
        let [_, claims, _] = f.parts();
        format!("{}..AAAAAAAAAAAAAAAA.{claims}.AAAAAAAAAAAAAAAAAAAAAA", base64(br#"{"alg":"dir","enc":"A256GCM"}"#))
    }),
    // Damaged.
    ("empty", |_| String::new()),
    ("dots", |_| "..".into()),
    ("cut", |f| f.good()[..f.good().len() - 9].to_owned()),
    ("cut in the claims", |f| {
        let [header, claims, signature] = f.parts();
        format!("{header}.{}.{signature}", &claims[..claims.len() - 4])
    }),
    ("a bit of the signature's end", |f| {
        // The last letter of 256 bytes has four bits that belong to none; a strict reader minds them.
        let good = f.good();
        let (rest, last) = good.split_at(good.len() - 1);
        format!("{rest}{}", if last == "A" { "B" } else { stray(last) })
    }),
    ("a word before it", |f| format!("Bearer {}", f.good())),
    ("a word behind it", |f| format!("{}x", f.good())),
    ("a part behind it", |f| format!("{}.AAAA", f.good())),
    ("a part before it", |f| format!("AAAA.{}", f.good())),
    ("padded", |f| {
        let [header, claims, signature] = f.parts();
        let pad = |part: String| format!("{part}{}", "=".repeat((4 - part.len() % 4) % 4));
        format!("{}.{}.{}", pad(header), pad(claims), pad(signature))
    }),
    ("a space before it", |f| format!(" {}", f.good())),
    ("a line behind it", |f| format!("{}\n", f.good())),
    ("a line in it", |f| {
        let [header, claims, signature] = f.parts();
        format!("{header}.{}\n{}.{signature}", &claims[..8], &claims[8..])
    }),
    ("the signature of another token", |f| {
        let [header, _, _] = f.parts();
        let other = f.claiming("email", json!("somebody@example.com"));
        let signature = other.rsplit('.').next().unwrap_or_default().to_owned();
        format!("{header}.{}.{signature}", base64(claims(f).to_string().as_bytes()))
    }),
    ("claims that are a list", |f| f.signed(&f.header("RS256", "rsa"), &json!([claims(f)]), By::Rs256(&f.keys))),
    ("claims that are nothing", |f| f.signed(&f.header("RS256", "rsa"), &Value::Null, By::Rs256(&f.keys))),
    ("claims with a mark before them", |f| {
        let text = format!("\u{feff}{}", claims(f));
        f.raw(&f.header("RS256", "rsa").to_string(), text.as_bytes(), By::Rs256(&f.keys))
    }),
    ("claims with something behind them", |f| {
        let text = format!("{}{{\"x\":1}}", claims(f));
        f.raw(&f.header("RS256", "rsa").to_string(), text.as_bytes(), By::Rs256(&f.keys))
    }),
    ("claims that are no text", |f| {
        let mut bytes = claims(f).to_string().into_bytes();
        let at = bytes.len() / 2;
        bytes.insert(at, 0xff);
        f.raw(&f.header("RS256", "rsa").to_string(), &bytes, By::Rs256(&f.keys))
    }),
    ("claims as deep as a well", |f| f.literally("deep", &format!("{}{}", "[".repeat(20_000), "]".repeat(20_000)))),
    ("a header as deep as a well", |f| {
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        let header = f.header("RS256", "rsa").to_string().replace("\"JWT\"", &deep);
        f.raw(&header, claims(f).to_string().as_bytes(), By::Rs256(&f.keys))
    }),
    ("100 KiB", |f| f.claiming("padding", json!("x".repeat(100 * 1024)))),
    // Names that are there twice: whoever checks one and uses the other.
    ("alg twice, none first", |f| f.header_twice("alg", &json!("none"), true)),
    ("alg twice, none last", |f| f.header_twice("alg", &json!("none"), false)),
    ("kid twice", |f| f.header_twice("kid", &json!("another"), true)),
    ("email twice, the good one last", |f| f.twice("email", &json!("guest@example.com"), true)),
    ("email twice, the good one first", |f| f.twice("email", &json!("guest@example.com"), false)),
    ("email_verified twice", |f| f.twice("email_verified", &json!(false), true)),
    ("sub twice", |f| f.twice("sub", &json!("somebody-else"), true)),
    ("aud twice, the good one last", |f| f.twice("aud", &json!("another"), true)),
    ("aud twice, the good one first", |f| f.twice("aud", &json!("another"), false)),
    ("iss twice", |f| f.twice("iss", &json!(f.other.0), true)),
    ("nonce twice", |f| f.twice("nonce", &json!(f.other_nonce), true)),
    ("exp twice", |f| f.twice("exp", &json!(1), true)),
    // For whom.
    ("another audience", |f| f.claiming("aud", json!("another"))),
    ("no audience", |f| f.without("aud")),
    ("an empty audience", |f| f.claiming("aud", json!(""))),
    ("an empty list of audiences", |f| f.claiming("aud", json!([]))),
    ("a list of other audiences", |f| f.claiming("aud", json!(["another", format!("{}x", f.client.0)]))),
    ("an audience in upper case", |f| f.claiming("aud", json!(f.client.0.to_uppercase()))),
    ("an audience that begins like ours", |f| f.claiming("aud", json!(format!("{}-2", f.client.0)))),
    ("an audience within a list", |f| f.claiming("aud", json!([[f.client.0]]))),
    ("an audience that is an object", |f| f.claiming("aud", json!({f.client.0.clone(): true}))),
    ("the issuer as the audience", |f| f.claiming("aud", json!(f.issuer))),
    ("several audiences, no azp", |f| f.claiming("aud", json!([f.client.0, "another"]))),
    ("several audiences, azp another", |f| {
        f.saying(|claims| {
            claims.insert("aud".into(), json!([f.client.0, "another"]));
            claims.insert("azp".into(), json!("another"));
        })
    }),
    ("azp another", |f| f.claiming("azp", json!("another"))),
    // By whom.
    ("no issuer", |f| f.without("iss")),
    ("an issuer with a slash", |f| f.claiming("iss", json!(format!("{}/", f.issuer)))),
    ("an issuer in upper case", |f| f.claiming("iss", json!(f.issuer.to_uppercase()))),
    ("an issuer with more of a path", |f| f.claiming("iss", json!(format!("{}/tenant", f.issuer)))),
    ("an issuer without its port", |f| f.claiming("iss", json!(f.issuer.rsplit_once(':').map(|(start, _)| start)))),
    ("an issuer with a space", |f| f.claiming("iss", json!(format!("{} ", f.issuer)))),
    ("another provider as the issuer", |f| f.claiming("iss", json!(f.other.0))),
    ("a list of issuers", |f| f.claiming("iss", json!([f.issuer]))),
    // When.
    ("expired", |f| f.claiming("exp", json!(now() - 3600))),
    ("expired two minutes ago", |f| f.claiming("exp", json!(now() - 120))),
    ("no exp", |f| f.without("exp")),
    ("exp as text", |f| f.claiming("exp", json!((now() + 300).to_string()))),
    ("exp in the past, with a fraction", |f| f.literally("exp", "1.5")),
    ("exp below zero", |f| f.claiming("exp", json!(-1))),
    ("exp far below zero", |f| f.claiming("exp", json!(i64::MIN))),
    ("exp beyond any number", |f| f.literally("exp", "1e400")),
    ("exp that is null", |f| f.claiming("exp", Value::Null)),
    ("exp that is true", |f| f.claiming("exp", json!(true))),
    ("iat in an hour", |f| f.claiming("iat", json!(now() + 3600))),
    ("no iat", |f| f.without("iat")),
    ("iat as text", |f| f.claiming("iat", json!(now().to_string()))),
    ("nbf in an hour", |f| f.claiming("nbf", json!(now() + 3600))),
    // Which login.
    ("no nonce", |f| f.without("nonce")),
    ("an empty nonce", |f| f.claiming("nonce", json!(""))),
    ("a wrong nonce", |f| f.claiming("nonce", json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"))),
    ("another login's nonce", |f| f.claiming("nonce", json!(f.other_nonce))),
    ("a list with the nonce", |f| f.claiming("nonce", json!([f.claims["nonce"]]))),
    ("a nonce that goes on", |f| {
        f.claiming("nonce", json!(format!("{}x", f.claims["nonce"].as_str().unwrap_or_default())))
    }),
    ("the at_hash of another access token", |f| f.claiming("at_hash", json!(base64(&[7; 16])))),
    // Who.
    ("no sub", |f| f.without("sub")),
    ("an empty sub", |f| f.claiming("sub", json!(""))),
    ("a sub that is a number", |f| f.claiming("sub", json!(4711))),
    ("a sub that is null", |f| f.claiming("sub", Value::Null)),
    ("a sub that is a list", |f| f.claiming("sub", json!(["somebody"]))),
    ("a sub without end", |f| f.claiming("sub", json!("s".repeat(4096)))),
    ("a sub with a zero byte", |f| f.claiming("sub", json!("somebody\0else"))),
];

fn claims(f: &Forge) -> Value {
    Value::Object(f.claims.clone())
}

fn unsigned(f: &Forge, alg: &str) -> String {
    f.signed(&json!({"alg": alg, "typ": "JWT"}), &claims(f), By::Nobody)
}

fn alg(f: &Forge, alg: &str) -> String {
    f.headed(|header| drop(header.insert("alg".into(), json!(alg))))
}

fn typ(f: &Forge, typ: &str) -> String {
    f.headed(|header| drop(header.insert("typ".into(), json!(typ))))
}

/// A stolen key under a kid of choice.
fn kid(f: &Forge, kid: Value) -> String {
    f.headed_by(By::Rs256(&f.stolen), |header| drop(header.insert("kid".into(), kid)))
}

/// The public key, or whatever else everybody has, taken for a shared secret.
fn confused(f: &Forge, secret: &[u8]) -> String {
    f.headed_by(By::Hs256(secret), |header| drop(header.insert("alg".into(), json!("HS256"))))
}

/// A kid that leads a careless reader to a secret that everybody knows.
fn confused_kid(f: &Forge, kid: &str, secret: &[u8]) -> String {
    f.headed_by(By::Hs256(secret), |header| {
        header.insert("alg".into(), json!("HS256"));
        header.insert("kid".into(), json!(kid));
    })
}

/// A header that brings its key along.
fn keyed(f: &Forge, name: &str, value: Value) -> String {
    f.headed_by(By::Rs256(&f.stolen), |header| {
        header.insert("kid".into(), json!(f.stolen.kid("rsa")));
        header.insert(name.into(), value);
    })
}

/// A letter that differs from this one, the last of 256 bytes, in a bit that stands for nothing.
fn stray(last: &str) -> &'static str {
    match last {
        "Q" => "R",
        "g" => "h",
        "w" => "x",
        other => panic!("`{other}` does not end 256 bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_many_and_each_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = FORGERIES.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), FORGERIES.len());
        assert!(names.len() >= 40, "{}", names.len());
    }
}
