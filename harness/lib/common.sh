# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0
# What the scripts of harness/ share. A script sources this file first, by
#
#	. "$(dirname "$0")/../lib/common.sh"
#
# It then is in the project's root, wherever it was called from. A path on its command line
# is relative to $caller, see from_caller.

caller=$PWD
cd "$(dirname "$0")" || exit
until [ -e harness/lib/common.sh ]; do cd ..; done

# from_caller PATH: that path, absolute
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

# clock SECONDS: as m:ss
clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# machine CONFIG: what the name's beginning says: $machine, as Debian calls it, or um; the
# kernel's $arch, the $goal of make and the $image that comes of it; the prefix of the
# $cross compiler; and the $guest that it runs, below build/.
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

# compiler TREE: set cc and what ccache goes by. The trees lie alike and see each
# other's results: same relative paths. It goes by the files that an object depends on; to
# go by what the preprocessor makes of them costs a third of the compiling when it is new,
# and harness/kernel/cc is needed for what the compiler does not say.
# shellcheck disable=SC2034
compiler() {
	export CCACHE_BASEDIR="$PWD/build/$1" CCACHE_NOHASHDIR=1 CCACHE_DEPEND=1
	export CCACHE_IGNOREOPTIONS="-fmacro-prefix-map=*"
	export KBUILD_BUILD_TIMESTAMP=@0 KBUILD_BUILD_USER=reuseport KBUILD_BUILD_HOST=array
	cc=${cross:-}gcc
	! command -v ccache >/dev/null || cc="$PWD/harness/kernel/cc $cc"
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

# kselftest_harness.h's fixtures are declared by macros that checkpatch would rather not
# see; the kernel's own selftests have them all over.
# shellcheck disable=SC2034
CHECKPATCH_FIXTURES=MULTISTATEMENT_MACRO_USE_DO_WHILE,MACRO_ARG_REUSE,COMPLEX_MACRO,SPACING
# reuseportctl speaks in sentences longer than a line, and is a program, not the kernel.
# shellcheck disable=SC2034
CHECKPATCH_PROGRAM=SPLIT_STRING,VOLATILE,STRCPY,EMBEDDED_FUNCTION_NAME,ENOSYS,\
USE_NEGATIVE_ERRNO,ARRAY_SIZE,STATIC_CONST_CHAR_ARRAY,NEW_TYPEDEFS

# For scripts that run test programs in guests. A script ends in `totals`.
passed=0 failed=0 skipped=0
good() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)) && say "${0##*/}: FAILED: $*"; }
totals() { printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped" && [ "$failed" = 0 ]; }

# run_tap NAME BOOT-ARGUMENT...: what the program prints is kept in build/log/NAME.tap;
# $list is a file with a line for each of its $count tests: "ok TEST", "not-ok TEST" or
# "skip TEST".
run_tap() {
	name=$1 tap=build/log/$1.tap list=build/log/$1.list status=0
	shift
	harness/guest/boot "$@" >"$tap" 2>"$tap.err" || status=$?
	# 124 and 125 are the boot script's word for a hang, a splat, no verdict.
	# Without a plan no program was run: no such kernel, for one.
	if [ $status -ge 124 ] || ! grep -q '^1\.\.' "$tap"; then
		cat "$tap.err" >&2
		bad "$name, see $tap"
	fi
	sed -nE -e 's/^ok [0-9]+ +(.*[^ ]) +# SKIP.*/skip \1/p' -e t \
		-e 's/^ok [0-9]+ +# SKIP (.*)/skip \1/p' -e t \
		-e 's/^ok [0-9]+ (.*)/ok \1/p' -e 's/^not ok [0-9]+ (.*)/not-ok \1/p' "$tap" >"$list"
	count=$(wc -l <"$list")
	# A program whose plan names more tests than were reported has died on the way.
	planned=$(sed -n 's/^1\.\.\([0-9]*\).*/\1/p' "$tap")
	[ "${planned:-0}" = "$count" ] || bad "$name: $count of ${planned:-0} tests reported"
}
