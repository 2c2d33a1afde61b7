//! Our account at the authority, kept sealed in the store, and the connection to it.

use std::{
    pin::Pin,
    str::FromStr as _,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use instant_acme::{
    Account, AccountCredentials, BodyWrapper, BytesResponse, Error, ExternalAccountKey, HttpClient, NewAccount,
};
use tokio::time::Instant;
use tunnel_proto::UnixTime;

use super::{
    AcmeError,
    order::Failure,
    plan::{Cause, RETRY_AFTER_MAX},
    read,
};
use crate::{Clock, config, keys::Keys, outbound::Outbound, store::Store};

/// How long the authority may take for one answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// For how long at most what the authority asks of one order holds up all of them: some limits are for one name only.
const HOLD_MAX: Duration = Duration::from_secs(3600);
/// For how long it is not asked when it says that it was asked too often, and not for how long.
const UNSAID: Duration = Duration::from_secs(300);
/// The purpose for which accounts are sealed.
const SEALED: &str = "acme account";

/// Accounts at one authority: one, but for the moment in which it knows ours no more.
pub(super) struct Accounts {
    settings: config::Acme,
    external: Option<ExternalAccountKey>,
    carrier: Carrier,
    /// The account with what it is stored as.
    known: tokio::sync::Mutex<Known>,
}

#[derive(Default)]
struct Known {
    account: Option<Account>,
    sealed: Option<Vec<u8>>,
    /// The authority does not know it any more.
    gone: bool,
}

impl Accounts {
    pub(super) fn new(settings: &config::Acme, clock: Clock) -> Result<Self, AcmeError> {
        let useless = |key, reason: String| AcmeError::Useless { key, reason };
        let ca = settings.ca_file.as_ref().map(|path| read("tls.acme.ca_file", path)).transpose()?;
        let ca = ca.as_ref().map(|ca| ca.as_str());
        let outbound = Outbound::with_patience(ca.is_some(), ca, PATIENCE);
        let outbound = outbound.map_err(|error| useless("tls.acme.ca_file", error.to_string()))?;
        let external = settings.external_account.as_ref().map(|bound| {
            const KEY: &str = "tls.acme.external_account.key_file";
            let text = read(KEY, &bound.key_file)?;
            let key = BASE64URL_NOPAD.decode(text.trim().trim_end_matches('=').as_bytes());
            let key = key.map_err(|_| useless(KEY, format!("`{}` is not base64url", bound.key_file.display())))?;
            let key = zeroize::Zeroizing::new(key);
            if key.is_empty() {
                return Err(useless(KEY, format!("`{}` is empty", bound.key_file.display())));
            }
            Ok(ExternalAccountKey::new(bound.key_id.clone(), &key))
        });
        let carrier = Carrier { outbound, clock, told: Arc::default() };
        let external = external.transpose()?;
        Ok(Self { settings: settings.clone(), external, carrier, known: tokio::sync::Mutex::default() })
    }

    /// The account: as it is stored, or a new one. Of several edges that make one at once, all use the same.
    pub(super) async fn account(&self, store: &dyn Store, keys: &Keys) -> Result<Account, Failure> {
        let mut known = self.known.lock().await;
        if let Some(account) = &known.account {
            return Ok(account.clone());
        }
        let name = format!("{SEALED} {}", self.settings.directory);
        let ours = |error: &dyn std::fmt::Display| Failure::new(Cause::Unreachable, format!("the account: {error}"));
        let stored = store.secret(&name).await.map_err(|error| ours(&error))?;
        let mut is_stored = false;
        let sealed = match stored {
            // What another edge put in its place meanwhile is another one.
            Some(sealed) if !known.gone || known.sealed.as_ref() != Some(&sealed) => {
                is_stored = true;
                sealed
            }
            stale => {
                let made = self.make(keys).await?;
                match stale {
                    None => store.put_secret_if_absent(&name, &made).await.map_err(|error| ours(&error))?,
                    Some(stale) => {
                        let replaced = store.replace_secret(&name, &stale, &made, &[]).await;
                        let replaced = replaced.map_err(|error| ours(&error))?;
                        let now = store.secret(&name).await.map_err(|error| ours(&error))?;
                        if replaced { made } else { now.ok_or_else(|| ours(&"it is gone"))? }
                    }
                }
            }
        };
        let plain = keys.open(SEALED, self.settings.directory.as_str().as_bytes(), &sealed);
        let plain = plain.map_err(|error| ours(&error))?;
        let credentials: AccountCredentials =
            serde_json::from_slice(plain.expose()).map_err(|_| ours(&"what is stored is none"))?;
        let builder = Account::builder_with_http(Box::new(self.carrier.clone()));
        let account = builder.from_credentials(credentials).await.map_err(|error| self.failure(error))?;
        if is_stored {
            self.tell_contact(&account).await;
        }
        *known = Known { account: Some(account.clone()), sealed: Some(sealed), gone: false };
        Ok(account)
    }

    /// Makes another account the next time: the authority does not know this one any more.
    pub(super) async fn forget(&self, account: &Account) {
        let mut known = self.known.lock().await;
        if known.account.as_ref().is_some_and(|known| known.id() == account.id()) {
            known.account = None;
            known.gone = true;
        }
    }

    /// For how long from now nothing may be ordered.
    pub(super) fn hold(&self) -> Option<Duration> {
        self.carrier.asked(HOLD_MAX)
    }

    /// Tells the authority `tls.email` as it is now: once in the life of the edge, for it may have changed since the last.
    async fn tell_contact(&self, account: &Account) {
        let Some(email) = &self.settings.email else { return };
        let contact = format!("mailto:{email}");
        if let Err(error) = account.update_contacts(&[&contact]).await {
            tracing::warn!(%error, "the authority cannot be told the address in `tls.email`");
        }
    }

    async fn make(&self, keys: &Keys) -> Result<Vec<u8>, Failure> {
        let contact = self.settings.email.as_ref().map(|email| format!("mailto:{email}"));
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let directory = self.settings.directory.to_string();
        let builder = Account::builder_with_http(Box::new(self.carrier.clone()));
        let made = builder.create(&new, directory, self.external.as_ref()).await;
        let (_, credentials) = made.map_err(|error| self.failure(error))?;
        let plain = serde_json::to_vec(&credentials).map(zeroize::Zeroizing::new);
        let plain = plain.map_err(|error| Failure::new(Cause::Refused, error.to_string()))?;
        tracing::info!(directory = %self.settings.directory, "an account at the certificate authority is made");
        Ok(keys.seal(SEALED, self.settings.directory.as_str().as_bytes(), &plain))
    }

    /// What an error means.
    pub(super) fn failure(&self, error: Error) -> Failure {
        let asked = self.carrier.asked(RETRY_AFTER_MAX);
        let in_trouble = asked.map_or(Cause::Unreachable, |asked| Cause::Limited(Some(asked)));
        let cause = match &error {
            Error::Api(problem) => {
                match problem.r#type.as_deref().and_then(|kind| kind.strip_prefix("urn:ietf:params:acme:error:")) {
                    Some("rateLimited") => Cause::Limited(asked),
                    Some("accountDoesNotExist") => Cause::NoAccount,
                    // It gave the nonces that it does not take: three in a row.
                    Some("serverInternal" | "badNonce") => in_trouble,
                    _ => Cause::Refused,
                }
            }
            Error::Other(_) | Error::Json(_) => in_trouble,
            // The library's word for an answer that is no nonce.
            Error::Str(what) if what.contains("newNonce") => in_trouble,
            _ => Cause::Refused,
        };
        Failure::new(cause, error.to_string())
    }
}

/// How long the authority wants to hear nothing, and since when.
#[derive(Clone, Copy)]
struct Told {
    since: Instant,
    pause: Duration,
}

impl Told {
    /// What is left of it, of which no more than `most` counts.
    fn left(self, most: Duration) -> Option<Duration> {
        let left = self.pause.min(most).saturating_sub(self.since.elapsed());
        (!left.is_zero()).then_some(left)
    }
}

/// Carries requests to the authority.
#[derive(Clone)]
struct Carrier {
    outbound: Outbound,
    clock: Clock,
    told: Arc<Mutex<Option<Told>>>,
}

impl Carrier {
    /// For how long from now it wants to hear nothing, if it said so; of what it said no more than `most` counts.
    fn asked(&self, most: Duration) -> Option<Duration> {
        let told = *self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.and_then(|told| told.left(most))
    }
}

impl HttpClient for Carrier {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let carrier = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            // The addresses are the authority's word.
            if parts.uri.scheme_str() != Some("https") {
                return Err(Error::Str("the authority names an address that is not https"));
            }
            let Ok(body) = body.collect().await;
            let kind = parts.headers.get(header::CONTENT_TYPE).cloned();
            let url = parts.uri.to_string();
            let fetched = carrier.outbound.exchange(parts.method, &url, kind, body.to_bytes()).await;
            let mut fetched = fetched.map_err(|error| Error::Other(Box::new(error)))?;
            let said = plain_retry_after(&mut fetched.headers, carrier.clock.now());
            let pause = match fetched.status {
                // Otherwise each of thousands of names would ask by itself.
                StatusCode::TOO_MANY_REQUESTS => Some(said.unwrap_or(UNSAID)),
                StatusCode::SERVICE_UNAVAILABLE => said,
                _ => None,
            };
            if let Some(pause) = pause {
                let told = Told { since: Instant::now(), pause };
                *carrier.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
            }
            let mut response = http::Response::new(Full::new(fetched.body));
            *response.status_mut() = fetched.status;
            *response.headers_mut() = fetched.headers;
            Ok(BytesResponse::from(response))
        })
    }
}

/// Takes `Retry-After` for what anybody waits: the library adds it to the time as it is, and panics when that is too far
/// ahead. What cannot be read is left out.
fn plain_retry_after(headers: &mut HeaderMap, now: UnixTime) -> Option<Duration> {
    let pause = retry_after(headers, now).map(|until| until.since(now).min(RETRY_AFTER_MAX));
    match pause {
        Some(pause) => headers.insert(header::RETRY_AFTER, HeaderValue::from(pause.as_secs())),
        None => headers.remove(header::RETRY_AFTER),
    };
    pause
}

/// The moment that `Retry-After` names: in seconds, or as a date (RFC 9110 §10.2.3).
fn retry_after(headers: &HeaderMap, now: UnixTime) -> Option<UnixTime> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(now.plus(Duration::from_secs(seconds)));
    }
    let date = std::time::SystemTime::from(httpdate::HttpDate::from_str(value).ok()?);
    date.duration_since(UNIX_EPOCH).ok().map(|since| UnixTime(since.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let at = |value: &'static str| {
            let headers = [(header::RETRY_AFTER, http::HeaderValue::from_static(value))].into_iter().collect();
            retry_after(&headers, UnixTime(1000))
        };
        assert_eq!(at("60"), Some(UnixTime(1060)));
        assert_eq!(at("Thu, 01 Jan 1970 01:00:00 GMT"), Some(UnixTime(3600)));
        assert_eq!(at("soon"), None);
        assert_eq!(at(""), None);
        assert_eq!(retry_after(&HeaderMap::new(), UnixTime(1000)), None);
    }

    #[test]
    fn nobody_waits_for_longer_than_a_week_whatever_the_authority_says() {
        let week = RETRY_AFTER_MAX.as_secs().to_string();
        for (said, heard) in [
            ("60", Some("60")),
            ("18446744073709551615", Some(&*week)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(&*week)),
            ("Thu, 01 Jan 1970 00:00:01 GMT", Some("0")),
            ("18446744073709551616", None),
            ("soon", None),
        ] {
            let mut headers: HeaderMap = [(header::RETRY_AFTER, HeaderValue::from_static(said))].into_iter().collect();
            let pause = plain_retry_after(&mut headers, UnixTime(1000));
            assert_eq!(headers.get(header::RETRY_AFTER).map(|value| value.to_str().unwrap()), heard, "{said}");
            assert_eq!(pause.map(|pause| pause.as_secs().to_string()).as_deref(), heard, "{said}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_order_is_told_holds_up_all_for_an_hour_and_not_again_and_again() {
        let told = Told { since: Instant::now(), pause: RETRY_AFTER_MAX };
        assert_eq!(told.left(HOLD_MAX), Some(HOLD_MAX));
        tokio::time::advance(HOLD_MAX - Duration::from_secs(1)).await;
        assert_eq!(told.left(HOLD_MAX), Some(Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(told.left(HOLD_MAX), None);
        assert_eq!(told.left(RETRY_AFTER_MAX), Some(RETRY_AFTER_MAX - HOLD_MAX), "the one order waits on");
    }
}
