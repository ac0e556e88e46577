//! `[redis.default]` and `[redis.NAME]`: what must not be replicated. Files are read at load, so that a wrong one is
//! found before the node starts; what they hold is never printed.

pub(super) mod tls;

use super::section::{Findings, Section, Wrong, string};
use primacy_core::GroupName;
use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::Value;

/// A text that no log, error or debug output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the wire only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How this node logs in to the members of a group.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The ACL user; none is Redis' `default` user.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// Which certificates are trusted at `rediss://` addresses, and which one is shown there.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

/// What holds for the members of each group.
#[derive(Clone, Debug, Default)]
pub struct ByGroup<T> {
    /// For groups that have none of their own.
    pub default: T,
    /// For one group each; nothing is taken from the default then.
    pub groups: BTreeMap<GroupName, T>,
}

impl<T> ByGroup<T> {
    /// That of a group.
    pub fn of(&self, group: &GroupName) -> &T {
        self.groups.get(group).unwrap_or(&self.default)
    }
}

/// The credentials by group.
pub type RedisAccess = ByGroup<Credentials>;

pub(super) fn read(section: &Section<'_>, base: &Path, warned: &Findings) -> RedisAccess {
    read_by_group(section, |child| read_one(child, base, warned))
}

/// The section `default`, and those that are named like groups.
pub(super) fn read_by_group<T: Default>(
    section: &Section<'_>,
    read_one: impl Fn(Section<'_>) -> T,
) -> ByGroup<T> {
    let mut access = ByGroup::default();
    for name in section.names() {
        let Some(child) = section.child(name) else { continue };
        if name == "default" {
            access.default = read_one(child);
            continue;
        }
        match GroupName::new(name) {
            Ok(group) => {
                access.groups.insert(group, read_one(child));
            }
            Err(e) => section.wrong(name, Wrong::new(e.reason, "name the section like the group")),
        }
    }
    access
}

pub(super) fn read_username(section: &Section<'_>) -> Option<String> {
    section.optional("username", username)
}

pub(super) fn username(v: &Value) -> Result<String, Wrong> {
    let text = string(v, "a user's name", "\"primacy\"")?;
    let plain = !text.is_empty() && !text.contains(char::is_whitespace);
    plain
        .then(|| text.to_owned())
        .ok_or_else(|| Wrong::new(format!("{text:?} is not a user's name"), "write it without blanks"))
}

pub(super) fn read_password(section: &Section<'_>, base: &Path, warned: &Findings) -> Option<Secret> {
    section.optional("password_file", |v| {
        let file = file_of(v, base)?;
        let text = String::from_utf8(read_file(&file)?).map_err(|_| {
            Wrong::new(format!("{} is not text", file.display()), "write the password alone into the file")
        })?;
        warn_if_open(section, "password_file", &file, warned);
        secret(text.trim(), &file)
    })
}

fn read_one(section: Section<'_>, base: &Path, warned: &Findings) -> Credentials {
    let username = read_username(&section);
    let password = read_password(&section, base, warned);
    let ca = section.optional("ca_file", |v| read_file(&file_of(v, base)?).and_then(|pem| tls::roots(&pem)));
    let chain =
        section.optional("cert_file", |v| read_file(&file_of(v, base)?).and_then(|pem| tls::chain(&pem)));
    let key = section.optional("key_file", |v| {
        let file = file_of(v, base)?;
        let key = tls::key(&read_file(&file)?)?;
        warn_if_open(&section, "key_file", &file, warned);
        Ok(key)
    });
    let given = |key: &str| section.names().any(|name| name == key);
    if given("username") && !given("password_file") {
        section.wrong(
            "password_file",
            Wrong::new("it is missing, and username is set", "name the file with the user's password"),
        );
    }
    let pairs = [("cert_file", "key_file"), ("key_file", "cert_file"), ("cert_file", "ca_file")];
    for (has, lacks) in pairs.into_iter().filter(|(has, lacks)| given(has) && !given(lacks)) {
        section.wrong(
            lacks,
            Wrong::new(format!("it is missing, and {has} is set"), "name the file, or remove both keys"),
        );
    }
    let tls = ca.and_then(|roots| match tls::client(roots, chain.zip(key)) {
        Ok(tls) => Some(Arc::new(tls)),
        Err(wrong) => {
            section.wrong("key_file", wrong);
            None
        }
    });
    section.finish();
    Credentials { username, password, tls }
}

pub(super) fn file_of(value: &Value, base: &Path) -> Result<PathBuf, Wrong> {
    string(value, "a path", "\"/etc/primacy/redis.password\"").map(|text| base.join(text))
}

pub(super) fn read_file(file: &Path) -> Result<Vec<u8>, Wrong> {
    std::fs::read(file).map_err(|e| {
        Wrong::new(
            format!("{} cannot be read: {e}", file.display()),
            "name a file that exists and that this user may read",
        )
    })
}

fn secret(text: &str, file: &Path) -> Result<Secret, Wrong> {
    if text.is_empty() {
        return Err(Wrong::new(format!("{} is empty", file.display()), "write the password into the file"));
    }
    Ok(Secret(text.to_owned()))
}

pub(super) fn warn_if_open(section: &Section<'_>, key: &str, file: &Path, warned: &Findings) {
    let mode = std::fs::metadata(file).map_or(0, |m| m.permissions().mode());
    if mode & 0o004 != 0 {
        let reason = format!("every user of this host can read {}", file.display());
        warned.add(section.key(key), reason, format!("chmod 600 {}", file.display()));
    }
}
