"""A KServe server over the session loader of TF Serving, for one test: `python kserve_server.py FOLDER NAME PORT`.

Runs in an environment of its own, because KServe pins other packages than this project.
"""

import sys
from pathlib import Path

import kserve
from prediction_service import columns

from keras_yolo_backbones.errors import ExportError
from keras_yolo_backbones.export.tf_serving.session import ServingSession


class SavedModel(kserve.Model):
    """TF Serving's columns in, columns out, as KServe's protocol V1 passes them through."""

    def __init__(self, name, folder):
        super().__init__(name)
        self.session = ServingSession(folder)
        self.ready = True

    def predict(self, payload, *_, **__):
        signature = payload.get("signature_name", "serving_default")
        if signature not in self.session.signatures:
            raise kserve.errors.InvalidInput(f'Serving signature key "{signature}" not found.')
        try:
            outputs = self.session.run(columns(self.session, signature, payload["inputs"]), signature)
        except ExportError as error:
            raise kserve.errors.InvalidInput(str(error)) from error
        return {"outputs": {name: value.tolist() for name, value in outputs.items()}}


if __name__ == "__main__":
    path, name, port = sys.argv[1:]
    kserve.ModelServer(http_port=int(port), enable_grpc=False, workers=1).start([SavedModel(name, Path(path))])
