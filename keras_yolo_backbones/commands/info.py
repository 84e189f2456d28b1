"""`kyb info`: what is known of one network."""

from __future__ import annotations

import argparse
import math
from typing import Any

from rich.console import Console
from rich.table import Table

from keras_yolo_backbones.catalogue import stored_facts
from keras_yolo_backbones.commands.common import add_model_arguments, build_model, print_json, readable_bytes, working

EXAMPLES = """\
examples:
  kyb info v8-s
  kyb info v8-s --activation relu6 --levels P2,P3,P4,P5 --image-size 320
"""


def add(subparsers: argparse._SubParsersAction) -> None:
    """Add the command and its arguments."""
    parser = subparsers.add_parser(
        "info",
        help="levels, parameters, cost, source and licence of a network",
        description="What a network is; one with options of its own is built first.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Print what is known, as a table or as JSON."""
    facts = _stored(args)
    if facts is None:
        with working(console, f"building {args.model}"):
            facts = describe(args)
    if args.json:
        print_json(facts)
        return 0
    out, table = Console(), Table("level", "stride", "channels", "size", box=None, pad_edge=False)
    for level in facts["levels"]:
        table.add_row(
            level["name"], *(str(level[key]) for key in ("stride", "channels")), "×".join(map(str, level["size"]))
        )
    origin = facts["origin"]
    out.print(f"[bold]{facts['model']}[/bold]  {facts['summary']}\n")
    out.print(table)
    need = facts["int8_memory"]
    facts |= {"int8": f"arena {readable_bytes(need['micro_arena'])}, weights {readable_bytes(need['weights'])}, about"}
    rows = {
        "parameters": f"{facts['parameters']:,}",
        "multiply-accumulates": f"{facts['macs'] / 1e9:.2f} G at {'×'.join(map(str, facts['image_size']))}",
        "activation memory": f"{facts['activation_memory'] / 1e6:.2f} M values at a time, fused",
        "int8 on a microcontroller": facts["int8"],
        "activation": facts["activation"],
        "batch norm epsilon": f"{facts['epsilon']:g}",
        "images of the original": facts["preprocessing"],
        "original": f"{origin['project']} {origin['version']}, {origin['url']}",
        "licence of the original": f"{origin['licence']} (code), {origin['weights_licence']} (weights)",
        "paper": origin["paper"] or "none",
        "trained on images of": "{0}×{0}".format(facts["trained_size"]),
        "checkpoint files": ", ".join(facts["files"]) or "none published",
    }
    facts_table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in rows.items():
        facts_table.add_row(name, value)
    out.print()
    out.print(facts_table)
    return 0


def _stored(args: argparse.Namespace) -> dict[str, Any] | None:
    """What is known of the network without building it; `None` where options change it."""
    parser = argparse.ArgumentParser()
    add_model_arguments(parser)
    plain = vars(parser.parse_args([args.model]))
    return stored_facts().get(args.model) if all(getattr(args, name) == plain[name] for name in plain) else None


def describe(args: argparse.Namespace) -> dict[str, Any]:
    """Everything that `kyb info` says, as plain data."""
    import dataclasses

    from keras_yolo_backbones.graph.cost import activation_memory, macs
    from keras_yolo_backbones.graph.fuse import fused_unchecked
    from keras_yolo_backbones.levels import pyramid
    from keras_yolo_backbones.quantization.memory import predicted_memory
    from keras_yolo_backbones.registry import find

    variant = find(args.model)
    release = variant.family.release(variant.release)
    facts = release.facts(variant.size)
    model = build_model(args)
    fused = fused_unchecked(model)
    return {
        "model": model.name,
        "summary": (variant.family.__doc__ or "").splitlines()[0],
        "image_size": list(model.inputs[0].shape[1:3]),
        "levels": [
            {**level._asdict(), "size": list(tensor.shape[1:3])}
            for level, tensor in zip(pyramid(model), model.output.values(), strict=True)
        ],
        "parameters": sum(math.prod(variable.shape) for variable in model.trainable_variables),
        "macs": macs(model),
        "activation_memory": activation_memory(fused),
        "int8_memory": predicted_memory(fused),
        "activation": args.activation or ", ".join(facts.activations),
        "epsilon": args.epsilon or release.style.epsilon,
        "preprocessing": str(release.preprocessing),
        "origin": dataclasses.asdict(release.origin),
        "trained_size": facts.image_size,
        "files": list(facts.files),
    }
