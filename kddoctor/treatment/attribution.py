"""What teacher and student look at in one example, by Captum's methods. Imports the code that the run names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.engine.reading import class_rows
from kddoctor.errors import RunError
from kddoctor.run.directory import Run
from kddoctor.run.manifest import Manifest
from kddoctor.treatment.code_loading import LoadedCode, loaded_code
from kddoctor.treatment.retrain import logits_of

Method = Literal["integrated gradients", "saliency", "occlusion", "grad-cam"]
METHODS: tuple[Method, ...] = ("integrated gradients", "saliency", "occlusion", "grad-cam")
#: Steps of the integral, and windows that are covered one after another, at most.
STEPS, WINDOWS = 32, 256
#: Share of the inputs that count as those a model looks at most.
TOP = 0.1
#: Difference from the recorded logits, in their standard deviations, from which the row is another one.
SAME_ROW = 0.05


@dataclass(frozen=True)
class Attributions:
    """One example's. inputs: as the student got it. teacher, student: how much each element speaks for ``target``.

    Either is None where the method cannot be used on the model; of tokens there is one number each. target: a class.
    agreement: Spearman's rank correlation of the two, by size without sign; overlap: of the tenth of the inputs with
    the largest sizes, the share that both have. Both None where shapes differ. warnings: what limits them.
    """

    inputs: NDArray[Any]
    teacher: NDArray[np.float64] | None
    student: NDArray[np.float64] | None
    target: int
    agreement: float | None
    overlap: float | None
    warnings: tuple[str, ...]


def attribute(run: Run, split: str, row: int, method: Method) -> Attributions:
    """Explain the teacher's own answer to a row of the split (train or val), in both models. Raises RunError."""
    student_file = run.checkpoint("student")
    if student_file is None:
        raise RunError.plain("checkpoints/student.safetensors: is missing; record with save_checkpoints=True")
    with loaded_code(run) as code:
        student = _loaded(code.make_student(), student_file)
        inputs = _row(code, split, row)
        batch = inputs[None]
        seen = batch if code.teacher_transform is None else code.teacher_transform(batch)
        models = {"teacher": (code.teacher.eval(), seen), "student": (student.eval(), batch)}
        answers = {name: _answers(run.manifest, model, given) for name, (model, given) in models.items()}
        target = int(answers["teacher"].argmax())
        warnings = list(_unlike_the_record(run, split, row, answers))
        maps: dict[str, NDArray[np.float64] | None] = {}
        for name, (model, given) in models.items():
            try:
                maps[name] = _attribution(run.manifest, model, given, target, method)[0].double().numpy()
            except _UnsuitableModelError as error:
                maps[name] = None
                warnings.append(f"{name}: {error}")
    agreement, overlap = agreement_of(maps["teacher"], maps["student"])
    return Attributions(inputs.numpy(), maps["teacher"], maps["student"], target, agreement, overlap, tuple(warnings))


def agreement_of(
    teacher: NDArray[np.float64] | None, student: NDArray[np.float64] | None
) -> tuple[float | None, float | None]:
    """(rank correlation of the sizes, shared part of the largest tenth); None where there is nothing to compare."""
    if teacher is None or student is None or teacher.shape != student.shape or teacher.size < 2:
        return None, None
    a, b = np.abs(teacher).ravel(), np.abs(student).ravel()
    if not np.ptp(a) or not np.ptp(b):
        return None, None
    count = max(1, round(TOP * a.size))
    tops = [set(np.argsort(-sizes, kind="stable")[:count].tolist()) for sizes in (a, b)]
    return float(spearmanr(a, b).statistic), len(tops[0] & tops[1]) / count


class _UnsuitableModelError(Exception):
    """The method needs something that the model has not."""


def _loaded(student: nn.Module, file: Any) -> nn.Module:
    try:
        student.load_state_dict(load_file(file))
    except RuntimeError as error:
        raise RunError("checkpoints/student.safetensors", "keys", str(error), "those of code.student") from None
    return student


def _row(code: LoadedCode, split: str, row: int) -> Tensor:
    data: Any = code.val_data if split == "val" else code.train_data
    if split not in ("train", "val") or not 0 <= row < len(data):
        raise RunError.plain(f"code.{split}_data: holds no row {row}; expected the rows of predictions/{split}")
    inputs = data[row][0]
    if not isinstance(inputs, Tensor):
        raise RunError.plain(f"code.{split}_data: gives a {type(inputs).__name__} as input; expected a tensor")
    return inputs


def _answers(manifest: Manifest, model: nn.Module, batch: Tensor) -> NDArray[np.float64]:
    """[C] logits of the only row, as the app counts classes; of the first position of a sequence."""
    with torch.no_grad():
        return _class_logits(manifest, logits_of(model(batch)))[0].double().numpy()


def _class_logits(manifest: Manifest, logits: Tensor) -> Tensor:
    """[B, C]: two columns for a yes-or-no question, the first position of a sequence, the first label of several."""
    if manifest.task == "tokens":
        return logits[:, 0]
    if manifest.task in ("binary", "ranking"):
        yes = logits.reshape(len(logits))
        return torch.stack([torch.zeros_like(yes), yes], dim=1)
    if manifest.task == "multilabel":
        return torch.stack([torch.zeros_like(logits[:, 0]), logits[:, 0]], dim=1)
    return logits


def _unlike_the_record(run: Run, split: str, row: int, answers: Mapping[str, NDArray[np.float64]]) -> list[str]:
    part = run.predictions(split)
    found = []
    for model, array in () if part is None else (("teacher", part.teacher_logits), ("student", part.student_logits)):
        if array is None or part is None:
            continue
        one = slice(row, row + 1)
        recorded = class_rows(run.manifest, array[one], part.labels[one])[0][0].astype(np.float64)
        scale = max(float(recorded.std()), 1e-12)
        if recorded.shape == answers[model].shape and np.abs(recorded - answers[model]).max() > SAME_ROW * scale:
            found.append(
                f"the {model} answers this row otherwise than recorded: is it the same row, and the same checkpoint?"
            )
    return found


def _attribution(manifest: Manifest, model: nn.Module, batch: Tensor, target: int, method: Method) -> Tensor:
    """[1, …] of the shape of the input; [1, L] for tokens."""
    model.requires_grad_(False)

    def score(inputs: Tensor) -> Tensor:
        return _class_logits(manifest, logits_of(model(inputs)))[:, target]

    if batch.is_floating_point():
        return _OF_NUMBERS[method](score, model, batch).detach()
    return _of_tokens(score, model, batch, method).detach()


def _integrated_gradients(score: Callable[[Tensor], Tensor], _model: nn.Module, batch: Tensor) -> Tensor:
    from captum.attr import IntegratedGradients

    result: Tensor = IntegratedGradients(score).attribute(batch, n_steps=STEPS, internal_batch_size=STEPS)
    return result


def _saliency(score: Callable[[Tensor], Tensor], _model: nn.Module, batch: Tensor) -> Tensor:
    from captum.attr import Saliency

    result: Tensor = Saliency(score).attribute(batch.clone().requires_grad_(), abs=True)
    return result


def _occlusion(score: Callable[[Tensor], Tensor], _model: nn.Module, batch: Tensor) -> Tensor:
    from captum.attr import Occlusion

    window, stride = windows(tuple(batch.shape[1:]))
    with torch.no_grad():
        result: Tensor = Occlusion(score).attribute(
            batch, sliding_window_shapes=window, strides=stride, perturbations_per_eval=16
        )
    return result


def windows(shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(size, stride) of the windows that cover an input of this shape, at most about 256 of them.

    Images are covered by overlapping squares through all channels, all else by runs of neighbours.
    """
    if len(shape) >= 2:
        channels = shape[:-2]
        stride = tuple(max(1, -(-length // int(WINDOWS**0.5))) for length in shape[-2:])
        size = tuple(min(length, 2 * step) for length, step in zip(shape[-2:], stride, strict=True))
        return (*channels, *size), (*channels, *stride)
    step = max(1, -(-shape[0] // WINDOWS)) if shape else 1
    return (step,) * len(shape), (step,) * len(shape)


def _grad_cam(score: Callable[[Tensor], Tensor], model: nn.Module, batch: Tensor) -> Tensor:
    from captum.attr import LayerGradCam

    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    if not layers:
        raise _UnsuitableModelError("Grad-CAM needs a convolution, and it has none")
    coarse = LayerGradCam(score, layers[-1]).attribute(batch.clone().requires_grad_())
    fine = F.interpolate(coarse, size=batch.shape[-2:], mode="bilinear", align_corners=False)
    return fine.expand_as(batch)


_OF_NUMBERS: Mapping[Method, Callable[[Callable[[Tensor], Tensor], nn.Module, Tensor], Tensor]] = {
    "integrated gradients": _integrated_gradients,
    "saliency": _saliency,
    "occlusion": _occlusion,
    "grad-cam": _grad_cam,
}


def _of_tokens(score: Callable[[Tensor], Tensor], model: nn.Module, batch: Tensor, method: Method) -> Tensor:
    """[1, L]: whole numbers have no gradient, their embeddings have."""
    from captum.attr import FeatureAblation, LayerGradientXActivation, LayerIntegratedGradients

    if method == "occlusion":
        with torch.no_grad():
            ablated: Tensor = FeatureAblation(score).attribute(batch, baselines=0, perturbations_per_eval=16)
        return ablated.double()
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    if method == "grad-cam" or len(embeddings) != 1:
        raise _UnsuitableModelError(f"{method} of whole numbers needs exactly one embedding; try occlusion")
    embeddings[0].requires_grad_(True)
    if method == "saliency":
        layer: Tensor = LayerGradientXActivation(score, embeddings[0]).attribute(batch)
    else:
        layer = LayerIntegratedGradients(score, embeddings[0]).attribute(
            batch, baselines=torch.zeros_like(batch), n_steps=STEPS
        )
    if layer.shape[:2] != batch.shape:
        raise _UnsuitableModelError("its embedding does not give one vector for each token; try occlusion")
    return layer.sum(-1).double()
