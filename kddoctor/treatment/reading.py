"""What a treated run says about its treatment."""

from pydantic import ValidationError

from kddoctor.errors import RunError, shown
from kddoctor.run.directory import Run
from kddoctor.run.paths import file_inside, read_text
from kddoctor.treatment.treat import RESULT, Treatment

MAX_BYTES = 1 << 20


def treatment_of(run: Run) -> Treatment | None:
    """The treatment that made this run; None where it is no treated one. Raises RunError for a broken file."""
    path = file_inside(run.path, RESULT)
    if path is None:
        return None
    try:
        return Treatment.model_validate_json(read_text(path, RESULT, MAX_BYTES))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"])) or "content"
        expected = first["msg"].removeprefix("Input should be ")
        raise RunError(RESULT, key, shown(first.get("input")), expected) from None
