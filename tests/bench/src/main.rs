//! The figures: how fast, how soon, how frugal, each beside what it is measured against in the same run.
//!
//! The problem: a machine that is slow or busy makes every absolute number a story about the machine. The idea: ours
//! and its peer run on the same machine at the same time, take turns under the same load, and are compared by the
//! ratio of their medians. Everything runs as real processes that end with this one.

mod closed_loop;
mod cut;
mod failover;
mod fault;
mod figure;
mod fleet;
mod freeze;
mod gate;
mod kafka;
mod locate;
mod machine;
mod outage;
mod phases;
mod plan;
mod progress;
mod raft;
mod redis_benchmark;
mod show;
mod site;
mod switchover;
mod usage;
mod wan_failover;
mod watch;
mod witness;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};

use figure::Figure;
use machine::Machine;
use plan::Plan;

/// Takes the figures of Primacy, each beside what it is measured against.
#[derive(Debug, Parser)]
#[command(name = "primacy-bench")]
struct Args {
    /// How results are printed; JSON is one object a line.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Only these, in any number; all when not given.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Subject>,
    /// A short run that shows whether everything works; its figures mean little.
    #[arg(long)]
    quick: bool,
    /// Mirrors a topic between two clusters, for the bench that started this: source, target, topic.
    #[arg(long, hide = true, num_args = 3)]
    mirror: Option<Vec<String>>,
    /// The program to measure; the one beside this program when not given.
    #[arg(long, env = "PRIMACY_BINARY")]
    binary: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// Commits, reads and a killed leader, beside etcd.
    Raft,
    /// A killed primary, beside Redis Sentinel.
    Failover,
    /// The same at sites that are far apart.
    #[value(alias = "wan_failover")]
    WanFailover,
    /// A frozen primary, beside Redis Sentinel.
    Freeze,
    /// A primary whose site is cut off, beside Redis Sentinel.
    Cut,
    /// A switchover under load, beside the same by hand.
    Switchover,
    /// A gate, beside a direct connection.
    Gate,
    /// A witness, beside a group without.
    Witness,
    /// Replies that wait for another site.
    Site,
    /// Kafka's mirror, beside MirrorMaker 2.
    Kafka,
    /// The same between sites that are far apart.
    KafkaFar,
    /// Memory and CPU of nodes that watch 100 groups.
    Watch100,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            progress!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// False when something could not be measured. A missed goal is a result, not a failure.
async fn run(args: Args) -> Result<bool> {
    if let Some([source, target, topic]) = args.mirror.as_deref() {
        return kafka::run_child(source, target, topic).await.map(|()| true);
    }
    let binary = binary(&args)?;
    let plan = if args.quick { Plan::quick() } else { Plan::full() };
    let machine = Machine::look()?;
    match args.output {
        Format::Table => show::write(&format!("{}\n", machine.text()))?,
        Format::Json => show::json(&serde_json::json!({ "machine": machine, "quick": args.quick }))?,
    }
    let subjects = Subject::value_variants().iter().filter(|s| args.only.is_empty() || args.only.contains(s));
    let (mut all, mut complete) = (Vec::new(), true);
    for subject in subjects {
        match measure(*subject, &binary, &plan).await {
            Ok(figures) if args.output == Format::Json => {
                for figure in figures {
                    show::json(&figure)?;
                }
            }
            Ok(figures) => all.extend(figures),
            Err(error) => {
                progress!("{subject:?} could not be measured: {error:#}");
                complete = false;
            }
        }
    }
    if args.output == Format::Table {
        show::write(&show::table(&all))?;
    }
    Ok(complete)
}

async fn measure(subject: Subject, binary: &Path, plan: &Plan) -> Result<Vec<Figure>> {
    match subject {
        Subject::Raft => raft::figures(binary, plan).await,
        Subject::Failover => failover::figures(binary, plan).await,
        Subject::WanFailover => wan_failover::figures(binary, plan),
        Subject::Freeze => freeze::figures(binary, plan).await,
        Subject::Cut => cut::figures(binary, plan),
        Subject::Switchover => switchover::figures(binary, plan).await,
        Subject::Gate => gate::figures(binary, plan).await,
        Subject::Witness => witness::figures(binary, plan).await,
        Subject::Site => site::figures(binary, plan),
        Subject::Kafka => kafka::figures(plan).await,
        Subject::KafkaFar => kafka::far_figures(plan),
        Subject::Watch100 => watch::figures(binary, plan).await,
    }
}

fn binary(args: &Args) -> Result<PathBuf> {
    let beside = || Ok::<_, anyhow::Error>(std::env::current_exe()?.with_file_name("primacy"));
    let binary = args.binary.clone().map_or_else(beside, Ok)?;
    ensure!(binary.is_file(), "{} does not exist: build it, or name another with --binary", binary.display());
    binary.canonicalize().with_context(|| format!("cannot resolve {}", binary.display()))
}
