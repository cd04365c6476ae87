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

# In a test "$ip" is the protocol, "$s" the service, "$port" the port; "must" and "refuse"
# end it on a failure.
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
	"$helper" serve "$@" $ip 127.0.0.1 "$port" "$name" &
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

# Sets sleepers: 100 more processes that have nothing to do with the service.
more_processes() {
	sleepers=
	for _ in $(seq 100); do
		sleep 600 &
		sleepers="$sleepers $!"
	done
	echo $sleepers | tr ' ' '\n' >>"$tmp/pids"
}

# The first process whose command line fits the pattern.
running() {
	for file in /proc/[0-9]*/cmdline; do
		! tr '\0' ' ' <"$file" 2>/dev/null | grep -q -- "^\([^ ]* \)*$1" || echo "$file"
	done | grep -o '[0-9]*' | sort -n | head -n 1
}

# The server of this name, however it was started.
pid_of() {
	running "\(serve\|both\) .* $port $1 " | tee -a "$tmp/pids"
}

# How many sockets there are at the port.
sockets() {
	file=/proc/net/$ip state=0A
	[ $ip = tcp ] || state=07
	grep -ciE "^ *[0-9]+: 0100007F:$(printf %04X "$port") [0-9A-F:]+ $state" $file
}

until_sockets() {
	tries=500
	until [ "$(sockets)" = "$1" ]; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || broken "$(sockets) sockets at port $port, not $1"
		usleep 10000
	done
}

# The service knows so many UDP peers.
until_flows() {
	tries=500
	until "$ctl" flows "$s" 2>/dev/null | grep -q "^$1 flows\$"; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || broken "not $1 flows: $("$ctl" flows "$s" 2>&1 | tail -n 1)"
		usleep 10000
	done
}

server() {
	had=$(sockets)
	serve "$@"
	until_sockets $((had + ${sockets:-4}))
}

attach() {
	must "$ctl" attach "$s" $ip "127.0.0.1:$port" --pid "$1"
}

# Ask 40 times (or so often), each time from a new socket; all answers come from $1.
all_from() {
	"$helper" load -f "${2:-40}" $ip 127.0.0.1 "$port" >"$tmp/out" || broken "answers failed"
	says "^$1 ${2:-40}\$"
}

begin_load() {
	"$helper" load "$@" $ip 127.0.0.1 "$port" >"$tmp/load" &
	load=$!
	echo $load >>"$tmp/pids"
}

end_load() {
	wait $load || { cp "$tmp/load" "$tmp/out" && broken "the load had failures"; }
	cp "$tmp/load" "$tmp/out"
	says '^failed 0$'
}

# The same for a load that runs until SIGTERM.
finish_load() {
	usleep 200000
	kill $load
	end_load
}

show() {
	must "$ctl" -j show "$s"
}

# until_said FILE PATTERN
until_said() {
	tries=1000
	until grep -q -- "$2" "$1"; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || broken "not said in time: $2"
		usleep 10000
	done
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
		s=$(echo "$t" | cut -c1-24)
		(
			ip=tcp sockets=4
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
		0) echo "ok $nr $t" ;;
		4) echo "ok $nr $t # SKIP $(cat "$tmp/why")" ;;
		*) echo "not ok $nr $t" && failures=$((failures + 1)) ;;
		esac
	done
	rm -r "$tmp"
	[ $failures = 0 ]
}
