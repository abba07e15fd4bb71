#!/usr/bin/env python3
"""Trains MNIST with gradgraph and its peers, one epoch each in turn, and compares them.

`./run bench` builds what is missing and starts this.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import time

import beyond_mnist
import elements
import report
import systems
from systems import OURS, PEERS, WORKLOADS, Failure

EPOCH, FIRST_STEP, MEMORY = "epoch_seconds", "first_step_seconds", "peak_rss_mb"
NEIGHBOUR = "epoch_seconds_beside_a_busy_program"
TO_ACCURACY = "seconds_to_accuracy"
OVERHEAD, GRAPH, GRAPH_BYTES = "nanoseconds_per_node", "seconds_per_graph", "bytes_per_node"
QUICK_SAMPLES = 12000
TARGET_ACCURACY = {"mlp": 0.98, "cnn": 0.99}
MOST_EPOCHS = 40


def parse_flags(arguments):
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__.split("\n")[0])
    keys = ",".join(peer.key for peer in PEERS)
    parser.add_argument("--peers", default=keys, metavar="LIST",
                        help=f"some of {keys}, or none (default: all)")
    parser.add_argument("--workloads", default=",".join(w.key for w in WORKLOADS), metavar="LIST",
                        help="some of %(default)s (default: all)")
    parser.add_argument("--quick", action="store_true",
                        help=f"epochs of {QUICK_SAMPLES} samples, fewer runs: about 5 minutes")
    parser.add_argument("--runs", type=int, metavar="N", help="timed epochs (default: 5)")
    parser.add_argument("--limit", type=int, metavar="N", help="use only the first N samples")
    parser.add_argument("--threads", type=int, default=2, metavar="N",
                        help="threads, and processors, for every system (default: 2)")
    parser.add_argument("--accuracy", action="store_true",
                        help="also measure the time to 98 %% (MLP) and 99 %% (CNN) of the "
                             "validation data, gradgraph's and Keras'")
    parser.add_argument("--neighbour", action="store_true",
                        help="also measure epochs beside a program that is always busy, on the "
                             "same processors")
    parser.add_argument("--elements", action="store_true",
                        help="instead of all else, what functions cost for each element on one "
                             "thread, beside PyTorch")
    models = ",".join(dict.fromkeys(model.key for model in beyond_mnist.MODELS))
    parser.add_argument("--models", nargs="?", const=models, default="", metavar="LIST",
                        help="instead of all else, what steps of models beyond MNIST take, "
                             f"beside PyTorch, JAX and ONNX Runtime: some of {models} "
                             "(default: all)")
    parser.add_argument("--isa", choices=("baseline", "avx2", "avx512"),
                        help="cap the level of the instruction set, gradgraph's and the peers' "
                             "(ONNX Runtime has no cap)")
    parser.add_argument("--data", type=pathlib.Path, default=os.environ.get("MNIST_DIR"),
                        metavar="DIR", help="the folder with MNIST's four files")
    parser.add_argument("--build", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=pathlib.Path, metavar="DIR",
                        help="where results.json and results.svg go (default: build/bench)")
    options = parser.parse_args(arguments)
    options.folder = options.build / "bench"
    options.output = options.output or options.folder
    options.runs = options.runs or (3 if options.quick else 5)
    if options.quick and not options.limit:
        options.limit = QUICK_SAMPLES

    def choose(names, known, what):
        names = [name for name in names.split(",") if name != "none"]
        for name in names:
            if name not in [item.key for item in known]:
                parser.error(f"there is no {what} '{name}'")
        return [item for item in known if item.key in names]

    options.peers = choose(options.peers, PEERS, "peer")
    options.workloads = choose(options.workloads, WORKLOADS, "workload")
    options.models = choose(options.models or "none", beyond_mnist.MODELS, "model")
    if not options.models:
        options.peers = [peer for peer in options.peers if peer.script]
    if options.threads < 1 or options.runs < 1:
        parser.error("--threads and --runs must be 1 or more")
    return options


def say(*words, sep=" "):
    print(*words, sep=sep, flush=True)


def name_of(system):
    return OURS if system is None else system.name


def title_of(workload, options):
    return workload.name + (f", {options.limit} samples" if options.limit else "")


class Bench:
    def __init__(self, options):
        self.options = options
        self.results = report.Results()
        self.failures = {}
        self.busy = []

    def start(self, system, workload):
        """A process that has made its first step; None, and a note, where it cannot."""
        options = self.options
        try:
            command, environment = systems.command_of(system, workload, options.folder, options)
            log = options.output / f"{name_of(system).split(' ')[0]}-{workload.key}.log"
            process = systems.Process(command, environment, options.threads, log)
        except (Failure, OSError) as failure:
            self.fail(system, workload, failure)
            return None
        self.results.add(workload.name, name_of(system), FIRST_STEP, process.first_step_seconds)
        return process

    def fail(self, system, workload, failure):
        if system is None:
            raise Failure(f"{OURS}, {workload.name}: {failure}")
        self.failures[name_of(system), workload.name] = str(failure)
        say(f"{name_of(system)}, {workload.name}: {failure}")

    def ask_all(self, running, workload, command, metric=None):
        """One system after the other; what fails is left out from then on."""
        for system, process in list(running.items()):
            try:
                answer = process.ask(command)
            except Failure as failure:
                process.end()
                del running[system]
                self.fail(system, workload, failure)
                continue
            if metric:
                self.results.add(title_of(workload, self.options), name_of(system), metric,
                                 answer["seconds"])
            if metric == EPOCH:
                self.busy.append(process.busy_share[-1])

    def train(self, workload):
        say(f"{title_of(workload, self.options)}: {self.options.runs} epochs after a warm-up")
        running = {}
        try:
            for system in [None, *self.options.peers]:
                process = self.start(system, workload)
                if process:
                    running[system] = process
            self.ask_all(running, workload, "epoch")
            for _ in range(self.options.runs):
                self.ask_all(running, workload, "epoch", EPOCH)
                if self.options.neighbour:
                    with systems.busy_neighbour(self.options.threads):
                        self.ask_all(running, workload, "epoch", NEIGHBOUR)
            for system, process in running.items():
                self.results.add(workload.name, name_of(system), MEMORY, process.peak_rss_mb())
        finally:
            for process in running.values():
                process.end()

    def start_again(self, workload):
        """More measurements of start-up, of the systems that start in less than a minute."""
        for system in [None, *self.options.peers]:
            runs = self.results.runs.get((workload.name, name_of(system), FIRST_STEP), [60])
            if runs[0] < 60:
                process = self.start(system, workload)
                if process:
                    process.end()

    def train_to_accuracy(self, workload):
        target = TARGET_ACCURACY[workload.model]
        for system in [None, *(peer for peer in self.options.peers if peer.key == "keras")]:
            process = self.start(system, workload)
            if not process:
                continue
            seconds = 0.0
            for epoch in range(1, MOST_EPOCHS + 1):
                seconds += process.ask("epoch")["seconds"]
                answer = process.ask("evaluate")
                seconds += answer["seconds"]
                if answer["accuracy"] >= target:
                    say(f"{name_of(system)}, {workload.name}: {target:.0%} of the validation "
                        f"data after {epoch} epochs, {seconds:.2f} s")
                    self.results.add(workload.name, name_of(system), TO_ACCURACY, seconds)
                    break
            else:
                self.fail(system, workload, Failure(f"below {target:.0%} after {epoch} epochs"))
            process.end()

    def lines_of(self, program, *arguments):
        done = subprocess.run(
            ["taskset", "--cpu-list", systems.processors(self.options.threads),
             str(self.options.build / "bench" / program), *map(str, arguments)],
            capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failure(f"{program}: {systems.last_line(done.stderr)}")
        return done.stdout.splitlines()

    def measure_overhead(self):
        for line in self.lines_of("overhead", "--runs", self.options.runs):
            self.results.add("chain of 1000 nodes, unfused", OURS, OVERHEAD,
                             json.loads(line)["nanoseconds_per_node"])

    def show_kernels(self):
        say("\nNodes of a training step")
        steps = 10 if self.options.quick else 50
        say(*self.lines_of("kernels", "--steps", steps, "--threads", self.options.threads),
            sep="\n")

    def measure_scaling(self):
        lines = self.lines_of("scaling", 10_000 if self.options.quick else 1_000_000)
        say("\nBuilding graphs, gradients, passes and plan\n" + "\n".join(lines))
        row = re.compile(r"(\w+) +(\d+) +all .* (\d+) bytes at the peak, ([\d.]+) s")
        for line in lines:
            if found := row.match(line):
                kind, nodes, size, seconds = found.groups()
                self.results.add(f"{kind} of {nodes} nodes", OURS, GRAPH, float(seconds))
                self.results.add(f"{kind} of {nodes} nodes", OURS, GRAPH_BYTES, int(size))


def machine(isa):
    """The processor's name, how many of them there are, and the level that all are capped at."""
    text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return (f"{model[1] if model else platform.machine()}, {os.cpu_count()} processors"
            f"{f', capped at {isa}' if isa else ''}")


def print_report(bench):
    options, results = bench.options, bench.results
    say(f"\n{machine(options.isa)}; {options.threads} threads for every system")
    for metric, title, digits in (
            (EPOCH, "Seconds for one training epoch", 3),
            (NEIGHBOUR, "Seconds for one training epoch beside a program that is always busy", 3),
            (FIRST_STEP, "Seconds from the start of the process to the end of the first step, "
                         "reading the data included", 2),
            (MEMORY, "Peak resident memory in MB", 0),
            (TO_ACCURACY, "Seconds to 98 % (MLP) or 99 % (CNN) of the validation data", 2),
            (OVERHEAD, "Nanoseconds per node", 1),
            (GRAPH, "Seconds for building, gradients, passes and plan", 3),
            (GRAPH_BYTES, "Bytes per node at the peak of that", 0)):
        if results.workloads(metric):
            say(f"\n{title}\n\n{report.table(results, metric, digits)}")
    for (system, workload), failure in bench.failures.items():
        say(f"\nnot measured: {system}, {workload}: {failure}")
    warn_of_others(bench.busy)


def warn_of_others(shares):
    if shares and statistics.median(shares) > 0.05:
        say(f"\nBEWARE: other processes took {statistics.median(shares):.0%} of the processors' "
            "time while systems were timed")


def show_models(options):
    results, busy = beyond_mnist.measure(options, say)
    say(f"\n{machine(options.isa)}; {options.threads} threads for every system\n\n"
        f"{beyond_mnist.table(results, options.models)}")
    warn_of_others(busy)
    results.write_json(options.output / "models.json")


def main(arguments):
    options = parse_flags(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    if options.isa:
        os.environ.update(systems.capped(options.isa))
    try:
        if options.models:
            show_models(options)
            return 0
        if options.elements:
            say(f"{machine(options.isa)}\n\n{elements.table(elements.measure(options))}")
            return 0
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    bench = Bench(options)
    start = time.monotonic()
    try:
        for workload in options.workloads:
            bench.train(workload)
        if not options.quick:
            for workload in options.workloads:
                if workload.batch == 128:
                    for _ in range(2):
                        bench.start_again(workload)
        if options.accuracy:
            for workload in options.workloads:
                if workload.batch == 128:
                    bench.train_to_accuracy(workload)
        bench.measure_overhead()
        bench.measure_scaling()
        bench.show_kernels()
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    print_report(bench)
    bench.results.write_json(options.output / "results.json")
    svg = report.chart(bench.results, EPOCH, "Seconds for one training epoch on MNIST")
    (options.output / "results.svg").write_text(svg, encoding="utf-8")
    say(f"\nresults.json and results.svg are in {options.output}; "
        f"{time.monotonic() - start:.0f} s in all")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
