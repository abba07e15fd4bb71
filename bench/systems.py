"""The systems that the benchmark compares: how they are installed, started and driven."""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent

# glibc gives large blocks back to the kernel with every free, which then clears them anew in
# every step; keeping them makes PyTorch's convolutions up to 25 % faster.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000",
               "MALLOC_TOP_PAD_": "67108864"}


@dataclasses.dataclass(frozen=True)
class Workload:
    key: str
    name: str
    model: str
    batch: int


WORKLOADS = (
    Workload("mlp128", "MLP batch 128", "mlp", 128),
    Workload("mlp1000", "MLP batch 1000", "mlp", 1000),
    Workload("cnn128", "CNN batch 128", "cnn", 128),
    Workload("cnn1000", "CNN batch 1000", "cnn", 1000),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Peer:
    key: str
    name: str
    script: str  # what trains on MNIST; none where it only infers
    venv: str
    packages: tuple
    # What makes it fastest, by workload: an argument of the script.
    variants: dict = dataclasses.field(default_factory=dict)
    variant: str = ""
    environment: dict = dataclasses.field(default_factory=dict)


TORCH = ("torch", "numpy", "setuptools")
PEERS = (
    Peer("keras", "Keras 3 / TensorFlow", "keras_tf.py", "keras", ("tensorflow-cpu", "keras")),
    Peer("torch", "PyTorch", "pytorch.py", "torch", TORCH, environment=KEEP_MEMORY),
    Peer("compile", "torch.compile", "pytorch.py", "torch", TORCH, variant="compile",
         environment=KEEP_MEMORY),
    Peer("jax", "JAX / Optax", "jax_optax.py", "jax", ("jax", "optax", "numpy"),
         variants={"mlp128": "scan", "mlp1000": "scan", "cnn1000": "slices"}),
    Peer("onnx", "ONNX Runtime", "", "onnx", ("onnx", "onnxruntime", "numpy")),
)
OURS = "gradgraph"


def capped(isa):
    """The environment in which all systems use that level of the instruction set at most."""
    return {"GRADGRAPH_ISA": isa, **{
        "baseline": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41",
                     "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
                     "XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2"},
        "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2",
                 "MKL_ENABLE_INSTRUCTIONS": "AVX2", "XLA_FLAGS": "--xla_cpu_max_isa=AVX2"},
        "avx512": {"ATEN_CPU_CAPABILITY": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
                   "MKL_ENABLE_INSTRUCTIONS": "AVX512", "XLA_FLAGS": "--xla_cpu_max_isa=AVX512"},
    }[isa]}


class Failure(Exception):
    """A system that cannot be measured; the message says why."""


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def install(peer, folder):
    """The Python of the peer's virtual environment in `folder`, made now unless it is there."""
    venv = folder / f"venv-{peer.venv}"
    complete = venv / ".complete"
    python = venv / "bin/python"
    if complete.exists():
        return python
    print(f"installing {', '.join(peer.packages)} into {venv}", file=sys.stderr, flush=True)
    shutil.rmtree(venv, ignore_errors=True)
    for command in ([sys.executable, "-m", "venv", str(venv)],
                    [str(python), "-m", "pip", "install", "--quiet", *peer.packages]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failure(f"cannot install it: {last_line(done.stderr + done.stdout)}")
    complete.touch()
    return python


def command_of(system, workload, folder, options):
    """What starts `system` (a Peer, or None for gradgraph), and its environment."""
    environment = dict(os.environ)
    flags = ["--data", str(options.data), "--model", workload.model, "--batch",
             str(workload.batch), "--threads", str(options.threads)]
    if options.limit:
        flags += ["--limit", str(options.limit)]
    if system is None:
        return [str(options.build / "bench/train"), *flags], environment
    environment.update(system.environment)
    variant = system.variants.get(workload.key, system.variant)
    python = str(install(system, folder))
    script = str(HERE / "peers" / system.script)
    return [python, script, *flags, "--variant", variant], environment


def processors(threads):
    """Those that `threads` threads run on, for taskset."""
    return ",".join(map(str, sorted(os.sched_getaffinity(0))[:threads]))


@contextlib.contextmanager
def busy_neighbour(threads):
    """A program that always has work, on the processors of the systems."""
    program = subprocess.Popen(["taskset", "--cpu-list", processors(threads), sys.executable,
                                "-c", "while True: pass"])
    try:
        yield
    finally:
        program.kill()
        program.wait()


def cpu_seconds(fields):
    return sum(map(int, fields)) / os.sysconf("SC_CLK_TCK")


def machine_cpu_seconds():
    """All work of all processors since boot."""
    user, nice, system, _, _, irq, softirq, steal = (
        pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    return cpu_seconds((user, nice, system, irq, softirq, steal))


class Process:
    """A system that trains one workload, stopped except while it answers."""

    def __init__(self, command, environment, threads, log):
        with open(log, "w", encoding="utf-8") as errors:
            start = time.perf_counter()
            self.process = subprocess.Popen(
                ["taskset", "--cpu-list", processors(threads), *command],
                env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                text=True)
        self.log = log
        self.busy_share = []
        try:
            self.read(timeout=300)
        except Failure:
            self.end()
            raise
        self.first_step_seconds = time.perf_counter() - start
        self.process.send_signal(signal.SIGSTOP)

    def read(self, timeout):
        killer = threading.Timer(timeout, self.process.kill)
        killer.start()
        line = self.process.stdout.readline()
        timed_out = not killer.is_alive()
        killer.cancel()
        if line:
            return json.loads(line)
        self.process.wait()
        if timed_out:
            raise Failure(f"no answer after {timeout} s")
        text = pathlib.Path(self.log).read_text(encoding="utf-8", errors="replace")
        raise Failure(f"it ended: {last_line(text)} (all of it in {self.log})")

    def own_cpu_seconds(self):
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
        return cpu_seconds(stat.rpartition(")")[2].split()[11:13])

    def ask(self, command, timeout=900):
        """Sends a command and returns the answer; notes how busy others kept the machine."""
        machine, own, start = machine_cpu_seconds(), self.own_cpu_seconds(), time.perf_counter()
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # `read` finds out why
        answer = self.read(timeout)
        self.process.send_signal(signal.SIGSTOP)
        others = machine_cpu_seconds() - machine - (self.own_cpu_seconds() - own)
        available = (time.perf_counter() - start) * len(os.sched_getaffinity(0))
        self.busy_share.append(max(0.0, others / available))
        return answer

    def peak_rss_mb(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        raise Failure("the kernel does not tell its memory")

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass  # a command that it did not live to read
