"""Other tools' runs as run directories: one file a source. Nothing is unpickled, and no code of a source is run."""

from kddoctor.importers.found import Given
from kddoctor.importers.importing import Imported, import_run, recognised, run_from

__all__ = ["Given", "Imported", "import_run", "recognised", "run_from"]
