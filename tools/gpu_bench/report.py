#!/usr/bin/env python3
"""report.py OUT: gpu_bench.json and gpu_bench.md of what gpu_bench.sh measured: OUT/measurements says what was tried
(name, status, reason), OUT/rounds has what the programs printed, OUT/machine the device and versions.

A figure is the median over rounds; a ratio the median of the ratios of rounds, each of ours and PyTorch's in turn, with
the least and the largest. PyTorch's best mode is that with the largest median."""
import collections
import datetime
import json
import os
import statistics
import sys

SEVEN = "CodeLlama-7B, bf16, selective"
# Row: what it is, tokens/s to reach, ratio to PyTorch's best that must be and that is wanted (None: no such goal).
TRAINING = {
    "7b_passes": (f"{SEVEN}, s 2048, 8,192 tokens a micro-batch, forward + backward", 14400, 1.10, 1.25),
    "7b_step": (f"{SEVEN}, s 2048, 8,192 tokens, whole step, accumulation 2, {{low_memory}}", 13500, 1.10, 1.25),
    "7b_llmq": ("CodeLlama-7B at LLMQ's settings: s 1024, batch 4, bf16 moments, bf16 gradients, split masters; "
                "accumulation 16", 15000, 1.10, 1.25),
    "tinyllama": ("TinyLlama-1.1B, bf16, s 2048, 16,384 tokens, whole step", None, 1.15, None),
    "smollm": ("SmolLM-135M, bf16, s 2048, 32,768 tokens, whole step", None, 1.5, None),
}
OPS_WITH_GOAL = ("rmsnorm", "rmsnorm_residual", "rmsnorm_grad", "swiglu", "swiglu_grad", "rope", "adamw",
                 "adamw_bf16_moments", "adamw_split_bf16", "adamw_split_8bit")
LEAST_SHARE, LEAST_OF_CUDNN, LEAST_FP8, MOST_IDLE = 0.85, 0.90, 1.25, 0.01


class Results:
    """What was measured: lines by (row, side), round by round."""

    def __init__(self, folder):
        self.lines = collections.defaultdict(dict)  # (row, side) -> round -> [objects]
        self.reasons = {}                           # (row, side) -> why there is nothing
        for entry in read(folder, "measurements"):
            name, status, reason = (entry.split("\t", 2) + ["", ""])[:3]
            row, side, number = name.split(".")
            if status == "measured":
                self.lines[row, side][int(number)] = lines_of(os.path.join(folder, "rounds", name))
            else:
                self.reasons[row, side] = reason.strip('"')
        self.machine = collections.defaultdict(list)
        for entry in read(folder, "machine"):
            key, value = entry.split("\t", 1)
            self.machine[key].append(value)

    def values(self, row, side, of):
        """By round: of(lines), where that is not None."""
        found = {number: of(lines) for number, lines in self.lines[row, side].items()}
        return {number: value for number, value in found.items() if value is not None}

    def reason(self, row, side="ours"):
        return self.reasons.get((row, side), "not measured yet")

    def sides(self, row):
        names = [side for known, side in [*self.lines, *self.reasons] if known == row and side != "ours"]
        return list(dict.fromkeys(names))


def read(folder, name):
    with open(os.path.join(folder, name), encoding="utf-8") as file:
        return [line.rstrip("\n") for line in file]


def lines_of(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def last(key):
    return lambda lines: lines[-1].get(key)


def median(values):
    return statistics.median(values.values()) if values else None


def ratios(ours, theirs):
    """Of the rounds that have both: median, least, most, or None."""
    of = [ours[number] / theirs[number] for number in ours if number in theirs]
    return (statistics.median(of), min(of), max(of)) if of else None


def row(what, goal, ours=None, pytorch=None, ratio=None, met=None, **more):
    return dict(what=what, goal=goal, ours=ours, pytorch=pytorch, ratio=ratio, met=met, **more)


def verdict(figure, least):
    return None if figure is None or least is None else figure >= least


def training_row(results, name):
    what, tokens, must, wanted = TRAINING[name]
    what = what.format(low_memory=" ".join(results.machine["low_memory"]))
    ours = results.values(name, "ours", last("tokens_per_second"))
    theirs = {side: results.values(name, side, last("tokens_per_second")) for side in results.sides(name)}
    best = max((side for side in theirs if theirs[side]), key=lambda side: median(theirs[side]), default=None)
    ratio = ratios(ours, theirs[best]) if best else None
    checks = [verdict(median(ours), tokens), verdict(ratio and ratio[0], must)]
    needed = [check for check, goal in zip(checks, (tokens, must)) if goal is not None]
    goal = "; ".join(filter(None, (tokens and f"{tokens:,} tok/s", f"{must:.2f}x PyTorch",
                                   wanted and f"{wanted:.2f}x wanted")))
    unmeasured = {side: results.reason(name, side) for side in theirs if not theirs[side]}
    if not ours:
        unmeasured = {"ours": results.reason(name), **unmeasured}
    return row(what, goal, ours=median(ours), pytorch=median(theirs[best]) if best else None, best_mode=best,
               modes={side: median(theirs[side]) for side in theirs}, ratio=ratio, unmeasured=unmeasured,
               met=None if None in needed else all(needed), unit="tok/s",
               mfu=median(results.values(name, "ours", last("mfu_of_datasheet"))),
               last={side: results.lines[name, side][max(results.lines[name, side])][-1]
                     for side in ["ours", *theirs] if results.lines[name, side]})


def fp8_row(results):
    key = last("tokens_per_second")
    fp8, bf16 = results.values("7b_fp8", "ours", key), results.values("7b_passes", "ours", key)
    ratio = ratios(fp8, bf16)
    reason = results.reason("7b_fp8") if not fp8 else results.reason("7b_passes")
    return row("the first row with --fp8, beside our bf16 of that row", f"{LEAST_FP8}x our bf16", ours=median(fp8),
               ratio=ratio, met=verdict(ratio and ratio[0], LEAST_FP8), unit="tok/s",
               unmeasured={} if ratio else {"ours": reason})


def idle_row(results):
    idle = median(results.values("7b_idle", "ours", last("idle_share")))
    reason = results.reason("7b_idle")
    if results.lines["7b_idle", "ours"] and idle is None:
        reason = "this program reports no idle_share"
    return row("idle time of the device within a step (the second row's, traced, without CUDA graphs)", "under 1%", ours=idle,
               met=None if idle is None else idle < MOST_IDLE, unit="share", unmeasured={} if idle is not None else {"ours": reason})


def kernel_rows(results):
    def share(op, key):
        return lambda lines: next((line[key] for line in lines if line.get("op") == op), None)

    copy = median(results.values("kernels", "ours", share("copy", "gb_per_second")))
    rows = [row("copy on the device, bytes read and written", "", ours=copy, unit="GB/s",
                unmeasured={} if copy else {"ours": results.reason("kernels")})]
    for op in (*OPS_WITH_GOAL, "squared_norm", "cast"):
        found = median(results.values("kernels", "ours", share(op, "share_of_copy")))
        least = LEAST_SHARE if op in OPS_WITH_GOAL else None
        rows.append(row(f"{op}, share of the copy's bandwidth", f"{least:.0%}" if least else "", ours=found,
                        met=verdict(found, least), unit="share",
                        gb_per_second=median(results.values("kernels", "ours", share(op, "gb_per_second"))),
                        unmeasured={} if found is not None else {"ours": results.reason("kernels")}))
    return rows


def attention_rows(results):
    def tflops(length, direction, packed, by):
        return lambda lines: next((line.get("tflops") for line in lines if line.get("bench") == "attention" and (
            line["length"], line["direction"], line["packed"], line["by"]) == (length, direction, packed, by)), None)

    rows = []
    for length in (2048, 4096, 8192):
        for direction in ("forward", "backward"):
            of = {(packed, by): results.values("attention", "ours", tflops(length, direction, packed, by))
                  for packed in (False, True) for by in ("ours", "cudnn")}
            by = max(("ours", "cudnn"), key=lambda who: median(of[True, who]) or 0)
            ratio = ratios(of[True, by], of[False, "cudnn"])
            figures = {f"{'packed' if packed else 'dense'}, {who}": median(values) for (packed, who), values in of.items()}
            reason = results.reason("attention") if not results.lines["attention", "ours"] else "no cuDNN to compare with"
            rows.append(row(f"attention {direction}, packed, s {length}, d 128, 32 heads, beside cuDNN's dense",
                            f"{LEAST_OF_CUDNN:.0%} of dense cuDNN", ours=median(of[True, by]), ratio=ratio, by=by,
                            met=verdict(ratio and ratio[0], LEAST_OF_CUDNN), unit="TFLOP/s", tflops=figures,
                            unmeasured={} if ratio else {"ours": reason}))
    return rows


def number(value, unit):
    if value is None:
        return "unmeasured"
    return f"{value:.1%}" if unit == "share" else f"{value:,.0f} {unit}"


def theirs_text(found):
    if found.get("best_mode"):
        line = found["last"][found["best_mode"]]
        smaller = f", micro-batch {line['batch']} x {line['accumulation']}" if line.get("out_of_memory_at") else ""
        return f"{found['pytorch']:,.0f} tok/s ({found['best_mode']}{smaller})"
    return "unmeasured" if "modes" in found else ""


def table_line(found):
    ratio = found["ratio"]
    sides = collections.defaultdict(list)
    for side, reason in found["unmeasured"].items():
        sides[reason].append(side)
    notes = [f"{', '.join(names)}: {reason}" for reason, names in sides.items()]
    if found.get("mfu") is not None:
        notes.insert(0, f"{found['mfu']:.1%} causal MFU of 989 TFLOP/s")
    if "tflops" in found and found["ours"] is not None:
        notes.insert(0, "; ".join(f"{key} {number(value, 'TFLOP/s')}" for key, value in found["tflops"].items()))
    met = {None: "unmeasured" if found["goal"] else "", True: "met", False: "not met"}[found["met"]]
    cells = (found["what"], number(found["ours"], found["unit"]), theirs_text(found),
             f"{ratio[0]:.2f} ({ratio[1]:.2f} to {ratio[2]:.2f})" if ratio else "", found["goal"], met, "; ".join(notes))
    return "| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |"


def pytorch_versions(results):
    found = {}
    for (_, side), rounds in results.lines.items():
        for lines in rounds.values() if side != "ours" else ():
            line = lines[-1]
            found[f"PyTorch {line.get('torch')}, CUDA {line.get('cuda')}, {line.get('model_class')}, attention "
                  f"{', '.join(line.get('attention_used') or [])}"] = True
    return list(found)


def main(folder):
    results = Results(folder)
    rows = [training_row(results, name) for name in TRAINING]
    rows += [fp8_row(results), idle_row(results), *kernel_rows(results), *attention_rows(results)]
    machine, date = results.machine, datetime.datetime.now(datetime.timezone.utc)
    device = machine["device"][0] if machine["device"] and machine["device"][0] else None
    versions = machine["version"] + pytorch_versions(results)
    rounds = max((max(found) for found in results.lines.values() if found), default=0)
    with open(os.path.join(folder, "gpu_bench.json"), "w", encoding="utf-8") as file:
        json.dump(dict(date=date.isoformat(timespec="seconds"), device=device, cuda=machine["cuda"][0] if device else None,
                       rounds=rounds, versions=versions, rows=rows), file, indent=1)
    text = ["| shape and setting | ours | PyTorch, best mode | ratio (range) | goal | | |", "|---|---|---|---|---|---|---|"]
    text += [table_line(found) for found in rows]
    cuda = f", CUDA {machine['cuda'][0]}" if device and machine["cuda"][0] else ""
    where = f"{device}{cuda}, {rounds} rounds" if device else f"no GPU here: {(machine['why'] or [''])[0]}"
    text += ["", f"{date:%Y-%m-%d}, {where}", *(f"- {line}" for line in versions)]
    with open(os.path.join(folder, "gpu_bench.md"), "w", encoding="utf-8") as file:
        file.write("\n".join(text) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
