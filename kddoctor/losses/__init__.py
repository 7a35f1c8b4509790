"""Distillation losses with their formula and source, for treatments and for anybody's loop.

They take raw logits or features, give a scalar, and never a gradient to the teacher. None is taken from a package: the
ones that hold them bring models, data sets and a framework along, see docs/losses.md.
"""

from kddoctor.losses.attention import attention_transfer as attention_transfer
from kddoctor.losses.contrastive import ContrastiveDistillation as ContrastiveDistillation
from kddoctor.losses.contrastive import in_batch_contrast as in_batch_contrast
from kddoctor.losses.correlation import dist as dist
from kddoctor.losses.curriculum_temperature import CurriculumTemperature as CurriculumTemperature
from kddoctor.losses.decoupled import decoupled_kd as decoupled_kd
from kddoctor.losses.divergences import jsd_kd as jsd_kd
from kddoctor.losses.divergences import kd as kd
from kddoctor.losses.divergences import reverse_kd as reverse_kd
from kddoctor.losses.hints import Hint as Hint
from kddoctor.losses.logit_mse import logit_mse as logit_mse
from kddoctor.losses.ranking import listwise_kd as listwise_kd
from kddoctor.losses.ranking import margin_mse as margin_mse
from kddoctor.losses.ranking import pairwise_kd as pairwise_kd
from kddoctor.losses.relational import relational_angle as relational_angle
from kddoctor.losses.relational import relational_distance as relational_distance
from kddoctor.losses.sigmoid import sigmoid_kd as sigmoid_kd
from kddoctor.losses.similarity import cka_loss as cka_loss
from kddoctor.losses.similarity import probabilistic_transfer as probabilistic_transfer
from kddoctor.losses.similarity import similarity_preserving as similarity_preserving
from kddoctor.losses.standardised import standardised_kd as standardised_kd
from kddoctor.losses.tokens import generalised_kd as generalised_kd
from kddoctor.losses.tokens import texts_to_learn_from as texts_to_learn_from
from kddoctor.losses.tokens import token_kd as token_kd
from kddoctor.losses.weights import confidence_weights as confidence_weights
from kddoctor.losses.weights import correctness_weights as correctness_weights
