# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2013,SC2016,SC2030,SC2031,SC2046,SC2086,SC2034,SC2154
# What the tests of reuseportctl are made of; run-tests includes it.

helper=$here/helper
ctl=$here/../reuseportctl
[ -x "$ctl" ] && [ ! -d "$ctl" ] || ctl=$(command -v reuseportctl)
tmp=$(mktemp -d)
root=/sys/fs/bpf/reuseport
port=8000
nr=0

# In a test "$ip" is the protocol, "$host" and "$port" the address, "$s" the service; "must"
# and "refuse" end it on a failure.
broken() {
	echo "# $*"
	[ ! -s "$tmp/out" ] || sed 's/^/#   /' "$tmp/out" | head -n 20
	exit 1
}

must() {
	"$@" >"$tmp/out" 2>&1 || broken "failed: $*"
}

says() {
	for pattern; do
		grep -q -- "$pattern" "$tmp/out" || broken "not said: $pattern"
	done
}

# refuse PATTERN COMMAND...: the command fails with a message that fits
refuse() {
	pattern=$1
	shift
	! "$@" >"$tmp/out" 2>&1 || broken "did not fail: $*"
	says "$pattern"
	grep -q '^reuseportctl: ' "$tmp/out" || broken "no sentence from: $*"
}

# skip WHY: the test needs what this kernel or guest lacks
skip() {
	echo "$*" >"$tmp/why"
	exit 4
}

# Sets pid. serve NAME [OPTION...]
serve() {
	name=$1
	shift
	"$helper" serve "$@" $ip $host "$port" "$name" &
	pid=$!
	echo $pid >>"$tmp/pids"
}

children() {
	sed -n "s/^\([0-9]*\) (.*) [RSDT] $1 .*/\1/p" /proc/[0-9]*/stat 2>/dev/null
}

# calls COMMAND...: sets calls, how many system calls it makes
calls() {
	must "$helper" calls "$@"
	calls=$(sed -n 's/^calls //p' "$tmp/out")
}

# 100 more processes that have nothing to do with the service
more_processes() {
	for _ in $(seq 100); do
		sleep 600 &
		echo $! >>"$tmp/pids"
	done
}

# The first process whose command line matches PATTERN.
running() {
	for file in /proc/[0-9]*/cmdline; do
		! tr '\0' ' ' <"$file" 2>/dev/null | grep -q -- "^\([^ ]* \)*$1" || echo "$file"
	done | grep -o '[0-9]*' | sort -n | head -n 1
}

# The server of this name, however it was started.
pid_of() {
	running "\(serve\|both\) .* $port $1 " | tee -a "$tmp/pids"
}

# Address and port as in the files of /proc/net
address_in_proc() {
	case $host in
	::1) printf '00000000000000000000000001000000:%04X' "$port" ;;
	*) printf '0100007F:%04X' "$port" ;;
	esac
}

# How many sockets there are at the port.
sockets() {
	file=/proc/net/$ip state=0A
	[ $ip = tcp ] || state=07
	[ $host != ::1 ] || file=${file}6
	grep -ciE "^ *[0-9]+: $(address_in_proc) [0-9A-F:]+ $state" $file
}

# hold_lock DIRECTORY: as another reuseportctl does. Sets holder.
hold_lock() {
	: >"$tmp/hold"
	"$helper" hold "$1" >"$tmp/hold" &
	holder=$!
	echo $holder >>"$tmp/pids"
	until_said "$tmp/hold" held
}

# -- Waiting -------------------------------------------------------------------------

# wait_until WHAT COMMAND...: until COMMAND succeeds; the test fails if it never does
wait_until() {
	awaited=$1 tries=3000
	shift
	until "$@"; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || broken "waited too long for $awaited"
		usleep 10000
	done
}

# There are COUNT sockets at the port.
until_sockets() { wait_until "$1 sockets at port $port" has_sockets "$1"; }
has_sockets() { [ "$(sockets)" = "$1" ]; }

# COUNT connections wait to be accepted at the port; a listener has a process of its own.
until_waiting() { wait_until "$1 connections that wait at port $port" has_waiting "$1"; }
has_waiting() {
	# the receive queue of a listener is the number of waiting connections
	[ "$(awk -v at="$(address_in_proc)" '
		$2 == at && $4 == "0A" { sub(".*:", "", $5); n += hex($5) }
		function hex(s,	i, v) {
			for (i = 1; i <= length(s); i++)
				v = 16 * v + index("0123456789ABCDEF", substr(s, i, 1)) - 1
			return v
		}
		END { print n + 0 }' /proc/net/tcp)" = "$1" ]
}

# The service knows COUNT UDP peers.
until_flows() { wait_until "$1 flows" has_flows "$1"; }
has_flows() { "$ctl" flows "$s" 2>/dev/null | grep -q "^$1 flows\?\$"; }

# The service has counted COUNT packets since it was attached.
until_packets() { wait_until "$1 packets" has_packets "$1"; }
has_packets() { [ "$(packets)" -ge "$1" ]; }
packets() {
	"$ctl" metrics | awk -v s="packets_total{service=\"$s\"" '
		index($0, s) { n += $2 }
		END { print n + 0 }'
}

# FILE contains PATTERN.
until_said() { wait_until "\"$2\"" grep -qs -- "$2" "$1"; }

server() {
	had=$(sockets)
	serve "$@"
	until_sockets $((had + ${sockets:-4}))
}

attach() {
	address=$host:$port
	[ $host != ::1 ] || address="[::1]:$port"
	must "$ctl" attach "$s" $ip "$address" --pid "$1" --hold
}

# Ask 40 times (or so often), each time from a new socket; all answers come from $1.
all_from() {
	"$helper" load -f "${2:-40}" $ip $host "$port" >"$tmp/out" || broken "answers failed"
	says "^$1 ${2:-40}\$"
}

begin_load() {
	"$helper" load "$@" $ip $host "$port" >"$tmp/load" &
	load=$!
	echo $load >>"$tmp/pids"
}

end_load() {
	wait $load || { cp "$tmp/load" "$tmp/out" && broken "the load had failures"; }
	cp "$tmp/load" "$tmp/out"
	says '^failed 0$'
}

# The same for a load that runs until SIGTERM, upon which it asks once more.
finish_load() {
	kill $load
	end_load
}

show() {
	must "$ctl" -j show "$s"
}

# statement TEST: what it proves, in the comment above it
statement() {
	awk -v test="test_$1() {" '
		/^# / { text = text (text ? " " : "") substr($0, 3); next }
		$0 == test { print text; exit }
		{ text = "" }' "$here"/*.sh
}

# run_tests TEST...: each in a subshell, with a service and a port of its own. Afterwards its
# services and processes are removed.
run_tests() {
	echo TAP version 13
	echo "1..$#"
	failures=0
	for t; do
		nr=$((nr + 1)) port=$((port + 10))
		: >"$tmp/pids"
		: >"$tmp/out"
		what="$t: $(statement "$t")"
		s=$(echo "$t" | cut -c1-24)
		(
			ip=tcp host=127.0.0.1 sockets=4
			"test_$t"
		)
		status=$?
		for c in "$s" "x$s"; do [ ! -e "$root/$c" ] || "$ctl" detach "$c" >/dev/null 2>&1; done
		for p in $(cat "$tmp/pids"); do
			for child in $(children "$p"); do kill -KILL "$child" 2>/dev/null; done
			kill -KILL "$p" 2>/dev/null
		done
		for d in "$root"/*; do
			[ ! -d "$d" ] || "$ctl" detach "$(basename "$d" | sed 's/+.*//')" >/dev/null 2>&1
		done
		case $status in
		0) echo "ok $nr $what" ;;
		4) echo "ok $nr $what # SKIP $(cat "$tmp/why")" ;;
		*) echo "not ok $nr $what" && failures=$((failures + 1)) ;;
		esac
	done
	rm -r "$tmp"
	[ $failures = 0 ]
}
