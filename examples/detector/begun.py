"""A folder that an earlier run has begun: the next one goes on there only with the same options."""

from __future__ import annotations

import json
from pathlib import Path


def go_on(folder: Path, file: str, options: dict[str, object]) -> None:
    """Note the options of a run in its folder, which is made.

    Args:
        folder: where the run writes.
        file: name of the note.
        options: what must not change between runs.

    Raises:
        SystemExit: the folder was begun with other options; they are named, and it is left as it was. Or the note is
            damaged.
    """
    note = folder / file
    wanted = {name: str(value) for name, value in options.items()}
    try:
        before = dict(json.loads(note.read_text(encoding="utf-8"))) if note.exists() else wanted
    except (TypeError, ValueError):
        raise SystemExit(f"{note} is damaged: delete it to go on there, or pass another --out.") from None
    if changed := [f"{name} {before.get(name)}" for name in wanted if before.get(name) != wanted[name]]:
        raise SystemExit(f"{folder}: was begun with other options, {', '.join(changed)}; pass another --out.")
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(wanted, indent=1), encoding="utf-8")
