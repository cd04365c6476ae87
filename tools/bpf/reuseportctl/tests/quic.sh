# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2013,SC2016,SC2030,SC2031,SC2046,SC2086,SC2034,SC2154
# QUIC services: connections stay with their worker by their ids.

peer=$here/quic_peer

# learn: let the service learn from the server's packets, if this kernel can
learn() {
	mkdir -p "$tmp/cgroup"
	mount -t cgroup2 none "$tmp/cgroup" 2>/dev/null || skip 'no cgroup v2'
	trap 'umount "$tmp/cgroup" 2>/dev/null' EXIT
	"$ctl" probe | grep -q '^yes.*learn' || skip 'programs cannot be attached to cgroups'
}

# Sets pid. quic_server NAME [OPTION...]
expected=0
quic_server() {
	ip=udp name=$1 expected=$((expected + 4))
	shift
	"$peer" serve "$@" $host "$port" "$name" &
	pid=$!
	echo $pid >>"$tmp/pids"
	until_sockets $expected
}

# quic_load [OPTION...]: 40 connections
quic_load() {
	: >"$tmp/load"
	"$peer" load "$@" $host "$port" 40 >"$tmp/load" &
	load=$!
	echo $load >>"$tmp/pids"
	until_said "$tmp/load" connected
}

quic_attach() {
	must "$ctl" attach "$s" udp "$host:$port" --pid "$pid" --udp quic "$@"
}

# quic_finish [PATTERN...]: end the load, of which nothing may have moved or failed
quic_finish() {
	kill $load
	wait $load
	cp "$tmp/load" "$tmp/out"
	says '^failed 0$' '^moved 0$' "$@"
}

# all_new NAME: new connections are answered by a server of that name
all_new() {
	: >"$tmp/new"
	"$peer" load $host "$port" 40 >"$tmp/new" &
	new=$!
	until_said "$tmp/new" connected
	kill $new
	wait $new
	cp "$tmp/new" "$tmp/out"
	says '^failed 0$' '^moved 0$' "^by $1 40$"
}

# Clients that change their ports stay with their workers over a switch: the ids are learned from
# the server's packets.
test_quic_moves() {
	learn
	quic_server A
	quic_attach
	must "$ctl" show "$s"
	says 'by quic' "learned from the server's packets"
	quic_load -m
	quic_server B
	must "$ctl" switch "$s" --pid "$pid"
	all_new B
	quic_finish '^by A 40$'
	must "$ctl" -j show "$s"
	says '"learns_from_server":true' '"known":[4-9][0-9]*,'
	must "$ctl" metrics
	says "^reuseport_quic_known_ids{service=\"$s\"} [4-9][0-9]*"
	document 0 metrics
	says '"metric":"reuseport_quic_known_ids",'
}

# A client that takes new ids stays with its worker, and with these ids it may change its port.
test_quic_new_ids() {
	learn
	quic_server A -l 16
	quic_attach
	quic_load -n
	quic_server B -l 16
	must "$ctl" switch "$s" --pid "$pid"
	all_new B
	quic_finish '^by A 40$'
}

# Ids that begin with the socket's cookie need no table: any of them, from any port.
test_quic_cookies() {
	quic_server A -c
	quic_attach
	quic_load -m -n
	quic_server B -c
	must "$ctl" switch "$s" --pid "$pid"
	all_new B
	quic_finish '^by A 40$'
	must "$ctl" flows "$s"
	says 'flows'
}

# Without cgroup v2 ids are learned from the clients' packets, as show prints.
test_quic_without_cgroup() {
	! grep -q ' cgroup2 ' /proc/mounts || skip 'cgroup v2 is mounted'
	quic_server A
	quic_attach
	must "$ctl" show "$s"
	says "learned from clients' packets alone"
	quic_load -m
	quic_server B
	must "$ctl" switch "$s" --pid "$pid"
	all_new B
	quic_finish '^by A 40$'
}

# An upgrade loses no id, and goes on learning.
test_quic_upgrade() {
	learn
	quic_server A
	quic_attach
	quic_load -m
	must "$ctl" upgrade "$s" --force
	quic_server B
	must "$ctl" switch "$s" --pid "$pid"
	all_new B
	quic_finish '^by A 40$'
}

# An upgrade where there is no cgroup v2 goes on without the server's packets, and show reports it.
test_quic_upgrade_elsewhere() {
	learn
	quic_server A
	quic_attach
	umount "$tmp/cgroup"
	! grep -q ' cgroup2 ' /proc/mounts || skip 'cgroup v2 is mounted elsewhere'
	must "$ctl" upgrade "$s" --force
	must "$ctl" show "$s"
	says "learned from clients' packets alone"
}

# An id at offset 1, where only short headers of QUIC have it, is rejected.
test_quic_not_by_id() {
	quic_server A
	refuse 'use --udp quic' "$ctl" attach "$s" udp "$host:$port" --pid "$pid" --udp id:1:4
	[ ! -e "$root/$s" ] || broken 'a service was made'
}

# After detach no program is left in the cgroup.
test_quic_detach() {
	learn
	quic_server A
	quic_attach
	must "$ctl" detach "$s"
	! ls "$root/$s" >/dev/null 2>&1 || broken 'pins are left'
	quic_load
	quic_finish
}
