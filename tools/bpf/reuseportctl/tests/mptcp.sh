# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2013,SC2016,SC2030,SC2031,SC2046,SC2086,SC2034,SC2154
# Servers that listen by MPTCP, as those of Go do by default.

need_mptcp() {
	[ "$(cat /proc/sys/net/mptcp/enabled 2>/dev/null)" = 1 ] || skip 'a kernel without MPTCP'
}

# Can MPTCP listeners be in the map of this kernel?
is_mptcp_steered() {
	grep -q ' bpf_mptcp_first_subflow$' /proc/kallsyms
}

# On a kernel that has no MPTCP listeners in maps, attach fails with a remedy.
test_mptcp_refused() {
	need_mptcp
	! is_mptcp_steered || skip 'a kernel that steers MPTCP'
	server A -m
	refuse 'MPTCP.*multipathtcp=0' "$ctl" attach "$s" tcp "127.0.0.1:$port" --pid "$pid"
	all_from A
}

# A restart loses no connection, each slot gets some, and detach leaves the server alone.
test_mptcp_restart() {
	need_mptcp
	is_mptcp_steered || skip 'a kernel that does not steer MPTCP'
	server A -m
	before=$pid
	attach "$before"
	says "generation 1 is helper($before) with 4 sockets"
	begin_load -c 300 -f 2 -p 5
	must "$ctl" restart "$s" --idle 300ms -- "$helper" serve -m $ip 127.0.0.1 "$port" B
	says 'switched to generation 2' 'generation 1 .* has stopped'
	pid_of B >/dev/null
	all_from B 100
	end_load
	show
	says '"sockets":4' '"sockets_outside":0'
	# each of the four gets connections, and is known by its process
	for n in 0 1 2 3; do
		tr '{' '\n' <"$tmp/out" | grep -q "^\"slot\":$n,.*\"packets\":[1-9]" || broken "slot $n got none"
	done
	must "$ctl" detach "$s"
	all_from B
}

# From TCP to MPTCP and back: what a new release of Go does to a server.
test_mptcp_after_tcp() {
	need_mptcp
	is_mptcp_steered || skip 'a kernel that does not steer MPTCP'
	server A
	attach "$pid"
	must "$ctl" restart "$s" --idle 300ms -- "$helper" serve -m $ip 127.0.0.1 "$port" B
	pid_of B >/dev/null
	all_from B
	must "$ctl" restart "$s" --idle 300ms -- "$helper" serve $ip 127.0.0.1 "$port" C
	pid_of C >/dev/null
	all_from C
}

# A server written in Go is restarted without a lost connection.
test_mptcp_go() {
	[ -x "$here/go-server" ] || skip 'tests built without Go'
	need_mptcp
	is_mptcp_steered || skip 'a kernel that does not steer MPTCP'
	"$here/go-server" serve 4 127.0.0.1 "$port" A &
	pid=$!
	echo $pid >>"$tmp/pids"
	until_sockets 4
	attach "$pid"
	begin_load -c 300 -f 2 -p 5
	must "$ctl" restart "$s" --idle 300ms -- "$here/go-server" serve 4 127.0.0.1 "$port" B
	says 'switched to generation 2' 'generation 1 .* has stopped'
	pid_of B >/dev/null
	all_from B 100
	end_load
}
