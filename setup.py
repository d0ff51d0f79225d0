"""The C extension: optional, and with OpenMP where the compiler has it. Everything else is in pyproject.toml."""

import tempfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

OPENMP = "-fopenmp"


class BuildExt(build_ext):
    def build_extension(self, extension):
        if self._has_openmp():
            extension.extra_compile_args = [*extension.extra_compile_args, OPENMP]
            extension.extra_link_args = [*extension.extra_link_args, OPENMP]
        super().build_extension(extension)

    def _has_openmp(self):
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "probe.c"
            source.write_text("#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n")
            try:
                objects = self.compiler.compile([str(source)], output_dir=folder, extra_postargs=[OPENMP])
                self.compiler.link_executable(objects, "probe", output_dir=folder, extra_postargs=[OPENMP])
            except (CompileError, LinkError, OSError):
                return False
        return True


setup(cffi_modules=["csrc/build_ffi.py:ffi"], cmdclass={"build_ext": BuildExt})
