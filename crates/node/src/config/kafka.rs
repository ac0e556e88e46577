//! `[kafka.default]` and `[kafka.NAME]`: how this node logs in to the clusters of a group, and over what. Files are read
//! at load, so that a wrong one is found before the node starts; what they hold is never printed.

use super::credentials::{
    ByGroup, file_of, read_by_group, read_file, read_password, read_username, tls, username, warn_if_open,
};
use super::section::{Findings, Section, Wrong, boolean, word};
use primacy_kafka::{Mechanism, Sasl, Security};
use std::path::Path;
use std::sync::Arc;

/// The security of connections by group.
pub type KafkaAccess = ByGroup<Security>;

pub(super) fn read(section: &Section<'_>, base: &Path, warned: &Findings) -> KafkaAccess {
    read_by_group(section, |child| read_one(child, base, warned))
}

fn read_one(section: Section<'_>, base: &Path, warned: &Findings) -> Security {
    let given = |key: &str| section.names().any(|name| name == key);
    let mechanisms = [
        ("plain", Mechanism::Plain),
        ("scram-sha-256", Mechanism::ScramSha256),
        ("scram-sha-512", Mechanism::ScramSha512),
    ];
    let mechanism = section.optional("sasl", |v| word(v, &mechanisms));
    let username = read_username(&section);
    let password = read_password(&section, base, warned);
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
    let writers = read_writers(&section, sasl.as_ref(), base, warned);
    let tls = read_tls(&section, base, warned);
    if let Some(sasl) = &sasl
        && sasl.mechanism == Mechanism::Plain
        && tls.is_none()
    {
        let reason = "the password crosses the network as it is";
        warned.add(section.key("sasl"), reason, "set tls = true with ca_file, or use \"scram-sha-512\"");
    }
    section.finish();
    Security { tls, sasl, writers }
}

/// The users as whom mirrors write, one owner after the other; they log in by the section's mechanism.
fn read_writers(section: &Section<'_>, own: Option<&Sasl>, base: &Path, warned: &Findings) -> Vec<Sasl> {
    let mut writers: Vec<Sasl> = Vec::new();
    let given = section.sections("mirror_user");
    let count = given.len();
    for child in given {
        let username = child.required("username", "username = \"primacy-mirror-1\"", username);
        let password = read_password(&child, base, warned);
        if password.is_none() && !child.names().any(|name| name == "password_file") {
            child.wrong(
                "password_file",
                Wrong::new("it is missing", "name the file with the user's password"),
            );
        }
        let known = own.into_iter().chain(&writers);
        if let Some(twice) = username.as_ref().filter(|name| known.clone().any(|u| u.username == **name)) {
            let reason = format!("{twice} is named twice, and each owner of the mirror needs another user");
            child.wrong("username", Wrong::new(reason, "name a user that is for nothing else"));
        } else if let Some(((username, password), own)) = username.zip(password).zip(own) {
            let password = password.expose().to_owned();
            writers.push(Sasl { mechanism: own.mechanism, username, password });
        }
        child.finish();
    }
    if count == 1 {
        let reason =
            "it is the only one, and the next owner of the mirror must be another user than the last";
        section.wrong("mirror_user", Wrong::new(reason, "add a second one, better a third, or remove it"));
    }
    if count > 0 && !section.names().any(|name| name == "sasl") {
        let reason = "it is set, and sasl is not: brokers would not know who writes";
        section
            .wrong("mirror_user", Wrong::new(reason, "add sasl, username and password_file, or remove it"));
    }
    writers
}

/// TLS where `tls = true` or a certificate is named.
fn read_tls(section: &Section<'_>, base: &Path, warned: &Findings) -> Option<Arc<rustls::ClientConfig>> {
    let given = |key: &str| section.names().any(|name| name == key);
    let asked = section.optional("tls", boolean);
    let ca = section.optional("ca_file", |v| read_file(&file_of(v, base)?).and_then(|pem| tls::roots(&pem)));
    let chain =
        section.optional("cert_file", |v| read_file(&file_of(v, base)?).and_then(|pem| tls::chain(&pem)));
    let key = section.optional("key_file", |v| {
        let file = file_of(v, base)?;
        let key = tls::key(&read_file(&file)?)?;
        warn_if_open(section, "key_file", &file, warned);
        Ok(key)
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
    match tls::client(ca?, chain.zip(key)) {
        Ok(tls) => Some(Arc::new(tls)),
        Err(wrong) => {
            section.wrong("key_file", wrong);
            None
        }
    }
}
