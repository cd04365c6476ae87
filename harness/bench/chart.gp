# SPDX-License-Identifier: GPL-2.0
# Draw bars.tsv of the current directory. Set before: type (svg, png), rows.
if (type eq 'svg') {
	set terminal svg size 900, 120 + 22 * rows font 'sans,12' background 'white'
} else {
	set terminal pngcairo size 900, 120 + 22 * rows font 'sans,10' background 'white'
}
set output 'bench.' . type
set title 'Instructions of our kernel / stock (below 1: ours needs fewer)'
set datafile separator '\t'
unset key
set style fill solid 0.8 noborder
set boxwidth 0.7
set xrange [0:1.4]
set yrange [-0.6:rows - 0.4]
set grid xtics
set lmargin 28
set arrow from 1, graph 0 to 1, graph 1 nohead lc rgb '#444444' lw 1.5
set ytics scale 0
plot 'bars.tsv' using (0):0:(0):2:($0 - 0.35):($0 + 0.35):($2 <= 1 ? 0x3a7ca5 : 0xd1495b):\
	ytic(1) with boxxyerror lc rgb variable, \
     '' using (($2 < 1.3 ? $2 : 1.3) + 0.01):0:(sprintf('%.3f', $2)) with labels left
