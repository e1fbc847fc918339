"""An option that commands of the memory model share."""

from typing import Annotated

import typer

from runtime import settings

CoefficientsOption = Annotated[
    str | None,
    typer.Option(
        "--coefficients",
        envvar=settings.MEMORY_COEFFICIENTS,
        metavar="FILE",
        help="What `fit` wrote. Default: the built-in coefficients.",
    ),
]
