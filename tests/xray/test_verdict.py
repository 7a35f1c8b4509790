"""What the X-ray says, and how it fails."""

import subprocess
import sys
from functools import partial

import pytest
import torch
from torch.nn import functional as F

import kddoctor
from kddoctor.errors import UsageError
from tests.xray import public_losses as public


def no_square(s, t, y):
    soft = F.kl_div((s / 4).log_softmax(-1), (t / 4).softmax(-1), reduction="batchmean")
    return 0.1 * F.cross_entropy(s, y) + 0.9 * soft


def test_a_failing_assert_names_the_problem():
    found = kddoctor.xray(no_square, temperature=4.0, alpha=0.9)
    assert not found
    assert "KD202 missing-t-squared: the term is multiplied by 1" in repr(found.healthy)
    with pytest.raises(AssertionError, match="KD202"):
        found.raise_if_sick()


def test_a_healthy_loss_raises_nothing():
    kddoctor.xray(public.plain_kd, temperature=4.0, alpha=0.9).raise_if_sick()


def test_the_text_says_what_the_loss_is():
    text = str(kddoctor.xray(public.plain_kd, temperature=4.0, alpha=0.9))
    assert text.startswith("X-ray of plain_kd: healthy\n")
    assert "KL(teacher ‖ student) at T = 4" in text
    assert "weight 0.9, times T²" in text


def test_another_temperature_than_the_declared_one_is_drift():
    assert kddoctor.xray(public.plain_kd, temperature=2.0, alpha=0.9).codes == ("KD211",)


def test_a_gradient_to_a_teacher_that_nobody_froze_is_a_problem():
    assert kddoctor.xray(public.plain_kd, teacher_frozen=False).codes == ("KD104",)
    assert kddoctor.xray(public.unweighted_labels, teacher_frozen=False).healthy


def test_ignored_positions_that_count_are_a_problem():
    def every_position(s, t, y):
        s, t = s.flatten(0, -2), t.flatten(0, -2)
        return 0.1 * F.cross_entropy(s, y.flatten()) + 0.9 * public.soft_targets(s, t)

    assert kddoctor.xray(every_position, temperature=4.0, alpha=0.9).codes == ("KD801",)


def test_a_mean_that_counts_padding_is_a_problem():
    def diluted(s, t, y):
        counts = (y != -100).flatten()
        s, t = s.flatten(0, -2), t.flatten(0, -2)
        soft = F.kl_div((s / 4).log_softmax(-1), (t / 4).softmax(-1), reduction="none").sum(-1)
        return 0.1 * F.cross_entropy(s, y.flatten()) + 0.9 * 16 * (soft * counts).mean()

    assert kddoctor.xray(diluted, temperature=4.0, alpha=0.9).codes == ("KD801",)


@pytest.mark.parametrize(
    ("loss_fn", "words"),
    [
        (3, "int cannot be called"),
        (lambda s: s.sum(), "fewer than two"),
        (lambda s, t, y: s - t, r"returns a tensor of shape \[7, 10\]"),
        (lambda s, t, temperature: s.sum(), "bind it first"),
        (lambda s, t: s @ torch.ones(3), "fails on inputs of shape"),
    ],
)
def test_a_loss_that_cannot_be_examined_is_one_line(loss_fn, words):
    with pytest.raises(UsageError, match=words) as error:
        kddoctor.xray(loss_fn)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrong", [{"loss": "kll"}, {"temperature": 0}, {"alpha": -1}, {"num_classes": 1}])
def test_a_wrong_setting_is_refused(wrong):
    with pytest.raises(UsageError):
        kddoctor.xray(public.plain_kd, **wrong)


def test_a_bound_function_is_examined():
    def with_settings(s, t, y, temperature, alpha):
        return public.KDLoss(temperature, alpha)(s, t, y)

    assert kddoctor.xray(partial(with_settings, temperature=3.0, alpha=0.5), temperature=3.0, alpha=0.5).healthy


def test_naming_it_loads_no_torch():
    script = "import sys, kddoctor; dir(kddoctor); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_half_precision_is_judged_where_it_is_used():
    def logarithm_of_a_softmax(s, t):
        p, q = t.softmax(-1), s.softmax(-1)
        return (p * (p.log() - q.log())).sum(-1).mean()

    assert kddoctor.xray(logarithm_of_a_softmax, seed=2).healthy
    assert kddoctor.xray(logarithm_of_a_softmax, seed=2, precision="fp16").codes == ("KD213",)
    assert kddoctor.xray(public.gkd, seed=2, precision="fp16").healthy
