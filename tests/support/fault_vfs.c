/* A VFS over SQLite's own that records what SQLite writes and makes its calls
 * fail. Locks, shared memory and reads pass through. */
#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#define VFS_NAME "ebb-fault"

struct vfs_file {
	sqlite3_file base;
	bool recorded;
	bool dir_unsynced; /* a new journal: its first sync makes the name durable */
	char rel[PATH_MAX];
	sqlite3_int64 align; /* the real file follows */
};

static sqlite3_vfs *real;
static sqlite3_vfs shim;
static bool usable;

static sqlite3_file *under(sqlite3_file *f)
{
	return (sqlite3_file *)((struct vfs_file *)f + 1);
}

static struct vfs_file *ours(sqlite3_file *f)
{
	return (struct vfs_file *)f;
}

/* What SQLite's own VFS says for the errno that was injected. */
static int code_of_errno(int code)
{
	if (errno == ENOSPC || errno == EDQUOT)
		return SQLITE_FULL;
	if (errno == ENOMEM)
		return SQLITE_IOERR_NOMEM;
	return code;
}

/* Under the lock: fsync of the folder that holds rel, listed now. */
static void record_parent_sync(const char *rel)
{
	char dir[PATH_MAX];
	char *slash;
	void *list;
	size_t len;

	(void)snprintf(dir, sizeof(dir), "%s", rel);
	slash = strrchr(dir, '/');
	if (slash == NULL)
		(void)snprintf(dir, sizeof(dir), ".");
	else
		*slash = '\0';
	list = record_listing(dir, &len);
	record_write_one(REC_FSYNC_DIR, 0, 0, dir, "", list, len);
	free(list);
}

static int shim_close(sqlite3_file *f)
{
	return under(f)->pMethods->xClose(under(f));
}

static int shim_read(sqlite3_file *f, void *buf, int n, sqlite3_int64 off)
{
	if (fault_call_fails("sqlite.read"))
		return errno == ENOMEM ? SQLITE_IOERR_NOMEM : SQLITE_IOERR_READ;
	return under(f)->pMethods->xRead(under(f), buf, n, off);
}

static int shim_write(sqlite3_file *f, const void *buf, int n, sqlite3_int64 off)
{
	int rc;

	if (fault_call_fails("sqlite.write"))
		return code_of_errno(SQLITE_IOERR_WRITE);
	if (!ours(f)->recorded)
		return under(f)->pMethods->xWrite(under(f), buf, n, off);
	fault_lock();
	rc = under(f)->pMethods->xWrite(under(f), buf, n, off);
	if (rc == SQLITE_OK)
		record_write_one(REC_WRITE, 0, off, ours(f)->rel, "", buf, (size_t)n);
	fault_unlock();
	return rc;
}

static int shim_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	int rc;

	if (fault_call_fails("sqlite.truncate"))
		return SQLITE_IOERR_TRUNCATE;
	if (!ours(f)->recorded)
		return under(f)->pMethods->xTruncate(under(f), size);
	fault_lock();
	rc = under(f)->pMethods->xTruncate(under(f), size);
	if (rc == SQLITE_OK)
		record_write_one(REC_TRUNCATE, 0, size, ours(f)->rel, "", NULL, 0);
	fault_unlock();
	return rc;
}

static int shim_sync(sqlite3_file *f, int flags)
{
	int rc;

	if (fault_call_fails("sqlite.sync"))
		return SQLITE_IOERR_FSYNC;
	if (!ours(f)->recorded)
		return under(f)->pMethods->xSync(under(f), flags);
	fault_lock();
	rc = under(f)->pMethods->xSync(under(f), flags);
	if (rc == SQLITE_OK) {
		record_write_one(REC_FSYNC, 0, 0, ours(f)->rel, "", NULL, 0);
		if (ours(f)->dir_unsynced)
			record_parent_sync(ours(f)->rel);
		ours(f)->dir_unsynced = false;
	}
	fault_unlock();
	return rc;
}

static int shim_size(sqlite3_file *f, sqlite3_int64 *size)
{
	return under(f)->pMethods->xFileSize(under(f), size);
}

static int shim_lock(sqlite3_file *f, int level)
{
	return under(f)->pMethods->xLock(under(f), level);
}

static int shim_unlock(sqlite3_file *f, int level)
{
	return under(f)->pMethods->xUnlock(under(f), level);
}

static int shim_check_lock(sqlite3_file *f, int *out)
{
	return under(f)->pMethods->xCheckReservedLock(under(f), out);
}

/* A size hint may change the file's length behind our back. */
static int shim_control(sqlite3_file *f, int op, void *arg)
{
	sqlite3_int64 before = 0;
	sqlite3_int64 after = 0;
	int rc;

	if (op != SQLITE_FCNTL_SIZE_HINT || !ours(f)->recorded)
		return under(f)->pMethods->xFileControl(under(f), op, arg);
	fault_lock();
	(void)shim_size(f, &before);
	rc = under(f)->pMethods->xFileControl(under(f), op, arg);
	(void)shim_size(f, &after);
	if (before != after)
		record_write_one(REC_TRUNCATE, 0, after, ours(f)->rel, "", NULL, 0);
	fault_unlock();
	return rc;
}

static int shim_sector(sqlite3_file *f)
{
	return under(f)->pMethods->xSectorSize(under(f));
}

static int shim_traits(sqlite3_file *f)
{
	return under(f)->pMethods->xDeviceCharacteristics(under(f));
}

static int shim_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
	if (fault_call_fails("sqlite.shm_map"))
		return SQLITE_IOERR_SHMMAP;
	return under(f)->pMethods->xShmMap(under(f), page, size, extend, out);
}

static int shim_shm_lock(sqlite3_file *f, int off, int n, int flags)
{
	return under(f)->pMethods->xShmLock(under(f), off, n, flags);
}

static void shim_shm_barrier(sqlite3_file *f)
{
	under(f)->pMethods->xShmBarrier(under(f));
}

static int shim_shm_unmap(sqlite3_file *f, int delete_it)
{
	return under(f)->pMethods->xShmUnmap(under(f), delete_it);
}

static int shim_fetch(sqlite3_file *f, sqlite3_int64 off, int n, void **out)
{
	return under(f)->pMethods->xFetch(under(f), off, n, out);
}

static int shim_unfetch(sqlite3_file *f, sqlite3_int64 off, void *p)
{
	return under(f)->pMethods->xUnfetch(under(f), off, p);
}

static const sqlite3_io_methods methods = {
	.iVersion = 3,
	.xClose = shim_close,
	.xRead = shim_read,
	.xWrite = shim_write,
	.xTruncate = shim_truncate,
	.xSync = shim_sync,
	.xFileSize = shim_size,
	.xLock = shim_lock,
	.xUnlock = shim_unlock,
	.xCheckReservedLock = shim_check_lock,
	.xFileControl = shim_control,
	.xSectorSize = shim_sector,
	.xDeviceCharacteristics = shim_traits,
	.xShmMap = shim_shm_map,
	.xShmLock = shim_shm_lock,
	.xShmBarrier = shim_shm_barrier,
	.xShmUnmap = shim_shm_unmap,
	.xFetch = shim_fetch,
	.xUnfetch = shim_unfetch,
};

/* The file was opened: notes what has to be recorded about it. */
static void opened(struct vfs_file *f, const char *name, int flags, bool existed)
{
	const int journal = SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_WAL;

	if (!record_on() || name == NULL)
		return;
	f->recorded = record_path(name, f->rel, sizeof(f->rel));
	if (!f->recorded || existed)
		return;
	f->dir_unsynced = (flags & journal) != 0;
	record_write_one(REC_CREATE, 0, 0600, f->rel, "", NULL, 0);
}

static int shim_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags,
    int *out_flags)
{
	struct vfs_file *f = ours(file);
	bool existed;
	int rc;

	(void)vfs;
	memset(f, 0, sizeof(*f));
	if (fault_call_fails("sqlite.open"))
		return SQLITE_CANTOPEN;
	fault_lock();
	existed = name == NULL || access(name, F_OK) == 0;
	rc = real->xOpen(real, name, under(file), flags, out_flags);
	if (rc == SQLITE_OK && under(file)->pMethods->iVersion < 3) {
		(void)under(file)->pMethods->xClose(under(file));
		rc = SQLITE_CANTOPEN;
	}
	if (rc == SQLITE_OK) {
		opened(f, name, flags, existed);
		f->base.pMethods = &methods;
	}
	fault_unlock();
	return rc;
}

static int shim_delete(sqlite3_vfs *vfs, const char *name, int sync_dir)
{
	char rel[PATH_MAX];
	bool in;
	int rc;

	(void)vfs;
	if (fault_call_fails("sqlite.delete"))
		return SQLITE_IOERR_DELETE;
	fault_lock();
	in = record_on() && record_path(name, rel, sizeof(rel));
	rc = real->xDelete(real, name, sync_dir);
	if (rc == SQLITE_OK && in) {
		record_write_one(REC_UNLINK, 0, 0, rel, "", NULL, 0);
		if (sync_dir)
			record_parent_sync(rel);
	}
	fault_unlock();
	return rc;
}

static void register_shim(void)
{
	if (sqlite3_initialize() != SQLITE_OK)
		return;
	real = sqlite3_vfs_find(NULL);
	if (real == NULL)
		return;
	shim = *real;
	shim.pNext = NULL;
	shim.zName = VFS_NAME;
	shim.szOsFile = (int)sizeof(struct vfs_file) + real->szOsFile;
	shim.xOpen = shim_open;
	shim.xDelete = shim_delete;
	usable = sqlite3_vfs_register(&shim, 0) == SQLITE_OK;
}

const char *fault_vfs_name(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, register_shim);
	return usable ? VFS_NAME : NULL;
}
