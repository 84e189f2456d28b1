"""The gate of TFLite files: against the float model, and against the fake-quantized model that simulates the file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

from keras_yolo_backbones.export.comparison import LEAST_SNR_DB, Runner, compare, least_of_simulation
from keras_yolo_backbones.export.manifest import describe
from keras_yolo_backbones.quantization.integer_form import float_form
from keras_yolo_backbones.quantization.tfmot.engine import is_tfmot

_SIMULATION = "fake-quantized model"
_FLOAT = "fake-quantized model without its rounding"
_ADVICE = (
    "Check that the weights are trained and finite and that the calibration images look like those in use; "
    "least_snr_db=… sets another bound."
)


class Gate(NamedTuple):
    """A file that is to be compared.

    Attributes:
        runner: runs it.
        batches: images to compare on.
        checked_on: what they are, in words.
        what: name of the file.
        bound: the caller's own, in dB.
    """

    runner: Runner
    batches: Sequence[Any]
    checked_on: str
    what: str
    bound: float | None

    def follows(self, model: keras.Model, precision: str, simulation: keras.Model | None = None) -> dict[str, Any]:
        """What the manifest says of a file of a float model.

        Args:
            model: the float model.
            precision: of the file.
            simulation: the fake-quantized model that the file was made from, if there is one.

        Raises:
            ExportError: the file is too far from one of them.
        """
        found = self._against(model, "model", LEAST_SNR_DB[precision] if self.bound is None else self.bound)
        if simulation is None:
            return found
        least = least_of_simulation(found["agreement"])
        simulated = self._against(simulation, _SIMULATION, least if self.bound is None else min(least, self.bound))
        return found | {"fake_quantized_agreement": describe(**simulated)}

    def is_simulated_by(self, aware: Any) -> dict[str, Any]:
        """What the manifest says of the file of a model that was fake-quantized before.

        Raises:
            ExportError: the file is too far from it.
        """
        if is_tfmot(aware):  # simulates some of the rounding only, and has no float twin
            return self._against(aware, _SIMULATION, LEAST_SNR_DB["int8"] if self.bound is None else self.bound)
        floats = self._against(float_form(aware), _FLOAT, None)
        least = least_of_simulation(floats["agreement"]) if self.bound is None else self.bound
        return self._against(aware, _SIMULATION, least) | {"float_agreement": describe(**floats)}

    def _against(self, model: keras.Model, reference: str, least: float | None) -> dict[str, Any]:
        bound = -math.inf if least is None else least
        options: dict[str, Any] = {"reference": reference, "least_snr_db": bound, "advice": _ADVICE}
        found = compare(model, self.runner, self.batches, what=self.what, **options)
        return {"agreement": found, "checked_on": self.checked_on, "least_snr_db": least, "reference": reference}
