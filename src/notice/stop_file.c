#include "notice/stop_file.h"

#include <sys/inotify.h>
#include <unistd.h>

#include "base/file.h"
#include "base/sys.h"

int stop_file_fd(const char *path)
{
	struct buf dir = {0};
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

	if (fd == -1)
		return -1;
	file_dirname(path, &dir);
	if (dir.failed || inotify_add_watch(fd, dir.data, IN_CREATE | IN_MOVED_TO) == -1) {
		(void)sys_close(fd);
		fd = -1;
	}
	buf_free(&dir);
	return fd;
}

void stop_file_drain(int fd)
{
	char events[4096];

	while (sys_read(fd, events, sizeof(events)) > 0)
		;
}

bool stop_file_is_there(const char *path)
{
	return path != NULL && access(path, F_OK) == 0;
}
