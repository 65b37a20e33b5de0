"""What interruptions cost: a spot fleet of two workers of which each is taken away once a
minute and replaced at once, with a task that saves (`overhead`); and the same machine told
to stop every 10 s, with a plain task that cannot (`overhead_plain`)."""
import json
import signal
import subprocess
import time
from pathlib import Path
from statistics import median

from measure import BenchFailed, Exact, Program

SLOTS = 2
SHARD_S = 20
EVERY_S = 10          # between a start and its drain
ROUNDS = 12           # of all slots: 4 minutes
QUICK_ROUNDS = 2
DRAINED = 75
SAVING_S = 4.0        # a shard of the task that saves
MINUTE_S = 60
SAVING = """version: 1
name: saving
stages:
  work:
    input: {count: %d}
    run: [/usr/bin/python3, -u, %s]
    retry: {interruptions: 1000}
"""
# Does its work in steps of 20 ms, says how far it is, and saves where it is when it is told to.
TASK = """import sys, time
sys.path.insert(0, %r)
import ebb_task as ebb
at, steps = ebb.offset(), %d
while at < steps:
    if ebb.should_stop() and ebb.plan() != "finish" and ebb.checkpoint(at) is None:
        sys.exit(85)
    time.sleep(0.02)
    at += 1
    ebb.progress(at, steps)
"""


def command(bench, shards):
    return [bench.ebb, "map", f"-j{SLOTS}", "--state", "S",
            f"sleep {SHARD_S}; : {{}}", ":::", *range(shards)]


def begin(bench, label, folder, shards, first):
    """Nothing is synced before a later start: it would count."""
    if first:
        return bench.start(label, command(bench, shards), folder)
    return Program(command(bench, shards), folder)


def once(program, every_s):
    """One start, to its end. How long leaving took after the drain, and when it ended."""
    told = None
    if every_s is not None and not program.ends_within(every_s):
        told = time.monotonic_ns()
        program.child.send_signal(signal.SIGTERM)
    sample = program.wait()
    ended = time.monotonic_ns()
    if program.code not in (0, DRAINED):
        program.fail(f"exit code {program.code}")
    return sample, ended, None if told is None else (ended - told) / 1e9


def work(bench, label, shards, every_s):
    """Starts the same line until all is done. The folder, wall-clock seconds, and for
    each drain how long it took."""
    folder = bench.new_folder()
    drains, cpu = [], 0.0
    began = code = None
    while code != 0:
        if len(drains) > 2 * shards:
            raise BenchFailed(f"{len(drains)} drains and {shards} shards are not done")
        with begin(bench, label, folder, shards, began is None) as program:
            began = began or program.began_ns
            sample, ended, leaving = once(program, every_s)
            code = program.code
        cpu += sample.cpu_s
        if leaving is not None:
            drains.append(leaving)
    wall = (ended - began) / 1e9
    bench.samples[label].append({"wall_s": wall, "cpu_s": cpu, "drains": len(drains)})
    return folder, wall, drains


def ebbs_view(bench, folder, shards):
    """What ebb itself says; it must have done the work, and have accounted for its time."""
    out = subprocess.run([bench.ebb, "report", "--json", "--state", "S"], cwd=folder, check=True,
                         stdin=subprocess.DEVNULL, capture_output=True).stdout
    report = json.loads(out)
    if report["ended"]["done"] != shards:
        raise BenchFailed(f"{report['ended']['done']} shards are done, not {shards}")
    parts = sum(report[f"{k}_ms"] for k in ("net", "lost", "checkpointing", "restoring", "waiting",
                                            "idle"))
    if abs(parts - report["slot_ms"]) > 0.01 * report["slot_ms"]:
        raise BenchFailed(f"{parts} ms are accounted for, of {report['slot_ms']}")
    return report


def overhead_plain(bench):
    shards = SLOTS * (QUICK_ROUNDS if bench.quick else ROUNDS)
    net = shards * SHARD_S
    ratios = {}
    for label, every_s in (("undisturbed", None), ("drained", EVERY_S)):
        bench.say(f"{label}: {shards} shards of {SHARD_S} s")
        folder, wall, drains = work(bench, label, shards, every_s)
        report = ebbs_view(bench, folder, shards)
        ratios[label] = wall * SLOTS / net
        bench.row(label, "wall over net", [ratios[label]])
        bench.row("", "by ebb report", [report["wall_over_net"]])
        bench.row("", "s waiting", [report["waiting_ms"] / 1000])
        bench.row("", "s idle", [report["idle_ms"] / 1000])
        bench.row("", "s lost", [report["lost_ms"] / 1000])
    bench.row("leaving", "s after TERM", drains or [0])
    bench.figures["wall_over_net"] = Exact(ratios["drained"])
    bench.figures["undisturbed"] = Exact(ratios["undisturbed"])
    bench.figures["drains"] = len(drains)
    bench.figures["leaving_s"] = median(drains or [0])
    bench.note(f"a plain task of {SHARD_S} s that a drain lets end (default grace), {SLOTS} at "
               f"a time; TERM {EVERY_S} s after each start, and the same line again at once")


class Spot:
    """One machine after the other: each is taken away a minute after it came."""

    def __init__(self, bench, folder, number):
        self.bench, self.folder, self.number = bench, folder, number
        self.program, self.until = None, None
        self.leaving = []

    def begin(self, first=False):
        options = ["-j1", "-q", "--state", "S"]
        command = [self.bench.ebb, "run", *options, "saving.yaml"] if first else \
            [self.bench.ebb, "worker", *options, "--run", "saving"]
        self.program = self.bench.start("run", command, self.folder) if first else \
            Program(command, self.folder)
        # The two are taken half a minute apart.
        minute = MINUTE_S if self.until or self.number == 0 else MINUTE_S / 2
        self.until = time.monotonic() + minute

    def step(self):
        """False once nothing is left to do."""
        if self.program.code is not None:
            return False
        if self.program.ends_within(0):
            self.program.wait()
            if self.program.code != 0:
                self.program.fail(f"exit code {self.program.code}")
            return False
        if time.monotonic() >= self.until:
            began = time.monotonic()
            self.program.child.send_signal(signal.SIGTERM)
            self.program.wait()
            self.leaving.append(time.monotonic() - began)
            if self.program.code == 0:
                return False
            if self.program.code != DRAINED:
                self.program.fail(f"exit code {self.program.code}")
            self.begin()
        return True


def saving_fleet(bench, shards):
    """Two of them until all is done; wall-clock seconds, and how long leaving took."""
    folder = bench.new_folder()
    module = Path(__file__).resolve().parent.parent / "python"
    (folder / "task.py").write_text(TASK % (str(module), int(SAVING_S / 0.02)))
    (folder / "saving.yaml").write_text(SAVING % (shards, folder / "task.py"))
    spots = [Spot(bench, folder, number) for number in range(SLOTS)]
    spots[0].begin(first=True)
    spots[0].program.until("it plans", lambda: (folder / "S" / "ledger.db").exists())
    began = spots[0].program.began_ns
    time.sleep(0.1)
    spots[1].begin()
    while any([spot.step() for spot in spots]):
        time.sleep(0.005)
    wall = (time.monotonic_ns() - began) / 1e9
    return folder, wall, [took for spot in spots for took in spot.leaving]


def overhead(bench):
    shards = 30 if bench.quick else 120
    bench.say(f"{shards} shards of {SAVING_S:g} s, two workers, each taken once a minute")
    folder, wall, leaving = saving_fleet(bench, shards)
    report = ebbs_view(bench, folder, shards)
    net = report["net_ms"] / 1000
    bench.samples["run"].append({"wall_s": wall, "net_s": net, "taken": len(leaving)})
    for name in ("net", "lost", "checkpointing", "restoring", "waiting", "idle"):
        bench.row(name, "s", [report[f"{name}_ms"] / 1000])
    bench.row("leaving", "s after TERM", leaving or [0])
    bench.figures["wall_over_net"] = Exact(wall * SLOTS / net)
    bench.figures["taken"] = len(leaving)
    bench.figures["leaving_s"] = median(leaving or [0])
    bench.note(f"wall-clock times {SLOTS} over net runtime as ebb report has it; tasks report their "
               "progress and save when they are told to stop; the default grace")
