# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2013,SC2016,SC2030,SC2031,SC2046,SC2086,SC2034,SC2154
# Wrong input, missing rights, other network namespaces, locks: one clear sentence each.

# Each mistake on the command line gets one sentence.
test_words() {
	refuse 'unknown command' "$ctl" nonsense
	refuse 'several commands' "$ctl" s
	refuse 'unknown option -x' "$ctl" -x show
	refuse 'takes the name of a service' "$ctl" attach
	refuse 'attach takes a name' "$ctl" attach "$s" tcp
	refuse 'is not a protocol' "$ctl" attach "$s" sctp 127.0.0.1:1 --pid 1
	refuse 'is not an address and port' "$ctl" attach "$s" tcp 127.0.0.1 --pid 1
	refuse 'is not an address and port' "$ctl" attach "$s" tcp localhost:80 --pid 1
	refuse '--pid PID is required' "$ctl" attach "$s" tcp 127.0.0.1:1
	refuse 'takes a number' "$ctl" attach "$s" tcp 127.0.0.1:1 --pid x
	refuse '--udp takes' "$ctl" attach "$s" udp 127.0.0.1:1 --pid 1 --udp id:1
	refuse 'is for UDP' "$ctl" attach "$s" tcp 127.0.0.1:1 --pid 1 --udp none
	refuse 'unexpected argument' "$ctl" rollback "$s" now
	refuse 'takes a time' "$ctl" drain "$s" --idle soon
	refuse 'takes a value' "$ctl" drain "$s" --idle
	refuse 'is not a valid name' "$ctl" attach ../x tcp 127.0.0.1:1 --pid 1 -n
	refuse 'no service' "$ctl" switch "$s" --pid 1
	refuse 'service web is named twice' "$ctl" restart web dns web -- true
	must "$ctl" help
	must "$ctl" version
	must "$ctl" -j version
	must "$ctl" probe
	says '^yes *maps of type'
	"$ctl" -j switch "$s" --pid 1 >"$tmp/out" 2>/dev/null
	says '^{"error":"there is no service'
}

# Asking for help does nothing else, whatever else is on the command line.
test_help() {
	server A
	must "$ctl" attach help $ip "127.0.0.1:$port" --pid "$pid" --hold
	must "$ctl" detach --help
	says '^Usage: reuseportctl detach'
	must "$ctl" detach help -h
	must "$ctl" --help detach
	must "$ctl" help detach
	says '^Usage: reuseportctl detach'
	[ -e "$root/help" ] || broken 'asking for help has detached the service'
	must "$ctl" detach help
	[ ! -e "$root/help" ] || broken 'the service called help is still there'
	for c in $("$ctl" help --table | sed -n 's/^command.\([a-z]*\).*/\1/p'); do
		must "$ctl" "$c" --help
		says "^Usage: reuseportctl $c" '^General options:'
		must "$ctl" "$c" --nonsense --help
	done
	# but behind -- it is the server that is asked
	"$ctl" restart "$s" -- true --help >"$tmp/out" 2>&1
	says 'there is no service'
	must "$ctl" attach --help
	says '--pid PID .*required' '--flows NUMBER'
}

# An unknown option or command is rejected, and the nearest one is named.
test_typing_errors() {
	refuse 'unknown command "atach": did you mean attach?' "$ctl" atach
	refuse 'unknown command "frobnicate": reuseportctl help' "$ctl" frobnicate
	refuse 'drain has no option --idel: did you mean --idle?' "$ctl" drain "$s" --idel 3s
	refuse 'did you mean --timeout?' "$ctl" drain "$s" --time 3s
	refuse 'did you mean --dry-run?' "$ctl" detach "$s" --dryrun
	refuse 'detach has no option --frobnicate: see reuseportctl detach --help' \
		"$ctl" detach "$s" --frobnicate
	refuse 'restart has no option --config: .* write --' "$ctl" restart "$s" server --config x
	must "$ctl" -jp version
	says '^	"version": '
	refuse 'unknown option -jx' "$ctl" -jx version
	refuse '--force takes no value' "$ctl" rollback "$s" --force=yes
	refuse 'takes a number from 1 to' "$ctl" switch "$s" --pid=x
	refuse '-- is only for restart' "$ctl" switch "$s" -- true
}

# A dry run prints what would be done and changes nothing.
test_dry_runs() {
	server A
	must "$ctl" -n attach "$s" tcp "127.0.0.1:$port" --pid "$pid"
	says 'would create service'
	[ ! -e "$root/$s" ] || broken 'a dry run has made it'
	attach "$pid"
	server B
	must "$ctl" -n switch "$s" --pid "$pid"
	says 'would switch to generation 2'
	all_from A
	must "$ctl" -n restart "$s" -- false
	says 'would start false'
	refuse 'cannot start /nonexistent (No such file' "$ctl" -n restart "$s" -- /nonexistent
	refuse 'cannot start nonexistent (No such file' "$ctl" -n restart "$s" -- nonexistent
	refuse 'cannot start /tmp (Permission denied)' "$ctl" -n restart "$s" -- /tmp
	show
	says '"current":1'
}

# Without CAP_SYS_ADMIN each command fails with a remedy.
test_no_privilege() {
	server A
	attach "$pid"
	cp "$ctl" "$tmp/ctl"
	chmod 755 "$tmp" "$tmp/ctl"
	for c in 'show' "rollback $s" "detach $s" "switch $s --pid 1" "attach x$s tcp 127.0.0.1:$port --pid $pid"; do
		refuse 'needs CAP_SYS_ADMIN.*root' su -s /bin/sh nobody -c "$tmp/ctl $c"
	done
	all_from A
}

# What a unit with ProtectSystem=strict sees: the remedy is named, and nothing has changed.
test_read_only_bpffs() {
	server A
	attach "$pid"
	refuse 'Read-only file system.*ReadWritePaths=/sys/fs/bpf' unshare -m sh -c "
		mount -o remount,ro,bind /sys/fs/bpf && $ctl detach $s"
	ip=udp
	server U
	refuse 'Read-only file system.*ReadWritePaths=/sys/fs/bpf' unshare -m sh -c "
		mount -o remount,ro,bind /sys/fs/bpf && $ctl attach x$s udp 127.0.0.1:$port --pid $pid"
	[ "$(grep -c '^reuseportctl: ' "$tmp/out")" = 1 ] || broken 'more than one sentence'
	ip=tcp
	all_from A
	show
	says '"sockets":4'
	! grep '"program":"\(gone\|replaced\)"' "$tmp/out" || broken 'the program is not attached any more'
}

# Without a bpffs attach fails with the remedy, which lasts.
test_no_bpffs() {
	server A
	refuse 'no bpffs.*mount -t bpf none' unshare -mpf sh -c "mount -t proc proc /proc &&
		umount /sys/fs/bpf && $ctl attach $s tcp 127.0.0.1:$port --pid 1"
	# a bpffs that is mounted there is gone with the command
	refuse 'no bpffs.*nsenter --net=' unshare -m sh -c "umount /sys/fs/bpf &&
		$ctl attach $s tcp 127.0.0.1:$port --pid $pid"
}

# A process that does not exist, or exits meanwhile, is reported.
test_process_gone() {
	refuse 'no process 999999' "$ctl" attach "$s" tcp "127.0.0.1:$port" --pid 999999
	server A
	attach "$pid"
	refuse 'no process 999999' "$ctl" switch "$s" --pid 999999
	serve B -d 60000
	"$ctl" switch "$s" --pid "$pid" >"$tmp/switch" 2>&1 &
	switch=$!
	until_said "$tmp/switch" 'waiting for the sockets'
	kill -KILL "$pid"
	! wait $switch || broken 'did not fail'
	cp "$tmp/switch" "$tmp/out"
	says 'has exited before'
	all_from A
}

# A process without sockets at the address is reported.
test_no_sockets() {
	server A
	sleep 60 &
	echo $! >>"$tmp/pids"
	refuse 'no socket at tcp 127.0.0.1:.*ss -lntup' "$ctl" attach "$s" tcp "127.0.0.1:$port" --pid $!
	refuse 'no socket at tcp 0.0.0.0' "$ctl" attach "$s" tcp "0.0.0.0:$port" --pid "$pid"
	refuse 'no socket at udp' "$ctl" attach "$s" udp "127.0.0.1:$port" --pid "$pid"
	all_from A
}

in_other_netns() {
	theirs=$(readlink "/proc/$1/ns/net")
	[ "$theirs" ] && [ "$theirs" != "$(readlink /proc/self/ns/net)" ]
}

# A process or service of another network namespace is reported.
test_other_netns() {
	server A
	attach "$pid"
	unshare -n sleep 60 &
	stranger=$!
	echo $stranger >>"$tmp/pids"
	wait_until 'a process in another network namespace' in_other_netns $stranger
	refuse 'another network namespace.*nsenter' "$ctl" switch "$s" --pid $stranger
	refuse 'another network namespace.*nsenter' "$ctl" attach "x$s" tcp 127.0.0.1:1 --pid $stranger
	refuse 'another network namespace.*nsenter' unshare -n "$ctl" detach "$s"
	refuse 'another network namespace.*nsenter' unshare -n "$ctl" switch "$s" --pid "$pid"
	must unshare -n "$ctl" show "$s"
	says 'in another network namespace'
	all_from A
	show
}

# Sockets of another user than the group's are reported.
test_other_user() {
	server A -u 1000
	attach "$pid"
	kill "$pid"
	until_sockets 0
	server B -u 1001
	refuse 'belongs to user 1001.*again' "$ctl" switch "$s" --pid "$pid"
	all_from B
	attach "$pid"
	all_from B
}

# A server without SO_REUSEPORT is rejected, and nothing is left.
test_no_reuseport() {
	for ip in tcp udp; do
		port=$((port + 1))
		sockets=1 server A -n -w 1
		refuse 'no SO_REUSEPORT.*before bind' "$ctl" attach "$s" $ip "127.0.0.1:$port" --pid "$pid"
		[ ! -e "$root/$s" ] || broken 'something was made'
		all_from A
	done
}

# While another command changes a service, commands fail and name its PID.
test_locked() {
	server A
	attach "$pid"
	server B
	hold_lock "$root/$s"
	for c in "switch $s --pid $pid" "rollback $s" "restart $s -- true" "detach $s"; do
			refuse "is locked by another reuseportctl (PID $holder)" "$ctl" $c
	done
	must "$ctl" show "$s"
	kill $holder
	hold_lock "$root"
	refuse "is locked by another reuseportctl (PID $holder)" "$ctl" attach "x$s" tcp "127.0.0.1:$port" --pid "$pid"
	kill $holder
	all_from A
}

# attach does not remove a stale service that another command works on.
test_stale_locked() {
	server A
	attach "$pid"
	kill "$pid"
	until_sockets 0
	server B
	hold_lock "$root/$s"
	refuse "is locked by another reuseportctl (PID $holder)" \
		"$ctl" attach "$s" tcp "127.0.0.1:$port" --pid "$pid" --hold
	kill $holder
	wait $holder 2>/dev/null
	must "$ctl" switch "$s" --pid "$pid"
	all_from B
}

# More sockets than slots are rejected with the option to give.
test_full() {
	sockets=40 server A -w 2 -s 20
	refuse 'has 40 sockets.*--slots' "$ctl" attach "$s" tcp "127.0.0.1:$port" --pid "$pid" --slots 39
	must "$ctl" attach "$s" tcp "127.0.0.1:$port" --pid "$pid" --hold --slots 40
	sockets=44 server B -w 2 -s 22
	refuse 'has 44 sockets.*only 40 slots.*--slots 44' "$ctl" switch "$s" --pid "$pid"
	all_from A
	show
	says '"current":1'
}
