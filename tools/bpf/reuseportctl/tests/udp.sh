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
