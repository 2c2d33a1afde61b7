//! The administrator's side: what the page shows, and what its form says.

use tunnel_proto::{HostPattern, Name, TunnelId};

use crate::{
    store::Declared,
    tunnels::{Desk, served_by},
};

use super::{Allowed, EnrolError, Verdict, Wish};

/// A hostname on the approval page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The hostname.
    pub hostname: HostPattern,
    /// The tunnel that serves it now, from which ticking it takes it.
    pub served_by: Option<(TunnelId, Name)>,
}

impl Choice {
    /// The value of its tick box. It says which tunnel the administrator saw, so that a tick is never read as a word
    /// about a tunnel that came later.
    pub fn value(&self) -> String {
        match &self.served_by {
            Some((tunnel, _)) => format!("{}@{tunnel}", self.hostname),
            None => self.hostname.to_string(),
        }
    }
}

/// The hostnames that a wish asks for, as they are served now.
pub async fn choices(desk: &Desk<'_>, wish: &Wish) -> Result<Vec<Choice>, EnrolError> {
    let (_, declared) = desk.store.declared().await?;
    Ok(wish.ask.hostnames.iter().map(|hostname| choice(&declared, hostname)).collect())
}

fn choice(declared: &Declared, hostname: &HostPattern) -> Choice {
    let tunnel = served_by(declared, hostname, true, None).and_then(|id| declared.tunnel(id));
    Choice { hostname: hostname.clone(), served_by: tunnel.map(|tunnel| (tunnel.id, tunnel.name.clone())) }
}

/// What the form says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// The wish.
    pub id: String,
    /// The anti-forgery token.
    pub token: String,
    /// The hostnames that were ticked or written.
    pub allowed: Vec<Allowed>,
    /// Whether the terminal shows the same code.
    pub same: bool,
    /// What was written by hand, as it was written.
    pub typed: String,
    /// Whether all that was ticked or written are hostnames.
    unreadable: bool,
    answer: Answer,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Answer {
    Approve,
    #[default]
    Refuse,
}

/// What is missing before a form can be acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The tick that the codes are the same.
    #[error("compare the code with the terminal first")]
    Comparison,
    /// A hostname.
    #[error("choose what the machine may publish")]
    Hostname,
    /// A hostname that can be read.
    #[error("that is not a hostname")]
    Readable,
}

impl Form {
    /// The form of a wish on which nothing is filled in.
    pub fn blank(id: &str) -> Self {
        Self { id: id.to_owned(), ..Self::default() }
    }

    /// Reads `application/x-www-form-urlencoded`. Everything but an explicit `approve` refuses.
    pub fn parse(body: &[u8]) -> Self {
        let mut form = Self::default();
        for (key, value) in url::form_urlencoded::parse(body) {
            match key.as_ref() {
                "id" => form.id = value.into_owned(),
                "form_token" => form.token = value.into_owned(),
                "same" => form.same = true,
                "answer" if value == "approve" => form.answer = Answer::Approve,
                "host" => form.add(&value),
                // Written by hand, several at a time.
                "hosts" => {
                    let separators = [' ', ',', '\n', '\r', '\t', '\u{3000}', '、'];
                    value.split(separators).filter(|one| !one.is_empty()).for_each(|one| form.add(one));
                    form.typed = value.into_owned();
                }
                _ => {}
            }
        }
        form
    }

    fn add(&mut self, value: &str) {
        let (hostname, from) = match value.split_once('@') {
            Some((hostname, tunnel)) => (hostname, tunnel.parse().map(Some)),
            None => (value, Ok(None)),
        };
        match (hostname.parse::<HostPattern>(), from) {
            (Ok(hostname), Ok(from)) => {
                let known = self.allowed.iter().any(|one| one.hostname == hostname);
                if !known {
                    self.allowed.push(Allowed { hostname, from });
                }
            }
            _ => self.unreadable = true,
        }
    }

    /// What the administrator decided, or what is missing for that.
    pub fn verdict(self) -> Result<Verdict, Missing> {
        match self.answer {
            Answer::Refuse => Ok(Verdict::Refuse),
            Answer::Approve if self.unreadable => Err(Missing::Readable),
            Answer::Approve if self.allowed.is_empty() => Err(Missing::Hostname),
            Answer::Approve if !self.same => Err(Missing::Comparison),
            Answer::Approve => Ok(Verdict::Approve(self.allowed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // C5
    #[test]
    fn only_a_whole_form_approves() {
        let tunnel = "00000000-0000-4000-8000-000000000001";
        let approved = |body: &str| matches!(Form::parse(body.as_bytes()).verdict(), Ok(Verdict::Approve(_)));
        assert!(approved("id=x&form_token=t&host=www.example.com&same=on&answer=approve"));
        assert!(approved(&format!("host=www.example.com%40{tunnel}&same=on&answer=approve")));
        assert!(approved("hosts=www.example.com%2C+ftp.example.com&same=on&answer=approve"));
        for (body, missing) in [
            ("host=www.example.com&answer=approve", Missing::Comparison),
            ("same=on&answer=approve", Missing::Hostname),
            ("hosts=&same=on&answer=approve", Missing::Hostname),
            ("host=not+a+host&same=on&answer=approve", Missing::Readable),
            ("host=www.example.com%40nobody&same=on&answer=approve", Missing::Readable),
        ] {
            assert_eq!(Form::parse(body.as_bytes()).verdict(), Err(missing), "{body}");
        }
        for body in ["", "host=www.example.com&same=on", "host=www.example.com&same=on&answer=Approve", "answer=refuse"]
        {
            assert_eq!(Form::parse(body.as_bytes()).verdict(), Ok(Verdict::Refuse), "{body}");
        }
    }
}
