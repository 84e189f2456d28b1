"""Ask TF Serving for features over REST, with nothing but NumPy and the standard library.

python examples/serving_client.py http://localhost:8501 v8s photo.jpg …
"""

from __future__ import annotations

import argparse
import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import numpy as np

RETRIES = 3
"""After "service unavailable" (503) only: anything else the server has answered."""


class ServingError(RuntimeError):
    """The server refuses, is not there, or does not answer in time."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print the pooled features of image files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="such as http://localhost:8501")
    parser.add_argument("model", help="its name at the server")
    parser.add_argument("images", nargs="+", type=Path, help="JPEG or PNG files")
    args = parser.parse_args(argv)
    files = [path.read_bytes() for path in args.images]
    levels = predict(args.url, args.model, files, signature="encoded_embedding")
    for index, path in enumerate(args.images):
        norms = (
            f"{name} {level[index].shape} norm {np.linalg.norm(level[index]):.3f}" for name, level in levels.items()
        )
        print(path, *norms, sep="  ")


def predict(
    url: str, model: str, images: np.ndarray | Sequence[bytes], *, signature: str | None = None, timeout: float = 10.0
) -> dict[str, np.ndarray]:
    """Call a signature of a model.

    Args:
        url: of the server's REST interface.
        model: its name there.
        images: (batch, height, width, 3) float32 or uint8, or a list with the contents of image files. JSON spells
            every pixel out; files with the signature `encoded_embedding` are hundreds of times smaller.
        signature: what fits the images by default.
        timeout: seconds, retries included.

    Returns:
        Output name -> float32 array.
    """
    if isinstance(images, np.ndarray):
        fitting, inputs = "uint8" if images.dtype == np.uint8 else "serving_default", {"images": images.tolist()}
    else:
        files = [{"b64": base64.b64encode(file).decode()} for file in images]
        fitting, inputs = "encoded", {"image_bytes": files}
    body = json.dumps({"signature_name": signature or fitting, "inputs": inputs}).encode()
    request = urllib.request.Request(f"{url}/v1/models/{model}:predict", body, {"Content-Type": "application/json"})
    answer = _post(request, time.monotonic() + timeout)
    return {name: np.array(value, np.float32) for name, value in answer["outputs"].items()}


def _post(request: urllib.request.Request, deadline: float) -> dict:
    for attempt in range(RETRIES + 1):
        try:
            with urllib.request.urlopen(request, timeout=max(0.001, deadline - time.monotonic())) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            pause = 0.1 * 2**attempt
            if error.code != 503 or attempt == RETRIES or time.monotonic() + pause > deadline:
                raise ServingError(f"{request.full_url}: HTTP {error.code}: {_reason(error)}") from None
            time.sleep(pause)
        except (urllib.error.URLError, TimeoutError) as error:
            raise ServingError(f"{request.full_url}: no server, or no answer in time: {error}") from None
    raise AssertionError("the last attempt returns or raises")


def _reason(error: urllib.error.HTTPError) -> str:
    content = error.read().decode(errors="replace")
    try:
        return json.loads(content)["error"]
    except (ValueError, KeyError, TypeError):
        return content


if __name__ == "__main__":
    main()
