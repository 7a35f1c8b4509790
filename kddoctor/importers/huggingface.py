"""The output directory of a Hugging Face Trainer."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kddoctor.errors import RunError
from kddoctor.importers.files import MOST_TEXT, below, text_of
from kddoctor.importers.found import Found, Given, Settings
from kddoctor.importers.metric_names import accuracy_as_share, meanings, number, rows_of, summary
from kddoctor.importers.pickled_values import attributes_of
from kddoctor.importers.setting_names import at_least_0, in_words, known, text, whole_number_from
from kddoctor.run.arrays import ArrayFile
from kddoctor.run.metrics import Row
from kddoctor.run.paths import file_inside

STATE, CONFIG, ARGUMENTS = "trainer_state.json", "config.json", "training_args.bin"
WEIGHTS = "model*.safetensors"
#: By which a schedule's largest rate may exceed the one that was set: that of a float64 in a log.
ROUNDING = 1e-9


def recognises(path: Path) -> bool:
    """A directory with trainer_state.json, its own or that of a checkpoint; or that file."""
    return path.name == STATE or (path.is_dir() and _latest(path, STATE) is not None)


def read(path: Path, given: Given) -> Found:
    """Metrics from trainer_state.json, the number of classes and their names from config.json."""
    folder = path.parent if path.name == STATE else path
    state_file = _latest(folder, STATE)
    assert state_file is not None
    state = _json(folder, state_file)
    rows, note = accuracy_as_share(_rows(state, state_file))
    said = [f"{state_file}: {summary(rows)}", *([note] if note else [])]
    left = []
    config_file = _latest(folder, CONFIG)
    config = _json(folder, config_file) if config_file else {}
    said += [f"{config_file}: {_classes_in_words(config)}"] if config_file else []
    if not config_file:
        left.append(f"{CONFIG}: is missing, so the classes are not known")
    try:
        parameters = _parameters(folder)
    except RunError as error:  # such as of weights that a crash left half written
        parameters = None
        left.append(f"{error} The number of parameters is not known.")
    if parameters:
        said.append(f"model.safetensors: the student has {parameters:,} parameters; the weights are not copied")
    training, told = _arguments(folder, rows)
    (said if training else left).extend(told)
    batch = state.get("train_batch_size")
    if isinstance(batch, int):
        left.append(f"{state_file}: train_batch_size is {batch}, of one process; not taken as the batch size")
    epochs = whole_number_from(1)(state.get("num_train_epochs"))
    return Found(
        kind="Hugging Face Trainer",
        folder=folder,
        settings=Settings(training=known({**training, "epochs": epochs}), **_classes(config)),
        metrics=rows,
        observations={"parameters": {"student": parameters}} if parameters else {},
        said=tuple(said),
        left=tuple(left),
    )


def _latest(folder: Path, name: str) -> str | None:
    """The file at the top, else that of the last checkpoint."""
    found = below(folder, name, depth=1)
    if name in found:
        return name
    numbered = [(int(match[1]), file) for file in found if (match := re.match(r"checkpoint-(\d{1,15})/", file))]
    return max(numbered)[1] if numbered else None


def _json(folder: Path, name: str) -> Mapping[str, Any]:
    try:
        data = json.loads(text_of(folder, name, MOST_TEXT))
    except (ValueError, RecursionError) as error:
        raise RunError.plain(f"{name}: is not valid JSON: {error}.") from None
    if not isinstance(data, dict):
        raise RunError.plain(f"{name}: holds a {type(data).__name__}; expected keys and values.")
    return data


def _arguments(folder: Path, rows: Sequence[Row]) -> tuple[dict[str, Any], list[str]]:
    """(what training_args.bin sets, what to say of it). It is a pickle, and it is looked at without unpickling."""
    name = _latest(folder, ARGUMENTS)
    path = None if name is None else file_inside(folder, name)
    if name is None or path is None:
        return {}, []
    values = attributes_of(path)
    optimizer = text(values.get("optim"))
    found = known(
        {
            # Which of the ways to compute it, as in adamw_torch_fused, is no matter.
            "optimizer": str(optimizer).partition("_")[0] if optimizer else None,
            "learning_rate": at_least_0(values.get("learning_rate")),
            "weight_decay": at_least_0(values.get("weight_decay")),
            "seed": whole_number_from(0)(values.get("seed")),
        }
    )
    if not found:
        return {}, [f"{name}: a pickle, which is not unpickled, and of no form whose values can be told without"]
    logged = max((rate for row in rows if isinstance(rate := row.get("lr"), float | int)), default=0.0)
    if logged > found.get("learning_rate", math.inf) * (1 + ROUNDING):
        found = {"seed": found["seed"]} if "seed" in found else {}
        why = f"a learning rate of {logged:g} was logged, so that these belong to an optimizer that did not train"
        return found, [f"{name}: {in_words(Settings(training=found))}; the others are left out: {why}"]
    return found, [f"{name}: {in_words(Settings(training=found))}; looked at without unpickling"]


def _rows(state: Mapping[str, Any], file: str) -> list[Row]:
    history = state.get("log_history", [])
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        raise RunError(file, "log_history", "not a list of keys and values", "what a Trainer logged")
    names = meanings({key for entry in history for key in entry} - {"step"})
    rows: list[Row] = []
    for entry in history:
        if "train_runtime" in entry:  # the summary at the end: its loss is the mean of the whole run
            continue
        values = {key: found for key, value in entry.items() if key != "step" and (found := number(value)) is not None}
        rows += rows_of(values, names, step=whole_number_from(0)(entry.get("step")))  # type: ignore[arg-type]
    return rows


def _classes(config: Mapping[str, Any]) -> dict[str, Any]:
    """Task, number and names of the classes, as the heads of transformers have them."""
    architectures = config.get("architectures")
    head = str(architectures[0]) if isinstance(architectures, list) and architectures else ""
    if head.endswith(
        ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ForMaskedLM", "ForTokenClassification")
    ):
        size = None if head.endswith("ForTokenClassification") else config.get("vocab_size")
        labels = config.get("id2label") if head.endswith("ForTokenClassification") else None
        classes = len(labels) if isinstance(labels, dict) else whole_number_from(2)(size)
        return {"task": "tokens", "num_classes": classes}
    labels = config.get("id2label")
    if not isinstance(labels, dict) or len(labels) < 2 or not head.endswith("Classification"):
        return {}
    task = "multilabel" if config.get("problem_type") == "multi_label_classification" else "multiclass"
    names = tuple(str(labels.get(str(number), "")) for number in range(len(labels)))
    made_up = not all(names) or all(name == f"LABEL_{number}" for number, name in enumerate(names))
    return {"task": task, "num_classes": len(labels), "class_names": None if made_up else names}


def _classes_in_words(config: Mapping[str, Any]) -> str:
    found = _classes(config)
    if not found:
        return "no classes"
    if found["task"] == "tokens":
        return f"task tokens, {found['num_classes']} of them"
    return f"task {found['task']}, {found['num_classes']} classes"


def _parameters(folder: Path) -> int | None:
    """From the headers of the weights at the top, else of the last checkpoint's."""
    shards = list(below(folder, WEIGHTS, depth=0))
    if not shards:
        last = _latest(folder, "model.safetensors")
        shards = [last] if last else []
    total = 0
    for name in shards:
        path = file_inside(folder, name)
        if path is not None:
            file = ArrayFile(path, name)
            total += sum(file[key].size for key in file)
    return total or None
