//! The help of every command, as it is shown at 100 columns. `UPDATE_EXPECT=1 cargo test` writes the files anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use expect_test::expect_file;

fn check(mut command: clap::Command, name: &str) {
    let help = command.render_long_help().to_string();
    expect_file![format!("{}/tests/help/{name}.txt", env!("CARGO_MANIFEST_DIR"))].assert_eq(&help);
    let nested: Vec<_> = command.get_subcommands().cloned().collect();
    for nested in nested {
        let below = format!("{name}-{}", nested.get_name());
        check(nested, &below);
    }
}

#[test]
fn help_teaches() {
    let mut command = primacy_cli::command().term_width(100);
    command.build();
    check(command, "primacy");
}

#[test]
fn every_command_of_the_contract_is_there() {
    let contract = [
        "serve",
        "check",
        "apply",
        "groups",
        "status",
        "primary",
        "watch",
        "switchover",
        "failover",
        "failback",
        "pause",
        "resume",
        "history",
        "cluster",
        "redis-conf",
        "demo",
        "completions",
    ];
    let command = primacy_cli::command();
    let mut there: Vec<_> = command.get_subcommands().map(clap::Command::get_name).collect();
    let mut wanted = contract.to_vec();
    there.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(there, wanted);
}
