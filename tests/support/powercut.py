#!/usr/bin/env python3
"""What a disk may hold after a power cut, from a log of what a program wrote.

The test build of ebb (sys_fault.c) records every create, write, truncate,
fsync, rename, unlink and fsync of a folder. For each prefix of that log this
module says which disk images a power cut at that moment may leave behind. The
model is strict:

- a file's bytes are durable only by fsync of that file;
- names (create, rename, unlink, mkdir, rmdir) only by fsync of the folder that
  holds them; a rename between two folders has two halves, the new name and the
  removal of the old one, each made durable by its own folder's fsync;
- of what is not durable any part may be there and any part missing.

Operations that are not durable are dropped in subsets: none kept, all kept,
each alone dropped, each alone kept, both names of a rename kept, the names kept
with a file's data lost (empty, cut in half, zeros), and a few at random. Equal
images are told apart by hash and counted once.

    powercut.py LOG --dump                    prints the log
    powercut.py LOG --base DIR --list         one line for each image
    powercut.py LOG --base DIR --build N TO   makes image N in the folder TO
"""

import argparse
import collections
import dataclasses
import hashlib
import os
import random
import stat
import struct
import sys

HEADER = struct.Struct("<IIHHHHQq")

OPS = {
    1: "create", 2: "write", 3: "truncate", 4: "punch", 5: "fsync", 6: "snapshot",
    7: "rename", 8: "unlink", 9: "mkdir", 10: "rmdir", 11: "fsync_dir", 12: "mark",
}
OP_NUMBERS = {name: number for number, name in OPS.items()}


@dataclasses.dataclass
class Record:
    """One operation; see support/fault.h for what the fields mean."""

    op: str
    path: str = ""
    path2: str = ""
    arg: int = 0
    data: bytes = b""
    inode: int = 0
    pid: int = 0

    def encode(self):
        path, path2 = os.fsencode(self.path), os.fsencode(self.path2)
        body = path + path2 + self.data
        head = HEADER.pack(HEADER.size + len(body), self.pid, OP_NUMBERS[self.op],
                           len(path), len(path2), 0, self.inode, self.arg)
        return head + body

    def __str__(self):
        words = [self.op, self.path or "."]
        if self.op == "rename":
            words.append("-> " + self.path2)
        if self.op in ("write", "truncate", "punch", "mark"):
            words.append(str(self.arg))
        if self.op in ("write", "snapshot"):
            words.append("+%d" % len(self.data))
        if self.op == "fsync_dir":
            words.append("[%s]" % " ".join(name for _, _, name in parse_listing(self.data)))
        return " ".join(words)


def parse_log(blob):
    """Records of a log; a last one that was cut off is left out."""
    records = []
    at = 0
    while at + HEADER.size <= len(blob):
        size, pid, op, n, n2, _, inode, arg = HEADER.unpack_from(blob, at)
        if size < HEADER.size + n + n2 or op not in OPS:
            raise ValueError("not a record at byte %d" % at)
        if at + size > len(blob):
            break
        body = blob[at + HEADER.size:at + size]
        records.append(Record(OPS[op], os.fsdecode(body[:n]), os.fsdecode(body[n:n + n2]),
                              arg, body[n + n2:], inode, pid))
        at += size
    return records


def read_log(path):
    with open(path, "rb") as f:
        return parse_log(f.read())


def make_listing(entries):
    """Data of an fsync_dir record: entries are (kind, inode, name)."""
    return b"".join(kind.encode() + struct.pack("<Q", inode) + os.fsencode(name) + b"\0"
                    for kind, inode, name in entries)


def parse_listing(data):
    out = []
    at = 0
    while at < len(data):
        end = data.index(b"\0", at + 9)
        inode, = struct.unpack_from("<Q", data, at + 1)
        out.append((chr(data[at]), inode, os.fsdecode(data[at + 9:end])))
        at = end + 1
    return out


class Node:
    """A file or a folder. Folders have the entries as the program sees them
    (`now`) and as they are durable; files have durable bytes and pending
    changes on top of them."""

    def __init__(self, kind, mode, inode=0):
        self.kind = kind
        self.mode = mode
        self.inode = inode
        self.mtime_ns = None  # of files that were there before
        self.now = {}
        self.durable = {}
        self.bytes = b""
        self.pending = []     # DataOp, in order
        self.cache = {}

    def content(self, kept):
        """Bytes with those pending changes applied whose id is in kept."""
        key = tuple(op.id for op in self.pending if op.id in kept)
        if key not in self.cache:
            data = bytearray(self.bytes)
            for op in self.pending:
                if op.id in kept:
                    op.apply(data)
            self.cache[key] = Content(bytes(data))
        return self.cache[key]

    def change(self, op):
        self.pending.append(op)
        self.cache = {}

    def sync(self):
        self.bytes = self.content({op.id for op in self.pending}).data
        self.pending = []
        self.cache = {}


class Content:
    """Bytes and their hash, which is made once."""

    def __init__(self, data):
        self.data = data
        self.digest = hashlib.blake2b(data, digest_size=16).digest()


@dataclasses.dataclass
class DataOp:
    id: int
    kind: str
    at: int
    data: bytes

    def apply(self, out):
        if self.kind == "snapshot":
            out[:] = self.data
        elif self.kind == "truncate":
            if self.at < len(out):
                del out[self.at:]
            else:
                out.extend(bytes(self.at - len(out)))
        else:
            end = self.at + len(self.data)
            if end > len(out) and self.kind == "punch":
                end = max(self.at, len(out))
            if len(out) < self.at:
                out.extend(bytes(self.at - len(out)))
            out[self.at:end] = self.data[:end - self.at]

    def zeroed(self):
        return dataclasses.replace(self, data=bytes(len(self.data)))


@dataclasses.dataclass
class NameOp:
    """Half of a change of names: `node` appears under or goes from a name."""

    id: int
    unit: int
    folder: Node
    name: str
    node: Node
    add: bool


@dataclasses.dataclass
class Choice:
    """Which pending operations a power cut left, and what became of one file's
    lost data."""

    name: str
    kept: frozenset
    spoiled: Node = None
    how: str = ""


class Image:
    """A tree: path -> (kind, mode, Content or None, mtime_ns)."""

    def __init__(self, prefix, choice, after, tree):
        self.prefix = prefix
        self.choice = choice
        self.after = after
        self.tree = tree
        h = hashlib.blake2b(digest_size=16)
        for path in sorted(tree):
            kind, _, content, _ = tree[path]
            h.update(os.fsencode(path) + b"\0" + kind.encode())
            if content is not None:
                h.update(content.digest)
        self.digest = h.digest()

    def __str__(self):
        return "after %d operations (%s), %s" % (self.prefix, self.after, self.choice)

    def files(self):
        return {p: c.data for p, (k, _, c, _) in self.tree.items() if k == "f"}

    def build(self, folder):
        """Makes the tree in an existing empty folder."""
        for path in sorted(self.tree):
            kind, mode, content, mtime_ns = self.tree[path]
            full = os.path.join(folder, path)
            if kind == "d":
                os.mkdir(full)
            else:
                with open(full, "wb") as f:
                    f.write(content.data)
                os.chmod(full, mode & 0o7777)
                if mtime_ns is not None:
                    os.utime(full, ns=(mtime_ns, mtime_ns))
        for path in sorted(self.tree, reverse=True):
            if self.tree[path][0] == "d":
                os.chmod(os.path.join(folder, path), self.tree[path][1] & 0o7777)


class Disk:
    """The model: feed it records with apply(), ask for choices() and image()."""

    def __init__(self, base=None):
        self.root = Node("d", 0o755)
        self.names = []       # NameOp that are not durable, in order
        self.inodes = {}
        self.next_id = 1
        if base is not None:
            self._load(self.root, base)

    def _load(self, node, folder):
        for entry in os.scandir(folder):
            info = entry.stat(follow_symlinks=False)
            if entry.is_dir(follow_symlinks=False):
                child = Node("d", info.st_mode)
                self._load(child, entry.path)
            elif entry.is_file(follow_symlinks=False):
                child = Node("f", info.st_mode)
                child.mtime_ns = info.st_mtime_ns
                with open(entry.path, "rb") as f:
                    child.bytes = f.read()
            else:
                continue
            node.now[entry.name] = child
            node.durable[entry.name] = child

    # -- names --

    def _id(self):
        self.next_id += 1
        return self.next_id

    def _split(self, path):
        """The folder of a path and the name in it; unknown folders appear."""
        parts = [p for p in path.split("/") if p not in ("", ".")]
        folder = self.root
        for part in parts[:-1]:
            if part not in folder.now:
                self._add(folder, part, Node("d", 0o755))
            folder = folder.now[part]
        return folder, parts[-1] if parts else ""

    def _folder(self, path):
        folder, name = self._split(path)
        if name == "":
            return folder
        if name not in folder.now:
            self._add(folder, name, Node("d", 0o755))
        return folder.now[name]

    def _file(self, record):
        """The file that a record is about; one nobody told of appears, empty."""
        folder, name = self._split(record.path)
        node = folder.now.get(name)
        if node is None or node.kind != "f":
            node = self._new("f", 0o644, record.inode)
            self._add(folder, name, node)
        return node

    def _new(self, kind, mode, inode):
        node = Node(kind, mode, inode)
        if inode:
            self.inodes[inode] = node
        return node

    def _add(self, folder, name, node, unit=0):
        folder.now[name] = node
        self.names.append(NameOp(self._id(), unit or self._id(), folder, name, node, True))

    def _remove(self, folder, name, unit=0):
        node = folder.now.pop(name, None)
        if node is not None:
            self.names.append(NameOp(self._id(), unit or self._id(), folder, name, node, False))

    # -- records --

    def apply(self, record):
        getattr(self, "_op_" + record.op)(record)

    def _op_mark(self, record):
        pass

    def _op_create(self, r):
        folder, name = self._split(r.path)
        self._add(folder, name, self._new("f", r.arg or 0o644, r.inode))

    def _op_mkdir(self, r):
        folder, name = self._split(r.path)
        self._add(folder, name, self._new("d", r.arg or 0o755, r.inode))

    def _op_unlink(self, r):
        self._remove(*self._split(r.path))

    _op_rmdir = _op_unlink

    def _op_rename(self, r):
        folder, name = self._split(r.path)
        folder2, name2 = self._split(r.path2)
        node = folder.now.get(name)
        if node is None:
            node = self._new("f", 0o644, r.inode)
        unit = self._id()
        self._remove(folder, name, unit)
        self._add(folder2, name2, node, unit)

    def _data(self, r, kind, at, data):
        self._file(r).change(DataOp(self._id(), kind, at, data))

    def _op_write(self, r):
        self._data(r, "write", r.arg, r.data)

    def _op_truncate(self, r):
        self._data(r, "truncate", r.arg, b"")

    def _op_punch(self, r):
        size, = struct.unpack("<q", r.data)
        self._data(r, "punch", r.arg, bytes(size))

    def _op_snapshot(self, r):
        node = self._file(r)
        before = node.content({op.id for op in node.pending}).data
        if before and r.data.startswith(before):
            if len(r.data) > len(before):  # appended: what is durable is not touched
                self._data(r, "write", len(before), r.data[len(before):])
        elif before != r.data:
            self._data(r, "snapshot", 0, r.data)

    def _op_fsync(self, r):
        self._file(r).sync()

    def _op_fsync_dir(self, r):
        folder = self._folder(r.path)
        listed = {}
        for kind, inode, name in parse_listing(r.data):
            if kind in "fd":
                listed[name] = self._listed(folder, kind, inode, name)
        folder.now = listed
        folder.durable = dict(listed)
        self.names = [op for op in self.names if op.folder is not folder]

    def _listed(self, folder, kind, inode, name):
        """The node behind a listed entry: what a child made, renamed or
        removed by itself was not recorded and shows only here."""
        node = folder.now.get(name)
        other = self.inodes.get(inode) if inode else None
        if node is not None and node.kind == kind and (other is None or other is node):
            if inode:
                node.inode = inode
                self.inodes[inode] = node
            return node
        if other is not None and other.kind == kind:
            return other
        return self._new(kind, 0o755 if kind == "d" else 0o644, inode)

    # -- images --

    def _dirty_files(self):
        """Files with pending data that some image can show, in a fixed order."""
        seen = []
        for _, node in self._walk(self._entries_of(None)):
            if node.kind == "f" and node.pending and node not in seen:
                seen.append(node)
        return seen

    def _entries_of(self, kept):
        """A function folder -> entries; kept None: all pending names kept."""
        changed = collections.defaultdict(list)
        for op in self.names:
            if kept is None or op.id in kept:
                changed[id(op.folder)].append(op)

        def entries(folder):
            out = dict(folder.durable)
            for op in changed[id(folder)]:
                if op.add:
                    out[op.name] = op.node
                elif out.get(op.name) is op.node:
                    del out[op.name]
            return out
        return entries

    def _walk(self, entries, folder=None, prefix="", above=()):
        folder = folder or self.root
        for name, node in sorted(entries(folder).items()):
            yield prefix + name, node
            if node.kind == "d" and node not in above:
                yield from self._walk(entries, node, prefix + name + "/", above + (node,))

    def _units(self, dirty):
        """Groups of ids that a power cut keeps or drops together."""
        units = collections.OrderedDict()
        for op in self.names:
            units.setdefault(op.unit, []).append(op)
        out = [(describe(ops), frozenset(o.id for o in ops)) for ops in units.values()]
        for node in dirty:
            out += [("%s at %d" % (op.kind, op.at), frozenset([op.id])) for op in node.pending]
        halves = [op for ops in units.values() for op in ops
                  if op.add and len({id(o.folder) for o in ops}) == 2]
        return out, halves

    def choices(self, rng, at_random=3):
        """What a power cut now may leave: a list of Choice, the first two are
        none and all."""
        dirty = self._dirty_files()
        units, halves = self._units(dirty)
        everything = frozenset().union(*(ids for _, ids in units))
        names = frozenset(op.id for op in self.names)
        out = [Choice("none kept", frozenset()), Choice("all kept", everything)]
        if not units:
            return out[:1]
        for what, ids in units:
            out.append(Choice("all but " + what, everything - ids))
            out.append(Choice("only " + what, ids))
        for half in halves:
            other = {op.id for op in self.names if op.unit == half.unit} - {half.id}
            out.append(Choice("both names of " + half.name, everything - other))
            out.append(Choice("only both names of " + half.name, frozenset([half.id])))
        for node in dirty:
            for how in ("empty", "half", "zeros"):
                out.append(Choice("data lost (%s)" % how, everything, node, how))
            lost = {op.id for op in node.pending}
            out.append(Choice("names kept, one file's data not", everything - lost))
        out.append(Choice("names kept, no data", names))
        for _ in range(at_random if len(units) > 2 else 0):
            kept = [ids for _, ids in units if rng.random() < 0.5]
            out.append(Choice("a random subset", frozenset().union(*kept)))
        return out

    def image(self, choice, prefix=0, after=""):
        tree = {}
        for path, node in self._walk(self._entries_of(choice.kept)):
            content = None
            if node.kind == "f":
                content = node.content(choice.kept)
                if node is choice.spoiled:
                    content = spoil(node, content.data, choice.how)
            mtime = node.mtime_ns if content and not node.pending else None
            tree[path] = (node.kind, node.mode, content, mtime)
        return Image(prefix, choice.name, after, tree)


def describe(ops):
    if len(ops) > 1:
        return "rename to " + [op.name for op in ops if op.add][-1]
    return ("new name " if ops[0].add else "removal of ") + ops[0].name


def spoil(node, full, how):
    """A file whose names were kept and whose unsynced data was not."""
    size = len(node.bytes)
    if how == "empty":
        return Content(node.bytes)
    if how == "half":
        return Content(full[:size + (len(full) - size) // 2] if len(full) > size else node.bytes)
    data = bytearray(node.bytes)
    for op in node.pending:
        op.zeroed().apply(data)
    return Content(bytes(data))


def scan(records, base, seed):
    """Yields (disk, prefix, mark, index, choice) for every prefix and choice."""
    disk = Disk(base)
    mark = "start"
    for number, record in enumerate([Record("mark", "start")] + records):
        disk.apply(record)
        if record.op == "mark":
            mark = "%s:%d" % (record.path, record.arg)
            if number > 0:
                continue
        rng = random.Random("%s:%d" % (seed, number))
        for index, choice in enumerate(disk.choices(rng)):
            yield disk, number, mark, index, choice


def images(records, base=None, seed=1, limit=0):
    """Distinct images in the order of the log. With a limit: those with all or
    nothing kept come first, the rest is sampled with the seed."""
    if limit:
        yield from picked(records, pick(records, base, seed, limit), base, seed)
        return
    seen = set()
    for disk, number, mark, _, choice in scan(records, base, seed):
        image = disk.image(choice, number, mark)
        if image.digest not in seen:
            seen.add(image.digest)
            yield image


def picked(records, picks, base=None, seed=1):
    """The images that pick() chose, in that order; making them costs little."""
    wanted = {tuple(where) for where in picks.values()}
    for disk, number, mark, index, choice in scan(records, base, seed):
        if (number, index) in wanted:
            yield disk.image(choice, number, mark)


def pick(records, base, seed, limit):
    """Where at most `limit` distinct images are found (0: all): a dict of their
    digests, as hexadecimal text, to (prefix, index of the choice)."""
    plain, other = {}, {}
    for disk, number, mark, index, choice in scan(records, base, seed):
        image = disk.image(choice, number, mark)
        simple = choice.name in ("none kept", "all kept")
        (plain if simple else other).setdefault(image.digest.hex(), (number, index))
    rest = [d for d in other if d not in plain]
    if limit == 0:
        return plain | {d: other[d] for d in rest}
    rng = random.Random(seed)
    if len(plain) > limit:
        return {d: plain[d] for d in rng.sample(sorted(plain), limit)}
    some = rng.sample(rest, min(len(rest), limit - len(plain)))
    return plain | {d: other[d] for d in some}


def final_image(records, base=None, kept=True):
    """What the disk holds at the end of the log: everything, or (kept False)
    only what is durable."""
    disk = Disk(base)
    for record in records:
        disk.apply(record)
    choices = disk.choices(random.Random(0))
    return disk.image(choices[1] if kept and len(choices) > 1 else choices[0], len(records), "end")


def read_tree(folder):
    """path -> bytes of the files under a folder, without SQLite's -shm."""
    out = {}
    for where, _, names in os.walk(folder):
        for name in names:
            full = os.path.join(where, name)
            if stat.S_ISREG(os.lstat(full).st_mode) and not name.endswith("-shm"):
                with open(full, "rb") as f:
                    out[os.path.relpath(full, folder)] = f.read()
    return out


def build_one(all_images, number, folder):
    for n, image in enumerate(all_images):
        if n == number:
            os.mkdir(folder)
            image.build(folder)
            print(image)
            return 0
    print("there is no image %d" % number, file=sys.stderr)
    return 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("log")
    parser.add_argument("--base", help="the tree before the first record")
    parser.add_argument("--dump", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--build", nargs=2, metavar=("N", "TO"))
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--seed", default="1")
    args = parser.parse_args()
    records = read_log(args.log)
    if args.dump:
        for n, record in enumerate(records, 1):
            print(n, record.pid, record)
        return 0
    found = images(records, args.base, args.seed, args.limit)
    if args.build:
        return build_one(found, int(args.build[0]), args.build[1])
    count = 0
    for count, image in enumerate(found, 1):
        if args.list:
            print(count - 1, image)
    print("%d images of %d operations" % (count, len(records)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
