# Adds up what parse.awk printed for each piece, by=hour or by=status.
BEGIN { FS = OFS = "\t" }
{
	key = by == "hour" ? $1 : $2
	requests[key] += $3
	bytes[key] += $4
	errors[key] += $2 >= 400 ? $3 : 0
}
END {
	print by, "requests", "bytes", "errors"
	fflush()
	for (key in requests)
		printf "%s\t%d\t%.0f\t%d\n", key, requests[key], bytes[key], errors[key] | "LC_ALL=C sort"
}
