/* libcurl, loaded when it is first needed and not before: with what it brings along it
 * would triple the time that every call of ebb takes to start (4 to 12 ms). */
#ifndef EBB_BASE_CURL_H
#define EBB_BASE_CURL_H

#include <curl/curl.h>

#include "base/mem.h"
#include "base/status.h"

/* The functions that ebb uses, as curl's headers declare them. */
struct curl_api {
	__typeof__(&curl_easy_init) easy_init;
	__typeof__(&curl_easy_setopt) easy_set;
	__typeof__(&curl_easy_getinfo) easy_info;
	__typeof__(&curl_easy_cleanup) easy_cleanup;
	__typeof__(&curl_easy_strerror) easy_text;
	__typeof__(&curl_slist_append) slist_append;
	__typeof__(&curl_slist_free_all) slist_free;
	__typeof__(&curl_multi_init) multi_init;
	__typeof__(&curl_multi_setopt) multi_set;
	__typeof__(&curl_multi_add_handle) multi_add;
	__typeof__(&curl_multi_remove_handle) multi_remove;
	__typeof__(&curl_multi_perform) multi_perform;
	__typeof__(&curl_multi_poll) multi_poll;
	__typeof__(&curl_multi_wakeup) multi_wakeup;
	__typeof__(&curl_multi_info_read) multi_read;
	__typeof__(&curl_multi_cleanup) multi_cleanup;
};

/* From any thread; stays loaded. ST_CONFIG when it is not there or too old: the text
 * says what to install. */
enum status curl_api_get(const struct curl_api **out, struct error *e) MUST_USE;

#endif
