#!/usr/bin/env python3
"""A Hugging Face Hub for tests: real sockets, real TLS, a CDN under another host name, and faults on demand.

    with Hub(folder) as hub:
        commit = hub.add_model("org/name", {"config.json": b"{}", "model.safetensors": "/a/path"},
                               lfs={"model.safetensors"})
        hub.fault("cut", 1000, path="model.safetensors")
        ...   # a client with HF_ENDPOINT=hub.url that trusts hub.ca_file
        assert hub.bytes_sent("model.safetensors") == ...

    python3 hub.py --root DIR [--port-file F] [--http]    serves DIR/models/org/name/* and DIR/datasets/org/name/*

This file has what is served, the faults and the program; hub_server.py has the sockets.
Three servers, each on a port of its own: "hub" (https://127.0.0.1), "cdn" (https://localhost, to which LFS files are
redirected with links that are signed and expire) and "plain" (the hub again over http, where a downgrade would land).
A repository's key is as in its URL: "org/name", or "datasets/org/name". The protocol is formats-and-failures.md, A2.

Faults: hub.fault(kind, value) applies to the next `times` requests (None: for ever) that match `path` (a part of the
decoded path), `method` and `server`, after the first `skip` of them.
  These answer in place of the hub; of those that match, the rule added first:
    status CODE   with headers= and body=, such as 429 and {"Retry-After": "1"}
    html          200 and a captive portal's page
    redirect URL  302 to any Location
    expired       the CDN refuses with 403; every link to this file is void, so it must be resolved again
    stall, cut    (no value) nothing is sent, and the connection stays open, or is closed
  These change a body that is sent, so neither a HEAD nor a redirect uses them up; one of each kind at a time:
    cut N         closes after N bytes of the body        stall N      sends nothing more after N bytes of the body
    slow N        N bytes per second                      ignore_range 200 and the whole file
    wrong_bytes   one bit of byte N (or of the middle)    longer N     N zero bytes follow, and are in Content-Length
    surplus N     N bytes beyond the Content-Length       chunked      chunks, without a Content-Length
  And: headers (headers= replaces those of the real answer; None removes) and call FUNCTION (it is given the record
  of the request before the answer, to move a branch or to kill a client at a known point).
"""
import argparse
import hashlib
import itertools
import json
import os
import pathlib
import re
import signal
import ssl
import sys
import tempfile
import threading
import time
import urllib.parse

from hub_server import Answer, Content, Server, error, found, json_answer, make_certificates

INSTEAD = {"status", "html", "redirect", "expired"}
BODY = {"cut", "stall", "slow", "ignore_range", "wrong_bytes", "longer", "surplus", "chunked"}
NEEDS_VALUE = {"status", "redirect", "slow", "longer", "surplus", "call"}
LISTING = re.compile(r"/api/(models|datasets)/([^/]+(?:/[^/]+)?)(?:/revision/([^/]+))?")
RESOLVE = re.compile(r"/((?:datasets/)?[^/]+(?:/[^/]+)?)/resolve/([^/]+)/(.+)")
# As a program: what the real Hub's default .gitattributes keeps in LFS, and its limit for other files.
LFS_SUFFIXES = (".safetensors", ".bin", ".model", ".parquet", ".h5", ".npy", ".gz", ".zst", ".zip")
LFS_FROM_BYTES = 10 << 20


class Repository:
    """A model or data set: its commits, where its branches are, and who may see it."""

    def __init__(self):
        self.commits = {}  # sha: {path: Content}
        self.branches = {}  # name: sha
        self.raw = []  # (name, entry, Content): siblings listed as they are given
        self.token = None  # who asks must present it
        self.open_listing = True  # only the files need the token

    def listing(self, files):
        hidden = {name for name, _, _ in self.raw}
        return [content.sibling(name) for name, content in sorted(files.items()) if name not in hidden] + [
            entry for _, entry, _ in self.raw]

    def file(self, files, path):
        return {**files, **{name: content for name, _, content in self.raw}}.get(path)


class Rule:
    """A fault and what it applies to; `hits` counts the requests it was applied to."""

    def __init__(self, kind, value, headers, body, match, times, skip):
        if kind not in INSTEAD | BODY | {"headers", "call"}:
            raise ValueError(f"no fault is called '{kind}'")
        if kind in NEEDS_VALUE and value is None:
            raise ValueError(f"the fault '{kind}' needs a value")
        self.kind, self.value, self.headers, self.body = kind, value, headers or {}, body
        self.match, self.left, self.skip, self.hits = match, times, skip, 0
        instead = kind in INSTEAD or (kind in ("cut", "stall") and value is None)
        self.stage = "instead" if instead else "body" if kind in BODY else kind

    def matches(self, record):
        return (self.left != 0 and record.matches(**self.match) and (self.kind != "ignore_range" or record.range)
                and (self.kind != "expired" or record.server == "cdn"))


class Hub:
    """Serves from its making to close(). `names` are what the certificate is for; other ones make clients refuse it."""

    def __init__(self, folder, tls=True, names="IP:127.0.0.1,DNS:localhost"):
        self.lock, self.closing = threading.Lock(), threading.Event()
        self.log, self.rules, self.repositories = [], [], {}
        self.links = {}  # the CDN's signed targets: (Content, when it expires)
        self.link_seconds, self.serial = 3600, itertools.count()
        self.ca_file, context = None, None
        if tls:
            make_certificates(folder, names)
            self.ca_file = os.path.abspath(os.path.join(folder, "ca.pem"))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(os.path.join(folder, "server.pem"), os.path.join(folder, "server.key"))
            context.set_alpn_protocols(["http/1.1"])
        self.servers = [Server(self, "hub", context), Server(self, "cdn", context), Server(self, "plain", None)]
        hub, cdn, plain = (server.server_port for server in self.servers)
        scheme = "https" if tls else "http"
        self.url, self.cdn_url = f"{scheme}://127.0.0.1:{hub}", f"{scheme}://localhost:{cdn}"
        self.plain_url = f"http://127.0.0.1:{plain}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.closing.set()
        for server in self.servers:
            server.close()

    # What it serves.
    def add_model(self, key, files, lfs=(), branch="main"):
        """A commit of {path: bytes or a path on disk}, to which `branch` moves; `lfs` are paths. Returns its sha."""
        commit = {path: Content(source, path in lfs) for path, source in files.items()}
        blobs = {path: content.blob_id for path, content in commit.items()}
        with self.lock:
            repository = self.repositories.setdefault(key, Repository())
            text = json.dumps([key, len(repository.commits), blobs])
            sha = hashlib.sha1(text.encode()).hexdigest()
            repository.commits[sha] = commit
            if branch is not None:
                repository.branches[branch] = sha
        return sha

    def add_dataset(self, name, files, lfs=(), branch="main"):
        return self.add_model(f"datasets/{name}", files, lfs, branch)

    def add_raw_sibling(self, key, name, content=None, **entry):
        """Lists `name` in every commit and serves `content` under it; `entry` replaces the true "rfilename", "size",
        "blobId", "lfs". It hides a file of this name, whose content is served where none is given."""
        repository = self.repositories[key]
        known = [files[name] for files in repository.commits.values() if name in files]
        content = known[-1] if content is None and known else Content(b"hostile" if content is None else content)
        repository.raw.append((name, {**content.sibling(name), **entry}, content))

    def move_branch(self, key, branch, commit):
        self.repositories[key].branches[branch] = commit

    def gate(self, key, token, open_listing=False):
        """Asks for "Authorization: Bearer token"; with open_listing only for files, as the Hub's gated models do."""
        self.repositories[key].token, self.repositories[key].open_listing = token, open_listing

    def expire_links(self, path=""):
        with self.lock:
            self.links = {target: link for target, link in self.links.items()
                          if path not in urllib.parse.unquote(target)}

    # Faults, and what was asked.
    def fault(self, kind, value=None, path="", method=None, server=None, times=1, skip=0, headers=None, body=None):
        rule = Rule(kind, value, headers, body, {"path": path, "method": method, "server": server},
                    -1 if times is None else times, skip)
        with self.lock:
            self.rules.append(rule)
        return rule

    def clear_faults(self):
        with self.lock:
            self.rules.clear()

    def take(self, record, stage):
        """{kind: rule} of the rules to apply to this request, used up by one each."""
        taken = {}
        with self.lock:
            for rule in (rule for rule in self.rules if rule.stage == stage and rule.matches(record)):
                if rule.skip > 0:
                    rule.skip -= 1
                elif rule.kind not in taken and not (stage == "instead" and taken):
                    taken[rule.kind] = rule
                    rule.left, rule.hits = rule.left - 1, rule.hits + 1
                    record.faults.append(rule.kind)
        return taken

    def requests(self, path="", method=None, server=None):
        with self.lock:
            return [record for record in self.log if record.matches(path, method, server)]

    def bytes_sent(self, path="", server=None):
        """Bytes of files and listings: not of redirects and errors."""
        return sum(record.bytes for record in self.requests(path, server=server) if record.status in (200, 206))

    # Answers.
    def instead(self, rule, record):
        """The answer of a rule that replaces the hub's; None to send nothing."""
        if rule.kind == "status":
            body = rule.body if rule.body is not None else b'{"error": "a fault"}'
            headers = {"Content-Type": "application/json", **rule.headers}
            return Answer(rule.value, headers, b"" if rule.value in (204, 304) else body)
        if rule.kind == "html":
            page = rule.body or b"<!DOCTYPE html><html><body>Log in to this network</body></html>"
            return Answer(200, {"Content-Type": "text/html"}, page)
        if rule.kind == "redirect":
            return found(rule.value)
        if rule.kind == "expired":
            self.expire_links(record.path)
            return self.cdn_answer(record)
        return None

    def answer(self, record):
        if record.server == "cdn":
            return self.cdn_answer(record)
        path = record.target.partition("?")[0]
        listing, resolve = LISTING.fullmatch(path), RESOLVE.fullmatch(path)
        if not listing and not resolve:
            return error(404, "NotFound", "Sorry, we can't find the page you are looking for.")
        if listing:
            kind, key, revision = map(urllib.parse.unquote, listing.groups(default="main"))
            key = key if kind == "models" else f"datasets/{key}"
        else:
            key, revision, name = map(urllib.parse.unquote, resolve.groups())
        repository = self.repositories.get(key)
        refusal = self.refusal(repository, record.authorization, bool(listing))
        if refusal:
            return refusal
        sha = repository.branches.get(revision, revision)
        if sha not in repository.commits:
            return error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        files = repository.commits[sha]
        if resolve:
            return self.file_answer(key, sha, name, repository.file(files, name))
        siblings = repository.listing(files)
        if "blobs=true" not in record.query.lower():
            siblings = [{"rfilename": entry["rfilename"]} for entry in siblings]
        return json_answer(200, {"id": key.removeprefix("datasets/"), "sha": sha, "siblings": siblings})

    @staticmethod
    def refusal(repository, authorization, listing):
        """The answer to who may not see this repository; None to who may."""
        if repository is None:
            return error(404 if authorization else 401, "RepoNotFound", "Repository not found")
        if repository.token is None or listing and repository.open_listing:
            return None
        if authorization == f"Bearer {repository.token}":
            return None
        return error(403 if authorization else 401, "GatedRepo", "Access to this repository is restricted.")

    def file_answer(self, key, sha, name, content):
        if content is None:
            return error(404, "EntryNotFound", "Entry not found", X_Repo_Commit=sha)
        if content.lfs:
            return found(self.link(key, name, content), X_Repo_Commit=sha, X_Linked_Etag=content.etag,
                         X_Linked_Size=str(content.size), Accept_Ranges="bytes")
        return Answer(200, {"Content-Type": "text/plain; charset=utf-8", "X-Repo-Commit": sha, "ETag": content.etag,
                            "Accept-Ranges": "bytes"}, content)

    def link(self, key, name, content):
        """A new signed URL, as long as the real ones."""
        deadline = time.time() + self.link_seconds
        signature = hashlib.sha512(str(next(self.serial)).encode()).hexdigest() * 6
        path = urllib.parse.quote(f"/{key}/{content.sha256}/{name}")
        target = f"{path}?Expires={int(deadline)}&Signature={signature}"
        with self.lock:
            self.links[target] = (content, deadline)
        return self.cdn_url + target

    def cdn_answer(self, record):
        content, deadline = self.links.get(record.target, (None, 0))
        if deadline <= time.time():
            return Answer(403, {"Content-Type": "application/xml"},
                          b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")
        return Answer(200, {"Content-Type": "application/octet-stream", "ETag": content.etag,
                            "Accept-Ranges": "bytes"}, content)


def add_folder(hub, root):
    """DIR/{models,datasets}/org/name/*, a repository each with one commit."""
    for kind, add in (("models", hub.add_model), ("datasets", hub.add_dataset)):
        for folder in sorted(pathlib.Path(root, kind).glob("*/*/")):
            files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
            lfs = {name for name, path in files.items()
                   if name.endswith(LFS_SUFFIXES) or path.stat().st_size >= LFS_FROM_BYTES}
            print(kind, folder.relative_to(pathlib.Path(root, kind)), add("/".join(folder.parts[-2:]), files, lfs))


def main():
    parser = argparse.ArgumentParser(description="A Hugging Face Hub on this machine, for tests and demonstrations.")
    parser.add_argument("--root", required=True, help="serves ROOT/models/org/name/* and ROOT/datasets/org/name/*")
    parser.add_argument("--port-file", help="where the port is written once everything is served")
    parser.add_argument("--http", action="store_true", help="without TLS")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Hub(folder, tls=not options.http) as hub:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        add_folder(hub, options.root)
        if options.port_file:  # Renamed, so that a script that waits for it never reads half of it.
            pathlib.Path(options.port_file + ".part").write_text(hub.url.rpartition(":")[2] + "\n", encoding="utf-8")
            os.replace(options.port_file + ".part", options.port_file)
        print(f"HF_ENDPOINT={hub.url}", *[f"SSL_CERT_FILE={hub.ca_file}"] * (not options.http), sep="\n", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
