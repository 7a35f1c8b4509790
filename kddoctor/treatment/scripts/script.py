"""The training script that a manifest names, checked: program, arguments, settings file, and which key is which."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kddoctor.errors import RunError, UsageError, shown
from kddoctor.run.directory import Run
from kddoctor.run.entry import is_argument
from kddoctor.run.manifest import MANIFEST_FILE, Code, Manifest, code_directory
from kddoctor.run.paths import file_inside, read_text
from kddoctor.run.spelling import nearest
from kddoctor.treatment.remedies import REMEDIES

MAX_SETTINGS_BYTES = 1 << 20
SEED = "training.seed"
#: Looking for a rate takes trial steps, which only a loop of kddoctor's own can take.
NOT_FOR_SCRIPTS = ("treatment.learning_rate",)
#: What a prescription may change, and the seed, which --seeds changes.
KEYS = (*(key for key in REMEDIES if key not in NOT_FOR_SCRIPTS), SEED)


@dataclass(frozen=True)
class Script:
    """folder: where it lies, absolute. words: the program, relative to the folder, and its arguments.

    config, settings: name and text of the settings file, where there is one. keys: from a prescription's key to a
    dotted key of the settings file, a flag, or the beginning of an argument.
    """

    folder: Path
    words: tuple[str, ...]
    config: str | None
    settings: str
    keys: Mapping[str, str]


def runs_as_script(manifest: Manifest, *, asked: bool) -> bool:
    """Whether a treatment runs the script: where the manifest names no functions to train with, or on demand.

    Raises UsageError where a script is asked for and there is none.
    """
    code = manifest.code
    if code is None or code.entry is None:
        if asked:
            raise UsageError(f"{MANIFEST_FILE}: code.entry is missing; it names the script, as in train.py --epochs 30")
        return False
    return asked or not code.names_functions


def script_of(run: Run) -> Script:
    """The script of a run. Nothing is run. Raises RunError where a file is missing or outside, or a key is unknown."""
    code = run.manifest.code
    assert code is not None
    assert code.entry is not None
    folder = code_directory(run.path, code)
    words = shlex.split(code.entry)
    _file(folder, code, "entry", words[0])
    settings = ""
    if code.config is not None:
        settings = read_text(_file(folder, code, "config", code.config), code.config, MAX_SETTINGS_BYTES)
    for key, place in code.keys.items():
        if key not in KEYS:
            near = nearest(key, KEYS)
            expected = f"a key that a treatment can change{f', such as {near}' if near else ''}"
            raise RunError(MANIFEST_FILE, "code.keys", f"a mapping with {shown(key)}", expected)
        if place == "=" or (is_argument(place) and not place.strip("-")):
            raise RunError(MANIFEST_FILE, f"code.keys.{key}", shown(place), "a flag with a name, as in --epochs")
    return Script(folder, tuple(words), code.config, settings, code.keys)


def _file(folder: Path, code: Code, key: str, name: str) -> Path:
    path = file_inside(folder, name)
    if path is None:
        advice = "copy it there, or record it with code_files"
        raise RunError(MANIFEST_FILE, f"code.{key}", shown(getattr(code, key)), f"a file in {code.path}", advice)
    return path
