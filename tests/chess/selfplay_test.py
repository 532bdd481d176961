#!/usr/bin/env python3
"""selfplay_test.py CHESS_SELFPLAY PRETEND_ENGINE GAMES_TO_PGN SHERD_GAMES: the program with an engine that knows only the
rules. That all moves are legal is seen by sending the games through SAN and back."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

PROGRAM, ENGINE, GAMES_TO_PGN, SHERD_GAMES = sys.argv[1:5]
RESULTS = ("1-0", "0-1", "1/2-1/2")


def run(*args, pretend=None, engine=ENGINE):
    environment = dict(os.environ)
    if pretend:
        environment["SHERD_PRETEND"] = pretend
    done = subprocess.run([PROGRAM, "--engine", engine, *map(str, args)], capture_output=True, timeout=120, check=False,
                          env=environment)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


class Selfplay(unittest.TestCase):
    def test_games_end_by_the_rules_and_are_legal(self):
        code, out, err = run("--games", 40, "--seed", 7)
        self.assertEqual(code, 0, err)
        texts = [json.loads(line)["text"] for line in out.splitlines()]
        self.assertEqual(len(texts), 40)
        self.assertTrue(all(text.split()[-1] in RESULTS for text in texts))
        self.assertIn("40 games", err)
        with tempfile.TemporaryDirectory() as folder:
            corpus = pathlib.Path(folder, "games.jsonl")
            corpus.write_text(out)
            pgn = subprocess.run([GAMES_TO_PGN, corpus, "0"], capture_output=True, check=True).stdout
            back = subprocess.run([SHERD_GAMES, "-"], input=pgn, capture_output=True, check=True).stdout
            self.assertEqual(back.decode(), out)

    def test_a_seed_and_a_number_name_a_game(self):
        whole = run("--games", 6, "--seed", 3)[1].splitlines()
        self.assertEqual(run("--games", 6, "--seed", 3)[1].splitlines(), whole)
        parts = run("--games", 2, "--seed", 3)[1].splitlines()
        parts += run("--games", 4, "--seed", 3, "--first", 2)[1].splitlines()
        self.assertEqual(parts, whole)
        self.assertEqual(len(set(whole)), 6)
        self.assertNotEqual(run("--games", 6, "--seed", 4)[1].splitlines(), whole)
        self.assertNotEqual(run("--games", 6, "--seed", 3, "--nodes", 5)[1].splitlines(), whole)

    def test_without_an_opening_all_games_are_the_engines(self):
        lines = run("--games", 2, "--opening-plies", 0)[1].splitlines()
        self.assertEqual(lines[0], lines[1])

    def test_engines_that_misbehave(self):
        with tempfile.TemporaryDirectory() as folder:
            target = pathlib.Path(folder, "games.jsonl")
            for pretend, words in (("illegal", "'a1a1' is an illegal move"), ("garbage", "not a move in UCI form"),
                                   ("die", "the engine has ended"), ("silent", "no answer from the engine in 1 s"),
                                   ("endless", "a line without end")):
                code, _, err = run("--games", 2, "--patience", 1, "--output", target, pretend=pretend)
                self.assertEqual(code, 5, err)
                self.assertIn(words, err)
                self.assertEqual(os.listdir(folder), [])

    def test_no_engine(self):
        code, _, err = run("--games", 1, engine="/nonexistent/engine")
        self.assertEqual(code, 3)
        self.assertIn("/nonexistent/engine: cannot start the engine", err)
        code, _, err = run("--games", 1, engine="/bin/true")
        self.assertEqual(code, 5)
        self.assertIn("the engine has ended", err)

    def test_mistakes_on_the_command_line(self):
        for args in ([], ["--games", 0], ["--games", 1, "--nodes", 0], ["--games", 1, "--opening-plies", -1]):
            self.assertEqual(run(*args)[0], 2)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
