"""Types that several modules share: vectors, boxes, arrays and buffers."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Vec3: TypeAlias = tuple[int, int, int]
Box: TypeAlias = tuple[Vec3, Vec3]  # [begin, end)

UInt8Array: TypeAlias = npt.NDArray[np.uint8]
Int32Array: TypeAlias = npt.NDArray[np.int32]
UInt32Array: TypeAlias = npt.NDArray[np.uint32]
Int64Array: TypeAlias = npt.NDArray[np.int64]
UInt64Array: TypeAlias = npt.NDArray[np.uint64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

BytesLike: TypeAlias = bytes | bytearray | memoryview
