"""status, shards, gc, doctor, help; and what ebb makes of a state that is not as
it should be."""

import json
import os
import re
import shutil
import signal
import sqlite3
import stat
import time

import pytest

import ebbtest
from ebbcli import HELD, LOG, tree, wait_for_lines

VERBS = ["map", "run", "worker", "drain", "cancel", "validate", "status", "shards", "logs", "retry", "gc",
         "doctor", "help"]
CAUSES = {"done", "checkpointed", "interrupted", "lost", "failed", "timed-out", "out-of-memory",
          "infrastructure", "cancelled", "superseded"}
STATES = {"ready", "leased", "accepted", "published", "failed", "set-aside"}


@pytest.fixture
def used(box):
    """A state with a finished run and one of which something failed."""
    box.map("--out", "{}.o", "echo {}; echo log >&2", ":::", "a", "b", "c")
    box.map("--retries", "1", "--out", "{}.p", "echo {}; echo why {} >&2; test {} != y", ":::",
            "x", "y", code=1)
    return box


# ---- help ----

@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb(box, verb):
    out = box.ebb("help", verb).out
    assert box.ebb(verb, "--help").out == out and box.ebb(verb, "-h").out == out
    assert b"usage: ebb " + verb.encode() in out and box.names() == []


def test_help(box):
    out = box.ebb("help").out.decode()
    assert all("\n  %s " % v in out for v in VERBS)
    assert box.ebb("--help").out.decode() == out
    assert box.ebb("help", "states").out.startswith(b"state")
    assert "nonsense" in box.ebb("help", "nonsense", code=2).err


def test_no_verb_and_unknown_verbs(box):
    r = box.begin().wait(10)
    assert r.code == 2 and "ebb help" in r.out.decode() + r.err
    assert "statsu" in box.ebb("statsu", code=2).err
    assert box.ebb("--verison", code=2).err


def test_version(box):
    out = box.ebb("--version").out
    assert out.startswith(b"ebb ") and out.count(b"\n") == 1


@pytest.mark.parametrize("verb", [v for v in VERBS if v != "help"])
def test_unknown_options_of_every_verb(box, verb):
    err = box.ebb(verb, "--stat", code=2).err
    assert "--stat" in err and "ebb help %s" % verb in err
    assert box.names() == [] and not box.path(".ebb").exists()


@pytest.mark.parametrize("args", [["status", "r1", "--json"], ["shards", "r2", "--state", "failed"],
                                  ["logs", "a", "--run", "r1"], ["gc", "--json", "-n"],
                                  ["doctor", ".ebb", "--json"]])
def test_options_may_stand_behind_words(used, args):
    first = used.ebb(args[0], *args[2:], args[1]) if args[0] != "gc" else \
        used.ebb("gc", "-n", "--json")
    # Sizes and times of the machine differ from one look to the next.
    assert re.sub(rb"[0-9.]+", b"", used.ebb(*args).out) == re.sub(rb"[0-9.]+", b"", first.out)


@pytest.mark.parametrize("args", [["status", "r1", "r2"], ["shards", "r1", "r2"],
                                  ["logs", "a", "b"], ["retry", "r1", "r2"], ["gc", "r1"]])
def test_a_word_too_many_is_told(used, args):
    assert args[-1] in used.ebb(*args, code=2).err


@pytest.mark.parametrize("args", [
    ["gc", "--logs", "x"], ["gc", "--runs", "-1s"], ["gc", "--state-max", "x"],
    ["shards", "--limit", "0"], ["shards", "--limit", "x"], ["retry", "--jobs", "0"],
    ["status", "--json=yes"], ["shards", "--run", "r99"], ["status", "--state"],
])
def test_bad_values_of_verbs(used, args):
    word = args[1].split("=")[0] if args[1] != "--run" else "r99"
    assert word in used.ebb(*args, code=2).err


# ---- no state, odd states ----

@pytest.mark.parametrize("args", [["status"], ["shards"], ["logs", "a"], ["retry"], ["gc"]])
def test_no_state(box, args):
    r = box.ebb(*args, code=2)
    assert ".ebb" in r.err and "--state" in r.err and r.out == b""
    assert not box.path(".ebb").exists()


def test_doctor_without_a_state(box):
    r = box.ebb("doctor", code=None)
    assert r.code in (0, 2) and not box.path(".ebb").exists()


def test_where_the_state_is(box):
    box.map("echo", ":::", "a", EBB_STATE=box.root / "env")
    assert box.names() == ["env"] and not box.path(".ebb").exists()
    box.map("--state", "opt", "echo", ":::", "a", EBB_STATE=box.root / "env")
    assert box.names() == ["env", "opt"]
    assert box.ebb("status", EBB_STATE=box.root / "env").out.count(b"\n") == 1
    assert box.ebb("status", "--state", "opt").out == \
        box.ebb("status", EBB_STATE=box.root / "opt").out
    assert box.ebb("shards", "--state", "opt").out


def test_the_state_folder(box):
    box.begin("map", "echo", ":::", "a", before=lambda: os.umask(0)).wait(10)
    assert stat.S_IMODE(box.path(".ebb").stat().st_mode) == 0o700
    assert box.read(".ebb/.gitignore") == b"*\n"
    assert not [p for p in box.path(".ebb").rglob("*") if p.lstat().st_mode & 0o022 and
                not p.is_symlink()]


def test_a_state_in_a_folder_that_is_not_there(box):
    r = box.map("--state", "x/y/z", "echo", ":::", "a", code=None)
    assert r.code in (0, 2, 3)
    if r.code:
        assert "x/y" in r.err and box.names() == []


@pytest.mark.parametrize("state", ["s3://bucket/x", "postgres://h/db", "redis://h"])
def test_a_state_that_is_not_local(box, state):
    assert state in box.refused("--state", state, "echo", ":::", "a")


def test_a_state_that_is_a_file(box):
    box.write(".ebb", "precious")
    assert ".ebb" in box.map("echo", ":::", "a", code=None).err
    assert box.read(".ebb") == b"precious"


def test_a_folder_that_may_not_be_written(box, not_root):
    box.top.chmod(0o755)
    box.root.chmod(0o555)
    r = box.begin("map", "echo", ":::", "a", before=not_root).wait(10)
    assert r.code in (2, 3) and ".ebb" in r.err and "ermission denied" in r.err and r.out == b""


@pytest.mark.parametrize("args", [["map", "echo", ":::", "a"], ["status"], ["shards"], ["doctor"],
                                  ["gc"], ["retry"], ["logs", "1"]])
def test_a_state_that_may_not_be_read(box, not_root, args):
    box.map("echo", ":::", "a")
    box.top.chmod(0o755)
    if os.geteuid() != 0:  # it would be one's own
        box.path(".ebb").chmod(0)
    try:
        r = box.begin(*args, before=not_root).wait(10)
    finally:
        box.path(".ebb").chmod(0o700)
    assert r.code in (1, 2, 3) and "ermission denied" in r.err + r.out.decode()


def test_a_read_only_state_of_ones_own(box, not_root):
    """Looking needs no writing."""
    if os.geteuid() == 0:
        os.chown(box.root, 65534, 65534)
    box.top.chmod(0o755)
    box.begin("map", "echo", ":::", "a", before=not_root).wait(10)
    box.path(".ebb").chmod(0o500)
    try:
        for args in (["status"], ["shards"]):
            r = box.begin(*args, before=not_root).wait(10)
            assert r.code == 0 or (r.code in (2, 3) and ".ebb" in r.err)
        r = box.begin("map", "echo", ":::", "b", before=not_root).wait(10)
        r.check_words()
        assert r.code in (0, 3)
    finally:
        box.path(".ebb").chmod(0o700)


# ---- status ----

RUN_KEYS = {"run", "state", "running", "generation", "title", "created_ms", "changed_ms", "shards",
            "ended", "done", "failed", "total", "attempts", "plan_complete", "sealed", "run_ms",
            "lost_ms", "stages"}

STAGE_KEYS = {"name", "planned", "shards", "ended", "done", "failed", "total", "attempts",
              "plan_complete", "sealed", "run_ms", "lost_ms"}


def check_run(row):
    assert set(row) == RUN_KEYS
    assert set(row["shards"]) == STATES and set(row["ended"]) == CAUSES
    assert sum(row["shards"].values()) == row["total"]
    assert sum(row["ended"].values()) == row["attempts"]
    assert row["done"] == row["shards"]["accepted"] + row["shards"]["published"]
    assert row["failed"] == row["shards"]["failed"] + row["shards"]["set-aside"]
    assert abs(row["created_ms"] / 1000 - time.time()) < 100
    assert row["changed_ms"] >= row["created_ms"]
    for stage in row["stages"]:
        assert set(stage) == STAGE_KEYS and sum(stage["shards"].values()) == stage["planned"]
    for key in ("done", "failed", "total", "attempts", "run_ms", "lost_ms"):
        assert row[key] == sum(stage[key] for stage in row["stages"])


def test_status_json(used):
    value = json.loads(used.ebb("status", "--json").out)
    assert value["ebb_status"] == 1 and set(value) == {"ebb_status", "runs"}
    for row in value["runs"]:
        check_run(row)
    first, second = value["runs"]
    assert (first["done"], first["failed"], first["sealed"]) == (3, 0, True)
    assert (second["done"], second["failed"], second["sealed"]) == (1, 1, False)
    assert not first["running"] and first["generation"] == 1
    one = json.loads(used.ebb("status", "--json", "r2").out)["runs"]
    assert one[0].pop("workers") == [] and one[0].pop("banned_pools") == []
    assert one[0].pop("on_demand") == {"ready": 0, "leased": 0} and one == [second]


def test_status_while_it_runs(box):
    box.hold()
    run = box.begin("map", "-j2", LOG + "; " + HELD, ":::", *range(5))
    wait_for_lines(box, 2)
    row = ebbtest.wait_until(lambda: [r for r in box.status() if r["plan_complete"]], 5, "plan")[0]
    check_run(row)
    assert row["running"] and row["state"] == "running" and row["total"] == 5
    assert row["shards"]["leased"] >= 2 and row["done"] == 0
    assert b"running" in box.ebb("status").out
    box.crash(run)
    row = box.status()[0]
    check_run(row)
    assert not row["running"]


def test_status_for_people(used):
    out = used.ebb("status").out.decode().splitlines()
    assert len(out) == 2 and out[0].startswith("r1") and "3 of 3" in out[0]
    assert "1 failed" in out[1]
    assert "r9" in used.ebb("status", "r9", code=2).err


# ---- shards ----

def test_shards_json(used):
    rows = used.shards("r2")
    assert [r["number"] for r in rows] == [1, 2]
    for row in rows:
        assert {"number", "name", "state", "epoch", "tries", "output", "attempts"} <= set(row)
        assert row["state"] in STATES
        for a in row["attempts"]:
            assert set(a) == {"epoch", "cause", "exit", "signal", "started_ms", "run_ms", "cpu_ms",
                              "max_rss_kib", "stdout_bytes", "stderr_bytes", "by_notice",
                              "note"}
            assert a["cause"] in CAUSES
    bad = rows[1]
    assert bad["state"] == "failed" and bad["attempts"][0]["exit"] == 1
    assert bad["attempts"][0]["note"] == "why y" and bad["attempts"][0]["stdout_bytes"] == 2


@pytest.mark.parametrize("args", [["shards"], ["shards", "--json"], ["status"]])
def test_a_listing_that_cannot_be_written(used, args):
    with open("/dev/full", "wb") as full:
        assert "No space left" in used.ebb(*args, stdout=full, code=3).err


def test_shards_of_a_state(used):
    assert [r["name"] for r in used.shards("--state", "failed")] == ["y"]
    assert [r["name"] for r in used.shards("--state", "published")] == ["x"]
    assert used.shards("--state", "leased") == []
    assert len(used.ebb("shards", "--run", "r1").out.splitlines()) == 3
    assert len(used.ebb("shards", "--limit", "1").out.splitlines()) == 1


# ---- gc ----

def age(box, seconds):
    """The logs in the state are that much older."""
    at = time.time() - seconds
    for p in box.path(".ebb").rglob("*"):
        if "logs" in p.parts:
            os.utime(p, (at, at))


def test_gc_removes_nothing_that_is_young(used):
    before = {k: v for k, v in tree(used.root).items() if "ledger" not in k and "gc.stamp" not in k}
    used.ebb("gc")
    after = tree(used.root)
    assert all(k in after for k in before)


def test_gc_dry_run_removes_nothing(used):
    age(used, 90 * 86400)
    before = sorted(k for k in tree(used.root) if "ledger.db-" not in k)
    out = used.ebb("gc", "--dry-run", "--logs", "0s", "--failed-logs", "0s", "--runs", "0s").out
    assert b"would" in out and b"1 runs" in out
    assert sorted(k for k in tree(used.root) if "ledger.db-" not in k) == before
    assert len(used.status()) == 2


def test_gc_of_logs(used):
    def logs():
        return sorted(str(p.relative_to(used.root)) for p in used.path(".ebb").rglob("*.err"))
    assert len(logs()) == 5
    used.ebb("gc", "--logs", "0s")
    assert len(logs()) == 1
    assert b"why y" in used.ebb("logs", "y").out
    used.ebb("gc", "--failed-logs", "0s")
    assert logs() == []


def test_gc_of_old_logs(used):
    """7 days if good and 30 if failed."""
    def logs():
        return len(list(used.path(".ebb").rglob("*.err")))
    age(used, 6 * 86400)
    used.ebb("gc")
    assert logs() == 5
    age(used, 8 * 86400)
    used.ebb("gc")
    assert logs() == 1
    age(used, 31 * 86400)
    used.ebb("gc")
    assert logs() == 0


def test_gc_of_finished_runs_never_of_outputs(used):
    r = json.loads(used.ebb("gc", "--json", "--runs", "0s").out)
    assert r["ebb_gc"] == 1 and r["runs"] == 1
    assert [row["run"] for row in used.status()] == ["r2"]
    assert used.names() == ["a.o", "b.o", "c.o", "x.p"]
    assert used.read("a.o") == b"a\n"
    # ebb no longer knows these; it must not overwrite what it cannot account for
    # with something else, and the same bytes are as good.
    r = used.map("--out", "{}.o", "echo {}; echo log >&2", ":::", "a", "b", "c", code=None)
    assert r.code in (0, 1, 2) and used.read("a.o") == b"a\n"


def test_gc_leaves_a_running_run_alone(box):
    box.hold()
    run = box.begin("map", "-j2", "--out", "{}.o", "echo half; echo {} >&2; " + LOG + "; " + HELD,
                    ":::", "a", "b", "c")
    wait_for_lines(box, 2)
    box.ebb("gc", "--runs", "0s", "--logs", "0s", "--failed-logs", "0s")
    box.release()
    r = run.wait(10)
    assert r.code == 0, r.err
    assert box.read("a.o") == b"half\n"


def test_gc_leaves_what_an_unfinished_run_needs(box):
    args = ["-j2", "--out", "{}.o", LOG + "; case {} in h) " + HELD + ";; esac; echo {}", ":::",
            "a", "h"]
    box.hold()
    run = box.begin("map", *args)
    wait_for_lines(box, 2)
    ebbtest.wait_until(lambda: box.names() == ["a.o"], 5, "one output")
    box.crash(run)
    box.release()
    box.ebb("gc", "--runs", "0s", "--logs", "0s", "--failed-logs", "0s")
    assert "1 of 2 done earlier" in box.map(*args).err
    assert sorted(box.ran()) == ["a", "h", "h"]


def test_gc_removes_what_dead_attempts_left(box):
    args = ["-j1", "--out", "{}.o", "head -c 300000 /dev/zero; " + LOG + "; " + HELD, ":::", "a"]
    for n in (1, 2):
        box.hold()
        run = box.begin("map", *args)
        wait_for_lines(box, n)
        box.crash(run)
    box.ebb("gc")
    box.release()
    left = [p for p in box.path(".ebb").rglob("*") if p.is_file() and p.stat().st_size >= 300000
            and "ledger" not in p.name]
    assert [p.name for p in left if p.name.endswith(".1")] == []
    box.map(*args)
    box.ebb("gc")
    assert len(box.read("a.o")) == 300000
    assert [p for p in box.path(".ebb").rglob("*") if p.is_file() and
            "ledger" not in p.name and p.stat().st_size >= 300000] == []


# ---- doctor ----

def test_doctor(used):
    out = used.ebb("doctor").out.decode()
    assert "slots" in out and "ledger" in out and ".ebb" in out
    assert not [x for x in out.splitlines() if not x.startswith("ok")], out


def test_doctor_json(used):
    value = json.loads(used.ebb("doctor", "--json").out)
    text = json.dumps(value)
    assert "ledger" in text and "slots" in text


def test_doctor_of_a_damaged_ledger(used):
    path = used.path(".ebb/ledger.db")
    with open(path, "r+b") as f:
        f.seek(8192)
        f.write(os.urandom(8192))
    before = path.read_bytes()
    r = used.begin("doctor").wait(10)
    assert r.code in (1, 2, 3) and "ledger" in r.out.decode() + r.err
    assert "\nok   ledger" not in r.out.decode()
    assert path.read_bytes() == before


def test_doctor_finds_wrong_counters(used):
    with sqlite3.connect(used.path(".ebb/ledger.db")) as db:
        db.execute("update stage set n_published = n_published + 1")
    db.close()
    r = used.begin("doctor").wait(10)
    assert r.code in (1, 2, 3) and "ledger" in r.out.decode() + r.err
    assert "\nok   ledger" not in r.out.decode()


# ---- ledgers that are not as they should be ----

LOOKS = [["status"], ["shards"], ["map", "--out", "{}.o", "echo {}; echo log >&2", ":::", "a"],
         ["retry"], ["gc"], ["logs", "a"]]


def damage(box, how):
    path = box.path(".ebb/ledger.db")
    for extra in ("-wal", "-shm"):
        if os.path.exists(str(path) + extra):
            os.unlink(str(path) + extra)
    data = path.read_bytes()
    if how == "truncated":
        path.write_bytes(data[:len(data) // 2 // 4096 * 4096])
    elif how == "torn":
        path.write_bytes(data[:len(data) - 1000])
    elif how == "header only":
        path.write_bytes(data[:100])
    elif how == "text":
        path.write_bytes(b"my diary, not a database\n" * 100)
    elif how == "foreign database":
        path.unlink()
        with sqlite3.connect(path) as db:
            db.execute("create table photos (name)")
        db.close()
    elif how == "newer":
        with sqlite3.connect(path) as db:
            db.execute("pragma user_version = 999")
        db.close()
    elif how == "noise":
        path.write_bytes(data[:100] + os.urandom(len(data) - 100))
    return path


@pytest.mark.parametrize("how", ["truncated", "torn", "header only", "text", "foreign database",
                                 "newer", "noise"])
@pytest.mark.parametrize("args", LOOKS, ids=lambda a: a[0])
def test_a_ledger_that_is_no_good(used, how, args):
    used.ebb("status")
    path = damage(used, how)
    before = path.read_bytes()
    r = used.ebb(*args, code=None, seconds=10)
    assert r.code in (2, 3), "%d\n%s" % (r.code, r.err)
    assert "ledger" in r.err or ".ebb" in r.err
    if how == "newer":
        assert "newer" in r.err
    assert path.read_bytes() == before, "the ledger was changed"
    assert used.read("a.o") == b"a\n"


def test_a_ledger_that_is_empty(used):
    """What a crash at the very first start leaves: it may be begun anew, or be
    refused, but outputs stay."""
    damage(used, "text")
    used.path(".ebb/ledger.db").write_bytes(b"")
    r = used.map("--out", "{}.o", "echo {}; echo log >&2", ":::", "a", code=None)
    assert r.code in (0, 1, 2, 3) and used.read("a.o") == b"a\n"


def test_a_state_that_was_removed_meanwhile(used):
    """Outputs whose ledger is gone are not ebb's any more."""
    shutil.rmtree(used.path(".ebb"))
    used.write("a.o", "other bytes")
    r = used.map("--out", "{}.o", "echo {}; echo log >&2", ":::", "a", "b", code=None)
    assert r.code in (1, 2) and "a.o" in r.err and used.read("a.o") == b"other bytes"


def test_the_state_is_removed_during_a_run(box):
    """Whatever it makes of that, it can be stopped and claims no success."""
    box.hold()
    run = box.begin("map", "-j2", "--out", "{}.o", LOG + "; " + HELD + "; echo {}", ":::", "a", "b")
    wait_for_lines(box, 2)
    shutil.rmtree(box.path(".ebb"))
    box.release()
    os.kill(run.pid, signal.SIGTERM)
    assert run.wait(10).code in (1, 3, 75)
    box.wait_alone()
