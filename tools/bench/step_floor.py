#!/usr/bin/env python3
"""step_floor.py [--check FILE]: the floor of a training step on one H100, op by op, as a Markdown table.

CodeLlama-7B, 8,192 tokens in rows of 2,048, bf16, `selective` (norms and SwiGLU computed again), as src/model/block.cpp
and ends.cpp run it. A row's floor is the larger of FLOP over rate and bytes over rate. Nothing here was measured by
this project: rates are published anchors (docs/gpu/log.md names them). --check: FILE must contain the table as printed.
"""
import dataclasses
import pathlib
import sys

GEMM, ATTENTION, ATTENTION_GRAD = 700e12, 484e12, 370e12  # FLOP/s: cuBLAS; cuDNN, causal, s 2048, d 128, of an H200
MEMORY = 0.85 * 3.35e12                                   # byte/s: the goal's share of an H100's
N, T, C, F, LAYERS, HEADS, D, V = 8192, 2048, 4096, 11008, 32, 32, 128, 32016
PARAMETERS = LAYERS * (4 * C * C + 3 * C * F + 2 * C) + 2 * V * C + C
GRADIENT, DISTINCT = 4, 2000  # bytes of a gradient's element (fp32); different tokens of 8,192, a guess


@dataclasses.dataclass
class Op:
    """One kind of call: how often in a step, FLOP and bytes of each, and the FLOP/s it may reach."""
    name: str
    kind: str
    times: int
    flop: float
    bytes: float
    rate: float = GEMM

    def milliseconds(self):
        return 1e3 * self.times * max(self.flop / self.rate, self.bytes / MEMORY)


def products(name, times, rows, inner, columns, out=2):
    """y = x w^T and both its gradients; dw accumulates in fp32."""
    flop, x, w, y = 2 * rows * inner * columns, 2 * rows * inner, 2 * inner * columns, out * rows * columns
    return [Op(name, "products", times, flop, x + w + y), Op(f"{name}, dx", "products", times, flop, x + w + y),
            Op(f"{name}, dw", "products", times, flop, x + y + 2 * GRADIENT * inner * columns)]


def forward_and_backward():
    elements, wide, turned = N * C, N * F, 2 * N * C
    scores = 4 * N * T / 2 * HEADS * D  # FLOP of q k^T and weights v, of the half that causality leaves
    return [
        Op("embedding", "elementwise", 1, 0, 4 * elements),
        Op("embedding, gradient", "elementwise", 1, 0, 2 * elements + 2 * GRADIENT * DISTINCT * C),
        Op("rmsnorm", "elementwise", 1, 0, 4 * elements),
        Op("rmsnorm with residual", "elementwise", 2 * LAYERS, 0, 8 * elements),
        Op("rmsnorm, again for backward", "elementwise", 2 * LAYERS, 0, 4 * elements),
        Op("rmsnorm, gradient", "elementwise", 2 * LAYERS + 1, 0, 8 * elements),
        *products("qkv", LAYERS, N, C, 3 * C),
        Op("rope, both ways", "elementwise", 2 * LAYERS, 0, 4 * turned),
        Op("attention", "attention", LAYERS, scores, 8 * elements, ATTENTION),
        Op("attention, gradient", "attention", LAYERS, 2.5 * scores, 16 * elements, ATTENTION_GRAD),
        *products("attention output", LAYERS, N, C, C),
        *products("gate and up", LAYERS, N, C, 2 * F),
        Op("swiglu", "elementwise", LAYERS, 0, 6 * wide),
        Op("swiglu, again for backward", "elementwise", LAYERS, 0, 6 * wide),
        Op("swiglu, gradient", "elementwise", LAYERS, 0, 10 * wide),
        *products("down", LAYERS, N, F, C),
        *products("output projection", 1, N, C, V),
        Op("cross entropy", "elementwise", 1, 0, N * V * 10),
    ]


def optimizer():
    """Once a step: fp32 gradient, master and moments, bf16 weights; the gradient is read once more for its norm."""
    return [Op("gradient norm", "optimizer", 1, 0, GRADIENT * PARAMETERS),
            Op("AdamW", "optimizer", 1, 0, (GRADIENT + 4 + 4 + 8 + 8 + 2) * PARAMETERS)]


def rate(ops, micro_batches):
    """Tokens per second of a step of so many micro-batches."""
    once = sum(op.milliseconds() for op in optimizer()) if ops == "step" else 0
    return 1e3 * micro_batches * N / (micro_batches * sum(op.milliseconds() for op in forward_and_backward()) + once)


def table():
    ops = forward_and_backward() + optimizer()
    lines = ["| Op | Times | GFLOP each | MB each | Floor in all, ms |", "|---|---|---|---|---|"]
    for op in ops:
        lines.append(f"| {op.name} | {op.times} | {op.flop / 1e9:,.0f} | {op.bytes / 1e6:,.0f} | {op.milliseconds():.2f} |")
    lines.append("")
    both = forward_and_backward()
    total = sum(op.milliseconds() for op in both)
    lines += ["| Part of forward and backward | Floor, ms | Share |", "|---|---|---|"]
    for kind in ("products", "attention", "elementwise"):
        part = sum(op.milliseconds() for op in both if op.kind == kind)
        lines.append(f"| {kind} | {part:.1f} | {100 * part / total:.1f}% |")
    lines += [f"| all | {total:.1f} | 100% |", "", "| Step of 8,192-token micro-batches | Predicted tokens/s |", "|---|---|",
              f"| forward and backward only | {rate('micro-batch', 1):,.0f} |"]
    lines += [f"| whole step, {n} micro-batch{'es' * (n > 1)}, fp32 gradients, master and moments | {rate('step', n):,.0f} |"
              for n in (1, 2, 4)]
    return "\n".join(lines) + "\n"


def main(arguments):
    if not arguments:
        print(table(), end="")
        return 0
    if len(arguments) != 2 or arguments[0] != "--check":
        print(__doc__.split("\n", maxsplit=1)[0], file=sys.stderr)
        return 2
    if table() in pathlib.Path(arguments[1]).read_text(encoding="utf-8"):
        return 0
    print(f"{arguments[1]} does not have the table that tools/bench/step_floor.py prints:\n\n{table()}", end="")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
