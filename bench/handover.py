"""From a notice on one worker to the same shard running on another from its checkpoint; and
the same when a worker freezes without a word."""
import json
import os
import random
import signal
import subprocess
import time
from statistics import median, quantiles

from measure import BenchFailed, children

HANDOVERS = 30
LOSSES = 12
LEASE_S = 3.0
PIPELINE = """version: 1
name: hand
stages:
  hold:
    input: {count: 1}
    run:
      - /bin/sh
      - -c
      - |
        echo $EBB_EPOCH $EBB_OFFSET $(date +%%s%%N) >>log
        %(ebb)s task progress 1 1000000
        %(ebb)s task checkpoint $EBB_EPOCH || exit 1
        echo $EBB_EPOCH >>saved
        trap 'kill $!; %(ebb)s task checkpoint $EBB_EPOCH; exit 85' TERM
        sleep 1000 & wait
    stop: {to: leader}
    retry: {interruptions: 1000, losses: 1000}
"""


def wait_for(program, what, look):
    value, _ = program.until(what, look, 0.0005)
    return value


class Pair:
    """A run whose only shard is always on one of two workers; the other one waits."""

    def __init__(self, bench, folder, *options):
        self.bench, self.folder, self.options = bench, folder, options
        self.log, self.saved = folder / "log", folder / "saved"
        (folder / "hand.yaml").write_text(PIPELINE % {"ebb": bench.ebb})
        self.first = bench.start("run", [bench.ebb, "run", "-j1", "--state", "S", "-q", *options,
                                         "hand.yaml"], folder)
        self.others = []

    def starts(self):
        """[epoch, offset, when it began (wall clock, ns)] of each attempt."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [[int(word) for word in line.split()] for line in lines if len(line.split()) == 3]

    def workers(self):
        done = subprocess.run([self.bench.ebb, "status", "hand", "--json", "--state", "S"],
                              cwd=self.folder, capture_output=True, check=True)
        return json.loads(done.stdout)["runs"][0]["workers"]

    def ready(self):
        """The shard runs and has saved; one more worker has come, which finds nothing to do."""
        n = len(self.starts()) or 1
        program = self.others[-1] if self.others else self.first
        wait_for(program, "it has saved", lambda: self.saved.exists() and
                 len(self.saved.read_text().split()) >= n)
        there = len(self.workers())
        worker = self.bench.start("worker", [self.bench.ebb, "worker", "-j1", "--state", "S", "-q",
                                             *self.options, "--run", "hand"], self.folder)
        self.others.append(worker)
        wait_for(worker, "it has joined", lambda: len(self.workers()) > there)
        time.sleep(0.5)
        pid = next(w for w in self.workers() if w["running"] == 1)["pid"]
        return next(p for p in [self.first, *self.others] if p.pid == pid)

    def elsewhere(self, began):
        """Milliseconds until the shard runs on another worker, from where it was saved."""
        before = len(self.starts())
        wait_for(self.others[-1], "the shard runs elsewhere", lambda: len(self.starts()) > before)
        (epoch, _, _), (_, offset, at) = self.starts()[-2:]
        if offset != epoch:
            raise BenchFailed(f"it began at {offset} and not at {epoch}, where it was saved")
        return (at - began) / 1e6

    def hand_over(self):
        holder = self.ready()
        began = time.time_ns()
        holder.child.send_signal(signal.SIGTERM)
        took = self.elsewhere(began)
        if holder.wait() and holder.code != 75:
            holder.fail(f"exit code {holder.code}")
        return took

    def freeze(self, chance):
        """Worker and guardian stand still, as on a machine that hangs."""
        holder = self.ready()
        time.sleep(chance.random() * LEASE_S / 3)
        guardian = children(holder.pid)
        began = time.time_ns()
        for pid in [holder.pid, *guardian]:
            os.kill(pid, signal.SIGSTOP)
        took = self.elsewhere(began)
        os.kill(holder.pid, signal.SIGKILL)  # if nobody has done that yet
        holder.wait()
        return took

    def end(self):
        subprocess.run([self.bench.ebb, "cancel", "hand", "--state", "S"], cwd=self.folder,
                       check=True, stderr=subprocess.DEVNULL)
        for program in [self.first, *self.others]:
            if program.code is None:
                program.wait()


def handover(bench):
    n = HANDOVERS if not bench.quick else 10
    losses = LOSSES if not bench.quick else 4
    chance = random.Random(1)
    bench.say(f"{n} handovers")
    pair = Pair(bench, bench.new_folder())
    try:
        took = [pair.hand_over() for _ in range(n)]
    finally:
        pair.end()
    bench.say(f"{losses} workers that freeze, lease {LEASE_S:g} s")
    pair = Pair(bench, bench.new_folder(), "--lease", f"{LEASE_S:g}s")
    try:
        lost = [pair.freeze(chance) - LEASE_S * 1000 for _ in range(losses)]
    finally:
        pair.end()
    bench.row("notice to start elsewhere", "ms", took)
    bench.row("freeze to start elsewhere, less the lease", "ms", lost)
    bench.figures["p50_ms"] = median(took)
    bench.figures["p90_ms"] = quantiles(took, n=10)[-1]
    bench.figures["lost_over_lease_ms"] = median(lost)
    bench.figures["lost_over_lease_max_ms"] = max(lost)
    bench.note("from TERM at a worker to the first line of the command on another one, which had "
               "nothing to do, from the checkpoint that it made after TERM; it says that it is far "
               "from its end, so that it is told at once")
