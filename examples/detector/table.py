"""Train the same detector on several backbones, and print one table of what each of them reached.

    python examples/detector/table.py

Only the backbone's name changes from row to row. Options that are not listed here go to train.py. A row that --out has
is not measured again, and training that was ended goes on after its last whole epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from begun import go_on

HEADER = "| backbone | parameters | mAP float | int8 (PTQ) | int8 (QAT with labels) | kB of int8 | minutes |"
NOTE = "table.json"
REFUSED = 2
"""What train.py ends with where it does not know its options."""

QUICK = ("--epochs", "0", "14", "2")
"""Without weights to start from, a frozen backbone is no stage of its own."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", type=Path, help="a folder as train.py takes it; the digits task by default")
    parser.add_argument("--backbones", nargs="+", default=["v8-n", "yolox-nano", "v26-n"], help="names from `kyb list`")
    parser.add_argument("--out", type=Path, default=Path("build/table"))
    args, options = parser.parse_known_args()
    task = args.task or digits(args.out / "digits")
    rows = [row(measured(task, name, args.out / name, [*QUICK, *options])) for name in args.backbones]
    table = "\n".join([HEADER, "|---" + "|---:" * 6 + "|", *rows, "", where()])
    (args.out / "table.md").write_text(f"{table}\n", encoding="utf-8")
    print(table)


def digits(folder: Path) -> Path:
    """The digits task: 2000 images to train on, 500 to test on."""
    if not (folder / "whole").exists():
        command = [sys.executable, Path(__file__).with_name("digits.py"), folder, "--train", "2000", "--test", "500"]
        if subprocess.run(command, check=False).returncode:
            raise SystemExit("digits.py ended with an error, see above.")
        (folder / "whole").touch()
    return folder


def measured(task: Path, backbone: str, out: Path, options: list[str]) -> dict:
    """What train.py measures, in a process of its own."""
    go_on(out, NOTE, {"--task": task, "options": " ".join(options)})
    file = out / "measured.json"
    if not file.exists():
        command = [sys.executable, Path(__file__).with_name("train.py"), task, *options]
        ended = subprocess.run([*command, "--backbone", backbone, "--out", out], check=False).returncode
        if ended == REFUSED:
            (out / NOTE).unlink()  # nothing was begun with them
        if ended:
            raise SystemExit(f"no table: train.py ended with an error on {backbone}, see above.")
    return json.loads(file.read_text(encoding="utf-8"))


def row(found: dict) -> str:
    """One line of the table."""
    scores = [f"{found[form]:.1f}" for form in ("float", "ptq", "qat")]
    cells = [found["backbone"], f"{found['parameters']:,}", *scores, f"{found['kB']:.0f}", f"{found['minutes']:.1f}"]
    return f"| {' | '.join(cells)} |"


def where() -> str:
    """The machine, the day and the command."""
    facts = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in facts.read_text().splitlines() if line.startswith("model name")]
    threads = os.environ.get("TF_NUM_INTRAOP_THREADS", "all")
    machine = (
        f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, threads of an operator: {threads}"
    )
    return f"{machine}; {time.strftime('%Y-%m-%d')}; `{' '.join(['python', *sys.argv])}`"


if __name__ == "__main__":
    main()
