"""What a session does for each setting of its loop, on the blobs of ``recorded.py``."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from kddoctor.errors import UsageError
from kddoctor.run import load
from kddoctor.treatment.best import Best
from kddoctor.treatment.code_loading import loaded_code
from kddoctor.treatment.first_weights import reset_weights
from kddoctor.treatment.loop_settings import LoopSettings
from kddoctor.treatment.order import START, easiest_first
from kddoctor.treatment.own_order import fitted_to_teacher
from kddoctor.treatment.schedule import constant, schedule_of
from kddoctor.treatment.scoring import Score
from kddoctor.treatment.session import begin, planned_loss, planned_teacher
from kddoctor.treatment.treat import plan_treatment
from tests.treatment.recorded import sick_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return load(sick_run(tmp_path_factory.mktemp("session") / "run"))


@pytest.fixture(scope="module")
def code(run):
    with loaded_code(run) as found:
        yield found


@pytest.fixture
def session(run, code):
    """A function from settings of the loop to a session with them."""
    plan = plan_treatment(run)
    schedule = schedule_of(plan.manifest.training)
    opened = []

    def make(_code=code, **settings):
        made = replace(plan, loop=LoopSettings(own_loss=False, **settings))
        teacher = planned_teacher(code.teacher, made)
        started = begin(made, _code, schedule, constant, teacher.__enter__())
        opened.append((started, teacher))
        return started

    yield make
    for started, teacher in opened:
        started.close()
        teacher.__exit__(None, None, None)


def trained(session, epochs=2):
    for epoch in range(epochs):
        session.train_epoch(epoch)
    return torch.cat([p.detach().flatten() for p in session.student.parameters()])


@pytest.mark.parametrize(
    "settings",
    [
        {"divergence": "decoupled"},
        {"divergence": "correlation"},
        {"divergence": "standardised"},
        {"rows": "teacher right"},
        {"rows": "teacher sure"},
        {"order": "easy first"},
        {"annealed": True},
        {"dropout": 0.0},
        {"reset_weights": True},
        {"clip_gradients": 0.1},
        {"hints": (("1", "2"),)},
    ],
)
def test_every_setting_trains_another_student_that_is_no_nonsense(session, settings):
    plain, other = session(), session(**settings)
    assert not torch.equal(trained(plain), trained(other))
    assert other.score().value > 0.4  # chance is 0.25


def test_a_permutation_of_the_teacher_is_undone_when_the_plan_is_over(run, code, session):
    inputs = torch.randn(3, 2)
    before = code.teacher.eval()(inputs)
    plan = replace(plan_treatment(run), loop=LoopSettings(column_permutation=(3, 2, 1, 0)))
    with planned_teacher(code.teacher, plan) as teacher:
        assert torch.equal(teacher(inputs), before[:, [3, 2, 1, 0]])
    assert torch.equal(code.teacher(inputs), before)


def test_of_a_single_logit_the_order_is_the_sign(run, code):
    made = plan_treatment(run)
    manifest = made.manifest.model_copy(update={"task": "binary"})
    plan = replace(made, manifest=manifest, loop=LoopSettings(column_permutation=(1, 0)))
    teacher = nn.Linear(2, 1)
    inputs = torch.randn(3, 2)
    before = teacher(inputs)
    with planned_teacher(teacher, plan):
        assert torch.equal(teacher(inputs), -before)


def test_the_teacher_is_asked_about_held_out_rows_once(session):
    made = session()
    asked = []
    hook = made.teacher.register_forward_pre_hook(lambda _module, inputs: asked.append(len(inputs[0])))
    scores = [made.score() for _ in range(3)]
    hook.remove()
    assert sum(asked) == 200
    assert len(set(scores)) == 1


class TestOrderOfTheLoadedTeacher:
    """Whether a permutation that the record showed is the teacher's own or that of a wrapper in the loop."""

    ORDER = (3, 2, 1, 0)

    def plan(self, run):
        return replace(plan_treatment(run), loop=LoopSettings(column_permutation=self.ORDER))

    def test_a_sound_teacher_is_left_as_it_is(self, run, code):
        assert fitted_to_teacher(self.plan(run), code).loop.column_permutation == ()

    def test_a_teacher_in_another_order_is_put_in_order(self, run, code):
        turned = nn.Sequential(code.teacher, _Turned())
        found = fitted_to_teacher(self.plan(run), replace(code, teacher=turned))
        assert found.loop.column_permutation == self.ORDER


class _Turned(nn.Module):
    def forward(self, logits):
        return logits.flip(-1)


def test_an_annealed_weight_falls_to_nothing(run):
    plan = replace(plan_treatment(run), loop=LoopSettings(own_loss=False, annealed=True))
    s, t, y = torch.randn(5, 4), torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    first, last = (planned_loss(plan, s, t, y, done=done) for done in (0.0, 1.0))
    assert float(last.total) == pytest.approx(float(last.ce))
    assert float(first.total) != pytest.approx(float(first.ce))


def test_what_the_students_own_code_froze_is_trained_where_the_plan_says_so(session, code):
    make = code.make_student
    frozen = replace(code, make_student=lambda: make().requires_grad_(False))
    student = session(every_parameter=True, _code=frozen).student
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_weights_that_a_layer_holds_as_buffers_are_trained_where_the_plan_says_so(session, code):
    def make():
        student = code.make_student()
        weight = student[0].weight.detach()
        del student[0].weight
        student[0].register_buffer("weight", weight)
        return student

    student = session(every_parameter=True, _code=replace(code, make_student=make)).student
    names = {name for name, _ in student.named_parameters()}
    assert names == {name for name, _ in code.make_student().named_parameters()}
    assert {name for name, _ in student.named_buffers()} == {name for name, _ in code.make_student().named_buffers()}


def test_first_weights_are_those_of_the_framework_and_embeddings_are_of_length_one():
    student = nn.ModuleList([nn.Linear(4, 4), nn.Embedding(500, 16, padding_idx=0)])
    for parameter in student.parameters():
        nn.init.constant_(parameter, 7.0)
    reset_weights(student)
    vectors = student[1].weight.detach()
    assert float(vectors[1:].norm(dim=1).square().mean()) == pytest.approx(1.0, rel=0.1)
    assert not vectors[0].any()
    assert float(student[0].weight.detach().abs().max()) <= 0.5


def test_so_many_rows_are_drawn_the_same_ones_every_time(session):
    rows = [batch[0] for _ in range(2) for batch in [next(session(transfer_rows=8).batches(0))]]
    assert len(rows[0]) == 8
    assert torch.equal(rows[0].sort(0).values, rows[1].sort(0).values)


def test_dropout_is_set_in_every_layer(session):
    layers = [layer for layer in session(dropout=0.0).student.modules() if isinstance(layer, nn.Dropout)]
    assert [layer.p for layer in layers] == [0.0]


def test_hints_train_their_projectors_and_leave_no_hook(session, code):
    made = session(hints=(("1", "2"),))
    before = [p.clone() for p in made.hinting.parameters()]
    made.train_epoch(0)
    assert all(not torch.equal(a, b) for a, b in zip(before, made.hinting.parameters(), strict=True))
    made.close()
    assert not code.teacher[1]._forward_hooks


def test_a_hint_from_a_layer_that_is_not_there_is_refused(session):
    with pytest.raises(UsageError, match="has no layer"):
        session(hints=(("nowhere", "2"),))


def test_the_easiest_rows_come_first_and_all_take_part_in_the_end(session):
    made = session(order="easy first")
    assert sorted(made.easy) == list(range(161))
    early, late = ([tuple(row.tolist()) for inputs, _ in made.batches(e) for row in inputs] for e in (0, 5))
    assert len(set(early)) == round(START * 161)
    assert len(set(late)) == 160  # a last batch of one row is left out
    assert len(early) == len(late)


def test_easy_is_what_the_teacher_has_right():
    logits = torch.tensor([[0.0, 9.0], [9.0, 0.0], [1.0, 0.0]])
    labels = torch.tensor([0, 0, 0])

    class Manifest:
        task = "multiclass"

    rows = easiest_first(Manifest(), lambda: iter([(logits, labels)]), lambda inputs: inputs)
    assert rows == [1, 2, 0]


def score(value, rows=400):
    return Score("accuracy", value, value, value, rows)


class TestBest:
    def test_the_last_epoch_is_kept_where_an_earlier_one_was_better_by_chance(self):
        student = nn.Linear(1, 1)
        best = Best(student, 10)
        best.offer(score(0.80))
        nn.init.constant_(student.weight, 5.0)
        best.offer(score(0.79))
        assert best.settle() == score(0.79)
        assert student.weight.item() == 5.0

    def test_a_student_that_fell_is_put_back(self):
        student = nn.Linear(1, 1)
        nn.init.constant_(student.weight, 1.0)
        best = Best(student, 10)
        best.offer(score(0.9))
        nn.init.constant_(student.weight, 5.0)
        best.offer(score(0.5))
        assert best.settle() == score(0.9)
        assert student.weight.item() == 1.0

    def test_training_stops_when_the_fall_has_lasted(self):
        best = Best(nn.Linear(1, 1), 10)
        best.offer(score(0.9))
        stopped = []
        for _ in range(6):
            best.offer(score(0.5))
            stopped.append(best.hopeless)
        assert stopped == [False, False, False, False, True, True]

    def test_a_flat_curve_does_not_stop_it(self):
        best = Best(nn.Linear(1, 1), 10)
        for _ in range(50):
            best.offer(score(0.9))
        assert not best.hopeless

    def test_is_taken_up_where_it_was_put_away(self):
        student = nn.Linear(1, 1)
        best = Best(student, 10)
        best.offer(score(0.9))
        nn.init.constant_(student.weight, 5.0)
        best.offer(score(0.5))
        again = Best(nn.Linear(1, 1), 10)
        again.load_state_dict(best.state_dict())
        assert (again.best, again.last, again.since) == (best.best, best.last, best.since)
        assert again.settle() == score(0.9)
