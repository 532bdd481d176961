#!/usr/bin/env python3
"""parquet_to_jsonl.py FILE.parquet ... -o GAMES.jsonl: chess games as published on the Hub (columns Moves, a list of UCI
moves, and Result; Termination is not used) -> {"text": "e2e4 c7c5 ... 1/2-1/2"}, one a line.

For distributions without a C++ Parquet reader; needs pyarrow. Row group by row group, so that memory is bounded. The
output appears under its name when it is whole. Exit: 0 done, 2 usage, 3 bad input.
"""
import argparse
import json
import os
import re
import sys

MOVE = re.compile(r"[a-h][1-8][a-h][1-8][qrbn]?")
RESULTS = {"1-0", "0-1", "1/2-1/2"}
BAD_INPUT = 3


def fail(message):
    print(f"parquet_to_jsonl: error: {message}", file=sys.stderr)
    sys.exit(BAD_INPUT)


def games_of(path, pyarrow_parquet):
    """(row, moves, result) of every game of a file."""
    try:
        file = pyarrow_parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        fail(f"{path}: not readable as Parquet: {error}")
    missing = {"Moves", "Result"} - set(file.schema_arrow.names)
    if missing:
        fail(f"{path}: no column {' and '.join(sorted(missing))}; it has {', '.join(file.schema_arrow.names)}")
    row = 0
    for batch in file.iter_batches(batch_size=8192, columns=["Moves", "Result"]):
        for moves, result in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist()):
            row += 1
            yield row, moves, result


def main():
    parser = argparse.ArgumentParser(description="chess games in Parquet files -> JSONL, the text of a corpus")
    parser.add_argument("inputs", nargs="+", metavar="FILE.parquet")
    parser.add_argument("-o", "--output", required=True, metavar="GAMES.jsonl")
    options = parser.parse_args()
    try:
        import pyarrow.parquet
    except ImportError:
        fail("pyarrow is not installed; `pip install pyarrow`, on any machine: the result is plain text")
    temporary, games = f"{options.output}.tmp-{os.getpid():08x}", 0
    try:
        with open(temporary, "x", encoding="utf-8") as out:
            for path in options.inputs:
                for row, moves, result in games_of(path, pyarrow.parquet):
                    if not moves or result not in RESULTS or not all(MOVE.fullmatch(m or "") for m in moves):
                        fail(f"{path}: row {row}: no game: {str(moves)[:60]} {result}")
                    out.write(json.dumps({"text": " ".join([*moves, result])}) + "\n")
                    games += 1
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, options.output)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
    print(f"{options.output}: {games} games of {len(options.inputs)} files")


if __name__ == "__main__":
    main()
