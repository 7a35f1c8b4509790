"""Each check finds the fault that it is for, made the way a person would."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import ConcatDataset, Subset, TensorDataset

import kddoctor
from kddoctor.preflight_checks import Check, Preflight, PreflightError
from tests.preflight.setups import ALPHA, CLASSES, TEMPERATURE, VOCABULARY, WIDTH, Reader, Texts, kd_loss, sound


def failing(name: str, task: str = "multiclass", **changes: Any) -> Check:
    """The one check that has to fail; the loss is looked at only where it is what changes."""
    found = kddoctor.preflight(**sound(task, **{"loss_fn": None, **changes}))
    return the_failure(found, name)


def the_failure(found: Preflight, name: str) -> Check:
    check = next(check for check in found.checks if check.name == name)
    assert check.status == "fail", str(found)
    assert not found.ok
    with pytest.raises(PreflightError, match=name):
        found.raise_if_bad()
    return check


def changed(role: str, change: Any) -> dict[str, Any]:
    setup = sound()
    change(setup[role])
    return {role: setup[role]}


# Label order and the teacher ----------------------------------------------------------------------------


def reorder_head(teacher: nn.Sequential) -> None:
    """Its classes were numbered by name, ours by first appearance."""
    columns = torch.tensor([2, 0, 1, 4, 5, 3])
    with torch.no_grad():
        teacher[4].weight.copy_(teacher[4].weight[columns])
        teacher[4].bias.copy_(teacher[4].bias[columns])


def test_a_teacher_with_its_classes_in_another_order():
    check = failing("label order", **changed("teacher", reorder_head))
    assert check.codes == ("KD105",)
    assert "another order" in check.text


def test_a_teacher_that_says_yes_for_no():
    setup = sound("binary")
    last = setup["teacher"].layers[2]
    with torch.no_grad():
        last.weight.neg_(), last.bias.neg_()
    assert failing("label order", "binary", teacher=setup["teacher"]).codes == ("KD105",)


def fresh(model: nn.Module) -> None:
    torch.manual_seed(5)
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()


@pytest.mark.parametrize("task", ["multiclass", "tokens"])
def test_a_teacher_whose_weights_were_never_loaded(task):
    setup = sound(task)
    fresh(setup["teacher"])
    assert "KD101" in failing("teacher accuracy", task, teacher=setup["teacher"].eval()).codes


def test_a_teacher_left_in_training_mode():
    check = failing("teacher passes", **changed("teacher", lambda teacher: teacher.train()))
    assert check.codes == ("KD103",)


def test_dropout_layers_that_alone_are_on_are_said_and_fail_nothing():
    """Whoever averages several passes puts them into that mode; whoever left them on reads it."""
    found = kddoctor.preflight(**sound(loss_fn=None, **changed("teacher", lambda teacher: teacher[3].train())))
    check = next(check for check in found.checks if check.name == "teacher passes")
    assert check.status == "ok"
    assert "KD103" in check.text
    assert "dropout layers" in check.text


def test_dropout_that_knows_no_mode():
    class Noisy(nn.Module):
        def __init__(self, body: nn.Module) -> None:
            super().__init__()
            self.body = body

        def forward(self, x: Tensor) -> Tensor:
            return F.dropout(self.body(x), 0.2)

    check = failing("teacher passes", teacher=Noisy(sound()["teacher"]).eval())
    assert "two passes in evaluation mode" in check.text


def test_a_teacher_that_returns_probabilities():
    check = failing("logits", teacher=nn.Sequential(sound()["teacher"], nn.Softmax(-1)).eval())
    assert check.codes == ("KD205",)


def test_a_student_that_is_its_own_teacher():
    # student = teacher, where a copy of it was meant.
    teacher = sound()["teacher"]
    assert failing("two models", teacher=teacher, student=teacher).codes == ("KD109",)


def test_a_student_that_starts_as_a_copy_passes():
    teacher = sound()["teacher"]
    found = kddoctor.preflight(**sound(teacher=teacher, student=copy.deepcopy(teacher)))
    assert found.ok, str(found)
    assert "copy of the teacher" in str(found)


def test_a_first_layer_that_both_models_train():
    setup = sound()
    student = nn.Sequential(setup["teacher"][0], nn.ReLU(), nn.Linear(48, CLASSES))
    assert failing("two models", teacher=setup["teacher"], student=student).codes == ("KD104",)


# Loss ----------------------------------------------------------------------------------------------------


def averaged_over_classes(s: Tensor, t: Tensor, labels: Tensor) -> Tensor:
    soft = F.kl_div(F.log_softmax(s / TEMPERATURE, -1), F.softmax(t / TEMPERATURE, -1), reduction="mean")
    return ALPHA * TEMPERATURE**2 * soft + (1 - ALPHA) * F.cross_entropy(s, labels)


def without_t_squared(s: Tensor, t: Tensor, labels: Tensor) -> Tensor:
    soft = F.kl_div(F.log_softmax(s / TEMPERATURE, -1), F.softmax(t / TEMPERATURE, -1), reduction="batchmean")
    return ALPHA * soft + (1 - ALPHA) * F.cross_entropy(s, labels)


def over_the_batch(s: Tensor, t: Tensor, labels: Tensor) -> Tensor:
    soft = F.kl_div(F.log_softmax(s / TEMPERATURE, 0), F.softmax(t / TEMPERATURE, 0), reduction="batchmean")
    return ALPHA * TEMPERATURE**2 * soft + (1 - ALPHA) * F.cross_entropy(s, labels)


def detached(s: Tensor, t: Tensor, labels: Tensor) -> Tensor:
    soft = F.kl_div(F.log_softmax(s.detach() / TEMPERATURE, -1), F.softmax(t / TEMPERATURE, -1), reduction="batchmean")
    return ALPHA * TEMPERATURE**2 * soft + (1 - ALPHA) * F.cross_entropy(s, labels)


@pytest.mark.parametrize(
    ("loss_fn", "code"),
    [
        (averaged_over_classes, "KD201"),
        (without_t_squared, "KD202"),
        (over_the_batch, "KD206"),
        (detached, "KD111"),
    ],
)
def test_a_loss_with_a_fault(loss_fn, code):
    assert code in failing("loss", loss_fn=loss_fn).codes


def test_a_loss_of_tokens_that_counts_padding():
    def every_position(s: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        rows = (value.flatten(0, -2) for value in (s, t))
        return kd_loss(*rows, labels.flatten())

    assert "KD801" in failing("loss", "tokens", loss_fn=every_position).codes


def test_a_loss_of_yes_and_no_without_its_t_squared():
    def cold(s: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        p, z = torch.sigmoid(t / TEMPERATURE), s / TEMPERATURE
        soft = F.binary_cross_entropy_with_logits(z, p) - F.binary_cross_entropy_with_logits(t / TEMPERATURE, p)
        return ALPHA * soft + (1 - ALPHA) * F.binary_cross_entropy_with_logits(s, labels.float())

    assert failing("loss", "binary", loss_fn=cold).codes


# Gradients and optimizer ----------------------------------------------------------------------------------


def test_a_head_that_is_replaced_after_the_optimizer_was_made():
    student = sound()["student"]
    optimizer = torch.optim.SGD(student.parameters(), 0.1)
    student[4] = nn.Linear(8, CLASSES)
    check = failing("gradient reach", student=student, optimizer=optimizer)
    assert check.codes == ("KD506",)
    assert "4.weight" in check.text


def test_an_optimizer_that_trains_the_teacher_too():
    setup = sound()
    both = [*setup["student"].parameters(), *setup["teacher"].parameters()]
    check = failing("gradient reach", **{**setup, "optimizer": torch.optim.SGD(both, 0.1)})
    assert check.codes == ("KD104",)


def test_a_student_whose_logits_are_detached():
    class Detached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = sound()["student"]

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                return self.body(x)

    check = failing("gradient reach", student=Detached())
    assert check.codes == ("KD111",)


def test_a_layer_that_forward_leaves_out():
    student = sound()["student"]
    student[3].register_module("forgotten", nn.Linear(3, 3))
    check = failing("gradient reach", student=student)
    assert "3.forgotten.weight" in check.text


def test_a_frozen_student():
    student = sound()["student"].requires_grad_(False)
    assert failing("gradient reach", student=student, optimizer=None).codes == ("KD506",)


def test_a_frozen_body_is_a_choice():
    student = sound()["student"]
    student[0].requires_grad_(False)
    found = kddoctor.preflight(**sound(student=student))
    assert found.ok, str(found)
    assert "2 are frozen" in str(found)


def test_a_layer_that_starts_at_zero_is_no_fault():
    student = sound()["student"]
    nn.init.zeros_(student[4].weight)
    found = kddoctor.preflight(**sound(student=student))
    assert found.ok, str(found)


def test_a_projector_that_no_optimizer_holds():
    class Projected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.projector = nn.Linear(CLASSES, CLASSES)

        def forward(self, s: Tensor, t: Tensor, labels: Tensor) -> Tensor:
            return kd_loss(s, t, labels) + F.mse_loss(self.projector(s), t)

    assert failing("projector", loss_fn=Projected(), loss="custom").codes == ("KD112",)


def test_a_loss_that_raises():
    def broken(s: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return kd_loss(s, t[:, :3], labels)

    assert "RuntimeError" in failing("gradient reach", loss_fn=broken).text


# Shapes ---------------------------------------------------------------------------------------------------


def test_a_teacher_of_another_number_of_classes():
    check = failing("shapes", teacher=nn.Linear(WIDTH, 100))
    assert "[64, 100]" in check.text
    assert "[64, 6]" in check.text


def test_labels_that_count_from_one():
    inputs, labels = sound()["train_data"].tensors
    check = failing("shapes", train_data=TensorDataset(inputs, labels + 1))
    assert "label 6" in check.text
    assert "0 to 5" in check.text


def test_another_number_of_classes_than_declared():
    assert "num_classes is 10" in failing("shapes", num_classes=10).text


def test_a_teacher_that_takes_other_inputs():
    check = failing("shapes", teacher=nn.Linear(WIDTH + 1, CLASSES))
    assert "the teacher raises RuntimeError" in check.text
    assert "teacher_transform" in check.text


def test_a_teacher_with_its_own_inputs_passes():
    setup = sound()
    doubled = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH, bias=False), *setup["teacher"]).eval()
    with torch.no_grad():
        doubled[0].weight.copy_(torch.cat([torch.eye(WIDTH), torch.zeros(WIDTH, WIDTH)], 1))
    found = kddoctor.preflight(**{**setup, "teacher": doubled}, teacher_transform=lambda x: torch.cat([x, x], 1))
    assert found.ok, str(found)


def test_a_teacher_that_broke():
    def spoil(teacher: nn.Sequential) -> None:
        with torch.no_grad():
            teacher[4].bias[0] = float("nan")

    assert "NaN" in failing("shapes", **changed("teacher", spoil)).text


def test_nothing_else_is_said_where_shapes_are_wrong():
    found = kddoctor.preflight(**sound(num_classes=10))
    assert {check.status for check in found.checks[1:]} == {"not checked"}


# Vocabularies ----------------------------------------------------------------------------------------------


def words(count: int, shift: int = 0) -> dict[str, int]:
    return {f"w{number}": (number + shift) % count for number in range(count)}


def test_a_tokenizer_with_more_tokens_than_logits():
    check = failing("vocabulary", "tokens", tokenizer=words(VOCABULARY + 5))
    assert check.codes == ("KD804",)


def test_a_teacher_that_numbers_the_same_words_otherwise():
    tokenizers = {"tokenizer": words(VOCABULARY), "teacher_tokenizer": words(VOCABULARY, shift=1)}
    assert "KD805" in failing("vocabulary", "tokens", **tokenizers).codes


def test_two_tokenizers_that_agree_pass():
    tokenizers = {"tokenizer": words(VOCABULARY), "teacher_tokenizer": words(VOCABULARY)}
    found = kddoctor.preflight(**sound("tokens", **tokenizers))
    assert found.ok, str(found)


def test_padding_that_counts_as_text():
    check = failing("vocabulary", "tokens", train_data=Texts(300, 4, ignore_padding=False))
    assert check.codes == ("KD801",)
    assert "padding" in check.text


def test_a_student_with_a_smaller_vocabulary():
    student = Reader(6)
    student.head = nn.Linear(6, VOCABULARY - 2)
    assert "must agree" in failing("shapes", "tokens", student=student).text


# Data and soft targets --------------------------------------------------------------------------------------


def test_held_out_rows_in_the_training_data():
    setup = sound()
    leaked = ConcatDataset([setup["train_data"], Subset(setup["val_data"], range(100))])
    check = failing("leakage", train_data=leaked)
    assert check.codes == ("KD601",)


def test_near_copies_of_held_out_rows_in_the_training_data():
    setup = sound()
    inputs, labels = setup["val_data"].tensors
    torch.manual_seed(0)
    copies = TensorDataset(inputs + 0.01 * torch.randn_like(inputs), labels)
    assert failing("leakage", train_data=ConcatDataset([setup["train_data"], copies])).codes == ("KD601",)


def test_a_few_leaked_rows_in_a_large_set_are_found_by_their_hashes():
    setup = sound()
    found = kddoctor.preflight(
        **{**setup, "train_data": ConcatDataset([setup["train_data"], setup["val_data"]])}, examples=64
    )
    assert the_failure(found, "leakage").codes == ("KD601",)


def test_without_held_out_data_leakage_is_not_checked():
    found = kddoctor.preflight(**sound(val_data=None))
    assert found.ok, str(found)
    assert "no val_data" in str(found)


def test_targets_that_say_no_more_than_the_labels():
    def overconfident(teacher: nn.Sequential) -> None:
        with torch.no_grad():
            teacher[4].weight.mul_(40), teacher[4].bias.mul_(40)

    check = failing("soft targets", temperature=1.0, loss_fn=None, **changed("teacher", overconfident))
    assert check.codes == ("KD301",)
    assert check.fix is not None
    assert "temperature" in check.fix


def test_too_few_rows_are_no_verdict():
    setup = sound()
    few = Subset(setup["val_data"], range(10))
    found = kddoctor.preflight(**{**setup, "val_data": few})
    assert found.verdict == "inconclusive"
    assert [check.name for check in found.unmade] == ["teacher accuracy"]
    with pytest.raises(PreflightError, match="only 10 rows"):
        found.raise_if_bad()


def test_a_hostile_name_reaches_no_terminal():
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("\x1b[31mred\nline")

    text = failing("shapes", teacher=Broken()).text
    assert "\x1b" not in text
    assert "\n" not in text
