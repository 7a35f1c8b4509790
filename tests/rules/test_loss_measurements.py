"""What measurements of gradients, numerics and positions are evidence of, and what they are none of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kddoctor.engine.measuring import measure
from kddoctor.engine.weighing import weigh
from kddoctor.probes.example_gaps import ExampleGapsProbe
from kddoctor.probes.gradient_scale import Beside, GradientScale, Ratio, one_beside_the_other
from kddoctor.probes.learning_curve import LearningCurve
from kddoctor.probes.loss_fit import MixFit
from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.loss_mistakes import Astray, LossMistakes, Mistake
from kddoctor.probes.loss_numerics import BrokenStep, LossNumerics
from kddoctor.probes.loss_results import Mix
from kddoctor.probes.loss_schedule import LARGEST, LossSchedule
from kddoctor.probes.measurements import Gaps
from kddoctor.probes.output_health import OutputHealth
from kddoctor.probes.term_gradients import TermGradients
from kddoctor.probes.token_shift import TokenShift
from kddoctor.probes.vocabulary import VocabularyTail
from kddoctor.rules.finding import Grade, NotExamined
from kddoctor.rules.loss.drawn import drawn_terms
from kddoctor.rules.registry import all_rules
from kddoctor.run import load
from kddoctor.run.manifest import manifest_from
from kddoctor.run.observations import observations_from
from tests import builders as b
from tests.builders import recorded_run
from tests.forensics import losses
from tests.forensics.asking import fed
from tests.forensics.test_forms import recorded
from tests.rules.judging import strongest

CALM = LossNumerics(20, 0, 0, None, None, True, 1e-7, 1e-6, 0.0, 0.5, False)
BROKEN = replace(CALM, broken=10, first=BrokenStep(7, True, 12.0, 0.8, 1.0, True), declared=False)
IN_PLACE = TokenShift(100, {}, 1.0, {-1: 0.05, 0: 0.4, 1: 0.05}, 2000, {-1: 0.5, 0: 1e-6, 1: 0.5})
NOTHING = LossMistakes(12, 1e-4, True, (), None, 1.0, 0.5, False)


def sureness(
    code: str,
    *measured: object,
    task: str = "multiclass",
    loss: str = "kl",
    optimizer: str = "sgd",
    temperature: float = 2.0,
) -> float:
    meant = {"loss": loss, "temperature": temperature, "alpha": 0.9}
    plain = {"task": task, "distillation": meant, "training": {"optimizer": optimizer}}
    manifest = manifest_from(plain | ({"num_classes": 10} if task in ("multiclass", "tokens", "multilabel") else {}))
    rule = all_rules()[code]
    found = rule({type(m): m for m in (manifest, *measured)})
    assert not isinstance(found, NotExamined)
    return weigh(rule, found).confidence


@pytest.mark.parametrize("factor", [8.0, 4.0, 1 / 6, 1 / 48])
def test_a_constant_factor_on_the_gradient_is_a_fault(factor):
    assert sureness("KD212", GradientScale(Ratio(factor, 1e-5, 20, 3.0, 0), None, None)) > 0.9


@pytest.mark.parametrize(
    "honest",
    [
        Ratio(1.0, 1e-6, 20, 3.0, 0),
        Ratio(1.0, 1e-6, 8, 3.0, 12),
        Ratio(0.6, 0.4, 20, 3.0, 0),
        Ratio(65536.0, 1e-6, 20, 3.0, 0),
        Ratio(0.3, 1e-3, 20, 0.01, 0),
    ],
    ids=["as it should be", "clipped at times", "averaged micro-batches", "a loss scale", "norms that never vary"],
)
def test_gradients_of_honest_loops_are_no_fault(honest):
    assert sureness("KD212", GradientScale(honest, None, None)) < 0.1


SAME = Ratio(1.0, 1e-6, 20, 3.0, 0)


def test_a_factor_on_the_labels_gradient_is_no_loss_scale_where_the_other_terms_is_right():
    many = Ratio(128.0, 1e-6, 20, 3.0, 0)
    assert sureness("KD212", GradientScale(None, SAME, None, labels=many)) > 0.9
    assert sureness("KD212", GradientScale(None, many, None, labels=many)) < 0.1
    assert sureness("KD212", GradientScale(None, SAME, None, labels=SAME)) < 0.1


@pytest.mark.parametrize(
    ("beside", "sick"),
    [
        (Beside(8.0, 6.3, 11.0, 20), True),
        (Beside(0.1, 0.07, 0.18, 20), True),
        # One gradient may lie along what the layers pass on, and the other across it, most of all on single steps.
        (Beside(2.3, 1.2, 8.8, 20), False),
        (Beside(0.7, 0.2, 1.4, 20), False),
    ],
)
def test_norms_in_the_parameters_are_held_against_each_other(beside, sick):
    of_parameters = Ratio(30.0, 5.0, 20, 0.3, 0)
    scale = GradientScale(None, of_parameters, None, labels=of_parameters, beside=beside)
    assert (sureness("KD212", scale) > 0.5) is sick


@pytest.mark.parametrize(
    ("labels", "term", "sick"),
    [
        (Ratio(1.0, 1e-7, 20, 0.5, 0), Ratio(0.2, 0.9, 20, 0.5, 0), True),
        (Ratio(1.0, 1e-7, 20, 0.5, 0), Ratio(9.0, 0.9, 20, 0.5, 0), True),
        (Ratio(1.0, 1e-7, 20, 0.5, 0), Ratio(0.8, 0.9, 20, 0.5, 0), False),
        # Norms in the parameters: neither is what its closed form in the logits says.
        (Ratio(30.0, 0.9, 20, 0.5, 0), Ratio(30.0, 0.9, 20, 0.5, 0), False),
    ],
    ids=["shorter", "longer", "about right", "in the parameters"],
)
def test_a_gradient_that_is_always_too_short_by_another_factor_counts_its_rows_unevenly(labels, term, sick):
    assert (sureness("KD212", GradientScale(None, term, None, labels=labels)) > 0.5) is sick


def test_a_quotient_of_norms_needs_several_steps_that_have_both():
    nan, measured = np.nan, np.array([0.0, 8, 8, 16, 8, 8, 8, 8.0])
    found = one_beside_the_other(measured, np.array([1, 1, 1, 1, 1, 1, 2, nan]))
    assert found == Beside(8.0, 4.0, 16.0, 6)
    assert one_beside_the_other(measured[:5], np.ones(5)) is None


def test_a_term_that_grows_as_the_student_nears_its_teacher_is_no_distance_from_it():
    found = replace(NOTHING, astray=Astray(-0.9, 0.01))
    assert sureness("KD209", found, _forensics()) > 0.8
    assert sureness("KD209", replace(found, astray=Astray(0.4, 0.01)), _forensics()) < 0.1
    assert sureness("KD209", replace(found, astray=Astray(-0.9, 0.5)), _forensics()) < 0.1
    # Small and without any relation to the distance: of the student and what it was itself before, say.
    assert sureness("KD209", replace(found, astray=Astray(-0.2, 0.01)), _forensics()) > 0.8
    assert sureness("KD209", replace(found, astray=Astray(-0.2, 0.2)), _forensics()) < 0.1


FAR = Astray(0.6, 0.9)


def held_out(student, baseline=None):
    """Gaps of a student that is its teacher but for this change, and of a labels-only twin."""
    world = b.World()
    labels = world.labels(500, 3)
    teacher = world.teacher(labels, 3)
    twin = None if baseline is None else baseline(teacher, labels)
    probe = ExampleGapsProbe(teacher.shape[1])
    probe.update(teacher, student(teacher, labels), labels, *(() if twin is None else (twin,)))
    gaps = probe.compute()
    return Gaps("val", gaps, gaps.baseline_accuracy)


def unexplained(error=0.8):
    return replace(_forensics(), term=None, declared_errors=np.full(12, error), steps=12)


@pytest.mark.parametrize(
    ("astray", "error", "task", "named"),
    [
        (FAR, 0.8, "multiclass", True),
        (FAR, 0.05, "multiclass", False),
        # A weight that moves from step to step, and a term that measures no distance.
        (Astray(0.99, 0.9), 0.8, "multiclass", False),
        (Astray(-0.2, 0.01), 0.8, "multiclass", False),
        # Masks and vocabularies leave terms of tokens unexplained as often.
        (FAR, 0.8, "tokens", False),
    ],
    ids=["far off", "nearly", "in step", "of no distance", "tokens"],
)
def test_what_is_not_the_declared_loss_nor_any_that_is_known_is_another_objective(astray, error, task, named):
    found = replace(NOTHING, astray=astray)
    low = held_out(b.forgetting(0.4))
    assert (sureness("KD211", found, unexplained(error), low, task=task) > 0.5) is named


def test_a_formula_of_its_authors_own_that_left_the_student_well_is_no_fault():
    found = replace(NOTHING, astray=FAR)

    def sure(*outcome):
        return sureness("KD211", found, unexplained(), *outcome)

    assert sure(held_out(b.forgetting(0.4))) > 0.5
    assert sure(held_out(b.unchanged)) < 0.1
    # Better than the labels alone, however far from its teacher; and an outcome that nobody knows.
    assert sure(held_out(b.forgetting(0.4), b.forgetting(0.6, 6))) < 0.1
    assert sure() < 0.1


@pytest.mark.parametrize(
    ("teacher", "inverted", "imbalanced"),
    [(3, True, False), (27, False, False), (14, False, True)],
    ids=["the other's chance", "as declared", "neither"],
)
def test_a_term_that_is_drawn_at_each_step_has_its_share_for_a_weight(teacher, inverted, imbalanced):
    alone = np.random.default_rng(0).permutation(30) < teacher
    drawn = LossSchedule("mixing weight", np.arange(30), np.where(alone, LARGEST, 0.0))
    assert (sureness("KD207", _forensics(), drawn) > 0.9) is inverted
    assert (sureness("KD208", _forensics(), drawn) > 0.9) is imbalanced


def test_phases_of_one_term_each_are_no_draws():
    phases = LossSchedule("mixing weight", np.arange(30), np.where(np.arange(30) < 20, 0.0, LARGEST))
    assert drawn_terms(phases) is None
    assert drawn_terms(replace(phases, strength=np.linspace(0, 2, 30))) is None
    assert drawn_terms(replace(phases, what="weight")) is None


@pytest.mark.parametrize(("grown", "named"), [(1.0, True), (1e6, False)])
def test_a_loss_that_had_exploded_before_it_broke_diverged(grown, named):
    course = LearningCurve(None, None, None, 100, 50, 0.5, grown, 4.0, None, 1.0)
    assert (sureness("KD213", BROKEN, course) > 0.5) is named


@pytest.mark.parametrize(
    ("share", "alone", "named"),
    [(0.999, None, True), (0.5, None, False), (0.999, 0.5, False), (0.999, 0.1, True)],
    ids=["drowns", "half", "gained by far", "gained nothing"],
)
def test_a_feature_term_that_outweighs_all_else_drowns_it(tmp_path, share, alone, named):
    """alone: right answers that the labels-only twin lost, of which the student lost a tenth."""
    twin = {} if alone is None else {"baseline": b.forgetting(alone)}
    measured = measure(load(recorded_run(tmp_path / "run", student=b.forgetting(0.1), **twin)))
    loss = measured[LossForensics]
    assert isinstance(loss, LossForensics)
    # The other two are as declared, which says nothing of a third.
    assert loss.declared_holds
    assert (sureness("KD208", replace(loss, feature_share=share), measured[Gaps]) > 0.5) is named


def test_a_loss_that_is_never_finite_may_have_a_wrong_formula():
    always = replace(BROKEN, broken=BROKEN.steps)
    assert strongest(all_rules()["KD213"]({LossNumerics: BROKEN})) is Grade.PROOF
    found = all_rules()["KD213"]({LossNumerics: always})
    assert strongest(found) is Grade.INTERVENTIONAL
    assert "never finite" in found.summary


@pytest.mark.parametrize(("near", "sick"), [(0.01, True), (0.2, False), (None, False)])
def test_shares_that_are_mostly_at_an_end_make_the_divergence_vanish(near, sick):
    found = replace(NOTHING, nearly_an_end=near)
    assert (sureness("KD210", found, _forensics(), loss="jsd") > 0.8) == sick


@pytest.mark.parametrize(
    ("last", "sick"), [(0.8, False), (0.9, False), (0.05, True)], ids=["more labels", "as declared", "labels alone"]
)
def test_a_mixture_that_begins_with_the_teacher_alone_has_the_balance_of_all_its_steps(last, sick):
    teacher = np.linspace(1.0, last, 24) if not sick else np.linspace(1.0, last, 24) ** 8
    with np.errstate(divide="ignore"):
        strength = np.clip(teacher / (1 - teacher) * (1 - 0.9) / 0.9, 0, LARGEST)
    moves = LossSchedule("mixing weight", np.arange(24), strength)
    assert moves.mean > 1e3
    assert (sureness("KD208", _forensics(), moves) > 0.9) is sick


def test_weights_of_the_labels_count_by_their_mean():
    fades = LossSchedule("weight of the labels", np.arange(12), 1 / np.linspace(1.0, 0.01, 12))
    assert sureness("KD208", _forensics(), fades) < 0.1


def test_a_factor_for_each_step_is_what_a_moving_share_leaves():
    falls = LossSchedule("factor inside the term", np.arange(12), 0.5 ** np.arange(12))
    assert sureness("KD208", _forensics(), falls, loss="jsd") < 0.1
    assert sureness("KD208", _forensics(), falls) > 0.9


def test_small_squares_of_soft_probabilities_are_no_zero():
    found = replace(NOTHING, zero="rounding", largest=3e-4, divergence=0.3)
    assert sureness("KD209", found, _forensics(), loss="custom") < 0.1
    assert sureness("KD209", found, _forensics()) > 0.9


def test_labels_that_are_the_teachers_choices_may_have_been_meant_as_those():
    labels = Mistake("KD209", "labels", "the student's cross-entropy with the labels", 1e-8, 1.0, 1.0)
    found = replace(NOTHING, found=(labels,), labels_are_tops=True)
    assert 0.9 > sureness("KD209", found, _forensics()) > 0.5
    assert sureness("KD211", found, _forensics()) > 0.5
    assert sureness("KD211", replace(found, labels_are_tops=False), _forensics()) < 0.1


def test_a_loss_that_breaks_at_ordinary_logits_is_a_fault_of_its_own():
    assert sureness("KD213", BROKEN) > 0.9


def test_a_hard_label_term_that_breaks_at_ordinary_logits_is_the_same_fault():
    assert sureness("KD213", replace(BROKEN, first=BrokenStep(7, True, 12.0, 0.8, 1.0, False))) > 0.6


@pytest.mark.parametrize(
    "found",
    [
        CALM,
        replace(BROKEN, first=BrokenStep(7, False, float("inf"), 0.8, 1.0, False)),
        replace(BROKEN, first=BrokenStep(7, False, float("inf"), float("nan"), 1.0, True)),
        replace(BROKEN, first=BrokenStep(7, True, 1e9, 1e18, 1e6, True)),
        replace(BROKEN, broken_without_rows=10),
        replace(BROKEN, first=None, gradient_broke=(7, 1e6, 1.0)),
        replace(CALM, noise=0.01, relative_noise=0.4, mixed=0.4),
    ],
    ids=[
        "calm",
        "before the labels' term",
        "logits broke first",
        "it exploded",
        "nothing counts",
        "gradients of a large loss",
        "another formula",
    ],
)
def test_divergence_and_other_losses_are_no_numerics(found):
    assert sureness("KD213", found) < 0.1


def test_noise_of_half_precision_is_a_fault_where_it_is_large():
    noisy = replace(CALM, noise=2**-9, relative_noise=0.4, mixed=0.4, halves=True)
    assert sureness("KD213", noisy) > 0.9
    assert sureness("KD213", replace(noisy, relative_noise=0.03)) < 0.1


def test_what_follows_from_a_broken_loss_is_no_proof_of_divergence():
    rule = all_rules()["KD505"]
    dead, manifest = OutputHealth(100, 1.0, 0.0), manifest_from({"task": "multiclass", "num_classes": 3})
    measured = {type(m): m for m in (dead, manifest)}
    assert weigh(rule, rule(measured)).grade > weigh(rule, rule(measured | {LossNumerics: BROKEN})).grade


def zero(task: str, kind: str, divergence: float = 0.3, student: int = 4) -> tuple[float, float]:
    seen = observations_from({"graph": {"kd_loss": {"student": student, "in_total": True}}})
    found = replace(NOTHING, zero=kind, largest=0.0 if kind == "exact" else 1e-8, divergence=divergence)
    loss = _forensics()
    return tuple(sureness(code, found, seen, loss, task=task) for code in ("KD214", "KD209"))


def _forensics(kd=losses.unlike_any, mix=(0.1, 0.9)):
    return fed(recorded(kd, mix)).compute()


def test_an_exact_zero_is_a_softmax_over_one_number_and_a_rounded_one_compares_equals():
    mismatch, source = zero("ranking", "exact")
    assert (mismatch > 0.9, source < 0.1) == (True, True)
    mismatch, source = zero("ranking", "rounding")
    assert (mismatch < 0.1, source > 0.9) == (True, True)


def test_a_term_of_the_student_that_is_exactly_zero_had_no_row_that_counts():
    seen = observations_from({"graph": {"kd_loss": {"student": 4, "in_total": True}}})
    found = replace(NOTHING, zero="exact", largest=0.0, divergence=0.3)
    forensics = _forensics()

    def sure(code, mistakes, loss="kl"):
        return sureness(code, mistakes, seen, forensics, loss=loss)

    assert (sure("KD110", found) > 0.9, sure("KD209", found) < 0.1) == (True, True)
    # Equals leave a rounding error in sums of logarithms, and none in squares of differences.
    rounded = replace(found, zero="rounding", largest=1e-8)
    assert (sure("KD110", rounded) < 0.1, sure("KD209", rounded) > 0.9) == (True, True)
    assert (sure("KD110", found, loss="mse") < 0.1, sure("KD209", found, loss="mse") > 0.9) == (True, True)


def test_a_term_of_no_rows_is_missing_and_compares_nothing():
    seen = observations_from({"graph": {"kd_loss": {"student": 4, "in_total": True}}})
    found = replace(NOTHING, zero="exact", largest=0.0, divergence=0.3)
    loss = _forensics(losses.of_no_rows)
    for still, code in ((True, "KD110"), (False, "KD209")):
        measured = (replace(found, still=still), seen, loss)
        sure = {code: sureness(code, *measured) for code in ("KD110", "KD209")}
        assert max(sure, key=sure.get) == code


@pytest.mark.parametrize(
    ("task", "labels_weight", "code"),
    [
        # Of alpha 0.9 the labels have what was declared for them, so that the term is there, and zero.
        ("multiclass", 0.1, "KD209"),
        ("ranking", 0.1, "KD214"),
        # The labels have the total to themselves: no term was ever added.
        ("multiclass", 1.0, "KD110"),
    ],
)
@pytest.mark.parametrize("still", [True, None])
def test_where_nobody_saw_the_graph_the_labels_weight_tells_whether_a_zero_was_added(task, labels_weight, code, still):
    loss = _forensics(losses.of_no_rows)
    loss = replace(loss, mix=Mix(MixFit({"ce": labels_weight}, np.full(12, 1e-8))))
    found = replace(NOTHING, zero="exact", largest=0.0, divergence=0.3, still=still)
    rules = ("KD110", "KD209", "KD214") if task == "ranking" else ("KD110", "KD209")
    sure = {name: sureness(name, found, loss, task=task) for name in rules}
    assert (max(sure, key=sure.get), sure[code] > 0.7) == (code, True)


@pytest.mark.parametrize(
    ("mix", "code"),
    [((0.1, 0.9 / 16), "KD202"), ((0.1, 0.9 * 16), "KD202"), ((0.1, 0.9 / 10), "KD201"), ((0.1, 0.9 / 7), "KD208")],
    ids=["without T²", "T² twice", "over classes", "by another number"],
)
def test_a_term_that_is_logged_as_declared_may_be_added_up_without_its_factor(mix, code):
    loss = _forensics(losses.kl(), mix)
    sure = {name: sureness(name, loss, temperature=4.0) for name in ("KD201", "KD202", "KD208", "KD211")}
    assert (max(sure, key=sure.get), sure[code] > 0.9, sorted(sure.values())[-2] < 0.1) == (code, True, True)


def test_a_weight_of_next_to_nothing_is_a_weight():
    loss = _forensics(losses.kl(), (0.1, 2e-6))
    assert loss.mix is not None
    assert loss.mix.kd_weight == pytest.approx(2e-6, rel=0.1)
    assert (sureness("KD208", loss, temperature=4.0) > 0.9, sureness("KD110", loss, temperature=4.0) < 0.1) == (
        True,
        True,
    )
    none = _forensics(losses.kl(), (0.1, 0.0))
    assert sureness("KD110", none, temperature=4.0) > 0.9


def test_a_sixteenth_of_the_declared_balance_is_no_missing_factor_where_the_labels_weight_is_another():
    assert sureness("KD202", _forensics(losses.kl(), (1.0, 9.0 / 16)), temperature=4.0) < 0.1


@pytest.mark.parametrize(("last", "named"), [(1 / 16, "KD202"), (1 / 18, "KD208")])
def test_a_factor_that_falls_from_t_squared_to_one_is_that_of_a_temperature_which_moves_alone(last, named):
    falls = LossSchedule("factor inside the term", np.arange(12), np.maximum(0.4 ** np.arange(12), last))
    sure = {code: sureness(code, _forensics(), falls, temperature=4.0) for code in ("KD202", "KD208")}
    assert max(sure, key=lambda code: sure[code]) == named
    assert sure[named] > 0.9
    assert min(sure.values()) < 0.1


def test_weights_that_jump_are_read_from_the_gradients():
    loss = replace(_forensics(losses.kl()), mix=None)
    assert sureness("KD208", loss, TermGradients(12, 0.001, 0.1, 1e-7, True)) > 0.9
    assert sureness("KD208", loss, TermGradients(12, 0.6, 0.1, 1e-7, True)) < 0.1
    assert sureness("KD208", loss, TermGradients(12, 1.0, 1.0, 1e-7, True)) < 0.1


def test_a_weight_that_moves_to_nothing_is_no_detached_branch():
    step = np.arange(12)
    gone = LossSchedule("weight", step, 0.5**step)
    silent = TermGradients(12, 1e-9, 0.1, 1e-7, True)
    assert sureness("KD111", silent, _forensics()) > 0.9
    assert sureness("KD111", silent, _forensics(), gone) < 0.1


def test_models_that_agree_may_have_a_zero():
    assert max(zero("ranking", "exact", divergence=1e-5)) < 0.1


def test_a_teacher_moved_by_a_position_is_told_from_one_that_is_not():
    moved = replace(IN_PLACE, moved={1: 0.4}, still=0.6)
    assert sureness("KD803", moved, task="tokens") > 0.9
    assert sureness("KD803", replace(IN_PLACE, still=0.4, within=0.5), task="tokens") > 0.9
    assert sureness("KD803", IN_PLACE, task="tokens") < 0.1


def test_labels_that_the_loss_shifts_once_are_right_where_the_teacher_says_so():
    shifted = {0: 0.5, 1: 1e-6}
    unshifted = {0: 0.05, 1: 0.4}
    assert sureness("KD803", replace(IN_PLACE, hard_errors=shifted), task="tokens") > 0.9
    assert sureness("KD803", replace(IN_PLACE, hard_errors=shifted, accuracy=unshifted), task="tokens") < 0.1


def test_a_shift_that_gives_the_teacher_little_back_is_not_what_is_wrong(tmp_path):
    shifted = replace(IN_PLACE, hard_errors={0: 1e-6, 1: 0.5}, accuracy={0: 0.08, 1: 0.2})
    gaps = measure(load(b.recorded_run(tmp_path / "run")))[Gaps]
    assert isinstance(gaps, Gaps)
    for usual, found in ((0.25, True), (0.42, False)):
        known = replace(gaps, gaps=replace(gaps.gaps, teacher_accuracy=usual))
        assert (sureness("KD803", shifted, known, task="tokens") > 0.5) is found


def test_tokens_that_do_not_exist_count_only_with_mass():
    tail = VocabularyTail(8, "teacher", "exactly 0", 0.02)
    assert sureness("KD804", tail, NOTHING, task="tokens") > 0.9
    assert sureness("KD804", replace(tail, mass=1e-6), NOTHING, task="tokens") < 0.1


def test_steps_on_which_nothing_counts_break_a_mean():
    empty = replace(BROKEN, broken_without_rows=10)
    assert sureness("KD801", empty, _forensics(), task="tokens") > 0.9
    assert sureness("KD801", CALM, _forensics(), task="tokens") < 0.1


def test_a_mask_that_takes_too_much_is_named():
    found = replace(NOTHING, found=(Mistake("KD801", "from position", "the mean from 3 on", 1e-6, 4.0, 2.0, 3.0),))
    assert sureness("KD801", found, _forensics(), task="tokens") > 0.9
