//! One file a command: its arguments with the help that teaches it, and what it does.

pub(crate) mod apply;
mod ask;
pub(crate) mod check;
pub(crate) mod cluster;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod failback;
pub(crate) mod failover;
pub(crate) mod groups;
pub(crate) mod history;
pub(crate) mod pause;
pub(crate) mod primary;
pub(crate) mod redis_conf;
pub(crate) mod resume;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod switchover;
mod transition;
pub(crate) mod watch;

pub(crate) use ask::{Ask, failure_of, understood};

use crate::args::{Cli, Command, Global};
use crate::exit::Failure;
use crate::logging;
use crate::screen::Screen;
use crate::show::apply::{ProblemReport, problems_text};
use clap::Args;
use primacy_node::config::Problems;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Why something is asked for, for the record.
#[derive(Clone, Debug, Args)]
pub(crate) struct Asked {
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

/// Runs what was asked for.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    let screen = Screen::stdout(cli.global.output);
    match cli.command {
        Command::Check(args) => check::run(&args, screen),
        Command::Completions(args) => completions::run(&args, screen),
        Command::Serve(args) => in_runtime(serve::run(args, &cli.global)),
        command => {
            logging::install(cli.global.verbose);
            in_runtime(ask_for(command, &cli.global, screen))
        }
    }
}

/// The commands that talk to nodes.
async fn ask_for(command: Command, global: &Global, screen: Screen) -> Result<(), Failure> {
    let ask = || Ask::new(global, screen);
    match command {
        Command::Status(args) => status::run(args, &ask()?).await,
        Command::Groups(args) => groups::run(&args, &ask()?).await,
        Command::Primary(args) => primary::run(args, &ask()?).await,
        Command::Watch(args) => watch::run(args, &ask()?).await,
        Command::History(args) => history::run(args, &ask()?).await,
        Command::Switchover(args) => switchover::run(args, &ask()?).await,
        Command::Failover(args) => failover::run(args, &ask()?).await,
        Command::Failback(args) => failback::run(args, &ask()?).await,
        Command::Pause(args) => pause::run(args, &ask()?).await,
        Command::Resume(args) => resume::run(args, &ask()?).await,
        Command::Apply(args) => apply::run(args, &ask()?).await,
        Command::RedisConf(args) => redis_conf::run(args, &ask()?).await,
        Command::Cluster(command) => cluster::run(command, &ask()?).await,
        Command::Demo(args) => demo::run(args, screen).await,
        // These ask nobody and were run before.
        Command::Check(args) => check::run(&args, screen),
        Command::Completions(args) => completions::run(&args, screen),
        Command::Serve(args) => serve::run(args, global).await,
    }
}

fn in_runtime(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(work)
}

/// Who asks: `$USER@hostname`.
fn requested_by() -> String {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = set("USER").or_else(|| set("LOGNAME")).unwrap_or_else(owner_of_this_process);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned());
    let host = host.or_else(|| set("HOSTNAME")).unwrap_or_else(|| "localhost".to_owned());
    format!("{user}@{host}")
}

/// Where the environment names nobody, as in a container.
fn owner_of_this_process() -> String {
    let Ok(process) = std::fs::metadata("/proc/self") else { return "unknown".to_owned() };
    let uid = process.uid().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("uid-{uid}"))
}

/// Microseconds since 1970.
fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// What is wrong with a file, as an error.
fn invalid_file(path: &Path, problems: &Problems) -> Failure {
    let problems: Vec<_> = problems.0.iter().map(ProblemReport::from).collect();
    Failure::usage(format!("{} is not valid\n{}", path.display(), problems_text(&problems)))
}
