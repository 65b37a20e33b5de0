#!/bin/bash
# One item of the crash suites: `shard.sh a7` writes 200 lines that depend on
# nothing but its argument. What takes time happens in a session of its own, so
# that nobody gets rid of it by killing the process group.
# EBBTEST_LOG: start and end are appended to it. EBBTEST_PAUSE: seconds it takes.
# EBBTEST_HOLD: while this file is there, the item is not finished.
# EBBTEST_FILL: writes so many KiB to a file of its own in that folder first
# (EBBTEST_FILL=KiB:folder), which must succeed and which it removes only then.
set -euo pipefail
export LC_ALL=C
item=$1
echo "start $item ${EBB_EPOCH:-0} $$" >>"$EBBTEST_LOG"
if [ -n "${EBBTEST_FILL:-}" ]; then
	scratch=${EBBTEST_FILL#*:}/fill.$item
	head -c "$((${EBBTEST_FILL%%:*} * 1024))" /dev/zero >"$scratch"
	rm -f "$scratch"
fi
# shellcheck disable=SC2016
(setsid bash -ec '
	sleep "${EBBTEST_PAUSE:-0.01}"
	while [ -n "${EBBTEST_HOLD:-}" ] && [ -e "$EBBTEST_HOLD" ]; do
		sleep 0.02
	done
	seq -f "$0 line %g" "$1" "$(($1 + 199))"' "$item" "${item#a}") | sort -r
echo "end $item ${EBB_EPOCH:-0} $$" >>"$EBBTEST_LOG"
