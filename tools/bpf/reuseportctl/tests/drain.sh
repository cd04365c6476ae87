# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2013,SC2016,SC2030,SC2031,SC2046,SC2086,SC2034,SC2154
# Waiting until a generation has no work left, and stopping it.

# drain waits until a generation is idle, and --kill then stops its server.
test_drain() {
	server A
	old=$pid
	attach "$old"
	refuse 'nothing to drain' "$ctl" drain "$s"
	refuse 'is the current one' "$ctl" drain "$s" --generation 1
	refuse 'no generation 7' "$ctl" drain "$s" --generation 7
	server B
	must "$ctl" switch "$s" --pid "$pid"
	must "$ctl" -n drain "$s" --kill TERM
	kill -0 "$old" || broken 'a dry run has killed'
	must "$ctl" drain "$s" --idle 300ms
	says 'generation 1 .* is drained: its server can be stopped'
	refuse 'is not a signal' "$ctl" drain "$s" --kill NONSENSE
	must "$ctl" drain "$s" --idle 300ms --kill TERM
	says 'generation 1 .* has stopped'
	! kill -0 "$old" 2>/dev/null || broken 'the old server lives'
	all_from B
}

# Connections in the accept queue keep a generation from being drained, and are answered.
test_drain_queue() {
	sockets=1 server A -w 1
	old=$pid
	attach "$old"
	kill -STOP "$(children "$old")"
	begin_load -f 1
	until_waiting 1
	sockets=1 server B -w 1
	must "$ctl" switch "$s" --pid "$pid"
	refuse 'is still in use after.* queued' "$ctl" drain "$s" --timeout 1500ms
	kill -CONT "$(children "$old")"
	must "$ctl" drain "$s" --timeout 5s --kill TERM
	end_load
	says '^A 1$'
}

# drain fails if the service is detached meanwhile.
test_drain_detached() {
	server A
	attach "$pid"
	server B
	must "$ctl" switch "$s" --pid "$pid"
	"$ctl" drain "$s" --idle 60s >"$tmp/drain" 2>&1 &
	drain=$!
	echo $drain >>"$tmp/pids"
	until_said "$tmp/drain" 'generation 1'
	must "$ctl" detach "$s"
	! wait $drain || broken 'did not fail'
	cp "$tmp/drain" "$tmp/out"
	says "service $s has been removed meanwhile"
}

# Sockets of children whose parent was killed are named and waited for.
test_left_children() {
	sh -c "$helper serve $ip 127.0.0.1 $port A & wait" &
	shell=$!
	echo $shell >>"$tmp/pids"
	until_sockets 4
	attach $shell
	server B
	must "$ctl" switch "$s" --pid "$pid"
	kill -KILL $shell
	refuse "process $shell has ended, but 4 sockets of generation 1 .*stop the processes that have them, helper([0-9]*), helper(" \
		"$ctl" drain "$s" --idle 100ms --kill TERM
	kill "$(pid_of A)"
	until_sockets 4
	must "$ctl" drain "$s" --generation 1 --idle 100ms --kill TERM
	says 'generation 1 .* has stopped'
	all_from B
}

# A server that was attached in another PID namespace is named and waited for.
test_other_pidns() {
	mkdir -p "$tmp/ns"
	unshare -p -f --mount-proc sh -c "$helper serve $ip 127.0.0.1 $port A & pid=\$!
		until [ -e $tmp/ns/bound ]; do usleep 10000; done
		$ctl attach $s $ip 127.0.0.1:$port --pid \$pid >$tmp/ns/out 2>&1
		: >$tmp/ns/attached
		wait" &
	echo $! >>"$tmp/pids"
	until_sockets 4
	: >"$tmp/ns/bound"
	wait_until 'attach in the namespace' [ -e "$tmp/ns/attached" ]
	server B
	must "$ctl" switch "$s" --pid "$pid"
	refuse 'has ended, but 4 sockets of generation 1 .*stop the processes that have them, helper(' \
		"$ctl" drain "$s" --idle 100ms --kill TERM
	kill $(grep -o 'helper([0-9]*' "$tmp/out" | grep -o '[0-9]*')
	until_sockets 4
	must "$ctl" drain "$s" --generation 1 --idle 100ms --kill TERM
}

# A server with a connected UDP socket for each peer is in use as long as it has these; with
# the last one it is drained, and no peer meets the new server.
test_drain_connected() {
	ip=udp
	server A -c
	old=$pid
	attach "$old"
	begin_load -c 100 -f 5 -p 20
	until_flows 5
	server B
	must "$ctl" switch "$s" --pid "$pid"
	end_load
	says '^A 500$' '^moved 0$'
	refuse 'has 5 sockets connected to a peer' "$ctl" drain "$s" --idle 200ms --timeout 1s --kill TERM
	kill -0 "$old" || broken 'the old server was stopped'
	kill "$old"
	must "$ctl" drain "$s" --generation 1 --idle 200ms
}

# Sets pid: a server whose main process ignores TERM, and whose children do not. stubborn NAME
stubborn() {
	sh -c "trap '' TERM; $helper serve $ip 127.0.0.1 $port $1 & wait" &
	pid=$!
	echo $pid >>"$tmp/pids"
	until_sockets 4
}

# A server that ignores its signal is reported, and --kill with several signals sends the next one;
# KILL also ends the children that a killed process leaves.
test_drain_ignored() {
	stubborn A
	old=$pid
	attach "$old"
	server B
	must "$ctl" switch "$s" --pid "$pid"
	refuse "process $old .* is still running .* after TERM: it ignores TERM, --kill TERM,KILL would end it" \
		"$ctl" drain "$s" --idle 100ms --timeout 1s --kill TERM
	says "process $old ignores TERM"
	refuse 'is not a signal that stops a server' "$ctl" drain "$s" --kill TERM,
	refuse 'no signal can follow KILL' "$ctl" drain "$s" --kill KILL,TERM
	refuse '--kill-after is the time between two signals' "$ctl" drain "$s" --kill KILL --kill-after 1s
	refuse "ignores TERM, --kill TERM,KILL would end it.*waiting: .*--kill TERM,QUIT --kill-after 1800s" \
		"$ctl" drain "$s" --idle 100ms --timeout 1s --kill term,SIGQUIT --kill-after 30m
	must "$ctl" drain "$s" --idle 100ms --kill TERM,KILL --kill-after 500ms
	says "process $old has not ended .* after TERM, sending KILL" 'generation 1 .* has stopped'
	! kill -0 "$old" 2>/dev/null || broken 'the old server lives'
	[ ! "$(pid_of A)" ] || broken 'its children live'
	all_from B
}

# restart sends several signals too; children that outlive their parent get those that follow.
test_restart_escalates() {
	stubborn A
	attach "$pid"
	must "$ctl" restart "$s" --idle 100ms --kill TERM,KILL --kill-after 500ms -- \
		"$helper" serve $ip 127.0.0.1 "$port" B
	says "process $pid has not ended .* after TERM, sending KILL" 'generation 1 .* has stopped'
	! kill -0 "$pid" 2>/dev/null || broken 'the old server lives'
	new=$(pid_of B)
	# USR1 ends the shell alone; HUP would not under nohup, as it is ignored there
	must "$ctl" detach "$s"
	kill "$new"
	until_sockets 0
	sh -c "$helper serve $ip 127.0.0.1 $port A & wait" &
	pid=$!
	echo $pid >>"$tmp/pids"
	until_sockets 4
	attach $pid
	must "$ctl" restart "$s" --idle 100ms --kill USR1,TERM --kill-after 500ms -- \
		"$helper" serve $ip 127.0.0.1 "$port" B
	says 'generation 1 .* has stopped'
	[ ! "$(pid_of A)" ] || broken 'the children of the old server live'
	pid_of B >/dev/null
	all_from B
}

# Connections that a generation has open are shown, and named by drain.
test_drain_connections() {
	server A -k
	old=$pid
	attach "$old"
	all_from A 5
	server B
	must "$ctl" switch "$s" --pid "$pid"
	must "$ctl" show "$s"
	says "generation 1  helper($old)  4 of 4 sockets  5 connections" \
		"generation 2 (current)  helper($pid)  4 of 4 sockets  0 connections"
	must "$ctl" -j show "$s"
	says '"generation":1,"current":false,[^[]*"connections":5' \
		'"generation":2,"current":true,[^[]*"connections":0'
	must "$ctl" drain "$s" --idle 100ms
	says 'is drained: its server can be stopped, it still has 5 connections open'
	must "$ctl" drain "$s" --idle 100ms --kill TERM
}

# says_connections COUNT: so many are counted for generation 1
says_connections() {
	must "$ctl" show "$s"
	says "^  generation 1 .*  $1 connections\?  "
}

# Connections of a worker whose parent has exited count as well, also when the main process has
# ended and the worker is what is left of the server.
test_drain_connections_orphans() {
	server A -k -r
	attach "$pid"
	kill -USR2 "$pid"
	until_sockets 5
	of_name A >>"$tmp/pids"
	must "$ctl" refresh "$s"
	must "$helper" load -f 60 tcp 127.0.0.1 "$port"
	orphans=$(sed -n 's/^A+ //p' "$tmp/out")
	[ "${orphans:-0}" -gt 0 ] || broken 'none of 60 connections reached the worker'
	says_connections 60
	kill -KILL "$pid"
	until_sockets 1
	says_connections "$orphans"
	server B
	must "$ctl" switch "$s" --pid "$pid"
	must "$ctl" drain "$s" --idle 100ms
	says "it still has $orphans connection"
}
