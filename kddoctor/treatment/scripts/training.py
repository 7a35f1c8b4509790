"""One training by a script, remembered, so that what is finished is not run again."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from kddoctor.errors import RunError, UsageError, one_line
from kddoctor.files import write_whole
from kddoctor.run.directory import Run, load
from kddoctor.run.manifest import MANIFEST_FILE
from kddoctor.run.recording.redirection import RUN_DIR_VARIABLE
from kddoctor.treatment.scripts.overriding import Overridden
from kddoctor.treatment.scripts.running import run_script
from kddoctor.treatment.scripts.script import Script
from kddoctor.treatment.scripts.workspace import copy_code, take_over, wrote_of_its_own
from kddoctor.treatment.work_directory import SCRIPT

#: Set to 1 for a script that was interrupted: it may go on from a checkpoint of its own, in its working directory.
RESUME_VARIABLE = "KDDOCTOR_RESUME"
LOG_LINES = 200


def steps_of(run: Run) -> int:
    """Training steps that its metrics know of."""
    steps = [step for row in run.metrics if isinstance(step := row.get("step"), int | float) and abs(step) < 2**53]
    return int(max(steps)) + 1 if steps else 0


@dataclass(frozen=True)
class ScriptTraining:
    """One run of a script by its changed settings. work: its own directory. log: where a failure is written to."""

    run: Run
    script: Script
    changed: Overridden
    work: Path
    log: Path

    def carry_out(self, *, quiet: bool) -> Run:
        """The run that the script records; what was finished before is taken as it is.

        Raises UsageError where the script fails or records nothing, or where another training lies in ``work``.
        """
        known = self._known()
        if not known.get("finished"):
            self._train(interrupted=bool(known), quiet=quiet)
        return load(self.recorded)

    @property
    def recorded(self) -> Path:
        """Where the script's record goes."""
        return self.work / "run"

    def _train(self, *, interrupted: bool, quiet: bool) -> None:
        workspace = self.work / "code"
        here = self.script.folder.relative_to(self.run.path.resolve())
        texts = {} if self.script.config is None else {here / self.script.config: self.changed.settings}
        shutil.rmtree(self.recorded, ignore_errors=True)  # of an interrupted script: half a record
        self._remember(finished=False)
        copy_code(self.run, workspace, texts)
        environment = {RUN_DIR_VARIABLE: str(self.recorded.resolve())}
        if interrupted:
            environment[RESUME_VARIABLE] = "1"
        status, output = run_script(self.changed.words, workspace / here, environment, quiet=quiet)
        if status != 0:
            raise UsageError(self._failure(status, output))
        try:
            load(self.recorded)
        except RunError as error:
            raise UsageError(self._nothing_recorded(error)) from None
        take_over(self.run, workspace, self.recorded)
        self._remember(finished=True)

    def _known(self) -> dict[str, object]:
        """What was remembered of an earlier attempt; nothing where there was none."""
        path = self.work / SCRIPT
        if not path.is_file():
            return {}
        try:
            known: dict[str, object] = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            known = {}
        if known.get("signature") != self._signature():
            raise UsageError(f"{path}: belongs to another treatment; delete {self.work}, or ask for the same as before")
        return known

    def _remember(self, *, finished: bool) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        write_whole(self.work / SCRIPT, json.dumps({"signature": self._signature(), "finished": finished}))

    def _signature(self) -> str:
        what = json.dumps([self.changed.words, self.changed.settings])
        return hashlib.blake2b(what.encode(), digest_size=16).hexdigest()

    def _failure(self, status: int, output: bytes) -> str:
        lines = output.decode(errors="replace").splitlines()[-LOG_LINES:]
        write_whole(self.log, "\n".join(lines) + "\n")
        last = next((line for line in map(one_line, reversed(lines)) if line), "it wrote nothing")
        how = f"exit status {status}" if status > 0 else f"signal {-status}"
        where = f"its last output is in {self.log}"
        if wrote_of_its_own(self.run, self.work / "code"):
            where += "; --resume runs it again beside the files that it saved"
        else:
            shutil.rmtree(self.work)
        return f"{self.script.words[0]}: failed with {how}: {last} ({where})"

    def _nothing_recorded(self, error: RunError) -> str:
        if not (self.recorded / MANIFEST_FILE).exists():
            why = "ended without a record; does it call kddoctor.record, or run.finish(), to its end?"
        else:
            why = f"left a record that cannot be read: {error}"
        shutil.rmtree(self.work)
        return f"{self.script.words[0]}: {why}"
