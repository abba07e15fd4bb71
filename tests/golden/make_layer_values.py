#!/usr/bin/env python3
"""Writes layer_values.json: what PyTorch's layers for sequences compute, and their gradients.

Needs PyTorch (any recent version, CPU is enough):
    python3 -m venv venv && venv/bin/pip install torch
    venv/bin/python make_layer_values.py
Weights carry gradgraph's names and layouts; everything is float64.
"""

import json
import pathlib

import torch

torch.manual_seed(1)
torch.set_default_dtype(torch.float64)
cases = []


def plain(tensor):
    return {"shape": list(tensor.shape),
            "values": [float(f"{v:.17g}") for v in tensor.detach().flatten()]}


def add(name, layer, inputs, weights, outputs):
    """`weights` are views of the layer's parameters as gradgraph has them, by name."""
    for tensor in inputs.values():
        tensor.requires_grad_()
    results = outputs(inputs)
    # Elements count for more, the later they come.
    loss = sum((r * torch.linspace(0.5, 1.5, r.numel()).reshape(r.shape)).sum()
               for r in results.values())
    wanted = list(inputs.values()) + list(layer.parameters())
    gradients = dict(zip(map(id, wanted), torch.autograd.grad(loss, wanted)))
    cases.append({
        "name": name,
        "inputs": {k: plain(v) for k, v in inputs.items()},
        "weights": {k: plain(view(dict(layer.named_parameters()))) for k, view in
                    weights.items()},
        "outputs": {k: plain(v) for k, v in results.items()},
        "input_gradients": {k: plain(gradients[id(v)]) for k, v in inputs.items()},
        "weight_gradients": {
            k: plain(view({n: gradients[id(p)] for n, p in layer.named_parameters()}))
            for k, view in weights.items()},
    })


def turned(name):
    return lambda p: p[name].T


def lstm():
    layer = torch.nn.LSTM(3, 4, batch_first=True)
    with torch.no_grad():
        layer.bias_hh_l0.zero_()  # here one bias stands for the two
    inputs = {"x": torch.randn(2, 5, 3), "hidden": torch.randn(2, 4), "cell": torch.randn(2, 4)}

    def outputs(given):
        y, (h, c) = layer(given["x"], (given["hidden"][None], given["cell"][None]))
        return {"outputs": y, "hidden": h[0], "cell": c[0]}

    add("lstm", layer, inputs,
        {"kernel": turned("weight_ih_l0"), "recurrent_kernel": turned("weight_hh_l0"),
         "bias": lambda p: p["bias_ih_l0"]}, outputs)


def gru():
    layer = torch.nn.GRU(3, 4, batch_first=True)
    inputs = {"x": torch.randn(2, 5, 3), "state": torch.randn(2, 4)}

    def outputs(given):
        y, h = layer(given["x"], given["state"][None])
        return {"outputs": y, "state": h[0]}

    add("gru", layer, inputs,
        {"kernel": turned("weight_ih_l0"), "recurrent_kernel": turned("weight_hh_l0"),
         "bias": lambda p: p["bias_ih_l0"], "recurrent_bias": lambda p: p["bias_hh_l0"]}, outputs)


def attention(name, causal, crossed):
    layer = torch.nn.MultiheadAttention(6, 2, batch_first=True)
    with torch.no_grad():
        layer.in_proj_bias.normal_()
        layer.out_proj.bias.normal_()
    inputs = {"queries": torch.randn(2, 4, 6)}
    if crossed:
        inputs |= {"keys": torch.randn(2, 5, 6), "values": torch.randn(2, 5, 6)}

    def outputs(given):
        keys = given.get("keys", given["queries"])
        mask = torch.ones(4, 4, dtype=torch.bool).triu(1) if causal else None
        y, _ = layer(given["queries"], keys, given.get("values", keys), attn_mask=mask)
        return {"outputs": y}

    weights = {}
    for i, part in enumerate(("query", "key", "value")):
        weights[part + "_kernel"] = lambda p, i=i: p["in_proj_weight"][6 * i:6 * i + 6].T
        weights[part + "_bias"] = lambda p, i=i: p["in_proj_bias"][6 * i:6 * i + 6]
    weights["output_kernel"] = turned("out_proj.weight")
    weights["output_bias"] = lambda p: p["out_proj.bias"]
    add(name, layer, inputs, weights, outputs)


def conv1d(name, before=0, after=0, **options):
    layer = torch.nn.Conv1d(4, 6, 3, **options)
    inputs = {"x": torch.randn(2, 7, 4)}

    def outputs(given):
        padded = torch.nn.functional.pad(given["x"].transpose(1, 2), (before, after))
        return {"outputs": layer(padded).transpose(1, 2)}

    add(name, layer, inputs,
        {"kernel": lambda p: p["weight"].permute(2, 1, 0), "bias": lambda p: p["bias"]}, outputs)


def rms_norm():
    layer = torch.nn.RMSNorm(5, eps=1e-6)
    with torch.no_grad():
        layer.weight.normal_()
    inputs = {"x": torch.randn(2, 3, 5)}
    add("rms_norm", layer, inputs, {"scale": lambda p: p["weight"]},
        lambda given: {"outputs": layer(given["x"])})


def main():
    lstm()
    gru()
    attention("attention", causal=False, crossed=False)
    attention("causal_attention", causal=True, crossed=False)
    attention("cross_attention", causal=False, crossed=True)
    conv1d("conv1d", stride=2)
    conv1d("conv1d_same", before=1, after=1)
    conv1d("conv1d_explicit", before=3, after=2, groups=2)
    conv1d("conv1d_causal", before=4, dilation=2)
    rms_norm()
    body = ",\n".join(json.dumps(case) for case in cases)
    path = pathlib.Path(__file__).with_name("layer_values.json")
    path.write_text('{"torch": ' + json.dumps(torch.__version__.split("+")[0]) +
                    ', "cases": [\n' + body + "\n]}\n")


if __name__ == "__main__":
    main()
