"""How like the mistakes that are held out are to earlier ones of the same code, by somebody who read all of them.

Their authors had not: where they are alike, several people thought of the same mistake.
"""

from collections.abc import Mapping
from enum import StrEnum


class Likeness(StrEnum):
    """same: another author's code for the same mistake, other constants. near: the same line or quantity, by another
    formula. new: a way that no earlier implementation has.
    """

    SAME = "same"
    NEAR = "near"
    NEW = "new"


#: By name of the implementation.
LIKENESS: Mapping[str, Likeness] = {
    "first_shard_read_alone": Likeness.NEAR,
    "tuned_on_the_coarse_labels": Likeness.NEAR,
    "functional_dropout_by_default": Likeness.SAME,
    "backbone_frozen_head_learning": Likeness.SAME,
    "class_added_in_the_middle": Likeness.NEAR,
    "gathered_rank_after_rank": Likeness.NEAR,
    "teacher_on_crops_of_its_training": Likeness.NEAR,
    "inputs_of_a_later_release": Likeness.NEAR,
    "teacher_copied_from_the_student": Likeness.SAME,
    "zeroed_between_two_backwards": Likeness.SAME,
    "gathered_without_gradient": Likeness.SAME,
    "projector_frozen_with_the_teacher": Likeness.SAME,
    "untrained_auxiliary_head": Likeness.SAME,
    "divided_by_an_expanded_mask": Likeness.SAME,
    "divided_by_the_square": Likeness.SAME,
    "log_target_of_two_softmaxes": Likeness.SAME,
    "keras_divergence_with_the_prediction_first": Likeness.SAME,
    "both_softmaxed_before_the_criterion": Likeness.NEAR,
    "selected_and_never_viewed_as_rows": Likeness.SAME,
    "complement_given_as_the_soft_weight": Likeness.SAME,
    "warm_up_of_a_far_longer_run": Likeness.NEAR,
    "smoothed_labels_called_soft_targets": Likeness.SAME,
    "beta_annealed_to_its_end": Likeness.NEAR,
    "distillation_type_left_at_hard": Likeness.SAME,
    "cleared_before_each_micro_batch": Likeness.SAME,
    "half_cross_entropy_by_hand": Likeness.NEAR,
    "standardised_over_two_classes": Likeness.SAME,
    "teacher_adapted_to_the_transfer_set": Likeness.SAME,
    "vision_temperature_in_a_language_trainer": Likeness.SAME,
    "margin_based_label_smoothing": Likeness.NEAR,
    "hasty_annotators_went_by_the_looks": Likeness.NEAR,
    "cosine_head_without_its_scale": Likeness.SAME,
    "compared_on_the_kept_classes_only": Likeness.SAME,
    "soft_labels_of_a_mixed_up_hierarchy": Likeness.NEAR,
    "bagged_logits_weighted_by_certainty": Likeness.SAME,
    "weights_of_few_bits_without_labels": Likeness.NEAR,
    "pruned_like_a_large_network": Likeness.SAME,
    "hidden_states_pooled_to_one_width": Likeness.NEAR,
    "zipped_without_the_students_stem": Likeness.NEAR,
    "adapter_without_its_skip": Likeness.NEAR,
    "warm_up_of_a_longer_run": Likeness.NEAR,
    "gradients_cleared_between_micro_batches": Likeness.SAME,
    "empty_memory_never_filled": Likeness.SAME,
    "sparsity_penalty_for_later_pruning": Likeness.SAME,
    "rate_finder_left_on": Likeness.SAME,
    "optimizer_built_before_the_conversion": Likeness.SAME,
    "split_again_by_another_seed": Likeness.SAME,
    "requests_as_often_as_they_came": Likeness.NEAR,
    "phone_photos_and_another_dialect": Likeness.SAME,
    "teacher_from_before_the_newest_classes": Likeness.NEW,
    "missing_labels_filled_with_the_first_class": Likeness.SAME,
    "only_the_most_common_classes": Likeness.SAME,
    "moving_average_of_a_longer_run": Likeness.SAME,
    "inverted_scans_and_words_counted_anew": Likeness.NEAR,
    "one_fixed_point_format_for_everything": Likeness.NEAR,
    "widened_beyond_the_memory_of_the_chip": Likeness.SAME,
    "teacher_with_the_focal_loss_of_detectors": Likeness.NEAR,
    "low_numbers_taken_for_special_tokens": Likeness.SAME,
    "padded_left_for_the_teacher": Likeness.SAME,
    "resized_by_interpolation": Likeness.SAME,
    "vocabularies_built_apart": Likeness.NEAR,
    "chunked_into_short_blocks": Likeness.SAME,
    "best_answers_by_its_own_score": Likeness.NEAR,
    "redacted_for_the_student_only": Likeness.SAME,
    "corrected_for_sampling_that_never_was": Likeness.SAME,
    "grades_that_no_cosine_can_reach": Likeness.NEAR,
    "hard_negatives_mined_among_positives": Likeness.NEAR,
}
