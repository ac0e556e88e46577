//! What the operator's commands log: to standard error, and only what `-v` asks for.

use tracing_subscriber::EnvFilter;

/// Installs the subscriber of a client command. `serve` installs the node's own telemetry instead.
pub(crate) fn install(verbose: u8) {
    let level = match verbose {
        0 => "off,primacy_testbed=warn",
        1 => "primacy=info,primacy_client=info",
        2 => "primacy=debug,primacy_client=debug,primacy_testbed=debug,info",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("PRIMACY_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    // A second subscriber in one process, as in tests, changes nothing.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}
