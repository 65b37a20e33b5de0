"""Metadata services of clouds for tests: what they say is set by the test, what they were
asked is kept."""

import http.server
import json
import socket
import ssl
import threading


class Service:
    """An HTTP server on a free port of 127.0.0.1. answers: path (without its query) -> what
    to send: (status, body), (status, body, headers), or a function of the handler that
    answers by itself or returns one of these. What is not there is a 404."""

    def __init__(self, answers=None, headers=None, context=None, port=0):
        self.answers = dict(answers or {})
        self.headers = dict(headers or {})
        self.asked = []       # (method, path with query, headers)
        self.changed = threading.Condition()
        self.ending = threading.Event()
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                service.answer(self)

            do_GET = do_PUT = do_POST = answer

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = False
            block_on_close = True

            def handle_error(self, request, client_address):
                pass

        self.server = Server(("127.0.0.1", port), Handler)
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True,
                                                     do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        self.url = "http%s://127.0.0.1:%d" % ("" if context is None else "s", self.port)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def answer(self, handler):
        length = int(handler.headers.get("Content-Length") or 0)
        handler.body = handler.rfile.read(length) if length else b""
        with self.changed:
            self.asked.append((handler.command, handler.path, dict(handler.headers)))
            self.changed.notify_all()
        what = self.answers.get(handler.path.split("?")[0], (404, "not found"))
        if callable(what):
            what = what(handler)
        if what is not None:
            self.send(handler, *what)

    def send(self, handler, status, body="", headers=None):
        data = body if isinstance(body, bytes) else \
            (body if isinstance(body, str) else json.dumps(body)).encode()
        handler.send_response(status)
        for name, value in {**self.headers, **(headers or {})}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def set(self, path, *answer):
        with self.changed:
            self.answers[path] = answer
            self.changed.notify_all()

    def wait_change(self, condition, seconds):
        """In a handler: waits until the condition holds, the time is over or the test ends."""
        with self.changed:
            self.changed.wait_for(lambda: self.ending.is_set() or condition(), seconds)

    def wait_asked(self, path, times=1, seconds=10):
        """Until a path that begins so was asked for so often."""
        with self.changed:
            assert self.changed.wait_for(
                lambda: sum(a[1].startswith(path) for a in self.asked) >= times, seconds), \
                "%s is not asked for: %s" % (path, [a[1] for a in self.asked])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ending.set()
        with self.changed:
            self.changed.notify_all()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class RawService:
    """Accepts connections and lets a function of (socket, stop event) speak on each."""

    def __init__(self, speak):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = "http://127.0.0.1:%d" % self.port
        self.stop = threading.Event()
        self.speak = speak
        self.threads = [threading.Thread(target=self.accept)]
        self.threads[0].start()

    def accept(self):
        self.listener.settimeout(0.05)
        while not self.stop.is_set():
            try:
                conn, _ = self.listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            t = threading.Thread(target=self.talk, args=(conn,))
            self.threads.append(t)
            t.start()

    def talk(self, conn):
        with conn:
            conn.settimeout(5)
            try:
                conn.recv(65536)
                self.speak(conn, self.stop)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.set()
        for t in self.threads:
            t.join()
        self.listener.close()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


AWS = "/latest/meta-data/"
ACTION = AWS + "spot/instance-action"
GCP = "/computeMetadata/v1/instance/"
AZURE_EVENTS = "/metadata/scheduledevents"
AZURE_NAME = "/metadata/instance/compute/name"


def aws(port=0, **more):
    """EC2's, version 2, with nothing to tell."""
    return Service({"/latest/api/token": (200, "TOKEN"), AWS + "instance-id": (200, "i-0abc"),
                    AWS + "instance-type": (200, "m5.large"),
                    AWS + "placement/availability-zone": (200, "eu-west-1a"),
                    AWS + "instance-life-cycle": (200, "spot"), **more}, port=port)


class Google(Service):
    """Google's, which answers a wait when a value has changed."""

    def __init__(self, **values):
        super().__init__(headers={"Metadata-Flavor": "Google"})
        self.values = {"preempted": "FALSE", "maintenance-event": "NONE", "id": "77",
                       "zone": "projects/1/zones/eu-a", **values}
        for name in self.values:
            self.answers[GCP + name] = self.value

    def etag(self, name):
        return "e" + self.values[name].replace("/", "")

    def value(self, handler):
        path, _, query = handler.path.partition("?")
        name = path[len(GCP):]
        if handler.headers.get("Metadata-Flavor") != "Google":
            return (403, "no")
        if "wait_for_change=true" in query:
            last = query.split("last_etag=")[1].split("&")[0]
            self.wait_change(lambda: self.etag(name) != last, 60)
        return (200, self.values[name], {"ETag": self.etag(name)})

    def change(self, name, value):
        with self.changed:
            self.values[name] = value
            self.changed.notify_all()


def azure(name="vm1"):
    return Service({AZURE_NAME: (200, name), AZURE_EVENTS:
                    (200, {"DocumentIncarnation": 1, "Events": []})})


def azure_event(kind, status="Scheduled", names=("vm1",), not_before=""):
    return {"EventId": "E-" + kind, "EventType": kind, "ResourceType": "VirtualMachine",
            "Resources": list(names), "EventStatus": status, "NotBefore": not_before}


def server_context(cert, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context
