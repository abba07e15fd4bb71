#!/usr/bin/env python3
"""Writes op_values.json: what PyTorch computes for the ops of neural networks.

Needs PyTorch and NumPy (any recent version, CPU is enough):
    python3 -m venv venv && venv/bin/pip install numpy torch
    venv/bin/python make_op_values.py
Options carry gradgraph's names. Inputs are multiples of 1/8, so float32 holds them exactly;
expected values are computed in float64.
"""

import json
import pathlib

import numpy
import torch
import torch.nn.functional as F

random = numpy.random.default_rng(1)
cases = []


def values(*shape):
    return torch.tensor(random.integers(-16, 17, shape) / 8.0)


def distinct(*shape):
    """No two alike, so that windows have one maximum that a small step does not move."""
    count = int(numpy.prod(shape))
    return torch.tensor((random.permutation(count).reshape(shape) - count // 2) / 8.0)


def add(op, name, options, inputs, expected):
    def plain(tensor):
        tensor = torch.as_tensor(tensor)
        flat = [float(v) if tensor.is_floating_point() else int(v) for v in tensor.flatten()]
        whole = [int(v) if v == int(v) else v for v in flat]
        kind = "float" if tensor.is_floating_point() else str(tensor.dtype).split(".")[1]
        return {"dtype": kind, "shape": list(tensor.shape), "values": whole}

    cases.append({"op": op, "name": name, "options": options,
                  "inputs": [plain(t) for t in inputs], "expected": plain(expected)})


def pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


def borders(options, window, size):
    """Padding as PyTorch's F.pad takes it: left, right, top, bottom."""
    if options.get("padding", "valid") == "valid":
        return [0, 0, 0, 0]
    if options["padding"] == "explicit":
        top, bottom, left, right = options["border"]
        return [left, right, top, bottom]
    result = []
    strides, dilations = pair(options.get("strides", 1)), pair(options.get("dilations", 1))
    for axis in (1, 0):
        span = (window[axis] - 1) * dilations[axis] + 1
        outputs = -(-size[axis] // strides[axis])
        total = max((outputs - 1) * strides[axis] + span - size[axis], 0)
        result += [total // 2, total - total // 2]
    return result


def to_nchw(x, options):
    return x if options.get("layout") == "nchw" else x.permute(0, 3, 1, 2)


def from_nchw(x, options):
    return x if options.get("layout") == "nchw" else x.permute(0, 2, 3, 1)


def conv2d(x, kernel, options):
    image = to_nchw(x, options)
    image = F.pad(image, borders(options, kernel.shape[:2], image.shape[2:]))
    strides = pair(options.get("strides", 1))
    y = F.conv2d(image, kernel.permute(3, 2, 0, 1).contiguous(), stride=strides,
                 dilation=pair(options.get("dilations", 1)), groups=options.get("groups", 1))
    return from_nchw(y, options)


def add_convolution(name, x_shape, kernel_shape, options):
    """The convolution and, from the same operands, its two gradients."""
    x, kernel = values(*x_shape), values(*kernel_shape)
    x.requires_grad_()
    kernel.requires_grad_()
    y = conv2d(x, kernel, options)
    grad = values(*y.shape)
    by_x, by_kernel = torch.autograd.grad((y * grad).sum(), [x, kernel])
    add("conv2d", name, options, [x.detach(), kernel.detach()], y.detach())
    add("conv2d_input_grad", name, options | {"shape": list(x.shape)},
        [kernel.detach(), grad], by_x)
    add("conv2d_filter_grad", name, options | {"shape": list(kernel.shape)},
        [x.detach(), grad], by_kernel)


def max_pool(x, options):
    """Maxima and the places where they are in the padded image."""
    window = pair(options.get("window", 2))
    image = to_nchw(x, options)
    image = F.pad(image, borders(options, window, image.shape[2:]), value=-numpy.inf)
    maxima, places = F.max_pool2d(image, window, pair(options.get("strides", 2)),
                                  return_indices=True)
    return maxima, places


def add_max_pool(name, shape, options):
    x = distinct(*shape).requires_grad_()
    maxima, places = max_pool(x, options)
    y = from_nchw(maxima, options)
    grad, others = values(*y.shape), values(*shape)
    by_x, = torch.autograd.grad((y * grad).sum(), x)
    window = pair(options.get("window", 2))
    image = to_nchw(others, options)
    image = F.pad(image, borders(options, window, image.shape[2:]))
    picked = torch.gather(image.flatten(2), 2, places.flatten(2)).reshape(places.shape)
    add("max_pool2d", name, options, [x.detach()], y.detach())
    add("max_pool2d_grad", name, options, [x.detach(), grad], by_x)
    add("max_pool2d_pick", name, options, [x.detach(), others], from_nchw(picked, options))


def add_avg_pool(name, shape, options):
    x = values(*shape).requires_grad_()
    window, strides = pair(options.get("window", 2)), pair(options.get("strides", 2))

    def total(image):
        image = F.pad(image, borders(options, window, image.shape[2:]))
        return F.avg_pool2d(image, window, strides) * (window[0] * window[1])

    image = to_nchw(x, options)
    y = from_nchw(total(image) / total(torch.ones_like(image)), options)
    grad = values(*y.shape)
    by_x, = torch.autograd.grad((y * grad).sum(), x)
    add("avg_pool2d", name, options, [x.detach()], y.detach())
    add("avg_pool2d_grad", name, options | {"shape": list(shape)}, [grad], by_x)


def add_matmul(name, a_shape, b_shape, options={}):
    a, b = values(*a_shape), values(*b_shape)
    left = a.transpose(-1, -2) if options.get("transpose_a") else a
    right = b.transpose(-1, -2) if options.get("transpose_b") else b
    add("matmul", name, options, [a, b], torch.matmul(left, right))


TA, TB = {"transpose_a": True}, {"transpose_b": True}
add_matmul("plain", (3, 4), (4, 2))
add_matmul("transpose_a", (4, 3), (4, 2), TA)
add_matmul("transpose_b", (3, 4), (2, 4), TB)
add_matmul("transpose_both", (4, 3), (2, 4), TA | TB)
add_matmul("row_by_column", (1, 5), (5, 1))
add_matmul("column_by_row", (3, 1), (1, 2))
add_matmul("batches", (2, 3, 4), (2, 4, 2))
add_matmul("batches_of_a_only", (2, 3, 4), (4, 2))
add_matmul("batches_of_a_only_transpose_b", (2, 3, 4), (2, 4), TB)
add_matmul("batches_of_a_only_transpose_a", (2, 4, 3), (4, 2), TA)
add_matmul("batches_of_b_only", (3, 4), (3, 4, 2))
add_matmul("batches_broadcast", (2, 1, 2, 3), (3, 3, 2))
add_matmul("batches_broadcast_transpose_both", (2, 1, 3, 2), (1, 3, 2, 3), TA | TB)
add_matmul("empty_rows", (0, 4), (4, 2))
add_matmul("empty_inner", (3, 0), (0, 2))
add_matmul("empty_batch", (0, 2, 3), (3, 2))

NCHW = {"layout": "nchw"}
SAME = {"padding": "same"}
add_convolution("valid", (2, 4, 5, 2), (3, 2, 2, 3), {})
add_convolution("valid_nchw", (2, 2, 4, 5), (3, 2, 2, 3), NCHW)
add_convolution("one_channel", (2, 4, 5, 1), (2, 3, 1, 2), {})
add_convolution("one_channel_same_strides", (2, 5, 5, 1), (3, 3, 1, 2),
                SAME | {"strides": [2, 3]})
add_convolution("same", (1, 4, 5, 2), (3, 2, 2, 2), SAME)
add_convolution("same_nchw", (1, 2, 4, 5), (3, 2, 2, 2), SAME | NCHW)
add_convolution("same_strides", (2, 5, 6, 2), (3, 3, 2, 2), SAME | {"strides": [2, 3]})
add_convolution("same_strides_nchw", (2, 2, 5, 6), (3, 3, 2, 2),
                SAME | {"strides": [2, 3]} | NCHW)
add_convolution("strides_beyond_window", (1, 7, 7, 2), (2, 1, 2, 2), {"strides": [3, 3]})
add_convolution("ceil_edge_left_out", (1, 6, 6, 1), (3, 3, 1, 1), {"strides": [2, 2]})
add_convolution("explicit", (1, 3, 4, 2), (3, 3, 2, 2),
                {"padding": "explicit", "border": [1, 0, 2, 1]})
add_convolution("explicit_beyond_window", (1, 3, 3, 2), (2, 2, 2, 1),
                {"padding": "explicit", "border": [3, 2, 0, 4], "strides": [2, 1]})
add_convolution("dilations", (1, 6, 7, 2), (3, 2, 2, 2), {"dilations": [2, 3]})
add_convolution("dilations_same", (1, 5, 4, 2), (2, 3, 2, 2), SAME | {"dilations": [2, 2]})
add_convolution("dilations_same_nchw", (1, 2, 5, 4), (2, 3, 2, 2),
                SAME | {"dilations": [2, 2], "strides": [2, 1]} | NCHW)
add_convolution("groups", (2, 3, 4, 4), (2, 2, 2, 4), {"groups": 2})
add_convolution("groups_nchw", (2, 4, 3, 4), (2, 2, 2, 4), {"groups": 2} | NCHW)
add_convolution("depthwise", (2, 4, 3, 3), (2, 2, 1, 3), SAME | {"groups": 3})
add_convolution("depthwise_twice", (1, 4, 4, 3), (3, 2, 1, 6), {"groups": 3, "strides": [1, 2]})
add_convolution("depthwise_nchw", (2, 3, 4, 3), (2, 2, 1, 3), SAME | {"groups": 3} | NCHW)
add_convolution("one_by_one", (2, 2, 3, 3), (1, 1, 3, 2), {})
add_convolution("one_by_one_nchw", (2, 3, 2, 3), (1, 1, 3, 2), NCHW)
add_convolution("one_by_one_groups", (1, 2, 3, 4), (1, 1, 2, 4), {"groups": 2})
add_convolution("one_by_one_strides", (1, 3, 5, 2), (1, 1, 2, 2), {"strides": [2, 2]})
add_convolution("whole_image", (2, 3, 3, 2), (3, 3, 2, 2), {})
add_convolution("empty_batch", (0, 4, 5, 2), (3, 2, 2, 3), {})
add_convolution("empty_batch_nchw", (0, 2, 4, 5), (3, 2, 2, 3), NCHW)

POOLS = [
    ("plain", (2, 4, 4, 2), {}),
    ("plain_nchw", (2, 2, 4, 4), NCHW),
    ("edge_left_out", (1, 5, 7, 2), {"window": [2, 3], "strides": [2, 2]}),
    ("overlap", (2, 5, 4, 3), {"window": [3, 2], "strides": [1, 1]}),
    ("overlap_nchw", (2, 3, 5, 4), {"window": [3, 2], "strides": [1, 1]} | NCHW),
    ("same", (1, 5, 4, 2), SAME | {"window": [3, 3], "strides": [2, 2]}),
    ("same_nchw", (1, 2, 5, 4), SAME | {"window": [3, 2], "strides": [2, 1]} | NCHW),
    ("explicit", (1, 4, 3, 2),
     {"padding": "explicit", "border": [1, 0, 1, 2], "window": [2, 3], "strides": [2, 1]}),
    ("gaps", (1, 6, 5, 2), {"window": [1, 2], "strides": [3, 3]}),
    ("one_channel", (2, 4, 6, 1), {"window": [2, 3], "strides": [2, 3]}),
    ("whole_image", (2, 3, 4, 2), {"window": [3, 4], "strides": [1, 1]}),
    ("empty_batch", (0, 4, 4, 2), {}),
]
for pool in POOLS:
    add_max_pool(*pool)
    add_avg_pool(*pool)

for shape, axis in [((3, 4), -1), ((3, 4), 0), ((2, 3, 4), 1), ((5,), 0), ((2, 1), -1),
                    ((0, 4), -1)]:
    for op, function in [("softmax", torch.softmax), ("log_softmax", torch.log_softmax)]:
        x = values(*shape)
        name = "x".join(map(str, shape)) + f"_axis_{axis}"
        add(op, name, {"axis": axis}, [x], function(x, axis))

for shape in [(3, 4), (4,), (2, 3, 4), (0, 4), (3, 1)]:
    name = "x".join(map(str, shape))
    logits, weights = values(*shape), values(*shape).abs()
    add("softmax_cross_entropy", name, {}, [logits, weights],
        -(weights * torch.log_softmax(logits, -1)).sum(-1))
    for kind in (torch.int32, torch.int64):
        labels = torch.tensor(random.integers(0, shape[-1], shape[:-1])).to(kind)
        loss = -torch.gather(torch.log_softmax(logits, -1), -1, labels.long()[..., None])
        add("sparse_softmax_cross_entropy", name + "_" + str(kind).split(".")[1], {},
            [logits, labels], loss[..., 0])

for layout, shape in [("nhwc", (3,)), ("nhwc", (4, 3)), ("nhwc", (2, 2, 2, 3)), ("nchw", (2, 3)),
                      ("nchw", (2, 3, 2, 2)), ("nchw", (2, 3, 4)), ("nhwc", (0, 3))]:
    x, bias = values(*shape), values(3)
    channels = [1 if i != (1 if layout == "nchw" else len(shape) - 1) else 3
                for i in range(len(shape))]
    add("bias_add", layout + "_" + "x".join(map(str, shape)), {"layout": layout}, [x, bias],
        x + bias.reshape(channels))

target = pathlib.Path(__file__).parent / "op_values.json"
target.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
print(f"{len(cases)} cases, {target.stat().st_size} bytes")
