#!/usr/bin/env python3
"""readme_test.py SHERD GAMES_TO_PGN: the README's four commands, as they stand there, from a test hub to a
finished job in a private cluster. What they are given is smaller than what they name: a tiny model under CodeLlama's
name, a few games, few steps.

Exit 77 where this machine cannot have such a cluster.
"""
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "fetch"))
from hub import Hub  # noqa: E402

SHERD, GAMES_TO_PGN = (os.path.abspath(path) for path in sys.argv[1:3])
BUILT_GAMES = ROOT / "build-fetch" / "tools" / "chess" / "sherd-games"  # by the first command
CLUSTER = str(ROOT / "tests" / "slurm" / "cluster.sh")
MODEL, DATASET = "codellama/CodeLlama-7b-hf", "laion/strategic_game_chess"
STEPS = 6
SETTINGS = f"""max_seq_length = 128
max_training_steps = {STEPS}
learning_rate = 3e-3
threads = 1
"""


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        sys.exit(f"FAILED: {command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def four_commands():
    """The first indented block of the README that has four commands, the first of them `make`."""
    for block in re.findall(r"(?:^    .*\n)+", (ROOT / "README.md").read_text(encoding="utf-8"), re.M):
        commands = re.sub(r"\\\n\s*", " ", block).strip().split("\n")
        if len(commands) == 4 and "make build fetch" in commands[0]:
            return [command.strip() for command in commands]
    return sys.exit("FAILED: README.md has no block of four commands from `make build fetch` on")


def tiny_model(folder):
    """A pretrained model: what sherd makes of a few games in one step."""
    shutil.copytree(ROOT / "tests" / "slurm" / "tiny", folder / "config")
    sample = (ROOT / "inputs" / "chess_sample.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "games.jsonl").write_text("".join(sample[:200]), encoding="utf-8")
    run([SHERD, "prepare", "--input", "games.jsonl", "--tokenizer", "tokenizer.model", "--train-tokenizer", "300"], cwd=folder)
    run([SHERD, "train", "--model", "config", "--from-scratch", "--data", "corpus.h5", "--output", "run", "--max-training-steps", "1",
         "--max-seq-length", "128", "--threads", "1", "--dtype", "fp32"], cwd=folder)
    run([SHERD, "export", "--checkpoint", "run", "--output", "model", "--tokenizer", "tokenizer.model"], cwd=folder)
    return {path.name: path.read_bytes() for path in (folder / "model").iterdir() if path.suffix != ".lock"}


def published_games(folder):
    """Four files of games as the dataset has them; of PGN where nothing here writes or reads Parquet."""
    lines = (folder / "games.jsonl").read_text(encoding="utf-8").splitlines()
    parts = [lines[i::4] for i in range(4)]
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        pyarrow = None
    (folder / "none.parquet").write_bytes(b"PAR1")
    probe = subprocess.run([BUILT_GAMES, folder / "none.parquet"], capture_output=True, text=True, check=False)
    if "cannot read" in probe.stderr:
        pyarrow = None
    print(f"the dataset is in {'Parquet' if pyarrow else 'PGN'}")
    files = {}
    for i, part in enumerate(parts, 1):
        if pyarrow:
            words = [json.loads(line)["text"].split() for line in part]
            path = folder / f"{i}.parquet"
            pyarrow.parquet.write_table(pyarrow.table({"Moves": [w[:-1] for w in words], "Result": [w[-1] for w in words],
                                                       "Termination": ["CHECKMATE"] * len(words)}), path)
            files[f"chess_game_{i:04}.parquet"] = path.read_bytes()
        else:
            path = folder / f"{i}.jsonl"
            path.write_text("\n".join(part) + "\n", encoding="utf-8")
            files[f"chess_game_{i:04}.pgn"] = run([GAMES_TO_PGN, str(path), "0"]).encode()
    return files


def wait_for(job, environment, log):
    for _ in range(1200):
        state = re.search(r"JobState=(\w+)", run([CLUSTER, "exec", "scontrol", "show", "job", job], env=environment))[1]
        if state == "COMPLETED":
            return
        if state not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"):
            break
        time.sleep(0.2)
    sys.exit(f"FAILED: the job is {state}\n" + "".join(path.read_text() for path in log.glob("*.out")))


def check(scratch, log):
    games = 0
    for path in (scratch / "chess-7b" / "games").glob("*.jsonl"):
        games += len(path.read_text(encoding="utf-8").splitlines())
    assert games == 200, f"{games} of 200 games were read"
    metrics = [json.loads(line) for line in (scratch / "chess-7b" / "metrics.jsonl").read_text().splitlines()]
    assert sum("loss" in line and "step" in line for line in metrics) == STEPS, metrics
    assert list((scratch / "chess-7b" / "hf").glob("*.safetensors")), "nothing was exported"
    said = "".join(path.read_text() for path in log.glob("*.out"))
    assert re.search(r"8 ranks.*2 nodes", said), said
    assert re.search(r"verified|sherd.lock.json", said), f"nothing says that the model was checked:\n{said}"


def main():
    probe = subprocess.run([CLUSTER, "check"], capture_output=True, text=True, check=False,
                           env={**os.environ, "CLUSTER_DIR": "/tmp/unused"})
    if probe.returncode != 0:
        print(f"SKIPPED slurm_readme: {probe.stderr.strip()}")
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="sherd-readme.", dir="/tmp") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)  # munge wants to enter it
        scratch, log = folder / "scratch", folder / "log"
        for made in (scratch, log, folder / "keys"):
            made.mkdir()
        (folder / "few_steps.toml").write_text(SETTINGS, encoding="utf-8")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "HF_"))}
        environment |= {"CLUSTER_DIR": f"{name}/c", "SCRATCH": str(scratch), "HOME": name, "SHERD": SHERD,
                        "SBATCH_OUTPUT": f"{log}/%x-%j.out", "CONFIG": f"{name}/few_steps.toml", "TOTAL_BATCH_SIZE": "8",
                        "BUILD": str(pathlib.Path(SHERD).parents[2]), "SHERD_PYTHON": sys.executable}
        run([CLUSTER, "start", "-n", "2", "-t", "64"], env=environment)
        try:
            with Hub(folder / "keys") as hub:
                files = tiny_model(folder)
                hub.add_model(MODEL, files, lfs={"model.safetensors", "tokenizer.model"})
                environment |= {"HF_ENDPOINT": hub.url, "SSL_CERT_FILE": hub.ca_file}
                for command in four_commands():
                    if "dataset" in command:
                        games = published_games(folder)
                        hub.add_dataset(DATASET, games, lfs=set(games))
                    begin = time.time()
                    said = run(["bash", "-euc", command.replace("sbatch", f"{shlex.quote(CLUSTER)} exec sbatch")], cwd=ROOT,
                               env=environment)
                    print(f"{time.time() - begin:5.1f} s  {command}", flush=True)
            job = re.search(r"Submitted batch job (\d+)", said)[1]
            begin = time.time()
            wait_for(job, environment, log)
            print(f"{time.time() - begin:5.1f} s  until the job had ended")
            check(scratch, log)
        finally:
            run([CLUSTER, "stop"], env=environment)


if __name__ == "__main__":
    main()
