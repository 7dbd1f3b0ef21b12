"""Where the batches of one table and hour stand: a growing list in log order.

Owns the arithmetic between rows, batches and byte ranges. Reads no file.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_SEGMENT, _OFFSET, _BODY, _END, _FIRST_ROW = range(5)


class BatchList:
    """The durable batches of a table in log order; row numbers count from the hour's first row."""

    def __init__(self) -> None:
        self._data: Ints = np.zeros((256, 5), np.int64)
        self.count = 0
        """Batches."""
        self.rows = 0
        """Rows in them."""

    def add(self, segment: int, frames: Iterable[tuple[int, int, int, int]]) -> None:
        """Append batches of a segment: (offset, body, end, rows) in bytes from the file's start."""
        for offset, body, end, rows in frames:
            if self.count == len(self._data):
                self._data = np.concatenate([self._data, np.zeros_like(self._data)])
            self._data[self.count] = (segment, offset, body, end, self.rows)
            self.count += 1
            self.rows += rows

    @property
    def segment(self) -> Ints:
        """Each batch's segment number."""
        return self._data[: self.count, _SEGMENT]

    @property
    def offset(self) -> Ints:
        """Where each batch's dictionaries begin."""
        return self._data[: self.count, _OFFSET]

    @property
    def body(self) -> Ints:
        """Where each batch's record batch message begins."""
        return self._data[: self.count, _BODY]

    @property
    def end(self) -> Ints:
        """Where each batch ends."""
        return self._data[: self.count, _END]

    @property
    def first_row(self) -> Ints:
        """Each batch's first row."""
        return self._data[: self.count, _FIRST_ROW]

    def row_end(self, end: int) -> int:
        """Return the row number after the last row of the batches before batch ``end``."""
        return int(self.first_row[end]) if end < self.count else self.rows

    def of_rows(self, rows: Ints) -> Ints:
        """Return the batch of each row number."""
        return np.searchsorted(self.first_row, rows, side="right") - 1

    def sizes(self, numbers: Ints) -> Ints:
        """Return the rows of each of these batches."""
        last = self.count - 1
        ends = np.where(numbers < last, self.first_row[np.minimum(numbers + 1, last)], self.rows)
        return ends - self.first_row[numbers]

    def row_numbers(self, numbers: Ints) -> Ints:
        """Return the numbers of all rows of these batches, batch by batch."""
        sizes = self.sizes(numbers)
        before = np.cumsum(sizes) - sizes
        return np.repeat(self.first_row[numbers] - before, sizes) + np.arange(int(sizes.sum()))
