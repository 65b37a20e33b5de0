#!/bin/bash
# One shard of the pipeline of the crash suites: `parse.sh` turns the lines of
# its stdin round, by a shell pipeline whose first part is in a session of its
# own. The shard of careful.txt is read by a loop that saves a checkpoint after
# every third line and leaves with 85 once, half way; the last line of its output
# comes from the folder that its checkpoints keep.
# EBBTEST_LOG: start and end are appended to it, and the offset after "from". EBBTEST_PAUSE: seconds it takes.
# EBBTEST_HOLD: while this file is there, no shard is finished.
# EBBTEST_EBB: the ebb whose `task` is asked.
set -euo pipefail
export LC_ALL=C
item=$EBB_STAGE:$EBB_SHARD
say() { echo "$1 $item $EBB_EPOCH $$" >>"$EBBTEST_LOG"; }
hold() {
	while [ -n "${EBBTEST_HOLD:-}" ] && [ -e "$EBBTEST_HOLD" ]; do
		sleep 0.02
	done
}

careful() {
	local at=$EBB_OFFSET n=0 line state=$EBB_CHECKPOINT/state
	echo "from $item $at $$" >>"$EBBTEST_LOG"
	if [ -e "$state/n" ]; then
		read -r n <"$state/n"
	fi
	mkdir -p "$state"
	while IFS= read -r line; do
		echo "careful ${line^^}"
		at=$((at + ${#line} + 1))
		n=$((n + 1))
		echo "$line" >>"$state/seen"
		[ $((n % 3)) -eq 0 ] || continue
		sleep "${EBBTEST_PAUSE:-0.01}"
		echo "$n" >"$state/n"
		if [ "$n" -ge 6 ] && [ ! -e "$state/again" ]; then
			touch "$state/again"
			# What is not durable does not count: then it is just one more.
			"$EBBTEST_EBB" task checkpoint "$at" && say again && exit 85
			rm "$state/again"
		else
			"$EBBTEST_EBB" task checkpoint "$at" || true
		fi
	done
	hold
	echo "seen $(sort "$state/seen" | uniq -c | tr -s ' \n' ' ')"
}

say start
case $EBB_INPUT in
*careful.txt) careful ;;
*)
	# shellcheck disable=SC2016
	(setsid bash -ec '
		tr a-z A-Z
		sleep "${EBBTEST_PAUSE:-0.01}"
		while [ -n "${EBBTEST_HOLD:-}" ] && [ -e "$EBBTEST_HOLD" ]; do
			sleep 0.02
		done') | sort -r
	;;
esac
say end
