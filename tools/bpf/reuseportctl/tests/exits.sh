# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2013,SC2016,SC2030,SC2031,SC2046,SC2086,SC2034,SC2154
# Each way in which restart and switch fail before the switch: all is as it was, and they print
# "nothing has changed" if, and only if, they had begun to change something.

# The helpers that run, with their command lines.
processes() {
	for process in /proc/[0-9]*; do
		! tr '\0' ' ' <"$process/cmdline" 2>/dev/null | grep -q "^\($helper\|sleep 12345\) " ||
			echo "${process#/proc/} $(tr '\0' ' ' <"$process/cmdline" 2>/dev/null)"
	done
}

# dump_map MAP: of the service, or nothing where there is no bpftool
dump_map() {
	! command -v bpftool >/dev/null || bpftool map dump pinned "$(echo "$root/$s"/[0-9]*)/$1"
}

# All that a command which fails must leave as it was: program, state, generations and slots,
# flows, sockets at the port, processes and pins.
snapshot() {
	"$ctl" -j show "$s" | sed 's/"\(queue\|connections\)":[0-9]*,//g'
	"$ctl" flows "$s" 2>&1 | sed 's/  silent .*//' | sort
	for map in state generations counters; do dump_map $map; done
	# local address and inode of those that are bound
	awk -v port=":$(printf %04X "$port")" 'index($2, port) && $4 ~ "0A|07" { print $2, $10 }' /proc/net/$ip | sort
	processes
	find "$root" | sort
}

# try WHAT SAID PATTERN COMMAND...: the command fails with a sentence that fits, and all is as
# before. SAID: "begun", and it prints "nothing has changed", or "early", and it does not.
try() {
	what=$1 said=$2 pattern=$3
	shift 3
	snapshot >"$tmp/before"
	"$@" >"$tmp/out" 2>&1 && broken "$what: did not fail"
	grep -q "^reuseportctl: .*$pattern" "$tmp/out" || broken "$what: no \"$pattern\""
	check_unchanged "$what" $said
}

check_unchanged() {
	snapshot >"$tmp/after"
	cp "$tmp/out" "$tmp/said"
	diff "$tmp/before" "$tmp/after" >"$tmp/out" || {
		cat "$tmp/said" >>"$tmp/out"
		broken "$1: something has changed"
	}
	cp "$tmp/said" "$tmp/out"
	case $2:$(grep -c '^nothing has changed: service .* stays with generation [1-9]' "$tmp/out") in
	begun:1 | early:0) ;;
	*) broken "$1: \"nothing has changed\" is wrong here" ;;
	esac
}

# failing WHAT SAID PATTERN [OPTION...] -- COMMAND...
failing() {
	what=$1 said=$2 pattern=$3
	shift 3
	try "restart: $what" $said "$pattern" "$ctl" restart "$s" "$@"
}

# The command of a new server, up to its options.
new="-- $helper serve"

# The exits of restart; $at is the address that a server needs.
restart_exits() {
	at="$ip 127.0.0.1 $port B"
	failing 'no command' early 'takes the command'
	try 'restart: no service' early 'no service missing' "$ctl" restart "$s" missing -- true
	try 'restart: named twice' early 'is named twice' "$ctl" restart "$s" "$s" -- true
	failing 'bad option' early 'takes a time' --timeout soon -- true
	failing 'unknown option' early 'has no option' --nonsense -- true
	failing 'bad signal' early 'is not a signal' --kill NONSENSE -- true
	failing 'one signal' early 'between two signals' --kill-after 1s -- true
	failing 'PID file' early 'no file can be made' --pid-file /nonexistent/pid -- true
	failing 'bad output' early '--output takes' --output nowhere -- true
	failing 'output file' early '--output: cannot open' --output /nonexistent/file -- true
	failing 'output directory' early '--output: cannot open' --output / -- true
	failing 'no old process' early 'no process 999999' --old 999999 -- true
	failing 'old process elsewhere' early 'another network namespace' --old $stranger -- true
	try 'restart: other namespace' early 'another network namespace' \
		unshare -n "$ctl" restart "$s" -- true
	hold_lock "$root/$s"
	failing 'locked' early 'is locked by another' $new $at
	kill $holder
	wait $holder 2>/dev/null
	failing 'no such program' begun 'cannot start /nothing (No such' -- /nothing
	failing 'no program' begun 'cannot start /tmp (Permission' -- /tmp
	failing 'exit 0' begun 'the new server has exited' -- true
	failing 'exit 3' begun 'exited with status 3' -- sh -c 'exit 3'
	failing 'signal' begun 'killed by signal 9' -- sh -c 'kill -9 $$'
	failing 'exit before bind' begun 'exited with status 7' -- sh -c 'sleep 0.2; exit 7'
	failing 'exit after bind' begun 'exited with status 3' $new -x $at
	failing 'daemon exits' begun 'the new server has exited' -- \
		sh -c '"$@" & usleep 100000; kill -9 $!; exit 0' sh "$helper" serve -d 60000 $at
	failing 'exit while settling' begun 'exited with status 5' --settle 60s -- \
		sh -c '"$@" & usleep 500000; kill $!; wait $!; exit 5' sh "$helper" serve $at
	failing 'killed while settling' begun 'killed by signal 9' --settle 60s -- \
		sh -c '"$@" & usleep 500000; kill -9 $$' sh "$helper" serve $at
	failing 'no socket' begun 'has 0 of 4 sockets' --timeout 100ms -- sleep 12345
	failing 'late' begun 'has 0 of 4 sockets' --timeout 100ms $new -d 60000 $at
	failing 'too few' begun 'has 2 of 4 sockets' --timeout 300ms $new -w 2 $at
	failing 'other address' begun 'has 0 of 4 sockets' --timeout 300ms $new $ip 127.0.0.2 "$port" B
	failing 'other port' begun 'has 0 of 4 sockets' --timeout 300ms $new $ip 127.0.0.1 $((port + 1)) B
	failing 'other protocol' begun 'has 0 of 4 sockets' --timeout 300ms $new $other 127.0.0.1 "$port" B
	failing 'no SO_REUSEPORT' begun 'has 0 of 4 sockets' --timeout 300ms $new -n $at
	failing 'other user' begun 'has 0 of 4 sockets' --timeout 300ms $new -u 1001 $at
	failing 'other interface' begun 'another interface' $new -b lo $at
	failing 'too many' begun 'has 70 sockets.*only 64 slots' --wait 70 $new -w 1 -s 70 $at
	failing 'ignores TERM' begun 'has 2 of 4 sockets' --timeout 300ms -- \
		sh -c 'trap "" TERM; "$@" & wait; wait' sh "$helper" serve -w 2 $at
	! "$ctl" -j probe | grep -q '"group_program":true' ||
		failing 'own program' begun 'already attached to the group' $new -p $at
	failing 'forced, own program' begun 'has 4 of 5 sockets' --force --wait 5 --timeout 300ms $new -p $at
	failing 'takes over' begun 'has taken over the sockets of generation 1' -- \
		"$helper" inherit "$worker" $ip B
	! "$helper" unable true 2>/dev/null ||
		try 'restart: no duplicates' begun 'cannot duplicate' "$helper" unable "$ctl" restart "$s" $new $at
}

# The exits of switch, with servers that have been started by hand.
switch_exits() {
	try 'switch: no PID' early 'PID is required' "$ctl" switch "$s"
	try 'switch: no service' early 'no service' "$ctl" switch missing --pid $$
	try 'switch: no process' early 'no process 999999' "$ctl" switch "$s" --pid 999999
	try 'switch: process elsewhere' early 'another network namespace' "$ctl" switch "$s" --pid $stranger
	try 'switch: other namespace' early 'another network namespace' unshare -n "$ctl" switch "$s" --pid $$
	hold_lock "$root/$s"
	try 'switch: locked' early 'is locked by another' "$ctl" switch "$s" --pid $$
	kill $holder
	wait $holder 2>/dev/null
	try 'switch: no socket' begun 'has 0 of 4 sockets' "$ctl" switch "$s" --pid $idle --timeout 100ms
	sockets=2 server C -w 2
	try 'switch: too few' begun 'has 2 of 4 sockets' "$ctl" switch "$s" --pid "$pid" --timeout 100ms
	! "$helper" unable true 2>/dev/null ||
		try 'switch: no duplicates' begun 'cannot duplicate' "$helper" unable "$ctl" switch "$s" --pid "$pid" --wait 2
	kill "$pid"
	until_sockets 4
	server C -b lo
	try 'switch: other interface' begun 'another interface' "$ctl" switch "$s" --pid "$pid"
	kill "$pid"
	until_sockets 4
	sockets=70 server C -w 1 -s 70
	try 'switch: too many' begun 'has 70 sockets.*only 64 slots' "$ctl" switch "$s" --pid "$pid"
	kill "$pid"
	until_sockets 4
}

# Sets idle: a process that has nothing to do with the service.
idle_process() {
	sleep 60000 &
	idle=$!
	echo $idle >>"$tmp/pids"
}

# Sets pid, worker, and stranger: a process in another network namespace.
begin_exits() {
	[ $ip = tcp ] && other=udp || other=tcp
	server A
	old=$pid
	worker=$(children "$old" | head -n 1)
	must "$ctl" attach "$s" $ip "127.0.0.1:$port" --pid "$old" "$@"
	unshare -n sleep 60000 &
	stranger=$!
	echo $stranger >>"$tmp/pids"
	idle_process
	wait_until 'a process in another network namespace' in_other_netns $stranger
	if [ $ip = udp ]; then must "$helper" load -f 5 -c 2 udp 127.0.0.1 "$port"; fi
}

# Each exit of restart and switch leaves an open service as it was, and reports that if it had begun.
test_exits_open() {
	begin_exits
	restart_exits
	switch_exits
}

# The same for one that is held, and knows flows.
test_exits_flow() {
	ip=udp
	# the flows must not end meanwhile, however slow the machine is
	begin_exits --flow-timeout 24h
	restart_exits
	switch_exits
}

# ended_by SIGNAL SAID PATTERN COMMAND...: the command gets the signal when SAID is printed
ended_by() {
	signal=$1 when=$2 pattern=$3
	shift 3
	snapshot >"$tmp/before"
	: >"$tmp/ended"
	"$@" >"$tmp/ended" 2>&1 &
	ended=$!
	echo $ended >>"$tmp/pids"
	until_said "$tmp/ended" "$when"
	kill -"$signal" $ended
	! wait $ended || broken "$signal: did not fail"
	cp "$tmp/ended" "$tmp/out"
	says "$pattern"
	check_unchanged "$signal at \"$when\"" begun
}

# A signal ends restart and switch while they wait for sockets, or let the server settle, as a
# failure does; a new server that restart has started is stopped.
test_exits_signal() {
	server A
	must "$ctl" attach "$s" $ip "127.0.0.1:$port" --pid "$pid"
	for signal in INT TERM HUP; do
		ended_by $signal 'waiting for the sockets' interrupted \
			"$ctl" restart "$s" -- "$helper" serve -d 60000 $ip 127.0.0.1 "$port" B
		ended_by $signal 'and .* to settle' interrupted \
			"$ctl" restart "$s" --settle 60s -- "$helper" serve $ip 127.0.0.1 "$port" B
	done
	sockets=2 server C -w 2
	for signal in INT TERM HUP; do
		ended_by $signal 'waiting for the sockets' interrupted "$ctl" switch "$s" --pid "$pid"
		ended_by $signal 'and .* to settle' interrupted \
			"$ctl" switch "$s" --pid "$pid" --wait 2 --settle 60s
	done
}

# A server that is switched to exits before, while it is waited for, and while it settles.
test_exits_switch_ends() {
	server A
	must "$ctl" attach "$s" $ip "127.0.0.1:$port" --pid "$pid"
	for option in '--wait 9' '--wait 2 --settle 60s'; do
		sockets=2 server C -w 2
		: >"$tmp/switch"
		"$ctl" switch "$s" --pid "$pid" $option >"$tmp/switch" 2>&1 &
		switch=$!
		until_said "$tmp/switch" 'waiting for\|to settle'
		kill "$pid"
		wait "$pid"
		! wait $switch || broken "$option: did not fail"
		cp "$tmp/switch" "$tmp/out"
		says 'has exited before' '^nothing has changed'
		show
		says '"current":1,"open":true'
	done
}

# Sockets that join the generation before a failure stay there, and that is said in place of
# "nothing has changed".
test_exits_joined() {
	idle_process
	ip=udp
	server A -r
	must "$ctl" attach "$s" udp "127.0.0.1:$port" --pid "$pid"
	kill -USR1 "$pid"
	until_sockets 5
	refuse 'has exited' "$ctl" restart "$s" -- true
	says "^service $s stays with generation 1, which 1 more socket of its server has joined: nothing else has changed\$"
	! grep -q 'nothing has changed' "$tmp/out" || broken 'a socket has joined'
	show
	says '"sockets":5,' '"sockets_outside":0'
	try 'restart' begun 'has exited' "$ctl" restart "$s" -- true
	kill -USR1 "$pid"
	until_sockets 6
	refuse 'has 0 of' "$ctl" switch "$s" --pid $idle --timeout 50ms
	says 'which 1 more socket of its server has joined'
}

# A group that has lost the program, or has another one, has none or that one after a failure,
# also if the service's was attached meanwhile.
test_exits_program() {
	"$ctl" -j probe | grep -q '"group_program":true' || skip 'a kernel without BTF or iterators'
	idle_process
	server A
	attach "$pid"
	worker=$(children "$pid" | head -n 1)
	must "$helper" strip "$worker"
	show
	says '"program":"gone"'
	try 'restart: program gone' begun 'exited with status 3' "$ctl" restart "$s" -- sh -c 'exit 3'
	try 'restart: program gone' begun 'already attached' \
		"$ctl" restart "$s" -- "$helper" serve -p $ip 127.0.0.1 "$port" B
	try 'switch: program gone' begun 'has 0 of' "$ctl" switch "$s" --pid $idle --timeout 50ms
	# of an eBPF program the id is known; here it is that of another service
	mv "$root/$s" "$root/../elsewhere-$s"
	server X
	must "$ctl" attach "x$s" $ip "127.0.0.1:$port" --pid "$pid" --force --hold
	mv "$root/x$s" "$root/../elsewhere-x$s"
	mv "$root/../elsewhere-$s" "$root/$s"
	show
	says '"program":"replaced"'
	try 'restart: replaced' early 'BPF program [0-9]*, .* is already attached' "$ctl" restart "$s" -- true
	try 'restart: replaced' begun 'has exited' "$ctl" restart "$s" --force -- true
	try 'switch: replaced' begun 'has 0 of' "$ctl" switch "$s" --pid $idle --force --timeout 50ms
	rm -r "$root/../elsewhere-x$s"
}

# If the second of two services cannot be switched, the first one is as before too. So are the
# programs of both groups, the service's own or another one.
test_exits_two() {
	"$ctl" -j probe | grep -q '"group_program":true' || skip 'a kernel without BTF or iterators'
	ip=tcp
	server A
	must "$ctl" attach "$s" tcp "127.0.0.1:$port" --pid "$pid"
	must "$helper" strip "$(children "$pid" | head -n 1)"
	ip=udp
	sockets=1 server A -w 1
	must "$ctl" attach "x$s" udp "127.0.0.1:$port" --pid "$pid" --slots 1
	ip=tcp
	"$ctl" -j show "x$s" | sed 's/"connections":[0-9]*,//g' >"$tmp/other"
	snapshot >"$tmp/before"
	refuse 'has 4 sockets, but a generation of .* only 1 slot' \
		"$ctl" restart "$s" "x$s" -- "$helper" both 127.0.0.1 "$port" B
	cp "$tmp/out" "$tmp/two"
	[ "$(grep -c '^nothing has changed' "$tmp/two")" = 2 ] || broken 'it has changed something'
	snapshot | diff "$tmp/before" - >"$tmp/out" || broken 'something has changed'
	"$ctl" -j show "x$s" | sed 's/"connections":[0-9]*,//g' | diff "$tmp/other" - >"$tmp/out" ||
		broken 'the other service has changed'
}

# Whatever system call of these fails in switch, what it prints is true: it has switched, or nothing
# has changed. STEP=9: every 9th call.
test_exits_fault() {
	server A
	a=$pid
	server B
	b=$pid
	step=${STEP:-1}
	# bpf, setsockopt, pidfd_getfd, sendto (sock_diag), openat (/proc)
	for call in 321 54 438 44 257; do
		at=1 status=0
		while [ $status != 99 ]; do
			must "$ctl" attach "$s" $ip "127.0.0.1:$port" --pid "$a" --hold
			snapshot >"$tmp/before"
			"$helper" fault $call $at "$ctl" switch "$s" --pid "$b" >"$tmp/out" 2>&1
			status=$?
			check_faulted "switch, call $call number $at"
			must "$ctl" detach "$s"
			at=$((at + step))
		done
		echo "# call $call failed at $((at - 1)) places"
	done
}

# After a failed call what the command says is true, and one of the two servers has all traffic.
check_faulted() {
	case $status in
	77) skip 'no way to tell one system call from another' ;;
	0 | 99) says 'switched to' ;;
	1) says '^reuseportctl: ' ;;
	*) broken "$1: status $status" ;;
	esac
	cp "$tmp/out" "$tmp/said"
	if grep -q '^nothing has changed' "$tmp/out"; then
		snapshot >"$tmp/after"
		diff "$tmp/before" "$tmp/after" >"$tmp/out" || {
			cat "$tmp/said" >>"$tmp/out"
			broken "$1: something has changed"
		}
	fi
	grep -q 'switched to' "$tmp/said" && serves=B || serves=A
	"$helper" load -f 4 $ip $host "$port" >"$tmp/out"
	grep -q "^$serves 4" "$tmp/out" || {
		cat "$tmp/said" >>"$tmp/out"
		broken "$1: not served by $serves"
	}
}
