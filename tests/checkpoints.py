#!/usr/bin/env python3
"""Checkpoints survive: training that was killed at any moment, with the disk full, with fsync
failing or with damaged files goes on to the same bits as training that nothing stopped.

Usage: checkpoints.py [--moments N] [--seed N], where N moments are those of `kill -9`.
"""

import argparse
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("GRADGRAPH_BUILD", ROOT / "build"))
PROGRAM = BUILD / "tests/checkpointed_training"
STEPS, MORE_STEPS, EVERY = 400, 460, 20
# Fails as disks do, for files below a folder, after some calls.
FAILING_FSYNC = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int fsync(int file) {
  static int calls;
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t size = readlink(link, path, sizeof path - 1);
  path[size > 0 ? size : 0] = 0;
  const char* folder = getenv("FAILING_FOLDER");
  const size_t length = strlen(folder);
  if (!strncmp(path, folder, length) && (!path[length] || path[length] == '/') &&
      ++calls > atoi(getenv("WORKING_CALLS"))) {
    errno = EIO;
    return -1;
  }
  return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(file);
}
"""


def start(folder, result, steps=STEPS, **environment):
    command = [PROGRAM, folder, result, str(steps), str(EVERY)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            errors="replace", env={**os.environ, **environment})


def train(folder, result, steps=STEPS, **environment):
    """The step that it went on from (0 for none), what it warned of."""
    process = start(folder, result, steps, **environment)
    output, warnings = process.communicate()
    assert process.returncode == 0, f"{folder}: {process.returncode}: {warnings}"
    found = re.search(r"goes on from step (\d+)", output)
    return int(found.group(1)) if found else 0, warnings


def steps_of(folder):
    return sorted(int(entry.name[len("step-"):]) for entry in folder.glob("step-*"))


class Test:
    def __init__(self, folder, seed):
        self.folder, self.random = folder, random.Random(seed)
        self.number = 0
        self.uninterrupted = self.result_of(folder / "whole", STEPS)
        self.seconds = self.time_training()
        self.longer = self.result_of(folder / "longer", MORE_STEPS)

    def result_of(self, folder, steps, step_before=0, **environment):
        result = folder.with_suffix(".safetensors")
        went_on_from, warnings = train(folder, result, steps, **environment)
        assert went_on_from == step_before, (folder, went_on_from, step_before, warnings)
        assert not warnings, warnings
        return result.read_bytes()

    def time_training(self):
        """From its first file on."""
        folder = self.fresh()
        process = self.started(folder)
        began = time.monotonic()
        process.communicate()
        return time.monotonic() - began

    def started(self, folder):
        process = start(folder, self.folder / "none")
        while process.poll() is None and not (folder / ".lock").exists():
            time.sleep(1e-4)
        return process

    def fresh(self):
        self.number += 1
        return self.folder / f"run{self.number}"

    def kill(self):
        """At any moment; every other time while a checkpoint is being written."""
        folder = self.fresh()
        process = self.started(folder)
        if self.number % 2 == 0:
            seen, count = set(), self.random.randint(1, STEPS // EVERY)
            while process.poll() is None and len(seen) < count:
                seen.update(folder.glob(".unfinished-*"))
            time.sleep(self.random.uniform(0, 2e-3))
        else:
            time.sleep(self.random.uniform(0, self.seconds))
        process.kill()
        process.communicate()
        newest = max(steps_of(folder), default=0)
        result = self.result_of(folder, STEPS, newest)
        assert result == self.uninterrupted, f"killed run {self.number}: other weights"
        shutil.rmtree(folder)
        return newest

    def damage(self, change, harmless_in_manifest):
        """Of the newest checkpoint, one file."""
        folder = self.fresh()
        shutil.copytree(self.folder / "whole", folder)
        name = self.random.choice(["variables.safetensors", "manifest.json"])
        path = folder / f"step-{STEPS:08}" / name
        path.write_bytes(change(path.read_bytes()))
        result = folder.with_suffix(".safetensors")
        went_on_from, warnings = train(folder, result, MORE_STEPS)
        if not (harmless_in_manifest and name == "manifest.json" and went_on_from == STEPS):
            assert went_on_from == STEPS - EVERY, (path, went_on_from, warnings)
            assert "a damaged checkpoint was left out: " + str(path) in warnings, warnings
        assert result.read_bytes() == self.longer, f"{path}: other weights"
        shutil.rmtree(folder)

    def truncate(self):
        self.damage(lambda whole: whole[:self.random.randrange(len(whole) - 1)], False)

    def flip(self):
        def change(whole):
            changed = bytearray(whole)
            changed[self.random.randrange(len(whole))] ^= 1 << self.random.randrange(8)
            return bytes(changed)
        # One space for another, between JSON's words, changes nothing.
        self.damage(change, True)

    def fail_fsync(self):
        source, library = self.folder / "failing.c", self.folder / "failing.so"
        source.write_text(FAILING_FSYNC, encoding="utf-8")
        subprocess.run(["c++", "-x", "c", "-shared", "-fPIC", "-o", library, source, "-ldl"],
                       check=True)
        # Five calls for each checkpoint: this fails at each of the third's.
        for working in range(10, 15):
            folder = self.fresh()
            result = folder.with_suffix(".safetensors")
            went_on_from, warnings = train(folder, result, LD_PRELOAD=str(library),
                                           FAILING_FOLDER=str(folder),
                                           WORKING_CALLS=str(working))
            assert went_on_from == 0
            said = re.findall(r"the checkpoint of step (\d+) could not be written: .*: "
                              r"Input/output error", warnings)
            assert said == [str(step) for step in range(3 * EVERY, STEPS + 1, EVERY)], warnings
            assert result.read_bytes() == self.uninterrupted
            assert steps_of(folder) == [EVERY, 2 * EVERY], steps_of(folder)
            assert self.result_of(folder, STEPS, 2 * EVERY) == self.uninterrupted

    def share(self):
        folder = self.fresh()
        first = start(folder, self.folder / "none", 10**9)
        while not (folder / ".lock").exists() or not steps_of(folder):
            assert first.poll() is None, first.communicate()
            time.sleep(0.01)
        second = start(folder, self.folder / "other")
        _, fault = second.communicate()
        first.kill()
        first.communicate()
        assert second.returncode == 1 and f"process {first.pid} has it" in fault, fault
        newest = max(steps_of(folder))
        steps = newest + EVERY
        assert self.result_of(folder, steps, newest) == self.result_of(self.fresh(), steps)

    def fill_disk(self):
        disk = self.folder / "disk"
        disk.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=72k", "tmpfs", disk],
                                 capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            print(f"left out: a full and a read-only disk: {mounted.stderr.strip()}")
            return
        try:
            folder, result = disk / "run", self.folder / "full.safetensors"
            _, warnings = train(folder, result)
            assert "No space left on device" in warnings, warnings
            assert result.read_bytes() == self.uninterrupted
            assert steps_of(folder), "no checkpoint is left"
            assert not list(folder.glob(".unfinished-*"))
            newest = max(steps_of(folder))
            assert newest < STEPS

            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            process = start(folder, result)
            _, fault = process.communicate()
            assert process.returncode == 1 and "Read-only file system" in fault, fault
            subprocess.run(["mount", "-o", "remount,rw,size=10m", disk], check=True)
            went_on_from, warnings = train(folder, result)
            assert (went_on_from, warnings) == (newest, ""), (went_on_from, warnings)
            assert result.read_bytes() == self.uninterrupted
        finally:
            subprocess.run(["umount", disk], check=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        test = Test(pathlib.Path(name), flags.seed)
        newest = [test.kill() for _ in range(flags.moments)]
        print(f"{flags.moments} kills, {newest.count(0)} of them before there was a checkpoint, "
              f"{newest.count(STEPS)} after the last: the same weights")
        for _ in range(50):
            test.truncate()
        for _ in range(50):
            test.flip()
        test.fail_fsync()
        test.share()
        test.fill_disk()


if __name__ == "__main__":
    sys.exit(main())
