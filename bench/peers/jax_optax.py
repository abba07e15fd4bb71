#!/usr/bin/env python3
"""JAX with Optax: a jitted training step with donated state.

--variant scan: the whole epoch is one jitted loop, fastest for the MLP (and slowest, by far, for
the CNN). --variant slices: convolutions as 25 slices and a matrix product, which beats
lax.conv at batch 1000 and loses at 128.
"""

import common

flags = common.parse_flags()
answers = common.private_stdout()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy  # noqa: E402
import optax  # noqa: E402

OPTIMIZER = optax.adam(1e-3)


def glorot(key, shape):
    return jax.nn.initializers.glorot_uniform()(key, shape, jnp.float32)


def initial_parameters(key):
    shapes = [(784, 512), (512, 512), (512, 10)]
    if flags.model == "cnn":
        shapes = [(5, 5, 1, 24), (5, 5, 24, 48), (768, 512), (512, 10)]
    keys = jax.random.split(key, len(shapes))
    return [(glorot(k, shape), jnp.zeros(shape[-1])) for k, shape in zip(keys, shapes)]


def dense(x, parameters):
    weights, bias = parameters
    return x @ weights + bias


def slices(x, size):
    """Every window of size x size pixels as a row."""
    n, h, w, c = x.shape
    h, w = h - size + 1, w - size + 1
    rows = [x[:, i:i + h, j:j + w] for i in range(size) for j in range(size)]
    return jnp.stack(rows, 3).reshape(n, h, w, -1)


def convolution(x, parameters):
    weights, bias = parameters
    if flags.variant == "slices":
        x = slices(x, len(weights)) @ weights.reshape(-1, weights.shape[-1])
    else:
        x = jax.lax.conv_general_dilated(x, weights, (1, 1), "VALID",
                                         dimension_numbers=("NHWC", "HWIO", "NHWC"))
    x = jax.nn.relu(x + bias)
    n, h, w, c = x.shape
    # Faster than lax.reduce_window, whose gradient is slow.
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


def logits_of(parameters, images, key):
    """Without a key there is no dropout."""
    if flags.model == "cnn":
        x = convolution(convolution(images, parameters[0]), parameters[1])
        x = x.reshape(len(x), -1)
        x = jax.nn.relu(dense(x, parameters[2]))
        return dense(x, parameters[3])
    x = images.reshape(len(images), -1)
    x = jax.nn.relu(dense(x, parameters[0]))
    x = jax.nn.relu(dense(x, parameters[1]))
    if key is not None:
        x = jnp.where(jax.random.bernoulli(key, 0.8, x.shape), x / 0.8, 0)
    return dense(x, parameters[2])


def loss_and_correct(parameters, images, labels, key=None):
    logits = logits_of(parameters, images, key)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean(), (logits.argmax(-1) == labels).sum()


@jax.jit
def measure(parameters, images, labels):
    loss, correct = loss_and_correct(parameters, images, labels)
    return loss * len(labels), correct


def one_step(state, images, labels):
    parameters, optimizer_state, key, loss_sum, correct_sum = state
    key, dropout_key = jax.random.split(key)
    value_and_gradient = jax.value_and_grad(loss_and_correct, has_aux=True)
    (loss, correct), gradient = value_and_gradient(parameters, images, labels, dropout_key)
    updates, optimizer_state = OPTIMIZER.update(gradient, optimizer_state)
    parameters = optax.apply_updates(parameters, updates)
    loss_sum = loss_sum + loss * len(labels)
    return parameters, optimizer_state, key, loss_sum, correct_sum + correct


step = jax.jit(one_step, donate_argnums=0)


@jax.jit
def scan_steps(state, images, labels, order):
    def body(state, chosen):
        return one_step(state, images[chosen], labels[chosen]), None
    return jax.lax.scan(body, state, order)[0]


class Jax:
    def __init__(self):
        self.mnist = common.Mnist(flags.data, flags.limit)
        self.random = numpy.random.default_rng(1)
        self.images = jnp.asarray(self.mnist.train_images)
        self.labels = jnp.asarray(self.mnist.train_labels)
        key, init_key = jax.random.split(jax.random.key(1))
        parameters = jax.jit(initial_parameters)(init_key)
        self.state = (parameters, OPTIMIZER.init(parameters), key, *self.no_sums())

    @staticmethod
    def no_sums():
        return jnp.zeros(()), jnp.zeros((), int)

    def first_step(self):
        images, labels = self.mnist.train_images, self.mnist.train_labels
        self.state = step(self.state, images[:flags.batch], labels[:flags.batch])
        jax.block_until_ready(self.state)

    def train_epoch(self):
        images, labels = self.mnist.train_images, self.mnist.train_labels
        self.state = (*self.state[:3], *self.no_sums())
        order = self.random.permutation(len(labels))
        if flags.variant == "scan":
            full = len(labels) // flags.batch * flags.batch
            self.state = scan_steps(self.state, self.images, self.labels,
                                    order[:full].reshape(-1, flags.batch))
            if full < len(labels):
                self.state = step(self.state, images[order[full:]], labels[order[full:]])
        else:
            for begin in range(0, len(labels), flags.batch):
                chosen = order[begin:begin + flags.batch]
                self.state = step(self.state, images[chosen], labels[chosen])
        *_, loss, correct = jax.block_until_ready(self.state)
        return loss / len(labels), correct / len(labels)

    def evaluate(self):
        loss = correct = 0
        for begin in range(0, len(self.mnist.test_labels), 1000):
            batch_loss, batch_correct = measure(
                self.state[0], self.mnist.test_images[begin:begin + 1000],
                self.mnist.test_labels[begin:begin + 1000])
            loss, correct = loss + batch_loss, correct + batch_correct
        return loss / len(self.mnist.test_labels), correct / len(self.mnist.test_labels)


common.serve(flags, Jax(), answers)
