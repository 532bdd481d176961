#!/usr/bin/env python3
"""parquet_test.py: tools/parquet_to_jsonl.py on files as the Hub publishes them. Skipped by name without pyarrow."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "tools" / "parquet_to_jsonl.py"
BAD_INPUT = 3
try:
    import pyarrow
    import pyarrow.parquet
except ImportError:
    pyarrow = None


@unittest.skipUnless(pyarrow, "pyarrow is not installed")
class Parquet(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def table(self, name, moves, results, **more):
        table = pyarrow.table({"Moves": moves, "Termination": ["CHECKMATE"] * len(moves), "Result": results, **more})
        pyarrow.parquet.write_table(table, os.path.join(self.folder, name), row_group_size=7)

    def convert(self, *inputs):
        return subprocess.run([sys.executable, SCRIPT, *inputs, "-o", "games.jsonl"], capture_output=True, text=True,
                              cwd=self.folder, check=False)

    def test_games_of_several_files_in_order(self):
        games = [["e2e4", "e7e5"] * (i + 1) for i in range(20)]
        self.table("a.parquet", games[:12], ["1-0"] * 12)
        self.table("b.parquet", [*games[12:], ["a7a8q"]], ["1/2-1/2"] * 9)
        done = self.convert("a.parquet", "b.parquet")
        self.assertEqual(done.stdout, "games.jsonl: 21 games of 2 files\n", done.stderr)
        with open(os.path.join(self.folder, "games.jsonl"), encoding="utf-8") as file:
            texts = [json.loads(line)["text"] for line in file]
        self.assertEqual(texts[0], "e2e4 e7e5 1-0")
        self.assertEqual(texts[-1], "a7a8q 1/2-1/2")
        self.assertEqual(len(texts), 21)

    def test_what_is_no_game_is_refused_and_nothing_is_left(self):
        for moves, result in ((["e2e4", "castles"], "1-0"), (["e2e4"], "*"), ([], "1-0"), ([None], "1-0")):
            self.table("a.parquet", [["e2e4"], moves], ["1-0", result])
            done = self.convert("a.parquet")
            self.assertEqual(done.returncode, BAD_INPUT)
            self.assertIn("a.parquet: row 2: no game", done.stderr)
            self.assertEqual(os.listdir(self.folder), ["a.parquet"])

    def test_files_that_are_none(self):
        with open(os.path.join(self.folder, "x.parquet"), "wb") as file:
            file.write(b"PAR1 and nothing more")
        self.assertIn("not readable as Parquet", self.convert("x.parquet").stderr)
        pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), os.path.join(self.folder, "y.parquet"))
        self.assertIn("no column Moves and Result; it has a", self.convert("y.parquet").stderr)


if __name__ == "__main__":
    unittest.main()
