#!/usr/bin/env python3
"""Writes access logs of two web servers for two days in July 2026, as
data/DATE/SERVER.log. The same arguments make the same logs.

    ./make-logs.py [LINES]      lines of each log, 4000 without it
"""
import datetime
import pathlib
import random
import sys

PAGES = ["/", "/about", "/img/logo.png", "/search?q=ebb", "/api/items", "/api/items?page=2"]
AGENTS = ["Mozilla/5.0 (X11; Linux x86_64)", "curl/7.88.1", "-"]
STATUSES = [200] * 88 + [304] * 5 + [404] * 5 + [500, 503]


def write_log(path, day, lines, rng):
    with path.open("w", encoding="ascii") as out:
        for at in sorted(rng.randrange(86400) for _ in range(lines)):
            if rng.random() < 0.002:    # a server that was killed while it wrote
                out.write("198.51.100.7 - - [01/Ju\n")
                continue
            when = day + datetime.timedelta(seconds=at)
            status = rng.choice(STATUSES)
            size = "-" if status == 304 else str(rng.randrange(200, 50000))
            out.write(f'198.51.100.{rng.randrange(1, 255)} - - [{when:%d/%b/%Y:%H:%M:%S} +0000] '
                      f'"GET {rng.choice(PAGES)} HTTP/1.1" {status} {size} '
                      f'"-" "{rng.choice(AGENTS)}"\n')


def main():
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    rng = random.Random(1)
    for number in (1, 2):
        day = datetime.datetime(2026, 7, number)
        for server in ("web1", "web2"):
            path = pathlib.Path("data", f"{day:%Y-%m-%d}", server + ".log")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_log(path, day, lines, rng)


if __name__ == "__main__":
    main()
