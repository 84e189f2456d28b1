"""`kyb features`: pooled features of many images as Parquet shards."""

from __future__ import annotations

import argparse
import time

from rich.console import Console

from keras_yolo_backbones.commands.common import add_model_arguments, build_model, print_json, working
from keras_yolo_backbones.commands.export import load
from keras_yolo_backbones.progress import bar

EXAMPLES = """\
examples:
  kyb features v8-s --weights v8s.weights.h5 --images photos/ --levels P5 --out features/
  kyb features v8-s --weights v8s.weights.h5 --images 'photos/**/*.jpg' --pool max --out features/
  kyb features v8-s --weights v8s.weights.h5 --images /data/photos --out /data/features --engine ray --workers 8
"""


def add(subparsers: argparse._SubParsersAction) -> None:
    """Add the command and its arguments."""
    parser = subparsers.add_parser(
        "features",
        help="pooled features of many images as Parquet shards, restartable",
        description="Run a network over images and write, for each, the chosen levels averaged over their cells. "
        "A job that was ended goes on where it was when it is started again.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_arguments(parser)
    parser.add_argument("--weights", metavar="FILE", required=True, help="trained weights of this very model")
    parser.add_argument("--images", required=True, metavar="DIR|GLOB", help="a folder, or a pattern in quotes")
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder for the shards")
    parser.add_argument("--pool", default="avg", help="avg (default) or max, over the cells of a level")
    parser.add_argument("--shard-size", type=int, default=4096, metavar="N", help="images of a shard; 4096")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="images run together; 32")
    parser.add_argument(
        "--reduced-decoding", action="store_true", help="decode large JPEGs at a half, a quarter or an eighth: faster"
    )
    parser.add_argument("--engine", default="local", help="local (default), or ray: the cluster that Ray finds")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="actors under Ray; 1")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do the job, with a progress bar where standard error is a terminal; say what was done."""
    from keras_yolo_backbones.features.run import extract_features

    with working(console, f"building {args.model}"):
        model = build_model(args)
        load(model, args.weights)
    start = time.monotonic()
    with bar(quiet=not console.is_terminal) as progress:
        task = progress.add_task("features", total=None)
        summary = extract_features(
            model,
            args.images,
            args.out,
            pool=args.pool,
            shard_size=args.shard_size,
            batch_size=args.batch_size,
            engine=args.engine,
            workers=args.workers,
            reduced_decoding=args.reduced_decoding,
            progress=lambda done, everything: progress.update(task, completed=done, total=everything),
        )
    if args.json:
        print_json(summary._asdict())
        return 0
    rate = (summary.images + summary.errors) / max(1e-9, time.monotonic() - start)
    unreadable = f"{summary.errors}" + (", see errors-*.parquet" if summary.errors else "")
    Console().print(
        f"shards written: {summary.shards}, with {summary.images} images ({rate:.1f} images/s); "
        f"there already: {summary.skipped}; images that could not be read: {unreadable}"
    )
    return 0
