# SPDX-License-Identifier: GPL-2.0
# Called by ./plot, which sets type (svg or png), and of both runs: drain_RUN, the
# seconds from the switch to the exit of the old, and the datagrams, sent_RUN and
# misdelivered_RUN.

if (type eq 'svg') {
	set terminal svg size 1000,720 font 'DejaVu Sans,13' noenhanced background '#ffffff'
} else {
	set terminal pngcairo size 1500,1080 font 'DejaVu Sans,13' noenhanced fontscale 1.3 \
		linewidth 1.5
}
set output 'timeline.' . type

old = '#1f4e79 #2e6ca4 #5b93c5 #93bbdf'
new = '#2d6a3e #45925a #74b586 #aad6b5'
wrong = '#d62728'

set style fill solid noborder
set datafile separator "\t"
set grid ytics lc rgb '#dddddd' lw 1
set border 3 lc rgb '#555555'
set tics nomirror out
set ylabel 'datagrams per 50 ms'
set key at graph 1.03, graph 0.9 left Left reverse samplen 1 spacing 1.25 invert

# Columns 2..9 are the processes, 10 is misdelivered. The areas are stacked.
total(n) = sum [i = 2:n] column(i)
colour(i) = i <= 5 ? word(old, i - 1) : i <= 9 ? word(new, i - 5) : wrong
name(i) = i <= 5 ? sprintf('old, worker %d', i - 2) : i <= 9 ? \
	sprintf('new, worker %d', i - 6) : 'misdelivered'

# Both panels have the same scale, with space for the labels at the top.
first = 0; last = 0; most = 0
do for [run in 'map plain'] {
	stats sprintf('timeline-%s.tsv', run) using 1:(total(10)) nooutput
	first = STATS_min_x < first ? STATS_min_x : first
	last = STATS_max_x > last ? STATS_max_x : last
	most = STATS_max_y > most ? STATS_max_y : most
}
set xrange [floor(first):ceil(last)]
set yrange [0:most * 1.18]

set multiplot layout 2,1 spacing 0,0.13 margins screen 0.08,0.8,0.09,0.94
do for [run in 'map plain'] {
	drain = value('drain_' . run)
	set title sprintf('Restart with %s: %d datagrams, %d to a wrong process', \
		run eq 'map' ? 'the map' : 'SO_REUSEPORT alone', \
		value('sent_' . run), value('misdelivered_' . run)) font ',15'
	set arrow 1 from 0, graph 0 to 0, graph 1 nohead front lw 1.5 dt 2 lc rgb '#333333'
	set arrow 2 from drain, graph 0 to drain, graph 1 nohead front lw 1.5 dt 2 lc rgb '#333333'
	set label 1 'switch' at 0, graph 0.95 offset 0.6,0 front
	set label 2 sprintf('old server exits, %.1f s', drain) \
		at drain, graph 0.95 offset 0.6,0 front
	if (run eq 'plain') {
		set xlabel 'seconds since the switch'
		unset key
	}
	plot for [i = 2:10] sprintf('timeline-%s.tsv', run) \
		using 1:(total(i) - column(i)):(total(i)) with filledcurves \
		lc rgb colour(i) title name(i)
}
unset multiplot
