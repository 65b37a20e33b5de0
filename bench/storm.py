"""Half of a fleet is taken away within a second: how long until what it had in its hands
runs again. Real workers on one ledger, on this one machine."""
import random
import signal
import sqlite3
import subprocess
import time
from statistics import median

from measure import BenchFailed, Program

WORKERS = 200
QUICK_WORKERS = 40
WITHIN_S = 1.0
SHARE = 0.5
PIPELINE = """version: 1
name: storm
stages:
  hold:
    input: {count: %d}
    run: [/bin/sh, -c, 'echo $EBB_SHARD $EBB_EPOCH $(date +%%s%%N) >>log; exec sleep 1000']
    retry: {interruptions: 1000}
"""


def starts(log):
    """For each shard the newest epoch that began, and when (wall clock, ns)."""
    found = {}
    for line in log.read_text().splitlines() if log.exists() else []:
        words = line.split()
        if len(words) == 3:
            shard, epoch, at = int(words[0]), int(words[1]), int(words[2])
            found[shard] = max(found.get(shard, (0, 0)), (epoch, at))
    return found


class Fleet:
    def __init__(self, bench, n):
        self.bench, self.n = bench, n
        self.folder = bench.new_folder()
        self.log = self.folder / "log"
        (self.folder / "storm.yaml").write_text(PIPELINE % n)
        options = ["-j2", "--state", "S", "-q", "--grace", "0"]
        self.programs = [bench.start("run", [bench.ebb, "run", *options, "storm.yaml"], self.folder)]
        self.programs[0].until("a shard runs", lambda: starts(self.log))
        for _ in range(n - 1):
            self.programs.append(Program([bench.ebb, "worker", *options, "--run", "storm"],
                                         self.folder))
            time.sleep(0.02)
        self.programs[0].until("all shards run", lambda: len(starts(self.log)) == n, 0.05)
        self.programs[0].until("all workers are there", lambda: len(self.workers()) == n, 0.2)

    def ledger(self, query):
        db = sqlite3.connect(f"file:{self.folder}/S/ledger.db?mode=ro", uri=True, timeout=60)
        try:
            return db.execute(query).fetchall()
        finally:
            db.close()

    def workers(self):
        """{pid: worker} of those that are there."""
        return dict(self.ledger("select pid, id from worker where gone = 0"))

    def held_by(self, workers):
        """{shard: epoch} of what they have in their hands."""
        rows = self.ledger("select ordinal, epoch, worker from shard where state = 1")
        return {ordinal: epoch for ordinal, epoch, worker in rows if worker in workers}

    def strike(self, chosen):
        """TERM to each of them, spread over WITHIN_S; when it began (wall clock, ns)."""
        began = time.time_ns()
        for number, program in enumerate(chosen):
            time.sleep(max(0, began / 1e9 + WITHIN_S * number / len(chosen) - time.time()))
            program.child.send_signal(signal.SIGTERM)
        return began

    def end(self):
        subprocess.run([self.bench.ebb, "cancel", "storm", "--state", "S"], cwd=self.folder,
                       check=True, stderr=subprocess.DEVNULL)
        for program in self.programs:
            if program.code is None:
                program.wait()


def one_storm(bench, n):
    """Seconds until all that was handed back ran again, until all that were struck had left,
    and how much was handed back."""
    fleet = Fleet(bench, n)
    try:
        chosen = random.Random(bench.rounds).sample(fleet.programs, int(n * SHARE))
        pids = fleet.workers()
        held = fleet.held_by({pids[program.pid] for program in chosen})
        began = fleet.strike(chosen)

        def all_again():
            now = starts(fleet.log)
            return all(now[shard][0] > epoch for shard, epoch in held.items())
        alive = next(program for program in fleet.programs if program not in chosen)
        alive.until("everything runs again", all_again, 0.02)
        now = starts(fleet.log)
        last = max((now[shard][1] for shard in held), default=began)
        for program in chosen:
            program.wait()
        gone = time.time_ns()
        twice = fleet.ledger("select count(*) from shard where state = 1")[0][0]
    finally:
        fleet.end()
    for program in chosen:
        if program.code != 75:
            program.fail(f"exit code {program.code}")
    if twice != n:
        raise BenchFailed(f"{twice} of {n} shards are in somebody's hands")
    return (last - began) / 1e9, (gone - began) / 1e9, len(held)


def storm(bench):
    n = QUICK_WORKERS if bench.quick else WORKERS
    rounds = 2 if bench.quick else 3
    took, left, handed = [], [], []
    for number in range(rounds):
        bench.say(f"storm {number + 1} of {rounds}: {n} workers, {int(n * SHARE)} of them within "
                  f"{WITHIN_S:g} s")
        seconds, gone, shards = one_storm(bench, n)
        took.append(seconds)
        left.append(gone)
        handed.append(shards)
        bench.samples["storm"].append({"settle_s": seconds, "handed_back": shards})
    bench.row("first TERM to everything running again", "s", took)
    bench.row("first TERM to the last one gone", "s", left)
    bench.row("shards handed back", "", handed)
    bench.figures["settle_s"] = median(took)
    bench.figures["workers"] = n
    bench.note("real worker processes with two slots each on one SQLite ledger and one machine; "
               "the second over which they are struck is part of the time")
