"""Experiments: what their figures mean, what they make of a diagnosis, and that they can be interrupted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from kddoctor.engine.diagnosis import diagnose
from kddoctor.errors import UsageError
from kddoctor.run import load
from kddoctor.run.observations import Updates
from kddoctor.treatment.code_loading import loaded_code
from kddoctor.treatment.experiments import (
    ablation,
    dose_response,
    easy_first,
    labels_only,
    longer,
    one_batch,
    plain_loop,
    wider,
)
from kddoctor.treatment.experiments.asking import ask
from kddoctor.treatment.experiments.choosing import EXPERIMENTS, experiments_for
from kddoctor.treatment.experiments.comparing import verdict_of
from kddoctor.treatment.experiments.experiment import SEEDS, Arm, ArmResult, Experiment, Verdict, trainings_of
from kddoctor.treatment.experiments.feedback import STATUS, best_of, with_experiments, worth_keeping
from kddoctor.treatment.experiments.running import Laboratory, carry_out
from kddoctor.treatment.prescription import Change, Prescription, is_a_guess, prescribe
from kddoctor.treatment.rate_probe import fitting_rate
from kddoctor.treatment.session import Session
from kddoctor.treatment.treat import treat
from kddoctor.treatment.trial import one_by_one, run_trial
from tests.treatment.recorded import sick_run
from tests.treatment.test_prescription import LONGER, SOFTER, T_SQUARED, diagnosis


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return load(sick_run(tmp_path_factory.mktemp("experiments") / "run"))


@pytest.fixture(scope="module")
def code(run):
    with loaded_code(run) as found:
        yield found


@pytest.fixture
def laboratory(run, code, tmp_path):
    return Laboratory(run, one_by_one(run, code), prescribe(run.manifest, diagnose(run)), 2, tmp_path)


USELESS = Arm("hardly a rate", {"training.learning_rate": 1e-9})
HELPFUL = Arm("more epochs", {"training.epochs": 12}, alone=True)
#: With the seed that chooses, from three seeds.
RACE = Experiment("race", "Q?", (), Arm("as prescribed"), lambda _run: [HELPFUL, USELESS], seeds=SEEDS, race=True)


def results(control, *arms):
    made = [
        ArmResult(name=f"arm {i}", changes={"training.epochs": i}, values=dict(enumerate(v)))
        for i, v in enumerate(arms)
    ]
    return ArmResult(name="control", changes={}, values=dict(enumerate(control))), made


def judged(run, control, *arms, experiment=longer.EXPERIMENT):
    return verdict_of(run, experiment, *results(control, *arms))


class TestLonger:
    @pytest.mark.parametrize(("updates", "times"), [(25, 40), (5000, longer.FACTOR)])
    def test_a_schedule_of_a_few_updates_is_lengthened_to_a_thousand(self, run, updates, times):
        counted = run.observations.model_copy(update={"updates": Updates(all=updates, empty=0)})
        arm = longer.of(replace(run, observations=counted))
        assert arm.changes == {"training.epochs": times * run.manifest.training.epochs}
        assert arm.name == f"{times} times the epochs"

    def test_where_nobody_counted_them_updates_are_those_that_were_logged(self, run):
        uncounted = run.observations.model_copy(update={"updates": None})
        rows = ({"step": 9, "loss": 1.0}, {"step": 49, "loss": 0.5}, {"epoch": 3})
        arm = longer.of(replace(run, observations=uncounted, metrics=rows))
        assert arm.name == "20 times the epochs"
        assert longer.of(replace(run, observations=uncounted, metrics=())).name == f"{longer.FACTOR} times the epochs"


class TestVerdict:
    def test_an_arm_that_is_better_from_every_seed_is_better(self, run):
        found = judged(run, [0.70, 0.71, 0.72], [0.80, 0.81, 0.83])
        assert (found.outcome, found.confirms) == ("better", ("KD502",))
        assert found.low > 0.05

    def test_what_learns_one_batch_best_is_no_treatment(self, run):
        found = judged(run, [0.70, 0.71, 0.72], [0.80, 0.81, 0.83], experiment=one_batch.EXPERIMENT)
        assert (found.outcome, found.changes) == ("better", {})
        assert judged(run, [0.70, 0.71, 0.72], [0.80, 0.81, 0.83]).changes

    def test_an_arm_that_is_better_by_luck_is_open(self, run):
        assert judged(run, [0.70, 0.71, 0.72], [0.69, 0.75, 0.73]).outcome == "open"

    def test_an_arm_that_changes_nothing_refutes(self, run):
        found = judged(run, [0.700, 0.710, 0.720], [0.701, 0.710, 0.719])
        assert (found.outcome, found.refutes) == ("no better", ("KD502",))

    def test_many_arms_have_to_be_better_by_more(self, run):
        control, luck = [0.70, 0.71, 0.72], [0.712, 0.719, 0.734]
        alone = judged(run, control, luck)
        among = judged(run, control, luck, *[[0.5, 0.51, 0.52]] * 9)
        assert alone.low > among.low

    def test_two_seeds_of_which_one_was_given_up_say_nothing(self, run):
        assert judged(run, [0.7, 0.7, 0.7], [0.9]).outcome == "open"

    def test_arms_that_were_all_given_up_are_no_better(self, run):
        control, _ = results([0.7, 0.71, 0.7])
        given_up = ArmResult(name="arm", changes={}, values={}, stopped=(0, 1, 2))
        assert verdict_of(run, longer.EXPERIMENT, control, [given_up]).outcome == "no better"

    def test_a_recorded_run_is_as_noisy_as_each_of_the_arms(self, run):
        arm = [0.80, 0.81, 0.82, 0.81, 0.83]
        spread = float(np.std(arm, ddof=1)) * stats.t.ppf(0.995, 4) * np.sqrt(1 + 1 / 5)
        found = judged(run, [0.70] * 5, arm, experiment=plain_loop.IN_DOUBT)
        assert (found.outcome, found.low) == ("better", pytest.approx(np.mean(arm) - 0.70 - spread, abs=1e-5))
        assert judged(run, [0.78] * 5, arm, experiment=plain_loop.IN_DOUBT).outcome == "open"
        assert judged(run, [0.78] * 5, arm).outcome == "better"  # of controls that were trained, five say more

    def test_the_seed_that_chose_the_arm_counts_no_further(self, run):
        control, ahead, behind = [0.70, 0.70, 0.71, 0.72], [0.99, 0.71, 0.70, 0.72], [0.60]
        found = judged(run, control, ahead, behind, experiment=RACE)
        assert (found.outcome, found.change) == ("open", pytest.approx(0.0, abs=1e-6))
        assert judged(run, control, [0.99, 0.80, 0.81, 0.83], behind, experiment=RACE).outcome == "better"

    def test_what_is_better_on_the_average_is_the_better_treatment_and_proves_nothing(self, run):
        uneven = [0.90, 0.50, 0.90, 0.90, 0.50, 0.90, 0.90]  # some seeds fail
        single = replace(plain_loop.EXPERIMENT, arms=lambda _run: [])
        found = judged(run, [0.50] * 7, uneven, experiment=single)
        assert (found.outcome, found.confirms, found.changes) == ("open", (), {"training.epochs": 0})
        assert "not settled" in found.answer.lower()
        assert best_of([found]) is found
        assert not judged(run, [0.50] * 7, uneven, experiment=plain_loop.IN_DOUBT).changes
        # A single recorded run may have been unlucky; what several seeds reached was not.
        slightly = [value + 0.02 for value in uneven]
        assert not judged(run, [0.79] * 7, slightly, experiment=single).changes
        assert judged(run, uneven, [0.95, 0.49, 0.9, 0.95, 0.6, 0.9, 0.9], experiment=plain_loop.BESIDE).changes

    def test_what_is_better_by_less_than_a_point_takes_no_treatments_place(self, run):
        control, ahead = [0.70, 0.700, 0.710, 0.720], [0.71, 0.702, 0.712, 0.722]
        assert judged(run, control, ahead, [0.60], experiment=RACE).outcome == "open"
        assert judged(run, control[1:], ahead[1:]).outcome == "better"

    def test_a_better_temperature_says_on_which_side_the_old_one_was(self, run):
        assert dose_response.EXPERIMENT.confirms(run, {"distillation.temperature": 8.0}) == ("KD301",)
        assert dose_response.EXPERIMENT.confirms(run, {"distillation.temperature": 1.0}) == ("KD302",)
        assert dose_response.EXPERIMENT.confirms(run, {"distillation.temperature": 3.0}) == ()


def better(code="KD501", **changes):
    given = {k.replace("__", "."): v for k, v in changes.items()}
    return Verdict(
        experiment="e",
        question="Q?",
        answer="Yes.",
        outcome="better",
        best="arm",
        change=0.1,
        low=0.05,
        high=0.15,
        confirms=(code,),
        changes=given,
    )


class TestFeedback:
    def test_a_suspicion_that_an_experiment_shares_is_confirmed(self):
        found = with_experiments(diagnosis(LONGER), [better("KD501")]).causes[0]
        assert (found.status, found.confidence) == (STATUS, 0.95)
        assert found.evidence[-1].grade == "interventional"

    def test_a_suspicion_that_an_experiment_refutes_is_ruled_out(self):
        refuted = Verdict(experiment="e", question="Q?", answer="No.", outcome="no better", refutes=("KD501",))
        found = with_experiments(diagnosis(LONGER), [refuted])
        assert (found.cause_codes, found.ruled_out, found.verdict) == ([], ("KD501",), "inconclusive")

    def test_a_proof_stands_whatever_an_experiment_says(self):
        refuted = Verdict(experiment="e", question="Q?", answer="No.", outcome="no better", refutes=("KD202",))
        assert with_experiments(diagnosis(T_SQUARED), [refuted]).cause_codes == ["KD202"]

    def test_a_cause_that_only_the_experiment_shows_is_named_after_those_that_stood(self):
        found = with_experiments(diagnosis(T_SQUARED), [better("KD502")])
        assert found.cause_codes == ["KD202", "KD502"]
        assert found.verdict == "sick"

    def test_what_a_better_arm_did_is_prescribed_with_its_experiment_as_the_reason(self):
        (change,) = worth_keeping(better(training__epochs=30))
        assert (change.key, change.after, change.finding, change.safety) == ("training.epochs", 30, "KD501", "careful")

    def test_of_several_better_arms_the_best_alone_is_kept(self):
        longer_too = better("KD502", training__epochs=30).model_copy(update={"low": 0.01})
        best = better("KD102", distillation__alpha=0.0)
        assert best_of([longer_too, best]) is best
        assert best_of([longer_too.model_copy(update={"outcome": "open", "changes": {}})]) is None


class TestChoice:
    def test_what_is_suspected_is_asked_first(self):
        assert experiments_for(diagnosis(cause_of("KD401")))[0] in (easy_first.EXPERIMENT,)

    def test_what_is_settled_is_not_asked(self):
        settled = diagnosis().model_copy(update={"ruled_out": ("KD502",)})
        assert longer.EXPERIMENT not in experiments_for(settled)

    def test_names_are_used_once(self):
        assert len({e.name for e in EXPERIMENTS}) == len(EXPERIMENTS)


TINY = {"training.learning_rate": 1e-10}


def cause_of(code):
    return LONGER.model_copy(update={"code": code})


class TestCarryingOut:
    def test_every_arm_is_trained_from_the_same_seeds(self, laboratory):
        (found,) = carry_out(laboratory, [labels_only.EXPERIMENT], 6, lambda *_: None)
        assert set(found.control.values) == set(found.arms[0].values) == set(range(SEEDS))

    def test_what_does_not_fit_into_the_budget_is_not_asked(self, laboratory):
        (found,) = carry_out(laboratory, [dose_response.EXPERIMENT], 10, lambda *_: None)
        assert found.outcome == "not asked"
        assert "10 were left" in found.answer

    def test_a_control_that_two_experiments_share_is_counted_once(self, laboratory):
        found = carry_out(laboratory, [longer.EXPERIMENT, easy_first.EXPERIMENT], 9, lambda *_: None)
        assert [v.outcome != "not asked" for v in found] == [True, True]
        assert trainings_of(found) == 9

    def test_what_the_run_has_no_model_for_says_what_to_add(self, laboratory):
        (found,) = carry_out(laboratory, [wider.EXPERIMENT], 100, lambda *_: None)
        assert "code.wider_student" in found.answer

    def test_an_interrupted_experiment_goes_on(self, laboratory, monkeypatch):
        whole = carry_out(laboratory, [labels_only.EXPERIMENT], 6, lambda *_: None)
        parts = replace(laboratory, work=laboratory.work / "parts")
        trained = []
        ran = Session.train_epoch

        def counted(session, *rest):
            trained.append(session.schedule.seed)
            if len(trained) == 6:
                raise KeyboardInterrupt
            ran(session, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(Session, "train_epoch", counted)
            with pytest.raises(KeyboardInterrupt):
                carry_out(parts, [labels_only.EXPERIMENT], 6, lambda *_: None)
            again = carry_out(parts, [labels_only.EXPERIMENT], 6, lambda *_: None)
        assert again == whole
        assert len(trained) == 13  # six students of two epochs, and the one that was begun

    def test_an_experiment_that_has_other_arms_by_now_takes_what_was_trained_for_the_old_ones(self, laboratory):
        before = replace(RACE, arms=lambda _run: [HELPFUL])
        (old,) = carry_out(laboratory, [before], 6, lambda *_: None)
        said = []
        (new,) = carry_out(laboratory, [RACE], 20, lambda *after: said.append(after))
        assert old.arms[0].values.items() <= new.arms[0].values.items()
        assert {arm.name for arm in new.arms} == {HELPFUL.name, USELESS.name}

    def test_a_rate_is_probed_once_for_all_seeds_of_an_arm(self, laboratory, run, code, monkeypatch):
        probing = Arm("another rate", {"treatment.learning_rate": "probe either way"})
        experiment = Experiment("rates", "Q?", (), Arm("as prescribed"), lambda _run: [probing])
        probes = []

        def counted(*given):
            probes.append(given)
            return fitting_rate(*given)

        monkeypatch.setattr("kddoctor.treatment.fitting.fitting_rate", counted)
        once = carry_out(laboratory, [experiment], 6, lambda *_: None)
        assert len(probes) == 1

        def each_anew(trials, finished, after_epoch=None):
            for number, trial in enumerate(trials):
                finished(number, run_trial(run, code, trial))

        apart = replace(laboratory, trials=each_anew, work=laboratory.work / "apart")
        assert carry_out(apart, [experiment], 6, lambda *_: None) == once
        assert len(probes) == 1 + SEEDS

    def test_an_arm_far_behind_is_given_up_but_never_the_control(self, laboratory):
        useless = [Arm(f"rate {i}", {"training.learning_rate": 10.0**-i}) for i in range(5, 9)]
        experiment = Experiment("rates", "Q?", (), Arm("as prescribed"), lambda _run: useless)
        (found,) = carry_out(replace(laboratory, epochs=6), [experiment], 15, lambda *_: None)
        assert set(found.control.values) == set(range(SEEDS))
        assert any(arm.stopped for arm in found.arms)

    def test_of_a_race_only_the_arm_that_is_ahead_goes_on(self, laboratory):
        slow = replace(RACE, control=Arm("as prescribed", {"training.learning_rate": 1e-9}))
        said = []
        (found,) = carry_out(laboratory, [slow], 20, lambda *after: said.append(after))
        assert [value for _, arm, value in said if arm == USELESS.name][1:] == [None]  # given up, once
        ahead, behind = found.arms
        assert set(found.control.trained) == set(ahead.trained) == set(range(SEEDS + 1))
        assert behind.trained == (0,)
        assert (found.outcome, found.best, found.alone) == ("better", "more epochs", True)

    def test_a_race_that_nobody_leads_is_over_after_the_first_seed(self, laboratory):
        lost = replace(RACE, arms=lambda _run: [USELESS, replace(USELESS, name="no rate", changes={**TINY})])
        (found,) = carry_out(laboratory, [lost], 20, lambda *_: None)
        assert (found.outcome, trainings_of([found])) == ("no better", 3)
        assert "no arm was ahead" in found.answer

    def test_a_race_has_as_many_arms_as_there_are_trials_for(self, laboratory):
        few, many = (carry_out(laboratory, [RACE], trials, lambda *_: None)[0] for trials in (6, 20))
        assert [len(few.arms), len(many.arms)] == [1, 2]
        assert few.arms[0].values.items() <= many.arms[0].values.items()  # more trials go on from these
        (found,) = carry_out(laboratory, [RACE], 5, lambda *_: None)
        assert found.answer == "Not asked: it needs 6 trials, and 5 were left."

    def test_the_arm_that_is_ahead_is_joined_with_the_next_best(self, laboratory):
        decayed = replace(USELESS, name="decay", changes={"training.weight_decay": 1e-4})
        slow = Arm("as prescribed", {"training.learning_rate": 1e-8})
        joining = replace(RACE, control=slow, arms=lambda _run: [USELESS, HELPFUL, decayed], joined=1)
        needed = 4 + 2 * SEEDS
        (found,) = carry_out(laboratory, [joining], needed + 1, lambda *_: None)
        *_, both = found.arms
        assert (both.name, both.changes) == ("more epochs, decay", {**HELPFUL.changes, **decayed.changes})
        assert found.outcome == "better"
        # Without a trial to spare the arms race as they are; with one, it goes on from there.
        alone = replace(laboratory, work=laboratory.work / "alone")
        (few,) = carry_out(alone, [joining], needed, lambda *_: None)
        assert [arm.name for arm in few.arms] == [USELESS.name, HELPFUL.name, decayed.name]
        assert carry_out(alone, [joining], needed + 1, lambda *_: None) == (found,)

    def test_arms_that_contradict_one_another_are_not_joined(self):
        rate, other = (Arm(f"rate {r}", {"training.learning_rate": r}) for r in (0.1, 0.2))
        assert rate.with_changes_of(other) is None
        assert rate.with_changes_of(Arm("as it is")) is None
        assert Arm("as it is").with_changes_of(rate) is None

    def test_an_arm_that_stands_alone_has_nothing_of_the_treatment(self, laboratory):
        beside = laboratory.plan(replace(HELPFUL, alone=False)).changes
        assert set(laboratory.plan(HELPFUL).changes) == {"training.epochs"} < set(beside)

    def test_leaving_out_the_only_useful_treatment_costs_what_it_brought(self, run):
        prescription = prescribe(run.manifest, diagnosis(T_SQUARED, SOFTER))
        assert [a.leaves_out for a in ablation.ablation(prescription).arms(run)] == ["KD202", "KD301"]
        control, arms = results([0.9, 0.8], [0.5, 0.5])
        arms = [arm.model_copy(update={"name": "without KD202"}) for arm in arms]
        found = ablation.costs(
            Verdict(experiment="x", question="", answer="", outcome="open", control=control, arms=arms)
        )
        assert found == {"KD202": {0: pytest.approx(0.4), 1: pytest.approx(0.3)}}


UNWELL = diagnosis().model_copy(update={"verdict": "inconclusive"})


class TestUnknownCause:
    """A run that is not well, of which nothing is known that a retraining could mend."""

    def test_a_plain_loop_is_the_treatment_where_it_does_better_than_the_run(self, tmp_path):
        run = load(sick_run(tmp_path / "run", columns=[1, 2, 3, 0], in_loop_only=True))
        with loaded_code(run) as code:
            asked = ask(unknown(run, code, tmp_path), UNWELL, plain_loop.SEEDS, quiet=True)
        (first, *others) = asked.verdicts
        assert (first.experiment, first.outcome, first.control.trained) == ("plain-loop", "better", ())
        assert {v.outcome for v in others} == {"not asked"}
        assert [(c.key, c.finding) for c in asked.prescription.changes] == [("loss.form", "plain-loop")]
        assert asked.trainings == plain_loop.SEEDS

    def test_where_it_does_no_better_the_fault_is_elsewhere(self, tmp_path):
        run = load(sick_run(tmp_path / "run", t_squared=True, epochs=24))
        with loaded_code(run) as code, pytest.raises(UsageError, match=r"no experiment found .* plain-loop: N"):
            ask(unknown(run, code, tmp_path), UNWELL, 7, quiet=True)

    def test_too_few_trials_are_said_to_be_too_few(self, run, code, tmp_path):
        message = "plain-loop: Not asked: it needs 7 trials, and 3 were left; --resume with more --trials"
        with pytest.raises(UsageError, match=message):
            ask(unknown(run, code, tmp_path), UNWELL, 3, quiet=True)

    @pytest.mark.slow
    def test_with_more_trials_other_loops_take_part(self, run, code, tmp_path):
        asked = ask(unknown(run, code, tmp_path, epochs=2), UNWELL, 13, quiet=True)
        assert len(asked.verdicts[0].arms) == 6
        assert asked.verdicts[0].outcome == "better"

    def test_treat_goes_all_the_way(self, tmp_path):
        run = load(sick_run(tmp_path / "run", columns=[1, 2, 3, 0], in_loop_only=True))
        with pytest.raises(UsageError, match="--trials 7 asks whether a plain loop"):
            treat(run, tmp_path / "out", diagnosis=UNWELL, quiet=True)
        result = treat(run, tmp_path / "out", diagnosis=UNWELL, trials=7, quiet=True)
        assert (result.code, result.helped) == ("plain-loop", True)


def unknown(run, code, work, epochs=None):
    nothing = Prescription(run="run", changes=())
    return Laboratory(run, one_by_one(run, code), nothing, epochs, work / "trials")


class TestGuess:
    """What is prescribed is no proof, or one dose of several."""

    def guessed(self):
        return diagnosis(LONGER.model_copy(update={"status": "suspected"}))

    def test_a_plain_loop_that_does_better_takes_its_place(self, run, code, tmp_path):
        harmful = Change(key="training.learning_rate", after=1e-9, finding="KD502", safety="careful")
        guess = Laboratory(
            run, one_by_one(run, code), Prescription(run="run", changes=(harmful,)), 4, tmp_path / "trials"
        )
        asked = ask(guess, self.guessed(), 15, quiet=True)
        assert asked.verdicts[0].question.endswith("than what is prescribed?")
        assert asked.prescription.codes == ("plain-loop",)
        assert "training.learning_rate" not in {change.key for change in asked.prescription.changes}

    def test_what_its_user_decided_stands(self, run, code, tmp_path):
        decided = Laboratory(run, one_by_one(run, code), prescribe(run.manifest, self.guessed()), 2, tmp_path)
        asked = ask(decided, self.guessed(), 13, decided=True, quiet=True)
        assert "plain-loop" not in {v.experiment for v in asked.verdicts}

    def test_what_was_shown_and_can_be_mended_in_one_way_is_no_guess(self, run):
        shown = diagnosis(T_SQUARED)
        assert not is_a_guess(prescribe(run.manifest, shown), shown)
        for doubtful in (self.guessed(), diagnosis(LONGER)):  # a suspicion, and a number of epochs
            assert is_a_guess(prescribe(run.manifest, doubtful), doubtful)


def test_a_treatment_reports_its_experiments_and_its_worth(run, tmp_path):
    result = treat(run, tmp_path / "out", epochs=2, trials=6, quiet=True)
    asked = [v for v in result.experiments if v.outcome != "not asked"]
    assert asked
    assert set(result.worth) <= set(result.codes)
    assert result.cost.trainings > 1


def test_a_healthy_run_is_declined_and_after_experiments_too(tmp_path):
    run = load(sick_run(tmp_path / "run", t_squared=True, epochs=12))
    if diagnose(run).verdict == "healthy":
        with pytest.raises(UsageError, match=r"nothing to treat.* if you doubt that, --trials 7"):
            treat(run, tmp_path / "out", quiet=True)
        with pytest.raises(UsageError, match=r"no experiment found anything .* plain-loop: N"):
            treat(run, tmp_path / "out", trials=7, quiet=True)
        with pytest.raises(UsageError, match=r"no experiment found [^;]*$"):  # there is nothing more to ask
            treat(run, tmp_path / "out", trials=20, resume=True, quiet=True)
        assert not (tmp_path / "out").exists()
    else:
        pytest.fail(f"the twin should be healthy: {diagnose(run).summary}")
