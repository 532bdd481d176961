#!/usr/bin/env python3
"""fetch_test.py SHERD_FETCH: fetching as a user does, from the hub of hub.py with all its faults.

SHERD_FETCH_KILLS (8): how often the killed fetch is killed. HF_PYTHON: an interpreter that has huggingface_hub.
"""
import hashlib
import json
import os
import pathlib
import pty
import random
import shutil
import signal
import subprocess
import sys
import time
import unittest

from fetch_folder import (BAD_INPUT, CHOSEN, CHUNK, COMMUNICATION, CONFIG, DOES_NOT_FIT, FETCH, FILES, INTERRUPTED, LFS,
                          MODEL, TOKEN, USAGE, WEIGHTS, FetchTest, expired_server, sha256)

KILLS = int(os.environ.get("SHERD_FETCH_KILLS", "8"))


class Layout(FetchTest):
    def test_the_hubs_own_cache(self):
        done = self.model()
        self.assert_fetched()
        self.assertEqual(done.stdout, f"{self.snapshot()}\n")
        self.assertEqual((self.cache / "refs/main").read_text(), self.commit)
        self.assertEqual(sorted(p.name for p in self.snapshot().iterdir()), sorted([*CHOSEN, "sherd.lock.json"]))
        for name in CHOSEN:
            self.assertTrue(os.readlink(self.snapshot() / name).startswith("../../blobs/"))
        before = self.hub.bytes_sent("resolve") + self.hub.bytes_sent(server="cdn")
        self.assertIn("0 B fetched", self.model().stderr)  # hashed again, not fetched again
        self.assertEqual(self.hub.bytes_sent("resolve") + self.hub.bytes_sent(server="cdn"), before)
        lock = json.loads((self.snapshot() / "sherd.lock.json").read_text())
        self.assertEqual([f["path"] for f in lock["files"]], CHOSEN)
        self.assertEqual({f["path"]: f["sha256"] for f in lock["files"]}, {n: sha256(FILES[n]) for n in CHOSEN})
        self.assertEqual((lock["commit"], lock["source"]), (self.commit, f"model {MODEL}"))

    def test_a_flat_folder(self):
        self.model("--flat", "flat", "--include", "*.safetensors", "--include", "config.json")
        flat = self.folder / "flat"
        names = sorted(str(p.relative_to(flat)) for p in flat.rglob("*") if p.is_file())
        self.assertEqual(names, ["config.json", "model.safetensors", "onnx/model.safetensors", "sherd.lock.json"])
        self.assertFalse((self.folder / "flat/config.json").is_symlink())
        self.assertFalse((self.folder / "flat/.sherd-fetch").exists())

    def test_pickles_are_never_fetched(self):
        self.refused(BAD_INPUT, "pickles never are", args=("model", MODEL, "--include", "*.bin"))

    def test_files_of_a_dataset_by_number(self):
        files = {f"chess_game_{i:04}.parquet": b"game %d" % i for i in range(1, 12)}
        self.hub.add_dataset("org/chess", files, lfs=set(files))
        done = self.fetch("dataset", "org/chess", "--files", "3-5", "--flat", "chess")
        self.assertIn("3 files", done.stderr)
        self.assertEqual(sorted(p.name for p in (self.folder / "chess").glob("*.parquet")),
                         [f"chess_game_{i:04}.parquet" for i in (3, 4, 5)])

    def test_one_url(self):
        url = f"{self.hub.url}/{MODEL}/resolve/main/model.safetensors"
        done = self.fetch("url", url, "--flat", "one", "--sha256", sha256(WEIGHTS))
        self.assertTrue(done.stdout.startswith(sha256(WEIGHTS)))
        self.assertEqual((self.folder / "one/model.safetensors").read_bytes(), WEIGHTS)
        self.refused(BAD_INPUT, "only addresses that begin with https://", args=("url", "ftp://x/y", "--flat", "two"))
        self.refused(BAD_INPUT, "arrived twice", args=("url", url, "--flat", "two", "--sha256", "0" * 64))
        self.assertFalse((self.folder / "two/model.safetensors").exists())

    def test_a_terminal(self):
        for environment, tick, colours in (({"LANG": "C.UTF-8", "TERM": "xterm"}, "\x1b[32m✓\x1b[0m", True),
                                           ({"LANG": "C", "TERM": "xterm", "NO_COLOR": "1"}, "+", False),
                                           ({"LANG": "C.UTF-8", "TERM": "dumb"}, "✓", False)):
            shutil.rmtree(self.home, ignore_errors=True)
            seen = self.on_a_terminal({**self.environment, **environment})
            for name in CHOSEN:
                self.assertEqual(seen.count(f"{tick} {name}"), 1, seen)
            self.assertEqual("\x1b[3" in seen, colours, seen)
            self.assertIn("every one hashed", seen)

    def on_a_terminal(self, environment):
        ours, theirs = pty.openpty()
        with subprocess.Popen(self.command("model", MODEL), cwd=self.folder, env=environment, stdout=subprocess.DEVNULL,
                              stderr=theirs) as process:
            os.close(theirs)
            seen = b""
            try:
                while block := os.read(ours, 65536):
                    seen += block
            except OSError:  # the other end is closed
                pass
        os.close(ours)
        self.assertEqual(process.returncode, 0, seen)
        return seen.decode()

    def test_json_for_scripts(self):
        events = [json.loads(line) for line in self.model("--json").stdout.splitlines()]
        self.assertEqual(sorted(e["path"] for e in events if e["event"] == "file"), CHOSEN)
        self.assertEqual(events[-1]["event"], "done")
        self.assertEqual(events[-1]["directory"], str(self.snapshot()))

    def test_what_the_hubs_own_client_reads_offline(self):
        python = os.environ.get("HF_PYTHON", sys.executable)
        probe = [python, "-c", "import huggingface_hub"]
        if subprocess.run(probe, capture_output=True, check=False).returncode != 0:
            self.skipTest("huggingface_hub is not installed")
        self.model()
        code = ("import huggingface_hub as h; print(h.snapshot_download('org/name', local_files_only=True)); "
                "print(h.hf_hub_download('org/name', 'config.json')); print(len(h.scan_cache_dir().warnings))")
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False,
                              env={**self.environment, "HF_HUB_OFFLINE": "1"})
        self.assertEqual(done.stdout.split(), [str(self.snapshot()), str(self.snapshot() / "config.json"), "0"],
                         done.stderr)


class Interruptions(FetchTest):
    def test_killed_at_random_instants(self):
        size, connections = 24_000_000, 4
        data = random.Random(3).randbytes(size)
        self.hub.add_model("org/large", {"model.safetensors": data}, lfs={"model.safetensors"})
        blobs = self.home / "hub" / "models--org--large" / "blobs"
        chance = random.Random(4)
        self.hub.fault("slow", 8_000_000, server="cdn", times=None)
        kills = whole = 0
        while kills < KILLS:
            job = subprocess.Popen(self.command("model", "org/large", "--connections", str(connections)),
                                   cwd=self.folder, env=self.environment, stderr=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL)
            time.sleep(chance.uniform(0.02, 0.35))
            kills += job.poll() is None
            job.send_signal(signal.SIGKILL)
            job.wait()
            final = blobs / sha256(data)
            if final.exists():  # whole, or not under this name; then from the beginning
                self.assertEqual(sha256(final.read_bytes()), sha256(data))
                final.unlink()
                whole += 1
        self.hub.clear_faults()
        self.fetch("model", "org/large", "--connections", str(connections))
        self.assertEqual((blobs / sha256(data)).read_bytes(), data)
        self.fetch("model", "org/large")  # removes what a kill after the rename may have left
        self.assertEqual([path.name for path in blobs.iterdir()], [sha256(data)])
        time.sleep(0.2)  # the hub's threads of killed connections
        twice = self.hub.bytes_sent(server="cdn") - size * (whole + 1)
        print(f"figure: fetch: killed {kills} times, {twice / CHUNK:.1f} chunks of {kills * connections} allowed were "
              "fetched twice")
        self.assertLessEqual(twice, kills * connections * CHUNK)

    def test_four_fetchers_at_once(self):
        jobs = [subprocess.Popen(self.command("model", MODEL), cwd=self.folder, env=self.environment,
                                 stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) for _ in range(4)]
        while any(job.poll() is None for job in jobs):
            self.assert_no_wrong_content()
        for job in jobs:
            self.assertEqual(job.returncode, 0, job.stderr.read())
            job.stderr.close()
        self.assert_fetched()

    def test_four_fetchers_into_one_folder(self):
        jobs = [subprocess.Popen(self.command("model", MODEL, "--flat", "flat", "--include", include), cwd=self.folder,
                                 env=self.environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
                for include in ("config.json", "tokenizer.model", "model.safetensors", "LICENSE")]
        for job in jobs:
            self.assertEqual(job.wait(), 0, job.stderr.read())
            job.stderr.close()
        self.assert_fetched(self.folder / "flat")
        lock = json.loads((self.folder / "flat/sherd.lock.json").read_text())
        self.assertEqual([file["path"] for file in lock["files"]], CHOSEN)

    def test_a_signal_keeps_what_has_come(self):
        self.hub.fault("slow", 500_000, server="cdn", times=None)
        job = subprocess.Popen(self.command("model", MODEL, "--connections", "1"), cwd=self.folder,
                               env=self.environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        time.sleep(2)
        job.send_signal(signal.SIGTERM)
        self.assertIn("what has come is kept", job.communicate(timeout=20)[1])
        self.assertEqual(job.returncode, INTERRUPTED)
        self.hub.clear_faults()
        sent = self.hub.bytes_sent(server="cdn")
        self.model()
        self.assert_fetched()
        self.assertLess(self.hub.bytes_sent(server="cdn") - sent, len(WEIGHTS))


class Faults(FetchTest):
    def test_what_is_tried_again(self):
        for kind, value, more in (("status", 429, {"headers": {"Retry-After": "1"}}),
                                  ("status", 429, {"headers": {"ratelimit": '"api";r=0;t=1'}}), ("status", 503, {}),
                                  ("status", 500, {"server": "cdn"}), ("cut", 100_000, {"server": "cdn"}),
                                  ("cut", None, {"server": "cdn"}), ("expired", None, {"server": "cdn"}),
                                  ("wrong_bytes", None, {"path": "model.safetensors"}),
                                  ("stall", 1000, {"server": "cdn"}), ("ignore_range", None, {"server": "cdn"})):
            with self.subTest(kind=kind, value=value):
                shutil.rmtree(self.home, ignore_errors=True)
                self.hub.clear_faults()
                rule = self.hub.fault(kind, value, **more)
                self.model("--stall-timeout", "1")
                self.assertEqual(rule.hits, 1)
                self.assert_fetched()

    def test_a_server_without_ranges(self):
        """Two connections find it out; then one of them fetches the whole file, in as many requests as it must."""
        for cuts in (0, 2):
            shutil.rmtree(self.home, ignore_errors=True)
            self.hub.clear_faults()
            self.hub.fault("ignore_range", server="cdn", times=None)
            if cuts:
                self.hub.fault("cut", 3_000_000, server="cdn", path=sha256(WEIGHTS), times=2 + cuts)
            before = len(self.requests_of_weights())
            self.model("--connections", "2")
            self.assert_fetched()
            self.assertIn(len(self.requests_of_weights()) - before, range(2 + cuts, 2 + cuts + 2))

    def test_ranges_that_end_in_the_middle_of_a_chunk(self):
        self.hub.fault("cut", 100_000, server="cdn", path=sha256(WEIGHTS), times=2)
        self.hub.fault("ignore_range", server="cdn", path=sha256(WEIGHTS), skip=2, times=None)
        self.model("--connections", "2")
        self.assert_fetched()

    def requests_of_weights(self):
        return [r for r in self.hub.requests(server="cdn") if r.method == "GET" and sha256(WEIGHTS) in r.path]

    def test_a_server_that_stays_away(self):
        self.hub.fault("status", 503, server="cdn", times=None)
        self.refused(COMMUNICATION, "attempts in a row brought nothing", "HTTP 503", "start the same command again",
                     args=("model", MODEL, "--retries", "2"))
        self.hub.clear_faults()
        self.model()
        self.assert_fetched()

    def test_wrong_content_is_never_visible(self):
        self.hub.fault("wrong_bytes", path="model.safetensors", times=None)
        self.refused(BAD_INPUT, "model.safetensors: arrived twice with digest")
        self.assertNotIn(sha256(WEIGHTS), self.blobs())
        self.assertFalse((self.cache / "refs/main").exists())
        self.assert_no_wrong_content()

    def test_a_captive_portal(self):
        self.hub.fault("html", path="/api/", times=None)
        self.refused(BAD_INPUT, "a web page", "captive portal")
        self.hub.clear_faults()
        self.hub.fault("html", server="cdn", times=None)
        self.refused(BAD_INPUT, "a web page", "captive portal")
        self.hub.clear_faults()
        self.hub.fault("redirect", self.hub.plain_url + "/login", path="resolve", times=None)
        self.refused(BAD_INPUT, "not encrypted")

    def test_a_file_larger_than_announced(self):
        for kind in ("longer", "surplus", "chunked"):
            with self.subTest(kind=kind):
                shutil.rmtree(self.home, ignore_errors=True)
                self.hub.clear_faults()
                self.hub.fault(kind, 1000 if kind != "chunked" else None, path="config.json", method="GET", times=None)
                done = self.run_fetch("model", MODEL)
                if done.returncode == 0:
                    self.assert_fetched()  # the surplus was not taken
                else:
                    self.assertEqual(done.returncode, BAD_INPUT, done.stderr)
                self.assert_no_wrong_content()

    def test_a_revision_that_moves_between_two_files(self):
        other = self.hub.add_model(MODEL, {**FILES, "config.json": b"{}"}, lfs=LFS, branch=None)
        self.hub.fault("call", lambda _: self.hub.move_branch(MODEL, "main", other), path="resolve")
        self.model()
        self.assert_fetched()  # all of the commit that was listed
        shutil.rmtree(self.home)
        self.hub.fault("headers", path="config.json", headers={"X-Repo-Commit": "f" * 40}, times=None)
        self.refused(BAD_INPUT, "the revision has moved")

    def test_a_certificate_that_is_not_trusted(self):
        self.refused(COMMUNICATION, "certificate is not trusted", "clock says", SSL_CERT_FILE="")
        self.assertEqual(self.hub.requests(), [])

    def test_a_clock_that_is_wrong(self):
        """To a clock that runs ahead, the server's certificate has expired."""
        with expired_server(self.folder / "expired") as (url, ca_file):
            self.refused(COMMUNICATION, "expired", "This machine's clock says", SSL_CERT_FILE=ca_file, HF_ENDPOINT=url)

    def test_a_full_disk(self):
        os.mkdir(self.folder / "small")
        mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(self.folder / "small")]
        if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            self.skipTest("only root may mount a small disk")
        self.addCleanup(subprocess.run, ["umount", str(self.folder / "small")], check=True)
        self.refused(DOES_NOT_FIT, "needed for what is not there yet", args=("model", MODEL, "--flat", "small/x"))
        self.assertFalse(self.hub.requests("resolve"))


class Hostile(FetchTest):
    def test_names_that_leave_the_folder(self):
        for name in ("../evil", "/abs", "a/../../b", "a\\b", "C:x", "a//b", ".", "a/\x01"):
            with self.subTest(name=name):
                self.hub.repositories[MODEL].raw.clear()
                self.hub.add_raw_sibling(MODEL, name, b"evil")
                self.refused(BAD_INPUT, "would leave its folder", args=("model", MODEL, "--flat", "flat"))
                self.assertFalse((self.folder / "flat").exists() and any((self.folder / "flat").iterdir()))

    def test_links_in_the_cache(self):
        outside = self.folder / "outside"
        outside.mkdir()
        (outside / "victim").write_bytes(b"untouched")
        (self.cache / "blobs").mkdir(parents=True)
        os.symlink(outside / "victim", self.cache / "blobs" / sha256(WEIGHTS))
        self.model()
        self.assert_fetched()
        self.assertEqual((outside / "victim").read_bytes(), b"untouched")
        shutil.rmtree(self.cache / "snapshots")
        os.symlink(outside, self.cache / "snapshots")
        self.refused(BAD_INPUT, "a link or a file is where a directory was expected")
        self.assertEqual([p.name for p in outside.iterdir()], ["victim"])

    def test_a_listing_that_cannot_be_trusted(self):
        self.hub.add_raw_sibling(MODEL, "config.json", b"{}", blobId="../../x")
        self.refused(BAD_INPUT, "no digest of config.json")
        for entry, part in (({"size": 10**16}, "size"), ({"size": None}, "size"), ({"size": 0}, "with digest")):
            self.hub.repositories[MODEL].raw.clear()
            self.hub.add_raw_sibling(MODEL, "config.json", None, **entry)
            self.refused(BAD_INPUT, part)

    def test_a_repository_with_our_own_names(self):
        self.hub.add_model("org/odd", {"sherd.lock.json": b"{}", ".sherd-fetch/x": b"x", "config.json": CONFIG})
        self.fetch("model", "org/odd", "--include", "*", "--flat", "odd")
        self.assertEqual(sorted(p.name for p in (self.folder / "odd").iterdir()), ["config.json", "sherd.lock.json"])


class Access(FetchTest):
    def test_the_token_stays_with_the_endpoint(self):
        self.hub.gate(MODEL, TOKEN)
        self.refused(BAD_INPUT, "gated")
        self.refused(BAD_INPUT, "gated", HF_TOKEN="hf_other")
        self.model(HF_TOKEN=TOKEN)
        self.assert_fetched()
        self.assertTrue(any(r.authorization for r in self.hub.requests(server="hub")))
        self.assertFalse(any(r.authorization for r in self.hub.requests(server="cdn")))

    def test_a_token_in_a_file_only_if_nobody_else_reads_it(self):
        self.hub.gate(MODEL, TOKEN)
        self.home.mkdir()
        (self.home / "token").write_text(TOKEN + "\n")
        (self.home / "token").chmod(0o644)
        self.refused(BAD_INPUT, "others can read your token")
        (self.home / "token").chmod(0o600)
        self.model()
        self.assert_fetched()

    def test_no_token_over_http(self):
        self.refused(USAGE, "not encrypted", HF_ENDPOINT="http://192.0.2.1", HF_TOKEN=TOKEN)

    def test_nor_in_the_list_of_processes(self):
        self.hub.fault("stall", server="cdn", times=None)
        job = subprocess.Popen(self.command("model", MODEL), cwd=self.folder, stderr=subprocess.PIPE,
                               stdout=subprocess.DEVNULL, env={**self.environment, "HF_TOKEN": TOKEN})
        time.sleep(0.5)
        shown = pathlib.Path(f"/proc/{job.pid}/cmdline").read_bytes()
        job.kill()
        self.assertNotIn(TOKEN.encode(), shown + job.communicate()[1])

    def test_what_is_not_there(self):
        self.refused(BAD_INPUT, "org/none", "no such repository", "set HF_TOKEN", args=("model", "org/none"))
        self.refused(BAD_INPUT, "org/none", "private", args=("model", "org/none"), HF_TOKEN=TOKEN)
        self.refused(BAD_INPUT, "no such revision", args=("model", MODEL, "--revision", "v9"))
        self.refused(USAGE, "is no repository", args=("model", "not a name"))


class Carrying(FetchTest):
    def test_verify_pack_unpack(self):
        self.model("--flat", "flat")
        done = subprocess.run([FETCH, "verify", "flat"], capture_output=True, text=True, cwd=self.folder, check=False)
        self.assertIn("4 files", done.stdout, done.stderr)

        def tool(*args):
            return subprocess.run([FETCH, *args], capture_output=True, text=True, cwd=self.folder, check=False)
        self.assertEqual(tool("pack", "flat", "flat.tar").returncode, 0)
        listed = subprocess.run(["tar", "-tf", self.folder / "flat.tar"], capture_output=True, text=True, check=True)
        self.assertEqual(listed.stdout.split(), ["sherd.lock.json", *CHOSEN])
        self.assertEqual(tool("unpack", "flat.tar", "carried").returncode, 0)
        self.assert_fetched(self.folder / "carried")
        archive = (self.folder / "flat.tar").read_bytes()
        for damage in (lambda b: b[:-3000], lambda b: b.replace(b"free\n", b"fret\n"), lambda b: b"x" + b[1:],
                       lambda b: b.replace(b"config.json\0", b"../evil.jso\0")):
            (self.folder / "bad.tar").write_bytes(damage(archive))
            self.assertEqual(tool("unpack", "bad.tar", "bad").returncode, BAD_INPUT)
            self.assertFalse((self.folder / "bad").exists())
        with open(self.folder / "flat/config.json", "r+b") as file:
            file.write(b"[")
        done = tool("verify", "flat")
        self.assertEqual(done.returncode, BAD_INPUT)
        self.assertIn("flat/config.json: its SHA-256 is", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
