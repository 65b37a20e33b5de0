# Reads the matrix and then the lines of the cells that passed, and prints every
# cell with what became of it.
BEGIN { FS = OFS = "\t" }
NF == 1 {
	cell[++n] = $1
}
NF == 2 {
	result[$1] = $2
}
END {
	for (i = 1; i <= n; i++)
		print cell[i] in result ? result[cell[i]] : "FAILED", cell[i]
}
