"""What the peers' scripts share: MNIST, the flags, and the conversation with bench/run.py."""

import argparse
import gzip
import json
import os
import pathlib
import sys
import time

import numpy


def read_idx(folder, name):
    for path in (folder / name, folder / (name + ".gz")):
        if path.exists():
            data = path.read_bytes()
            if data[:2] == b"\x1f\x8b":
                data = gzip.decompress(data)
            rank = data[3]
            dims = numpy.frombuffer(data, ">i4", rank, 4)
            return numpy.frombuffer(data, numpy.uint8, offset=4 + 4 * rank).reshape(dims)
    raise FileNotFoundError(f"{folder} has no {name}")


class Mnist:
    """Images as float32 in [0,1], [N,28,28,1]; labels as int32, [N]."""

    def __init__(self, folder, limit):
        folder = pathlib.Path(folder)

        def images(part):
            pixels = read_idx(folder, part + "-images-idx3-ubyte")[:limit]
            return numpy.multiply(pixels[..., None], numpy.float32(1 / 255), dtype=numpy.float32)

        def labels(part):
            return read_idx(folder, part + "-labels-idx1-ubyte")[:limit].astype(numpy.int32)

        self.train_images, self.train_labels = images("train"), labels("train")
        self.test_images, self.test_labels = images("t10k"), labels("t10k")


def parse_flags():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", required=True, choices=["mlp", "cnn"])
    parser.add_argument("--batch", required=True, type=int)
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--limit", type=int, help="use only the first samples")
    parser.add_argument("--variant", default="", help="another way of using the same system")
    return parser.parse_args()


def serve(flags, system, answers):
    """Answers the driver's commands, a line each.

    `system` has first_step(), train_epoch() and evaluate(), which return when their work is
    done; the latter two give mean loss and accuracy. A JSON line answers each command; one goes
    before all of them, after the first step.
    """

    def answer(**values):
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    system.first_step()
    answer(event="first_step")
    for command in map(str.strip, sys.stdin):
        start = time.perf_counter()
        if command == "epoch":
            loss, accuracy = system.train_epoch()
        elif command == "evaluate":
            loss, accuracy = system.evaluate()
        else:
            raise ValueError(f"unknown command {command!r}")
        seconds = time.perf_counter() - start
        answer(seconds=seconds, loss=float(loss), accuracy=float(accuracy))


def private_stdout():
    """The stdout that the driver reads; whatever else is printed goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers
