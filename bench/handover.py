"""From a drain on one worker to the same shard running on another."""
import json
import subprocess
import time
from statistics import median, quantiles

from measure import BenchFailed

HANDOVERS = 30
PIPELINE = """version: 1
name: hand
stages:
  hold:
    input: {count: 1}
    run: [/bin/sh, -c, 'echo $EBB_EPOCH $(date +%s%N) >>log; exec sleep 1000']
    retry: {interruptions: 1000}
"""


def last_start(log, epochs):
    """When the newest of more than `epochs` attempts began (wall clock, ns), or None."""
    lines = log.read_text().splitlines() if log.exists() else []
    return int(lines[-1].split()[1]) if len(lines) > epochs else None


def wait_for(program, what, look):
    value, _ = program.until(what, look, 0.0005)
    return value


class Pair:
    """A run whose only shard is always on one of two workers; the other one waits."""

    def __init__(self, bench, folder):
        self.bench, self.folder, self.log = bench, folder, folder / "log"
        (folder / "hand.yaml").write_text(PIPELINE)
        self.first = bench.start("run", [bench.ebb, "run", "-j1", "--state", "S", "-q",
                                         "hand.yaml"], folder)
        self.others = []
        wait_for(self.first, "the shard runs", lambda: last_start(self.log, 0))

    def workers(self):
        done = subprocess.run([self.bench.ebb, "status", "hand", "--json", "--state", "S"],
                              cwd=self.folder, capture_output=True, check=True)
        return json.loads(done.stdout)["runs"][0]["workers"]

    def join(self):
        """One more, which finds nothing to do, and is left to come to rest."""
        n = len(self.workers())
        worker = self.bench.start("worker", [self.bench.ebb, "worker", "-j1", "--state", "S", "-q",
                                             "--run", "hand"], self.folder)
        self.others.append(worker)
        wait_for(worker, "it has joined", lambda: len(self.workers()) > n)
        time.sleep(1)

    def hand_over(self, number):
        """Milliseconds from the order to the start on the other worker."""
        self.join()
        holder = next(w for w in self.workers() if w["running"] == 1)
        begin = time.time_ns()
        subprocess.run([self.bench.ebb, "drain", holder["worker"], "--run", "hand", "--state", "S",
                        "--deadline", "0"], cwd=self.folder, check=True, stderr=subprocess.DEVNULL)
        began = wait_for(self.others[-1], "the shard runs elsewhere",
                         lambda: last_start(self.log, number))
        for program in [self.first, *self.others]:
            if program.pid == holder["pid"] and program.wait() and program.code != 75:
                program.fail(f"exit code {program.code}")
        return (began - begin) / 1e6

    def end(self):
        subprocess.run([self.bench.ebb, "cancel", "hand", "--state", "S"], cwd=self.folder,
                       check=True, stderr=subprocess.DEVNULL)
        for program in [self.first, *self.others]:
            if program.code is None:
                program.wait()


def handover(bench):
    n = HANDOVERS if not bench.quick else 20
    bench.say(f"{n} handovers")
    pair = Pair(bench, bench.new_folder())
    took = []
    try:
        for number in range(1, n + 1):
            took.append(pair.hand_over(number))
    finally:
        pair.end()
    if len(took) != n:
        raise BenchFailed(f"{len(took)} handovers, not {n}")
    bench.row("drain to start elsewhere", "ms", took)
    bench.figures["p50_ms"] = median(took)
    bench.figures["p90_ms"] = quantiles(took, n=10)[-1]
    bench.note("from the start of `ebb drain` to the first line of the command on another worker, "
               "which had nothing to do; a drain without time to finish anything")
