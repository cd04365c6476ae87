# shellcheck shell=sh disable=SC2034,SC2154
# SPDX-License-Identifier: GPL-2.0
# What check-series and check-fixes share; they source this after harness/lib/common.sh.
# $work, below build/, has the patches and, in $work/src, the tree that they are applied to.

# start_check WORK: set $work, $src and $log
start_check() {
	top=$PWD work=$1 src=$PWD/$1/src started=$(date +%s)
	log=build/log/$(echo "${1#build/}" | tr / -).log
	mkdir -p build/log "$work"
	: >"$log"
}

# end_check: the verdict
end_check() {
	say "${0##*/}: $(clock $(($(date +%s) - started))), log: $log"
	totals
}

# judge WHAT COMMAND...: what the command prints goes to the log; a build says how far it is
judge() {
	what=$1
	shift
	if "$@" >>"$log"; then
		good
		say "${0##*/}: $what"
	else
		bad "$what; see $log"
		tail -n 5 "$log" >&2
	fi
}

# same_tree A B [EXCLUDE]: same files, modes and links; but for directories of that name
same_tree() {
	diff -rq --no-dereference -x .git ${3:+-x "$3"} "$1" "$2" || return
	for tree in "$1" "$2"; do
		(cd "$tree" && find . \( -name .git -o -name "${3:-.git}" \) -prune -o -printf '%M %p\n')
	done | LC_ALL=C sort | uniq -u >"$work/modes"
	cat "$work/modes"
	[ ! -s "$work/modes" ]
}

# lay TREE DIFF...: a copy of it in $src, of links but for what the diffs will touch. Those
# are new, so that make compiles what depends on them again.
lay() {
	rm -rf "$src"
	cp -al "build/$1/src" "$src"
	shift
	sed -n 's/^diff --git a\/.* b\///p' "$@" | sort -u | while read -r file; do
		[ -f "$src/$file" ] || continue
		cp "$src/$file" "$src/$file.new" && chmod --reference="$src/$file" "$src/$file.new" &&
			mv "$src/$file.new" "$src/$file"
		echo "$file"
	done >"$work/touched"
}

git_in_src() {
	GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 git -C "$src" \
		-c user.name=check -c user.email=check@localhost "$@"
}

# start_commits: $src becomes a repository of the files that the patches touch
start_commits() {
	git_in_src init -q
	(cd "$src" && xargs git add -f) <"$work/touched"
	git_in_src commit -q -m 'Linux as it is'
}

# checkpatch PATCH: read the commit that it has become. With a diffstat, for there
# checkpatch looks whether a new file comes with its line in MAINTAINERS. It says that
# ENOTSUPP is not for user space, but this map has returned it since Linux 4.19, and it
# cannot look commit IDs up without Linux's history. kzalloc_obj(), which Linux 7.3 prefers,
# is not in other bases. The patch that removes files takes none out of MAINTAINERS, as
# others bring them back.
checkpatch() {
	ignore=ENOTSUPP,UNKNOWN_COMMIT_ID,ALLOC_WITH_SIZEOF
	case $1 in
	*-selftests-*) ignore=$ignore,$CHECKPATCH_FIXTURES ;;
	*-Remove-*) ignore=$ignore,FILE_PATH_CHANGES ;;
	esac
	git_in_src format-patch -q --stdout --no-signature -1 >"$work/read"
	"build/${at}ours/src/scripts/checkpatch.pl" --root="build/${at}ours/src" \
		--strict --terse --no-summary --ignore "$ignore" "$work/read" 2>/dev/null
}

# writes_the_same WRITER...: run it again and compare the patches in $work
writes_the_same() {
	cat "$work"/*.patch | sha256sum >"$work/sum"
	"$@" 2>/dev/null
	cat "$work"/*.patch | sha256sum -c "$work/sum"
}
