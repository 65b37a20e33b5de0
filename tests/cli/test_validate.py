"""ebb validate: what it says of good and of bad pipeline files, and that the
schema and the docs say the same as the program."""

import copy
import json
import os
import re

import pytest

import ebbtest
from ebbcli import tree

HEAD = "version: 1\nname: p\n"
DOCS = ebbtest.ROOT / "docs"


def stage(text, name="one"):
    return HEAD + "stages:\n  %s:\n" % name + "".join("    %s\n" % line for line in text.split("\n"))


def said(box, text, *args, code=2, name="f.yaml"):
    """The lines about the file, and nothing has been written."""
    box.write(name, text)
    before = tree(box.root)
    r = box.ebb("validate", name, *args, code=code)
    assert tree(box.root) == before
    return [line for line in r.err.splitlines() if not line.startswith("ebb: ")
            and "the state " not in line]


def good(box, text, *args):
    """The table of what would run."""
    assert said(box, text, *args, code=0) == []
    return box.ebb("validate", "f.yaml", *args).out.decode()


def report(box, *args, code=0):
    value = json.loads(box.ebb("validate", "--json", "f.yaml", *args, code=code).out)
    assert value["ebb_validate"] == 1 and value["valid"] == (code == 0)
    return value


def sparse(box, name, size):
    path = box.write(name, b"")
    os.truncate(path, size)


# ---- good files ----

def test_what_would_run(box):
    for name, text in (("a.txt", "one\n\ntwo\n\n"), ("b.txt", "three\n")):
        box.write("data/2026/" + name, text)
    box.write("sections.awk", "")
    box.script("add-up.sh", "cat\n")
    table = good(box, "version: 1\nname: sizes\nparams: {date: required}\nfiles: [sections.awk]\n"
                 "stages:\n  total:\n    input: {stage: parse}\n    run: ./add-up.sh\n"
                 "    output: out/${date}.tsv\n  parse:\n    input: data/${date}/*.txt\n"
                 "    shard: {by: bytes, size: 2B, records: paragraphs}\n    run: wc -l | tac\n",
                 "--set", "date=2026")
    lines = table.splitlines()
    assert lines[0].split() == ["stage", "shards", "input", "command"]
    assert lines[1].split(None, 4) == ["parse", "3", "16", "B", "wc -l | tac"]
    assert lines[2].split() == ["total", "1", "-", "./add-up.sh"]
    stages = report(box, "--set", "date=2026")["stages"]
    assert stages[0] == {"name": "parse", "shards": 3, "exact": True, "input_bytes": 16, "items": 2,
                         "command": "wc -l | tac"}
    assert stages[1]["input_bytes"] is None and stages[1]["shards"] == 1


@pytest.mark.parametrize("text, shards", [
    ("input: 'd/*'\nrun: cat", 3),
    ("input: ['d/a', 'd/b']\nrun: cat", 2),
    ("input: 'd/*'\nrun: cat\nshard: {size: 8B}", 2),
    ("input: 'd/*'\nrun: cat\nshard: {size: 100B}", 1),
    ("input: 'd/*'\nrun: cat\nshard: {by: all}", 1),
    ("input: {list: list}\nrun: echo {}", 2),
    ("input: {list: files}\nrun: cat {}\nshard: {by: files}", 2),
    ("input: [{count: 1000}, {list: list}]\nrun: echo {}", 1002),
    ("input: 'd/*'\nrun: cat\nshard: {by: bytes, size: 1KiB, records: whole}", 3),
])
def test_number_of_shards(box, text, shards):
    for name in "abc":
        box.write("d/" + name, "1234")
    box.write("list", "x\n\ny\n")
    box.write("files", "d/a\nd/b\n")
    good(box, stage(text))
    assert report(box)["stages"][0]["shards"] == shards


def test_shards_of_a_stage_that_depends_on_another(box):
    box.write("a", "")
    table = good(box, HEAD + "stages:\n  x: {input: a, run: cat}\n"
                 "  y: {input: {stage: x}, run: cat, shard: {by: files}, output: 'o/{#}'}\n")
    assert table.splitlines()[2].split() == ["y", "?", "-", "cat"]
    assert report(box)["stages"][1]["shards"] is None


def test_names_are_those_of_the_files_folder(box):
    box.write("sub/a", "1")
    box.script("sub/run.sh", "cat\n")
    box.write("sub/f.yaml", stage("input: a\nrun: ./run.sh"))
    r = box.ebb("validate", "sub/f.yaml")
    assert "1 B" in r.out.decode() and not box.path("sub/.ebb").exists()
    assert box.ebb("validate", str(box.path("sub/f.yaml")), cwd="/").out == r.out


# ---- bad files ----

def test_every_problem_is_told(box):
    err = said(box, HEAD + "stages:\n  a:\n    input: x\n    rnu: y\n    timeout: 5\n", "--set", "d=1")
    assert err == [
        "f.yaml: --set d: there is no such parameter; the file declares its own under params:",
        'f.yaml:5:5: "run" is missing; expected a text for a shell, or a list of words',
        'f.yaml:6:5: there is no key "rnu" here; did you mean "run"?',
        'f.yaml:7:14: "timeout" is "5", which has no unit; expected a duration with a unit, such as '
        "500ms, 30s, 10m or 2h"]
    problems = report(box, code=2)["problems"]
    assert [(p["severity"], p["line"], p["column"]) for p in problems] == [
        ("error", 5, 5), ("error", 6, 5), ("error", 7, 14)]


@pytest.mark.parametrize("text, error", [
    ("input: no/*.txt\nrun: cat", '5:12: no file fits "no/*.txt"'),
    ("input: [a, nothing]\nrun: cat", '5:12: no file fits "nothing"'),
    ("input: d\nrun: cat", "5:12: d is a folder, and no file; expected a file or a pattern such as "
     "d/*"),
    ("input: fifo\nrun: cat", "5:12: fifo is a FIFO, and no file that can be read again"),
    ("input: {list: fifo}\nrun: cat", "5:12: fifo is a FIFO, and no list that can be read again"),
    ("input: {list: none}\nrun: cat", "5:12: cannot open none: No such file or directory"),
    ("input: {list: empty}\nrun: cat", "5:12: the list empty has no items"),
    ("input: {list: names}\nrun: cat\nshard: {by: files}",
     "5:12: not-there, an item of the list, is no file"),
    ("input: a\nrun: [no-such-program, x]", "6:10: "),
    ("input: a\nrun: ./missing", "6:10: "),
    ("input: a\nrun: ./missing {} | sort", "6:10: there is no program ./missing"),
    ("input: a\nrun: ./plain", "6:10: "),
    ("input: a\nrun: ./plain {} | sort", "6:10: ./plain is not executable; chmod +x ./plain makes it "
     "so"),
    ("input: 'd/*'\nrun: cat\noutput: out/all",
     '7:13: "out/all" is one name for 2 shards; put {/} or {#} into it, or let another stage join '
     "them"),
    ("input: d/two\nrun: cat\noutput: 'out/{/}'\nshard: {by: bytes, size: 4B}",
     '7:13: "out/{/}" is the same name for each piece of a file; put {#} into it'),
])
def test_what_cannot_run(box, text, error):
    box.write("a", "")
    box.write("plain", "")
    box.write("empty", "\n")
    box.write("names", "a\nnot-there\n")
    box.write("d/one", "1")
    box.write("d/two", "one\ntwo\nthree\n")
    os.mkfifo(box.path("fifo"))
    err = said(box, stage(text))
    assert len(err) == 1 and err[0].startswith("f.yaml:" + error), err


def test_folder_that_may_not_be_read(box, not_root):
    box.write("d/a", "")
    box.write("f.yaml", stage("input: d/*\nrun: cat"))
    for folder in (box.top, box.root):
        folder.chmod(0o755)
    box.path("d").chmod(0)
    r = box.begin("validate", "f.yaml", before=not_root).wait(10)
    assert r.code == 2 and "cannot read the folder d/: Permission denied" in r.err


def test_missing_files(box):
    box.write("a", "")
    err = said(box, HEAD + "files: [a, b, '.']\nstages: {one: {input: a, run: cat}}\n")
    assert err == ['f.yaml:3:8: there is no file "b"', 'f.yaml:3:8: "." is no regular file']


def test_program_made_by_an_earlier_stage(box):
    box.write("a", "")
    good(box, HEAD + "stages:\n  make: {input: a, run: cat, output: prog}\n"
         "  use: {input: {stage: make}, run: ./prog}\n".replace("output: prog", "output: ./prog"))


@pytest.mark.parametrize("args, words", [
    ([], "no file"),
    (["nothing.yaml"], "nothing.yaml"),
    (["."], "is a folder"),
    (["f.yaml", "--set", "x"], "expected NAME=VALUE"),
    (["f.yaml", "g.yaml"], "one word too many"),
])
def test_wrong_usage(box, args, words):
    box.write("f.yaml", stage("input: a\nrun: cat"))
    assert words in box.ebb("validate", *args, code=2).err


def test_large_files_are_refused(box):
    box.write("f.yaml", HEAD + "#" * (1 << 20))
    assert "f.yaml" in box.ebb("validate", "f.yaml", code=2).err


def test_secrets_are_not_shown(box):
    box.write("a", "")
    text = stage("input: a\nrun: cat\nsecrets: {A: hunter2, B: 'env:hunter2-x'}")
    assert all("hunter2" not in line for line in said(box, text))
    text = stage("input: a\nrun: cat\nsecrets: {A: file:/run/hunter2}")
    assert "hunter2" not in good(box, text)
    assert "hunter2" not in json.dumps(report(box))


def test_parameters_with_anything_in_them(box):
    value = "it's ${HOME} \"$(touch no)\" {}\n; touch no"
    box.write("a", "")
    table = good(box, HEAD + "params: {p: required}\nstages: {one: {input: a, run: 'echo ${p}'}}\n",
                 "--set", "p=" + value)
    assert table.count("\n") == 2
    command = report(box, "--set", "p=" + value)["stages"][0]["command"]
    out = ebbtest.subprocess.run(["bash", "-euc", command.replace("\\n", "\n")], cwd=box.root,
                                 stdout=ebbtest.subprocess.PIPE, check=True).stdout.decode()
    assert out == value + "\n" and not box.path("no").exists()


# ---- warnings ----

def warnings(box, text):
    box.write("f.yaml", text)  # and no look at what else is there: it is large
    err = [line for line in box.ebb("validate", "f.yaml").err.splitlines() if "the state " not in line]
    assert all(line.endswith(" (warning)") for line in err)
    return err


def test_monoliths(box):
    sparse(box, "big", (1 << 30) + 1)
    sparse(box, "huge", (10 << 30) + 1)
    assert "f.yaml:5:12: a shard has 1.0 GiB of input" in warnings(box, stage("input: big\nrun: cat"))[0]
    assert "10-30 GiB" in warnings(box, stage("input: ['huge', 'big']\nrun: cat"))[0]
    cut = stage("input: big\nrun: cat\nshard: {by: bytes, size: 64MiB}")
    assert warnings(box, cut) == []
    assert report(box)["stages"][0] == {"name": "one", "shards": 17, "exact": False, "items": 1,
                                        "input_bytes": (1 << 30) + 1, "command": "cat"}
    assert "~17" in box.ebb("validate", "f.yaml").out.decode()


def test_too_many_tiny_shards(box):
    sparse(box, "big", 200 << 20)
    err = warnings(box, stage("input: big\nrun: cat\nshard: {by: bytes, size: 1KiB}"))
    assert len(err) == 1 and "204,800 shards of 1024 bytes each" in err[0]


def test_state_in_memory(box):
    """The box is in /dev/shm where there is one."""
    if not str(box.root).startswith("/dev/shm"):
        pytest.skip("no /dev/shm")
    box.write("a", "")
    box.write("f.yaml", stage("input: a\nrun: cat"))
    r = box.ebb("validate", "f.yaml")
    assert "is in memory: a reclaim or a reboot takes it" in r.err
    assert str(box.root) + "/.ebb" in r.err
    assert report(box)["problems"][0]["severity"] == "warning"
    assert "memory" not in box.ebb("validate", "f.yaml", "--state", "/proc/self").err
    assert "memory" not in box.ebb("validate", "f.yaml", EBB_STATE="/proc/self").err


# ---- the schema and the docs ----

def test_committed_schema_is_the_programs(box):
    assert box.ebb("help", "schema").out == (DOCS / "pipeline.schema.json").read_bytes()


def test_docs_have_every_key(box):
    """docs/pipeline-file.md ends with what `ebb help pipeline` prints."""
    keys = box.ebb("help", "pipeline").out.decode()
    text = (DOCS / "pipeline-file.md").read_text()
    assert "".join("    %s\n" % line if line else "\n" for line in keys.splitlines()) in text


def blocks(text):
    """Indented blocks that are whole files."""
    for block in re.findall(r"(?:^    .*\n|^\n)+", text, re.M):
        block = re.sub(r"^    ", "", block, flags=re.M).strip("\n") + "\n"
        if block.startswith("version: 1\n"):
            yield block


def test_files_in_the_docs_are_right(box):
    text = (DOCS / "pipeline-file.md").read_text()
    files = list(blocks(text))
    assert len(files) == 5
    for block in files:
        given = ["--set", "date=2026-07-01"] if "date: required" in block else []
        box.write("f.yaml", block)
        value = json.loads(box.ebb("validate", "--json", "f.yaml", *given, code=None).out)
        # Stages are told of once the file itself is right; its inputs are not here.
        assert value["stages"], (block, value)


def matches(schema, value):
    """As much of JSON Schema as ours uses."""
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int,
             "number": (int, float)}
    if "anyOf" in schema and not any(matches(s, value) for s in schema["anyOf"]):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if "type" in schema:
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not any(isinstance(value, kinds[t]) and (t == "boolean" or not isinstance(value, bool))
                   for t in types):
            return False
    if isinstance(value, str):
        return re.search(schema.get("pattern", ""), value) is not None and \
            len(value) >= schema.get("minLength", 0)
    if isinstance(value, (int, float)):
        return schema.get("minimum", value) <= value <= schema.get("maximum", value)
    if isinstance(value, list):
        return schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)) and \
            all(matches(schema.get("items", {}), v) for v in value)
    named = schema.get("properties", {})
    for key, v in value.items():
        patterns = [s for p, s in schema.get("patternProperties", {}).items() if re.search(p, key)]
        if key in named:
            patterns.append(named[key])
        if not patterns and schema.get("additionalProperties") is False:
            return False
        if not all(matches(s, v) for s in patterns):
            return False
    return set(schema.get("required", [])) <= set(value) and \
        schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", len(value))


FULL = {
    "version": 1, "name": "p", "params": {"date": 1, "other": {"default": "x"}}, "files": ["a"],
    "drain": {"reserve": "5s"},
    "stages": {"one": {
        "input": ["a", {"list": "a"}], "run": "cat", "shard": {"by": "bytes", "size": "4MiB",
                                                              "records": "nul"},
        "input_as": "stdin", "output": {"files": "out"}, "slots": "gpu",
        "resources": {"cpu": 0.5, "memory": "1GiB", "gpu": 1}, "timeout": "10m",
        "retry": {"failures": 3, "interruptions": 3, "infrastructure": 3, "losses": 3, "timeouts": 3,
                  "out_of_memory": 3, "on_demand_after": 0, "on_demand_wait": "10m",
                  "backoff": "1s..60s"},
        "allow_failed": "1.5%", "on_failed": "continue", "stop": {"signal": "INT", "to": "group"},
        "after_stop": {"0": "done"}, "checkpoint": {"exit": 85, "every": "1s"}, "batch": 5,
        "env": {"A": 1}, "secrets": {"B": "env:C"}, "shell": "sh -c", "version": 2}},
}

# What is put where, and whether it is right then.
CHANGES = [
    ("name", "a b", False), ("name", "${date}", True), ("version", 2, False), ("version", "1", True),
    ("params/date", "required", False), ("params/date", "", True), ("params/1x", "1", False),
    ("params/other/default", "", True), ("params/other/deflt", "", False),
    ("files", "a", False), ("files", [], True), ("files", [""], False), ("drain", {}, True),
    ("drain/reserve", "5", False), ("drain/reserve", 5, False), ("drain/reserve", ".5 min", True),
    ("drain/res", "5s", False), ("stages/one/input", "a", True), ("stages/one/input", [], False),
    ("stages/one/input", {"list": "a", "count": 1}, False), ("stages/one/input", {"lsit": "a"}, False),
    ("stages/one/input", {}, False), ("stages/one/input", [["a"]], False),
    ("stages/one/run", ["cat"], False), ("stages/one/run", [], False), ("stages/one/run", "", False),
    ("stages/one/run", {}, False), ("stages/one/shard/by", "byte", False),
    ("stages/one/shard/size", "4 MB", True), ("stages/one/shard/size", "4", False),
    ("stages/one/shard/size", "4s", False), ("stages/one/shard/records", "whale", False),
    ("stages/one/input_as", "sdtin", False), ("stages/one/output", "out/{#}", True),
    ("stages/one/output", "", False), ("stages/one/output", {}, False),
    ("stages/one/output", {"file": "x"}, False), ("stages/one/slots", "tpu", False),
    ("stages/one/resources/cpu", "1.25", True), ("stages/one/resources/cpu", "1.2345", False),
    ("stages/one/resources/cpu", 0, False), ("stages/one/resources/gpu", 65, False),
    ("stages/one/resources/gpu", "1", True), ("stages/one/timeout", "1h", True),
    ("stages/one/timeout", "1 parsec", False), ("stages/one/retry/failures", 0, False),
    ("stages/one/retry/failures", "1,000", True), ("stages/one/retry/backoff", "1s", True),
    ("stages/one/retry/backoff", "1s..2", False), ("stages/one/allow_failed", 5, True),
    ("stages/one/allow_failed", "5", True), ("stages/one/allow_failed", -5, False),
    ("stages/one/allow_failed", "5%%", False), ("stages/one/on_failed", "go", False),
    ("stages/one/stop/signal", "SIGINT", False), ("stages/one/stop/to", "all", False),
    ("stages/one/after_stop/x", "done", False), ("stages/one/after_stop/3", "over", False),
    ("stages/one/checkpoint/exit", 256, False), ("stages/one/batch", "10,000", True),
    ("stages/one/env/1A", "x", False), ("stages/one/env/X", "", True), ("stages/one/env/X", [], False),
    ("stages/one/secrets/X", "secret", False), ("stages/one/shell", [], False),
    ("stages/one/shell", ["sh", "-c"], True), ("stages/one/version", {}, False),
    ("stages/one/nothing", 1, False), ("stages/-x", 1, False), ("stages", [], False),
]


def test_schema_and_program_agree_on_a_full_file(box):
    box.write("a", "a\n")
    schema = json.loads(box.ebb("help", "schema").out)
    assert matches(schema, FULL)
    good(box, json.dumps(FULL))


@pytest.mark.parametrize("where, value, right", CHANGES,
                         ids=["%s=%s" % (c[0], json.dumps(c[1])) for c in CHANGES])
def test_schema_and_program_agree(box, where, value, right):
    """Of each key by itself; what keys say about each other only the program
    knows, as it does the values of parameters."""
    schema = json.loads(box.ebb("help", "schema").out)
    doc = copy.deepcopy(FULL)
    *path, last = where.split("/")
    at = doc
    for name in path:
        at = at[name]
    at[last] = value
    box.write("a", "a\n")
    box.write("f.yaml", json.dumps(doc))
    assert (box.ebb("validate", "f.yaml", code=None).code == 0) == right
    if where not in ("params/date", "name", "stages/one/run") or value in ("a b", [], "", {}):
        assert matches(schema, doc) == right
