"""Talking to a server: `Client` for TF Serving's gRPC protocol. Needs the extra `serving`."""

from keras_yolo_backbones.serving.client import Client

__all__ = ["Client"]


def __dir__() -> list[str]:
    return sorted(__all__)
