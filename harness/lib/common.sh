# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0
# What the scripts of harness/ share. A script sources this file first, by
#
#	. "$(dirname "$0")/../lib/common.sh"
#
# It changes to the project's root. Paths on the script's command line are relative to
# $caller, the directory that the script was called from: see from_caller.

caller=$PWD
cd "$(dirname "$0")" || exit
until [ -e harness/lib/common.sh ]; do cd ..; done

# from_caller PATH: print it as an absolute path
from_caller() {
	case $1 in
	/*) printf '%s\n' "$1" ;;
	*) printf '%s\n' "$caller/$1" ;;
	esac
}

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $*"; exit 2; }

# The base kernel, and where its trees are, below build/.
read -r default_base <harness/base/default
base=${BASE:-$default_base} at=''
# shellcheck disable=SC2034
[ "$base" = "$default_base" ] || at=$base/

# clock SECONDS: print them as m:ss
clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# machine CONFIG: set what follows from the beginning of its name: $machine (Debian's name, or
# um), the kernel's $arch, make's $goal and the $image it makes, the prefix of the $cross
# compiler, and the $guest directory below build/.
# shellcheck disable=SC2034
machine() {
	goal=bzImage cross='' guest=guest
	case $1 in
	um*) machine=um arch=um goal=linux ;;
	arm64*) machine=arm64 arch=arm64 goal=Image cross=aarch64-linux-gnu- ;;
	s390x*) machine=s390x arch=s390 cross=s390x-linux-gnu- ;;
	*) machine=amd64 arch=x86 ;;
	esac
	[ ! "$cross" ] || guest=guest-$machine
	image=arch/$arch/boot/$goal
	[ $goal != linux ] || image=linux
}

# compiler TREE: set $cc and configure ccache. All trees share its results, as paths are
# relative to the tree. In depend mode it hashes the files that an object depends on, which
# saves the preprocessor, a third of the time of a new object; harness/kernel/cc handles
# dependencies that the compiler does not report.
# shellcheck disable=SC2034
compiler() {
	export CCACHE_BASEDIR="$PWD/build/$1" CCACHE_NOHASHDIR=1 CCACHE_DEPEND=1
	export CCACHE_IGNOREOPTIONS="-fmacro-prefix-map=*"
	export KBUILD_BUILD_TIMESTAMP=@0 KBUILD_BUILD_USER=reuseport KBUILD_BUILD_HOST=array
	cc=${cross:-}gcc
	! command -v ccache >/dev/null || cc="$PWD/harness/kernel/cc $cc"
}

# progress LABEL LOG [TOTAL]: copy make's output from stdin to LOG and show the number of
# steps done: on a terminal in place, otherwise as a line every 30 s.
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

# The fixtures of kselftest_harness.h are macros that checkpatch warns about; the kernel's own
# selftests are full of them.
# shellcheck disable=SC2034
CHECKPATCH_FIXTURES=MULTISTATEMENT_MACRO_USE_DO_WHILE,MACRO_ARG_REUSE,COMPLEX_MACRO,SPACING
# reuseportctl is a program, not kernel code, and its messages are longer than a line.
# shellcheck disable=SC2034
CHECKPATCH_PROGRAM=SPLIT_STRING,VOLATILE,STRCPY,EMBEDDED_FUNCTION_NAME,ENOSYS,\
USE_NEGATIVE_ERRNO,ARCH_DEFINES,ARRAY_SIZE,STATIC_CONST_CHAR_ARRAY,NEW_TYPEDEFS,\
PREFER_DEFINED_ATTRIBUTE_MACRO

# For scripts that run test programs in guests. Such a script ends with `totals`.
passed=0 failed=0 skipped=0
good() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)) && say "${0##*/}: FAILED: $*"; }
totals() { printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped" && [ "$failed" = 0 ]; }

# run_tap NAME BOOT-ARGUMENT...: run a test program in a guest. Its output is kept in
# build/log/NAME.tap; $list is a file with a line for each of its $count tests: "ok TEST",
# "not-ok TEST" or "skip TEST".
run_tap() {
	name=$1 tap=build/log/$1.tap list=build/log/$1.list status=0
	shift
	harness/guest/boot "$@" >"$tap" 2>"$tap.err" || status=$?
	# harness/guest/boot exits with 124 or 125 for a hang, a splat, or no verdict. Without
	# a plan no program ran, for example because there is no such kernel.
	if [ $status -ge 124 ] || ! grep -q '^1\.\.' "$tap"; then
		cat "$tap.err" >&2
		bad "$name, see $tap"
	fi
	sed -nE -e 's/^ok [0-9]+ +(.*[^ ]) +# SKIP.*/skip \1/p' -e t \
		-e 's/^ok [0-9]+ +# SKIP (.*)/skip \1/p' -e t \
		-e 's/^ok [0-9]+ (.*)/ok \1/p' -e 's/^not ok [0-9]+ (.*)/not-ok \1/p' "$tap" >"$list"
	count=$(wc -l <"$list")
	# If fewer tests were reported than planned, the program ended early.
	planned=$(sed -n 's/^1\.\.\([0-9]*\).*/\1/p' "$tap")
	[ "${planned:-0}" = "$count" ] || bad "$name: $count of ${planned:-0} tests reported"
}

# judge_tap LABEL [FUNCTION]: count the results of the run_tap before. A test has to pass and
# may be skipped. FUNCTION TEST may say otherwise for one of them: it sets expected=not-ok, or
# may_skip to nothing.
judge_tap() {
	while read -r outcome test; do
		expected=ok may_skip=yes
		[ $# = 1 ] || "$2" "$test"
		case $outcome:$may_skip in
		"$expected":*) good ;;
		skip:yes) skipped=$((skipped + 1)) ;;
		*) bad "$1: $test is $outcome, expected $expected, see $tap" ;;
		esac
	done <"$list"
}
