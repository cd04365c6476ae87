# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2013,SC2016,SC2030,SC2031,SC2046,SC2086,SC2034,SC2154
# Services that another version of reuseportctl has pinned.

# attach_1 PID [MODE]: make a service as version 1.0 did, of the workers of a server
attach_1() {
	must "$here/layout1" attach "$s" $ip "$port" "${2:-none}" "$1" $(children "$1")
}

# A service of layout 1 is shown, and can be changed after an upgrade.
test_upgrade() {
	server A
	a=$pid
	attach_1 "$a"
	show
	says '"layout":1' '"made_by":"1.0"' '"current":1' '"sockets":4'
	must "$ctl" metrics
	says "^reuseport_sockets{service=\"$s\",generation=\"1\"} 4\$"
	must "$ctl" show "$s"
	says "upgrade $s is required"
	server B
	for c in "switch $s --pid $pid" "rollback $s" "restart $s -- true"; do
		refuse "layout 1.*upgrade $s first" "$ctl" $c
	done
	must "$ctl" -n upgrade "$s"
	says 'would upgrade from version 1.0 (layout 1)'
	show
	says '"layout":1'
	must "$ctl" upgrade "$s"
	says 'upgraded from version 1.0 (layout 1) to '
	show
	says '"layout":2' '"current":1' '"sockets":4'
	[ ! -e "$root/$s/state" ] || broken 'pins of layout 1 are left'
	all_from A
	must "$ctl" upgrade
	says "$s: already of version"
	must "$ctl" switch "$s" --pid "$pid"
	all_from B
	must "$ctl" rollback "$s"
	all_from A
	must "$ctl" switch "$s" --pid "$pid"
	must "$ctl" drain "$s" --idle 100ms --kill TERM
	all_from B
}

# A service of layout 1 can be detached, and its sockets are free again.
test_upgrade_detach() {
	server A
	attach_1 "$pid"
	must "$ctl" detach "$s"
	[ ! -e "$root/$s" ] || broken 'pins are left'
	attach "$pid"
	all_from A
}

# A service that a newer version has made is left alone by each command.
test_upgrade_newer() {
	command -v bpftool >/dev/null || skip 'no bpftool'
	server A
	attach "$pid"
	# version 99, made by "9.9", and 25 zeros
	bpftool map update pinned "$root/$s/1/layout" key 0 0 0 0 \
		value 99 0 0 0 57 46 57 $(printf '0 %.0s' $(seq 25)) || broken 'no other layout'
	for c in "show $s" "switch $s --pid $pid" "rollback $s" "drain $s" "detach $s" "upgrade $s" \
		upgrade "restart $s -- true" "attach $s tcp 127.0.0.1:$port --pid $pid --force"; do
		refuse 'made by reuseportctl 9.9 (layout 99), which is newer.*use that version' "$ctl" $c
	done
	refuse 'which is newer' "$ctl" show
	says "^$s  cannot be shown"
	all_from A
	[ -e "$root/$s/1/state" ] || broken 'pins are gone'
	rm -r "${root:?}/$s"
}

# A pinned map of another size is reported, not read.
test_upgrade_size() {
	command -v bpftool >/dev/null || skip 'no bpftool'
	server A
	attach "$pid"
	rm "$root/$s/1/state"
	bpftool map create "$root/$s/1/state" type array key 4 value 4096 entries 1 name state
	refuse 'incomplete: a pin .* has another type or size' "$ctl" show "$s"
	must "$ctl" detach "$s"
}

# metrics_are_same, flows_are_same: as before the upgrade
metrics_are_same() { "$ctl" metrics | grep -v '^reuseport_flow' | cmp "$tmp/metrics" -; }
flows_are_same() { "$ctl" flows "$s" | sed 's/ silent.*//' | sort | cmp "$tmp/flows" -; }

# Counters and known peers are the same after an upgrade, also after a second one.
test_upgrade_counters() {
	ip=udp
	server A -i
	attach_1 "$pid" flow
	must "$helper" load -f 20 -c 10 $ip 127.0.0.1 "$port"
	# layout 1 did not count what became of new peers
	"$ctl" metrics | grep -v '^reuseport_flow' >"$tmp/metrics"
	"$ctl" flows "$s" | sed 's/ silent.*//' | sort >"$tmp/flows"
	for c in "upgrade $s" "upgrade $s --force"; do
		must "$ctl" $c
		metrics_are_same || broken 'other metrics'
		flows_are_same || broken 'other flows'
	done
	[ "$(packets)" = 200 ] || broken "$(packets) packets counted, not 200"
	must "$helper" load -f 20 -c 10 $ip 127.0.0.1 "$port"
	must "$ctl" upgrade "$s" --force
	[ "$(packets)" = 400 ] || broken "$(packets) packets counted, not 400"
}

# A drain that waits continues with the pins that an upgrade has made.
test_upgrade_drain() {
	server A
	a=$pid
	attach "$a"
	server B
	must "$ctl" switch "$s" --pid "$pid"
	# it does not end by itself: it would lock the service
	"$ctl" drain "$s" --idle 600s --kill TERM >"$tmp/drain" 2>&1 &
	drain=$!
	echo $drain >>"$tmp/pids"
	until_said "$tmp/drain" 'generation 1'
	must "$ctl" upgrade "$s" --force
	# only the new pins have the old server as the current one
	must "$ctl" rollback "$s"
	! wait $drain || broken 'did not fail'
	cp "$tmp/drain" "$tmp/out"
	says 'generation 1 .*is the current one'
	kill -0 "$a" || broken 'the current server was stopped'
	all_from A
}

# A generation of layout 1 that had no packet is not said to have had one, or a switch, when the
# machine was started.
test_upgrade_no_packet() {
	serve A -a
	until_sockets 4
	begin_load -f 1
	until_waiting 1
	a=$pid
	attach_1 "$a"
	server B
	must "$here/layout1" switch "$s" $ip "$port" none "$pid" $(children "$pid")
	refuse '1 connections queued, .*no packet counted' "$ctl" drain "$s" --timeout 200ms
	must "$ctl" upgrade "$s"
	refuse '1 connections queued, .*no packet counted' "$ctl" drain "$s" --timeout 200ms
	must "$ctl" rollback "$s"
	must "$ctl" switch "$s" --pid "$pid"
	refuse 'switched [0-9.]* s ago' "$ctl" drain "$s" --timeout 200ms
}

# A show that runs during an upgrade finds the service whole.
test_upgrade_show() {
	server A
	attach "$pid"
	(
		while :; do
			if ! "$ctl" show "$s" >"$tmp/shown" 2>&1 || grep -q interrupted "$tmp/shown"; then
				cp "$tmp/shown" "$tmp/wrong"
			fi
		done
	) &
	watch=$!
	echo $watch >>"$tmp/pids"
	for _ in $(seq 20); do must "$ctl" upgrade "$s" --force; done
	kill $watch
	[ ! -e "$tmp/wrong" ] || { cp "$tmp/wrong" "$tmp/out" && broken 'wrongly shown'; }
}

# answers FILE: how many a load has counted
answers() { awk '$1 != "failed" && $1 != "moved" { n += $2 } END { print n + 0 }' "$1"; }

# 20 upgrades under load deliver no packet to another socket, and count each.
test_upgrade_packets() {
	# PACKETS: 1,000,000, or 100,000 if commands are not killed at each system call
	ip=udp sum=0
	[ "${STEP:-1}" = 1 ] || PACKETS=${PACKETS:-100000}
	each=$((${PACKETS:-1000000} / 20))
	for _ in $(seq 20); do
		server A -i
		a=$pid
		attach_1 "$a" flow
		"$helper" load -c 100000000 -f 50 udp 127.0.0.1 "$port" >"$tmp/old" &
		old=$!
		echo $old >>"$tmp/pids"
		until_flows 50
		server B -i
		b=$pid
		must "$here/layout1" switch "$s" $ip "$port" flow "$b" $(children "$b")
		begin_load -c 100000000 -f 50
		until_packets $((each / 3))
		must "$ctl" upgrade "$s"
		until_packets $((2 * each / 3))
		must "$ctl" upgrade "$s" --force
		until_packets "$each"
		kill $old
		finish_load
		says '^moved 0$'
		all=$(answers "$tmp/out")
		! grep -q '^A' "$tmp/out" || broken 'a new peer reached the old server'
		wait $old || broken 'the old peers had failures'
		cp "$tmp/old" "$tmp/out"
		says '^failed 0$' '^moved 0$'
		all=$((all + $(answers "$tmp/out")))
		sum=$((sum + all))
		[ "$(packets)" = $all ] || broken "$(packets) packets counted, not $all"
		! grep -q '^B' "$tmp/out" || broken 'an old peer reached the new server'
		must "$ctl" detach "$s"
		kill "$a" "$b"
		until_sockets 0
	done
	echo "# $sum packets in 20 upgrades"
}
