# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2013,SC2016,SC2030,SC2031,SC2046,SC2086,SC2034,SC2154
# Making a service of a running server, and removing it.

# A running server becomes generation 1; a server that joins gets no traffic.
test_attach() {
	server A
	before=$pid
	begin_load -c 50 -f 4 -p 5
	attach "$before"
	says "generation 1 is helper($before) with 4 sockets"
	show
	says '"current":1' "\"pid\":$before" '"sockets":4' '"sockets_outside":0'
	all_from A
	# sockets of another process get nothing
	server B
	all_from A
	show
	says '"sockets_outside":4'
	end_load
	says '^A 200$'
}

# New connections are spread over all sockets of the generation.
test_spread() {
	server A
	attach "$pid"
	all_from A 400
	show
	# each of the four gets a share
	for n in 0 1 2 3; do
		share=$(tr '{' '\n' <"$tmp/out" | sed -n "s/^\"slot\":$n,.*\"packets\":\([0-9]*\).*/\1/p")
		[ "${share:-0}" -gt 50 ] || broken "slot $n got $share of 400"
	done
}

# detach removes all pins, and the sockets can be attached again.
test_detach() {
	server A
	a=$pid
	attach "$a"
	server B
	must "$ctl" -n detach "$s"
	all_from A
	must "$ctl" detach "$s"
	[ ! -e "$root/$s" ] || broken "pins are left"
	refuse 'no service' "$ctl" detach "$s"
	refuse 'no service' "$ctl" show "$s"
	# the kernel distributes by hash over both
	"$helper" load -f 100 $ip 127.0.0.1 "$port" >"$tmp/out" || broken 'answers failed'
	says '^A ' '^B '
	# the sockets are free to be attached again
	attach "$a"
	all_from A
}

# attach and switch work at an IPv6 address, TCP and UDP.
test_ipv6() {
	host=::1
	for ip in tcp udp; do
		port=$((port + 1))
		server A
		attach "$pid"
		server B
		begin_load -c 150 -f 2 -p 5
		must "$ctl" switch "$s" --pid "$pid"
		end_load
		all_from B
		must "$ctl" detach "$s"
	done
}

# A second service of the same name or the same address is rejected.
test_same_name() {
	server A
	a=$pid
	attach "$a"
	server B
	refuse 'a service .* already: switch it' "$ctl" attach "$s" tcp "127.0.0.1:$port" --pid "$pid"
	# another name for the same address fails too, for any process
	for p in "$pid" "$pid --force" "$a"; do
		refuse "service $s has this address.*switch $s --pid.*detach" \
			"$ctl" attach "x$s" tcp "127.0.0.1:$port" --pid $p --hold
		refuse "service $s has this address" "$ctl" -n attach "x$s" tcp "127.0.0.1:$port" --pid $p
	done
	[ ! -e "$root/x$s" ] || broken 'something was made'
	all_from A
}

# A service whose sockets are all closed can be attached or switched again.
test_stale() {
	server A
	attach "$pid"
	kill "$pid"
	until_sockets 0
	must "$ctl" show "$s"
	says 'Stale: all its sockets are closed'
	server B
	attach "$pid"
	says 'is stale.*creating it again'
	all_from B
	show
	says '"current":1'
	# or a switch, without creating it again
	kill "$pid"
	until_sockets 0
	server C
	must "$ctl" switch "$s" --pid "$pid"
	server D
	all_from C
	must "$ctl" detach "$s"
}

# Another program on the group is only replaced with --force.
test_foreign() {
	server A
	a=$pid
	attach "$a"
	server B
	# outside of the tool's directory it counts as another program
	mv "$root/$s" "$root/../elsewhere-$s"
	refuse 'program [0-9]* .*--force' "$ctl" attach "x$s" tcp "127.0.0.1:$port" --pid "$pid"
	all_from A
	must "$ctl" attach "x$s" tcp "127.0.0.1:$port" --pid "$pid" --hold --force
	all_from B
	rm -r "$root/../elsewhere-$s"
}

# If attach fails at the last socket, the group keeps the program it had, or none.
test_attach_in_vain() {
	sockets=200 server A -i -w 2 -s 100
	set -- $(children "$pid")
	must "$ctl" attach "x$s" tcp "127.0.0.1:$port" --pid "$2" --hold
	all_from A1
	mv "$root/x$s" "$root/../elsewhere-$s"
	refuse 'is already in a map' "$ctl" attach "$s" tcp "127.0.0.1:$port" --pid "$pid" --force
	all_from A1
	must "$helper" strip "$1"
	refuse 'is already in a map' "$ctl" attach "$s" tcp "127.0.0.1:$port" --pid "$pid" --force
	[ ! -e "$root/$s" ] || broken 'something was made'
	[ ! -e "$root/$s+new" ] || broken 'something was left'
	! "$helper" strip "$1" >"$tmp/out" 2>&1 || broken 'its program was left'
	must "$ctl" attach "$s" tcp "127.0.0.1:$port" --pid "$1" --hold --force
	show
	says '"sockets":100'
	rm -r "$root/../elsewhere-$s"
}

# If detach cannot get a socket of the group, the service stays whole.
test_detach_in_vain() {
	"$helper" unable true 2>/dev/null || skip 'a kernel without seccomp filters'
	server A
	attach "$pid"
	server B
	refuse 'cannot duplicate a socket.*CAP_SYS_PTRACE' "$helper" unable "$ctl" detach "$s"
	show
	says '"current":1' '"sockets":4'
	all_from A
	must "$ctl" detach "$s"
}

# Sockets bound to another interface are rejected; they are a group of their own.
test_interface() {
	server A -b lo
	refuse 'bound to another interface.*alike' "$ctl" attach "$s" tcp "127.0.0.1:$port" --pid "$pid"
	refuse 'bound to another interface.*alike' "$ctl" -n attach "$s" tcp "127.0.0.1:$port" --pid "$pid"
	[ ! -e "$root/$s" ] || broken 'something was made'
	set -- $(children "$pid")
	attach "$1"
	says 'with 1 socket$'
	server B
	refuse 'bound to another interface.*alike' "$ctl" switch "$s" --pid "$pid"
	show
	says '"current":1' '"sockets_outside":0'
	# the other group may have a service too; each program is detached from its own group
	must "$ctl" attach "x$s" tcp "127.0.0.1:$port" --pid "$pid" --hold
	must "$ctl" detach "$s"
	must "$helper" strip "$2"
	! "$helper" strip "$1" 2>/dev/null || broken 'the program is on the group of lo'
}

# A classic BPF program of somebody else is noticed where the kernel shows it.
test_foreign_classic() {
	"$ctl" -j probe | grep -q '"group_program":true' || skip 'a kernel without BTF or iterators'
	"$helper" filter tcp 127.0.0.1 "$port" &
	pid=$!
	echo $pid >>"$tmp/pids"
	until_sockets 1
	refuse 'classic BPF program.*--force' "$ctl" attach "$s" tcp "127.0.0.1:$port" --pid "$pid"
	[ ! -e "$root/$s" ] || broken 'something was made'
	must "$ctl" attach "$s" tcp "127.0.0.1:$port" --pid "$pid" --hold --force
	show
	says '"program":"on"'
}

# A generation may have 1,000 sockets.
test_thousand() {
	sockets=1000 server A -w 2 -s 500
	attach "$pid"
	says 'with 1000 sockets'
	sockets=1000 server B -w 1 -s 1000
	must "$ctl" switch "$s" --pid "$pid"
	all_from B
	must "$ctl" drain "$s" --kill TERM
	show
	says '"sockets":1000'
}

# The program stays below the number of BPF instructions in the manual page.
test_instructions() {
	command -v bpftool >/dev/null || skip 'no bpftool'
	server A
	tcp=$pid
	attach "$tcp"
	instructions "$s" 300
	ip=udp
	server B
	for mode in none:300 flow:650 id:4:4:380; do
		must "$ctl" attach "x$s" udp "127.0.0.1:$port" --pid "$pid" --udp "${mode%:*}"
		instructions "x$s" "${mode##*:}"
		must "$ctl" detach "x$s"
	done
}

instructions() {
	must bpftool prog show pinned "$root/$1/1/program"
	bytes=$(sed -n 's/.*xlated \([0-9]*\)B.*/\1/p' "$tmp/out")
	[ "${bytes:-99999}" -le $((8 * $2)) ] || broken "$bytes bytes of instructions, not $((8 * $2))"
}

# attach says which addresses of the server, and which sockets of the group, it leaves out.
test_attach_leaves_out() {
	"$helper" both 127.0.0.1 "$port" A &
	pid=$!
	echo $pid >>"$tmp/pids"
	until_sockets 4
	main=$pid
	server B
	must "$ctl" attach "$s" tcp "127.0.0.1:$port" --pid "$main"
	says "not in service $s: .* also serves udp 127.0.0.1:$port; attach that" \
		"not in service $s: 4 sockets at its address, of process [1-9]"
	must "$ctl" attach "x$s" udp "127.0.0.1:$port" --pid "$main"
	! grep -q 'not in service' "$tmp/out" || broken 'an address that has a service is reported'
	must "$ctl" detach "x$s"
	must "$ctl" detach "$s"
	must "$ctl" -n attach "$s" udp "127.0.0.1:$port" --pid "$main"
	says "also serves tcp 127.0.0.1:$port; attach that"
}

# The pins are gone, but the program steers on and has the sockets: cleanup finds it, releases
# them, and the running server can be attached again. The program of a live service is no match.
test_pins_gone() {
	server A
	attach "$pid"
	must "$ctl" -j cleanup
	! grep -q "127.0.0.1:$port" "$tmp/out" || broken 'a live service is listed'
	rm -r "${root:?}/$s"
	if "$ctl" -j probe | grep -q '"group_program":true'; then
		refuse 'BPF program \([0-9]*\), of a service that is not pinned here.* cleanup --program \1 detaches it' \
			"$ctl" attach "$s" tcp "127.0.0.1:$port" --pid "$pid"
	else
		refuse 'may be attached to the group' "$ctl" attach "$s" tcp "127.0.0.1:$port" --pid "$pid"
	fi
	refuse 'cleanup lists them' "$ctl" attach "$s" tcp "127.0.0.1:$port" --pid "$pid" --force
	must "$ctl" -j cleanup
	says "\"address\":\"127.0.0.1:$port\",\"cookie\":[0-9]*,\"pid\":[0-9]*,\"comm\":\"helper\""
	must "$ctl" cleanup
	id=$(sed -n "s/^program \([0-9]*\) .* 4 sockets at tcp 127.0.0.1:$port, of helper.*/\1/p" "$tmp/out")
	must "$ctl" -n cleanup --program "$id"
	says "would detach program $id and release its 4 sockets"
	must "$ctl" cleanup --program "$id"
	says "detached program $id and released its 4 sockets"
	refuse "program $id is not one of a service" "$ctl" cleanup --program "$id"
	all_from A
	attach "$pid"
	must "$ctl" detach "$s"
}

# Whatever pin is missing: if detach prints that the service is detached, its program is off the
# group, and otherwise cleanup finds the program, and takes it off.
test_pin_missing() {
	server A
	attach "$pid"
	worker=$(children "$pid" | head -n 1)
	for pin in $(cd "$root/$s"/1 && echo *); do
		[ -e "$root/$s" ] || attach "$pid"
		rm "$root/$s/1/$pin"
		must "$ctl" detach "$s"
		if grep -q 'is detached' "$tmp/out"; then
			! "$helper" strip "$worker" 2>/dev/null || broken "without $pin the program is on the group"
			continue
		fi
		says 'pins were missing: if its program is still attached, reuseportctl cleanup'
		must "$ctl" cleanup
		id=$(sed -n "s/^program \([0-9]*\) .* 4 sockets at tcp 127.0.0.1:$port, of helper.*/\1/p" "$tmp/out")
		must "$ctl" cleanup --program "$id"
		! "$helper" strip "$worker" 2>/dev/null || broken "cleanup has left the program on the group ($pin)"
	done
	attach "$pid"
	all_from A
}

# detach does not print that a service is detached if its group has another program, which stays,
# or if all sockets are closed, or if there was only what an interrupted command left.
test_detach_says() {
	server A
	attach "$pid"
	kill "$pid"
	until_sockets 0
	must "$ctl" detach "$s"
	says "^service $s is removed: all its sockets are closed\$"
	mkdir "$root/$s+new"
	must "$ctl" detach "$s"
	says "^what an interrupted command left of service $s is removed\$"
	[ ! -e "$root/$s+new" ] || broken 'it is still there'
	server A
	worker=$(children "$pid" | head -n 1)
	attach "$pid"
	must "$helper" strip "$worker"
	must "$ctl" detach "$s"
	says "^service $s is detached"
	"$ctl" -j probe | grep -q '"group_program":true' || skip 'a kernel without BTF or iterators'
	attach "$pid"
	"$helper" filter tcp 127.0.0.1 "$port" &
	echo $! >>"$tmp/pids"
	until_sockets 5
	must "$ctl" detach "$s"
	says "^service $s is removed: a classic BPF program, .* stays attached"
	must "$helper" strip "$worker"
	attach "$pid"
	# the program of another service, whose pins are elsewhere
	mv "$root/$s" "$root/../elsewhere-$s"
	server B
	must "$ctl" attach "x$s" tcp "127.0.0.1:$port" --pid "$pid" --force
	mv "$root/../elsewhere-$s" "$root/$s"
	must "$ctl" detach "$s"
	says "^service $s is removed: BPF program [0-9]*, .* stays attached"
	must "$ctl" -j show "x$s"
	says '"program":"on"'
}

# A program without pins whose sockets are all closed is taken off the group of the sockets that
# others have opened since.
test_cleanup_others() {
	server A
	attach "$pid"
	a=$pid
	server B
	worker=$(children "$pid" | head -n 1)
	rm -r "${root:?}/$s"
	kill "$a"
	until_sockets 4
	"$ctl" -j probe | grep -q '"group_program":true' || skip 'a kernel without BTF or iterators'
	refuse 'not pinned here.*cleanup --program' "$ctl" attach "$s" tcp "127.0.0.1:$port" --pid "$pid"
	id=$(sed -n 's/.*cleanup --program \([0-9]*\) .*/\1/p' "$tmp/out")
	refuse "program $id is attached to no group here.*network namespace" unshare -n "$ctl" cleanup --program "$id"
	must "$ctl" cleanup --program "$id"
	! "$helper" strip "$worker" 2>/dev/null || broken 'the program is on the group'
	attach "$pid"
	all_from B
}

# A server at a link-local address is one of an interface: the address is written with it, and
# printed with it.
test_link_local() {
	ip addr add fe80::1/64 dev lo nodad 2>/dev/null || ip addr add fe80::1/64 dev lo 2>/dev/null ||
		skip 'no link-local address can be added to lo'
	for ip in tcp udp; do
		host=fe80::1%lo
		serve A
		wait_until 'the sockets of A' has_link_local 4
		refuse 'no interface "nothing"' "$ctl" attach "$s" $ip "[fe80::1%nothing]:$port" --pid "$pid"
		refuse 'is not an address and port' "$ctl" attach "$s" $ip "[fe80::1%lo:$port" --pid "$pid"
		must "$ctl" -n attach "$s" $ip "[fe80::1]%lo:$port" --pid "$pid"
		must "$ctl" attach "$s" $ip "[fe80::1%lo]:$port" --pid "$pid" --hold
		says "service $s: $ip \[fe80::1%lo\]:$port, generation 1"
		must "$ctl" show "$s"
		says "^$s  $ip \[fe80::1%lo\]:$port"
		all_from A
		refuse "has 4 of 9 sockets at $ip \[fe80::1%lo\]:$port" \
			"$ctl" restart "$s" --wait 9 --timeout 1s -- "$helper" serve $ip $host "$port" B
		must "$ctl" detach "$s"
		# the interface of the sockets is found if it is not named
		must "$ctl" attach "$s" $ip "[fe80::1]:$port" --pid "$pid"
		says "$ip \[fe80::1%lo\]:$port"
		must "$ctl" detach "$s"
		kill "$pid"
	done
	ip=tcp host=127.0.0.1
	sockets=1 server A -w 1 -b lo
	refuse 'no socket at tcp 127.0.0.1%lo' "$ctl" attach "$s" tcp "127.0.0.1%lo:$((port + 1))" --pid "$pid"
	must "$ctl" attach "$s" tcp "127.0.0.1%lo:$port" --pid "$pid"
	says "tcp 127.0.0.1%lo:$port"
}

# There are COUNT sockets of $ip at the port and fe80::1.
has_link_local() {
	[ "$(grep -ciE "^ *[0-9]+: 000080FE000000000000000001000000:$(printf %04X "$port") [0-9A-F:]+ 0[A7]" /proc/net/${ip}6)" = "$1" ]
}

# attach --wait waits for a server that binds late; without it attach fails at once.
test_attach_waits() {
	serve A -d 700
	refuse 'no socket at tcp .*set --wait' "$ctl" attach "$s" tcp "127.0.0.1:$port" --pid "$pid"
	refuse 'has 0 of 1 sockets' "$ctl" attach "$s" tcp "127.0.0.1:1" --pid "$pid" --timeout 50ms
	must "$ctl" attach "$s" tcp "127.0.0.1:$port" --pid "$pid" --hold --wait 4
	says 'with 4 sockets$'
	all_from A
	must "$ctl" detach "$s"
	refuse 'has 4 of 5 sockets.*--wait' \
		"$ctl" attach "$s" tcp "127.0.0.1:$port" --pid "$pid" --wait 5 --timeout 100ms
	[ ! -e "$root/$s" ] || broken 'something was made'
	serve B -d 300
	port=$((port + 1))
	serve C -d 300
	must "$ctl" attach "$s" tcp "127.0.0.1:$port" --pid "$pid" --hold --timeout 20s
	all_from C
	serve D -d 60000
	"$ctl" attach "x$s" tcp "127.0.0.1:1" --pid "$pid" --wait 1 >"$tmp/attach" 2>&1 &
	attach=$!
	until_said "$tmp/attach" 'waiting for the sockets'
	kill -KILL "$pid"
	! wait $attach || broken 'did not fail'
	cp "$tmp/attach" "$tmp/out"
	says 'has exited before'
}

# A server of several independent processes is one generation: show and pid name all of them, and
# drain --kill and restart stop all of them.
test_attach_several() {
	server A
	a=$pid
	server A
	b=$pid
	server X
	must "$ctl" attach "$s" tcp "127.0.0.1:$port" --hold --pid "$a" --pid "$b"
	says "helper($a) and 1 other process with 8 sockets\$" 'not in service .* 4 sockets'
	all_from A
	show
	says "\"pids\":\[$a,$b\]"
	[ "$("$ctl" pid "$s")" = "$(printf '%s\n' "$a" "$b")" ] || broken 'other processes'
	refuse "process $pid (helper) and its children have no socket at udp" \
		"$ctl" attach "x$s" udp "127.0.0.1:$port" --pid "$pid" --pid "$a"
	kill "$pid"
	until_sockets 8
	must "$ctl" restart "$s" --wait 4 --idle 100ms -- "$helper" serve $ip 127.0.0.1 "$port" B
	says 'generation 1 .* has stopped'
	pid_of B >/dev/null
	! kill -0 "$a" 2>/dev/null || broken 'the first process lives'
	! kill -0 "$b" 2>/dev/null || broken 'the second process lives'
	all_from B
	sockets=2 server C -w 2
	c=$pid
	sockets=2 server C -w 2
	must "$ctl" switch "$s" --pid "$c" --pid "$pid"
	says "generation 3, helper($c) and 1 other process\$"
	all_from C
	must "$ctl" rollback "$s"
	must "$ctl" drain "$s" --generation 3 --idle 100ms --kill TERM
	! kill -0 "$c" 2>/dev/null || broken 'the first process lives'
	! kill -0 "$pid" 2>/dev/null || broken 'the second process lives'
	must "$ctl" detach "$s"
}

# If the first of several processes ends, the others are the server still.
test_attach_several_first_ends() {
	server A
	a=$pid
	server A
	must "$ctl" attach "$s" tcp "127.0.0.1:$port" --hold --pid "$a" --pid "$pid"
	kill "$a"
	until_sockets 4
	[ "$("$ctl" pid "$s")" = "$pid" ] || broken 'the process that is left is not the server'
	must "$ctl" restart "$s" --idle 100ms -- "$helper" serve $ip 127.0.0.1 "$port" B
	says 'generation 1 .* has stopped'
	pid_of B >/dev/null
	! kill -0 "$pid" 2>/dev/null || broken 'the second process lives'
	all_from B
}
