# SPDX-License-Identifier: GPL-2.0
# Draw bars.tsv of the current directory. Set before: type (svg, png).
if (type eq 'svg') {
	set terminal svg size 1000, 420 font 'sans,12' background 'white'
} else {
	set terminal pngcairo size 1000, 420 font 'sans,10' background 'white'
}
set output 'bench.' . type
set title 'Instructions: per packet, per slot, per map (each line is ten times the one below)'
set datafile separator '\t'
set datafile missing '-'
set style data histogram
set style histogram clustered gap 1
set style fill solid 0.85 noborder
set logscale y
set yrange [1:1e9]
set format y '10^{%T}'
set grid ytics
set key top left horizontal samplen 1 width 3
set xtics scale 0
set bmargin 3.5
short(x) = x >= 1e6 ? sprintf('%.0fM', x / 1e6) : x >= 1e4 ? sprintf('%.0fk', x / 1e3) : \
	   sprintf('%.0f', x)
# Clusters of four bars, each 1/5 of a unit wide, are centred on the whole numbers.
at(i, bar) = i + (bar - 1.5) / 5.
plot 'bars.tsv' using 2:xtic(1) title 'ours' lc rgb '#1b6ca8', \
     '' using 3 title 'stock' lc rgb '#d1495b', \
     '' using 4 title 'SOCKMAP' lc rgb '#b8b8b8', \
     '' using 5 title 'SOCKHASH' lc rgb '#dddddd', \
     for [b = 0:3] '' using (at($0, b)):(column(b + 2) * 1.3):(short(column(b + 2))) \
	with labels font ',8' rotate by 60 left notitle
