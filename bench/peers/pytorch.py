#!/usr/bin/env python3
"""PyTorch: eager, channels-last, fused Adam; with --variant compile through torch.compile."""

import common

flags = common.parse_flags()
answers = common.private_stdout()

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402


def make_model(name):
    if name == "mlp":
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(784, 512), nn.ReLU(),
            nn.Linear(512, 512), nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(512, 10))
    return nn.Sequential(
        nn.Conv2d(1, 24, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(24, 48, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(768, 512), nn.ReLU(),
        nn.Linear(512, 10)).to(memory_format=torch.channels_last)


class PyTorch:
    def __init__(self):
        torch.set_num_threads(flags.threads)
        torch.set_flush_denormal(True)
        torch.manual_seed(1)
        mnist = common.Mnist(flags.data, flags.limit)
        # [N,28,28,1] in memory is [N,1,28,28] in the channels-last format.
        self.images = torch.from_numpy(mnist.train_images).permute(0, 3, 1, 2)
        self.labels = torch.from_numpy(mnist.train_labels).long()
        self.test_images = torch.from_numpy(mnist.test_images).permute(0, 3, 1, 2)
        self.test_labels = torch.from_numpy(mnist.test_labels).long()
        self.model = make_model(flags.model)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)
        self.forward = self.losses
        if flags.variant == "compile":
            self.forward = torch.compile(self.losses)
        self.reset()

    def reset(self):
        self.loss = torch.zeros(())
        self.correct = torch.zeros((), dtype=torch.long)

    def losses(self, images, labels):
        logits = self.model(images)
        loss = functional.cross_entropy(logits, labels)
        return loss, (logits.argmax(-1) == labels).sum()

    def step(self, images, labels):
        self.optimizer.zero_grad(set_to_none=True)
        loss, correct = self.forward(images, labels)
        loss.backward()
        self.optimizer.step()
        self.loss += loss.detach() * len(labels)
        self.correct += correct

    def first_step(self):
        self.model.train()
        self.step(self.images[:flags.batch], self.labels[:flags.batch])

    def train_epoch(self):
        self.model.train()
        self.reset()
        for chosen in torch.randperm(len(self.labels)).split(flags.batch):
            self.step(self.images[chosen], self.labels[chosen])
        return self.loss / len(self.labels), self.correct / len(self.labels)

    def evaluate(self):
        self.model.eval()
        loss = correct = 0
        with torch.no_grad():
            for images, labels in zip(self.test_images.split(1000), self.test_labels.split(1000)):
                batch_loss, batch_correct = self.losses(images, labels)
                loss += batch_loss * len(labels)
                correct += batch_correct
        return loss / len(self.test_labels), correct / len(self.test_labels)


common.serve(flags, PyTorch(), answers)
