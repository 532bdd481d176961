#!/usr/bin/env python3
"""hub.py does to an ordinary HTTP client what its first comment says."""
import array
import hashlib
import http.client
import json
import os
import pathlib
import random
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

from hub import Hub
from hub_server import BLOCK, SENDFILE_BLOCK

MODEL = "org/name"
CONFIG = b'{"model_type": "llama"}'
WEIGHTS = random.Random(1).randbytes(300_000)
FILE = f"/{MODEL}/resolve/main/config.json"
LARGE = f"/{MODEL}/resolve/main/model.safetensors"


def git_id(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class HubTest(unittest.TestCase):
    TLS = True

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.hub = Hub(self.folder, tls=self.TLS)
        self.addCleanup(self.hub.close)
        self.context = ssl.create_default_context(cafile=self.hub.ca_file) if self.TLS else None
        weights = self.folder / "weights"
        weights.write_bytes(WEIGHTS)
        files = {"config.json": CONFIG, "model.safetensors": weights}
        self.commit = self.hub.add_model(MODEL, files, lfs={"model.safetensors"})

    def connect(self, url, timeout=10):
        """A connection, closed with the test, and the target to ask it for."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(parts.netloc, context=self.context, timeout=timeout)
        else:
            connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
        self.addCleanup(connection.close)
        return connection, parts.path + ("?" + parts.query if parts.query else "")

    def ask(self, path, method="GET", url=None, **headers):
        """(response, body) of one request, redirects not followed."""
        connection, target = self.connect((self.hub.url if url is None else url) + path)
        connection.request(method, target, headers=headers)
        response = connection.getresponse()
        return response, response.read()

    def get(self, path, url=None, **headers):
        return self.ask(path, url=url, **headers)[1]

    def listing(self, kind="models", key=MODEL, revision="main"):
        return json.loads(self.get(f"/api/{kind}/{key}/revision/{revision}?blobs=true"))

    def link(self):
        return self.ask(LARGE, "HEAD")[0].headers["Location"]


class Protocol(HubTest):
    def test_listing(self):
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(WEIGHTS)}\nsize 300000\n".encode()
        self.assertEqual(self.listing(), {"id": MODEL, "sha": self.commit, "siblings": [
            {"rfilename": "config.json", "size": len(CONFIG), "blobId": git_id(CONFIG)},
            {"rfilename": "model.safetensors", "size": 300000, "blobId": git_id(pointer),
             "lfs": {"size": 300000, "sha256": sha256(WEIGHTS), "pointerSize": len(pointer)}}]})
        without = json.loads(self.get(f"/api/models/{MODEL}"))
        self.assertEqual(without["siblings"][0], {"rfilename": "config.json"})

    def test_small_file(self):
        for method, body in (("HEAD", b""), ("GET", CONFIG)):
            response, got = self.ask(FILE, method)
            self.assertEqual((response.status, got), (200, body))
            self.assertEqual(response.headers["ETag"], f'"{git_id(CONFIG)}"')
            self.assertEqual(response.headers["X-Repo-Commit"], self.commit)
            self.assertEqual(response.headers["Content-Length"], str(len(CONFIG)))

    def test_large_file_is_on_the_cdn(self):
        response, _ = self.ask(LARGE, "HEAD")
        self.assertEqual(response.status, 302)
        self.assertEqual(response.headers["X-Linked-Etag"], f'"{sha256(WEIGHTS)}"')
        self.assertEqual(response.headers["X-Linked-Size"], "300000")
        self.assertNotEqual(response.headers["Content-Length"], "300000")
        link = response.headers["Location"]
        self.assertTrue(link.startswith(self.hub.cdn_url + "/"), link)
        self.assertEqual(self.get("", link), WEIGHTS)
        self.assertEqual(self.ask("", url=link.replace("Signature=", "Signature=0"))[0].status, 403)

    def test_ranges(self):
        link = self.link()
        for text, first, last in (("100-299", 100, 299), ("299990-", 299990, 299999), ("-5", 299995, 299999),
                                  ("299999-400000", 299999, 299999)):
            response, body = self.ask("", url=link, Range=f"bytes={text}")
            self.assertEqual((response.status, response.headers["Content-Range"]),
                             (206, f"bytes {first}-{last}/300000"))
            self.assertEqual(body, WEIGHTS[first:last + 1])
        response, body = self.ask("", url=link, Range="bytes=300000-")
        self.assertEqual((response.status, response.headers["Content-Range"], body), (416, "bytes */300000", b""))
        self.assertEqual(self.get(FILE, Range="bytes=2-4"), CONFIG[2:5])
        self.assertEqual(self.get(FILE, **{"Range": "bytes=2-4", "If-Range": '"another"'}), CONFIG)

    def test_more_than_one_block(self):
        data = array.array("I", range(SENDFILE_BLOCK // 4 + BLOCK)).tobytes()
        weights = self.folder / "large"
        weights.write_bytes(data)
        self.hub.add_model(MODEL, {"model.safetensors": weights}, lfs={"model.safetensors"})
        self.assertTrue(self.get("", self.link(), Range="bytes=1-") == data[1:])

    def test_datasets_branches_and_commits(self):
        first = self.hub.add_dataset("org/games", {"a b.txt": b"1"})
        second = self.hub.add_dataset("org/games", {"a b.txt": b"2"}, branch="refs/pr/1")
        path = "/datasets/org/games/resolve/{}/a%20b.txt"
        self.assertEqual(self.listing("datasets", "org/games")["sha"], first)
        self.assertEqual(self.listing("datasets", "org/games", "refs%2Fpr%2F1")["sha"], second)
        self.assertEqual(self.get(path.format("main")), b"1")
        self.hub.move_branch("datasets/org/games", "main", second)
        self.assertEqual(self.get(path.format("main")), b"2")
        self.assertEqual(self.get(path.format(first)), b"1")

    def assert_error(self, path, status, code, **headers):
        response, _ = self.ask(path, **headers)
        self.assertEqual((response.status, response.headers["X-Error-Code"]), (status, code))
        self.assertTrue(response.headers["X-Error-Message"])

    def test_errors(self):
        self.assert_error("/api/models/no/such/revision/main", 401, "RepoNotFound")
        self.assert_error("/api/models/no/such/revision/main", 404, "RepoNotFound", Authorization="Bearer x")
        self.assert_error(f"/api/models/{MODEL}/revision/none", 404, "RevisionNotFound")
        self.assert_error(f"/{MODEL}/resolve/main/none", 404, "EntryNotFound")

    def test_gate(self):
        self.hub.gate(MODEL, "hf_secret")
        for path in (FILE, f"/api/models/{MODEL}/revision/main"):
            self.assert_error(path, 401, "GatedRepo")
            self.assert_error(path, 403, "GatedRepo", Authorization="Bearer hf_other")
            self.assertEqual(self.ask(path, Authorization="Bearer hf_secret")[0].status, 200)
        self.hub.gate(MODEL, "hf_secret", open_listing=True)
        self.assertEqual(self.listing()["sha"], self.commit)
        self.assert_error(FILE, 401, "GatedRepo")

    def test_hostile_names(self):
        for name in ("../x", "/abs", "a\\b", "C:x", "\ud800"):
            self.hub.add_raw_sibling(MODEL, name, b"evil")
        self.hub.add_raw_sibling(MODEL, "config.json", size=7)
        siblings = self.listing()["siblings"]
        self.assertEqual([entry["rfilename"] for entry in siblings],
                         ["model.safetensors", "../x", "/abs", "a\\b", "C:x", "\ud800", "config.json"])
        self.assertEqual((siblings[-1]["size"], self.get(FILE)), (7, CONFIG))
        self.assertEqual(self.get(f"/{MODEL}/resolve/main/..%2Fx"), b"evil")

    def test_log(self):
        self.get(FILE, Authorization="Bearer hf_secret", Range="bytes=0-3")
        self.get("", self.ask(LARGE)[0].headers["Location"])
        hub, cdn = self.hub.requests("config.json")[0], self.hub.requests(server="cdn")[0]
        self.assertEqual((hub.server, hub.method, hub.path, hub.range, hub.authorization, hub.status, hub.bytes),
                         ("hub", "GET", FILE, "bytes=0-3", "Bearer hf_secret", 206, 4))
        self.assertEqual((cdn.status, cdn.authorization, cdn.bytes), (200, None, 300000))
        self.assertEqual(self.hub.bytes_sent("model.safetensors"), 300000)
        self.assertEqual(len(self.hub.log), 3)

    def test_connections_are_kept(self):
        connection, _ = self.connect(self.hub.url)
        for _ in range(2):
            connection.request("GET", FILE)
            self.assertEqual(connection.getresponse().read(), CONFIG)
        self.assertEqual(len({record.connection for record in self.hub.requests()}), 1)

    def test_plain_server(self):
        self.assertEqual(self.get(FILE, self.hub.plain_url), CONFIG)
        self.assertEqual([record.server for record in self.hub.log], ["plain"])


class PlainProtocol(Protocol):
    """The same without TLS, where files on disk are sent by the kernel."""
    TLS = False


class Certificates(HubTest):
    def refused(self, hub, context):
        with self.assertRaises(urllib.error.URLError) as caught:
            urllib.request.urlopen(hub.url + FILE, context=context)
        self.assertIsInstance(caught.exception.reason, ssl.SSLCertVerificationError)
        self.assertEqual(hub.requests(), [])

    def test_unknown_authority(self):
        self.refused(self.hub, ssl.create_default_context())

    def test_another_name(self):
        with Hub(self.folder / "other", names="DNS:example.org") as hub:
            self.refused(hub, ssl.create_default_context(cafile=hub.ca_file))


class Faults(HubTest):
    def test_status_is_counted_and_skips(self):
        rule = self.hub.fault("status", 429, path="config.json", times=2, skip=1, headers={"Retry-After": "1"})
        answers = [self.ask(FILE)[0] for _ in range(4)]
        self.assertEqual([answer.status for answer in answers], [200, 429, 429, 200])
        self.assertEqual((answers[1].headers["Retry-After"], rule.hits), ("1", 2))

    def test_rules_apply_where_they_match(self):
        self.hub.fault("status", 500, path="config.json", times=None)
        self.hub.fault("status", 503, server="cdn", method="GET", times=None)
        link = self.link()
        self.assertEqual(self.ask("", "HEAD", link)[0].status, 200)
        self.assertEqual([self.ask("", url=link)[0].status for _ in range(2)], [503, 503])
        self.assertEqual(self.ask(FILE)[0].status, 500)
        self.hub.clear_faults()
        self.assertEqual(self.get(FILE), CONFIG)

    def test_body_given_with_a_status(self):
        self.hub.fault("status", 200, body=b"[[[[")
        self.assertEqual(self.get(f"/api/models/{MODEL}/revision/main"), b"[[[[")

    def cut_after(self, url):
        with self.assertRaises(http.client.IncompleteRead) as caught:
            self.ask("", url=url)
        return caught.exception.partial

    def test_cut(self):
        self.hub.fault("cut", 1000, path="model.safetensors")
        link = self.link()
        self.assertEqual(self.cut_after(link), WEIGHTS[:1000])
        self.assertEqual(self.hub.bytes_sent("model.safetensors"), 1000)
        self.assertEqual(self.get("", link), WEIGHTS)
        self.hub.fault("cut")
        with self.assertRaises(http.client.RemoteDisconnected):
            self.ask(FILE)

    def test_stall(self):
        self.hub.fault("stall", path="config.json")
        self.hub.fault("stall", 1000, server="cdn")
        connection, target = self.connect(self.hub.url + FILE, timeout=0.2)
        connection.request("GET", target)
        self.assertRaises(TimeoutError, connection.getresponse)
        connection, target = self.connect(self.link(), timeout=0.2)
        connection.request("GET", target)
        response = connection.getresponse()
        self.assertEqual(response.read(1000), WEIGHTS[:1000])
        self.assertRaises(TimeoutError, response.read, 1)

    def test_slow(self):
        self.hub.fault("slow", 3_000_000)
        link, start = self.link(), time.monotonic()
        self.assertEqual(self.get("", link), WEIGHTS)
        self.assertGreater(time.monotonic() - start, 0.09)

    def test_wrong_bodies(self):
        link = self.link()
        self.hub.fault("ignore_range")
        self.assertEqual(self.get("", link, Range="bytes=5-9"), WEIGHTS)
        self.hub.fault("wrong_bytes")
        flipped = bytearray(WEIGHTS)
        flipped[150000] ^= 0x40
        self.assertEqual(self.get("", link), flipped)
        self.hub.fault("wrong_bytes", 1)
        self.assertEqual(self.get(FILE), b'{\x62' + CONFIG[2:])
        self.hub.fault("longer", 3)
        self.assertEqual(self.get(FILE), CONFIG + b"\0\0\0")
        self.hub.fault("chunked")
        response, body = self.ask("", url=link)
        self.assertIsNone(response.headers["Content-Length"])
        self.assertEqual(body, WEIGHTS)
        self.hub.fault("surplus", 2)
        connection, target = self.connect(self.hub.url + FILE)
        connection.request("GET", target)
        connection.getresponse().read()
        self.assertEqual(connection.sock.recv(10), b"xx")

    def test_other_pages(self):
        self.hub.fault("html")
        response, body = self.ask(FILE)
        self.assertEqual((response.status, response.headers["Content-Type"]), (200, "text/html"))
        self.assertIn(b"Log in", body)
        self.hub.fault("redirect", self.hub.plain_url + FILE)
        response, _ = self.ask(FILE)
        self.assertEqual((response.status, response.headers["Location"]), (302, self.hub.plain_url + FILE))

    def test_links_expire(self):
        link = self.link()
        self.hub.fault("expired", path="model.safetensors")
        self.assertEqual([self.ask("", url=link)[0].status for _ in range(2)], [403, 403])
        link = self.link()
        self.assertEqual(self.get("", link), WEIGHTS)
        self.hub.expire_links()
        self.assertEqual(self.ask("", url=link)[0].status, 403)
        self.hub.link_seconds = -1
        self.assertEqual(self.ask("", url=self.link())[0].status, 403)

    def test_headers_and_calls(self):
        self.hub.fault("headers", headers={"ETag": 'W/"x"', "X-Repo-Commit": None})
        response, _ = self.ask(FILE)
        self.assertEqual((response.headers["ETag"], response.headers["X-Repo-Commit"]), ('W/"x"', None))
        moved = self.hub.add_model(MODEL, {"config.json": b"new"}, branch=None)
        self.hub.fault("call", lambda record: self.hub.move_branch(MODEL, "main", moved), path="config.json")
        self.assertEqual(self.get(FILE), b"new")

    def test_mistakes_in_tests_are_found(self):
        self.assertRaisesRegex(ValueError, "no fault is called 'cutt'", self.hub.fault, "cutt")
        self.assertRaisesRegex(ValueError, "'slow' needs a value", self.hub.fault, "slow")


class Program(unittest.TestCase):
    def test_serves_a_folder(self):
        with tempfile.TemporaryDirectory() as folder:
            model = pathlib.Path(folder, "models", "org", "name")
            model.mkdir(parents=True)
            (model / "config.json").write_bytes(CONFIG)
            port_file = pathlib.Path(folder, "port")
            hub = pathlib.Path(__file__).with_name("hub.py")
            with subprocess.Popen([sys.executable, hub, "--root", folder, "--port-file", port_file, "--http"],
                                  stdout=subprocess.DEVNULL) as process:
                deadline = time.monotonic() + 30
                while not port_file.exists() and time.monotonic() < deadline:
                    time.sleep(0.02)
                url = f"http://127.0.0.1:{int(port_file.read_text())}"
                with urllib.request.urlopen(url + FILE) as response:
                    self.assertEqual(response.read(), CONFIG)
                os.kill(process.pid, signal.SIGTERM)
                self.assertEqual(process.wait(10), 0)


if __name__ == "__main__":
    unittest.main()
