"""Trains the demo detector from nothing and exports it.

    python -m labelbeam.detectors.demo.train --out detectors/demo/model

Draws the scenes, trains on two CPU cores (about an hour), writes the SavedModel and prints its average
precision on 200 unseen scenes. The scenes, their order, their augmentation and the initial weights are the same for
the same `--seed`. TensorFlow sums gradients in an order that varies with the threads, so the weights agree only
roughly between runs, and the scores to about a point; `--deterministic` asks it for kernels that always sum alike,
which take longer.
"""

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from .examples import CROP_SIZE, Batch, batches, make_examples
from .export import export_saved_model
from .losses import total_loss
from .network import build_network
from .scenes import EVALUATION_SEEDS, MAX_OBJECTS, TRAINING_SEEDS_START
from .shapes import CLASS_NAMES

BATCH_SIZE = 16
LEARNING_RATE = 3e-3
_WARM_UP_STEPS = 200
_REPORT_STEPS = 100


def train(examples, *, steps: int, seed: int) -> keras.Model:
    """Trains a new network with AdamW (arXiv:1711.05101): the rate warmed up, then lowered along a cosine.

    Returns:
      The network with the exponential moving average of its weights over the last 500 steps or so.
    """
    keras.utils.set_random_seed(seed)
    network = build_network(len(CLASS_NAMES))
    warm_up = min(_WARM_UP_STEPS, steps // 10)
    rate = keras.optimizers.schedules.CosineDecay(
        LEARNING_RATE / 20, steps - warm_up, 0.01, warmup_target=LEARNING_RATE, warmup_steps=warm_up
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=0.02, global_clipnorm=10.0, use_ema=True, ema_momentum=0.998)
    step = make_train_step(network, optimizer)
    sums, started = Counter(), time.monotonic()
    for number, batch in enumerate(_ahead(batches(examples, BATCH_SIZE, np.random.default_rng(seed)), steps), start=1):
        sums.update({name: float(value) for name, value in step(*batch).items()})
        if number % _REPORT_STEPS == 0:
            means = ", ".join(f"{name} {value / _REPORT_STEPS:.3f}" for name, value in sums.items())
            print(
                f"step {number}/{steps}, {number * BATCH_SIZE / (time.monotonic() - started):.1f} crops/s: {means}",
                flush=True,
            )
            sums.clear()
    optimizer.finalize_variable_values(network.trainable_variables)
    return network


def make_train_step(network: keras.Model, optimizer: keras.optimizers.Optimizer):
    """The compiled training step: takes a `Batch`'s arrays, returns its losses."""
    variables = network.trainable_variables
    optimizer.build(variables)
    size = [None, CROP_SIZE, CROP_SIZE]
    signature = Batch(
        images=tf.TensorSpec([*size, 3], tf.float32),
        numbers=tf.TensorSpec(size, tf.uint8),
        boxes_yxyx=tf.TensorSpec([None, MAX_OBJECTS, 4], tf.float32),
        centres=tf.TensorSpec([None, MAX_OBJECTS, 2], tf.int32),
        valid=tf.TensorSpec([None, MAX_OBJECTS], tf.bool),
        cells=tf.TensorSpec([None, 5], tf.int32),
        weights=tf.TensorSpec([None], tf.float32),
    )

    @tf.function(input_signature=tuple(signature))
    def train_step(*arrays):
        batch = Batch(*arrays)
        with tf.GradientTape() as tape:
            losses = total_loss(network(batch.images, training=True), batch)
        optimizer.apply(tape.gradient(losses["total"], variables), variables)
        return losses

    return train_step


def _ahead(source: Iterator[Batch], count: int) -> Iterator[Batch]:
    """The first `count` batches of `source`, the next one made while the last one is in use."""
    with ThreadPoolExecutor(1) as ahead:
        following = ahead.submit(next, source)
        for number in range(1, count + 1):
            batch = following.result()
            if number < count:
                following = ahead.submit(next, source)
            yield batch


def main() -> None:
    parser = argparse.ArgumentParser(description="Trains the demo detector and exports it.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the SavedModel")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scenes", type=int, default=4000, help="number of training scenes (default: %(default)s)")
    parser.add_argument(
        "--steps", type=int, default=7000, help=f"training steps of {BATCH_SIZE} crops (default: %(default)s)"
    )
    parser.add_argument("--processes", type=int, default=2, help="that draw the scenes (default: %(default)s)")
    parser.add_argument("--deterministic", action="store_true", help="only kernels that always sum alike; takes longer")
    options = parser.parse_args()
    if options.deterministic:
        tf.config.experimental.enable_op_determinism()

    started = time.monotonic()
    examples = make_examples(range(TRAINING_SEEDS_START, TRAINING_SEEDS_START + options.scenes), options.processes)
    print(f"{options.scenes} scenes after {time.monotonic() - started:.0f} s", flush=True)
    network = train(examples, steps=options.steps, seed=options.seed)
    network.save_weights(options.out.with_suffix(".weights.h5"))  # an hour's work, kept whatever becomes of the export
    export_saved_model(network, options.out)
    print(f"{options.out} written after {(time.monotonic() - started) / 60:.1f} min", flush=True)

    from .evaluate import average_precision

    print(average_precision(options.out, EVALUATION_SEEDS))


if __name__ == "__main__":
    main()
