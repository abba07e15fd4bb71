#!/usr/bin/env python3
"""Writes optimizer_trajectories.json: what PyTorch's optimisers do to a small network, and two
that it does not have, written as their papers say.

Needs PyTorch (any recent version, CPU is enough):
    python3 -m venv venv && venv/bin/pip install torch
    venv/bin/python make_optimizer_trajectories.py
The settings carry gradgraph's names; everything is float64.
"""

import fnmatch
import json
import math
import pathlib

import torch

STEPS = 100
KEPT = [1, 2, 10, 100]

INPUTS = [[0.5, -1.0], [1.5, 0.25], [-0.75, 0.5], [-1.25, -0.5], [0.1, 1.75]]
TARGETS = [[0.3], [-0.8], [1.1], [0.4], [-0.2]]
PARAMETERS = {
    "kernel1": [[0.6, -0.4, 0.9], [-0.7, 0.8, 0.3]],
    "bias1": [0.1, -0.2, 0.05],
    "kernel2": [[1.2], [-0.9], [0.7]],
    "bias2": [-0.1],
}

# name, optimiser, its settings, clipping, schedule
CASES = [
    ("sgd", "GradientDescent", {"learning_rate": 0.1}, {}, None),
    ("sgd_momentum", "GradientDescent", {"learning_rate": 0.05, "momentum": 0.9}, {}, None),
    ("sgd_dampening", "GradientDescent",
     {"learning_rate": 0.05, "momentum": 0.9, "dampening": 0.4}, {}, None),
    ("sgd_nesterov", "GradientDescent",
     {"learning_rate": 0.02, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01}, {}, None),
    ("sgd_decay", "GradientDescent", {"learning_rate": 0.1, "weight_decay": 0.05}, {}, None),
    ("rms_prop", "RmsProp", {"learning_rate": 0.01}, {}, None),
    ("rms_prop_momentum", "RmsProp",
     {"learning_rate": 0.003, "alpha": 0.9, "epsilon": 1e-6, "momentum": 0.7}, {}, None),
    ("rms_prop_centered", "RmsProp", {"learning_rate": 0.005, "centered": True}, {}, None),
    ("rms_prop_all", "RmsProp",
     {"learning_rate": 0.002, "alpha": 0.95, "momentum": 0.5, "centered": True,
      "weight_decay": 0.02}, {}, None),
    ("adagrad", "Adagrad", {"learning_rate": 0.1}, {}, None),
    ("adagrad_all", "Adagrad",
     {"learning_rate": 0.2, "learning_rate_decay": 0.05, "initial_accumulator": 0.1,
      "epsilon": 1e-6, "weight_decay": 0.01}, {}, None),
    ("adam", "Adam", {"learning_rate": 0.01}, {}, None),
    ("adam_all", "Adam",
     {"learning_rate": 0.02, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-6,
      "weight_decay": 0.03}, {}, None),
    ("adam_w", "AdamW", {"learning_rate": 0.01}, {}, None),
    ("adam_w_all", "AdamW",
     {"learning_rate": 0.02, "beta1": 0.7, "beta2": 0.99, "epsilon": 1e-5,
      "weight_decay": 0.2}, {}, None),
    ("nadam", "Nadam", {"learning_rate": 0.01}, {}, None),
    ("nadam_all", "Nadam",
     {"learning_rate": 0.02, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-6,
      "momentum_decay": 0.01, "weight_decay": 0.03}, {}, None),
    ("lion", "Lion", {"learning_rate": 0.005}, {}, None),
    ("lion_all", "Lion",
     {"learning_rate": 0.003, "beta1": 0.95, "beta2": 0.98, "weight_decay": 0.1}, {}, None),
    ("lamb", "Lamb", {"learning_rate": 0.02}, {}, None),
    ("lamb_all", "Lamb",
     {"learning_rate": 0.01, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-5,
      "weight_decay": 0.05}, {}, None),
    ("groups", "AdamW",
     {"learning_rate": 0.02, "weight_decay": 0.1, "groups": [
         {"pattern": "bias*", "weight_decay": 0},
         {"pattern": "*2", "learning_rate": 0.005}]}, {}, None),
    ("groups_rates", "GradientDescent",
     {"learning_rate": 0.05, "momentum": 0.5, "groups": [
         {"pattern": "kernel?", "learning_rate": 0.1, "weight_decay": 0.02}]}, {}, None),
    ("clip_value", "GradientDescent", {"learning_rate": 0.1, "momentum": 0.5},
     {"by_value": 0.05}, None),
    ("clip_norm", "Adam", {"learning_rate": 0.01}, {"by_norm": 0.1}, None),
    ("clip_global_norm", "GradientDescent", {"learning_rate": 0.2},
     {"by_global_norm": 0.3}, None),
    ("clip_all", "RmsProp", {"learning_rate": 0.01, "weight_decay": 0.01},
     {"by_value": 0.2, "by_norm": 0.15, "by_global_norm": 0.2}, None),
    ("schedule_step", "GradientDescent", {"momentum": 0.9},
     {}, {"kind": "step", "rate": 0.05, "every": 30, "factor": 0.2}),
    ("schedule_exponential", "Adam", {},
     {}, {"kind": "exponential", "rate": 0.05, "every": 1, "factor": 0.97}),
    ("schedule_cosine", "AdamW", {},
     {}, {"kind": "cosine", "rate": 0.05, "steps": 100, "final_rate": 0.001}),
    ("schedule_warm_up", "Adagrad", {"learning_rate_decay": 0.01},
     {}, {"kind": "warm_up", "rate": 0.1, "steps": 20, "after": 60}),
]


class Lion(torch.optim.Optimizer):
    """Algorithm 2 of Chen et al. 2023, Symbolic Discovery of Optimization Algorithms."""

    def __init__(self, parameters, lr, betas, weight_decay):
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for w in group["params"]:
                m = self.state[w].setdefault("m", torch.zeros_like(w))
                update = torch.sign(beta1 * m + (1 - beta1) * w.grad)
                m.mul_(beta2).add_((1 - beta2) * w.grad)
                w.sub_(group["lr"] * (update + group["weight_decay"] * w))


class Lamb(torch.optim.Optimizer):
    """Algorithm 2 of You et al. 2020, Large Batch Optimization, with phi(z) = z."""

    def __init__(self, parameters, lr, betas, eps, weight_decay):
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps,
                                      "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for w in group["params"]:
                state = self.state[w]
                t = state["t"] = state.get("t", 0) + 1
                m = state.setdefault("m", torch.zeros_like(w))
                v = state.setdefault("v", torch.zeros_like(w))
                m.mul_(beta1).add_((1 - beta1) * w.grad)
                v.mul_(beta2).add_((1 - beta2) * w.grad**2)
                ratio = (m / (1 - beta1**t)) / ((v / (1 - beta2**t)).sqrt() + group["eps"])
                direction = ratio + group["weight_decay"] * w
                length, step_length = w.norm(), direction.norm()
                trust = length / step_length if length > 0 and step_length > 0 else 1
                w.sub_(group["lr"] * trust * direction)


def grouped(settings, tensors):
    """The tensors as torch.optim has groups: the first pattern that fits a name counts."""
    groups = [{"params": []}]
    for group in settings.get("groups", []):
        own = {"params": []}
        if "learning_rate" in group:
            own["lr"] = group["learning_rate"]
        if "weight_decay" in group:
            own["weight_decay"] = group["weight_decay"]
        groups.append(own)
    for name, tensor in tensors.items():
        fitting = [i + 1 for i, group in enumerate(settings.get("groups", []))
                   if fnmatch.fnmatchcase(name, group["pattern"])]
        groups[fitting[0] if fitting else 0]["params"].append(tensor)
    return [group for group in groups if group["params"]]


def make_optimizer(kind, settings, parameters):
    common = {"lr": settings["learning_rate"], "weight_decay": settings.get("weight_decay", 0)}
    if kind == "GradientDescent":
        return torch.optim.SGD(parameters, momentum=settings.get("momentum", 0),
                               dampening=settings.get("dampening", 0),
                               nesterov=settings.get("nesterov", False), **common)
    if kind == "RmsProp":
        return torch.optim.RMSprop(parameters, alpha=settings.get("alpha", 0.99),
                                   eps=settings.get("epsilon", 1e-8),
                                   momentum=settings.get("momentum", 0),
                                   centered=settings.get("centered", False), **common)
    if kind == "Adagrad":
        return torch.optim.Adagrad(
            parameters, lr_decay=settings.get("learning_rate_decay", 0),
            initial_accumulator_value=settings.get("initial_accumulator", 0),
            eps=settings.get("epsilon", 1e-10), **common)
    betas = (settings.get("beta1", 0.9), settings.get("beta2", 0.999))
    if kind == "Adam":
        return torch.optim.Adam(parameters, betas=betas, eps=settings.get("epsilon", 1e-8),
                                **common)
    if kind == "Nadam":
        return torch.optim.NAdam(parameters, betas=betas, eps=settings.get("epsilon", 1e-8),
                                 momentum_decay=settings.get("momentum_decay", 4e-3), **common)
    if kind == "Lion":
        return Lion(parameters, betas=(betas[0], settings.get("beta2", 0.99)), **common)
    if kind == "Lamb":
        return Lamb(parameters, betas=betas, eps=settings.get("epsilon", 1e-6), **common)
    return torch.optim.AdamW(parameters, betas=betas, eps=settings.get("epsilon", 1e-8),
                             lr=settings["learning_rate"],
                             weight_decay=settings.get("weight_decay", 1e-2))


def make_scheduler(schedule, optimizer):
    kinds = torch.optim.lr_scheduler
    if schedule is None:
        return None
    if schedule["kind"] == "step":
        return kinds.StepLR(optimizer, schedule["every"], schedule["factor"])
    if schedule["kind"] == "exponential":
        return kinds.ExponentialLR(optimizer, schedule["factor"])
    if schedule["kind"] == "cosine":
        return kinds.CosineAnnealingLR(optimizer, schedule["steps"], schedule["final_rate"])
    rising, after = schedule["steps"], schedule["after"]

    def factor(step):
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * min(step - rising, after) / after))

    return kinds.LambdaLR(optimizer, factor)


def clip(parameters, limits):
    if "by_value" in limits:
        torch.nn.utils.clip_grad_value_(parameters, limits["by_value"])
    if "by_norm" in limits:
        for parameter in parameters:
            norm = parameter.grad.norm()
            parameter.grad.mul_(limits["by_norm"] / max(norm, limits["by_norm"]))
    if "by_global_norm" in limits:
        norm = math.sqrt(sum(float((p.grad**2).sum()) for p in parameters))
        for parameter in parameters:
            parameter.grad.mul_(limits["by_global_norm"] / max(norm, limits["by_global_norm"]))


def trajectory(kind, settings, limits, schedule):
    tensors = {name: torch.tensor(value, requires_grad=True)
               for name, value in PARAMETERS.items()}
    parameters = list(tensors.values())
    settings = dict(settings)
    if schedule is not None:
        settings["learning_rate"] = schedule["rate"]
    optimizer = make_optimizer(kind, settings, grouped(settings, tensors))
    scheduler = make_scheduler(schedule, optimizer)
    inputs, targets = torch.tensor(INPUTS), torch.tensor(TARGETS)
    kept = {}
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        hidden = torch.tanh(inputs @ tensors["kernel1"] + tensors["bias1"])
        outputs = hidden @ tensors["kernel2"] + tensors["bias2"]
        loss = ((outputs - targets) ** 2).mean()
        loss.backward()
        clip(parameters, limits)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        if step in KEPT:
            kept[str(step)] = {name: tensor.detach().flatten().tolist()
                               for name, tensor in tensors.items()}
    return kept


def main():
    torch.set_default_dtype(torch.float64)
    cases = [{"name": name, "optimizer": kind, "settings": settings, "clip": limits,
              "schedule": schedule,
              "parameters": trajectory(kind, settings, limits, schedule)}
             for name, kind, settings, limits, schedule in CASES]
    head = {"torch": torch.__version__.split("+")[0], "inputs": INPUTS, "targets": TARGETS,
            "initial": PARAMETERS}
    lines = [f"{json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    body = ",\n".join(json.dumps(case) for case in cases)
    path = pathlib.Path(__file__).with_name("optimizer_trajectories.json")
    path.write_text("{\n" + "\n".join(lines) + '\n"cases": [\n' + body + "\n]}\n")


if __name__ == "__main__":
    main()
