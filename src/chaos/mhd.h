/* libmicrohttpd, loaded when it is first needed: linked, it would bring a dozen
 * libraries (TLS among them) into every start of ebb. */
#ifndef EBB_CHAOS_MHD_H
#define EBB_CHAOS_MHD_H

#include <microhttpd.h>

#include "base/status.h"

/* The functions that are used, with their names less MHD_. */
struct mhd {
	__typeof__(&MHD_start_daemon) start_daemon;
	__typeof__(&MHD_stop_daemon) stop_daemon;
	__typeof__(&MHD_suspend_connection) suspend_connection;
	__typeof__(&MHD_resume_connection) resume_connection;
	__typeof__(&MHD_get_connection_info) get_connection_info;
	__typeof__(&MHD_get_connection_values) get_connection_values;
	__typeof__(&MHD_create_response_from_buffer) create_response_from_buffer;
	__typeof__(&MHD_create_response_from_callback) create_response_from_callback;
	__typeof__(&MHD_add_response_header) add_response_header;
	__typeof__(&MHD_queue_response) queue_response;
	__typeof__(&MHD_destroy_response) destroy_response;
};

/* Fills *out. The library stays loaded until the program ends. ST_NOT_FOUND names
 * the package. */
enum status mhd_load(struct mhd *out, struct error *e) MUST_USE;

#endif
