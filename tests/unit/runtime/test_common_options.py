"""Options that commands share: scale numbers."""

import pytest
import typer

from runtime import common_options


@pytest.mark.parametrize(
    ("text", "scales"),
    [("0", (0,)), ("2,0,1", (0, 1, 2)), ("1-3", (1, 2, 3)), ("0, 2-3,3", (0, 2, 3))],
)
def test_scales_are_read(text: str, scales: tuple[int, ...]) -> None:
    """Lists and ranges, in order, each once."""
    assert common_options.parse_scales(text) == scales


@pytest.mark.parametrize(
    "text", ["", "a", "-1", "1-", "1,,2", "1.5", "²", "0-9999999999", "9" * 5000]
)
def test_text_that_is_not_a_scale_is_refused(text: str) -> None:
    """With the option's name."""
    with pytest.raises(typer.BadParameter):
        common_options.parse_scales(text)
