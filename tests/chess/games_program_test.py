#!/usr/bin/env python3
"""games_program_test.py SHERD_GAMES GAMES_TO_PGN SAMPLE.jsonl zstd|no-zstd: sherd-games as its users start it."""
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

PROGRAM, GAMES_TO_PGN, SAMPLE, ZSTD = sys.argv[1:5]
GOOD = '[Event "x"]\n[Result "1-0"]\n[WhiteElo "2000"]\n[BlackElo "1900"]\n\n1. e4 e5 1-0\n\n'
LINE = '{"text":"e2e4 e7e5 1-0"}\n'


def run(*args, text=""):
    data = text if isinstance(text, bytes) else text.encode()
    done = subprocess.run([PROGRAM, *map(str, args)], input=data, capture_output=True, timeout=120, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def zstd_frame(data):
    """A frame of uncompressed blocks (RFC 8878)."""
    frame = b"\x28\xb5\x2f\xfd" + b"\x00\x58"
    blocks = [data[at:at + 100_000] for at in range(0, len(data), 100_000)] or [b""]
    for i, block in enumerate(blocks):
        header = len(block) << 3 | (i == len(blocks) - 1)
        frame += struct.pack("<I", header)[:3] + block
    return frame


class SherdGames(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = pathlib.Path(self.folder.name)

    def file(self, name, content):
        path = self.path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def test_files_and_standard_input_one_after_another(self):
        one = self.file("one.pgn", GOOD)
        code, out, err = run(one, "-", one, text=GOOD + GOOD)
        self.assertEqual((code, out), (0, 4 * LINE), err)
        self.assertIn("4 games read", err)
        self.assertIn("4 written", err)

    def test_a_pipe_is_read_once(self):
        done = subprocess.run(["bash", "-c", '"$0" <(cat "$1")', PROGRAM, self.file("one.pgn", 20 * GOOD)], check=True,
                              capture_output=True, text=True)
        self.assertEqual(done.stdout, 20 * LINE)

    def test_the_sample_comes_back_as_it_was(self):
        for form in ([], ["plain"]):
            pgn = subprocess.run([GAMES_TO_PGN, SAMPLE, "0", *form], capture_output=True, check=True).stdout
            code, out, err = run("-", text=pgn)
            self.assertEqual(code, 0, err)
            expected = [json.loads(line)["text"] for line in pathlib.Path(SAMPLE).read_text().splitlines()]
            self.assertEqual([json.loads(line)["text"] for line in out.splitlines()], expected)

    def test_output_appears_whole_or_not_at_all(self):
        target = self.path / "games.jsonl"
        code, out, err = run("-", "--output", target, text=GOOD)
        self.assertEqual((code, out), (0, ""), err)
        self.assertEqual(target.read_text(), LINE)
        target.unlink()
        code, _, err = run(self.file("good.pgn", GOOD), self.path / "missing.pgn", "--output", target)
        self.assertEqual(code, 3)
        self.assertIn("missing.pgn: cannot open", err)
        self.assertEqual([p.name for p in self.path.iterdir()], ["good.pgn"])

    def test_broken_games_are_named_and_counted(self):
        text = GOOD + GOOD.replace("e5 1-0", "e6 2. Ke3 1-0") + GOOD
        code, out, err = run(self.file("a.pgn", text))
        self.assertEqual((code, out), (0, 2 * LINE))
        self.assertIn("a.pgn: game 2 is left out: line 13: an illegal move: Ke3", err)
        self.assertIn("1 broken", err)
        code, out, err = run("-", text=13 * text)
        self.assertEqual(err.count("is left out"), 10)
        self.assertIn("further broken games are only counted", err)
        self.assertIn("13 broken", err)

    def test_filters(self):
        other = GOOD.replace("1900", "1500").replace("1-0", "0-1").replace("e5", "e5 2. Nf3")
        for flags, expected in ((["--min-rating", 1900], 1), (["--max-rating", 1899], 0), (["--min-rating", 1500], 2),
                                (["--result", "0-1"], 1), (["--result", "1-0,0-1"], 2), (["--result", "*"], 0),
                                (["--min-plies", 3], 1), (["--max-plies", 2], 1), (["--termination", "Normal"], 0)):
            code, out, err = run(*flags, "-", text=GOOD + other)
            self.assertEqual((code, len(out.splitlines())), (0, expected), (flags, err))

    def test_no_game_at_all_is_bad_input(self):
        for text in ("", "\n\n"):
            code, out, err = run("-", text=text)
            self.assertEqual((code, out), (3, ""))
            self.assertIn("no game in", err)
        target = self.path / "out.jsonl"
        code, _, err = run("-", "--output", target, text="<html>nothing to see</html>\n")
        self.assertEqual(code, 3)
        self.assertIn("none of 1 games can be read", err)
        self.assertFalse(target.exists())

    def test_mistakes_on_the_command_line(self):
        for args, words in (([], "FILE is required"), (["-", "--nonsense"], "--nonsense"),
                            (["-", "--min-plies", "x"], "--min-plies"), (["-", "--result", "2-0"], "--result is '2-0'"),
                            (["-", "--min-rating", 9, "--max-rating", 8], "--min-rating 9")):
            code, _, err = run(*args, text=GOOD)
            self.assertEqual(code, 2, err)
            self.assertIn(words, err)
        code, out, _ = run("--help")
        self.assertEqual(code, 0)
        self.assertIn("--min-rating", out)

    def test_a_folder_is_no_input(self):
        code, _, err = run(self.path)
        self.assertEqual(code, 3)
        self.assertIn(str(self.path), err)

    def test_a_full_disk(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PROGRAM, "-"], input=GOOD.encode(), stdout=full, stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 4)
        self.assertIn(b"standard output: cannot write: No space left", done.stderr)

    @unittest.skipUnless(ZSTD == "zstd", "built without libzstd")
    def test_zstd(self):
        skippable = b"\x50\x2a\x4d\x18" + struct.pack("<I", 4) + b"pzst"
        text = (3000 * GOOD).encode()
        for data, games in ((zstd_frame(GOOD.encode()), 1), (zstd_frame(text), 3000),
                            (skippable + zstd_frame(text[:77]) + skippable + zstd_frame(text[77:]), 3000)):
            code, out, err = run(self.file("a.pgn.zst", data))
            self.assertEqual((code, out), (0, games * LINE), err)
            code, out, err = run("-", text=data)  # told by its content, not by its name
            self.assertEqual((code, out), (0, games * LINE), err)

    @unittest.skipUnless(ZSTD == "zstd", "built without libzstd")
    def test_damaged_zstd(self):
        data = zstd_frame((3000 * GOOD).encode())
        target = self.path / "out.jsonl"
        for cut in (5, 9, 50_000, len(data) - 1):
            code, _, err = run(self.file("a.pgn.zst", data[:cut]), "--output", target)
            self.assertEqual(code, 3)
            self.assertIn("the zstd data is cut off", err)
            self.assertFalse(target.exists())
        code, _, err = run(self.file("a.pgn.zst", data + b"garbage"))
        self.assertEqual(code, 3)
        self.assertIn("damaged zstd data", err)

    @unittest.skipIf(ZSTD == "zstd", "built with libzstd")
    def test_zstd_is_refused_without_the_library(self):
        code, _, err = run(self.file("a.pgn.zst", zstd_frame(GOOD.encode())))
        self.assertEqual(code, 3)
        self.assertIn("zstd -dc FILE | sherd-games -", err)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
