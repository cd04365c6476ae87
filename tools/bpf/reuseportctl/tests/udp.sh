# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2013,SC2016,SC2030,SC2031,SC2046,SC2086,SC2034,SC2154
# UDP services by flow, by connection ID and by hash alone.

# With --udp flow a peer stays with the server it began with; new peers get the new one.
test_flow() {
	ip=udp
	server A
	old=$pid
	attach "$old"
	begin_load -c 100 -f 20 -p 10
	until_flows 20
	server B
	must "$ctl" switch "$s" --pid "$pid"
	all_from B
	end_load
	says '^A 2000$' '^moved 0$'
	[ "$(packets)" = 2040 ] || broken "$(packets) packets counted, not 2040"
	must "$ctl" flows "$s"
	says '127.0.0.1:[0-9]*  generation 1  slot [0-3]  packets 100 ' ' generation 2  slot ' '^60 flows$'
	must "$ctl" -j flows "$s"
	says '"generation":1,"slot":[0-3],"packets":100,'
	must "$ctl" drain "$s" --idle 300ms --kill TERM
	all_from B
}

# A flow that is in use keeps its generation from being drained; it moves when that dies.
test_flow_moves() {
	ip=udp
	server A
	old=$pid
	attach "$old"
	begin_load -c 1000000 -f 4 -p 20
	until_flows 4
	server B
	must "$ctl" switch "$s" --pid "$pid"
	refuse 'is still in use after' "$ctl" drain "$s" --idle 1s --timeout 1500ms
	kill "$old"
	until_sockets 4
	finish_load
	says '^moved 4$'
}

# So many peers have sent more than one datagram, which the table keeps.
until_in_conversation() { wait_until "$1 peers with two datagrams" has_in_conversation "$1"; }
has_in_conversation() { [ "$("$ctl" flows "$s" | grep -vc 'packets 1 \|flows\?$')" = "$1" ]; }

# flood COUNT: so many datagrams, each from an address that sends no other one
flood() {
	must "$helper" flood "$1" 127.0.0.1 "$port"
}

# A flood of single datagrams evicts no flow that is in use, and evictions are counted.
test_flow_flood() {
	ip=udp
	server A
	must "$ctl" attach "$s" udp "127.0.0.1:$port" --pid "$pid" --flows 4096
	begin_load -r -c 1000000 -f 100 -p 20
	until_in_conversation 100
	flood 20000
	server B
	must "$ctl" switch "$s" --pid "$pid"
	flood 60000
	all_from B
	finish_load
	says '^moved 0$'
	must "$ctl" -j show "$s"
	says '"flow_table":{"entries":4096,"used":[0-9]*,"evicted":[1-9]'
	must "$ctl" metrics
	says "^reuseport_flows_evicted_total{service=\"$s\"} [1-9]"
}

# 0 of 1,000 peers of a draining generation move, and each new peer is counted, while 10 million
# sources send a datagram each: SOURCES=NUMBER, a tenth of it if STEP is not 1.
test_flow_sources() {
	[ "${STEP:-1}" = 1 ] || SOURCES=${SOURCES:-1000000}
	must "$here/flows" 1000 "${SOURCES:-10000000}"
	sed 's/^/# /' "$tmp/out"
}

# Peers that find the flow table full are served by hash, and counted.
test_flow_table_full() {
	ip=udp
	server A
	must "$ctl" attach "$s" udp "127.0.0.1:$port" --pid "$pid" --flows 8
	begin_load -c 1000000 -f 8 -p 20
	until_in_conversation 8
	server B
	must "$ctl" switch "$s" --pid "$pid"
	must "$helper" load -c 3 -f 20 udp 127.0.0.1 "$port"
	says '^B 60$' '^failed 0$' '^moved 0$'
	must "$ctl" -j show "$s"
	says '"flow_table":{"entries":8,"used":8,"evicted":0,"refused":60}'
	must "$ctl" show "$s"
	says 'flows: 8 of 8 entries used, 60 not recorded: the table was full'
	finish_load
	says '^A [0-9]*$' '^moved 0$'
}

# A peer that was silent for --flow-timeout begins a new flow.
test_flow_timeout() {
	ip=udp
	server A
	must "$ctl" attach "$s" udp "127.0.0.1:$port" --pid "$pid" --flow-timeout 2s
	begin_load -c 1000000 -f 2 -p 20
	silent=$load
	until_flows 2
	server B
	must "$ctl" switch "$s" --pid "$pid"
	kill -STOP $silent
	begin_load -c 1000000 -f 4 -p 20
	until_flows 6
	until_flows 4
	kill -CONT $silent
	until_flows 6
	finish_load
	says '^moved 0$'
	must "$ctl" flows "$s"
	! grep -q 'generation 1 ' "$tmp/out" || broken 'a flow that has ended is listed'
	refuse '1s to 24h' "$ctl" attach "x$s" udp "127.0.0.1:$port" --pid "$pid" --flow-timeout 20ms
	refuse 'are for --udp flow' "$ctl" attach "x$s" udp "127.0.0.1:$port" --pid "$pid" --udp none \
		--flow-timeout 20s
}

# With --udp none each datagram goes to the current generation.
test_none() {
	ip=udp
	server A
	must "$ctl" attach "$s" udp "127.0.0.1:$port" --pid "$pid" --hold --udp none
	refuse 'keeps no flows' "$ctl" flows "$s"
	begin_load -c 1000000 -f 4 -p 10
	until_packets 8
	server B
	must "$ctl" switch "$s" --pid "$pid"
	finish_load
	says '^moved 4$'
}

# ask HEX WHO: a worker whose name matches answers each datagram of HEX
ask() {
	must "$helper" load -f 20 -q "$1" udp 127.0.0.1 "$port"
	! sed '/^failed\|^moved/d' "$tmp/out" | grep -qv "^$2 " || broken "asked $1, not only $2 answered"
}

# With --udp id a datagram goes to the generation and slot that it contains.
test_id() {
	ip=udp
	server A -i
	a=$pid
	must "$ctl" attach "$s" udp "127.0.0.1:$port" --pid "$a" --udp id:4:4
	ask ffffffff00010002 A2
	ask ffffffff00010000 A0
	ask ffffffff00010004 'A[0-3]'
	ask ffffffff00020001 'A[0-3]'
	ask ff 'A[0-3]'
	server B -i
	must "$ctl" switch "$s" --pid "$pid"
	ask ffffffff00010003 A3
	ask ffffffff00020001 B1
	ask ffffffff00030001 'B[0-3]'
	ask ffffffff0001ffff 'B[0-3]'
	ask ffffffff 'B[0-3]'
	must "$ctl" drain "$s" --idle 200ms --kill TERM
	ask ffffffff00010003 'B[0-3]'
	must "$ctl" detach "$s"
	must "$ctl" attach "$s" udp "127.0.0.1:$port" --pid "$pid" --udp id:0:2
	ask 0102 B2
	ask 0202 'B[0-3]'
	must "$ctl" detach "$s"
	must "$ctl" attach "$s" udp "127.0.0.1:$port" --pid "$pid" --udp id:2:3
	ask 0909010003 B3
}

# A server that connects its bound socket to each peer, and binds a new one for the next: the
# connected sockets are in no slot after a refresh, the program is attached to the group of the
# new one, a restart moves no peer, and the old server is in use as long as it has peers.
test_connected_later() {
	ip=udp
	for host in 127.0.0.1 0.0.0.0; do
		port=$((port + 1))
		address=$host
		serve A -C -w 1
		a=$pid
		wait_until 'a bound socket' has_bound 1 udp
		must "$ctl" attach "$s" udp "$address:$port" --pid "$a"
		host=127.0.0.1
		for n in 1 2 3 4 5; do
			"$helper" load -c 1000000 -p 20 udp 127.0.0.1 "$port" >"$tmp/load_$n" &
			eval "load_$n=$!"
			echo $! >>"$tmp/pids"
			wait_until "$n connected sockets" has_connected $n
			must "$ctl" show "$s"
			must "$ctl" refresh "$s"
			says ' 1 new socket in generation 1'
		done
		must "$ctl" -j show "$s"
		says '"sockets":1,' '"connections":5,' '"sockets_connected":0'
		! grep -q '"program":"\(gone\|replaced\)"' "$tmp/out" || broken 'the program is not attached'
		"$ctl" restart "$s" --idle 300ms -- "$helper" serve -w 1 udp $address "$port" B >"$tmp/restart" 2>&1 &
		restart=$!
		echo $restart >>"$tmp/pids"
		until_said "$tmp/restart" 'switched to generation 2'
		pid_of B >/dev/null
		all_from B
		usleep 1500000
		kill -0 "$a" || broken 'the old server was stopped while it has peers'
		kill -0 $restart || broken 'restart does not wait'
		for n in 1 2 3 4 5; do
			eval "kill \$load_$n; wait \$load_$n" || broken "peer $n had failures"
			cp "$tmp/load_$n" "$tmp/out"
			says '^failed 0$' '^moved 0$' '^A [0-9]*$'
		done
		kill "$a"
		wait $restart || { cp "$tmp/restart" "$tmp/out" && broken 'the restart failed'; }
		must "$ctl" detach "$s"
		says 'is detached'
		kill "$(pid_of B)"
		wait_until 'no socket' has_bound 0 udp
	done
}

# COUNT UDP sockets at the port are connected to a peer.
has_connected() {
	[ "$(grep -ciE "^ *[0-9]+: [0-9A-F]+:$(printf %04X "$port") [0-9A-F:]+ 01" /proc/net/udp)" = "$1" ]
}

# A generation whose sockets have all been connected to peers is still in use.
test_connected_all() {
	ip=udp
	sockets=1 server A -C -w 1
	a=$pid
	must "$ctl" attach "$s" udp "127.0.0.1:$port" --pid "$a" --udp none --hold
	sockets=1 server B -w 1
	must "$ctl" switch "$s" --pid "$pid"
	# now A gets datagrams, too, by hash
	must "$helper" strip "$(children "$pid")"
	must "$helper" load -f 40 udp 127.0.0.1 "$port"
	says '^A [1-9]'
	connected=$(sed -n 's/^A //p' "$tmp/out")
	must "$ctl" refresh "$s"
	! "$ctl" -j probe | grep -q '"group_program":true' ||
		says 'the group had lost the program, which is attached again'
	must "$ctl" -j show "$s"
	says '"sockets_connected":0'
	refuse "is still in use after.* $connected .*connected to a peer" \
		"$ctl" drain "$s" --generation 1 --idle 100ms --timeout 1s --kill TERM
	kill -0 "$a" || broken 'the old server was stopped'
	kill "$a"
	must "$ctl" drain "$s" --generation 1 --idle 100ms --kill TERM
	all_from B
}

# A socket that was connected after it got its slot leaves that by refresh, on a kernel that has not
# taken it out, and nobody else's datagrams go there.
test_connected_in_slot() {
	ip=udp
	sockets=2 server A -C -w 2
	must "$ctl" attach "$s" udp "127.0.0.1:$port" --pid "$pid"
	begin_load -c 1000000 -f 1 -p 20
	wait_until 'a connected socket' has_connected 1
	must "$ctl" -j show "$s"
	in_slot=$(sed -n 's/.*"sockets_connected":\([0-9]*\).*/\1/p' "$tmp/out")
	must "$ctl" show "$s"
	[ "$in_slot" = 0 ] || says '1 socket is in a slot, but connected to a peer'
	must "$ctl" refresh "$s"
	says "^service $s: 1 new socket in generation 1\$"
	[ "$in_slot" = 0 ] || says '1 socket, connected to a peer, has left its slot'
	must "$ctl" -j show "$s"
	says '"sockets":2,' '"sockets_connected":0' '"sockets_outside":0'
	echo "# $in_slot connected socket was in a slot"
	finish_load
	says '^moved 0$'
}
