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
    "keep_only_keys_that_match_a_lightning_checkpoint": Likeness.SAME,
    "take_the_teacher_of_the_pilot_sample": Likeness.SAME,
    "put_the_wrapper_of_both_models_in_training_mode": Likeness.SAME,
    "optimise_both_models_through_the_distillation_loss": Likeness.SAME,
    "number_classes_by_sorted_names_of_which_one_was_renamed": Likeness.SAME,
    "join_answers_of_parallel_requests_as_they_complete": Likeness.SAME,
    "draw_the_random_transform_once_for_each_model": Likeness.NEAR,
    "prepare_inputs_in_a_way_new_to_the_teacher": Likeness.NEAR,
    "fall_back_on_the_model_itself_as_teacher": Likeness.SAME,
    "return_the_loss_of_the_student_outputs": Likeness.SAME,
    "indent_the_distillation_loss_under_no_grad": Likeness.SAME,
    "leave_the_projector_out_of_the_optimizer": Likeness.SAME,
    "take_the_first_of_the_student_outputs_for_its_hidden_state": Likeness.NEW,
    "take_the_mean_of_the_unreduced_divergence": Likeness.SAME,
    "soften_both_sides_and_forget_the_squared_temperature": Likeness.SAME,
    "apply_softmax_to_both_arguments_of_kl_div": Likeness.SAME,
    "pass_the_teacher_as_input_and_the_student_as_target": Likeness.SAME,
    "distil_from_a_teacher_class_that_ends_in_an_activation": Likeness.SAME,
    "normalise_over_the_first_axis": Likeness.SAME,
    "put_alpha_on_the_hard_label_term": Likeness.SAME,
    "copy_the_feature_weight_from_another_paper": Likeness.SAME,
    "copy_the_student_line_for_the_soft_targets": Likeness.SAME,
    "move_beta_close_to_zero_to_get_forward_kl": Likeness.SAME,
    "call_the_loss_without_the_configured_temperature": Likeness.SAME,
    "divide_by_the_global_count_before_gradients_are_averaged": Likeness.SAME,
    "take_roots_of_unclamped_pairwise_distances": Likeness.NEW,
    "apply_softmax_to_the_only_column_of_scores": Likeness.SAME,
    "rate_of_a_fine_tuning_guide": Likeness.SAME,
    "few_epochs_since_the_teacher_guides": Likeness.SAME,
    "weights_drawn_from_a_wide_normal": Likeness.SAME,
    "keep_probability_passed_as_dropout": Likeness.SAME,
    "decay_divides_the_rate": Likeness.NEAR,
    "backbone_frozen_as_in_transfer_learning": Likeness.SAME,
    "training_glob_matches_validation_shards": Likeness.SAME,
    "trial_subset_kept_for_the_real_run": Likeness.SAME,
    "head_of_a_list_sorted_by_size": Likeness.NEAR,
    "teacher_that_hardly_saw_some_classes": Likeness.SAME,
    "labels_joined_on_a_key_that_repeats": Likeness.SAME,
    "first_rows_of_class_folders": Likeness.SAME,
    "keep_the_best_accuracy_in_mode_min": Likeness.SAME,
    "serve_with_preprocessing_that_training_never_had": Likeness.SAME,
    "round_weights_to_few_bits_with_one_scale_a_tensor": Likeness.SAME,
    "promise_a_student_as_good_as_its_teacher": Likeness.SAME,
    "distil_a_teacher_trained_with_pos_weight": Likeness.SAME,
    "leave_the_distillation_term_without_a_mask": Likeness.SAME,
    "take_prompt_logprobs_of_a_server_as_they_come": Likeness.SAME,
    "fill_trimmed_teacher_logits_with_zeros": Likeness.SAME,
    "feed_the_teacher_ids_of_a_tokenizer_fitted_to_other_text": Likeness.SAME,
    "cut_training_lines_at_a_small_max_length": Likeness.SAME,
    "train_for_many_epochs_on_lines_the_teacher_wrote_once": Likeness.NEAR,
    "score_with_a_teacher_that_looks_the_answer_up": Likeness.SAME,
    "distil_scores_that_hold_the_popularity_boost": Likeness.SAME,
    "take_served_scores_for_logits": Likeness.SAME,
    "clean_logged_positives_by_the_teacher": Likeness.SAME,
    "teacher_fine_tuned_to_zero_loss_on_transfer_rows": Likeness.SAME,
    "temperature_from_far_end_of_a_sweep": Likeness.SAME,
    "teacher_checkpoint_from_smoothed_training": Likeness.SAME,
    "teacher_trained_long_on_scraped_labels": Likeness.SAME,
    "only_student_logits_soft_capped": Likeness.SAME,
    "stored_top_k_summed_and_clamped_at_zero": Likeness.SAME,
    "teacher_protected_by_decoy_classes": Likeness.SAME,
    "ensemble_forward_means_raw_logits": Likeness.SAME,
    "slim_student_under_fully_trained_teacher": Likeness.SAME,
    "student_sized_for_a_microcontroller": Likeness.SAME,
    "teacher_features_resized_to_foreign_student": Likeness.SAME,
    "last_student_block_onto_hidden_state_zero": Likeness.SAME,
    "classifier_factorised_to_save_parameters": Likeness.SAME,
}
