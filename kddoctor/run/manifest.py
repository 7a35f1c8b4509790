"""kd_run.yaml: what the run is, and what its author meant to do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from kddoctor.errors import RunError, shown
from kddoctor.run.entry import is_argument, script_line, settings_file
from kddoctor.run.manifest_errors import manifest_error, unknown_keys
from kddoctor.run.paths import read_text
from kddoctor.run.yaml_text import dump_yaml, parse_yaml

MANIFEST_FILE = "kd_run.yaml"
MAX_MANIFEST_BYTES = 1 << 20
FORMAT = 1

Task = Literal["multiclass", "binary", "multilabel", "ranking", "tokens"]
Loss = Literal["kl", "reverse-kl", "jsd", "mse", "none", "custom"]
TASKS_WITH_CLASSES: frozenset[str] = frozenset({"multiclass", "multilabel", "tokens"})
#: Temperatures outside of these are typing errors, and their powers leave the range of floats.
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 1e-6, 1e6


def _not_a_boolean(value: object) -> object:
    # YAML reads yes and no as booleans, and pydantic would read those on as 1 and 0.
    if isinstance(value, bool):
        raise ValueError("a number")
    return value


def _a_usable_temperature(value: float) -> float:
    if not LOWEST_TEMPERATURE <= value <= HIGHEST_TEMPERATURE:
        raise ValueError(f"a number from {LOWEST_TEMPERATURE:g} to {HIGHEST_TEMPERATURE:g}")
    return value


def _class_name(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("text (YAML reads yes, no, on and off as true and false: put quotes round them)")
    return str(value) if isinstance(value, int | float) else value


Integer = Annotated[int, BeforeValidator(_not_a_boolean)]
Number = Annotated[float, BeforeValidator(_not_a_boolean), Field(allow_inf_nan=False)]
ClassName = Annotated[str, BeforeValidator(_class_name)]
Reference = Annotated[str, Field(pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*$")]


class Section(BaseModel):
    """A mapping of the manifest. Keys it does not know are kept, in ``model_extra``."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())


class Distillation(Section):
    """What the user meant to do. Loss, temperature and alpha are None where they were not declared.

    temperature: divides the logits of both models, from 1e-6 to 1e6. alpha: weight of the distillation term, >= 0, with
    1 - alpha on the hard-label term. temperature_squared: the distillation term is meant to carry T^2.
    feature_layers: pairs (teacher layer, student layer).
    """

    loss: Loss | None = None
    temperature: Annotated[Number, Field(gt=0), AfterValidator(_a_usable_temperature)] | None = None
    alpha: Annotated[Number, Field(ge=0)] | None = None
    temperature_squared: bool = True
    feature_layers: list[tuple[str, str]] = []


class Training(Section):
    """How the student was trained, as far as it was declared."""

    epochs: Annotated[Integer, Field(ge=0)] | None = None
    batch_size: Annotated[Integer, Field(ge=1)] | None = None
    optimizer: str | None = None
    learning_rate: Annotated[Number, Field(ge=0)] | None = None
    momentum: Annotated[Number, Field(ge=0)] | None = None
    weight_decay: Annotated[Number, Field(ge=0)] | None = None
    seed: Integer | None = None


class Targets(Section):
    """What success means to this user. retention: share of the teacher's metric. latency_ms: per batch. size_mb: of the
    student's checkpoint, in 10^6 bytes.
    """

    retention: Annotated[Number, Field(gt=0)] | None = None
    latency_ms: Annotated[Number, Field(gt=0)] | None = None
    size_mb: Annotated[Number, Field(gt=0)] | None = None


class Code(Section):
    """Where the run's own code lies, as ``module:name`` references; imported only when the caller asks.

    test_data: only where the run holds predictions of a test split. assistant, wider_student: models that experiments
    of ``treat`` compare with, one between student and teacher in size, and the student with a layer widened.

    entry: the command line of the run's own training script, a Python file inside ``path`` and its arguments, for
    ``treat`` to run. config: the script's settings file, YAML or JSON. keys: a key of a prescription to the place of
    the same setting: a dotted key of that file, a flag such as ``--epochs``, or the beginning of an argument such as
    ``training.epochs=``.
    """

    path: str = "."
    teacher: Reference | None = None
    student: Reference | None = None
    train_data: Reference | None = None
    val_data: Reference | None = None
    test_data: Reference | None = None
    loss: Reference | None = None
    teacher_transform: Reference | None = None
    assistant: Reference | None = None
    wider_student: Reference | None = None
    entry: Annotated[str, AfterValidator(script_line)] | None = None
    config: Annotated[str, AfterValidator(settings_file)] | None = None
    keys: dict[str, Annotated[str, Field(min_length=1)]] = {}

    @property
    def names_functions(self) -> bool:
        """Whether both models and both data sets come from functions, so that another loop can train with them."""
        return None not in (self.teacher, self.student, self.train_data, self.val_data)

    @model_validator(mode="after")
    def _entry_and_settings_agree(self) -> Self:
        if self.entry is None and (self.keys or self.config is not None):
            raise RunError(MANIFEST_FILE, "code.entry", "missing", "the script's command line, as in train.py")
        in_file = next((place for place in self.keys.values() if not is_argument(place)), None)
        if in_file is not None and self.config is None:
            found = f"missing, but code.keys names {shown(in_file)}"
            raise RunError(MANIFEST_FILE, "code.config", found, "the settings file, as in config.yaml")
        return self


class Manifest(Section):
    """kd_run.yaml. num_classes is there for multiclass, multilabel and tokens (the vocabulary size).

    imported: where an imported run came from, and what its source did not hold. Only such a run may lack num_classes
    and predictions: another tool's logs seldom hold them.
    """

    format: Integer = FORMAT
    task: Task
    num_classes: Annotated[Integer, Field(ge=2)] | None = None
    class_names: list[ClassName] | None = None
    distillation: Distillation = Distillation()
    training: Training = Training()
    targets: Targets = Targets()
    code: Code | None = None
    imported: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _empty_sections_say_nothing(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        sections = ("distillation", "training", "targets")
        return {key: value for key, value in data.items() if not (key in sections and value is None)}

    @model_validator(mode="after")
    def _classes_agree(self) -> Self:
        if self.task in TASKS_WITH_CLASSES and self.num_classes is None and self.imported is None:
            raise RunError(
                MANIFEST_FILE,
                "num_classes",
                "missing",
                f"the number of classes, which task {self.task} needs",
            )
        names = self.class_names
        if names is not None and self.num_classes is not None and len(names) != self.num_classes:
            raise RunError.plain(
                f"{MANIFEST_FILE}: class_names has {len(names)} names but num_classes is "
                f"{self.num_classes}; they must agree."
            )
        return self


def read_manifest(path: Path) -> tuple[Manifest, tuple[str, ...]]:
    """Read a manifest; returns it and one warning line for every key that kddoctor does not know.

    Raises RunError where the file is missing, larger than 1 MiB, not valid YAML, or says something that
    the contract does not allow.
    """
    data = parse_yaml(read_text(path, MANIFEST_FILE, MAX_MANIFEST_BYTES), MANIFEST_FILE)
    if data is None:
        raise RunError.plain(f"{MANIFEST_FILE}: is empty; it needs at least task, and num_classes for most tasks.")
    if not isinstance(data, dict):
        raise RunError.plain(f"{MANIFEST_FILE}: holds a {type(data).__name__}; expected keys and values.")
    manifest = manifest_from(data)
    return manifest, unknown_keys(manifest, MANIFEST_FILE)


def manifest_from(data: dict[str, Any]) -> Manifest:
    """A manifest from plain values, such as a parsed kd_run.yaml. Raises RunError as read_manifest does."""
    _refuse_a_newer_format(data.get("format"))
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        raise manifest_error(error, MANIFEST_FILE, Manifest) from None
    except RecursionError:
        raise RunError.plain(f"{MANIFEST_FILE}: is nested too deeply.") from None


def _refuse_a_newer_format(declared: object) -> None:
    # Before everything else: a newer format may differ in any other key.
    if isinstance(declared, int) and declared != FORMAT:
        advice = "a newer kddoctor wrote it; upgrade" if declared > FORMAT else None
        raise RunError(MANIFEST_FILE, "format", str(declared), str(FORMAT), advice)


def manifest_to_yaml(manifest: Manifest) -> str:
    """The manifest as YAML that read_manifest reads back equal. Unknown keys are kept, Nones left out."""
    return dump_yaml(_plain(manifest))


def _plain(section: Section) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            # An optional section that is there but empty (code: {}) differs from one that is not.
            value = _plain(value) or ({} if type(section).model_fields[name].default is None else None)
        elif name == "feature_layers":
            value = [list(pair) for pair in value] or None
        elif name == "keys":
            value = value or None
        if value is not None:
            values[name] = value
    return {**values, **(section.model_extra or {})}


def code_directory(run_path: Path, code: Code) -> Path:
    """The directory to put on sys.path for the run's own code.

    Raises RunError where code.path is absolute, leads out of the run directory (also through a link), or
    is not a directory.
    """
    relative = Path(code.path)
    expected = "a directory inside the run directory, relative to it"
    if relative.is_absolute():
        raise RunError(MANIFEST_FILE, "code.path", repr(code.path), expected)
    try:
        root = run_path.resolve()
        directory = (root / relative).resolve()
        inside, exists = directory.is_relative_to(root), directory.is_dir()
    except (OSError, RuntimeError, ValueError):
        inside = exists = False
    if not (inside and exists):
        raise RunError(MANIFEST_FILE, "code.path", repr(code.path), expected)
    return directory
