# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2013,SC2016,SC2030,SC2031,SC2046,SC2086,SC2034,SC2154
# As many generations as a service can have, all at the same time.

max=64

# Sets pid_1, pid_2, ... to servers of one worker, and load_1, ... to a peer that each of them
# has. The services is switched to each in turn.
many_generations() {
	ip=udp sockets=1
	for g in $(seq $max); do
		server "G$g" -w 1
		eval "pid_$g=$pid"
		if [ "$g" = 1 ]; then attach "$pid"; else must "$ctl" switch "$s" --pid "$pid"; fi
		"$helper" load -r -c 1000000 -f 1 -p 100 $ip $host "$port" >"$tmp/load_$g" &
		eval "load_$g=$!"
		echo $! >>"$tmp/pids"
		# its first datagrams have come
		until_flows "$g"
	done
}

# with_generations: how many have sockets
has_generations() {
	"$ctl" -j show "$s" | grep -o '"generation":' | wc -l | grep -q "^$1\$"
}

# 64 generations are alive at once, and each keeps its peer; the 65th changes nothing until one
# of them has ended.
test_generations() {
	many_generations
	has_generations $max || broken "not $max generations"
	server late -w 1
	late=$pid
	"$ctl" show "$s" | sed '/^ *[0-9]* /d; / in no generation/d' >"$tmp/before"
	refuse "generation 1 .*still has sockets.*at most $max generations: drain and stop it" \
		"$ctl" switch "$s" --pid "$late"
	"$ctl" -n switch "$s" --pid "$late" >"$tmp/out" 2>&1 && broken 'a dry run finds no error'
	says "at most $max generations"
	"$ctl" show "$s" | sed '/^ *[0-9]* /d; / in no generation/d' | cmp "$tmp/before" - ||
		broken 'something has changed'
	all_from "G$max"

	# the counters of all slots of all generations are there
	must "$ctl" metrics
	! grep -q "^reuseport_packets_total{service=\"$s\".* 0\$" "$tmp/out" || broken 'not counted'
	for g in $(seq $max); do
		says "^reuseport_packets_total{service=\"$s\",generation=\"$g\",slot=\"0\"} "
	done

	# the 7th ends: its place is free, and the next number that has it is 71
	kill $load_7
	wait $load_7
	grep -q '^moved 0$' "$tmp/load_7" || broken 'the peer of the 7th has moved'
	must "$ctl" drain "$s" --generation 7 --idle 100ms --kill TERM
	must "$ctl" switch "$s" --pid "$late"
	says "switched to generation $((max + 7)),"
	all_from late
	for g in $(seq $max); do
		[ "$g" = 7 ] || eval "kill \$load_$g"
	done
	for g in $(seq $max); do
		[ "$g" = 7 ] || eval "wait \$load_$g" || broken "the peer of generation $g had failures"
		cp "$tmp/load_$g" "$tmp/out"
		says '^failed 0$' '^moved 0$' "^G$g [0-9]*\$"
	done
}

# If the newest generations lose all sockets at once, new peers get the newest one that has some.
test_generations_closed() {
	many_generations
	for g in $(seq 20 $max); do
		eval "kill \$load_$g \$pid_$g"
	done
	until_sockets 19
	all_from G19
	must "$ctl" rollback "$s"
	says 'switched back to generation 19,'
	all_from G19
}
