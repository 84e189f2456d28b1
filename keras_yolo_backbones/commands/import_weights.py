"""`kyb import-weights`: trained weights of the original projects into Keras' format."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from rich.console import Console

from keras_yolo_backbones.commands.common import build_for, check_exists, print_json, working
from keras_yolo_backbones.errors import ArgumentError

if TYPE_CHECKING:
    from keras_yolo_backbones.weights.load import Loaded

EXAMPLES = """\
examples:
  kyb import-weights v8-s yolov8s.pt --out v8s.weights.h5
  kyb import-weights --auto yolov4.weights
  kyb import-weights --auto yolox_nano.pth --out nano.weights.h5
  kyb import-weights v8-s yolov8s.pt --out v8s.weights.h5 --json
"""


def add(subparsers: argparse._SubParsersAction) -> None:
    """Add the command and its arguments."""
    parser = subparsers.add_parser(
        "import-weights",
        help="bring trained weights of the original project into Keras",
        description="Read a checkpoint (.pt, .pth, .weights, .safetensors, .weights.h5; told apart by content), put "
        "every tensor in its place and write Keras' own format. Nothing in the file is executed.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="+", metavar="[MODEL] FILE", help="MODEL is left out with --auto")
    parser.add_argument("--auto", action="store_true", help="tell the network from the file; without --out say it only")
    parser.add_argument("--out", metavar="FILE", help="the .weights.h5 file to write")
    parser.add_argument("--strict", action=argparse.BooleanOptionalAction, default=True, help="every tensor or none")
    parser.add_argument(
        "--normalize",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="make RGB in [0, 1] of what the original takes, or keep that",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Identify, load, write, and say what came of it."""
    if len(args.names) != (1 if args.auto else 2):
        raise ArgumentError("import-weights takes MODEL FILE, or --auto FILE.")
    if not args.out and not args.auto:
        raise ArgumentError("import-weights MODEL FILE needs --out, such as --out v8s.weights.h5.")
    file = args.names[-1]
    check_exists(file)
    name = args.names[0]
    if args.auto:
        name = _identified(file, console, wanted=bool(args.out), as_json=args.json)
        if not args.out:
            return 0
    from keras_yolo_backbones.graph.signature import image_input
    from keras_yolo_backbones.weights.load import load_weights
    from keras_yolo_backbones.weights.save import save_weights

    with working(console, f"building {name}"):
        model = build_for(file, name)
    with working(console, f"reading {file}"):
        loaded = load_weights(model, file, strict=args.strict, normalize=args.normalize)
        save_weights(model, args.out)
    if args.json:
        print_json({"out": args.out, **_described(loaded), "takes": str(image_input(model).preprocessing)})
        return 0
    out = Console(highlight=False, soft_wrap=True)
    out.print(f"{args.out}: {loaded.placed} tensors of {loaded.provenance.network} from {loaded.provenance.file}")
    _listed(out, loaded.ignored, "neck and head, ignored")
    _listed(out, loaded.unplaced, "of the backbone, without a place in the model")
    _listed(out, loaded.initial, "of the model, left at their initial values")
    if loaded.trained:
        assumed = "" if loaded.trained.stated else "; assumed, for the file does not say it"
        out.print(f"trained with {loaded.trained}{assumed}", markup=False)
    out.print(f"takes {image_input(model).preprocessing}; the original {loaded.provenance.original}", markup=False)
    out.print(f"sha256 {loaded.provenance.sha256}")
    out.print(
        f"licence of these weights: {loaded.provenance.licence} ({loaded.provenance.project or 'unknown origin'})"
    )
    return 0


def _described(loaded: Loaded) -> dict[str, Any]:
    """What came of it, as plain data."""
    lists = {key: list(getattr(loaded, key)) for key in ("ignored", "unplaced", "initial")}
    trained = loaded.trained.as_data() if loaded.trained else None
    return {"placed": loaded.placed, **lists, "trained": trained, **json.loads(loaded.provenance.as_json())}


def _identified(file: str, console: Console, *, wanted: bool, as_json: bool) -> str:
    """The name of the network that a file is of; with `wanted`, it must be one."""
    from keras_yolo_backbones.weights.recognition.identify import identify

    with working(console, f"reading {file}"):
        identity = identify(file)
    if as_json and not wanted:
        print_json(
            {"file": file, "networks": list(identity.names), "missing": identity.lacks, "format": identity.format}
        )
    elif not as_json:
        Console(highlight=False, soft_wrap=True).print(f"{file}: {identity.name}{identity.missing} ({identity.format})")
    if wanted and len(identity.names) > 1:
        raise ArgumentError(f"{file} fits {identity.name} alike; say which: kyb import-weights {identity.names[0]} …")
    return identity.names[0]


def _listed(out: Console, names: tuple[str, ...], what: str) -> None:
    if names:
        shown = ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
        out.print(f"{len(names)} {what}: {shown}", markup=False)
