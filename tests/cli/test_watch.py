"""ebb watch: what it says when a cloud speaks, and what it does when one speaks nonsense."""

import datetime
import json
import os
import signal
import time
from pathlib import Path

import pytest

import metadata
from ebbtest import kill, wait_until
from metadata import ACTION, AZURE_EVENTS, AWS, RawService, free_port

CLOUD_VARIABLES = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_EC2_METADATA_DISABLED",
                   "AWS_EXECUTION_ENV", "GCE_METADATA_HOST", "AZURE_POD_IDENTITY_AUTHORITY_HOST",
                   "KUBERNETES_SERVICE_HOST", "SLURM_JOB_ID", "ECS_CONTAINER_METADATA_URI_V4")


@pytest.fixture(autouse=True)
def nowhere(box):
    for name in CLOUD_VARIABLES:
        box.env.pop(name, None)


def utc(seconds):
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def notice(seconds=100, action="terminate"):
    return (200, {"action": action, "time": utc(seconds)})


def watch(box, source, *more, **how):
    return box.begin("watch", "--source", source, "--poll", "50ms", *more, **how)


def lines(running, n, seconds=10):
    """The events, once there are n of them."""
    def look():
        whole = running.out().decode().splitlines()
        return whole if len(whole) >= n else None
    return [json.loads(line) for line in wait_until(look, seconds, "%d events" % n)]


def says(running, text, seconds=10):
    return wait_until(lambda: text in running.err(), seconds, "on stderr: " + text)


def end(running, code=0, sig=signal.SIGTERM):
    kill(running.pid, sig)
    r = running.wait(5)
    assert r.code == code, r.err
    return r


# ---- what clouds say ----

def test_aws(box):
    with metadata.aws() as cloud:
        w = watch(box, "aws=" + cloud.url)
        says(w, "aws: this is i-0abc, m5.large, eu-west-1a, spot")
        cloud.set(AWS + "events/recommendations/rebalance", 200, {"noticeTime": utc(0)})
        assert lines(w, 1)[0]["event"] == "rebalance"
        cloud.set(ACTION, *notice(100))
        got = lines(w, 2)[1]
        assert got["event"] == "notice" and got["action"] == "terminate" and got["source"] == "aws"
        assert 90 < got["seconds_left"] <= 101
        assert abs(got["deadline_unix"] - time.time() - 100) < 10
        cloud.answers.pop(ACTION)
        got = lines(w, 3)[2]
        assert (got["event"], got["was"]) == ("withdrawn", "notice")
        end(w)
        tokens = {a[2].get("X-aws-ec2-metadata-token") for a in cloud.asked if a[0] == "GET"}
        assert tokens == {"TOKEN"}


def test_gcp_by_its_variable(box):
    with metadata.Google() as cloud:
        w = box.begin("watch", GCE_METADATA_HOST="127.0.0.1:%d" % cloud.port)
        cloud.wait_asked(metadata.GCP + "preempted?wait_for_change=true")
        begin = time.monotonic()
        cloud.change("preempted", "TRUE")
        got = lines(w, 1)[0]
        assert time.monotonic() - begin < 1
        assert (got["event"], got["source"], got["deadline_unix"]) == ("preempted", "gcp", None)
        assert got["window_s"] == 30
        cloud.change("maintenance-event", "MIGRATE_ON_HOST_MAINTENANCE")
        got = lines(w, 2)[1]
        assert (got["event"], got["action"]) == ("maintenance", "migrate")
        end(w)


def test_azure(box):
    with metadata.azure() as cloud:
        w = watch(box, "azure=" + cloud.url)
        cloud.wait_asked(AZURE_EVENTS)
        at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=30)
        cloud.set(AZURE_EVENTS, 200, {"DocumentIncarnation": 2, "Events": [
            metadata.azure_event("Preempt", names=["vm2"]),
            metadata.azure_event("Preempt", not_before=at.strftime("%a, %d %b %Y %H:%M:%S GMT"))]})
        got = lines(w, 1)
        assert len(got) == 1 and got[0]["id"] == "E-Preempt"
        assert got[0]["event"] == "notice" and 20 < got[0]["seconds_left"] <= 31
        end(w)


def test_several_clouds_and_one_that_is_away(box):
    with metadata.aws() as cloud:
        w = watch(box, "gcp=127.0.0.1:%d,aws=%s" % (free_port(), cloud.url))
        says(w, "gcp: Failed to connect")
        cloud.set(ACTION, *notice())
        assert lines(w, 1)[0]["source"] == "aws"
        end(w)
        assert w.err().count("gcp: Failed to connect") == 1


# ---- when it ends ----

def test_once_and_timeout(box):
    with metadata.aws(**{ACTION: notice()}) as cloud:
        r = watch(box, "aws=" + cloud.url, "--once", "--timeout", "20s").wait(10)
        assert r.code == 0 and len(r.out.splitlines()) == 1
    with metadata.aws() as cloud:
        r = watch(box, "aws=" + cloud.url, "--once", "--timeout", "200ms").wait(10)
        assert (r.code, r.out) == (1, b"")
    with metadata.aws(**{ACTION: notice()}) as cloud:
        r = watch(box, "aws=" + cloud.url, "--once", "--exec", "exit 3").wait(10)
        assert r.code == 1 and "exit 3" in r.err


def test_interrupt_and_terminate(box):
    for sig, code in (signal.SIGINT, 130), (signal.SIGTERM, 0):
        with metadata.aws() as cloud:
            w = watch(box, "aws=" + cloud.url)
            cloud.wait_asked(ACTION)
            assert end(w, code, sig).out == b""


def test_stdout_closed(box):
    with metadata.aws() as cloud:
        reader, writer = os.pipe()
        w = watch(box, "aws=" + cloud.url, stdout=writer)
        os.close(writer)
        os.close(reader)
        cloud.wait_asked(ACTION)
        cloud.set(ACTION, *notice())
        assert w.wait(10).code == 3
        # Commands are still heard without it.
        marker = box.top / "ran"
        r = watch(box, "aws=" + cloud.url, "--quiet", "--once", "--exec",
                  "touch %s" % marker).wait(10)
        assert r.code == 0 and r.out == b"" and marker.exists()


@pytest.mark.alone
def test_end_does_not_wait_for_an_answer(box):
    """Google's answer is open for a minute; the end does not wait for it."""
    with metadata.Google() as cloud:
        w = watch(box, "gcp=" + cloud.url)
        cloud.wait_asked(metadata.GCP + "preempted?wait_for_change=true")
        cloud.wait_asked(metadata.GCP + "maintenance-event?wait_for_change=true")
        begin = time.monotonic()
        end(w)
        assert time.monotonic() - begin < 0.2


# ---- commands ----

def test_exec_by_kind_with_environment(box):
    out = box.top / "env"
    with metadata.aws(**{AWS + "events/recommendations/rebalance": (200, {"noticeTime": utc(0)})}) \
            as cloud:
        w = watch(box, "aws=" + cloud.url, "--exec", "rebalance=echo early >> %s" % out,
                  "--exec", "notice=env | grep ^EBB_EVENT | sort >> %s" % out,
                  EBB_EVENT_OLD="1")
        wait_until(out.exists, 10, "the first command")
        cloud.set(ACTION, *notice(60, "stop"))
        lines(w, 2)
        wait_until(lambda: "EBB_EVENT_SOURCE" in out.read_text(), 10, "the second command")
        end(w)
    text = out.read_text().splitlines()
    assert text[0] == "early"
    env = dict(line.split("=", 1) for line in text[1:])
    assert env["EBB_EVENT"] == "notice" and env["EBB_EVENT_ACTION"] == "stop"
    assert env["EBB_EVENT_SOURCE"] == "aws" and "EBB_EVENT_OLD" not in env
    assert json.loads(env["EBB_EVENT_JSON"])["event"] == "notice"
    assert abs(float(env["EBB_EVENT_DEADLINE"]) - time.time() - 60) < 20


@pytest.mark.parametrize("own", [False, True])
def test_preempted_runs_the_command_of_notice(box, own):
    """... if there is none for it."""
    out = box.top / "out"
    more = ["--exec", "preempted=echo own >> %s" % out] if own else []
    with metadata.Google(preempted="TRUE") as cloud:
        r = watch(box, "gcp=" + cloud.url, "--once", "--exec", "notice=echo fallback >> %s" % out,
                  *more).wait(10)
    assert r.code == 0 and out.read_text() == ("own\n" if own else "fallback\n")


def test_command_that_hangs_is_ended(box):
    with metadata.aws(**{ACTION: notice()}) as cloud:
        r = watch(box, "aws=" + cloud.url, "--once", "--exec", "sleep 1000 & sleep 1000",
                  "--exec-timeout", "200ms").wait(10)
    assert r.code == 1 and "took too long" in r.err
    box.wait_alone()


def test_commands_run_one_after_the_other(box):
    out = box.top / "out"
    with metadata.aws(**{ACTION: notice()}) as cloud:
        r = watch(box, "aws=" + cloud.url, "--once", "--exec", "sleep 0.1; echo 1 >> %s" % out,
                  "--exec", "echo 2 >> %s" % out).wait(10)
    assert r.code == 0 and out.read_text() == "1\n2\n"


# ---- without a cloud ----

@pytest.mark.parametrize("variable,source", [("KUBERNETES_SERVICE_HOST", "kubernetes"),
                                             ("SLURM_JOB_ID", "slurm"),
                                             ("ECS_CONTAINER_METADATA_URI_V4", "ecs")])
def test_term_is_a_notice(box, variable, source):
    out = box.top / "out"
    hold = box.top / "there"
    w = box.begin("watch", "--stop-file", str(hold), "--once", "--exec",
                  "sleep 0.05; echo $EBB_EVENT > %s" % out,
                  EBB_SERVICE_ACCOUNT_DIR="/nonexistent", **{variable: "1"})
    wait_until(lambda: waits(w.pid), 5, "it waits")
    end(w)
    got = lines(w, 1)
    assert (got[0]["event"], got[0]["source"]) == ("notice", source)
    assert out.read_text() == "notice\n" # TERM does not end the command that it began


def waits(pid):
    """It has come as far as to wait for something."""
    try:
        return "poll" in Path("/proc/%d/wchan" % pid).read_text() or \
            Path("/proc/%d/syscall" % pid).read_text().split()[0] in ("7", "271")
    except (OSError, IndexError):
        return False


def test_stop_file(box):
    path = box.top / "stop"
    w = box.begin("watch", "--stop-file", str(path))
    wait_until(lambda: waits(w.pid), 5, "it waits")
    # A plain machine: nothing of the network, and no thread.
    assert "libcurl" not in Path("/proc/%d/maps" % w.pid).read_text()
    assert len(os.listdir("/proc/%d/task" % w.pid)) == 1
    path.touch()
    got = lines(w, 1)[0]
    assert (got["event"], got["source"], got["detail"]) == ("notice", "file", str(path))
    end(w)


def test_plain_machine(box):
    r = box.ebb("watch", code=2)
    assert "on no platform that ebb knows" in r.err and "--stop-file" in r.err
    r = box.ebb("watch", "--source", "none", code=2)
    assert "nothing to watch" in r.err


def test_bad_words(box):
    for source, text in (("aws,moon", '"moon"; there are: auto, none, aws, gcp, azure, kubernetes'),
                         ("aws=ftp://x", "the endpoint of aws is no URL"),
                         ("aws=http://a b", "the endpoint of aws is no URL"),
                         ("aws=", "the endpoint of aws is no URL"),
                         ("kubernetes", "there is no service account in")):
        r = box.ebb("watch", "--source", source, code=None,
                    EBB_SERVICE_ACCOUNT_DIR="/nonexistent")
        assert r.code == 2 and text in r.err, (source, r.err)
    r = box.ebb("watch", "--source", "aws", "--exec", "notice=", code=2)
    assert "there is no command" in r.err


# ---- services that are not what they should be ----

def test_redirect_is_not_followed(box):
    with metadata.aws() as good:
        with metadata.Service({"/latest/api/token":
                               (302, "", {"Location": good.url + "/latest/api/token"})}) as cloud:
            w = watch(box, "aws=" + cloud.url)
            says(w, "answered with a redirect (302), which is not followed")
            cloud.wait_asked("/latest/api/token", 2)
            end(w)
        assert good.asked == []


def test_endless_answer_is_cut(box):
    sent = []

    def endless(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        total = 0
        try:
            while total < 50 << 20:
                handler.wfile.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
                total += 4096
        except OSError:
            pass
        sent.append(total)
        handler.close_connection = True

    with metadata.aws(**{ACTION: endless}) as cloud:
        w = watch(box, "aws=" + cloud.url)
        says(w, "is longer than 256 KiB; it was cut off")
        end(w)
    assert 0 < sent[0] < 20 << 20 # what sockets hold, and not all of it


def test_slow_headers_time_out(box):
    def slow(conn, stop):
        for c in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 10000:
            conn.sendall(bytes([c]))
            if stop.wait(0.1):
                return

    with RawService(slow) as cloud:
        w = watch(box, "gcp=" + cloud.url)
        says(w, "within 3000 ms")
        end(w)


@pytest.mark.parametrize("answer,text", [
    (b"\x00\xff\x80\r\n\r\n", "gcp: "),
    (b"TRUE\r\n", "gcp: "),                       # HTTP/0.9
    (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nTRUE", "is not what it should be"),
    (b"HTTP/1.1 200 OK\r\nMetadata-Flavor: Google\r\nContent-Length: 99\r\n\r\nTRUE", "gcp: "),
    (b"", "gcp: Empty reply"),
])
def test_garbage(box, answer, text):
    with RawService(lambda conn, stop: conn.sendall(answer)) as cloud:
        w = watch(box, "gcp=" + cloud.url)
        says(w, text)
        r = end(w)
        assert r.out == b"" and len(r.err.splitlines()) == 1, r.err


def test_proxies_are_not_used(box):
    dead = "http://127.0.0.1:%d" % free_port()
    with metadata.aws(**{ACTION: notice()}) as cloud:
        r = watch(box, "aws=" + cloud.url, "--once", "--timeout", "10s", http_proxy=dead,
                  HTTP_PROXY=dead, all_proxy=dead, ALL_PROXY=dead).wait(12)
        assert r.code == 0, r.err


def test_service_that_comes_later(box):
    port = free_port()
    w = watch(box, "aws=127.0.0.1:%d" % port)
    says(w, "aws: Failed to connect")
    with metadata.aws(port=port, **{ACTION: notice()}):
        says(w, "aws: it answers as it should again")
        lines(w, 1)
        r = end(w)
    assert r.err.count("Failed to connect") == 1
