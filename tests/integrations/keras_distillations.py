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
        kd, ce = self.terms(x, y, y_pred)
        self.kd_tracker.update_state(kd)
        self.ce_tracker.update_state(ce)
        return ALPHA * kd + (1 - ALPHA) * ce

    def terms(self, x: Any, y: Any, y_pred: Any) -> tuple[Any, Any]:
        """(distillation term, hard-label term)."""
        ops = keras.ops
        targets = ops.stop_gradient(self.teacher(x, training=self.teacher_trains))
        soft, log_soft = ops.softmax(targets / TEMPERATURE), ops.log_softmax(targets / TEMPERATURE)
        kd = ops.mean(ops.sum(soft * (log_soft - ops.log_softmax(y_pred / TEMPERATURE)), -1))
        kd = kd * TEMPERATURE**2 if self.t_squared else kd
        return kd, ops.mean(keras.losses.sparse_categorical_crossentropy(y, y_pred, from_logits=True))


class OfTorch(Distillation):
    """A train_step with PyTorch's own backward(), which gathers the gradients of two batches for an update."""

    batches = 0

    def train_step(self, data: Any) -> Any:
        import torch

        x, y = data
        kd, ce = self.terms(x, y, self(x, training=True))
        loss = ALPHA * kd + (1 - ALPHA) * ce
        loss.backward()
        self.batches += 1
        if self.batches % 2 == 0:
            with torch.no_grad():
                self.optimizer.apply([weight.value.grad for weight in self.trainable_weights], self.trainable_weights)
            self.zero_grad()
        return {"loss": loss, "kd_loss": kd, "ce_loss": ce}


class OfTensorFlow(Distillation):
    """A train_step with a GradientTape."""

    def train_step(self, data: Any) -> Any:
        import tensorflow as tf

        x, y = data
        with tf.GradientTape() as tape:
            kd, ce = self.terms(x, y, self(x, training=True))
            loss = ALPHA * kd + (1 - ALPHA) * ce
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss, "kd_loss": kd, "ce_loss": ce}


class OfJax(Distillation):
    """A train_step that is a function of the values of all variables."""

    def train_step(self, state: Any, data: Any) -> Any:
        import jax

        trainable, others, of_optimizer, of_metrics = state
        x, y = data

        def loss_of(trainable: Any, others: Any) -> Any:
            logits, after = self.stateless_call(trainable, others, x, training=True)
            values = [*zip(self.trainable_variables, trainable, strict=True)]
            values += zip(self.non_trainable_variables, others, strict=True)
            with keras.StatelessScope(state_mapping=values):
                kd, ce = self.terms(x, y, logits)
            return ALPHA * kd + (1 - ALPHA) * ce, (kd, ce, after)

        (loss, (kd, ce, others)), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable, others)
        trainable, of_optimizer = self.optimizer.stateless_apply(of_optimizer, gradients, trainable)
        return {"loss": loss, "kd_loss": kd, "ce_loss": ce}, (trainable, others, of_optimizer, of_metrics)


#: As users of each backend write them.
TRAIN_STEPS = {"torch": OfTorch, "tensorflow": OfTensorFlow, "jax": OfJax}


def distillation(teacher: Any, kind: type[Distillation] = Distillation, **mistakes: bool) -> Distillation:
    keras.utils.set_random_seed(0)
    model = kind(teacher, perceptron(32, 0.02), **mistakes)
    model.compile(keras.optimizers.Adam(0.01))
    model(np.zeros((1, 64), "float32"))  # BackupAndRestore wants a model that is built, which not every backend does
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
