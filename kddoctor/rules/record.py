"""What to record for a measurement to exist, as a rule that lacks it tells the user."""

from collections.abc import Mapping

#: What must be recorded for a measurement to exist, and how. Keyed by the measurement's type name.
RECORD: Mapping[str, tuple[tuple[str, ...], str]] = {
    "LossForensics": (
        ("steps",),
        "call run.step(loss=…, student_logits=…, teacher_logits=…, labels=…) in the loop (steps.safetensors)",
    ),
    "TeacherViews": (("predictions",), "record the teacher's logits in predictions/<split>.safetensors"),
    "TargetSoftness": (
        ("predictions", "distillation.temperature"),
        "declare distillation.temperature in kd_run.yaml, with the teacher's logits in predictions/train.safetensors",
    ),
    "Gaps": (("predictions",), "record teacher and student logits of one split"),
    "TrainGaps": (("predictions/train",), "pass train_data=… to kddoctor.record (predictions/train.safetensors)"),
    "TeacherPasses": (
        ("steps.teacher_logits_check", "observations.teacher_training"),
        "let kddoctor.record run the teacher twice (teacher_logits_check in steps.safetensors)",
    ),
    "RowPairing": (
        ("steps", "predictions.teacher_targets"),
        "record steps, or teacher_targets in predictions/train.safetensors",
    ),
    "TargetsInLoop": (
        ("steps.teacher_logits_check",),
        "let kddoctor.record run the teacher once more on the inputs of recorded steps (teacher_logits_check)",
    ),
    "Sameness": (("steps",), "call run.step(student_logits=…, teacher_logits=…) in the loop (steps.safetensors)"),
    "TermGradients": (
        ("steps.kd_grad_weight",),
        "call run.step(loss=…, kd_loss=…, ce_loss=…) before loss.backward(), so that gradients can be looked at",
    ),
    "LearningCurve": (("metrics",), "call run.log(split='val', student_accuracy=…) once an epoch (metrics.jsonl)"),
    "SplitOverlap": (
        ("fingerprints/train", "fingerprints/val"),
        "pass train_data=… and val_data=… to kddoctor.record (fingerprints), with save_inputs=True for near copies",
    ),
    "SplitDifference": (
        ("inputs", "predictions/train"),
        "pass train_data=… and save_inputs=True to kddoctor.record (inputs/<split>.safetensors)",
    ),
    "ClassShares": (
        ("predictions/train",),
        "pass train_data=… to kddoctor.record (predictions/train.safetensors; single-label tasks)",
    ),
    "ClassRecalls": (("predictions",), "record teacher and student logits of one split (single-label tasks)"),
    "LabelDoubts": (("predictions",), "record teacher and student logits of both splits"),
    "EvaluatedStudent": (
        ("observations.last_step", "metrics"),
        "close the recorder after training, and call run.log(split='val', student_accuracy=…) once an epoch",
    ),
    "ThresholdShifts": (("predictions",), "record teacher and student logits of a yes-or-no task"),
    "TargetOutcome": (("targets",), "declare targets.retention, latency_ms or size_mb in kd_run.yaml"),
    "TrainedLengths": (
        ("predictions/train", "predictions/val"),
        "record both splits of a task of tokens: pass train_data=… and val_data=… to kddoctor.record",
    ),
    "TargetsAgainstOwn": (
        ("steps.teacher_logits_check", "observations.inputs"),
        "let kddoctor.record run the teacher twice (teacher_logits_check in steps.safetensors) and watch both models",
    ),
    "PastItsBest": (
        ("metrics",),
        "call run.log(split='val', student_accuracy=…) at least eight times over the run (metrics.jsonl)",
    ),
    "RowEnds": (
        ("observations.sequences.eos_token_id", "predictions/train"),
        "write sequences: {eos_token_id: …, teacher_eos_token_id: …} to observations.json of a run of tokens",
    ),
    "OwnSamples": (
        ("observations.sequences.teacher_nll_of_student_samples",),
        "let both models continue the same prompts, and write the teacher's loss by position to observations.json: "
        "sequences: {teacher_nll_of_student_samples: […], teacher_nll_of_teacher_samples: […]}",
    ),
    "SampledTexts": (
        ("metrics.completion_length", "metrics.student_entropy", "metrics.teacher_topk_mass"),
        "log completion_length, student_entropy and teacher_topk_mass of what the student writes (metrics.jsonl)",
    ),
    "TraceLengths": (
        ("observations.sequences.long_traces", "observations.sequences.short_traces"),
        "train the student on short traces of the same problems as well, and write to observations.json: sequences: "
        "{long_traces: {metric, length, rows}, short_traces: {metric, length, rows}}",
    ),
    "TrainingWindows": (
        ("observations.training_windows",),
        "write training_windows: {teacher: [from, to], student: [from, to]} to observations.json",
    ),
    "NonTargetStructure": (
        ("predictions", "num_classes"),
        "record the teacher's logits and labels of three classes or more (predictions/train.safetensors)",
    ),
    "TeacherErrorsBySplit": (("predictions",), "record the teacher's logits and labels of one split"),
    "LogitScale": (("predictions",), "record teacher and student logits of one split"),
    "EnsembleMeans": (
        ("steps.teacher_member_logits",),
        "where several models teach, add their logits to steps.safetensors: teacher_member_logits [K, M, B, C]",
    ),
    "ScoreLink": (
        ("steps.teacher_logits_check",),
        "let kddoctor.record run the teacher twice (teacher_logits_check in steps.safetensors)",
    ),
    "PopularityLean": (
        ("predictions.item_ids", "predictions/train"),
        "record item_ids in predictions/train.safetensors and predictions/val.safetensors",
    ),
    "PositivesKept": (
        ("predictions/train", "predictions/val"),
        "record yes-or-no labels and the teacher's scores of the training rows and of held-out ones",
    ),
    "StudentPath": (
        ("steps",),
        "call run.step(loss=…, student_logits=…, teacher_logits=…, labels=…) in the loop (steps.safetensors)",
    ),
    "ScaleFit": (
        ("predictions/train", "distillation"),
        "pass train_data=… to kddoctor.record, and declare loss, temperature and alpha in kd_run.yaml",
    ),
    "RateSigns": (("metrics",), "call run.step(loss=…) in the loop, with the optimizer given to kddoctor.record"),
    "FeatureTerm": (("steps.feature_loss",), "call run.step(loss=…, kd_loss=…, ce_loss=…, feature_loss=…) in the loop"),
    "LayerRanks": (("features",), "record layers of both models with kddoctor.record(…, layers=[…])"),
    "LogitSimilarity": (("features",), "record layers of both models with kddoctor.record(…, layers=[…])"),
    "LossMistakes": (
        ("steps",),
        "call run.step(loss=…, kd_loss=…, student_logits=…, teacher_logits=…, labels=…) in the loop",
    ),
    "TokenShift": (
        ("steps of a task of tokens",),
        "call run.step(…) with student_logits and teacher_logits [B, L, V] and labels [B, L] in the loop",
    ),
    "LossNumerics": (
        ("steps.kd_loss",),
        "call run.step(loss=…, kd_loss=…, student_logits=…, teacher_logits=…, labels=…) in the loop",
    ),
    "GradientScale": (
        ("steps.expected_grad_norm", "steps.grad_norm"),
        "pass optimizer=… to kddoctor.record, and the loss with its graph to run.step, before backward()",
    ),
}
