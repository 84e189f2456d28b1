"""Mean average precision as COCO defines it, over IoU 0.50 … 0.95, through pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable

import keras
import numpy as np
from boxes import Decoder, best
from data import Batches
from labels import Labels
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def mean_average_precision(model: keras.Model, run: Callable, labels: Labels, *, batch: int = 16) -> float:
    """mAP in percent.

    Args:
        model: the detector; says which cells there are.
        run: images -> outputs by name: the model, or a file that was made of it.
        labels: the images, and what is to be found on them.
        batch: images at once.
    """
    decoder, data = Decoder(model), Batches(labels, model, batch=batch, shuffle=False)
    truth, found = [], []
    for index in range(len(data)):
        images, objects = data[index]
        boxes, scores = (keras.ops.convert_to_numpy(x) for x in decoder(run(images)))
        for at in range(len(images)):
            image = index * batch + at
            truth += [_entry(image, int(label), box) for label, *box in objects[at] if label >= 0]
            kept = best(boxes[at], scores[at], least=0.01)
            found += [_entry(image, label, box) | {"score": score} for label, score, box in kept]
    if not found:
        return 0.0
    for number, entry in enumerate(truth, start=1):
        entry |= {"id": number, "iscrowd": 0}
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": image} for image in range(len(labels.files))],
            "categories": [{"id": label} for label in sorted({entry["category_id"] for entry in truth})],
            "annotations": truth,
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(np.round(100 * evaluation.stats[0], 2))


def _entry(image: int, label: int, box) -> dict:
    left, top, right, bottom = map(float, box)
    width, height = right - left, bottom - top
    return {"image_id": image, "category_id": label, "bbox": [left, top, width, height], "area": width * height}
