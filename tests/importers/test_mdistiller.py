"""mdistiller's logs and settings."""

from __future__ import annotations

import os
import re
import shutil
import sys

import pytest

from kddoctor.errors import RunError
from tests.importers.sources import brought_in, curve

pytestmark = pytest.mark.integrations


@pytest.fixture
def experiment(written):
    (folder,) = (written("mdistiller") / "students").iterdir()
    return folder


@pytest.fixture
def settings(written):
    return written("mdistiller") / "kd.yaml"


def test_the_events_are_exact_where_the_log_is_rounded(experiment, tmp_path):
    run, imported = brought_in(experiment, tmp_path / "events")
    assert imported.kind == "mdistiller"
    logged = (experiment / "worklog.txt").read_text()
    losses, accuracies = curve(run, "loss"), curve(run, "student_accuracy", "test")
    assert re.findall(r"train_loss: (.*)", logged) == [f"{loss:.2f}" for loss in losses]
    assert re.findall(r"test_acc: (.*)", logged) == [f"{100 * accuracy:.2f}" for accuracy in accuracies]
    assert any(round(loss, 2) != pytest.approx(loss, rel=1e-6) for loss in losses)
    assert [row["epoch"] for row in run.metrics if row["split"] == "test"] == [1, 2, 3, 4, 5, 6]


def test_without_events_the_log_is_read(experiment, tmp_path):
    shutil.copytree(experiment, tmp_path / "copy", ignore=shutil.ignore_patterns("train.events"))
    run, imported = brought_in(tmp_path / "copy", tmp_path / "run")
    logged = (experiment / "worklog.txt").read_text()
    assert curve(run, "loss") == [float(loss) for loss in re.findall(r"train_loss: (.*)", logged)]
    assert len(curve(run, "loss")) == 6
    if "MDISTILLER" not in os.environ:  # what it left once, not what it trains here and now
        assert curve(run, "loss") == [11.07, 1.98, 1.01, 0.73, 0.67, 0.64]
    assert curve(run, "lr") == []
    assert "worklog.txt: rounds its values to two decimals; the learning rate is not taken from it" in imported.left


def test_its_event_file_is_no_source_of_its_own(experiment, settings, tmp_path):
    _, imported = brought_in(experiment, tmp_path / "run", config=settings)
    assert imported.left == ()


def test_its_checkpoints_are_named_and_not_read(experiment, settings, tmp_path):
    shutil.copytree(experiment, tmp_path / experiment.name)
    (tmp_path / experiment.name / "student_best").write_bytes(b"\x80\x02}")
    _, imported = brought_in(tmp_path / experiment.name, tmp_path / "run", config=settings)
    assert imported.left == ("best, latest, student_best, student_latest: pickles, which are not read",)


def test_without_tensorboard_the_log_is_read_and_the_extra_is_named(experiment, tmp_path, monkeypatch):
    for module in ("tensorboard", "tensorboard.backend.event_processing.event_file_loader"):
        monkeypatch.setitem(sys.modules, module, None)
    run, imported = brought_in(experiment, tmp_path / "run")
    assert len(curve(run, "loss")) == 6
    assert any("need tensorboard: pip install 'kddoctor[importers]'" in line for line in imported.left)


def test_settings_lie_elsewhere_and_are_given(experiment, settings, tmp_path):
    run, imported = brought_in(experiment, tmp_path / "without")
    assert any("give the .yaml with --config" in line for line in imported.left)
    run, _ = brought_in(experiment, tmp_path / "with", config=settings)
    assert (run.manifest.distillation.loss, run.manifest.distillation.alpha) == ("kl", 0.8)
    assert run.manifest.num_classes == 100
    training = run.manifest.training
    assert (training.epochs, training.batch_size, training.learning_rate) == (6, 32, 0.05)


def test_what_the_command_line_changed_stands_in_the_name_of_the_experiment(experiment, settings, tmp_path):
    assert "TEMPERATURE: 4" in settings.read_text()
    assert experiment.name.endswith("KD.TEMPERATURE:3")
    run, _ = brought_in(experiment, tmp_path / "run", config=settings)
    assert run.manifest.distillation.temperature == 3.0


def test_the_learning_rate_follows_from_the_stages(experiment, settings, tmp_path):
    assert "LR_DECAY_STAGES: [150, 180, 210]" in settings.read_text()
    run, _ = brought_in(experiment, tmp_path / "run", config=settings)
    assert curve(run, "lr") == pytest.approx([0.05, 0.05, 0.05, 0.005, 0.005, 0.0005])
    logged = re.findall(r"^lr: (.*)", (experiment / "worklog.txt").read_text(), re.MULTILINE)
    assert logged == [f"{rate:.2f}" for rate in curve(run, "lr")]


def test_a_training_on_labels_alone_declares_no_distillation(written, tmp_path):
    (folder,) = (written("mdistiller") / "teachers").iterdir()
    run, _ = brought_in(folder, tmp_path / "run", config=written("mdistiller") / "vanilla.yaml")
    assert run.manifest.distillation.loss == "none"
    assert len(curve(run, "student_accuracy", "test")) == 8


def test_a_method_of_the_command_line_replaces_that_of_the_settings(experiment, settings, tmp_path):
    shutil.copytree(experiment, tmp_path / f"{experiment.name},DISTILLER.TYPE:DKD")
    run, _ = brought_in(tmp_path / f"{experiment.name},DISTILLER.TYPE:DKD", tmp_path / "run", config=settings)
    assert run.manifest.distillation.loss == "custom"


@pytest.mark.parametrize(
    ("text", "loss", "alpha"),
    [
        ("DISTILLER: {TYPE: KD}", "kl", 0.9),
        ("DISTILLER: {TYPE: DKD}", "custom", None),
        ("DISTILLER: {TYPE: NONE}", "none", None),
        ("DISTILLER: {TYPE: KD}\nKD: {LOSS: {CE_WEIGHT: 1.0, KD_WEIGHT: 1.0}}", "kl", None),
    ],
)
def test_its_methods_and_defaults(experiment, tmp_path, text, loss, alpha):
    (tmp_path / "other.yaml").write_text(text)
    run, imported = brought_in(experiment, tmp_path / "run", config=tmp_path / "other.yaml")
    assert (run.manifest.distillation.loss, run.manifest.distillation.alpha) == (loss, alpha)
    if alpha:
        assert any("KD.LOSS.KD_WEIGHT is not set; mdistiller's default is 0.9" in line for line in imported.left)


def test_another_yaml_is_refused(experiment, tmp_path):
    (tmp_path / "other.yaml").write_text("a: 1")
    with pytest.raises(RunError, match=r"other.yaml: DISTILLER is missing; expected the settings of mdistiller"):
        brought_in(experiment, tmp_path / "run", config=tmp_path / "other.yaml")
