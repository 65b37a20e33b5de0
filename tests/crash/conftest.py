"""Fixtures of the crash suites: a box with a look at leaks, a time limit for
each test, and the counts that are printed at the end.

How much is tried can be set by the environment, each a number or "all":
EBB_POINTS (crash points; all), EBB_ROUNDS (random kills; 500), EBB_FLEET_ROUNDS (random
fates of three workers; 60), EBB_IMAGES (power cuts; 600), EBB_NTH (calls of each kind that
fail once; 80). Of pipelines, which take longer: EBB_COMMITS (crash points around commits;
12, and all others), EBB_ROUNDS (100), EBB_PIPELINE_IMAGES (64), EBB_PIPELINE_NTH (36)."""

import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

import ebbtest  # noqa: E402

DEFAULT_LIMIT = 60


def pytest_configure(config):
    config.addinivalue_line("markers", "limit(seconds): hard time limit of a test")


class TimeUp(BaseException):
    """Not an Exception, so that no handler on the way swallows it."""


@pytest.fixture(autouse=True)
def time_limit(request):
    mark = request.node.get_closest_marker("limit")
    seconds = mark.args[0] if mark else DEFAULT_LIMIT

    def ring(_number, _frame):
        raise TimeUp("the test took more than %d s" % seconds)

    if signal.getitimer(signal.ITIMER_REAL)[0]:  # pytest-timeout has set its own
        yield
        return
    old = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, old)


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


def make_box(top):
    before = open_descriptors()
    box = ebbtest.Box(top)
    yield box
    leaked = box.end_all()
    assert not leaked, "left running: %s" % leaked
    assert open_descriptors() <= before, "descriptors leaked"


@pytest.fixture
def box(tmp_path):
    yield from make_box(tmp_path)


@pytest.fixture
def fast_folder():
    """A folder in memory where there is such a thing: for suites that start ebb
    hundreds of times and do not test the disk."""
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    top = tempfile.mkdtemp(prefix="ebb-crash-", dir=where)
    yield Path(top)
    shutil.rmtree(top, ignore_errors=True)


@pytest.fixture
def fast_box(fast_folder):
    yield from make_box(fast_folder)


@pytest.fixture
def box_maker(fast_folder):
    """box_maker(): for a test that needs many; each is looked at before the
    next one is made, and its folder removed."""
    current = []

    def finish():
        if current:
            box = current.pop()
            leaked = box.end_all()
            shutil.rmtree(box.top, ignore_errors=True)
            assert not leaked, "left running: %s" % leaked

    def make():
        finish()
        current.append(ebbtest.Box(tempfile.mkdtemp(dir=fast_folder)))
        return current[-1]
    yield make
    finish()


@pytest.fixture
def tally(record_property):
    """tally("points", "tried", 3) adds to the line "points: ..." at the end."""
    def add(line, word, n=1):
        record_property("tally:%s:%s" % (line, word), n)
    return add


def pytest_terminal_summary(terminalreporter):
    lines = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") != "call":
                continue
            for name, n in report.user_properties:
                if name.startswith("tally:"):
                    _, line, word = name.split(":")
                    lines.setdefault(line, Counter())[word] += n
    for line, words in sorted(lines.items()):
        terminalreporter.write_line("%s: %s" % (
            line, ", ".join("%d %s" % (n, word) for word, n in words.items())))
