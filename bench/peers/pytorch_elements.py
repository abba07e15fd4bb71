"""What PyTorch's functions cost for each element on one thread: the cases of bench/elements.cpp.

ATEN_CPU_CAPABILITY=default, avx2 or avx512 caps the level of the instruction set.
"""

import argparse
import json
import time

import torch
import torch.nn.functional as F


def nanoseconds(step, elements, seconds):
    """The least of many times."""
    step()
    least, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        before = time.perf_counter_ns()
        step()
        least = min(least, time.perf_counter_ns() - before)
    return least / elements


def numbers(shape, seed):
    torch.manual_seed(seed)
    return torch.rand(shape) * 2 + 0.25


def with_gradient(function):
    """function(x, other), and the gradient of its sum, weighted by `other` if it is no loss."""
    def step(x, other):
        x = x.detach().requires_grad_()
        y = function(x, other)
        return torch.autograd.grad(y, x, other if y.dim() else None)
    return step


CASES = {
    "exp": lambda x, y: torch.exp(x),
    "log": lambda x, y: torch.log(x),
    "tanh": lambda x, y: torch.tanh(x),
    "sigmoid": lambda x, y: torch.sigmoid(x),
    "sin": lambda x, y: torch.sin(x),
    "cos": lambda x, y: torch.cos(x),
    "pow": torch.pow,
}
ROW_CASES = {
    "softmax": lambda x, y: F.softmax(x, 1),
    "log_softmax": lambda x, y: F.log_softmax(x, 1),
    "softmax and gradient": with_gradient(lambda x, y: F.softmax(x, 1)),
    "log_softmax and gradient": with_gradient(lambda x, y: F.log_softmax(x, 1)),
    "cross entropy and gradient": with_gradient(
        lambda x, y: F.cross_entropy(x, y[:, 0].to(torch.int64))),
    "layer_norm": lambda x, y: F.layer_norm(x, x.shape[1:], torch.ones(x.shape[1]),
                                            torch.zeros(x.shape[1])),
}
ROW_SHAPES = ((4096, 10), (4096, 32), (512, 128), (64, 1000))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=0.1)
    parser.add_argument("--filter", default="")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = [(name, (256, 256), function) for name, function in CASES.items()]
    cases += [(name, shape, function)
              for shape in ROW_SHAPES for name, function in ROW_CASES.items()]
    for name, shape, function in cases:
        if options.filter not in name:
            continue
        x, other = numbers(shape, 1), numbers(shape, 2)
        cost = nanoseconds(lambda: function(x, other), x.numel(), options.seconds)
        print(json.dumps({"case": f"{name} [{shape[0]},{shape[1]}]", "nanoseconds": cost}),
              flush=True)


main()
