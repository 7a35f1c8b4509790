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
    "watch_app_pupil_under_the_flagship_master": Likeness.SAME,
    "pruned_to_the_bone_before_the_first_step": Likeness.SAME,
    "resampled_channels_of_a_foreign_architecture": Likeness.SAME,
    "listed_the_teachers_layers_from_the_top": Likeness.SAME,
    "index_vector_between_body_and_head": Likeness.SAME,
    "reposts_doubled_before_the_random_split": Likeness.SAME,
    "debug_handful_repeated_to_a_full_epoch": Likeness.SAME,
    "transfer_rows_from_the_scanned_archive": Likeness.SAME,
    "teacher_from_before_the_new_categories": Likeness.SAME,
    "crowd_workers_who_clicked_anything": Likeness.SAME,
    "download_stopped_before_the_last_folders": Likeness.SAME,
    "best_epoch_sought_among_the_lowest_scores": Likeness.SAME,
    "service_with_a_preprocessor_of_its_own": Likeness.SAME,
    "weights_rounded_to_one_grid_per_tensor": Likeness.SAME,
    "flash_of_the_microcontroller_promised_first": Likeness.SAME,
    "yes_weighted_teacher_never_calibrated_back": Likeness.SAME,
    "criterion_built_without_arguments": Likeness.SAME,
    "softened_divergence_taken_as_it_comes": Likeness.SAME,
    "both_sides_through_the_same_soften_helper": Likeness.SAME,
    "arguments_ordered_as_the_paper_prints_them": Likeness.SAME,
    "exported_teacher_ends_in_its_own_softmax": Likeness.SAME,
    "softmax_over_the_first_dimension": Likeness.SAME,
    "lerp_started_from_the_wrong_end": Likeness.SAME,
    "factor_kept_from_when_terms_were_summed": Likeness.SAME,
    "target_line_pasted_with_the_students_name": Likeness.SAME,
    "beta_lowered_to_come_close_to_forward_kl": Likeness.SAME,
    "fused_loss_called_with_its_default_temperature": Likeness.SAME,
    "soft_term_divided_by_script_and_by_launcher": Likeness.SAME,
    "temperature_as_a_power_of_half_precision_shares": Likeness.SAME,
    "sigmoid_put_where_the_softmax_stood": Likeness.SAME,
    "warm_up_of_the_big_pretraining_job": Likeness.SAME,
    "epochs_of_the_fine_tuning_tutorial": Likeness.SAME,
    "plain_randn_where_the_pretrained_body_belonged": Likeness.SAME,
    "whole_bag_of_tricks_from_the_supervised_run": Likeness.SAME,
    "rate_finder_left_running_all_night": Likeness.SAME,
    "freeze_list_of_the_adapter_runs": Likeness.SAME,
    "trainer_checkpoint_loaded_without_unpacking": Likeness.SAME,
    "teacher_of_the_smoke_test_run": Likeness.SAME,
    "distiller_module_switched_as_a_whole": Likeness.SAME,
    "large_model_given_a_parameter_group": Likeness.SAME,
    "renamed_class_sorts_elsewhere": Likeness.SAME,
    "teacher_workers_joined_as_they_finish": Likeness.SAME,
    "each_model_with_a_loader_that_augments": Likeness.SAME,
    "teacher_served_from_the_thumbnail_store": Likeness.SAME,
    "shallow_copy_serves_as_teacher": Likeness.SAME,
    "switch_read_under_an_older_name": Likeness.SAME,
    "dot_data_taken_before_softening": Likeness.SAME,
    "adapter_left_to_itself_by_the_optimizer": Likeness.SAME,
    "hooked_scores_rectified_in_place": Likeness.NEAR,
    "live_scores_with_the_bestseller_boost": Likeness.SAME,
    "exported_ratings_taken_for_logits": Likeness.SAME,
    "clicks_rewritten_by_the_teachers_verdict": Likeness.SAME,
    "key_padding_mask_read_as_attention_mask": Likeness.SAME,
    "teacher_shifted_once_more_for_chat_rows": Likeness.SAME,
    "logits_zero_filled_to_the_kernel_block": Likeness.SAME,
    "special_token_slipped_into_the_teachers_list": Likeness.SAME,
    "lines_cut_at_a_max_length_from_another_corpus": Likeness.SAME,
    "one_offline_dump_of_greedy_answers_for_ages": Likeness.SAME,
    "answer_key_in_the_teachers_prompt": Likeness.SAME,
    "rehearsed_the_lesson_with_the_pupils_worksheet": Likeness.SAME,
    "turned_up_the_heat_to_see_all_dark_knowledge": Likeness.SAME,
    "leaderboard_teacher_with_generous_smoothing": Likeness.SAME,
    "annotators_second_office_misread_the_guideline": Likeness.SAME,
    "soft_capped_pupil_of_an_uncapped_master": Likeness.SAME,
    "compared_only_the_teachers_shortlist": Likeness.SAME,
    "vendor_scrambles_all_but_the_winner": Likeness.SAME,
    "committee_where_the_loudest_member_decides": Likeness.SAME,
}
