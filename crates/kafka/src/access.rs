//! How a cluster is reached, and as whom. Secrets stay here and out of every message.

use std::fmt;
use std::sync::Arc;

/// Where a cluster is entered, and how.
#[derive(Clone, Debug, Default)]
pub struct ClusterAccess {
    /// `host:port` of some of its brokers; one that answers is enough.
    pub bootstrap: Vec<String>,
    /// Encryption and identity.
    pub security: Security,
    /// What the brokers' logs and quotas call us.
    pub client_id: String,
}

/// What protects the connections to a cluster; the default is neither encryption nor a login.
#[derive(Clone, Default)]
pub struct Security {
    /// TLS, where the listener speaks it: whom to trust, and what to show to brokers that ask.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// SASL, where the listener wants it.
    pub sasl: Option<Sasl>,
    /// As whom mirrors write, one owner after the other, where an authorizer runs; none means that all write as `sasl`.
    pub writers: Vec<Sasl>,
}

/// A login.
#[derive(Clone)]
pub struct Sasl {
    /// How the password is proved.
    pub mechanism: Mechanism,
    /// The user.
    pub username: String,
    /// Its password.
    pub password: String,
}

/// The SASL mechanisms that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// The password itself: for encrypted listeners.
    Plain,
    /// SCRAM-SHA-256 (RFC 7677).
    ScramSha256,
    /// SCRAM-SHA-512.
    ScramSha512,
}

impl Mechanism {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Security")
            .field("tls", &self.tls.is_some())
            .field("sasl", &self.sasl)
            .field("writers", &self.writers)
            .finish()
    }
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Sasl");
        shown.field("mechanism", &self.mechanism).field("username", &self.username);
        shown.field("password", &"(hidden)").finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let sasl =
            Sasl { mechanism: Mechanism::Plain, username: "primacy".into(), password: "s3cret".into() };
        let shown = format!("{:?}", Security { writers: vec![sasl.clone()], sasl: Some(sasl), tls: None });
        assert!(shown.contains("primacy") && !shown.contains("s3cret"), "{shown}");
    }
}
