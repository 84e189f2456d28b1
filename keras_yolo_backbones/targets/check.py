"""One file on one device: asked of the real tool where it is installed, held against the documentation where not."""

from __future__ import annotations

from pathlib import Path

from keras_yolo_backbones.errors import ArgumentError, one_of
from keras_yolo_backbones.litert import LiteModel, operators
from keras_yolo_backbones.strangers import check_runs, read_onnx
from keras_yolo_backbones.targets import micro, openvino, vela, xnnpack
from keras_yolo_backbones.targets.refusals import LISTS, refusals
from keras_yolo_backbones.targets.report import Report

TARGETS = (*LISTS, "openvino")
"""All targets for TFLite files; those of Ethos-U also with a size, such as `"ethos-u85-512"`."""


def check_tflite(path: Path, target: str, *, clock: float | None = None) -> Report:
    """What a device takes of a TFLite file.

    Args:
        path: the file.
        target: one of `TARGETS`.
        clock: MHz of an Ethos-U, for its time; by default that of the system that Vela assumes.

    Raises:
        ArgumentError: an unknown target, a clock for a target that has none, or OpenVINO is not installed.
        ExportError: the file is no TFLite file, or a tool gives no answer.
    """
    chip = target[:9]
    if clock is not None and chip not in vela.SIZES:
        raise ArgumentError(f"clock={clock:g} is for the Ethos-U targets, not for {target!r}.")
    if chip not in vela.SIZES and target not in TARGETS:
        raise one_of("target", target, TARGETS)
    full = vela.configuration(target) if chip in vela.SIZES else target
    check_runs(path)
    LiteModel(path)
    count = len(operators(path))
    if chip in vela.SIZES:
        if vela.installed():
            return vela.vela_report(path, full, operators=count, clock=clock)
        return Report(full, "documentation", count, refusals(path, chip), missing=vela.VELA.missing)
    if target == "tflite-micro":
        if micro.installed():
            return micro.micro_report(path, operators=count)
        return Report(target, "documentation", count, refusals(path, target), missing=micro.MICRO.missing)
    if target == "openvino":
        return openvino.openvino_report(path)
    if target == "xnnpack":
        return xnnpack.xnnpack_report(path)
    return Report(target, "documentation", count, refusals(path, target))


def check_onnx(path: Path, target: str) -> Report:
    """What a runtime takes of an ONNX file: by its published rules, and for OpenVINO by running it.

    Raises:
        ArgumentError: an unknown target.
        ExportError: the file is no ONNX file, or a tool gives no answer.
    """
    from keras_yolo_backbones.targets.onnx_rules import onnx_refusals

    check_runs(path)
    refused = onnx_refusals(path, target)
    if target == "openvino" and openvino.installed():
        return openvino.openvino_report(path)
    missing = openvino.OPENVINO.missing if target == "openvino" else ""
    return Report(target, "documentation", len(read_onnx(path).graph.node), refused, missing=missing)
