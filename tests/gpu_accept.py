#!/usr/bin/env python3
"""What `./run gpu-accept` says of programs, peers and sanitizers: stand-ins for all of them."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Steps of 50 us, and 0.01 s of an epoch for the validation data.
EXAMPLE = """#!{python}
import json, sys
flags = [word for word in sys.argv[1:] if word != "--quiet"]
flags = {{"--limit": 60000, "--batch-size": 128, **dict(zip(flags[::2], flags[1::2]))}}
steps = -(-int(flags["--limit"]) // int(flags["--batch-size"]))
if "--metrics" in flags:
    with open(flags["--metrics"], "w") as file:
        for epoch in range(1, int(flags["--epochs"]) + 1):
            print(json.dumps({{"seconds": epoch * (0.01 + steps * 50e-6),
                              "validation_accuracy": 0.99}}), file=file)
"""
# Two cases: the second one is what the test makes of it.
TESTS = """#!/bin/sh
case "$*" in
    *--list-test-cases*) printf '[doctest] listing\\n=====\\nplain\\nrows, all\\n=====\\n' ;;
    *"rows\\\\, all"*) {second} ;;
esac
echo '[doctest] assertions: 7 | 7 passed | 0 failed |'
"""
FAILURE = """cat <<'END'
===============================================================================
test_rows.cpp:25:
TEST CASE:  rows, all
  softmax/plain

test_rows.cpp:25: ERROR: element 3 is 1, expected 2

===============================================================================
[doctest] assertions: 7 | 5 passed | 2 failed |
END
exit 1"""
PRODUCTS = """#!/bin/sh
echo '{"product": "a", "microseconds": 103, "cublas_microseconds": 100, "share": 0.971}'
echo '{"product": "b", "microseconds": 9, "cublas_microseconds": 6, "share": 0.667}'
"""
PEER = """
import json
base = dict(system="{system}", version="9", batch=128, precision="float32")
for model, cost in (("mlp", {mlp}), ("cnn", {cnn})):
    print(json.dumps(dict(base, model=model, variant="a", microseconds_per_step=cost,
                          validation_accuracy=0.9)))
    print(json.dumps(dict(base, model=model, variant="b", error="out of memory")))
"""
# Answers as models beyond MNIST do.
STEPS = """#!{python}
import json, sys
flags = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert flags["--device"] == "cuda" and flags["--start"].endswith(flags["--model"] + ".npz")
print(json.dumps(dict(event="first_step")))
for line in sys.stdin:
    word, count = line.split()
    assert word == "steps" and int(count) % 8 == 0
    print(json.dumps(dict(seconds={seconds}, loss={loss})))
"""
SANITIZER = """#!/bin/sh
echo '========= {summary}'
"""


class Accept(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.pack, self.tools = self.folder / "pack", self.folder / "tools"
        for path in (self.pack / "peers", self.tools, self.folder / "tree/bin"):
            path.mkdir(parents=True)
        shutil.copy(ROOT / "bench/gpu/accept.py", self.pack)
        for name in ("mnist_mlp", "mnist_cnn"):
            self.program(name, EXAMPLE.format(python=sys.executable))
        self.program("gpu_tests", TESTS.format(second=":"))
        self.program("gpu_products", PRODUCTS)
        self.write(self.tools / "nvidia-smi", "#!/bin/sh\necho A GPU, 580.1\n")
        self.write(self.tools / "compute-sanitizer",
                   SANITIZER.format(summary="ERROR SUMMARY: 0 errors"))
        # In the place of the real modules, whether these are installed or not.
        for module, system, mlp, cnn in (("torch", "PyTorch", 80, 70), ("jax", "JAX", 90, 60)):
            self.write(self.tools / f"{module}.py", "")
            self.write(self.pack / f"peers/{system.lower()}_cuda.py",
                       PEER.format(system=system, mlp=mlp, cnn=cnn))
            self.beyond(module, seconds=mlp * 1e-6, loss=0.501)
        self.program("beyond_mnist", STEPS.format(python=sys.executable, seconds=50e-6, loss=0.5))

    def write(self, path, text):
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)

    def beyond(self, module, **answers):
        self.write(self.pack / f"peers/beyond_{module}.py",
                   STEPS.format(python=sys.executable, **answers))

    def program(self, name, text):
        self.write(self.folder / "tree/bin" / name, text)

    def accept(self, *flags):
        with tarfile.open(self.pack / "programs.tar.gz", "w:gz") as archive:
            archive.add(self.folder / "tree", ".")
        done = subprocess.run(
            [sys.executable, self.pack / "accept.py", "--data", str(self.folder), "--output",
             str(self.folder / "out"), *flags],
            env={"PATH": f"{self.tools}:{os.environ['PATH']}", "PYTHONPATH": str(self.tools)},
            capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.stderr, "")
        self.lines = done.stdout.splitlines()
        return done.returncode

    def line(self, name):
        found = [line for line in self.lines if re.match(rf"(PASS|FAIL|SKIP)  {name}:", line)]
        self.assertEqual(len(found), 1, self.lines)
        return found[0]

    def test_figures_and_verdicts(self):
        self.assertEqual(self.accept(), 1)
        self.assertIn("PASS  start: A GPU, 580.1", self.line("start"))
        self.assertIn("PASS", self.line("tests: plain"))
        self.assertIn("7 assertions", self.line("tests: rows, all"))
        self.assertIn("50 epochs in 1.67 s (at most 3), accuracy 0.9900", self.line("train mlp"))
        self.assertIn("FAIL", self.line("train cnn"))
        self.assertIn("PASS  products: 97.1 % of cuBLAS' speed", self.line("products"))
        for model in ("mlp", "cnn"):
            for batch in (128, 1000):
                self.assertIn("50.00 us per step", self.line(f"ours {model} {batch} float32"))
        self.assertIn("2 results, 2 without one", self.line("peers: PyTorch"))
        self.assertIn("PyTorch 9 (a) 80.00 us: 1.60x (at least 1.3)",
                      self.line("race mlp 128 float32"))
        self.assertIn("PASS", self.line("race mlp 128 float32"))
        self.assertIn("JAX 9 (a) 60.00 us: 1.20x", self.line("race cnn 128 float32"))
        self.assertIn("FAIL", self.line("race cnn 128 float32"))
        self.assertIn("SKIP", self.line("race mlp 1000 float32"))
        self.assertIn("PASS", self.line("memcheck of op rows"))
        verdicts = [line[:4] for line in self.lines if re.match("(PASS|FAIL|SKIP)  ", line)]
        self.assertEqual(self.lines[-1], f"{verdicts.count('PASS')} passed, 2 failed, "
                                         f"{verdicts.count('SKIP')} skipped")
        results = json.loads((self.folder / "out/results.json").read_text(encoding="utf-8"))
        self.assertEqual(len(results["checks"]), len(verdicts))
        self.assertEqual(len(results["races"]), 12)
        self.assertIn("mnist_cnn", (self.folder / "out/log").read_text(encoding="utf-8"))

    def test_models_beyond_mnist(self):
        self.assertEqual(self.accept("--only", "models"), 0)
        self.assertIn("PASS  models: lstm: 50.0 us per step, loss 0.5000; PyTorch 80.0 us: "
                      "1.60x, loss 0.5010; JAX 90.0 us: 1.80x, loss 0.5010",
                      self.line("models: lstm"))
        self.assertNotIn("JAX", self.line("models: unet"))
        # Another loss, or none.
        self.beyond("torch", seconds=1e-4, loss="0.51")
        self.beyond("jax", seconds=1e-4, loss="1 / 0")
        self.assertEqual(self.accept("--only", "models: vae"), 1)
        line = self.line("models: vae")
        self.assertIn("PyTorch's loss differs", line)
        self.assertIn("ZeroDivisionError", line)

    def test_only_some(self):
        self.assertEqual(self.accept("--only", "start,train mlp"), 0)
        self.assertEqual(self.lines[-1], "2 passed, 0 failed, 0 skipped")

    def test_a_failing_row_is_named(self):
        self.program("gpu_tests", TESTS.format(second=FAILURE))
        self.assertEqual(self.accept("--only", "tests"), 1)
        line = self.line("tests: rows, all")
        self.assertIn("FAIL", line)
        self.assertIn("2 of 7 assertions failed", line)
        self.assertIn("element 3 is 1, expected 2; rows: softmax/plain", line)
        self.assertIn("PASS", self.line("tests: plain"))

    def test_what_crashes_or_checks_nothing_fails(self):
        self.program("gpu_tests", TESTS.format(second="kill -SEGV $$"))
        self.assertEqual(self.accept("--only", "tests"), 1)
        self.assertIn("FAIL", self.line("tests: rows, all"))
        self.program("gpu_tests", TESTS.format(second="exit 0"))
        self.assertEqual(self.accept("--only", "tests"), 1)
        self.assertIn("FAIL", self.line("tests: rows, all"))

    def test_what_hangs_fails_and_the_rest_finds_no_time(self):
        self.program("gpu_tests", TESTS.format(second="sleep 60"))
        self.assertEqual(self.accept("--only", "tests,train", "--seconds", "3"), 1)
        self.assertIn("it took too long", self.line("tests: rows, all"))
        self.assertIn("SKIP  train mlp: no time is left", self.line("train mlp"))

    def test_sanitizers_must_be_clean(self):
        self.write(self.tools / "compute-sanitizer",
                   SANITIZER.format(summary="RACECHECK SUMMARY: 2 hazards displayed"))
        self.assertEqual(self.accept("--only", "racecheck"), 1)
        self.assertIn("2 hazards displayed", self.line("racecheck of op rows"))


if __name__ == "__main__":
    unittest.main()
