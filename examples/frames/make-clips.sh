#!/bin/sh
# Makes clips to try it with: a square that moves over a gradient and, where ffmpeg
# is, a video of its test picture. Needs ImageMagick.
set -eu
mkdir -p clips
for step in 0 1 2 3 4 5; do
	square="rectangle $((step * 26)),48 $((step * 26 + 24)),72"
	set -- "$@" '(' -size 160x120 gradient:navy-orange -fill white -draw "$square" ')'
done
convert -delay 10 -loop 0 "$@" clips/square.gif
if command -v ffmpeg >/dev/null; then
	ffmpeg -nostdin -v error -y -f lavfi -i testsrc=size=160x120:rate=10:duration=0.6 clips/test.mkv
fi
