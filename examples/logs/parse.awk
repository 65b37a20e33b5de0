# Reads access logs in the common or combined format; prints for each hour and
# status how many requests there were and their bytes, separated by tabs. Lines
# that are no such thing are counted too, with - as the hour and the status.
{
	hour = status = "-"
	bytes = 0
	if (match($0, /\[[0-9]+\/[A-Z][a-z][a-z]\/[0-9]+:[0-9][0-9]:/)) {
		at = substr($0, RSTART + RLENGTH - 3, 2)
		rest = substr($0, RSTART + RLENGTH)
		# The first " that no \ stands before ends the request.
		if (match(rest, /[^\\]" [1-5][0-9][0-9] ([0-9]+|-)( |$)/)) {
			split(substr(rest, RSTART + 3), field, " ")
			hour = at
			status = field[1]
			bytes = field[2] + 0
		}
	}
	key = hour "\t" status
	requests[key]++
	sent[key] += bytes
}
END {
	for (key in requests)
		printf "%s\t%d\t%.0f\n", key, requests[key], sent[key] | "LC_ALL=C sort"
}
