"""Builds and tests a clone of this repository in bare roots of other systems, with each of their
compilers; `./run test-systems` starts it, as root.

A root is made once with debootstrap, from the mirror of this machine's own apt, and kept with the
packages that were downloaded for it. Every combination begins with a fresh copy of it.
"""

import argparse
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SYSTEMS = {"bookworm": "Debian 12", "trixie": "Debian 13"}
COMPILERS = {"g++": "g++ -dumpfullversion", "clang++": "clang++ -dumpversion"}
STEPS = {"mnist_mlp": ["./run", "mnist_mlp", "--epochs", "1"], "test": ["./run", "test"]}
CLONE = "root/gradgraph"
# Runs in namespaces of its own, so that no mount and no process outlives it.
ENTER = r"""
mount -t proc proc "$1/proc"
mount --rbind /sys "$1/sys"
mount --rbind /dev "$1/dev"
mount --bind "$2" "$1/var/cache/apt/archives"
[ -z "$3" ] || mount --bind "$3" "$1/mnt"
root=$1
shift 3
exec chroot "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
"""


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def ask(*command):
    """The command's output, empty where it fails."""
    try:
        return output(*command)
    except (OSError, subprocess.CalledProcessError):
        return ""


def default_cache():
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(home) / "gradgraph/systems"


def default_mirror():
    """Where this machine's own packages come from."""
    targets = ask("apt-get", "indextargets", "--format", "$(LABEL) $(COMPONENT) $(REPO_URI)",
                  "Identifier: Packages")
    mirrors = re.findall(r"^Debian main (\S+)$", targets, re.M)
    if not mirrors:
        sys.exit("apt names no mirror of Debian (has `apt-get update` run?): name it by --mirror")
    return mirrors[0]


def arguments():
    parser = argparse.ArgumentParser(prog="run test-systems", description=__doc__)
    choices = [f"{system}/{compiler}" for system in SYSTEMS for compiler in COMPILERS]
    parser.add_argument("combination", nargs="*", metavar="SYSTEM/COMPILER",
                        help=f"of {', '.join(choices)}; without any: all of them")
    parser.add_argument("--data", required=True, type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=pathlib.Path, default=default_cache(),
                        help="where roots and packages are kept (default: %(default)s)")
    parser.add_argument("--logs", type=pathlib.Path, default=ROOT / "build-systems",
                        help="where logs go (default: %(default)s)")
    parser.add_argument("--mirror", help="of Debian (default: this machine's)")
    parser.add_argument("--ccache", action="store_true",
                        help="install ccache in the roots and share this machine's cache with it")
    parser.add_argument("--keep", action="store_true", help="keep the roots that were tested")
    options = parser.parse_args()
    for combination in options.combination:
        if combination not in choices:
            parser.error(f"there is no {combination}; there are {', '.join(choices)}")
    options.combination = [c.split("/") for c in options.combination or choices]
    options.mirror = options.mirror or default_mirror()
    return options


def call(command, log, title=""):
    log.write(f"$ {title or ' '.join(map(str, command))}\n")
    log.flush()
    status = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log,
                            stderr=subprocess.STDOUT, check=False).returncode
    if status != 0:
        log.write(f"ended with status {status}\n")
    return status == 0


class Combination:
    def __init__(self, options, system, compiler):
        self.options, self.system, self.compiler = options, system, compiler
        self.log = options.logs / f"{system}-{compiler}.log"
        self.root = options.cache / f"{system}-{compiler}"
        self.packages = options.cache / f"{system}-{compiler}-packages"
        self.cells = [SYSTEMS[system], compiler, "-", *["not run"] * len(STEPS)]

    def make_base(self, log):
        """The bare system, which is made once."""
        base = self.options.cache / self.system
        if not base.exists():
            print(f"making a root of {SYSTEMS[self.system]}", flush=True)
            part = base.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            secure = ["--include=ca-certificates"] * self.options.mirror.startswith("https")
            if not call(["debootstrap", "--variant=minbase", *secure, self.system, part,
                         self.options.mirror], log):
                return None
            part.rename(base)
        return base

    def prepare(self, log):
        base = self.make_base(log)
        if not base:
            return False
        (self.packages / "partial").mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.root, ignore_errors=True)
        if not call(["cp", "-a", base, self.root], log):
            return False
        for name in ("resolv.conf", "hosts"):
            if pathlib.Path("/etc", name).exists():
                shutil.copy(pathlib.Path("/etc", name), self.root / "etc" / name)
        settings = re.findall(r"^Acquire::(?:https?|ftp|Check-\S+|Retries)\b.*;$",
                              ask("apt-config", "dump"), re.M)
        (self.root / "etc/apt/apt.conf.d/99host").write_text("\n".join([*settings, ""]))
        shutil.copytree(self.options.data, self.root / "root/mnist")
        return (call(["git", "clone", "--quiet", "--no-local", ROOT, self.root / CLONE], log) and
                (not self.options.ccache or self.enter(
                    log, "sh", "-c", "apt-get -qq update && apt-get -qq -y install ccache")))

    def enter(self, log, *command):
        """Runs a command in the root."""
        variables, cache = ["MNIST_DIR=/root/mnist"], ""
        if self.compiler != "g++":
            variables.append(f"CXX={'ccache ' * self.options.ccache}{self.compiler}")
        if self.options.ccache:
            cache = output("ccache", "--get-config", "cache_dir")
            pathlib.Path(cache).mkdir(parents=True, exist_ok=True)  # none before its first use
            limit = output("ccache", "--get-config", "max_size")
            variables += ["CCACHE_DIR=/mnt", "CCACHE_NOHASHDIR=1", f"CCACHE_MAXSIZE={limit}"]
        variables += [f"{name}={os.environ[name]}" for name in os.environ
                      if name.lower() in ("http_proxy", "https_proxy", "no_proxy")]
        return call(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-e", "-c",
                     ENTER, "enter", self.root, self.packages, cache, *variables, *command], log,
                    " ".join([*variables, *command]))

    def run(self):
        """Whether all went well."""
        with self.log.open("w", encoding="utf-8") as log:
            if not self.prepare(log):
                self.cells[3] = "FAILED: no root"
                return False
            results = [self.step(log, *step) for step in enumerate(STEPS)]
        self.cells[1] = f"{self.compiler} {self.version(COMPILERS[self.compiler])}"
        self.cells[2] = self.version("dpkg-query -W -f ${Version} libxtensor-dev").split("-")[0]
        if not self.options.keep:
            shutil.rmtree(self.root)
        return all(results)

    def step(self, log, number, name):
        print(f"{SYSTEMS[self.system]}, {self.compiler}: {' '.join(STEPS[name])}", flush=True)
        start, begin = time.monotonic(), log.tell()
        passed = self.enter(log, "sh", "-c", f'cd "/{CLONE}" && exec "$@"', "step", *STEPS[name])
        minutes, seconds = divmod(round(time.monotonic() - start), 60)
        counts = re.findall(r"^\d+ passed, \d+ failed.*$", self.text(begin), re.M)
        self.cells[3 + number] = (f"{'passed' if passed else 'FAILED'} ({minutes}:{seconds:02})" +
                                  "".join(f": {line}" for line in counts[-1:]))
        return passed

    def text(self, begin=0):
        return self.log.read_bytes()[begin:].decode("utf-8", "replace")

    def version(self, command):
        return ask("chroot", self.root, *command.split()) or "?"

    def faults(self):
        """The lines of the log that say what failed."""
        found = re.findall(r"^(FAILED .*|TEST CASE:.*|run: .*(?:failed|cannot|could not|warn).*|"
                           r".*\b(?:fatal )?error: .*|E: .*|ended with status .*)$",
                           self.text(), re.M)
        return list(dict.fromkeys(found))[:20]


def table(rows):
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
                     for row in rows)


def main():
    # Leaves by way of subprocess.run, which ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    options = arguments()
    options.cache.mkdir(parents=True, exist_ok=True)
    options.logs.mkdir(parents=True, exist_ok=True)
    if ask("git", "-C", str(ROOT), "status", "--porcelain"):
        print("what is not committed is not tested")
    combinations = [Combination(options, *pair) for pair in options.combination]
    failed = [combination for combination in combinations if not combination.run()]
    for combination in failed:
        print(f"\n{SYSTEMS[combination.system]}, {combination.compiler} failed; all of it is in "
              f"{combination.log}:")
        print("\n".join(f"  {line}" for line in combination.faults()))
    head = ["system", "compiler", "xtensor", *(" ".join(step) for step in STEPS.values())]
    print(f"\n{table([head, *(combination.cells for combination in combinations)])}")
    print(f"logs: {options.logs}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
