#!/usr/bin/env python3
"""training_test.py SHERD MPIRUN SAMPLE: what a run says and counts, with hybrid sharding and with demo-compat."""
import json
import os
import re
import shutil
import subprocess

from run_folder import BAD_INPUT, MPIRUN, SHERD, RunFolder, main


class Hybrid(RunFolder):
    # The elements of the four units in shards for 4 ranks, each a multiple of 4 x 128: the table and the head have
    # 300 x 32 = 9600 (and a gain of 32, padded to 128), a block 11008.
    PADDED = 9728 + 2 * 11264 + 9728

    def test_two_groups_of_two(self):
        done = self.trained("--sharding", "hybrid", "--shard-size", "2", "--total-batch-size", "8", ranks=4)
        first = done.stdout.splitlines()[0]
        self.assertRegex(first, r"^4 ranks on 1 node \(.+: 0-3\), hybrid: 2 groups of 2, cpu, 1 thread per rank$")
        steps = self.metrics()
        self.assertEqual([line["step"] for line in steps], [1, 2, 3])
        half = 4 * self.PADDED // 2  # bytes of fp32: what a rank lacks, gives away, and holds
        for line in steps:
            sent = line["sent"]
            gathers = {"calls": 4, "bytes": half}
            if line["step"] == 1:  # at the end of a step the first two units already travel for the next one
                gathers = {"calls": 6, "bytes": half + 4 * (9728 + 11264) // 2}
            self.assertEqual(sent["shard"]["all_gather"], gathers)
            self.assertEqual(sent["shard"]["reduce_scatter"], {"calls": 2 * 4, "bytes": 2 * half})  # 2 micro-batches
            self.assertEqual(sent["replicate"], {"all_reduce": {"calls": 4, "bytes": half}})  # once a step
            self.assertEqual(list(sent["world"]), ["all_reduce"])
            self.assertLess(sent["world"]["all_reduce"]["bytes"], 100)  # scalars

    def test_copies_that_differ_between_nodes(self):
        for rank in range(2):
            shutil.copytree(self.prepared.name, self.path(str(rank)))
        apart = [MPIRUN, "2", "sh", "-c", 'cd "$OMPI_COMM_WORLD_RANK" && exec "$@"', "sh", SHERD,
                 *self.train_args("--from-scratch", steps=1)]
        for name, change, said in (("model/config.json", lambda b: b.replace(b"10000.0", b"50000.0"), "config.json"),
                                   ("corpus.h5", None, "corpus")):
            path = self.path("1", name)
            with open(path, "rb") as file:
                whole = file.read()
            if change:
                with open(path, "wb") as file:
                    file.write(change(whole))
            else:
                with open(self.path("1/games.jsonl"), "a", encoding="utf-8") as file:
                    file.write('{"text": "e2e4 1-0"}\n')
                os.remove(path)
                done = self.command("prepare", "--input", "games.jsonl", "--tokenizer", "tokenizer.model",
                                    cwd=self.path("1"))
                self.assertEqual(done.returncode, 0, done.stderr)
            done = subprocess.run(apart, capture_output=True, text=True, cwd=self.folder, timeout=120, check=False)
            self.refused(done, BAD_INPUT, f"rank 1 read another {said}", "the copies on the nodes differ")
            with open(path, "wb") as file:
                file.write(whole)

    def test_slurm_counts_other_nodes(self):
        doubt = "MPI found 1 node(s), Slurm's job has 2"
        for nodes, said in (("2", 1), ("1", 0)):
            environment = {**os.environ, "SLURM_JOB_NUM_NODES": nodes}
            done = self.trained(output=f"run{nodes}", steps=1, ranks=2, env=environment)
            self.assertEqual(done.stderr.count(doubt), said, done.stderr)

    def test_without_evaluation_no_loss_is_made_up(self):
        self.assertNotIn("held-out loss", self.trained("--eval-batches", "0", steps=1).stdout)

    def test_the_losses_of_every_sharding_agree(self):
        losses = []
        for number, sharding in enumerate((["none"], ["full"], ["hybrid", "--shard-size", "2"])):
            self.trained("--total-batch-size", "8", "--sharding", *sharding, output=f"run{number}", ranks=4)
            losses.append([float(loss) for loss in self.losses(f"run{number}").values()])
        for other in losses[1:]:
            for a, b in zip(losses[0], other, strict=True):
                self.assertLess(abs(a / b - 1), 1e-5)

    def test_what_a_step_tells(self):
        done = self.trained("--eval-every", "2", steps=3)
        line = self.metrics()[0]
        for key in ("total_steps", "loss", "learning_rate", "grad_norm", "tokens", "seconds", "tokens_per_second",
                    "mfu", "speed_of_light", "memory_gib", "data_wait_seconds", "comm_wait_seconds", "seconds_left", "sent"):
            self.assertIn(key, line)
        self.assertEqual(line["tokens"], 64)
        self.assertEqual(len(re.findall(r"(?m)^step \d/3  loss [\d.]+  lr \S+  norm [\d.]+  \d+ tok/s  MFU [\d.]+%  SOL [\d.]+%  "
                                        r"mem [\d.]+ GiB  data [\d.]+ s  comm [\d.]+ s  left \d+:\d\d$", done.stdout)), 3)
        with open(self.path("run/metrics.jsonl"), encoding="utf-8") as file:
            self.assertEqual([line["step"] for line in map(json.loads, file) if "eval_loss" in line], [2, 3])


class DemoCompat(RunFolder):
    COMPAT = ("--preset", "demo-compat", "--total-batch-size", "8")

    def test_the_first_step_has_no_learning_rate(self):
        self.trained(*self.COMPAT, steps=20)
        rates = [float(line["learning_rate"]) for line in self.metrics()]
        self.assertEqual(rates[0], 0)
        self.assertEqual(sum(rate < peak for rate, peak in zip(rates, rates[1:])), rates.index(max(rates)))
        self.assertGreater(rates[-1], 0)

    def test_examples_per_step_are_constant(self):
        found = []
        for ranks in (1, 2, 4):
            self.trained(*self.COMPAT, output=f"run{ranks}", steps=4, ranks=ranks)
            lines = self.metrics(f"run{ranks}")
            self.assertEqual([line["tokens"] for line in lines], [8 * 64] * 4)
            found.append([float(line["loss"]) for line in lines])
        for losses in found[1:]:
            for a, b in zip(found[0], losses, strict=True):
                self.assertLess(abs(a / b - 1), 1e-5)

    def test_gradients_are_not_clipped(self):
        self.trained(*self.COMPAT, steps=6)
        self.trained(*self.COMPAT, "--max-grad-norm", "1e12", output="never", steps=6)
        self.trained(*self.COMPAT, "--max-grad-norm", "1e-3", output="always", steps=6)
        self.assertEqual(self.losses(), self.losses("never"))
        self.assertNotEqual(self.losses(), self.losses("always"))


if __name__ == "__main__":
    main()
