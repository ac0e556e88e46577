//! `[kafka.default]` and `[kafka.NAME]`: how this node logs in to the clusters of a group, and over what. Files are read
//! at load, so that a wrong one is found before the node starts; what they hold is never printed.

use super::credentials::{file_of, read_file, secret, tls, warn_if_open};
use super::section::{Findings, Section, Wrong, boolean, string, word};
use primacy_core::GroupName;
use primacy_kafka::{Identity, Mechanism, Sasl, Security, Tls};
use std::collections::BTreeMap;
use std::path::Path;

/// The security of connections by group.
#[derive(Clone, Debug, Default)]
pub struct KafkaAccess {
    /// For groups that have none of their own.
    pub default: Security,
    /// For one group each; nothing is taken from the default then.
    pub groups: BTreeMap<GroupName, Security>,
}

impl KafkaAccess {
    /// What protects the connections to the clusters of a group.
    pub fn of(&self, group: &GroupName) -> &Security {
        self.groups.get(group).unwrap_or(&self.default)
    }
}

pub(super) fn read(section: &Section<'_>, base: &Path, warned: &Findings) -> KafkaAccess {
    let mut access = KafkaAccess::default();
    for name in section.names() {
        let Some(child) = section.child(name) else { continue };
        if name == "default" {
            access.default = read_one(child, base, warned);
            continue;
        }
        match GroupName::new(name) {
            Ok(group) => {
                access.groups.insert(group, read_one(child, base, warned));
            }
            Err(e) => section.wrong(name, Wrong::new(e.reason, "name the section like the group")),
        }
    }
    access
}

fn read_one(section: Section<'_>, base: &Path, warned: &Findings) -> Security {
    let given = |key: &str| section.names().any(|name| name == key);
    let mechanisms = [
        ("plain", Mechanism::Plain),
        ("scram-sha-256", Mechanism::ScramSha256),
        ("scram-sha-512", Mechanism::ScramSha512),
    ];
    let mechanism = section.optional("sasl", |v| word(v, &mechanisms));
    let username = section.optional("username", |v| {
        let text = string(v, "a user's name", "\"primacy\"")?;
        let plain = !text.is_empty() && !text.contains(char::is_whitespace);
        plain
            .then(|| text.to_owned())
            .ok_or_else(|| Wrong::new(format!("{text:?} is not a user's name"), "write it without blanks"))
    });
    let password = section.optional("password_file", |v| {
        let file = file_of(v, base)?;
        let text = String::from_utf8(read_file(&file)?).map_err(|_| {
            Wrong::new(format!("{} is not text", file.display()), "write the password alone into the file")
        })?;
        warn_if_open(&section, "password_file", &file, warned);
        secret(text.trim(), &file)
    });
    for (has, lacks) in [("sasl", "username"), ("sasl", "password_file"), ("username", "sasl")] {
        if given(has) && !given(lacks) {
            let remedy = format!("add {lacks}, or remove {has}");
            section.wrong(lacks, Wrong::new(format!("it is missing, and {has} is set"), remedy));
        }
    }
    let sasl = mechanism.zip(username).zip(password).map(|((mechanism, username), password)| Sasl {
        mechanism,
        username,
        password: password.expose().to_owned(),
    });
    let tls = read_tls(&section, base, warned);
    if let Some(sasl) = &sasl
        && sasl.mechanism == Mechanism::Plain
        && tls.is_none()
    {
        let reason = "the password crosses the network as it is";
        warned.add(section.key("sasl"), reason, "set tls = true with ca_file, or use \"scram-sha-512\"");
    }
    section.finish();
    Security { tls, sasl }
}

/// TLS where `tls = true` or a certificate is named.
fn read_tls(section: &Section<'_>, base: &Path, warned: &Findings) -> Option<Tls> {
    let given = |key: &str| section.names().any(|name| name == key);
    let asked = section.optional("tls", boolean);
    let pem = |v: &toml::Value| {
        let pem = read_file(&file_of(v, base)?)?;
        tls::chain(&pem).map(|_| pem)
    };
    let ca_pem = section.optional("ca_file", pem);
    let certificate_pem = section.optional("cert_file", pem);
    let key_pem = section.optional("key_file", |v| {
        let file = file_of(v, base)?;
        let pem = read_file(&file)?;
        tls::key(&pem)?;
        warn_if_open(section, "key_file", &file, warned);
        Ok(pem)
    });
    let pairs =
        [("cert_file", "key_file"), ("key_file", "cert_file"), ("cert_file", "ca_file"), ("tls", "ca_file")];
    let wanted = |key: &str| given(key) && (key != "tls" || asked == Some(true));
    for (has, lacks) in pairs.into_iter().filter(|(has, lacks)| wanted(has) && !given(lacks)) {
        let remedy = format!("name the PEM file, or remove {has}");
        section.wrong(lacks, Wrong::new(format!("it is missing, and {has} is set"), remedy));
    }
    if asked == Some(false) && given("ca_file") {
        section
            .wrong("tls", Wrong::new("it is false, and ca_file is set", "set it to true, or remove ca_file"));
    }
    let identity =
        certificate_pem.zip(key_pem).map(|(certificate_pem, key_pem)| Identity { certificate_pem, key_pem });
    ca_pem.map(|ca_pem| Tls { ca_pem, identity })
}
