#!/bin/sh
# One cell of the matrix: builds runs.c with a compiler and its options, and runs
# its test. Prints a line for the table; the exit code says what became of it.
#   ./cell.sh "gcc -std=c99 -O2"
set -eu
cell=$1
program=${EBB_SCRATCH:-.}/runs
# The cell's blanks separate its words.
# shellcheck disable=SC2086
$cell -pedantic-errors -o "$program" runs.c
"$program" >&2
printf '%s\tok\n' "$cell"
