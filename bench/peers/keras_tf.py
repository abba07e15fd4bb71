#!/usr/bin/env python3
"""Keras 3 on TensorFlow: Model.fit on a tf.data pipeline, 20 steps per execution.

With jit_compile, the MLP takes three times as long.
"""

import os

import common

flags = common.parse_flags()
answers = common.private_stdout()

os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="2", TF_ENABLE_ONEDNN_OPTS="1")

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402
from keras import layers  # noqa: E402


def make_model(name):
    if name == "mlp":
        return keras.Sequential([
            layers.Input((28, 28, 1)), layers.Flatten(),
            layers.Dense(512, "relu"), layers.Dense(512, "relu"),
            layers.Dropout(0.2), layers.Dense(10)])
    return keras.Sequential([
        layers.Input((28, 28, 1)),
        layers.Conv2D(24, 5, activation="relu"), layers.MaxPooling2D(2),
        layers.Conv2D(48, 5, activation="relu"), layers.MaxPooling2D(2),
        layers.Flatten(), layers.Dense(512, "relu"), layers.Dense(10)])


class Keras:
    def __init__(self):
        tf.config.threading.set_intra_op_parallelism_threads(flags.threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        keras.utils.set_random_seed(1)
        self.mnist = common.Mnist(flags.data, flags.limit)
        self.model = make_model(flags.model)
        self.model.compile(
            optimizer=keras.optimizers.Adam(1e-3),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=False,
            steps_per_execution=20)
        self.dataset = self.shuffled_batches()

    def shuffled_batches(self):
        """The training data, in a new order for each pass; gathered, which is faster than
        shuffling samples one by one."""
        images = tf.constant(self.mnist.train_images)
        labels = tf.constant(self.mnist.train_labels)
        count = len(self.mnist.train_labels)
        order = tf.data.Dataset.range(1).flat_map(
            lambda _: tf.data.Dataset.from_tensor_slices(tf.random.shuffle(tf.range(count))))
        return order.batch(flags.batch).map(
            lambda chosen: (tf.gather(images, chosen), tf.gather(labels, chosen))).prefetch(4)

    def first_step(self):
        self.model.train_on_batch(self.mnist.train_images[:flags.batch],
                                  self.mnist.train_labels[:flags.batch])

    def train_epoch(self):
        history = self.model.fit(self.dataset, epochs=1, verbose=0)
        return history.history["loss"][-1], history.history["accuracy"][-1]

    def evaluate(self):
        return self.model.evaluate(self.mnist.test_images, self.mnist.test_labels,
                                   batch_size=1000, verbose=0)


common.serve(flags, Keras(), answers)
