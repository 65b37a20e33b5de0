#include "chaos/mhd.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

static const char MHD_FILE[] = "libmicrohttpd.so.12";

static const struct {
	const char *name;
	size_t offset;
} mhd_functions[] = {
	{"MHD_start_daemon", offsetof(struct mhd, start_daemon)},
	{"MHD_stop_daemon", offsetof(struct mhd, stop_daemon)},
	{"MHD_suspend_connection", offsetof(struct mhd, suspend_connection)},
	{"MHD_resume_connection", offsetof(struct mhd, resume_connection)},
	{"MHD_get_connection_info", offsetof(struct mhd, get_connection_info)},
	{"MHD_get_connection_values", offsetof(struct mhd, get_connection_values)},
	{"MHD_create_response_from_buffer", offsetof(struct mhd, create_response_from_buffer)},
	{"MHD_create_response_from_callback", offsetof(struct mhd, create_response_from_callback)},
	{"MHD_add_response_header", offsetof(struct mhd, add_response_header)},
	{"MHD_queue_response", offsetof(struct mhd, queue_response)},
	{"MHD_destroy_response", offsetof(struct mhd, destroy_response)},
};

enum status mhd_load(struct mhd *out, struct error *e)
{
	void *library = dlopen(MHD_FILE, RTLD_NOW | RTLD_LOCAL);
	size_t k;

	if (library == NULL)
		return error_set(e, ST_NOT_FOUND, "%s cannot be loaded (%s): install the package "
		    "libmicrohttpd12", MHD_FILE, dlerror());
	for (k = 0; k < sizeof(mhd_functions) / sizeof(mhd_functions[0]); k++) {
		void *function = dlsym(library, mhd_functions[k].name);

		if (function == NULL) {
			(void)dlclose(library);
			return error_set(e, ST_NOT_FOUND, "%s has no %s: install the package "
			    "libmicrohttpd12 of Debian 12 or newer", MHD_FILE,
			    mhd_functions[k].name);
		}
		/* A pointer to data is one to a function on every POSIX system. */
		memcpy((char *)out + mhd_functions[k].offset, &function, sizeof(function));
	}
	return ST_OK;
}
