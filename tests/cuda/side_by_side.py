#!/usr/bin/env python3
"""Runs a doctest program in shares, side by side, and adds up what they say.

Usage: side_by_side.py PROGRAM [FLAG...]. Fails where the shares do not have every case once.
"""

import collections
import re
import subprocess
import sys

# About half of the work each, of the tests of the emulated GPU.
SHARES = ["--test-suite=cuda training", "--test-suite-exclude=cuda training"]
COUNTS = re.compile(r"test cases: *(\d+) *\| *(\d+) passed *\| *(\d+) failed *\| *(\d+) skipped")


def cases(command):
    """By name."""
    listed = subprocess.run([*command, "--list-test-cases", "--no-version", "--no-colors"],
                            check=True, capture_output=True, text=True).stdout
    return collections.Counter(line for line in listed.splitlines()
                               if not line.startswith(("[doctest]", "===")))


def main():
    command = sys.argv[1:]
    everything = cases(command)
    shared = sum((cases([*command, share]) for share in SHARES), collections.Counter())
    if shared != everything:
        print("not once in the shares:", *(everything - shared), *(shared - everything),
              sep="\n  ")
        return 1
    programs = [subprocess.Popen([*command, share], stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True) for share in SHARES]
    total, status = [0, 0, 0], 0
    try:
        # The others' output waits in pipes, which have room for that of a share that passes.
        for program in programs:
            output, _ = program.communicate()
            print(output, end="", flush=True)
            counts = COUNTS.search(re.sub(r"\x1b\[[0-9;]*m", "", output))
            if not counts:
                print(f"a share ended with status {program.returncode} and without a summary")
                return 1
            total = [a + int(b) for a, b in zip(total, counts.groups())]
            status = status or program.returncode
    finally:
        for program in programs:
            program.kill()
    print(f"[doctest] test cases: {total[0]} | {total[1]} passed | {total[2]} failed | 0 skipped "
          f"(in {len(SHARES)} shares)")
    return status


if __name__ == "__main__":
    sys.exit(main())
