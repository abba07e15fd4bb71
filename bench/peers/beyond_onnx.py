#!/usr/bin/env python3
"""ONNX Runtime: inference of the CNN, its weights constants of the graph."""

import beyond
import common

flags = beyond.parse_flags()
answers = common.private_stdout()

import numpy  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def channels_first(weights):
    """Kernels [filters, channels, height, width], and what reads flattened images to match."""
    weights = dict(weights)
    for name in ("conv1/kernel", "conv2/kernel"):
        weights[name] = weights[name].transpose(3, 2, 0, 1)
    flattened = weights["dense1/kernel"].reshape(4, 4, 48, -1).transpose(2, 0, 1, 3)
    weights["dense1/kernel"] = flattened.reshape(768, -1)
    return weights


def model_of(weights):
    nodes, value = [], "images"

    def add(op, inputs=(), **attributes):
        nonlocal value
        nodes.append(helper.make_node(op, [value, *inputs], [f"value{len(nodes)}"], **attributes))
        value = nodes[-1].output[0]

    for name in ("conv1", "conv2"):
        add("Conv", [f"{name}/kernel", f"{name}/bias"])
        add("Relu")
        add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    add("Flatten")
    for name in ("dense1", "logits"):
        add("Gemm", [f"{name}/kernel", f"{name}/bias"])
        if name == "dense1":
            add("Relu")
    graph = helper.make_graph(
        nodes, "cnn",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 1, 28, 28])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(numpy.ascontiguousarray(array), name)
         for name, array in channels_first(weights).items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class Inference:
    def __init__(self):
        start = beyond.Start(flags.start)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = flags.threads
        model = model_of(start.weights)
        onnx.checker.check_model(model)
        self.session = onnxruntime.InferenceSession(model.SerializeToString(), options,
                                                    providers=["CPUExecutionProvider"])
        # One channel: its place makes no difference.
        self.batches = start.batches_in_turn(
            lambda array: array.reshape(1, 1, 28, 28) if array.ndim == 4 else array)

    def steps(self, count):
        for _ in range(count):
            self.used = next(self.batches)
            self.logits, = self.session.run(None, {"images": self.used["images"]})

    def loss(self):
        return beyond.cross_entropy(self.logits, self.used["labels"])


beyond.serve(Inference(), answers)
