"""From a prescription to the command line and the settings with which a script carries it out."""

import difflib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kddoctor.errors import UsageError
from kddoctor.run.entry import is_argument
from kddoctor.run.manifest import MANIFEST_FILE, Manifest
from kddoctor.treatment.plan import Plan
from kddoctor.treatment.prescription import Advice, Change, Prescription, present_value
from kddoctor.treatment.remedies import REMEDIES
from kddoctor.treatment.scripts.arguments import with_argument
from kddoctor.treatment.scripts.script import SEED, Script
from kddoctor.treatment.scripts.settings import parse_settings, replaced, value_at


@dataclass(frozen=True)
class Overridden:
    """words: the command line. settings: the text of the settings file. diff: of that file, for people.

    doubts: places that may not mean what code.keys says, a line each.
    """

    words: tuple[str, ...]
    settings: str
    diff: tuple[str, ...]
    doubts: tuple[str, ...]

    @property
    def command(self) -> str:
        """As one would type it."""
        return shlex.join(("python", *self.words))


def carried_out(script: Script, prescription: Prescription, *, may_be_none: bool = False) -> Prescription:
    """The changes that the script has a key for; the others as advice. Raises UsageError where there are none.

    may_be_none: where experiments are to look for what helps.
    """
    able = tuple(change for change in prescription.changes if change.key in script.keys)
    if not able and not may_be_none:
        missing = ", ".join(dict.fromkeys(change.key for change in prescription.changes))
        where = f"<key in {script.config}>" if script.config else "--flag"
        first = prescription.changes[0]
        raise UsageError(
            f"{MANIFEST_FILE}: code.keys has none of what is to be changed ({missing}); add where the script takes it "
            f'from, as in keys: {{{first.key}: "{where}"}}, or edit the loop: {_snippet(first)}'
        )
    by_hand = (_by_hand(change) for change in prescription.changes if change not in able)
    return prescription.model_copy(update={"changes": able, "manual": (*prescription.manual, *by_hand)})


def overridden(script: Script, plan: Plan, seed: int | None = None) -> Overridden:
    """The plan's changes, where the script has them. seed: instead of the script's own.

    Raises UsageError where an epoch count or seed is asked for that the script takes from nowhere, or its settings
    file has no such key; RunError where that file cannot be read.
    """
    changes = dict(plan.changes)
    epochs = plan.manifest.training.epochs
    if "training.epochs" in changes or epochs != plan.before.training.epochs:
        changes["training.epochs"] = epochs  # --epochs goes before the prescription
    if seed is not None:
        changes[SEED] = seed
    places = {_place(script, key): value for key, value in changes.items()}
    words, settings = script.words, script.settings
    for place, value in places.items():
        if is_argument(place):
            words = with_argument(words, place, value)
    in_file = {place: value for place, value in places.items() if not is_argument(place)}
    if script.config is not None:
        settings = replaced(settings, script.config, in_file)
    return Overridden(words, settings, _diff(script, settings), doubts(script, plan.before, changes))


def _place(script: Script, key: str) -> str:
    if key not in script.keys:
        where = script.config or "its arguments"
        raise UsageError(f"{MANIFEST_FILE}: code.keys lacks {key}; add where in {where} the script takes it from")
    return script.keys[key]


def _by_hand(change: Change) -> Advice:
    what = f"edit your loop, for code.keys has no {change.key}: {_snippet(change)}"
    return Advice(finding=change.finding, name=change.name, what=what)


def _snippet(change: Change) -> str:
    lines = REMEDIES[change.key].snippet.replace("{value}", str(change.after)).splitlines()
    return " / ".join(line.strip() for line in lines)


def _diff(script: Script, settings: str) -> tuple[str, ...]:
    name = script.config or ""
    before, after = script.settings.splitlines(), settings.splitlines()
    return tuple(difflib.unified_diff(before, after, name, f"{name} (treated)", lineterm=""))


def doubts(script: Script, manifest: Manifest, changes: Mapping[str, Any]) -> tuple[str, ...]:
    """Settings that differ from what was recorded under the same name: perhaps 1 - alpha, or another unit."""
    if script.config is None:
        return ()
    values, lines = parse_settings(script.settings, script.config), []
    for key, after in changes.items():
        place, recorded = script.keys[key], present_value(manifest, key)
        if is_argument(place) or recorded is None or recorded == after:
            continue
        found = value_at(values, place, script.config)
        if found != recorded:
            said = f"{script.config}: {place} is {found} but {MANIFEST_FILE} says {key} {recorded}"
            lines.append(f"{said}; do they mean the same?")
    return tuple(lines)
