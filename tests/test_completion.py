"""`kyb completion`: the shell completes commands, options and networks from the script alone."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from keras_yolo_backbones import extras
from keras_yolo_backbones.catalogue import list_models
from keras_yolo_backbones.cli import main

ASK = """
source {script}
COMP_WORDS=({words}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 )); COMP_LINE="{words}"; COMP_POINT=${{#COMP_LINE}}
_shtab_kyb
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def script(tmp_path, capsys):
    assert main(["completion", "bash"]) == 0
    (tmp_path / "kyb").write_text(capsys.readouterr().out)
    return tmp_path / "kyb"


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("kyb i", ["identify", "import-weights", "info"]),
        ("kyb info v8-", sorted(list_models("v8-*"))),
        ("kyb info v8-s --stem-s", ["--stem-stride"]),
        ("kyb import-weights --js", ["--json"]),
    ],
)
def test_bash_completes(script, words, expected):
    done = subprocess.run(
        ["bash", "-c", ASK.format(script=script, words=words)], capture_output=True, text=True, check=True
    )
    assert sorted(done.stdout.split()) == expected


@pytest.mark.parametrize("shell", ["zsh", "fish", "tcsh"])
def test_other_shells_get_the_networks_and_commands_too(capsys, shell):
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("import-weights", "v12-turbo-x", "stem-stride"))


def test_without_the_extra_it_is_one_line(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert "pip install 'shtab" in capfd.readouterr().err


def test_an_extra_is_named_by_its_packages_and_those_of_the_extras_in_it(monkeypatch):
    wanted = {
        "keras>=3": "",
        "pyarrow>=15": "features",
        "ray[data]<3,>=2.40": "scale",
        "keras-yolo-backbones[features]": "scale",
    }
    lines = [f'{name}; extra == "{extra}"' if extra else name for name, extra in wanted.items()]
    monkeypatch.setattr(extras.metadata, "requires", lambda _: lines)
    assert extras.how_to_install("features") == "pip install 'pyarrow>=15'"
    assert extras.how_to_install("scale") == "pip install 'ray[data]<3,>=2.40' 'pyarrow>=15'"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("export v8-n --out x", "kyb export: the following arguments are required: --format; see kyb export --help"),
        ("lsit", "kyb: argument command: invalid choice: 'lsit'"),
    ],
)
def test_a_mistake_is_one_line(command, message, capfd):
    with pytest.raises(SystemExit) as caught:
        main(command.split())
    assert caught.value.code == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(message)
