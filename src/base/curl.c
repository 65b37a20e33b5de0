#include "base/curl.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static struct curl_api curl_functions;
static char curl_problem[256];

struct symbol {
	const char *name;
	void *place; /* of the pointer in `curl_functions` */
};

static void find_symbols(void *lib)
{
	const struct symbol list[] = {
		{"curl_easy_init", &curl_functions.easy_init},
		{"curl_easy_setopt", &curl_functions.easy_set},
		{"curl_easy_getinfo", &curl_functions.easy_info},
		{"curl_easy_cleanup", &curl_functions.easy_cleanup},
		{"curl_easy_strerror", &curl_functions.easy_text},
		{"curl_slist_append", &curl_functions.slist_append},
		{"curl_slist_free_all", &curl_functions.slist_free},
		{"curl_multi_init", &curl_functions.multi_init},
		{"curl_multi_setopt", &curl_functions.multi_set},
		{"curl_multi_add_handle", &curl_functions.multi_add},
		{"curl_multi_remove_handle", &curl_functions.multi_remove},
		{"curl_multi_perform", &curl_functions.multi_perform},
		{"curl_multi_poll", &curl_functions.multi_poll},
		{"curl_multi_wakeup", &curl_functions.multi_wakeup},
		{"curl_multi_info_read", &curl_functions.multi_read},
		{"curl_multi_cleanup", &curl_functions.multi_cleanup},
	};
	size_t i;

	for (i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		void *f = dlsym(lib, list[i].name);

		if (f == NULL)
			(void)snprintf(curl_problem, sizeof(curl_problem),
			    "libcurl is older than 7.68 (no %s)", list[i].name);
		memcpy(list[i].place, &f, sizeof(f));
	}
}

static void load_curl(void)
{
	static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};
	__typeof__(&curl_global_init) init;
	void *lib = NULL;
	void *f = NULL;
	size_t i;

	for (i = 0; lib == NULL && i < sizeof(names) / sizeof(names[0]); i++)
		lib = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
	if (lib == NULL) {
		(void)snprintf(curl_problem, sizeof(curl_problem), "libcurl.so.4 cannot be loaded; install it "
		    "(Debian: apt install libcurl4)");
		return;
	}
	find_symbols(lib);
	f = dlsym(lib, "curl_global_init");
	memcpy(&init, &f, sizeof(f));
	if (curl_problem[0] == '\0' && (f == NULL || init(CURL_GLOBAL_DEFAULT) != CURLE_OK))
		(void)snprintf(curl_problem, sizeof(curl_problem), "libcurl does not start");
}

enum status curl_api_get(const struct curl_api **out, struct error *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	*out = NULL;
	(void)pthread_once(&once, load_curl);
	if (curl_problem[0] != '\0')
		return error_set(e, ST_CONFIG, "%s", curl_problem);
	*out = &curl_functions;
	return ST_OK;
}
