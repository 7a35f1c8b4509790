"""Recorders for other libraries are loaded when they are used, and say what is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

HIDING = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {library!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
from kddoctor.errors import KDDoctorError
try:
    from kddoctor.integrations import {recorder}
except KDDoctorError as error:
    print(error)
"""


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_the_package_loads_no_framework() -> None:
    frameworks = ("torch", "transformers", "lightning", "keras", "tensorflow", "numpy")
    code = f"import sys, kddoctor.integrations\nprint([name for name in {frameworks} if name in sys.modules])"
    assert python(code) == "[]"


@pytest.mark.parametrize(
    ("recorder", "library"),
    [("KDDoctorCallback", "transformers"), ("LightningRecorder", "lightning"), ("KerasRecorder", "keras")],
)
def test_a_missing_library_is_one_line_with_the_extra(recorder: str, library: str) -> None:
    said = python(HIDING.format(library=library, recorder=recorder))
    assert said == (
        f"kddoctor.integrations.{recorder} needs {library}; install it with: pip install kddoctor[integrations]"
    )


def test_another_name_is_none_of_the_packages() -> None:
    import kddoctor.integrations

    assert {"KDDoctorCallback", "KerasRecorder", "LightningRecorder"} < set(dir(kddoctor.integrations))
    with pytest.raises(AttributeError, match="has no attribute 'JaxRecorder'"):
        _ = kddoctor.integrations.JaxRecorder
