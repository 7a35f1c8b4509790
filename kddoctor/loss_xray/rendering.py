"""The X-ray as text."""

from collections.abc import Iterator

from kddoctor.loss_xray.result import Facts, LossXray
from kddoctor.loss_xray.term import Term

WIDTH = 14


def render(xray: LossXray) -> str:
    """A verdict, one line a problem, and one line a fact."""
    verdict = "healthy" if xray.healthy else f"sick ({', '.join(xray.codes)})"
    lines = [f"X-ray of {xray.name}: {verdict}"]
    lines += [f"  {problem}" for problem in xray.problems]
    lines += [f"  {label:<{WIDTH}} {text}" for label, text in _rows(xray.facts)]
    lines += [f"  note: {note}" for note in xray.notes]
    return "\n".join(lines)


def _rows(facts: Facts) -> Iterator[tuple[str, str]]:
    sees = facts.dependence
    inputs = [name for name in ("student", "teacher", "labels") if getattr(sees, name)]
    yield "depends on", ", ".join(inputs) or "nothing"
    receivers = [n for n, yes in (("student", sees.student_gradient), ("teacher", sees.teacher_gradient)) if yes]
    yield "gradient", "reaches " + (" and ".join(receivers) or "nobody")
    yield "form", "not one of the known formulas" if facts.term is None else _form(facts.term)
    yield "reduction", facts.reduction.name
    yield "label term", _label_term(facts)
    if facts.weights is not None:
        scale = {None: "", "1": ", no temperature factor"}.get(facts.weights.scale, f", times {facts.weights.scale}")
        yield "distillation", f"weight {facts.weights.distillation:.4g}{scale}"
    elif facts.term is not None:
        yield "distillation", ", ".join(f"{value:.4g} x {name}" for name, value in facts.term.factors.items())
    if facts.symmetry is not None:
        yield "blind to", _blind(facts)
    if facts.fixed_point is not None:
        yield (
            "fixed point",
            "student = teacher" if facts.fixed_point.holds or facts.at_rest else "not at student = teacher",
        )
    yield "precision", _precision(facts)
    if facts.tokens is not None:
        yield "tokens", "ignored positions left out" if facts.tokens.left_out else "ignored positions count"


def _form(term: Term) -> str:
    if " T = " in term.text or term.student_temperature is None:
        return term.text
    share = "" if term.share is None else f", share {term.share:g}"
    if term.temperature is not None:
        return f"{term.text} at T = {term.temperature:g}{share}"
    return (
        f"{term.text} with T = {term.teacher_temperature:g} on the teacher's side"
        f" and T = {term.student_temperature:g} on the student's{share}"
    )


def _label_term(facts: Facts) -> str:
    labels = facts.labels
    if not facts.dependence.labels:
        return "none"
    if labels.coupled:
        return "the labels enter together with the teacher"
    if not labels.plain:
        return "no plain cross-entropy"
    return f"cross-entropy, weight {labels.weight:.4g}" + (", summed over rows" if labels.summed else "")


def _blind(facts: Facts) -> str:
    assert facts.symmetry is not None
    seen = [
        (facts.symmetry.row_shift, "shift of a row's logits"),
        (facts.symmetry.column_shift, "shift of a class's logits over the batch"),
        (facts.symmetry.scale, "scale of logits"),
    ]
    found = [f"{text} ({', '.join(s for s in by if by[s])})" for by, text in seen if any(by.values())]
    return "; ".join(found) or "neither shift nor scale"


def _precision(facts: Facts) -> str:
    bad = [where for where, finite in facts.numerics.finite.items() if finite is False]
    return f"not finite in {', '.join(bad)}" if bad else "finite in fp32, fp16 and bf16"
