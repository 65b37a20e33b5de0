"""Running ebb's command line as a person would, for the tests in tests/cli.

A test's own record of what was run is box.log: commands append to
"$EBBTEST_LOG". The files of a test that ebb does not know of (the log, what
holds commands back) are in box.top, the working folder is box.root."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import ebbtest
from ebbtest import Box, Result, Running, ebb_bin, kill, parse_json, wait_until

# Words that append the item to the run log; one for an argument vector.
LOG = 'printf "%s\\n" {} >>"$EBBTEST_LOG"'
# Waits in the command while the file $EBBTEST_HOLD is there.
HELD = 'while [ -e "$EBBTEST_HOLD" ]; do sleep 0.01; done'


class CliRunning(Running):
    """Running, with a choice of stdin, stdout and working folder."""

    def __init__(self, box, args, env, stdin=None, stdout=None, cwd=None, before=None):
        # pylint: disable=super-init-not-called
        box.runs += 1
        if before is not None:
            # Another user may not be let into the folder that this checkout is in.
            copy = box.top / "ebb"
            shutil.copy(args[0], copy)
            copy.chmod(0o755)
            args = [str(copy), *args[1:]]
        self.out_path = box.top / ("%d.out" % box.runs)
        self.err_path = box.top / ("%d.err" % box.runs)
        with tempfile.TemporaryFile(dir=box.top) as given, open(self.out_path, "wb") as out, \
                open(self.err_path, "wb") as err:
            if isinstance(stdin, bytes):
                given.write(stdin)
                given.seek(0)
                stdin = given
            self.proc = subprocess.Popen(
                args, cwd=cwd or box.root, env=env, start_new_session=True, stderr=err,
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=out if stdout is None else stdout, preexec_fn=before)
        self.pid = self.proc.pid

    def err(self):
        return self.err_path.read_text(errors="replace")

    def out(self):
        return self.out_path.read_bytes()


class CliBox(Box):
    def __init__(self, top):
        super().__init__(top)
        self.hold_path = self.top / "hold"
        self.env["EBBTEST_HOLD"] = str(self.hold_path)

    # ---- files ----

    def path(self, name):
        return self.root / os.fsdecode(name)

    def write(self, name, data):
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    def read(self, name):
        return self.path(name).read_bytes()

    def names(self):
        """What is in the working folder, without the state."""
        return sorted(n for n in os.listdir(self.root) if n != ".ebb")

    def script(self, name, text):
        path = self.write(name, "#!/bin/bash\n" + text)
        path.chmod(0o755)
        return path

    # ---- the run log ----

    def ran(self):
        """Lines that commands wrote to the run log, in order."""
        return self.log.read_text(errors="surrogateescape").splitlines()

    def forget(self):
        self.log.write_bytes(b"")

    # ---- holding commands ----

    def hold(self):
        self.hold_path.touch()

    def release(self):
        self.hold_path.unlink(missing_ok=True)

    # ---- running ----

    def begin(self, *args, stdin=None, stdout=None, cwd=None, before=None, **env):
        """Starts ebb and returns at once. `before` is called in the child before
        exec; stdin is bytes or a file."""
        full = dict(self.env)
        full.update((k, str(v)) for k, v in env.items())
        words = [a if isinstance(a, bytes) else str(a) for a in args]
        return CliRunning(self, [ebb_bin(), *words], full, stdin, stdout, cwd, before)

    def ebb(self, *args, code=0, seconds=20, **how):
        """Runs ebb to its end; its exit code must be `code` (None: any)."""
        r = self.begin(*args, **how).wait(seconds)
        r.check_words()
        assert code is None or r.code == code, "exit code %d, not %d\n%s" % (r.code, code, r.err)
        return r

    def map(self, *args, **how):
        return self.ebb("map", *args, **how)

    def refused(self, *args, **how):
        """`ebb map ...` ends with 2, a clear word on stderr, nothing on stdout,
        and nothing new in the working folder. Returns stderr."""
        before = tree(self.root)
        r = self.map(*args, code=2, **how)
        assert r.out == b""
        assert tree(self.root) == before, "something was written"
        return r.err

    # ---- looking ----

    def status(self, *args):
        return json.loads(self.ebb("status", "--json", *args).out)["runs"]

    def shards(self, *args):
        out = self.ebb("shards", "--json", *args).out
        value = parse_json(out) if out.strip() else []
        return value if isinstance(value, list) else [value]

    def crash(self, running):
        """kill -9; waits until all that ran under it has ended."""
        kill(running.pid)
        running.proc.wait(5)
        self.wait_alone(2.0)


def tree(folder):
    """Every name below a folder with its kind, size and bytes' hash; what is
    left by a command that must not write anything."""
    found = {}
    for where, folders, files in os.walk(folder):
        for n in folders + files:
            path = Path(where, n)
            st = path.lstat()
            body = path.read_bytes() if path.is_file() and not path.is_symlink() and \
                os.access(path, os.R_OK) else None
            found[str(path)] = (st.st_mode, st.st_size if body is not None else 0, body)
    return found


def wait_for_lines(box, n, seconds=10):
    return wait_until(lambda: box.ran() if len(box.ran()) >= n else None, seconds,
                      "%d lines in the run log" % n)


def wait_for_done(box, n, seconds=10):
    """n shards are done in the newest run, as the ledger says."""
    def look():
        r = box.ebb("status", "--json", code=None)
        return r.code == 0 and b'"runs":[]' not in r.out and \
            json.loads(r.out)["runs"][-1]["done"] >= n
    return wait_until(look, seconds, "%d done" % n)


__all__ = ["CliBox", "CliRunning", "HELD", "LOG", "Result", "ebbtest", "tree", "wait_for_done",
           "wait_for_lines"]
