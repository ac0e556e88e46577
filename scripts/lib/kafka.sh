# shellcheck shell=bash
# Real Kafka for tests: the jars of a broker, its tools and MirrorMaker 2, by tests/support/kafka/pom.xml, in a cache
# outside the checkout, with an archive of loaded classes that halves the time to start a broker. Sourced by setup.
# Who starts a broker (crates/testbed) reads the file `classpath` there.

readonly KAFKA_POM=tests/support/kafka/pom.xml
# What kills a broker that does not come up while its classes are archived.
readonly KAFKA_START_SECONDS=90

# kafka_home VERSION: where its jars are.
kafka_home() {
    printf '%s/primacy/kafka-%s' "${XDG_CACHE_HOME:-$HOME/.cache}" "$1"
}

# fetch_kafka VERSION: true when it is there, complete, and from this pom.
fetch_kafka() {
    local home stamp
    home=$(kafka_home "$1")
    stamp="$(sha256sum <"$KAFKA_POM") $(java -version 2>&1 | tr '\n' ' ')"
    if [[ -f $home/complete && $(<"$home/complete") == "$stamp" ]]; then
        return 0
    fi
    say "fetching Kafka $1"
    rm -rf "$home"
    mkdir -p "$home"
    mvn -q -B -Dstyle.color=never -f "$KAFKA_POM" "-Dkafka.version=$1" dependency:copy-dependencies -DincludeScope=runtime \
        "-DoutputDirectory=$home/lib" </dev/null >&2 || return 1
    # In one order for ever: an archive of classes holds for one class path.
    printf '%s\n' "$home"/lib/*.jar | LC_ALL=C sort | paste -sd: - >"$home/classpath" || return 1
    archive_classes "$home" || warn "no archive of classes for Kafka $1: brokers start more slowly"
    printf '%s' "$stamp" >"$home/complete"
}

# archive_classes HOME: starts a broker once, and has the JVM archive what it loaded.
archive_classes() {
    local home=$1 scratch broker class_path status=1 waited=0
    class_path=$(<"$home/classpath")
    scratch=$(mktemp -d) || return 1
    # It serves nobody: whatever ports are free will do.
    cat >"$scratch/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:19093
listeners=CLIENT://127.0.0.1:19092,CONTROLLER://127.0.0.1:19093
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENT
controller.listener.names=CONTROLLER
log.dirs=$scratch/data
PROPERTIES
    local jvm=(java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$class_path")
    if "${jvm[@]}" kafka.tools.StorageTool format -t AAAAAAAAAAAAAAAAAAAAAQ -c "$scratch/server.properties" \
        >"$scratch/log" 2>&1 </dev/null; then
        "${jvm[@]}" "-XX:ArchiveClassesAtExit=$home/classes.jsa" kafka.Kafka "$scratch/server.properties" \
            >"$scratch/log" 2>&1 </dev/null &
        broker=$!
        while kill -0 "$broker" 2>/dev/null && [[ $waited -lt $((KAFKA_START_SECONDS * 5)) ]]; do
            ! grep -q 'Kafka Server started' "$scratch/log" || break
            sleep 0.2
            waited=$((waited + 1))
        done
        kill -TERM "$broker" 2>/dev/null || true
        # A broker that hangs on its way down is not waited for for ever.
        for ((waited = 0; waited < KAFKA_START_SECONDS * 5; waited++)); do
            kill -0 "$broker" 2>/dev/null || break
            sleep 0.2
        done
        kill -KILL "$broker" 2>/dev/null || true
        wait "$broker" 2>/dev/null || true
        [[ ! -s $home/classes.jsa ]] || status=0
    fi
    [[ $status -eq 0 ]] || tail -n 5 "$scratch/log" >&2
    rm -rf "$scratch"
    return "$status"
}
