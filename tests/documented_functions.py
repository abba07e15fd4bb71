#!/usr/bin/env python3
"""Every function of the public headers has a comment, its own or that of the block which it
stands in; those of ops.h, linalg.h and nn.h say where their definition comes from."""

import pathlib
import re
import sys

HEADERS = pathlib.Path(__file__).resolve().parent.parent / "include" / "gradgraph"
WITH_SOURCE = ("ops.h", "linalg.h", "nn.h")
# A declaration of a free function, which starts a line.
FUNCTION = re.compile(
    r"(?:inline |\[\[noreturn\]\] )*(?:std::)?[A-Za-z][\w<>:]*&? (\w+|operator\S+)\(")
# What needs no source: it is this library's own, and its comment says all.
OWN = {"variables", "orthogonal", "summary", "max_pool2d", "avg_pool2d"}


def functions(text):
    """(name, comment, line) of each; one without a blank line or comment before it shares the
    comment of the one above."""
    comment, fresh, section = [], True, ""
    depth = 0
    # What a header keeps to itself.
    text = re.sub(r"namespace \w+_detail \{.*?\}  // namespace \w+_detail",
                  lambda found: "\n" * found.group().count("\n"), text, flags=re.DOTALL)
    for number, line in enumerate(text.splitlines(), 1):
        inside = depth > 0
        if not re.match(r"namespace .*\{$", line) and not line.startswith("}  // namespace"):
            depth += line.count("{") - line.count("}")
        if inside:
            continue
        if not line.strip():
            comment, fresh = [], True
        elif line.startswith(("// ---", "enum ")):
            section = ""  # what stands over several functions may name a source for all
        elif line.startswith("// ") and "Source" in line:
            section = line
        elif line.startswith("///"):
            comment = [line] if fresh else comment + [line]
            fresh = False
        elif (found := FUNCTION.match(line)):
            yield found.group(1), " ".join([*comment, section]) if comment else "", number
            fresh = True


def main():
    faults, count = [], 0
    for header in sorted(HEADERS.glob("*.h")):
        for name, comment, number in functions(header.read_text(encoding="utf-8")):
            count += 1
            place = f"{header.name}:{number}: {name}"
            if not comment:
                faults.append(f"{place} has no comment")
            elif (header.name in WITH_SOURCE and name not in OWN
                  and not name.startswith("operator")
                  and not re.search("Source|The same", comment)):
                faults.append(f"{place} names no source")
    if count < 150:
        faults.append(f"only {count} functions were found")
    print(*faults, sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
