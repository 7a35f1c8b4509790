"""Files that a command writes beside what it prints."""

from kddoctor.files import write_whole

__all__ = ["write_whole"]
