"""check_run.py OUTPUT STEPS: a finished run has one metrics line per step, a loss that fell, and a readable export."""
import json
import pathlib
import struct
import sys


def losses_of(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line and "step" in line]


def safetensors_shapes(path):
    """{name: shape}, after checking that the tensors fill the file to its last byte."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    end = max(entry["data_offsets"][1] for entry in header.values())
    assert 8 + length + end == len(data), f"{path}: {8 + length + end} bytes described, {len(data)} there"
    return {name: entry["shape"] for name, entry in header.items()}


def main():
    output, steps = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    losses = losses_of(output / "metrics.jsonl")
    assert len(losses) == steps, f"{len(losses)} steps in metrics.jsonl, expected {steps}"
    first, last = sum(losses[:3]) / 3, sum(losses[-3:]) / 3
    assert last < 0.9 * first, f"the loss went from {first:.3f} to {last:.3f}: not a tenth lower"

    config = json.loads((output / "hf" / "config.json").read_text())
    shapes = {}
    for path in sorted((output / "hf").glob("*.safetensors")):
        shapes.update(safetensors_shapes(path))
    expected = [config["vocab_size"], config["hidden_size"]]
    found = shapes.get("model.embed_tokens.weight")
    assert found == expected, f"exported model.embed_tokens.weight is {found}, config.json says {expected}"
    print(f"loss {first:.3f} -> {last:.3f} over {steps} steps; {len(shapes)} tensors exported")


if __name__ == "__main__":
    main()
