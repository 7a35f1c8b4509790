"""Looking over a method's shoulder."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


class Intercepted:
    """A method of one object that tells what it is called with and what it returns, until it is closed.

    before: called with the arguments of each call; after: with what ``before`` returned and the method's result. Both
    have to keep their exceptions to themselves.
    """

    def __init__(
        self,
        owner: Any,
        name: str,
        *,
        before: Callable[..., Any] = lambda *args, **kwargs: None,
        after: Callable[[Any, Any], None] = lambda noted, result: None,
    ) -> None:
        self._owner, self._name = owner, name
        self._own = vars(owner).get(name)  # somebody else may have replaced it on this object, too
        original = getattr(owner, name)

        @functools.wraps(original)
        def telling(*args: Any, **kwargs: Any) -> Any:
            noted = before(*args, **kwargs)
            result = original(*args, **kwargs)
            after(noted, result)
            return result

        self._telling = telling
        setattr(owner, name, telling)

    def close(self) -> None:
        if vars(self._owner).get(self._name) is not self._telling:
            return  # replaced since, by somebody who calls ours
        if self._own is None:
            delattr(self._owner, self._name)
        else:
            setattr(self._owner, self._name, self._own)
