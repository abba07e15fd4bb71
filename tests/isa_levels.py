#!/usr/bin/env python3
"""GRADGRAPH_ISA caps the level of the instruction set, and a wrong one is an error.

Every kernel passes its tests at every level below the best here, at which the test program
itself runs them. What visits the levels by itself, such as "gemm: *" and the functions of
math_functions.h, is left out.
"""

import os
import pathlib
import subprocess
import sys

PROGRAM = pathlib.Path(os.environ["GRADGRAPH_BUILD"]) / "tests" / "gradgraph_tests"
CASES = [
    "op rows: *", "every op row agrees*", "every op that has a link*", "parts of a matrix*",
    "rows and columns that are broadcast*", "elementwise: *", "*matmul*", "*conv2d*",
    "convolution kernels: the *", "pooling kernels: *", "softmax kernels: *",
    "reference kernels: *", "fuse_*", "half: *", "reductions: *", "sum and mean: *", "prod: *",
    "sums over any axes*", "a sum does not depend*", "transpose moves*", "*pad and tile*",
    "gather and scatter*", "cross entropy: *", "log_softmax: *", "*_norm: *",
    "layers: sequences*", "layers: attention*", "optimizers: 100 steps*", "*numbers*interval*",
    "normal numbers*", "truncated normal*", "dropout keeps*", "every op row",
    "random graphs of images agree*", "training repeats*"]


def run(level, cases, *flags):
    environment = dict(os.environ, GRADGRAPH_ISA=level)
    command = [PROGRAM, "--test-case=" + ",".join(cases), "--no-version", *flags]
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, encoding="utf-8", check=False)


def main():
    failures = [f"no test case is called {name}" for name in CASES
                if run("", [name], "--count").stdout.rstrip().endswith(": 0")]
    here = [level for level in ("baseline", "avx2", "avx512") if "but this build has" not in
            run(level, ["training repeats*"]).stdout]
    print("levels of this processor:", *here)
    if " alone: " in run("baseline", ["training repeats*"]).stdout:
        failures.append("this build has one level alone, so the others go untested: "
                        "`meson configure BUILD -Disa_levels=all`")
    for level in here[:-1]:
        result = run(level, CASES)
        if result.returncode != 0 or " 0 passed" in result.stdout:
            failures.append(f"{level}: {result.stdout}")
    unknown = run("sse9", ["training repeats*"])
    wanted = "GRADGRAPH_ISA is 'sse9', which is none of baseline, avx2, avx512"
    if unknown.returncode == 0 or wanted not in unknown.stdout:
        failures.append(f"a session opens at an unknown level: {unknown.stdout}")
    print("\n".join(failures))
    return 1 if failures else 0


sys.exit(main())
