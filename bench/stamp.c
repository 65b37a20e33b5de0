/* stamp [WORDS]: a task that says when the first of its kind began. Whoever comes
 * first creates the file that $STAMP names and writes CLOCK_MONOTONIC into it, in
 * ns; all others only fail to create it and end well. (Not a word of the command:
 * a file that the command names belongs to what ebb compares at a restart.) */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(void)
{
	const char *path = getenv("STAMP");
	struct timespec now;
	char line[32];
	int len;
	int fd;

	if (path == NULL || clock_gettime(CLOCK_MONOTONIC, &now) == -1)
		errx(2, "usage: STAMP=FILE stamp [WORDS]");
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
	if (fd == -1 && errno == EEXIST)
		return 0;
	len = snprintf(line, sizeof(line), "%lld\n",
	    (long long)now.tv_sec * 1000000000 + now.tv_nsec);
	if (fd == -1 || write(fd, line, (size_t)len) != len || close(fd) == -1)
		err(1, "%s", path);
	return 0;
}
