# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2013,SC2016,SC2030,SC2031,SC2046,SC2086,SC2034,SC2154
# Servers whose workers die, start again, and change in number. Each test runs a server twice
# with the same clients, at the same ports: without a service, where the kernel's hash
# distributes alone, and with one.

# The worker that was started first of those that run.
oldest() { children $main | sort -n | head -n 1; }

# A server of 4 workers with a name each, A0 to A3. Sets main.
numbered_server() {
	server A -i -r
	main=$pid
	children $main >>"$tmp/pids"
}

# more_workers SIGNAL COUNT: start those that are missing (HUP) or one (USR1)
more_workers() {
	kill -"$1" $main
	until_sockets "$2"
	children $main >>"$tmp/pids"
	[ "$keep" != held ] || must "$ctl" refresh "$s"
}

# What is shown is the number of sockets, those in no generation included.
check_shown() {
	[ "$keep" != plain ] || return 0
	must "$ctl" metrics
	members=$(sed -n "s/^reuseport_sockets{service=\"$s\",generation=\"1\"} //p" "$tmp/out")
	must "$ctl" show "$s"
	outside=$(sed -n 's/^  \([0-9]*\) sockets* .*in no generation.*/\1/p' "$tmp/out")
	says "generation 1 (current) .* $members of "
	[ $((members + ${outside:-0})) = "$(sockets)" ] ||
		broken "$members members and ${outside:-0} others, of $(sockets)"
	[ "$keep" = open ] || [ ! "$outside" ] || broken "$outside left out"
}

# ask_all WHEN: 600 requests; $tmp/$keep gets how many answers came from each worker. The 300
# before find the slots of closed sockets: until a packet hits one, it counts in the hash.
ask_all() {
	check_shown
	must "$helper" load -f 300 -s 40000 $ip $host "$port"
	says '^failed 0$'
	must "$helper" load -f 600 -s 20000 $ip $host "$port"
	says '^failed 0$'
	sed -n "s/^A/$1: A/p" "$tmp/out" | sort >>"$tmp/$keep"
}

# Each worker is killed and starts again; then there are 8, then 2.
churn() {
	ask_all 'four workers'
	for n in 1 2 3 4; do
		kill -KILL "$(oldest)"
		until_sockets 3
		ask_all "worker $n killed"
		more_workers HUP 4
		ask_all "worker $n again"
	done
	for n in 5 6 7 8; do more_workers USR1 $n; done
	ask_all 'eight workers'
	for n in 7 6 5 4 3 2; do
		kill "$(oldest)"
		until_sockets $n
	done
	ask_all 'two workers'
	grep -c 'two workers: A' "$tmp/$keep" >"$tmp/out"
	says '^2$'
}

# run_kept plain|open|held COMMAND: with a server of its own
run_kept() {
	keep=$1
	: >"$tmp/$keep"
	numbered_server
	mode=
	[ $ip = tcp ] || mode='--udp none'
	case $keep in
	open) must "$ctl" attach "$s" $ip "127.0.0.1:$port" --pid $main $mode ;;
	held) must "$ctl" attach "$s" $ip "127.0.0.1:$port" --pid $main $mode --hold ;;
	esac
	"$2"
	[ $keep = plain ] || must "$ctl" detach "$s"
	kill $main
	until_sockets 0
}

same_answers() {
	diff "$tmp/plain" "$tmp/open" >"$tmp/out" || broken 'other workers answer than without a service'
}

# The same counts, but another worker may have each.
same_shares() {
	for kept in plain held; do sed 's/ A[0-9]* / /' "$tmp/$kept" | sort >"$tmp/$kept.shares"; done
	diff "$tmp/plain.shares" "$tmp/held.shares" >"$tmp/out" ||
		broken 'the shares are not those without a service'
}

# While workers die, come back, and change from 4 to 8 to 2, an open service changes nothing:
# each request goes to the worker that the kernel's hash selects, and is answered.
test_workers_open() {
	for ip in tcp udp; do
		run_kept plain churn
		run_kept open churn
		same_answers
	done
}

# A held service that is refreshed distributes in the same shares as the kernel's hash, and each
# request is answered.
test_workers_held() {
	for ip in tcp udp; do
		run_kept plain churn
		run_kept held churn
		same_shares
	done
}

# Kill the oldest worker while connections wait at its listener, and count those that fail.
kill_busy() {
	victim=$(oldest)
	kill -STOP "$victim"
	"$helper" load -f 200 -s 30000 tcp $host "$port" >"$tmp/load" &
	load=$!
	echo $load >>"$tmp/pids"
	# the others answer theirs; these wait
	wait_until 'connections at the stopped worker' has_waiting "$waiting"
	kill -KILL "$victim"
	wait $load
	sed -n 's/^failed //p' "$tmp/load" >"$tmp/$keep"
}

# How many of these connections hash to the worker that is killed.
count_waiting() {
	must "$helper" load -f 200 -s 30000 tcp $host "$port"
	waiting=$(sed -n 's/^A0 //p' "$tmp/out")
}

# If a worker is killed, the connections that wait at its listener fail as they do without a
# service, but no others; from Linux 5.14 on none of them fails.
test_workers_killed_busy() {
	run_kept plain count_waiting
	for kept in plain open held; do run_kept $kept kill_busy; done
	[ "$(cat "$tmp/plain")" = "$waiting" ] ||
		broken "of $waiting connections $(cat "$tmp/plain") fail without a service"
	for kept in open held; do
		[ "$(cat "$tmp/$kept")" -le "$waiting" ] ||
			broken "$kept: $(cat "$tmp/$kept") fail, $waiting without a service"
		! "$ctl" -j probe | grep -q '"migration":true' || [ "$(cat "$tmp/$kept")" = 0 ] ||
			broken "$kept: $(cat "$tmp/$kept") are not migrated"
	done
}

# Of independent instances at one address one can be restarted: meanwhile it gets all requests,
# then all of them share again, and none fails.
test_workers_instances() {
	sockets=2 server A -w 2
	a=$pid
	sockets=2 server B -w 2
	must "$ctl" attach "$s" tcp "127.0.0.1:$port" --pid "$a"
	says "not in service $s: 2 sockets .*they get traffic by hash, except while the service is held"
	begin_load -c 1000000 -f 4 -p 5
	must "$ctl" restart "$s" --idle 300ms -- "$helper" serve -w 2 tcp 127.0.0.1 "$port" C
	says 'generation 1 .* has stopped'
	pid_of C >/dev/null
	finish_load
	must "$helper" load -f 200 tcp $host "$port"
	says '^B [1-9]' '^C [1-9]'
	! grep -q '^A ' "$tmp/out" || broken 'A still serves'
	must "$ctl" show "$s"
	says '2 sockets are in no generation .* they get traffic by hash'
}
