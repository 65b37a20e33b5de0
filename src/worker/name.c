#include "worker/name.h"

#include "base/str.h"

void shard_name(const struct ledger_shard *s, struct buf *out)
{
	size_t start = out->len;
	size_t i;

	buf_append(out, s->item, s->item_len);
	for (i = start; !out->failed && i < out->len; i++) {
		if (out->data[i] == '\0')
			out->data[i] = ' ';
	}
	if (s->part >= 0)
		buf_printf(out, "#%d", s->part + 1);
	else if (s->occurrence > 0)
		buf_printf(out, "#%d", s->occurrence + 1);
}

void run_lock_name(const uint8_t key[LEDGER_ID_SIZE], struct buf *out)
{
	buf_str(out, "run-");
	str_hex(out, key, LEDGER_ID_SIZE);
}
