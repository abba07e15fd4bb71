#!/usr/bin/env python3
"""The programs of README and tutorial compile against the installed library and run; those of the
tutorial print what it says."""

import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ["GRADGRAPH_BUILD"]).resolve()


def run(*command, **options):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                            check=False, **options)
    if result.returncode != 0:
        sys.exit(f"{command[0]} failed with {result.returncode}:\n{result.stdout}{result.stderr}")
    return result.stdout


def programs(name):
    """Every listing of a document with a main function, and the output block that follows it."""
    markdown = (ROOT / name).read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", markdown, re.MULTILINE | re.DOTALL)
    return [(code, output) for (language, code), (_, output) in zip(blocks, blocks[1:])
            if language == "cpp" and "int main()" in code]


def install(folder):
    run("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", folder)
    pc = next(folder.rglob("gradgraph.pc"))
    environment = os.environ | {"PKG_CONFIG_PATH": str(pc.parent)}
    flags = run("pkg-config", "--cflags", "--libs", "gradgraph", env=environment).split()
    return flags, pc.parent.parent


def write_idx(path, dimensions, values):
    header = struct.pack(f">BBBB{len(dimensions)}I", 0, 0, 8, len(dimensions), *dimensions)
    path.write_bytes(header + bytes(values))


def write_small_mnist(folder):
    """Pictures whose brightness is their label."""
    for name, count in (("train", 300), ("t10k", 100)):
        labels = [i % 10 for i in range(count)]
        pixels = [25 * label for label in labels for _ in range(28 * 28)]
        write_idx(folder / f"{name}-images-idx3-ubyte", [count, 28, 28], pixels)
        write_idx(folder / f"{name}-labels-idx1-ubyte", [count], labels)


def figures_blanked(text):
    """The log lines of the training run, whose figures depend on the data."""
    return re.sub(r"(loss|accuracy) \d\.\d{4}", r"\1 #", text)


def main():
    readme = programs("README.md")
    tutorial = programs("docs/tutorial.md")
    assert (len(readme), len(tutorial)) == (1, 3), "a program is missing"
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        flags, library = install(folder / "tree")
        write_small_mnist(folder)
        environment = os.environ | {"LD_LIBRARY_PATH": str(library), "MNIST_DIR": str(folder)}
        for number, (code, expected) in enumerate(readme + tutorial):
            source = folder / f"program{number}.cpp"
            source.write_text(code, encoding="utf-8")
            binary = source.with_suffix("")
            run("c++", "-std=c++20", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror",
                "-Wno-missing-field-initializers", source, "-o", binary, *flags)
            actual = run(binary, env=environment)
            if number >= len(readme) and figures_blanked(actual) != figures_blanked(expected):
                sys.exit(f"program {number} prints\n{actual}instead of\n{expected}")


if __name__ == "__main__":
    main()
