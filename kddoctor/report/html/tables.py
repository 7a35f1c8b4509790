"""A data frame as the text of an HTML table."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

#: Rows that a table shows; of longer ones as many, evenly spread.
MOST_ROWS = 40
#: Significant figures.
FIGURES = 4


@dataclass(frozen=True)
class Table:
    """Text throughout. numeric: whether each column holds numbers. note: on rows that were left out."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    note: str = ""


def table_of(frame: pd.DataFrame, most: int = MOST_ROWS) -> Table:
    """The frame, or evenly spread rows of it; columns without any value are left out."""
    shown = frame.dropna(axis="columns", how="all")
    note = ""
    if len(shown) > most:
        chosen = np.linspace(0, len(shown) - 1, most).round().astype(int)
        note = f"{most} of {len(shown):,} rows, evenly spread."
        shown = shown.iloc[chosen]
    numeric = tuple(
        bool(pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind)) for kind in shown.dtypes
    )
    return Table(
        heads=tuple(str(name).replace("_", " ") for name in shown.columns),
        rows=tuple(tuple(map(cell, row)) for row in shown.itertuples(index=False, name=None)),
        numeric=numeric,
        note=note,
    )


def cell(value: object) -> str:
    """One value as text: four significant figures, nothing for what is not there."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else ""
    if isinstance(value, int | np.integer):
        return f"{int(value)}"
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{float(value):.{FIGURES}g}"
    return "" if value is None else str(value)
