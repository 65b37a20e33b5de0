"""ebb watch in a pod: a small API server over TLS, with a CA of its own."""

import datetime
import json
import signal
import subprocess

import pytest

import metadata
from ebbtest import kill, once, wait_until

PODS = "/api/v1/namespaces/batch/pods"
NODES = "/api/v1/nodes"


def openssl(folder, *args):
    subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)


def make_ca(folder, name):
    """A CA and a certificate for 127.0.0.1 by it."""
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl(folder, "req", "-x509", *ec, "-keyout", name + "-ca.key", "-out", name + "-ca.crt",
            "-subj", "/CN=%s CA" % name, "-days", "2")
    openssl(folder, "req", *ec, "-keyout", name + ".key", "-out", name + ".csr",
            "-subj", "/CN=%s" % name)
    (folder / (name + ".ext")).write_text("subjectAltName=IP:127.0.0.1\n")
    openssl(folder, "x509", "-req", "-in", name + ".csr", "-CA", name + "-ca.crt", "-CAkey",
            name + "-ca.key", "-CAcreateserial", "-out", name + ".crt", "-days", "2",
            "-extfile", name + ".ext")


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    def make():
        folder = tmp_path_factory.mktemp("ca")
        make_ca(folder, "cluster")
        make_ca(folder, "other")
        return str(folder)
    return once(tmp_path_factory, "kubernetes-ca", make)


class Cluster(metadata.Service):
    """One pod and one node. Watches say what they are, then what changes."""

    def __init__(self, certificates):
        super().__init__({PODS: self.watch, NODES: self.watch},
                         context=metadata.server_context(certificates + "/cluster.crt",
                                                         certificates + "/cluster.key"))
        self.tokens = {"TOKEN1"}
        self.status = {PODS: 200, NODES: 200}
        self.generation = 0   # a watch of an older one ends
        self.last_words = ""  # before it ends
        self.log = {PODS: [], NODES: []}
        self.pod = {"metadata": {"name": "job-1", "uid": "u1"}, "spec": {"nodeName": "n1"},
                    "status": {}}
        self.node = {"metadata": {"name": "n1", "labels": {
            "topology.kubernetes.io/zone": "eu-1a", "node.kubernetes.io/instance-type": "m5.large",
            "karpenter.sh/capacity-type": "spot"}}, "spec": {}}

    def object(self, path):
        return self.pod if path == PODS else self.node

    def change(self, **status):
        with self.changed:
            for name, value in status.items():
                setattr(self, name, value)
            self.changed.notify_all()

    def say(self, path, kind="MODIFIED"):
        with self.changed:
            self.log[path].append(json.dumps({"type": kind, "object": self.object(path)}) + "\n")
            self.changed.notify_all()

    def watch(self, handler):
        path, _, query = handler.path.partition("?")
        name = self.object(path)["metadata"]["name"]
        token = handler.headers.get("Authorization", "").removeprefix("Bearer ")
        if "watch=true" not in query or "fieldSelector=metadata.name%3D" + name not in query:
            return (400, {"kind": "Status", "code": 400})
        if token not in self.tokens:
            return (401, {"kind": "Status", "code": 401})
        if self.status[path] != 200:
            return (self.status[path], {"kind": "Status", "code": self.status[path]})
        self.stream(handler, path)
        return None

    def stream(self, handler, path):
        generation, sent = self.generation, len(self.log[path])
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        text = json.dumps({"type": "ADDED", "object": self.object(path)}) + "\n"
        while not self.ending.is_set():
            for part in (text[:7], text[7:]):  # lines come in pieces
                if part:
                    handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part.encode()))
            with self.changed:
                self.changed.notify_all()
                self.changed.wait_for(lambda: self.ending.is_set() or self.generation != generation
                                      or len(self.log[path]) > sent, 60)
                text = "".join(self.log[path][sent:])
                sent = len(self.log[path])
                if self.generation != generation:
                    text = self.last_words
                    break
        if text:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(text), text.encode()))
        handler.wfile.write(b"0\r\n\r\n")


class Pod:
    def __init__(self, box, certificates, cluster, **env):
        self.folder = box.top / "account"
        self.folder.mkdir()
        self.box = box
        (self.folder / "ca.crt").write_bytes(open(certificates + "/cluster-ca.crt", "rb").read())
        (self.folder / "namespace").write_text("batch")
        self.token("TOKEN1")
        for name in ("NODE_NAME", "EBB_NODE_NAME", "POD_NAME"):
            box.env.pop(name, None)
        self.env = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": cluster.port,
                    "EBB_SERVICE_ACCOUNT_DIR": self.folder, "EBB_POD_NAME": "job-1", **env}

    def token(self, text):
        new = self.folder / "token.new"
        new.write_text(text + "\n")
        new.rename(self.folder / "token")

    def watch(self, *more):
        return self.box.begin("watch", *more, **self.env)


@pytest.fixture
def cluster(certificates):
    with Cluster(certificates) as c:
        yield c


@pytest.fixture
def pod(box, certificates, cluster):
    return Pod(box, certificates, cluster)


def lines(running, n):
    return [json.loads(line) for line in wait_until(
        lambda: (lambda l: l if len(l) >= n else None)(running.out().decode().splitlines()),
        10, "%d events" % n)]


def says(running, text):
    wait_until(lambda: text in running.err(), 10, "on stderr: " + text)


def end(running):
    kill(running.pid, signal.SIGINT)
    r = running.wait(5)
    assert r.code == 130, r.err
    return r


def test_pod_is_deleted(pod, cluster):
    w = pod.watch()
    says(w, "kubernetes: this is job-1, m5.large, eu-1a, spot")
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=30)
    cluster.pod["metadata"].update(deletionTimestamp=at.strftime("%Y-%m-%dT%H:%M:%SZ"),
                                   deletionGracePeriodSeconds=30)
    cluster.say(PODS)
    got = lines(w, 1)[0]
    assert (got["event"], got["source"], got["id"]) == ("notice", "kubernetes", "u1")
    assert 20 < got["seconds_left"] <= 30
    end(w)


def test_disruption_and_taints(pod, cluster):
    w = pod.watch()
    says(w, "this is job-1")
    cluster.node["spec"]["taints"] = [
        {"key": "aws-node-termination-handler/rebalance-recommendation", "effect": "NoSchedule"}]
    cluster.say(NODES)
    assert lines(w, 1)[0]["event"] == "rebalance"
    cluster.node["spec"].pop("taints")
    cluster.say(NODES)
    got = lines(w, 2)[1]
    assert (got["event"], got["was"]) == ("withdrawn", "rebalance")
    cluster.pod["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True",
                                            "reason": "PreemptionByScheduler", "message": "m"}]
    cluster.say(PODS)
    got = lines(w, 3)[2]
    assert (got["event"], got["detail"]) == ("notice", "PreemptionByScheduler: m")
    end(w)


@pytest.mark.parametrize("words", ["", json.dumps({"type": "ERROR", "object": {
    "kind": "Status", "code": 410, "reason": "Expired"}}) + "\n"])
def test_watch_that_ends_is_begun_anew(pod, cluster, words):
    """... with the token that there is then, and what was said is not said again."""
    w = pod.watch()
    says(w, "this is job-1")
    cluster.node["spec"]["taints"] = [{"key": "karpenter.sh/disrupted"}]
    cluster.say(NODES)
    lines(w, 1)
    pod.token("TOKEN2")
    cluster.tokens = {"TOKEN2"}
    cluster.wait_asked(PODS)
    cluster.change(generation=1, last_words=words)
    cluster.wait_asked(PODS, 2)
    cluster.wait_asked(NODES, 2)
    cluster.say(NODES, "DELETED")
    got = lines(w, 2)
    assert [g["event"] for g in got] == ["notice", "preempted"]
    r = end(w)
    assert "401" not in r.err and "should" not in r.err, r.err


def test_token_that_has_expired(pod, cluster):
    cluster.tokens = {"TOKEN2"}
    w = pod.watch()
    says(w, "answered with 401")
    pod.token("TOKEN2")
    says(w, "kubernetes: it answers as it should again")
    says(w, "this is job-1")
    end(w)


def test_missing_rights(pod, cluster):
    cluster.status = {PODS: 403, NODES: 403}
    w = pod.watch()
    says(w, 'a Role with {apiGroups: [""], resources: [pods], verbs: [watch]} in the '
            'namespace batch')
    kill(w.pid, signal.SIGTERM)  # which is left
    assert w.wait(5).code == 0
    assert lines(w, 1)[0]["event"] == "notice"
    assert w.err().count("a Role with") == 1


def test_node_without_rights(pod, cluster):
    cluster.status[NODES] = 403
    w = pod.watch()
    says(w, "a ClusterRole with")
    says(w, "this is job-1")
    cluster.say(PODS, "DELETED")
    assert lines(w, 1)[0]["event"] == "preempted"
    end(w)


def test_other_ca_is_refused(pod, cluster, certificates):
    (pod.folder / "ca.crt").write_bytes(open(certificates + "/other-ca.crt", "rb").read())
    w = pod.watch()
    says(w, "kubernetes: SSL certificate problem")
    end(w)
    assert cluster.asked == []


def test_node_by_the_downward_api(box, certificates, cluster):
    """... where the pod itself may not be watched."""
    cluster.status[PODS] = 403
    w = Pod(box, certificates, cluster, NODE_NAME="n1").watch()
    cluster.node["spec"]["taints"] = [{"key": "ToBeDeletedByClusterAutoscaler"}]
    cluster.wait_asked(NODES)
    cluster.say(NODES)
    assert lines(w, 1)[0]["event"] == "notice"
    end(w)
