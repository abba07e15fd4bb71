#!/usr/bin/env python3
"""JAX with Optax on models beyond MNIST: a jitted step with donated state; the LSTM's steps by
lax.scan, after the product of all inputs at once."""

import beyond
import common

flags = beyond.parse_flags()
answers = common.private_stdout()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402

if flags.device == "cuda":
    jax.config.update("jax_default_matmul_precision", "float32")

OPTIMIZER = optax.adam(beyond.RATE, eps=beyond.EPSILON)


def dense(weights, name, x):
    return x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]


def layer_norm(weights, name, x):
    x = jax.nn.standardize(x, epsilon=1e-5)
    return x * weights[f"{name}/scale"] + weights[f"{name}/offset"]


def mean_cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def lstm(weights, words, next):
    inputs = dense(weights, "lstm", weights["embedding/table"][words])
    recurrent = weights["lstm/recurrent/kernel"]

    def step(state, now):
        hidden, cell = state
        i, f, c, o = jnp.split(now + hidden @ recurrent, 4, -1)
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(c)
        hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
        return (hidden, cell), hidden

    zeros = jnp.zeros((len(words), len(recurrent)))
    _, states = jax.lax.scan(step, (zeros, zeros), inputs.swapaxes(0, 1))
    return mean_cross_entropy(dense(weights, "logits", states.swapaxes(0, 1)), next)


def attention(weights, name, x):
    samples, length, width = x.shape
    queries, keys, values = (
        dense(weights, f"{name}/{part}", x).reshape(samples, length, 4, width // 4)
        for part in ("query", "key", "value"))
    attended = jax.nn.dot_product_attention(queries, keys, values, is_causal=True)
    return dense(weights, f"{name}/output", attended.reshape(x.shape))


def transformer(weights, words, next):
    x = weights["embedding/table"][words] + weights["places"]
    for name in ("block1", "block2"):
        x = x + attention(weights, f"{name}/attention", layer_norm(weights, f"{name}/norm1", x))
        wide = dense(weights, f"{name}/wide", layer_norm(weights, f"{name}/norm2", x))
        x = x + dense(weights, f"{name}/narrow", jax.nn.gelu(wide, approximate=False))
    return mean_cross_entropy(dense(weights, "logits", layer_norm(weights, "norm", x)), next)


def vae(weights, pixels, noise):
    x = jax.nn.relu(dense(weights, "encode", pixels))
    mean, log_variance = dense(weights, "mean", x), dense(weights, "log_variance", x)
    x = jax.nn.relu(dense(weights, "decode", mean + noise * jnp.exp(log_variance * 0.5)))
    logits = dense(weights, "drawn", x)
    wrong = optax.sigmoid_binary_cross_entropy(logits, pixels).sum(-1)
    far = (mean ** 2 + jnp.exp(log_variance) - log_variance - 1).sum(-1)
    return wrong.mean() + 0.5 * far.mean()


def convolution(weights, name, x, stride=1, border=0):
    return jax.lax.conv_general_dilated(x, weights[f"{name}/kernel"], (stride, stride),
                                        [(border, border)] * 2,
                                        dimension_numbers=("NHWC", "HWIO", "NHWC"))


def mlp(weights, features, labels):
    x = features
    for name in ("layer1", "layer2"):
        x = dense(weights, f"{name}/dense", x)
        x = jnp.tanh(layer_norm(weights, f"{name}/layer_norm", x))
    return mean_cross_entropy(dense(weights, "logits", x), labels)


def resnet(weights, images, labels, averages):
    """The loss, and what batch normalisation keeps of means and variances."""
    new = {}

    def normalised(name, x, stride, border):
        x = convolution(weights, f"{name}/conv2d", x, stride, border)
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        old_mean, old_variance = averages[name]
        new[name] = 0.9 * old_mean + 0.1 * mean, 0.9 * old_variance + 0.1 * variance
        scale = weights[f"{name}/batch_norm/scale"] * jax.lax.rsqrt(variance + 1e-5)
        return (x - mean) * scale + weights[f"{name}/batch_norm/offset"]

    x = jax.nn.relu(normalised("stem", images, 1, 1))
    for i in range(9):
        name, stride = f"block{i}", 2 if i in (3, 6) else 1
        y = jax.nn.relu(normalised(f"{name}/conv1", x, stride, 1))
        y = normalised(f"{name}/conv2", y, 1, 1)
        if stride != 1:
            x = normalised(f"{name}/shortcut", x, stride, 0)
        x = jax.nn.relu(x + y)
    return mean_cross_entropy(dense(weights, "logits", x.mean((1, 2))), labels), new


def cnn(weights, images):
    x = images
    for name in ("conv1", "conv2"):
        x = jax.nn.relu(convolution(weights, name, x) + weights[f"{name}/bias"])
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    x = jax.nn.relu(dense(weights, "dense1", x.reshape(len(x), -1)))
    return dense(weights, "logits", x)


def loss_of(weights, batch, averages):
    if flags.model == "resnet":
        return resnet(weights, averages=averages, **batch)
    return {"lstm": lstm, "transformer": transformer, "vae": vae,
            "mlp": mlp}[flags.model](weights, **batch), averages


def train(state, batch):
    weights, moments, averages = state
    value_and_gradient = jax.value_and_grad(loss_of, has_aux=True)
    (loss, averages), gradient = value_and_gradient(weights, batch, averages)
    updates, moments = OPTIMIZER.update(gradient, moments)
    return (optax.apply_updates(weights, updates), moments, averages), loss


class System:
    def __init__(self):
        start = beyond.Start(flags.start)
        self.weights = {name: jnp.asarray(array) for name, array in start.weights.items()}
        self.batches = start.batches_in_turn(jnp.asarray)


class Training(System):
    def __init__(self):
        super().__init__()
        channels = {name.removesuffix("/batch_norm/scale"): len(array)
                    for name, array in self.weights.items() if name.endswith("/batch_norm/scale")}
        averages = {name: (jnp.zeros(size), jnp.ones(size)) for name, size in channels.items()}
        self.state = self.weights, OPTIMIZER.init(self.weights), averages
        self.step = jax.jit(train, donate_argnums=0)

    def steps(self, count):
        for _ in range(count):
            self.state, self.last = self.step(self.state, next(self.batches))
        jax.block_until_ready(self.state)

    def loss(self):
        return self.last


class TrainingOnGpu(Training):
    """Steps of all batches, which lie on the GPU, in one jitted loop."""

    def __init__(self):
        super().__init__()
        batches = beyond.Start(flags.start).batches
        self.all = {name: jnp.stack([jnp.asarray(batch[name]) for batch in batches])
                    for name in batches[0] if name != "training"}
        self.loop = jax.jit(lambda state, all: jax.lax.scan(train, state, all), donate_argnums=0)
        self.at_once = len(batches)

    def steps(self, count):
        for _ in range(0, count, self.at_once):
            self.state, losses = self.loop(self.state, self.all)
        jax.block_until_ready(self.state)
        self.last = losses[-1]


class Inference(System):
    def __init__(self):
        super().__init__()
        self.infer = jax.jit(cnn)

    def steps(self, count):
        for _ in range(count):
            self.used = next(self.batches)
            self.logits = self.infer(self.weights, self.used["images"]).block_until_ready()

    def loss(self):
        return beyond.cross_entropy(self.logits, self.used["labels"])


training = TrainingOnGpu if flags.device == "cuda" else Training
beyond.serve(Inference() if flags.model == "cnn_inference" else training(), answers)
