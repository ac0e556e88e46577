//! Where a member listens: `HOST:PORT`, `redis://HOST:PORT` or `rediss://HOST:PORT` (TLS).

use std::fmt;
use std::str::FromStr;

/// Why an address was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not an address: {reason}; write HOST:PORT, or rediss://HOST:PORT for TLS")]
pub struct AddressError {
    /// What was given.
    pub value: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// A host, a port, and whether TLS is spoken there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// A name or an IP address; an IPv6 address without its brackets.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
    /// Written as `rediss://`.
    pub tls: bool,
}

impl Address {
    /// `HOST:PORT`, an IPv6 host in brackets: what a socket is opened to.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tls { write!(f, "rediss://{}", self.authority()) } else { f.pad(&self.authority()) }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(s: &str) -> Result<Self, AddressError> {
        let refuse = |reason| AddressError { value: s.to_owned(), reason };
        let (rest, tls) = match s.split_once("://") {
            None => (s, false),
            Some(("redis", rest)) => (rest, false),
            Some(("rediss", rest)) => (rest, true),
            Some(_) => return Err(refuse("the scheme is neither redis nor rediss")),
        };
        if rest.contains('@') {
            return Err(refuse("it carries a user or password, which belong into node.toml"));
        }
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| refuse("the port is missing"))?;
        let port = port.parse::<u16>().ok().filter(|p| *p != 0);
        let port = port.ok_or_else(|| refuse("the port is not a number from 1 to 65535"))?;
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        if host.is_empty() {
            return Err(refuse("the host is missing"));
        }
        if bare.is_none() && host.contains(':') {
            return Err(refuse("an IPv6 address needs brackets"));
        }
        if host.contains(|c: char| c.is_whitespace() || c == '/' || c == '?' || c == '#') {
            return Err(refuse("the host has a character that no host name has"));
        }
        Ok(Address { host: host.to_owned(), port, tls })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip() {
        for text in ["10.0.0.1:6379", "redis.east:1", "[::1]:6379", "rediss://redis.east:6380"] {
            assert_eq!(text.parse::<Address>().map(|a| a.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("redis://h:1".parse::<Address>().map(|a| a.to_string()), Ok("h:1".to_owned()));
    }

    #[test]
    fn bad_addresses_say_why() {
        for (text, why) in [
            ("host", "port is missing"),
            ("host:0", "not a number from 1"),
            ("host:70000", "not a number from 1"),
            (":1", "host is missing"),
            ("::1:6379", "brackets"),
            ("http://h:1", "neither redis"),
            ("u:p@h:1", "user or password"),
            ("a/b:1", "no host name"),
        ] {
            let error = text.parse::<Address>().map_err(|e| e.to_string());
            assert!(error.as_ref().is_err_and(|e| e.contains(why)), "{text}: {error:?}");
        }
    }
}
