#!/usr/bin/env python3
"""gpu_code.py [--write] TABLE OBJECT...: reads the machine code of CUDA objects with cuobjdump, and compares with TABLE.

Of each kernel and architecture: registers, the warps of 64 that they leave room for, stack (spills and arrays that did
not fit), static shared bytes; and where the kernel is bound by memory (BOUND_BY_MEMORY below), of its main loop, or of
all of it if it has none: the accesses to global memory by bits, calls (64-bit division, roots' slow paths), and
instructions per 16 bytes moved. The main loop is that which moves most bytes per round; of equal ones the shortest.

Fails if a kernel's stack is larger than TABLE says, its widest access narrower, its narrowest access narrower, or its
calls more; a kernel that TABLE does not have must not use a stack. Other differences are told and pass: they are what --write is for,
which writes TABLE anew.
Exit: 0 as expected, 1 not, 2 usage, 77 (skipped) without cuobjdump, or without objects. Needs no GPU. cuobjdump and
nvdisasm are looked for in PATH, CUDA_HOME, /usr/local/cuda and .deps (tools/setup.sh --test).
"""
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys

BOUND_BY_MEMORY = {"adamw", "adamw_8bit", "attention_delta", "cross_entropy", "embedding", "gradient_norm", "memory", "quantize",
                   "rmsnorm", "rope", "swiglu"}
COLUMNS = ["file", "kernel", "arch", "registers", "warps", "stack", "shared", "loads", "stores", "calls", "per_16_bytes"]
INSTRUCTION = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)([^;]*);")


class Unavailable(Exception):
    """What is needed is not here: the check is skipped."""


def tool_path():
    """PATH with the folders in which CUDA's tools may be, or Unavailable."""
    deps = pathlib.Path(__file__).resolve().parents[1] / ".deps" / "cuda-tools" / "nvidia" / "cu13" / "bin"
    folders = [os.environ["PATH"], os.environ.get("CUDA_HOME", "/usr/local/cuda") + "/bin", "/usr/local/cuda/bin",
               str(deps)]
    path = os.pathsep.join(folders)
    for tool in ("cuobjdump", "nvdisasm"):
        if not shutil.which(tool, path=path):
            raise Unavailable(f"no {tool}: tools/setup.sh --test fetches it where pip can")
    return path


def run(path, *arguments):
    done = subprocess.run(["cuobjdump", *arguments], capture_output=True, text=True, check=False,
                          env={**os.environ, "PATH": path})
    if done.returncode != 0:
        raise SystemExit(f"cuobjdump {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def short_names(mangled):
    """{mangled: short}: what c++filt makes of them, without namespaces and arguments."""
    done = subprocess.run(["c++filt"], input="\n".join(mangled), capture_output=True, text=True, check=True)
    out = {}
    for name, text in zip(mangled, done.stdout.splitlines()):
        text = re.sub(r"^void ", "", text)
        text = re.sub(r"\((?:int|bool|long)\)", "", text)
        depth, end = 0, len(text)
        text = re.sub(r"\(anonymous namespace\)::|_GLOBAL__N__\w+::", "", text)
        for i, c in enumerate(text):
            depth += (c == "<") - (c == ">")
            if c == "(" and depth == 0:
                end = i
                break
        out[name] = re.sub(r"\bsherd::(?:cuda::)?(?:flash::)?", "", text[:end])
    return out


def resident_warps(registers):
    """Warps of 64 that 65,536 registers hold: a warp takes multiples of 256, and a quarter of them is one scheduler's."""
    return min(16, 16384 // (-(-registers * 32 // 256) * 256)) * 4


def resources(text):
    """[(arch, mangled kernel, registers, stack, shared)] in what cuobjdump -res-usage printed."""
    found, arch, name = [], None, None
    for line in text.splitlines():
        if match := re.match(r"arch = sm_(\w+)", line):
            arch = match[1]
        elif match := re.match(r"\s*Function (\S+):", line):
            name = match[1]
        elif match := re.match(r"\s*REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", line):
            registers, stack, shared, local = map(int, match.groups())
            found.append((arch, name, registers, stack + local, shared))
    return found


def functions(text):
    """{(arch, mangled kernel): [(address, opcode, operands)]} in what cuobjdump -sass printed."""
    found, arch, code = {}, None, None
    for line in text.splitlines():
        if match := re.match(r"arch = sm_(\w+)", line):
            arch = match[1]
        elif match := re.match(r"\s*Function : (\S+)", line):
            code = found.setdefault((arch, match[1]), [])
        elif match := INSTRUCTION.match(line):
            code.append((int(match[1], 16), match[2], match[3]))
    return found


def access_bits(opcode):
    """Bits that one lane moves by a load from or a store to global memory."""
    parts = opcode.split(".")
    for part in parts[1:]:
        if part in ("64", "128", "256"):
            return int(part)
        if part in ("U8", "S8"):
            return 8
        if part in ("U16", "S16"):
            return 16
    return 32


def accesses(code):
    """({bits: count} of loads, of stores) in code; asynchronous copies to shared memory are loads."""
    loads, stores = {}, {}
    for _, opcode, _ in code:
        kind = opcode.split(".")[0]
        if kind in ("LDG", "LDGSTS", "LD"):
            loads[access_bits(opcode)] = loads.get(access_bits(opcode), 0) + 1
        elif kind in ("STG", "ST"):
            stores[access_bits(opcode)] = stores.get(access_bits(opcode), 0) + 1
    return loads, stores


def moved_bytes(code):
    return sum(bits * count // 8 for kind in accesses(code) for bits, count in kind.items())


def main_loop(code):
    """The instructions of the loop that moves most bytes, or all: up to the last EXIT, since slow paths come after."""
    best, best_key = None, (0, 0)
    for address, opcode, operands in code:
        target = re.search(r"0x([0-9a-f]+)\s*$", operands.strip()) if opcode.startswith("BRA") else None
        if target and int(target[1], 16) < address:
            loop = [each for each in code if int(target[1], 16) <= each[0] <= address]
            if (key := (moved_bytes(loop), -len(loop))) > best_key and moved_bytes(loop):
                best, best_key = loop, key
    if best:
        return best
    last = max((i for i, (_, opcode, _) in enumerate(code) if opcode == "EXIT"), default=len(code) - 1)
    return code[:last + 1]


def widths(counts):
    return " ".join(f"{bits}x{count}" for bits, count in sorted(counts.items(), reverse=True)) or "-"


def rows_of(path, obj):
    """The table's rows of one object."""
    source = pathlib.Path(obj).name.split(".")[0]
    used = resources(run(path, "-res-usage", obj))
    names = short_names([name for _, name, *_ in used])
    archs = sorted({arch for arch, *_ in used}) if source in BOUND_BY_MEMORY else []
    code = {}
    for arch in archs:
        code.update(functions(run(path, "-sass", "-arch", f"sm_{arch}", obj)))
    rows = []
    for arch, name, registers, stack, shared in used:
        row = [source, names[name], arch, registers, resident_warps(registers), stack, shared, "-", "-", "-", "-"]
        if body := code.get((arch, name)):
            loop = main_loop(body)
            loads, stores = accesses(loop)
            row[7:10] = widths(loads), widths(stores), sum(opcode.startswith("CALL") for _, opcode, _ in loop)
            if moved := moved_bytes(loop):
                row[10] = f"{16 * len(loop) / moved:.0f}"
        rows.append([str(field) for field in row])
    return rows


def read_table(file):
    """{(file, kernel, arch): row} of what --write wrote."""
    rows = {}
    for number, line in enumerate(pathlib.Path(file).read_text(encoding="utf-8").splitlines(), 1):
        fields = line.split("\t")
        if line.startswith("#") or fields == COLUMNS:
            continue
        if len(fields) != len(COLUMNS):
            raise SystemExit(f"{file}:{number}: {len(fields)} fields, expected {len(COLUMNS)}: {', '.join(COLUMNS)}")
        rows[tuple(fields[:3])] = dict(zip(COLUMNS, fields))
    return rows


def bits_in(text):
    return [int(part.split("x")[0]) for part in text.split()] if text != "-" else []


def faults(known, row):
    """What is worse in row (a dict) than in the table's; known is None for a kernel that the table does not have."""
    stack, allowed = int(row["stack"]), int(known["stack"]) if known else 0
    if stack > allowed:
        yield f"{stack} bytes of stack, expected at most {allowed}: it spills, or an array is indexed at run time"
    if known and known["calls"].isdigit() and row["calls"].isdigit() and int(row["calls"]) > int(known["calls"]):
        yield f"{row['calls']} calls in its main loop, expected {known['calls']}: a 64-bit division?"
    for kind in ("loads", "stores") if known else ():
        now, before = bits_in(row[kind]), bits_in(known[kind])
        if before and not now:
            yield f"{kind} are gone from its main loop, expected {known[kind]}"
        elif before and max(now) < max(before):
            yield f"{kind} of {max(now)} bits at most, expected {max(before)}"
        elif before and min(now) < min(before):
            yield f"{kind} of {min(now)} bits in its main loop, expected none below {min(before)}"


def compare(table, rows):
    """Prints what differs; whether nothing is worse."""
    known, worse, other, unknown = read_table(table), [], 0, 0
    for fields in rows:
        row = dict(zip(COLUMNS, fields))
        before = known.get(tuple(fields[:3]))
        for fault in faults(before, row):
            worse.append(f"{row['file']}.cu {row['kernel']} sm_{row['arch']}: {fault}")
        unknown += before is None
        other += before is not None and before != row
    for line in worse:
        print(line)
    print(f"{len(rows)} kernels read; {len(worse)} faults; {other} differ from {table}, {unknown} are not in it")
    if worse:
        print(f"If this is meant, say why in the commit and write the table anew: tools/gpu_code.py --write {table} OBJECT...")
    return not worse


def write(table, rows):
    lines = ["# Written by tools/gpu_code.py --write from the objects of a build; its head explains the columns.",
             "\t".join(COLUMNS), *("\t".join(row) for row in rows)]
    pathlib.Path(table).write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(arguments):
    writes = arguments[:1] == ["--write"]
    table, *objects = arguments[writes:] or [None]
    if not table or any(each.startswith("-") for each in arguments[writes:]):
        print(__doc__.split("\n", maxsplit=1)[0], file=sys.stderr)
        return 2
    try:
        if not objects:
            raise Unavailable("no objects: this build has no CUDA backend")
        path = tool_path()
    except Unavailable as reason:
        print(f"skipped: gpu_code: {reason}")
        return 77
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        rows = sorted(row for part in pool.map(lambda obj: rows_of(path, obj), objects) for row in part)
    if writes:
        write(table, rows)
        return 0
    return 0 if compare(table, rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
