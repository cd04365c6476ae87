# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2013,SC2016,SC2030,SC2031,SC2046,SC2086,SC2034,SC2154
# Commands that are killed at any system call: the next command recovers.

# each_call PREPARE COMMAND CHECK: PREPARE, then COMMAND killed at its Nth call, then CHECK,
# for every N, under load
each_call() {
	begin_load -c 1000000 -p 1
	at=1 step=${STEP:-1}
	while :; do
		eval "$1"
			"$helper" killat $at "$ctl" $2 >"$tmp/out" 2>&1
		status=$?
		[ $status = 137 ] || [ $status = 0 ] || broken "call $at: status $status"
		kill -0 $load 2>/dev/null || broken "call $at: the load has ended"
		eval "$3"
		[ $status = 137 ] || break
		at=$((at + step))
	done
	echo "# killed at $((at - 1)) system calls"
	finish_load
}

# After attach was killed, attach succeeds.
test_killed_attach() {
	server A
	a=$pid
	each_call '' "attach $s tcp 127.0.0.1:$port --pid $a" '
		must "$ctl" show
		[ -e "$root/$s" ] || attach $a
		show
		says "\"current\":1" "\"sockets\":4"
		must "$ctl" detach "$s"'
	all_from A
}

# After detach was killed, the service is whole, or can be attached.
test_killed_detach() {
	server A
	a=$pid
	each_call '[ -e "$root/$s" ] || attach $a' "detach $s" '
		must "$ctl" show
		[ -e "$root/$s" ] || attach $a
		show
		says "\"current\":1" "\"sockets\":4"'
	all_from A
}

# After switch was killed, switch succeeds.
test_killed_switch() {
	server A
	a=$pid
	attach $a
	server B
	b=$pid
	each_call 'must "$ctl" switch "$s" --pid $a' "switch $s --pid $b" '
		must "$ctl" switch "$s" --pid $b
		all_from B 4
		must "$ctl" detach "$s"
		attach $a'
	all_from A
}

# After rollback was killed, switch succeeds.
# After hold was killed, hold succeeds, and release opens the service again.
test_killed_hold() {
	server A
	must "$ctl" attach "$s" $ip "127.0.0.1:$port" --pid "$pid"
	each_call '' "hold $s" '
		must "$ctl" hold "$s"
		all_from A 4
		must "$ctl" release "$s"
		show
		says "\"open\":true" "\"sockets\":4"'
}

test_killed_rollback() {
	server A
	attach $pid
	server B
	b=$pid
	each_call 'must "$ctl" switch "$s" --pid $b' "rollback $s" '
		must "$ctl" show "$s"
		must "$ctl" switch "$s" --pid $b
		all_from B 4'
}

# drain may be killed: it changes nothing until it stops the server.
test_killed_drain() {
	server A
	a=$pid
	attach $a
	server B
	must "$ctl" switch "$s" --pid $pid
	STEP=7
	each_call '' "drain $s --idle 20ms" 'show'
	must "$ctl" drain "$s" --idle 20ms --kill TERM
	all_from B
}

# The service has the pins of one edition, and its program is the one that is attached.
one_edition() {
	set -- "$root/$s"/*
	[ $# = 1 ] || broken "editions: $*"
	show
	says '"upgrade_interrupted":false'
	! grep -q '"program":"\(gone\|replaced\)"' "$tmp/out" || broken 'another program is attached'
}

# After upgrade was killed either version serves, and upgrade succeeds.
test_killed_upgrade() {
	server A
	a=$pid
	each_call 'attach_1 $a' "upgrade $s" '
		must "$ctl" show "$s"
		all_from A 4
		must "$ctl" upgrade "$s"
		one_edition
		says "\"layout\":2" "\"current\":1" "\"sockets\":4"
		all_from A 4
		must "$ctl" detach "$s"'
}

# After upgrade was killed, switch and rollback succeed.
test_killed_upgrade_again() {
	server A
	a=$pid
	attach $a
	server B
	b=$pid
	each_call '' "upgrade $s --force" '
		must "$ctl" switch "$s" --pid $b
		all_from B 4
		must "$ctl" rollback "$s"
		all_from A 4
		one_edition'
}
