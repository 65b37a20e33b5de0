"""What drains cost: the same work with and without them, two slots at a time.

The task is a plain one, which cannot save and does not say how far it is: it
sleeps for SHARD_S. With the default grace of 30 s a drain lets it end, so what is
measured is what ebb adds: slots that stand still while others end, leaving, and
starting again."""
import json
import signal
import subprocess
import time
from statistics import median

from measure import BenchFailed, Exact, Program

SLOTS = 2
SHARD_S = 20
EVERY_S = 10          # between a start and its drain
ROUNDS = 12           # of all slots: 4 minutes
QUICK_ROUNDS = 2
DRAINED = 75


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


def overhead(bench):
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
