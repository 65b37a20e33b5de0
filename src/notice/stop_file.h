/* A file that says "stop" by being there. */
#ifndef EBB_NOTICE_STOP_FILE_H
#define EBB_NOTICE_STOP_FILE_H

#include <stdbool.h>

/* A descriptor that becomes readable when something comes into the file's folder, so that
 * the file is seen at once; -1 when there is none (a missing folder, a file system that does
 * not tell): then it has to be looked for now and then, and it is wise to do that in any
 * case. Closed by the caller. */
int stop_file_fd(const char *path);
/* Empties it. */
void stop_file_drain(int fd);
/* False without a path, too. */
bool stop_file_is_there(const char *path);

#endif
