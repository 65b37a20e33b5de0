"""scripts/check-includes, and that the sources pass it."""
import subprocess
from pathlib import Path

CHECK = Path(__file__).resolve().parents[2] / "scripts" / "check-includes"


def faults(*arguments):
    done = subprocess.run([CHECK, *arguments], stdout=subprocess.PIPE, text=True, timeout=60)
    lines = done.stdout.splitlines()
    assert done.returncode == (1 if lines else 0)
    return lines


def write(src, name, *includes):
    path = src / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"#include {i}\n" for i in includes))


def test_the_sources_pass():
    assert faults() == []


def test_upwards_is_fine(tmp_path):
    write(tmp_path, "base/a.c", "<stdio.h>", '"base/a.h"')
    write(tmp_path, "cli/main.c", '"base/a.h"', '"worker/w.h"', '"ebb/ebb.h"')
    assert faults(tmp_path) == []


def test_downwards_is_not(tmp_path):
    write(tmp_path, "base/a.h", "<stdio.h>", '"model/machine.h"')
    write(tmp_path, "shard/b.c", '"worker/w.h"')
    assert faults(tmp_path) == [
        f'{tmp_path}/base/a.h:2: "model/machine.h" is in a room below base/',
        f'{tmp_path}/shard/b.c:1: "worker/w.h" is in a room below shard/',
    ]


def test_the_library_for_tasks_uses_nothing_of_ebb(tmp_path):
    write(tmp_path, "client/c.c", "<stdio.h>", '"ebb/ebb.h"', '"base/mem.h"')
    assert [line.split(" is ")[0] for line in faults(tmp_path)] == [f'{tmp_path}/client/c.c:3: "base/mem.h"']


def test_names_and_rooms_must_be_known(tmp_path):
    write(tmp_path, "base/a.c", '"a.h"', '"attic/b.h"')
    write(tmp_path, "attic/b.c")
    assert [line.split(" is ")[0] for line in faults(tmp_path)] == [
        f"{tmp_path}/attic/b.c:1:", f'{tmp_path}/base/a.c:1: "a.h"', f'{tmp_path}/base/a.c:2: "attic/b.h"']
