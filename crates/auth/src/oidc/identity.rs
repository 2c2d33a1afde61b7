//! Who a person is, by what a provider says: the address and why it is believed, groups, and what else is kept.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tunnel_proto::{EmailAddress, Hostname};

use super::{Claims, JsonError, id_token::is_subject, json};

/// The most groups of one person. Who has more is turned away: a rule about one that was left out would be wrong.
pub const GROUPS_MAX: usize = 1000;
/// The longest name of a group, in bytes. No rule can name a longer one, so that those are left out.
pub const GROUP_SIZE_MAX: usize = 256;
/// The most claims that are kept.
pub const CLAIMS_MAX: usize = 32;
/// How large they may be together, as JSON, in bytes.
pub const CLAIMS_SIZE_MAX: usize = 4 * 1024;
/// The most ways of authentication that are kept, and the longest.
const AMR_MAX: usize = 32;
const AMR_SIZE_MAX: usize = 64;

/// How a provider's word is understood.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// The tenant that the issuer speaks for (Microsoft Entra ID): it vouches for the addresses of its own people.
    pub tenant: Option<&'a str>,
    /// The claim that holds the address, if not the usual one.
    pub email_claim: Option<&'a str>,
    /// The claim that holds the groups, if not `groups`.
    pub groups_claim: Option<&'a str>,
    /// Whether groups are told by userinfo where the token has none.
    pub groups_by_userinfo: bool,
    /// The domain that accounts must belong to (`hd`).
    pub hosted_domain: Option<&'a Hostname>,
    /// Domains whose addresses need not be called verified.
    pub authoritative_for: &'a [Hostname],
    /// Claims that are kept.
    pub claims: &'a [String],
}

/// What a provider's userinfo says about the same person.
#[derive(Clone, Debug, PartialEq)]
pub struct Userinfo(Map<String, Value>);

/// Why userinfo is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserinfoError {
    /// It is no object.
    #[error("the provider's userinfo is {0}")]
    Json(#[from] JsonError),
    /// It is about somebody else (OpenID Connect Core §5.3.2).
    #[error("the provider's userinfo is about another person than its ID token")]
    Subject,
}

impl Userinfo {
    /// Reads what userinfo answered about `subject`.
    pub fn read(bytes: &[u8], subject: &str) -> Result<Self, UserinfoError> {
        let all = json::object(bytes)?;
        let same = all.get("sub").and_then(Value::as_str) == Some(subject) && is_subject(subject);
        if same { Ok(Self(all)) } else { Err(UserinfoError::Subject) }
    }
}

/// An address that a provider named, and why it is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    /// The address.
    pub address: EmailAddress,
    /// The claim that it stood in.
    pub claim: String,
    /// Why it is believed.
    pub trust: Trust,
}

/// Why an address is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The provider calls it verified.
    Verified,
    /// The provider was declared authoritative for its domain.
    Declared,
    /// The provider speaks for a tenant, of which the person is a member.
    Tenant,
}

/// Why a person is turned away, whatever the policies say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no address.
    #[error("the provider names no e-mail address ({0})")]
    NoEmail(String),
    /// What should be the address is none.
    #[error("the claim `{0}` holds no e-mail address of the form name@example.com")]
    NotAnAddress(String),
    /// Nobody vouches for the address.
    #[error(
        "the provider does not call `{0}` verified (`email_verified`), and is not declared authoritative for its domain"
    )]
    Unverified(EmailAddress),
    /// The account is of another domain.
    #[error("the account does not belong to `{0}` (`hd`)")]
    HostedDomain(Hostname),
    /// The account is of another tenant.
    #[error("the account belongs to another tenant (`tid`)")]
    Tenant,
    /// There are more groups than can be kept.
    #[error(
        "the person is in more than {GROUPS_MAX} groups; let the provider send those that are assigned to this application only"
    )]
    TooManyGroups,
    /// The token leaves the groups out, and nobody asks for them elsewhere. It is the caller who says so.
    #[error(
        "the person is in more groups than fit into a token, and nobody asks for them elsewhere: declare `groups: true` \
         (`entra`), or let the provider send those that are assigned to this application only"
    )]
    GroupsElsewhere,
    /// What should be groups is something else.
    #[error("the claim `{0}` holds no groups: it is neither a list nor a text")]
    NotGroups(String),
    /// The claims to be kept are too large.
    #[error("the claims to be kept are larger than {CLAIMS_SIZE_MAX} bytes")]
    ClaimsTooLarge,
}

/// What there is to say about a person. Nobody is logged in whom something refuses.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolution {
    /// What the issuer calls them.
    pub subject: String,
    /// The address, where there is one that is believed.
    pub email: Option<Email>,
    /// The groups that the provider named.
    pub groups: Vec<String>,
    /// There are more groups than the token holds: the provider's directory has to be asked.
    pub overage: bool,
    /// How they authenticated (RFC 8176).
    pub amr: Vec<String>,
    /// The claims that are kept.
    pub claims: BTreeMap<String, Value>,
    /// Everything that speaks against them, the most telling first.
    pub refusals: Vec<Refusal>,
}

/// What userinfo says anew about somebody who is known.
#[derive(Clone, Debug, PartialEq)]
pub struct ToldAnew {
    /// The address, where it names one.
    pub email: Option<EmailAddress>,
    /// The groups, where it names any.
    pub groups: Option<Vec<String>>,
    /// The claims to be kept that stand in it.
    pub claims: BTreeMap<String, Value>,
}

impl Reading<'_> {
    /// Whether userinfo has to be asked, because the token leaves out what is wanted.
    pub fn wants_userinfo(&self, token: &Claims) -> bool {
        let missing = |name: &str| is_missing(token.get(name));
        let email = match (self.tenant, self.email_claim) {
            // A tenant has several claims that will do.
            (Some(_), _) => self.email_claims().iter().all(|name| missing(name)),
            (None, Some(claim)) => missing(claim),
            (None, None) => missing("email"),
        };
        let groups = (self.groups_by_userinfo || self.groups_claim.is_some()) && missing(self.groups_name());
        email || (groups && !self.is_overage(token)) || self.claims.iter().any(|name| missing(name))
    }

    /// What the token, and userinfo where it was asked, say about the person.
    pub fn resolve(&self, token: &Claims, userinfo: Option<&Userinfo>) -> Resolution {
        let mut refusals = Vec::new();
        if let Some(tenant) = self.tenant
            && !token.get("tid").is_some_and(|tid| is_tenant(tid, tenant))
        {
            refusals.push(Refusal::Tenant);
        }
        if let Some(domain) = self.hosted_domain
            && !token.get("hd").is_some_and(|hd| is_domain(hd, domain))
        {
            refusals.push(Refusal::HostedDomain(domain.clone()));
        }
        let email = self.email(token, userinfo).map_err(|refusal| refusals.push(refusal)).ok();
        let either = |name: &str| token.get(name).or_else(|| userinfo?.0.get(name));
        let named = token.get(self.groups_name()).filter(|value| !is_missing(Some(value)));
        let named = named.or_else(|| userinfo?.0.get(self.groups_name()));
        let groups = groups(named, self.groups_name()).map_err(|refusal| refusals.push(refusal)).unwrap_or_default();
        let mut claims = BTreeMap::new();
        for name in self.claims.iter().take(CLAIMS_MAX) {
            either(name).into_iter().for_each(|value| drop(claims.insert(name.clone(), value.clone())));
        }
        if serde_json::to_vec(&claims).map_or(true, |text| text.len() > CLAIMS_SIZE_MAX) {
            claims.clear();
            refusals.push(Refusal::ClaimsTooLarge);
        }
        Resolution {
            subject: token.subject().to_owned(),
            email,
            groups,
            overage: self.is_overage(token),
            amr: amr(token.get("amr")),
            claims,
            refusals,
        }
    }

    /// What userinfo alone says anew, where a refresh brought no ID token: address, groups and claims that stand in it.
    /// About what does not, nothing is said; what does is refused as at a login.
    pub fn told_anew(&self, userinfo: &Userinfo) -> Result<ToldAnew, Refusal> {
        let email = self.not_against(&userinfo.0)?;
        let groups =
            userinfo.0.get(self.groups_name()).map(|value| groups(Some(value), self.groups_name())).transpose()?;
        let names = self.claims.iter().take(CLAIMS_MAX);
        let claims: BTreeMap<_, _> =
            names.filter_map(|name| Some((name.clone(), userinfo.0.get(name)?.clone()))).collect();
        if serde_json::to_vec(&claims).map_or(true, |text| text.len() > CLAIMS_SIZE_MAX) {
            return Err(Refusal::ClaimsTooLarge);
        }
        Ok(ToldAnew { email, groups, claims })
    }

    /// The address that userinfo alone names, if neither that nor anything else in it speaks against the person.
    fn not_against(&self, info: &Map<String, Value>) -> Result<Option<EmailAddress>, Refusal> {
        let said = |name: &str| info.get(name).filter(|value| !is_missing(Some(value)));
        if let (Some(tenant), Some(tid)) = (self.tenant, said("tid"))
            && !is_tenant(tid, tenant)
        {
            return Err(Refusal::Tenant);
        }
        if let (Some(domain), Some(hd)) = (self.hosted_domain, said("hd"))
            && !is_domain(hd, domain)
        {
            return Err(Refusal::HostedDomain(domain.clone()));
        }
        let document = Document::Userinfo(info);
        // Where another claim is declared than the usual ones, the address was most likely read there: it says nothing here if
        // that does not stand here.
        let names = self.email_claim.map_or_else(|| self.email_claims(), |name| vec![name]);
        let named = names.into_iter().find_map(|name| Some((name, said(name)?)));
        let Some((claim, value)) = named else { return Ok(None) };
        let address = value.as_str().and_then(|text| text.parse::<EmailAddress>().ok());
        let address = address.ok_or_else(|| Refusal::NotAnAddress(claim.to_owned()))?;
        let declared = self.authoritative_for.iter().any(|domain| address.is_at(domain));
        if !declared && !document.verifies(claim, &address) && document.doubts(claim, &address) {
            return Err(Refusal::Unverified(address));
        }
        Ok(Some(address))
    }

    /// The claims in which the address may stand, in this order. `preferred_username` is none of them: people change it.
    fn email_claims(&self) -> Vec<&str> {
        let usual: &[&str] = if self.tenant.is_some() { &["email", "upn"] } else { &["email"] };
        self.email_claim.into_iter().chain(usual.iter().copied()).collect()
    }

    fn groups_name(&self) -> &str {
        self.groups_claim.unwrap_or("groups")
    }

    /// Whether the token says that the groups are told elsewhere.
    fn is_overage(&self, token: &Claims) -> bool {
        let name = self.groups_name();
        let named = token.get("_claim_names").and_then(Value::as_object).is_some_and(|names| names.contains_key(name));
        named || (name == "groups" && token.get("hasgroups").is_some_and(is_yes))
    }

    fn email(&self, token: &Claims, userinfo: Option<&Userinfo>) -> Result<Email, Refusal> {
        // The word about an address counts in the document in which the address stands.
        let documents = |name: &str| {
            let info = userinfo.and_then(|info| Some((info.0.get(name)?, Document::Userinfo(&info.0))));
            token.get(name).map(|value| (value, Document::Token(token))).filter(|(v, _)| !is_missing(Some(v))).or(info)
        };
        let names = self.email_claims();
        let found = names.iter().find_map(|name| {
            let (value, document) = documents(name)?;
            (!is_missing(Some(value))).then_some((*name, value, document))
        });
        let (claim, value, document) = found.ok_or_else(|| Refusal::NoEmail(names.join(", ")))?;
        let address = value.as_str().and_then(|text| text.parse::<EmailAddress>().ok());
        let address = address.ok_or_else(|| Refusal::NotAnAddress(claim.to_owned()))?;
        match self.trust(claim, &address, document, token) {
            Some(trust) => Ok(Email { address, claim: claim.to_owned(), trust }),
            None => Err(Refusal::Unverified(address)),
        }
    }

    fn trust(&self, claim: &str, address: &EmailAddress, document: Document<'_>, token: &Claims) -> Option<Trust> {
        if document.verifies(claim, address) {
            return Some(Trust::Verified);
        }
        if self.authoritative_for.iter().any(|domain| address.is_at(domain)) {
            return Some(Trust::Declared);
        }
        // A tenant vouches for its own people, unless it says that the address is not checked. A guest's address is
        // another organisation's word. What speaks against either counts wherever it stands.
        let tenant = self.tenant?;
        let issuer = token.get("iss").and_then(Value::as_str);
        let said = [Document::Token(token), document];
        let doubted = said.iter().any(|document| document.doubts(claim, address));
        let guest = said.iter().any(|document| document.is_guest(issuer, tenant));
        let vouched = document.is_about(claim, address) && document.get("xms_edov").is_some_and(is_yes);
        // People choose it themselves: only that of somebody who is called a member counts, by a token that says so.
        let chosen = claim == "preferred_username" && token.get("acct").is_none_or(|account| !is_member(account));
        if doubted || chosen || (guest && !vouched) { None } else { Some(Trust::Tenant) }
    }
}

/// Where a claim stands.
#[derive(Clone, Copy)]
enum Document<'a> {
    Token(&'a Claims),
    Userinfo(&'a Map<String, Value>),
}

impl<'a> Document<'a> {
    fn get(self, name: &str) -> Option<&'a Value> {
        match self {
            Self::Token(claims) => claims.get(name),
            Self::Userinfo(all) => all.get(name),
        }
    }

    fn email(self) -> Option<&'a str> {
        self.get("email").and_then(Value::as_str)
    }

    /// Whether what it says of its `email` is said for this address: where that is another one, or none, nothing is.
    fn is_about(self, claim: &str, address: &EmailAddress) -> bool {
        claim == "email" || self.email().is_some_and(|email| is_address(email, address))
    }

    /// Whether it says that the address is checked.
    fn verifies(self, claim: &str, address: &EmailAddress) -> bool {
        self.is_about(claim, address) && self.get("email_verified") == Some(&Value::Bool(true))
    }

    /// Whether it says that the address is not checked.
    fn doubts(self, claim: &str, address: &EmailAddress) -> bool {
        let about = claim == "email" || self.email().is_none_or(|email| is_address(email, address));
        let unverified = self.get("email_verified").is_some_and(|value| *value != Value::Bool(true));
        (about && unverified) || self.get("xms_edov").is_some_and(|value| !is_yes(value))
    }

    /// Whether it says that the person is a guest of the tenant: in so many words, or because somebody else than the issuer
    /// let them in.
    fn is_guest(self, issuer: Option<&str>, tenant: &str) -> bool {
        let own = |provider: &str| {
            Some(provider) == issuer || provider.eq_ignore_ascii_case(&format!("https://sts.windows.net/{tenant}/"))
        };
        let elsewhere = |value: &Value| !value.is_null() && !value.as_str().is_some_and(own);
        self.get("acct").is_some_and(|account| !is_member(account)) || self.get("idp").is_some_and(elsewhere)
    }
}

/// Whether the text is this address.
fn is_address(text: &str, address: &EmailAddress) -> bool {
    text.parse::<EmailAddress>().is_ok_and(|email| email == *address)
}

/// Whether a value of `tid` is this tenant.
fn is_tenant(tid: &Value, tenant: &str) -> bool {
    tid.as_str().is_some_and(|tid| tid.eq_ignore_ascii_case(tenant))
}

/// Whether a value of `hd` is this domain.
fn is_domain(hd: &Value, domain: &Hostname) -> bool {
    hd.as_str().and_then(|hd| Hostname::parse(hd).ok()).is_some_and(|hd| hd == *domain)
}

/// Whether a value of `acct` says that the account is a member's.
fn is_member(account: &Value) -> bool {
    account.as_u64() == Some(0) || account.as_str() == Some("0")
}

fn is_missing(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    }
}

/// The ways in which Entra writes yes in `xms_edov`.
fn is_yes(value: &Value) -> bool {
    match value {
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_u64() == Some(1),
        Value::String(text) => text == "1" || text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

/// The groups of a claim: texts of a list, or one text. Everything else in the list is left out; what is no list would be
/// groups that no rule sees.
fn groups(value: Option<&Value>, claim: &str) -> Result<Vec<String>, Refusal> {
    let list: &[Value] = match value {
        None | Some(Value::Null) => &[],
        Some(Value::Array(list)) => list.as_slice(),
        Some(text @ Value::String(_)) => std::slice::from_ref(text),
        Some(_) => return Err(Refusal::NotGroups(claim.to_owned())),
    };
    let fits = |name: &&str| (1..=GROUP_SIZE_MAX).contains(&name.len());
    let groups: Vec<_> = list.iter().filter_map(Value::as_str).filter(fits).map(str::to_owned).collect();
    if groups.len() > GROUPS_MAX { Err(Refusal::TooManyGroups) } else { Ok(groups) }
}

/// The groups in an answer of Microsoft Graph's; `None` when it is none.
pub fn graph_groups(bytes: &[u8]) -> Option<Result<Vec<String>, Refusal>> {
    let answer = json::object(bytes).ok()?;
    let value = answer.get("value").filter(|value| value.is_array())?;
    // More on further pages would be more than fits.
    if answer.contains_key("@odata.nextLink") {
        return Some(Err(Refusal::TooManyGroups));
    }
    Some(groups(Some(value), "value"))
}

fn amr(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let fits = |name: &&str| (1..=AMR_SIZE_MAX).contains(&name.len());
    list.iter().filter_map(Value::as_str).filter(fits).take(AMR_MAX).map(str::to_owned).collect()
}
