# Reads paragraphs of a Debian package index; prints for each section its name,
# how many packages it has and their installed size in KiB, separated by tabs.
# With -v pause=SECONDS it waits before it prints, as a task that takes longer.
BEGIN { RS = ""; FS = "\n"; OFS = "\t" }
{
	section = "(none)"
	size = 0
	for (i = 1; i <= NF; i++)
		if ($i ~ /^Section: /)
			section = substr($i, 10)
		else if ($i ~ /^Installed-Size: /)
			size = substr($i, 17)
	packages[section]++
	kib[section] += size
}
END {
	if (pause)
		system("sleep " pause)
	for (section in packages)
		print section, packages[section], sprintf("%.0f", kib[section]) | "LC_ALL=C sort"
}
