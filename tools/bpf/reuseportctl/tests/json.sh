# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2013,SC2016,SC2030,SC2031,SC2046,SC2086,SC2034,SC2154
# Every command prints one JSON document with -j, whatever becomes of it.

# is_json: stdin is one JSON value and nothing else. busybox has no parser: this one knows the
# grammar, but not which characters strings and numbers may have.
is_json() {
	awk '
	function skip() { sub(/^[ \t\n]*/, "", text) }
	function cut(len) { text = substr(text, len + 1); return 1 }
	function take(c) { skip(); return substr(text, 1, 1) == c && cut(1) }
	function string() { skip(); return match(text, /^"([^"\\]|\\.)*"/) && cut(RLENGTH) }
	function list(end, named) {
		if (take(end))
			return 1
		do {
			if (named && !(string() && take(":")))
				return 0
			if (!value())
				return 0
		} while (take(","))
		return take(end)
	}
	function value() {
		if (take("{"))
			return list("}", 1)
		if (take("["))
			return list("]", 0)
		return string() || (match(text, /^(true|false|null|[0-9]+)/) && cut(RLENGTH))
	}
	{ text = text $0 "\n" }
	END { ok = value(); skip(); exit !(ok && text == "") }'
}

# document STATUS OPTION... COMMAND...: the exit status is that, and stdout a document
document() {
	expected=$1
	shift
	"$ctl" -j "$@" >"$tmp/out" 2>"$tmp/err"
	status=$?
	[ $status = $expected ] || { cat "$tmp/err" >>"$tmp/out"; broken "status $status: $*"; }
	is_json <"$tmp/out" || broken "no JSON document: $*"
	echo "$*" | sed 's/-[np] //g; s/ .*//' >>"$tmp/documents"
	[ $expected = 0 ] || says '^{"error":".*"}$'
}

# With -j each command prints one document: what it has done, what it would do, or an error.
test_json() {
	for text in '' '{' '{}{}' '{"a":}' '[1,]' '{"a":1' 'x'; do
		! echo "$text" | is_json || broken "passes as JSON: $text"
	done
	server A
	old=$pid
	document 1 attach "$s" tcp "127.0.0.1:$port"
	document 0 -n attach "$s" tcp "127.0.0.1:$port" --pid "$old"
	says '"dry_run":true,'
	document 0 attach "$s" tcp "127.0.0.1:$port" --pid "$old"
	says "^{\"dry_run\":false,\"service\":\"$s\",\"protocol\":\"tcp\",\"address\":\"127.0.0.1:$port\",\"generation\":1,\"pid\":$old,\"comm\":\"helper\",\"pids\":\[$old\],\"sockets\":4}\$"
	document 0 -n hold "$s"
	document 0 hold "$s"
	says "^{\"dry_run\":false,\"service\":\"$s\",\"open\":false,\"generation\":1,\"pid\":$old,\"comm\":\"helper\",\"sockets\":4}\$"
	document 0 -n release "$s"
	document 0 release "$s"
	says "^{\"dry_run\":false,\"service\":\"$s\",\"open\":true}\$"
	document 0 -n refresh "$s"
	document 0 refresh "$s"
	says "^{\"dry_run\":false,\"service\":\"$s\",\"generation\":1,\"new_sockets\":0}\$"
	document 1 -n follow "$s"
	"$ctl" -j follow "$s" >"$tmp/out" 2>&1 &
	follow=$!
	echo $follow >>"$tmp/pids"
	wait_until 'a handler for TERM' grep -q '^SigCgt:	[0-9a-f]*[4-7c-f]...$' /proc/$follow/status
	kill -TERM $follow
	wait $follow || broken "follow: status $?"
	is_json <"$tmp/out" || broken 'no document of follow'
	says "^{\"service\":\"$s\",\"new_sockets\":0}\$"
	document 0 hold "$s"
	server B
	new=$pid
	document 1 rollback "$s"
	document 0 -n switch "$s" --pid "$new"
	document 0 switch "$s" --pid "$new"
	says "^{\"dry_run\":false,\"service\":\"$s\",\"generation\":2,\"new\":true,\"canary\":false,\"pid\":$new,\"comm\":\"helper\",\"pids\":\[$new\],\"sockets\":4}\$"
	document 0 -n rollback "$s"
	document 0 rollback "$s"
	says "^{\"dry_run\":false,\"service\":\"$s\",\"generation\":1,\"pid\":$old,\"comm\":\"helper\"}\$"
	document 1 abort "$s"
	document 1 promote "$s"
	document 0 switch "$s" --pid "$new" --share 50
	says '"canary":true'
	document 0 -n abort "$s"
	document 0 abort "$s"
	says "^{\"dry_run\":false,\"service\":\"$s\",\"generation\":1,\"canary\":2}\$"
	document 0 switch "$s" --pid "$new" --share 50
	document 0 -n promote "$s"
	document 0 promote "$s"
	says "^{\"dry_run\":false,\"service\":\"$s\",\"generation\":2,\"old_generation\":1,\"pid\":$new,\"comm\":\"helper\"}\$"
	document 0 -n drain "$s"
	document 0 drain "$s" --idle 100ms
	says "^{\"dry_run\":false,\"service\":\"$s\",\"generation\":1,\"stopped\":false,\"connections\":0}\$"
	document 0 drain "$s" --idle 100ms --kill TERM
	says "^{\"dry_run\":false,\"service\":\"$s\",\"generation\":1,\"stopped\":true}\$"
	document 1 drain "$s"
	document 1 restart "$s" -- false
	document 1 -n restart "$s" -- /nonexistent
	document 0 -n restart "$s" -- true
	says "^{\"dry_run\":true,\"services\":\[{\"service\":\"$s\",\"old_generation\":2,\"generation\":3}\]}\$"
	"$ctl" -j restart "$s" --idle 100ms --output null -- "$helper" serve tcp 127.0.0.1 "$port" C \
		>"$tmp/out" 2>"$tmp/err" || { cat "$tmp/err" >"$tmp/out"; broken 'restart'; }
	is_json <"$tmp/out" || broken 'no document of restart'
	says "^{\"dry_run\":false,\"services\":\[{\"service\":\"$s\",\"old_generation\":2,\"generation\":3,\"sockets\":4}\],\"pid\":$(pid_of C),\"comm\":\"helper\"}\$"
	document 0 show
	document 0 -p show "$s"
	document 0 list
	document 1 show --watch
	document 1 show nothing
	document 0 pid "$s"
	document 1 pid "$s" --generation 9
	document 1 flows "$s"
	document 0 metrics
	says "{\"metric\":\"reuseport_sockets\",\"service\":\"$s\",\"generation\":3,\"value\":4}" \
		"{\"metric\":\"reuseport_packets_total\",\"service\":\"$s\",\"generation\":3,\"slot\":0,\"value\":[0-9]*}"
	document 0 upgrade
	says "^\[{\"dry_run\":false,\"service\":\"$s\",\"upgraded\":false,"
	document 0 -n upgrade "$s" --force
	document 0 upgrade "$s" --force
	says "^{\"dry_run\":false,\"service\":\"$s\",\"upgraded\":true,"
	document 0 cleanup
	document 1 cleanup --program 999999
	document 0 probe
	document 0 version
	document 0 help
	document 0 help restart
	document 0 drain --help
	document 0 -V
	document 1 nonsense
	document 0 -n detach "$s"
	document 0 detach "$s"
	says "^{\"dry_run\":false,\"service\":\"$s\",\"complete\":true}\$"
	document 1 detach "$s"
	ip=udp
	server A
	attach "$pid"
	all_from A 3
	document 0 flows "$s"
	# the pins disappear, not the program
	rm -r "$root/$s"
	must "$ctl" cleanup
	id=$(sed -n "s/^program \([0-9]*\) .* at udp 127.0.0.1:$port, .*/\1/p" "$tmp/out")
	document 0 -n cleanup --program "$id"
	document 0 cleanup --program "$id"
	says "^{\"dry_run\":false,\"program\":$id,\"sockets\":4}\$"
	for c in $("$ctl" help --table | sed -n 's/^command.\([a-z]*\).*/\1/p'); do
		[ $c = follow ] || grep -qx "$c" "$tmp/documents" || broken "not tried: $c"
	done
}
