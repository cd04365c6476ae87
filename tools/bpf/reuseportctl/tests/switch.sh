# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2013,SC2016,SC2030,SC2031,SC2046,SC2086,SC2034,SC2154
# Switching to another generation and back, and what happens when sockets close.

# switch moves all new connections to the new server, without a failure.
test_switch() {
	server A
	old=$pid
	attach "$old"
	server B
	begin_load -c 100 -f 2 -p 5
	must "$ctl" switch "$s" --pid "$pid"
	says "switched to generation 2, helper($pid)"
	all_from B
	show
	says '"current":2'
	end_load
}

# switch waits until the new server has its sockets, or as many as --wait says.
test_switch_waits() {
	server A
	attach "$pid"
	serve B -d 500
	must "$ctl" switch "$s" --pid "$pid"
	all_from B
	serve C -d 200 -w 2
	must "$ctl" switch "$s" --pid "$pid" --wait 2
	all_from C
}

# switch --settle waits before it switches; a server that exits meanwhile is noticed.
test_settle() {
	server A
	attach "$pid"
	serve B
	must "$ctl" switch "$s" --pid "$pid" --settle 100ms
	all_from B
	refuse 'exited with status 3' "$ctl" restart "$s" --settle 5s -- sh -c \
		"$helper serve $ip 127.0.0.1 $port C & sleep 2; kill \$!; exit 3"
	all_from B
}

# If the sockets do not come, switch fails and traffic stays with the old server.
test_switch_in_vain() {
	server A
	attach "$pid"
	sockets=2 server B -w 2
	refuse 'has 2 of 4 sockets.*--wait' "$ctl" switch "$s" --pid "$pid" --timeout 300ms
	all_from A
	sleep 60 &
	echo $! >>"$tmp/pids"
	refuse 'has 0 of 4 sockets.*does it bind' "$ctl" switch "$s" --pid $! --timeout 100ms
	must "$ctl" switch "$s" --pid "$pid" --wait 2
	all_from B
}

# rollback returns to the generation before; switch leads forward again.
test_rollback() {
	server A
	a=$pid
	attach "$a"
	server B
	b=$pid
	refuse 'no generation before 1' "$ctl" rollback "$s"
	must "$ctl" switch "$s" --pid "$b"
	must "$ctl" -n rollback "$s"
	all_from B
	must "$ctl" rollback "$s"
	says "back to generation 1, helper($a)"
	all_from A
	# and to the newer one again
	must "$ctl" switch "$s" --pid "$b"
	says 'switched to generation 2.*before'
	all_from B
	kill "$a"
	until_sockets 4
	refuse 'no generation before 2' "$ctl" rollback "$s"
}

# rollback makes as many system calls however many processes run.
test_rollback_calls() {
	"$ctl" -j probe | grep -q '"group_program":true' || skip 'a kernel without BTF or iterators'
	server A
	attach "$pid"
	server B
	must "$ctl" switch "$s" --pid "$pid"
	calls "$ctl" -n rollback "$s"
	few=$calls
	more_processes
	calls "$ctl" -n rollback "$s"
	[ "$calls" = "$few" ] || broken "$calls system calls, $few without 100 processes more"
	calls "$ctl" rollback "$s"
	[ "$calls" -lt $((few + 20)) ] || broken "$calls system calls, a dry run makes $few"
	all_from A
}

# When the current generation dies, the newest with sockets gets its traffic.
test_fallback() {
	server A
	a=$pid
	attach "$a"
	server B
	b=$pid
	must "$ctl" switch "$s" --pid "$b"
	server C
	must "$ctl" switch "$s" --pid "$pid"
	server D
	d=$pid
	kill -KILL "$pid"
	until_sockets 12
	# the sockets of D were in no generation
	all_from C
	kill "$(pid_of C)"
	until_sockets 8
	all_from B
	kill "$b"
	until_sockets 4
	all_from A
	server E
	kill "$a"
	until_sockets 4
	all_from E
	must "$ctl" show "$s"
	says 'in no generation (helper, PID .*the kernel distributes by hash'
	must "$ctl" switch "$s" --pid "$(pid_of E)"
	all_from E
}

# When workers of the current generation die, the others get their share.
test_holes() {
	server A
	attach "$pid"
	server B
	must "$ctl" switch "$s" --pid "$pid"
	# the parent of a worker that is killed only waits
	set -- $(children "$pid")
	kill -KILL "$1" "$3"
	until_sockets 6
	all_from B 100
	show
	says '"sockets":2'
}

can_migrate() {
	"$ctl" -j probe | grep -q '"migration":true' || skip 'a kernel without migration (before 5.14)'
	# without the kernel's own migration by hash
	echo 0 >/proc/sys/net/ipv4/tcp_migrate_req
}

# Connections that wait at a listener which closes move to the current generation.
test_migrate() {
	can_migrate
	server A -a
	old=$pid
	attach "$old"
	begin_load -f 40
	until_waiting 40
	server B
	must "$ctl" switch "$s" --pid "$pid"
	server C
	must "$ctl" switch "$s" --pid "$pid"
	server D
	until_waiting 40
	kill "$old"
	until_sockets 12
	end_load
	says '^C 40$'
}

# Connections that wait at a worker which dies move to another one of its generation.
test_migrate_within() {
	can_migrate
	server A
	attach "$pid"
	server B
	must "$ctl" switch "$s" --pid "$pid"
	set -- $(children "$pid")
	kill -STOP "$@"
	begin_load -f 40
	until_waiting 40
	kill -KILL "$1" "$2" "$3"
	until_sockets 5
	until_waiting 40
	kill -CONT "$4"
	end_load
	says '^B 40$'
}

# Without a service those connections are reset: the two tests above can fail.
test_no_migration() {
	can_migrate
	server A -a
	old=$pid
	begin_load -f 40
	until_waiting 40
	server B
	kill "$old"
	until_sockets 4
	! wait $load || broken 'nothing was reset'
	cp "$tmp/load" "$tmp/out"
	says '^failed 40$'
}

# rollback and switch attach the program again if the group has lost it.
test_program_gone() {
	server A
	a=$pid
	attach "$a"
	server B
	b=$pid
	must "$ctl" switch "$s" --pid "$b"
	must "$helper" strip "$(children "$a" | head -n 1)"
	must "$ctl" rollback "$s"
	all_from A
	must "$helper" strip "$(children "$a" | head -n 1)"
	must "$ctl" switch "$s" --pid "$b"
	says 'before'
	all_from B
}

# rollback and switch only replace another program on the group with --force.
test_program_replaced() {
	"$ctl" -j probe | grep -q '"group_program":true' || skip 'a kernel without BTF or iterators'
	server A
	a=$pid
	attach "$a"
	server B
	b=$pid
	must "$ctl" switch "$s" --pid "$b"
	"$helper" filter tcp 127.0.0.1 "$port" &
	echo $! >>"$tmp/pids"
	until_sockets 9
	show
	says '"program":"replaced"'
	refuse 'classic BPF program.*--force' "$ctl" rollback "$s"
	refuse 'classic BPF program.*--force' "$ctl" switch "$s" --pid "$a"
	show
	says '"current":2' '"program":"replaced"'
	must "$ctl" rollback "$s" --force
	all_from A
	must "$ctl" switch "$s" --pid "$b"
	all_from B
}

# Generation numbers go on past a generation that stays.
test_many_rollbacks() {
	sockets=1 server A -w 1
	attach "$pid"
	sockets=1 server X -w 1
	for n in $(seq 2 64) 66; do
		sockets=1 server "G$n" -w 1
		must "$ctl" -n switch "$s" --pid "$pid"
		says "would switch to generation $n,"
		must "$ctl" switch "$s" --pid "$pid"
		all_from "G$n"
		[ $n -lt 66 ] || break
		must "$ctl" rollback "$s"
		says 'back to generation 1,'
		kill "$pid"
		until_sockets 2
	done
	show
	says '"generation":66,.*"generation":1,'
	kill "$pid"
	until_sockets 2
	# the fallback is the generation that is left, not X, which never was one
	all_from A
}

# inherit PID NAME: a process that has got the sockets of PID. Sets pid.
inherit() {
	"$helper" inherit "$1" $ip "$2" &
	pid=$!
	echo $pid >>"$tmp/pids"
	wait_until "the sockets of $2" has_inherited $pid
}
has_inherited() { ls -l "/proc/$1/fd" 2>/dev/null | grep -q 'socket:'; }

# A process that takes over the sockets of a generation becomes its server by switch, and is the one
# that restart stops. Before that, restart and drain --kill change nothing and say what to do.
test_taken_over() {
	sockets=4 server A -w 1 -s 4
	a=$pid
	attach "$a"
	inherit "$(children "$a")" B
	b=$pid
	refuse "helper($b), which helper($a) has not started, also has sockets.*switch $s --pid $b" \
		"$ctl" restart "$s" -- sh -c ": >$tmp/started"
	[ ! -e "$tmp/started" ] || broken 'something was started'
	kill "$a"
	wait "$a"
	refuse "helper($a), the main process .* has ended, and helper($b) has its .*switch $s --pid $b" \
		"$ctl" restart "$s" -- sh -c ": >$tmp/started"
	[ ! -e "$tmp/started" ] || broken 'something was started'
	must "$ctl" -n switch "$s" --pid "$b"
	[ "$("$ctl" -j show "$s" | grep -c "\"pid\":$a,")" = 1 ] || broken 'a dry run has changed the server'
	must "$ctl" switch "$s" --pid "$b"
	says "generation 1, helper($b), which has taken over its sockets"
	[ "$("$ctl" pid "$s")" = "$b" ] || broken 'it is not the server'
	all_from B
	must "$ctl" restart "$s" --idle 100ms -- "$helper" serve $ip 127.0.0.1 "$port" C
	says 'generation 1 .* has stopped'
	pid_of C >/dev/null
	! kill -0 "$b" 2>/dev/null || broken 'the process that took over lives'
	all_from C
	inherit "$(children "$(pid_of C)" | head -n 1)" D
	d=$pid
	server E
	must "$ctl" switch "$s" --pid "$pid"
	refuse "helper($d), which helper([0-9]*) has not started, also has sockets of generation 2" \
		"$ctl" drain "$s" --idle 100ms --kill TERM
	kill -0 "$(pid_of C)" || broken 'the server was stopped'
	kill "$d"
	wait "$d"
	must "$ctl" drain "$s" --idle 100ms --kill TERM
}

# Sockets that PID 1 holds as well, as systemd does for a socket unit, are named by attach, and
# restart starts nothing.
test_held_by_init() {
	unshare -mpf sh -c "mount -t proc proc /proc
		$helper serve -w 1 $ip 127.0.0.1 $port A & main=\$!
		until $ctl attach $s $ip 127.0.0.1:$port --pid \$main --hold --timeout 20s; do sleep 1; done
		worker=\$(sed -n \"s/^\\([0-9]*\\) (.*) [RSDT] \$main .*/\\1/p\" /proc/[0-9]*/stat)
		(while ! grep -q list-sockets $tmp/said && [ -d /proc/\$main ]; do
			$ctl restart $s -n -- true >$tmp/said 2>&1
		done
		$ctl restart $s -- sh -c ': >$tmp/started' >$tmp/said 2>&1
		$ctl detach $s
		$ctl -n attach $s $ip 127.0.0.1:$port --pid \$main >>$tmp/said 2>&1
		kill -TERM 1) &
		exec $helper inherit \$worker $ip B" >"$tmp/out" 2>&1
	cp "$tmp/said" "$tmp/out"
	says 'helper(1) also has sockets of generation 1.*systemctl list-sockets' \
		'helper(1) also has sockets of helper(.*until the server binds its sockets itself'
	[ ! -e "$tmp/started" ] || broken 'something was started'
}
