#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/sys.h"
#include "ledger/sqlite.h"

/* ---- file systems ---- */

struct place {
	unsigned long f_type; /* of statfs(2), as in linux/magic.h */
	const char *refused;  /* NULL: a ledger may be there */
};

/* Allowed are those whose locks and shared mappings are of one kernel and
 * whose fsync holds. */
static const struct place known_places[] = {
	{0xef53, NULL},     /* ext2, ext3, ext4 */
	{0x58465342, NULL}, /* xfs */
	{0x9123683e, NULL}, /* btrfs */
	{0x2fc12fc1, NULL}, /* zfs */
	{0xf2f52010, NULL}, /* f2fs */
	{0xca451a4e, NULL}, /* bcachefs */
	{0x3153464a, NULL}, /* jfs */
	{0x52654973, NULL}, /* reiserfs */
	{0x01021994, NULL}, /* tmpfs */
	{0x858458f6, NULL}, /* ramfs */
	{0x794c7630, NULL}, /* overlayfs */
	{0x6969, "NFS"},
	{0xff534d42, "CIFS"},
	{0xfe534d42, "SMB"},
	{0x517b, "SMB"},
	{0x0bd00bd0, "Lustre"},
	{0x65735546, "FUSE or virtiofs"},
	{0x01021997, "9p"},
	{0x00c36400, "Ceph"},
	{0x5346414f, "AFS"},
	{0x6b414653, "AFS"},
	{0x01161970, "GFS2"},
	{0x7461636f, "OCFS2"},
	{0x19830326, "BeeGFS"},
	{0x47504653, "GPFS"},
	{0x73757245, "Coda"},
	{0x4d44, "FAT"},
	{0x2011bab0, "exFAT"},
	{0x5346544e, "NTFS"},
	{0x7366746e, "NTFS"},
	{0x786f4256, "a VirtualBox shared folder"},
	{0xbacbacbc, "a VMware shared folder"},
	{0xf15f, "eCryptfs"},
	{0x61756673, "aufs"},
};

const char *sqlite_place_refused(unsigned long f_type)
{
	size_t i;

	for (i = 0; i < sizeof(known_places) / sizeof(known_places[0]); i++) {
		if (known_places[i].f_type == f_type)
			return known_places[i].refused;
	}
	return "a file system that ebb does not know";
}

static enum status check_one(const char *path, const char *shown, struct error *e)
{
	struct statfs fs;
	const char *name;

	if (statfs(path, &fs) == -1)
		return error_os(e, errno, "cannot look at %s", path);
	/* The type is 32 bits; some architectures have it signed. */
	name = sqlite_place_refused((unsigned long)fs.f_type & 0xffffffffUL);
	if (name == NULL)
		return ST_OK;
	return error_set(e, ST_CONFIG, "the ledger %s would be on %s (type 0x%lx), where SQLite's "
	    "locks cannot be relied on; put the state on a local disk (ext4, xfs, btrfs, zfs or "
	    "tmpfs) with --state", shown, name, (unsigned long)fs.f_type & 0xffffffffUL);
}

enum status sqlite_check_place(const char *path, struct error *e)
{
	struct buf dir = {0};
	enum status st;

	file_dirname(path, &dir);
	st = buf_check(&dir, e);
	if (st == ST_OK)
		st = check_one(dir.data, path, e);
	/* The file itself may be a link or a mount point. */
	if (st == ST_OK && access(path, F_OK) == 0)
		st = check_one(path, path, e);
	buf_free(&dir);
	return st;
}

/* ---- the write lock ---- */

/* In WAL mode a writer holds byte 120 of the -shm file: WAL_WRITE_LOCK, the
 * first lock behind two headers of 48 bytes and 24 of checkpoint information
 * (SQLite's "WAL-mode File Format", section 2.3.1). */
enum { WAL_WRITE_LOCK_BYTE = 120 };

/* Runs in a process of its own: closing any descriptor of a file drops all
 * locks that the process has on it, SQLite's included. Only calls that are safe
 * after a fork among threads. */
static _Noreturn void ask(const char *shm, int answer)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = WAL_WRITE_LOCK_BYTE, .l_len = 1,
	};
	int fd = open(shm, O_RDWR | O_CLOEXEC);
	int32_t pid = 0;

	if (fd != -1 && fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK)
		pid = lock.l_pid;
	_exit(write(answer, &pid, sizeof(pid)) == (ssize_t)sizeof(pid) ? 0 : 1);
}

static int32_t ask_in_child(const char *shm)
{
	int32_t pid = 0;
	int ends[2];
	pid_t child;

	if (pipe2(ends, O_CLOEXEC) == -1)
		return 0;
	child = fork();
	if (child == 0)
		ask(shm, ends[1]);
	(void)close(ends[1]);
	if (child > 0) {
		if (sys_read(ends[0], &pid, sizeof(pid)) != (ssize_t)sizeof(pid))
			pid = 0;
		while (waitpid(child, NULL, 0) == -1 && errno == EINTR)
			;
	}
	(void)close(ends[0]);
	return pid > 0 ? pid : 0;
}

int32_t sqlite_lock_pid(const char *path)
{
	struct buf shm = {0};
	int32_t pid = 0;

	buf_printf(&shm, "%s-shm", path);
	if (!shm.failed)
		pid = ask_in_child(shm.data);
	buf_free(&shm);
	return pid;
}
