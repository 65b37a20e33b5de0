"""Children of a pipeline that behave badly. Whatever they do costs their own
shard at the most, nothing of them is left, and the next one is not harmed."""

import os
import shlex
import signal
import time

import pytest
from ebbtest import (UNFINISHED, ebb_bin, fault_bin, is_finished, kill, setting, state_of, status,
                     wait_until)

CLEAN = ".ebb/runs/*/checkpoints/*"


@pytest.fixture
def pipe(fast_box):
    fast_box.env["EBB"] = ebb_bin()
    return fast_box


def write(box, script, count=1, more=()):
    """A pipeline of one stage, with a script for each of `count` shards."""
    (box.root / "task.sh").write_text(script)
    lines = ["version: 1", "name: children", "stages:", "  s:", "    input: {count: %d}" % count,
             "    run: bash -euo pipefail task.sh {}", "    output: 'out/{}'",
             "    retry: {failures: 3, interruptions: 50, backoff: 10ms..20ms}"]
    (box.root / "p.yaml").write_text("\n".join(lines + ["    " + line for line in more]) + "\n")


def run(box, *args, code=0, seconds=40, program=None, **env):
    r = box.run(["run", "p.yaml", *args], program, seconds, **env)
    r.check_words()
    assert r.code == code, "exit code %d\n%s" % (r.code, r.err)
    box.wait_alone()
    return r


def start(box, *args, program=None, **env):
    """Returns when the first task has begun."""
    running = box.start(["run", "p.yaml", *args], program, **env)
    wait_until(box.starts, 10, "a task")
    return running


def out(box, name="0"):
    return (box.root / "out" / name).read_bytes()


LOG = 'echo "start $1 $EBB_EPOCH $$" >>"$EBBTEST_LOG"\n'


def test_ignores_term(pipe):
    write(pipe, LOG + 'trap "" TERM\n[ "$EBB_ATTEMPT" -gt 1 ] || while :; do sleep 1; done\necho x')
    running = start(pipe, "--grace", "2s")
    begin = time.monotonic()
    kill(running.pid, signal.SIGTERM)
    assert running.wait(10).code == 75
    assert time.monotonic() - begin < 5
    pipe.wait_alone()
    run(pipe)
    assert out(pipe) == b"x\n"


def test_forks_away(pipe):
    write(pipe, 'setsid sleep 1000 >/dev/null 2>&1 &\n(setsid bash -c "sleep 1000 & exec sleep 999" &)\n'
          "echo x")
    run(pipe)
    assert out(pipe) == b"x\n"


def test_closes_stdout_early(pipe):
    write(pipe, "echo x\nexec >&-\nsleep 0.05")
    run(pipe)
    assert out(pipe) == b"x\n"


def test_writes_much_to_stderr(pipe):
    """A fifth of a gigabyte: the log is capped, and the cap is what it takes."""
    write(pipe, "head -c 200000000 /dev/zero | tr '\\0' e >&2\necho x")
    run(pipe, "--no-stderr", seconds=55)
    assert out(pipe) == b"x\n"
    log = next(pipe.root.glob(".ebb/runs/*/logs/*/*.err"))
    assert os.stat(log).st_blocks * 512 < 20 << 20


def test_never_reads_stdin(pipe):
    write(pipe, "sleep 0.05\necho x", more=["input_as: stdin"])
    (pipe.root / "in.txt").write_bytes(b"line\n" * 400000)
    text = (pipe.root / "p.yaml").read_text()
    (pipe.root / "p.yaml").write_text(
        text.replace("{count: 1}", "in.txt").replace("out/{}", "out/0"))
    run(pipe)
    assert out(pipe) == b"x\n"


@pytest.mark.parametrize("how", ["(echo a; exit 3) | cat", "cat missing-file | sort",
                                 "yes | head -c 100000 | (exit 4)"])
def test_a_part_of_a_pipe_fails(pipe, how):
    """Truncated output with exit code 0 of the last part is no output."""
    write(pipe, how)
    run(pipe, code=1)
    assert not (pipe.root / "out" / "0").exists()
    assert status(pipe)["ended"]["failed"] == 3


SPOIL = {
    "truncated": ': >"$EBB_CONTROL"',
    "shortened": 'truncate -s 100 "$EBB_CONTROL"',
    "overwritten": 'head -c 4096 /dev/urandom >"$EBB_CONTROL"',
    "removed": 'rm "$EBB_CONTROL"',
    "a folder": 'rm "$EBB_CONTROL"; mkdir "$EBB_CONTROL"; touch "$EBB_CONTROL/x"',
    "a link": 'rm "$EBB_CONTROL"; ln -s "$VICTIM" "$EBB_CONTROL"',
    "a pipe": 'rm "$EBB_CONTROL"; mkfifo "$EBB_CONTROL"',
    "a notice of its own": 'mkdir "$EBB_NOTICE_FILE"; touch "$EBB_NOTICE_FILE/x"',
    "no folder": 'rm -r "$(dirname "$EBB_CONTROL")"/*',
}


@pytest.mark.parametrize("how", SPOIL)
def test_spoils_its_control_page(pipe, how):
    """The next one in the same slot has a page that works."""
    victim = pipe.top / "victim"
    victim.write_bytes(b"v" * 8192)
    write(pipe, LOG + """if [ "$1" = 0 ]; then
	%s
	timeout 5 "$EBB" task checkpoint 1 2>/dev/null || true
	echo x
else
	"$EBB" task checkpoint 1
	echo "saved $?"
fi""" % SPOIL[how], count=2)
    run(pipe, "-j1", VICTIM=victim)
    assert out(pipe, "0") == b"x\n" and out(pipe, "1") == b"saved 0\n"
    assert victim.read_bytes() == b"v" * 8192


SAVING = LOG + """
if [ "$("$EBB" task offset)" = 0 ]; then
	echo one
	"$EBB" task checkpoint 1
fi
echo two
"""


@pytest.mark.parametrize("point", ["checkpoint.before", "checkpoint.copied", "checkpoint.durable",
                                   "checkpoint.after"])
def test_is_never_answered(pipe, point):
    """ebb is stopped in the middle of a checkpoint and killed; the task, which
    waits for the answer, goes with it."""
    write(pipe, SAVING)
    running = start(pipe, program=fault_bin(), EBB_FAULT_STOP=point + ":1")
    wait_until(lambda: state_of(running.pid) == "T" or running.poll() is not None, 10, "stopped")
    kill(running.pid)
    running.proc.wait(5)
    pipe.wait_alone()
    run(pipe)
    assert out(pipe) == b"one\ntwo\n"
    assert not list(pipe.root.glob(CLEAN))


@pytest.mark.parametrize("point", ["checkpoint.before", "checkpoint.durable"])
def test_is_answered_too_late(pipe, point):
    """Frozen past its lease while it makes one: the task is ended at the fence.
    Nobody takes over, so it wakes and goes on with what it had."""
    write(pipe, SAVING)
    running = start(pipe, "--lease", "500ms", program=fault_bin(),
                    EBB_FAULT_STOP="%s:1" % point)
    wait_until(lambda: state_of(running.pid) == "T", 10, "stopped")
    wait_until(lambda: not any(b"task.sh" in c for c in commands(pipe)), 10, "the task's end")
    kill(running.pid, signal.SIGCONT)
    r = running.wait(20)
    r.check_words()
    assert r.code == 0, r.err
    pipe.wait_alone()
    assert out(pipe) == b"one\ntwo\n"
    assert not list(pipe.root.glob(CLEAN))


@pytest.mark.parametrize("how", [[signal.SIGTERM], [signal.SIGTERM, signal.SIGINT], [signal.SIGKILL]])
@pytest.mark.parametrize("point", ["restore.before", "restore.after"])
def test_is_told_to_stop_while_its_folder_is_restored(pipe, point, how):
    """It was claimed and has not begun: given back, with what it had saved."""
    write(pipe, SAVING)
    running = start(pipe, program=fault_bin(), EBB_FAULT_CRASH="checkpoint.after:1")
    assert running.wait(10).code == -9
    pipe.wait_alone()
    running = pipe.start(["run", "p.yaml"], fault_bin(), EBB_FAULT_STOP=point + ":1")
    wait_until(lambda: state_of(running.pid) == "T", 10, "stopped")
    for sig in how:
        kill(running.pid, sig)
    kill(running.pid, signal.SIGCONT)
    # 0: it was restored, and begun, before the signal was heard.
    code = running.wait(10).code
    assert code in {0, 75, 130, -9}
    pipe.wait_alone()
    assert len(pipe.starts()) == 1 or code != -9
    run(pipe)
    assert out(pipe) == b"one\ntwo\n"
    assert not list(pipe.root.glob(CLEAN))


def commands(box):
    found = []
    for pid in box.alive():
        try:
            with open("/proc/%d/cmdline" % pid, "rb") as f:
                found.append(f.read())
        except OSError:
            pass
    return found


def test_does_not_wait_for_its_answer(pipe, tally):
    """Ends while its checkpoint is being made, at any moment of a stop by TERM
    or by force: it is durable with its output, or it does not exist."""
    write(pipe, LOG + """
at=$("$EBB" task offset)
while [ "$at" -lt 40 ]; do
	at=$((at + 1))
	echo "$at"
	if [ $((at % 5)) = 0 ]; then
		("$EBB" task checkpoint "$at" &) 2>/dev/null
		# Longer each time, for builds in which asking takes long.
		sleep "$(printf '0.%03d' $((RANDOM % (10 + 10 * (EBB_FAILURES % 50)))))"
		exit 85
	fi
done
""", count=2, more=["stop: {to: leader}"])
    text = (pipe.root / "p.yaml").read_text()
    (pipe.root / "p.yaml").write_text(text.replace("failures: 3", "failures: 1000"))
    rounds = min(setting("EBB_ROUNDS", 12), 100) or 100
    for i in range(rounds):
        running = start(pipe, "-j2", "--grace", "6s")
        signal.sigtimedwait([], 0.005 * (i % 11))
        kill(running.pid, signal.SIGTERM)
        if i % 3 == 0:
            kill(running.pid, signal.SIGINT)
            kill(running.pid, signal.SIGINT)
        r = running.wait(20)
        assert r.code in UNFINISHED | {0, 130, -signal.SIGTERM, -signal.SIGINT}, r.err
        pipe.wait_alone()
        tally("ends while a checkpoint is made", "rounds", 1)
    run(pipe)
    assert is_finished(pipe)
    want = "".join("%d\n" % n for n in range(1, 41)).encode()
    assert [out(pipe, "0"), out(pipe, "1")] == [want, want]
    assert not list(pipe.root.glob(CLEAN))


def test_quotes_in_names_stay_theirs(pipe):
    """The folder of the state has a name that shells and JSON take apart."""
    odd = "a b'c\"d$e"
    pipe.env["EBB_STATE"] = str(pipe.root / odd)
    write(pipe, SAVING + "test -d " + shlex.quote(str(pipe.root / odd)))
    run(pipe)
    assert out(pipe) == b"one\ntwo\n"
