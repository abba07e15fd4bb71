#!/usr/bin/env python3
"""JAX with Optax on one GPU: an epoch is one jitted loop over data that lies on the device.

Variants: "scan", and "scan, N at once", which unrolls N steps. XLA_FLAGS goes into the results:
--xla_gpu_enable_command_buffer=+WHILE makes the whole loop one CUDA graph. The last batch of an
epoch, which is smaller, comes behind the loop.
"""

import os

import common
import race

options = race.parse_flags(__doc__.split("\n")[0])
os.environ["JAX_PLATFORMS"] = options.device
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402
import jaxlib  # noqa: E402

OPTIMIZER = optax.adam(1e-3)
PRECISION = {"float32": "highest", "tf32": "tensorfloat32"}
UNROLLED = 4
SHAPES = {
    "mlp": [(784, 512), (512, 512), (512, 10)],
    "cnn": [(5, 5, 1, 24), (5, 5, 24, 48), (768, 512), (512, 10)],
}


def initial_state(model):
    # Philox, on the GPU much cheaper than JAX's own generator.
    key, *keys = jax.random.split(jax.random.key(1, impl="rbg"), 1 + len(SHAPES[model]))
    glorot = jax.nn.initializers.glorot_uniform()
    parameters = [(glorot(k, shape, jnp.float32), jnp.zeros(shape[-1]))
                  for k, shape in zip(keys, SHAPES[model])]
    return parameters, OPTIMIZER.init(parameters), key


def dense(x, parameters):
    weights, bias = parameters
    return x @ weights + bias


def convolution(x, parameters):
    weights, bias = parameters
    x = jax.lax.conv_general_dilated(x, weights, (1, 1), "VALID",
                                     dimension_numbers=("NHWC", "HWIO", "NHWC"))
    x = jax.nn.relu(x + bias)
    n, h, w, c = x.shape
    # Faster than lax.reduce_window, whose gradient is slow.
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


def logits_of(parameters, x, key):
    """Without a key there is no dropout."""
    if len(parameters) == 4:
        x = convolution(x.reshape(-1, 28, 28, 1), parameters[0])
        x = convolution(x, parameters[1]).reshape(len(x), -1)
        x = jax.nn.relu(dense(x, parameters[2]))
        return dense(x, parameters[3])
    x = jax.nn.relu(dense(x, parameters[0]))
    x = jax.nn.relu(dense(x, parameters[1]))
    if key is not None:
        x = jnp.where(jax.random.bernoulli(key, 0.8, x.shape), x / 0.8, 0)
    return dense(x, parameters[2])


def loss_and_correct(parameters, images, labels, key=None):
    logits = logits_of(parameters, images, key)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean(), (logits.argmax(-1) == labels).sum()


class Training:
    def __init__(self, case):
        self.batch = case.batch
        self.unroll = UNROLLED if "at once" in case.variant else 1
        self.precision = PRECISION[case.precision]
        self.run = jax.jit(self.all_steps, donate_argnums=0)
        self.state = jax.jit(initial_state, static_argnums=0)(case.model)

    def all_steps(self, state, images, labels):
        parameters, optimizer_state, key = state
        count, batch = len(labels), self.batch
        full = count // batch * batch
        key, order_key, dropout_key = jax.random.split(key, 3)
        order = jax.random.permutation(order_key, count)
        dropout_keys = jax.random.split(dropout_key, full // batch + 1)

        def step(state, inputs):
            parameters, optimizer_state = state
            chosen, dropout_key = inputs
            (loss, correct), gradient = jax.value_and_grad(loss_and_correct, has_aux=True)(
                parameters, images[chosen], labels[chosen], dropout_key)
            updates, optimizer_state = OPTIMIZER.update(gradient, optimizer_state)
            return ((optax.apply_updates(parameters, updates), optimizer_state),
                    (loss * len(chosen), correct))

        trained, (losses, corrects) = jax.lax.scan(
            step, (parameters, optimizer_state),
            (order[:full].reshape(-1, batch), dropout_keys[:-1]), unroll=self.unroll)
        loss, correct = losses.sum(), corrects.sum()
        if full < count:
            trained, (last_loss, last_correct) = step(trained, (order[full:], dropout_keys[-1]))
            loss, correct = loss + last_loss, correct + last_correct
        return (*trained, key), loss / count, correct / count

    def epoch(self):
        with jax.default_matmul_precision(self.precision):
            self.state, loss, accuracy = self.run(self.state, *TRAIN)
        jax.block_until_ready(self.state)
        return float(loss), float(accuracy)

    def evaluate(self):
        with jax.default_matmul_precision("highest"):
            loss, correct = evaluate(self.state[0], *TEST)
        return float(loss), int(correct) / len(TEST[1])


evaluate = jax.jit(loss_and_correct)


def cases():
    for batch in options.batches:
        for model in options.models:
            for precision in options.precisions:
                yield race.Case(model, batch, precision, "scan")
    for batch in options.batches:
        for model in options.models:
            for precision in options.precisions:
                if options.all or batch == 128:
                    yield race.Case(model, batch, precision, f"scan, {UNROLLED} at once")


MNIST = common.Mnist(options.data, options.limit)
TRAIN = (jnp.asarray(MNIST.train_images.reshape(-1, 784)), jnp.asarray(MNIST.train_labels))
TEST = (jnp.asarray(MNIST.test_images.reshape(-1, 784)), jnp.asarray(MNIST.test_labels))
race.race(options, "JAX", cases(), Training, len(TRAIN[1]), version=jax.__version__,
          jaxlib=jaxlib.__version__, gpu=jax.devices()[0].device_kind,
          xla_flags=os.environ.get("XLA_FLAGS", ""))
