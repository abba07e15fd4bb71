#!/usr/bin/env python3
"""The programs of README, tutorial, data.md and training.md, built and run by the commands that
stand there, exactly as they stand and with nothing else set; but for README's, they print what
stands below them."""

import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run(*command, **options):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                            check=False, **options)
    if result.returncode != 0:
        sys.exit(f"{command[0]} failed with {result.returncode}:\n{result.stdout}{result.stderr}")
    return result.stdout


def blocks(name):
    """Every listing of a document, as (language, text)."""
    markdown = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(r"^```(\w*)\n(.*?)^```$", markdown, re.MULTILINE | re.DOTALL)


def programs(name):
    """Every listing with a main function, and the listing that follows it: what it prints."""
    found = blocks(name)
    return [(code, output) for (language, code), (_, output) in zip(found, found[1:])
            if language == "cpp" and "int main()" in code]


def program_run_twice(name):
    """The listing with a main function, and what it prints the first and the second time."""
    texts = [text for _, text in blocks(name)]
    number = next(i for i, text in enumerate(texts) if "int main()" in text)
    return texts[number:number + 3]


def listing(name, language, part):
    """The only listing of the language that contains the part."""
    found = [text for kind, text in blocks(name) if kind == language and part in text]
    assert len(found) == 1, f"{name} has {len(found)} listings with '{part}'"
    return found[0]


class Reader:
    """Somebody who follows the documents in a folder and a home of his own."""

    def __init__(self, folder):
        self.folder, self.home = folder / "work", folder / "home"
        (self.folder / "data/mnist").mkdir(parents=True)
        self.home.mkdir()
        (self.folder / "run").symlink_to(ROOT / "run")
        write_small_mnist(self.folder / "data/mnist")
        kept = ("PATH", "CXX", "TERM", "LANG", "CCACHE_DIR")
        self.environment = {name: os.environ[name] for name in kept if name in os.environ}
        self.environment["HOME"] = str(self.home)

    def follow(self, commands, **files):
        for name, text in files.items():
            (self.folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
        return run("bash", "-e", "-c", commands, cwd=self.folder, env=self.environment)


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


def check_warnings(code):
    """A program's own warnings may be errors."""
    run(*os.environ.get("CXX", "c++").split(), "-std=c++20", "-Wall", "-Wextra", "-Wconversion",
        "-Wshadow", "-Werror", "-Wno-missing-field-initializers", "-fsyntax-only",
        f"-I{ROOT / 'include'}", "-x", "c++", "-", input=code)


def main():
    readme = programs("README.md")
    tutorial = programs("docs/tutorial.md")
    data = programs("docs/data.md")
    assert (len(readme), len(tutorial), len(data)) == (1, 3, 1), "a program is missing"
    training, *runs = program_run_twice("docs/training.md")
    for code in [code for code, _ in readme + tutorial + data] + [training]:
        check_warnings(code)
    with tempfile.TemporaryDirectory() as name:
        reader = Reader(pathlib.Path(name))
        commands = listing("docs/tutorial.md", "", "./run install")
        settings = [f"export PKG_CONFIG_PATH={reader.home}/.local/lib/pkgconfig\n",
                    f"export CMAKE_PREFIX_PATH={reader.home}/.local\n"]
        for number, (code, expected) in enumerate(tutorial):
            actual = reader.follow(commands, first_cpp=code)
            if figures_blanked(actual) != figures_blanked("".join([*settings, expected])):
                sys.exit(f"program {number} prints\n{actual}instead of\n{expected}")

        for number, expected in enumerate(runs):
            actual = reader.follow(commands, first_cpp=training)
            if actual != "".join([*settings, expected]):
                sys.exit(f"run {number} of training.md prints\n{actual}instead of\n{expected}")
        table = listing("docs/data.md", "", "trees.csv <<")
        actual = reader.follow(table + commands, first_cpp=data[0][0])
        if actual != "".join([*settings, data[0][1]]):
            sys.exit(f"the program of docs/data.md prints\n{actual}")

        cmake = listing("README.md", "cmake", "find_package")
        actual = reader.follow(listing("README.md", "", "cmake"), train_cpp=readme[0][0],
                               CMakeLists_txt=cmake)
        said = r"^MNIST in data/mnist\b.*: loss \d+\.\d+, accuracy \d\.\d+\n\Z"
        if not re.search(said, actual, re.M):
            sys.exit(f"the program of README.md prints\n{actual}")


if __name__ == "__main__":
    main()
