"""--shard bytes: files cut at record borders, each piece on the command's stdin."""

import os
import random

import pytest

import ebbtest


def mixed(seed, size):
    """Text with lines of all lengths, blank lines, CRLF and NUL."""
    rng = random.Random(seed)
    out = bytearray()
    while len(out) < size:
        out += b"x" * rng.choice((0, 1, 3, 20, 200))
        out += rng.choice((b"\n", b"\n", b"\n\n", b"\r\n", b"\r\n\r\n", b"\0", b"\n\n\n"))
    return bytes(out[:size])


SAMPLES = {
    "plain": b"".join(b"line %d\n" % n for n in range(300)),
    "no final newline": b"a\nbb\nccc",
    "crlf": b"a\r\n\r\nb\r\nc\r\n" * 20,
    "nul bytes": b"a\0b\0\0c\n\0" * 30,
    "only newlines": b"\n" * 100,
    "no newline": b"x" * 5000,
    "one byte": b"x",
    "mixed": mixed(3, 6000),
}


@pytest.mark.parametrize("records", ["lines", "paragraphs", "nul", "whole"])
@pytest.mark.parametrize("sample", SAMPLES)
def test_pieces_make_up_the_input(box, sample, records):
    data = SAMPLES[sample]
    box.write("in", data)
    for size in ("97", "1KiB"):
        r = box.map("-k", "-q", "--shard", "bytes:" + size, "--records", records, "in", "--", "cat")
        assert r.out == data


BORDERS = {
    "lines": b"\n", "nul": b"\0",
}


def pieces(box, data, size, records, **how):
    """What each command got, in order."""
    box.write("in", data)
    box.map("-q", "--out", "p/{#}", "--shard", "bytes:%d" % size, "--records", records, "in", "--",
            "cat", **how)
    names = sorted(os.listdir(box.root / "p"), key=int)
    assert names == [str(n + 1) for n in range(len(names))]
    return [box.read("p/" + n) for n in names]


@pytest.mark.parametrize("records", BORDERS)
def test_pieces_end_where_a_record_ends(box, records):
    data = mixed(5, 4000)
    got = pieces(box, data, 150, records)
    assert b"".join(got) == data and len(got) > 5
    assert all(p.endswith(BORDERS[records]) for p in got[:-1]) and all(got)


def test_pieces_of_paragraphs_begin_a_paragraph(box):
    data = b"".join(b"para %d\nmore\n%s\n" % (n, b"\n" * (n % 3)) for n in range(60))
    got = pieces(box, data, 64, "paragraphs")
    assert b"".join(got) == data and len(got) > 5
    assert all(p.startswith(b"para ") for p in got) and all(p.endswith(b"\n\n") for p in got)


def test_whole_is_one_piece_for_each_file(box):
    box.write("a", b"1\n2\n")
    box.write("b", b"3\n")
    r = box.map("-k", "--tag", "--shard", "bytes:1", "--records", "whole", "a", "b", "--", "wc", "-c")
    assert r.out.split() == [b"a#1", b"4", b"b#1", b"2"]


def test_a_record_larger_than_the_shard_stays_whole(box):
    assert pieces(box, b"a\n" + b"x" * 1000 + b"\nb\n", 10, "lines") == \
        [b"a\n" + b"x" * 1000 + b"\n", b"b\n"] or \
        pieces(box, b"a\n" + b"x" * 1000 + b"\nb\n", 10, "lines") == \
        [b"a\n", b"x" * 1000 + b"\n", b"b\n"]


@pytest.mark.parametrize("size", ["1", "1000000", "1GiB"])
def test_sizes_at_the_edges(box, size):
    data = SAMPLES["no final newline"]
    box.write("in", data)
    assert box.map("-k", "--shard", "bytes:" + size, "in", "--", "cat").out == data


def test_an_empty_file_is_no_work(box):
    box.write("in", b"")
    r = box.map("--shard", "bytes:10", "in", "--", "cat")
    assert r.out == b"" and "0 done" in r.err or "1 done" in r.err


def test_several_files_in_their_order(box):
    data = {name: mixed(n, 900) for n, name in enumerate(("b", "a", "empty", "c"))}
    data["empty"] = b""
    for name, text in data.items():
        box.write(name, text)
    assert box.map("-k", "--shard", "bytes:100", *data, "--", "cat").out == b"".join(data.values())


def test_files_may_come_from_a_list(box):
    box.write("a", b"1\n")
    box.write("b", b"2\n")
    for args, stdin in ((["cat", ":::", "a", "b"], None), (["cat"], b"a\nb\n"),
                        (["-0", "cat"], b"a\0b")):
        assert box.map("-k", "--shard", "bytes:10", *args, stdin=stdin).out == b"1\n2\n"


def test_a_large_file(box):
    data = bytes(range(256)) * (64 << 10)
    box.write("in", data)
    assert box.map("-k", "-q", "--shard", "bytes:1MiB", "in", "--", "cat").out == data


def test_a_command_that_does_not_read_its_piece(box):
    box.write("in", b"x" * 99 + b"\n" + b"y" * 5_000_000 + b"\n")
    r = box.map("-k", "--shard", "bytes:100", "in", "--", "echo ok")
    assert set(r.out.split()) == {b"ok"}


def test_a_command_that_reads_only_the_head(box):
    box.write("in", b"".join(b"%d\n" % n for n in range(300000)))
    r = box.map("-k", "--shard", "bytes:1MiB", "in", "--", "head", "-n1")
    assert r.out.startswith(b"0\n")


def test_nothing_is_appended_to_the_command(box):
    box.write("in", b"a\n")
    assert box.map("--shard", "bytes:10", "in", "--", "echo", "x").out == b"x\n"


def test_the_files_name_may_be_used(box):
    box.write("d/in.txt", b"a\nb\n")
    box.map("--shard", "bytes:2", "--out", "{/.}-{#}.out", "d/in.txt", "--", "cat; echo {}")
    assert box.read("in-1.out") == b"a\nd/in.txt\n" and box.read("in-2.out") == b"b\nd/in.txt\n"


def test_pieces_need_names_of_their_own(box):
    box.write("in", b"a\nb\n")
    r = box.map("--shard", "bytes:2", "--out", "same", "in", "--", "cat", code=2)
    assert "in#1" in r.err and "in#2" in r.err


def test_names_of_pieces(box):
    box.write("in", b"a\nb\nc\n")
    box.map("--shard", "bytes:2", "in", "--", "cat >&2; exit 0")
    rows = box.shards()
    assert [r["name"] for r in rows] == ["in#1", "in#2", "in#3"]
    assert [(r["offset"], r["length"]) for r in rows] == [(0, 2), (2, 2), (4, 2)]
    assert b"b\n" in box.ebb("logs", "in#2").out


def test_killed_in_the_middle_goes_on(box):
    data = b"".join(b"%d\n" % n for n in range(100))
    box.write("in", data)
    args = ["-j2", "--shard", "bytes:50", "--out", "{#}.o", "in", "--",
            'cat; echo x >>"$EBBTEST_LOG"; while [ -e "$EBBTEST_HOLD" ]; do sleep 0.01; done']
    box.hold()
    run = box.begin("map", *args)
    ebbtest.wait_until(lambda: len(box.ran()) == 2, 10, "two pieces")
    box.crash(run)
    box.release()
    box.map(*args)
    n = len(box.names()) - 1
    assert b"".join(box.read("%d.o" % (i + 1)) for i in range(n)) == data
    assert len(box.ran()) == n + 2


# ---- what cannot be cut ----

def bad_input(box, kind):
    path = box.path("bad")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link to itself":
        path.symlink_to("bad")
    elif kind == "dangling link":
        path.symlink_to("nowhere")
    return "/dev/zero" if kind == "device" else "bad"


@pytest.mark.parametrize("kind", ["fifo", "folder", "missing", "link to itself", "dangling link",
                                  "device"])
def test_input_that_is_no_file(box, kind):
    name = bad_input(box, kind)
    r = box.map("--shard", "bytes:10", name, "--", "cat", code=2, seconds=5)
    assert name in r.err and r.out == b""


@pytest.mark.parametrize("kind", ["fifo", "folder", "missing"])
def test_a_good_file_beside_a_bad_one(box, kind):
    """Told at once, with the name of the bad one."""
    box.write("good", b"1\n")
    name = bad_input(box, kind)
    r = box.map("--shard", "bytes:10", "good", name, "--", "cat", code=2, seconds=5)
    assert name in r.err


def test_input_that_may_not_be_read(box, not_root):
    box.write("in", b"1\n").chmod(0)
    box.root.chmod(0o777)
    box.top.chmod(0o755)
    r = box.begin("map", "--shard", "bytes:10", "in", "--", "cat", before=not_root).wait(10)
    assert r.code == 2 and "in" in r.err and "ermission denied" in r.err


@pytest.mark.parametrize("kind", ["fifo", "folder", "link to itself", "missing"])
def test_items_of_a_list_are_only_words(box, kind):
    """Without --shard bytes an item need not be a file; ebb does not open it."""
    name = bad_input(box, kind)
    assert box.map("echo", ":::", name, seconds=5).out == name.encode() + b"\n"


@pytest.mark.parametrize("kind", ["fifo", "folder", "link to itself"])
def test_a_command_word_that_is_no_plain_file(box, kind):
    """The contents of files that a command names are looked at; not of these."""
    name = bad_input(box, kind)
    assert box.map("echo", name, ":::", "x", seconds=5).out == name.encode() + b" x\n"
