#!/bin/sh
# Puts each frame of a clip into $EBB_OUTPUT: clips/NAME.gif becomes NAME-000.png,
# NAME-001.png and so on. Animated pictures with ImageMagick, videos with ffmpeg.
set -eu
name=${1##*/}
name=${name%.*}
case $1 in
*.gif) convert "$1" -coalesce "$EBB_OUTPUT/$name-%03d.png" ;;
*) ffmpeg -nostdin -v error -i "$1" -start_number 0 "$EBB_OUTPUT/$name-%03d.png" ;;
esac
