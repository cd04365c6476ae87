# SPDX-License-Identifier: GPL-2.0
#
# Print the table; the exit status is the verdict.
#
# usage: awk -v json=FILE -f report.awk map/FILE... plain/FILE...
# where FILEs are the figures of the client and of the workers in both runs.

function thousands(n,	s) {
	for (s = ""; n >= 1000; n = int(n / 1000))
		s = sprintf(",%03d%s", n % 1000, s)
	return n s
}

function row(label, name) {
	printf "  %-44s%14s%16s\n", label, thousands(v["map", name]), thousands(v["plain", name])
}

function rule() {
	print "  --------------------------------------------------------------------------"
}

function must(condition, complaint) {
	if (!condition) {
		print "  FAILED: " complaint
		failed = 1
	}
}

function to_json(run,	i) {
	printf "  \"%s\": {\n", run >json
	for (i = 1; i <= names; i++)
		printf "    \"%s\": %s%s\n", name[i], v[run, name[i]], (i < names ? "," : "") >json
	printf "  },\n" >json
}

function add(run, key, value) {
	if (!(key in seen)) {
		seen[key] = 1
		name[++names] = key
	}
	v[run, key] += value
}

BEGIN { CONVFMT = "%.10g" }
{ run = FILENAME ~ /\/plain\// ? "plain" : "map" }
FILENAME ~ /\/figures$/ { add(run, $1, $2) }
$1 == "tcp" { add(run, "accepted", $2) }
# the file "figures" comes first, so the time of the switch is known
$1 == "new" && FILENAME ~ /\/worker-1-/ { add(run, "late", $2 > v[run, "switched"]) }
$1 == "udp" { add(run, "delivered", $3); add(run, "foreign", $4) }

END {
	add("map", "late", 0)
	add("plain", "late", 0)
	add("map", "drain", v["map", "gone"] - v["map", "switched"])
	add("plain", "drain", v["plain", "gone"] - v["plain", "switched"])

	printf "\n  %-44s%14s%16s\n", "", "with the map", "plain REUSEPORT"
	rule()
	row("TCP connections made", "made")
	row("    refused", "refused")
	row("    reset", "reset")
	row("    no reply within 10 s", "stuck")
	row("    wrong reply", "wrong")
	row("UDP connections", "udp_conns")
	row("    with a datagram misdelivered or lost", "udp_hit")
	row("UDP datagrams sent", "sent")
	row("    answered by the right process", "answered")
	row("    delivered to a wrong process", "misdelivered")
	row("    lost", "lost")
	row("    wrong reply", "garbled")
	row("New connections to the old after the switch", "late")
	printf "  %-44s%12.2f s%14.2f s\n", "From the switch to the exit of the old", \
		v["map", "drain"], v["plain", "drain"]
	rule()

	must(v["map", "made"] >= 20000, "fewer than 20,000 TCP connections were made")
	must(v["map", "udp_conns"] >= 200, "fewer than 200 UDP connections were made")
	must(v["map", "refused"] + v["map", "reset"] + v["map", "stuck"] + v["map", "wrong"] == 0,
		"TCP connections failed in the run with the map")
	must(v["map", "answered"] == v["map", "sent"],
		"datagrams were misdelivered or lost in the run with the map")
	must(v["map", "accepted"] == v["map", "made"] && v["map", "foreign"] == 0 &&
		v["map", "delivered"] == v["map", "sent"],
		"the counters of workers and clients disagree")
	if (!failed)
		print "  With the map nothing was refused, reset, misdelivered or lost, and the" \
			"\n  counters of workers and clients agree. Without the map the old" \
			"\n  server keeps receiving new connections and exits on its drain timeout."

	print "{" >json
	to_json("map")
	to_json("plain")
	printf "  \"passed\": %s\n}\n", (failed ? "false" : "true") >json
	exit failed
}
