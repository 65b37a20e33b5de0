"""Where a command's stdout goes: to ebb's stdout, or to a file that has its name
only when it is whole."""

import hashlib
import os
import random
import subprocess

import pytest

import ebbtest
from ebbcli import HELD, LOG, wait_for_done, wait_for_lines


# ---- to stdout ----

def test_keep_order_under_random_durations(box):
    rng = random.Random(7)
    items = ["%d:0.0%d" % (n, rng.randrange(0, 6)) for n in range(60)]
    r = box.map("-k", "-j8", 'x={}; sleep ${x#*:}; echo "$x"', ":::", *items)
    assert r.out.decode().split() == items


def test_without_keep_order_what_ends_first_comes_first(box):
    box.hold()
    run = box.begin("map", "-j2", 'if [ {} = slow ]; then ' + HELD + '; fi; echo {}',
                    ":::", "slow", "fast")
    ebbtest.wait_until(lambda: run.out() == b"fast\n", 10, "the fast one's output")
    box.release()
    assert run.wait(10).out == b"fast\nslow\n"


def test_one_long_command_does_not_stop_the_others(box):
    box.hold()
    run = box.begin("map", "-j2", "test {} != long || { " + HELD + "; }",
                    stdin=b"long\n" + b"x\n" * 1500)
    wait_for_done(box, 1500, 60)
    box.release()
    assert run.wait(10).code == 0


def test_outputs_are_never_mixed(box):
    r = box.map("-j4", "for i in 1 2 3 4 5; do echo {}; sleep 0.003; done", ":::", *range(12))
    lines = r.out.split()
    assert len(lines) == 60
    assert all(len(set(lines[i:i + 5])) == 1 for i in range(0, 60, 5))


@pytest.mark.parametrize("text, want", [
    (b"1\n2\n", b"it em\t1\nit em\t2\n"),
    (b"1\n2", b"it em\t1\nit em\t2"),
    (b"\n\n", b"it em\t\nit em\t\n"),
    (b"", b""),
    (b"\0\xff\n", b"it em\t\0\xff\n"),
])
def test_tag(box, text, want):
    box.write("text", text)
    assert box.map("--tag", "cat text; : {}", ":::", "it em").out == want


def test_tag_of_several_arguments(box):
    assert box.map("-k", "--tag", "echo x; : {}", ":::", "a", ":::", "1", "2").out == \
        b"a 1\tx\na 2\tx\n"


def test_binary_output(box):
    data = bytes(range(256)) * 300
    box.write("data", data)
    assert box.map("cat", ":::", "data").out == data


def test_no_output(box):
    assert box.map("true", ":::", "a", "b").out == b""


def test_a_hundred_megabytes_without_loss(box):
    """Read through a pipe, by a reader that counts."""
    run = "head -c 25M /dev/zero | tr '\\0' {}"
    want = hashlib.sha256(b"".join(c * (25 << 20) for c in (b"a", b"b", b"c", b"d"))).hexdigest()
    reader = subprocess.Popen(["sha256sum"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        box.map("-k", "-q", run, ":::", *"abcd", stdout=reader.stdin)
        reader.stdin.close()
        assert reader.stdout.read().split()[0].decode() == want
    finally:
        reader.kill()
        reader.wait()
        reader.stdout.close()


def test_a_failed_command_delivers_nothing(box):
    r = box.map("-k", "--retries", "1", "echo half {}; exit {}", ":::", "0", "1", "0", code=1)
    assert r.out == b"half 0\nhalf 0\n"


def test_a_failed_shard_does_not_hold_back_the_later_ones(box):
    r = box.map("-k", "-j1", "--retries", "1", "echo {}; test {} != 2", ":::", "1", "2", "3", code=1)
    assert r.out == b"1\n3\n"


def test_a_retried_command_delivers_once(box):
    r = box.map("--retry-delay", "0", "echo try >>tries; echo out{}; test $(wc -l <tries) = 2",
                ":::", "a")
    assert r.out == b"outa\n"


@pytest.mark.parametrize("order", ["-k", "--"])
def test_a_consumer_that_goes_away(box, order):
    """ebb map ... | head -1 ends, and nothing is left running."""
    read, write = os.pipe()
    try:
        run = box.begin("map", "-j2", order, "seq 20000; : {}", ":::", *range(60), stdout=write)
        os.close(write)
        assert os.read(read, 1)
    finally:
        os.close(read)
    r = run.wait(15)
    assert r.code in (1, 2, 3, 75) or r.code == -13
    box.wait_alone()


def test_stdout_that_is_full(box):
    """A write error on stdout is told, not swallowed."""
    with open("/dev/full", "wb") as full:
        r = box.map("echo", ":::", "a", stdout=full, code=None)
    assert r.code in (1, 3) and "No space left" in r.err


def test_stdout_that_is_closed(box):
    r = box.begin("map", "echo", ":::", "a", before=lambda: os.close(1)).wait(10)
    r.check_words()


# ---- to files ----

def test_out_commits_under_that_name(box):
    box.write("a.txt", "A")
    box.write("d/b.txt", "B")
    r = box.map("--out", "out/{//}/{/.}.up", "cat {}", ":::", "a.txt", "d/b.txt")
    assert r.out == b""
    assert box.read("out/a.up") == b"A" and box.read("out/d/b.up") == b"B"
    assert ebbtest.tree_names(box.root / "out") and "a.up" in os.listdir(box.root / "out")


def test_an_output_is_not_there_before_its_command_has_ended(box):
    box.hold()
    run = box.begin("map", "--out", "{}.out", "echo half {}; echo {} >>$EBBTEST_LOG; " + HELD,
                    ":::", "a")
    wait_for_lines(box, 1)
    assert box.names() == []
    box.release()
    assert run.wait(10).code == 0
    assert box.names() == ["a.out"]


def test_folders_are_made_only_when_used(box):
    box.map("--retries", "1", "--out", "d{}/x", "exit {}", ":::", "0", "1", code=1)
    assert box.names() == ["d0"]


def test_a_failed_command_leaves_no_file(box):
    box.map("--retries", "1", "--out", "{}.x", "echo half; exit {}", ":::", "0", "3", code=1)
    assert box.names() == ["0.x"]


def test_an_empty_output_is_a_file(box):
    box.map("--out", "{}.x", "true {}", ":::", "a")
    assert box.read("a.x") == b""


def test_binary_and_large_output_in_a_file(box):
    box.map("--out", "{}.x", "head -c 30M /dev/zero; printf '\\377\\0\\n'; : {}", ":::", "a")
    data = box.read("a.x")
    assert len(data) == (30 << 20) + 3 and data.endswith(b"\xff\0\n")


@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_outputs_obey_the_umask(box, mask, mode):
    box.begin("map", "--out", "d/{}.x", "echo", ":::", "a", before=lambda: os.umask(mask)).wait(10)
    assert box.path("d/a.x").stat().st_mode & 0o777 == mode
    assert box.path("d").stat().st_mode & 0o777 == mode | (mode >> 2 & 0o111)


def test_the_end_says_where_the_output_is(box):
    r = box.map("--out", "o/{}.x", "echo", ":::", "a", "b")
    assert "output: " in r.err and "manifest" in r.err
    assert "2 done, 0 failed" in r.err


@pytest.mark.parametrize("name, items", [
    ("same", ["first", "second"]),
    ("{/}", ["d/x", "e/x"]),
    ("{}", ["./x", "x"]),
    ("o/{}", ["a//b", "a/b"]),
])
def test_two_items_with_one_output_name(box, name, items):
    r = box.map("--out", name, "echo {} ran", ":::", *items, code=2)
    for item in items:
        assert item in r.err, r.err


def test_a_collision_overwrites_nothing(box):
    args = ["--out", "{/}", "echo {}", ":::"]
    box.map(*args, "d/x")
    before = box.read("x")
    r = box.map(*args, "d/x", "e/x", code=2)
    assert "d/x" in r.err and "e/x" in r.err
    assert box.read("x") == before


def test_a_repeated_item_collides_with_itself(box):
    r = box.map("--out", "{}.o", "echo", ":::", "a", "a", code=2)
    assert "a.o" in r.err


def test_a_name_that_another_run_has_published(box):
    box.map("--out", "{/}", "echo 1 {}", ":::", "d/x")
    r = box.map("--out", "{/}", "echo 2 {}", ":::", "d/x", code=2)
    assert "d/x" in r.err and "r1" in r.err
    assert box.read("x") == b"1 d/x\n"


@pytest.mark.parametrize("name", ["a/../b/{}", "../{}", "a/../../{}", "/{}", "../w/../{}", "o/{}", "{}"])
def test_names_outside_of_the_folder(box, name):
    item = {"o/{}": "../../x", "{}": "/tmp/ebb-test-never"}.get(name, "x")
    r = box.map("--out", name, "echo", ":::", item, code=2)
    assert "--out-root" in r.err or "outside" in r.err, r.err
    assert not (box.top / "x").exists() and not os.path.exists("/tmp/ebb-test-never")


def test_out_root_allows_another_folder(box):
    other = box.top / "other"
    other.mkdir()
    box.map("--out-root", other, "--out", "%s/d/{}.x" % other, "echo", ":::", "a")
    assert (other / "d/a.x").read_bytes() == b"a\n"
    r = box.map("--out-root", other, "--out", "{}.x", "echo", ":::", "a", code=2)
    assert "a.x" in r.err


def test_out_root_may_be_relative(box):
    other = box.top / "other"
    other.mkdir()
    box.map("--out-root", "../other", "--out", "../other/{}.y", "echo", ":::", "a")
    assert (other / "a.y").read_bytes() == b"a\n"


def test_dots_that_stay_in_place_are_fine(box):
    box.map("--out", "./b/./{}", "echo", ":::", "x")
    assert box.read("b/x") == b"x\n"


@pytest.mark.parametrize("name", ["", ".", "..", "d/", "d/.."])
def test_names_that_are_no_file(box, name):
    box.path("d").mkdir()
    r = box.map("--out", "{}", "echo", ":::", name, code=None)
    assert r.code in (1, 2) and os.listdir(box.root / "d") == []


def test_outputs_never_go_into_the_state(box):
    r = box.map("--out", ".ebb/{}", "echo", ":::", "ledger.db", code=None)
    assert r.code in (1, 2)
    assert box.read(".ebb/ledger.db").startswith(b"SQLite format 3")


# ---- files that are not ebb's ----

def test_a_foreign_file_is_refused_at_the_start(box):
    box.write("b.out", "precious")
    r = box.map("--out", "{}.out", LOG, ":::", "a", "b", code=None)
    assert r.code in (1, 2) and "b.out" in r.err
    assert box.read("b.out") == b"precious"
    assert "b" not in box.ran()


@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling link", "fifo"])
def test_whatever_bears_the_name_is_left_alone(box, kind):
    path = box.path("b.out")
    box.write("elsewhere", "precious")
    {"file": lambda: path.write_text("precious"), "folder": path.mkdir,
     "link": lambda: path.symlink_to("elsewhere"),
     "dangling link": lambda: path.symlink_to("nowhere"),
     "fifo": lambda: os.mkfifo(path)}[kind]()
    before = path.lstat()
    r = box.map("--out", "{}.out", "echo", ":::", "b", code=None)
    assert r.code in (1, 2) and "b.out" in r.err
    after = path.lstat()
    assert (after.st_ino, after.st_mode, after.st_mtime_ns) == \
        (before.st_ino, before.st_mode, before.st_mtime_ns)
    assert box.read("elsewhere") == b"precious" and not box.path("nowhere").exists()


def test_a_foreign_file_that_appears_during_the_run(box):
    box.hold()
    run = box.begin("map", "-j2", "--retries", "1", "--out", "{}.out", LOG + "; " + HELD + "; echo {}",
                    ":::", "a", "b")
    wait_for_lines(box, 2)
    box.write("b.out", "precious")
    box.release()
    r = run.wait(15)
    assert r.code == 1, r.err
    assert "b.out" in r.err
    assert box.read("b.out") == b"precious" and box.read("a.out") == b"a\n"
    # Out of the way, the same line finishes.
    box.path("b.out").rename(box.path("kept"))
    box.map("-j2", "--retries", "1", "--out", "{}.out", LOG + "; " + HELD + "; echo {}",
            ":::", "a", "b")
    assert box.read("b.out") == b"b\n"


def test_an_output_that_was_changed_by_hand_is_not_overwritten(box):
    args = ["--out", "{}.out", "echo", ":::", "a"]
    box.map(*args)
    box.write("a.out", "edited by hand")
    r = box.map(*args, code=None)
    assert r.code in (1, 2) and "a.out" in r.err
    assert box.read("a.out") == b"edited by hand"


def test_a_new_generation_replaces_its_own_outputs(box):
    box.write("in", "one")
    args = ["--out", "{}.out", "cat", ":::", "in"]
    box.map(*args)
    box.write("in", "second")
    box.map(*args)
    assert box.read("in.out") == b"second"


def test_an_output_that_was_removed_is_made_again(box):
    args = ["--skip-done", "--out", "{}.out", LOG + "; echo {}", ":::", "a", "b"]
    box.map(*args)
    box.path("a.out").unlink()
    box.map(*args)
    assert box.names() == ["a.out", "b.out"]


def test_an_output_folder_that_is_a_link_out_of_the_folder(box):
    other = box.top / "other"
    other.mkdir()
    box.path("o").symlink_to(other)
    r = box.map("--out", "o/{}.x", "echo", ":::", "a", code=None)
    assert r.code in (0, 1, 2)
    if r.code != 0:
        assert "o" in r.err and os.listdir(other) == []


def test_an_output_below_a_file(box):
    box.write("f", "precious")
    r = box.map("--retries", "1", "--out", "f/{}.x", LOG + "; echo {}", ":::", "a", code=None,
                seconds=3)
    assert len(box.ran()) <= 1
    assert r.code in (1, 2) and "f" in r.err and box.read("f") == b"precious"


def test_a_long_output_name_is_an_error(box):
    r = box.map("--out", "{}.x", "echo", ":::", "a" * 300, code=None, seconds=10)
    assert r.code in (1, 2) and "cannot rename" in r.err and box.names() == []


def test_two_lines_leave_each_others_outputs_alone(box):
    box.map("--out", "o/{}", "echo", ":::", "a")
    box.map("--out", "p/{}", "echo", ":::", "a")
    assert box.names() == ["o", "p"]


def test_an_output_folder_that_may_not_be_written(box, not_root):
    """Told before a command has run in vain."""
    box.write("in/a", "x")
    for name in ("state", "out"):
        box.path(name).mkdir()
    box.path("state").chmod(0o777)
    for folder in (box.root.parent, box.root, box.log.parent):
        os.chmod(folder, 0o755)
    box.log.chmod(0o666)
    r = box.begin("map", "--state", "state/s", "--out", "out/deep/{/}", LOG, ":::", "in/a", before=not_root).wait(10)
    assert r.code == 2 and "no permission to write to the folder" in r.err
    assert box.ran() == []
