# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2013,SC2016,SC2030,SC2031,SC2046,SC2086,SC2034,SC2154
# Trying a new server with a share of new traffic.

# How many of COUNT answers come from NAME.
nr_answers() {
	"$helper" load -f "$2" $ip $host "$port" >"$tmp/out" || broken "answers failed"
	sed -n "s/^$1 //p" "$tmp/out" | grep . || echo 0
}

# Of COUNT answers SHARE percent come from NAME, to within five standard deviations.
has_share() {
	n=$(nr_answers "$1" "$2")
	awk -v n="$n" -v count="$2" -v p="$3" 'BEGIN {
		p /= 100
		off = n - count * p
		exit off * off > 25 * count * p * (1 - p)
	}' || broken "$n of $2 answers are from $1, not $3 %"
}

# begin_canary OPTION...: restart in the background, with B as the new server
begin_canary() {
	: >"$tmp/canary"
	"$ctl" restart "$s" --idle 100ms "$@" -- "$helper" serve $ip $host "$port" B \
		>"$tmp/canary" 2>&1 &
	canary=$!
	echo $canary >>"$tmp/pids"
	until_said "$tmp/canary" 'gets .* of new traffic, generation 1 the rest'
	b=$(children $canary | head -n 1)
	echo "$b" >>"$tmp/pids"
}

# end_canary STATUS PATTERN...: how that ends
end_canary() {
	wait $canary
	status=$?
	cp "$tmp/canary" "$tmp/out"
	[ $status = "$1" ] || broken "status $status"
	shift
	says "$@"
}

# Generation 1 gets everything, the new server is gone, and the service is as before.
is_over() {
	wait_until 'the end of B' ended "$b"
	must "$ctl" show "$s"
	! grep -q 'generation [23]' "$tmp/out" || broken 'generation 2 is still there'
	all_from A 100
	show
	says '"current":1' "\"open\":${1:-false}"
	! grep -q '"canary":' "$tmp/out" || broken 'there is a canary'
}

ended() { ! kill -0 "$1" 2>/dev/null; }

# A restart in steps loses nothing, runs the check, and ends like any other.
test_canary() {
	server A
	a=$pid
	attach "$a"
	begin_load -c 1000000 -f 2 -p 5
	begin_canary --canary 10% --steps 50,100 --for 300ms --every 50ms \
		--check 'echo "checked $REUSEPORTCTL_SERVICE $REUSEPORTCTL_GENERATION $REUSEPORTCTL_PID"
			echo "after $REUSEPORTCTL_OLD_GENERATION $REUSEPORTCTL_OLD_PID $REUSEPORTCTL_COUNTERS"'
	end_canary 0 'gets 10 % of new traffic' 'gets 50 % ' 'gets 100 % ' 'switched to generation 2' \
		"checked $s 2 $b" "after 1 $a {\"canary\":{\"generation\":2,\"sockets\":4," \
		'"current":{"generation":1,"sockets":4,' 'generation 1 .* has stopped'
	all_from B
	show
	says '"current":2' '"sockets":4'
	! grep -q '"canary":' "$tmp/out" || broken 'there is a canary'
	finish_load
}

# The canary gets the share that it is to get, by TCP and by UDP, also if that is changed.
test_canary_share() {
	for ip in tcp udp; do
		server A
		a=$pid
		[ $ip = udp ] || attach "$a"
		[ $ip = tcp ] || must "$ctl" attach "$s" udp "127.0.0.1:$port" --pid "$a" --udp none --hold
		server B
		b=$pid
		must "$ctl" -n switch "$s" --pid "$b" --share 25
		says 'would get 25 % of new traffic'
		all_from A 100
		must "$ctl" switch "$s" --pid "$b" --share 25
		says 'generation 2, helper(.*), gets 25 % of new traffic, generation 1 the rest'
		has_share B 1000 25
		show
		says '"canary":2' '"share_ppm":250000' '"current":1'
		must "$ctl" show "$s"
		says 'generation 2 (canary, 25 %)' "promote $s"
		must "$ctl" switch "$s" --pid "$b" --share 80%
		has_share B 1000 80
		must "$ctl" abort "$s"
		says 'generation 1 gets all' "drain $s --generation 2"
		all_from A 100
		must "$ctl" switch "$s" --pid "$b" --share 100
		all_from B 100
		must "$ctl" promote "$s"
		says 'switched to generation 2' "drain $s --generation 1"
		all_from B 100
		must "$ctl" detach "$s"
		kill "$a" "$b"
		until_sockets 0
	done
}

# While the share grows no datagram is lost, and with flows no peer moves.
test_canary_keeps_flows() {
	ip=udp
	for mode in none flow; do
		server A
		a=$pid
		must "$ctl" attach "$s" udp "127.0.0.1:$port" --pid "$a" --udp $mode --hold
		server B
		begin_load -c 1000000 -f 50 -p 20
		[ $mode = none ] || until_flows 50
		for share in 10 40 70; do
			must "$ctl" switch "$s" --pid "$pid" --share $share
		done
		n=$(nr_answers B 200)
		[ "$n" -gt 0 ] && [ "$n" -lt 200 ] || broken "$n of 200 answers are from B"
		must "$ctl" abort "$s"
		kill $load
		wait $load
		cp "$tmp/load" "$tmp/out"
		says '^failed 0$'
		[ $mode = none ] || says '^moved 0$'
		must "$ctl" detach "$s"
		kill "$a" "$pid"
		until_sockets 0
	done
}

# A check that fails gives everything back to the old server at once, and nothing is lost.
test_canary_check_fails() {
	server A
	must "$ctl" attach "$s" tcp "127.0.0.1:$port" --pid "$pid"
	begin_load -c 1000000 -f 2 -p 5
	begin_canary --canary 50 --for 1h --every 10ms --check "[ ! -e $tmp/bad ] || exit 7"
	has_share B 200 50
	touch "$tmp/bad"
	end_canary 3 'reuseportctl: the check failed with status 7' \
		'generation 1 gets all new traffic again' 'generation [23] of service .* has stopped'
	rm "$tmp/bad"
	is_over true
	finish_load
}

# The check of a server that has put itself into the background counts as well.
test_canary_daemon() {
	server A
	attach "$pid"
	: >"$tmp/canary"
	"$ctl" restart "$s" --idle 100ms --canary 50 --for 1h --every 10ms \
		--check "[ ! -e $tmp/bad ] || exit 7" -- \
		sh -c "$helper serve $ip 127.0.0.1 $port B & exit 0" >"$tmp/canary" 2>&1 &
	canary=$!
	until_said "$tmp/canary" 'gets 50 %'
	echo $(children $canary) >>"$tmp/pids"
	sleep 1
	touch "$tmp/bad"
	end_canary 3 'the check failed with status 7' 'generation 2 of service .* has stopped'
	rm "$tmp/bad"
	all_from A 40
}

# So does a server that dies, by whatever way, and a restart then works.
test_canary_dies() {
	server A
	attach "$pid"
	begin_load -c 1000000 -f 2 -p 5
	begin_canary --canary 50 --for 1h
	kill "$b"
	end_canary 3 'reuseportctl: the new server' 'generation 1 gets all new traffic again'
	is_over
	finish_load
	must "$ctl" restart "$s" --idle 100ms -- "$helper" serve $ip 127.0.0.1 "$port" C
	pid_of C >/dev/null
	all_from C
}

# So do connections that nobody accepts.
test_canary_queue() {
	server A
	attach "$pid"
	: >"$tmp/canary"
	"$ctl" restart "$s" --wait 1 --canary 100 --for 1h --max-queue 3 --drain-timeout 100ms -- \
		"$helper" serve -a -w 1 $ip 127.0.0.1 "$port" B >"$tmp/canary" 2>&1 &
	canary=$!
	until_said "$tmp/canary" 'gets 100 %'
	echo $(children $canary) >>"$tmp/pids"
	"$helper" load -f 5 $ip 127.0.0.1 "$port" >/dev/null 2>&1 &
	echo $! >>"$tmp/pids"
	end_canary 3 'wait at a socket of the new server, more than --max-queue 3' \
		'generation 1 gets all new traffic again' "drain $s --generation 2 --kill TERM"
	all_from A 20
}

# So do datagrams that it drops.
test_canary_drops() {
	ip=udp
	server A
	must "$ctl" attach "$s" udp "127.0.0.1:$port" --pid "$pid" --udp none --hold
	: >"$tmp/canary"
	"$ctl" restart "$s" --wait 1 --canary 100 --for 1h --max-queue 2000000000 \
		--drain-timeout 100ms -- \
		"$helper" serve -a -w 1 $ip 127.0.0.1 "$port" B >"$tmp/canary" 2>&1 &
	canary=$!
	until_said "$tmp/canary" 'gets 100 %'
	echo $(children $canary) >>"$tmp/pids"
	"$helper" flood 100000 127.0.0.1 "$port" >/dev/null
	end_canary 3 'new server dropped [0-9]* datagrams' 'generation 1 gets all new traffic again'
	all_from A 20
}

# SIGTERM and SIGINT end it as a failure does.
test_canary_interrupted() {
	server A
	must "$ctl" attach "$s" tcp "127.0.0.1:$port" --pid "$pid"
	begin_load -c 1000000 -f 2 -p 5
	for signal in TERM HUP; do
		begin_canary --canary 50 --for 1h
		kill -$signal $canary
		end_canary 3 'reuseportctl: interrupted' 'generation [23] of service .* has stopped'
		is_over true
	done
	finish_load
}

# promote and abort by hand end it as well.
test_canary_by_hand() {
	server A
	attach "$pid"
	begin_load -c 1000000 -f 2 -p 5
	begin_canary --canary 50 --for 1h
	must "$ctl" abort "$s"
	end_canary 3 'another command has ended the canary' 'generation [23] of service .* has stopped'
	is_over
	begin_canary --canary 50 --for 1h
	must "$ctl" promote "$s"
	end_canary 0 'switched to generation [23]' 'generation 1 .* has stopped'
	all_from B
	finish_load
}

# A canary whose command was killed goes on; one command ends it, another one completes it.
test_canary_killed() {
	server A
	attach "$pid"
	for how in abort promote; do
		begin_canary --canary 50 --for 1h
		kill -KILL $canary
		wait $canary
		has_share B 200 50
		must "$ctl" $how "$s"
		[ $how = promote ] || must "$ctl" drain "$s" --generation 2 --idle 100ms --kill TERM
		[ $how = promote ] || is_over
	done
	all_from B
}

# While there is a canary, other changes are refused, and what is asked for wrongly too.
test_canary_refused() {
	server A
	a=$pid
	attach "$a"
	refuse 'has no canary' "$ctl" abort "$s"
	refuse 'has no canary' "$ctl" promote "$s"
	server B
	refuse 'is the current one' "$ctl" switch "$s" --pid "$a" --share 5
	for share in 0 101 5x %5 '' 1e9 nan; do
		refuse 'is no share' "$ctl" switch "$s" --pid "$pid" --share "$share"
		refuse 'is no share' "$ctl" restart "$s" --canary "$share" -- true
	done
	refuse 'larger than the one before' "$ctl" restart "$s" --steps 5,5 -- true
	refuse 'larger than the one before' "$ctl" restart "$s" --canary 7 --steps 5,50 -- true
	refuse '16 shares at most' "$ctl" restart "$s" \
		--steps 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17 -- true
	for option in '--for 1s' '--check true' '--max-queue 5'; do
		refuse 'is for a canary' "$ctl" restart "$s" $option -- true
	done
	refuse '--every is the time between' "$ctl" restart "$s" --canary 5 --every 1s -- true
	all_from A
	must "$ctl" switch "$s" --pid "$pid" --share 50
	server C
	for command in "restart $s -- true" "rollback $s" "switch $s --pid $pid" \
		"switch $s --pid $a" "drain $s"; do
		refuse "is a canary: .*promote $s .*abort $s" "$ctl" $command
	done
	has_share B 200 50
	must "$ctl" upgrade "$s" --force
	has_share B 200 50
	must "$ctl" abort "$s"
	all_from A
}
