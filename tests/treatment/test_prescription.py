"""Prescriptions: which causes are treated, what a file may say, and that every remedy of a rule is known and works."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import kddoctor.losses
import kddoctor.rules
from kddoctor.engine.diagnosis import Diagnosis, FindingReport, GapReport, PrescriptionReport
from kddoctor.errors import UsageError
from kddoctor.run.manifest import Manifest
from kddoctor.treatment.loop_settings import LoopSettings
from kddoctor.treatment.plan import make_plan
from kddoctor.treatment.prescription import prescribe, read_prescription
from kddoctor.treatment.remedies import REMEDIES, SECTIONS

MANIFEST = Manifest.model_validate(
    {
        "task": "multiclass",
        "num_classes": 3,
        "distillation": {"loss": "kl", "temperature": 1.0, "alpha": 0.9, "temperature_squared": False},
        "training": {"epochs": 5},
    }
)


def cause(code, status="confirmed", *, automatic=True, safety="safe", **changes) -> FindingReport:
    given = {key.replace("__", "."): value for key, value in changes.items()}
    return FindingReport(
        code=code,
        name=code.lower(),
        family="loss",
        role="cause",
        severity="error",
        confidence=0.9,
        status=status,
        title="",
        summary=f"{code} happened",
        evidence=(),
        against=(),
        where=None,
        worth=None,
        explained_by=None,
        prescription=PrescriptionReport(summary=f"mend {code}", changes=given, automatic=automatic, safety=safety),
    )


def diagnosis(*causes) -> Diagnosis:
    gap = GapReport(
        teacher=0.9,
        student=0.5,
        metric="accuracy",
        retention=0.6,
        agreement=0.5,
        baseline=None,
        standard_error=0.01,
        split="val",
        rows=100,
    )
    return Diagnosis(
        run="mobile-kd",
        verdict="sick" if causes else "healthy",
        summary="",
        gap=gap,
        findings=tuple(causes),
        reassuring=(),
        ruled_out=(),
        undecided=(),
        not_examined=(),
        differential={},
        unexplained=(),
        advice=(),
        warnings=(),
    )


T_SQUARED = cause("KD202", distillation__temperature_squared=True)
SOFTER = cause("KD301", "probable", safety="careful", distillation__temperature=4.0)
LONGER = cause("KD501", "suspected", safety="careful", training__epochs=15)
BY_HAND = cause("KD107", "confirmed", automatic=False, safety="manual")


def test_all_causes_that_were_shown_are_treated_together():
    found = prescribe(MANIFEST, diagnosis(T_SQUARED, SOFTER))
    assert found.codes == ("KD202", "KD301")
    plan = make_plan(MANIFEST, found)
    assert (plan.manifest.distillation.temperature, plan.manifest.distillation.temperature_squared) == (4.0, True)


def test_a_suspicion_does_not_ride_along_with_what_was_shown():
    found = prescribe(MANIFEST, diagnosis(T_SQUARED, LONGER))
    assert found.codes == ("KD202",)
    assert [a.finding for a in found.left_out] == ["KD501"]


def test_a_suspicion_alone_is_treated():
    assert prescribe(MANIFEST, diagnosis(LONGER)).codes == ("KD501",)


def test_whoever_names_codes_gets_all_of_them():
    found = prescribe(MANIFEST, diagnosis(T_SQUARED, LONGER), only=["KD202", "KD5"])
    assert found.codes == ("KD202", "KD501")


def test_a_mere_note_is_not_treated_unless_it_is_named():
    note = LONGER.model_copy(update={"severity": "note"})
    healthy = diagnosis(note).model_copy(update={"verdict": "healthy"})
    with pytest.raises(UsageError, match="there is nothing to treat: the run is healthy"):
        prescribe(MANIFEST, healthy)
    assert prescribe(MANIFEST, healthy, only=["KD501"]).codes == ("KD501",)


def test_of_two_causes_with_one_key_the_likelier_has_its_way():
    rival = cause("KD302", distillation__temperature=2.0)
    found = prescribe(MANIFEST, diagnosis(SOFTER, rival))
    assert {c.key: c.after for c in found.changes} == {"distillation.temperature": 4.0}
    assert found.left_out[0].finding == "KD302"


def test_what_only_a_person_can_do_is_listed():
    assert [a.what for a in prescribe(MANIFEST, diagnosis(T_SQUARED, BY_HAND)).manual] == ["mend KD107"]


@pytest.mark.parametrize(
    ("causes", "only", "says"),
    [
        ((), (), "there is nothing to treat: the run is healthy"),
        ((BY_HAND,), (), "KD107 cannot be treated automatically: mend KD107"),
        ((T_SQUARED,), ("KD5",), "nothing to treat among KD5"),
    ],
)
def test_a_run_without_a_treatable_cause_is_declined_in_one_line(causes, only, says):
    with pytest.raises(UsageError, match=says):
        prescribe(MANIFEST, diagnosis(*causes), only)


def test_the_file_says_what_changes_from_what_to_what_and_why(tmp_path):
    path = tmp_path / "prescription.yaml"
    found = prescribe(MANIFEST, diagnosis(T_SQUARED, BY_HAND))
    path.write_text(found.to_yaml())
    assert read_prescription(path) == found
    change = found.changes[0]
    assert (change.before, change.after, change.why, change.safety) == (False, True, "KD202 happened", "safe")


def test_an_edited_file_is_followed(tmp_path):
    path = tmp_path / "prescription.yaml"
    path.write_text(prescribe(MANIFEST, diagnosis(SOFTER)).to_yaml().replace("after: 4.0", "after: 3.0"))
    assert make_plan(MANIFEST, read_prescription(path)).manifest.distillation.temperature == 3.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected a prescription"),
        ("[1]", "expected a prescription"),
        ("run: x\nchanges: []\n", "changes is empty"),
        ("run: x\n", "changes"),
        ("run: x\nchanges: [{key: distillation.temprature, after: 2, finding: KD301}]", "distillation.temperature"),
        ("run: x\nchanges: [{key: training.epochs, finding: KD501, after: 3, more: 1}]", "more"),
        ("run: [", "YAML"),
    ],
)
def test_a_broken_file_is_refused_in_one_line(tmp_path, text, says):
    path = tmp_path / "prescription.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=re.escape(says)) as caught:
        read_prescription(path)
    assert "\n" not in str(caught.value)
    assert "prescription.yaml" in str(caught.value)


def test_a_file_that_is_not_there_is_refused_in_one_line(tmp_path):
    with pytest.raises(UsageError, match="no-such"):
        read_prescription(tmp_path / "no-such.yaml")


def test_a_value_that_cannot_be_is_refused(tmp_path):
    hot = cause("KD301", distillation__temperature=-1.0)
    with pytest.raises(UsageError, match=r"distillation.temperature is -1.0"):
        make_plan(MANIFEST, prescribe(MANIFEST, diagnosis(hot)))


def prescribed_keys() -> set[str]:
    """Every key that some rule's source prescribes."""
    keys = set()
    for path in Path(kddoctor.rules.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "prescribe":
                keys |= {k.arg.replace("__", ".") for k in node.keywords if k.arg and "__" in k.arg}
    return keys


def test_every_key_that_a_rule_prescribes_is_known_to_the_treatment():
    assert len(prescribed_keys()) > 20
    assert prescribed_keys() <= set(REMEDIES)


@pytest.mark.parametrize("key", sorted(k for k in REMEDIES if k.partition(".")[0] in SECTIONS))
def test_keys_of_the_manifest_are_fields_of_it(key):
    section, _, name = key.partition(".")
    assert name in type(getattr(MANIFEST, section)).model_fields


VALUES = {
    "treatment.column_permutation": [2, 0, 1],
    "treatment.learning_rate": "probe",
    "treatment.clip_gradients": 1.0,
    "treatment.dropout": 0.0,
    "treatment.alpha": "annealed",
    "treatment.initial_weights": "default",
    "treatment.divergence": "decoupled",
    "treatment.rows": "teacher right",
    "treatment.order": "easy first",
    "treatment.assistant": "distilled",
    "treatment.hints": [["features", "body"]],
    "treatment.parameters": "all",
    "treatment.transfer_rows": 100,
}
#: What the loop of a treatment never does: it needs no setting.
SOUND_ANYWAY = {
    "treatment.teacher_mode",
    "treatment.pairing",
    "training.epochs",
    "training.batch_size",
    "training.learning_rate",
    "training.weight_decay",
}


@pytest.mark.parametrize("key", sorted(set(REMEDIES) - SOUND_ANYWAY))
def test_a_remedy_changes_the_loop(key):
    assert REMEDIES[key].apply(LoopSettings(), VALUES.get(key, 1.0)) != LoopSettings()


@pytest.mark.parametrize("key", sorted(REMEDIES))
def test_the_snippet_of_a_remedy_is_python_and_names_what_there_is(key):
    snippet = REMEDIES[key].snippet.replace("{value}", repr(VALUES.get(key, 1.0)))
    ast.parse(snippet)
    for name in re.findall(r"kddoctor\.losses\.(\w+)", snippet):
        assert hasattr(kddoctor.losses, name)
