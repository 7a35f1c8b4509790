"""Plain values out of a pickle, found by looking through it. Nothing in it is carried out, and no class is imported."""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Settings are small; a pickle with more is left alone.
MOST_BYTES, MOST_OPERATIONS = 4 << 20, 200_000
#: Where torch.save puts what is no tensor.
IN_ARCHIVE = "/data.pkl"

_MARK = object()


@dataclass
class _Thing:
    """An object that was not made. arguments: what its class would have been called with; state: its attributes."""

    arguments: object = None
    state: object = None


class _NotPlainError(Exception):
    """The pickle does something that is not followed here."""


def attributes_of(path: Path) -> dict[str, Any]:
    """Numbers, texts and truth values among the attributes of the object that torch.save put into a file.

    A member of an enumeration is its value. Empty where the file is something else, or is not certain to be understood.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.endswith(IN_ARCHIVE)]
            if len(entries) != 1 or entries[0].file_size > MOST_BYTES:
                return {}
            data = archive.read(entries[0])
        held = _looked_through(data)
    except (OSError, ValueError, IndexError, KeyError, TypeError, zipfile.BadZipFile, RuntimeError, _NotPlainError):
        return {}  # a broken file, in one of many ways
    state = held.state if isinstance(held, _Thing) else None
    if not isinstance(state, dict):
        return {}
    values = {name: _plain(value) for name, value in state.items() if isinstance(name, str)}
    return {name: value for name, value in values.items() if isinstance(value, bool | int | float | str)}


def _plain(value: object) -> object:
    if isinstance(value, _Thing) and isinstance(value.arguments, tuple) and len(value.arguments) == 1:
        return value.arguments[0]
    return value


def _looked_through(data: bytes) -> object:
    """What lies on the stack at the end, with a ``_Thing`` for every object."""
    stack: list[Any] = []
    memo: list[Any] = []  # as picklers number what they may need again: one after the other
    for count, (operation, argument, _) in enumerate(pickletools.genops(data)):
        name = operation.name
        if name == "STOP":
            return stack.pop()
        if count > MOST_OPERATIONS:
            break
        if name in _REMEMBERING:
            if argument not in (None, len(memo)):
                break
            memo.append(stack[-1])
        elif name in _REMEMBERED:
            stack.append(memo[argument])  # type: ignore[index]
        elif name in _LITERALS:
            stack.append(argument)
        elif name not in ("PROTO", "FRAME"):
            _ON_STACK[name](stack)
    raise _NotPlainError


def _since_mark(stack: list[Any]) -> list[Any]:
    place = len(stack) - 1 - stack[::-1].index(_MARK)
    items = stack[place + 1 :]
    del stack[place:]
    return items


def _last(stack: list[Any], count: int) -> list[Any]:
    if len(stack) < count:
        raise _NotPlainError
    items = stack[len(stack) - count :]
    del stack[len(stack) - count :]
    return items


def _set(stack: list[Any], items: list[Any]) -> None:
    if isinstance(stack[-1], dict):
        stack[-1].update(zip(map(_key, items[::2]), items[1::2], strict=True))


def _key(key: object) -> object:
    return key if isinstance(key, str | int) else None


def _append(stack: list[Any], items: list[Any]) -> None:
    if isinstance(stack[-1], list):
        stack[-1].extend(items)


def _call(stack: list[Any]) -> None:
    _, arguments = _last(stack, 2)
    stack.append(_Thing(arguments))


def _build(stack: list[Any]) -> None:
    (state,) = _last(stack, 1)
    if isinstance(stack[-1], _Thing):
        stack[-1].state = state


def _of_tuple(count: int) -> Callable[[list[Any]], None]:
    return lambda stack: stack.append(tuple(_last(stack, count)))


def _constant(make: Callable[[], Any]) -> Callable[[list[Any]], None]:
    return lambda stack: stack.append(make())


_REMEMBERING, _REMEMBERED = ("BINPUT", "LONG_BINPUT", "MEMOIZE"), ("BINGET", "LONG_BINGET")
_LITERALS = frozenset(
    ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES")
)
#: Of protocols 2 to 5, which torch.save writes; an operation that is missing here ends the look.
_ON_STACK: Mapping[str, Callable[[list[Any]], None]] = {
    "MARK": lambda stack: stack.append(_MARK),
    "NONE": _constant(lambda: None),
    "NEWTRUE": _constant(lambda: True),
    "NEWFALSE": _constant(lambda: False),
    "EMPTY_DICT": _constant(dict),
    "EMPTY_LIST": _constant(list),
    "EMPTY_TUPLE": _constant(tuple),
    "EMPTY_SET": _constant(list),
    "GLOBAL": _constant(_Thing),
    "STACK_GLOBAL": lambda stack: stack.append(_Thing(_last(stack, 2) and None)),
    "BINPERSID": lambda stack: stack.append(_Thing(_last(stack, 1) and None)),
    "TUPLE": lambda stack: stack.append(tuple(_since_mark(stack))),
    "TUPLE1": _of_tuple(1),
    "TUPLE2": _of_tuple(2),
    "TUPLE3": _of_tuple(3),
    "SETITEM": lambda stack: _set(stack, _last(stack, 2)),
    "SETITEMS": lambda stack: _set(stack, _since_mark(stack)),
    "APPEND": lambda stack: _append(stack, _last(stack, 1)),
    "APPENDS": lambda stack: _append(stack, _since_mark(stack)),
    "ADDITEMS": lambda stack: _append(stack, _since_mark(stack)),
    "REDUCE": _call,
    "NEWOBJ": _call,
    "BUILD": _build,
}
