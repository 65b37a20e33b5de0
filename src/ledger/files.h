/* The files of an accepted shard as one line of JSON, the same in every back
 * end: [{"private":"...","final":"...","size":1,"hash":"<hex>"}]. A name that
 * is not UTF-8 stands in hex under "private_hex" or "final_hex". */
#ifndef EBB_LEDGER_FILES_H
#define EBB_LEDGER_FILES_H

#include "base/mem.h"
#include "ledger/ledger.h"

enum { LEDGER_FILES_JSON_MAX = 64 << 20 };

/* Appends to *out. ST_CONFIG when it would be longer than the limit. */
enum status ledger_files_format(const struct ledger_file *files, size_t n, struct buf *out,
    struct error *e) MUST_USE;

#endif
