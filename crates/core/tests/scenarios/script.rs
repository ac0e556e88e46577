//! The words of a scenario.

use crate::server::Server;
use crate::world::{World, group};
use primacy_core::check::{self, Checked, Request};
use primacy_core::view::View;
use primacy_core::{
    Cause, Command, Durability, FailoverMode, FencePolicy, GroupKind, GroupSpec, GroupState, LossBudget,
    MemberName, MemberSpec, NodeId, OnNoSite, Probe, SiteName, detect,
};
use std::time::Duration;

/// Runs one line and returns what came of it.
pub fn execute(world: &mut World, line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (verb, args) = words.split_first().expect("an empty line");
    match *verb {
        "nodes" => nodes(world, args),
        "group" => configure(world, GroupKind::Redis, args),
        "endpoint" => configure(world, GroupKind::Endpoint, args),
        "remove" => {
            let at = world.wall();
            propose(world, &Command::ConfigureGroups { groups: vec![], prune: true, by: "ops".into(), at });
        }
        "gates" => match args {
            [] => world.tell_gates(),
            nodes => world.open_gates(nodes.iter().map(|n| NodeId(number(n.trim_start_matches('n'))))),
        },
        "lead" => world.lead(number(args[0]), number(args[1])),
        "lead-told" => world.lead_told(number(args[0]), number(args[1])),
        "wait" => world.wait(humantime(args[0])),
        "kill" => server(world, args[0], |s| (s.alive, s.frozen, s.link_up) = (false, false, false)),
        "freeze" => server(world, args[0], |s| s.frozen = true),
        "thaw" => server(world, args[0], |s| s.frozen = false),
        "stick" => server(world, args[0], |s| s.stuck = true),
        "unstick" => server(world, args[0], |s| s.stuck = false),
        "firewall" => server(world, args[0], |s| s.resets = true),
        "restart" => restart(world, args),
        "weaken" => server(world, args[0], |s| s.min_replicas = number(args[1])),
        "rate" => server(world, args[0], |s| s.rate = (args[1] != "unknown").then(|| number(args[1]))),
        "shed" => server(world, args[0], |s| s.sheds = true),
        "patient" => server(world, args[0], |s| s.patient = true),
        "isolate" => world.isolated = Some(SiteName::new(args[0]).unwrap()),
        "rejoin" => world.isolated = None,
        "standalone" => server(world, args[0], |s| (s.source, s.min_replicas) = (None, 0)),
        "demote" => server(world, args[0], |s| s.source = Some(("10.9.9.9".to_owned(), 1))),
        "keys" => server(world, args[0], |s| s.keys = args[1].parse().unwrap()),
        "write" => write(world, args[0], number(args[1])),
        "node" => node(world, number(args[0]), args[1]),
        "cut" => cut(world, args[0], args[1], true),
        "heal" => cut(world, args[0], args[1], false),
        "hold" => drop(world.held.insert(args[0].to_owned())),
        "lose" => drop(world.losing.insert(args[0].to_owned())),
        "arrive" => world.arrive(args[0]),
        "release" => {
            world.held.remove(args[0]);
            world.losing.remove(args[0]);
        }
        "samehost" => drop(
            world.same_host.insert((NodeId(number(args[0].trim_start_matches('n'))), args[1].to_owned())),
        ),
        "fail" => {
            drop(world.failing.insert(args[0].to_owned(), (args[2..].join(" "), args[1] == "permanent")));
        }
        "mend" => drop(world.failing.remove(args[0])),
        "switchover" | "failback" | "failover" => operator(world, verb, args),
        "pause" => propose(
            world,
            &Command::Pause { group: group(), by: "ops".into(), reason: None, at: world.wall() },
        ),
        "resume" => propose(world, &Command::Resume { group: group(), by: "ops".into(), at: world.wall() }),
        "status" => status(world),
        "copies" => world.say_copies(),
        "starve" => drop(world.starved.insert(NodeId(number(args[0].trim_start_matches('n'))))),
        "feed" => drop(world.starved.remove(&NodeId(number(args[0].trim_start_matches('n'))))),
        other => panic!("no such word: {other}"),
    }
    std::mem::take(&mut world.said)
}

fn nodes(world: &mut World, args: &[&str]) {
    for arg in args {
        let (id, site) = arg.split_once('@').unwrap();
        world.view.nodes.insert(NodeId(number(id)), SiteName::new(site).unwrap());
    }
}

/// `group MEMBER@SITE[:PRIORITY]... [key=value...]`, and the same for endpoints
fn configure(world: &mut World, kind: GroupKind, args: &[&str]) {
    let endpoint = kind == GroupKind::Endpoint;
    let mut spec = GroupSpec {
        name: group(),
        kind,
        failover: FailoverMode::Automatic,
        down_after_ms: 1_000,
        max_loss: LossBudget::Bytes(1 << 20),
        fence: FencePolicy::Witness,
        tail_max_bytes: 64 << 20,
        may_kill: false,
        durability: if endpoint { Durability::Async } else { Durability::Local },
        on_no_site: OnNoSite::Refuse,
        mirror: None,
        members: vec![],
    };
    for (i, arg) in args.iter().enumerate() {
        match arg.split_once('=') {
            Some(("failover", "manual")) => spec.failover = FailoverMode::Manual,
            Some(("may_kill", "true")) => spec.may_kill = true,
            Some(("durability", "site")) => spec.durability = Durability::Site,
            Some(("on_no_site", "degrade")) => spec.on_no_site = OnNoSite::Degrade,
            Some(("fence", "none")) => spec.fence = FencePolicy::None,
            Some(("max_loss", value)) => spec.max_loss = value.replace('_', " ").parse().unwrap(),
            Some(other) => panic!("{other:?}"),
            None => {
                let (name, rest) = arg.split_once('@').unwrap();
                let (site, priority) = rest.split_once(':').unwrap_or((rest, "100"));
                let address: primacy_core::Address = format!("10.0.0.{}:6379", i + 1).parse().unwrap();
                let server = world.servers.entry(name.to_owned());
                server.or_insert_with(|| Server::fenced(name, address.clone())).endpoint = endpoint;
                world.sites.insert(name.to_owned(), SiteName::new(site).unwrap());
                spec.members.push(MemberSpec {
                    name: MemberName::new(name).unwrap(),
                    site: SiteName::new(site).unwrap(),
                    address,
                    priority: priority.parse().unwrap(),
                    probe: if endpoint { Probe::Tcp } else { Probe::Native },
                });
            }
        }
    }
    let at = world.wall();
    propose(world, &Command::ConfigureGroups { groups: vec![spec], prune: false, by: "ops".into(), at });
}

fn propose(world: &mut World, command: &Command) {
    let _ = world.propose(command);
    world.settle();
}

fn server(world: &mut World, name: &str, change: impl FnOnce(&mut Server)) {
    change(world.servers.get_mut(name).unwrap());
}

/// `restart MEMBER [plain] [empty] [dump BYTES]`: boots fenced as its file says, or writable where the file says nothing;
/// from a dump that names its history and where it was made.
fn restart(world: &mut World, args: &[&str]) {
    let dump = args.iter().position(|a| *a == "dump").map(|i| number(args[i + 1]));
    let (plain, empty) = (args.contains(&"plain"), args.contains(&"empty"));
    server(world, args[0], |s| {
        (s.alive, s.frozen, s.link_up) = (true, false, false);
        s.run += 1;
        s.pid += 1;
        if let Some(offset) = dump {
            s.offset = offset;
        } else {
            (s.replid, s.replid2) = (format!("{}-{}", args[0], s.run), None);
        }
        s.source = (!plain).then(|| ("127.0.0.1".to_owned(), 1));
        s.min_replicas = if plain { 0 } else { 1_000_000 };
        if empty {
            (s.keys, s.offset) = (0, 0);
        }
    });
}

fn write(world: &mut World, name: &str, bytes: u64) {
    let accepts = world.accepts_writes(name);
    let server = world.servers.get_mut(name).unwrap();
    let accepted = accepts;
    if accepted {
        server.offset += bytes;
        server.keys += 1;
    }
    let writers = world.servers.keys().filter(|s| world.accepts_writes(s)).count();
    let verdict = if accepted { "accepted" } else { "refused" };
    world.say(format!("    {name}: {verdict}; {writers} accept writes"));
    world.replicate();
}

fn node(world: &mut World, id: u64, how: &str) {
    match how {
        "down" => drop(world.down_nodes.insert(NodeId(id))),
        "up" => drop(world.down_nodes.remove(&NodeId(id))),
        other => panic!("{other}"),
    }
}

/// `cut nID MEMBER`
fn cut(world: &mut World, node: &str, member: &str, cut: bool) {
    let pair = (NodeId(number(node.trim_start_matches('n'))), member.to_owned());
    if cut {
        world.cuts.insert(pair);
    } else {
        world.cuts.remove(&pair);
    }
}

fn operator(world: &mut World, verb: &str, args: &[&str]) {
    let to = args.iter().position(|a| *a == "--to").map(|i| MemberName::new(args[i + 1]).unwrap());
    let request = Request {
        group: group(),
        to,
        requested_by: "ops".to_owned(),
        reason: None,
        allow_data_loss: args.contains(&"--allow-data-loss"),
        cause: if verb == "failback" { Cause::Failback } else { Cause::Operator },
    };
    let (now, wall) = (world.now, world.wall());
    let checked = if verb == "failover" {
        check::failover(&world.state, &world.view, &request, now, wall)
    } else {
        check::switchover(&world.state, &world.view, &request, now, wall)
    };
    let Checked { checks, start } = match checked {
        Ok(checked) => checked,
        Err(refusal) => return world.say(format!("    refused ({}): {refusal}", refusal.code)),
    };
    for c in checks.iter().filter(|c| !c.passed || args.contains(&"--dry-run")) {
        world.say(format!("    {} {}: {}", if c.passed { "ok" } else { "NO" }, c.name, c.detail));
    }
    match start {
        Err(refusal) => world.say(format!("    refused ({})", refusal.code)),
        Ok(_) if args.contains(&"--dry-run") => {}
        Ok(start) => propose(world, &Command::StartTransition(Box::new(start))),
    }
}

fn status(world: &mut World) {
    let Some(g) = world.state.groups.get(&group()) else { return world.say("    no group") };
    let primary =
        g.primary.as_ref().map_or("nobody".to_owned(), |p| format!("{} epoch {}", p.member, p.epoch));
    let mut lines = vec![format!("    {} ({primary})", g.state())];
    if let Some(b) = g.blocked.as_ref().filter(|_| g.state() == GroupState::Blocked) {
        lines.push(format!("    remedy: {}", b.reason.remedy(&group())));
    }
    let view: &View = &world.view;
    for m in &g.spec.members {
        let verdict = detect::verdict(g, &m.name, view, world.now);
        let s = &world.servers[m.name.as_str()];
        if s.endpoint {
            lines.push(format!("    {}: {}", m.name, verdict.health.word()));
            lines.extend(verdict.evidence.iter().map(|e| format!("        {e}")));
            continue;
        }
        let role = match &s.source {
            None => "primary".to_owned(),
            Some((host, _)) => format!("replica of {host}"),
        };
        let role = if s.answers() { role } else { "-".to_owned() };
        let door = if world.accepts_writes(m.name.as_str()) { "open" } else { "shut" };
        lines.push(format!(
            "    {}: {}, {role}, {door}, {} bytes of {}",
            m.name,
            verdict.health.word(),
            s.offset,
            s.replid
        ));
        lines.extend(verdict.evidence.iter().map(|e| format!("        {e}")));
    }
    for line in lines {
        world.say(line);
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap()
}

fn humantime(text: &str) -> Duration {
    match text.strip_suffix("ms") {
        Some(ms) => Duration::from_millis(number(ms)),
        None => Duration::from_secs(number(text.strip_suffix('s').unwrap())),
    }
}
