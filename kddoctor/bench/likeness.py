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
    "keeps_only_checkpoint_keys_that_the_model_knows": Likeness.SAME,
    "teacher_fine_tuned_on_the_slice_for_debugging": Likeness.SAME,
    "evaluation_helper_puts_teacher_back_to_train": Likeness.SAME,
    "teacher_as_second_group_of_the_optimizer": Likeness.SAME,
    "class_added_last_for_the_teacher_but_sorted_in_for_the_data": Likeness.SAME,
    "teacher_answers_collected_as_they_complete": Likeness.SAME,
    "each_model_draws_its_own_augmented_view": Likeness.NEAR,
    "teacher_behind_a_transform_that_it_was_not_trained_with": Likeness.NEAR,
    "student_loaded_from_the_path_of_the_teacher": Likeness.NEAR,
    "result_of_adding_the_term_thrown_away": Likeness.SAME,
    "no_grad_block_reaches_down_to_the_loss": Likeness.SAME,
    "projector_made_inside_the_loss_function": Likeness.SAME,
    "logged_runner_up_masks_the_teachers_logits_in_place": Likeness.NEAR,
    "kldivloss_as_constructed_by_default": Likeness.SAME,
    "softened_kl_left_unscaled": Likeness.SAME,
    "softmax_on_both_sides_of_kl_div": Likeness.SAME,
    "teacher_given_as_kl_div_input": Likeness.SAME,
    "teacher_probabilities_softened_again": Likeness.SAME,
    "softmax_with_dim_zero": Likeness.SAME,
    "alpha_on_the_hard_labels": Likeness.SAME,
    "distillation_weighted_like_an_auxiliary_loss": Likeness.NEAR,
    "teacher_logits_pasted_on_both_sides": Likeness.SAME,
    "beta_of_zero_clamped_for_the_logarithm": Likeness.SAME,
    "only_the_teacher_is_softened": Likeness.SAME,
    "gathered_mean_of_kd_sent_backward": Likeness.SAME,
    "epsilon_lost_in_half_precision": Likeness.SAME,
    "softmax_kl_on_a_single_score": Likeness.SAME,
    "teacher_memorised_the_transfer_rows": Likeness.SAME,
    "softened_until_flat": Likeness.SAME,
    "teacher_checkpoint_trained_with_smoothing": Likeness.SAME,
    "teacher_learnt_from_careless_annotators": Likeness.SAME,
    "student_with_a_cosine_head_of_small_scale": Likeness.SAME,
    "softmax_over_the_best_few_only": Likeness.SAME,
    "teacher_defended_with_decoy_classes": Likeness.SAME,
    "logits_of_unlike_members_averaged": Likeness.SAME,
    "pure_imitation_by_a_much_thinner_student": Likeness.SAME,
    "student_shrunk_to_the_memory_budget": Likeness.SAME,
    "unlike_features_resized_and_compared": Likeness.SAME,
    "teacher_layers_listed_from_the_top": Likeness.SAME,
    "embedding_for_the_plot_left_before_the_head": Likeness.SAME,
    "warm_up_steps_copied_from_a_far_longer_training": Likeness.SAME,
    "epochs_as_for_fine_tuning_a_pretrained_model": Likeness.SAME,
    "all_matrices_drawn_anew_from_a_wide_normal": Likeness.SAME,
    "dropout_of_a_big_model_in_the_small_student": Likeness.SAME,
    "exponential_warm_up_that_nothing_stops": Likeness.SAME,
    "optimizer_made_while_the_lower_layers_were_frozen": Likeness.NEAR,
    "validation_split_added_to_the_transfer_rows": Likeness.SAME,
    "every_nth_row_of_a_trial_run_repeated": Likeness.SAME,
    "synthetic_transfer_rows_with_random_replacements": Likeness.NEAR,
    "teacher_from_when_some_classes_were_still_rare": Likeness.SAME,
    "labels_by_annotators_who_clicked_at_random": Likeness.SAME,
    "head_of_a_train_set_that_is_sorted_by_class": Likeness.SAME,
    "best_checkpoint_chosen_by_teacher_accuracy": Likeness.SAME,
    "validation_preprocessed_by_another_script": Likeness.NEAR,
    "exported_with_few_bits_per_tensor": Likeness.SAME,
    "retention_promised_that_so_small_a_student_misses": Likeness.SAME,
    "teacher_trained_with_weighted_positives": Likeness.SAME,
    "distillation_term_averaged_over_the_padding_too": Likeness.SAME,
    "saved_teacher_logits_shifted_along_with_the_labels": Likeness.SAME,
    "teacher_logits_cropped_and_filled_with_zeros_to_the_width": Likeness.NEAR,
    "teacher_fed_ids_of_a_vocabulary_built_anew": Likeness.NEAR,
    "training_texts_cut_at_a_short_max_length": Likeness.SAME,
    "many_epochs_over_few_teacher_answers_saved_once": Likeness.SAME,
    "teacher_reads_answers_that_exist_only_in_the_logs": Likeness.NEAR,
    "distilled_from_the_served_score_with_its_popularity_boost": Likeness.SAME,
    "teacher_scores_in_stars_or_per_cent_beside_raw_student_scores": Likeness.SAME,
    "positive_taken_first_from_candidates_sorted_by_the_teacher": Likeness.SAME,
}
