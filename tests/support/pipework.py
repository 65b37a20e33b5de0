"""The pipeline of the crash suites, beside the list of ebbtest.Workload: stage
`parse` over byte ranges of three files (parse.sh), `total` that gathers what it
wrote, `pages` that cuts all inputs into several files. What it must write is known from an undisturbed run, and what that must
write from the inputs."""

import shlex

import ebbtest
from ebbtest import SUPPORT, Job, tree_names

PARSE = str(SUPPORT / "parse.sh")
RANGE = 150
PIPELINE = """version: 1
name: crash
stages:
  parse:
    input: in/*.txt
    shard: {by: bytes, size: 150B, records: lines}
    run: %s
    output: parts/{#}.txt
    retry: {failures: 50, interruptions: 200, infrastructure: 50, backoff: 10ms..20ms}
  total:
    input: [{stage: parse}]
    run: 'echo "start total:all $EBB_EPOCH $$" >>"$EBBTEST_LOG"; cat -n'
    output: out/total.txt
    retry: {failures: 50, interruptions: 200, infrastructure: 50, backoff: 10ms..20ms}
  pages:
    input: in/*.txt
    shard: {by: all}
    run: 'echo "start pages:all $EBB_EPOCH $$" >>"$EBBTEST_LOG"; split -l 20 - "$EBB_OUTPUT"/page.'
    output: {files: out/pages}
    retry: {failures: 50, interruptions: 200, infrastructure: 50, backoff: 10ms..20ms}
"""
PAGE = 20


def lines_of(name, count):
    word = "c" if name == "careful" else name + " line"  # one shard
    return ["%s %d\n" % (word, n) for n in range(count)]


def range_bytes(lines):
    """What parse.sh writes for some whole lines."""
    return "".join(sorted((line.upper() for line in lines), reverse=True))


def careful_bytes(lines):
    seen = "".join(" 1 %s" % line.strip() for line in sorted(lines))
    return "".join("careful %s" % line.upper() for line in lines) + "seen %s \n" % seen


def cut(name, count):
    """The lines of the ranges that `by: bytes, size: 150B` makes of a file."""
    out = {}
    at = 0
    for line in lines_of(name, count):
        out.setdefault(at // RANGE, []).append(line)
        at += len(line)
    return list(out.values())


class Pipeline(Job):
    """`ebb run` of that pipeline in one box."""

    def __init__(self, box, big=24, careful=14, slots=2, options=(), pause=0.01, text=PIPELINE):
        super().__init__(box, slots, options)
        self.inputs = {"big": big, "careful": careful, "small": big // 2}
        box.env.update(EBBTEST_PAUSE=str(pause), EBBTEST_EBB=ebbtest.ebb_bin())
        (box.root / "p.yaml").write_text(text % shlex.quote(PARSE))
        self.write_inputs()

    def write_inputs(self):
        folder = self.box.root / "in"
        folder.mkdir(exist_ok=True)
        for name, count in self.inputs.items():
            text = "".join(lines_of(name, count))
            path = folder / (name + ".txt")
            if not path.exists() or path.read_text() != text:
                path.write_text(text)

    def expected(self):
        """Name -> bytes of every output, from the inputs alone; those of the
        ranges are in the order of the names of the files."""
        parts = []
        for name, count in sorted(self.inputs.items()):
            make = careful_bytes if name == "careful" else range_bytes
            parts += [make(lines) for lines in cut(name, count)]
        out = {"parts/%d.txt" % (i + 1): part.encode() for i, part in enumerate(parts)}
        whole = "".join(parts).splitlines()
        out["out/total.txt"] = "".join("%6d\t%s\n" % (i + 1, line)
                                       for i, line in enumerate(whole)).encode()
        lines = [line for name, count in sorted(self.inputs.items())
                 for line in lines_of(name, count)]
        for n in range(0, len(lines), PAGE):
            name = "out/pages/page.a" + "abcdefghijklmnopqrstuvwxyz"[n // PAGE]
            out[name] = "".join(lines[n:n + PAGE]).encode()
        return out

    def items(self):
        """The shards of `parse` as parse.sh names them, in the order of the list."""
        return ["parse:in/%s.txt#%d" % (name, i + 1) for name, count in sorted(self.inputs.items())
                for i in range(len(cut(name, count)))]

    def args(self, *more):
        return ["run", "p.yaml", "-j%d" % self.slots, *self.options, *more]

    def in_place(self):
        """name -> inode of the outputs that are there."""
        found = {}
        for name in self.expected():
            try:
                found[name] = (self.box.root / name).stat().st_ino
            except FileNotFoundError:
                pass
        return found

    def problems(self):
        """(lost, foreign): outputs that are missing or have other bytes, and
        names that should not be there."""
        want = self.expected()
        lost = []
        for name, data in want.items():
            path = self.box.root / name
            if not path.is_file() or path.read_bytes() != data:
                lost.append(name)
        found = [folder + "/" + name for folder in ("parts", "out")
                 for name in tree_names(self.box.root / folder)]
        return lost, sorted(set(found) - set(want) - {"out/pages"})

    def copies(self):
        """What is left of checkpoints and of private files."""
        return sorted(str(p.relative_to(self.box.root))
                      for kind in ("checkpoints", "private")
                      for p in self.box.root.glob(".ebb/runs/*/%s/*" % kind))
