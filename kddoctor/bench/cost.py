"""What one diagnosis costs, as the command line makes it."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

#: Runs in a process of its own, whose memory nothing else has touched.
SCRIPT = """
import json, resource, sys, time
started = time.perf_counter()
from kddoctor.engine import diagnose
from kddoctor.run import load
diagnose(load(sys.argv[1]))
seconds = time.perf_counter() - started
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


@dataclass(frozen=True)
class Cost:
    """seconds: imports included. mebibytes: the largest the process ever was."""

    seconds: float
    mebibytes: float


def cost_of(run: Path) -> Cost:
    """Diagnose a record in a fresh process."""
    found = subprocess.run([sys.executable, "-c", SCRIPT, str(run)], check=True, capture_output=True, text=True)
    return Cost(*json.loads(found.stdout.splitlines()[-1]))
