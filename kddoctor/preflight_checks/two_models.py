"""Are teacher and student two models?"""

import torch

from kddoctor.preflight_checks.result import Check
from kddoctor.preflight_checks.setting import Setting

NAME = "two models"


def check_two_models(setting: Setting) -> Check:
    """By the parameters themselves: a student that starts as a copy of its teacher is a choice."""
    teachers = {id(parameter) for parameter in setting.teacher.parameters()}
    learning = [parameter for parameter in setting.student.parameters() if parameter.requires_grad]
    shared = sum(id(parameter) in teachers for parameter in learning)
    if setting.teacher is setting.student or (learning and shared == len(learning)):
        fix = "make the student a model of its own (copy.deepcopy, where it starts from the teacher)"
        return Check(NAME, "fail", "the student is its own teacher", ("KD109",), fix=fix)
    if shared:
        text = f"the student trains {shared} parameters that are the teacher's too, which changes while it teaches"
        return Check(NAME, "fail", text, ("KD104",), fix="copy the shared parts, or freeze them")
    return Check(NAME, "ok", f"no parameter that learns is shared{_copied(setting)}")


def _copied(setting: Setting) -> str:
    theirs, own = setting.teacher.state_dict(), setting.student.state_dict()
    same = theirs.keys() == own.keys() and all(
        theirs[name].shape == own[name].shape and torch.equal(theirs[name], own[name]) for name in own
    )
    return "; the student starts as a copy of the teacher" if same else ""
