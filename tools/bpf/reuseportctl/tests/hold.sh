# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2013,SC2016,SC2030,SC2031,SC2046,SC2086,SC2034,SC2154
# Services that are open between changes, and generations that follow their server.

# A server whose workers open sockets of their own: A, and once it is told to, B. Sets main.
replacing_server() {
	rm -f "$tmp/go"
	mkfifo "$tmp/go"
	sh -c "'$helper' serve $ip 127.0.0.1 $port A & a=\$!
		trap 'kill \$a \$b; wait; exit' TERM
		read -r _ <'$tmp/go'
		'$helper' serve $ip 127.0.0.1 $port B & b=\$!
		while :; do wait; done" &
	main=$!
	echo $main >>"$tmp/pids"
	until_sockets 4
	a=$(children $main)
	echo $a >>"$tmp/pids"
}

# Worker B of the same server binds too.
add_workers() {
	echo >"$tmp/go"
	until_sockets 8
	children $main >>"$tmp/pids"
}

# Each NAME answers some of 200 questions, each from a new socket.
all_share() {
	must "$helper" load -f 200 $ip 127.0.0.1 "$port"
	for name; do says "^$name [1-9]"; done
}

# attach_open [OPTION...]
attach_open() { must "$ctl" attach "$s" $ip "127.0.0.1:$port" --pid "$main" "$@"; }

# Workers that a server starts while its service is open get their share, as without us; restart
# then replaces all of them, and leaves the service open.
test_open() {
	replacing_server
	attach_open
	show
	says '"open":true'
	add_workers
	all_share A B
	must "$ctl" restart "$s" --idle 300ms -- "$helper" serve $ip 127.0.0.1 "$port" C
	says 'generation 1 .* has stopped'
	pid_of C >/dev/null
	until_sockets 4
	all_from C
	show
	says '"open":true' '"current":2'
	must "$ctl" metrics
	says "^reuseport_open{service=\"$s\"} 1"
}

# If the workers of the time of attach are all gone, the server is still the one to replace.
test_open_replaced() {
	replacing_server
	attach_open
	add_workers
	kill $a
	until_sockets 4
	all_from B
	must "$ctl" restart "$s" --idle 300ms -- "$helper" serve $ip 127.0.0.1 "$port" C
	says 'generation 1 .* has stopped'
	pid_of C >/dev/null
	all_from C
}

# A restart that fails leaves the service open, with all workers.
test_open_in_vain() {
	replacing_server
	attach_open
	add_workers
	refuse 'exited with status 3' "$ctl" restart "$s" -- "$helper" serve -x $ip 127.0.0.1 "$port" C
	says 'nothing has changed'
	show
	says '"open":true'
	all_share A B
}

# UDP without flows is open too, and --hold keeps any service held.
test_open_modes() {
	ip=udp
	replacing_server
	attach_open --udp none
	show
	says '"open":true'
	must "$ctl" detach "$s"
	attach_open --udp none --hold
	show
	says '"open":false'
	refuse 'attached with --hold' "$ctl" release "$s"
	must "$ctl" detach "$s"
	attach_open
	show
	says '"open":false'
	refuse 'by flow or by id' "$ctl" release "$s"
}

# From hold on a server that binds gets nothing, until the switch, or until release.
test_hold() {
	server A
	main=$pid
	attach_open
	must "$ctl" -n hold "$s"
	must "$ctl" hold "$s"
	says "selects only generation 1, helper($main) with 4 sockets"
	server B
	b=$pid
	all_from A
	must "$ctl" release "$s"
	all_share A B
	must "$ctl" hold "$s"
	all_from A
	must "$ctl" switch "$s" --pid "$b"
	all_from B
	refuse 'generation 1 .* still has sockets' "$ctl" release "$s"
	must "$ctl" drain "$s" --idle 300ms --kill TERM
	show
	says '"open":true' '"current":2'
	kill "$b"
	until_sockets 0
	refuse 'has no socket any more' "$ctl" hold "$s"
}

# Where flows decide, refresh puts new sockets of the server into its generation, and no
# others; a flow keeps its slot.
test_refresh() {
	ip=udp
	replacing_server
	attach_open
	begin_load -c 1000000 -f 20 -p 10
	until_flows 20
	add_workers
	all_from A
	server X
	must "$ctl" refresh "$s"
	says '4 new sockets in generation 1'
	must "$ctl" refresh "$s"
	says ' 0 new sockets'
	all_share A B
	! grep -q '^X ' "$tmp/out" || broken 'a socket of another process joined'
	show
	says '"sockets":8'
	finish_load
	says '^A [0-9]*$' '^moved 0$'
}

# Slots of workers that are gone are used again: as many replacements as there are.
test_refresh_reuse() {
	ip=udp
	replacing_server
	attach_open --slots 4
	add_workers
	refuse 'too few for 4 more sockets' "$ctl" refresh "$s"
	all_from A
	kill $a
	until_sockets 4
	must "$ctl" refresh "$s"
	says '4 new sockets in generation 1'
	all_from B
}

# follow does that by itself, and may be killed at any time.
test_follow() {
	ip=udp
	replacing_server
	attach_open
	"$ctl" follow "$s" >"$tmp/follow" 2>&1 &
	follow=$!
	echo $follow >>"$tmp/pids"
	add_workers
	until_said "$tmp/follow" '4 new sockets in generation 1'
	all_share A B
	kill $follow
	must "$ctl" detach "$s"
}
