#!/usr/bin/env python3
"""check_layers.py [ROOT]: the include arrows point down, and the house rules a machine can check hold.

A file of layer X (src/X, include/sherd/X) includes <sherd/Y/...> only where Y is X or Y's number is lower. Also: every
header says #pragma once; no source is longer than 400 lines; no name is utils, misc, helpers or common;
a test folder has the name of a layer. Prints one line a finding; exit 1 where there is any.
"""
import pathlib
import re
import sys

# DESIGN.md's table. Equal numbers do not include each other.
LAYERS = {
    "base": 0,
    "device": 1, "config": 1, "file": 1,
    "ops": 2, "comm": 2,
    "mesh": 3, "model": 3, "data": 3,
    "shard": 4,
    "io": 5, "train": 5,
    "plan": 6,
    "app": 7,
}
# (from, to): arrows between equal numbers that DESIGN.md's sentence needs. The step saves and loads through io.
ALSO_ALLOWED = {("train", "io")}
# Names that do not say what is in a file or folder.
VAGUE = re.compile(r"^(utils?|misc|helpers?|common|fast|new|v\d+)([_.-].*)?$|[_-](utils?|misc|helpers?)(\..*)?$")
MAX_LINES = 400
SOURCE_SUFFIXES = {".hpp", ".cpp", ".cu", ".cuh", ".h", ".py", ".sh"}
CODE_SUFFIXES = {".hpp", ".cpp", ".cu", ".cuh", ".h"}
CHECKED_FOLDERS = ("src", "include", "tests", "tools", "jobs")
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"](?:sherd/)?([^<>"]+)[>"]')
SHERD_INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]sherd/([a-z0-9_]+)/')


def layer_of(path):
    """The layer a path relative to the root belongs to, or None (tests and tools may include anything)."""
    parts = path.parts
    if parts[:2] == ("include", "sherd") and len(parts) > 3:
        return parts[2]
    if parts[0] == "src" and len(parts) > 2:
        return parts[1]
    return None


def may_include(source, target):
    return source == target or LAYERS[target] < LAYERS[source] or (source, target) in ALSO_ALLOWED


def check_includes(path, lines, layer):
    for number, line in enumerate(lines, 1):
        match = SHERD_INCLUDE.match(line)
        if match:
            target = match.group(1)
            if target not in LAYERS:
                yield f"{path}:{number}: includes sherd/{target}/, which is no layer"
            elif not may_include(layer, target):
                yield (f"{path}:{number}: {layer} ({LAYERS[layer]}) includes {target} ({LAYERS[target]}); "
                       f"a layer includes only lower ones")
            continue
        match = INCLUDE.match(line)
        if match and ".." in match.group(1).split("/"):
            yield f"{path}:{number}: includes {match.group(1)}; name the file from include/ or its own folder"


def check_file(root, path):
    """All findings about one file, its path given relative to the root."""
    lines = (root / path).read_text(encoding="utf-8").splitlines()
    layer = layer_of(path)
    if path.suffix in CODE_SUFFIXES and layer is not None:
        if layer in LAYERS:
            yield from check_includes(path, lines, layer)
        else:
            yield f"{path}: {layer}/ is no layer of DESIGN.md's table"
    if path.suffix in {".hpp", ".cuh", ".h"} and "#pragma once" not in lines:
        yield f"{path}: has no #pragma once"
    if len(lines) > MAX_LINES:
        yield f"{path}: {len(lines)} lines, at most {MAX_LINES} are allowed; split it by what it does"
    for part in path.parts:
        if VAGUE.search(part):
            yield f"{path}: '{part}' does not say what is in it"


def check_test_tree(root):
    """tests/unit has the layers' names."""
    unit = root / "tests" / "unit"
    for folder in sorted(unit.iterdir()) if unit.is_dir() else ():
        if folder.is_dir() and folder.name not in LAYERS:
            yield f"tests/unit/{folder.name}: mirrors no layer"


def untested_sources(root):
    """Layers with sources and without a unit test, for a warning."""
    for layer in LAYERS:
        if (root / "src" / layer).is_dir() and not (root / "tests" / "unit" / layer).is_dir():
            yield layer


def findings(root):
    """(number of files read, list of findings) for the tree at root."""
    files = [path.relative_to(root) for folder in CHECKED_FOLDERS for path in sorted((root / folder).rglob("*"))
             if path.suffix in SOURCE_SUFFIXES and path.is_file()]
    found = [finding for path in files for finding in check_file(root, path)]
    found.extend(check_test_tree(root))
    return len(files), found


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent)
    count, found = findings(root)
    for finding in found:
        print(finding)
    for layer in untested_sources(root):
        print(f"warning: src/{layer} has no tests/unit/{layer}")
    if count == 0:
        print(f"{root}: no source files found, so nothing was checked")
    print(f"check_layers: {count} files, {len(found)} findings")
    return 1 if found or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
