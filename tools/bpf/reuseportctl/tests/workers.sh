# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2013,SC2016,SC2030,SC2031,SC2046,SC2086,SC2034,SC2154
# Servers whose workers die, start again, and change in number. Each test runs a server twice
# with the same clients, at the same ports: without a service, where the kernel's hash
# distributes alone, and with one.

# The worker that was started first of those that run.
oldest() { children $main | sort -n | head -n 1; }

# A server of 4 workers with a name each, A0 to A3. Sets main.
numbered_server() {
	server A -i -r >/dev/null
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
	must "$helper" load -f 300 -s 22000 $ip $host "$port"
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

# -- Continuous load ---------------------------------------------------------------------
#
# Two servers run at the same time, with the same changes, each under the load of two clients: P
# at $port, without a service, and A at the port after it, with one. A request has a socket and an
# address of its own, and so a hash of its own. What both get is compared while nothing changes.

# at P|A COMMAND...: with the port and the main process of that server
at() {
	name=$1
	shift
	eval "main=\$main_$name"
	[ "$name" = P ] || port=$((port + 1))
	"$@"
	[ "$name" = P ] || port=$((port - 1))
}

both() { at P "$@" && at A "$@"; }

start_numbered() {
	: >"$tmp/started-$name"
	server $name -i -r >>"$tmp/started-$name"
	eval "main_$name=$pid"
	children $pid >>"$tmp/pids"
}

begin_streams() {
	for client in 1 2; do
		: >"$tmp/stream-$name$client"
		"$helper" stream "$round" $ip $host $port >"$tmp/stream-$name$client" &
		echo $! >>"$tmp/pids"
		streams="$streams $!"
	done
}

# has_rounds COUNT: each client has completed so many more since note_rounds
note_rounds() { wc -l "$tmp"/stream-* >"$tmp/noted"; }
has_rounds() {
	wc -l "$tmp"/stream-* | awk -v more="$1" -v noted="$tmp/noted" '
		BEGIN { while ((getline line < noted) > 0) { split(line, f, " "); had[f[2]] = f[1] } }
		$2 != "total" && $1 < had[$2] + more { missing = 1 }
		END { exit missing }'
}

# compare WHEN: the first round may have begun before the change, the second one has not. Of the
# difference 5 standard deviations are noise, which is more than 3 % if rounds are short.
compare() {
	note_rounds
	wait_until "two rounds of requests ($1)" has_rounds 2
	for client in P1 P2 A1 A2; do tail -n 1 "$tmp/stream-$client"; done >"$tmp/last"
	awk -v what="$1" -v members="$2" '
		$NF { print what ": " $NF " requests failed while nothing changed"; bad = 1 }
		{ for (i = 1; i < NF - 1; i += 2) {
			at = substr($i, 1, 1)
			worker = substr($i, 2)
			n[at, worker] += $(i + 1)
			all[at] += $(i + 1)
			workers[worker]
		} }
		END {
			for (worker in workers) {
				count++
				p = n["P", worker] / all["P"]
				a = n["A", worker] / all["A"]
				variance = p * (1 - p) * (1 / all["P"] + 1 / all["A"])
				off = a > p ? a - p : p - a
				if (!p || (off > 0.03 * p && off * off > 25 * variance)) {
					print what ": worker " worker " gets " a ", without a service " p
					bad = 1
				}
				if (p && off / p > worst)
					worst = off / p
			}
			if (count != members) {
				print what ": " count " workers answer"
				bad = 1
			}
			printf "# %s, %s: shares of %d workers differ by up to %.1f %%\n", ENVIRON["ip"], what, count, 100 * worst
			exit bad
		}' "$tmp/last" >"$tmp/out" || broken "other shares than without a service"
	cat "$tmp/out"
}

# A round that is not complete when the clients end had no change.
count_failed() {
	failed=$(cat "$tmp/stream-${name}1" "$tmp/stream-${name}2" | awk '{ n += $NF } END { print n + 0 }')
	eval "failed_$name=$failed"
}

# Sockets are not counted in /proc while there are thousands of connections: a process that has
# ended has closed its own, and a server prints a line when it has started a worker.
kill_oldest() {
	victim=$(oldest)
	kill "$1" "$victim"
	wait_until "the end of worker $victim" has_ended "$victim"
}
has_ended() { ! children $main | grep -qx "$1"; }

# add_worker SIGNAL: see more_workers
add_worker() {
	had=$(nr_started)
	kill "$1" $main
	wait_until "a new worker of $name" has_started $((had + 1))
	children $main >>"$tmp/pids"
	[ $name = P ] || [ ! "$follow" ] || wait_until 'the refresh' has_none_outside
}
has_none_outside() { "$ctl" -j show "$s" | grep -q '"sockets_outside":0'; }
nr_started() { wc -l <"$tmp/started-$name"; }
has_started() { [ "$(nr_started)" -ge "$1" ]; }

# churn_under_load ATTACH-OPTION...
churn_under_load() {
	export ip
	round=${REQUESTS:-250} streams='' follow=''
	main_P='' main_A=''
	both start_numbered
	must "$ctl" attach "$s" $ip "$host:$((port + 1))" --pid $main_A "$@"
	case " $* " in
	*' flow '*)
		"$ctl" follow "$s" >"$tmp/follow" 2>&1 &
		follow=$!
		echo $follow >>"$tmp/pids"
		;;
	esac
	both begin_streams
	compare 'four workers' 4
	for n in 1 2 3 4; do
		both kill_oldest -KILL
		compare "worker $n killed" 3
		both add_worker -HUP
		compare "worker $n again" 4
	done
	for n in 5 6 7 8; do both add_worker -USR1; done
	compare 'eight workers' 8
	for n in 7 6 5 4 3 2; do both kill_oldest -TERM; done
	compare 'two workers' 2
	kill $streams $follow
	wait $streams $follow
	both count_failed
	echo "# $ip: $failed_A requests failed as 10 workers ended, $failed_P without a service"
	# each client has one request in flight, so a worker that ends takes at most two along
	[ $failed_A -le 20 ] || broken "$failed_A requests failed"
	must "$ctl" detach "$s"
	kill $main_P $main_A
	both until_sockets 0
}

# Under continuous load each worker is killed and starts again, then there are 8, then 2: each has
# the share that it has without a service, no request fails in between, and no more fail
# with a worker than it had in work. REQUESTS=30000 makes the rounds long enough for 3 %.
test_workers_load() {
	churn_under_load
	ip=udp
	churn_under_load --udp none
	# each request is a new flow
	churn_under_load --udp flow
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
