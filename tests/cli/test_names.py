"""Items and names of every kind, and many of them."""

import json
import os
import signal
import sqlite3
import subprocess
import time

import pytest

import ebbtest


NAMES = {
    "space": b"a b", "leading space": b" a", "trailing space": b"a ", "tab": b"a\tb",
    "newline": b"a\nb", "newline at the end": b"a\n", "invalid utf-8": b"a\xff\xfeb\xc3",
    "utf-8": "é漢字🙂".encode(), "leading dash": b"-rf", "two dashes": b"--", "quote": b"it's",
    "double quote": b'say "x"', "dollar": b"$(touch pwned)", "backtick": b"`touch pwned`",
    "backslash": b"a\\n\\0b", "star": b"*", "semicolon": b";touch pwned", "escape": b"\x1b[31mred",
    "carriage return": b"a\rb", "control": b"\x01\x02\x7f", "hash": b"#x", "hash number": b"a#2",
    "braces": b"{}{1}{#}", "percent": b"%s%n", "equals": b"A=b", "three colons": b":::",
    "tilde": b"~", "overlong": b"\xc0\xaf", "bidi": "a‮b".encode(), "c1": b"\xc2\x9b31m",
}


@pytest.mark.parametrize("kind", NAMES)
def test_names(box, kind):
    """As an argument, in a shell, as an output's name, and in what ebb tells."""
    name = NAMES[kind]
    want = b"[" + name + b"]"
    assert box.map("-0", "printf", "[%s]", "{}", stdin=name + b"\0").out == want
    assert box.map("-0", "printf '[%s]' {}", stdin=name + b"\0").out == want
    box.map("-0", "--out", "o/x{}", "printf '[%s]' {}", stdin=name + b"\0")
    assert box.read(b"o/x" + name) == want
    assert os.listdir(os.fsencode(box.root / "o")) == [b"x" + name]
    assert "pwned" not in " ".join(box.names())
    row = box.shards()[0]
    assert row["name"] == name.decode("utf-8", "replace") or "\ufffd" in row["name"]
    assert row["output"].startswith("o/x")


@pytest.mark.parametrize("kind", NAMES)
def test_nothing_raw_reaches_the_terminal(box, kind):
    """ebb's own lines: no control characters but newlines, valid UTF-8."""
    name = NAMES[kind]
    run = box.begin("map", "-0", "--no-stderr", "--retries", "1",
                    'printf "note \\033[1m%s\\n" {} >&2; exit 3', stdin=name + b"\0")
    run.proc.wait(10)
    said = run.err_path.read_bytes() + box.ebb("shards").out + box.ebb("status").out
    text = said.decode()
    bad = [c for c in text if c != "\n" and (ord(c) < 32 or 0x7f <= ord(c) < 0xa0)]
    assert not bad, repr(text)


def test_names_in_the_manifest_and_json_logs(box):
    box.map("-0", "--log", "json", "--out", "x{}", "echo", stdin=b"\xff\"\\\n\x01\0")
    manifests = list(box.path(".ebb").glob("runs/*/_ebb_manifest*.json"))
    (row,) = json.loads(manifests[0].read_bytes())["list"]
    assert row["shard"] == "\ufffd\"\\\n\x01"


def test_an_item_of_a_hundred_kibibytes(box):
    big = b"x" * (100 << 10)
    assert box.map("-0", "printf %s {} | wc -c", stdin=big + b"\0").out.strip() == b"102400"
    assert box.map("-0", "echo", stdin=big + b"\0").out == big + b"\n"
    assert len(box.shards()[0]["name"]) == len(big)


def test_an_item_that_is_too_long(box):
    r = box.map("-0", "echo", stdin=b"short\0" + b"x" * (1 << 20) + b"\0", code=2)
    assert "value 2" in r.err and "131071 bytes" in r.err
    assert len(r.err) < 1000


def test_an_item_that_makes_a_word_too_long(box):
    """Quoted or repeated, the word may be longer than the kernel takes."""
    r = box.map("--retries", "3", "echo", "{}{}{}", stdin=b"x" * (100 << 10), code=1)
    assert "too long" in r.err.lower() or "list too long" in r.err
    assert box.shards()[0]["tries"] <= 1


def test_the_empty_item(box):
    assert box.map("printf", "[%s]", "{}", ":::", "").out == b"[]"
    assert box.shards()[0]["name"] == ""


def test_repeated_items_are_each_run(box):
    assert box.map("-k", "echo {} {#}", ":::", "a", "a", "b", "a").out == b"a 1\na 2\nb 3\na 4\n"
    assert [r["name"] for r in box.shards()] == ["a", "a#2", "b", "a#3"]


def test_items_that_look_alike_are_not_mixed_up(box):
    box.map("--retries", "1", "echo {#} >&2; : {}", ":::", "a", "a", "a#2", "2")
    assert b"\n4\n" in box.ebb("logs", "2").out or b"\n2\n" in box.ebb("logs", "2").out
    assert box.ebb("logs", "a#2", code=None).code in (0, 2)


def test_twenty_thousand_items_in_order(box):
    items = "".join("%d\n" % n for n in range(20000)).encode()
    begin = time.monotonic()
    assert box.map("--dry-run", "echo", stdin=items).out.count(b"\n") == 20000
    assert time.monotonic() - begin < 5


def test_many_items(box):
    items = "".join("%d\n" % n for n in range(2000)).encode()
    assert box.map("-q", "-k", "-j2", "/bin/echo", stdin=items, seconds=25).out == items
    assert len(box.shards()) == 2000


@pytest.mark.limit(240)
def test_a_million_items(box):
    """Killed when the first has run and all are planned: status answers at once."""
    path = box.top / "list"
    with open(path, "wb") as f:
        subprocess.run(["seq", "-f", "item-%.0f", "1000000"], stdout=f, check=True)
    box.hold()
    run = box.begin("map", "-a", path, "-j1", 'echo {} >>"$EBBTEST_LOG"; '
                    'while [ -e "$EBBTEST_HOLD" ]; do sleep 0.05; done')
    ebbtest.wait_until(box.ran, 10, "the first item")

    def planned():
        time.sleep(0.3)  # what is asked for costs time that the plan needs
        return box.status()[0]["plan_complete"]
    ebbtest.wait_until(planned, 150, "the plan")
    box.crash(run)
    begin = time.monotonic()
    row = box.status()[0]
    assert time.monotonic() - begin < 1
    assert row["total"] == 1000000 and sum(row["shards"].values()) == 1000000
    begin = time.monotonic()
    assert len(box.shards("-n", "3")) == 3
    assert time.monotonic() - begin < 2
    again = box.begin("map", "-a", path, "-j1", 'echo {} >>"$EBBTEST_LOG"; '
                      'while [ -e "$EBBTEST_HOLD" ]; do sleep 0.05; done')
    ebbtest.wait_until(lambda: len(box.ran()) > 1, 10, "an item after the restart")
    box.release()
    os.kill(again.pid, signal.SIGTERM)
    assert again.wait(20).code == 75
    with sqlite3.connect(box.path(".ebb/ledger.db")) as db:
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)
    db.close()


def test_the_same_item_twice(box):
    err = box.map("--out", "{}.o", "--", "echo", "{}", ":::", "a", "b", "a", code=2).err
    assert "the item a is there twice" in err and "sort -u" in err
    box.map("--out", "{}.{#}", "--", "echo", "{}", ":::", "a", "b", "a")
    assert box.read("a.1") == box.read("a.3") == b"a\n"
