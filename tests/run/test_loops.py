"""The recorder stays out of the way of every kind of loop, and picks up what that loop does not hand over."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

from kddoctor.run import Run, load
from kddoctor.run.recorder import Recorder, RecorderWarning, record
from tests.run.distillation import CLASSES, Distillation, convnet
from tests.run.test_recorder import LanguageModel, assert_same, everything

Loop = Callable[[Distillation, Any], None]


def both(distillation: Distillation, inputs: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        t = distillation.teacher(inputs)
    return distillation.student(inputs), t


def saying(*names: str, after: bool = True) -> Loop:
    """A loop that hands these to step(), at its end or before backward()."""

    def loop(distillation: Distillation, run: Any) -> None:
        for inputs, labels in distillation.loader:
            s, t = both(distillation, inputs)
            loss, kd, ce = distillation.terms(s, t, labels)
            known = {"loss": loss, "kd_loss": kd, "ce_loss": ce, "student_logits": s, "teacher_logits": t}
            given = {name: value for name, value in {**known, "labels": labels}.items() if name in names}
            if run is not None and not after:
                run.step(**given)
            distillation.optimizer.zero_grad()
            loss.backward()
            distillation.optimizer.step()
            if run is not None and after:
                run.step(**given)

    return loop


def mixed_precision(distillation: Distillation, run: Any) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for inputs, labels in distillation.loader:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            s, t = both(distillation, inputs)
            loss, kd, ce = distillation.terms(s.float(), t.float(), labels)
        distillation.optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(distillation.optimizer)
        scaler.update()
        if run is not None:
            run.step(kd_loss=kd, ce_loss=ce)


def accumulating(distillation: Distillation, run: Any) -> None:
    for number, (inputs, labels) in enumerate(distillation.loader):
        s, t = both(distillation, inputs)
        loss, kd, ce = distillation.terms(s, t, labels)
        if run is not None:
            run.step(loss=loss, kd_loss=kd, ce_loss=ce, labels=labels)
        (loss / 3).backward()
        if number % 3 == 2:
            distillation.optimizer.step()
            distillation.optimizer.zero_grad()


def checkpointed(distillation: Distillation, run: Any) -> None:
    for inputs, labels in distillation.loader:
        with torch.no_grad():
            t = distillation.teacher(inputs)
        s = checkpoint(distillation.student, inputs, use_reentrant=False)
        loss, _, _ = distillation.terms(s, t, labels)
        distillation.optimizer.zero_grad()
        loss.backward()
        distillation.optimizer.step()
        if run is not None:
            run.step()


def two_views(distillation: Distillation, run: Any) -> None:
    """The student is run on clean rows for its loss, and once more on others that are only looked at."""
    for inputs, labels in distillation.loader:
        s, t = both(distillation, inputs)
        with torch.no_grad():
            distillation.student(inputs.flip(0) + 1)
            distillation.teacher(inputs[:2])
        loss, _, _ = distillation.terms(s, t, labels)
        distillation.optimizer.zero_grad()
        loss.backward()
        distillation.optimizer.step()
        if run is not None:
            run.step(loss=loss)


LOOPS = {
    "nothing said": saying(),
    "the loss": saying("loss"),
    "the loss before backward": saying("loss", after=False),
    "all but labels": saying("loss", "student_logits", "teacher_logits"),
    "mixed precision": mixed_precision,
    "accumulating": accumulating,
    "checkpointed": checkpointed,
    "two views": two_views,
}


@pytest.mark.parametrize("name", LOOPS)
def test_every_loop_trains_as_without_a_recorder_and_is_recorded(tmp_path: Path, name: str) -> None:
    plain = Distillation()
    for _ in range(3):
        LOOPS[name](plain, None)
    expected = everything(plain)
    watched = Distillation()
    with watched.record(tmp_path / "run") as run:
        for _ in range(3):
            LOOPS[name](watched, run)
        assert_same(everything(watched), expected)
    assert_same(everything(watched), expected)
    assert torch.autograd.backward.__name__ == "backward"
    steps = load(tmp_path / "run").steps
    assert steps is not None
    assert steps.count >= 8
    again = steps.teacher_logits_check
    assert again is not None
    checked = np.isfinite(again.read()).all((1, 2))
    assert checked.any()
    np.testing.assert_allclose(again.read()[checked], steps.teacher_logits.read()[checked], atol=1e-5)


@pytest.mark.parametrize("name", [name for name in LOOPS if name != "mixed precision"])
def test_what_is_picked_up_is_what_the_loss_of_that_step_saw(tmp_path: Path, name: str) -> None:
    distillation = Distillation()
    with distillation.record(tmp_path / "run") as run:
        LOOPS[name](distillation, run)
    steps = load(tmp_path / "run").steps
    assert steps is not None
    for k in range(steps.count):
        arrays = (steps.student_logits[k], steps.teacher_logits[k], steps.labels[k])
        loss, _, ce = distillation.terms(*map(torch.from_numpy, arrays))
        assert steps.loss[k] == pytest.approx(float(loss), rel=1e-5)
        if steps.ce_loss is not None:
            assert steps.ce_loss[k] == pytest.approx(float(ce), rel=1e-5)


def test_losses_below_a_gradient_scaler_are_those_of_the_loop(tmp_path: Path) -> None:
    distillation = Distillation()
    with distillation.record(tmp_path / "run") as run:
        mixed_precision(distillation, run)
    steps = load(tmp_path / "run").steps
    assert steps is not None
    assert steps.kd_loss is not None
    assert steps.ce_loss is not None
    np.testing.assert_allclose(steps.loss, 0.7 * steps.kd_loss + 0.3 * steps.ce_loss, rtol=1e-5)


def test_accumulated_gradients_are_not_held_against_the_loss_of_one_batch(tmp_path: Path) -> None:
    distillation = Distillation()
    with distillation.record(tmp_path / "run") as run:
        accumulating(distillation, run)
    steps = load(tmp_path / "run").steps
    assert steps is not None
    assert steps.expected_grad_norm is None or not np.isfinite(steps.expected_grad_norm * (steps.grad_norm or 1)).any()


def test_a_recorder_without_a_block_is_closed_by_finish(tmp_path: Path) -> None:
    distillation = Distillation()
    run = Recorder(
        tmp_path / "run",
        teacher=distillation.teacher,
        student=distillation.student,
        optimizer=distillation.optimizer,
        val_data=distillation.val,
    )
    distillation.train_for(2, run)
    assert run.finish() == tmp_path / "run"
    written = load(tmp_path / "run")
    assert written.steps is not None
    assert written.features("val") is not None, "layers are chosen where none are named"
    run.step(loss=1.0)
    assert not distillation.student._forward_hooks


def test_a_compiled_student_is_watched_and_evaluated_uncompiled(tmp_path: Path) -> None:
    def trained(recording: bool) -> list[Any]:
        distillation = Distillation()
        inner = distillation.student
        distillation.student = torch.compile(inner, backend="aot_eager")  # type: ignore[assignment]
        if recording:
            with distillation.record(tmp_path / "run") as run:
                saying("loss", after=False)(distillation, run)
        else:
            saying()(distillation, None)
        return [value.clone() for value in inner.state_dict().values()]

    assert_same(trained(recording=True), trained(recording=False))
    run = load(tmp_path / "run")
    assert run.steps is not None
    assert run.observations.parameters_without_gradient == []


def test_a_teacher_of_which_there_are_cached_logits_alone(tmp_path: Path) -> None:
    distillation = Distillation()
    with torch.no_grad():
        cached = {
            split: distillation.teacher(data.tensors[0])
            for split, data in (("train", distillation.train), ("val", distillation.val))
        }
    order = torch.arange(len(distillation.train))
    with distillation.record(tmp_path / "run", teacher=None, teacher_logits=cached) as run:
        for rows in order.split(8):
            inputs, labels = distillation.train[rows]
            s, t = distillation.student(inputs), cached["train"][rows]
            loss, kd, ce = distillation.terms(s, t, labels)
            run.step(loss=loss, kd_loss=kd, ce_loss=ce, teacher_logits=t, labels=labels, example_ids=rows)
            distillation.optimizer.zero_grad()
            loss.backward()
            distillation.optimizer.step()
    written = load(tmp_path / "run")
    train = written.predictions("train")
    assert train is not None
    assert train.teacher_targets is not None
    np.testing.assert_array_equal(train.teacher_targets.read(), cached["train"].numpy())
    assert written.observations.teacher_drift is None
    assert written.observations.parameters is not None
    assert written.observations.parameters.teacher is None


def test_several_teachers_are_recorded_one_by_one(tmp_path: Path) -> None:
    distillation = Distillation()
    second = Distillation(seed=1).teacher
    teachers = {"first": distillation.teacher, "second": second}
    with distillation.record(tmp_path / "run", teacher=teachers) as run:
        for inputs, labels in distillation.loader:
            with torch.no_grad():
                t = (distillation.teacher(inputs) + second(inputs)) / 2
            s = distillation.student(inputs)
            loss, kd, ce = distillation.terms(s, t, labels)
            run.step(loss=loss, kd_loss=kd, ce_loss=ce, teacher_logits=t, labels=labels)
    steps = load(tmp_path / "run").steps
    assert steps is not None
    members = steps.extra["teacher_member_logits"].read()
    assert members.shape == (steps.count, 2, 8, CLASSES)
    np.testing.assert_allclose(members.mean(1), steps.teacher_logits.read(), atol=1e-6)
    assert steps.teacher_logits_check is not None
    val = load(tmp_path / "run").predictions("val")
    assert val is not None
    assert val.teacher_logits is not None
    with torch.no_grad():
        mean = (distillation.teacher(distillation.val.tensors[0]) + second(distillation.val.tensors[0])) / 2
    np.testing.assert_allclose(val.teacher_logits.read(), mean.numpy(), atol=1e-6)


class Together(nn.Module):
    """Two models in one, each given the same inputs."""

    def __init__(self, *members: nn.Module) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.stack([member(inputs) for member in self.members]).amax(0)


def member_logits_of(run_dir: Path, distillation: Distillation, teacher: nn.Module) -> np.ndarray | None:
    with distillation.record(run_dir, teacher=teacher) as run:
        for inputs, labels in distillation.loader:
            with torch.no_grad():
                t = teacher(inputs)
            loss, kd, ce = distillation.terms(distillation.student(inputs), t, labels)
            run.step(loss=loss, kd_loss=kd, ce_loss=ce, teacher_logits=t, labels=labels)
    steps = load(run_dir).steps
    assert steps is not None
    found = steps.extra.get("teacher_member_logits")
    if found is None:
        return None
    good = np.isfinite(found.read()).all(axis=(1, 2, 3))
    np.testing.assert_allclose(found.read()[good].max(1), steps.teacher_logits.read()[good], atol=1e-6)
    return found.read()[good]


def test_models_inside_of_one_teacher_are_recorded_one_by_one(tmp_path: Path) -> None:
    distillation = Distillation()
    teacher = Together(distillation.teacher, Distillation(seed=1).teacher).eval()
    members = member_logits_of(tmp_path / "run", distillation, teacher)
    assert members is not None
    assert members.shape[1:] == (2, 8, CLASSES)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in teacher.modules())


def test_a_teacher_that_is_one_model_has_no_members(tmp_path: Path) -> None:
    distillation = Distillation()
    assert member_logits_of(tmp_path / "run", distillation, distillation.teacher) is None


def test_a_projector_that_no_optimizer_holds_is_seen_in_the_graph(tmp_path: Path) -> None:
    distillation = Distillation()
    projector = nn.Linear(3, 6)
    features: dict[str, Tensor] = {}
    for name in ("teacher", "student"):
        layer = getattr(distillation, name)[2]
        layer.register_forward_hook(lambda _, __, out, name=name: features.update({name: out.mean((2, 3))}))
    with distillation.record(tmp_path / "run") as run:
        for inputs, labels in distillation.loader:
            s, t = both(distillation, inputs)
            loss, kd, ce = distillation.terms(s, t, labels)
            hint = F.mse_loss(projector(features["student"]), features["teacher"])
            loss = loss + hint
            run.step(loss=loss, kd_loss=kd, ce_loss=ce, feature_loss=hint)
            distillation.optimizer.zero_grad()
            loss.backward()
            distillation.optimizer.step()
    written = load(tmp_path / "run")
    assert written.steps is not None
    assert written.steps.feature_loss is not None
    graph = written.observations.graph
    assert graph is not None
    assert graph.not_in_optimizer == [[6], [6, 3]]


def test_a_language_model_that_is_given_its_labels_hands_them_over(tmp_path: Path) -> None:
    torch.manual_seed(0)
    texts = torch.randint(11, (12, 6))
    data = [{"input_ids": text, "labels": text} for text in texts]
    teacher, student = LanguageModel(), LanguageModel()
    optimizer = torch.optim.SGD(student.parameters(), 0.1)
    loader = DataLoader(data, batch_size=3)  # type: ignore[arg-type]
    with record(
        tmp_path / "run", teacher=teacher, student=student, optimizer=optimizer, val_data=loader, task="tokens"
    ) as run:
        for batch in loader:
            with torch.no_grad():
                t = teacher(batch["input_ids"])["logits"]
            s = student(batch["input_ids"])["logits"]
            shifted, targets = s[:, :-1].reshape(-1, 11), batch["labels"][:, 1:].reshape(-1)
            loss = F.cross_entropy(shifted, targets) + F.mse_loss(s, t)
            run.step(loss=loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    steps = load(tmp_path / "run").steps
    assert steps is not None
    assert steps.labels[0][0].tolist() == [*texts[0][1:].tolist(), -100]
    assert steps.mask is not None
    assert steps.mask[0, 0].tolist() == [True] * 5 + [False]


@dataclass
class Noisy(torch.utils.data.Dataset[Any]):
    """Rows with new noise each time."""

    data: TensorDataset

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        inputs, label = self.data[row]
        return inputs + torch.randn_like(inputs), label


def test_random_augmentation_is_noticed_and_what_it_does_to_the_teacher(tmp_path: Path) -> None:
    for name, data in (("augmented", Noisy(Distillation().train)), ("as it is", Distillation().train)):
        distillation = Distillation()
        with distillation.record(tmp_path / name, train_data=data) as run:
            distillation.train_for(1, run)
    views = load(tmp_path / "augmented").observations.augmented_views
    assert views is not None
    assert views.random is True
    assert views.teacher_agreement is not None
    assert 0 < views.teacher_agreement < 1
    plain = load(tmp_path / "as it is").observations.augmented_views
    assert plain is not None
    assert plain.random is False


def test_targets_of_each_example_are_found_by_content(tmp_path: Path) -> None:
    distillation = Distillation()
    with distillation.record(tmp_path / "run") as run:
        distillation.train_for(1, run)
    train = load(tmp_path / "run").predictions("train")
    assert train is not None
    assert train.teacher_targets is not None
    assert train.teacher_logits is not None
    np.testing.assert_allclose(train.teacher_targets.read(), train.teacher_logits.read(), atol=1e-5)


def test_a_jump_of_the_loss_is_kept(tmp_path: Path) -> None:
    distillation = Distillation()
    with distillation.record(tmp_path / "run", max_steps=2) as run:
        distillation.train_for(3, run)
        rows = distillation.train.tensors[0][:8]
        s, t = both(distillation, rows)
        run.step(loss=1e4, student_logits=s, teacher_logits=t, labels=distillation.train.tensors[1][:8])
        distillation.train_for(3, run)
    steps = load(tmp_path / "run").steps
    assert steps is not None
    assert steps.jumped is not None
    assert steps.loss[steps.jumped == 1].tolist() == [1e4]


def test_a_record_stays_within_its_megabytes_and_says_what_it_left_out(tmp_path: Path) -> None:
    distillation = Distillation()
    wide = (torch.randn(3000, 1, 6, 6), torch.randint(CLASSES, (3000,)))
    with distillation.record(tmp_path / "run", train_data=wide, save_inputs=True, max_megabytes=0.2) as run:
        distillation.train_for(3, run)
    size = sum(path.stat().st_size for path in (tmp_path / "run").rglob("*.safetensors"))
    assert size < 250_000
    recording = load(tmp_path / "run").observations.recording
    assert recording is not None
    assert recording.max_megabytes == 0.2
    assert recording.dropped is not None
    assert recording.dropped[0] == "inputs"


def test_labels_that_cannot_be_found_are_asked_for(tmp_path: Path) -> None:
    distillation = Distillation()
    with (
        warnings.catch_warnings(record=True) as caught,
        distillation.record(tmp_path / "run", train_data=None) as run,
    ):
        warnings.simplefilter("always")
        for inputs, _ in distillation.loader:
            s, t = both(distillation, inputs)
            run.step(loss=F.mse_loss(s, t))
    assert [w.category for w in caught] == [RecorderWarning]
    assert "Give labels to step()" in str(caught[0].message)
    assert load(tmp_path / "run").steps is None


def test_a_baseline_may_be_logits(tmp_path: Path) -> None:
    distillation = Distillation()
    logits = torch.randn(len(distillation.val), CLASSES)
    with distillation.record(tmp_path / "run", baseline=logits) as run:
        distillation.train_for(1, run)
    val = load(tmp_path / "run").predictions("val")
    assert val is not None
    assert val.baseline_logits is not None
    np.testing.assert_array_equal(val.baseline_logits.read(), logits.numpy())


def test_wide_default_layers_are_averaged_over_space(tmp_path: Path) -> None:
    distillation = Distillation()
    distillation.teacher, distillation.student = convnet(64).eval(), convnet(40)
    with distillation.record(tmp_path / "run") as run:
        distillation.train_for(1, run)
    written = load(tmp_path / "run")
    features = written.features("val")
    assert features is not None
    assert features.teacher["0"].shape == (24, 64, 4, 4)
    assert written.manifest.distillation.feature_layers in (None, [], ())
    assert isinstance(written, Run)
