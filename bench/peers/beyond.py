"""What the peers' scripts for models beyond MNIST share: the flags, the inputs and weights that
bench/beyond_mnist.cpp has written, and the conversation with bench/beyond_mnist.py."""

import argparse
import itertools
import json
import re
import sys
import time

import numpy

MODELS = ["lstm", "transformer", "long_transformer", "vae", "resnet", "mobilenet", "mlp", "unet",
          "text_cnn", "vocabulary", "recommender", "cnn_inference"]
RATE, EPSILON = 1e-3, 1e-8


def parse_flags():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, choices=MODELS)
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--start", required=True, help="the file with inputs and weights")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu",
                        help="on a GPU a step of every batch is made at once, in exact float32")
    parser.add_argument("--compile", action="store_true", help="on a GPU, PyTorch's compiler")
    return parser.parse_args()


class Start:
    """`batches`: dictionaries of arrays, one for each step. `weights`: arrays by the names of
    gradgraph's variables."""

    def __init__(self, path):
        batches, self.weights = {}, {}
        for name, array in numpy.load(path).items():
            if of_batch := re.fullmatch(r"(batch\d+)/(\w+)", name):
                batches.setdefault(of_batch[1], {})[of_batch[2]] = array
            else:
                # "attention/query_kernel" as "attention/query/kernel": a dense layer like others.
                self.weights[re.sub("_(kernel|bias)$", r"/\1", name)] = array
        self.batches = list(batches.values())

    def batches_in_turn(self, convert):
        """Without end, from the first one again after the last one. Only gradgraph is fed that
        it trains."""
        return itertools.cycle([{name: convert(array) for name, array in batch.items()
                                 if name != "training"} for batch in self.batches])


def cross_entropy(logits, label):
    """Of one sample, outside of what is timed."""
    logits = numpy.asarray(logits, numpy.float64).reshape(-1)
    return numpy.log(numpy.exp(logits - logits.max()).sum()) + logits.max() - logits[label.item()]


def serve(system, answers):
    """Answers the driver's commands, a line each.

    `system` has steps(count), which returns when so many steps are done, and loss(), of the last
    one. A JSON line answers each command; one goes before all of them, after the first step.
    """

    def answer(**values):
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    system.steps(1)
    answer(event="first_step")
    for command in sys.stdin:
        word, count = command.split()
        if word != "steps":
            raise ValueError(f"unknown command {command!r}")
        start = time.perf_counter()
        system.steps(int(count))
        seconds = (time.perf_counter() - start) / int(count)
        answer(seconds=seconds, loss=float(system.loss()))
