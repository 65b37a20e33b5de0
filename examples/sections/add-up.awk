# Adds up what sections.awk printed for each piece.
BEGIN { FS = OFS = "\t" }
{
	packages[$1] += $2
	kib[$1] += $3
}
END {
	for (section in packages)
		print section, packages[section], sprintf("%.0f", kib[section]) | "LC_ALL=C sort"
}
