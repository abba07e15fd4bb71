#!/usr/bin/env python3
"""A room includes only rooms before it, and only some rooms know some libraries.

Usage: include_order.py [ROOT]. Prints one line per include that is out of order.
"""

import pathlib
import re
import sys
import tempfile

ROOMS = """core graph ops gradients passes placement plan device session io training
           command_line""".split()

# Header (a prefix) -> the places (prefixes) that may include it.
LIBRARIES = {
    "CLI/": ["src/command_line/"],
    "cblas.h": ["src/device/cpu/"],
    "cuda": ["src/device/cuda/", "tests/cuda/", "tests/cuda_emulation/"],
    "doctest/": ["tests/"],
    "fmt/": ["src/", "tests/"],
    "nlohmann/": ["src/io/", "src/training/", "src/session/device_costs.cpp", "tests/"],
    "png.h": ["src/io/data/images/"],
    "ranges": [],  # clang 14 refuses the views of GCC 12's library
    "turbojpeg.h": ["src/io/data/images/"],
    "xsimd/": ["src/device/cpu/"],
    "xtensor": ["src/device/cpu/", "include/gradgraph/xtensor.h", "tests/"],
    "xtl/": ["src/device/cpu/", "include/gradgraph/xtensor.h"],
    "zip.h": ["src/io/", "tests/"],
    "zlib.h": ["src/io/", "tests/"],
}

HERE = pathlib.Path(__file__).resolve().parent
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.MULTILINE)


def fault(path, quote, header):
    """Why `path` must not include `header`, or None."""
    for prefix, places in LIBRARIES.items():
        if header.startswith(prefix):
            allowed = any(path.startswith(place) for place in places)
            # A device's compiler gets no host library.
            if path.endswith((".cu", ".cuh")) and prefix != "cuda":
                allowed = False
            return None if allowed else "does not know this library"
    if path.startswith("tests/"):
        return None
    if quote == "<":
        is_standard = "/" not in header and "." not in header
        is_public = path.startswith("include/")
        return "is not the standard library's" if is_public and not is_standard else None
    if header.startswith("gradgraph/"):
        return None
    if path.startswith("include/"):
        return "a public header includes public headers only"
    if path.startswith("graph_examples/"):
        own = path.split("/")[1]
        is_own = "/" not in header or header.split("/")[0] in ("common", own)
        return None if is_own else "an example includes public headers and its own only"

    room, other = path.split("/")[1], header.split("/")[0]
    if other not in ROOMS:
        return "is in no room"
    if ROOMS.index(other) > ROOMS.index(room):
        return f"{room} comes before {other}"
    device = re.match("device/(cpu|cuda)/", header)
    if device and not path.startswith((f"src/{device.group()}", "src/device/registry.cpp")):
        return "only device/registry.cpp knows the insides of a device"
    return None


def faults(root):
    found = []
    for file in sorted(root.glob("*/**/*")):
        path = file.relative_to(root).as_posix()
        if path.split("/")[0] not in ("include", "src", "graph_examples", "tests"):
            continue
        if file.suffix not in (".h", ".cpp", ".cu", ".cuh"):
            continue
        for match in INCLUDE.finditer(file.read_text(encoding="utf-8")):
            reason = fault(path, *match.groups())
            if reason:
                found.append(f"{path}: {match.group(0).strip()}: {reason}")
    return found


MUST_FAIL = {
    "src/core/a.cpp": '#include "graph/verify.h"',
    "src/plan/a.h": '#include "device/device.h"',
    "src/session/a.cpp": '#include "device/cpu/matmul/gemm.h"',
    "src/ops/a.cpp": "#include <xtensor/xarray.hpp>",
    "src/device/cuda/a.cu": "#include <xtensor/xarray.hpp>",
    "src/io/a.cpp": '#include "common/flags.h"',
    "include/gradgraph/a.h": "#include <fmt/format.h>",
    "include/gradgraph/b.h": '#include "core/text.h"',
    "include/gradgraph/c.h": "#include <unistd.h>",
    "graph_examples/a/main.cpp": '#include "core/text.h"',
    "graph_examples/b/main.cpp": "#include <CLI/CLI.hpp>",
}
MUST_PASS = {
    "src/device/cuda/a.cu": '#include <cuda_runtime.h>\n#include "device/device.h"',
    "src/io/a.cpp": '#include "session/plan_cache.h"\n#include <zlib.h>\n#include <unistd.h>',
    "src/device/registry.cpp": '#include "device/cpu/kernels.h"',
    "src/device/cpu/fused/a.cpp": '#include "device/cpu/kernels.h"',
    "include/gradgraph/xtensor.h": '#include <xtensor/xadapt.hpp>\n#include "gradgraph/tensor.h"',
    "graph_examples/a/main.cpp": '#include "common/mnist.h"',
    "src/command_line/a.cpp": '#include "training/progress.h"\n#include <CLI/CLI.hpp>',
}


def check_itself():
    for wanted, files in ((1, MUST_FAIL), (0, MUST_PASS)):
        for path, text in files.items():
            with tempfile.TemporaryDirectory() as folder:
                file = pathlib.Path(folder, path)
                file.parent.mkdir(parents=True)
                file.write_text(text + "\n", encoding="utf-8")
                count = len(faults(pathlib.Path(folder)))
                assert count == wanted, f"{path}: {text}: {count} faults instead of {wanted}"


def main():
    check_itself()
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else HERE.parent)
    found = faults(root)
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
