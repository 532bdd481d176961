#!/usr/bin/env python3
"""parquet_test.py SHERD_GAMES parquet|no-parquet: tools/parquet_to_jsonl.py, and sherd-games where it was built with Apache
Arrow, on files as the Hub publishes them. Skipped by name without pyarrow, which makes these files."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "tools" / "parquet_to_jsonl.py"
PROGRAM, BUILT_WITH = os.path.abspath(sys.argv[1]), sys.argv[2]
BAD_INPUT = 3
LEGAL = "e2e4 e7e5 g1f3 b8c6 f1b5 a7a6 b5a4 g8f6 e1g1 f8e7".split()
try:
    import pyarrow
    import pyarrow.parquet
except ImportError:
    pyarrow = None


@unittest.skipUnless(pyarrow, "pyarrow is not installed")
class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def table(self, name, moves, results, terminations=None, **how):
        table = pyarrow.table({"Moves": pyarrow.array(moves, pyarrow.list_(pyarrow.string())),
                               "Termination": terminations or ["CHECKMATE"] * len(moves), "Result": results})
        pyarrow.parquet.write_table(table, os.path.join(self.folder, name), **{"row_group_size": 7, **how})

    def texts(self):
        with open(os.path.join(self.folder, "games.jsonl"), encoding="utf-8") as file:
            return [json.loads(line)["text"] for line in file]


class Script(Folder):
    def convert(self, *inputs):
        return subprocess.run([sys.executable, SCRIPT, *inputs, "-o", "games.jsonl"], capture_output=True, text=True,
                              cwd=self.folder, check=False)

    def test_games_of_several_files_in_order(self):
        games = [["e2e4", "e7e5"] * (i + 1) for i in range(20)]
        self.table("a.parquet", games[:12], ["1-0"] * 12)
        self.table("b.parquet", [*games[12:], ["a7a8q"]], ["1/2-1/2"] * 9)
        done = self.convert("a.parquet", "b.parquet")
        self.assertEqual(done.stdout, "games.jsonl: 21 games of 2 files\n", done.stderr)
        texts = self.texts()
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


@unittest.skipUnless(BUILT_WITH == "parquet", "sherd-games was built without Apache Arrow")
class Program(Folder):
    def convert(self, *args, code=0):
        done = subprocess.run([PROGRAM, *args, "-o", "games.jsonl"], capture_output=True, text=True, cwd=self.folder,
                              check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stderr

    def test_games_as_they_were(self):
        games = [LEGAL[:1 + i % 10] for i in range(9000)]  # lists go on from one read to the next
        for how in ({"row_group_size": 4001}, {"compression": "zstd", "data_page_version": "2.0", "row_group_size": 9000},
                    {"use_dictionary": False, "compression": "none"}, {"compression": "gzip"}):
            self.table("a.parquet", games, ["1-0", "1/2-1/2", "0-1"] * 3000, **how)
            said = self.convert("a.parquet")
            self.assertIn("9000 games read", said)
            self.assertEqual(self.texts(), [" ".join([*g, r]) for g, r in zip(games, ["1-0", "1/2-1/2", "0-1"] * 3000)])

    def test_what_is_no_game_is_named_and_counted(self):
        bad = [(["e2e4", "castles"], "1-0", "castles"), (["e2e4", "e2e4"], "1-0", "e2e4"), (["e2e4", None], "1-0", "missing"),
               ([None, "e2e4"], "1-0", "missing"), (["e2e4"], "white won", "no result: white won")]
        for moves, result, word in bad:
            self.table("a.parquet", [LEGAL, moves, LEGAL], ["1-0", result, "0-1"])
            said = self.convert("a.parquet")
            self.assertIn("a.parquet: game 2 is left out: row 2: ", said)
            self.assertIn(word, said)
            self.assertIn("1 broken", said)
            self.assertEqual(len(self.texts()), 2)
        for moves in ([], None, [None]):
            self.table("a.parquet", [LEGAL, moves, LEGAL], ["1-0", "1-0", "0-1"])
            self.assertIn("1 without any moves", self.convert("a.parquet"))

    def test_filters(self):
        self.table("a.parquet", [LEGAL, LEGAL[:3], LEGAL[:4]], ["1-0", "0-1", "*"], ["CHECKMATE", "STALEMATE", None])
        for flags, games in (((), 2), (("--result", "0-1"), 1), (("--termination", "STALEMATE"), 1),
                             (("--min-plies", "4"), 1)):
            self.convert("a.parquet", *flags)
            self.assertEqual(len(self.texts()), games, flags)
        self.assertIn("says nothing of ratings", self.convert("a.parquet", "--min-rating", "2000", code=2))

    def test_files_that_are_none(self):
        self.table("good.parquet", [LEGAL] * 100, ["1-0"] * 100)
        with open(os.path.join(self.folder, "good.parquet"), "rb") as file:
            good = file.read()
        for cut in (4, 8, len(good) // 2, len(good) - 1):
            with open(os.path.join(self.folder, "x.parquet"), "wb") as file:
                file.write(good[:cut])
            self.assertIn("x.parquet: not readable as Parquet", self.convert("x.parquet", code=BAD_INPUT))
        pyarrow.parquet.write_table(pyarrow.table({"Moves": ["e2e4"], "b": [1]}), os.path.join(self.folder, "y.parquet"))
        self.assertIn("expected columns Moves (a list of texts) and Result (text); it has Moves, b",
                      self.convert("y.parquet", code=BAD_INPUT))
        self.assertFalse(os.path.exists(os.path.join(self.folder, "games.jsonl")))


class WithoutArrow(unittest.TestCase):
    @unittest.skipIf(BUILT_WITH == "parquet", "sherd-games was built with Apache Arrow")
    def test_says_what_to_do(self):
        with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
            file.write(b"PAR1 and more")
            file.flush()
            done = subprocess.run([PROGRAM, file.name], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, BAD_INPUT)
        self.assertIn("tools/parquet_to_jsonl.py", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
