# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0
# For the scripts beside this file, which source it from the project's root.

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $*"; exit 2; }

# clock SECONDS: as m:ss
clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# compiler TREE: set cc and what ccache goes by. The trees lie alike and see each
# other's results: same relative paths.
# shellcheck disable=SC2034
compiler() {
	export CCACHE_DIR="$PWD/build/ccache" CCACHE_BASEDIR="$PWD/build/$1" CCACHE_NOHASHDIR=1
	export CCACHE_IGNOREOPTIONS="-fmacro-prefix-map=*"
	export KBUILD_BUILD_TIMESTAMP=@0 KBUILD_BUILD_USER=reuseport KBUILD_BUILD_HOST=array
	cc=gcc
	! command -v ccache >/dev/null || cc="ccache gcc"
}

# progress LABEL LOG [TOTAL]: copy make's output from stdin to LOG and show how far it
# is: on a terminal in place, elsewhere in a line now and then.
progress() {
	label=$1 log=$2 total=${3:-} done=0 start=$(date +%s) shown=$start
	[ -t 2 ] && tty=1 || tty=
	while IFS= read -r line; do
		printf '%s\n' "$line"
		case $line in "  "[A-Z]*) done=$((done + 1)) ;; *) continue ;; esac
		[ $((done % 10)) = 0 ] || continue
		now=$(date +%s)
		[ "$now" -ge $((shown + ${tty:-29} + 1)) ] || continue
		shown=$now
		text="$label: $(clock $((now - start))), $done${total:+ of about $total} steps"
		if [ "$tty" ]; then printf '\r%-78s' "$text" >&2; else say "$text"; fi
	done >"$log"
	[ ! "$tty" ] || printf '\r%-78s\r' '' >&2
}
