"""Arrow's comparisons with a plain value, which pyarrow's type stubs don't know."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def equal(column: pa.Array | pa.ChunkedArray, value: Any) -> Any:
    """Where a column has a value: a mask for `filter`, null where the column is."""
    compare: Any = pc.equal
    return compare(column, value)
