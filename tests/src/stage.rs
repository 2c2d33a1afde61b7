//! The scene that most tests play in: mail, an edge for `example.test`, and two published canaries.

use anyhow::Result;

use crate::{
    Canary, Certs, Connector, Door, Edge, EdgeConfig, Lab, Smtp, Visitor, edge::ACCESS, edge::LOGIN_HOST, visitor,
};

/// The first application's host.
pub const WWW: &str = "www.example.test";
/// The second application's host.
pub const APP: &str = "app.example.test";
/// Somebody whom the staff policy admits.
pub const STAFF: &str = "staff@example.test";

/// A mail server, an edge and two canaries behind it.
#[derive(Debug)]
pub struct Stage {
    /// The laboratory.
    pub lab: Lab,
    /// The mail server.
    pub smtp: Smtp,
    /// The edge.
    pub edge: Edge,
    /// Its CA.
    pub ca: String,
    /// The origin of [`WWW`].
    pub www: Canary,
    /// The origin of [`APP`].
    pub app: Canary,
    /// The connectors of both.
    pub connectors: Vec<Connector>,
}

impl Stage {
    /// Sets the scene, with both hostnames admitted to staff.
    ///
    /// # Errors
    /// A part did not come up.
    pub async fn set(lab: &Lab) -> Result<Self> {
        Self::with(lab, ACCESS, Canary::start().await?).await
    }

    /// Sets the scene with another declaration and another origin for [`WWW`].
    ///
    /// # Errors
    /// A part did not come up.
    pub async fn with(lab: &Lab, access: &str, www: Canary) -> Result<Self> {
        Self::configured(lab, |config| config, access, www).await
    }

    /// Sets the scene with another configuration, too.
    ///
    /// # Errors
    /// A part did not come up.
    pub async fn configured(
        lab: &Lab,
        change: impl FnOnce(EdgeConfig) -> EdgeConfig,
        access: &str,
        www: Canary,
    ) -> Result<Self> {
        let smtp = Smtp::start(lab).await?;
        let edge = Edge::with_access(lab, change(EdgeConfig::with_mail(&smtp)), access).await?;
        let ca = edge.ca().await?;
        let app = Canary::start().await?;
        let connectors = vec![www.publish(lab, WWW).await?, app.publish(lab, APP).await?];
        Ok(Self { lab: lab.clone(), smtp, edge, ca, www, app, connectors })
    }

    /// Somebody new.
    ///
    /// # Errors
    /// The CA cannot be read.
    pub fn stranger(&self) -> Result<Visitor> {
        Visitor::new(&self.ca)
    }

    /// Somebody logged in at `host`. What the login's end made the canaries hear is forgotten.
    ///
    /// # Errors
    /// The login was not as expected.
    pub async fn somebody(&self, host: &str, email: &str) -> Result<Visitor> {
        let visitor = visitor::login(&self.ca, &self.smtp, host, email).await?;
        self.www.forget();
        self.app.forget();
        Ok(visitor)
    }

    /// The edge's TLS door for a host, speaking HTTP/1.1.
    ///
    /// # Errors
    /// The CA cannot be read.
    pub fn door(&self, host: &str) -> Result<Door> {
        Door::tls("127.0.0.1:443".parse()?, &self.ca, host, &["http/1.1"])
    }

    /// The edge's plain door.
    pub fn plain(&self) -> Door {
        Door::plain(([127, 0, 0, 1], 80).into())
    }

    /// The edge's published keys.
    ///
    /// # Errors
    /// They cannot be had.
    pub async fn certs(&self) -> Result<Certs> {
        Certs::fetch(&self.stranger()?, LOGIN_HOST, &format!("https://{LOGIN_HOST}")).await
    }

    /// # Panics
    /// A canary has received a byte.
    #[track_caller]
    pub fn assert_silence(&self, because: &str) {
        self.www.assert_heard_nothing(because);
        self.app.assert_heard_nothing(because);
    }
}
