# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2013,SC2016,SC2030,SC2031,SC2046,SC2086,SC2034,SC2154
# Starting a new server, switching to it and stopping the old one.

# restart starts the new server, switches, and stops the old one, under load.
test_restart() {
	server A
	attach "$pid"
	begin_load -c 300 -f 2 -p 5
	must "$ctl" restart "$s" --idle 300ms -- "$helper" serve $ip 127.0.0.1 "$port" B
	says 'switched to generation 2' 'generation 1 .* has stopped'
	pid_of B >/dev/null
	! kill -0 "$pid" 2>/dev/null || broken 'the old server lives'
	all_from B
	end_load
}

# Two services of one server are switched together, or neither is.
test_restart_two() {
	"$helper" both 127.0.0.1 "$port" A &
	pid=$!
	echo $pid >>"$tmp/pids"
	until_sockets 4
	attach "$pid"
	ip=udp
	until_sockets 4
	must "$ctl" attach "x$s" udp "127.0.0.1:$port" --pid "$pid" --hold --udp none
	begin_load -c 200 -f 2 -p 5
	refuse 'no service missing' "$ctl" restart "$s" missing -- true
	refuse 'has 0 of 4 sockets' "$ctl" restart "$s" "x$s" --timeout 1s -- "$helper" serve tcp 127.0.0.1 "$port" B
	says "service $s stays with generation 1" "service x$s stays with generation 1"
	all_from A
	must "$ctl" restart "$s" "x$s" -- "$helper" both 127.0.0.1 "$port" B
	pid_of B >/dev/null
	all_from B
	end_load
	ip=tcp
	all_from B
}

# The new server may put itself into the background.
test_restart_daemon() {
	server A
	attach "$pid"
	must "$ctl" restart "$s" --idle 300ms -- sh -c "$helper serve $ip 127.0.0.1 $port B & exit 0"
	all_from B
	show
	says "\"pid\":$(pid_of B)"
}

# If the new server does not come up, nothing has changed and it is stopped.
test_restart_in_vain() {
	server A
	attach "$pid"
	begin_load -c 100 -p 10
	refuse 'cannot start /nothing' "$ctl" restart "$s" -- /nothing
	says 'nothing has changed'
	refuse 'exited with status 3' "$ctl" restart "$s" -- "$helper" serve -d 200 -x $ip 127.0.0.1 "$port" B
	says 'nothing has changed'
	refuse 'killed by signal 9' "$ctl" restart "$s" -- sh -c 'kill -9 $$'
	refuse 'the new server has exited' "$ctl" restart "$s" -- true
	refuse 'has 0 of 4 sockets' "$ctl" restart "$s" --timeout 300ms -- sleep 1234
	says 'nothing has changed'
	[ ! "$(running 'sleep 1234')" ] || broken 'what was started is still there'
	refuse 'takes the command' "$ctl" restart "$s"
	show
	says '"current":1' '"sockets_outside":0'
	all_from A
	end_load
}

# again: run the command that the last sentence names
again() {
	must "$ctl" $(sed -n 's/.* waiting: reuseportctl //p' "$tmp/out")
	says 'generation 1 .* has stopped'
}

# --timeout is for the new server; peers of the old one may take longer.
test_restart_peers() {
	ip=udp
	server A
	attach "$pid"
	begin_load -c 200 -f 4 -p 20
	until_flows 4
	must "$ctl" restart "$s" --idle 500ms --timeout 2s -- "$helper" serve $ip 127.0.0.1 "$port" B
	pid_of B >/dev/null
	says 'generation 1 .* has stopped'
	end_load
	says '^A 800$'
}

# An old server that stays in use goes on serving, and the command to continue is named.
test_restart_not_silent() {
	ip=udp
	server A
	old=$pid
	attach "$old"
	begin_load -c 1000000 -f 4 -p 20
	until_flows 4
	refuse "is still in use after.*helper($old) continues to serve it, and generation 2 gets" \
		"$ctl" restart "$s" --idle 1s --drain-timeout 2s -- "$helper" serve $ip 127.0.0.1 "$port" B
	pid_of B >/dev/null
	says "waiting: reuseportctl drain $s --generation 1 --idle 1s --kill TERM\$"
	cp "$tmp/out" "$tmp/said"
	all_from B
	finish_load
	says '^moved 0$'
	cp "$tmp/said" "$tmp/out"
	again
}

# Sets pid: a server whose main process takes 3 s to end. slow NAME
slow() {
	sh -c 'c=; trap "sleep 3; kill \$c; wait \$c; exit 0" TERM; "$@" & c=$!; wait' sh \
		"$helper" serve $ip 127.0.0.1 "$port" "$1" &
	pid=$!
	echo $pid >>"$tmp/pids"
	until_sockets 4
	pid_of "$1" >/dev/null
}

# An old server that takes long to exit is waited for until --drain-timeout.
test_restart_slow_end() {
	slow A
	attach "$pid"
	must "$ctl" restart "$s" --idle 100ms --timeout 2s -- "$helper" serve $ip 127.0.0.1 "$port" B
	says 'generation 1 .* has stopped'
	pid_of B >/dev/null
	until_sockets 4
	must "$ctl" detach "$s"
	kill "$(pid_of B)"
	until_sockets 0
	slow A
	attach "$pid"
	refuse "process $pid .* is still running.*Generation 2 gets new traffic.*--kill TERM" \
		"$ctl" restart "$s" --idle 100ms --drain-timeout 2s -- "$helper" serve $ip 127.0.0.1 "$port" B
	pid_of B >/dev/null
	again
	all_from B
}

# begin_restart OPTION...: in the background, until it has switched. Sets restart.
begin_restart() {
	: >"$tmp/restart"
	"$ctl" restart "$s" "$@" -- "$helper" serve $ip 127.0.0.1 "$port" B >"$tmp/restart" 2>&1 &
	restart=$!
	until_said "$tmp/restart" 'switched to generation 2'
	pid_of B >/dev/null
}

# restart succeeds if the old server ends by itself.
test_old_gone() {
	server A
	attach "$pid"
	begin_restart --old "$pid" --idle 5s
	kill "$pid"
	wait $restart || { cp "$tmp/restart" "$tmp/out" && broken 'the restart failed'; }
	all_from B
}

# A process that has got the PID of the old server is not killed.
test_old_reused() {
	[ -e /proc/sys/kernel/ns_last_pid ] || skip 'this kernel does not let us choose a PID'
	server A
	attach "$pid"
	sleep 60 &
	old=$!
	begin_restart --old $old --idle 2s
	kill $old
	wait $old
	tries=20
	while :; do
		echo $((old - 1)) >/proc/sys/kernel/ns_last_pid
		sleep 61 &
		echo $! >>"$tmp/pids"
		[ $! != $old ] || break
		tries=$((tries - 1))
		[ $tries -gt 0 ] || skip 'the number was taken again each time'
	done
	wait $restart && broken 'did not fail'
	cp "$tmp/restart" "$tmp/out"
	kill -0 $old || broken 'a stranger was killed'
	says "process $old has ended, but 4 sockets of generation 1"
}

# SIGINT before the switch changes nothing; after it the old server goes on.
test_restart_interrupted() {
	server A
	old=$pid
	attach "$old"
	: >"$tmp/when"
	# at socket(), where it looks for sockets, and at pidfd_getfd(), where it fills the
	# generation; how often it looks before the switch depends on the new server
	for call in '41 1' '41 2' '41 5' '41 6' '41 7' '41 8' '41 9' '41 10' '438 1' '438 4'; do
		"$helper" interrupt $call "$ctl" restart "$s" --idle 300ms -- \
			"$helper" serve $ip 127.0.0.1 "$port" B >"$tmp/out" 2>&1
		status=$?
		[ $status != 77 ] || skip 'no way to tell one system call from another'
		pid_of B >/dev/null
		kill -0 "$old" 2>/dev/null || broken "call $call: the old server was stopped"
		if grep -q 'switched to' "$tmp/out"; then
			when=after
			[ $status = 130 ] || says "interrupted after the switch.*drain $s --generation 1 --idle 0.3s --kill TERM"
		else
			when=before
			says 'interrupted$' 'nothing has changed'
		fi
		case $status in
		1 | 130) echo "call $call: $when, $status" >>"$tmp/when" ;;
		*) broken "call $call: status $status" ;;
		esac
		if [ $when = after ]; then
			all_from B
			must "$ctl" rollback "$s"
			kill "$(pid_of B)"
		fi
		until_sockets 4
		all_from A
	done
	cp "$tmp/when" "$tmp/out"
	says '41 1: before, 1$' '438 4: after, 1$'
}

# A restart that is interrupted leaves a service open that was open, and held if it has switched.
test_restart_interrupted_open() {
	server A
	must "$ctl" attach "$s" tcp "127.0.0.1:$port" --pid "$pid"
	for call in '41 9' '438 1'; do
		"$helper" interrupt $call "$ctl" restart "$s" --idle 300ms -- \
			"$helper" serve $ip 127.0.0.1 "$port" B >"$tmp/interrupted" 2>&1
		[ $? != 77 ] || skip 'no way to tell one system call from another'
		show
		if grep -q 'switched to' "$tmp/interrupted"; then
			says '"current":2,"open":false'
		else
			says '"current":1,"open":true'
		fi
	done
	grep -q 'interrupted after the switch' "$tmp/interrupted" || broken 'it was not interrupted late'
	pid_of B >/dev/null
	all_from B
}

# REUSEPORTCTL_GENERATION is the number in the services steered by connection ID.
test_restart_number() {
	"$helper" both 127.0.0.1 "$port" A &
	a=$!
	echo $a >>"$tmp/pids"
	until_sockets 4
	attach "$a"
	server B
	must "$ctl" switch "$s" --pid "$pid"
	must "$ctl" rollback "$s"
	kill "$pid"
	until_sockets 4
	ip=udp
	until_sockets 4
	must "$ctl" attach "x$s" udp "127.0.0.1:$port" --pid "$a" --udp id:4:4
	must "$ctl" restart "$s" "x$s" --idle 100ms -- sh -c "echo \$REUSEPORTCTL_GENERATION >$tmp/number
		exec $helper both 127.0.0.1 $port C"
	pid_of C >/dev/null
	[ "$(cat "$tmp/number")" = 2 ] || broken "it was told $(cat "$tmp/number"), not 2"
	# two of these with different next generations
	port=$((port + 1))
	server D
	must "$ctl" attach "y$s" udp "127.0.0.1:$port" --pid "$pid" --udp id:4:4
	refuse "the next generation is 2 in service y$s, and 3 .*one by one" \
		"$ctl" restart "$s" "x$s" "y$s" -- sh -c ": >$tmp/started"
	refuse 'one by one' "$ctl" -n restart "x$s" "y$s" -- true
	[ ! -e "$tmp/started" ] || broken 'something was started'
}

# A new server that exits while the old one drains: the old one serves again at once, is not
# stopped, and the restart fails.
test_restart_new_exits() {
	server A
	old=$pid
	attach "$old"
	begin_restart --idle 30s
	new=$(sed -n 's/.*switched to generation 2, helper(\([0-9]*\)).*/\1/p' "$tmp/restart")
	kill -9 "$new" $(children "$new")
	! wait $restart || broken 'the restart succeeded without a new server'
	cp "$tmp/restart" "$tmp/out"
	says 'has no socket of service .* any more' 'back to generation 1, which was not stopped'
	kill -0 "$old" || broken 'the old server was stopped'
	all_from A
	show
	says '"current":1'
}

# The current generation has no sockets: restart replaces the one that serves in its place.
test_restart_fallback() {
	server A
	old=$pid
	attach "$old"
	server B
	must "$ctl" switch "$s" --pid "$pid"
	kill -9 "$pid" $(children "$pid")
	until_sockets 4
	must "$ctl" restart "$s" --idle 300ms -- "$helper" serve $ip 127.0.0.1 "$port" C
	says 'generation 1 .* has stopped'
	! kill -0 "$old" 2>/dev/null || broken 'the old server lives'
	pid_of C >/dev/null
	all_from C
}

# Another process has replaced the server: restart does not guess, and starts nothing.
test_restart_unknown() {
	server A
	attach "$pid"
	server B
	old=$(pid_of A)
	kill -9 "$old" $(children "$old")
	until_sockets 4
	refuse "switch $s --pid [1-9]" "$ctl" restart "$s" -- "$helper" serve $ip 127.0.0.1 "$port" C
	[ ! "$(pid_of C)" ] || broken 'a new server was started'
	all_from B
	must "$ctl" switch "$s" --pid "$(pid_of B)"
	must "$ctl" restart "$s" --idle 300ms -- "$helper" serve $ip 127.0.0.1 "$port" C
	pid_of C >/dev/null
	all_from C
}

# A server that has replaced its own workers is not stopped with the old ones.
test_reloaded_in_place() {
	rm -f "$tmp/go"
	mkfifo "$tmp/go"
	sh -c "'$helper' serve $ip 127.0.0.1 $port A & read -r _ <'$tmp/go'
		'$helper' serve $ip 127.0.0.1 $port B & wait" &
	main=$!
	echo $main >>"$tmp/pids"
	until_sockets 4
	attach "$(children $main)"
	echo >"$tmp/go"
	until_sockets 8
	children $main >>"$tmp/pids"
	must "$ctl" switch "$s" --pid "$main"
	must "$ctl" rollback "$s"
	refuse "process $main is not stopped: it and its children also have 4 sockets of generation 1" \
		"$ctl" drain "$s" --generation 2 --idle 300ms --kill KILL
	kill -0 $main || broken 'the server was stopped'
	all_from A
}

# A new server with a program of its own is rejected; the service's program is attached again
# before that is said, and the old server keeps its traffic.
test_restart_own_program() {
	"$ctl" -j probe | grep -q '"group_program":true' || skip 'a kernel without BTF or iterators'
	server A
	attach "$pid"
	refuse 'already attached to the group' "$ctl" restart "$s" -- "$helper" serve -p $ip 127.0.0.1 "$port" B
	says 'nothing has changed'
	show
	says '"current":1' '"open":false'
	all_from A
	server C
	all_from A
	must "$ctl" switch "$s" --pid "$pid"
	all_from C
}

# With --force, which a service remembers, the new server only believes that it has attached
# its program: no flow moves, and it is switched to.
test_restart_force() {
	ip=udp
	server A -p
	must "$ctl" attach "$s" udp "127.0.0.1:$port" --pid "$pid" --force
	begin_load -c 400 -f 20 -p 10
	until_flows 20
	must "$ctl" restart "$s" --idle 1s -- "$helper" serve -p udp 127.0.0.1 "$port" B
	says 'switched to generation 2' 'generation 1 .* has stopped'
	pid_of B >/dev/null
	end_load
	says '^A 8000$' '^moved 0$'
	all_from B
}

# A server that first writes to stdout and stderr. noisy NAME
noisy() {
	echo "echo out-$1; echo err-$1 >&2; exec $helper serve $ip 127.0.0.1 $port $1"
}

piped() { [ -e "$tmp/piped" ]; }

# restart_piped OPTION...: restart to B with stdout and stderr in a pipe, and wait for its end
restart_piped() {
	rm -f "$tmp/piped"
	("$ctl" restart "$s" --idle 100ms "$@" -- sh -c "$(noisy B)" 2>&1 | cat >"$tmp/out"
		: >"$tmp/piped") &
	echo $! >>"$tmp/pids"
	wait_until 'the end of the pipe' piped
	pid_of B >/dev/null
	says 'generation 1 .* has stopped'
	cp "$tmp/out" "$tmp/said"
	must "$ctl" detach "$s"
	kill "$(pid_of B)"
	until_sockets 0
	cp "$tmp/said" "$tmp/out"
}

# The new server does not keep a pipe of restart open: it writes to where the old one does, or to
# the journal, or nowhere; --output names another destination, and "inherit" keeps the pipe.
test_restart_output() {
	# a file
	sh -c "$(noisy A)" >"$tmp/log" 2>&1 &
	echo $! >>"$tmp/pids"
	until_sockets 4
	attach "$(pid_of A)"
	restart_piped
	says "the output of sh goes to that of process [1-9]"
	! grep -q '^out-B' "$tmp/out" || broken 'it has the pipe'
	[ "$(cat "$tmp/log")" = "$(printf 'out-A\nerr-A\nout-B\nerr-B')" ] || broken 'not in the log of A'
	# of no use
	server A </dev/null >/dev/null 2>&1
	attach "$pid"
	restart_piped
	says "the output of sh is discarded"
	server A </dev/null >/dev/null 2>&1
	attach "$pid"
	"$ctl" restart "$s" -- sh -c 'echo why; exit 3' 2>&1 | cat >"$tmp/out"
	says 'exited with status 3' 'nothing has changed' 'was discarded: --output inherit'
	"$ctl" restart "$s" --output inherit -- sh -c 'echo why; exit 3' 2>&1 | cat >"$tmp/out"
	says '^why'
	must "$ctl" detach "$s"
	kill "$pid"
	until_sockets 0
	server A
	attach "$pid"
	restart_piped --output "$tmp/file"
	[ "$(cat "$tmp/file")" = "$(printf 'out-B\nerr-B')" ] || broken 'not in the file'
	server A
	attach "$pid"
	restart_piped --output null
	! grep -q '^out-B' "$tmp/out" || broken 'it has the pipe'
	# ours is a file: it gets that
	server A
	attach "$pid"
	"$ctl" restart "$s" --idle 100ms -- sh -c "$(noisy B)" >>"$tmp/ours" 2>&1
	cp "$tmp/ours" "$tmp/out"
	says '^out-B' '^err-B' 'has stopped'
	must "$ctl" restart "$s" --idle 100ms --output old -- sh -c "$(noisy C)"
	pid_of C >/dev/null
	cp "$tmp/ours" "$tmp/out"
	says '^out-B' '^err-B' '^out-C' '^err-C'
	refuse '--output takes inherit, old' "$ctl" restart "$s" --output nowhere -- true
	refuse '--output: cannot open /nonexistent/x (No such file' "$ctl" restart "$s" --output /nonexistent/x -- true
}

# Where there is a journal, it gets what would be discarded, under the name of the server.
test_restart_journal() {
	server A </dev/null >/dev/null 2>&1
	attach "$pid"
	refuse '--output journal: cannot connect' "$ctl" restart "$s" --output journal -- true
	mkdir -p /run/systemd/journal
	"$helper" listen /run/systemd/journal/stdout >"$tmp/journal" &
	echo $! >>"$tmp/pids"
	wait_until 'a journal' [ -e /run/systemd/journal/stdout ]
	restart_piped
	rm /run/systemd/journal/stdout
	says 'the output of sh goes to the journal'
	until_said "$tmp/journal" err-B
	[ "$(cat "$tmp/journal")" = "$(printf 'sh\n\n6\n1\n0\n0\n0\nout-B\nsh\n\n6\n1\n0\n0\n0\nerr-B')" ] ||
		broken "$(cat "$tmp/journal")"
}

# --pid-file has the PID of the new server, also if the old one removes the file as it exits.
test_restart_pid_file() {
	echo "trap 'kill \$c; rm -f $tmp/pid; wait \$c; exit 0' TERM
		echo \$\$ >$tmp/pid; $helper serve $ip 127.0.0.1 $port \$1 & c=\$!; wait" >"$tmp/server"
	sh "$tmp/server" A &
	old=$!
	echo $old >>"$tmp/pids"
	until_sockets 4
	attach $old
	refuse '--pid-file: no file can be made in /nonexistent/' \
		"$ctl" restart "$s" --pid-file /nonexistent/pid -- sh "$tmp/server" B
	for name in B C; do
		must "$ctl" restart "$s" --idle 100ms --pid-file "$tmp/pid" -- sh "$tmp/server" $name
		says 'generation [12] .* has stopped'
		all_from $name
		[ "$(cat "$tmp/pid")" = "$("$ctl" pid "$s")" ] || broken 'another PID in the file'
		cat "$tmp/pid" >>"$tmp/pids"
	done
	kill -TERM "$(cat "$tmp/pid")"
	until_sockets 0
}
