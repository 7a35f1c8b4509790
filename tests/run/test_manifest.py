"""kd_run.yaml: what is read from it, kept in it, and said about it."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from kddoctor.errors import RunError
from kddoctor.run.manifest import Code, Manifest, code_directory, manifest_to_yaml, read_manifest

FULL = """\
format: 1
task: multiclass
num_classes: 2
class_names: [a, b]
distillation: {loss: kl, temperature: 4.0, alpha: 0.9, feature_layers: [[t, s]]}
training: {epochs: 3, optimizer: sgd, learning_rate: 1e-3, seed: 0}
targets: {retention: 0.95}
code: {teacher: "recipe:make_teacher"}
"""


def read(tmp_path: Path, text: str | bytes) -> tuple[Manifest, tuple[str, ...]]:
    path = tmp_path / "kd_run.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_manifest(path)


def test_a_full_manifest_is_read_without_warnings(tmp_path: Path) -> None:
    manifest, warnings = read(tmp_path, FULL)
    assert warnings == ()
    assert manifest.distillation.temperature == 4.0
    assert manifest.distillation.feature_layers == [("t", "s")]
    assert manifest.training.learning_rate == 1e-3


def test_what_was_not_declared_stays_unknown(tmp_path: Path) -> None:
    manifest, _ = read(tmp_path, "task: binary\n")
    assert (manifest.distillation.loss, manifest.distillation.temperature) == (None, None)
    assert manifest.distillation.temperature_squared is True


def test_a_manifest_survives_being_written_and_read(tmp_path: Path) -> None:
    manifest, _ = read(tmp_path, FULL + "mine: {x: [1, null]}\n")
    assert read(tmp_path, manifest_to_yaml(manifest))[0] == manifest
    assert "null" not in manifest_to_yaml(read(tmp_path, FULL)[0])


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("distillation: {temprature: 4}", "distillation.temprature is not a known key; did you mean temperature?"),
        ("temperature: 4", "temperature is not a known key; did you mean distillation.temperature?"),
        ("mine: 4", "mine is not a known key; it is kept but not used."),
    ],
)
def test_an_unknown_key_is_kept_and_warned_about_once(tmp_path: Path, text: str, warning: str) -> None:
    assert read(tmp_path, f"task: binary\n{text}\n")[1] == (f"kd_run.yaml: {warning}",)


BAD = {
    "": "kd_run.yaml: is empty",
    "- a": "kd_run.yaml: holds a list; expected keys and values.",
    "task: multclass": (
        "kd_run.yaml: task is 'multclass'; expected multiclass, binary, multilabel, ranking or tokens "
        "(did you mean multiclass?)"
    ),
    "tsk: binary": "task is missing; expected multiclass, binary, multilabel, ranking or tokens (is tsk a",
    "task: binary\ntask: ranking": "the key task is given twice (line 2)",
    "task: [": "is not valid YAML",
    "task: &a binary\nx: *a": "aliases are not supported",
    "task: !!bool maybe": "is not valid YAML",
    "task: !!python/object:os.system x": "is not valid YAML",
    "task: binary\n---\ntask: ranking": "another document (line 2)",
    "format: 2\ntask: new": "format is 2; expected 1 (a newer kddoctor wrote it; upgrade)",
    "format: 0\ntask: binary": "format is 0; expected 1",
    "task: multiclass": "num_classes is missing; expected the number of classes, which task multiclass needs",
    "task: tokens": "num_classes is missing",
    "task: multiclass\nnum_classes: 1": "num_classes is 1; expected a number of at least 2",
    "task: multiclass\nnum_classes: true": "num_classes is True; expected a number",
    "task: multiclass\nnum_classes: 2.5": "num_classes is 2.5; expected a whole number",
    "task: multiclass\nnum_classes: 2\nclass_names: [a]": "class_names has 1 names but num_classes is 2",
    "task: multiclass\nnum_classes: 2\nclass_names: [no, b]": "class_names.0 is False; expected text",
    "task: binary\ndistillation: {temperature: .nan}": "distillation.temperature is nan; expected a finite",
    "task: binary\ndistillation: {temperature: 0}": "distillation.temperature is 0; expected a number greater",
    "task: binary\ndistillation: {alpha: -1}": "distillation.alpha is -1; expected a number of at least 0",
    "task: binary\ndistillation: {loss: reverse_kl}": "(did you mean reverse-kl?)",
    "task: binary\ndistillation: 3": "distillation is 3; expected keys and values",
    "task: binary\ndistillation: {feature_layers: [[a]]}": "a pair of names [teacher layer, student layer]",
    "task: binary\ncode: {teacher: make}": "code.teacher is 'make'; expected module:name",
    "task: binary\n1: 2": "the key 1 is not text",
    "{" * 5000: "is not valid YAML",
    b"task: \xff": "is not UTF-8",
    "x" * (1 << 21): "is larger than 1,048,576 bytes",
}


@pytest.mark.parametrize(("text", "message"), BAD.items(), ids=range(len(BAD)))
def test_a_bad_manifest_gets_one_line_that_says_why(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(RunError) as error:
        read(tmp_path, text)
    assert message in str(error.value)
    assert str(error.value).startswith("kd_run.yaml: ")
    assert "\n" not in str(error.value)


def test_an_error_comes_home_from_a_worker() -> None:
    error = RunError("a", "b", "c", "d", "e")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (str(again), again.key) == ("a: b is c; expected d (e)", "b")


def test_code_lies_inside_the_run_directory(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    assert code_directory(tmp_path, Code(path="src")) == (tmp_path / "src").resolve()
    (tmp_path / "out").symlink_to("/")
    for outside in ("/", "..", "src/../..", "out", "nowhere"):
        with pytest.raises(RunError, match=r"code\.path is"):
            code_directory(tmp_path, Code(path=outside))
