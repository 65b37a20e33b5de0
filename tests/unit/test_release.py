"""scripts/release: who builds, who installs, and what it says when it may not."""
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
MEMBER = 65534


@pytest.fixture
def clone():
    """A clone with a release build that only looks like one, where others may look."""
    with tempfile.TemporaryDirectory() as top:
        os.chmod(top, 0o755)
        yield make_clone(Path(top) / "clone")


def make_clone(top):
    for name in ("scripts", "src", "include", "build-release"):
        (top / name).mkdir(parents=True)
    for name in ("release", "configure", "put"):
        shutil.copy(TOP / "scripts" / name, top / "scripts")
    (top / "meson.build").write_text("")
    (top / "src/a.c").write_text("")
    for name in ("build.ninja", "ebb.1", "ebb-map.1", "ebb"):
        (top / "build-release" / name).write_text("#!/bin/sh\n")
    (top / "build-release/ebb").chmod(0o755)
    made = {str(top / "build-release" / name): {"destination": where}
            for name, where in (("ebb", "{bindir}/ebb"), ("ebb-map.1", "{mandir}/man1/ebb-map.1"))}
    info = top / "build-release/meson-info"
    info.mkdir()
    (info / "intro-install_plan.json").write_text(json.dumps({"targets": made}))
    (info / "intro-buildoptions.json").write_text(json.dumps([
        {"name": name, "value": value} for name, value in (
            ("bindir", "bin"), ("libdir", "lib"), ("includedir", "include"), ("datadir", "share"),
            ("mandir", "share/man"))]))
    ninja = top / "bin/ninja"
    ninja.parent.mkdir()
    ninja.write_text("#!/bin/sh\nid -u > ninja.user\ntouch build-release/ebb\n")
    ninja.chmod(0o755)
    return top


def install(clone, user=None, sudo=None):
    env = dict(os.environ, PATH="%s/bin:/usr/bin:/bin" % clone)
    if sudo is not None:
        env.update(SUDO_UID=str(sudo), SUDO_GID=str(sudo))
    else:
        env.pop("SUDO_UID", None)
    def drop():
        if user is not None:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
    return subprocess.run([clone / "scripts/release", "--install", "/pre fix", clone / "dest"],
                          env=env, preexec_fn=drop, capture_output=True, text=True, check=False)


def make_stale(clone):
    os.utime(clone / "build-release/ebb", (1, 1))


def own(path, user):
    os.chown(path, user, user)
    for p in path.rglob("*"):
        os.chown(p, user, user)


def test_what_is_built_is_installed_as_it_is(clone):
    before = sorted(p.stat().st_mtime_ns for p in clone.rglob("build-release/*"))
    r = install(clone)
    assert r.returncode == 0, r.stderr
    assert (clone / "dest/pre fix/bin/ebb").stat().st_mode & 0o777 == 0o755
    assert (clone / "dest/pre fix/share/man/man1/ebb-map.1").exists()
    assert sorted(p.stat().st_mtime_ns for p in clone.rglob("build-release/*")) == before
    assert not (clone / "ninja.user").exists()


def test_what_is_stale_is_built_first(clone):
    make_stale(clone)
    r = install(clone)
    assert r.returncode == 0, r.stderr
    assert (clone / "ninja.user").exists()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users")


@needs_root
def test_roots_build_is_installed_by_a_user(clone):
    (clone / "dest").mkdir()
    os.chown(clone / "dest", MEMBER, MEMBER)
    r = install(clone, user=MEMBER)
    assert r.returncode == 0, r.stderr
    make_stale(clone)
    r = install(clone, user=MEMBER)
    assert r.returncode == 1 and "build-release belongs to root" in r.stderr
    assert "sudo rm -r build-release" in r.stderr and "Traceback" not in r.stderr


@needs_root
def test_sudo_builds_as_the_user(clone):
    own(clone, MEMBER)
    own(clone / "build-release", 0)  # an earlier version did
    make_stale(clone)
    r = install(clone, sudo=MEMBER)
    assert r.returncode == 0, r.stderr
    assert (clone / "ninja.user").read_text() == "%d\n" % MEMBER
    assert (clone / "build-release/ebb").stat().st_uid == MEMBER


@needs_root
def test_a_prefix_that_may_not_be_written(clone):
    r = install(clone, user=MEMBER)
    assert r.returncode == 1 and "sudo make install" in r.stderr
