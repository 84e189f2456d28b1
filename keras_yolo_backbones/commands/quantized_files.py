"""The files of `kyb quantize`: the int8 files, and the report beside them."""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

    from keras_yolo_backbones.export.manifest import Artifact
    from keras_yolo_backbones.quantization import Plan, Report
    from keras_yolo_backbones.quantization.calibration import Calibration


def beside(stem: Path, suffix: str) -> Path:
    """`stem` with a suffix."""
    return stem.with_name(stem.name + suffix)


def clear_reports(stem: Path) -> None:
    """Remove those of older files: no report lies beside a file that it is not of."""
    for suffix in (".report.json", ".report.png", ".budget.png"):
        beside(stem, suffix).unlink(missing_ok=True)


def export(aware: keras.Model, format: str, path: Path, args: argparse.Namespace) -> Artifact:
    """Write one file of a fake-quantized model."""
    if format == "onnx":
        from keras_yolo_backbones.export.onnx.exporter import export_onnx

        return export_onnx(aware, path, scheme=args.scheme)
    from keras_yolo_backbones.export.tflite import export_tflite

    return export_tflite(aware, path, target=args.target)


def bought(model: keras.Model, plan: Plan, aware: keras.Model, samples: Calibration) -> str:
    """What float layers bring before any tuning, against the same plan without them."""
    from keras_yolo_backbones import quantization
    from keras_yolo_backbones.export.tflite import export_tflite
    from keras_yolo_backbones.work_folders import scratch

    forms = aware, quantization.quantize_aware(model, plan)
    with scratch() as folder:
        files = [export_tflite(form, folder / f"{index}.tflite").path for index, form in enumerate(forms)]
        kept, full = (quantization.report(model, file, samples) for file in files)
    return f"before tuning, {kept.bought(full)}"


def write_report(report: Report, file: Path, stem: Path) -> None:
    """Write the report of a file as JSON and, where matplotlib is installed, as a plot."""
    from keras_yolo_backbones.export.manifest import file_digest
    from keras_yolo_backbones.files import staged

    of = {"file": file.name, "sha256": file_digest(file)}
    text = json.dumps(of | report.as_dict(), indent=1) + "\n"
    with staged(beside(stem, ".report.json")) as temporary:
        temporary.write_text(text, encoding="utf-8")
    if importlib.util.find_spec("matplotlib"):
        report.save_plot(beside(stem, ".report.png"))
