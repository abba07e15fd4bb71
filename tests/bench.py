#!/usr/bin/env python3
"""The benchmark's driver: its figures on made-up numbers, and how it drives systems."""

import contextlib
import dataclasses
import gzip
import io
import json
import os
import pathlib
import struct
import sys
import tempfile
import unittest
import unittest.mock
import xml.etree.ElementTree
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("GRADGRAPH_BUILD", ROOT / "build"))
sys.path.insert(0, str(ROOT / "bench"))
sys.dont_write_bytecode = True

import beyond_mnist  # noqa: E402
import elements  # noqa: E402
import report  # noqa: E402
import run  # noqa: E402
import systems  # noqa: E402

# Speaks the protocol of bench/peers, with times of its own making.
PEER = """
import json, sys
print(json.dumps({"event": "first_step"}), flush=True)
for n, command in enumerate(sys.stdin, 1):
    if n > LAST:
        sys.exit("out of memory")
    print(json.dumps({"seconds": n / 10, "loss": 1, "accuracy": n / 4}), flush=True)
"""


def made_up_results():
    results = report.Results()
    for system, runs in (("slow", [4, 5, 9]), ("fast", [2, 3, 2.5]), ("gradgraph", [1, 1.25, 2])):
        for seconds in runs:
            results.add("MLP", system, "epoch_seconds", seconds)
    results.add("CNN <&>", "gradgraph", "epoch_seconds", 7)
    return results


class Figures(unittest.TestCase):
    def test_ratios_are_to_the_best_peer(self):
        results = made_up_results()
        self.assertEqual(results.systems("MLP", "epoch_seconds"), ["gradgraph", "fast", "slow"])
        ratios = {system: results.ratio("MLP", system, "epoch_seconds")
                  for system in ("gradgraph", "fast", "slow")}
        self.assertEqual(ratios, {"gradgraph": 2, "fast": 1, "slow": 0.5})
        self.assertIsNone(results.ratio("CNN <&>", "gradgraph", "epoch_seconds"))

    def test_costs_of_elements(self):
        results = report.Results()
        for system, runs in (("gradgraph", [3, 1.5]), ("PyTorch", [2, 2.5])):
            for cost in runs:
                results.add("softmax [4096,32]", system, elements.COST, cost)
        results.add("exp [256,256]", "gradgraph", elements.COST, 1)
        results.add("exp [256,256]", "PyTorch", elements.COST, 4)
        lines = elements.table(results).split("\n")
        cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
        self.assertEqual(cells[0][2:], ["gradgraph", "PyTorch", "gradgraph / PyTorch"])
        self.assertEqual(cells[2], ["softmax", "[4096,32]", "1.50", "2.00", "0.75"])
        self.assertEqual(cells[3], ["exp", "[256,256]", "1.00", "4.00", "0.25"])

    def test_models_and_their_losses(self):
        models = [beyond_mnist.Model("vae", "VAE", 1),
                  beyond_mnist.Model("cnn", "CNN", 1, unit="us")]
        results = report.Results()
        for model, system, seconds, loss in (
                ("VAE", "gradgraph", [0.004, 0.002], 500), ("VAE", "PyTorch", [0.0015], 501),
                ("VAE", "JAX", [0.005], 499), ("CNN", "gradgraph", [6.5e-5], 2),
                ("CNN", "JAX", [1.3e-4], 2.05)):
            for value in seconds:
                results.add(model, system, beyond_mnist.SECONDS, value)
            results.add(model, system, beyond_mnist.LOSS, loss)
        *lines, warning = beyond_mnist.table(results, models).split("\n")
        cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
        self.assertEqual(cells[0][2:6],
                         ["gradgraph", "PyTorch", "JAX", "fastest peer / gradgraph"])
        self.assertEqual(cells[2], ["VAE", "ms", "3", "1.5", "5", "0.50", "500", "501", "499"])
        self.assertEqual(cells[3], ["CNN", "us", "65", "-", "130", "2.00", "2", "-", "2.05"])
        self.assertEqual(warning, "BEWARE: the losses of CNN differ by more than 1 %")

    def test_table(self):
        lines = report.table(made_up_results(), "epoch_seconds").split("\n")
        self.assertEqual(len({len(line) for line in lines}), 1, lines)
        cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
        self.assertEqual(cells[2], ["MLP", "gradgraph", "1.00", "1.25", "2.00", "2.00x", "3"])
        self.assertEqual(cells[3], ["MLP", "fast", "2.00", "2.50", "3.00", "1.00x", "3"])
        self.assertEqual(cells[5], ["CNN <&>", "gradgraph", "7.00", "7.00", "7.00", "-", "1"])

    def test_records(self):
        self.assertEqual(made_up_results().records()[0],
                         {"workload": "MLP", "system": "slow", "metric": "epoch_seconds",
                          "median": 5, "runs": [4, 5, 9]})

    def test_chart_is_well_formed(self):
        tree = xml.etree.ElementTree.fromstring(
            report.chart(made_up_results(), "epoch_seconds", "a < b"))
        namespace = "{http://www.w3.org/2000/svg}"
        texts = [element.text for element in tree.iter(namespace + "text")]
        self.assertEqual(texts[0], "a < b")
        self.assertIn("CNN <&>", texts)
        widths = [float(e.get("width")) for e in tree.iter(namespace + "rect") if e.get("fill")
                  and e.get("width") != "100%"]
        # The longest bar is not wider than its longest run: 5 of 9, 2.5 of 9, 1.25 of 9.
        self.assertAlmostEqual(widths[0] * 4, widths[2], delta=0.5)


class Driver(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = pathlib.Path(scratch.name)
        self.addCleanup(setattr, systems, "command_of", systems.command_of)

    def bench(self, *arguments, peers="none"):
        options = run.parse_flags(["--build", str(self.scratch), "--peers", peers,
                                   "--data", str(self.scratch), *arguments])
        options.output.mkdir(exist_ok=True)
        return run.Bench(options)

    def let_peers_last(self, epochs):
        """Instead of real systems: each answers so many commands."""
        def command_of(system, workload, folder, options):
            last = epochs["ours" if system is None else system.key]
            return [sys.executable, "-c", PEER.replace("LAST", str(last))], dict(os.environ)
        systems.command_of = command_of

    def train(self, bench):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            bench.train(bench.options.workloads[0])
        return output.getvalue()

    def test_the_warm_up_is_left_out(self):
        self.let_peers_last({"ours": 99, "jax": 99})
        bench = self.bench("--runs", "3", peers="jax")
        self.train(bench)
        self.assertEqual(bench.results.runs["MLP batch 128", "gradgraph", "epoch_seconds"],
                         [0.2, 0.3, 0.4])
        memory = bench.results.runs["MLP batch 128", "JAX / Optax", "peak_rss_mb"]
        self.assertEqual(len(memory), 1)
        self.assertEqual(bench.failures, {})

    def test_a_failing_peer_is_reported(self):
        self.let_peers_last({"ours": 99, "jax": 2, "torch": 99})
        bench = self.bench("--runs", "3", peers="jax,torch")
        self.assertIn("JAX / Optax, MLP batch 128: it ended: out of memory", self.train(bench))
        self.assertEqual(list(bench.failures), [("JAX / Optax", "MLP batch 128")])
        self.assertEqual(len(bench.results.runs["MLP batch 128", "PyTorch", "epoch_seconds"]), 3)

    def test_a_peer_that_cannot_be_installed_is_reported(self):
        original = systems.command_of

        def command_of(system, *rest):
            if system is None:
                return [sys.executable, "-c", PEER.replace("LAST", "99")], dict(os.environ)
            return original(system, *rest)
        systems.command_of = command_of
        bench = self.bench("--runs", "1", peers="jax")
        bench.options.folder = self.scratch / "a file"
        bench.options.folder.touch()
        with contextlib.redirect_stderr(io.StringIO()):
            self.assertIn("JAX / Optax, MLP batch 128: cannot install it: ", self.train(bench))

    def test_our_own_failure_is_an_error(self):
        self.let_peers_last({"ours": 1})
        with self.assertRaisesRegex(systems.Failure, "gradgraph, MLP batch 128: it ended"):
            self.train(self.bench())

    def test_wrong_flags(self):
        for flags, message in ((["--peers", "caffe"], "there is no peer 'caffe'"),
                               (["--workloads", "rnn"], "there is no workload 'rnn'"),
                               (["--models", "gpt"], "there is no model 'gpt'"),
                               (["--threads", "0"], "must be 1 or more")):
            errors = io.StringIO()
            with self.assertRaises(SystemExit), contextlib.redirect_stderr(errors):
                run.parse_flags(["--build", "x", *flags])
            self.assertIn(message, errors.getvalue())

    def test_a_run_of_models(self):
        few = [dataclasses.replace(model, steps=2, warm_up=3) for model in beyond_mnist.MODELS]
        with unittest.mock.patch.object(beyond_mnist, "MODELS", few), \
                contextlib.redirect_stdout(io.StringIO()) as output:
            status = run.main(["--build", str(BUILD), "--output", str(self.scratch / "out"),
                               "--peers", "none", "--models", "--runs", "2"])
        self.assertEqual(status, 0, output.getvalue())
        self.assertRegex(output.getvalue(), r"\| LSTM +\| ms +\| +[\d.]+ \| +[\d.]+ \|\n")
        records = json.loads((self.scratch / "out/models.json").read_text(encoding="utf-8"))
        found = {(r["workload"], r["metric"]): r for r in records}
        for model in few:
            self.assertEqual(len(found[model.name, "seconds"]["runs"]), 2)
            self.assertGreater(found[model.name, "seconds"]["median"], 0)
            self.assertGreater(found[model.name, "loss"]["median"], 0)
        with zipfile.ZipFile(self.scratch / "out/vae.npz") as arrays:
            self.assertTrue({"batch0/noise.npy", "encode/kernel.npy"} <= set(arrays.namelist()))

    def test_a_whole_run(self):
        count = 300
        for part in ("train", "t10k"):
            images = struct.pack(">4I", 0x803, count, 28, 28) + bytes(count * 784)
            labels = struct.pack(">2I", 0x801, count) + bytes(i % 10 for i in range(count))
            (self.scratch / f"{part}-images-idx3-ubyte").write_bytes(images)
            (self.scratch / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            status = run.main(["--build", str(BUILD), "--output", str(self.scratch / "out"),
                               "--data", str(self.scratch), "--peers", "none", "--quick",
                               "--runs", "2"])
        self.assertEqual(status, 0, output.getvalue())
        records = json.loads((self.scratch / "out/results.json").read_text(encoding="utf-8"))
        found = {(r["workload"], r["metric"]): r for r in records}
        for workload in systems.WORKLOADS:
            record = found[f"{workload.name}, 12000 samples", "epoch_seconds"]
            self.assertEqual(len(record["runs"]), 2)
            self.assertGreater(found[workload.name, "first_step_seconds"]["median"], 0)
            self.assertGreater(found[workload.name, "peak_rss_mb"]["median"], 1)
        self.assertIn(("chain of 1000 nodes, unfused", "nanoseconds_per_node"), found)
        self.assertTrue((self.scratch / "out/results.svg").exists())


if __name__ == "__main__":
    unittest.main()
