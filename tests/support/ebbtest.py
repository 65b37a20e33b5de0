"""Running ebb in tests: a folder of its own, time limits, and a look at what is
left behind afterwards.

Every process that a test starts carries EBB_TEST_TOKEN=<token> in its
environment, and so do all of its descendants; whatever still has it after the
test is a leak. Processes are only ever ended by their pid.

Settings: EBB_BIN and EBB_FAULT_BIN name the programs, else they are ebb and
tests/ebb-fault in the build folder EBB_TEST_BUILD (build)."""

import dataclasses
import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import time
import uuid
from pathlib import Path

import pytest

SUPPORT = Path(__file__).resolve().parent
ROOT = SUPPORT.parent.parent
SHARD = str(SUPPORT / "shard.sh")

# What ebb may exit with, and what of it says "start me again".
EXITS = {0, 1, 2, 3, 4, 75, 130}
UNFINISHED = {1, 3, 75}
SANITIZER = re.compile(r"(Address|Leak|Thread|UndefinedBehavior)Sanitizer|runtime error:|"
                       r"[Aa]ssertion .*failed|stack smashing")
OTHER_BOOT = "00000000-1111-2222-3333-444444444444"


# ---- programs ----

def build_dir():
    return Path(os.environ.get("EBB_TEST_BUILD", ROOT / "build"))


def find_program(variable, name):
    """Path of a built program."""
    path = Path(os.environ.get(variable, build_dir() / name))
    if path.is_file():
        return str(path.resolve())
    pytest.fail("%s is not built (%s)" % (name, path))
    return ""


def ebb_bin():
    return find_program("EBB_BIN", "ebb")


def fault_bin():
    return find_program("EBB_FAULT_BIN", "tests/ebb-fault")


def probe_bin():
    return str(Path(os.environ.get("EBB_PROBE_BIN", build_dir() / "tests/fault-probe")).resolve())


# ---- waiting and looking ----

def wait_until(condition, seconds, what):
    """Polls until condition() is true and returns its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail("not within %g s: %s" % (seconds, what))
        time.sleep(0.002)


def pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def proc_text(pid, name):
    try:
        return Path("/proc/%d/%s" % (pid, name)).read_bytes()
    except OSError:
        return b""


def with_token(token):
    """Pids of live processes that carry the token (zombies have no
    environment)."""
    want = b"EBB_TEST_TOKEN=" + token.encode()
    return [p for p in pids() if want in proc_text(p, "environ").split(b"\0")]


def parent_of(pid):
    stat = proc_text(pid, "stat")
    return int(stat.rsplit(b")", 1)[1].split()[1]) if stat else 0


def state_of(pid):
    stat = proc_text(pid, "stat")
    return stat.rsplit(b")", 1)[1].split()[0].decode() if stat else ""


def guardian_of(pid):
    """The guardian: a child of ebb that runs the same program. None if it is
    not there (yet)."""
    for child in pids():
        try:
            if parent_of(child) == pid and os.path.samefile(
                    "/proc/%d/exe" % child, "/proc/%d/exe" % pid):
                return child
        except OSError:
            continue
    return None


def kill(pid, sig=signal.SIGKILL):
    """Signals one process; one that has gone is fine."""
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        pass


def describe(pid):
    return "%d (%s)" % (pid, proc_text(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace"))


# ---- one run of a program ----

@dataclasses.dataclass
class Result:
    code: int       # negative: the signal that ended it
    out: bytes
    err: str

    def check_words(self):
        """Never a crash, never a sanitizer's report, never silence."""
        assert self.code >= 0, "ended by signal %d\n%s" % (-self.code, self.err)
        assert not SANITIZER.search(self.err), self.err
        assert self.code in EXITS, "exit code %d is not documented\n%s" % (self.code, self.err)
        if self.code not in (0, 75, 130):
            assert self.err.strip(), "exit code %d without a word" % self.code


class Running:
    """A started program; its output goes to files, so that nobody who holds a
    pipe can keep us waiting."""

    def __init__(self, box, args, env, cwd=None):
        box.runs += 1
        self.out_path = box.top / ("%d.out" % box.runs)
        self.err_path = box.top / ("%d.err" % box.runs)
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.proc = subprocess.Popen(args, cwd=cwd or box.root, env=env, stdout=out, stderr=err,
                                         stdin=subprocess.DEVNULL, start_new_session=True)
        self.pid = self.proc.pid

    def poll(self):
        return self.proc.poll()

    def wait(self, seconds):
        try:
            self.proc.wait(seconds)
        except subprocess.TimeoutExpired:
            words = self.err_path.read_text(errors="replace")[-2000:]
            pytest.fail("still running after %g s\n%s" % (seconds, words))
        return self.result()

    def result(self):
        return Result(self.proc.returncode, self.out_path.read_bytes(),
                      self.err_path.read_text(errors="replace"))


class Box:
    """A folder to run ebb in: `root` is its working folder, `top` the one above
    where logs are."""

    def __init__(self, top):
        self.top = Path(top)
        self.root = self.top / "w"
        self.root.mkdir()
        self.log = self.top / "runs.log"
        self.log.touch()
        self.token = uuid.uuid4().hex
        self.runs = 0
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("EBB_")}
        self.env.update(EBB_TEST_TOKEN=self.token, EBBTEST_LOG=str(self.log), LC_ALL="C.UTF-8")

    def start(self, args, program=None, cwd=None, **env):
        full = dict(self.env)
        full.update((k, str(v)) for k, v in env.items())
        return Running(self, [program or ebb_bin()] + [str(a) for a in args], full, cwd)

    def run(self, args, program=None, seconds=30, cwd=None, **env):
        return self.start(args, program, cwd, **env).wait(seconds)

    def alive(self):
        return with_token(self.token)

    def wait_alone(self, seconds=1.0):
        """No process of this box is left after so many seconds; returns how
        long it took."""
        begin = time.monotonic()
        while True:
            left = self.alive()
            took = time.monotonic() - begin
            if not left:
                return took
            if took > seconds:
                pytest.fail("alive after %g s: %s" % (seconds, ", ".join(map(describe, left))))
            time.sleep(0.002)

    def end_all(self):
        """For cleaning up: kills what is left by pid; returns what it was."""
        leaked = [describe(p) for p in self.alive()]
        end = time.monotonic() + 5
        while time.monotonic() < end:
            left = self.alive()
            if not left:
                break
            for pid in left:
                kill(pid)
            time.sleep(0.005)
        return leaked

    def log_lines(self, skip=0):
        """[kind, item, epoch, pid] of each line of the run log that is whole."""
        text = self.log.read_text(errors="replace")
        return [line.split() for line in text.split("\n")[:-1] if len(line.split()) == 4][skip:]

    def starts(self, skip=0):
        return [line[1] for line in self.log_lines(skip) if line[0] == "start"]


# ---- what ebb says in JSON ----

def parse_json(text):
    """One object a line."""
    return [json.loads(line) for line in text.decode().splitlines()]


def shards(box):
    """Rows of `ebb shards --json` (one object a line); [] when there is no
    ledger yet."""
    r = box.run(["shards", "--json"])
    r.check_words()
    return parse_json(r.out) if r.code == 0 else []


def shard_causes(row):
    """The causes with which the attempts of a shard ended."""
    return {attempt["cause"] for attempt in row["attempts"]}


def decided(box):
    """Items that the ledger calls accepted or published."""
    return {row["name"] for row in shards(box) if row["state"] in ("accepted", "published")}


def status(box):
    """The newest run in `ebb status --json`; {} when there is none yet."""
    r = box.run(["status", "--json"])
    r.check_words()
    runs = json.loads(r.out)["runs"] if r.code == 0 else []
    return runs[-1] if runs else {}


def is_finished(box):
    """The newest run is sealed: the same line begins its next generation."""
    return status(box).get("state") == "finished"


# ---- the workload ----

def expected_bytes(item):
    """What shard.sh writes for an item, from its definition."""
    first = int(item[1:])
    lines = ["%s line %d" % (item, n) for n in range(first, first + 200)]
    return ("\n".join(sorted(lines, reverse=True)) + "\n").encode()


class Job:
    """One ebb command line in a box, started as often as it takes. Who derives
    from it says args() and problems()."""

    def __init__(self, box, slots, options):
        self.box = box
        self.slots = slots
        self.options = list(options)

    def start(self, program=None, *more, **env):
        return self.box.start(self.args(*more), program, **env)

    def run(self, program=None, seconds=60, **env):
        return self.start(program, **env).wait(seconds)

    def finish(self, program=None, seconds=60, **env):
        """The same line again, undisturbed: it must finish."""
        r = self.run(program, seconds, **env)
        assert r.code == 0, "exit code %d\n%s" % (r.code, r.err)
        r.check_words()
        self.box.wait_alone()
        return r

    def check(self):
        lost, foreign = self.problems()
        assert not lost, "missing or other bytes: %s" % lost
        assert not foreign, "left behind: %s" % foreign


class Workload(Job):
    """`ebb map` over items a<first>, a<first+1>, ... in one box. `state` is
    where this and later commands of the box keep their progress."""

    def __init__(self, box, count, first=1, slots=2, out="out", state=".ebb", options=(),
                 pause=0.01):
        super().__init__(box, slots, options)
        self.items = ["a%d" % n for n in range(first, first + count)]
        self.out = out
        box.env.update(EBBTEST_PAUSE=str(pause), EBB_STATE=state)

    def args(self, *more):
        return ["map", "-j%d" % self.slots, "--out", self.out + "/{}.txt", *self.options, *more,
                "--", SHARD, "{}", ":::", *self.items]

    def out_dir(self):
        return self.box.root / self.out

    def in_place(self):
        """item -> inode of the final names that are there."""
        found = {}
        for item in self.items:
            try:
                found[item] = (self.out_dir() / (item + ".txt")).stat().st_ino
            except FileNotFoundError:
                pass
        return found

    def problems(self):
        """What is wrong with the outputs, as (lost, foreign): items whose file
        is missing or has other bytes, and names that should not be there."""
        lost = []
        for item in self.items:
            path = self.out_dir() / (item + ".txt")
            if not path.is_file() or path.read_bytes() != expected_bytes(item):
                lost.append(item)
        names = {item + ".txt" for item in self.items}
        return lost, sorted(set(tree_names(self.out_dir())) - names)


def tree_names(folder):
    """Files and folders below a folder, relative to it. An empty .ebb-private,
    where ebb keeps unfinished output on another file system, does not count."""
    out = []
    for where, folders, files in os.walk(folder):
        here = os.path.relpath(where, folder)
        out += [os.path.normpath(os.path.join(here, n)) for n in folders + files
                if not n.startswith(".ebb-private") or os.listdir(os.path.join(where, n))]
    return out


def points_in(path):
    """[point, occurrence] of each line that EBB_FAULT_COUNT wrote."""
    return [line.split()[:2] for line in Path(path).read_text().splitlines()]


class Failures:
    """Many tries in one test: what failed is told at the end, all of it, but
    for the tries after the fifth failure."""

    def __init__(self):
        self.told = []

    def attempt(self, what, box, call, *args, **env):
        if len(self.told) >= 5:
            return
        try:
            call(*args, **env)
        except (AssertionError, pytest.fail.Exception) as e:
            self.told.append("%s: %s" % (what, e))
            box.end_all()

    def check(self):
        assert not self.told, "\n\n".join(self.told)


# ---- the Nth call fails ----

def count_calls(job):
    """How many (file calls, allocations, ...) an undisturbed run of a job makes."""
    path = job.box.top / "calls"
    job.finish(fault_bin(), EBB_FAULT_CALLS=path)
    job.check()
    return struct.unpack("<3Q", path.read_bytes()[:24])


def run_with_fault(job, seconds=40, **env):
    """One run with a fault: it says so and ends with a documented code, or goes
    on; the next one finishes, or finds nothing to do."""
    r = job.run(fault_bin(), seconds, **env)
    r.check_words()
    job.box.wait_alone()
    assert r.code in UNFINISHED | {0, 2}, "exit code %d\n%s" % (r.code, r.err)
    if r.code != 0:
        assert any(line.startswith("ebb: ") for line in r.err.splitlines()), r.err
        job.finish()
    job.check()
    return r


# ---- sharing between workers of pytest-xdist ----

def session_folder(tmp_path_factory):
    """One temporary folder for all workers of a session."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


def once(tmp_path_factory, name, make):
    """The value of make() (JSON), made once for all workers of a session."""
    base = session_folder(tmp_path_factory)
    path = base / (name + ".json")
    with open(base / (name + ".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            path.write_text(json.dumps(make()))
    return json.loads(path.read_text())


def spread(count, limit):
    """At most `limit` of the numbers 1..count, evenly spread."""
    if limit <= 0 or count <= limit:
        return list(range(1, count + 1))
    return sorted({1 + i * (count - 1) // (limit - 1) for i in range(limit)}) if limit > 1 else [1]


def setting(name, default):
    """A number from the environment; "all" is 0, no limit."""
    text = os.environ.get(name) or str(default)
    return 0 if text == "all" else int(text)
