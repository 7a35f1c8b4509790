"""Every key that a prescription may change: what it does to the loop of a treatment, and the same in anybody's loop.

Keys of ``distillation.*`` and ``training.*`` are those of kd_run.yaml. The others name what was wrong with the loop;
most of that a treatment's loop cannot have, and then it is enough that it is used.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kddoctor.treatment.loop_settings import LoopSettings

SECTIONS = ("distillation", "training")


@dataclass(frozen=True)
class Remedy:
    """One key. snippet: lines for the user's own loop, with {value} where the value stands.

    apply: from the settings of the loop and the value to the settings with it.
    """

    snippet: str
    apply: Callable[[LoopSettings, Any], LoopSettings] = lambda loop, _value: loop


def _sound_loss(loop: LoopSettings, _value: Any) -> LoopSettings:
    """The declared loss, computed here: the run's own is what was wrong."""
    return replace(loop, own_loss=False)


def _setting(name: str, convert: Callable[[Any], Any] = lambda value: value) -> Callable[..., LoopSettings]:
    return lambda loop, value: replace(loop, **{name: convert(value)})


def _with_sound_loss(name: str, convert: Callable[[Any], Any] = lambda value: value) -> Callable[..., LoopSettings]:
    return lambda loop, value: replace(loop, own_loss=False, **{name: convert(value)})


def _hints(value: Any) -> tuple[tuple[str, str], ...]:
    return tuple((str(teacher), str(student)) for teacher, student in value)


#: Multiples of the run's own rate that are tried, by what a prescription says.
PROBES: Mapping[str, tuple[float, ...]] = {
    "probe": (100.0, 10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5),
    "probe either way": (10.0, 3.0, 1.0, 0.3, 1e-1, 1e-2, 1e-3),
}


def _probed(value: Any) -> tuple[float, ...]:
    if value not in PROBES:
        raise ValueError(f"expected {' or '.join(PROBES)}")
    return PROBES[value]


def _rows(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError("expected a number of rows, 1 or more")
    return value


_KD = "kd = kddoctor.losses.kd(student_logits, teacher_logits, temperature=temperature)  # {why}"


def _kd(why: str) -> Remedy:
    return Remedy(_KD.replace("{why}", why), _sound_loss)


REMEDIES: Mapping[str, Remedy] = {
    "distillation.loss": Remedy("# kd_run.yaml and your loop: loss {value}", _sound_loss),
    "distillation.temperature": Remedy("temperature = {value}", _sound_loss),
    "distillation.temperature_squared": _kd("with its T²"),
    "distillation.alpha": Remedy("alpha = {value}\nloss = (1 - alpha) * ce + alpha * kd", _sound_loss),
    "training.epochs": Remedy("epochs = {value}"),
    "training.batch_size": Remedy("batch_size = {value}"),
    "training.learning_rate": Remedy("learning_rate = {value}"),
    "training.weight_decay": Remedy("weight_decay = {value}"),
    "loss.form": _kd("the teacher's logits on one side, the student's on the other"),
    "loss.reduction": _kd("a sum over classes, a mean over rows"),
    "loss.axis": _kd("softmax over classes, the last axis"),
    "loss.logits": _kd("raw logits of both, no softmax before"),
    "loss.student_input": _kd("log_softmax of the student"),
    "loss.precision": _kd("in float32 whatever the logits are in"),
    "loss.gradient": Remedy("loss.backward()  # of the mean over the whole batch, divided once", _sound_loss),
    "loss.weights": Remedy("loss = (1 - alpha) * ce + alpha * kd", _sound_loss),
    "loss.direction": Remedy("# direction {value}: see kddoctor.losses.kd and kddoctor.losses.reverse_kd", _sound_loss),
    "loss.beta": Remedy("kd = kddoctor.losses.jsd_kd(student_logits, teacher_logits, beta={value})", _sound_loss),
    "loss.mask": Remedy(
        "kd = kddoctor.losses.token_kd(student_logits, teacher_logits, labels)  # counts where labels != -100",
        _sound_loss,
    ),
    "loss.vocabulary": Remedy(
        "student_logits, teacher_logits = (z[..., :len(tokenizer)] for z in (student_logits, teacher_logits))",
        _sound_loss,
    ),
    "treatment.teacher_mode": Remedy("teacher.eval().requires_grad_(False)  # after every model.train(), too"),
    "treatment.pairing": Remedy(
        "with torch.no_grad():\n    teacher_logits = teacher(inputs)  # the very tensor that the student gets"
    ),
    "treatment.parameters": Remedy(
        "student.requires_grad_(True)\noptimizer = type(optimizer)(student.parameters(), lr=learning_rate)",
        _setting("every_parameter", lambda value: value == "all"),
    ),
    "treatment.feature_term": Remedy("loss = (1 - alpha) * ce + alpha * kd  # without the feature term", _sound_loss),
    "treatment.class_weights": Remedy("ce = F.cross_entropy(student_logits, labels)  # no weights", _sound_loss),
    "treatment.positive_weight": Remedy(
        "ce = F.binary_cross_entropy_with_logits(student_logits, labels)  # no weights", _sound_loss
    ),
    "treatment.column_permutation": Remedy(
        "teacher_logits = teacher_logits[:, {value}]  # of a single logit for yes and no: -teacher_logits",
        _setting("column_permutation", tuple),
    ),
    "treatment.learning_rate": Remedy(
        "# {value}: of multiples of the rate the one after whose 60 steps the loss is lowest, to zero in the end;\n"
        "# with AdamW, where it is clearly lower then",
        _setting("probed_rates", _probed),
    ),
    "treatment.clip_gradients": Remedy(
        "torch.nn.utils.clip_grad_norm_(student.parameters(), {value})", _setting("clip_gradients", float)
    ),
    "treatment.dropout": Remedy(
        "for layer in student.modules():\n    if isinstance(layer, torch.nn.Dropout):\n        layer.p = {value}",
        _setting("dropout", float),
    ),
    "treatment.alpha": Remedy(
        "alpha_now = alpha * (1 - step / steps)\nloss = (1 - alpha_now) * ce + alpha_now * kd",
        _with_sound_loss("annealed", lambda value: value == "annealed"),
    ),
    "treatment.initial_weights": Remedy(
        "for layer in student.modules():\n"
        "    if hasattr(layer, 'reset_parameters'):\n        layer.reset_parameters()\n"
        "    if isinstance(layer, torch.nn.Embedding):\n        layer.weight.data *= layer.embedding_dim**-0.5",
        _setting("reset_weights", lambda value: value == "default"),
    ),
    "treatment.divergence": Remedy(
        "kd = {value}  # one of kddoctor.losses: decoupled_kd, dist, standardised_kd", _with_sound_loss("divergence")
    ),
    "treatment.rows": Remedy(
        "weights = kddoctor.losses.correctness_weights(teacher_logits, labels)  # rows: {value}\n"
        "kd = kddoctor.losses.kd(student_logits, teacher_logits, temperature=temperature, weights=weights)",
        _with_sound_loss("rows"),
    ),
    "treatment.order": Remedy("# rows that the teacher finds easy first: {value}", _setting("order")),
    "treatment.assistant": Remedy(
        "# distil the teacher into a model of a size in between, and that one into the student: {value}",
        _setting("assistant", lambda value: value == "distilled"),
    ),
    "treatment.transfer_rows": Remedy("rows = {value}  # of the transfer set", _setting("transfer_rows", _rows)),
    "treatment.hints": Remedy(
        "hint = kddoctor.losses.Hint(student_features.shape, teacher_features.shape)  # layers {value}\n"
        "loss = loss + hint(student_features, teacher_features)",
        _with_sound_loss("hints", _hints),
    ),
}
