#!/usr/bin/env python3
"""The MNIST programs: log, flags and errors, on small files.

Some train on MNIST itself, where $MNIST_DIR is set.
"""

import gzip
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAMS = pathlib.Path(os.environ.get("GRADGRAPH_BUILD", ROOT / "build")) / "graph_examples"
NAMES = ["mnist_softmax", "mnist_mlp", "mnist_cnn"]
OPTIMIZERS = ["adam", "adamw", "rmsprop", "adagrad", "momentum", "sgd"]
LINE = re.compile(
    r"^loss: \d+\.\d{4} / \d+\.\d{4}\taccuracy: \d\.\d{4} / \d\.\d{4}\tstep \d+  \d+\.\d{2} sec$"
)
TRAIN, TEST = 100, 40
FASHION = pathlib.Path("/usr/share/datasets/fashion-mnist")
MNIST_DIR = os.environ.get("MNIST_DIR")


def idx(dims, values):
    return struct.pack(f">BBBB{len(dims)}I", 0, 0, 8, len(dims), *dims) + bytes(values)


def images(count):
    """A bright bar whose place is the label: easy to learn."""
    pixels = bytearray()
    for i in range(count):
        row = i % 10 * 2 + 4
        for y in range(28):
            pixels += bytes([200 + i % 50 if y in (row, row + 1) else 0] * 28)
    return idx([count, 28, 28], pixels)


def labels(count):
    return idx([count], [i % 10 for i in range(count)])


def write_data(folder):
    folder.mkdir(parents=True)
    for part, count in (("train", TRAIN), ("t10k", TEST)):
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images(count)))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(labels(count))
    return folder


def log_of(output):
    return [line for line in output.split("\n") if line.startswith("loss: ")]


def without_seconds(line):
    return re.sub(r"  \d+\.\d{2} sec$", "", line)


class Examples(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = pathlib.Path(scratch.name)
        self.data = write_data(self.scratch / "mnist")
        self.environment = {k: v for k, v in os.environ.items() if k != "MNIST_DIR"}
        self.environment |= {"HOME": str(self.scratch), "XDG_CACHE_HOME": str(self.scratch)}

    def command(self, name, *flags, data=True):
        folder = ["--data", str(self.data)] if data else []
        return [str(PROGRAMS / name), *folder, *map(str, flags)]

    def start(self, name, *flags, data=True, **options):
        return subprocess.run(
            self.command(name, *flags, data=data),
            capture_output=True, text=True, timeout=300, cwd=self.scratch,
            env=self.environment, **options,
        )  # fmt: skip

    def output(self, name, *flags, data=True):
        done = self.start(name, *flags, data=data)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def error(self, *flags, name="mnist_softmax", status=1, data=True):
        """The one line of a failure, before which nothing is printed or written."""
        before = sorted(self.scratch.rglob("*"))
        done = self.start(name, *flags, data=data)
        self.assertEqual(done.stdout, "")
        self.assertRegex(done.stderr, r"\Aerror: [^\n]+\n\Z")
        self.assertEqual(done.returncode, status)
        self.assertEqual(sorted(self.scratch.rglob("*")), before)
        return done.stderr[len("error: ") : -1]


class Log(Examples):
    def test_a_line_per_epoch(self):
        for name in NAMES:
            with self.subTest(name):
                flags = ["--epochs", 3, "--batch-size", 32, "--quiet"]
                lines = self.output(name, *flags).split("\n")
                self.assertEqual(lines.pop(), "")
                self.assertEqual(len(lines), 3)
                for epoch, line in enumerate(lines, 1):
                    self.assertRegex(line, LINE)
                    self.assertIn(f"\tstep {epoch}  ", line)

    def test_the_same_seed_prints_the_same(self):
        for name in NAMES:
            with self.subTest(name):
                flags = ["--epochs", 2, "--batch-size", 16, "--quiet", "--seed"]
                first, again, other = (
                    [without_seconds(line) for line in log_of(self.output(name, *flags, seed))]
                    for seed in (7, 7, 8)
                )
                self.assertEqual(first, again)
                self.assertNotEqual(first, other)

    def test_training_learns(self):
        lines = log_of(self.output("mnist_mlp", "--epochs", 20, "--batch-size", 10))
        loss = [float(line.split()[1]) for line in lines]
        self.assertLess(loss[-1], 0.1 * loss[0])
        self.assertIn("accuracy: 1.0000 / 1.0000", lines[-1])

    def test_summary_data_and_device(self):
        parameters = {"mnist_softmax": "7,850", "mnist_mlp": "669,706", "mnist_cnn": "428,330"}
        for name, count in parameters.items():
            with self.subTest(name):
                flags = ["--epochs", 1, "--threads", 1, "--device", "cpu"]
                lines = self.output(name, *flags).split("\n")
                self.assertIn(f"Total parameters: {count}", lines)
                self.assertIn(
                    f"data: MNIST in {self.data}, {TRAIN} training and {TEST} validation "
                    "samples; device: cpu, 1 thread",
                    lines,
                )
                self.assertRegex(lines[-2], LINE)

    def test_devices(self):
        output = self.output("devices", data=False)
        self.assertRegex(
            output,
            r"\Acpu: .+, \d+ processors, .+; \d+ GB of memory, \d+ GB free\n"
            r"  float32: \d+ GFLOP/s; memory: \d+ GB/s\n",
        )

    def test_limit(self):
        output = self.output("mnist_softmax", "--epochs", 1, "--limit", 30)
        self.assertIn("30 training and 30 validation samples", output)
        output = self.output("mnist_softmax", "--epochs", 1, "--limit", 1)
        self.assertIn("1 training and 1 validation samples", output)

    def test_log_every(self):
        flags = ["--epochs", 2, "--batch-size", 10, "--quiet"]
        lines = log_of(self.output("mnist_softmax", *flags, "--log-every", 4))
        for line in lines:
            self.assertRegex(line, LINE)
        # After batches 4 and 8 of 10, and after the epoch.
        self.assertEqual(
            [line.split("step ")[1].split()[0] for line in lines], ["1"] * 3 + ["2"] * 3
        )
        # Looking more often changes nothing.
        plain = log_of(self.output("mnist_softmax", *flags))
        self.assertEqual(*(list(map(without_seconds, log)) for log in (lines[2::3], plain)))

    def test_metrics(self):
        file = self.scratch / "metrics.jsonl"
        file.write_text("old\n")
        lines = log_of(self.output("mnist_softmax", "--epochs", 2, "--metrics", file))
        records = [json.loads(line) for line in file.read_text().splitlines()]
        self.assertEqual([record["epoch"] for record in records], [1, 2])
        for line, record in zip(lines, records):
            expected = (
                "loss: {loss:.4f} / {validation_loss:.4f}\t"
                "accuracy: {accuracy:.4f} / {validation_accuracy:.4f}\t"
                "step {epoch}  {seconds:.2f} sec"
            )
            self.assertEqual(line, expected.format(**record))

    def test_every_optimizer_trains(self):
        for optimizer in OPTIMIZERS:
            with self.subTest(optimizer):
                flags = ["--epochs", 10, "--batch-size", 10, "--optimizer", optimizer]
                lines = log_of(self.output("mnist_softmax", *flags))
                loss = [float(line.split()[1]) for line in lines]
                self.assertLess(loss[-1], loss[0])

    def test_explain_placement(self):
        output = self.output("mnist_mlp", "--epochs", 1, "--explain-placement", "--device", "cpu")
        self.assertRegex(output, r"(?m)^argmax +argmax +cpu ")
        self.assertEqual(len(log_of(output)), 1)

    def test_explain_passes(self):
        output = self.output("mnist_mlp", "--epochs", 1, "--explain-passes")
        self.assertRegex(output, r"(?m)^fuse_elementwise: \d+ rewrites$")
        self.assertRegex(output, r"(?m)^lower_bias_add: 3 rewrites\n  'dense1/bias_add' = add\(")
        self.assertEqual(len(log_of(output)), 1)

    def test_exact_rewrites(self):
        flags = ["mnist_cnn", "--epochs", 1, "--limit", 512, "--explain-passes"]
        output, exact = self.output(*flags), self.output(*flags, "--exact-rewrites")
        counts = [re.findall(r"(?m)^(\w+): (\d+) rewrites?$", text) for text in (output, exact)]
        self.assertNotEqual(*counts)
        losses = [float(log_of(text)[0].split()[1]) for text in (output, exact)]
        self.assertAlmostEqual(losses[0], losses[1], delta=0.01)

    def test_memory(self):
        output = self.output("mnist_mlp", "--epochs", 1, "--explain-memory")
        self.assertRegex(output, r"(?m)^memory: [\d.]+ MB at its peak ")
        self.assertIn("1.61 MB  variable 'dense1/kernel' float32[784,512]  (main.cpp:", output)
        result = self.start("mnist_mlp", "--epochs", 1, "--memory-limit", "1MB")
        self.assertEqual(result.returncode, 1)
        self.assertIn("error: this run needs more memory than the limit of 1 MB: ", result.stderr)

    def test_dot(self):
        for name in NAMES:
            with self.subTest(name):
                file = self.scratch / f"{name}.dot"
                self.output(name, "--epochs", 1, "--limit", 10, "--dot", file)
                text = file.read_text()
                self.assertIn("images", text)
                self.assertIn("logits", text)
                if shutil.which("dot"):
                    picture = subprocess.run(
                        ["dot", "-Tsvg", file], capture_output=True, text=True, timeout=300
                    )
                    self.assertEqual((picture.returncode, picture.stderr), (0, ""))
                    self.assertIn("</svg>", picture.stdout)

    def test_help_names_every_flag(self):
        flags = (
            "epochs batch-size learning-rate optimizer seed data device threads log-every "
            "metrics dot dot-depth limit quiet explain-placement explain-memory memory-limit help"
        )
        for name in NAMES:
            text = self.output(name, "--help", data=False)
            for flag in flags.split():
                self.assertRegex(text, rf"--{flag}\b")
            for word in OPTIMIZERS + ["MNIST_DIR", "JSON", "Ctrl-C", "Exit status"]:
                self.assertIn(word, text)


class Numerics(Examples):
    def test_the_first_infinity_is_named_and_replayed(self):
        for folder, flag in (("numerics", "--check-numerics"), ("kept", "--check-numerics=kept")):
            done = self.start("mnist_mlp", "--optimizer", "sgd", "--learning-rate", "1e25",
                              "--quiet", "--seed", "5", flag)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            bundle = f"{folder}/step-00000001"
            message = re.fullmatch(
                r"error: (\[matmul\] 'dense2/matmul': made \d+ (?:NaN|infinities).*; in step 1)"
                rf"; gg::replay runs it again from '{bundle}'  \(main.cpp:\d+\)\n", done.stderr)
            self.assertTrue(message, done.stderr)
            # The seed and the data are those of then, unless they are given anew.
            again = self.start("mnist_mlp", "--replay", bundle, "--threads", "1", data=False)
            self.assertEqual((again.returncode, again.stdout), (1, ""))
            self.assertTrue(again.stderr.startswith(f"error: {message[1]}  (main.cpp:"))

    def test_finite_numbers_train_as_ever(self):
        self.assertEqual(self.output("mnist_softmax", "--quiet", "--check-numerics").count("\n"),
                         self.output("mnist_softmax", "--quiet").count("\n"))
        self.assertFalse((self.scratch / "numerics").exists())

    def test_no_bundle(self):
        self.assertIn("nowhere/manifest.json", self.error("--replay", "nowhere"))


class Interrupts(Examples):
    def setUp(self):
        super().setUp()
        # Shells start what runs in the background with SIGINT ignored, and children inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def test_ctrl_c_ends_after_the_running_step(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number.name):
                process = subprocess.Popen(
                    self.command("mnist_softmax", "--epochs", 1000000, "--quiet"),
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                    env=self.environment,
                )  # fmt: skip
                first = process.stdout.readline()
                process.send_signal(number)
                rest, errors = process.communicate(timeout=60)
                self.assertEqual(process.returncode, 130)
                self.assertRegex(errors, r"\Ainterrupted in epoch \d+ of 1000000\n\Z")
                self.assertTrue((first + rest).endswith("\n"))
                for line in (first + rest).splitlines():
                    self.assertRegex(line, LINE)

    def test_progress_bar_on_a_terminal_only(self):
        # The terminal is stderr; stdout stays a file without escape sequences.
        outer, inner = pty.openpty()
        process = subprocess.Popen(
            self.command("mnist_cnn", "--epochs", 1000000, "--batch-size", 1),
            stdout=subprocess.PIPE, stderr=inner, env=self.environment,
        )  # fmt: skip
        os.close(inner)
        shown, deadline = b"", time.monotonic() + 60
        while b"samples/s" not in shown and time.monotonic() < deadline:
            if select.select([outer], [], [], 1)[0]:
                shown += os.read(outer, 1 << 16)
        process.kill()
        process.communicate()
        os.close(outer)
        self.assertIn(b"samples/s", shown)


class BadInput(Examples):
    def test_flags(self):
        rows = [
            (["--no-such-flag"], "--no-such-flag"),
            (["stray"], "stray"),
            (["--batch-size", 0], "--batch-size: must be a whole number, 1 or more, not 0"),
            (["--batch-size", -5], "--batch-size: must be a whole number, 1 or more, not -5"),
            (["--batch-size", "many"], "--batch-size: must be a whole number"),
            (["--batch-size", "1.5"], "--batch-size: must be a whole number"),
            (["--batch-size"], "--batch-size"),
            (["--epochs", 0], "--epochs: must be a whole number, 1 or more, not 0"),
            (["--epochs", 10**10], "--epochs"),
            (["--limit", 0], "--limit: must be a whole number, 1 or more, not 0"),
            (["--log-every", 0], "--log-every: must be a whole number, 1 or more, not 0"),
            (["--threads", -1], "--threads: must be a whole number, 0 or more, not -1"),
            (["--seed", -1], "--seed: must be a whole number, 0 or more, not -1"),
            (["--learning-rate", 0], "--learning-rate: must be a number above 0, not 0"),
            (["--learning-rate", "nan"], "--learning-rate: must be a number above 0, not nan"),
            (["--learning-rate", "fast"], "--learning-rate: must be a number above 0, not fast"),
            (["--precision", "bf8"], "--precision: there is no precision 'bf8', only fp32, tf32"),
            (["--optimizer", "lbfgs"], "--optimizer: there is no optimizer 'lbfgs', only adam"),
        ]
        for name in NAMES:
            for flags, message in rows:
                with self.subTest(name, flags=flags):
                    self.assertIn(message, self.error(*flags, name=name, status=2))

    def test_device(self):
        message = self.error("--device", "gpu7")
        self.assertIn("gpu7", message)
        self.assertIn("cpu", message)

    def test_files_to_write(self):
        folder = self.scratch / "folder"
        folder.mkdir()
        for flag in ("--metrics", "--dot"):
            missing = self.scratch / "nowhere" / "file"
            message = self.error(flag, missing, status=2)
            self.assertIn(f"{flag}: cannot write {missing}: there is no directory", message)
            message = self.error(flag, folder, status=2)
            self.assertIn(f"{flag}: cannot write {folder}: it is a directory", message)
            if os.geteuid() != 0:  # root may write everywhere
                folder.chmod(0o500)
                message = self.error(flag, folder / "file", status=2)
                self.assertIn("permission denied", message)

    def test_bad_data_leaves_no_files(self):
        (self.data / "t10k-labels-idx1-ubyte").unlink()
        # `error` looks for new files.
        self.error("--metrics", self.scratch / "metrics", "--dot", self.scratch / "dot")

    def test_missing_data(self):
        if FASHION.is_dir():  # the last place to look in
            output = self.output("mnist_softmax", "--limit", 10, "--epochs", 1, data=False)
            self.assertIn("Fashion-MNIST", output)
        else:
            message = self.error(data=False)
            self.assertIn("no MNIST found in data/mnist, ", message)
            self.assertIn("--data or $MNIST_DIR", message)
        message = self.error("--data", self.scratch / "nowhere", data=False)
        self.assertIn("nowhere/train-images-idx3-ubyte: no such file", message)
        self.environment["MNIST_DIR"] = "elsewhere"
        self.assertIn("elsewhere/train-images-idx3-ubyte: no such file", self.error(data=False))

    def test_broken_data(self):
        train_images = self.data / "train-images-idx3-ubyte.gz"
        train_labels = self.data / "train-labels-idx1-ubyte"
        zipped = train_images.read_bytes()
        rows = [
            (train_images, zipped[:-20], "truncated: the compressed data stops in the middle"),
            (train_images, zipped[:-5] + b"\1" + zipped[-4:], "the compressed data is corrupt"),
            (train_images, b"", "truncated: 0 bytes are no IDX header"),
            (train_images, images(TRAIN)[:-1], "truncated: the header says uint8[100,28,28]"),
            (train_images, images(TRAIN) + b"x", "but more than 78400 bytes follow"),
            (train_images, b"\x89PNG" + bytes(50), "not an IDX file: it starts with 89 50"),
            (train_images, labels(TRAIN), "MNIST images are uint8[N,28,28], this is uint8[100]"),
            (train_labels, labels(TRAIN)[:-1] + b"\x0a", "label 10 of sample 99 is outside 0..9"),
            (train_labels, labels(TRAIN - 1), "99 labels for the 100 images"),
            (train_labels, b"\0\0\7" + labels(TRAIN)[3:], "0x07 is not an IDX element type"),
        ]
        for file, content, message in rows:
            with self.subTest(message):
                good = file.read_bytes()
                file.write_bytes(content)
                error = self.error()
                file.write_bytes(good)
                self.assertTrue(error.startswith(f"{file}: "), error)
                self.assertIn(message, error)


@unittest.skipUnless(MNIST_DIR, "MNIST_DIR is not set")
class RealData(Examples):
    def test_softmax_regression(self):
        output = self.output("mnist_softmax", "--data", MNIST_DIR, "--epochs", 2, data=False)
        self.assertIn("60000 training and 10000 validation samples", output)
        self.assertGreater(float(log_of(output)[-1].split("\t")[1].split()[-1]), 0.89)

    def test_perceptron(self):
        flags = ["--data", MNIST_DIR, "--epochs", 1, "--limit", 10000]
        output = self.output("mnist_mlp", *flags, data=False)
        self.assertGreater(float(log_of(output)[-1].split("\t")[1].split()[-1]), 0.85)


if __name__ == "__main__":
    unittest.main()
