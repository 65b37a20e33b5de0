"""From the moment when a platform gives notice to a command that knows it, and to what it
saved then being durable; and what listening costs while nothing happens."""
import json
import math
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from statistics import median

from measure import BenchFailed, Program

SAMPLES = 30
QUICK_SAMPLES = 5
IDLE_S = 30
QUICK_IDLE_S = 8
POLL_S = {"aws": 2.0, "azure": 1.0}  # how often ebb asks; the others tell by themselves
PIPELINE = """version: 1
name: notice
stages:
  wait:
    input: {count: 1}
    run: [/usr/bin/python3, -u, %s]
    retry: {interruptions: 1000}
"""
TASK = """import os, sys, time
sys.path.insert(0, %r)
import ebb_task as ebb
with open("ready", "a") as f:
    f.write("x")
while not ebb.should_stop():
    time.sleep(0.0003)
heard = time.time_ns()
with open(os.path.join(os.environ["EBB_CHECKPOINT"], "state"), "w") as f:
    f.write("x" * 4096)
ebb.checkpoint(1)
with open("heard", "a") as f:
    f.write("%%d %%d\\n" %% (heard, time.time_ns()))
sys.exit(85)
"""


def p99(values):
    """The smallest that 99 % are not above: with fewer than 100 the largest."""
    return sorted(values)[math.ceil(len(values) * 0.99) - 1]


class Cloud:
    """`ebb chaos serve`, and a notice at a known moment."""

    def __init__(self, bench, folder, name):
        self.trigger = folder / "trigger"
        self.out = folder / "serve.out"
        with open(self.out, "wb") as out:
            self.child = subprocess.Popen([bench.ebb, "chaos", "serve", name, "--trigger", self.trigger],
                                          stdout=out, stderr=subprocess.DEVNULL)
        while b"\n" not in self.out.read_bytes():
            if self.child.poll() is not None:
                raise BenchFailed(f"ebb chaos serve {name} ended")
            time.sleep(0.01)
        ready = json.loads(self.out.read_bytes().splitlines()[0])
        self.endpoint = ready["endpoint"]

    def tell(self, command):
        """Just before it is done."""
        draft = self.trigger.with_suffix(".new")
        draft.write_text(command + "\n")
        before = self.out.read_bytes().count(b"command")
        at = time.time_ns()
        draft.rename(self.trigger)
        while self.out.read_bytes().count(b"command") == before:
            time.sleep(0.0005)
        return at

    def end(self):
        self.child.terminate()
        self.child.wait()


class Worker:
    """A run with one command, which waits for its notice."""

    def __init__(self, bench, folder):
        self.bench, self.folder = bench, folder
        module = Path(__file__).resolve().parent.parent / "python"
        (folder / "task.py").write_text(TASK % str(module))
        (folder / "notice.yaml").write_text(PIPELINE % (folder / "task.py"))
        self.n = 0

    def begin(self, *options):
        ready = self.folder / "ready"
        command = [self.bench.ebb, "run", "-j1", "-q", "--state", "S", *options, "notice.yaml"]
        program = self.bench.start("run", command, self.folder) if self.n == 0 else \
            Program(command, self.folder)
        self.n += 1
        program.until("its command waits", lambda: ready.exists() and
                      len(ready.read_text()) >= self.n, 0.002)
        return program

    def heard(self, program):
        """When the command knew, and when its state was durable (wall clock, ns)."""
        program.wait()
        if program.code != 75:
            program.fail(f"exit code {program.code}")
        lines = (self.folder / "heard").read_text().splitlines()
        if len(lines) != self.n:
            raise BenchFailed("a command was not told in time")
        return tuple(int(word) for word in lines[-1].split())


def by_cloud(name):
    def flip(bench, worker, folder, n, chance):
        cloud = Cloud(bench, folder, name)
        times = []
        try:
            for _ in range(n):
                program = worker.begin("--notice", f"{name}={cloud.endpoint}")
                # Until it has asked for the first time, and somewhere between two questions.
                time.sleep(0.5 + chance.random() * POLL_S.get(name, 0.5))
                at = cloud.tell("notice 30s")
                times.append((at, *worker.heard(program)))
                cloud.tell("withdraw")
        finally:
            cloud.end()
        return times
    return flip


def by_signal(bench, worker, folder, n, chance):
    times = []
    for _ in range(n):
        program = worker.begin("--notice", "none", "--grace", "30s")
        time.sleep(0.2 + chance.random() * 0.2)
        at = time.time_ns()
        os.kill(program.pid, signal.SIGTERM)
        times.append((at, *worker.heard(program)))
    return times


def by_file(bench, worker, folder, n, chance):
    times = []
    for _ in range(n):
        program = worker.begin("--notice", "none", "--grace", "30s", "--stop-file", folder / "stop")
        time.sleep(0.2 + chance.random() * 0.2)
        at = time.time_ns()
        (folder / "stop").touch()
        times.append((at, *worker.heard(program)))
        (folder / "stop").unlink()
    return times


SOURCES = {"signal": by_signal, "file": by_file, "gcp": by_cloud("gcp"), "azure": by_cloud("azure"),
           "aws": by_cloud("aws")}


def cpu_s(pid):
    """Of all of its threads, in ns by the scheduler: a clock tick is too long for this."""
    return sum(int((task / "schedstat").read_text().split()[0])
               for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9


def memory_mib(pid):
    """Private dirty and resident."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value, *_ = line.split()
        found[name] = int(value) / 1024
    return found["Private_Dirty:"], found["Rss:"]


def idle(bench, name, seconds):
    """What `ebb watch` costs while nothing happens: per cent of a CPU, MiB, MiB."""
    folder = bench.new_folder()
    cloud = Cloud(bench, folder, name)
    with open(folder / "out", "wb") as out:
        child = subprocess.Popen([bench.ebb, "watch", "--source", f"{name}={cloud.endpoint}"],
                                 stdout=out, stderr=subprocess.DEVNULL)
    try:
        time.sleep(3)
        before, began = cpu_s(child.pid), time.monotonic()
        time.sleep(seconds)
        used = (cpu_s(child.pid) - before) / (time.monotonic() - began) * 100
        dirty, resident = memory_mib(child.pid)
    finally:
        child.terminate()
        child.wait()
        cloud.end()
    return used, dirty, resident


def notice(bench):
    n = QUICK_SAMPLES if bench.quick else SAMPLES
    seconds = QUICK_IDLE_S if bench.quick else IDLE_S
    chance = random.Random(1)
    told, durable = [], []
    for name, flip in SOURCES.items():
        bench.say(f"{n} notices by {name}")
        folder = bench.new_folder()
        times = flip(bench, Worker(bench, folder), folder, n, chance)
        late = [(heard - at) / 1e6 for at, heard, _ in times]
        saved = [(done - heard) / 1e6 for _, heard, done in times]
        bench.row(f"{name}: notice to the command", "ms", late)
        durable += saved
        if name in POLL_S:
            bench.figures[f"{name}_p99_ms"] = p99(late)
            bench.figures[f"{name}_poll_ms"] = POLL_S[name] * 1000
        else:
            told += late
            bench.figures[f"{name}_p99_ms"] = p99(late)
    bench.row("from there to a durable checkpoint", "ms", durable)
    bench.say(f"idle for {seconds} s on each cloud")
    costs = {name: idle(bench, name, seconds) for name in ("aws", "gcp", "azure")}
    for name, (cpu, dirty, resident) in costs.items():
        bench.note(f"ebb watch on {name}: {cpu:.3f} % of a CPU, {dirty:.1f} MiB private and dirty, "
                   f"{resident:.1f} MiB resident")
    bench.figures = {"p99_ms": p99(told), "idle_cpu_pct": max(cost[0] for cost in costs.values()),
                     "durable_p99_ms": p99(durable), "durable_p50_ms": median(durable),
                     "idle_dirty_mib": max(cost[1] for cost in costs.values()),
                     "idle_resident_mib": max(cost[2] for cost in costs.values()), **bench.figures}
    bench.note("p99_ms is that of signal, file and long poll together; those that are polled hear it "
               "within their interval")
