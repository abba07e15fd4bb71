#!/usr/bin/env python3
"""docs/adding_an_op.md, done: its code goes into a copy of the tree, and the new rows must pass.

Only the files that the page changes are compiled; everything else comes from the build folder,
$GRADGRAPH_BUILD.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SKIPPED = 77  # the status of ./run format where there is no fitting clang-format
NUMBERS = {"four": 4, "five": 5}
BLOCK = re.compile(
    r"^```cpp\n// (\S+), (before|after|instead of) \"([^\n]*)\"\n(.*?)^```$", re.M | re.S)


def walks(page):
    """(title, [(file, verb, anchor, code)]) for each walk of the page."""
    for section in re.split(r"^## ", page, flags=re.M)[1:]:
        if section.startswith("An op of your own program"):
            # Listings of a program that the packaging test builds.
            program = (ROOT / "tests/packaging/own_op.cpp").read_text(encoding="utf-8")
            for code in re.findall(r"^```cpp\n(.*?)^```$", section, re.M | re.S):
                assert code in program, f"tests/packaging/own_op.cpp lacks:\n{code}"
            continue
        blocks = [(file, verb, anchor.replace('\\"', '"'), code)
                  for file, verb, anchor, code in BLOCK.findall(section)]
        assert len(blocks) == section.count("```cpp"), "a block does not say where it belongs"
        if blocks:
            yield section.splitlines()[0], blocks


def insert(path, verb, anchor, code):
    text = path.read_text(encoding="utf-8")
    assert text.count(anchor) == 1, f"{path}: '{anchor}' is there {text.count(anchor)} times"
    if verb == "instead of":
        text = text.replace(anchor, code.strip())
    else:
        lines = text.splitlines(keepends=True)
        at = next(i for i, line in enumerate(lines) if anchor in line)
        at += verb == "after"
        # A definition stands apart from its neighbours, a line among lines does not.
        definition = not code.startswith(" ") and code.rstrip().endswith(("}", "};"))
        apart = verb == "before" and definition
        lines.insert(at, code + "\n" if apart else code)
        text = "".join(lines)
    path.write_text(text, encoding="utf-8")


def compilations(build, file):
    """(source, the build's entry) for what compiles `file`: itself, or the piece of its folder;
    one, or one for each level of the instruction set. Those of the emulated GPU's tests are left
    out."""
    entries = json.loads((build / "compile_commands.json").read_text(encoding="utf-8"))
    included = f'#include "{file.removeprefix("src/")}"'

    found = []
    for entry in entries:
        source = (pathlib.Path(entry["directory"]) / entry["file"]).resolve()
        if source == ROOT / file:
            found.append((file, entry))
        elif (build in source.parents and
              included in source.read_text(encoding="utf-8").splitlines()):
            found.append((str(source), entry))
    found = [(source, entry) for source, entry in found
             if not entry["output"].startswith("tests/cuda/")]
    assert found, f"the build does not compile {file}"
    return found


def compile_command(entry, copy, file, object_file):
    """The build's own command for `file`, on the copy and, but for the files that the build
    itself only compiles optimised, without optimising."""
    words = shlex.split(entry["command"])
    # Precompiled headers were compiled with the build's headers and optimised.
    for flag in ("-o", "-MF", "-MQ", "-include", "-include-pch"):
        if flag in words:
            at = words.index(flag)
            del words[at:at + 2]
    words.remove("-MD")
    words.remove(entry["file"])
    first_compiler_flag = next(i for i, word in enumerate(words) if word.startswith("-"))
    words[first_compiler_flag:first_compiler_flag] = [
        f"-I{copy / folder}" for folder in ("include", "src", "tests")]
    optimise = [] if file.endswith("_level.cpp") else ["-O0"]
    return words + optimise + ["-o", str(object_file), str(copy / file)]


def link_command(build, objects, program):
    """The build's command for the test program, with some objects in place of its own."""
    commands = run(["ninja", "-C", str(build), "-t", "commands", "tests/gradgraph_tests"])
    words = shlex.split(commands.splitlines()[-1])
    words[words.index("-o") + 1] = str(program)
    replaced = {entry["output"] for _, entry, _ in objects}
    kept = [word for word in words if word not in replaced]
    at = kept.index(str(program)) + 1
    return kept[:at] + [str(path) for *_, path in objects] + kept[at:]


def run(command, **options):
    result = subprocess.run(command, capture_output=True, text=True, **options)
    if result.returncode != 0:
        print(shlex.join(command), result.stdout, result.stderr, sep="\n")
        sys.exit(1)
    return result.stdout


def check_format(files):
    command = [str(ROOT / "run"), "format", "--check", *map(str, files)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode not in (0, SKIPPED):
        print(result.stdout, result.stderr, sep="\n")
        sys.exit(1)


def check_rows(program, family, op):
    output = run([str(program), f"--test-case=op rows: {family}", f"--subcase={op}/*"])
    checks = re.search(r"assertions: *(\d+) *\| *(\d+) passed", output)
    assert checks and int(checks[2]) > 10, f"the rows of {op} did not run:\n{output}"
    print(f"{op}: {checks[2]} checks passed")


def main():
    build = pathlib.Path(os.environ.get("GRADGRAPH_BUILD", ROOT / "build")).resolve()
    page = (ROOT / "docs/adding_an_op.md").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder)
        for name in ("include", "src", "tests"):
            shutil.copytree(ROOT / name, copy / name)
        shutil.copy(ROOT / ".clang-format", copy)

        changed = set()
        for title, blocks in walks(page):
            files = {file for file, *_ in blocks}
            stated = next(NUMBERS[word] for word in re.findall(r"\w+", title) if word in NUMBERS)
            assert len(files) == stated, f"{title}: {sorted(files)}"
            for file, *edit in blocks:
                insert(copy / file, *edit)
            changed |= files
        assert changed, "the page has no walk"
        check_format([copy / file for file in changed])

        # The list of functors is a header: what expands it has to be compiled as well.
        sources = {file for file in changed if file.endswith(".cpp")}
        sources |= {file.relative_to(ROOT).as_posix()
                    for file in (ROOT / "src/device/cpu/elementwise").glob("*.cpp")}
        sources.add("src/device/shared/elementwise_ops.cpp")
        compiled = {entry["output"]: (source, entry) for file in sorted(sources)
                    for source, entry in compilations(build, file)}
        objects = [(source, entry, copy / output.replace("/", "_"))
                   for output, (source, entry) in compiled.items()]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(
                lambda item: run(compile_command(item[1], copy, item[0], item[2]), cwd=build),
                objects))
        program = copy / "rows"
        run(link_command(build, objects, program), cwd=build)
        check_rows(program, "elementwise", "celu")
        check_rows(program, "array", "roll")
        run([str(program), "--test-case=op rows: every op has a row"])


if __name__ == "__main__":
    main()
