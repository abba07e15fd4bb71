#!/usr/bin/env python3
"""Files of the real safetensors and numpy packages are read, and they read what is written: bit
by bit, in each dtype that both have."""

import os
import pathlib
import struct
import subprocess
import sys
import tempfile

import python_packages

python_packages.provide("numpy", "safetensors")
import numpy  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.numpy import load_file, save_file  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("GRADGRAPH_BUILD", ROOT / "build"))
DTYPES = ("float32", "float64", "float16", "int32", "int64", "uint8", "bool")
SHAPES = ((), (1,), (3,), (2, 3), (0, 4), (2, 1, 3, 2), (1, 2, 1, 2, 1, 2, 1, 2), (257,))


def tensors():
    random = numpy.random.default_rng(1)
    result = {}
    for dtype in DTYPES:
        for shape in SHAPES:
            values = random.normal(0, 50, shape)
            name = f"{dtype}/{'x'.join(map(str, shape))}"
            if dtype == "uint8":
                values = abs(values)
            result[name] = numpy.asarray(values).astype(dtype)
    result["special"] = numpy.array([numpy.nan, -0.0, numpy.inf, 1e-45], numpy.float32)
    return result


def copy(source, target):
    done = subprocess.run([BUILD / "tests/copy_weights", source, target], capture_output=True,
                          text=True, check=False)
    return done.stderr if done.returncode == 1 else done.check_returncode()


def compare(found, wanted):
    assert found.keys() == wanted.keys(), found.keys() ^ wanted.keys()
    for name, value in wanted.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape), name
        assert found[name].tobytes() == value.tobytes(), name


def check_copies(folder):
    wanted, metadata = tensors(), {"format": "np", "umlaut": "\u00e4"}
    save_file(wanted, folder / "from.safetensors", metadata)
    copy(folder / "from.safetensors", folder / "to.safetensors")
    compare(load_file(folder / "to.safetensors"), wanted)
    with safe_open(folder / "to.safetensors", "np") as file:
        assert file.metadata() == metadata, file.metadata()


    copy(folder / "from.safetensors", folder / "to.npz")
    with numpy.load(folder / "to.npz") as file:
        compare(file, wanted)
    for save in (numpy.savez, numpy.savez_compressed):
        save(folder / "from.npz", **wanted)
        copy(folder / "from.npz", folder / "again.safetensors")
        compare(load_file(folder / "again.safetensors"), wanted)


def check_refusals(folder):
    """What the package refuses, is refused here, too."""
    save_file({"a": numpy.arange(6, dtype=numpy.float32)}, folder / "whole.safetensors")
    whole = (folder / "whole.safetensors").read_bytes()
    size, = struct.unpack("<Q", whole[:8])
    header = whole[8:8 + size]
    cases = [whole[:-1], whole + b"\0", whole[:20], struct.pack("<Q", 10**9) + whole[8:]]
    for old, new in ((b"[6]", b"[5]"), (b"F32", b"F99"), (b"[0,24]", b"[4,28]")):
        assert old in header
        cases.append(whole[:8] + header.replace(old, new) + whole[8 + size:])
    path = folder / "broken.safetensors"
    for number, case in enumerate(cases):
        path.write_bytes(case)
        try:
            load_file(path)
        except Exception:  # pylint: disable=broad-except
            pass
        else:
            sys.exit(f"safetensors itself reads case {number}")
        fault = copy(path, folder / "none")
        assert fault and str(path) in fault and "at byte" in fault, (number, fault)


def main():
    with tempfile.TemporaryDirectory() as name:
        check_copies(pathlib.Path(name))
        check_refusals(pathlib.Path(name))


if __name__ == "__main__":
    main()
