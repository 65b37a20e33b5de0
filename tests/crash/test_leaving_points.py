"""kill -9 of a worker that leaves, at every crash point from the moment when it is told: what was
done stays done, what was saved goes on, and the same line ends with the same bytes."""

import pytest
from ebbtest import UNFINISHED, Failures, decided, ebb_bin, fault_bin, is_finished, once, points_in

PIPELINE = """version: 1
name: leaving
drain: {on_notice: 'true', on_drained: 'true', reserve: 500ms}
stages:
  s:
    input: {count: 8}
    run: |
      echo "start $EBB_INDEX $EBB_EPOCH $$" >>"$EBBTEST_LOG"
      trap 'ebb task checkpoint 1; exit 85' TERM
      if [ $EBB_INDEX = 4 ] && [ $EBB_ATTEMPT = 1 ]; then
        ebb task progress 1 1000
        ebb task checkpoint 1
        touch stop
        for i in $(seq 200); do sleep 0.02; done
      fi
      echo {}
    stop: {to: leader}
    output: out/{}.txt
"""
ARGS = ["run", "-j2", "--grace", "4s", "--stop-file", "stop", "p.yaml"]
NAMES = ("drain.told", "drain.safe", "drain.said", "worker.left", "checkpoint.durable", "accept.after",
         "ledger.commit.after")


def prepare(box):
    (box.root / "p.yaml").write_text(PIPELINE)
    box.env["PATH"] = "%s:%s" % (ebb_bin().rpartition("/")[0], box.env["PATH"])


def passed_points(box):
    path = box.top / "points"
    prepare(box)
    r = box.run(ARGS, fault_bin(), 30, EBB_FAULT_COUNT=str(path))
    assert r.code == 75, r.err
    return points_in(path)


@pytest.fixture
def all_points(box_maker, tmp_path_factory):
    return once(tmp_path_factory, "leaving-points", lambda: passed_points(box_maker()))


def from_the_word_on(points):
    """What lies behind the moment when it is told."""
    first = next(i for i, (name, _) in enumerate(points) if name == "drain.told")
    return points[first:]


def test_there_are_points_around_leaving(all_points):
    names = {name for name, _ in from_the_word_on(all_points)}
    assert not set(NAMES) - {"accept.after"} - names, names


def try_point(box, point, occurrence, tally):
    prepare(box)
    r = box.run(ARGS, fault_bin(), 30, EBB_FAULT_CRASH="%s:%s" % (point, occurrence))
    box.wait_alone()
    if r.code != -9:
        assert r.code in UNFINISHED | {0}, r.err
        tally("leaving points", "not reached", 1)
    (box.root / "stop").unlink(missing_ok=True)
    safe = set(decided(box))
    before = len(box.log_lines())
    assert before >= 4
    if not is_finished(box):
        r = box.run(ARGS, ebb_bin(), 30)
        assert r.code == 0, r.err
    outs = {p.name: p.read_bytes() for p in (box.root / "out").iterdir()}
    assert outs == {"%d.txt" % n: b"%d\n" % n for n in range(8)}
    assert not set(box.starts(before)) & safe
    tally("leaving points", "tried", 1)


@pytest.mark.limit(110)
@pytest.mark.parametrize("part", range(2))
def test_a_crash_at_every_point_of_leaving(box_maker, all_points, part, tally):
    failures = Failures()
    for point, occurrence in from_the_word_on(all_points)[part::2]:
        box = box_maker()
        failures.attempt("%s:%s" % (point, occurrence), box, try_point, box, point, occurrence,
                         tally)
    failures.check()
