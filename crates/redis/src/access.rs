//! As whom, and how, a server is reached. Secrets stay here and out of every message.

use std::fmt;
use std::sync::Arc;

/// The user, the password and the TLS settings for the members of a group.
#[derive(Clone, Default)]
pub struct Access {
    /// The ACL user; none is the default user.
    pub username: Option<String>,
    /// Its password; none authenticates nobody.
    pub password: Option<String>,
    /// Which certificates are trusted at `rediss://` addresses, and which one is shown there.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

impl Access {
    /// The user that is Primacy's own, if there is one: whoever else is logged in as it is an older or another node
    /// of the cluster. The default user is everybody's.
    pub(crate) fn own_user(&self) -> Option<&str> {
        let named = self.username.as_deref().filter(|name| *name != "default");
        named.filter(|_| self.password.is_some())
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "(hidden)"))
            .field("tls", &self.tls.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_never_shown() {
        let access = Access { username: Some("primacy".into()), password: Some("s3cret".into()), tls: None };
        let shown = format!("{access:?}");
        assert!(shown.contains("primacy") && !shown.contains("s3cret"), "{shown}");
    }
}
