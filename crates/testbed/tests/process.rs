//! Processes are started, frozen, killed and never left behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::time::Duration;

use primacy_testbed::process::ProcessSpec;
use primacy_testbed::{Process, Signal, Workdir, wait_for};

const DEADLINE: Duration = Duration::from_secs(10);

fn shell(dir: &Workdir, script: &str) -> Process {
    Process::start(&ProcessSpec {
        name: "shell".into(),
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        env: vec![("GREETING".into(), "hello".into())],
        dir: dir.path().into(),
        log: dir.path().join("log"),
    })
    .unwrap()
}

fn lives(pid: u32) -> bool {
    // Its state, not its command line: that is empty for a moment while a program is started, too.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[tokio::test]
async fn an_ended_process_tells_its_status_and_its_last_words() {
    let dir = Workdir::create().unwrap();
    let process = shell(&dir, "echo one; echo $GREETING; echo oops >&2; exit 7");
    let status = process.wait_exit(DEADLINE).await.unwrap();
    assert_eq!(status.code(), Some(7));
    assert_eq!(process.log_tail(2), "hello\noops");
    assert!(process.signal(Signal::SIGTERM).unwrap_err().to_string().contains("shell has ended already"));
    process.kill().unwrap();
}

#[tokio::test]
async fn the_process_id_is_that_of_the_program() {
    let dir = Workdir::create().unwrap();
    let process = shell(&dir, "echo $$; exec sleep 600");
    wait_for("the program's own word", DEADLINE, async || {
        let said = process.log_tail(1);
        anyhow::ensure!(said == process.pid().to_string(), "it said {said:?}, not {}", process.pid());
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn dropping_a_process_kills_its_children_too_even_when_it_is_stopped() {
    let dir = Workdir::create().unwrap();
    let process = shell(&dir, "sleep 600 & echo $!; wait");
    let child: u32 =
        wait_for("the child's id", DEADLINE, async || Ok(process.log_tail(1).parse()?)).await.unwrap();
    process.stop().unwrap();
    let pid = process.pid();
    assert!(lives(pid) && lives(child));
    drop(process);
    assert!(!lives(pid));
    wait_for("the child to end", DEADLINE, async || {
        anyhow::ensure!(!lives(child), "it lives");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn sigterm_can_be_waited_for() {
    let dir = Workdir::create().unwrap();
    let process = shell(&dir, "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done");
    wait_for("the trap", DEADLINE, async || {
        anyhow::ensure!(process.log_tail(1) == "up");
        Ok(())
    })
    .await
    .unwrap();
    assert!(process.terminate(DEADLINE).await.unwrap().success());
    assert_eq!(process.log_tail(1), "bye");
}

#[test]
fn a_program_that_does_not_exist_is_refused_at_once() {
    let dir = Workdir::create().unwrap();
    let started = Process::start(&ProcessSpec {
        name: "nothing".into(),
        program: "/no/such/program".into(),
        args: Vec::new(),
        env: Vec::new(),
        dir: dir.path().into(),
        log: dir.path().join("log"),
    });
    let error = started.unwrap_err();
    assert!(format!("{error:#}").contains("cannot start nothing (/no/such/program)"), "{error:#}");
}

/// Run as a process of its own by the test below: starts a child, tells its id and waits to be killed.
#[test]
fn a_parent_that_will_be_killed() {
    if std::env::var_os("PARENT_TO_KILL").is_none() {
        return;
    }
    let dir = Workdir::create().unwrap();
    let child = shell(&dir, "exec sleep 600");
    println!("child {}", child.pid());
    std::thread::sleep(Duration::from_mins(1));
}

#[tokio::test]
async fn a_killed_parent_takes_its_children_along() {
    let dir = Workdir::create().unwrap();
    let parent = Process::start(&ProcessSpec {
        name: "parent".into(),
        program: std::env::current_exe().unwrap(),
        args: ["--exact", "a_parent_that_will_be_killed", "--nocapture"].map(Into::into).to_vec(),
        env: vec![
            ("PARENT_TO_KILL".into(), "1".into()),
            ("TMPDIR".into(), dir.path().to_str().unwrap().to_owned()),
        ],
        dir: dir.path().into(),
        log: dir.path().join("log"),
    })
    .unwrap();
    let child: u32 = wait_for("the child's id", DEADLINE, async || {
        let log = parent.log_tail(20);
        let line = log.lines().find_map(|line| line.split_once("child "));
        Ok(line.ok_or_else(|| anyhow::anyhow!("{log}"))?.1.parse()?)
    })
    .await
    .unwrap();
    assert!(lives(child));
    parent.kill().unwrap();
    wait_for("the child to end", DEADLINE, async || {
        anyhow::ensure!(!lives(child), "it lives");
        Ok(())
    })
    .await
    .unwrap();
}
