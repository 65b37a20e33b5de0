#include "worker/state_risk.h"

#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

#include "base/file.h"

enum { VENDOR_MAX = 256 };

/* Looks at the folder, or at its nearest parent that is there. */
static bool look_at_place(const char *dir, struct statfs *fs)
{
	struct buf path = {0};
	struct buf parent = {0};
	bool found = false;
	int steps;

	buf_str(&path, dir);
	for (steps = 0; steps < 64 && !path.failed; steps++) {
		if (statfs(path.data, fs) == 0) {
			found = true;
			break;
		}
		if (errno != ENOENT || strcmp(path.data, ".") == 0)
			break;
		buf_clear(&parent);
		file_dirname(path.data, &parent);
		buf_clear(&path);
		buf_str(&path, parent.failed ? "." : parent.data);
	}
	buf_free(&path);
	buf_free(&parent);
	return found;
}

/* File systems that are somewhere else than on this machine. */
static bool is_remote(const struct statfs *fs)
{
	enum { LUSTRE = 0x0bd00bd0, CIFS2 = 0xfe534d42, CEPH = 0x00c36400 };

	switch ((unsigned int)fs->f_type) {
	case NFS_SUPER_MAGIC:
	case SMB_SUPER_MAGIC:
	case V9FS_MAGIC:
	case AFS_SUPER_MAGIC:
	case FUSE_SUPER_MAGIC:
	case LUSTRE:
	case CIFS2:
	case CEPH:
		return true;
	default:
		return false;
	}
}

/* The cloud that the machine is one of, or NULL. */
static const char *cloud_of_vendor(const char *vendor_file)
{
	static const struct {
		const char *vendor;
		const char *cloud;
	} clouds[] = {
		{"Amazon EC2", "Amazon EC2"},
		{"Google", "Google Cloud"},
		{"Microsoft Corporation", "Microsoft Azure"},
	};
	struct buf vendor = {0};
	const char *cloud = NULL;
	struct error e;
	size_t i;

	if (file_read(vendor_file, VENDOR_MAX, &vendor, &e) == ST_OK && vendor.data != NULL) {
		for (i = 0; i < sizeof(clouds) / sizeof(clouds[0]); i++) {
			if (strncmp(vendor.data, clouds[i].vendor, strlen(clouds[i].vendor)) == 0)
				cloud = clouds[i].cloud;
		}
	}
	buf_free(&vendor);
	return cloud;
}

void state_risk(const char *dir, const char *vendor_file, struct buf *out)
{
	const char *cloud;
	struct statfs fs;

	if (!look_at_place(dir, &fs) || is_remote(&fs))
		return;
	if (fs.f_type == TMPFS_MAGIC || fs.f_type == (__fsword_t)RAMFS_MAGIC) {
		buf_printf(out, "the state %s is in memory: a reclaim or a reboot takes it, and "
		    "the progress with it; choose a disk with --state", dir);
		return;
	}
	if (fs.f_type == OVERLAYFS_SUPER_MAGIC) {
		buf_printf(out, "the state %s is in a container's own layer, which goes with the "
		    "container; put it on a volume with --state", dir);
		return;
	}
	cloud = cloud_of_vendor(vendor_file);
	if (cloud != NULL)
		buf_printf(out, "the state %s is on a disk of this machine of %s: if it is a spot "
		    "machine, a reclaim takes the disk and the progress; put it elsewhere with "
		    "--state", dir, cloud);
}
