#!/usr/bin/env python3
"""Writes pytorch_model.safetensors, the weights of a small network that PyTorch trained for a few
steps; pytorch_logits.safetensors, a batch and what the network makes of it;
pytorch_sequences.safetensors, the weights of layers for sequences, and
pytorch_sequence_outputs.safetensors, a batch and what they make of it; and
every_dtype.safetensors, a tensor of each dtype that both libraries have.

Needs torch and safetensors."""

import pathlib

import torch
from safetensors.torch import save_file
from torch import nn

HERE = pathlib.Path(__file__).resolve().parent


def make_model():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * 5 * 5, 8), nn.LayerNorm(8), nn.ReLU(),
        nn.Linear(8, 10))


class Sequences(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(6, 4, batch_first=True)
        self.gru = nn.GRU(6, 4, batch_first=True)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.crossed = nn.MultiheadAttention(6, 2, kdim=4, vdim=4, batch_first=True)

    def forward(self, x):
        states = self.lstm(x)[0]
        return {"lstm": states, "gru": self.gru(x)[0], "attention": self.attention(x, x, x)[0],
                "crossed": self.crossed(x, states, states)[0]}


def write_sequences():
    torch.manual_seed(7)
    model, x = Sequences(), torch.rand(2, 5, 6)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) / 2)
        outputs = {name: value.contiguous() for name, value in model(x).items()}
    save_file(model.state_dict(), HERE / "pytorch_sequences.safetensors")
    save_file({"x": x, **outputs}, HERE / "pytorch_sequence_outputs.safetensors")


def main():
    write_sequences()
    torch.manual_seed(1)
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    images = torch.rand(16, 1, 12, 12)
    labels = torch.arange(16) % 10
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        logits = model(images[:4])
    save_file(model.state_dict(), HERE / "pytorch_model.safetensors", {"format": "pt"})
    save_file({"images": images[:4].contiguous(), "logits": logits},
              HERE / "pytorch_logits.safetensors")

    numbers = torch.tensor([[0.0, 1.0, -2.5], [3.25, 100.0, 1e-3]])
    save_file({
        "float32": numbers, "float64": numbers.double(), "float16": numbers.half(),
        "bfloat16": numbers.bfloat16(), "int32": torch.tensor([-1, 2**31 - 1], dtype=torch.int32),
        "int64": torch.tensor([-1, 2**62]), "uint8": torch.tensor([0, 255], dtype=torch.uint8),
        "bool": torch.tensor([True, False, True]), "scalar": torch.tensor(7.5),
        "empty": torch.zeros(0, 3)}, HERE / "every_dtype.safetensors", {"made by": "PyTorch"})


if __name__ == "__main__":
    main()
