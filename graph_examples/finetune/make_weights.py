#!/usr/bin/env python3
"""Makes digits.safetensors: a small network that PyTorch has trained on the ten digits of a
seven-segment display. Takes torch, numpy and safetensors, and half a minute.
"""

import pathlib

import numpy
import torch
from safetensors.torch import save_file

# Which segments are lit: a top, b and c right, d bottom, e and f left, g middle.
DIGITS = ["abcdef", "bc", "abdeg", "abcdg", "bcfg", "acdfg", "acdefg", "abc", "abcdefg", "abcdfg"]
SIDE = 16


def drawn(lit, random):
    """As display.h draws it: any size, place and brightness, and noise over all."""
    image = numpy.zeros((SIDE, SIDE), numpy.float32)
    thick = random.integers(1, 3)
    height, width = 2 * random.integers(4, 7) + 1, random.integers(5, 10)
    top, left = random.integers(0, SIDE - height + 1), random.integers(0, SIDE - width + 1)
    middle, bottom, right = top + height // 2, top + height, left + width
    light = 0.5 + 0.5 * random.random()
    boxes = {
        "a": (top, top + thick, left, right),
        "b": (top, middle + 1, right - thick, right),
        "c": (middle, bottom, right - thick, right),
        "d": (bottom - thick, bottom, left, right),
        "e": (middle, bottom, left, left + thick),
        "f": (top, middle + 1, left, left + thick),
        "g": (middle, middle + 1, left, right),
    }
    for name in lit:
        y0, y1, x0, x1 = boxes[name]
        image[y0:y1, x0:x1] = light
    return image + 0.5 * random.random((SIDE, SIDE), dtype=numpy.float32)


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(1, 8, 3, padding=1)
        self.conv2 = torch.nn.Conv2d(8, 16, 3, padding=1)
        self.hidden = torch.nn.Linear(256, 48)
        self.output = torch.nn.Linear(48, 10)

    def forward(self, x):
        pool = torch.nn.functional.max_pool2d
        x = pool(torch.relu(self.conv1(x)), 2)
        x = pool(torch.relu(self.conv2(x)), 2)
        return self.output(torch.relu(self.hidden(x.flatten(1))))


def main():
    torch.manual_seed(1)
    random = numpy.random.default_rng(1)
    labels = random.integers(0, 10, 40000)
    images = numpy.stack([drawn(DIGITS[label], random) for label in labels])[:, None]
    images, labels = torch.tensor(images), torch.tensor(labels)
    held_out = slice(38000, None)
    network, batch, epochs = Network(), 100, 12
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * 38000 // batch)
    for _ in range(epochs):
        for part in torch.randperm(38000).split(batch):
            loss = torch.nn.functional.cross_entropy(network(images[part]), labels[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        right = network(images[held_out]).argmax(1) == labels[held_out]
        print(f"accuracy: {right.float().mean():.4f}")
    save_file(network.state_dict(), pathlib.Path(__file__).with_name("digits.safetensors"))


if __name__ == "__main__":
    main()
