"""What a release is checked for: `make release-check`.

python zoo/release.py contents dist    what is in the wheel and in the source package
python zoo/release.py works            in an environment where the wheel is installed: the main job, small
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "keras_yolo_backbones"
ROOT = Path(__file__).resolve().parent.parent
DATA = ("arenas.json", "catalogue.json", "facts.json", "weights/recognition/networks.json.gz")
"""Files of the package that are no Python."""


def contents(folder: Path) -> list[str]:
    """What is wrong with the two packages in a folder."""
    wheels, sources = list(folder.glob("*.whl")), list(folder.glob("*.tar.gz"))
    if (len(wheels), len(sources)) != (1, 1):
        return [f"{folder} has {len(wheels)} wheels and {len(sources)} source packages; expected one each"]
    with zipfile.ZipFile(wheels[0]) as wheel:
        inside = set(wheel.namelist())
    with tarfile.open(sources[0]) as archive:
        members = {name.partition("/")[2] for name in archive.getnames()}
    modules = {f"{PACKAGE}/{path.relative_to(ROOT / PACKAGE)}" for path in (ROOT / PACKAGE).rglob("*.py")}
    wanted = modules | {f"{PACKAGE}/{name}" for name in DATA}
    others = {name.split("/")[0] for name in inside if ".dist-info/" not in name} - {PACKAGE}
    faults = [f"the wheel has no {name}" for name in sorted(wanted - inside)]
    faults += [f"the wheel also has {name}" for name in sorted(others)]
    faults += [] if any(name.endswith("licenses/LICENSE") for name in inside) else ["the wheel has no LICENSE"]
    files = wanted | {"README.md", "CHANGELOG.md", "LICENSE", "Makefile", "pyproject.toml", "tests/conftest.py"}
    return faults + [f"the source package has no {name}" for name in sorted(files - members)]


def works() -> list[str]:
    """What is wrong with the package that this Python finds."""
    import keras_yolo_backbones as kyb

    if "site-packages" not in Path(kyb.__file__).parts:
        return [f"{kyb.__file__} is the checkout, not the installed wheel"]
    kyb_command = Path(sys.executable).parent / "kyb"
    with tempfile.TemporaryDirectory() as folder:
        commands = [
            ["list", "v8-*"],
            ["export", "v8-n", "--image-size", "64", "--format", "tflite", "onnx", "saved_model", "--out", folder],
            ["check", f"{folder}/v8-n-float32.tflite", "--target", "xnnpack"],
        ]
        for command in commands:
            done = subprocess.run([kyb_command, *command], capture_output=True, text=True, check=False)
            if done.returncode:
                return [f"kyb {' '.join(command)} ended with {done.returncode}: {done.stderr[-500:]}"]
            print(f"kyb {command[0]}: works")
    return []


def main() -> int:
    """Print the faults; 0 if there is none."""
    if sys.argv[1:] == ["works"]:
        faults = works()
    elif sys.argv[1:2] == ["contents"] and len(sys.argv) == 3:
        faults = contents(Path(sys.argv[2]))
    else:
        sys.exit(__doc__)
    print("\n".join(faults) if faults else f"{sys.argv[1]}: all is well")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
