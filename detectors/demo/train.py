"""Trains the demo detector from nothing and exports it.

    python -m labelbeam.detectors.demo.train --out detectors/demo/model

Draws the scenes, trains on two CPU cores, writes the SavedModel and prints its average precision on 200 unseen scenes. The scenes, their
order, their augmentation and the initial weights are the same for the same `--seed`. TensorFlow sums gradients in an order that varies with the
threads, so the weights agree only roughly between runs, and the scores to about a point; with `--deterministic` they are equal bit by bit on the same
machine, in nearly twice the time. Don't fine-tune with it: there is no way to start from given weights.
"""
import argparse
import math
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from .examples import CANVAS, Examples, make_examples
from .export import export_saved_model
from .losses import total_loss
from .network import build_network
from .scenes import EVALUATION_SEEDS, TRAINING_SEEDS_START


def batches(examples: Examples, batch_size: int, steps: int, seed: int):
    """Yields `steps` augmented batches as the arguments of the training step: an endless shuffle, the same for the same seed."""
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(len(examples)) for _ in range(math.ceil(steps * batch_size / len(examples)))])
    for step in range(steps):
        chosen = order[step * batch_size : (step + 1) * batch_size]
        augmented = [_augmented(rng, examples, row) for row in chosen]
        images, boxes, grids, masks = (np.stack(parts) for parts in zip(*augmented, strict=True))
        shifts = rng.uniform(-0.12, 0.12, (*boxes.shape[:2], 2)).astype(np.float32)
        yield images, boxes, examples.class_ids[chosen], grids, masks, shifts


def _augmented(rng: np.random.Generator, examples: Examples, row: int):
    """One example, mirrored and with other colours. The light's direction is random in the scenes, so all eight ways round are likely."""
    image, masks = examples.images[row], examples.masks[row]
    boxes, grids = examples.boxes_yxyx[row], examples.grids_yxyx[row]
    if rng.random() < 0.5:
        image, masks = image.transpose(1, 0, 2), masks.transpose(0, 2, 1)
        boxes, grids = boxes[:, [1, 0, 3, 2]], grids[:, [1, 0, 3, 2]]
    for axis in (0, 1):
        if rng.random() < 0.5:
            image, masks = np.flip(image, axis), np.flip(masks, axis + 1)
            boxes, grids = _mirrored(boxes, axis), _mirrored(grids, axis)
    levels = np.linspace(0, 1, 256)[:, None] ** rng.uniform(0.75, 1.3) * rng.uniform(0.8, 1.2) * rng.uniform(0.92, 1.08, 3)
    levels = (np.clip(levels, 0, 1) * 255).astype(np.uint8)
    image = np.stack([levels[:, c][image[..., source]] for c, source in enumerate(rng.permutation(3))], axis=-1)
    return image, boxes, grids, masks


def _mirrored(boxes_yxyx: np.ndarray, axis: int) -> np.ndarray:
    boxes_yxyx = boxes_yxyx.copy()
    boxes_yxyx[:, [axis, axis + 2]] = CANVAS - boxes_yxyx[:, [axis + 2, axis]]
    return boxes_yxyx


def make_train_step(network: keras.Model, optimizer: keras.optimizers.Optimizer):
    """The compiled training step: takes what `batches` yields, returns the loss and its parts."""
    variables = network.trainable_variables
    optimizer.build(variables)

    @tf.function
    def train_step(images, boxes_yxyx, class_ids, grids_yxyx, masks, shifts_yx):
        canvas = tf.cast(images, tf.float32) / 127.5 - 1.0
        targets = boxes_yxyx, class_ids, grids_yxyx, tf.cast(masks, tf.float32) / 255.0, shifts_yx
        with tf.GradientTape() as tape:
            loss, parts = total_loss(network(canvas, training=True), *targets)
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), 10.0)
        optimizer.apply(gradients, variables)
        return loss, parts

    return train_step


def train(examples: Examples, *, steps: int, batch_size: int = 16, seed: int = 0, learning_rate: float = 2e-3) -> keras.Model:
    """Trains a new network with AdamW (arXiv:1711.05101), the rate warmed up and then lowered along a cosine."""
    keras.utils.set_random_seed(seed)
    network = build_network()
    warm_up = max(1, min(100, steps // 10))
    schedule = keras.optimizers.schedules.CosineDecay(1e-5, steps - warm_up, 0.01, warmup_target=learning_rate, warmup_steps=warm_up)
    train_step = make_train_step(network, keras.optimizers.AdamW(schedule, weight_decay=0.01))
    started, sums = time.monotonic(), None
    for step, batch in enumerate(batches(examples, batch_size, steps, seed), start=1):
        loss, parts = train_step(*(tf.convert_to_tensor(array) for array in batch))
        row = np.array([loss, *parts.values()])
        sums = row if sums is None else sums + row
        if step % 50 == 0 or step == steps:
            window = step % 50 or 50
            means = ", ".join(f"{name} {mean:.3f}" for name, mean in zip(("loss", *parts), sums / window, strict=True))
            print(f"step {step}/{steps}: {means} ({step * batch_size / (time.monotonic() - started):.1f} images/s)", flush=True)
            sums = None
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description="Trains the demo detector and exports it.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the SavedModel")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenes", type=int, default=4000, help="number of training scenes")
    parser.add_argument("--steps", type=int, default=3000, help="training steps of 16 scenes")
    parser.add_argument("--cache", type=Path, help=".npz file that keeps the drawn scenes for the next run")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--deterministic", action="store_true", help="equal weights from equal seeds, at twice the time")
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if options.deterministic:
        tf.config.experimental.enable_op_determinism()

    started = time.monotonic()
    first = TRAINING_SEEDS_START + options.seed * 1_000_000
    examples = make_examples(range(first, first + options.scenes), options.cache, options.threads)
    print(f"{options.scenes} scenes after {time.monotonic() - started:.0f} s", flush=True)
    network = train(examples, steps=options.steps, seed=options.seed)
    export_saved_model(network, options.out)
    print(f"{options.out} written after {(time.monotonic() - started) / 60:.1f} min", flush=True)

    from .evaluate import average_precision  # needs pycocotools, of the extra `test`

    print(average_precision(options.out, EVALUATION_SEEDS))


if __name__ == "__main__":
    main()
