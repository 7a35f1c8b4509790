"""The JSON schema of a diagnosis: ``python -m kddoctor.report.schema > kddoctor/report/diagnosis.schema.json``."""

import json
import sys

from kddoctor.engine.diagnosis import Diagnosis


def diagnosis_schema() -> str:
    """The schema of what ``kddoctor diagnose --json`` writes, from the types themselves."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Diagnosis.model_json_schema(mode="serialization"),
    }
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(diagnosis_schema())
