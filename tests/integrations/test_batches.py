"""Labels and masks of a trainer's batch line up with the logits."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader

from kddoctor.integrations.batches import noted, renamed_labels
from kddoctor.integrations.terms import named_terms

IDS = torch.tensor([[5, 6, 7, 0], [8, 9, 0, 0]])
ATTENTION = (IDS > 0).long()


def test_padding_without_attention_does_not_count() -> None:
    labels = torch.tensor([[1, 2, 3, 0], [1, 2, 0, 0]])  # padded with a class, as some collators do
    seen = noted({"input_ids": IDS, "attention_mask": ATTENTION, "labels": labels}, None, "tokens")
    assert torch.equal(seen.labels, labels)
    assert seen.mask.tolist() == ATTENTION.bool().tolist()


def test_labels_of_a_language_model_are_about_the_next_token() -> None:
    seen = noted({"input_ids": IDS, "attention_mask": ATTENTION, "labels": IDS.clone()}, None, "tokens")
    assert seen.labels.tolist() == [[6, 7, 0, -100], [9, 0, 0, -100]]
    assert seen.mask.tolist() == [[True, True, False, False], [True, False, False, False]]


def test_positions_that_are_ignored_do_not_count() -> None:
    labels = IDS.masked_fill(IDS == 5, -100)
    seen = noted({"input_ids": IDS, "labels": labels}, None, "tokens")
    assert seen.mask.tolist() == [[True, True, True, False], [True, True, True, False]]


def test_labels_of_another_name_are_found_and_renamed() -> None:
    batch = {"input_ids": IDS, "target_ids": torch.tensor([1, 2])}
    assert noted(batch, "target_ids", "multiclass").labels.tolist() == [1, 2]
    rows = [{"input_ids": row, "target_ids": label} for row, label in zip(IDS, (1, 2), strict=True)]
    found = next(iter(renamed_labels(DataLoader(rows, 2), "target_ids")))
    assert found["labels"].tolist() == [1, 2]
    assert found.keys() == {"input_ids", "labels"}


def test_a_batch_that_is_no_mapping_says_nothing() -> None:
    seen = noted((IDS, torch.tensor([1, 2])), None, "multiclass")
    assert (seen.labels, seen.mask) == (None, None)


def test_terms_are_known_by_their_usual_names() -> None:
    logged = {"train/distillation_loss": 1.0, "student_loss_step": 2.0, "loss": 3.0, "accuracy": 0.5}
    assert named_terms(logged) == {"kd_loss": 1.0, "ce_loss": 2.0}
