"""Write the list of networks that `kyb list` reads: python zoo/catalogue.py"""

import json
from pathlib import Path

from keras_yolo_backbones import catalogue
from keras_yolo_backbones.registry import described

TARGET = Path(catalogue.__file__).with_name(catalogue.FILE)


def text() -> str:
    """The file's content: one line a network."""
    rows = [f"{json.dumps(name)}: {json.dumps(row)}" for name, row in described().items()]
    return "{\n" + ",\n".join(rows) + "\n}\n"


if __name__ == "__main__":
    TARGET.write_text(text(), "utf-8")
    print(f"{TARGET}: {len(described())} networks")
