"""Build every network once and write what `kyb info` says of it: python zoo/facts.py [PATTERN]

Takes minutes. The file is written after each network; those that the pattern leaves out keep what is there.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import keras

from keras_yolo_backbones import catalogue
from keras_yolo_backbones.commands import info

TARGET = Path(catalogue.__file__).with_name(catalogue.FACTS)


def measured(name: str) -> dict[str, Any]:
    """What is known of a network as it is by default, from the network itself."""
    parser = argparse.ArgumentParser()
    info.add(parser.add_subparsers())
    found = info.describe(parser.parse_args(["info", name]))
    keras.backend.clear_session()
    return found


def text(facts: dict[str, dict[str, Any]]) -> str:
    """The file's content: one line a network, in the catalogue's order."""
    rows = [f"{json.dumps(name)}: {json.dumps(facts[name])}" for name in catalogue.catalogue() if name in facts]
    return "{\n" + ",\n".join(rows) + "\n}\n"


if __name__ == "__main__":
    facts = json.loads(TARGET.read_text("utf-8")) if TARGET.exists() else {}
    for name in catalogue.list_models(*sys.argv[1:]):
        facts[name] = measured(name)
        TARGET.write_text(text(facts), "utf-8")
        print(name, flush=True)
