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
    before = wanted
    try:
        if note.exists():
            before = json.loads(note.read_text(encoding="utf-8"))
            if set(before) != set(wanted):
                raise ValueError
    except (OSError, TypeError, ValueError):
        raise SystemExit(f"{note} is damaged: delete it to go on there, or pass another --out.") from None
    if changed := [f"{name} {before[name]}" for name in wanted if before[name] != wanted[name]]:
        raise SystemExit(f"{folder}: was begun with other options, {', '.join(changed)}; pass another --out.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(wanted, indent=1), encoding="utf-8")
    except OSError as error:
        raise SystemExit(f"--out {folder}: {error.strerror}.") from None
