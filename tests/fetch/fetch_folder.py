"""What the tests of sherd-fetch share: a folder, a hub with one model, and the program run against it."""
import contextlib
import hashlib
import os
import pathlib
import random
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import unittest

from hub import Hub
from hub_server import make_certificates

FETCH = os.path.abspath(sys.argv[1])
USAGE, BAD_INPUT, DOES_NOT_FIT, COMMUNICATION, INTERRUPTED = 2, 3, 4, 5, 130
MODEL, TOKEN = "org/name", "hf_secretsecretsecret"
CONFIG, TOKENIZER = b'{"model_type": "llama"}\n', bytes(range(256)) * 40
WEIGHTS = random.Random(7).randbytes(5_000_000)
FILES = {"config.json": CONFIG, "tokenizer.model": TOKENIZER, "model.safetensors": WEIGHTS, "LICENSE": b"free\n",
         "pytorch_model.bin": b"a pickle", "onnx/model.safetensors": b"another format"}
CHOSEN = ["LICENSE", "config.json", "model.safetensors", "tokenizer.model"]
LFS = {"model.safetensors", "tokenizer.model", "pytorch_model.bin"}
CHUNK = 1 << 18


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def expired_server(keys):
    """A server on loopback whose certificate ended yesterday, and the authority that signed it."""
    make_certificates(keys, "IP:127.0.0.1")
    sign = "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days -1 -out server.pem"
    subprocess.run(["openssl", *sign.split(), "-extfile", "openssl.cnf", "-extensions", "server"], cwd=keys,
                   capture_output=True, check=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "server.pem", keys / "server.key")

    def shake_hands(listener):
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            context.wrap_socket(connection, server_side=True).recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=shake_hands, args=(listener,), daemon=True).start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}", str(keys / "ca.pem")


class FetchTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.hub = Hub(self.folder / "keys" if (self.folder / "keys").mkdir() is None else None)
        self.addCleanup(self.hub.close)
        self.commit = self.hub.add_model(MODEL, FILES, lfs=LFS)
        self.home = self.folder / "home"
        self.cache = self.home / "hub" / "models--org--name"
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "HF_HOME": str(self.home),
                            "HF_ENDPOINT": self.hub.url, "SSL_CERT_FILE": self.hub.ca_file}

    def command(self, *args):
        return [FETCH, *args, "--retry-wait", "0.05", "--chunk-bytes", str(CHUNK)]

    def run_fetch(self, *args, **environment):
        done = subprocess.run(self.command(*args), capture_output=True, text=True, timeout=120, check=False,
                              cwd=self.folder, env={**self.environment, **environment})
        self.assertNotIn(TOKEN, done.stdout + done.stderr)
        return done

    def fetch(self, *args, **environment):
        done = self.run_fetch(*args, **environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def model(self, *args, **environment):
        return self.fetch("model", MODEL, *args, **environment)

    def refused(self, code, *parts, args=("model", MODEL), **environment):
        """One clear sentence, the right exit code, and nothing under a final name."""
        done = self.run_fetch(*args, **environment)
        self.assertEqual(done.returncode, code, done.stderr)
        messages = [line for line in done.stderr.splitlines() if line.startswith("sherd-fetch: error: ")]
        self.assertEqual(len(messages), 1, done.stderr)
        for part in parts:
            self.assertIn(part, messages[0])
        return done

    def snapshot(self):
        return self.cache / "snapshots" / self.commit

    def blobs(self):
        blobs = self.cache / "blobs"
        return sorted(path.name for path in blobs.iterdir()) if blobs.exists() else []

    def assert_fetched(self, folder=None, files=CHOSEN):
        folder = folder or self.snapshot()
        for name in files:
            self.assertEqual((folder / name).read_bytes(), FILES[name], name)
        self.assertFalse([name for name in self.blobs() if name.endswith(".partial")])

    def assert_no_wrong_content(self):
        """Whatever is under a blob's name is that blob."""
        for name in self.blobs():
            path = self.cache / "blobs" / name
            if path.is_file():
                data = path.read_bytes()
                self.assertIn(name, (sha256(data), hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()))
