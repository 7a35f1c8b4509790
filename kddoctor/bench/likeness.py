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
    "initialised_the_weights_after_loading_them": Likeness.SAME,
    "trained_the_teacher_at_the_rate_of_a_finetuning": Likeness.SAME,
    "set_the_mode_of_the_pair": Likeness.SAME,
    "froze_the_teachers_first_layers_only": Likeness.SAME,
    "sorted_the_names_after_one_had_changed": Likeness.SAME,
    "joined_the_outputs_process_by_process": Likeness.SAME,
    "gave_the_strong_view_to_the_teacher": Likeness.NEAR,
    "left_the_teachers_own_preprocessing_out": Likeness.SAME,
    "wrote_the_student_where_the_teacher_is_read": Likeness.SAME,
    "broke_the_sum_over_two_lines": Likeness.SAME,
    "silenced_the_error_about_gradients": Likeness.SAME,
    "made_the_projector_inside_the_loss": Likeness.SAME,
    "unpacked_the_teachers_outputs_in_the_wrong_order": Likeness.SAME,
    "mask_expanded_over_the_classes": Likeness.SAME,
    "divided_as_the_gradients_are": Likeness.SAME,
    "log1p_so_that_no_zero_is_met": Likeness.SAME,
    "soft_cross_entropy_with_the_teacher_as_prediction": Likeness.SAME,
    "softened_before_the_loss_softens": Likeness.SAME,
    "softmax_of_the_whole_array": Likeness.SAME,
    "lerp_from_the_wrong_end": Likeness.SAME,
    "ratio_kept_from_dense_maps": Likeness.SAME,
    "outputs_shadowed_by_the_students": Likeness.SAME,
    "end_of_the_range_clamped": Likeness.SAME,
    "temperature_taken_for_its_inverse": Likeness.NEAR,
    "averaged_over_ranks_before_backward": Likeness.SAME,
    "classes_padded_with_minus_infinity": Likeness.SAME,
    "decoupled_among_the_only_other_class": Likeness.SAME,
    "temperature_of_self_supervised_teachers": Likeness.SAME,
    "temperature_from_the_limit_in_the_paper": Likeness.SAME,
    "teacher_with_the_uniform_regulariser": Likeness.SAME,
    "annotators_with_another_answer_key": Likeness.SAME,
    "scale_that_lived_in_the_teachers_loss": Likeness.NEAR,
    "both_gathered_at_the_teachers_best": Likeness.SAME,
    "teacher_with_an_owners_mark": Likeness.SAME,
    "members_of_different_scales_averaged_as_logits": Likeness.SAME,
    "hashed_the_weights_to_fit_the_flash_memory": Likeness.NEAR,
    "pruned_the_student_before_it_had_learnt": Likeness.SAME,
    "resized_the_features_until_the_shapes_agreed": Likeness.SAME,
    "zipped_the_layers_from_opposite_ends": Likeness.SAME,
    "factorised_the_input_layer": Likeness.SAME,
    "copied_a_warm_up_longer_than_the_run": Likeness.SAME,
    "stopped_with_a_patience_of_one": Likeness.SAME,
    "drew_all_parameters_from_one_normal": Likeness.SAME,
    "dropped_weights_as_a_large_model_does": Likeness.SAME,
    "left_the_rate_finder_on": Likeness.SAME,
    "made_layers_anew_after_the_optimizer": Likeness.SAME,
    "repeated_the_rows_before_the_random_split": Likeness.SAME,
    "kept_the_distributed_sampler_on_one_machine": Likeness.SAME,
    "distilled_on_scans": Likeness.SAME,
    "trained_the_teacher_on_the_older_ontology": Likeness.SAME,
    "saved_the_preselected_answer": Likeness.SAME,
    "dropped_classes_below_a_minimum_support": Likeness.SAME,
    "exported_the_running_average": Likeness.SAME,
    "served_behind_another_reader": Likeness.NEAR,
    "quantised_with_ranges_of_unscaled_data": Likeness.NEAR,
    "promised_what_a_paper_reports": Likeness.SAME,
    "thinned_the_teachers_negatives": Likeness.SAME,
    "measured_the_prompt_in_characters": Likeness.SAME,
    "read_prompt_logprobs_as_next_token_logprobs": Likeness.SAME,
    "filled_the_teachers_head_up_with_zeros": Likeness.SAME,
    "fed_the_teacher_ids_of_a_tokenizer_with_added_tokens": Likeness.SAME,
    "cut_from_the_left_at_a_limit_in_the_wrong_unit": Likeness.SAME,
    "went_on_while_the_distance_to_the_teacher_fell": Likeness.SAME,
    "let_the_teacher_see_what_was_logged_afterwards": Likeness.SAME,
    "filled_up_what_the_export_did_not_hold": Likeness.SAME,
    "exported_scores_before_their_division": Likeness.SAME,
    "mined_hard_negatives_among_the_logged_items": Likeness.SAME,
}
