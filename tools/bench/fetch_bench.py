#!/usr/bin/env python3
"""fetch_bench.py SHERD_FETCH [FOLDER]: one file of 1.5 GB from a hub on this machine, by curl and by sherd-fetch in turn
(hashing included), and by curl and openssl sha256 one after the other; medians of 5 over http and over TLS; then 10,000 small files, with the most open files and memory.
FOLDER (/dev/shm) holds it all."""
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "fetch"))
from hub import Hub  # noqa: E402

FETCH = os.path.abspath(sys.argv[1])
MEGABYTES, RUNS, SMALL = 1500, 5, 10_000


def timed(command, **options):
    begin = time.time()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    return time.time() - begin


def large(hub, folder, environment):
    url = f"{hub.url}/org/large/resolve/main/model.safetensors"
    trust = ["--cacert", hub.ca_file] if hub.ca_file else []
    ratios, hashed_ratios = [], []
    for _ in range(RUNS):
        curl = timed(["curl", "-fsSL", *trust, "-o", folder / "by-curl", url])
        hashing = timed(["openssl", "sha256", folder / "by-curl"])
        os.remove(folder / "by-curl")
        ours = timed([FETCH, "model", "org/large", "--flat", folder / "flat"], env=environment)
        subprocess.run(["rm", "-r", folder / "flat"], check=True)
        ratios.append(curl / ours)
        hashed_ratios.append((curl + hashing) / ours)
        print(f"{hub.url.split(':')[0]}: curl {MEGABYTES / curl:.0f} MB/s, and openssl sha256 {MEGABYTES / (curl + hashing):.0f} "
              f"MB/s, sherd-fetch {MEGABYTES / ours:.0f} MB/s", flush=True)
    print(f"median ratio {statistics.median(ratios):.2f} (goal 0.95); of curl and openssl sha256 "
          f"{statistics.median(hashed_ratios):.2f}")


def small(hub, folder, environment):
    hub.add_model("org/small", {f"{i:05}.json": b'{"i": %d}' % i for i in range(SMALL)})
    begin, files, memory = time.time(), 0, ""
    job = subprocess.Popen([FETCH, "model", "org/small", "--include", "*", "--flat", folder / "small"],
                           env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while job.poll() is None:
        try:
            files = max(files, len(os.listdir(f"/proc/{job.pid}/fd")))
            with open(f"/proc/{job.pid}/status", encoding="utf-8") as status:
                memory = next((line.split(":")[1].strip() for line in status if line.startswith("VmHWM")), memory)
        except OSError:
            pass
        time.sleep(0.02)
    print(f"{SMALL} small files: exit {job.returncode}, {time.time() - begin:.0f} s, at most {files} open files "
          f"(goal 64), {memory} of memory (goal 100 MB)")


def main():
    where = sys.argv[2] if len(sys.argv) > 2 else "/dev/shm"
    with tempfile.TemporaryDirectory(dir=where) as name:
        folder = pathlib.Path(name)
        with open(folder / "source", "wb") as file:
            for _ in range(MEGABYTES):
                file.write(os.urandom(1_000_000))
        for tls in (False, True):
            (folder / f"keys{tls}").mkdir()
            with Hub(folder / f"keys{tls}", tls=tls) as hub:
                environment = {**os.environ, "HF_ENDPOINT": hub.url, "HOME": name, "SSL_CERT_FILE": hub.ca_file or ""}
                hub.add_model("org/large", {"model.safetensors": folder / "source"}, lfs={"model.safetensors"})
                large(hub, folder, environment)
                if tls:
                    small(hub, folder, environment)


if __name__ == "__main__":
    main()
