//! What a group of Kafka clusters must be.

use super::{invalid, of, of_member};
use crate::apply::Rejected;
use crate::{Durability, FailoverMode, GroupSpec, Probe};

pub(super) fn check(spec: &GroupSpec) -> Result<(), Rejected> {
    for m in &spec.members {
        let entered =
            matches!(&m.probe, Probe::Cluster { bootstrap } if bootstrap.first() == Some(&m.address));
        if !entered {
            let remedy = "write bootstrap = [\"HOST:PORT\"], some of its brokers";
            return Err(invalid(of_member(spec, m, ".bootstrap"), "it names no broker", remedy));
        }
        if m.address.tls {
            let reason = format!("{} is no address of a broker", m.address);
            let remedy = "write HOST:PORT, and TLS as [kafka.NAME] in node.toml";
            return Err(invalid(of_member(spec, m, ".bootstrap"), reason, remedy));
        }
    }
    if spec.failover == FailoverMode::Automatic {
        let reason = "this version makes no other Kafka cluster active by itself";
        return Err(invalid(of(spec, ".failover"), reason, "write failover = \"manual\", or remove the key"));
    }
    if spec.durability == Durability::Site {
        let reason = "this version has no Kafka gate that could hold what is produced";
        return Err(invalid(
            of(spec, ".durability"),
            reason,
            "write durability = \"local\", or remove the key",
        ));
    }
    let Some(mirror) = &spec.mirror else {
        let reason = "it says nothing of what is mirrored";
        return Err(invalid(of(spec, ".topics"), reason, "name topics, such as topics = [\".*\"]"));
    };
    if mirror.topics.is_empty() {
        let reason = "no topic is mirrored";
        return Err(invalid(of(spec, ".topics"), reason, "name topics, such as topics = [\".*\"]"));
    }
    if mirror.rate_max_bytes == Some(0) {
        let remedy = "write a rate such as \"50 MiB/s\", or remove the key";
        return Err(invalid(of(spec, ".mirror_rate"), "nothing would ever be copied", remedy));
    }
    Ok(())
}
