"""Training in float, from scratch."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from data import make_digits, targets
from detector import box_loss, build_detector, score_loss

IMAGES = 16000
EPOCHS = 8


def train_float(name: str, activation: str, seed: int, folder: Path) -> keras.Model:
    """The trained detector; one that `folder` has already is read from there."""
    keras.utils.set_random_seed(seed)
    model = build_detector(name, activation)
    file = folder / f"{model.name}-{seed}.weights.h5"
    if file.exists():
        model.load_weights(file)
        return model
    digits = make_digits(IMAGES, seed=seed, training=True)
    scores, boxes = targets(digits)
    steps = EPOCHS * -(-IMAGES // 32)
    rate = keras.optimizers.schedules.CosineDecay(1e-4, steps, warmup_target=2e-3, warmup_steps=steps // 20)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=1e-4), loss={"scores": score_loss, "boxes": box_loss})
    images = np.float32(digits.images) / 255
    model.fit(images, {"scores": scores, "boxes": boxes}, batch_size=32, epochs=EPOCHS, verbose=2)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_weights(file)
    return model
