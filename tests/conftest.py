"""Programs that one test compiles serve the others, also in other workers and in commands."""

import os
import shutil
import tempfile

FOLDER = "JAX_COMPILATION_CACHE_DIR"
LEAST = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
FLAGS = "XLA_FLAGS"
QUICK = (  # most of a test is compilation, hardly any is running
    "--xla_backend_optimization_level=0 "
    "--xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false"
)


def pytest_configure(config):
    """Share a folder for this run alone; workers inherit it."""
    if not hasattr(config, "workerinput"):
        config.compiled = tempfile.mkdtemp(prefix="emgauss_jax_tests_")
        os.environ[FOLDER], os.environ[LEAST] = config.compiled, "0"
        os.environ.setdefault(FLAGS, QUICK)


def pytest_unconfigure(config):
    """Throw the folder away."""
    if hasattr(config, "compiled"):
        shutil.rmtree(config.compiled, ignore_errors=True)
