"""INT and TERM: no new commands, those that run may finish; and nothing is left
running, whatever way ebb ends."""

import os
import signal
import time

import pytest

import ebbtest
from ebbcli import HELD, LOG, wait_for_done, wait_for_lines

STEP = LOG + "; " + HELD + "; echo {}"
CODES = {signal.SIGTERM: 75, signal.SIGINT: 130, signal.SIGHUP: 75}


def begin(box, *options, items=("a", "b", "c", "d"), command=STEP, **env):
    box.hold()
    args = ["-j2", *options, "--out", "{}.o", command, ":::", *items]
    run = box.begin("map", *args, **env)
    wait_for_lines(box, 2)
    return run, args


@pytest.mark.parametrize("sig", CODES)
def test_what_runs_may_finish(box, sig):
    run, args = begin(box)
    os.kill(run.pid, sig)
    ebbtest.wait_until(lambda: "stopping" in run.err(), 5, "it says so")
    box.release()
    r = run.wait(10)
    assert r.code == CODES[sig]
    assert box.names() == ["a.o", "b.o"] and sorted(box.ran()) == ["a", "b"]
    assert "start the same line again" in r.err and "2 to do" in r.err
    box.wait_alone()
    assert "2 of 4 done earlier, 2 to do" in box.map(*args).err
    assert sorted(box.ran()) == list("abcd")


@pytest.mark.parametrize("sig, code", [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_second_one_ends_at_once(box, sig, code):
    run, args = begin(box)
    os.kill(run.pid, sig)
    ebbtest.wait_until(lambda: "stopping" in run.err(), 5, "it says so")
    begin_at = time.monotonic()
    os.kill(run.pid, signal.SIGINT)
    r = run.wait(8)
    assert time.monotonic() - begin_at < 5
    assert r.code in (130, code) and box.names() == []
    box.wait_alone()
    box.release()
    box.map(*args)
    assert sorted(box.ran()) == sorted("abab" + "cd")
    ended = box.status()[0]["ended"]
    assert ended["interrupted"] == 2 and ended["failed"] == 0


@pytest.mark.parametrize("how", ["option", "environment"])
def test_the_grace_ends(box, how):
    options, env = (["--grace", "300ms"], {}) if how == "option" else ([], {"EBB_GRACE": "300ms"})
    run, _ = begin(box, *options, **env)
    at = time.monotonic()
    os.kill(run.pid, signal.SIGTERM)
    r = run.wait(10)
    assert r.code == 75 and time.monotonic() - at < 8
    assert box.names() == []
    box.wait_alone()


def test_the_grace_of_retry(box):
    args = ["--retries", "1", "-j1", LOG + "; " + HELD + "; exit 1", ":::", "a"]
    box.map(*args, code=1)
    box.hold()
    run = box.begin("retry", EBB_GRACE="100ms")
    wait_for_lines(box, 2)
    os.kill(run.pid, signal.SIGTERM)
    assert run.wait(8).code == 75


def test_the_option_is_stronger_than_the_environment(box):
    run, _ = begin(box, "--grace", "0", EBB_GRACE="1h")
    os.kill(run.pid, signal.SIGTERM)
    assert run.wait(10).code == 75


def test_a_command_that_ignores_term(box):
    run, _ = begin(box, "--grace", "100ms", command="trap '' TERM; " + STEP)
    at = time.monotonic()
    os.kill(run.pid, signal.SIGTERM)
    assert run.wait(15).code == 75 and time.monotonic() - at < 12
    box.wait_alone()


def test_an_interruption_is_not_a_failure(box):
    args = ["-j1", "--retries", "1", "--grace", "0", "--out", "{}.o", STEP, ":::", "a"]
    for n in (1, 2, 3):
        box.hold()
        run = box.begin("map", *args)
        wait_for_lines(box, n)
        os.kill(run.pid, signal.SIGTERM)
        assert run.wait(10).code == 75
    box.release()
    box.map(*args)
    assert box.read("a.o") == b"a\n" and len(box.ran()) == 4


def test_a_command_that_ends_well_when_told_to_stop_is_run_again(box):
    """Many programs save and exit with 0 when they get TERM."""
    args = ["-j1", "--grace", "0", "--out", "{}.o",
            "trap 'echo half; exit 0' TERM; " + LOG + "; " + HELD + "; echo whole; : {}", ":::", "a"]
    box.hold()
    run = box.begin("map", *args)
    wait_for_lines(box, 1)
    os.kill(run.pid, signal.SIGTERM)
    assert run.wait(10).code == 75 and box.names() == []
    box.release()
    box.map(*args)
    assert box.read("a.o") == b"whole\n"


def test_outputs_that_wait_for_their_turn_do_not_hold_up_the_end(box):
    box.hold()
    args = ["-k", "-j2", "--grace", "300ms",
            "test {} != b || { " + HELD + "; }; echo {}", ":::", *"abcd"]
    run = box.begin("map", *args)
    wait_for_done(box, 3)
    os.kill(run.pid, signal.SIGTERM)
    r = run.wait(10)
    assert r.code == 75 and r.out == b"a\n"
    box.wait_alone()
    box.release()
    assert box.map(*args).out == b"b\nc\nd\n"


def test_ctrl_c_reaches_ebb_alone(box):
    """A terminal signals the whole foreground group; the commands must not get
    it, or they could not finish."""
    run, _ = begin(box)
    os.killpg(run.pid, signal.SIGINT)
    ebbtest.wait_until(lambda: "stopping" in run.err(), 5, "it says so")
    box.release()
    assert run.wait(10).code == 130
    assert box.names() == ["a.o", "b.o"]


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGSEGV])
def test_nothing_outlives_ebb(box, sig):
    run, _ = begin(box, command=LOG + "; (setsid sh -c 'sleep 60' &); trap '' TERM; sleep 60 & sleep 60")
    os.kill(run.pid, sig)
    run.proc.wait(5)
    assert box.wait_alone(2.0) < 1.5


def test_stopped_while_the_list_is_still_read(box):
    read, write = os.pipe()
    try:
        run = box.begin("map", "-j1", LOG, stdin=read)
        os.close(read)
        os.write(write, b"a\nb\n")
        wait_for_lines(box, 2)
        os.kill(run.pid, signal.SIGTERM)
        assert run.wait(10).code == 75
    finally:
        os.close(write)
    box.map("-j1", LOG, stdin=b"a\nb\nc\n")
    assert box.ran() == ["a", "b", "c"]


def test_stopped_when_nothing_is_left_to_do_is_done(box):
    """75 says "start me again", and a finished list would start anew."""
    run, _ = begin(box, items=("a", "b"))
    os.kill(run.pid, signal.SIGTERM)
    ebbtest.wait_until(lambda: "stopping" in run.err(), 5, "it says so")
    box.release()
    r = run.wait(10)
    assert box.names() == ["a.o", "b.o"] and "finished" in r.err
    assert r.code == 0


def test_ignored_signals_stay_ignored(box):
    """nohup: HUP does not stop it."""
    def before():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    box.hold()
    run = box.begin("map", "-j2", STEP, ":::", "a", "b", before=before)
    wait_for_lines(box, 2)
    os.kill(run.pid, signal.SIGHUP)
    box.release()
    assert run.wait(10).code == 0


@pytest.mark.parametrize("verb", ["map", "run"])
def test_a_stop_file_that_is_there_already(box, verb):
    box.write("stop", "")
    box.write("p.yaml", "version: 1\nname: n\nstages: {s: {input: {count: 3}, run: '%s'}}\n" % LOG.replace("'", "''"))
    line = ["run", "--stop-file", "stop", "p.yaml"] if verb == "run" else \
        ["map", "--stop-file", "stop", LOG, ":::", "0", "1", "2"]
    for _ in range(3):
        err = box.ebb(*line, code=75).err
        assert "the stop file stop is there" in err or "stop is there" in err
    assert box.ran() == []
    os.unlink(box.path("stop"))
    box.ebb(*line)
    assert sorted(box.ran()) == ["0", "1", "2"]


# Plain tasks: they cannot save and do not say how far they are. A grace of 4 s leaves
# them 3 s. Nothing is known of the first ones: such a one goes on to the last quarter.
PLAIN = """version: 1
name: plain
stages:
  work:
    input: {count: %d}
    run: '%s; sleep %s; echo {}'
    output: 'out/{}'
"""


def drain_until_done(box, options, most):
    """TERM as soon as something runs, and the same line again; how many there were."""
    for drains in range(most + 1):
        n = len(box.ran())
        run = box.begin("run", "p.yaml", *options)
        ebbtest.wait_until(lambda: len(box.ran()) > n or run.poll() is not None, 5,  # noqa: B023
                           "something runs")
        ebbtest.kill(run.pid, signal.SIGTERM)
        code = run.wait(10).code
        if code == 0:
            return drains
        assert code == 75, run.err()
    pytest.fail("drained %d times, and not done: %s" % (most + 1, box.status()[0]))
    return 0


def test_plain_tasks_get_done_between_drains(box):
    """Nothing is gained by telling them early: all that they did would be lost."""
    box.write("p.yaml", PLAIN % (4, LOG, "1.7"))
    assert drain_until_done(box, ["-j2", "--grace", "4s"], 2) <= 2
    assert sorted(box.ran()) == list("0123")
    ended = box.status()[0]["ended"]
    assert ended["done"] == 4 and ended["interrupted"] == 0
    assert sorted(os.listdir(box.path("out"))) == list("0123")


@pytest.mark.alone
def test_a_new_worker_knows_what_such_tasks_take(box):
    """By the ledger, so that what will be done in time is not told in the last quarter."""
    box.write("p.yaml", PLAIN % (3, LOG, "2.4"))
    options = ["-j1", "--grace", "4s"]
    run = box.begin("run", "p.yaml", *options)
    wait_for_done(box, 1)
    box.crash(run)
    assert drain_until_done(box, options, 2) <= 2
    ended = box.status()[0]["ended"]
    assert ended["done"] == 3 and ended["interrupted"] == 0


def test_what_dies_of_the_signal_is_told_at_the_last_moment(box):
    """The first time it might have known how to save."""
    box.write("p.yaml", PLAIN % (1, LOG, "2.4"))
    assert drain_until_done(box, ["--grace", "4s"], 2) == 1
    assert box.ran() == ["0", "0"]
