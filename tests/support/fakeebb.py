"""An ebb that only has a control page, written from docs/task-contract.md and
not from ebb's sources: what tasks talk to in the tests."""

import os
import struct
import threading
import time
from pathlib import Path

SIZE = 4096
AT_EPOCH, AT_DEADLINE, AT_REASON, AT_PLAN, AT_STOP, AT_ANSWER, AT_ANSWERED = 16, 24, 32, 36, 40, 44, 48
AT_REQUESTED, AT_OFFSET, AT_DONE_UNITS, AT_TOTAL, AT_PROGRESS, AT_DONE = 2048, 2056, 2064, 2072, 2080, 2088


class FakeEbb:
    """`answers` is what requests get, one after another, the last one for all
    that follow; None: no answer. `asked` are their offsets."""

    def __init__(self, folder, epoch=7, offset=0, answers=(0,)):
        self.folder = Path(folder)
        self.path = self.folder / "page"
        self.checkpoint = self.folder / "checkpoint"
        self.checkpoint.mkdir(exist_ok=True)
        self.notice = self.folder / "notice"
        self.notice.unlink(missing_ok=True)
        self.epoch, self.offset, self.answers, self.asked = epoch, offset, list(answers), []
        self.path.write_bytes(struct.pack("=8sIIQ", b"EBBCTRL\0", 1, SIZE, epoch).ljust(SIZE, b"\0"))
        self.fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        self.put("=q", AT_OFFSET, offset)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.listen)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        os.close(self.fd)

    def env(self, **more):
        """For a task."""
        base = {k: v for k, v in os.environ.items() if not k.startswith("EBB_")}
        base.update(EBB_CONTRACT="1", EBB_EPOCH=str(self.epoch), EBB_OFFSET=str(self.offset),
                    EBB_CONTROL=str(self.path), EBB_CHECKPOINT=str(self.checkpoint), EBB_DEADLINE="",
                    EBB_NOTICE_FILE=str(self.notice))
        base.update(more)
        return base

    def get(self, kind, at):
        data = os.pread(self.fd, struct.calcsize(kind), at)
        return struct.unpack(kind, data)[0] if len(data) == struct.calcsize(kind) else 0

    def put(self, kind, at, number):
        os.pwrite(self.fd, struct.pack(kind, number), at)

    def stop(self, seconds=None, reason=2, plan=2):
        if seconds is not None:
            self.put("=q", AT_DEADLINE, int(boot_seconds() * 1e9 + seconds * 1e9))
        self.put("=I", AT_REASON, reason)
        self.put("=I", AT_PLAN, plan)
        self.put("=I", AT_STOP, 1)
        self.notice.write_text('{"ebb_notice":1}\n')

    def progress(self):
        """(done, total, seconds ago)"""
        return (self.get("=Q", AT_DONE_UNITS), self.get("=Q", AT_TOTAL),
                boot_seconds() - self.get("=q", AT_PROGRESS) / 1e9)

    def said_done(self):
        return self.get("=I", AT_DONE) == 1

    def listen(self):
        answered = 0
        while not self.ended.wait(0.002):
            number = self.get("=Q", AT_REQUESTED)
            if number <= answered:
                continue
            answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
            if answer is None:
                continue
            self.asked.append(self.get("=q", AT_OFFSET))
            answered = number
            self.put("=I", AT_ANSWER, answer)
            self.put("=Q", AT_ANSWERED, number)


def boot_seconds():
    return time.clock_gettime(time.CLOCK_BOOTTIME)
