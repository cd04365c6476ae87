# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2013,SC2016,SC2030,SC2031,SC2046,SC2086,SC2034,SC2154
# What LIMITS in the manual page says that neither program nor tool can change. If such a test
# fails, the kernel has learned something, and the page must say since when.

# There are COUNT sockets at the port, at any address, in FILE of /proc/net.
until_bound() { wait_until "$1 sockets in $2" has_bound "$1" "$2"; }
has_bound() { [ "$(grep -ciE "^ *[0-9]+: [0-9A-F]+:$(printf %04X "$port") [0-9A-F:]+ 0[A7]" "/proc/net/$2")" = "$1" ]; }

# A broadcast datagram reaches all sockets of all generations, and runs no program.
test_limit_broadcast() {
	ip=udp
	host=0.0.0.0
	serve A
	until_bound 4 udp
	must "$ctl" attach "$s" udp "0.0.0.0:$port" --pid "$pid" --udp none --hold
	serve B
	until_bound 8 udp
	must "$helper" shout 8 127.255.255.255 "$port"
	says '^A 4$' '^B 4$'
	has_packets 1 && broken 'the program has run'
	host=127.0.0.1
	all_from A
}

# Datagrams that arrive as one packet are steered together, by the first one.
test_limit_train() {
	ip=udp
	server A -i
	must "$ctl" attach "$s" udp "127.0.0.1:$port" --pid "$pid" --udp id:0:2
	for slot in 0 1 2 3; do
		must "$helper" load -q 010$slot udp 127.0.0.1 "$port"
		says "^A$slot 1\$"
	done
	must "$helper" train 2 0102010001010103 127.0.0.1 "$port"
	says '^A2 4$'
}

# With SYN cookies a connection runs the program twice, and is counted twice.
test_limit_syncookies() {
	cookies=/proc/sys/net/ipv4/tcp_syncookies
	[ -w $cookies ] || skip 'a kernel without SYN cookies'
	server A
	attach "$pid"
	all_from A 10
	[ "$(packets)" = 10 ] || broken "$(packets) packets of 10 connections"
	before=$(cat $cookies)
	echo 2 >$cookies
	"$helper" load -f 10 tcp 127.0.0.1 "$port" >"$tmp/out"
	echo "$before" >$cookies
	says '^A 10$'
	[ "$(packets)" = 30 ] || broken "$(packets) packets, not 10 and 20"
}

packets() {
	"$ctl" metrics | awk -v s="packets_total{service=\"$s\"" 'index($0, s) { n += $2 } END { print n + 0 }'
}

# An IPv4 socket beside a dual-stack service is in another group, and gets the IPv4 traffic.
test_limit_dual_stack() {
	host=::
	serve A
	until_bound 4 tcp6
	must "$ctl" attach "$s" tcp "[::]:$port" --pid "$pid" --hold
	host=127.0.0.1
	all_from A
	host=0.0.0.0
	serve B
	until_bound 4 tcp
	host=127.0.0.1
	all_from B
	must "$ctl" show "$s"
	says "4 sockets at tcp 0.0.0.0:$port get all IPv4 traffic"
	host=::1
	all_from A
}

# A socket whose SO_REUSEPORT was cleared gets all traffic if it is the newest one; show reports it.
test_limit_cleared() {
	for ip in tcp udp; do
		port=$((port + 1))
		server A
		must "$ctl" attach "$ip$s" $ip "127.0.0.1:$port" --pid "$pid" --hold
		server B
		all_from A
		newest=$(children "$pid" | sort -n | tail -n 1)
		must "$helper" clear "$newest"
		all_from B
		must "$ctl" switch "$ip$s" --pid "$pid" --wait 3
		must "$ctl" rollback "$ip$s"
		all_from B
		must "$ctl" show "$ip$s"
		says 'SO_REUSEPORT has been cleared on 1 socket'
	done
}

# A listener that only io_uring has cannot be attached, and attach names the cause. One with a
# pending accept stays in its slot after close(), until the ring is gone.
test_limit_io_uring() {
	"$helper" ring file 127.0.0.1 "$port" >"$tmp/ring" &
	pid=$!
	echo $pid >>"$tmp/pids"
	usleep 200000
	kill -0 $pid 2>/dev/null || { wait $pid; [ $? = 77 ] && skip 'a kernel without io_uring'; broken 'no ring'; }
	until_said "$tmp/ring" ready
	refuse 'but 1 socket there has no file descriptor that is visible here: .* io_uring' \
		"$ctl" attach "$s" tcp "127.0.0.1:$port" --pid $pid
	kill -KILL $pid
	port=$((port + 1))
	: >"$tmp/ring"
	"$helper" ring accept 127.0.0.1 "$port" >"$tmp/ring" &
	pid=$!
	echo $pid >>"$tmp/pids"
	until_said "$tmp/ring" ready
	attach $pid
	kill -TERM $pid
	wait_until 'close()' has_no_socket $pid
	[ "$(sockets)" = 1 ] || broken 'the listener is gone'
	show
	says '"sockets":1'
	kill -KILL $pid
	until_sockets 0
}

has_no_socket() { ! ls -l "/proc/$1/fd" | grep -q socket:; }
