#!/bin/sh
# Prints each word of a text and how often it is there, the most frequent first.
set -eu
exec <"$1"
tr -cs '[:alpha:]' '\n' | tr '[:upper:]' '[:lower:]' | LC_ALL=C sort | uniq -c |
	LC_ALL=C sort -k 1,1nr -k 2 | awk 'NF == 2 { print $2 "\t" $1 }'
