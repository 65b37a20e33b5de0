"""The power-cut model on logs made by hand: what must be durable is, what need
not be may be gone, and every part of it alone."""

import random
import struct

import pytest
from powercut import (Disk, Record, final_image, images, make_listing, parse_log, read_tree)


def listing(path, *names, inode=0):
    return Record("fsync_dir", path, data=make_listing([("f", inode, n) for n in names]))


def folders(path, *names):
    return Record("fsync_dir", path, data=make_listing([("d", 0, n) for n in names]))


def create(path):
    return Record("create", path, arg=0o644)


def write(path, data, at=0):
    return Record("write", path, arg=at, data=data)


def fsync(path):
    return Record("fsync", path)


def rename(a, b):
    return Record("rename", a, b)


def outcomes(records, base=None):
    """Every distinct set of files that a cut after the last record may leave."""
    disk = Disk(base)
    for record in records:
        disk.apply(record)
    found = {}
    for choice in disk.choices(random.Random(1)):
        image = disk.image(choice)
        found.setdefault(image.digest, image.files())
    return list(found.values())


def all_outcomes(records):
    return [i.files() for i in images(records)]


SAVED = [create("f"), write("f", b"data"), fsync("f"), listing(".", "f")]


def test_nothing_is_durable_by_itself():
    assert {} in outcomes([create("f"), write("f", b"data")])
    assert {"f": b"data"} in outcomes([create("f"), write("f", b"data")])
    assert {"f": b""} in outcomes([create("f"), write("f", b"data")])


def test_data_without_the_name_is_gone():
    found = outcomes([create("f"), write("f", b"data"), fsync("f")])
    assert found == [{}, {"f": b"data"}]


def test_a_file_and_its_folder_synced_are_there():
    assert outcomes(SAVED) == [{"f": b"data"}]
    assert final_image(SAVED, kept=False).files() == {"f": b"data"}


def test_the_folder_synced_before_the_file_leaves_it_empty():
    found = outcomes([create("f"), write("f", b"data"), listing(".", "f")])
    assert {"f": b""} in found
    assert {"f": b"da"} in found
    assert {"f": b"\0\0\0\0"} in found
    assert {} not in found


@pytest.mark.parametrize("drop", [b"one", b"two"])
def test_writes_are_dropped_one_by_one(drop):
    found = outcomes(SAVED + [write("f", b"one", 4), write("f", b"two", 7)])
    whole = b"dataonetwo"
    if drop == b"two":
        assert {"f": b"dataone"} in found
    else:
        assert {"f": whole.replace(drop, b"\0\0\0")} in found
    assert {"f": b"data"} in found
    assert {"f": whole} in found


def test_a_shortened_file_may_still_be_long():
    found = outcomes(SAVED + [Record("truncate", "f", arg=1)])
    assert {"f": b"d"} in found
    assert {"f": b"data"} in found
    assert outcomes(SAVED + [Record("truncate", "f", arg=1), fsync("f")]) == [{"f": b"d"}]


def test_a_hole_keeps_the_length():
    hole = Record("punch", "f", arg=2, data=struct.pack("<q", 100))
    assert final_image(SAVED + [hole]).files() == {"f": b"da\0\0"}


def test_rename_in_one_folder_is_one_step():
    assert outcomes(SAVED + [rename("f", "g")]) == [{"f": b"data"}, {"g": b"data"}]
    new = SAVED + [create("t"), write("t", b"new"), fsync("t"), rename("t", "f")]
    for files in outcomes(new):
        assert files["f"] in (b"data", b"new")
    assert outcomes(new + [listing(".", "f")]) == [{"f": b"new"}]


def test_rename_kept_with_its_data_lost():
    records = [create("t"), write("t", b"data"), rename("t", "f")]
    found = outcomes(records)
    for lost in (b"", b"da", b"\0\0\0\0"):
        assert {"f": lost} in found


TWO = [Record("mkdir", "a"), Record("mkdir", "b"), folders(".", "a", "b"),
       create("a/f"), write("a/f", b"data"), fsync("a/f"), listing("a", "f")]


def names_after(records):
    return [set(f) for f in outcomes(TWO + records)]


def test_rename_between_folders_has_two_halves():
    found = names_after([rename("a/f", "b/f")])
    assert {"a/f", "b/f"} in found
    assert {"a/f"} in found
    assert set() not in found
    assert {"b/f"} in found
    assert names_after([rename("a/f", "b/f"), listing("b", "f")]) == [{"a/f", "b/f"}, {"b/f"}]
    assert names_after([rename("a/f", "b/f"), listing("b", "f"), listing("a")]) == [{"b/f"}]


def test_only_the_removal_synced_loses_the_file():
    assert names_after([rename("a/f", "b/f"), listing("a")]) == [set(), {"b/f"}]


def test_a_folder_that_is_not_synced_takes_its_files_along():
    records = [Record("mkdir", "d"), create("d/f"), write("d/f", b"x"), fsync("d/f"),
               listing("d", "f")]
    assert {} in all_outcomes(records)
    assert final_image(records, kept=False).files() == {}
    assert final_image(records + [folders(".", "d")], kept=False).files() == {"d/f": b"x"}


def test_a_removed_name_may_come_back():
    found = outcomes(SAVED + [Record("unlink", "f")])
    assert {} in found
    assert {"f": b"data"} in found
    assert outcomes(SAVED + [Record("unlink", "f"), listing(".")]) == [{}]


def test_a_removed_and_new_file_of_one_name_are_two():
    records = SAVED + [Record("unlink", "f"), create("f"), write("f", b"new"), fsync("f")]
    found = all_outcomes(records)
    assert {"f": b"new"} in found
    assert {"f": b"data"} in found
    assert {"f": b"newa"} not in found


def test_what_a_child_wrote_counts_from_the_fsync_on():
    records = [Record("snapshot", "f", data=b"child", inode=7), fsync("f"), listing(".", "f", inode=7)]
    found = all_outcomes(records)
    assert {"f": b"child"} in found
    assert {"f": b""} in found
    assert {"f": b"ch"} in found
    assert final_image(records, kept=False).files() == {"f": b"child"}


def test_what_a_child_appended_leaves_what_was_synced():
    records = [Record("snapshot", "f", data=b"one", inode=7), fsync("f"), listing(".", "f", inode=7),
               Record("snapshot", "f", data=b"onetwo", inode=7)]
    found = outcomes(records)
    for data in (b"one", b"onetwo", b"onet", b"one\0\0\0"):
        assert {"f": data} in found
    assert all(files["f"].startswith(b"one") for files in found)


def test_what_a_child_renamed_is_seen_at_the_fsync_of_the_folder():
    records = [Record("snapshot", "f", data=b"child", inode=7), fsync("f"),
               listing(".", "g", inode=7)]
    assert final_image(records, kept=False).files() == {"g": b"child"}


def test_what_was_there_before_is_durable(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "old").write_bytes(b"old")
    assert outcomes([create("new")], tmp_path)[0]["d/old"] == b"old"
    assert final_image([create("new")], tmp_path, kept=False).files() == {"d/old": b"old"}


def test_equal_images_are_counted_once():
    found = [i.digest for i in images(SAVED * 3)]
    assert len(found) == len(set(found))


def test_a_limit_keeps_the_plain_images_and_is_repeatable():
    records = [r for n in range(30) for r in (create("f%d" % n), write("f%d" % n, b"abcd"))]
    some = [i.digest for i in images(records, seed=3, limit=100)]
    assert len(some) == len(set(some)) == 100
    assert some == [i.digest for i in images(records, seed=3, limit=100)]
    assert some != [i.digest for i in images(records, seed=4, limit=100)]
    choices = {i.choice for i in images(records, seed=3, limit=100)}
    assert {"none kept", "all kept"} <= choices


def test_an_image_can_be_built(tmp_path):
    records = [Record("mkdir", "d", arg=0o700), folders(".", "d"), create("d/f"),
               write("d/f", b"x")]
    image = final_image(records)
    image.build(tmp_path)
    assert read_tree(tmp_path) == image.files() == {"d/f": b"x"}
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o700


def test_a_log_is_read_back_and_may_end_in_the_middle():
    records = SAVED + [rename("f", "g\udcff"), Record("mark", "accept.after", arg=3)]
    blob = b"".join(r.encode() for r in records)
    assert parse_log(blob) == records
    assert parse_log(blob[:-1]) == records[:-1]
    with pytest.raises(ValueError):
        parse_log(b"\xff" * 64)


def test_choices_of_a_quiet_disk_are_one():
    disk = Disk()
    for record in SAVED:
        disk.apply(record)
    assert len(disk.choices(None)) == 1
