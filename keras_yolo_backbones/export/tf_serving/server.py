"""What starts the official server on an exported model: its configuration files, a script and a compose file."""

from __future__ import annotations

import re
from pathlib import Path

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.files import staged

SERVER = "server"
"""The folder beside the versions; TF Serving reads only names that are integers."""

IMAGE = "tensorflow/serving:2.20.0"

XLA_FLAGS = ("--xla_cpu_compilation_enabled=true", "--xla_gpu_compilation_enabled=true")
"""Without them TF Serving refuses functions that are compiled by XLA."""

_STARTERS = ("serve.sh", "compose.yaml")

_MODELS = """\
# Which models the server serves. In object stores, where no folder appears at once, pin versions instead:
# model_version_policy { specific { versions: 1 } }
model_config_list {
  config {
    name: "NAME"
    base_path: "/models/NAME"
    model_platform: "tensorflow"
    model_version_policy { latest { num_versions: 1 } }
  }
}
"""

_BATCHING = """\
# Requests that arrive together are run together, padded up to one of the sizes that were warmed up. Set
# num_batch_threads to half of the server's cores; on two cores batching makes nothing faster.
max_batch_size { value: LARGEST }
batch_timeout_micros { value: 2000 }
num_batch_threads { value: 4 }
max_enqueued_batches { value: 64 }
SIZES"""

_MONITORING = """\
# Prometheus reads http://<host>:8501/monitoring/prometheus/metrics
prometheus_config {
  enable: true
  path: "/monitoring/prometheus/metrics"
}
"""

_SCRIPT = """\
#!/bin/sh
# Starts TF Serving: gRPC on port 8500, REST on 8501. IMAGE, GRPC_PORT and REST_PORT replace what stands here; arguments
# are handed on to the server. New versions in the folder above are picked up while it runs.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec docker run --rm --name "NAME" \\
  --publish "${GRPC_PORT:-8500}:8500" --publish "${REST_PORT:-8501}:8501" \\
  --volume "$(dirname "$here"):/models/NAME:ro" \\
  "${IMAGE:-IMAGE_TAG}" \\
  FLAGS \\
  "$@"
"""

_COMPOSE = """\
# docker compose up: the same server as serve.sh starts.
services:
  NAME:
    image: ${IMAGE:-IMAGE_TAG}
    command:
FLAGS
    ports:
      - "${GRPC_PORT:-8500}:8500"
      - "${REST_PORT:-8501}:8501"
    volumes:
      - ..:/models/NAME:ro
    restart: unless-stopped
"""


def server_flags(name: str, *, xla: bool) -> list[str]:
    """What the server is started with."""
    folder = f"/models/{name}/{SERVER}"
    flags = [
        f"--model_config_file={folder}/models.config",
        "--enable_batching=true",
        f"--batching_parameters_file={folder}/batching_params.pbtxt",
        f"--monitoring_config_file={folder}/monitoring.config",
    ]
    return flags + (list(XLA_FLAGS) if xla else [])


def check_server_files(folder: Path, *, xla: bool) -> None:
    """See that what lies there already can serve the version that is about to be made.

    Raises:
        ArgumentError: the model's folder has no name for a server, or an existing script lacks a flag.
    """
    name = folder.resolve().name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise ArgumentError(
            f"{folder}: the folder's name is the model's name at the server; letters, digits, '_', '-' and '.' only."
        )
    for starter in _STARTERS if xla else ():
        path = folder / SERVER / starter
        missing = [flag for flag in XLA_FLAGS if path.exists() and flag not in path.read_text(encoding="utf-8")]
        if missing:
            raise ArgumentError(
                f"{path} starts a server that refuses models compiled by XLA; add {' '.join(missing)} to it, "
                "or delete it to have it written anew."
            )


def write_server_files(folder: Path, batch_sizes: tuple[int, ...], *, xla: bool) -> None:
    """Write the files that are missing in `folder/server`; those that are there may have been edited, and stay.

    Args:
        folder: of the model, with the versions in it.
        batch_sizes: ascending; the server pads up to one of them.
        xla: the model is compiled by XLA.
    """
    name = folder.resolve().name
    flags = server_flags(name, xla=xla)
    sizes = "".join(f"allowed_batch_sizes: {size}\n" for size in batch_sizes)
    contents = {
        "models.config": _MODELS,
        "batching_params.pbtxt": _BATCHING.replace("LARGEST", str(batch_sizes[-1])).replace("SIZES", sizes),
        "monitoring.config": _MONITORING,
        "serve.sh": _SCRIPT.replace("FLAGS", " \\\n  ".join(flags)),
        "compose.yaml": _COMPOSE.replace("FLAGS", "\n".join(f"      - {flag}" for flag in flags)),
    }
    (folder / SERVER).mkdir(exist_ok=True)
    for file, content in contents.items():
        target = folder / SERVER / file
        if target.exists():
            continue
        with staged(target) as temporary:
            temporary.write_text(content.replace("IMAGE_TAG", IMAGE).replace("NAME", name), encoding="utf-8")
            temporary.chmod(0o755 if file.endswith(".sh") else 0o644)
