//! The lines that a member's redis.conf needs: fenced on disk, opened only at run time.
//!
//! The problem: an old primary that restarts would accept writes, and one that restarts empty would wipe its
//! replicas. The idea: its file says that it is a replica of nobody that exists, with a door that no number of
//! replicas opens. Primacy opens it, and never rewrites the file.
//!
//! Passwords of replication users are derived from the control user's, one for each member, so that there is one
//! secret to keep; a file reveals its own member's password and the hashes of the others.

use primacy_core::{GroupKind, GroupName, GroupSpec, MemberName, MemberSpec};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The secrets of a group.
#[derive(Clone, Default)]
pub struct ConfSecrets {
    /// The control user's name.
    pub username: String,
    /// Its password; none prints placeholders.
    pub password: Option<String>,
}

impl std::fmt::Debug for ConfSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let password = self.password.as_ref().map(|_| "(hidden)");
        f.debug_struct("ConfSecrets").field("username", &self.username).field("password", &password).finish()
    }
}

/// Why there are no lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfError {
    /// The group has no such member.
    #[error("group {group} has no member {member}; it has {known}")]
    UnknownMember {
        /// The group.
        group: GroupName,
        /// What was asked for.
        member: MemberName,
        /// What there is.
        known: String,
    },
    /// The group's members are no Redis servers.
    #[error("group {0} is of kind {1}: its members have no redis.conf")]
    NotRedis(GroupName, GroupKind),
    /// That name is everybody's.
    #[error("the control user cannot be {0:?}: give Primacy a user of its own, such as \"primacy\"")]
    UserTaken(String),
}

/// The user that a member replicates as.
pub(crate) fn replication_user(member: &MemberName) -> String {
    format!("primacy-repl-{member}")
}

pub(crate) fn replication_password(password: &str, group: &GroupName, member: &MemberName) -> String {
    hex(format!("primacy replication\0{group}\0{member}\0{password}").as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What the control user may do: what probes and actions send, nothing else.
const CONTROL_RIGHTS: &str = "resetkeys resetchannels ~primacy:fence-probe -@all +auth +ping +info +del +replicaof +psync +replconf \
     +config|get +config|set +client|setname +client|list +client|kill +client|pause +client|unpause \
     +acl|setuser +acl|getuser +pubsub|numsub +role";
/// What a replica sends to its source.
const REPLICATION_RIGHTS: &str = "resetkeys resetchannels -@all +auth +ping +psync +replconf";
/// What no application should do to a member: each of these can undo a fence or become a replica that counts.
const DEFAULT_DENIED: &str =
    "-psync -sync -replconf -replicaof -slaveof -failover -config -acl -debug -shutdown -cluster -module";

/// The lines for the configuration of one member, each with the reason for it.
///
/// # Errors
/// When the group has no such member, or the user cannot be Primacy's own.
pub fn redis_conf(spec: &GroupSpec, member: &MemberName, secrets: &ConfSecrets) -> Result<String, ConfError> {
    if spec.kind != GroupKind::Redis {
        return Err(ConfError::NotRedis(spec.name.clone(), spec.kind));
    }
    let Some(this) = spec.member(member) else {
        let known: Vec<_> = spec.members.iter().map(|m| m.name.as_str()).collect();
        return Err(ConfError::UnknownMember {
            group: spec.name.clone(),
            member: member.clone(),
            known: known.join(", "),
        });
    };
    let taken = |name: &str| name == "default" || name.is_empty() || name.contains(char::is_whitespace);
    if taken(&secrets.username) {
        return Err(ConfError::UserTaken(secrets.username.clone()));
    }
    let mut lines = Lines::default();
    lines.add(&format!("# Primacy: group {}, member {} at {}.", spec.name, this.name, this.address));
    lines.add("# Append to redis.conf. Never run CONFIG REWRITE: it would write down an open door.");
    fence(&mut lines);
    replication(&mut lines, this);
    users(&mut lines, spec, this, secrets);
    Ok(lines.text)
}

#[derive(Default)]
struct Lines {
    text: String,
}

impl Lines {
    fn add(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn section(&mut self, title: &str) {
        self.add("");
        self.add(&format!("# --- {title}"));
    }

    fn line(&mut self, why: &str, line: &str) {
        self.add(&format!("# {why}"));
        self.add(line);
    }
}

fn fence(lines: &mut Lines) {
    lines.section("Fenced on disk: a server that starts is nobody's primary until Primacy opens it.");
    lines.line(
        "Starts as a replica of nobody: refuses writes, keeps its data, wipes no replica.",
        "replicaof 127.0.0.1 1",
    );
    lines.line(
        "Shut even if it becomes primary; Primacy lowers this at run time.",
        "min-replicas-to-write 1000000",
    );
    lines.line(
        "A replica that is silent for longer than this many seconds does not count.",
        "min-replicas-max-lag 1",
    );
    lines.line("A standby never accepts writes of clients.", "replica-read-only yes");
}

fn replication(lines: &mut Lines, this: &MemberSpec) {
    lines.section("Replication that notices silence in seconds and seldom copies everything.");
    lines.line(
        "Closes silent replication links after 2 s, so that a late answer counts for nothing.",
        "repl-timeout 2",
    );
    lines.line("Must be shorter than repl-timeout.", "repl-ping-replica-period 1");
    lines.line("A full copy goes over the socket, not over the disk,", "repl-diskless-sync yes");
    lines.line("and begins at once.", "repl-diskless-sync-delay 0");
    lines.line("What a standby may miss and still catch up without a full copy.", "repl-backlog-size 64mb");
    lines.line(
        "Keeps that, and with it the id of the history, however long no standby is there.",
        "repl-backlog-ttl 0",
    );
    lines.line("Lists this member under the address that groups.toml has.", &announce(this));
    if this.address.tls {
        lines.line(
            "The address is rediss://: replication speaks TLS too. Needs tls-port, tls-cert-file, \
             tls-key-file and tls-ca-cert-file.",
            "tls-replication yes",
        );
    }
}

fn announce(this: &MemberSpec) -> String {
    format!("replica-announce-ip {}\nreplica-announce-port {}", this.address.host, this.address.port)
}

fn users(lines: &mut Lines, spec: &GroupSpec, this: &MemberSpec, secrets: &ConfSecrets) {
    lines.section("Users. With an aclfile, put the `user` lines there instead.");
    let hash_or = |password: Option<String>, name: &str| match password {
        Some(password) => format!("#{}", hex(password.as_bytes())),
        None => format!(">PASSWORD-OF-{name}"),
    };
    if secrets.password.is_none() {
        lines.add("# PASSWORD-OF-...: replace each by a secret of its own, the same one in the files of all members;");
        lines.add("# or set password_file in node.toml, and these lines come complete.");
    }
    let control = &secrets.username;
    let rights = format!("user {control} on {} {CONTROL_RIGHTS}", hash_or(secrets.password.clone(), control));
    lines.line("Primacy itself: probes and actions.", &rights);
    for member in &spec.members {
        let user = replication_user(&member.name);
        let password = secrets.password.as_ref().map(|p| replication_password(p, &spec.name, &member.name));
        let rights = format!("user {user} on {} {REPLICATION_RIGHTS}", hash_or(password, &user));
        lines.line(&format!("{} replicates as this one when this member is primary.", member.name), &rights);
    }
    let own = replication_user(&this.name);
    let password = secrets.password.as_ref().map(|p| replication_password(p, &spec.name, &this.name));
    let password = password.unwrap_or_else(|| format!("PASSWORD-OF-{own}"));
    lines.line("As whom this member replicates.", &format!("masteruser {own}\nmasterauth {password}"));
    let default = format!("user default on nopass ~* &* +@all {DEFAULT_DENIED}");
    lines.line("Applications: everything but what would undo a fence, or make them a replica that counts. With users \
         of your own, or requirepass, take the minus signs over and drop this line.", &default);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use primacy_core::{Durability, FailoverMode, FencePolicy, LossBudget, OnNoSite, Probe, SiteName};

    fn spec() -> GroupSpec {
        let member = |name: &str, port: u16| MemberSpec {
            name: MemberName::new(name).unwrap(),
            site: SiteName::new("east").unwrap(),
            address: format!("10.0.0.1:{port}").parse().unwrap(),
            priority: 100,
            probe: Probe::Native,
        };
        GroupSpec {
            name: GroupName::new("features").unwrap(),
            kind: GroupKind::Redis,
            failover: FailoverMode::Automatic,
            down_after_ms: 1_000,
            max_loss: LossBudget::Bytes(0),
            fence: FencePolicy::Witness,
            tail_max_bytes: 1 << 20,
            may_kill: false,
            durability: Durability::Local,
            on_no_site: OnNoSite::Refuse,
            mirror: None,
            members: vec![member("east-a", 1), member("west-a", 2)],
        }
    }

    #[test]
    fn secrets_are_hashed_and_own_ones_only_are_plain() {
        let secrets = ConfSecrets { username: "primacy".into(), password: Some("s3cret".into()) };
        let spec = spec();
        let east = redis_conf(&spec, &spec.members[0].name, &secrets).unwrap();
        assert!(!east.contains("s3cret"), "{east}");
        assert!(east.contains(&format!("user primacy on #{}", hex(b"s3cret"))));
        let of = |i: usize| replication_password("s3cret", &spec.name, &spec.members[i].name);
        assert!(east.contains(&format!("masterauth {}", of(0))) && !east.contains(&of(1)));
        assert!(east.contains(&hex(of(1).as_bytes())));
        assert!(!format!("{secrets:?}").contains("s3cret"));
    }

    #[test]
    fn without_a_password_placeholders_say_what_to_do() {
        let secrets = ConfSecrets { username: "primacy".into(), password: None };
        let spec = spec();
        let text = redis_conf(&spec, &spec.members[1].name, &secrets).unwrap();
        assert!(text.contains("user primacy on >PASSWORD-OF-primacy "), "{text}");
        assert!(text.contains("masterauth PASSWORD-OF-primacy-repl-west-a"));
        assert!(text.contains("replace each"));
    }

    #[test]
    fn unknown_members_and_shared_users_are_refused() {
        let secrets = |name: &str| ConfSecrets { username: name.into(), password: None };
        let spec = spec();
        let unknown = redis_conf(&spec, &MemberName::new("north").unwrap(), &secrets("primacy")).unwrap_err();
        assert_eq!(unknown.to_string(), "group features has no member north; it has east-a, west-a");
        assert!(redis_conf(&spec, &spec.members[0].name, &secrets("default")).is_err());
        let model = GroupSpec { kind: GroupKind::Endpoint, ..spec.clone() };
        let error = redis_conf(&model, &spec.members[0].name, &secrets("primacy")).unwrap_err();
        assert_eq!(error.to_string(), "group features is of kind endpoint: its members have no redis.conf");
    }
}
