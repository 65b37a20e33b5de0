"""Fixtures of the command-line suite: a box with a look at leaks, and a time
limit for each test."""

import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

import ebbcli  # noqa: E402
import played  # noqa: E402

DEFAULT_LIMIT = 30


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
    box = ebbcli.CliBox(top)
    yield box
    end = time.monotonic() + 1  # nothing outlives ebb by a second
    while box.alive() and time.monotonic() < end:
        time.sleep(0.005)
    leaked = box.end_all()
    assert not leaked, "left running: %s" % leaked
    assert open_descriptors() <= before, "descriptors leaked"


@pytest.fixture
def disk_box(tmp_path):
    """A box on a real disk."""
    yield from make_box(tmp_path)


@pytest.fixture
def box():
    """A box in memory where there is such a thing: this suite starts ebb
    hundreds of times and does not test the disk."""
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    top = tempfile.mkdtemp(prefix="ebb-cli-", dir=where)
    try:
        yield from make_box(top)
    finally:
        for folder, _, _ in os.walk(top):
            os.chmod(folder, 0o700)
        shutil.rmtree(top, ignore_errors=True)


@pytest.fixture
def root():
    """For tests that need root."""
    if os.geteuid() != 0:
        pytest.skip("NEEDS ROOT: run the suite as root to have this tested")


@pytest.fixture
def not_root():
    """A function to be called in a child before exec: for tests of permissions,
    which root passes by."""
    def drop():
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
    return drop


@pytest.fixture
def serve(box):
    """A function that starts a server; all of them are stopped at the end, with 0."""
    started = []

    def start(*args, **more):
        started.append(played.Server(box, *args, **more))
        return started[-1]
    yield start
    for server in started:
        if server.run.poll() is None:
            server.stop()
