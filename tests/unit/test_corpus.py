"""The inputs that fuzzers begin with are of today's formats: others are refused at
the door and reach nothing."""

import re
import sqlite3
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["empty", "one-run", "one-run-wal"])
def test_ledgers(name):
    header = (ROOT / "src/ledger/ledger.h").read_text()
    wanted = int(re.search(r"LEDGER_FORMAT = (\d+)", header).group(1))
    path = ROOT / "fuzz/corpus/ledger" / name
    db = sqlite3.connect("file:%s?mode=ro&immutable=1" % path, uri=True)
    assert db.execute("PRAGMA user_version").fetchone() == (wanted,)
    db.close()
