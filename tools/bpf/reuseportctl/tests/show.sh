# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2013,SC2016,SC2030,SC2031,SC2046,SC2086,SC2034,SC2154
# What is shown of services: tables, JSON, metrics.

shown_twice() { [ "$(grep -c "$s  $ip" "$tmp/out")" -ge 2 ]; }

# show prints a table or JSON, once or again and again.
test_show() {
	must "$ctl" show
	server A
	attach "$pid"
	must "$ctl" show "$s"
	says "^$s  $ip 127.0.0.1:$port.*current 1" "generation 1 (current)  helper($pid)  4 of 4 sockets" \
		'slot .* new flows'
	must "$ctl" -p show
	says "\"name\": \"$s\""
	refuse 'is for a terminal' "$ctl" -j show --watch
	"$ctl" show "$s" --watch >"$tmp/out" &
	watch=$!
	echo $watch >>"$tmp/pids"
	wait_until 'a second table' shown_twice
	kill $watch
}

# A service with a missing pin does not keep the others from being shown.
test_show_broken() {
	server A
	attach "$pid"
	port=$((port + 1))
	server B
	must "$ctl" attach "a$s" tcp "127.0.0.1:$port" --pid "$pid" --hold
	rm "$root/a$s/1/flows"
	refuse "service a$s is incomplete" "$ctl" show
	says "^a$s  cannot be shown" "^$s  tcp "
	refuse "service a$s is incomplete" "$ctl" metrics
	says "^reuseport_sockets{service=\"$s\",generation=\"1\"} 4\$"
	! grep -q "service=\"a$s\"" "$tmp/out" || broken 'in the metrics all the same'
	"$ctl" -j show >"$tmp/out" 2>/dev/null
	[ $? = 1 ] || broken 'status not 1'
	says "^\[{\"name\":\"a$s\",\"error\":\"service a$s is incomplete.*\"},{\"name\":\"$s\",.*}\]\$"
	"$ctl" -j show "a$s" >"$tmp/out" 2>/dev/null
	[ $? = 1 ] || broken 'status not 1'
	says "^{\"error\":\"service a$s is incomplete[^}]*}\$"
	"$ctl" -j -x show >"$tmp/out" 2>/dev/null
	says '^{"error":"unknown option -x'
	must "$ctl" detach "a$s"
	says "^service a$s is removed, but pins were missing"
	# a name without a directory, as when a detach comes in between, is no error
	ln -s nothing "$root/gone"
	"$ctl" -j show >"$tmp/out" 2>&1
	status=$?
	rm "$root/gone"
	[ $status = 0 ] || broken 'one that has gone is a failure'
	says "^\[{\"name\":\"$s\".*}\]\$"
}

# pid prints the main process of a generation, and fails if that has ended.
test_pid() {
	server A
	old=$pid
	attach "$pid"
	server B
	must "$ctl" switch "$s" --pid "$pid"
	must "$ctl" pid "$s"
	says "^$pid\$"
	must "$ctl" pid "$s" --generation 1
	says "^$old\$"
	must "$ctl" -j pid "$s"
	says "^{\"service\":\"$s\",\"generation\":2,\"pid\":$pid,\"pids\":\[$pid\]}\$"
	refuse 'has no generation 3' "$ctl" pid "$s" --generation 3
	kill "$old"
	wait "$old"
	refuse "($old), the main process of generation 1 of service $s, has ended" \
		"$ctl" pid "$s" --generation 1
}

# metrics prints generations, sockets and counters for Prometheus.
test_metrics() {
	server A
	attach "$pid"
	all_from A
	must "$ctl" metrics
	says "^reuseport_current_generation{service=\"$s\"} 1\$" \
		"^reuseport_sockets{service=\"$s\",generation=\"1\"} 4\$" \
		"^reuseport_packets_total{service=\"$s\",generation=\"1\",slot=\"3\"} [1-9]" \
		'^# TYPE reuseport_new_flows_total counter$'
}

# metrics lists sockets once, however many services and processes there are.
test_metrics_calls() {
	sockets=1 server A -w 1
	attach "$pid"
	calls "$ctl" metrics
	one=$calls
	for n in 1 2 3 4 5; do
		port=$((port + 1))
		sockets=1 server A -w 1
		must "$ctl" attach "x$n" $ip "127.0.0.1:$port" --pid "$pid" --hold
	done
	calls "$ctl" metrics
	six=$calls
	more_processes
	calls "$ctl" metrics
	[ "$calls" = "$six" ] || broken "$calls system calls, $six without 100 processes more"
	[ $((six - one)) -lt $((5 * 100)) ] || broken "$((six - one)) system calls for 5 services more"
}

# With TCP_DEFER_ACCEPT each connection counts as a drop of its listener, which is none: no
# number is shown. The metric has it.
test_show_deferred() {
	server A -D
	attach "$pid"
	must "$ctl" show "$s"
	says '^ *0 .* 0      -          0' 'Drops are unknown where TCP_DEFER_ACCEPT is set'
	must "$ctl" -j show "$s"
	says '"defer_accept":true'
	! grep -q '"drops"' "$tmp/out" || broken 'drops in the JSON'
	# whose first packet after the handshake has no data
	"$helper" load -f 5 $ip $host "$port" >"$tmp/out" &
	echo $! >>"$tmp/pids"
	wait_until '5 drops' has_drops 5
	port=$((port + 1))
	server B
	must "$ctl" attach "x$s" tcp "127.0.0.1:$port" --pid "$pid" --hold
	all_from B 5
	must "$ctl" -j show "x$s"
	says '"drops":0,"defer_accept":false'
}

has_drops() {
	[ "$("$ctl" metrics | awk -v s="drops_total{service=\"$s\"" '
		index($0, s) { n += $2 }
		END { print n + 0 }')" = "$1" ]
}
