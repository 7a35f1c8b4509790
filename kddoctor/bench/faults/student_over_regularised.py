"""KD504: the student is held back by regularisation that was tuned for hard labels and many epochs."""

from dataclasses import replace

from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe

#: Share of units dropped after every layer but the last.
DROPPED = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 0.75}
#: L2 penalty; AdamW's decay is taken at every step and not through the gradient, so that it needs a larger number.
DECAY = {Level.MILD: 0.02, Level.MODERATE: 0.08, Level.SEVERE: 0.2}
DECOUPLED = 60.0
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Embedding, nn.Linear)


def dropout_everywhere(recipe: Recipe, level: Level) -> Recipe:
    """Dropout after every layer but the head, as the teacher of another project needed it."""

    def drop(layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        return F.dropout(output, DROPPED[level], layer.training)

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        layers = [module for module in student.modules() if isinstance(module, LAYERS)]
        for layer in layers[:-1]:
            layer.register_forward_hook(drop)
        return student

    return replace(recipe, change_student=change_student)


def weight_decay_of_pretraining(recipe: Recipe, level: Level) -> Recipe:
    """The weight decay of a much longer training."""
    factor = DECOUPLED if recipe.optimizer == "adamw" else 1.0
    return replace(recipe, weight_decay=recipe.weight_decay + factor * DECAY[level])


FAULT = Fault("KD504", seen=(dropout_everywhere,), unseen=(weight_decay_of_pretraining,))
