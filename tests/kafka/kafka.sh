#!/usr/bin/env bash
# A real Apache Kafka for tests and demos: one broker on loopback. Needs Java 17 or newer, and Maven to fetch it once.
#
#   kafka.sh fetch                copies Kafka into .kafka/ of the repository (once; the other commands do it too)
#   kafka.sh run PORT DIR [CPORT] runs a broker with its data in DIR until stdin ends (then DIR is removed) or it dies
#   kafka.sh start PORT DIR [CPORT]  starts one in the background and waits until it answers
#   kafka.sh stop DIR             stops the broker that was started on DIR
#   kafka.sh env PORT             prints what a shell wants to know of it
#
# CPORT, the controller's port, is PORT + 1 unless given. DIR keeps topics over restarts; DIR/server.log is the log and
# DIR/pid the process. Where KAFKA_SECURE_PORT is set, it also listens there with TLS and logins: user `bidstream`, password
# `secret` by PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512; DIR/ca.pem is its certificate, DIR/other-ca.pem that of nobody.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
version=$(sed -n '/kafka_2.13/{n;s/.*<version>\(.*\)<.*/\1/p;}' "$here/pom.xml")
libs="$root/.kafka/$version"
answers_seconds_max=60

die() { echo "kafka.sh: $*" >&2; exit 1; }
usage() { sed -n '2,13s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

fetch() {
    [ -f "$libs/.complete" ] && return
    command -v java >/dev/null || die "Java is not installed: the tests on Kafka need Java 17 or newer (java)"
    command -v mvn >/dev/null || die "Maven is not installed: it fetches Kafka $version from Maven Central (mvn)"
    mkdir -p "$root/.kafka"
    exec 7>"$root/.kafka/lock"
    flock 7
    [ -f "$libs/.complete" ] && return
    echo "kafka.sh: fetching Apache Kafka $version with Maven into $libs" >&2
    mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$libs" -DincludeScope=runtime >&2 ||
        die "Maven could not fetch Kafka $version"
    touch "$libs/.complete"
    exec 7>&-
}

# Makes the certificates of a listener with TLS.
certify() {
    local dir=$1 name alias
    for name in server other; do
        [ -f "$dir/$name.p12" ] && continue
        keytool -genkeypair -alias "$name" -keyalg RSA -keysize 2048 -validity 3650 -dname "CN=127.0.0.1,O=$name" \
            -ext "SAN=ip:127.0.0.1,dns:localhost" -ext bc=ca:true -storetype PKCS12 -keystore "$dir/$name.p12" \
            -storepass changeit >>"$dir/server.log" 2>&1 || die "keytool could not make a certificate: see $dir/server.log"
    done
    keytool -exportcert -rfc -alias server -keystore "$dir/server.p12" -storepass changeit >"$dir/ca.pem" 2>/dev/null
    keytool -exportcert -rfc -alias other -keystore "$dir/other.p12" -storepass changeit >"$dir/other-ca.pem" 2>/dev/null
}

# Writes the properties, and formats the data directory when it is new.
prepare() {
    local port=$1 dir=$2 controller=$3 secure=${KAFKA_SECURE_PORT-} listeners users=()
    mkdir -p "$dir"
    listeners="PLAINTEXT://127.0.0.1:$port${secure:+,SASL_SSL://127.0.0.1:$secure},CONTROLLER://127.0.0.1:$controller"
    cat >"$dir/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:$controller
listeners=$listeners
advertised.listeners=$listeners
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
log.dirs=$dir/data
num.partitions=4
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.message.timestamp.type=LogAppendTime
auto.create.topics.enable=false
# Larger than what the gate lets in, so that oversized records reach it.
message.max.bytes=8388608
# What retention removes goes at once.
log.segment.delete.delay.ms=0
PROPERTIES
    if [ -n "$secure" ]; then
        certify "$dir"
        cat >>"$dir/server.properties" <<PROPERTIES
ssl.keystore.type=PKCS12
ssl.keystore.location=$dir/server.p12
ssl.keystore.password=changeit
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_bidstream="secret";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
PROPERTIES
        users=(--add-scram "SCRAM-SHA-256=[name=bidstream,password=secret]")
        users+=(--add-scram "SCRAM-SHA-512=[name=bidstream,password=secret]")
    fi
    [ -f "$dir/data/meta.properties" ] && return
    local id
    id=$(java -cp "$libs/*" kafka.tools.StorageTool random-uuid 2>>"$dir/server.log" | tail -n 1)
    java -cp "$libs/*" kafka.tools.StorageTool format -t "$id" -c "$dir/server.properties" --standalone "${users[@]}" \
        >>"$dir/server.log" 2>&1 || die "could not format $dir: see $dir/server.log"
}

# Starts the broker in the background; DIR/pid names it.
launch() {
    local dir=$1
    : >"$dir/server.log"
    # A small heap and the serial collector: the broker shares few cores with what it serves.
    java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$libs/*" kafka.Kafka "$dir/server.properties" \
        </dev/null >>"$dir/server.log" 2>&1 &
    echo $! >"$dir/pid.new"
    mv "$dir/pid.new" "$dir/pid"
    disown
}

answers() { grep -q 'Kafka Server started' "$1/server.log"; }

wait_until_it_answers() {
    local dir=$1 pid i
    pid=$(cat "$dir/pid")
    for ((i = 0; i < answers_seconds_max * 10; i++)); do
        answers "$dir" && return
        kill -0 "$pid" 2>/dev/null || die "the broker went; its log ends: $(tail -n 5 "$dir/server.log")"
        sleep 0.1
    done
    die "the broker does not answer after $answers_seconds_max s: see $dir/server.log"
}

stop() {
    local dir=$1 pid i
    [ -f "$dir/pid" ] || return 0
    pid=$(cat "$dir/pid")
    # Only the broker of this very directory, never another process that got its number.
    if ps -o args= -p "$pid" 2>/dev/null | grep -qF "$dir/server.properties"; then
        kill "$pid" 2>/dev/null || true
        for ((i = 0; i < 100; i++)); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -9 "$pid" 2>/dev/null || true
    fi
    rm -f "$dir/pid"
}

case "${1-}" in
fetch) fetch ;;
run)
    [ $# -ge 3 ] || usage
    fetch
    prepare "$2" "$3" "${4-$(($2 + 1))}"
    launch "$3"
    pid=$(cat "$3/pid")
    wait_until_it_answers "$3"
    echo ready
    # Whoever holds the other end of stdin may go in any way: the broker goes then.
    while kill -0 "$pid" 2>/dev/null; do
        read -r -t 1 || [ $? -gt 128 ] || { kill -9 "$pid" && rm -rf "$3"; break; }
    done
    ;;
start)
    [ $# -ge 3 ] || usage
    fetch
    prepare "$2" "$3" "${4-$(($2 + 1))}"
    launch "$3"
    wait_until_it_answers "$3"
    ;;
stop)
    [ $# -eq 2 ] || usage
    stop "$2"
    ;;
env)
    [ $# -eq 2 ] || usage
    echo "BIDSTREAM_BROKERS=127.0.0.1:$2"
    echo "KAFKA_CLASSPATH='$libs/*'"
    ;;
*) usage ;;
esac
