"""The sockets under hub.py: certificates, servers, the log's records, ranges, and how a body is sent whole or broken.

What is answered is hub.py's matter. A Server asks its hub for an Answer and for the faults that apply to it.
"""
import functools
import hashlib
import io
import json
import os
import re
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BLOCK = 1 << 20
SENDFILE_BLOCK = 16 << 20
OPENSSL_CONFIG = """
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""


def make_certificates(folder, names):
    """Writes an authority, ca.pem, and a server's certificate and key that it signed, server.pem and server.key."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "openssl.cnf"), "w", encoding="utf-8") as file:
        file.write(OPENSSL_CONFIG.format(names=names))
    key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config openssl.cnf"
    for command in (f"req -x509 {key} -keyout ca.key -out ca.pem -days 30 -subj /CN=test-hub-ca -extensions ca",
                    f"req -new {key} -keyout server.key -out server.csr -subj /CN=test-hub",
                    "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out server.pem "
                    "-extfile openssl.cnf -extensions server"):
        done = subprocess.run(["openssl", *command.split()], cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"openssl {command}: {done.stderr}")


class Content:
    """The bytes of one file: given as bytes, or as a path on disk from which they are streamed."""

    def __init__(self, source, lfs=False):
        self.lfs = lfs
        self.data = bytes(source) if isinstance(source, (bytes, bytearray)) else None
        self.path = None if self.data is not None else os.fspath(source)
        self.size = len(self.data) if self.path is None else os.path.getsize(self.path)

    def blocks(self, first, count, size=BLOCK):
        """The bytes first .. first + count in pieces of at most `size`; beyond the end they are zeros."""
        with io.BytesIO(self.data) if self.path is None else open(self.path, "rb", buffering=0) as file:
            file.seek(first)
            while count > 0:
                block = file.read(min(size, count)) or bytes(min(size, count))
                yield block
                count -= len(block)

    def digest(self, state):
        for block in self.blocks(0, self.size):
            state.update(block)
        return state.hexdigest()

    @functools.cached_property
    def sha256(self):
        return self.digest(hashlib.sha256())

    @property
    def pointer(self):
        """What git itself stores for an LFS file."""
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @functools.cached_property
    def blob_id(self):
        if self.lfs:
            return Content(self.pointer).blob_id
        return self.digest(hashlib.sha1(b"blob %d\0" % self.size))

    @property
    def etag(self):
        return f'"{self.sha256 if self.lfs else self.blob_id}"'

    def sibling(self, name):
        """Its entry in a listing."""
        entry = {"rfilename": name, "size": self.size, "blobId": self.blob_id}
        if self.lfs:
            entry["lfs"] = {"size": self.size, "sha256": self.sha256, "pointerSize": len(self.pointer)}
        return entry


class Record:
    """One request, logged when it arrives. `status` and `bytes` (of the body) are set before they are sent, so a client
    that has seen an answer finds it here. Where the client went away the last block, of up to 1 MiB, is not counted."""

    def __init__(self, handler):
        self.server, self.method, self.target = handler.server.name, handler.command, handler.path
        self.connection = handler.client_address[1]  # the client's port: equal where a connection is used again
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        path, _, self.query = self.target.partition("?")
        self.path = urllib.parse.unquote(path)
        self.range = self.headers.get("range")
        self.authorization = self.headers.get("authorization")
        self.status, self.bytes, self.faults = None, 0, []

    def __repr__(self):
        return (f"{self.server} {self.method} {self.path} range={self.range} token={self.authorization is not None} "
                f"-> {self.status}, {self.bytes} bytes {self.faults or ''}")

    def matches(self, path="", method=None, server=None):
        return path in self.path and method in (None, self.method) and server in (None, self.server)


class Answer:
    """What to send. A file's has Accept-Ranges and an ETag, and may be asked for in part."""

    def __init__(self, status, headers=None, content=b""):
        self.status, self.headers = status, headers or {}
        self.content = content if isinstance(content, Content) else Content(content)


def json_answer(status, value, **headers):
    headers = {name.replace("_", "-"): text for name, text in headers.items()}
    return Answer(status, {"Content-Type": "application/json; charset=utf-8", **headers}, json.dumps(value).encode())


def error(status, code, message, **headers):
    return json_answer(status, {"error": message}, X_Error_Code=code, X_Error_Message=message, **headers)


def found(location, **headers):
    """A redirect. As the Hub's it has a body, so its Content-Length is not the file's."""
    body = f"Found. Redirecting to {location}".encode()
    headers = {name.replace("_", "-"): text for name, text in headers.items()}
    return Answer(302, {"Location": location, "Content-Type": "text/plain", **headers}, body)


def byte_range(text, size):
    """(first, count) of a Range header, count 0 where it cannot be satisfied; None where the whole file is due."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", text or "")
    if not match or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        first, last = max(0, size - int(last)), ""
    if last and int(last) < int(first):
        return None
    return int(first), max(0, (min(int(last), size - 1) if last else size - 1) - int(first) + 1)


class Handler(BaseHTTPRequestHandler):
    """A connection: reads requests, and sends the hub's answers with the faults that are due."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        """hub.log has it."""

    def do_GET(self):
        hub = self.server.hub
        self.record = Record(self)
        with hub.lock:
            hub.log.append(self.record)
        for rule in hub.take(self.record, "call").values():
            rule.value(self.record)
        instead = hub.take(self.record, "instead")
        answer = hub.instead(*instead.values(), self.record) if instead else hub.answer(self.record)
        if answer is not None:
            self.send_answer(answer)
            return
        self.close_connection = True
        if "stall" in instead:
            hub.closing.wait()

    do_HEAD = do_GET

    def send_answer(self, answer):
        """Headers and body; decides which part of the content is due."""
        hub, record, content, status = self.server.hub, self.record, answer.content, answer.status
        serves = status == 200 and self.command == "GET"
        faults = {kind: rule.value for kind, rule in hub.take(record, "body").items()} if serves else {}
        size = content.size + faults.get("longer", 0)
        first, count, headers = 0, size, dict(answer.headers)
        wanted = byte_range(record.range, size) if serves and "Accept-Ranges" in headers else None
        if wanted and "ignore_range" not in faults and record.headers.get("if-range") in (None, headers["ETag"]):
            first, count = wanted
            status = 206 if count else 416
            headers["Content-Range"] = f"bytes {first}-{first + count - 1}/{size}" if count else f"bytes */{size}"
        headers.update({"Transfer-Encoding": "chunked"} if "chunked" in faults else {"Content-Length": str(count)})
        for rule in hub.take(record, "headers").values():
            headers.update(rule.headers)
        record.status = status
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.send_body(content, first, count, faults)

    def send_body(self, content, first, count, faults):
        """The bytes first .. first + count of the content, or what the faults make of them."""
        on_disk = content.path is not None and first + count <= content.size
        if on_disk and not faults and not isinstance(self.connection, ssl.SSLSocket):
            self.send_file(content.path, first, count)
            return
        stop = min([count] + [faults[kind] for kind in ("cut", "stall") if kind in faults])
        rate = faults.get("slow")
        flip = faults["wrong_bytes"] if faults.get("wrong_bytes") is not None else count // 2
        sent = 0
        for block in content.blocks(first, stop, max(1, rate // 20) if rate else BLOCK):
            if rate and self.server.hub.closing.wait(len(block) / rate):
                break
            if "wrong_bytes" in faults and 0 <= flip - sent < len(block):
                block = bytearray(block)
                block[flip - sent] ^= 0x40
            self.put(block, "chunked" in faults)
            sent += len(block)
        if "stall" in faults:
            self.server.hub.closing.wait()
        if sent < count or "stall" in faults or "cut" in faults:
            self.close_connection = True
            return
        if "chunked" in faults:
            self.connection.sendall(b"0\r\n\r\n")
        if "surplus" in faults:
            self.put(b"x" * faults["surplus"])

    def put(self, block, chunked=False):
        self.count(len(block), lambda: self.connection.sendall(
            b"%x\r\n%s\r\n" % (len(block), block) if chunked else block))

    def send_file(self, path, first, count):
        """The kernel copies from the page cache to the socket."""
        with open(path, "rb") as file:
            while count > 0:
                at, step = first, min(count, SENDFILE_BLOCK)
                sent = self.count(step, lambda: os.sendfile(self.connection.fileno(), file.fileno(), at, step))
                if sent == 0:
                    raise RuntimeError(f"{path} became shorter while it was sent")
                first, count = first + sent, count - sent

    def count(self, expected, send):
        """Counts the bytes before they leave (see Record), and puts the count right afterwards."""
        before = self.record.bytes
        self.record.bytes = before + expected
        sent = 0
        try:
            sent = send()
        finally:
            self.record.bytes = before + (expected if sent is None else sent)
        return sent


class Server(ThreadingHTTPServer):
    """One port of 127.0.0.1, with a thread for every connection."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, hub, name, context):
        self.hub, self.name, self.context, self.open = hub, name, context, set()
        super().__init__(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def server_bind(self):
        """As HTTPServer's, without its look-up of the host's full name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def get_request(self):
        connection, address = super().get_request()
        if self.context:  # The handshake is left to the connection's own thread.
            connection = self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self.open.add(connection)
        return connection, address

    def shutdown_request(self, request):
        """Closes without TLS's close_notify: to the client a cut looks like a cut."""
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        """A client may refuse us or go away at any time; other errors are ours and are printed."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, ssl.SSLError)) and not self.hub.closing.is_set():
            super().handle_error(request, client_address)

    def close(self):
        self.shutdown()
        self.server_close()
        for connection in list(self.open):
            try:  # Past SSLSocket, whose own shutdown would take TLS from under the other thread.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            except OSError:
                pass
        self.thread.join()
