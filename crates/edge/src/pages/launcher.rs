//! What a person may open, and where they are logged in.

use askama::Template;
use http::StatusCode;
use tunnel_proto::{EmailAddress, Name};

use super::{
    AccountSession, Form, PageContext,
    account::{SessionLine, session_lines},
    reply,
};
use crate::Response;

/// The front page of the login host.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// Who is logged in.
    pub email: EmailAddress,
    /// What they may open, as far as it was asked for.
    pub tiles: Vec<Tile>,
    /// How much that is in all.
    pub all: usize,
    /// What was asked for; empty for everything.
    pub find: String,
    /// Where they are logged in, this browser first.
    pub sessions: Vec<AccountSession>,
    /// What `POST /.access/account` needs; the page adds `session` or `all`.
    pub form: Form,
    /// What `POST /.access/logout` needs.
    pub logout: Form,
}

/// An application as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Its name.
    pub name: Name,
    /// The host, or the pattern of hosts, with the path that it begins at.
    pub place: String,
    /// What it is.
    pub kind: TileKind,
    /// The address that a browser opens, if there is one.
    pub url: Option<String>,
    /// The command that opens it otherwise.
    pub command: Option<String>,
}

/// What an application is, as far as the edge knows now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TileKind {
    /// For browsers.
    Web,
    /// For the access client.
    Tcp,
    /// For the access client, which names a destination behind it.
    Bastion,
    /// No connector that serves it is connected.
    Away,
}

impl Tile {
    /// The letter before it.
    fn mark(&self) -> String {
        self.name.as_str().chars().take(1).flat_map(char::to_uppercase).collect()
    }

    fn is_bastion(&self) -> bool {
        self.kind == TileKind::Bastion
    }
}

/// From so many on, one may search.
const SEARCH_FROM: usize = 8;

impl Launcher {
    /// The page: 200.
    pub fn render(&self, context: &PageContext) -> Response {
        let template = LauncherPage { c: context, p: self, sessions: session_lines(context, &self.sessions) };
        reply::page(context, StatusCode::OK, template.render())
    }

    fn may_search(&self) -> bool {
        self.all >= SEARCH_FROM || !self.find.is_empty()
    }
}

#[derive(Template)]
#[template(path = "launcher.html")]
struct LauncherPage<'a> {
    c: &'a PageContext,
    p: &'a Launcher,
    sessions: Vec<SessionLine<'a>>,
}
