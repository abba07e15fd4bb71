"""What the races on one GPU share: their flags, time limits, and a line of JSON per result."""

import argparse
import gc
import json
import os
import signal
import statistics
import sys
import threading
import time
import typing

PRECISIONS = ("float32", "tf32")


class Case(typing.NamedTuple):
    model: str
    batch: int
    precision: str
    variant: str


def parse_flags(description):
    def names(text):
        return text.split(",")

    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", default=os.environ.get("MNIST_DIR"), metavar="DIR",
                        help="the folder with MNIST's four files")
    parser.add_argument("--models", type=names, default=["mlp", "cnn"], metavar="LIST")
    parser.add_argument("--batches", type=lambda text: [int(n) for n in text.split(",")],
                        default=[128, 1000], metavar="LIST")
    parser.add_argument("--precision", choices=(*PRECISIONS, "both"), default="both",
                        help="of products: exact, or TF32 on tensor cores (default: both)")
    parser.add_argument("--variants", default="", metavar="TEXT",
                        help="only those whose name contains it")
    parser.add_argument("--all", action="store_true",
                        help="also variants that take long to compile, or are seldom the best")
    parser.add_argument("--epochs", type=int, default=3, metavar="N",
                        help="timed ones, after one that is not (default: 3)")
    parser.add_argument("--limit", type=int, metavar="N", help="use only the first N samples")
    parser.add_argument("--seconds", type=float, default=55, metavar="S",
                        help="begin nothing more after so long (default: 55)")
    parser.add_argument("--case-seconds", type=float, default=25, metavar="S",
                        help="the most that one case may take (default: 25)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda",
                        help="cpu tries the script out")
    options = parser.parse_args()
    if not options.data:
        parser.error("--data or MNIST_DIR must name the folder with MNIST's files")
    options.precisions = PRECISIONS if options.precision == "both" else (options.precision,)
    return options


def divisor(number, most):
    """The largest one up to `most`."""
    return max(n for n in range(1, min(number, most) + 1) if number % n == 0)


def report(case, **values):
    print(json.dumps({**case._asdict(), **values}), flush=True)


def give_up(case, seconds):
    report(case, error=f"it hung: {seconds:g} s")
    os._exit(1)


def time_limit(*_):
    raise TimeoutError("it took too long")


def race(options, system, cases, make, samples, **facts):
    """Times every case; what fails is a line with "error", and the next one goes on.

    `make(case)` gives a training whose epoch() and evaluate() return when their work is done,
    with mean loss and accuracy. Like bench/train.cpp, it keeps the last, smaller batch.
    """
    facts = {"system": system, **facts}
    start = time.perf_counter()
    signal.signal(signal.SIGALRM, time_limit)
    failed = False
    for case in cases:
        if options.variants not in case.variant:
            continue
        left = options.seconds - (time.perf_counter() - start)
        if left <= 0:
            report(case, **facts, error="not run: no time was left (--seconds)")
            continue
        limit = options.case_seconds
        # What does not come back from a library cannot be interrupted.
        watch = threading.Timer(limit + 10, give_up, (case, limit + 10))
        watch.daemon = True
        watch.start()
        signal.setitimer(signal.ITIMER_REAL, limit)
        try:
            values = measure(options, make, case, samples)
        except Exception as error:  # noqa: BLE001
            lines = str(error).strip().splitlines() or [""]
            values = {"error": f"{type(error).__name__}: {lines[0][:300]}"}
            failed = True
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            watch.cancel()
        report(case, **facts, **values)
        gc.collect()
    sys.exit(1 if failed else 0)


def measure(options, make, case, samples):
    steps = -(-samples // case.batch)
    start = time.perf_counter()
    training = make(case)
    training.epoch()
    ready = time.perf_counter() - start
    runs = []
    for _ in range(options.epochs):
        start = time.perf_counter()
        loss, accuracy = training.epoch()
        runs.append(time.perf_counter() - start)
    validation_loss, validation_accuracy = training.evaluate()
    seconds = statistics.median(runs)
    return {
        "microseconds_per_step": round(seconds / steps * 1e6, 2),
        "seconds_per_epoch": round(seconds, 5),
        "runs": [round(run, 5) for run in runs],
        "steps_per_epoch": steps,
        "epochs": 1 + options.epochs,
        "loss": round(float(loss), 4),
        "accuracy": round(float(accuracy), 4),
        "validation_loss": round(float(validation_loss), 4),
        "validation_accuracy": round(float(validation_accuracy), 4),
        "seconds_until_ready": round(ready, 2),
    }
