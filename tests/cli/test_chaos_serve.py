"""ebb chaos serve: that the clients of the clouds take it for the real thing, and
each thing that it can be told to do. What it answers to any request, apart from
HTTP, is in tests/unit/test_chaos.c."""

import datetime
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import ebbtest
from ebbtest import ebb_bin, wait_until
from played import DIRECT, PLAIN, Answer, Server

TOKEN = "X-aws-ec2-metadata-token"
TTL = TOKEN + "-ttl-seconds"
SPOT = "/latest/meta-data/spot/instance-action"
REBALANCE = "/latest/meta-data/events/recommendations/rebalance"
PREEMPTED = "/computeMetadata/v1/instance/preempted"
EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
GOOGLE = {"Metadata-Flavor": "Google"}
AZURE = {"Metadata": "true"}
def token(server, seconds="21600"):
    answer = server.ask("/latest/api/token", "PUT", {TTL: seconds})
    assert answer.status == 200, answer.text
    return {TOKEN: answer.text}


def seconds_until(text):
    """From now to a time like 2017-09-18T08:22:00Z."""
    at = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)
    return at.timestamp() - time.time()


def need(module, package):
    if importlib.util.find_spec(module) is None:
        pytest.skip("the package %s is not installed" % package)


# ---- clients ----

def client(box, program, **env):
    """Runs a Python program as a client would run, without this machine's settings
    of clouds and proxies."""
    drop = ("AWS_", "GCE_", "GOOGLE_", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
    full = {k: v for k, v in box.env.items() if not k.startswith(drop)}
    full.update(env, HOME=str(box.top), AWS_CONFIG_FILE="/nonexistent")
    r = subprocess.run([sys.executable, "-c", program], env=full, cwd=box.root, timeout=25,
                       capture_output=True, text=True, check=False)
    assert r.returncode == 0, r.stderr
    return r.stdout


def test_botocore_takes_keys_and_region(serve, box):
    need("botocore", "python3-botocore")
    server = serve("aws", "--iam-role", "batch", "--zone", "eu-west-3b", "--log")
    out = client(box, """
import botocore.session, botocore.utils, json
s = botocore.session.get_session()
c = s.get_credentials()
f = botocore.utils.InstanceMetadataRegionFetcher(base_url=%r)
print(json.dumps([c.method, c.access_key, c.token, f.retrieve_region()]))
""" % server.endpoint, **server.ready()[0]["environment"])
    assert json.loads(out) == ["iam-role", "ASIAEBBCHAOSNOTREAL0", "ebb-chaos-not-a-token", "eu-west-3"]
    # It has asked as version 2 does: first for a token, and nothing was refused.
    assert server.log()[0]["method"] == "PUT"
    assert {line["status"] for line in server.log()} == {200}


def test_botocore_without_a_role(serve, box):
    need("botocore", "python3-botocore")
    server = serve("aws", "--log")
    out = client(box, "import botocore.session as b; print(b.get_session().get_credentials())",
                 **server.ready()[0]["environment"])
    assert out == "None\n"
    assert server.log()[-1]["status"] == 404


@pytest.mark.parametrize("fault", ["--malformed=json", "--errors=100"])
def test_botocore_does_without_what_is_spoiled(serve, box, fault):
    need("botocore", "python3-botocore")
    server = serve("aws", "--iam-role", "batch", fault, "--log")
    out = client(box, "import botocore.session as b; print(b.get_session().get_credentials())",
                 **server.ready()[0]["environment"])
    assert out == "None\n"
    assert {line["fault"] for line in server.log()} == {
        {"--errors=100": "status"}.get(fault, fault.partition("=")[2])}


def test_google_auth_takes_it_for_compute_engine(serve, box):
    need("google.auth", "python3-google-auth")
    server = serve("gcp")
    out = client(box, """
import google.auth, json
from google.auth.compute_engine import _metadata
from google.auth.transport import _http_client
request = _http_client.Request()
assert _metadata.ping(request)
credentials, project = google.auth.default(request=request)
credentials.refresh(request)
print(json.dumps([type(credentials).__module__, project, credentials.token,
                  credentials.service_account_email, credentials._scopes,
                  _metadata.get(request, "instance/preempted")]))
""", **server.ready()[0]["environment"])
    assert json.loads(out) == [
        "google.auth.compute_engine.credentials", "ebb-chaos", "ebb-chaos-not-a-token",
        "ebb-chaos@ebb-chaos.iam.gserviceaccount.com",
        ["https://www.googleapis.com/auth/cloud-platform"], "FALSE"]


IN_NAMESPACE = """
import json, os, subprocess, sys
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["ip", "addr", "add", "169.254.169.254/32", "dev", "lo"], check=True)
server = subprocess.Popen([%r, "chaos", "serve", *%r, "--bind", "169.254.169.254", "--port", "80"],
                          stdout=subprocess.PIPE, text=True)
try:
    json.loads(server.stdout.readline())
    client = subprocess.run(%r, stdout=subprocess.PIPE, timeout=20, text=True, check=False)
finally:
    server.terminate()
    ended = server.wait(5)
print(json.dumps([client.returncode, client.stdout, ended]))
"""


def at_the_real_address(box, options, words):
    """What a client prints that has the service's address built in, with a server
    there, in a network of their own."""
    alone = ["unshare", "--net", "--map-root-user"]
    if subprocess.run([*alone, "ip", "link", "set", "lo", "up"], capture_output=True,
                      check=False).returncode != 0:
        pytest.skip("no network namespace can be made here (unshare --net)")
    r = subprocess.run([*alone, sys.executable, "-c",
                        IN_NAMESPACE % (ebb_bin(), [str(o) for o in options], words)],
                       env=box.env, cwd=box.root, capture_output=True, text=True, timeout=28, check=False)
    assert r.returncode == 0, r.stderr
    code, out, ended = json.loads(r.stdout)
    assert code == 0 and ended == 0, r.stderr
    # It listens where others might reach it, and says so.
    assert "ebb: warning: whoever reaches http://169.254.169.254:80" in r.stderr
    return out


def test_ec2metadata(box):
    if not Path("/usr/bin/ec2metadata").exists():
        pytest.skip("the package cloud-guest-utils is not installed")
    out = at_the_real_address(box, ["aws", "--zone", "us-west-2c", "--instance-type", "c6i.large"],
                              ["/usr/bin/ec2metadata"])
    said = dict(line.partition(": ")[::2] for line in out.splitlines())
    assert said["instance-id"] == "i-0ebb0000000000001"
    assert said["instance-type"] == "c6i.large"
    assert said["availability-zone"] == "us-west-2c"
    assert said["ami-id"].startswith("ami-") and said["local-ipv4"] == "10.0.0.11"
    assert said["user-data"] == "unavailable" and said["public-keys"] == "unavailable"


WAAGENT = """
import json
from azurelinuxagent.common.protocol import imds
client = imds.get_imds_client("168.63.129.16")
healthy, why = client.validate()
compute = client.get_compute()
print(json.dumps([healthy, why, compute.name, compute.location, compute.vmSize, compute.zone,
                  compute.image_info, compute.image_origin, len(compute.vmId)]))
"""


def test_waagent(box):
    need("azurelinuxagent", "waagent")
    out = at_the_real_address(box, ["azure", "--instance-id", "spot-7", "--zone", "westeurope-2"],
                              [sys.executable, "-W", "ignore", "-c", WAAGENT])
    assert json.loads(out) == [True, "", "spot-7", "westeurope", "Standard_D2s_v5", "2",
                               "Debian:debian-12:12:0.20240101.1", 3, 36]


# ---- aws ----

def test_aws_tokens(serve):
    server = serve("aws")
    for ttl in (None, "0", "21601", "-1", "abc", "1e3", "1,000", ""):
        assert server.ask("/latest/api/token", "PUT", {TTL: ttl} if ttl else {}).status == 400
    assert server.ask("/latest/api/token", "PUT", {TTL: "60", "X-Forwarded-For": "1.2.3.4"}).status == 403
    assert server.ask("/latest/api/token").status == 405
    good = token(server)
    assert server.ask("/latest/meta-data/instance-id").status == 401
    for bad in ("x", "0" * 64, good[TOKEN][:-1] + ("0" if good[TOKEN][-1] != "0" else "1"),
                "f" + good[TOKEN][1:]):
        assert server.ask("/latest/meta-data/instance-id", headers={TOKEN: bad}).status == 401
    answer = server.ask("/latest/meta-data/instance-id", headers=good)
    assert answer.text == "i-0ebb0000000000001" and answer.headers["Content-Type"] == "text/plain"
    assert answer.headers["Server"] == "EC2ws" and answer.headers["Date"].endswith(" GMT")
    assert token(server) != good


def test_aws_a_token_runs_out(serve):
    server = serve("aws", "--token-ttl", "1s")
    answer = server.ask("/latest/api/token", "PUT", {TTL: "21600"})
    assert answer.headers[TTL] == "1"
    held = {TOKEN: answer.text}
    assert server.ask("/latest/meta-data/", headers=held).status == 200
    wait_until(lambda: server.ask("/latest/meta-data/", headers=held).status == 401, 5, "it ran out")
    assert server.ask("/latest/meta-data/", headers=token(server)).status == 200


def test_aws_a_token_is_of_one_machine(serve):
    server = serve("aws", count=2)
    other = server.ready()[1]["endpoint"]
    assert server.ask("/latest/", headers=token(server), endpoint=other).status == 401


def test_aws_version_1(serve):
    server = serve("aws", "--imds", "v1")
    assert server.ask("/latest/meta-data/instance-life-cycle").text == "spot"
    assert server.ask("/latest/", headers={TOKEN: "bad"}).status == 401
    assert server.ask("/latest/meta-data/", headers=token(server)).status == 200


def test_aws_listings(serve):
    server = serve("aws", "--imds", "v1")
    assert "2009-04-04\n" in server.ask("/").text and server.ask("/").text.endswith("\nlatest")
    assert server.ask("/latest/").text == server.ask("/2021-07-15").text == "dynamic/\nmeta-data/"
    top = server.ask("/latest/meta-data/").text.split("\n")
    assert {"ami-id", "events/", "placement/", "instance-id"} <= set(top)
    assert "spot/" not in top and "iam/" not in top and len(set(top)) == len(top)
    for folder in ("placement", "placement/"):
        assert server.ask("/latest/meta-data/" + folder).text == "availability-zone\nregion"
    for path in ("/latest/meta-data/nothing", "/1999-01-01/", "/latest/meta-data/ami-id/x",
                 "/latest/user-data", SPOT, REBALANCE, "/latest/meta-data/iam/",
                 "/latest/meta-data/spot/interruption-notice", "/" + "a" * 5000):
        answer = server.ask(path)
        assert answer.status == 404, path
        assert answer.headers["Content-Type"] == "text/html"
        assert "<title>404 - Not Found</title>" in answer.text
    assert server.ask("/latest/meta-data/", "POST", data=b"x").status == 405
    server.tell("notice")
    assert "spot/" in server.ask("/latest/meta-data/").text.split("\n")
    assert server.ask("/latest/meta-data/spot/").text == "instance-action\ntermination-time"


def test_aws_identity(serve):
    server = serve("aws", "--imds", "v1", "--zone", "us-east-1-bos-1a")
    said = server.ask("/latest/dynamic/instance-identity/document").json()
    assert said["region"] == "us-east-1" and said["availabilityZone"] == "us-east-1-bos-1a"
    assert said["instanceId"] == server.ready()[0]["id"]
    assert -30 < seconds_until(said["pendingTime"]) <= 0


@pytest.mark.parametrize("action, window, has_time", [
    ("terminate", 120, True), ("stop", 120, False), ("hibernate", 0, False)])
def test_aws_actions(serve, action, window, has_time):
    server = serve("aws", "--imds", "v1", "--notice-after", "0", "--action", action)
    said = server.ask(SPOT)
    assert said.headers["Content-Type"] == "text/plain"
    assert said.json()["action"] == action
    assert window - 20 < seconds_until(said.json()["time"]) <= window
    legacy = server.ask("/latest/meta-data/spot/termination-time")
    assert (legacy.status, legacy.text if has_time else said.json()["time"]) == \
        (200 if has_time else 404, said.json()["time"])


def test_aws_rebalance_first_then_notice_then_withdrawn(serve):
    server = serve("aws", "--imds", "v1", "--autoscaling", "--notice-window", "90s")
    state = "/latest/meta-data/autoscaling/target-lifecycle-state"
    assert server.tell("rebalance") == [True]
    assert -20 < seconds_until(server.ask(REBALANCE).json()["noticeTime"]) <= 0
    assert server.ask(SPOT).status == 404 and server.ask(state).text == "InService"
    assert server.tell("notice") == [True]
    assert 70 < seconds_until(server.ask(SPOT).json()["time"]) <= 90
    assert server.ask(REBALANCE).status == 200 and server.ask(state).text == "Terminated"
    assert server.tell("notice 10s stop") == [True]
    assert server.ask(SPOT).json()["action"] == "stop"
    assert server.tell("withdraw") == [True]
    assert [server.ask(p).status for p in (SPOT, REBALANCE)] == [404, 404]
    assert server.ask(state).text == "InService"


def test_aws_on_a_schedule(serve):
    server = serve("aws", "--imds", "v1", "--rebalance-after", "200ms", "--notice-after", "400ms",
                   "--withdraw-after", "400ms", "--maintenance-after", "0s")
    seen = {REBALANCE: [], SPOT: []}

    def look():
        for path, was in seen.items():
            now = server.ask(path).status
            if was[-1:] != [now]:
                was.append(now)
        return all(was[-1] == 404 and 200 in was for was in seen.values())
    wait_until(look, 10, "noticed and withdrawn")
    # The first step may have been over before the first look.
    assert all(was in ([404, 200, 404], [200, 404]) for was in seen.values())


def test_aws_maintenance(serve):
    server = serve("aws", "--imds", "v1")
    path = "/latest/meta-data/events/maintenance/scheduled"
    assert server.ask(path).text == "[]"
    server.tell("maintenance")
    event, = server.ask(path).json()
    assert event["State"] == "active" and event["Code"] == "system-reboot"
    assert event["NotBefore"].endswith(" GMT") and not event["NotBefore"].startswith("0")
    datetime.datetime.strptime(event["NotBefore"], "%d %b %Y %H:%M:%S GMT")


def test_aws_a_hop_limit_of_one(serve):
    server = serve("aws", "--drop-token", "--imds", "v1")
    with pytest.raises(OSError):
        server.ask("/latest/api/token", "PUT", {TTL: "60"}, timeout=0.3)
    assert server.ask("/latest/meta-data/instance-id").status == 200


# ---- gcp ----

def test_gcp_header(serve):
    server = serve("gcp")
    answer = server.ask(PREEMPTED)
    assert answer.status == 403 and "Missing required header: Metadata-Flavor" in answer.text
    assert server.ask(PREEMPTED, headers={"Metadata-Flavor": "google"}).status == 403
    assert server.ask(PREEMPTED, headers={**GOOGLE, "X-Forwarded-For": "1.1.1.1"}).status == 403
    assert server.ask(PREEMPTED, headers={"X-Google-Metadata-Request": "True"}).text == "FALSE"
    answer = server.ask(PREEMPTED, headers=GOOGLE)
    assert answer.headers["Metadata-Flavor"] == "Google"
    assert answer.headers["Server"] == "Metadata Server for VM"
    assert answer.headers["Content-Type"] == "application/text" and len(answer.headers["ETag"]) == 16
    assert server.ask("/").headers["Metadata-Flavor"] == "Google"


def test_gcp_tree(serve):
    server = serve("gcp", "--instance-type", "e2-small", "--zone", "europe-west1-b")

    def get(path):
        return server.ask("/computeMetadata/v1/" + path, headers=GOOGLE)
    assert get("").text == "instance/\nproject/\n"
    assert "scheduling/\n" in get("instance/").text and "preempted\n" in get("instance/").text
    assert get("instance/zone").text.endswith("/zones/europe-west1-b")
    assert get("instance/machine-type").text.endswith("/machineTypes/e2-small")
    assert int(get("instance/id").text) > 0 and get("instance/name").text == "ebb-chaos-1"
    assert get("project/project-id").text == "ebb-chaos"
    assert get("instance/scheduling/preemptible").text == "TRUE"
    assert get("instance/network-interfaces/").text == "0/\n"
    assert get("instance/network-interfaces/0/ip").text == "10.128.0.2"
    assert get("instance/service-accounts/default/scopes").text.endswith("/cloud-platform\n")
    assert get("instance/service-accounts/default/token").json()["token_type"] == "Bearer"
    assert get("instance/preempted?alt=json").body == b'"FALSE"'
    whole = get("?recursive=true").json()
    assert whole["instance"]["maintenanceEvent"] == "NONE"
    assert whole["instance"]["id"] == int(get("instance/id").text)
    assert "ebb-chaos@ebb-chaos.iam.gserviceaccount.com" in whole["instance"]["serviceAccounts"]
    assert whole["project"]["numericProjectId"] == 100000000000
    assert "instance/preempted FALSE\n" in get("?recursive=true&alt=text").text
    moved = get("instance/scheduling")
    assert moved.status == 301
    assert moved.headers["Location"] == "/computeMetadata/v1/instance/scheduling/"
    for path in ("nothing", "instance/preempted/x", "instance/network-interfaces/7/ip", "instance//id",
                 "instance/service-accounts/else/token", "a/" * 40, "instance/preempted/"):
        assert get(path).status == 404, path
    assert server.ask(PREEMPTED, "POST", GOOGLE, b"x").status == 405


def in_thread(call, *args, **more):
    """Begins a call; returns a function that waits for what it returns."""
    got = []
    thread = threading.Thread(target=lambda: got.append(call(*args, **more)))
    thread.start()

    def join():
        thread.join(25)
        assert got, "no answer"
        return got[0]
    return join


def polling(server):
    """Connections that the server has to clients now."""
    want = ":%04X " % server.port
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(want in row.split(maxsplit=2)[1] + " " and row.split()[3] == "01" for row in rows)


def test_gcp_waits_for_the_change(serve):
    server = serve("gcp", "--log")
    first = server.ask(PREEMPTED, headers=GOOGLE)
    waits = [in_thread(server.ask, PREEMPTED + "?wait_for_change=true" + more, headers=GOOGLE)
             for more in ("", "&last_etag=" + first.headers["ETag"], "&timeout_sec=20&alt=json")]
    waits.append(in_thread(server.ask, "/computeMetadata/v1/?recursive=true&wait_for_change=true",
                           headers=GOOGLE))
    server.wait_for_waiting(4)
    # What does not concern a value does not answer those who wait for it.
    server.tell("maintenance")
    assert waits.pop()().json()["instance"]["maintenanceEvent"] == "TERMINATE_ON_HOST_MAINTENANCE"
    assert len(server.log(2)) == 2 and polling(server) == 3
    server.tell("notice")
    answers = [w() for w in waits]
    assert [a.text for a in answers] == ["TRUE", "TRUE", '"TRUE"']
    assert answers[0].headers["ETag"] == answers[1].headers["ETag"] != first.headers["ETag"]
    # Another version than the one that is: at once.
    for known in (first.headers["ETag"], "0"):
        said = server.ask(PREEMPTED + "?wait_for_change=true&last_etag=" + known, headers=GOOGLE)
        assert said.text == "TRUE"


def has_inotify(pid):
    return any("inotify" in os.readlink(fd) for fd in Path("/proc/%d/fd" % pid).iterdir())


@pytest.mark.alone
def test_gcp_is_quick_after_the_change(serve):
    server = serve("gcp", "--log")
    if not has_inotify(server.run.pid):
        pytest.skip("other programs of this user hold all inotify instances of this machine")
    took = []
    for command, value in (("notice", "TRUE"), ("withdraw", "FALSE")) * 5:
        done = []
        wait = in_thread(lambda d=done: (server.ask(PREEMPTED + "?wait_for_change=true",
                                                    headers=GOOGLE).text, d.append(time.monotonic())))
        server.wait_for_waiting(len(took) + 1)
        begin = time.monotonic()
        server.trigger.write_text(command + "\n")
        assert wait()[0] == value
        took.append(done[0] - begin)
    assert sorted(took)[len(took) // 2] < 0.05, took


def test_gcp_a_wait_ends_unchanged(serve):
    server = serve("gcp")
    begin = time.monotonic()
    said = server.ask(PREEMPTED + "?wait_for_change=true&timeout_sec=1", headers=GOOGLE)
    assert said.status == 200 and said.text == "FALSE" and time.monotonic() - begin >= 0.9
    assert server.ask(PREEMPTED + "?wait_for_change=true&timeout_sec=0", headers=GOOGLE).text == "FALSE"


def test_gcp_a_scheduled_change_ends_a_wait(serve):
    server = serve("gcp", "--notice-after", "500ms", "--withdraw-after", "500ms")
    path = PREEMPTED + "?wait_for_change=true&last_etag="
    etag = ""
    values = []
    while len(values) < 2:
        said = server.ask(path + etag, headers=GOOGLE)
        etag = said.headers["ETag"]
        values.append(said.text)
    assert values == ["TRUE", "FALSE"]


def test_gcp_on_demand(serve):
    server = serve("gcp", "--lifecycle", "on-demand")
    assert server.ask("/computeMetadata/v1/instance/scheduling/preemptible", headers=GOOGLE).text == "FALSE"
    assert server.tell("notice", "maintenance") == [False, True]
    said = server.ask("/computeMetadata/v1/instance/maintenance-event", headers=GOOGLE).text
    assert said == "MIGRATE_ON_HOST_MAINTENANCE"


# ---- azure ----

def events(server, version="2020-07-01"):
    return server.ask("/metadata/scheduledevents?api-version=" + version, headers=AZURE).json()


def acknowledge(server, *ids):
    body = json.dumps({"StartRequests": [{"EventId": i} for i in ids]}).encode()
    return server.ask(EVENTS, "POST", AZURE, body).status


def test_azure_demands(serve):
    server = serve("azure")
    instance = "/metadata/instance?api-version=2021-02-01"
    for path in (instance, EVENTS):
        said = server.ask(path)
        assert said.status == 400
        assert said.json()["error"] == "Bad request. Required metadata header not specified"
        assert server.ask(path, headers={**AZURE, "X-Forwarded-For": "1.1.1.1"}).status == 400
        said = server.ask(path.partition("?")[0], headers=AZURE)
        assert said.status == 400 and len(said.json()["newest-versions"]) == 3
        assert "api-version was not specified" in said.json()["error"]
        said = server.ask(path.partition("?")[0] + "?api-version=1999-01-01", headers=AZURE)
        assert said.status == 404 and "Invalid version" in said.json()["error"]
        assert server.ask(path, "PUT", AZURE, b"x").status == 405
    assert server.ask("/metadata/nothing?api-version=2021-02-01", headers=AZURE).status == 404


def test_azure_instance(serve):
    server = serve("azure", "--zone", "northeurope-3", "--action", "stop")

    def get(path, more=""):
        return server.ask("/metadata/instance%s?api-version=2021-02-01%s" % (path, more),
                          headers={"metadata": "True"})
    compute = get("").json()["compute"]
    assert compute["priority"] == "Spot" and compute["evictionPolicy"] == "Deallocate"
    assert compute["location"] == "northeurope" and compute["zone"] == "3"
    assert get("/compute").json() == compute
    text = get("/compute/name", "&format=text")
    assert text.text == compute["name"] and text.headers["Content-Type"].startswith("text/plain")
    assert get("/compute/name").status == 400
    assert get("/compute/nothing", "&format=text").status == 404
    assert get("", "&format=text").text == "compute/\nnetwork/"
    address = "/network/interface/0/ipv4/ipAddress/0/privateIpAddress"
    assert get(address, "&format=text").text == "10.0.0.4"
    assert get("/network/interface/1").status == 404


def test_azure_preempt_and_acknowledge(serve):
    server = serve("azure")
    assert events(server) == {"DocumentIncarnation": 1, "Events": []}
    server.tell("notice")
    first = events(server)
    assert first == events(server) and first["DocumentIncarnation"] == 2
    event, = first["Events"]
    assert event["EventType"] == "Preempt" and event["EventStatus"] == "Scheduled"
    assert event["Resources"] == [server.ready()[0]["id"]]
    assert event["ResourceType"] == "VirtualMachine" and event["DurationInSeconds"] == -1
    at = datetime.datetime.strptime(event["NotBefore"], "%a, %d %b %Y %H:%M:%S GMT")
    assert 10 < at.replace(tzinfo=datetime.timezone.utc).timestamp() - time.time() <= 30
    assert acknowledge(server, "602d9444-d2cd-49c7-8624-8643e7171297") == 400
    assert acknowledge(server, event["EventId"], "no") == 400
    assert events(server) == first
    assert acknowledge(server, event["EventId"]) == 200
    second = events(server)
    assert second["DocumentIncarnation"] == 3
    assert second["Events"][0]["EventStatus"] == "Started" and second["Events"][0]["NotBefore"] == ""
    assert acknowledge(server, event["EventId"]) == 200
    server.tell("withdraw")
    assert events(server) == {"DocumentIncarnation": 4, "Events": []}
    assert acknowledge(server, event["EventId"]) == 400
    server.tell("notice")
    assert events(server)["Events"][0]["EventId"] != event["EventId"]


def test_azure_ebb_finds_it_by_the_ready_line(serve, box):
    server = serve("azure", "--notice-after", "0", "--notice-window", "8s")
    where = server.ready()[0]["environment"]
    assert where == {"AZURE_POD_IDENTITY_AUTHORITY_HOST": server.endpoint}
    box.env.update(where)
    r = box.ebb("map", "--notice", "azure", "--grace", "0s", "--", "sleep", ":::", "60", code=75)
    # It may be there before the list is read, and then it is not said what stops.
    assert "azure " in r.err


def test_azure_starts_by_itself(serve):
    server = serve("azure", "--notice-after", "0", "--notice-window", "300ms")
    wait_until(lambda: events(server)["Events"][0]["EventStatus"] == "Started", 5, "it starts")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"StartRequests":{}}', b'{"StartRequests":[]}',
                                  b'{"StartRequests":[{}]}', b'{"StartRequests":[{"EventId":7}]}',
                                  b'{"StartRequests":[null]}', b"\xff\x00\xfe", b"[" * 9000])
def test_azure_bad_acknowledgement(serve, body):
    server = serve("azure", "--notice-after", "0")
    assert server.ask(EVENTS, "POST", AZURE, body).status == 400
    assert events(server)["Events"][0]["EventStatus"] == "Scheduled"


def test_azure_versions_and_others(serve):
    server = serve("azure", "--foreign")
    event, = events(server)["Events"]
    assert event["Resources"] == ["another-machine"] and event["EventType"] == "Preempt"
    old, = events(server, "2017-11-01")["Events"]
    assert set(event) - set(old) == {"Description", "EventSource", "DurationInSeconds"}
    server.tell("maintenance")
    assert sorted(e["EventType"] for e in events(server)["Events"]) == ["Freeze", "Preempt"]
    assert acknowledge(server, event["EventId"]) == 200
    assert {e["EventStatus"] for e in events(server)["Events"] if e["Resources"] == ["another-machine"]} \
        == {"Started"}


def test_azure_the_first_call_takes_long(serve):
    server = serve("azure", "--first-delay", "600ms", "--log")
    events(server)
    events(server)
    took = [line["took_ms"] for line in server.log(2)]
    assert took[0] >= 600


# ---- faults ----

def test_latency(serve):
    server = serve("aws", "--imds", "v1", "--latency", "300ms", "--log")
    server.ask("/latest/")
    assert server.log()[-1]["took_ms"] >= 300


def test_errors_come_again_with_the_seed(serve):
    def faults(*options):
        server = serve("gcp", "--errors", "40", "--malformed", "30", "--log", *options)
        for _ in range(30):
            server.ask("/")
        return server.ready()[0]["seed"], [(x["fault"], x["status"]) for x in server.log(30)]
    # Bodies without an end are cut by the client, who has read enough.
    seed, first = faults()
    assert {f for f, _ in first} >= {"none", "status"} and {s for f, s in first if f == "status"} <= {500, 503}
    assert faults("--seed", str(seed))[1] == first


def test_broken_json(serve):
    server = serve("azure", "--malformed", "json")
    with pytest.raises(json.JSONDecodeError):
        events(server)


def test_wrong_content_type(serve):
    server = serve("azure", "--malformed", "100:type")
    said = server.ask(EVENTS, headers=AZURE)
    assert said.status == 200 and said.headers["Content-Type"].startswith("text/html")


def test_redirects_without_an_end(serve):
    server = serve("gcp", "--malformed", "redirect")
    said = server.ask(PREEMPTED, headers=GOOGLE)
    assert said.status == 302 and said.headers["Location"].startswith("/moved/")
    with pytest.raises(urllib.error.HTTPError, match="redirect"):
        DIRECT.open(urllib.request.Request(server.endpoint + PREEMPTED, headers=GOOGLE), timeout=10)


def test_a_huge_body_and_one_without_an_end(serve):
    for kind, length in (("huge", str(64 << 20)), ("endless", None)):
        server = serve("gcp", "--malformed", kind)
        with PLAIN.open(server.endpoint + "/", timeout=10) as response:
            assert response.headers["Content-Length"] == length
            for _ in range(32):
                assert len(response.read(65536)) == 65536
        # The server has not kept what it sent, and is well.
        assert int((Path("/proc/%d/statm" % server.run.pid)).read_text().split()[1]) * 4096 < 64 << 20
        server.stop()


def test_malformed_not_always(serve):
    server = serve("aws", "--imds", "v1", "--malformed", "0")
    assert server.ask("/latest/").status == 200


# ---- the server ----

def test_several_machines(serve, box):
    server = serve("gcp", "--ready-file", "ready", count=3)
    ready = server.ready()
    assert [r["instance"] for r in ready] == [1, 2, 3] and len({r["port"] for r in ready}) == 3
    assert [json.loads(line) for line in (box.root / "ready").read_text().splitlines()] == ready
    assert server.tell("notice @2", "notice @4") == [True, False]
    assert [server.ask(PREEMPTED, headers=GOOGLE, endpoint=r["endpoint"]).text for r in ready] == \
        ["FALSE", "TRUE", "FALSE"]
    assert server.tell("end @3") == [True]
    with pytest.raises(OSError):
        server.ask(PREEMPTED, headers=GOOGLE, endpoint=ready[2]["endpoint"])
    assert server.ask(PREEMPTED, headers=GOOGLE).status == 200


def test_the_end_closes_those_who_wait(serve):
    server = serve("gcp", "--log")
    with socket.create_connection(("127.0.0.1", server.port)) as s:
        s.sendall(b"GET %s?wait_for_change=true HTTP/1.1\r\nHost: x\r\nMetadata-Flavor: Google\r\n\r\n"
                  % PREEMPTED.encode())
        s.settimeout(10)
        server.wait_for_waiting(1)
        server.tell("end")
        assert s.recv(100) == b""


def test_it_ends_while_clients_wait(serve):
    server = serve("gcp", "--log")
    with socket.create_connection(("127.0.0.1", server.port)) as s:
        s.sendall(b"GET %s?wait_for_change=true HTTP/1.1\r\nHost: x\r\nMetadata-Flavor: Google\r\n\r\n"
                  % PREEMPTED.encode())
        server.wait_for_waiting(1)
        server.stop()


def test_clients_that_leave_are_forgotten(serve):
    """More than fit at a time: each place has to become free again."""
    server = serve("gcp", "--log")
    for _ in range(300):
        with socket.create_connection(("127.0.0.1", server.port)) as s:
            s.sendall(b"GET %s?wait_for_change=true HTTP/1.1\r\nHost: x\r\n"
                      b"Metadata-Flavor: Google\r\n\r\n" % PREEMPTED.encode())
    assert server.ask(PREEMPTED, headers=GOOGLE).text == "FALSE"
    wait_until(lambda: polling(server) == 0, 5, "none is left")


def test_limits_of_requests(serve):
    server = serve("azure")
    assert server.ask(EVENTS, "POST", AZURE, b"x" * (16 << 10) + b"x").status == 413
    with socket.create_connection(("127.0.0.1", server.port)) as s:
        s.settimeout(10)
        s.sendall(b"GET / HTTP/1.1\r\n")
        try:
            while True:
                s.sendall(b"X-Filler: " + b"x" * 8000 + b"\r\n")
        except OSError:
            pass  # it has answered and closed
    with pytest.raises(OSError):
        server.ask(EVENTS, "POST", AZURE, b"x" * (8 << 20))
    for line in (b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET %00/%zz?%00=%&&= HTTP/1.0\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port)) as s:
            s.sendall(line)
            s.settimeout(10)
            try:
                while s.recv(4096):
                    pass
            except ConnectionResetError:
                pass
    assert events(server)["Events"] == []


def test_curl_head_and_keep_alive(serve, box):
    server = serve("gcp", "--log")
    url = server.endpoint + PREEMPTED
    r = subprocess.run(["curl", "-sS", "--noproxy", "*", "-H", "Metadata-Flavor: Google", url, url, "-w",
                        "%{num_connects}\n"], capture_output=True, text=True, timeout=20, check=True)
    assert r.stdout == "FALSE1\nFALSE0\n"
    assert server.ask(PREEMPTED, "HEAD", GOOGLE).headers["Content-Length"] == "5"


def test_log(serve):
    server = serve("aws", "--log")
    server.ask("/latest/meta-data/%22quoted%22?secret=1")
    line = server.log()[-1]
    assert line["path"] == '/latest/meta-data/"quoted"' and line["status"] == 401
    assert line["method"] == "GET" and line["instance"] == 1
    token(server)
    assert "secret" not in server.run.out_path.read_text()


def test_trigger_lines(serve):
    server = serve("aws", "--imds", "v1")
    assert server.tell("nonsense", "notice 1x", "notice @0", "end now", "maintenance @1") == \
        [False, False, False, False, True]
    server.trigger.write_text("# a comment\n\n  notice   15s  \t stop\r\n")
    wait_until(lambda: server.ask(SPOT).status == 200, 5, "noticed")
    assert server.ask(SPOT).json()["action"] == "stop"
    err = server.stop().err
    assert "nonsense" in err and "rebalance, notice, maintenance, withdraw, end" in err


def test_a_trigger_that_was_there_before(serve, box):
    box.write("now", "notice\n")
    assert serve("aws", "--imds", "v1").ask(SPOT).status == 200


def test_a_trigger_without_inotify(box):
    """A user can have but so many watches on a machine: here none."""
    alone = ["unshare", "--user", "--map-root-user", "sh", "-c"]
    none = "echo 0 >/proc/sys/user/max_inotify_instances && "
    if subprocess.run([*alone, none + "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no user namespace can be made here (unshare --user)")
    run = box.start([*alone[1:], none + 'exec "$0" chaos serve aws --imds v1 --trigger now', ebb_bin()],
                    program=alone[0])
    wait_until(lambda: b"\n" in run.out_path.read_bytes(), 10, "ready")
    box.write("now", "notice\n")
    wait_until(lambda: b'"done":true' in run.out_path.read_bytes(), 5, "done")
    assert not has_inotify(run.pid)
    run.proc.terminate()
    assert run.wait(5).code == 0 and not (box.root / "now").exists()


def test_a_trigger_that_is_too_long(serve):
    server = serve("aws", "--imds", "v1")
    server.trigger.write_text("notice\n" * 20000)
    wait_until(lambda: "trigger file was not done" in server.run.err_path.read_text(), 5, "said")
    assert server.ask(SPOT).status == 404 and not server.trigger.exists()


def test_int_ends_it_too(serve):
    server = serve("aws")
    server.run.proc.send_signal(2)
    assert server.run.wait(5).code == 0


def test_ipv6(serve):
    if not Path("/proc/net/if_inet6").read_text().strip():
        pytest.skip("this machine has no IPv6")
    server = serve("azure", "--bind", "::1")
    assert server.endpoint.startswith("http://[::1]:") and events(server)["Events"] == []
    assert "warning" not in server.stop().err


@pytest.mark.parametrize("args, words", [
    ((), "which cloud"),
    (("oracle",), "oracle"),
    (("gcp", "--rebalance-after", "1s"), "only aws"),
    (("gcp", "--action", "hibernate"), "hibernate"),
    (("azure", "--iam-role", "r"), "aws"),
    (("aws", "--foreign"), "azure"),
    (("gcp", "--drop-token"), "only aws"),
    (("aws", "--count", "2", "--instance-id", "i-1"), "--instance-id"),
    (("aws", "--instance-id", "a b"), "letters"),
    (("aws", "--iam-role", "a/b"), "letters"),
    (("aws", "--bind", "localhost"), "127.0.0.1"),
    (("aws", "--port", "65535", "--count", "2"), "65535"),
    (("aws", "--malformed", "some"), "redirect"),
    (("aws", "--malformed", "10:some"), "redirect"),
    (("aws", "--malformed", "101"), "redirect"),
    (("aws", "--errors", "101"), "100"),
    (("aws", "--lifecycle", "on-demand", "--notice-after", "1s"), "on-demand"),
    (("aws", "--token-ttl", "10ms"), "--token-ttl"),
    (("aws", "--notice-after", "900d"), "--notice-after"),
    (("aws", "--trigger", "nowhere/file"), "nowhere"),
    (("aws", "--trigger", "folder/"), "folder"),
    (("aws", "gcp"), "one word too many"),
])
def test_what_cannot_be(box, args, words):
    assert words in box.ebb("chaos", "serve", *args, code=2).err


def test_a_port_that_is_taken(serve, box):
    server = serve("aws")
    r = box.ebb("chaos", "serve", "gcp", "--port", server.port, code=3)
    assert "is taken" in r.err and str(server.port) in r.err


def test_the_first_word(box):
    assert "ebb chaos serve" in box.ebb("chaos", code=2).err
    assert "there are run and serve" in box.ebb("chaos", "sreve", code=2).err
    assert b"ebb chaos serve" in box.ebb("chaos", "--help").out
    whole = box.ebb("chaos", "serve", "--help").out
    assert b"--notice-after" in whole and whole == box.ebb("help", "chaos", "serve").out
    page = box.ebb("help", "--man", "chaos").out
    assert b"notice\\-after" in page and b"Lines of the trigger file" in page


def test_nothing_of_http_is_linked(box):
    """The library comes with a dozen more: every start of ebb would pay for them."""
    libraries = subprocess.run(["ldd", ebb_bin()], capture_output=True, text=True, check=True).stdout
    assert "microhttpd" not in libraries and "gnutls" not in libraries


def test_descriptors_stay_the_same(serve):
    server = serve("gcp", count=2)
    server.ask(PREEMPTED, headers=GOOGLE)

    def fds():
        return len(os.listdir("/proc/%d/fd" % server.run.pid))
    wait_until(lambda: polling(server) == 0, 5, "closed")
    before = fds()
    for _ in range(20):
        server.ask(PREEMPTED + "?wait_for_change=true&timeout_sec=0", headers=GOOGLE)
        server.tell("notice", "withdraw")
    wait_until(lambda: fds() == before, 5, "as many descriptors as before")
    assert ebbtest.state_of(server.run.pid) == "S"
