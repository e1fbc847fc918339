"""The kernels, and their stub in the wheel; all else stands in pyproject.toml."""

import os
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py


class BuildWithStub(build_py):
    """Adds `_braid.pyi` as the package `_braid-stubs`: PEP 561 has no stub beside a lone module."""

    def run(self) -> None:
        """Copy the stub, but not into an editable install."""
        super().run()
        if not self.editable_mode:
            self.mkpath(f"{self.build_lib}/_braid-stubs")
            self.copy_file("_braid.pyi", f"{self.build_lib}/_braid-stubs/__init__.pyi")


setup(
    cmdclass={"build_py": BuildWithStub},
    ext_modules=[
        Extension(
            "_braid",
            ["_braid.pyx"],
            depends=["_braid.pxd", "_braid.pyi", *map(str, sorted(Path("kernels").iterdir()))],
            extra_compile_args=os.environ.get("KERNEL_FLAGS", "-O3").split(),
        )
    ],
)
