"""tests/run itself, on programs and Python tests made up for it."""
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parents[1] / "run"


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


class House:
    """A build folder and a folder of tests."""

    def __init__(self, path):
        self.build, self.tests = path / "build", path / "tests"
        (self.build / "meson-info").mkdir(parents=True)
        self.tests.mkdir()
        shutil.copy(RUN.parent / "pytest.ini", self.tests)
        self.programs = []

    def program(self, name, script, protocol="tap", timeout=30):
        path = self.build / name.replace("/", "_")
        path.write_text("#!/bin/bash\n" + script)
        path.chmod(0o755)
        self.programs.append({
            "cmd": [str(path)], "env": {"FROM_MESON": "yes"}, "name": name, "workdir": None,
            "timeout": timeout, "is_parallel": True, "priority": 0, "protocol": protocol})

    def python(self, name, text):
        path = self.tests / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def run(self, *options):
        (self.build / "meson-info" / "intro-tests.json").write_text(json.dumps(self.programs))
        done = subprocess.run(
            [RUN, "--build", self.build, "--tests", self.tests, "-j", "2", *options],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        return done.returncode, done.stdout

    def last_line(self, *options):
        code, output = self.run(*options)
        return code, output.splitlines()[-1]


def test_all_pass(house):
    house.program("unit/a", "echo 1..2; echo ok 1 - x; echo ok 2 - y; echo '# ok - group'")
    house.program("unit/b", '[ "$FROM_MESON" = yes ] && echo 1..1 && echo ok 1 - z')
    assert house.last_line() == (0, "3 passed, 0 failed")


def test_several_groups_in_one_program(house):
    house.program("unit/a", "echo 1..1; echo ok 1 - x; echo 1..1; echo ok 1 - y")
    assert house.last_line() == (0, "2 passed, 0 failed")


def test_a_failure_is_shown_in_full(house):
    house.program("unit/a", "echo 1..2; echo ok 1 - x; echo not ok 2 - y; echo '# 0x1 != 0x2';"
                            "echo from stderr >&2; exit 1")
    code, output = house.run()
    assert code == 1
    assert output.endswith("\n1 passed, 1 failed\n")
    for text in ("unit/a: y", "# 0x1 != 0x2", "from stderr"):
        assert text in output


@pytest.mark.parametrize("script, passed, why", [
    ("echo 1..3; echo ok 1 - x; kill -SEGV $$", 1, "crashed: SIGSEGV"),
    ("kill -ABRT $$", 0, "crashed: SIGABRT"),
    ("echo 1..1; echo ok 1 - x; exit 1", 1, "exit code 1, without a failed test"),
    ("echo 1..3; echo ok 1 - x", 1, "3 tests planned, 1 ran"),
    ("true", 0, "ran no test"),
    ("echo 1..1; echo ok 1 - x; sleep 60", 1, "did not end within 0.3 s"),
])
def test_a_program_that_breaks_off_is_a_failure(house, script, passed, why):
    house.program("unit/good", "echo 1..1; echo ok 1 - x")
    house.program("unit/bad", script, timeout=0.3 if "sleep" in script else 30)
    code, output = house.run()
    assert (code, output.splitlines()[-1]) == (1, f"{passed + 1} passed, 1 failed")
    assert why in output


def test_a_crash_after_a_failure_is_named_too(house):
    house.program("unit/a", "echo 1..3; echo not ok 1 - x; kill -SEGV $$")
    code, output = house.run()
    assert (code, output.splitlines()[-1]) == (1, "0 passed, 2 failed")
    assert "crashed: SIGSEGV" in output


def test_a_failed_group_setup_counts_once(house):
    house.program("unit/a", "echo 1..5; echo 'not ok 0 - g [  FAILED  ] GROUP SETUP'; exit 255")
    assert house.last_line() == (1, "0 passed, 1 failed")


def test_a_program_that_was_not_built(house):
    house.program("unit/a", "")
    os.unlink(house.build / "unit_a")
    assert house.last_line() == (1, "0 passed, 1 failed")


def test_skips_say_why(house):
    house.program("unit/a", "echo 1..2; echo ok 1 - x; echo '# no second disk'; echo 'not ok 2 # SKIP y'")
    house.program("unit/b", "echo no network; exit 77", protocol="exitcode")
    house.python("cli/test_c.py", "import pytest\n@pytest.mark.skip(reason='no root')\ndef test_z(): pass\n")
    code, output = house.run()
    assert (code, output.splitlines()[-1]) == (0, "1 passed, 0 failed, 3 skipped")
    for text in ("unit/a: y: no second disk", "unit/b: no network", "test_z: no root"):
        assert text in output


def test_exit_codes_alone(house):
    house.program("fuzz/a", "true", protocol="exitcode")
    house.program("fuzz/b", "false", protocol="exitcode")
    assert house.last_line() == (1, "1 passed, 1 failed")


def test_what_a_program_leaves_running_is_ended(house):
    house.program("unit/a", f"sleep 1000 & echo $! >{house.build}/pid; echo 1..1; echo ok 1 - x")
    assert house.last_line() == (0, "1 passed, 0 failed")
    pid = (house.build / "pid").read_text().strip()
    deadline = time.monotonic() + 10
    while running(pid) and time.monotonic() < deadline:
        pass
    assert not running(pid)


def running(pid):
    try:
        return Path("/proc", pid, "stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


PYTHON_TESTS = """
import os, pytest
def test_good(): assert os.environ["EBB_TEST_BUILD"].endswith("build")
def test_bad():
    print("the last words")
    assert 1 == 2
@pytest.fixture
def broken():
    yield
    raise RuntimeError("teardown")
def test_bad_twice(broken): assert False
"""


def test_python_tests(house):
    house.python("cli/test_a.py", PYTHON_TESTS)
    house.python("unit/test_a.py", "def test_good(): pass\n")
    house.program("unit/a", "echo 1..1; echo ok 1 - x")
    code, output = house.run()
    assert (code, output.splitlines()[-1]) == (1, "3 passed, 2 failed")
    assert "the last words" in output
    assert house.last_line("unit") == (0, "2 passed, 0 failed")


def test_python_that_cannot_be_read_is_a_failure(house):
    house.python("cli/test_a.py", "def test_good(): pass\n")
    house.python("cli/test_b.py", "import no_such_module\n")
    code, line = house.last_line()
    assert code == 1 and re.fullmatch(r"[01] passed, 1 failed", line)


def test_pytest_that_cannot_start_is_a_failure(house):
    house.python("conftest.py", "raise RuntimeError('no')\n")
    house.python("cli/test_a.py", "def test_good(): pass\n")
    assert house.last_line() == (1, "0 passed, 1 failed")


def test_alone_runs_too_and_once(house):
    house.python("cli/test_a.py", "import pytest\ndef test_x(): pass\n"
                                  "@pytest.mark.alone\ndef test_y(): pass\n")
    assert house.last_line() == (0, "2 passed, 0 failed")


def test_nothing_to_run_is_not_success(house):
    assert house.last_line() == (1, "0 passed, 0 failed")
    house.program("unit/a", "echo 1..1; echo ok 1 - x")
    assert house.last_line("crash") == (1, "0 passed, 0 failed")


def test_the_slowest_are_named(house):
    house.program("unit/a", "sleep 0.2; echo 1..1; echo ok 1 - x")
    code, output = house.run()
    assert code == 0 and re.search(r"slowest:\n +0\.\d+ s  unit/a\n", output)
