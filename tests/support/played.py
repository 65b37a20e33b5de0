"""The metadata service of a cloud, played by `ebb chaos serve`."""

import json
import urllib.error
import urllib.request

from ebbtest import wait_until

# No proxy of this machine's, and no redirect that is followed unseen.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))




class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args):  # pylint: disable=signature-differs
        return None


PLAIN = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect)


class Answer:
    def __init__(self, response, limit=1 << 20):
        with response:
            self.status = response.status
            self.headers = response.headers
            self.body = response.read(limit)

    @property
    def text(self):
        return self.body.decode()

    def json(self):
        return json.loads(self.body)


class Server:
    """A started `ebb chaos serve`, and requests to its first machine."""

    def __init__(self, box, cloud, *options, count=1):
        self.cloud = cloud
        self.run = box.start(["chaos", "serve", cloud, "--trigger", "now", "--count", count,
                              *options])
        self.trigger = box.root / "now"
        self.box = box
        wait_until(lambda: self.run.poll() is not None or len(self.ready()) == count, 10, "ready")
        assert self.run.poll() is None, self.run.result().err
        self.endpoint = self.ready()[0]["endpoint"]
        self.port = self.ready()[0]["port"]

    def lines(self):
        """What is whole on stdout."""
        whole = self.run.out_path.read_bytes().rpartition(b"\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def ready(self):
        return [line for line in self.lines() if line.get("ready")]

    def log(self, count=1):
        """The lines of requests once there are so many: each comes after its answer."""
        def lines():
            return [line for line in self.lines() if "status" in line]
        wait_until(lambda: len(lines()) >= count, 5, "%d requests in the log" % count)
        return lines()

    def wait_for_waiting(self, count):
        """Until so many requests have begun to wait (in all, with --log)."""
        wait_until(lambda: sum("waits" in line for line in self.lines()) >= count, 10,
                   "%d requests wait" % count)

    def did(self):
        return [line for line in self.lines() if "command" in line]

    def ask(self, path, method="GET", headers=None, data=None, timeout=20, endpoint=None):
        request = urllib.request.Request((endpoint or self.endpoint) + path, method=method,
                                         headers=headers or {}, data=data)
        try:
            return Answer(PLAIN.open(request, timeout=timeout))
        except urllib.error.HTTPError as e:
            return Answer(e)

    def tell(self, *lines):
        """Commands by the trigger file; returns what was made of them."""
        before = len(self.did())
        draft = self.box.root / "draft"
        draft.write_text("".join(line + "\n" for line in lines))
        draft.rename(self.trigger)
        wait_until(lambda: len(self.did()) == before + len(lines), 5, "commands are done")
        assert not self.trigger.exists()
        return [line["done"] for line in self.did()[before:]]

    def stop(self):
        self.run.proc.terminate()
        r = self.run.wait(5)
        r.check_words()
        assert r.code == 0, r.err
        return r

    def variables(self):
        """What leads a client there."""
        where = self.endpoint.partition("://")[2]
        return {"aws": {"AWS_EC2_METADATA_SERVICE_ENDPOINT": self.endpoint},
                "gcp": {"GCE_METADATA_HOST": where},
                "azure": {"AZURE_POD_IDENTITY_AUTHORITY_HOST": self.endpoint}}[self.cloud]
