"""For programs that run under ebb: when to stop, how far it is, save this.

    import sys
    import ebb_task as ebb

    for i in range(ebb.offset(), n):
        if ebb.should_stop():
            sys.stdout.flush()
            ebb.checkpoint(i)
            sys.exit(85)
        work(i)
        ebb.progress(i + 1, n)

This file needs nothing but Python 3.8 and Linux; it may be copied beside the
program that uses it. Outside ebb every function says "go on". The contract is
docs/task-contract.md; the calls are those of libebb (ebb/ebb.h).

Threads and forked children may use it: they speak for the same attempt.
"""
import fcntl
import mmap
import os
import stat
import struct
import sys
import time

__all__ = ["attach", "should_stop", "should_checkpoint", "reason", "plan", "seconds_left", "progress", "offset",
           "checkpoint_dir", "checkpoint", "done", "NotDurable"]

_MAGIC = b"EBBCTRL\0"
_VERSION, _SIZE = 1, 4096
_REASONS = ("none", "notice", "drain", "timeout", "cancel")
_PLANS = ("none", "finish", "checkpoint", "hand-back")
_HEAD = struct.Struct("=8sIIQ")
# Where the numbers are, as indexes of 4 or 8 bytes.
_EPOCH, _DEADLINE = 16 // 8, 24 // 8
_REASON, _PLAN, _STOP, _SAVE, _DONE = 32 // 4, 36 // 4, 40 // 4, 56 // 4, 2088 // 4
_PROGRESS_DONE, _PROGRESS_TOTAL, _PROGRESS_NS = 2064 // 8, 2072 // 8, 2080 // 8
# As offsets in the file.
_AT_EPOCH, _AT_ANSWER, _AT_ANSWERED, _AT_REQUESTED, _AT_OFFSET = 16, 44, 48, 2048, 2056
_DURABLE, _FENCED, _FAILED, _REFUSED, _NO_ANSWER, _NO_PAGE = 0, 1, 2, 3, 64, 65
_WORDS = {
    _FENCED: "this attempt does not count any more: another one has its work; stop",
    _FAILED: "ebb could not save it (its own output says why); the checkpoint before still "
             "holds; go on and try again later",
    _REFUSED: "the offset is negative or lies before the last checkpoint; give how far the "
              "input is processed, counted from its beginning",
    _NO_ANSWER: "no answer in time: it may or may not become durable; go on, or ask again",
    _NO_PAGE: "the file $EBB_CONTROL is missing or damaged, so ebb cannot be asked; go on "
              "without checkpoints, or exit and be started again",
}


class NotDurable(Exception):
    """The checkpoint was not made, or nobody knows whether it was. `code` is a
    result of libebb's ebb_checkpoint; the text says what to do."""

    def __init__(self, code):
        super().__init__(_WORDS.get(code, "an answer that ebb_task does not know"))
        self.code = code


class _Page:
    """The mapped page. Single numbers are read and written as one access each."""

    def __init__(self, path, epoch, st, memory):
        self.path, self.epoch, self.inode = path, epoch, (st.st_dev, st.st_ino)
        view = memoryview(memory)
        self.words, self.longs, self.signed = view.cast("I"), view.cast("Q"), view.cast("q")

    def is_ours(self):
        return self.longs[_EPOCH] == self.epoch


def _open(path):
    """(descriptor, its stat) of something that can be a page."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW)
    st = os.fstat(fd)
    if stat.S_ISREG(st.st_mode) and st.st_size >= _SIZE:
        return fd, st
    os.close(fd)
    raise OSError("not a control page")


def _number(name):
    """A plain decimal number in the environment, or None."""
    text = os.environ.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and int(text) < 1 << 63 else None


def _find_page():
    path, epoch = os.environ.get("EBB_CONTROL"), _number("EBB_EPOCH")
    if not path or not epoch:
        return None
    try:
        fd, st = _open(path)
    except OSError:
        return None
    try:
        # By reading first: a page that is too short must not be touched as memory.
        head = os.pread(fd, _HEAD.size, 0)
        if len(head) != _HEAD.size:
            return None
        magic, version, size, page_epoch = _HEAD.unpack(head)
        if (magic, version, page_epoch) != (_MAGIC, _VERSION, epoch) or size < _SIZE:
            return None
        return _Page(path, epoch, st, mmap.mmap(fd, _SIZE))
    except (OSError, ValueError):
        return None
    finally:
        os.close(fd)


_UNKNOWN = object()
_page = _UNKNOWN


def _under_ebb():
    return os.environ.get("EBB_CONTRACT") == "1"


def _attached():
    global _page
    if _page is _UNKNOWN:
        _page = _find_page() if _under_ebb() else None
    return _page


def _own_page():
    page = _attached()
    return page if page is not None and page.is_ours() else None


def attach():
    """True when an ebb is listening. Need not be called."""
    return _attached() is not None


def should_stop():
    """True when it is time to save and leave. A read of memory, no system call."""
    page = _attached()
    return page is not None and page.words[_STOP] != 0


def should_checkpoint():
    """True when a checkpoint now would be wise; the program may go on after it."""
    page = _attached()
    return page is not None and (page.words[_SAVE] != 0 or page.words[_STOP] != 0)


def _name(names, index):
    page = _own_page() if should_stop() else None
    number = page.words[index] if page is not None else 0
    return names[number] if number < len(names) else str(number)


def reason():
    """Why to stop: "none", "notice", "drain", "timeout", "cancel"."""
    return _name(_REASONS, _REASON)


def plan():
    """What ebb has planned: "none", "finish", "checkpoint", "hand-back"."""
    return _name(_PLANS, _PLAN)


def _deadline(page):
    before = page.signed[_DEADLINE]
    for _ in range(16):
        again = page.signed[_DEADLINE]
        if again == before:
            break
        before = again
    return before


def seconds_left():
    """Until this program will be ended, never negative; inf when not known."""
    page = _own_page()
    if page is not None and (deadline := _deadline(page)) != 0:
        return max(0.0, (deadline - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) / 1e9)
    if page is None and _under_ebb() and (at := _number("EBB_DEADLINE")) is not None:
        return max(0.0, at - time.time())
    return float("inf")


def progress(done_so_far, total=0):
    """How far it is, in units of its own; total 0 when it is not known."""
    page = _own_page()
    if page is not None:
        page.longs[_PROGRESS_DONE] = done_so_far
        page.longs[_PROGRESS_TOTAL] = total
        page.signed[_PROGRESS_NS] = time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def offset():
    """Where to begin: what the last durable checkpoint was given; 0 at first."""
    return (_number("EBB_OFFSET") or 0) if _under_ebb() else 0


def checkpoint_dir():
    """The folder that checkpoints save, restored before the start; or None."""
    return (os.environ.get("EBB_CHECKPOINT") or None) if _under_ebb() else None


def done():
    """The work is complete: exit code 0 means so even after ebb's stop signal."""
    page = _own_page()
    if page is not None:
        page.words[_DONE] = 1


class _Asking:
    """One checkpoint request on a descriptor of its own: a flock belongs to the
    open file, which threads would otherwise share."""

    def __init__(self, page, fd, seconds):
        self.page, self.fd = page, fd
        self.until = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + int(max(0.0, seconds) * 1e9)

    def get(self, kind, at):
        data = os.pread(self.fd, struct.calcsize(kind), at)
        if len(data) != struct.calcsize(kind):
            raise NotDurable(_NO_PAGE)
        return struct.unpack(kind, data)[0]

    def put(self, kind, at, number):
        # By write(2), not through the map: that is what wakes ebb.
        os.pwrite(self.fd, struct.pack(kind, number), at)

    def check_epoch(self):
        if self.get("=Q", _AT_EPOCH) != self.page.epoch:
            raise NotDurable(_FENCED)

    def pauses(self):
        """Ends by itself only with NotDurable, when the time is over."""
        pause = 0.0001
        while True:
            yield
            now, deadline = time.clock_gettime_ns(time.CLOCK_BOOTTIME), _deadline(self.page)
            if now >= self.until or 0 < deadline <= now or deadline < 0:
                raise NotDurable(_NO_ANSWER)
            time.sleep(pause)
            pause = min(pause * 2, 0.005)

    def take_turn(self):
        for _ in self.pauses():
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                pass

    def request(self, where):
        self.check_epoch()
        number = max(self.get("=Q", _AT_REQUESTED), self.get("=Q", _AT_ANSWERED)) + 1
        if number >= 1 << 64:
            raise NotDurable(_NO_PAGE)
        if where is not None:
            self.put("=q", _AT_OFFSET, where)
        self.put("=Q", _AT_REQUESTED, number)
        return number

    def wait(self, number):
        for _ in self.pauses():
            self.check_epoch()
            answered, answer = self.get("=Q", _AT_ANSWERED), self.get("=I", _AT_ANSWER)
            if answered >= number and self.get("=Q", _AT_ANSWERED) == answered:
                if answer != _DURABLE:
                    raise NotDurable(answer if answer in _WORDS else _FAILED)
                return


def _ask(page, where, seconds):
    fd, st = _open(page.path)
    try:
        if (st.st_dev, st.st_ino) != page.inode:
            raise NotDurable(_FENCED)
        asking = _Asking(page, fd, seconds)
        asking.take_turn()
        try:
            asking.wait(asking.request(where))
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)  # a forked child may have the same open file
    finally:
        os.close(fd)


def checkpoint(where=None, seconds=600.0):
    """Makes durable, together: all that was written to stdout so far (sys.stdout is
    flushed here), the content of checkpoint_dir(), and `where`: how far the input is
    processed, None if that has not moved. Waits for it, at most until the deadline
    or for so many seconds. Raises NotDurable when it was not saved. Outside ebb,
    and where ebb keeps no checkpoints, does nothing."""
    if checkpoint_dir() is None:
        return
    if where is not None and not 0 <= where < 1 << 63:
        raise NotDurable(_REFUSED)
    page = _attached()
    if page is None:
        raise NotDurable(_NO_PAGE)
    if sys.stdout is not None:
        sys.stdout.flush()
    try:
        _ask(page, where, seconds)
    except OSError:
        raise NotDurable(_NO_PAGE) from None
