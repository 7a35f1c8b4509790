"""Values replaced in settings files and on command lines, and nothing else of them."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kddoctor.errors import RunError, UsageError
from kddoctor.treatment.scripts.arguments import with_argument
from kddoctor.treatment.scripts.settings import replaced, value_at

YAML = """\
# of the lab
kd: {T: 4, alpha: 0.9}   # both
losses:
  - name: kd
    weight: 1   # the first
optim:
  lr: 1e-3

  epochs: 3 # short
"""


def test_a_yaml_file_keeps_its_comments_and_layout():
    text = replaced(YAML, "c.yaml", {"kd.T": 2.5, "losses.0.weight": 0.5, "optim.epochs": 30})
    assert text == YAML.replace("T: 4", "T: 2.5").replace("weight: 1 ", "weight: 0.5 ").replace("3 # s", "30 # s")


@pytest.mark.parametrize("value", [1e-05, 1e300, "yes", "a: b # c", True, None, [1, 2], [["a", "b"]], "", -3])
def test_a_value_is_read_back_as_it_was_meant(value):
    for place in ("kd.T", "optim.epochs", "losses.0.weight"):
        assert value_at(yaml.safe_load(replaced(YAML, "c.yaml", {place: value})), place, "c.yaml") == value


@given(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(), st.booleans(), st.text()))
def test_any_value_is_read_back_from_json_and_yaml(value):
    for name, text in (("c.json", '{"a": {"b": 1}, "c": 2}'), ("c.yaml", "a:\n  b: 1\nc: 2\n")):
        again = replaced(text, name, {"a.b": value})
        assert (json.loads(again) if name == "c.json" else yaml.safe_load(again)) == {"a": {"b": value}, "c": 2}


@pytest.mark.parametrize(
    "text",
    ["base: &b {T: 4, x: 1}\nkd:\n  <<: *b\n  y: 2\n", "t: &t 4\nkd: {T: *t}\n", "kd:\n  T:\n  - 1\n  - 2\n  z: 3\n"],
)
def test_what_cannot_be_spliced_is_written_anew_and_means_the_same_otherwise(text):
    wanted = yaml.safe_load(text)
    wanted["kd"]["T"] = 9
    assert yaml.safe_load(replaced(text, "c.yaml", {"kd.T": 9})) == wanted


def test_a_json_file_keeps_its_indentation():
    text = '{\n    "kd": {\n        "T": 4\n    }\n}\n'
    assert replaced(text, "c.json", {"kd.T": 2}) == text.replace("4\n", "2\n")


@pytest.mark.parametrize(
    ("place", "says"),
    [("kd.temp", "has no kd.temp"), ("kd.t", "did you mean T?"), ("losses.4.weight", "has no"), ("alpha", "kd.alpha")],
)
def test_a_place_that_is_not_there_is_refused(place, says):
    with pytest.raises(UsageError, match=says):
        replaced(YAML, "c.yaml", {place: 1})


def test_a_file_that_is_broken_is_named():
    with pytest.raises(RunError, match=r"c\.json: is not valid JSON"):
        replaced("{", "c.json", {"a": 1})
    with pytest.raises(RunError, match=r"c\.yaml: is not valid YAML"):
        replaced("a: [", "c.yaml", {"a": 1})


@pytest.mark.parametrize(
    ("words", "place", "value", "becomes"),
    [
        ("t.py --epochs 3 -v", "--epochs", 9, "t.py --epochs 9 -v"),
        ("t.py --epochs=3 -v", "--epochs", 9, "t.py --epochs=9 -v"),
        ("t.py -v", "--epochs", 9, "t.py -v --epochs 9"),
        ("t.py --lr-decay 1", "--lr", 1e-05, "t.py --lr-decay 1 --lr 1e-05"),
        ("t.py trainer.epochs=3 x", "trainer.epochs=", 9, "t.py trainer.epochs=9 x"),
        ("t.py x", "trainer.epochs=", 9, "t.py x trainer.epochs=9"),
        ("t.py x", "--t2", True, "t.py x --t2"),
        ("t.py --t2 x", "--t2", True, "t.py x --t2"),
        ("t.py --t2 x", "--t2", False, "t.py x"),
        ("t.py --t2 False x", "--t2", True, "t.py --t2 true x"),
        ("t.py --t2=0 x", "--t2", True, "t.py --t2=true x"),
        ("t.py", "--loss", "kl", "t.py --loss kl"),
        ("t.py", "--columns", [1, 0], "t.py --columns [1,\xa00]"),
    ],
)
def test_an_argument_is_replaced_where_it_stands_or_added(words, place, value, becomes):
    expected = tuple(word.replace("\xa0", " ") for word in becomes.split(" "))
    assert with_argument(words.split(), place, value) == expected
