"""docs/task-contract.md: its examples run, its table is the layout, and what is
installed can be built with."""

import json
import os
import re
import subprocess
import sys

import pytest

import fakeebb
from ebbtest import ROOT, build_dir, ebb_bin
from fakeebb import FakeEbb

TEXT = (ROOT / "docs/task-contract.md").read_text()
NUMBERS = [3, 14, 159, 2, 65]
INPUT = "".join(f"{n}\n" for n in NUMBERS)


def examples(language):
    return re.findall(r"^```%s\n(.*?)^```" % language, TEXT, re.MULTILINE | re.DOTALL)


def environment(env):
    return dict(env, PATH="%s:%s" % (os.path.dirname(ebb_bin()), os.environ["PATH"]),
                PYTHONPATH=str(ROOT / "python"), PYTHONDONTWRITEBYTECODE="1")


def outside():
    return environment({k: v for k, v in os.environ.items() if not k.startswith("EBB_")})


@pytest.fixture
def squares(request, tmp_path):
    """The words that run an example."""
    language = request.param
    (tmp_path / "run").mkdir()
    if language == "bash":
        return ["bash", "-euo", "pipefail", "-c", examples("bash")[0]]
    if language == "python":
        return [sys.executable, "-c", examples("python")[0]]
    source, program = tmp_path / "squares.c", tmp_path / "squares"
    source.write_text(examples("c")[0])
    flags = [] if sanitizers() == "none" else ["-fsanitize=" + sanitizers()]
    subprocess.run(["gcc", "-std=c99", "-Wall", "-Werror", *flags, "-o", program, source, f"-I{ROOT}/include",
                    build_dir() / "src/client/libebb.a"], check=True, timeout=60)
    return [str(program)]


def sanitizers():
    """What the library was built with: "none", "address,undefined"."""
    options = json.loads((build_dir() / "meson-info/intro-buildoptions.json").read_text())
    return next(o["value"] for o in options if o["name"] == "b_sanitize")


ALL = pytest.mark.parametrize("squares", ["bash", "c", "python"], indirect=True)


def run(words, env, text, code):
    done = subprocess.run(words, input=text, env=env, stdout=subprocess.PIPE, text=True, timeout=30)
    assert done.returncode == code, done
    return done.stdout


@ALL
def test_outside_ebb(squares):
    assert run(squares, outside(), INPUT, 0) == "".join(f"{n * n}\n" for n in NUMBERS)


@ALL
def test_under_ebb_exec(squares, tmp_path):
    out = run([ebb_bin(), "exec", "--", *squares], dict(outside(), TMPDIR=str(tmp_path)), INPUT, 0)
    assert out == "".join(f"{n * n}\n" for n in NUMBERS)


@ALL
def test_stopped_after_each_line(squares, tmp_path):
    """As ebb would: every attempt is given notice at once, and the next one gets
    the offset and the rest of the input."""
    offset, out, attempts = 0, "", 0
    while offset < len(INPUT):
        with FakeEbb(tmp_path / "run", epoch=attempts + 1, offset=offset) as fake:
            fake.stop(30)
            out += run(squares, environment(fake.env()), INPUT[offset:], 85)
            (offset,) = fake.asked
        attempts += 1
    assert attempts == len(NUMBERS)
    assert out == "".join(f"{n * n}\n" for n in NUMBERS)


@ALL
def test_a_checkpoint_that_fails(squares, tmp_path):
    with FakeEbb(tmp_path / "run", answers=[2]) as fake:
        fake.stop(30)
        run(squares, environment(fake.env()), INPUT, 1)


def test_state_in_a_folder(tmp_path):
    words = [sys.executable, "-c", examples("python")[1]]
    for epoch in range(1, 10):
        with FakeEbb(tmp_path, epoch=epoch) as fake:
            fake.stop(30)
            assert run(words, environment(fake.env()), "", 85) == ""
    with FakeEbb(tmp_path, epoch=10) as fake:
        assert run(words, environment(fake.env()), "", 0) == "10\n"
        assert fake.progress()[:2] == (10, 10) and fake.said_done()


def test_the_table_is_the_layout(tmp_path):
    rows = re.findall(r"^\| (\d+) \| (\d+) \| `(\w+)` \|", TEXT, re.MULTILINE)
    assert len(rows) == 17
    lines = "".join(f'printf("%zu %zu {name}\\n", offsetof(struct ebb_control, {name}), '
                    f"sizeof(((struct ebb_control *)0)->{name}));\n" for _, _, name in rows)
    (tmp_path / "a.c").write_text("#include <stdio.h>\n#include <stddef.h>\n#include <ebb/control.h>\n"
                                  "int main(void) {\n" + lines + "return 0; }\n")
    subprocess.run(["gcc", "-o", tmp_path / "a", tmp_path / "a.c", f"-I{ROOT}/include"], check=True, timeout=60)
    out = subprocess.run([tmp_path / "a"], stdout=subprocess.PIPE, text=True, timeout=10, check=True).stdout
    assert out.split("\n")[:-1] == [" ".join(row) for row in rows]
    known = {v for k, v in vars(fakeebb).items() if k.startswith("AT_")}
    assert known <= {int(offset) for offset, _, _ in rows}


def test_the_variables_are_those_of_ebb_exec(tmp_path):
    documented = set(re.findall(r"^\| `(EBB_\w+)` \|", TEXT, re.MULTILINE))
    out = run([ebb_bin(), "exec", "--", "env"], dict(outside(), TMPDIR=str(tmp_path)), "", 0)
    assert {line.split("=")[0] for line in out.splitlines() if line.startswith("EBB_")} == documented


def test_what_is_installed_can_be_used(tmp_path):
    if sanitizers() != "none":
        pytest.skip("a library with sanitizers is not for other programs")
    root = tmp_path / "root"
    subprocess.run([ROOT / "scripts/put", build_dir(), "/usr/local", root], check=True, timeout=120,
                   stdout=subprocess.DEVNULL)
    (pc,) = root.glob("**/libebb.pc")
    env = dict(os.environ, PKG_CONFIG_PATH=str(pc.parent), PKG_CONFIG_SYSROOT_DIR=str(root))

    def ask(*words):
        done = subprocess.run(["pkg-config", *words, "libebb"], env=env, check=True, timeout=10, text=True,
                              stdout=subprocess.PIPE)
        return done.stdout.split()

    source, program = tmp_path / "a.c", tmp_path / "a"
    source.write_text(examples("c")[0])
    subprocess.run(["gcc", "-o", program, source, *ask("--cflags", "--libs")], check=True, timeout=60)
    (shared,) = root.glob("**/libebb.so.0")
    assert run([str(program)], dict(outside(), LD_LIBRARY_PATH=str(shared.parent)), "3\n", 0) == "9\n"
    symbols = subprocess.run(["readelf", "--dyn-syms", "--wide", shared], stdout=subprocess.PIPE, text=True,
                             check=True, timeout=10).stdout
    mine = [line.split()[-1] for line in symbols.splitlines() if " UND " not in line and " ebb_" in line]
    assert len(mine) == 13 and all(name.endswith("@@EBB_1") for name in mine)
    header = (ROOT / "include/ebb/ebb.h").read_text()
    assert {name.split("@")[0] for name in mine} == set(re.findall(r"^[a-z].*?\b(ebb_\w+)\(", header, re.MULTILINE))
    folder = root.joinpath(*ask("--variable=python")[0].replace(str(root), "").strip("/").split("/"))
    assert (folder / "ebb_task.py").read_bytes() == (ROOT / "python/ebb_task.py").read_bytes()
