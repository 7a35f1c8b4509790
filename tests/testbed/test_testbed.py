"""One seed of the test-bed: a slice in CI, all of it in `make test-slow`; `make testbed` runs more seeds.

The counts stand at the end of pytest's output.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kddoctor.rules.registry import all_rules
from tests.testbed.bench import Result, results, score
from tests.testbed.variants import FAULTY_VARIANTS, HEALTHY_VARIANTS, Variant

SEED = 0
VARIANTS = (*HEALTHY_VARIANTS, *FAULTY_VARIANTS)
#: Of these one is tried in CI, where the benchmark's own slice holds faults of the same codes on the same digits.
OF = 5


def test_every_fault_here_has_a_rule() -> None:
    assert {variant.code for variant in FAULTY_VARIANTS} <= set(all_rules())


def _named(number: int, variant: Variant) -> object:
    marks = () if number % OF == 0 else pytest.mark.slow
    return pytest.param(variant, id=f"{variant.code or 'healthy'}: {variant.name}", marks=marks)


@pytest.mark.parametrize("variant", [_named(number, variant) for number, variant in enumerate(VARIANTS)])
def test_the_first_cause_is_the_fault(variant: Variant, record_property: Callable[[str, object], None]) -> None:
    (found,) = results([variant], [SEED])
    kind = "fault" if variant.code else "healthy"
    record_property("testbed", [kind, found.verdict, found.right])
    assert found.right, found


def test_counts() -> None:
    fault, healthy = FAULTY_VARIANTS[0], HEALTHY_VARIANTS[0]
    code = fault.code or ""
    found = [
        Result(fault, 0, "sick", (code, "KD999"), 0.1),
        Result(fault, 1, "sick", ("KD999", code), 0.1),
        Result(fault, 2, "inconclusive", (), 0.1),
        Result(healthy, 0, "healthy", (), 0.9),
        Result(healthy, 1, "sick", (code,), 0.9),
        Result(healthy, 2, "inconclusive", (), 0.9),
    ]
    total = score(found)
    assert (total.faults, total.top1, total.silent, total.accuracy) == (3, 1, 1, 1 / 3)
    assert (total.healthy, total.false_alarms, total.unsure) == (3, 1, 1)
    assert "top-1 accuracy 1/3 = 33.3%" in str(total)
