"""Does one step of the loss teach every parameter that is meant to learn, and no other?"""

from collections.abc import Iterator

from kddoctor.preflight_checks.dry_steps import DrySteps
from kddoctor.preflight_checks.result import Check
from kddoctor.preflight_checks.setting import Setting

NAME = "gradient reach"
#: Names that are written out.
NAMED = 3


def check_gradient_reach(setting: Setting, dry: DrySteps) -> Check:
    """By the graph of the loss: a gradient that is zero at first weights (a layer that starts at zero) is no fault."""
    named = dict(setting.student.named_parameters())
    optimized = {id(p) for optimizer in setting.optimizers for group in optimizer.param_groups for p in group["params"]}
    learning = [name for name, parameter in named.items() if parameter.requires_grad]
    if not learning:
        return _failed("KD506", "every parameter of the student is frozen", "let the student's parameters require grad")
    if len(dry.outside) == len(learning):
        return _failed("KD111", "no gradient of the loss reaches the student", "do not detach the student's logits")
    own = {id(parameter) for parameter in named.values()}
    teachers = [p for p in setting.teacher.parameters() if id(p) in optimized - own]
    if teachers:
        text = f"the optimizer holds {len(teachers)} parameters of the teacher"
        return _failed("KD104", text, "give the optimizer the student's parameters only, and freeze the teacher")
    missing = [n for n in learning if setting.optimizers and id(named[n]) not in optimized and n not in dry.outside]
    if missing:
        text = f"{len(missing)} of the student's {len(learning)} parameters are in no optimizer: {_listed(missing)}"
        return _failed("KD506", text, "make the optimizer after the student's last layer, from all its parameters")
    idle = [name for name in dry.outside if not setting.optimizers or id(named[name]) in optimized]
    if idle:
        text = f"the loss does not depend on {len(idle)} of the student's {len(learning)} parameters: {_listed(idle)}"
        return _failed("KD506", text, "use these layers in forward(), or freeze them to say that it is meant")
    return Check(NAME, "ok", "; ".join(_sound(setting, dry, len(learning), len(named))))


def _sound(setting: Setting, dry: DrySteps, learning: int, everything: int) -> Iterator[str]:
    where = "" if setting.optimizers else " (no optimizer was given to compare with)"
    yield f"the loss reaches all {learning} parameters of the student that learn{where}"
    if everything > learning:
        yield f"{everything - learning} are frozen"
    zero = [name for name in dry.without_gradient if name not in dry.outside]
    if zero:
        yield f"{len(zero)} start with a gradient of zero ({_listed(zero)})"
    if dry.teacher_reached:
        yield "a gradient would reach the teacher unless it is run under torch.no_grad()"


def _failed(code: str, text: str, fix: str) -> Check:
    return Check(NAME, "fail", text, (code,), fix=fix)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
