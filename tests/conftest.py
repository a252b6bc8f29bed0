"""Programs that one test compiles serve the others, also in other workers and in commands."""

import os
import shutil
import subprocess
import sys
import tempfile

FOLDER = "JAX_COMPILATION_CACHE_DIR"
LEAST = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
FLAGS = "XLA_FLAGS"
QUICK = (  # most of a test is compilation, hardly any is running
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_use_fusion_emitters=false",  # unknown to XLA since JAX 0.12
)


def known_flags(flags):
    """Keep the flags that the installed XLA takes: one it does not know ends the process."""
    return [flag for flag in flags if _starts_with(flag)]


def _starts_with(flag):
    start = [sys.executable, "-c", "import jax; jax.devices()"]
    environment = os.environ | {FLAGS: flag, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(start, env=environment, capture_output=True).returncode == 0


def pytest_configure(config):
    """Share a folder for this run alone; workers inherit it."""
    if not hasattr(config, "workerinput"):
        config.compiled = tempfile.mkdtemp(prefix="emgauss_jax_tests_")
        os.environ[FOLDER], os.environ[LEAST] = config.compiled, "0"
        if FLAGS not in os.environ:
            os.environ[FLAGS] = " ".join(known_flags(QUICK))


def pytest_unconfigure(config):
    """Throw the folder away."""
    if hasattr(config, "compiled"):
        shutil.rmtree(config.compiled, ignore_errors=True)
