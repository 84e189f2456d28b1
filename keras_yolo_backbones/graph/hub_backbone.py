"""The class of keras-hub that a backbone becomes. Imports keras-hub, so only `to_keras_hub` imports it."""

from __future__ import annotations

from typing import Any

import keras
import keras_hub


@keras.saving.register_keras_serializable("keras_yolo_backbones")
class YOLOBackbone(keras_hub.models.FeaturePyramidBackbone):
    """A functional model with the levels of a backbone, under the names that keras-hub asks for."""

    def __init__(self, model: keras.Model, **kwargs: Any) -> None:
        super().__init__(inputs=model.input, outputs=model.output, **{"name": model.name, **kwargs})
        self.pyramid_outputs = dict(model.output)

    def get_config(self) -> dict[str, Any]:
        model = keras.Model(self.input, self.output, name=self.name)
        return {"model": keras.saving.serialize_keras_object(model), "name": self.name, "trainable": self.trainable}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> YOLOBackbone:
        model = keras.saving.deserialize_keras_object(config["model"])
        return cls(model, **{key: value for key, value in config.items() if key != "model"})
