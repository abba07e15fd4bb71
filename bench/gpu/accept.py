#!/usr/bin/env python3
"""Checks what only a machine with an NVIDIA GPU can show: a line per check, PASS, FAIL or SKIP.

`./run gpu-accept` starts it, `./run gpu-accept --pack DIR` makes a folder with it and all that it
needs, for another machine: no check compiles or installs anything. What fails, or takes too long,
does not keep the others from running.
"""

import argparse
import ctypes
import glob
import importlib.util
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
# Samples, and most of what the figures must reach; the reference took 61.16 s and 82.43 s.
TRAIN_SAMPLES, FEWER_SAMPLES = 60000, 10000
MODELS = {
    "mlp": {"epochs": 50, "seconds": 3, "accuracy": 0.985},
    "cnn": {"epochs": 30, "seconds": 8, "accuracy": 0.993},
}
LEAST_RATIO = {128: 1.3, 1000: None}
LEAST_SHARE = 0.95
# By what peers call them, and those that they have too.
PRECISIONS = {"float32": "fp32", "tf32": "tf32", "bfloat16": "bf16"}
RACED = ("float32", "tf32")
# One or two of each family of kernels: sanitizers make programs up to a hundred times slower.
SANITIZED_ROWS = (
    "add/row", "matmul/plain", "matmul/batches", "softmax/2x3x4_axis_1", "sum/outer and inner",
    "sparse_softmax_cross_entropy/2x3x4_int32", "conv2d/same", "conv2d/groups",
    "max_pool2d/overlap", "gather/rows", "scatter_add/rows", "argsort/ties_keep_their_order",
    "top_k/axes", "cumsum/kinds", "concat/columns", "transpose/permutation")
# Steps of models beyond MNIST, a multiple of the batches that each of them has; and whether JAX
# has the model.
BEYOND_BATCHES = 8
BEYOND = {"lstm": True, "transformer": True, "long_transformer": False, "vae": True,
          "resnet": True, "mobilenet": False, "mlp": True, "unet": False, "text_cnn": False,
          "vocabulary": False, "recommender": False}
WHOLE_LOOP = "--xla_gpu_enable_command_buffer=+WHILE"


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


def parse_flags(arguments):
    parser = argparse.ArgumentParser(prog="./run gpu-accept", description=__doc__.split("\n")[0])
    parser.add_argument("--data", default=os.environ.get("MNIST_DIR"), metavar="DIR",
                        help="the folder with MNIST's four files")
    parser.add_argument("--only", default="", metavar="LIST",
                        help="only checks whose name begins with one of these: start, tests, "
                             "train, products, ours, peers, race, models, memcheck, "
                             "initcheck, racecheck")
    parser.add_argument("--seconds", type=float, default=470, metavar="S",
                        help="for all of it; what finds no time is skipped (default: 470)")
    parser.add_argument("--device", default="cuda", metavar="NAME", help="default: cuda")
    parser.add_argument("--output", type=pathlib.Path, default="gpu-accept", metavar="DIR",
                        help="where log and results.json go (default: gpu-accept)")
    options = parser.parse_args(arguments)
    if not options.data:
        parser.error("--data or MNIST_DIR must name the folder with MNIST's files")
    options.data = str(pathlib.Path(options.data).resolve())
    return options


def cublas_folders():
    """Where cuBLAS is, if the loader does not find it by itself."""
    for name in ("libcublas.so.13", "libcublas.so.12"):
        try:
            ctypes.CDLL(name)
            return []
        except OSError:
            pass
    spec = importlib.util.find_spec("nvidia")
    patterns = [f"{folder}/*/lib" for folder in (spec.submodule_search_locations if spec else [])]
    patterns += ["/usr/local/cuda*/lib64", "/usr/local/cuda*/targets/*/lib"]
    folders = [folder for pattern in patterns for folder in sorted(glob.glob(pattern))]
    return [folder for folder in folders if glob.glob(folder + "/libcublas.so.1[23]")][:1]


class Accept:
    def __init__(self, options, programs, peers):
        self.options, self.programs, self.peers = options, programs, peers
        self.deadline = time.monotonic() + options.seconds
        options.output.mkdir(parents=True, exist_ok=True)
        self.log = open(options.output / "log", "w", encoding="utf-8")
        self.counts = {"PASS": 0, "FAIL": 0, "SKIP": 0}
        self.results, self.steps, self.races = [], {}, []
        self.scratch = tempfile.TemporaryDirectory()
        self.environment = dict(os.environ, GRADGRAPH_TEST_DATA=str(programs.parent / "golden"))
        folders = [*cublas_folders(), os.environ.get("LD_LIBRARY_PATH", "")]
        self.environment["LD_LIBRARY_PATH"] = ":".join(filter(None, folders))

    # --- Running things ---

    def run(self, command, seconds, may_fail=False, environment=None, given=""):
        """Its stdout; Failed where it fails, or takes longer. `given`: its stdin."""
        self.command = shlex.join(map(str, command))
        seconds = min(seconds, self.deadline - time.monotonic())
        if seconds < 1:
            raise Skipped("no time is left for it (--seconds)")
        paths = [pathlib.Path(self.scratch.name) / name for name in ("stdout", "stderr")]
        with open(paths[0], "wb") as out, open(paths[1], "wb") as err:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=err,
                                       env=environment or self.environment,
                                       start_new_session=True)
            try:
                process.stdin.write(given.encode())
                process.stdin.close()
                status = process.wait(seconds)
            except BrokenPipeError:
                status = process.wait(seconds)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                # Compilers of the peers', too.
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                process.wait()
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in paths]
        self.log.write(f"$ {self.command}\n{texts[0]}{texts[1]}[status {status}]\n\n")
        self.log.flush()
        if may_fail:
            return texts[0], status
        if status != 0:
            last = " ".join("\n".join(texts).split())[-300:]
            how = f"it took longer than {seconds:.0f} s" if status is None else f"status {status}"
            raise Failed(f"{how}: {last}")
        return texts[0]

    def check(self, name, function, *arguments):
        wanted = self.options.only.split(",")
        if not any(name.startswith(start) for start in wanted):
            return
        self.command = ""
        start = time.monotonic()
        try:
            verdict, text = "PASS", function(*arguments)
        except Skipped as reason:
            verdict, text = "SKIP", str(reason)
        except Exception as error:  # noqa: BLE001
            known = isinstance(error, Failed)
            verdict, text = "FAIL", str(error) if known else f"{type(error).__name__}: {error}"
        self.counts[verdict] += 1
        took = time.monotonic() - start
        line = f"{verdict}  {name}: {text}  ({took:.1f} s)"
        if self.command:
            line += f"\n      $ {self.command}"
        print(line, flush=True)
        self.results.append({"check": name, "verdict": verdict, "text": text,
                             "seconds": round(took, 2), "command": self.command})
        self.log.write(line + "\n\n")

    def need(self, ok, text):
        if not ok:
            raise Failed(text)
        return text

    # --- Checks ---

    def all(self):
        self.check("start", self.start)
        for case in self.test_cases():
            self.check(f"tests: {case}", self.test, case)
        for model in MODELS:
            self.check(f"train {model}", self.train, model)
        self.check("products", self.products)
        for batch in LEAST_RATIO:
            for model in MODELS:
                for precision in PRECISIONS:
                    self.check(f"ours {model} {batch} {precision}", self.time_ours, model, batch,
                               precision)
        self.check("peers: PyTorch", self.race_peer, "pytorch_cuda.py", "torch", [], "")
        self.check("peers: JAX", self.race_peer, "jax_cuda.py", "jax", [], "")
        self.check("peers: JAX, the loop as one CUDA graph", self.race_peer, "jax_cuda.py", "jax",
                   ["--variants", "scan", "--batches", "128", "--seconds", "25"], WHOLE_LOOP)
        for batch in LEAST_RATIO:
            for model in MODELS:
                for precision in RACED:
                    self.check(f"race {model} {batch} {precision}", self.compare, model, batch,
                               precision)
        for model in BEYOND:
            self.check(f"models: {model}", self.time_beyond, model)
        for tool in ("memcheck", "initcheck", "racecheck"):
            self.check(f"{tool} of op rows", self.sanitize, tool, self.rows_command())
            self.check(f"{tool} of attention", self.sanitize, tool, self.attention_command())
        for model in MODELS:
            self.check(f"memcheck of {model}", self.sanitize, "memcheck",
                       self.training(model, 1, "--limit", 300))

    def training(self, model, epochs, *flags):
        return [str(word) for word in (
            self.programs / f"mnist_{model}", "--device", self.options.device, "--data",
            self.options.data, "--epochs", epochs, *flags)]

    def ask_help(self):
        try:
            return self.run([self.programs / "mnist_mlp", "--help"], 20)
        except (Failed, Skipped, OSError):
            return ""

    def start(self):
        try:
            gpu = self.run(["nvidia-smi", "--query-gpu=name,driver_version",
                            "--format=csv,noheader"], 20).splitlines()[0]
        except (OSError, Failed, IndexError):
            gpu = "no answer from nvidia-smi"
        self.run(self.training("mlp", 1, "--limit", 500, "--quiet"), 60)
        return gpu

    def test_cases(self):
        try:
            listed = self.run([self.programs / "gpu_tests", "--list-test-cases",
                               "--test-suite=cuda*"], 20)
        except (Failed, Skipped, OSError) as error:
            self.check("tests", self.need, False, f"cannot list them: {error}")
            return []
        return [line for line in listed.splitlines()
                if line and not line.startswith(("[doctest]", "==="))]

    def test(self, case):
        words = [self.programs / "gpu_tests", "--no-version", "--no-colors",
                 "--test-suite=cuda*", "--test-case=" + case.replace(",", r"\,")]
        output, status = self.run(words, 100, may_fail=True)
        command = self.command
        counts = re.search(r"assertions: *(\d+) \| *(\d+) passed \| *(\d+) failed", output)
        if status == 0 and counts and int(counts[1]) > 0:
            return f"{counts[1]} assertions"
        how = "it took too long" if status is None else f"status {status}"
        if counts:
            how += f", {counts[3]} of {counts[1]} assertions failed"
        how += "; " + self.explain(words, output)
        self.command = command
        raise Failed(how)

    def explain(self, words, output):
        """Which rows failed, which of these do so on their own, and why the first one did."""
        parts = re.split(r"^={20,}$", output, flags=re.M)
        failures = {}
        for part in parts:
            found = re.search(r"TEST CASE: .*\n((?:  \S.*\n)*)\n((?:.*\n){1,3})", part)
            if found:
                failures.setdefault(found[1].strip(), " ".join(found[2].split()))
        if not failures:
            return " ".join(output.split())[-300:]
        rows = [row for row in failures if row]
        alone = []
        for row in rows[:12] if len(rows) > 1 else []:
            name = row.replace(",", r"\,")
            _, status = self.run([*words, f"--subcase={name}"], 15, may_fail=True)
            if status != 0:
                alone.append(row)
        text = next(iter(failures.values()))[:300]
        if rows:
            text += f"; rows: {', '.join(rows[:40])}"
        if len(rows) > 1:
            text += f"; of the first 12 also on their own: {', '.join(alone) or 'none'}"
        return text

    def metrics(self, model, epochs, seconds, *flags):
        """The numbers of each epoch."""
        path = pathlib.Path(self.scratch.name) / "metrics"
        path.unlink(missing_ok=True)
        self.run(self.training(model, epochs, "--quiet", "--metrics", path, *flags), seconds)
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def train(self, model):
        aim = MODELS[model]
        last = self.metrics(model, aim["epochs"], 90)[-1]
        seconds, accuracy = last["seconds"], last["validation_accuracy"]
        text = (f"{aim['epochs']} epochs in {seconds:.2f} s (at most {aim['seconds']}), accuracy "
                f"{accuracy:.4f} (at least {aim['accuracy']})")
        return self.need(seconds <= aim["seconds"] and accuracy >= aim["accuracy"], text)

    def products(self):
        """Short products are shown, but events are too coarse to judge them by."""
        output = self.run([self.programs / "gpu_products"], 60)
        lines = [json.loads(line) for line in output.splitlines()]
        for line in lines:
            print("      {product}: {microseconds:.1f} us, cuBLAS alone "
                  "{cublas_microseconds:.1f} us".format(**line), flush=True)
        long = [line for line in lines if line["cublas_microseconds"] >= 50]
        least = min(line["share"] for line in long)
        return self.need(least >= LEAST_SHARE, f"{100 * least:.1f} % of cuBLAS' speed (at least "
                         f"{100 * LEAST_SHARE:.0f}), where a product takes 50 us or more")

    def time_ours(self, model, batch, precision):
        """An epoch ends with the validation data, which peers leave out: the time of an epoch
        less that of one of fewer samples, with the same validation data, is training alone."""
        flags = ["--batch-size", batch, "--precision", PRECISIONS[precision]]
        epoch, steps = {}, {}
        for samples in (FEWER_SAMPLES, TRAIN_SAMPLES):
            lines = self.metrics(model, 16, 60, "--limit", samples, *flags)
            ends = [line["seconds"] for line in lines]
            epoch[samples] = statistics.median(b - a for a, b in zip(ends[1:], ends[2:]))
            steps[samples] = -(-samples // batch)
        cost = ((epoch[TRAIN_SAMPLES] - epoch[FEWER_SAMPLES]) /
                (steps[TRAIN_SAMPLES] - steps[FEWER_SAMPLES]) * 1e6)
        self.steps[model, batch, precision] = cost
        return (f"{cost:.2f} us per step; an epoch with validation {epoch[TRAIN_SAMPLES]:.4f} s, "
                f"of {FEWER_SAMPLES} samples {epoch[FEWER_SAMPLES]:.4f} s; validation accuracy "
                f"{lines[3]['validation_accuracy']} after 4 epochs")

    def race_peer(self, script, module, flags, xla_flags):
        if importlib.util.find_spec(module) is None:
            raise Skipped(f"{module} is not installed")
        environment = dict(os.environ)
        if xla_flags:
            environment["XLA_FLAGS"] = xla_flags
        device = "cuda" if self.options.device.startswith("cuda") else "cpu"
        output, status = self.run([sys.executable, self.peers / script, "--data",
                                   self.options.data, "--device", device, *flags], 80,
                                  may_fail=True, environment=environment)
        races = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        self.races += races
        good = [race for race in races if "error" not in race]
        for race in races:
            figure = (race.get("error") or f"{race['microseconds_per_step']:.2f} us per step, "
                      f"validation accuracy {race['validation_accuracy']}")
            print(f"      {race['model']} {race['batch']} {race['precision']}, "
                  f"{race['variant']}: {figure}", flush=True)
        text = f"{len(good)} results, {len(races) - len(good)} without one, status {status}"
        return self.need(good, text)

    def compare(self, model, batch, precision):
        ours = self.steps.get((model, batch, precision))
        peers = [race for race in self.races if "error" not in race and
                 (race["model"], race["batch"], race["precision"]) == (model, batch, precision)]
        if ours is None or not peers:
            raise Skipped("there is no time of " + ("ours" if ours is None else "a peer's"))
        best = min(peers, key=lambda race: race["microseconds_per_step"])
        ratio = best["microseconds_per_step"] / ours
        least = LEAST_RATIO[batch] if precision == "float32" else None
        text = (f"{ours:.2f} us per step, {best['system']} {best['version']} ({best['variant']}"
                f"{', ' + best['xla_flags'] if best.get('xla_flags') else ''}) "
                f"{best['microseconds_per_step']:.2f} us: {ratio:.2f}x")
        text += f" (at least {least})" if least else " (no limit)"
        return self.need(not least or ratio >= least, text)

    def steps_beyond(self, command, model, environment=None):
        """Microseconds of a step, and the loss after the first ones."""
        flags = ["--model", model, "--threads", 1, "--device", self.options.device, "--start",
                 pathlib.Path(self.scratch.name) / f"{model}.npz"]
        words = [str(word) for word in (*command, *flags)]
        # Rounding alone makes losses differ by 1 % after 32 steps of ResNet-20.
        few, many = BEYOND_BATCHES, 10 * BEYOND_BATCHES
        output = self.run(words, 60, environment=environment,
                          given="".join(f"steps {n}\n" for n in (few, *[many] * 7)))
        answers = [json.loads(line) for line in output.splitlines()][1:]
        return (statistics.median(answer["seconds"] for answer in answers[1:]) * 1e6,
                answers[0]["loss"])

    def time_beyond(self, model):
        """Of both peers PyTorch has every model; it replays CUDA graphs."""
        ours, loss = self.steps_beyond([self.programs / "beyond_mnist"], model)
        text, wrong = f"{ours:.1f} us per step, loss {loss:.4f}", []
        for name, module, has in (("PyTorch", "torch", True), ("JAX", "jax", BEYOND[model])):
            if not has or importlib.util.find_spec(module) is None:
                continue
            try:
                script = [sys.executable, self.peers / f"beyond_{module}.py"]
                peer, its_loss = self.steps_beyond(script, model, dict(os.environ))
                text += f"; {name} {peer:.1f} us: {peer / ours:.2f}x, loss {its_loss:.4f}"
                if abs(its_loss - loss) > 0.01 * abs(loss):
                    wrong.append(f"{name}'s loss differs")
            except Failed as reason:
                text += f"; {name}: {reason}"
        return self.need(not wrong, "; ".join([text, *wrong]))

    def rows_command(self):
        return [self.programs / "gpu_tests", "--no-version", "--test-suite=cuda rows",
                "--test-case=values*", "--subcase=" + ",".join(SANITIZED_ROWS)]

    def attention_command(self):
        return [self.programs / "gpu_tests", "--no-version", "--test-suite=cuda attention",
                "--test-case=what is hidden*"]

    def sanitize(self, tool, command):
        found = shutil.which("compute-sanitizer") or next(
            iter(glob.glob("/usr/local/cuda*/bin/compute-sanitizer")), None)
        if not found:
            raise Skipped("there is no compute-sanitizer")
        output, status = self.run([found, "--tool", tool, "--error-exitcode", "9",
                                   "--print-limit", "20", *command], 60, may_fail=True)
        summaries = re.findall(r"^=+ ((?:ERROR|RACECHECK) SUMMARY: .*)", output, flags=re.M)
        clean = summaries and all(re.search(r"SUMMARY: 0 ", line) for line in summaries)
        if status == 0 and clean:
            return "; ".join(summaries)
        how = "it took too long" if status is None else f"status {status}"
        said = [line.strip("= ") for line in output.splitlines() if line.startswith("=====")]
        said = [line for line in said if line and not line.startswith("COMPUTE-SANITIZER")]
        text = " | ".join(said[:4])[:500] or " ".join(output.split())[-300:]
        raise Failed("; ".join([how, *summaries, text]))

    def finish(self):
        with open(self.options.output / "results.json", "w", encoding="utf-8") as file:
            json.dump({"checks": self.results, "races": self.races}, file, indent=1)
        self.log.close()
        self.scratch.cleanup()
        print("{PASS} passed, {FAIL} failed, {SKIP} skipped".format(**self.counts))
        return 0 if self.counts["PASS"] and not self.counts["FAIL"] else 1


def main(arguments):
    options = parse_flags(arguments)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["tar", "-xzf", HERE / "programs.tar.gz", "-C", folder], check=True)
        accept = Accept(options, pathlib.Path(folder) / "bin", HERE / "peers")
        try:
            accept.all()
        finally:
            status = accept.finish()
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
