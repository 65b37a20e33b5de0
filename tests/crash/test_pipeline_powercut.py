"""Power cuts of a pipeline: every prefix of what ebb wrote, with what was not
synced dropped in subsets. A checkpoint that is recorded is whole in each of them,
and the same line, after another boot, ends with the same bytes."""

import json
import random
import shutil
import sqlite3
from pathlib import Path

import pytest
from ebbtest import OTHER_BOOT, ebb_bin, fault_bin, once, session_folder, setting, spread
from pipework import Pipeline, lines_of
from powercut import Disk, final_image, images, read_log, scan

# Those that are restarted from.
IMAGES = setting("EBB_PIPELINE_IMAGES", 64)
PARTS = 2


def record(box, work):
    """The log of a run, and the tree before it."""
    base = box.top / "base"
    shutil.copytree(box.root, base)
    work.finish(fault_bin(), EBB_FAULT_RECORD=box.top / "log", EBB_FAULT_ROOT=box.root)
    work.check()
    return str(box.top / "log"), str(base)


@pytest.fixture
def work(fast_box):
    ebb_bin()
    fault_bin()
    return Pipeline(fast_box, pause=0)


@pytest.fixture
def recorded(work, tmp_path_factory):
    """(records, base), of one run for all of the session."""
    def make():
        keep = session_folder(tmp_path_factory) / "pipeline-powercut"
        log, base = record(work.box, work)
        shutil.copytree(base, keep)
        shutil.copyfile(log, str(keep) + ".log")
        return str(keep)
    keep = once(tmp_path_factory, "pipeline-powercut", make)
    return read_log(keep + ".log"), keep


def clear(folder):
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def ledger_rows(files, folder, query):
    """Of the ledger in an image."""
    clear(folder)
    for name in ("ledger.db", "ledger.db-wal"):
        if ".ebb/" + name in files:
            (folder / name).write_bytes(files[".ebb/" + name])
    if not files.get(".ebb/ledger.db"):
        return []
    db = sqlite3.connect(folder / "ledger.db")
    try:
        return db.execute(query).fetchall()
    except sqlite3.OperationalError:  # its tables are not there yet
        return []
    finally:
        db.close()


def checkpoint_rows(files, folder):
    """(offset, pieces, folder) of each checkpoint in the ledger of an image."""
    return [(at, json.loads(pieces or "[]"), name.decode()) for at, pieces, name in
            ledger_rows(files, folder, "SELECT offset, files, folder FROM checkpoint")]


def accepted(work, files, folder):
    """Names of the shards whose output the ledger of an image has accepted. Not of
    `total`: the times of its inputs are not those that the image's files get."""
    rows = ledger_rows(files, folder, "SELECT stage.name, ordinal FROM shard "
                       "JOIN stage ON stage.id = shard.stage WHERE state IN (2, 3)")
    return {work.items()[n] if stage == "parse" else stage + ":all" for stage, n in rows
            if stage != "total"}


def inside(path):
    """A path in the state, as it is in an image."""
    return ".ebb/" + str(path).rsplit("/.ebb/", maxsplit=1)[-1].removeprefix(".ebb/")


def check_checkpoint(files, offset, pieces, folder):
    lines, at = [], 0
    for line in lines_of("careful", 14):
        if at < offset:
            lines.append(line)
            at += len(line)
    assert at == offset and len(lines) % 3 == 0
    out = b"".join(files[inside(p["private"])][:p["size"]] for p in pieces)
    assert out == "".join("careful %s" % line.upper() for line in lines).encode()
    assert files[inside(folder) + "/state/n"] == b"%d\n" % len(lines)
    assert files[inside(folder) + "/state/seen"] == "".join(lines).encode()


def images_from_the_first(records, base):
    """Distinct images since the first checkpoint was asked for; some of them,
    unless all are wanted."""
    seen = set()
    rng = random.Random(1)
    first = [r.path for r in records].index("checkpoint.before")
    for disk, number, mark, _, choice in scan(records, base, 1):
        if number < first or (IMAGES > 0 and rng.random() < 0.9):
            continue
        image = disk.image(choice, number, mark)
        if image.digest not in seen:
            seen.add(image.digest)
            yield image


def some_images(records, base):
    """IMAGES of all, spread evenly over the prefixes: nothing kept, everything
    kept, and any other choice, in turn; and nothing kept just after each group was
    accepted. Making all of them takes longer."""
    if IMAGES == 0:
        yield from images(records, base=base)
        return
    rng = random.Random(1)
    wanted = spread(len(records), IMAGES)
    disk = Disk(base)
    mark = "start"
    for number, r in enumerate(records, 1):
        disk.apply(r)
        if r.op == "mark":
            mark = "%s:%d" % (r.path, r.arg)
        if r.op == "mark" and r.path == "accept.after":
            yield disk.image(disk.choices(rng)[0], number, mark)
        elif number in wanted:
            choices = disk.choices(rng)
            at = (0, 1, rng.randrange(len(choices)))[wanted.index(number) % 3]
            yield disk.image(choices[min(at, len(choices) - 1)], number, mark)


def test_a_recorded_checkpoint_is_whole(work, recorded, tally):
    records, base = recorded
    folder = Path(work.box.top / "look")
    folder.mkdir()
    seen = set()
    for image in images_from_the_first(records, base):
        files = image.files()
        for offset, pieces, copy in checkpoint_rows(files, folder):
            try:
                check_checkpoint(files, offset, pieces, copy)
            except (AssertionError, KeyError) as e:
                pytest.fail("%s: checkpoint at %d: %r" % (image, offset, e))
            seen.add(offset)
            tally("pipeline power cuts", "checkpoints looked at", 1)
    assert len(seen) >= 4, seen


def test_what_exit_0_of_a_pipeline_promised_is_durable(work, recorded):
    records, base = recorded
    durable = final_image(records, base=base, kept=False).files()
    want = work.expected()
    assert {name: durable.get(name) for name in want} == want


@pytest.mark.limit(110)
@pytest.mark.parametrize("part", range(PARTS))
def test_power_cuts_of_a_pipeline(work, recorded, part, tally):
    records, base = recorded
    box = work.box
    folder = box.top / "look"
    folder.mkdir()
    if part == 0:
        tally("pipeline power cuts", "operations recorded", len(records))
    for number, image in enumerate(some_images(records, base)):
        if number % PARTS != part:
            continue
        clear(box.root)
        image.build(box.root)
        box.log.write_text("")
        rows = checkpoint_rows(image.files(), folder)
        decided = accepted(work, image.files(), folder)
        r = work.run(fault_bin(), EBB_FAULT_BOOT_ID=OTHER_BOOT)
        assert r.code == 0, "%s: exit code %d\n%s" % (image, r.code, r.err)
        r.check_words()
        lost, foreign = work.problems()
        tally("pipeline power cuts", "images", 1)
        tally("pipeline power cuts", "lost", len(lost))
        assert not lost and not foreign, "%s: lost %s, foreign %s" % (image, lost, foreign)
        assert not work.copies(), "%s: left behind: %s" % (image, work.copies())
        again = decided & {line[1] for line in box.log_lines() if line[0] == "start"}
        assert not again, "%s: accepted and run again: %s" % (image, again)
        tally("pipeline power cuts", "accepted shards not run again", len(decided))
        begun = [line[2] for line in box.log_lines() if line[0] == "from"]
        assert not rows or begun[0] == str(rows[0][0]), "%s: %s, not %s" % (image, begun, rows)
    box.wait_alone()
