#!/bin/sh
# Counts the words of each text in list.txt that is new there or has changed;
# the counts of texts/NAME.txt are in counts/NAME.tsv. A line may be there twice.
set -eu
cd "$(dirname "$0")"
texts=$(sort -u list.txt)
printf '%s\n' "$texts" |
	ebb map -r --skip-done --if-running skip --out 'counts/{/.}.tsv' -- ./words.sh {}
