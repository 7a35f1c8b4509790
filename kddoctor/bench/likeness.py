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
    "kept_only_checkpoint_keys_that_match": Likeness.NEAR,
    "teacher_from_the_debugging_run": Likeness.NEAR,
    "distiller_module_set_to_train": Likeness.SAME,
    "teacher_among_the_pretrained_parameters": Likeness.SAME,
    "last_class_listed_earlier_for_the_teacher": Likeness.SAME,
    "answers_in_order_of_completion": Likeness.SAME,
    "each_model_erases_at_random_for_itself": Likeness.SAME,
    "teacher_trained_on_cleaned_inputs": Likeness.NEAR,
    "student_stands_in_for_an_unset_teacher": Likeness.SAME,
    "weight_read_under_another_name": Likeness.NEAR,
    "loss_indented_into_the_no_grad_block": Likeness.SAME,
    "projector_frozen_along_with_the_teacher": Likeness.SAME,
    "first_output_of_a_hook_that_is_rarely_emptied": Likeness.NEAR,
    "log_target_divergence_with_default_reduction": Likeness.SAME,
    "softened_divergence_left_at_its_own_scale": Likeness.SAME,
    "softmax_of_both_models_into_kl_div": Likeness.SAME,
    "kl_div_arguments_in_the_order_of_the_formula": Likeness.SAME,
    "soft_labels_made_in_the_loop_and_softened_again": Likeness.SAME,
    "both_softmaxes_over_the_first_axis": Likeness.SAME,
    "alpha_taken_for_the_weight_of_the_student_loss": Likeness.SAME,
    "feature_weight_borrowed_from_another_paper": Likeness.NEW,
    "students_logits_on_both_sides_of_the_divergence": Likeness.SAME,
    "small_beta_meant_as_almost_forward_divergence": Likeness.SAME,
    "only_the_teacher_softened": Likeness.SAME,
    "global_row_count_and_ddp_mean_on_the_divergence": Likeness.SAME,
    "epsilon_below_half_precision_in_the_logarithm": Likeness.SAME,
    "classifier_loss_on_a_sigmoid_score": Likeness.NEAR,
    "sampling_temperature_for_distillation": Likeness.SAME,
    "softer_is_better_temperature": Likeness.SAME,
    "teacher_from_annotated_smoothing_criterion": Likeness.SAME,
    "teacher_adapted_on_uncleaned_labels": Likeness.NEAR,
    "cosine_head_that_cannot_reach_the_teacher": Likeness.SAME,
    "kl_over_the_kept_classes_only": Likeness.SAME,
    "teacher_of_ordinal_labels_on_unordered_classes": Likeness.NEAR,
    "raw_scores_of_unlike_teachers_averaged": Likeness.SAME,
    "student_shrunk_below_what_the_teacher_suits": Likeness.NEAR,
    "student_of_a_handful_of_units": Likeness.SAME,
    "unlike_features_matched_unit_by_unit": Likeness.NEAR,
    "last_features_mapped_to_the_first_layer": Likeness.SAME,
    "head_factorised_through_very_few_units": Likeness.SAME,
    "rate_scaled_down_from_a_large_reference_batch": Likeness.NEAR,
    "epochs_sized_for_the_teachers_large_data_set": Likeness.NEAR,
    "every_weight_drawn_with_one_wide_normal": Likeness.SAME,
    "heavy_dropout_in_the_small_student": Likeness.SAME,
    "warm_up_that_multiplies_the_rate_without_end": Likeness.NEAR,
    "first_layers_frozen_for_a_head_stage_and_never_thawed": Likeness.SAME,
    "validation_drawn_anew_from_the_pooled_rows": Likeness.SAME,
    "pilot_subset_trained_for_the_full_number_of_steps": Likeness.SAME,
    "transfer_rows_scanned_where_deployment_has_originals": Likeness.NEAR,
    "teacher_trained_before_the_newest_classes_had_rows": Likeness.SAME,
    "labels_guessed_by_hurried_annotators": Likeness.SAME,
    "class_sorted_listing_cut_at_the_front": Likeness.SAME,
    "accuracy_checkpoint_in_mode_min": Likeness.NEAR,
    "evaluation_preprocessing_from_another_template": Likeness.NEAR,
    "weights_rounded_to_few_bits_per_tensor": Likeness.SAME,
    "student_wanted_as_good_as_teacher_or_better": Likeness.SAME,
    "teacher_trained_with_heavy_positives": Likeness.SAME,
    "padding_to_max_length_enters_the_kd_term": Likeness.SAME,
    "cached_teacher_shards_shifted_twice": Likeness.SAME,
    "both_logits_filled_up_with_zeros_to_padded_vocabulary": Likeness.SAME,
    "teacher_vocabulary_with_one_more_special_token": Likeness.NEAR,
    "training_rows_cut_at_a_short_max_length": Likeness.SAME,
    "many_epochs_on_few_texts_the_teacher_wrote_once": Likeness.SAME,
    "retrieval_shows_the_teacher_its_own_answers": Likeness.SAME,
    "distils_served_scores_with_popularity_boost": Likeness.SAME,
    "teacher_scores_on_the_products_scale": Likeness.SAME,
    "teachers_favourite_candidate_becomes_the_positive": Likeness.SAME,
}
