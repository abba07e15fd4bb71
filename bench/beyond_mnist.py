"""`./run bench --models`: steps of models beyond MNIST, beside PyTorch, JAX and ONNX Runtime."""

import dataclasses
import os

import report
import systems

SECONDS, LOSS = "seconds", "loss"  # as systems answer


@dataclasses.dataclass(frozen=True)
class Model:
    key: str
    name: str
    steps: int  # in a turn, about half a second
    warm_up: int = 29  # steps between the first one and the loss that is compared
    unit: str = "ms"
    threads: int = 0  # instead of the other models'
    peers: tuple = ("torch", "jax")


INFERENCE = ("torch", "jax", "onnx")
MODELS = (
    Model("lstm", "LSTM", 50),
    Model("transformer", "transformer", 50),
    Model("long_transformer", "transformer, length 1024", 5, warm_up=9, peers=("torch",)),
    Model("vae", "VAE", 100),
    # With 30 steps its loss is below 0.5, and rounding alone makes differences of 1 %.
    Model("resnet", "ResNet-20", 4, warm_up=9),
    Model("mobilenet", "MobileNet, 32x32", 8, warm_up=9, peers=("torch",)),
    Model("mlp", "MLP with tanh and layer norm", 200),
    Model("unet", "U-Net", 8, warm_up=9, peers=("torch",)),
    Model("text_cnn", "CNN along sentences", 20, peers=("torch",)),
    Model("vocabulary", "a vocabulary of 10,000", 20, peers=("torch",)),
    Model("recommender", "a recommender with 8 tables", 50, peers=("torch",)),
    Model("cnn_inference", "CNN, inference of one image", 2000, unit="us", peers=INFERENCE),
    Model("cnn_inference", "the same with 1 thread", 2000, unit="us", threads=1, peers=INFERENCE),
)


def start(system, model, options):
    """A process that has made its first step. Ours is the first: the others begin as it does."""
    threads = model.threads or options.threads
    weights = options.output / f"{model.key}.npz"
    flags = ["--model", model.key, "--threads", str(threads), "--start", str(weights)]
    if system is None:
        command, environment = [str(options.build / "bench/beyond_mnist")], os.environ
    else:
        python = str(systems.install(system, options.folder))
        command = [python, str(systems.HERE / "peers" / f"beyond_{system.key}.py")]
        environment = dict(os.environ, **system.environment)
    log = options.output / f"{system.key if system else report.OURS}-{model.key}.log"
    return systems.Process([*command, *flags], environment, threads, log)


class Turns:
    """The systems that train one model, one after the other."""

    def __init__(self, model, options, results, say):
        self.model, self.options, self.results, self.say = model, options, results, say
        self.running, self.busy = {}, []

    def fail(self, name, failure):
        """A peer is left out from then on."""
        if name == report.OURS:
            raise systems.Failure(f"{name}, {self.model.name}: {failure}")
        self.say(f"{name}, {self.model.name}: {failure}")

    def start(self):
        for system in [None, *(p for p in self.options.peers if p.key in self.model.peers)]:
            name = system.name if system else report.OURS
            try:
                self.running[name] = start(system, self.model, self.options)
            except (systems.Failure, OSError) as failure:
                self.fail(name, failure)

    def ask_all(self, steps, keep):
        for name, process in list(self.running.items()):
            try:
                answer = process.ask(f"steps {steps}")
            except systems.Failure as failure:
                self.running.pop(name).end()
                self.fail(name, failure)
                continue
            self.results.add(self.model.name, name, keep, answer[keep])
            self.busy.append(process.busy_share[-1])

    def end(self):
        for process in self.running.values():
            process.end()


def measure(options, say):
    """Results of all systems, which take turns, and the share that others had of processors."""
    results, busy = report.Results(), []
    for model in options.models:
        say(f"{model.name}: {options.runs} turns of {model.steps} steps")
        turns = Turns(model, options, results, say)
        try:
            turns.start()
            turns.ask_all(model.warm_up, keep=LOSS)
            for _ in range(options.runs):
                turns.ask_all(model.steps, keep=SECONDS)
        finally:
            turns.end()
        busy += turns.busy
    return results, busy


def losses_differ(losses):
    """Also where one is NaN."""
    return not all(abs(loss - losses[0]) <= 0.01 * abs(losses[0]) for loss in losses)


def table(results, models):
    """A row for each model: medians, and the losses, which show systems to do the same."""
    systems_of = list(dict.fromkeys(system for _, system, _ in results.runs))
    peers = len(systems_of) > 1
    rows, warnings = [], []
    for model in models:
        scale = {"ms": 1e3, "us": 1e6}[model.unit]
        measured = [s for s in systems_of if (model.name, s, SECONDS) in results.runs]
        times = {s: results.median(model.name, s, SECONDS) * scale for s in measured}
        losses = {s: results.median(model.name, s, LOSS) for s in measured}
        ratio = results.ratio(model.name, report.OURS, SECONDS)
        rows.append([model.name, model.unit,
                     *(f"{times[s]:.4g}" if s in times else "-" for s in systems_of),
                     *([f"{ratio:.2f}" if ratio else "-"] if peers else []),
                     *(f"{losses[s]:.5g}" if s in losses else "-" for s in systems_of)])
        if losses_differ(list(losses.values())):
            warnings.append(f"BEWARE: the losses of {model.name} differ by more than 1 %")
    header = ["a step of", "in", *systems_of, *(["fastest peer / gradgraph"] if peers else []),
              *(f"loss, {system}" for system in systems_of)]
    return "\n".join([report.format_rows(header, rows), *warnings])
