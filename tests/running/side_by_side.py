#!/usr/bin/env python3
"""Runs tests side by side, as many at once as there are cores, and adds up what they say.

Usage: side_by_side.py PROGRAM [FLAG...]
       side_by_side.py --scripts SCRIPT...

Of a doctest program the cases of a source file are a share, which a process runs by itself: one
that crashes costs its own share alone, and one that does not run all of its cases has failed. A
script passes with status 0 and is skipped with 77.
"""

import collections
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import time
import xml.etree.ElementTree

# More would need more memory than a machine with many cores has for each, with sanitizers.
AT_ONCE = min(8, len(os.sched_getaffinity(0)))
COUNTS = re.compile(r"test cases: *\d+ *\| *(\d+) passed *\| *(\d+) failed")
COLOR = re.compile(r"\x1b\[[0-9;]*m")
SKIPPED = 77


def files_of(command):
    """How many of the cases that the flags choose each file holds."""
    listed = subprocess.run([*command, "--list-test-cases", "--reporters=xml"], check=True,
                            stdout=subprocess.PIPE).stdout
    cases = xml.etree.ElementTree.fromstring(listed).iter("TestCase")
    return collections.Counter(case.get("filename") for case in cases
                               if case.get("skipped") == "false")


def run(command):
    """(status, what it printed, whole seconds)."""
    start = time.monotonic()
    result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
                            check=False)
    return result.returncode, result.stdout, round(time.monotonic() - start)


def share(command, file, cases):
    colors = ["--force-colors=true"] if sys.stdout.isatty() else []
    status, output, seconds = run([*command, "--source-file=" + file, "--no-version", *colors])
    counts = COUNTS.search(COLOR.sub("", output))
    passed, failed = map(int, counts.groups()) if counts else (0, 0)
    if failed == 0 and (status != 0 or passed != cases):
        output += f"it ended with status {status} after {passed} of {cases} cases\n"
        failed = 1
    name = pathlib.PurePath(file).name
    if failed:
        return passed, failed, 0, f"FAILED {name} ({seconds} s)\n{output}"
    # What a case says of itself stays, the frame around it goes.
    said = [line for line in output.splitlines()
            if line.strip() and not COLOR.sub("", line).startswith(("[doctest]", "===="))]
    return passed, 0, 0, "\n".join([f"passed {name}: {passed} cases ({seconds} s)", *said]) + "\n"


def script(path):
    status, output, seconds = run([path])
    verdict = {0: "passed", SKIPPED: "skipped"}.get(status, "FAILED")
    shown = "" if status == 0 else "".join(f"    {line}\n" for line in output.splitlines())
    return (int(verdict == "passed"), int(verdict == "FAILED"), int(verdict == "skipped"),
            f"{verdict} tests/{pathlib.PurePath(path).name} ({seconds} s)\n{shown}")


def main():
    start = time.monotonic()
    command = sys.argv[1:]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        if command[0] == "--scripts":
            name, work = "scripts", [pool.submit(script, path) for path in command[1:]]
        else:
            name = pathlib.PurePath(command[0]).name
            work = [pool.submit(share, command, file, cases)
                    for file, cases in sorted(files_of(command).items())]
        total = [0, 0, 0]
        for done in concurrent.futures.as_completed(work):
            *counts, text = done.result()
            total = [a + b for a, b in zip(total, counts)]
            print(text, end="", flush=True)
    print(f"{name}: {total[0]} passed, {total[1]} failed, {total[2]} skipped "
          f"({time.monotonic() - start:.0f} s)")
    return 1 if total[1] else 0


if __name__ == "__main__":
    sys.exit(main())
