"""`./run bench --elements`: what functions cost per element on one thread, beside PyTorch."""

import json
import os
import subprocess

import report
import systems

COST = "nanoseconds_per_element"


def costs(command, environment):
    """(case, nanoseconds) of every line that the program prints."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise systems.Failure(f"{command[0]}: {systems.last_line(done.stderr)}")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [(line["case"], line["nanoseconds"]) for line in lines]


def commands(options):
    """What measures each system: on one processor, the highest-numbered one."""
    pin = ["taskset", "--cpu-list", str(max(os.sched_getaffinity(0)))]
    flags = ["--seconds", "0.03" if options.quick else "0.1"]
    result = {report.OURS: ([*pin, str(options.build / "bench/elements"), *flags], os.environ)}
    for peer in options.peers:
        if peer.key == "torch":
            script = str(systems.HERE / "peers/pytorch_elements.py")
            python = str(systems.install(peer, options.folder))
            environment = dict(os.environ, **peer.environment)
            result[peer.name] = ([*pin, python, script, *flags], environment)
    return result


def measure(options):
    """Results of all systems, which take turns."""
    results = report.Results()
    programs = commands(options)
    for _ in range(options.runs):
        for system, (command, environment) in programs.items():
            for case, nanoseconds in costs(command, environment):
                results.add(case, system, COST, nanoseconds)
    return results


def table(results):
    """A row for each case: the least of all runs, since what else runs only adds to it."""
    systems_of = list(dict.fromkeys(system for _, system, _ in results.runs))
    rows = []
    for case in results.workloads(COST):
        least = [min(results.runs[case, system, COST]) for system in systems_of]
        ratio = [f"{least[0] / least[1]:.2f}"] if len(least) > 1 else []
        rows.append([*case.rsplit(" ", 1), *(f"{cost:.2f}" for cost in least), *ratio])
    ratio = [f"{systems_of[0]} / {systems_of[1]}"] if len(systems_of) > 1 else []
    return report.format_rows(["ns an element", "of", *systems_of, *ratio], rows)
