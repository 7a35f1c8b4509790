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
    "initialised_once_more": Likeness.SAME,
    "published_with_noise_for_privacy": Likeness.NEAR,
    "checked_with_a_helper_that_trains_on": Likeness.SAME,
    "both_sides_of_mutual_learning": Likeness.SAME,
    "later_class_sorted_in": Likeness.SAME,
    "retries_put_behind_the_others": Likeness.NEAR,
    "teacher_loader_still_pastes": Likeness.SAME,
    "cleaned_for_the_teacher_only": Likeness.SAME,
    "one_object_of_a_registry": Likeness.SAME,
    "weight_under_another_name": Likeness.SAME,
    "fused_loss_returns_gradients_in_the_wrong_order": Likeness.SAME,
    "rows_normalised_through_data": Likeness.SAME,
    "output_of_the_margin_head": Likeness.NEAR,
    "divided_by_the_expanded_mask": Likeness.SAME,
    "divided_by_how_gradients_scale": Likeness.SAME,
    "logarithm_taken_of_the_target_alone": Likeness.SAME,
    "cross_entropy_with_its_arguments_exchanged": Likeness.SAME,
    "teacher_as_it_was_served": Likeness.SAME,
    "softened_without_naming_an_axis": Likeness.SAME,
    "interpolated_from_the_wrong_end_too": Likeness.SAME,
    "weight_of_code_that_sums": Likeness.SAME,
    "learned_from_the_reference_model": Likeness.SAME,
    "share_read_as_percent": Likeness.SAME,
    "consistency_term_of_another_project": Likeness.SAME,
    "gathered_rows_without_their_gradient": Likeness.SAME,
    "columns_filled_up_with_minus_infinity": Likeness.SAME,
    "other_answers_of_a_yes_or_no_question": Likeness.SAME,
    "teacher_of_the_largest_margin": Likeness.SAME,
    "warmed_until_the_bars_looked_even": Likeness.SAME,
    "teacher_smoothed_by_loader_and_loss": Likeness.SAME,
    "annotators_slipped_to_the_next_box": Likeness.SAME,
    "student_with_capped_logits": Likeness.SAME,
    "both_renormalised_over_the_stored": Likeness.SAME,
    "teacher_protected_against_copying": Likeness.SAME,
    "averaged_scores_of_unlike_scales": Likeness.SAME,
    "every_logit_of_the_server_model_regressed_by_the_phone_variant": Likeness.SAME,
    "pruned_before_it_learnt_anything": Likeness.SAME,
    "features_resized_until_the_shapes_agreed": Likeness.SAME,
    "one_list_from_the_stem_and_the_other_from_the_head": Likeness.SAME,
    "averaged_neighbouring_units_before_the_head": Likeness.SAME,
    "warm_up_of_a_paper_that_trained_for_weeks": Likeness.SAME,
    "job_ended_at_its_wall_time": Likeness.SAME,
    "first_weights_drawn_from_zero_to_one": Likeness.SAME,
    "weights_dropped_as_in_the_large_model": Likeness.SAME,
    "range_test_of_the_rate_left_on_too": Likeness.SAME,
    "unfrozen_layer_by_layer_until_the_run_was_over": Likeness.SAME,
    "oversampled_before_the_split_too": Likeness.SAME,
    "a_few_seed_rows_repeated_to_fill_the_epoch": Likeness.SAME,
    "scanned_copies_in_place_of_the_originals": Likeness.SAME,
    "teacher_still_tuned_to_the_traffic": Likeness.NEAR,
    "some_annotators_counted_from_one": Likeness.NEAR,
    "first_shards_of_an_archive_sorted_by_class": Likeness.SAME,
    "moving_average_too_slow_for_the_run": Likeness.SAME,
    "served_with_the_range_of_an_older_release": Likeness.NEAR,
    "one_step_size_for_all_tensors": Likeness.SAME,
    "born_again_promised": Likeness.SAME,
    "teacher_from_oversampled_positives": Likeness.NEAR,
    "low_ids_taken_for_special_tokens": Likeness.SAME,
    "start_token_added_for_the_teacher_alone": Likeness.SAME,
    "teacher_of_a_smaller_vocabulary_padded_with_zeros": Likeness.SAME,
    "teacher_one_release_of_the_tokenizer_behind": Likeness.SAME,
    "cut_from_the_left_after_padding_on_the_right": Likeness.SAME,
    "teachers_samples_drawn_once_and_imitated_for_days": Likeness.SAME,
    "reference_answer_left_in_the_teachers_prompt": Likeness.SAME,
    "log_q_where_nothing_is_sampled": Likeness.SAME,
    "snapshots_summed": Likeness.SAME,
    "exported_with_seen_items_masked": Likeness.NEAR,
}
