/* Where a process is in cgroup v2, from what /proc says; how much a shard asks for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "worker/cgroup.h"
#include "worker/resources.h"

static const char hybrid[] =
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:7 - cgroup cgroup rw,memory\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 master:2 - cgroup2 cgroup2 rw\n";
static const char only[] = "29 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
/* As a container sees its part of it, under a name with a blank. */
static const char part[] =
    "29 24 0:26 /machine/a\\134b /mnt/my\\040cgroups rw - cgroup2 cgroup2 rw";

static void assert_path(const char *text, const char *want)
{
	struct buf path = {0};

	assert_int_equal(cgroup_parse_path(text, &path), want != NULL);
	if (want != NULL)
		assert_string_equal(path.data, want);
	buf_free(&path);
}

static void test_own_path(void **state)
{
	(void)state;
	assert_path("0::/\n", "/");
	assert_path("0::/user.slice/user-1000.slice/a b.scope", "/user.slice/user-1000.slice/a b.scope");
	assert_path("9:name=systemd:/x\n4:memory:/y\n0::/init.scope\n", "/init.scope");
	assert_path("9:name=systemd:/x\n10::/z\n4:memory:/0::/y\n", NULL);
	assert_path("0::\n", NULL);
	assert_path("", NULL);
}

static void assert_folder(const char *mounts, const char *path, const char *want)
{
	struct buf folder = {0};

	assert_int_equal(cgroup_parse_mounts(mounts, path, &folder), want != NULL);
	if (want != NULL)
		assert_string_equal(folder.data, want);
	buf_free(&folder);
}

static void test_folder(void **state)
{
	char both[sizeof(hybrid) + sizeof(only)];

	(void)state;
	assert_folder(only, "/", "/sys/fs/cgroup");
	assert_folder(only, "/a.slice/b.scope", "/sys/fs/cgroup/a.slice/b.scope");
	assert_folder(hybrid, "/x", "/sys/fs/cgroup/unified/x");
	assert_folder(part, "/machine/a\\b", "/mnt/my cgroups");
	assert_folder(part, "/machine/a\\b/c", "/mnt/my cgroups/c");
	(void)snprintf(both, sizeof(both), "%s%s", hybrid, only);
	assert_folder(both, "/x", "/sys/fs/cgroup/x");
}

static void test_no_folder(void **state)
{
	(void)state;
	assert_folder("", "/", NULL);
	assert_folder("31 23 0:28 / /sys/fs/cgroup rw - tmpfs cgroup2 rw\n", "/", NULL);
	assert_folder(part, "/", NULL);
	assert_folder(part, "/machine/a\\bc", NULL);
	assert_folder("29 24 0:26 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "/x", NULL);
	/* Cut off anywhere, it is of no use and does no harm. */
	for (size_t n = 0; n < sizeof(only) - 12; n++) {
		char cut[sizeof(only)];

		(void)snprintf(cut, sizeof(cut), "%.*s", (int)n, only);
		if (strstr(cut, "- cgroup2 ") == NULL)
			assert_folder(cut, "/", NULL);
	}
}

static void test_asks_for_twice_as_much_each_time(void **state)
{
	const struct resources machine = {.memory = 1000};
	const struct spec s = {.memory = 300};
	const struct spec more = {.memory = 5000};
	const struct spec none = {.memory = 0};

	(void)state;
	assert_int_equal(resources_memory(&machine, &s, 0), 300);
	assert_int_equal(resources_memory(&machine, &s, 1), 600);
	assert_int_equal(resources_memory(&machine, &s, 2), 1000);
	assert_int_equal(resources_memory(&machine, &s, 1000000), 1000);
	assert_int_equal(resources_memory(&machine, &more, 3), 5000);
	assert_int_equal(resources_memory(&machine, &none, 3), 0);
}

static void test_no_overflow(void **state)
{
	const struct resources endless = {.memory = INT64_MAX};
	const struct spec s = {.memory = 1};

	(void)state;
	assert_true(resources_memory(&endless, &s, 62) == INT64_C(1) << 62);
	assert_true(resources_memory(&endless, &s, 64) == INT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_own_path),
		cmocka_unit_test(test_folder),
		cmocka_unit_test(test_no_folder),
		cmocka_unit_test(test_asks_for_twice_as_much_each_time),
		cmocka_unit_test(test_no_overflow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
