"""Two of a script's lines, one after the other."""

from collections.abc import Callable

from kddoctor.bench.session import Session

Line = Callable[[Session], None]


def in_turn(first: Line, second: Line) -> Line:
    """What first does, then what second does."""

    def both(session: Session) -> None:
        first(session)
        second(session)

    return both
