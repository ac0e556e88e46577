# shellcheck shell=bash
# What every script of ours needs: where the repository is, how to speak, and how to leave no process behind.
# Sourced, never run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$ROOT" || exit 1

# A shell that is no login shell does not have what rustup and cargo install on its PATH.
case ":$PATH:" in
*":${CARGO_HOME:-$HOME/.cargo}/bin:"*) ;;
*) export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH" ;;
esac

say() {
    printf '== %s\n' "$*" >&2
}

warn() {
    printf '!! %s\n' "$*" >&2
}

die() {
    warn "$*"
    exit 1
}

# target_directory: where cargo puts what it builds here.
target_directory() {
    cargo metadata --format-version 1 --no-deps --offline | sed 's/.*"target_directory":"\([^"]*\)".*/\1/'
}

# with_nothing_left COMMAND...
# Runs a command and passes on its exit status. Signals reach all that it started, and nothing of that outlives
# it: what does is named, ended, and makes a success a failure. Its processes are known by a mark in their
# environment, so that those which left its process group or session are found too.
with_nothing_left() {
    local mark="PRIMACY_STARTED_BY=$$.$RANDOM$RANDOM" child status=0
    set -m # a process group of its own, in which an interrupt is not ignored
    env "$mark" "$@" </dev/null &
    child=$!
    set +m
    trap 'kill -INT -- "-$child" 2>/dev/null || true' INT
    trap 'kill -TERM -- "-$child" 2>/dev/null || true' TERM HUP
    while :; do
        status=0
        wait "$child" || status=$?
        # A signal ends the wait, not the command.
        kill -0 "$child" 2>/dev/null || break
    done
    trap - INT TERM HUP
    if ! end_marked "$mark" && [[ $status -eq 0 ]]; then
        status=1
    fi
    return "$status"
}

# marked MARK: the ids of the processes that carry it.
marked() {
    local file
    for file in /proc/[0-9]*/environ; do
        # Those of other users cannot be read, and some are gone by now.
        if grep -qzxF -- "$1" "$file" 2>/dev/null; then
            file=${file#/proc/}
            printf '%s\n' "${file%/environ}"
        fi
    done
}

# end_marked MARK: true when nothing was left after the moment that a killed process takes to vanish.
end_marked() {
    local left signal attempt
    for attempt in 1 2 3 4 5 6 7 8 9 10; do
        left=$(marked "$1")
        [[ -n $left ]] || return 0
        [[ $attempt -eq 10 ]] || sleep 0.2
    done
    warn "left running, and ended now:"
    # shellcheck disable=SC2086 # ids are words
    ps -o pid,ppid,stat,etime,args -p ${left//$'\n'/,} >&2 || true
    for signal in TERM KILL; do
        # shellcheck disable=SC2086
        kill -s "$signal" $left 2>/dev/null || true
        for attempt in 1 2 3 4 5; do
            left=$(marked "$1")
            [[ -n $left ]] || return 1
            sleep 0.2
        done
    done
    return 1
}
