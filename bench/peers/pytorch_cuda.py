#!/usr/bin/env python3
"""PyTorch on one GPU: steps captured as CUDA graphs, with fused Adam, the data on the device.

Variants: "graph of N steps", of the CNN in both memory formats; "compile, ...", whose forward and
backward go through torch.compile first. The data is float32 there, which takes one kernel to
gather. The last batch of an epoch, which is smaller, is a graph of its own, never compiled.
"""

import common
import race

options = race.parse_flags(__doc__.split("\n")[0])

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

DEVICE = torch.device(options.device)
ON_GPU = options.device == "cuda"
MOST_STEPS = 60


class Data:
    def __init__(self):
        mnist = common.Mnist(options.data, options.limit)

        def on_device(images, labels):
            return (torch.from_numpy(images).view(len(labels), -1).to(DEVICE),
                    torch.from_numpy(labels).long().to(DEVICE))
        self.images, self.labels = on_device(mnist.train_images, mnist.train_labels)
        self.test_images, self.test_labels = on_device(mnist.test_images, mnist.test_labels)


def make_model(name, channels_last):
    if name == "mlp":
        return nn.Sequential(
            nn.Linear(784, 512), nn.ReLU(),
            nn.Linear(512, 512), nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(512, 10))
    # [N,784] in memory is [N,1,28,28] in either format.
    shape, order = ((1, 28, 28), (0, 1, 2, 3))
    if channels_last:
        shape, order = (28, 28, 1), (0, 3, 1, 2)
    model = nn.Sequential(
        nn.Unflatten(1, shape), Permute(order),
        nn.Conv2d(1, 24, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(24, 48, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(768, 512), nn.ReLU(),
        nn.Linear(512, 10))
    return model.to(memory_format=torch.channels_last) if channels_last else model


class Permute(nn.Module):
    def __init__(self, order):
        super().__init__()
        self.order = order

    def forward(self, x):
        return x.permute(self.order)


class Training:
    def __init__(self, case):
        torch.manual_seed(1)
        torch.backends.cuda.matmul.allow_tf32 = case.precision == "tf32"
        torch.backends.cudnn.allow_tf32 = case.precision == "tf32"
        torch.backends.cudnn.benchmark = True
        self.batch = case.batch
        self.model = make_model(case.model, "channels last" in case.variant).to(DEVICE)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True,
                                          capturable=ON_GPU)
        self.loss = torch.zeros((), device=DEVICE)
        self.correct = torch.zeros((), dtype=torch.long, device=DEVICE)
        full, self.rest = divmod(len(DATA.labels), self.batch)
        self.steps = 1 if "graph of 1 step" in case.variant else race.divisor(full, MOST_STEPS)
        forward = self.forward
        if "compile" in case.variant:
            torch._dynamo.reset()
            mode = "max-autotune-no-cudagraphs" if "tuned" in case.variant else "default"
            forward = torch.compile(self.forward, mode=mode, dynamic=False)
        self.model.train()
        self.many = self.program(forward, self.steps, self.batch)
        self.last = self.program(self.forward, 1, self.rest) if self.rest else None

    def forward(self, images, labels, chosen):
        labels = labels.index_select(0, chosen)
        logits = self.model(images.index_select(0, chosen))
        return functional.cross_entropy(logits, labels), logits.argmax(-1) == labels

    def step(self, forward, chosen):
        self.optimizer.zero_grad(set_to_none=True)
        loss, hits = forward(DATA.images, DATA.labels, chosen)
        loss.backward()
        self.optimizer.step()
        return loss.detach(), hits

    def program(self, forward, steps, batch):
        """A function of the samples' order that makes so many steps at once."""
        chosen = torch.arange(steps * batch, device=DEVICE).view(steps, batch)

        def body(steps):
            losses, hits = zip(*[self.step(forward, chosen[i]) for i in range(steps)])
            self.loss += torch.stack(losses).sum() * batch
            self.correct += torch.stack(hits).sum()

        if not ON_GPU:
            return lambda order: (chosen.copy_(order.view(steps, batch)), body(steps))
        # Libraries choose their kernels, and Adam makes its state, before anything is captured.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                body(1)
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            body(steps)
        return lambda order: (chosen.copy_(order.view(steps, batch)), graph.replay())

    def epoch(self):
        self.loss.zero_()
        self.correct.zero_()
        count = len(DATA.labels)
        order = torch.randperm(count, device=DEVICE)
        for part in order[:count - self.rest].split(self.steps * self.batch):
            self.many(part)
        if self.last:
            self.last(order[count - self.rest:])
        return self.loss.item() / count, self.correct.item() / count

    def evaluate(self):
        self.model.eval()
        loss = correct = 0
        count = len(DATA.test_labels)
        with torch.no_grad():
            for chosen in torch.arange(count, device=DEVICE).split(1000):
                mean, hits = self.forward(DATA.test_images, DATA.test_labels, chosen)
                loss, correct = loss + mean.item() * len(chosen), correct + hits.sum().item()
        return loss / count, correct / count


def cases():
    for batch in options.batches:
        for model in options.models:
            layouts = [""] if model == "mlp" else ["", ", channels last"]
            for precision in options.precisions:
                for layout in layouts:
                    yield race.Case(model, batch, precision, "graph of many steps" + layout)
                    if options.all or (model, batch) == ("mlp", 128):
                        yield race.Case(model, batch, precision, "graph of 1 step" + layout)
    for precision in options.precisions:
        for batch in options.batches:
            for model in options.models:
                if options.all or batch == 128:
                    yield race.Case(model, batch, precision, "compile, graph of many steps")
                if options.all:
                    yield race.Case(model, batch, precision, "tuned compile, graph of many steps")


if ON_GPU and not torch.cuda.is_available():
    raise SystemExit("PyTorch sees no GPU")
DATA = Data()
race.race(options, "PyTorch", cases(), Training, len(DATA.labels), version=torch.__version__,
          cuda=torch.version.cuda, cudnn=torch.backends.cudnn.version(),
          gpu=torch.cuda.get_device_name() if ON_GPU else "none")
