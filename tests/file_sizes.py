#!/usr/bin/env python3
"""Source files have fewer than 600 lines, of at most 98 columns."""

import pathlib
import sys

MAX_LINES = 599
MAX_COLUMNS = 98
SUFFIXES = {".h", ".cpp", ".cu", ".cuh", ".py", ".sh"}
FOLDERS = ("include", "src", "graph_examples", "tests", "bench", "packaging", "docs")


def faults(path, text):
    lines = text.split("\n")
    if len(lines) - 1 > MAX_LINES:
        yield f"{path}: {len(lines) - 1} lines"
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_COLUMNS:
            yield f"{path}:{number}: {len(line)} columns"


def check_itself():
    good = ("x" * MAX_COLUMNS + "\n") * MAX_LINES
    assert not list(faults("good", good))
    assert len(list(faults("long", good + "x\n"))) == 1
    assert len(list(faults("wide", "x" * (MAX_COLUMNS + 1) + "\n"))) == 1


def main():
    check_itself()
    root = pathlib.Path(__file__).resolve().parent.parent
    files = [root / "run"] + [f for name in FOLDERS for f in sorted((root / name).glob("**/*"))]
    found = []
    for file in files:
        if file.suffix in SUFFIXES or file.name in ("run", "meson.build"):
            text = file.read_text(encoding="utf-8")
            found += faults(file.relative_to(root), text)
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
