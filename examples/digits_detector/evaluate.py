"""COCO mAP of a detector as a TFLite file, run through LiteRT."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
from data import CLASSES, SIDE, Digits
from detector import detections
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_yolo_backbones.litert import LiteModel


def mean_average_precision(file: Path, digits: Digits) -> float:
    """COCO's AP over IoU 0.50 … 0.95, in percent."""
    outputs = LiteModel(file)(np.float32(digits.images) / 255)
    results = [
        {"image_id": index, "category_id": label, "score": score, "bbox": [left, top, right - left, bottom - top]}
        for index, (scores, boxes) in enumerate(zip(outputs["scores"], outputs["boxes"], strict=True))
        for label, score, left, top, right, bottom in detections(scores, boxes)
    ]
    if not results:
        return 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _ground_truth(digits)
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return 100 * float(evaluation.stats[0])


def _ground_truth(digits: Digits) -> COCO:
    annotations = [
        {
            "image_id": index,
            "category_id": int(label),
            "bbox": [float(left), float(top), float(right - left), float(bottom - top)],
            "area": float((right - left) * (bottom - top)),
            "iscrowd": 0,
        }
        for index, (boxes, labels) in enumerate(zip(digits.boxes, digits.labels, strict=True))
        for (left, top, right, bottom), label in zip(boxes, labels, strict=True)
    ]
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": index, "width": SIDE, "height": SIDE} for index in range(len(digits.images))],
        "categories": [{"id": label, "name": str(label)} for label in range(CLASSES)],
        "annotations": [{"id": number, **annotation} for number, annotation in enumerate(annotations, start=1)],
    }
    truth.createIndex()
    return truth
