"""kill -9 at random moments: of ebb, its guardian, both, or some process of a
task. Whatever is killed, all of its descendants are gone within a second, and
the same line goes on."""

import os
import random
import time

import pytest
from ebbtest import UNFINISHED, Workload, guardian_of, is_finished, kill, setting

ROUNDS = setting("EBB_ROUNDS", 500)
PARTS = 4
ITEMS = 120
SLOTS = 2
VICTIMS = ["ebb"] * 10 + ["guardian"] * 4 + ["both"] * 3 + ["child"] * 3


class Siege:
    """Rounds of killing over one workload after the other."""

    def __init__(self, box, seed):
        self.box = box
        self.rng = random.Random(seed)
        self.number = 0
        self.lost = []
        self.twice = []
        self.slowest = 0.0
        self.run = None
        self.next_workload()

    def next_workload(self):
        self.number += 1
        self.work = Workload(self.box, ITEMS, first=1 + ITEMS * self.number, slots=SLOTS,
                             out="out%d" % self.number, state="state%d" % self.number,
                             options=["--retries", "100", "--retry-delay", "50ms"])
        self.seen = {}
        self.log_at = len(self.box.log_lines())

    def look(self):
        """Published files stay the same file for ever and are not run again."""
        in_place = self.work.in_place()
        lines = self.box.log_lines(self.log_at)
        self.log_at += len(lines)
        started = {line[1] for line in lines if line[0] == "start"}
        for item, inode in self.seen.items():
            if in_place.get(item) != inode or item in started:
                self.twice.append(item)
        self.seen = in_place

    def finished(self):
        lost, foreign = self.work.problems()
        self.lost += lost
        assert not foreign, "left behind: %s" % foreign
        self.next_workload()

    def ended(self):
        """ebb has ended: by our hand, finished, or saying that work remains."""
        r = self.run.wait(1)
        self.run = None
        self.slowest = max(self.slowest, self.box.wait_alone())
        self.look()
        if r.code == 0:
            r.check_words()
            self.finished()
            return
        if r.code != -9:
            r.check_words()
            assert r.code in UNFINISHED, r.err
        if len(self.seen) == ITEMS and is_finished(self.box):
            self.finished()

    def let_it_work(self):
        end = time.monotonic() + self.rng.uniform(0.02, 0.15)
        while time.monotonic() < end and self.run.poll() is None:
            time.sleep(0.002)

    def kill_one(self, victim):
        ebb = self.run.pid
        guardian = guardian_of(ebb)
        if victim == "child":
            tasks = [p for p in self.box.alive() if p not in (ebb, guardian)]
            if tasks:
                kill(self.rng.choice(sorted(tasks)))
            return
        if victim in ("guardian", "both") and guardian:
            kill(guardian)
        if victim in ("ebb", "both") or not guardian:
            kill(ebb)
        old = {p for p in self.box.alive() if p not in (ebb, guardian)}
        self.wait_for_the_end(victim, old)

    def wait_for_the_end(self, victim, old):
        """ebb is gone. Without its guardian it may end by itself or go on; what
        ran under the old guardian is gone in any case."""
        begin = time.monotonic()
        while time.monotonic() < begin + 1 and self.run.poll() is None:
            if victim == "guardian" and not any(os.path.exists("/proc/%d" % p) for p in old):
                break
            time.sleep(0.002)
        left = old & set(self.box.alive())
        while left and time.monotonic() < begin + 1:
            left = old & set(self.box.alive())
        assert not left, "alive a second after %s was killed: %s" % (victim, left)
        if victim != "guardian":
            assert self.run.poll() is not None

    def round(self):
        if self.run is None:
            self.run = self.work.start()
        self.let_it_work()
        if self.run.poll() is None:
            self.kill_one(self.rng.choice(VICTIMS))
        if self.run.poll() is not None:
            self.ended()

    def finish(self):
        if self.run is not None:
            r = self.run.wait(60)
            assert r.code == 0 or r.code in UNFINISHED, r.err
            self.run = None
        self.look()
        if len(self.seen) < ITEMS or not is_finished(self.box):
            self.work.finish()
        self.look()
        lost, foreign = self.work.problems()
        self.lost += lost
        assert not foreign


@pytest.mark.limit(120)
@pytest.mark.parametrize("part", range(PARTS))
def test_random_kills(box, part, tally):
    siege = Siege(box, 1000 + part)
    for _ in range(part, ROUNDS, PARTS):
        siege.round()
    siege.finish()
    tally("random kills", "rounds", len(range(part, ROUNDS, PARTS)))
    tally("random kills", "lost", len(siege.lost))
    tally("random kills", "twice", len(siege.twice))
    tally("random kills", "workloads", siege.number)
    assert not siege.lost, "lost: %s" % siege.lost
    assert not siege.twice, "twice: %s" % siege.twice
    assert siege.slowest <= 1.0
