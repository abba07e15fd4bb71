#!/usr/bin/env python3
"""The real tensorboard package reads the event files that are written: curves, distributions and
the graph."""

import os
import pathlib
import subprocess
import sys
import tempfile

import python_packages

python_packages.provide("tensorboard", "setuptools")
# The package's own reader, instead of TensorFlow's.
from tensorboard.backend.event_processing import event_file_loader  # noqa: E402
from tensorboard.compat.proto import graph_pb2  # noqa: E402
from tensorboard.util import tensor_util  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("GRADGRAPH_BUILD", ROOT / "build"))


def close(a, b):
    return abs(a - b) <= 1e-6 * max(1, abs(b))


def main():
    curves, weights, graph = [], None, graph_pb2.GraphDef()
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([BUILD / "tests/write_events", folder], capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"write_events: {done.stdout}{done.stderr}")
        for event in event_file_loader.EventFileLoader(done.stdout.strip()).Load():
            for value in event.summary.value:
                numbers = tensor_util.make_ndarray(value.tensor)
                if value.tag == "__run_graph__":  # what the reader makes of a graph
                    graph.ParseFromString(numbers.item())
                elif value.metadata.plugin_data.plugin_name == "scalars":
                    curves.append((value.tag, event.step, float(numbers)))
                else:
                    assert (value.tag, event.step) == ("weights", 7), value.tag
                    weights = numbers
    wanted = [("loss/training", step, 1.5 / (step + 1)) for step in range(5)]
    wanted.append(("large", 5_000_000_000, -1e30))
    assert len(curves) == len(wanted), curves
    for (tag, step, number), expected in zip(curves, wanted):
        assert (tag, step) == expected[:2] and close(number, expected[2]), (tag, step, number)
    # Rows of left, right, count.
    assert weights is not None and sum(row[2] for row in weights) == 5, weights
    for number, count in ((-2, 1), (0.5, 2), (3, 1)):
        inside = [row for row in weights if row[0] <= number <= row[1] and row[2] > 0]
        assert len(inside) == 1 and inside[0][2] == count, (number, inside)
    nodes = {node.name: node for node in graph.node}
    assert nodes["dense/kernel"].op == "variable", sorted(nodes)
    for node in graph.node:
        for name in node.input:
            assert name.lstrip("^").split(":")[0] in nodes, (node.name, name)
    print(f"{len(curves)} points, a distribution and {len(nodes)} nodes as they were written")


if __name__ == "__main__":
    main()
