"""Three workers on one pipeline of two stages; again and again one of their
processes is killed, told to stop, drained, frozen or woken. The bytes come out
right, and nothing that was done is run again."""

import contextlib
import os
import random
import signal
import sqlite3
import time

import pytest
from ebbtest import SHARD, UNFINISHED, expected_bytes, guardian_of, kill, setting, state_of

ROUNDS = setting("EBB_FLEET_ROUNDS", 60)
PARTS = 2
ITEMS = 60
PIPELINE = """version: 1
name: siege
stages:
  parse:
    input: {count: %d}
    run: [%s, 'a{}']
    retry: {failures: 100, interruptions: 1000, infrastructure: 100, backoff: 10ms..50ms}
  total:
    input: [{stage: parse}]
    shard: {by: all}
    run: 'sleep 0.1; cat {}'
    output: total.txt
    retry: {failures: 100, interruptions: 1000, infrastructure: 100, backoff: 10ms..50ms}
"""
WHOLE = b"".join(expected_bytes("a%d" % n) for n in range(ITEMS))
ACTS = ["kill"] * 8 + ["kill both"] * 3 + ["kill guardian"] * 3 + ["term"] * 3 + ["drain"] * 4 + \
    ["freeze"] * 4 + ["freeze both"] * 2 + ["nap"] * 3
OPTIONS = ["-j1", "--lease", "1s", "--grace", "1s", "--state", "S"]


class Fleet:
    """Rounds over one run after the other, each in a folder of its own."""

    def __init__(self, box, seed):
        self.box = box
        self.rng = random.Random(seed)
        self.number = 0
        self.runs = []
        self.twice = []
        self.wrong = []
        self.finished = 0
        box.env.update(EBBTEST_PAUSE="0.01")
        self.next_run()

    def next_run(self):
        self.number += 1
        self.root = self.box.root / ("w%d" % self.number)
        self.root.mkdir()
        (self.root / "siege.yaml").write_text(PIPELINE % (ITEMS, SHARD))
        self.done = set()
        self.log_at = len(self.box.log_lines())
        self.runs = []

    # ---- looking ----

    def query(self, sql):
        path = self.root / "S/ledger.db"
        if not path.exists():
            return []
        with contextlib.closing(sqlite3.connect("file:%s?mode=ro" % path, uri=True)) as db:
            db.execute("PRAGMA busy_timeout = 5000")
            return db.execute(sql).fetchall()

    def look(self):
        """What is published is not begun again. The ledger is read before the log:
        what is in the log after that was begun after that, or just before."""
        done = {"a" + row[0].decode().rstrip("\0") for row in self.query(
            "SELECT CAST(item AS BLOB) FROM shard JOIN stage ON stage.id = shard.stage "
            "WHERE state = 3 AND stage.name = 'parse'")}
        lines = self.box.log_lines(self.log_at)
        self.log_at += len(lines)
        self.twice += [line[1] for line in lines if line[0] == "start" and line[1] in self.done]
        self.done = done

    def is_finished(self):
        return self.query("SELECT state FROM run") == [(1,)]

    # ---- three of them ----

    def begin(self, first):
        words = ["run", "siege.yaml"] if first else ["worker", "--run", "siege"]
        run = self.box.start([*words, *OPTIONS], cwd=self.root)
        run.first = first
        self.runs.append(run)

    def fill(self):
        """Whoever starts it comes first; one that the lock keeps out is no worker."""
        self.reap()
        if not any(r.first for r in self.runs) and self.rng.random() < 0.7:
            self.begin(True)
        while len(self.runs) < 3 and (self.root / "S/ledger.db").exists():
            self.begin(False)
        if not self.runs:
            self.begin(True)

    def reap(self):
        for run in list(self.runs):
            if run.poll() is None:
                continue
            self.runs.remove(run)
            r = run.result()
            if r.code not in (-signal.SIGKILL, -signal.SIGTERM):  # at its very start
                r.check_words()
                # 2: before there was a run to join; 4: somebody else has begun it.
                assert r.code in {0, 2, 4} | UNFINISHED, r.err

    # ---- rounds ----

    def act(self):
        run = self.rng.choice(self.runs)
        what = self.rng.choice(ACTS)
        guardian = guardian_of(run.pid)
        if what in ("kill guardian", "kill both") and guardian:
            kill(guardian)
        if what in ("kill", "kill both"):
            kill(run.pid)
        if what == "term":
            kill(run.pid, signal.SIGTERM)
        if what == "drain":
            self.box.run(["drain", str(run.pid), "--state", "S", "--deadline", "0"], cwd=self.root)
        if what in ("freeze", "freeze both", "nap"):
            kill(run.pid, signal.SIGSTOP)
        if what == "freeze both" and guardian:
            kill(guardian, signal.SIGSTOP)
        if what == "nap":
            time.sleep(self.rng.uniform(0, 0.3))
            kill(run.pid, signal.SIGCONT)

    def round(self):
        self.fill()
        time.sleep(self.rng.uniform(0.02, 0.25))
        self.act()
        self.look()
        if self.is_finished():
            self.end_run()
            self.next_run()

    def end_run(self):
        """All that are well leave by themselves; the frozen are ended."""
        end = time.monotonic() + 20
        while self.runs and time.monotonic() < end:
            for run in self.runs:
                if state_of(run.pid) == "T":
                    kill(run.pid)
            self.reap()
            time.sleep(0.01)
        assert not self.runs, "does not leave: %s" % self.runs[0].result().err
        for pid in self.box.alive():
            if state_of(pid) == "T":  # the guardian of one that was killed
                kill(pid, signal.SIGCONT)
        self.box.wait_alone(5)
        r = self.box.run(["run", "siege.yaml", *OPTIONS], cwd=self.root)
        assert r.code == 0 and "nothing to do" in r.err, r.err
        self.look()
        self.check_run()

    def check_run(self):
        if (self.root / "total.txt").read_bytes() != WHOLE:
            self.wrong.append(str(self.root))
        self.twice += self.query("SELECT shard FROM attempt WHERE cause = 0 "
                                 "GROUP BY shard HAVING count(*) > 1")
        assert self.query("SELECT sum(e_failed) FROM stage") == [(0,)]
        assert self.query("SELECT count(*) FROM worker WHERE gone = 0") == [(0,)]
        private = self.root / "S/runs/r1/private"
        assert not private.exists() or os.listdir(private) == []
        self.finished += 1

    def finish(self):
        end = time.monotonic() + 60
        while not self.is_finished():
            assert time.monotonic() < end, "not finished"
            self.fill()
            time.sleep(0.1)
            self.look()
        self.end_run()


@pytest.mark.limit(600)
@pytest.mark.parametrize("part", range(PARTS))
def test_random_fates_of_three(fast_box, part, tally):
    fleet = Fleet(fast_box, 4000 + part)
    rounds = range(part, ROUNDS, PARTS)
    for _ in rounds:
        fleet.round()
    fleet.finish()
    tally("three workers", "rounds", len(rounds))
    tally("three workers", "runs", fleet.finished)
    tally("three workers", "wrong", len(fleet.wrong))
    tally("three workers", "twice", len(fleet.twice))
    assert not fleet.wrong and not fleet.twice, (fleet.wrong, fleet.twice)
