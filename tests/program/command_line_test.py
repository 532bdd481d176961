#!/usr/bin/env python3
"""command_line_test.py SHERD MPIRUN: what the program prints and returns for right and wrong command lines."""
import os
import re
import subprocess
import sys
import tempfile
import unittest

SHERD, MPIRUN = (os.path.abspath(path) for path in sys.argv[1:3])
USAGE, BAD_INPUT = 2, 3


class CommandLine(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()

    def tearDown(self):
        self.folder.cleanup()

    def sherd(self, *args, launcher=()):
        return subprocess.run([*launcher, SHERD, *args], capture_output=True, text=True, cwd=self.folder.name,
                              timeout=60, check=False)

    def refuses(self, code, message, *args):
        """The program ends with this code, and its whole error output is one block that holds the message."""
        done = self.sherd(*args)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertTrue(done.stderr.startswith("sherd: error: "), done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn(message, done.stderr)

    def write(self, name, text):
        with open(os.path.join(self.folder.name, name), "w", encoding="utf-8") as file:
            file.write(text)

    def test_help_of_the_program_and_of_every_subcommand(self):
        text = self.sherd("--help").stdout
        self.assertEqual(self.sherd().stdout, text)
        names = re.findall(r"^  ([a-z]+) ", text, re.MULTILINE)
        self.assertIn("prepare", names)
        for name in names:
            done = self.sherd(name, "--help")
            self.assertEqual(done.returncode, 0)
            self.assertIn(f"usage: sherd {name}", done.stdout)
            self.assertIn("--config FILE", done.stdout)
            self.assertTrue(all(len(line) <= 120 for line in done.stdout.splitlines()), done.stdout)

    def test_version(self):
        done = self.sherd("--version")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"^sherd \d+\.\d+\.\d+\n")
        for library in ("mpi: ", "hdf5: ", "onednn: ", "sentencepiece: ", "cuda: "):
            self.assertRegex(done.stdout, rf"(?m)^{library}.")

    def test_unknown_names_get_the_nearest(self):
        self.refuses(USAGE, "there is no prepair; did you mean prepare?", "prepair")
        self.refuses(USAGE, "there is no --tokenzier; did you mean --tokenizer?", "prepare", "--tokenzier", "t")
        self.write("run.toml", "# settings\nsede = 1\n")
        self.refuses(USAGE, "run.toml:2: there is no sede; did you mean seed?", "prepare", "--config", "run.toml")

    def test_wrong_and_missing_values(self):
        self.refuses(USAGE, '--seed is "many"; an integer from 0', "prepare", "--seed", "many")
        self.refuses(USAGE, "--seed lacks its value", "prepare", "--seed")
        self.refuses(USAGE, "--input is missing", "prepare", "--tokenizer", "t")
        self.refuses(USAGE, "absent.toml: No such file", "prepare", "--config", "absent.toml")
        self.write("run.toml", 'seed = "1"\n')
        self.refuses(USAGE, 'run.toml:1: seed is "1"; an integer from 0', "prepare", "--config", "run.toml")

    def test_bad_input(self):
        self.refuses(BAD_INPUT, "absent.jsonl", "prepare", "--input", "absent.jsonl", "--tokenizer", "t.model",
                     "--train-tokenizer", "300")

    def test_ranks_report_a_common_mistake_once(self):
        done = self.sherd("prepare", "--seed", "many", launcher=(MPIRUN, "2"))
        self.assertEqual(done.returncode, USAGE, done.stderr)
        self.assertEqual(done.stderr.count("sherd: error: "), 1, done.stderr)
        self.assertIn("on rank 0 of 2", done.stderr)

    def test_an_error_ends_all_ranks(self):
        done = self.sherd("prepare", "--input", "absent.jsonl", "--tokenizer", "t.model", "--train-tokenizer", "300",
                          launcher=(MPIRUN, "2"))
        self.assertEqual(done.returncode, BAD_INPUT, done.stderr)
        self.assertIn("absent.jsonl", done.stderr)
        self.assertRegex(done.stderr, r"on rank [01] of 2 \(.+\)")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
