"""Size of a coverage map on the page: of its cells, and which of them are drawn."""

from dataclasses import dataclass
from typing import Final

from producer.coverage import CoverageMap

LARGEST_CELL: Final = 22  # pixels
_LEAST_CELL: Final = 3
_GOOD_PIXELS, _MOST_PIXELS = 200, 330  # of a layer's edge; the most is as wide as a phone
_GOOD_AREA, _MOST_AREA = 750_000, 2_000_000  # pixels of a scale's layers, with their captions
_GAP_PIXELS, _CAPTION_PIXELS = 12, 30
_LEAST_PIXELS: Final = 104  # of a layer's width, so that its caption is a line


@dataclass(frozen=True)
class Drawing:
    """A map and its size on the page.

    Attributes:
        map: as it is drawn.
        cell: pixels of its edge.
        origin: first cell that is drawn, x y.
        cells: drawn, x y.
    """

    map: CoverageMap
    cell: int
    origin: tuple[int, int]
    cells: tuple[int, int]

    @classmethod
    def fit(cls, one: CoverageMap, most: int) -> "Drawing":
        """The whole grid, or where that is too large what has shards, made coarser if need be.

        Args:
            one: the map.
            most: pixels of a cell.
        """
        drawing = cls._of(one, _LEAST_CELL)
        while not drawing.fits(_MOST_PIXELS, _MOST_AREA) and max(drawing.map.grid) > 1:
            drawing = cls._of(drawing.map.coarsened((2, 2, 2)), _LEAST_CELL)
        sizes = (cls._of(drawing.map, cell) for cell in range(most, _LEAST_CELL, -1))
        return next((size for size in sizes if size.fits(_GOOD_PIXELS, _GOOD_AREA)), drawing)

    @classmethod
    def _of(cls, one: CoverageMap, cell: int) -> "Drawing":
        x, y, _ = one.grid
        if max(x, y) * _LEAST_CELL <= _MOST_PIXELS:
            return cls(one, cell, (0, 0), (x, y))
        (left, top, _), (x, y, _) = one.bounds[0].tolist(), one.extent
        return cls(one, cell, (left, top), (x, y))

    def fits(self, pixels: int, area: int) -> bool:
        """Whether a layer's edges and all layers together are at most so large."""
        width, height = (self.cell * cells for cells in self.cells)
        taken = (self.layer_width + _GAP_PIXELS) * (height + _CAPTION_PIXELS)
        return max(width, height) <= pixels and taken * len(self.map.layers) <= area

    @property
    def layer_width(self) -> int:
        """Pixels of a layer, or of its caption."""
        return max(self.cell * self.cells[0], _LEAST_PIXELS)

    @property
    def width(self) -> int:
        """Pixels of the layers side by side."""
        return (self.layer_width + _GAP_PIXELS) * len(self.map.layers)
