"""The recorder writes a run that can be diagnosed, and never changes what the loop computes."""

from __future__ import annotations

import copy
import pickle
import random
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from kddoctor.errors import RunError, UsageError
from kddoctor.run import Run, load
from kddoctor.run.recorder import RecorderWarning, record
from kddoctor.run.recording import redirection
from tests.run.distillation import CLASSES, TRAIN, VAL, Distillation
from tests.run.runs import full_run


def recorded(path: Path, epochs: int = 2, when: str = "before backward", **changes: Any) -> tuple[Run, Distillation]:
    distillation = Distillation()
    with distillation.record(path, **changes) as run:
        distillation.train_for(epochs, run, when)
    return load(path), distillation


def everything(distillation: Distillation) -> list[Any]:
    """All that a loop could notice: weights, momentum, modes, gradients and every random state."""
    models = (distillation.student, distillation.teacher)
    return [
        *(value.clone() for model in models for value in model.state_dict().values()),
        *(p.grad.clone() for p in distillation.student.parameters() if p.grad is not None),
        *(state["momentum_buffer"] for state in distillation.optimizer.state.values()),
        [module.training for model in models for module in model.modules()],
        torch.get_rng_state(),
        repr(np.random.get_state()),
        random.getstate(),
    ]


def assert_same(ours: list[Any], theirs: list[Any]) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("when", ["before backward", "after optimizer"])
def test_recording_changes_nothing_at_all(tmp_path: Path, when: str) -> None:
    random.seed(0)
    np.random.seed(0)
    plain = Distillation()
    plain.train_for(3)
    expected = everything(plain)
    watched = Distillation()
    run = watched.record(tmp_path / "run", layers=["1"], max_steps=4, save_inputs=True, save_checkpoints=True)
    with run:
        watched.train_for(3, run, when)
        assert_same(everything(watched), expected)
    assert_same(everything(watched), expected)


def test_a_recorded_teacher_in_training_mode_stays_in_it(tmp_path: Path) -> None:
    plain = Distillation()
    plain.teacher.train()
    plain.train_for(2)
    expected = everything(plain)
    watched = Distillation()
    watched.teacher.train()
    with watched.record(tmp_path / "run") as run:
        watched.train_for(2, run)
    assert_same(everything(watched), expected)
    observations = load(tmp_path / "run").observations
    assert observations.teacher_training is True
    assert observations.teacher_drift is not None
    assert observations.teacher_drift > 0


@pytest.mark.parametrize("whole", [False, True])
def test_dropout_that_alone_is_in_training_mode_is_told_from_a_teacher_that_is(tmp_path: Path, whole: bool) -> None:
    distillation = Distillation()
    distillation.teacher.append(torch.nn.Dropout(0.1))
    distillation.teacher.train(whole)
    distillation.teacher[-1].train()
    with distillation.record(tmp_path / "run") as run:
        distillation.train_for(1, run)
    observations = load(tmp_path / "run").observations
    assert observations.teacher_training is True
    assert observations.teacher_dropout_alone is (None if whole else True)


@pytest.mark.parametrize("before", ["whole", "dropout", "of an older version"])
def test_a_mode_of_before_an_interruption_counts(tmp_path: Path, before: str) -> None:
    distillation = Distillation()
    distillation.teacher.append(torch.nn.Dropout(0.1))
    distillation.teacher.train(before == "whole")
    distillation.teacher[-1].train()
    with distillation.record(tmp_path / "first") as run:
        distillation.train_for(1, run)
        state = run.state_dict()
    if before == "of an older version":
        state = {name: {k: v for k, v in part.items() if k != "teacher_beyond_dropout"} for name, part in state.items()}
    distillation.teacher.eval()[-1].train()
    with distillation.record(tmp_path / "second") as run:
        run.load_state_dict(state)
        distillation.train_for(1, run)
    again = load(tmp_path / "second").observations
    assert again.teacher_training is True
    assert again.teacher_dropout_alone is (True if before == "dropout" else None)


def test_no_hook_stays_behind(tmp_path: Path) -> None:
    _, distillation = recorded(tmp_path / "run", layers=["1"])
    for model in (distillation.teacher, distillation.student):
        assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())
    assert not distillation.optimizer._optimizer_step_pre_hooks


def test_models_can_be_copied_and_pickled_while_they_are_watched(tmp_path: Path) -> None:
    distillation = Distillation()
    with distillation.record(tmp_path / "run") as run:
        copied = copy.deepcopy(distillation.student)
        pickled = pickle.loads(pickle.dumps(distillation.student))  # noqa: S301 - our own bytes
        distillation.train_for(1, run)
        copied(torch.zeros(2, 1, 6, 6))
        pickled(torch.zeros(2, 1, 6, 6))
    assert load(tmp_path / "run").observations.same_inputs is True


def test_steps_are_what_the_loss_saw(tmp_path: Path) -> None:
    run, distillation = recorded(tmp_path / "run")
    steps = run.steps
    assert steps is not None
    assert steps.kd_loss is not None
    assert steps.ce_loss is not None
    for k in range(steps.count):
        s, t = (torch.from_numpy(array[k]) for array in (steps.student_logits, steps.teacher_logits))
        terms = distillation.terms(s, t, torch.from_numpy(steps.labels[k]))
        recorded_terms = (steps.loss[k], steps.kd_loss[k], steps.ce_loss[k])
        np.testing.assert_allclose([float(term) for term in terms], recorded_terms, rtol=1e-5)


def test_an_honest_teacher_says_the_same_again(tmp_path: Path) -> None:
    run, _ = recorded(tmp_path / "run")
    assert run.steps is not None
    assert run.steps.teacher_logits_check is not None
    again, used = run.steps.teacher_logits_check.read(), run.steps.teacher_logits.read()
    checked = np.isfinite(again).all((1, 2))
    assert checked.sum() >= 3, "the costly second pass is made on some of the steps"
    np.testing.assert_allclose(again[checked], used[checked], atol=1e-6)
    assert run.observations.same_inputs is True
    assert run.observations.teacher_training is False
    assert run.observations.teacher_drift == 0.0
    assert run.observations.teacher_requires_grad is False


def test_logits_from_a_stale_cache_are_checked_on_the_students_inputs(tmp_path: Path) -> None:
    distillation = Distillation()
    with distillation.record(tmp_path / "run") as run:
        for inputs, labels in distillation.loader:
            s = distillation.student(inputs)
            run.step(loss=s.sum(), student_logits=s, teacher_logits=torch.zeros_like(s), labels=labels)
    steps = load(tmp_path / "run").steps
    assert steps is not None
    assert steps.teacher_logits_check is not None
    with torch.no_grad():
        assert float(np.nanmax(np.abs(steps.teacher_logits_check.read()))) > 0
    assert load(tmp_path / "run").observations.same_inputs is None


def test_a_cache_that_is_filled_inside_the_loop_is_no_forward_of_this_batch(tmp_path: Path) -> None:
    distillation = Distillation()
    with distillation.record(tmp_path / "run") as run, torch.no_grad():
        cached = None
        for inputs, labels in distillation.loader:
            if cached is None:
                cached = distillation.teacher(distillation.train.tensors[0])
            s, t = distillation.student(inputs), cached[: len(inputs)]
            loss, kd, ce = distillation.terms(s, t, labels)
            run.step(loss=loss, kd_loss=kd, ce_loss=ce, student_logits=s, teacher_logits=t, labels=labels)
    steps = load(tmp_path / "run").steps
    assert steps is not None
    assert steps.teacher_logits_check is not None, "the teacher was run again on the student's inputs at every step"
    assert load(tmp_path / "run").observations.same_inputs is None


def test_a_teacher_that_sees_other_inputs_is_noticed(tmp_path: Path) -> None:
    distillation = Distillation()
    with distillation.record(tmp_path / "run") as run:
        for inputs, labels in distillation.loader:
            t = distillation.teacher(inputs + 1).detach()
            s = distillation.student(inputs)
            run.step(loss=s.sum(), student_logits=s, teacher_logits=t, labels=labels)
    assert load(tmp_path / "run").observations.same_inputs is False


@pytest.mark.parametrize("when", ["before backward", "after optimizer"])
def test_gradient_norms_of_the_terms_need_a_live_graph(tmp_path: Path, when: str) -> None:
    run, _ = recorded(tmp_path / "run", when=when)
    assert run.steps is not None
    alive = when == "before backward"
    assert (run.steps.kd_grad_norm is not None) == alive
    assert (run.observations.grad_cosine_kd_ce is not None) == alive
    assert all("grad_norm" in row for row in run.metrics)


def test_a_gradient_norm_is_that_of_its_own_step(tmp_path: Path) -> None:
    before, _ = recorded(tmp_path / "a", when="before backward")
    after, _ = recorded(tmp_path / "b", when="after optimizer")
    assert [row["grad_norm"] for row in before.metrics] == [row["grad_norm"] for row in after.metrics]


def test_sampled_steps_are_bounded_even_and_reach_the_end(tmp_path: Path) -> None:
    run, _ = recorded(tmp_path / "run", epochs=10, max_steps=8, train_data=None)
    assert run.steps is not None
    assert run.steps.count <= 8
    assert run.steps.step[0] == 0
    assert run.steps.step[-1] >= 60  # of 70; the very last is a batch of four, not of eight
    assert run.steps.labels.shape == (run.steps.count, 8)


def test_steps_whose_loss_is_not_finite_are_kept(tmp_path: Path) -> None:
    distillation = Distillation()
    with distillation.record(tmp_path / "run", max_steps=2) as run:
        distillation.train_for(2, run)
        for _ in range(6):
            distillation.train_for(1, run, damage={"loss": torch.tensor(float("nan"))})
    steps, observations = load(tmp_path / "run").steps, load(tmp_path / "run").observations
    assert steps is not None
    assert np.isnan(steps.loss).sum() >= 4
    assert observations.nonfinite_steps == list(range(14, 56))


def test_predictions_are_those_of_both_models_in_evaluation_mode(tmp_path: Path) -> None:
    run, distillation = recorded(tmp_path / "run")
    for split, data, rows in (("val", distillation.val, VAL), ("train", distillation.train, TRAIN)):
        part = run.predictions(split)
        assert part is not None
        assert part.n == rows
        assert part.example_ids is not None
        np.testing.assert_array_equal(part.labels.read(), data.tensors[1].numpy())
        np.testing.assert_array_equal(part.example_ids.read(), np.arange(rows))
        for model, logits in (("teacher", part.teacher_logits), ("student", part.student_logits)):
            module = getattr(distillation, model).eval()
            assert logits is not None
            with torch.no_grad():
                np.testing.assert_allclose(logits.read(), module(data.tensors[0]).numpy(), atol=1e-5)


def test_the_manifest_says_what_was_meant(tmp_path: Path) -> None:
    run, _ = recorded(tmp_path / "run", training={"epochs": 2, "seed": 0}, targets={"retention": 0.9})
    manifest = run.manifest
    assert (manifest.num_classes, manifest.distillation.temperature, manifest.distillation.alpha) == (CLASSES, 3, 0.7)
    training = manifest.training
    assert (training.epochs, training.optimizer, training.learning_rate, training.batch_size) == (2, "sgd", 0.05, 8)
    assert run.warnings == ()


def test_features_are_not_what_an_in_place_relu_made_of_them(tmp_path: Path) -> None:
    run, _ = recorded(tmp_path / "run", layers={"teacher": ["1"], "student": ["1"]}, feature_examples=10)
    features = run.features("val")
    assert features is not None
    assert features.n == 10
    assert float(features.student["1"].read().min()) < 0
    assert run.manifest.distillation.feature_layers == [("1", "1")]


def test_equal_examples_have_equal_fingerprints(tmp_path: Path) -> None:
    distillation = Distillation()
    inputs, labels = distillation.val.tensors
    twice = torch.cat([inputs[:3], distillation.train.tensors[0]])
    recording = distillation.record(tmp_path / "run", train_data=(twice, torch.zeros(len(twice), dtype=torch.long)))
    with recording as run:
        distillation.train_for(1, run)
    train, val = (load(tmp_path / "run").fingerprints(split) for split in ("train", "val"))
    assert train is not None
    assert val is not None
    assert np.intersect1d(train.read(), val.read()).size == 3
    assert len(labels) == len(np.unique(val.read()))


def test_parameters_that_do_not_learn_are_named(tmp_path: Path) -> None:
    distillation = Distillation()
    distillation.student[0].requires_grad_(False)
    learning = [p for name, p in distillation.student.named_parameters() if not name.startswith("5.bias")]
    distillation.optimizer = torch.optim.SGD(learning, lr=0.01)
    with distillation.record(tmp_path / "run") as run:
        distillation.train_for(1, run)
    observations = load(tmp_path / "run").observations
    assert observations.parameters_without_gradient == ["0.weight", "0.bias"]
    assert observations.parameters_not_in_optimizer == ["5.bias"]
    assert observations.frozen_parameters == ["0.weight", "0.bias"]


def test_a_teacher_that_is_trained_is_noticed(tmp_path: Path) -> None:
    distillation = Distillation()
    both = [*distillation.student.parameters(), *distillation.teacher.parameters()]
    distillation.optimizer = torch.optim.SGD(both, lr=0.01)
    with distillation.record(tmp_path / "run") as run:
        distillation.train_for(1, run)
    assert load(tmp_path / "run").observations.teacher_requires_grad is True


def test_sizes_and_times_are_observed(tmp_path: Path) -> None:
    run, distillation = recorded(tmp_path / "run")
    counts, latency = run.observations.parameters, run.observations.latency_ms
    assert counts is not None
    assert latency is not None
    assert counts.student == sum(p.numel() for p in distillation.student.parameters())
    assert min(latency.teacher or 0, latency.student or 0) > 0


def test_logged_rows_stand_after_the_step_they_followed(tmp_path: Path) -> None:
    distillation = Distillation()
    with distillation.record(tmp_path / "run") as run:
        distillation.train_for(1, run)
        run.log(split="val", epoch=0, loss=torch.tensor(0.5))
        distillation.train_for(1, run)
    rows = load(tmp_path / "run").metrics
    assert [row["split"] for row in rows].index("val") == 7
    assert rows[0]["student_accuracy"] is not None
    assert {"step", "epoch", "lr", "kd_loss", "agreement"} <= set(rows[0])


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_loop_that_breaks_leaves_a_run_and_its_error_goes_on(tmp_path: Path, error: type[BaseException]) -> None:
    distillation = Distillation()
    with pytest.raises(error, match="the loop broke"), distillation.record(tmp_path / "run") as run:
        distillation.train_for(3, run, break_at=9, error=error)
    run = load(tmp_path / "run")
    assert run.steps is not None
    assert (run.steps.count, run.splits) == (8 + 1, ("train", "val"))  # of ten; one batch was smaller
    assert run.predictions("val") is not None


def test_a_broken_student_still_leaves_the_rest(tmp_path: Path) -> None:
    distillation = Distillation()

    def explode(*_: object) -> None:
        raise ValueError("out of memory")

    with warnings.catch_warnings(record=True) as caught, distillation.record(tmp_path / "run") as run:
        warnings.simplefilter("always")
        distillation.train_for(1, run)
        distillation.student.register_forward_hook(explode)
    assert any("run the models over val_data: ValueError: out of memory" in str(w.message) for w in caught)
    with pytest.raises(RunError, match="holds no predictions"):
        load(tmp_path / "run")
    assert (tmp_path / "run" / "steps.safetensors").exists()


def test_a_recorder_that_fails_says_so_once_and_training_goes_on(tmp_path: Path) -> None:
    plain = Distillation()
    plain.train_for(2)
    expected = everything(plain)
    watched = Distillation()
    with warnings.catch_warnings(record=True) as caught, watched.record(tmp_path / "run") as run:
        warnings.simplefilter("always")
        watched.train_for(2, run, damage={"student_logits": "oops"})
    assert_same(everything(watched), expected)
    assert [warning.category for warning in caught] == [RecorderWarning]
    assert "could not record a training step" in str(caught[0].message)
    assert load(tmp_path / "run").steps is None


def test_a_taken_directory_is_refused_before_training(tmp_path: Path) -> None:
    full_run(tmp_path / "run")
    with pytest.raises(UsageError, match="is not empty"):
        Distillation().record(tmp_path / "run")
    with Distillation().record(tmp_path / "run", overwrite=True):
        pass
    assert not load(tmp_path / "run").has("steps")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"val_data": None, "train_data": None}, "needs train_data or val_data"),
        ({"val_data": 3}, "val_data is a int; expected a DataLoader"),
        ({"val_data": (torch.zeros(3), torch.zeros(4))}, "3 inputs but 4 labels"),
        ({"layers": ["conv9"]}, "has no layer 'conv9'"),
        ({"layers": {"teachr": ["1"]}}, "'teachr' is not a model"),
        ({"optimizer": 3}, "optimizer is a int; expected a torch optimizer"),
        ({"temperature": -1.0}, "distillation.temperature is -1.0; expected a number greater than 0"),
        ({"task": "multclass"}, "did you mean multiclass?"),
        ({"loss": "klm"}, "did you mean kl?"),
        ({"code": {"teacher": "x"}}, "code.teacher is 'x'"),
    ],
)
def test_wrong_arguments_are_named_before_training(tmp_path: Path, changes: Any, expected: str) -> None:
    with pytest.raises((UsageError, RunError)) as error:
        Distillation().record(tmp_path / "run", **changes)
    assert expected in str(error.value)


def test_an_interrupted_recording_goes_on(tmp_path: Path) -> None:
    whole, _ = recorded(tmp_path / "whole", epochs=4)
    distillation = Distillation()
    with distillation.record(tmp_path / "first") as run:
        distillation.train_for(2, run)
        torch.save(run.state_dict(), tmp_path / "state.pt")
    with distillation.record(tmp_path / "second") as run:
        run.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        distillation.train_for(2, run)
    again = load(tmp_path / "second")
    assert again.steps is not None
    assert whole.steps is not None
    np.testing.assert_array_equal(again.steps.step, whole.steps.step)
    np.testing.assert_array_equal(again.steps.student_logits.read(), whole.steps.student_logits.read())
    assert [row["loss"] for row in again.metrics] == [row["loss"] for row in whole.metrics]


def test_checkpoints_and_inputs_are_kept_on_request(tmp_path: Path) -> None:
    code = {"teacher": "recipe:make_teacher"}
    run, _ = recorded(
        tmp_path / "run", save_checkpoints=True, save_inputs=True, code=code, code_files={"recipe.py": "x = 1\n"}
    )
    inputs = run.inputs("val")
    assert inputs is not None
    assert (inputs.n, inputs.teacher_inputs) == (VAL, None)
    assert run.checkpoint("student") is not None
    assert run.checkpoint("teacher_before") is None
    assert run.has("code")


def test_a_teacher_that_changed_is_kept_as_it_was_before(tmp_path: Path) -> None:
    distillation = Distillation()
    before = {name: value.clone() for name, value in distillation.teacher.state_dict().items()}
    with distillation.record(tmp_path / "run", save_checkpoints=True) as run:
        distillation.train_for(2, run)
        with torch.no_grad():
            next(distillation.teacher.parameters()).mul_(0.5)
    kept = load(tmp_path / "run")
    was, now = (kept.checkpoint(name) for name in ("teacher_before", "teacher"))  # type: ignore[arg-type]
    assert was is not None
    assert now is not None
    for file, expected in ((was, before), (now, distillation.teacher.state_dict())):
        found = load_file(file)
        assert_same([found[name] for name in expected], list(expected.values()))


def test_weights_that_a_layer_holds_as_buffers_count_as_frozen(tmp_path: Path) -> None:
    distillation = Distillation()
    last = distillation.student[-1]  # type: ignore[index]
    weight = last.weight.detach()
    del last.weight
    last.register_buffer("weight", weight)
    last.register_buffer("weight_mask", torch.ones_like(weight))
    with distillation.record(tmp_path / "run") as run:
        distillation.train_for(1, run)
    frozen = load(tmp_path / "run").observations.frozen_parameters
    assert frozen == [f"{len(distillation.student) - 1}.weight"]


def test_a_baseline_and_a_transform_for_the_teacher(tmp_path: Path) -> None:
    distillation, transform = Distillation(), lambda inputs: inputs * 2
    baseline = Distillation(seed=1).student
    with distillation.record(tmp_path / "run", baseline=baseline, teacher_transform=transform) as run:
        for inputs, labels in distillation.loader:
            t = distillation.teacher(transform(inputs)).detach()
            s = distillation.student(inputs)
            run.step(loss=s.sum(), student_logits=s, teacher_logits=t, labels=labels)
    run = load(tmp_path / "run")
    val = run.predictions("val")
    assert val is not None
    assert val.baseline_logits is not None
    assert run.observations.same_inputs is True
    with torch.no_grad():
        expected = distillation.teacher(2 * distillation.val.tensors[0]).numpy()
    np.testing.assert_allclose(val.teacher_logits.read(), expected, atol=1e-5)  # type: ignore[union-attr]


class LanguageModel(nn.Module):
    """Takes and returns what Hugging Face models do."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(11, 4), nn.Linear(4, 11)

    def forward(self, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.head(self.embedding(input_ids))}


def test_token_runs_of_uneven_length_line_up_with_their_labels(tmp_path: Path) -> None:
    torch.manual_seed(0)
    texts = [torch.randint(11, (length,)) for length in (5, 5, 3, 3)]
    data = [{"input_ids": text, "labels": text} for text in texts]
    teacher, student = LanguageModel(), LanguageModel()
    loader = DataLoader(data, batch_size=2)  # type: ignore[arg-type]
    with record(tmp_path / "run", teacher=teacher, student=student, val_data=loader, task="tokens") as run:
        for batch in loader:
            s, t = (m(input_ids=batch["input_ids"])["logits"] for m in (student, teacher))
            run.step(loss=1.0, student_logits=s, teacher_logits=t, labels=batch["labels"])
    run = load(tmp_path / "run")
    val, steps = run.predictions("val"), run.steps
    assert val is not None
    assert steps is not None
    assert steps.mask is not None
    assert val.labels[0].tolist() == [*texts[0][1:].tolist(), -100]
    assert val.labels[2].tolist() == [*texts[2][1:].tolist(), -100, -100, -100]
    assert steps.mask[1, 0].tolist() == [True, True, True, False, False]
    assert run.manifest.num_classes == 11


class Counting(nn.Linear):
    """Changes a buffer and draws random numbers in every forward pass, evaluation mode or not."""

    def __init__(self) -> None:
        super().__init__(3, CLASSES)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(inputs) + torch.rand(1) + np.random.rand() + random.random()


def test_a_teacher_with_a_state_of_its_own_is_left_as_the_loop_left_it(tmp_path: Path) -> None:
    def logits_seen(recording: bool) -> list[Any]:
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        teacher, student, data = Counting(), nn.Linear(3, CLASSES), torch.randn(12, 3)
        labels = torch.zeros(12, dtype=torch.long)
        made = (
            record(tmp_path / "run", teacher=teacher, student=student, val_data=(data, labels)) if recording else None
        )
        seen: list[Any] = []
        with nullcontext() if made is None else made as run:
            for _ in range(5):
                t, s = teacher(data), student(data)
                if run is not None:
                    run.step(loss=(s - t).square().mean(), student_logits=s, teacher_logits=t, labels=labels)
                seen.append(t.detach())
        return [*seen, teacher.calls, torch.get_rng_state()]

    expected = logits_seen(recording=False)
    assert_same(logits_seen(recording=True), expected)


def test_a_record_can_be_sent_elsewhere_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redirection, "_redirected", set())
    monkeypatch.setenv("KDDOCTOR_RUN_DIR", str(tmp_path / "there"))
    (tmp_path / "named").mkdir()
    (tmp_path / "named" / "mine.txt").write_text("mine", encoding="utf-8")
    for _ in range(2):  # what is there already is replaced
        with Distillation().record(tmp_path / "named"):
            pass
    assert load(tmp_path / "there").splits == ("train", "val")
    assert [path.name for path in (tmp_path / "named").iterdir()] == ["mine.txt"]
    with pytest.raises(UsageError, match=r"KDDOCTOR_RUN_DIR is set, but the script records .*named.* and .*other"):
        Distillation().record(tmp_path / "other")


def test_targets_that_a_list_keeps_are_counted(tmp_path: Path) -> None:
    distillation = Distillation()
    kept: list[Tensor] = []
    with distillation.record(tmp_path / "run") as run:
        for _ in range(3):
            for inputs, labels in distillation.loader:
                kept.append(distillation.teacher(inputs).detach())
                student, stale = distillation.student(inputs), kept[0]
                if len(stale) == len(student):
                    loss, kd, ce = distillation.terms(student, stale, labels)
                    logits = {"student_logits": student, "teacher_logits": stale, "labels": labels}
                    run.step(loss=loss, kd_loss=kd, ce_loss=ce, **logits)
    found = load(tmp_path / "run").observations.repeated_targets
    assert found is not None
    assert found.compared is not None
    assert found.same == found.compared > 8


def test_no_targets_repeat_in_a_sound_loop(tmp_path: Path) -> None:
    run, _ = recorded(tmp_path / "run", epochs=4)
    found = run.observations.repeated_targets
    assert found is not None
    assert found.compared is not None
    assert found.compared > 8
    assert found.same == 0


def test_a_state_of_an_older_version_that_counted_no_repeats_is_gone_on_with(tmp_path: Path) -> None:
    distillation = Distillation()
    with distillation.record(tmp_path / "first") as run:
        distillation.train_for(2, run)
        state = run.state_dict()
    older = {name: {k: v for k, v in part.items() if k != "repeated"} for name, part in state.items()}
    assert older != state
    with distillation.record(tmp_path / "second") as run:
        run.load_state_dict(older)
        distillation.train_for(2, run)
    again = load(tmp_path / "second").observations
    assert again.repeated_targets is not None
    assert again.model_extra is not None
    assert again.model_extra["recorded_steps"] == 2 * 2 * len(distillation.loader)
