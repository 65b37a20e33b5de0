"""Three ebb of one pipeline run, of which some process is killed, told to stop,
or frozen past its lease, at random moments. Who has ended is started again and
joins. Nothing is lost, nothing that is published runs again, no one is left."""

import random
import signal
import time
from collections import Counter

import pytest
from ebbtest import UNFINISHED, guardian_of, is_finished, kill, setting, state_of
from pipework import Pipeline

ROUNDS = setting("EBB_ROUNDS", 100)
PARTS = 2
MEMBERS = 3
LEASE_S = 0.6
DEEDS = (["kill"] * 6 + ["kill guardian"] * 2 + ["kill both"] * 2 + ["kill task"] * 3 +
         ["stop"] * 4 + ["freeze"] * 3 + ["freeze both"])


class Siege:
    """Rounds over one workload after the other."""

    def __init__(self, box_maker, seed):
        self.box_maker = box_maker
        self.rng = random.Random(seed)
        self.codes = Counter()
        self.deeds = Counter()
        self.lost = []
        self.twice = []
        self.workloads = 0
        self.box = None
        self.next_workload()

    def next_workload(self):
        self.workloads += 1
        self.box = self.box_maker()
        self.work = Pipeline(self.box, big=100, careful=24, slots=1, pause=0.03, options=[
            "--lease", "%dms" % (LEASE_S * 1000), "--grace", "3s", "--if-running", "join"])
        self.outputs = self.work.expected()
        self.members = [None] * MEMBERS
        self.frozen = {}     # pid -> when it is woken
        self.seen = {}
        self.log_at = 0

    def item_of(self, output):
        if output.startswith("parts/"):
            return self.work.items()[list(self.outputs).index(output)]
        return "pages:all" if output.startswith("out/pages/") else "total:all"

    def look(self):
        """Published files stay the same file for ever and are not run again."""
        in_place = self.work.in_place()
        lines = self.box.log_lines(self.log_at)
        self.log_at += len(lines)
        started = {line[1] for line in lines if line[0] == "start"}
        for output, inode in self.seen.items():
            if in_place.get(output) != inode or self.item_of(output) in started:
                self.twice.append(output)
        self.seen = in_place

    def note_end(self, member):
        r = member.wait(1)
        self.codes[r.code] += 1
        if r.code in (-signal.SIGKILL, -signal.SIGTERM):  # TERM: just when it started
            return
        r.check_words()
        assert r.code == 0 or r.code in UNFINISHED, (r.code, r.err)
        if r.code not in (0, 75) and "guardian" not in r.err:
            print(r.code, r.err)

    def start_who_has_ended(self):
        for i, member in enumerate(self.members):
            if member is not None and member.poll() is not None:
                self.note_end(member)
                member = None
            if member is None:
                self.members[i] = self.work.start()

    def wake(self, all_of_them=False):
        for pid, when in list(self.frozen.items()):
            if all_of_them or time.monotonic() >= when:
                kill(pid, signal.SIGCONT)
                del self.frozen[pid]

    def freeze(self, pid):
        kill(pid, signal.SIGSTOP)
        # Sometimes it wakes before, sometimes after the end of its lease.
        self.frozen[pid] = time.monotonic() + self.rng.uniform(0.5, 3) * LEASE_S

    def strike(self):
        deed = self.rng.choice(DEEDS)
        self.deeds[deed] += 1
        ebb = self.rng.choice(self.members).pid
        guardian = guardian_of(ebb)
        if deed == "kill task":
            own = {m.pid for m in self.members}
            own |= {guardian_of(pid) for pid in own}
            tasks = sorted(set(self.box.alive()) - own)
            if tasks:
                kill(self.rng.choice(tasks))
        elif deed == "stop":
            kill(ebb, signal.SIGTERM)
        elif deed.startswith("freeze"):
            self.freeze(ebb)
            if deed == "freeze both" and guardian:
                self.freeze(guardian)
        else:
            if deed != "kill" and guardian:
                kill(guardian)
            if deed != "kill guardian":
                kill(ebb)

    def let_them_work(self):
        end = time.monotonic() + self.rng.uniform(0.02, 0.2)
        while time.monotonic() < end:
            self.wake()
            time.sleep(0.005)

    def round(self):
        self.start_who_has_ended()
        self.let_them_work()
        self.strike()
        self.look()
        if len(self.seen) == len(self.outputs):
            self.finish()
            self.next_workload()

    def finish(self):
        """All go on, and then one more, which finds it finished."""
        self.wake(all_of_them=True)
        for member in self.members:
            if member is not None:
                member.wait(60)
                self.note_end(member)
        self.work.finish()
        self.look()
        assert is_finished(self.box)
        lost, foreign = self.work.problems()
        self.lost += lost
        assert not foreign and not self.work.copies(), (foreign, self.work.copies())


def tell_where_all_are(siege):
    for member in siege.members:
        if member is not None:
            print(member.pid, state_of(member.pid), member.poll(), member.err_path.read_text())
    print(siege.box.log.read_text()[-2000:])


@pytest.mark.limit(110)
@pytest.mark.parametrize("part", range(PARTS))
def test_three_of_one_run(box_maker, part, tally):
    siege = Siege(box_maker, 7000 + part)
    rounds = range(part, ROUNDS, PARTS)
    try:
        for _ in rounds:
            siege.round()
        siege.finish()
    except BaseException:
        tell_where_all_are(siege)
        raise
    line = "three ebb of one pipeline"
    tally(line, "rounds", len(rounds))
    tally(line, "lost", len(siege.lost))
    tally(line, "twice", len(siege.twice))
    tally(line, "workloads", siege.workloads)
    print(siege.codes, siege.deeds)
    assert not siege.lost, "lost: %s" % siege.lost
    assert not siege.twice, "twice: %s" % siege.twice
