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

# The current generation has COUNT sockets. They may join one by one.
until_members() { wait_until "$1 sockets in the generation" has_members "$1"; }
has_members() { "$ctl" -j show "$s" 2>/dev/null | grep -q "\"current\":true.*\"sockets\":$1,"; }

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
	says 'which 4 more sockets of its server have joined: nothing else has changed'
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

# refresh adds the new sockets of each of several processes.
test_refresh_several() {
	replacing_server
	server C
	must "$ctl" attach "$s" tcp "127.0.0.1:$port" --hold --pid "$pid" --pid "$main"
	echo >"$tmp/go"
	until_sockets 12
	children $main >>"$tmp/pids"
	must "$ctl" refresh "$s"
	says '4 new sockets in generation 1'
	all_share A B C
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
	until_members 8
	all_share A B
	kill $follow
	must "$ctl" detach "$s"
}

# How often a process has waited for something, and the seconds since the machine was started.
waits_of() { sed -n 's/^voluntary_ctxt_switches:[^0-9]*//p' "/proc/$1/status"; }
uptime_s() { sed 's/[. ].*//' /proc/uptime; }

# Where the kernel reports new sockets, follow waits for a report instead of looking ten times a
# second.
test_follow_idle() {
	"$ctl" -j probe | grep -q '"joined_sockets":true' || skip 'this kernel does not report new sockets'
	for ip in tcp udp; do
		replacing_server
		attach_open --hold
		"$ctl" follow "$s" 2>"$tmp/follow" &
		follow=$!
		echo $follow >>"$tmp/pids"
		add_workers
		until_members 8
		waits=$(waits_of $follow) begin=$(uptime_s)
		sleep 4
		waits=$(($(waits_of $follow) - waits)) seconds=$(($(uptime_s) - begin))
		[ $waits -lt $((5 * seconds)) ] || broken "follow woke up $waits times in $seconds s"
		kill $follow
		must "$ctl" detach "$s"
		kill $main
		until_sockets 0
	done
}

# orphan COMMAND...: run it in a session of its own, as a child of no process here
orphan() { (setsid "$@" &); }

# of_name NAME: the processes that serve with that name
of_name() {
	for file in /proc/[0-9]*/cmdline; do
		! tr '\0' ' ' <"$file" 2>/dev/null | grep -q " $port $1 \$" || echo "$file"
	done | grep -o '[0-9]*'
}

# refresh finds workers that are no descendants of the server any more, and no other server.
test_refresh_orphans() {
	ip=udp
	server A -r
	a=$pid
	attach "$a"
	# of the same program, cgroup and user, but started by itself
	orphan "$helper" serve $ip 127.0.0.1 "$port" X
	until_sockets 8
	of_name X >>"$tmp/pids"
	kill -USR2 "$a"
	until_sockets 9
	of_name A >>"$tmp/pids"
	must "$ctl" refresh "$s"
	says ' 1 new socket in generation 1'
	all_share A A+
	! grep -q '^X ' "$tmp/out" || broken 'another server joined'
}

# In the session that the server leads any process is its worker, whatever it executes.
test_refresh_session() {
	ip=udp
	rm -f "$tmp/go"
	mkfifo "$tmp/go"
	setsid sh -c "'$helper' serve udp 127.0.0.1 $port A &
		read -r _ <'$tmp/go'
		('$helper' serve udp 127.0.0.1 $port B &)
		while :; do wait; sleep 1; done" &
	main=$!
	echo $main >>"$tmp/pids"
	until_sockets 4
	of_name A >>"$tmp/pids"
	attach_open
	echo >"$tmp/go"
	until_sockets 8
	of_name B >>"$tmp/pids"
	must "$ctl" refresh "$s"
	says ' 4 new sockets in generation 1'
	all_share A B
}

# A server that restart has started is known by its environment; the next one is another.
test_refresh_restarted() {
	ip=udp
	rm -f "$tmp/go"
	mkfifo "$tmp/go"
	server A
	attach "$pid"
	must "$ctl" restart "$s" --idle 100ms --wait 4 -- sh -c "'$helper' serve udp 127.0.0.1 $port B &
		read -r _ <'$tmp/go'
		(setsid '$helper' serve udp 127.0.0.1 $port C &)
		while :; do wait; sleep 1; done"
	"$ctl" pid "$s" >>"$tmp/pids"
	of_name B >>"$tmp/pids"
	echo >"$tmp/go"
	until_sockets 8
	of_name C >>"$tmp/pids"
	orphan env REUSEPORTCTL_GENERATION=3 "$helper" serve udp 127.0.0.1 "$port" X
	until_sockets 12
	of_name X >>"$tmp/pids"
	must "$ctl" refresh "$s"
	says ' 4 new sockets in generation 2'
	all_share B C
	! grep -q '^X ' "$tmp/out" || broken 'another server joined'
}

# A process in another cgroup is not of the server.
test_refresh_cgroup() {
	ip=udp
	mkdir "$tmp/cgroup"
	mount -t cgroup2 none "$tmp/cgroup" 2>/dev/null || skip 'no cgroups'
	other=$tmp/cgroup/reuseportctl-$$
	server A -r
	attach "$pid"
	kill -USR2 "$pid"
	until_sockets 5
	of_name A >>"$tmp/pids"
	of_name A | tail -n 1 >"$tmp/last"
	if mkdir "$other" && cat "$tmp/last" >"$other/cgroup.procs"; then
		"$ctl" refresh "$s" >"$tmp/out" 2>&1
		cat "$tmp/last" >"$tmp/cgroup/cgroup.procs"
		rmdir "$other"
	fi
	umount "$tmp/cgroup"
	says ' 0 new sockets in generation 1'
	must "$ctl" refresh "$s"
	says ' 1 new socket in generation 1'
}
