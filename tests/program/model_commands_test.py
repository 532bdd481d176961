#!/usr/bin/env python3
"""model_commands_test.py SHERD GOLDEN: export -> inspect -> generate, as typed, of a golden case's model and a
tokenizer that `sherd prepare` trained."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

SHERD, GOLDEN = (os.path.abspath(path) for path in sys.argv[1:3])
USAGE, BAD_INPUT = 2, 3


class ModelCommands(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        with open(self.path("games.txt"), "w", encoding="utf-8") as file:
            file.writelines(f"e2e4 e7e5 g1f3 b8c6 f1b5 a7a6 game {i % 7} of many 1-0\n" for i in range(100))
        self.sherd("prepare", "--input", "games.txt", "--train-tokenizer", "90", "--tokenizer", "games.model",
                   "--output", "games.h5")
        os.mkdir(self.path("model"))
        for name in ("config.json", "model.safetensors"):
            shutil.copy(os.path.join(GOLDEN, "cases", "llama3", name), self.path("model"))

    def tearDown(self):
        self.folder.cleanup()

    def path(self, *names):
        return os.path.join(self.folder.name, *names)

    def run_sherd(self, *args):
        return subprocess.run([SHERD, *args], capture_output=True, text=True, cwd=self.folder.name, timeout=60,
                              check=False)

    def sherd(self, *args):
        done = self.run_sherd(*args)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def refuses(self, code, message, *args):
        done = self.run_sherd(*args)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertTrue(done.stderr.startswith("sherd: error: "), done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn(message, done.stderr)

    def test_export_inspect_generate(self):
        text = self.sherd("export", "--checkpoint", "model", "--output", "out", "--tokenizer", "games.model",
                          "--dtype", "fp32").stdout
        self.assertRegex(text, r"^out: \d+ parameters in fp32, 0\.1 MB, from model\n$")
        self.assertEqual(sorted(os.listdir(self.path("out"))), ["config.json", "model.safetensors", "tokenizer.model"])
        text = self.sherd("inspect", "out").stdout
        self.assertIn("out: Hugging Face model\n", text)
        self.assertIn("  tokenizer   tokenizer.model\n", text)
        given = ("--prompt", "e2e4 e7e5", "--max-new-tokens", "12", "--threads", "1")
        done = self.sherd("generate", "--model", "out", *given)
        self.assertTrue(done.stdout.startswith("e2e4 e7e5"), done.stdout)  # the text alone
        self.assertEqual(done.stdout.count("\n"), 1)
        self.assertRegex(done.stderr,
                         r"^out: prompt of \d+ tokens in \S+ s; \d+ tokens added in \S+ s, \S+ tokens/s\n$")
        beside = self.sherd("generate", "--model", "model", "--tokenizer", "games.model", *given)
        self.assertEqual(beside.stdout, done.stdout)

    def test_inspect_a_prepared_corpus(self):
        text = self.sherd("inspect", "--path", "games.h5").stdout
        self.assertIn("games.h5: corpus\n  documents   100, ", text)
        self.assertIn("  source      games.txt\n", text)

    def test_sampling_repeats_by_seed(self):
        def generated(seed):
            return self.sherd("generate", "--model", "model", "--tokenizer", "games.model", "--temperature", "1",
                              "--top-k", "30", "--count", "2", "--threads", "1", "--seed", seed).stdout
        self.assertEqual(generated("1"), generated("1"))
        self.assertNotEqual(generated("1"), generated("2"))

    def test_mistakes(self):
        self.refuses(USAGE, "--model is missing", "generate")
        self.refuses(USAGE, "--path is missing", "inspect")
        self.refuses(BAD_INPUT, "absent: No such file or directory", "generate", "--model", "absent")
        self.refuses(BAD_INPUT, "absent: No such file or directory", "inspect", "absent")
        self.refuses(BAD_INPUT, "by --tokenizer", "generate", "--model", "model")
        self.refuses(BAD_INPUT, "looks like JSON", "generate", "--model", "model", "--tokenizer", "model/config.json")
        self.refuses(BAD_INPUT, "neither a model", "export", "--checkpoint", ".", "--output", "out")
        self.refuses(BAD_INPUT, "exists already", "export", "--checkpoint", "model", "--output", "model")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
