"""ebb exec: one command under the contract."""

import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest

from ebbtest import ROOT, SANITIZER, ebb_bin, kill, parent_of, pids, proc_text, state_of, wait_until

@pytest.fixture
def tmp(tmp_path):
    """$TMPDIR of ebb exec: whatever happens, nothing may be left in it."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    yield folder
    assert os.listdir(folder) == []


def environment(tmp, **more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("EBB_")}
    env.update(TMPDIR=str(tmp), PATH="%s:%s" % (os.path.dirname(ebb_bin()), env["PATH"]))
    env.update(more)
    return env


def start(tmp, *words, env=(), prefix=(), **how):
    how = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
           "start_new_session": True, **how}
    return subprocess.Popen([*prefix, ebb_bin(), "exec", *map(str, words)], text=True,
                            env=environment(tmp, **dict(env)), **how)


def finish(running, code=0, seconds=30):
    out, err = running.communicate(timeout=seconds)
    assert not SANITIZER.search(err or ""), err
    assert running.returncode == code, (running.returncode, out, err)
    return out, err


def run(tmp, *words, code=0, **how):
    return finish(start(tmp, *words, **how), code)


def wait_line(running):
    line = running.stdout.readline()
    assert line, "ended without a word: " + running.stderr.read()
    return line.rstrip("\n")


def is_gone(pid):
    return state_of(pid) in ("", "Z")


def children_deep(pid):
    tree = [pid]
    for p in pids():
        if parent_of(p) in tree:
            tree.append(p)
    return tree[1:]


def sleeps(running):
    return any(proc_text(p, "comm") == b"sleep\n" for p in children_deep(running.pid))


# ---- exit codes ----

@pytest.mark.parametrize("words, code", [
    (["true"], 0), (["--", "sh", "-c", "exit 7"], 7), (["exit 75"], 2), (["exit 9 "], 9),
    (["--", "sh", "-c", "kill -9 $$"], 137), (["--", "sh", "-c", "kill -TERM $$"], 143),
    (["--", "sh", "-c", "kill -PIPE $$"], 141), (["no-such-program"], 127), (["/nonexistent/x"], 127),
    (["/etc/passwd"], 126), (["/etc"], 126), ([], 2), (["--"], 2), (["--grcae", "1s", "true"], 2),
    (["--stop-signal", "STOP", "true"], 2), (["--stop-to", "all", "true"], 2), (["--grace", "x", "true"], 2)])
def test_exit_codes(tmp, words, code):
    if words == ["exit 75"]:
        words, code = ["exit 75;"], 75  # one word with a blank: a shell's
    err = run(tmp, *words, code=code)[1]
    if code in (125, 126, 127, 2) or not words:
        assert err.startswith("ebb: ")
    else:
        assert err == ""


def test_a_script_with_a_missing_interpreter(tmp, tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/nonexistent/shell\n")
    script.chmod(0o755)
    assert "script" in run(tmp, script, code=127)[1]


def test_a_bad_tmpdir(tmp, tmp_path):
    err = run(tmp, "true", code=125, env={"TMPDIR": str(tmp_path / "none")})[1]
    assert "TMPDIR" in err


def test_a_string_is_a_strict_shell(tmp):
    assert run(tmp, "false | true; echo no", code=1)[0] == ""
    assert run(tmp, "echo $((1 + 2))")[0] == "3\n"
    assert run(tmp, "--", "echo", "a  b", "$HOME")[0] == "a  b $HOME\n"


# ---- what the command gets ----

def test_environment(tmp):
    out = run(tmp, "--", "env", env={"EBB_STATE": "/x", "LD_LIBRARY_PATH": "/nonexistent/lib"})[0]
    got = dict(line.split("=", 1) for line in out.splitlines())
    assert {k: got[k] for k in ("EBB_CONTRACT", "EBB_EPOCH", "EBB_ATTEMPT", "EBB_FAILURES", "EBB_SLOT",
                                "EBB_INTERRUPTIONS", "EBB_INDEX", "EBB_COUNT", "EBB_OFFSET")} == {
        "EBB_CONTRACT": "1", "EBB_EPOCH": "1", "EBB_ATTEMPT": "1", "EBB_FAILURES": "0", "EBB_SLOT": "0",
        "EBB_INTERRUPTIONS": "0", "EBB_INDEX": "0", "EBB_COUNT": "1", "EBB_OFFSET": "0"}
    for name in "RUN", "STAGE", "SHARD", "INPUT", "OUTPUT", "CHECKPOINT", "DEADLINE":
        assert got["EBB_" + name] == ""
    assert got["EBB_CONTROL"].startswith(str(tmp)) and got["EBB_SCRATCH"].startswith(str(tmp))
    assert got["EBB_STATE"] == "/x" and got["LD_LIBRARY_PATH"] == "/nonexistent/lib"
    assert "EBB_WORKER" not in got and "EBB_SHARD_ROW" not in got


def test_inside_another_ebb(tmp):
    outer = {"EBB_WORKER": "t0", "EBB_SHARD_ROW": "5", "EBB_EPOCH": "9", "EBB_SLOT": "3", "EBB_RUN": "r1"}
    out = run(tmp, "--", "env", env=outer)[0].splitlines()
    assert "EBB_WORKER_OUTER=t0/5/9/3" in out and "EBB_EPOCH=1" in out and "EBB_RUN=" in out
    assert not any(line.startswith(("EBB_WORKER=", "EBB_SHARD_ROW=")) for line in out)


def test_scratch_is_a_folder_and_goes(tmp):
    run(tmp, 'test -d "$EBB_SCRATCH" && mkdir -p "$EBB_SCRATCH/a/b" && touch "$EBB_SCRATCH/a/b/c"')


def test_descriptors_and_dispositions(tmp):
    text = ("import os, signal\n"
            "print(sorted(int(f) for f in os.listdir('/proc/self/fd')))\n"
            "print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, signal.pthread_sigmask(0, []))\n")
    r, w = os.pipe()
    running = start(tmp, "--", sys.executable, "-c", text, pass_fds=[r],
                    preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    os.close(r)
    os.close(w)
    lines = finish(running)[0].splitlines()
    # What was handed over on purpose, and the listing's own one.
    files = json.loads(lines[0])
    assert len(files) == 5 and {0, 1, 2, r} <= set(files)
    assert lines[1] == "True set()"


def test_closed_standard_files(tmp):
    done = subprocess.run(["bash", "-c", 'exec "$0" exec -- "$@" <&- >&- 2>&-', ebb_bin(), "sh", "-c",
                           "exit 4"], env=environment(tmp), timeout=30)
    assert done.returncode == 4


def test_requests_are_answered(tmp):
    text = ("import ebb_task as ebb, os, sys\n"
            "os.environ['EBB_CHECKPOINT'] = '/tmp'\n"
            "try: ebb.checkpoint(3)\n"
            "except ebb.NotDurable as e: sys.exit(e.code)\n")
    env = {"PYTHONPATH": str(ROOT / "python"), "PYTHONDONTWRITEBYTECODE": "1"}
    run(tmp, "--", sys.executable, "-c", text, code=2, env=env)
    run(tmp, "--", ebb_bin(), "task", "checkpoint", "5")  # none are kept: nothing to do


# ---- stopping ----

TELLS = """trap 'test -e "$EBB_NOTICE_FILE" && ebb task should-stop && ebb task seconds-left; exit 5' TERM
exec 9<> <(:); echo ready; while :; do read -r -t 0.02 -u 9 || true; done"""


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_drain_tells_the_command(tmp, sig):
    running = start(tmp, "--grace", "25s", "--", "bash", "-c", TELLS)
    assert wait_line(running) == "ready"
    running.send_signal(sig)
    out, err = finish(running, 5)
    assert 15 <= int(out) <= 25 and err == ""


def test_the_notice_file(tmp):
    running = start(tmp, "--", "trap 'cat \"$EBB_NOTICE_FILE\"; exit 0' TERM; echo ready; sleep 100 & wait",
                    env={"EBB_GRACE": "50s"})
    assert wait_line(running) == "ready"
    now = time.time()
    running.send_signal(signal.SIGTERM)
    notice = json.loads(finish(running)[0])
    boot_left = notice["deadline_boot_ns"] / 1e9 - time.clock_gettime(time.CLOCK_BOOTTIME)
    assert 30 < boot_left <= 50 and now + 49 < notice["deadline_unix"] < now + 60
    del notice["deadline_boot_ns"], notice["deadline_unix"]
    assert notice == {"ebb_notice": 1, "reason": "drain", "plan": "checkpoint"}


def test_a_stop_file(tmp, tmp_path):
    stop = tmp_path / "stop"
    running = start(tmp, "--stop-file", stop, "--", "echo ready; exec sleep 100")
    assert wait_line(running) == "ready"
    stop.touch()
    finish(running, 143)


def test_the_stop_signal_goes_to_the_program(tmp):
    running = start(tmp, "--", "sh", "-c", "echo ready; sleep 100; echo went on; exit 3")
    assert wait_line(running) == "ready"
    wait_until(lambda: sleeps(running), 10, "the sleep")
    running.send_signal(signal.SIGTERM)
    assert finish(running, 3)[0] == "went on\n"


@pytest.mark.parametrize("to, code", [("leader", 143), ("group", 143), ("main", 3)])
def test_stop_to(tmp, to, code):
    running = start(tmp, "--stop-to", to, "--", "sh", "-c", "sleep 100 & echo ready; wait $!; exit 3")
    assert wait_line(running) == "ready"
    wait_until(lambda: sleeps(running), 10, "the sleep")
    running.send_signal(signal.SIGTERM)
    finish(running, code)


def test_another_stop_signal(tmp):
    running = start(tmp, "--stop-signal", "SIGUSR2", "--", "trap 'exit 6' USR2; echo ready; sleep 100 & wait")
    assert wait_line(running) == "ready"
    running.send_signal(signal.SIGTERM)
    finish(running, 6)


STUBBORN = "trap '' TERM INT; echo $$; (trap '' TERM; sleep 200) & while :; do sleep 200; done"


def test_at_the_deadline_all_is_killed(tmp):
    running = start(tmp, "--grace", "300ms", "--", "bash", "-c", STUBBORN)
    pid = int(wait_line(running))
    began = time.monotonic()
    running.send_signal(signal.SIGTERM)
    finish(running, 137)
    assert time.monotonic() - began >= 0.29
    assert is_gone(pid)


def test_a_second_int_forces(tmp):
    running = start(tmp, "--grace", "100s", "--", "bash", "-c", STUBBORN)
    pid = int(wait_line(running))
    running.send_signal(signal.SIGTERM)
    running.send_signal(signal.SIGTERM)  # says nothing new
    wait_until(lambda: list(tmp.glob("*/0.notice")), 10, "the notice")
    assert running.poll() is None
    running.send_signal(signal.SIGINT)
    finish(running, 137)
    assert is_gone(pid)


def test_other_signals_are_forwarded(tmp):
    script = "trap 'echo usr1' USR1; trap 'echo winch' WINCH; trap 'exit 0' USR2\n" \
             "echo ready; while :; do read -r -t 0.02 <> <(:) || true; done"
    running = start(tmp, "--", "bash", "-c", script)
    assert wait_line(running) == "ready"
    running.send_signal(signal.SIGUSR1)
    assert wait_line(running) == "usr1"
    running.send_signal(signal.SIGWINCH)
    assert wait_line(running) == "winch"
    running.send_signal(signal.SIGUSR2)
    finish(running)


def test_nohup_is_respected(tmp):
    running = start(tmp, "--", "echo ready; exec sleep 100",
                    preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert wait_line(running) == "ready"
    running.send_signal(signal.SIGHUP)
    time.sleep(0.1)
    assert running.poll() is None and not list(tmp.glob("*/0.notice"))
    running.send_signal(signal.SIGTERM)
    finish(running, 143)


def test_a_stopped_command_hears_of_the_drain(tmp):
    running = start(tmp, "--", "echo $$; exec sleep 100")
    pid = int(wait_line(running))
    kill(pid, signal.SIGSTOP)
    wait_until(lambda: state_of(pid) == "T", 10, "stopped")
    running.send_signal(signal.SIGTERM)
    finish(running, 143)


# ---- descendants ----

def test_what_outlives_the_command_is_ended(tmp):
    script = "setsid sleep 300 & echo $!; (setsid sh -c 'echo $$; exec sleep 300' &) ; sleep 0.1; exit 4"
    out = run(tmp, "--", "bash", "-c", script, code=4)[0]
    pids = [int(p) for p in out.split()]
    assert len(pids) == 2 and all(is_gone(p) for p in pids)


def test_wait_all(tmp, tmp_path):
    done = tmp_path / "done"
    script = "(sleep 0.3; echo late; touch %s) & exit 4" % done
    assert run(tmp, "--wait-all", "--", "bash", "-c", script, code=4)[0] == "late\n"
    assert done.exists()
    running = start(tmp, "--wait-all", "--grace", "100s", "--", "bash", "-c", "sleep 300 & echo $!; exit 4")
    pid = int(wait_line(running))
    running.send_signal(signal.SIGTERM)
    finish(running, 4)
    assert is_gone(pid)
    running = start(tmp, "--wait-all", "--grace", "0s", "--", "bash", "-c",
                    "(trap '' TERM; echo ready; sleep 300; sleep 300) & exit 4")
    assert wait_line(running) == "ready"
    running.send_signal(signal.SIGTERM)
    finish(running, 4)


def test_orphans_are_reaped(tmp):
    script = ("for i in 1 2 3 4 5; do (sleep 0.01 &) ; done; sleep 0.3; "
              "for p in $(cat /proc/$PPID/task/*/children); do cut -d' ' -f3 /proc/$p/stat; done; exit 0")
    out = run(tmp, "--", "bash", "-c", script)[0]
    assert "Z" not in out


def test_children_from_before_are_let_be(tmp):
    # A shell that becomes ebb exec, with a job of its own.
    script = 'sleep 300 & echo $!; exec "$0" exec -- true'
    running = subprocess.Popen(["bash", "-c", script, ebb_bin()], env=environment(tmp), text=True,
                               stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    pid = int(running.stdout.readline())
    assert running.wait(30) == 0
    running.stdout.close()
    try:
        assert not is_gone(pid)
    finally:
        kill(pid)


def test_the_command_dies_with_ebb(tmp, tmp_path):
    other = tmp_path / "other"  # a kill -9 leaves the folder behind
    other.mkdir()
    running = start(other, "--", "echo $$; exec sleep 300")
    pid = int(wait_line(running))
    running.kill()
    running.wait(10)
    wait_until(lambda: is_gone(pid), 10, "the command is gone")
    running.communicate()


def test_no_descriptor_of_ebbs_own_leaks(tmp):
    out = run(tmp, "--", "bash", "-c", "ls /proc/$$/fd | wc -l; ls -l /proc/$$/fd")[0]
    assert "ebb-exec" not in out and "inotify" not in out and "signalfd" not in out and "tty" not in out


# ---- process 1 ----

def unshare_works():
    done = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], stderr=subprocess.DEVNULL)
    return done.returncode == 0


UNSHARE = ["unshare", "--pid", "--fork", "--kill-child"]


@pytest.mark.parametrize("proc", [["--mount-proc"], []])
def test_as_process_1(tmp, proc):
    if not unshare_works():
        pytest.skip("pid namespaces cannot be made here")
    script = ("test $PPID = 1 || exit 1; for i in 1 2 3; do (sleep 0.01 &) ; done; setsid sleep 300 & "
              "trap 'echo term; exit 6' TERM; echo ready; while :; do read -r -t 0.02 <> <(:) || true; done")
    running = start(tmp, "--", "bash", "-c", script, prefix=UNSHARE + proc)
    assert wait_line(running) == "ready"
    (inner,) = [p for p in children_deep(running.pid) if parent_of(p) == running.pid]
    kill(inner, signal.SIGTERM)
    began = time.monotonic()
    assert finish(running, 6)[0] == "term\n"
    assert time.monotonic() - began < 8


# ---- a terminal ----

class Terminal:
    """A shell with job control on a terminal of its own."""

    def __init__(self, env):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], dict(env, PS1="$ ", TERM="dumb"))
        self.seen = ""

    def type(self, text):
        os.write(self.fd, text.encode())

    def expect(self, text, seconds=15):
        """Reads until the text has come; forgets everything up to it."""
        end = time.monotonic() + seconds
        os.set_blocking(self.fd, False)
        while text not in self.seen:
            assert time.monotonic() < end, "no %r in %r" % (text, self.seen)
            try:
                self.seen += os.read(self.fd, 4096).decode(errors="replace")
            except BlockingIOError:
                time.sleep(0.005)
        self.seen = self.seen.split(text, 1)[1]

    def close(self):
        kill(self.pid)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def terminal(tmp):
    t = Terminal(environment(tmp))
    t.type("stty -echo; echo be''gin\n")
    t.expect("begin")
    yield t
    t.close()


ASKS = "trap 'echo int; exit 3' INT; trap 'echo cont' CONT; echo rea''dy; " \
       "while :; do IFS= read -r x && echo \"got $x\"; done"


def test_terminal_input_and_interrupt(terminal):
    terminal.type("ebb exec -- bash -c \"%s\"; echo co''de $?\n" % ASKS.replace('"', '\\"').replace("$x", "\\$x"))
    terminal.expect("ready")
    terminal.type("hello\n")
    terminal.expect("got hello")  # it may read: it is in the foreground
    terminal.type("\x03")
    terminal.expect("int")  # Ctrl-C is the command's own, and no drain
    terminal.expect("code 3")
    terminal.type("echo st''ill here\n")
    terminal.expect("still here")  # the shell has its terminal again


def test_terminal_job_control(terminal, tmp):
    terminal.type("ebb exec -- sh -c 'echo rea\"\"dy; cat; echo e\"\"nd'; echo af''ter $?\n")
    terminal.expect("ready")
    terminal.type("one\n")
    terminal.expect("one")
    terminal.type("\x1a")
    terminal.expect("Stopped")
    terminal.type("echo she''ll\n")
    terminal.expect("shell")
    terminal.type("fg\n")
    terminal.expect("ebb exec")
    terminal.type("two\n")
    terminal.expect("two")
    terminal.type("\x1a")
    terminal.expect("Stopped")
    # In the background it stops when it reads, and says so to the shell.
    terminal.type("bg; wait %1; echo wai''ted\n")
    terminal.expect("waited")
    terminal.type("fg\n")
    terminal.expect("ebb exec")
    terminal.type("three\n")
    terminal.expect("three")
    terminal.type("\x04")
    terminal.expect("end")
    terminal.type("echo la''st\n")
    terminal.expect("last")
    wait_until(lambda: os.listdir(tmp) == [], 10, "the folder is gone")


def test_terminal_in_the_background_from_the_start(terminal):
    terminal.type("ebb exec -- sh -c 'echo rea\"\"dy; read x; echo \"got $x\"' &\n")
    terminal.expect("ready")
    terminal.type("wait %1; echo wai''ted\n")
    terminal.expect("waited")
    terminal.type("fg\n")
    terminal.expect("ebb exec")
    terminal.type("word\n")
    terminal.expect("got word")
    terminal.type("echo la''st\n")
    terminal.expect("last")


def test_terminal_in_a_pipeline(terminal):
    """The other end of the pipe keeps the terminal; Ctrl-C stops both."""
    terminal.type("ebb exec -- sh -c 'echo one; exec sleep 100' | (read x; echo \"x $x\"; read y </dev/tty; "
                  "echo \"y $y\"; cat)\n")
    terminal.expect("x one")
    terminal.type("word\n")
    terminal.expect("y word")
    terminal.type("\x03")
    terminal.type("echo la''st\n")
    terminal.expect("last")


def test_terminal_drain(terminal):
    terminal.type("ebb exec -- sh -c 'echo $PPID rea\"\"dy; exec sleep 100'; echo co''de $?\n")
    seen = ""
    end = time.monotonic() + 15
    while "ready" not in seen and time.monotonic() < end:
        try:
            seen += os.read(terminal.fd, 4096).decode(errors="replace")
        except BlockingIOError:
            time.sleep(0.005)
    os.kill(int(seen.split("ready")[0].split()[-1]), signal.SIGTERM)
    terminal.expect("code 143")
