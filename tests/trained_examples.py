#!/usr/bin/env python3
"""The programs that are no MNIST classifiers: each, in a small setting, learns far more than
chance gives, goes on from a checkpoint to the same bits, and refuses wrong input in a line."""

import re
import shutil
import struct
import unittest

from examples import Examples, log_of, without_seconds

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255),
           (0, 255, 255), (255, 255, 255), (0, 0, 0), (255, 128, 0), (128, 128, 128)]  # fmt: skip


def numbers(line, name):
    """What a log line has under this name: of training, and of validation where there is any."""
    found = re.search(rf"{name}: ([\d.]+)(?: / ([\d.]+))?", line)
    return [float(text) for text in found.groups() if text]


def png_size(file):
    header = file.read_bytes()[:24]
    assert header.startswith(b"\x89PNG\r\n\x1a\n"), header
    return struct.unpack(">II", header[16:])


class Trained(Examples):
    """`resumes` runs the flags with checkpoints, takes the last one away, and goes on."""

    def trained(self, name, *flags, data=False):
        output = self.output(name, *flags, data=data)
        return log_of(output), output

    def resumes(self, name, *flags, data=False, part="."):
        folder = self.scratch / f"{name}_checkpoints"
        flags = [*flags, "--quiet", "--checkpoint", folder]
        whole = log_of(self.output(name, *flags, data=data))
        *_, last = sorted((folder / part).glob("step-*"))
        variables = (last / "variables.safetensors").read_bytes()
        shutil.rmtree(last)
        rest = log_of(self.output(name, *flags, "--resume", data=data))
        self.assertEqual(len(rest), 1)
        self.assertEqual(without_seconds(rest[0]), without_seconds(whole[-1]))
        self.assertEqual((last / "variables.safetensors").read_bytes(), variables)


class CsvRegression(Trained):
    def test_learns(self):
        _, output = self.trained("csv_regression")
        error, of_mean = map(float, re.findall(r"([\d.]+) % off", output))
        self.assertLess(error, 8)
        self.assertGreater(of_mean, 25)
        self.assertIn("480 training and 120 validation samples", output)

    def test_resumes(self):
        self.resumes("csv_regression", "--epochs", 3)

    def test_wrong_tables(self):
        table = self.scratch / "table.csv"
        table.write_text("district,area,rooms,year,distance\nHill,100,3,1950,2.5\n")
        self.assertIn("price", self.error("--table", table, name="csv_regression", data=False))
        table.write_text("district,area\nHill,100\nHill\n")
        message = self.error("--table", table, name="csv_regression", data=False)
        self.assertIn("table.csv: line 3", message)
        missing = self.error("--table", "nowhere.csv", name="csv_regression", data=False)
        self.assertIn("nowhere.csv: no such file", missing)


class CharLstm(Trained):
    SMALL = ("--units", 24, "--length", 12, "--epochs", 5, "--batch-size", 8,
             "--learning-rate", 0.02)  # fmt: skip

    def setUp(self):
        super().setUp()
        self.text = self.scratch / "text"
        self.text.write_text("to be or not to be, that is the question; " * 60)

    def test_learns(self):
        log, output = self.trained("char_lstm", *self.SMALL, "--text", self.text)
        self.assertGreater(numbers(log[-1], "accuracy")[1], 0.75)
        self.assertIn(" that is the question; to be or not to be, ", output.split("step 5")[1])

    def test_the_repositorys_documents(self):
        _, output = self.trained("char_lstm", "--epochs", 1, "--limit", 32, "--units", 8)
        self.assertRegex(output, r"data: \d{6} characters, \d+ of them different, 32 training")
        self.assertIn("\n# gradgraph\n", output)

    def test_resumes(self):
        self.resumes("char_lstm", *self.SMALL, "--text", self.text)

    def test_wrong_texts(self):
        missing = self.error("--text", "nowhere", name="char_lstm", data=False)
        self.assertEqual(missing, "nowhere: cannot be read; name texts with --text")
        folder = self.error("--text", self.scratch, name="char_lstm", data=False)
        self.assertIn("cannot be read", folder)
        short = self.scratch / "short"
        short.write_text("too short")
        message = self.error("--text", short, name="char_lstm", data=False)
        self.assertIn("9 characters are too few for samples of 64", message)


class TinyTransformer(Trained):
    SMALL = ("--length", 3, "--limit", 3000, "--epochs", 3, "--batch-size", 32)

    def test_learns(self):
        log, output = self.trained("tiny_transformer", *self.SMALL)
        self.assertGreater(numbers(log[-1], "accuracy")[1], 0.9)
        samples = re.findall(r"^(\d) (\d) (\d) > (\d) (\d) (\d)$", output, re.MULTILINE)
        self.assertEqual(len(samples), 3)
        right = sum(sorted(digits[:3]) == list(digits[3:]) for digits in samples)
        self.assertGreaterEqual(right, 2)

    def test_resumes(self):
        self.resumes("tiny_transformer", "--length", 3, "--limit", 300, "--epochs", 3)

    def test_wrong_length(self):
        message = self.error("--length", 0, name="tiny_transformer", data=False, status=2)
        self.assertIn("--length: must be a whole number, 1 or more, not 0", message)


class DrawsSamples(Trained):
    """Skipped where the library writes no images, which an example says at once."""

    def setUp(self):
        super().setUp()
        done = self.start(self.NAME, "--limit", 16, "--epochs", 1, "--quiet", data=self.DATA)
        if "without libpng" in done.stderr:
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.skipTest("built without libpng and libjpeg-turbo")


class VaeMnist(DrawsSamples):
    NAME, DATA = "vae_mnist", True
    SMALL = ("--latent", 4, "--epochs", 10, "--batch-size", 10)

    def test_learns(self):
        log, output = self.trained("vae_mnist", *self.SMALL, data=True)
        first, last = (numbers(line, "loss")[1] for line in (log[0], log[-1]))
        self.assertLess(last, 0.6 * first)
        self.assertTrue(output.endswith("100 samples: vae_mnist.png\n"))
        self.assertEqual(png_size(self.scratch / "vae_mnist.png"), (280, 280))

    def test_resumes(self):
        self.resumes("vae_mnist", *self.SMALL, data=True)

    def test_wrong_place(self):
        message = self.error("--samples", "nowhere/a.png", name="vae_mnist", status=2)
        self.assertIn("--samples: cannot write nowhere/a.png: there is no directory", message)


class GanRing(DrawsSamples):
    NAME, DATA = "gan_ring", False

    def test_learns(self):
        _, output = self.trained("gan_ring", "--limit", 20000, "--epochs", 15)
        found = re.search(r"(\d) of 8 modes covered, ([\d.]+) % of 2000 points near one", output)
        # Of points spread evenly over the picture 4 % are near one.
        self.assertGreaterEqual(int(found[1]), 2)
        self.assertGreater(float(found[2]), 25)
        self.assertEqual(png_size(self.scratch / "gan_ring.png"), (256, 256))

    def test_resumes(self):
        self.resumes("gan_ring", "--limit", 2000, "--epochs", 4)

    def test_wrong_place(self):
        message = self.error("--samples", self.scratch, name="gan_ring", data=False, status=2)
        self.assertIn("it is a directory", message)


class CifarResnet(Trained):
    def setUp(self):
        super().setUp()
        self.cifar = self.scratch / "cifar"
        self.cifar.mkdir()
        (self.cifar / "batches.meta.txt").write_text("".join(f"colour{i}\n" for i in range(10)))
        for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
            records = bytearray()
            for label in list(range(10)) * 2:
                records.append(label)
                for channel in COLOURS[label]:
                    records += bytes([channel] * 1024)
            (self.cifar / f"{name}.bin").write_bytes(records)

    def flags(self, *more):
        return ["--data", self.cifar, "--batch-size", 10, *more]

    def test_learns(self):
        log, output = self.trained("cifar_resnet", *self.flags("--epochs", 5))
        self.assertIn(f"data: CIFAR-10 in {self.cifar}, 100 training and 20 validation", output)
        self.assertIn("Total parameters: 274,042", output)
        self.assertGreater(numbers(log[-1], "accuracy")[0], 0.5)

    def test_shapes_where_there_is_no_data(self):
        _, output = self.trained("cifar_resnet", "--epochs", 1, "--limit", 64)
        self.assertIn("data: shapes made here (--data: CIFAR-10), 64 training and 64", output)

    def test_resumes(self):
        self.resumes("cifar_resnet", *self.flags("--epochs", 3, "--limit", 40))

    def test_wrong_data(self):
        (self.cifar / "test_batch.bin").write_bytes(b"\0" * 3000)
        message = self.error("--data", self.cifar, name="cifar_resnet", data=False)
        self.assertIn("test_batch.bin: ", message)


class Finetune(Trained):
    def test_learns(self):
        _, output = self.trained("finetune", "--epochs", 15)
        before, last_layer, everything = map(float, re.findall(r": accuracy ([\d.]+)", output))
        self.assertLess(before, 0.25)
        self.assertGreater(last_layer, 0.7)
        self.assertGreater(everything, last_layer)

    def test_resumes(self):
        for part in ("last_layer", "all"):
            with self.subTest(part):
                folder = self.scratch / part
                flags = ["--epochs", 3, "--checkpoint", folder]
                whole = log_of(self.output("finetune", *flags, data=False))
                end = sorted((folder / "all").glob("step-*"))[-1]
                variables = (end / "variables.safetensors").read_bytes()
                if part == "last_layer":
                    shutil.rmtree(folder / "all")
                shutil.rmtree(sorted((folder / part).glob("step-*"))[-1])
                rest = log_of(self.output("finetune", *flags, "--resume", data=False))
                self.assertEqual(without_seconds(rest[-1]), without_seconds(whole[-1]))
                self.assertEqual((end / "variables.safetensors").read_bytes(), variables)

    def test_wrong_weights(self):
        wrong = self.scratch / "wrong.safetensors"
        wrong.write_bytes(b"no such thing")
        message = self.error("--weights", wrong, name="finetune", data=False)
        self.assertIn("wrong.safetensors: ", message)


if __name__ == "__main__":
    unittest.main()
