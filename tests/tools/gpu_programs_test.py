#!/usr/bin/env python3
"""gpu_programs_test.py TRAIN_BENCH GPU_OPS_BENCH: the programs of tools/gpu_bench.sh on the emulated device, where times
mean nothing, but rows, counts and refusals do."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

SHAPE = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu", vocab_size=256, hidden_size=32,
             intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
             max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=1e4, tie_word_embeddings=False)
# N without embedding and gains: 2 layers of qkv, o, gate and up, down, and the head; then attention over 32 tokens.
FLOPS = 6 * (2 * (32 * 64 + 32 * 32 + 3 * 32 * 64) + 256 * 32) + 6 * 2 * 32 * 32
TRAIN, OPS = sys.argv[1:3]
USAGE, DOES_NOT_FIT = 2, 4


class Programs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.shape = os.path.join(self.folder, "shape.json")
        with open(self.shape, "w", encoding="utf-8") as file:
            json.dump(SHAPE, file)

    def call(self, *words, **environment):
        environment = {f"EMULATED_{name}": str(value) for name, value in environment.items()}
        return subprocess.run(words, capture_output=True, text=True, check=False,
                              env={**os.environ, "XDG_CACHE_HOME": self.folder, **environment})

    def rows(self, *words, **environment):
        done = self.call(*words, **environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    def train(self, *more, **environment):
        words = "--device cuda --max-seq-length 32 --batch-size-per-device 2 --gradient-accumulation-steps 2".split()
        (row,) = self.rows(TRAIN, "--model", self.shape, *words, *more, **environment)
        return row

    def ops(self, *more, **environment):
        words = ("--bytes 16384 --width 64 --inner 96 --heads 2 --kv-heads 1 --dim 16 --tokens 64 --shortest 32 "
                 "--longest 64 --samples 1 --sample-microseconds 1").split()
        return self.rows(OPS, *words, *more, **environment)

    def test_a_step(self):
        row = self.train("--rounds", "3", "--warmup", "1")
        self.assertEqual((row["mode"], row["tokens_per_step"], len(row["rounds"])), ("whole", 128, 3))
        self.assertEqual(row["tokens_per_second"], sorted(row["rounds"])[1])
        self.assertAlmostEqual(row["tokens_per_second"] * row["seconds_per_step"] / 128, 1, delta=1e-4)
        self.assertEqual(row["model_flop_per_token"], FLOPS)
        self.assertIsNone(row["mfu_of_datasheet"])
        self.assertEqual((row["device"], row["documents_per_row"], row["valid_targets"]),
                         ("cuda:0 Emulated GPU", 1, 4 * 31))
        self.assertIn("cublaslt 130100", " ".join(row["algorithms"]))
        self.assertEqual(row["settings"]["gradient-accumulation-steps"], "2")
        self.assertNotIn("seed", row["settings"])

    def test_the_idle_share_is_that_of_traced_steps(self):
        self.assertIsNone(self.train("--rounds", "1")["idle_share"])
        full = self.train("--rounds", "1", "--profile", "2")["idle_share"]
        dry = self.train("--rounds", "1", "--profile", "2", CUDA_HOST_MICROSECONDS=4000)["idle_share"]
        self.assertTrue(0 <= full < 0.01 < 0.5 < dry < 1, (full, dry))

    def test_the_datasheet_is_that_of_the_device(self):
        row = self.train("--rounds", "1", CUDA_NAME="NVIDIA H100 80GB HBM3")
        expected = FLOPS * row["tokens_per_second"] / 989e12
        self.assertAlmostEqual(row["mfu_of_datasheet"] / expected, 1, delta=1e-2)
        self.assertIn("989", row["datasheet"])

    def test_forward_and_backward_are_the_steps_own_and_change_nothing(self):
        first = self.train("--rounds", "1", "--warmup", "0")
        later = self.train("--rounds", "2", "--warmup", "1", "--learning-rate", "0.01")
        passes = self.train("--rounds", "2", "--warmup", "1", "--mode", "forward-backward", "--learning-rate", "0.01")
        self.assertEqual(passes["loss"], first["loss"])
        self.assertNotEqual(passes["loss"], later["loss"])

    def test_packed_documents(self):
        row = self.train("--rounds", "1", "--document-length", "4", "--attention", "auto", CUDNN="faster")
        self.assertGreater(row["documents_per_row"], 4)
        self.assertLess(row["valid_targets"], 4 * 31 - 4 * 4)
        self.assertIn("sherd-attention", " ".join(row["algorithms"]))

    def test_refusals(self):
        done = self.call(TRAIN, "--model", self.shape, "--no-such-setting")
        self.assertEqual(done.returncode, USAGE)
        self.assertIn("there is no --no-such-setting", done.stderr)
        done = self.call(TRAIN, "--model", self.shape, "--device", "cuda", CUDA_BYTES=1 << 20)
        self.assertEqual(done.returncode, DOES_NOT_FIT)
        self.assertIn("GiB", done.stderr)

    def test_ops(self):
        head, *rows = self.ops("--what", "ops")
        self.assertEqual(head["device"], "cuda:0 Emulated GPU")
        found = {row["op"]: row for row in rows}
        n, f = 128, 96 * 86  # rows of 64 and elements of SwiGLU in 16384 bytes or more
        expected = dict(copy=2 * 16384, rmsnorm=n * 64 * 4 + 4 * n, rmsnorm_residual=n * 64 * 8 + 4 * n,
                        rmsnorm_grad=n * 64 * 8 + 4 * n, swiglu=6 * f, swiglu_grad=10 * f, rope=4 * 4 * 32 * 3 * 16,
                        adamw=30 * 8192, adamw_bf16_moments=22 * 8192,
                        adamw_split_bf16=18 * 8192, adamw_split_8bit=14.125 * 8192, squared_norm=4 * 8192, cast=6 * 8192)
        self.assertEqual({name: row["bytes"] for name, row in found.items()}, expected)
        for row in rows:
            self.assertAlmostEqual(row["gb_per_second"], row["bytes"] / row["seconds"] / 1e9, delta=0.1)
            self.assertAlmostEqual(row["share_of_copy"], row["gb_per_second"] / rows[0]["gb_per_second"], delta=1e-3)

    def test_attention(self):
        _, *rows = self.ops("--what", "attention", CUDNN="faster")
        self.assertEqual(len(rows), 2 * 2 * 2 * 2)  # lengths, packed or not, directions, whose
        for row in rows:
            products = 5 if row["direction"] == "backward" else 2
            dense = products * row["batch"] * row["length"]**2 * 2 * 16
            found = row["tflops"] * 1e12 * row["seconds"]
            if row["packed"]:
                self.assertLess(found, 0.6 * dense)
            else:
                self.assertAlmostEqual(found / dense, 1, delta=0.05)

    def test_attention_without_cudnn(self):
        _, *rows = self.ops("--what", "attention")
        self.assertEqual({"unmeasured" in row for row in rows if row["by"] == "cudnn"}, {True})
        self.assertEqual({"tflops" in row for row in rows if row["by"] == "ours"}, {True})


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
