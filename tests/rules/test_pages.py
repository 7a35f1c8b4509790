"""Every code has a page, a name of its own and a file of its own, and judges without touching arrays or files."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from kddoctor.rules.record import RECORD
from kddoctor.rules.registry import Rule, all_rules

CATALOGUE = {
    "KD101": "teacher-weights-not-loaded",
    "KD102": "weak-or-off-task-teacher",
    "KD103": "teacher-in-train-mode",
    "KD104": "teacher-not-frozen",
    "KD105": "label-order-mismatch",
    "KD106": "teacher-rows-misaligned",
    "KD107": "teacher-view-mismatch",
    "KD108": "teacher-preprocessing-mismatch",
    "KD109": "teacher-equals-student",
    "KD110": "kd-term-disconnected",
    "KD111": "student-branch-detached",
    "KD112": "projector-not-trained",
    "KD113": "wrong-tensor-distilled",
    "KD114": "unfair-or-missing-baseline",
    "KD201": "kl-mean-reduction",
    "KD202": "missing-t-squared",
    "KD203": "kl-input-not-log",
    "KD204": "kl-direction-swapped",
    "KD205": "probs-as-logits",
    "KD206": "softmax-wrong-axis",
    "KD207": "alpha-inverted",
    "KD208": "loss-weight-imbalance",
    "KD209": "kd-target-wrong-source",
    "KD210": "jsd-beta-vanishing",
    "KD211": "objective-config-drift",
    "KD212": "gradient-scale-by-parallelism",
    "KD213": "loss-numerics-unstable",
    "KD214": "loss-task-mismatch",
    "KD301": "soft-targets-collapsed",
    "KD302": "temperature-too-high",
    "KD303": "label-smoothed-teacher",
    "KD304": "noisy-teacher-labels",
    "KD305": "logit-scale-mismatch",
    "KD306": "topk-truncation-bias",
    "KD307": "undistillable-teacher",
    "KD308": "ensemble-averaging-wrong",
    "KD401": "capacity-gap",
    "KD402": "student-capacity-floor",
    "KD403": "feature-architecture-mismatch",
    "KD404": "layer-mapping-wrong",
    "KD405": "representation-bottleneck",
    "KD501": "lr-or-batch-mismatch",
    "KD502": "undertrained-distillation",
    "KD503": "poor-student-init",
    "KD504": "student-over-regularised",
    "KD505": "training-diverged",
    "KD506": "student-partly-frozen",
    "KD507": "kd-not-annealed",
    "KD601": "train-test-leakage",
    "KD602": "transfer-set-too-small",
    "KD603": "transfer-set-shift",
    "KD604": "class-level-regression",
    "KD605": "label-noise",
    "KD606": "classes-missing-from-transfer-set",
    "KD701": "wrong-checkpoint-evaluated",
    "KD702": "eval-pipeline-drift",
    "KD703": "post-distill-quantisation-drop",
    "KD704": "target-missed",
    "KD705": "decision-threshold-shift",
    "KD801": "loss-mask-wrong",
    "KD802": "eos-lost",
    "KD803": "causal-shift-misaligned",
    "KD804": "vocab-padding-mismatch",
    "KD805": "tokenizer-or-template-mismatch",
    "KD806": "sequence-truncation",
    "KD807": "exposure-bias-off-policy",
    "KD808": "on-policy-collapse",
    "KD809": "long-cot-learnability-gap",
    "KD810": "teacher-hacking",
    "KD811": "privileged-teacher-context",
    "KD901": "popularity-bias-amplified",
    "KD902": "score-scale-mismatch",
    "KD903": "teacher-corrupts-positives",
    "KD904": "non-stationary-teacher-lag",
}
SECTIONS = (
    "What it checks",
    "Why it hurts",
    "What it looks like",
    "Told apart from",
    "Fix",
    "Treat automatically",
    "Read more",
)
#: Numbers that a rule may use without giving them a name: signs, halves, doubles, tenths, percentages.
PLAIN_NUMBERS = {0, 1, 2, 0.5, 0.1, 3, 10, 100, 1e-9}
#: Keywords whose value is a judgement made in place: the nats of one piece of evidence, and its limit.
NAMED_IN_PLACE = {"weight", "threshold"}
FAMILY_OF = {"1": "pipeline", "2": "loss", "3": "soft-targets", "4": "capacity", "5": "optimisation"}
FAMILY_OF |= {"6": "data", "7": "deployment", "8": "sequence-LM", "9": "recsys"}
#: Families whose folder has another name.
FOLDER_OF = {"sequence-LM": "sequence", "recsys": "recommenders"}

each_rule = pytest.mark.parametrize("rule", all_rules().values(), ids=list(all_rules()))


def source_of(rule: Rule) -> Path:
    return Path(inspect.getfile(rule.judge))


def test_codes_and_names_are_those_of_the_catalogue():
    named = {code: rule.name for code, rule in all_rules().items()}
    assert {code: named.get(code) for code in CATALOGUE} == CATALOGUE


def test_no_name_is_used_twice():
    names = [rule.name for rule in all_rules().values()]
    assert sorted(names) == sorted(set(names))


@each_rule
def test_a_rule_lies_in_the_file_of_its_name(rule):
    assert source_of(rule).stem == rule.name.replace("-", "_")


@each_rule
def test_a_rule_lies_in_the_folder_of_its_family(rule):
    folder = source_of(rule).parent.name.replace("_", "-")
    family = FAMILY_OF[rule.code[2]]
    assert (rule.family, folder) == (family, FOLDER_OF.get(family, family))


@each_rule
def test_a_page_has_all_sections_in_order(rule):
    headings = [line for line in rule.page.splitlines() if line in SECTIONS]
    assert headings == list(SECTIONS)


@each_rule
def test_no_section_of_a_page_is_empty(rule):
    for heading in SECTIONS:
        following = rule.page.split(f"{heading}\n", 1)[1].split("\n", 1)[0]
        assert following.startswith("    "), heading


@each_rule
def test_a_page_starts_with_one_sentence(rule):
    first = rule.page.splitlines()[0]
    assert first.endswith((".", "?")), first


@each_rule
def test_a_rule_explains_only_codes_that_exist_and_never_itself(rule):
    assert set(rule.masks) <= set(all_rules()) - {rule.code}


@each_rule
def test_what_a_rule_cannot_do_without_can_be_asked_for(rule):
    always_there = {"Manifest", "Observations", "OutputHealth"}
    assert {kind.__name__ for kind in rule.reads} <= set(RECORD) | always_there


def _imports(rule: Rule) -> set[str]:
    tree = ast.parse(source_of(rule).read_text())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@each_rule
def test_a_rule_reads_no_file_and_no_array(rule):
    forbidden = {"pathlib", "os", "io", "json", "safetensors", "torch", "kddoctor.run.arrays", "kddoctor.run.directory"}
    assert not _imports(rule) & forbidden


@each_rule
def test_thresholds_have_names(rule):
    tree = ast.parse(source_of(rule).read_text())
    nameless = []
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        excused: set[int] = set()
        for keyword in (node for node in ast.walk(function) if isinstance(node, ast.keyword)):
            if keyword.arg in NAMED_IN_PLACE:
                excused |= {id(node) for node in ast.walk(keyword.value)}
        nameless += [
            f"line {node.lineno}: {node.value}"
            for statement in function.body
            for node in ast.walk(statement)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, float)
            and node.value not in PLAIN_NUMBERS
            and id(node) not in excused
        ]
    assert not nameless
