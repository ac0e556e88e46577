//! What a node tells about itself: log lines and metrics. Nothing secret comes through here: passwords have no text form.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line, for programs.
    Json,
}

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up logging: {0}")]
pub struct LogError(String);

/// What is logged when nothing else is asked for: our own lines, and what is wrong elsewhere.
const FILTER: &str = "info,openraft=error,sled=warn,h2=warn,hyper=warn,tower=warn,tonic=warn,redis=warn";

/// Sends log lines to stderr. `filter` is a `tracing` filter such as `debug` or `info,primacy_node=debug`; none takes
/// `PRIMACY_LOG` from the environment, or else `info`.
///
/// # Errors
/// When the filter is not valid, or logging was set up already.
pub fn init_logging(format: LogFormat, filter: Option<&str>) -> Result<(), LogError> {
    let asked = filter.map(str::to_owned).or_else(|| std::env::var("PRIMACY_LOG").ok());
    let filter = match asked {
        Some(text) => {
            EnvFilter::try_new(&text).map_err(|e| LogError(format!("{text:?} is no filter: {e}")))?
        }
        None => EnvFilter::new(FILTER),
    };
    let base = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let base = base.with_span_events(FmtSpan::NONE).with_target(false);
    let done = match format {
        LogFormat::Text => base.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => base.json().flatten_event(true).try_init(),
    };
    done.map_err(|e| LogError(e.to_string()))
}

const SECONDS: [f64; 13] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0];

/// The metrics of this process, recorded from the first call on. None when another recorder is installed.
pub(crate) fn metrics() -> Option<PrometheusHandle> {
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let builder = PrometheusBuilder::new();
            let builder =
                builder.set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS).ok()?;
            let recorder = builder.build_recorder();
            let handle = recorder.handle();
            metrics::set_global_recorder(recorder).ok()?;
            describe();
            Some(handle)
        })
        .clone()
}

fn describe() {
    describe_gauge!("primacy_build_info", "Always 1; the version is a label.");
    gauge!("primacy_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    describe_gauge!("primacy_node_leading", "1 while this node leads.");
    describe_gauge!("primacy_node_ready", "1 while this node knows a leader and has caught up.");
    describe_gauge!("primacy_revision", "Log index of the last applied change.");
    describe_gauge!("primacy_groups", "Groups by state, as this node knows them.");
    describe_gauge!("primacy_watchers", "Open Watch streams.");
    describe_counter!("primacy_events_total", "Committed events, counted by the leader.");
    describe_counter!("primacy_transitions_total", "Finished transitions, counted by the leader.");
    describe_counter!(
        "primacy_transition_lost_bytes_total",
        Unit::Bytes,
        "What transitions lost, exact or at most."
    );
    describe_histogram!("primacy_transition_outage_seconds", Unit::Seconds, "Time without an open primary.");
    describe_histogram!("primacy_phase_seconds", Unit::Seconds, "How long the phases of transitions took.");
    describe_counter!("primacy_plan_steps_total", "Planned steps by rule.");
    describe_counter!("primacy_actions_total", "Actions on members by result.");
    describe_histogram!("primacy_action_seconds", Unit::Seconds, "How long actions on members took.");
    describe_counter!("primacy_proposals_total", "Commands that the loop proposed, by result.");
    describe_histogram!(
        "primacy_commit_seconds",
        Unit::Seconds,
        "From proposing to having applied a command."
    );
    describe_gauge!(
        "primacy_witness_attached",
        "1 while the witness of this node holds the primary's door open."
    );
    describe_gauge!("primacy_witness_tail_bytes", Unit::Bytes, "How much of the stream the witness keeps.");
    describe_gauge!(
        "primacy_holder_covers",
        "1 while this node acknowledges the stream of a primary at another site, which held replies wait for."
    );
    describe_gauge!("primacy_holder_copy_bytes", Unit::Bytes, "How much of such a stream this node keeps.");
    describe_counter!(
        "primacy_witness_copies_total",
        "Full copies that the witness was sent and threw away."
    );
    describe_gauge!("primacy_lease_left_seconds", Unit::Seconds, "How long the witness's lease still holds.");
    describe_gauge!("primacy_gate_connections", "Open connections through a gate.");
    describe_gauge!("primacy_gate_held_bytes", Unit::Bytes, "Replies that wait to be covered.");
    describe_counter!("primacy_gate_accepted_total", "Connections that a gate let through.");
    describe_counter!("primacy_gate_refused_total", "Connections that a gate refused.");
    describe_counter!("primacy_gate_unreachable_total", "Connections whose target could not be reached.");
    describe_counter!("primacy_gate_cut_total", "Connections that a gate cut because its door closed.");
    describe_counter!("primacy_gate_sent_bytes_total", Unit::Bytes, "Bytes towards the primary.");
    describe_counter!("primacy_gate_received_bytes_total", Unit::Bytes, "Bytes towards clients.");
    describe_counter!("primacy_gate_barriers_total", "How often a primary was asked for its offset.");
    describe_counter!("primacy_gate_barriers_failed_total", "How often it did not say.");
    describe_counter!("primacy_requests_total", "Requests by method and result.");
}

/// Keeps the recorder's memory bounded when nobody scrapes it.
pub(crate) async fn upkeep() {
    let Some(handle) = metrics() else { return };
    loop {
        primacy_runtime::sleep(std::time::Duration::from_secs(5)).await;
        handle.run_upkeep();
    }
}
