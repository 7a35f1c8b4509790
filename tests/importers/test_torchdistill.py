"""torchdistill's logs and settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from kddoctor.errors import RunError, UsageError
from kddoctor.importers.torchdistill_settings import settings_from
from tests.importers.sources import brought_in, curve

LEFT = Path(__file__).parent / "left_by" / "torchdistill"


def kd(weight: float = 1.0, **arguments: object) -> dict[str, object]:
    """A term of a weighted sum, in the layout of torchdistill 1."""
    return {"criterion": {"key": "KDLoss", "kwargs": {"temperature": 4.0, **arguments}}, "weight": weight}


def summed(**terms: object) -> dict[str, object]:
    return {"key": "WeightedSumLoss", "kwargs": {"sub_terms": terms}}


def meant(criterion: object, *, teacher: bool = True) -> tuple[dict[str, object], tuple[str, ...]]:
    models = {"teacher_model": {}, "student_model": {}} if teacher else {"model": {}}
    found = settings_from({"models": models, "train": {"criterion": criterion}}, "kd.yaml")
    return dict(found.distillation), found.unsure


@pytest.mark.integrations
def test_the_log_of_its_own_meters_is_read(written, tmp_path):
    run, imported = brought_in(written("torchdistill"), tmp_path / "run")
    assert imported.kind == "torchdistill"
    assert [row["step"] for row in run.metrics if "loss" in row] == [0, 2, 4, 5, 7, 9, 10, 12, 14]
    assert set(curve(run, "lr")) == {0.1}
    assert len(curve(run, "student_accuracy", "val")) == 3
    assert curve(run, "teacher_accuracy", "test") == [1.0]
    assert curve(run, "student_accuracy", "test") == curve(run, "student_accuracy", "val")[-1:]
    log = (written("torchdistill") / "kd.log").read_text()
    assert [f"{loss:.4f}" in log for loss in curve(run, "loss")] == [True] * 9


def test_what_its_own_script_left_is_read(tmp_path):
    """The files are those of ``examples/torchvision/image_classification.py`` (commit 3e4373c), called with ``--config
    kd.yaml --device cpu --run_log kd.log --seed 0 -log_config``; its CIFAR-10 held 256 random images.
    """
    run, imported = brought_in(LEFT, tmp_path / "run")
    assert imported.kind == "torchdistill"
    assert imported.left == ()
    assert [row["step"] for row in run.metrics if "loss" in row] == [0, 3, 6, 8, 11, 14, 16, 19, 22, 24, 27, 30]
    assert curve(run, "lr") == pytest.approx([0.05] * 6 + [0.005] * 3 + [0.0005] * 3)
    assert curve(run, "student_accuracy", "val") == [0.140625, 0.070312, 0.085938, 0.0625]
    assert curve(run, "teacher_accuracy", "test") == [0.085938]
    distillation, training = run.manifest.distillation, run.manifest.training
    assert (distillation.loss, distillation.temperature, distillation.alpha) == ("kl", 4.0, pytest.approx(0.1))
    assert (training.epochs, training.batch_size, training.learning_rate) == (4, 32, 0.05)
    assert run.manifest.num_classes == 10


@pytest.mark.integrations
def test_its_alpha_weighs_the_labels_and_becomes_the_teachers(written, tmp_path):
    run, _ = brought_in(written("torchdistill"), tmp_path / "run")
    distillation, training = run.manifest.distillation, run.manifest.training
    assert (distillation.loss, distillation.temperature, distillation.temperature_squared) == ("kl", 4.0, True)
    assert distillation.alpha == pytest.approx(0.7)
    assert (training.epochs, training.batch_size, training.optimizer) == (3, 8, "sgd")
    assert (training.learning_rate, training.momentum, training.weight_decay) == (0.1, 0.9, 1e-4)
    assert (run.manifest.task, run.manifest.num_classes) == ("multiclass", 3)


@pytest.mark.integrations
@pytest.mark.parametrize("arguments", [{"alpha": 0.3}, {"alpha": 0.3, "beta": 0.7}, {"alpha": 0}])
def test_its_loss_computes_what_its_settings_are_understood_to_mean(written, arguments):
    written("torchdistill")
    from torchdistill.losses.mid_level import KDLoss

    from kddoctor import xray

    def with_labels(student, teacher, labels=None):
        return loss({".": {"output": student}}, {".": {"output": teacher}}, labels)

    def of_the_teacher(student, teacher):
        return with_labels(student, teacher)

    loss = KDLoss(".", "output", ".", "output", 4.0, **arguments)
    understood, _ = meant(kd(**arguments)["criterion"])
    chosen = with_labels if arguments["alpha"] else of_the_teacher
    assert xray(chosen, **understood).healthy
    if arguments["alpha"]:
        assert not xray(chosen, **understood | {"alpha": arguments["alpha"]}).healthy


@pytest.mark.integrations
def test_log_and_settings_may_be_given_one_by_one(written, tmp_path):
    folder = written("torchdistill")
    run, imported = brought_in(folder / "kd.log", tmp_path / "log")
    assert run.manifest.distillation.alpha is None
    assert "its settings: give the .yaml with --config" in imported.left
    both, _ = brought_in(folder / "kd.log", tmp_path / "both", config=folder / "kd.yaml")
    assert both.manifest.distillation.alpha == pytest.approx(0.7)
    with pytest.raises(UsageError, match="neither metrics nor logits"):
        brought_in(folder / "kd.yaml", tmp_path / "settings")


@pytest.mark.integrations
def test_a_learning_rate_that_the_log_contradicts_is_not_taken(written, tmp_path):
    changed = tmp_path / "kd.yaml"
    changed.write_text((written("torchdistill") / "kd.yaml").read_text().replace("lr: 0.1", "lr: 0.2"))
    run, imported = brought_in(written("torchdistill") / "kd.log", tmp_path / "run", config=changed)
    assert run.manifest.training.learning_rate is None
    assert "kd.yaml: the learning rate is 0.2, and the log starts with 0.1; not taken" in imported.left


def test_lines_of_its_first_years_with_a_gpu_and_two_stages_are_read(tmp_path):
    def line(name: str, message: str) -> str:
        return f"2021-03-04 05:06:07,890\tINFO\t{name}\t{message}"

    def training(epoch: int, rate: float, loss: str) -> str:
        meters = f"lr: {rate}  img/s: 50.5  loss: {loss} (2.0000)"
        machine = "time: 0.1000  data: 0.0100  max mem: 100"
        return line("kdkit.misc.log", f"Epoch: [{epoch}]  [  0/200]  eta: 0:01:40  {meters}  {machine}")

    held_out = line("__main__", " * Acc@1 12.5000\tAcc@5 50.0000")
    lines = [training(0, 0.4, "3.2500"), held_out, training(1, 0.4, "nan"), training(0, 0.2, "1.7500")]
    (tmp_path / "kd.log").write_text("\n".join(lines))
    run, _ = brought_in(tmp_path / "kd.log", tmp_path / "run")
    assert [(row["step"], row["epoch"]) for row in run.metrics] == [(0, 0), (200, 0), (200, 1), (400, 2)]
    assert str(curve(run, "loss")) == "[3.25, nan, 1.75]"
    assert curve(run, "lr") == [0.4, 0.4, 0.2]
    assert curve(run, "student_accuracy", "val") == [0.125]


@pytest.mark.parametrize(
    ("criterion", "wanted"),
    [
        (summed(kd=kd(alpha=0.1)), {"loss": "kl", "temperature": 4.0, "alpha": 0.9, "temperature_squared": True}),
        (summed(kd=kd(alpha=0)), {"loss": "kl", "temperature": 4.0, "alpha": 1.0, "temperature_squared": False}),
        (
            summed(kd=kd(weight=0.6), ce={"criterion": {"key": "CrossEntropyLoss"}, "weight": 0.4}),
            {"loss": "kl", "temperature": 4.0, "alpha": 0.6, "temperature_squared": False},
        ),
        (
            summed(kd=kd(weight=9.6), ce={"criterion": {"key": "CrossEntropyLoss"}, "weight": 0.4}),
            {"loss": "kl", "temperature": 4.0, "alpha": 0.6, "temperature_squared": True},
        ),
        (
            {
                "type": "GeneralizedCustomLoss",
                "org_term": {
                    "criterion": {"type": "KDLoss", "params": {"temperature": 2, "alpha": 0.5}},
                    "factor": 1.0,
                },
                "sub_terms": None,
            },
            {"loss": "kl", "temperature": 2.0, "alpha": 0.5, "temperature_squared": True},
        ),
        (summed(hint={"criterion": {"key": "ATLoss", "kwargs": {}}, "weight": 1.0}), {"loss": "custom"}),
    ],
)
def test_what_a_criterion_means(criterion, wanted):
    found, _ = meant(criterion)
    assert found == pytest.approx(wanted) if "alpha" in wanted else found == wanted


def test_a_student_without_a_teacher_has_no_distillation():
    assert meant({"key": "CrossEntropyLoss", "kwargs": {}}, teacher=False)[0] == {"loss": "none"}


@pytest.mark.parametrize(
    ("criterion", "line"),
    [
        (summed(kd=kd(weight=2.0, alpha=0.5)), "the teacher's term weighs 1, the labels' 1; alpha is left out"),
        (summed(kd=kd(alpha=0.5, reduction="mean")), "KDLoss has reduction mean"),
        (summed(kd=kd(temperature="warm")), "KDLoss has no usable temperature"),
        (summed(kd=kd(alpha=0.5), at={"criterion": {"key": "ATLoss"}, "weight": 1}), "the loss is KDLoss + ATLoss"),
    ],
)
def test_what_is_not_certain_is_said(criterion, line):
    assert any(line in said for said in meant(criterion)[1])


def test_of_several_stages_the_one_that_distils_is_taken():
    stages = {
        "stage1": {"num_epochs": 5, "criterion": {"key": "FSPLoss", "kwargs": {}}, "optimizer": {"key": "Adam"}},
        "stage2": {"num_epochs": 7, "criterion": kd(alpha=0.5)["criterion"], "optimizer": {"key": "SGD"}},
    }
    found = settings_from({"models": {"teacher_model": {}, "student_model": {}}, "train": stages}, "kd.yaml")
    assert found.distillation["alpha"] == 0.5
    assert found.training == {"optimizer": "sgd"}
    assert "kd.yaml: training has 2 stages" in found.unsure[0]


def test_another_yaml_is_not_its_settings(tmp_path):
    (tmp_path / "other.yaml").write_text("a: 1\n")
    (tmp_path / "kd.log").write_text("Epoch: [0]  [ 0/9]  eta: 0:00:01  lr: 0.3  loss: 6.5 (6.5)  time: 1  data: 1\n")
    with pytest.raises(RunError, match=r"other.yaml: models is missing; expected the settings of torchdistill"):
        brought_in(tmp_path / "kd.log", tmp_path / "run", config=tmp_path / "other.yaml")
