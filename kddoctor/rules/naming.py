"""Which code did the user mean: codes, names, and beginnings of codes."""

import difflib

from kddoctor.errors import UsageError
from kddoctor.rules.registry import Rule, all_rules

#: Letters that are typed for digits.
LOOKALIKES = str.maketrans("OIL", "011")
MOST_HINTS = 3


def find_rule(code: str) -> Rule:
    """The rule of a code or name. Raises UsageError with the nearest known one."""
    rules = all_rules()
    wanted = code.strip()
    by_name = {rule.name: rule for rule in rules.values()}
    found = rules.get(wanted.upper()) or by_name.get(wanted.lower())
    if found is not None:
        return found
    if not wanted:
        raise UsageError("no code is given; `kddoctor explain` lists them")
    typed = wanted.upper().translate(LOOKALIKES)
    near = [code for code in rules if code.startswith(typed)] or difflib.get_close_matches(typed, rules, cutoff=0.9)
    near = near or difflib.get_close_matches(wanted.lower(), by_name, n=1)
    near = near or difflib.get_close_matches(typed, rules)
    hint = f"; did you mean {' or '.join(near[:MOST_HINTS])}?" if near else "; `kddoctor explain` lists all codes"
    raise UsageError(f"there is no {wanted}{hint}")


def code_or_prefix(text: str) -> str:
    """What a user typed, as a code or the beginning of codes; names become codes. Raises UsageError for all else."""
    typed = text.strip().upper()
    if typed and any(code.startswith(typed) for code in all_rules()):
        return typed
    return find_rule(text).code
