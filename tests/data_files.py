#!/usr/bin/env python3
"""Files that NumPy, Pillow and Python's csv module wrote are read as these read them, and NumPy
reads what is written."""

import csv
import os
import pathlib
import subprocess
import sys
import tempfile

import python_packages

python_packages.provide("numpy", pillow="PIL")
import numpy  # noqa: E402
from PIL import Image  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("GRADGRAPH_BUILD", ROOT / "build"))
RANDOM = numpy.random.default_rng(1)
DTYPES = ("f4", "f8", "f2", "i4", "i8", "u1", "b1")
SHAPES = ((), (0,), (3,), (2, 3), (2, 3, 4), (2, 0, 3), (1, 2, 1, 2, 1, 2, 1, 2))


def copy(kind, source, target):
    """What is printed; ends the test where it cannot be copied."""
    done = subprocess.run([BUILD / "tests/copy_data", kind, source, target], capture_output=True,
                          text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{kind} {source}: {done.stderr}")
    return done.stdout.splitlines()


def refusal(kind, source):
    done = subprocess.run([BUILD / "tests/copy_data", kind, source, os.devnull],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 1, (kind, source, done)
    return done.stderr


def same(found, wanted):
    return (found.shape == wanted.shape and found.dtype == wanted.dtype.newbyteorder("=")
            and (found == wanted).all())


def check_arrays(folder):
    arrays, one, other = {}, folder / "one.npy", folder / "other.npy"
    for dtype in DTYPES:
        for shape in SHAPES:
            for order in "<>":
                for layout in "CF":
                    values = RANDOM.integers(0, 2 if dtype == "b1" else 200, shape)
                    array = numpy.array(values, order=layout).astype(order + dtype)
                    arrays[f"{dtype}/{shape}/{order}{layout}"] = array
    for name, array in arrays.items():
        numpy.save(one, array)
        copy("npy", one, other)
        assert same(numpy.load(other), array), name
        if array.dtype.isnative and array.flags.c_contiguous:
            copy("map", one, other)
            assert one.read_bytes() == other.read_bytes(), name
    for version in ((1, 0), (2, 0), (3, 0)):
        with open(one, "wb") as file:
            numpy.lib.format.write_array(file, numpy.arange(5.0), version=version)
        copy("npy", one, other)
        assert same(numpy.load(other), numpy.arange(5.0)), version
    for save in (numpy.savez, numpy.savez_compressed):
        save(folder / "one.npz", **arrays)
        for kind in ("npz", "compressed"):
            copy(kind, folder / "one.npz", folder / "other.npz")
            found = numpy.load(folder / "other.npz")
            assert found.files == list(arrays), found.files
            assert all(same(found[name], array) for name, array in arrays.items())
    for array in (numpy.array(["a"]), numpy.zeros(2, "c8"), numpy.zeros(2, "u2"),
                  numpy.array([{}], object), numpy.zeros(2, [("x", "f4")])):
        numpy.save(one, array)
        assert str(one) in refusal("npy", one)


def check_tables(folder):
    words = ["oak", "beech", 'a "quoted" one', "with, comma", "two\nlines", " spaced "]
    for separator in "\r\n", "\n":
        rows = [[int(RANDOM.integers(-9**15, 9**15)), float(RANDOM.normal()),
                 words[RANDOM.integers(len(words))]] for _ in range(300)]
        with open(folder / "a.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator=separator)
            table.writerows([["whole", "real", "word"], *rows])
        printed = "\n".join(copy("csv", folder / "a.csv", folder / "a.npz"))
        found = numpy.load(folder / "a.npz")
        assert printed == "\n".join(sorted(words)), printed
        assert found["whole"].tolist() == [row[0] for row in rows]
        assert same(found["real"], numpy.array([row[1] for row in rows], "f4"))
        assert [sorted(words)[i] for i in found["word"]] == [row[2] for row in rows]


def check_images(folder):
    (folder / "all/cats").mkdir(parents=True)
    (folder / "all/dogs").mkdir()
    wanted = []
    for number in range(40):
        y, x = numpy.mgrid[0:24, 0:33]
        waves = [128 + 127 * numpy.sin(x / RANDOM.uniform(1, 9) + y / RANDOM.uniform(1, 9))
                 for _ in range(3)]
        image = Image.fromarray(numpy.stack(waves, -1).astype(numpy.uint8))
        image = [image, image.convert("L"), image.convert("P")][number % 3]
        name = folder / "all" / ("cats" if number < 20 else "dogs") / f"{number:02}"
        if number % 2 and image.mode != "P":
            file = name.with_suffix(".jpg")
            image.save(file, quality=int(RANDOM.integers(40, 100)), progressive=number % 4 == 1)
        else:
            file = name.with_suffix(".PNG")
            image.save(file, "PNG")
        read = Image.open(file).convert("RGB")
        wanted.append(numpy.asarray(read))
        for kind, other in (("image", read), ("grey", read.convert("L")),
                            ("small", read.resize((31, 19), Image.Resampling.BILINEAR))):
            copy(kind, file, folder / "a.npy")
            found, other = numpy.load(folder / "a.npy").squeeze(), numpy.asarray(other)
            # Pillow rounds between rows and columns, which of them it takes first.
            most = 1 if kind == "small" else 0
            assert found.shape == other.shape, (kind, file)
            assert abs(found.astype(int) - other).max() <= most, (kind, file)
    assert copy("folder", folder / "all", folder / "a.npz") == ["cats", "dogs"]
    found = numpy.load(folder / "a.npz")
    assert same(found["images"], numpy.stack(wanted))
    assert found["labels"].tolist() == [0] * 20 + [1] * 20


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        check_arrays(folder)
        check_tables(folder)
        if "without libpng" not in refusal("image", folder):
            check_images(folder)


if __name__ == "__main__":
    main()
