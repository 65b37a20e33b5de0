"""Commands that fail, run too long, cannot be run; what ebb says of it and what
it exits with."""

import json
import os
import re
import time

import pytest

import ebbtest
from ebbcli import HELD, LOG, wait_for_lines

NOW = ["--retry-delay", "0"]


# ---- retries ----

@pytest.mark.parametrize("options, tries", [([], 3), (["--retries", "1"], 1), (["--retries=5"], 5)])
def test_how_often_a_failing_command_is_run(box, options, tries):
    r = box.map(*NOW, *options, LOG + "; echo oops {} >&2; test {} = good", ":::", "good", "bad",
                code=1)
    assert box.ran().count("bad") == tries and box.ran().count("good") == 1
    assert "1 done, 1 failed" in r.err
    assert re.search(r'failed: bad +exit 1 \(%d of %d\) +"oops bad"' % (tries, tries), r.err)
    (row,) = box.shards("--state", "failed")
    assert row["tries"] == tries and row["name"] == "bad"
    assert [a["cause"] for a in row["attempts"]] == ["failed"] * tries


def test_a_command_that_succeeds_at_the_last_try(box):
    r = box.map(*NOW, LOG + '; [ $(wc -l <"$EBBTEST_LOG") = 3 ]; echo ok {}', ":::", "a")
    assert r.out == b"ok a\n" and "1 done, 0 failed" in r.err
    assert "without a result: 2 failed" in r.err


def test_the_first_retry_waits(box):
    begin = time.monotonic()
    box.map("--retries", "2", "--retry-delay", "400ms", LOG + "; exit 1", ":::", "a", code=1)
    assert time.monotonic() - begin > 0.15  # with jitter
    assert len(box.ran()) == 2


def test_others_run_while_a_retry_waits(box):
    box.map("-j1", "--retries", "2", "--retry-delay", "300ms", LOG + "; test {} != bad",
            ":::", "bad", "x", "y", code=1)
    assert box.ran() == ["bad", "x", "y", "bad"]


def test_the_task_is_told_how_often_it_failed(box):
    box.map(*NOW, 'echo "$EBB_ATTEMPT $EBB_FAILURES" >>"$EBBTEST_LOG"; exit 1', ":::", "a", code=1)
    assert box.ran() == ["1 0", "2 1", "3 2"]


# ---- how it ended ----

@pytest.mark.parametrize("how, words", [
    ("exit 7", ["exit 7"]),
    ("kill -SEGV $$", ["SIGSEGV", "signal 11"]),
    ("kill -KILL $$", ["SIGKILL", "signal 9"]),
    ("kill -TERM $$", ["SIGTERM", "signal 15"]),
    ("exit 255", ["exit 255"]),
])
def test_how_it_ended_is_told(box, how, words):
    r = box.map("--retries", "1", how + "; : {}", ":::", "a", code=1)
    assert any(w in r.err for w in words), r.err
    log = box.ebb("logs", "a").out.decode()
    assert any(w in log for w in words), log
    (attempt,) = box.shards()[0]["attempts"]
    assert attempt["cause"] == "failed"
    assert attempt["exit"] == (int(how.split()[1]) if how.startswith("exit") else -1)
    assert (attempt["signal"] > 0) == how.startswith("kill")


def test_the_last_error_line_is_told(box):
    r = box.map("--retries", "1", "printf 'first\\nbad quote, line 88\\n\\n' >&2; exit 2; : {}", ":::",
                "a", code=1)
    assert '"bad quote, line 88"' in r.err


def test_the_next_command_to_type_works(box):
    r = box.map("--retries", "1", "echo why >&2; exit 2; : {}", ":::", "a b#c", code=1)
    (line,) = [x for x in r.err.splitlines() if x.startswith("next:")]
    logs, retry = line.split("next:")[1].strip().split(" ; ")
    path = os.path.dirname(ebbtest.ebb_bin())
    out = box.top / "next.out"
    assert os.system("cd %s && PATH=%s:$PATH && %s >%s 2>&1" % (box.root, path, logs, out)) == 0
    assert b"why\n" in out.read_bytes()
    os.system("cd %s && PATH=%s:$PATH && %s >%s 2>&1" % (box.root, path, retry, out))
    assert b"1 failed" in out.read_bytes()


@pytest.mark.parametrize("words", [["no-such-program", "{}"], ["./no-such-script", "{}"],
                                   ["/nowhere/at/all", "{}"], ["./folder", "{}"],
                                   ["./not-executable", "{}"]])
def test_a_program_that_cannot_be_run_is_told_before_anything_runs(box, words):
    box.path("folder").mkdir()
    box.write("not-executable", "#!/bin/sh\n")
    r = box.map("--out", "o/{}", *words, ":::", "a", "b", "c", code=None, seconds=10)
    assert r.code in (1, 2) and words[0] in r.err
    assert "o" not in box.names()
    assert r.err.count("\n") < 12


def test_a_missing_interpreter(box):
    box.write("script", "#!/no/such/interpreter\n").chmod(0o755)
    r = box.map("./script", ":::", "a", code=None, seconds=10)
    assert r.code in (1, 2) and "script" in r.err


@pytest.mark.parametrize("code", [126, 127])
def test_exit_126_and_127_are_infrastructure(box, code):
    box.map("--retries", "1", *NOW, LOG + "; exit %d" % code, ":::", "a", code=1, seconds=25)
    (row,) = box.shards()
    assert {a["cause"] for a in row["attempts"]} == {"infrastructure"}


def test_a_missing_program_inside_of_a_shell_word(box):
    r = box.map("--retries", "1", "no-such-program {}", ":::", "a", code=1, seconds=25)
    assert "no-such-program" in r.err


# ---- time-outs ----

def test_timeout(box):
    begin = time.monotonic()
    r = box.map("--retries", "1", "--timeout", "200ms", "sleep {}", ":::", "30", "0", code=1)
    assert time.monotonic() - begin < 5
    assert "timed-out" in r.err or "timed out" in r.err
    (row,) = box.shards("--state", "failed")
    assert [a["cause"] for a in row["attempts"]] == ["timed-out"]
    box.wait_alone()


def test_timeout_of_one_that_ignores_term_and_has_children(box):
    begin = time.monotonic()
    box.map("--retries", "1", "--timeout", "200ms",
            "trap '' TERM; (setsid sleep 60 &); sleep 60 & sleep 60; : {}", ":::", "a", code=1,
            seconds=25)
    assert time.monotonic() - begin < 15
    box.wait_alone()


def test_timeouts_count_as_tries(box):
    box.map("--retries", "2", *NOW, "--timeout", "100ms", LOG + "; sleep 30", ":::", "a", code=1)
    assert len(box.ran()) == 2


def test_a_command_that_cleans_up_when_told_to_stop(box):
    box.map("--retries", "1", "--timeout", "200ms",
            "trap 'echo clean >>$EBBTEST_LOG; exit 0' TERM; sleep 30 & wait; : {}", ":::", "a", code=1)
    assert box.ran() == ["clean"]


# ---- halt ----

@pytest.mark.parametrize("halt, code, least", [
    ("never", 1, 30), ("0", 1, 30), ("soon,fail=1", 1, 1), ("now,fail=1", 1, 1),
    ("soon,fail=2", 1, 3), ("soon,success=2", None, 4), ("now,done=3", None, 3),
    ("soon,fail=20%", 1, 11),
])
def test_halt(box, halt, code, least):
    """Some more than `least` may have begun before the word comes through."""
    line = ["-j1", "--retries", "1", "--no-stderr",
            LOG + "; sleep 0.03; n={}; test $((n % 2)) = 0", ":::", *range(1, 31)]
    r = box.map("--halt", halt, *line, code=code)
    ran = len(box.ran())
    if least == 30:
        assert ran == 30
        return
    assert least <= ran <= least + 6
    assert "halt" in r.err and ("to do" in r.err or "same line" in r.err)
    # What was not run is run by the same line.
    box.map(*line, code=1)
    assert set(box.ran()) == {str(n) for n in range(1, 31)}


def test_halt_now_ends_what_runs(box):
    begin = time.monotonic()
    box.map("-j2", "--retries", "1", "--halt", "now,fail=1",
            "case {} in slow) echo x >>$EBBTEST_LOG; sleep 60;; *) until [ -s $EBBTEST_LOG ]; do "
            "sleep 0.01; done; exit 1;; esac", ":::", "slow", "bad", code=1)
    assert time.monotonic() - begin < 15
    box.wait_alone()


def test_halt_soon_lets_what_runs_finish(box):
    box.map("-j2", "--retries", "1", "--halt", "soon,fail=1", "--out", "{}.o",
            "case {} in slow) echo x >>$EBBTEST_LOG; sleep 0.3; echo done;; *) until [ -s "
            "$EBBTEST_LOG ]; do sleep 0.01; done; exit 1;; esac", ":::", "slow", "bad", "never", code=1)
    assert box.read("slow.o") == b"done\n" and box.names() == ["slow.o"]


# ---- stderr ----

def test_stderr_is_passed_on_and_kept(box):
    r = box.map("echo said {} >&2; echo out", ":::", "a")
    assert "said a\n" in r.err and r.out == b"out\n"
    assert box.ebb("logs", "a").out.endswith(b"said a\n")


def test_no_stderr(box):
    r = box.map("--no-stderr", "echo said-{} >&2", ":::", "a")
    assert "said-a" not in r.err
    assert b"said-a\n" in box.ebb("logs", "a").out


def test_quiet(box):
    assert box.map("-q", "echo", ":::", "a").err == ""
    assert "said a" in box.map("-q", "echo said {} >&2", ":::", "a").err
    r = box.map("-q", "--retries", "1", "exit 3; : {}", ":::", "bad", code=1)
    assert "bad" in r.err and "exit 3" in r.err


def test_log_json(box):
    r = box.map("--log", "json", *NOW, 'echo noise {} >&2; exit {}', ":::", "0", "1", code=1)
    rows = [json.loads(line) for line in r.err.splitlines()]
    assert rows and all({"time_ms", "level", "message"} <= set(row) for row in rows)
    assert {row["level"] for row in rows} <= {"error", "warning", "info"}
    assert any("1 failed" in row["message"] for row in rows)
    assert not any(row["message"] == "noise 0" for row in rows)


def test_log_json_of_a_mistake(box):
    r = box.map("--log", "json", "--out", "../{}", "echo", ":::", "a", code=2)
    assert all(json.loads(line)["message"] for line in r.err.splitlines())


@pytest.mark.parametrize("said", ["no newline at the end", "", "\\377\\376", "\\0"])
def test_odd_stderr(box, said):
    box.map("--retries", "1", "printf '%s' >&2; exit 1; : {}" % said, ":::", "a", code=1)
    json.dumps(box.shards())


def test_stderr_of_twenty_mebibytes_is_capped(box):
    run = ("echo the-first-line >&2; head -c 20M /dev/zero | tr '\\0' x >&2; echo >&2; "
           "echo the-last-line >&2; exit 1; : {}")
    r = box.map("--no-stderr", "--retries", "1", run, ":::", "a", code=1, seconds=25)
    assert "the-last-line" in r.err
    log = box.ebb("logs", "a").out
    assert b"the-first-line" in log[:200] and log.endswith(b"the-last-line\n")
    assert len(log) < 17 << 20
    (attempt,) = box.shards()[0]["attempts"]
    assert attempt["stderr_bytes"] > 20 << 20
    used = sum(f.stat().st_blocks * 512 for f in box.path(".ebb").rglob("*.err"))
    assert used < 18 << 20


# ---- ebb logs ----

@pytest.fixture
def logged(box):
    box.map(*NOW, "--retries", "2", "echo err {} >&2; exit {#}", ":::", "alpha", "alpine", "beta",
            "alpha beta", "1", code=1)
    return box


@pytest.mark.parametrize("word, item", [
    ("alpha", "alpha"), ("3", "beta"), ("b", "beta"), ("alpi", "alpine"), ("alpha ", "alpha beta"),
    ("2", "alpine"), ("1", "1"),
])
def test_logs_of_one_shard(logged, word, item):
    assert ("err %s\n" % item).encode() in logged.ebb("logs", word).out


@pytest.mark.parametrize("word", ["alp", "nothing", "99", ""])
def test_logs_of_nothing_or_too_many(logged, word):
    r = logged.ebb("logs", word, code=2)
    assert r.out == b""
    if word == "alp":
        assert "alpha" in r.err and "alpine" in r.err


def test_logs_of_all_attempts(logged):
    out = logged.ebb("logs", "--all", "beta").out
    assert out.count(b"err beta\n") == 2 and out.count(b"attempt") >= 2
    assert logged.ebb("logs", "beta").out.count(b"err beta\n") == 1


def test_logs_of_another_run(logged):
    logged.map("echo second {} >&2", ":::", "beta")
    assert b"second beta" in logged.ebb("logs", "beta").out
    assert b"err beta" in logged.ebb("logs", "--run", "r1", "beta").out


def test_logs_of_a_name_that_many_others_begin_with(box):
    items = ["x%d" % i for i in range(1, 101)] + ["x"]
    box.map("-q", "echo err {} >&2", ":::", *items)
    assert b"err x\n" in box.ebb("logs", "x").out
    many = ["y%d" % i for i in range(1, 201)]
    box.map("-q", "echo err {} >&2", ":::", *many)
    assert "fits 200 shards: y1, y2, y3, y4, y5, ..." in box.ebb("logs", "y", code=2).err



def test_logs_without_a_word(logged):
    assert "SHARD" in logged.ebb("logs", code=2).err


# ---- joblog ----

def test_joblog(box):
    box.map("-j1", "--retries", "1", "--joblog", "log", "echo {}; exit {}", ":::", "0", "3", code=1)
    head, *rows = box.read("log").decode().splitlines()
    assert head == "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand"
    got = sorted(row.split("\t") for row in rows)
    assert [g[0] for g in got] == ["1", "2"]
    for fields, code in zip(got, ("0", "3")):
        assert len(fields) == 9
        assert re.fullmatch(r"\d{10}\.\d{3}", fields[2])
        assert re.fullmatch(r" *\d+\.\d{3}", fields[3]) and len(fields[3]) == 10
        assert fields[1] == ":" and fields[4] == "0" and fields[5] == "2"
        assert fields[6] == code and fields[7] == "0"
        assert fields[8] in ("echo %s; exit %s" % (code, code),
                             "echo '%s'; exit '%s'" % (code, code))
        assert abs(float(fields[2]) - time.time()) < 60


def test_joblog_of_signals_and_retries(box):
    box.map("-j1", *NOW, "--retries", "2", "--joblog", "log", "kill -9 $$; : {}", ":::", "a", code=1)
    rows = [row.split("\t") for row in box.read("log").decode().splitlines()[1:]]
    assert [(r[0], r[6], r[7]) for r in rows] == [("1", "0", "9")] * 2


def test_joblog_is_appended_to_by_a_run_that_goes_on(box):
    args = ["-j1", "--joblog", "log", "case {} in h) " + LOG + "; " + HELD + ";; esac", ":::",
            "a", "h", "b"]
    box.hold()
    run = box.begin("map", *args)
    wait_for_lines(box, 1)
    box.crash(run)
    box.release()
    box.map(*args)
    rows = box.read("log").decode().splitlines()
    assert sum(r.startswith("Seq") for r in rows) == 1
    assert sorted(r.split("\t")[0] for r in rows[1:]) == ["1", "2", "3"]


def test_joblog_of_items_with_tabs_and_newlines_stays_one_line_each(box):
    box.map("-0", "--joblog", "log", "true", stdin=b"a\tb\nc\0d\0")
    assert len(box.read("log").decode().splitlines()) == 3


# ---- retry ----

def test_retry_runs_only_what_failed(box):
    args = [*NOW, "--retries", "2", "--out", "{}.o",
            LOG + "; test {} != bad || test -e $EBBTEST_HOLD; echo {}", ":::", "a", "bad", "b"]
    box.map(*args, code=1)
    box.forget()
    r = box.ebb("retry", code=1)
    assert box.ran() == ["bad", "bad"] and "1 failed" in r.err
    box.hold()
    box.forget()
    box.ebb("retry", "r1")
    assert box.ran() == ["bad"] and box.names() == ["a.o", "b.o", "bad.o"]
    assert "nothing" in box.ebb("retry").err
    assert box.status()[0]["sealed"]


def test_the_same_line_also_retries_what_failed(box):
    args = ["--retries", "1", LOG + "; test {} != bad", ":::", "a", "bad"]
    box.map(*args, code=1)
    box.map(*args, code=1)
    assert sorted(box.ran()) == ["a", "bad", "bad"]


def test_retry_without_a_run(box):
    assert box.ebb("retry", code=2).err
    box.map("true", ":::", "a")
    assert "r9" in box.ebb("retry", "r9", code=2).err


# ---- accounting ----

def test_the_summary_adds_up(box):
    r = box.map(*NOW, "--retries", "2", "exit {}", ":::", "0", "0", "0", "1", "2", code=1)
    assert "3 done, 2 failed" in r.err
    row = box.status()[0]
    assert row["done"] == 3 and row["failed"] == 2 and row["total"] == 5
    assert sum(row["ended"].values()) == row["attempts"] == 7
    assert row["ended"]["failed"] == 4


def test_many_failures_are_not_all_listed(box):
    r = box.map("--retries", "1", "exit 1; : {}", ":::", *range(200), code=1)
    assert "200 failed" in r.err
    assert "ebb shards --state failed" in r.err or r.err.count("\n") > 200
