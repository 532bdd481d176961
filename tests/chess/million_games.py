#!/usr/bin/env python3
"""million_games.py SHERD_GAMES GAMES.jsonl [COUNT]: PGN by an independent rules library, converted, and every move of the
result played by another one.

Each game begins as one of GAMES (self-played, UCI text) up to a random ply and goes on with random legal moves of
python-chess, which also writes its SAN. sherd-games must give back the same moves, and Stockfish, which ends a `position`
command at the first illegal move, must reach the same position. Needs `pip install chess` and the package stockfish;
1,000,000 games by default, on every core.
"""
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile

import chess

BLOCK, BRANCHES, MOST_RANDOM_PLIES = 10_000, 50, 40


def branches(base, rng):
    """Games that leave `base` at BRANCHES of its plies: each as UCI moves, SAN moves and the FEN at its end."""
    leave = sorted(rng.randrange(len(base) + 1) for _ in range(BRANCHES))
    board, san = chess.Board(), []
    for ply in range(len(base) + 1):
        while leave and leave[0] == ply:
            leave.pop(0)
            yield played_on(board.copy(stack=False), base[:ply], list(san), rng)
        if ply < len(base):
            san.append(board.san_and_push(chess.Move.from_uci(base[ply])))


def played_on(board, moves, san, rng):
    for _ in range(rng.randrange(MOST_RANDOM_PLIES)):
        legal = list(board.legal_moves)
        if not legal:
            break
        move = rng.choice(legal)
        moves.append(move.uci())
        san.append(board.san_and_push(move))
    return moves, san, board.fen()


def pgn_of(san):
    numbered = [f"{ply // 2 + 1}. {move}" if ply % 2 == 0 else move for ply, move in enumerate(san)]
    return '[Event "?"]\n[Result "1-0"]\n\n' + " ".join(numbered) + " 1-0\n\n"


class Stockfish:
    def __init__(self):
        path = "/usr/games/stockfish" if os.path.exists("/usr/games/stockfish") else "stockfish"
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def fen_after(self, moves):
        self.process.stdin.write(f"position startpos moves {' '.join(moves)}\nd\n")
        self.process.stdin.flush()
        fen = ""
        for line in self.process.stdout:
            if line.startswith("Fen: "):
                fen = line[5:].strip()
            if line.startswith("Checkers:"):
                return fen
        raise RuntimeError("stockfish ended")


def without_en_passant(fen):
    """The two write the en-passant square by different rules."""
    board, side, castling, _, halves, number = fen.split()
    return board, side, castling, halves, number


def check_block(work):
    program, games, seed, count = work
    rng = random.Random(seed)
    made = []
    while len(made) < count:
        made += [game for game in branches(rng.choice(games), rng) if game[0]]
    with tempfile.TemporaryDirectory() as folder:
        pgn, text = os.path.join(folder, "games.pgn"), os.path.join(folder, "games.jsonl")
        with open(pgn, "w", encoding="ascii") as file:
            file.writelines(pgn_of(san) for _, san, _ in made)
        subprocess.run([program, pgn, "--output", text], check=True, capture_output=True)
        with open(text, encoding="ascii") as file:
            converted = [json.loads(line)["text"].split() for line in file]
    assert len(converted) == len(made), (seed, len(converted), len(made))
    engine, plies = Stockfish(), 0
    for (moves, _, fen), words in zip(made, converted):
        assert words[:-1] == moves, (seed, moves, words)
        reached = engine.fen_after(words[:-1])
        assert without_en_passant(reached) == without_en_passant(fen), (seed, moves, reached, fen)
        plies += len(moves)
    engine.process.stdin.close()
    engine.process.wait()
    return len(made), plies


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    program, total = os.path.abspath(sys.argv[1]), int(sys.argv[3]) if len(sys.argv) > 3 else 1_000_000
    with open(sys.argv[2], encoding="ascii") as file:
        games = [json.loads(line)["text"].split()[:-1] for line in file]
    blocks = [(program, games, seed, min(BLOCK, total - seed * BLOCK)) for seed in range((total + BLOCK - 1) // BLOCK)]
    done = plies = 0
    with multiprocessing.Pool() as pool:
        for block_games, block_plies in pool.imap_unordered(check_block, blocks):
            done, plies = done + block_games, plies + block_plies
            print(f"\r{done} games, {plies} moves", end="", flush=True)
    print(f"\n{done} games, {plies} moves: each converted to the moves it was made of, legal by Stockfish")


if __name__ == "__main__":
    main()
