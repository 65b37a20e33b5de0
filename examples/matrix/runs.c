/* The program under test: the longest run of equal bytes in a text, and a test
 * of it. Its two mistakes show in some cells of the matrix only. */
#include <assert.h>
#include <stdio.h>

static unsigned longest_run(const char *text)
{
	unsigned longest = 0, length = 0;
	char last = -1; // no byte of an ASCII text

	for (; *text != '\0'; text++) {
		length = *text == last ? length + 1 : 1;
		last = *text;
		if (length > longest)
			longest = length;
	}
	return longest;
}

/* Is this byte one of ASCII? */
static int is_ascii(char c)
{
	return c >= 0;
}

int main(void)
{
	assert(longest_run("") == 0);
	assert(longest_run("abbbc") == 3);
	assert(is_ascii('a'));
	assert(!is_ascii('\xe9'));
	puts("all tests passed");
	return 0;
}
