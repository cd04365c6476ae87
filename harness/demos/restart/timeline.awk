# SPDX-License-Identifier: GPL-2.0
#
# The timeline of one run: the datagrams that each process received per 50 ms, and the
# misdelivered ones. Time 0 is the switch.
#
# usage: awk -f timeline.awk FIGURES WORKER-FILE...

BEGIN { OFS = "\t" }
$1 == "switched" { switched = $2 }
$1 == "udp" {
	split(FILENAME, part, "-")	# .../worker-GENERATION-NUMBER
	bin = int($2 * 20 + 0.5)
	if (!first || bin < first)
		first = bin
	if (bin > last)
		last = bin
	own[bin, 4 * (part[2] - 1) + part[3]] += $3
	foreign[bin] += $4
}
END {
	print "seconds", "g1w0", "g1w1", "g1w2", "g1w3", "g2w0", "g2w1", "g2w2", "g2w3", \
		"misdelivered"
	for (bin = first; bin <= last; bin++) {
		line = sprintf("%.3f", bin / 20 - switched)
		for (i = 0; i < 8; i++)
			line = line OFS own[bin, i] + 0
		print line, foreign[bin] + 0
	}
}
