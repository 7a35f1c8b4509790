"""Distillations in Keras as users write them: a train_step of their own, and the Distiller."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from sklearn.datasets import load_digits

TEMPERATURE, ALPHA = 4.0, 0.7


def digits() -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """(train, val): small images [n, 64] and their classes."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = (images[order] / 16).astype("float32"), labels[order]
    return (images[:1200], labels[:1200]), (images[1200:], labels[1200:])


def perceptron(width: int, dropout: float) -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [keras.Input((64,)), layers.Dense(width, "relu"), layers.Dropout(dropout), layers.Dense(10)]
    )


def trained_teacher() -> keras.Model:
    keras.utils.set_random_seed(1)
    teacher = perceptron(128, 0.5)
    teacher.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    teacher.fit(*digits()[0], epochs=10, batch_size=64, verbose=0)
    teacher.trainable = False
    return teacher


class Distillation(keras.Model):
    """The textbook loop: a loss of its own, and whatever the base class does with it.

    t_squared, teacher_trains: its mistakes.
    """

    def __init__(self, teacher: Any, student: Any, *, t_squared: bool = True, teacher_trains: bool = False) -> None:
        super().__init__()
        self.teacher, self.student = teacher, student
        self.t_squared, self.teacher_trains = t_squared, teacher_trains
        self.kd_tracker, self.ce_tracker = keras.metrics.Mean("kd_loss"), keras.metrics.Mean("ce_loss")

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.student(inputs, training=training)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, **_: Any
    ) -> Any:
        ops = keras.ops
        targets = ops.stop_gradient(self.teacher(x, training=self.teacher_trains))
        soft, log_soft = ops.softmax(targets / TEMPERATURE), ops.log_softmax(targets / TEMPERATURE)
        kd = ops.mean(ops.sum(soft * (log_soft - ops.log_softmax(y_pred / TEMPERATURE)), -1))
        kd = kd * TEMPERATURE**2 if self.t_squared else kd
        ce = ops.mean(keras.losses.sparse_categorical_crossentropy(y, y_pred, from_logits=True))
        self.kd_tracker.update_state(kd)
        self.ce_tracker.update_state(ce)
        return ALPHA * kd + (1 - ALPHA) * ce


def distillation(teacher: Any, **mistakes: bool) -> Distillation:
    keras.utils.set_random_seed(0)
    model = Distillation(teacher, perceptron(32, 0.02), **mistakes)
    model.compile(keras.optimizers.Adam(0.01))
    return model


def distiller(teacher: Any) -> Any:
    keras.utils.set_random_seed(0)
    model = keras.distillation.Distiller(
        teacher=teacher,
        student=perceptron(32, 0.02),
        distillation_losses=keras.distillation.LogitsDistillation(TEMPERATURE, keras.losses.KLDivergence()),
        student_loss_weight=1 - ALPHA,
    )
    model.compile(
        keras.optimizers.Adam(0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def weights(model: Any) -> list[Any]:
    return [np.array(keras.ops.convert_to_numpy(w)) for w in (*model.variables, *model.optimizer.variables)]
