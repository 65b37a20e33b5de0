"""Power cuts: every prefix of what ebb wrote, with what was not synced dropped
in subsets. The same line, started on what is left after another boot, finishes
with the same bytes."""

import shutil

import pytest
from ebbtest import OTHER_BOOT, Workload, ebb_bin, expected_bytes, fault_bin, once, session_folder, setting
from powercut import final_image, images, pick, picked, read_log, read_tree, scan

IMAGES = setting("EBB_IMAGES", 600)
PARTS = 4
ITEMS = 6


def record(box, work):
    log = box.top / "log"
    work.finish(fault_bin(), EBB_FAULT_RECORD=log, EBB_FAULT_ROOT=box.root)
    work.check()
    return read_log(log)


def clear(box):
    for entry in box.root.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def outputs_in(files, work):
    return {item: files.get("%s/%s.txt" % (work.out, item)) for item in work.items}


def missing_prefixes(records, picks):
    """Prefixes whose image with nothing kept is not among those picked."""
    return [number for disk, number, mark, _, choice in scan(records, None, 1)
            if choice.name == "none kept" and
            disk.image(choice, number, mark).digest.hex() not in picks]


@pytest.fixture
def work(fast_box):
    ebb_bin()
    fault_bin()
    return Workload(fast_box, ITEMS, pause=0)


def test_what_exit_0_promised_is_durable(work):
    """Nothing that was not synced is needed for the outputs to be there."""
    records = record(work.box, work)
    durable = outputs_in(final_image(records, kept=False).files(), work)
    assert durable == {item: expected_bytes(item) for item in work.items}


def test_the_record_is_what_happened(work):
    """Otherwise something writes behind the seam. Folders of a worker that has
    left are removed without a record; the ledger and the outputs are not."""
    records = record(work.box, work)
    real = read_tree(work.box.root)
    model = final_image(records).files()
    assert outputs_in(model, work) == outputs_in(real, work)
    ledger = [name for name in real if name.endswith("ledger.db")]
    assert ledger
    for name in ledger:
        assert model[name] == real[name], name


def test_a_final_name_never_holds_other_bytes(work):
    """In no image at all, before any restart has had a chance to repair it."""
    records = record(work.box, work)
    for image in images(records):
        found = outputs_in(image.files(), work)
        for item, data in found.items():
            assert data is None or data == expected_bytes(item), "%s of %s" % (item, image)


@pytest.mark.limit(110)
@pytest.mark.parametrize("part", range(PARTS))
def test_power_cuts(work, part, tally, tmp_path_factory):
    """Of one recorded run: every prefix with nothing and with everything kept,
    and as many of the subsets between as the limit leaves room for."""
    box = work.box

    def record_once():
        path = session_folder(tmp_path_factory) / "powercut.log"
        records = record(box, work)
        shutil.copyfile(box.top / "log", path)
        return {"log": str(path), "picks": pick(records, None, 1, IMAGES)}
    made = once(tmp_path_factory, "powercut", record_once)
    records, picks = read_log(made["log"]), made["picks"]
    if part == 0:
        tally("power cuts", "operations recorded", len(records))
        tally("power cuts", "prefixes without a replay", len(missing_prefixes(records, picks)))
    for number, image in enumerate(picked(records, picks)):
        if number % PARTS != part:
            continue
        clear(box)
        image.build(box.root)
        box.log.write_text("")
        r = work.run(fault_bin(), EBB_FAULT_BOOT_ID=OTHER_BOOT)
        assert r.code == 0, "%s: exit code %d\n%s" % (image, r.code, r.err)
        r.check_words()
        lost, foreign = work.problems()
        tally("power cuts", "images", 1)
        tally("power cuts", "lost", len(lost))
        assert not lost and not foreign, "%s: lost %s, foreign %s" % (image, lost, foreign)
    box.wait_alone()
