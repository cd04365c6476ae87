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
