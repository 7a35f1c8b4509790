"""An even sample of a stream whose length nobody knows."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

Item = TypeVar("Item")


class Thinned(Generic[Item]):
    """Keeps every stride-th item, at most ``capacity``; the stride doubles when it is full.

    So the first item stays for good, and those kept are evenly spread over everything offered.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = max(1, capacity)
        self.stride = 1
        self.offered = 0
        self.items: list[tuple[int, Item]] = []

    def wants(self) -> bool:
        """Whether the next item is one to keep. Makes room for it."""
        if self.offered % self.stride == 0 and len(self.items) >= self.capacity:
            self.stride *= 2
            self.items = [(index, item) for index, item in self.items if index % self.stride == 0]
        return self.offered % self.stride == 0

    def keep(self, item: Item) -> None:
        """Take the next item."""
        self.items.append((self.offered, item))
        self.offered += 1

    def skip(self) -> None:
        """Count the next item without taking it."""
        self.offered += 1

    def state_dict(self) -> dict[str, Any]:
        return {"stride": self.stride, "offered": self.offered, "items": [list(pair) for pair in self.items]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.stride, self.offered = state["stride"], state["offered"]
        self.items = [(index, item) for index, item in state["items"]]
