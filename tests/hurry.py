"""The environment of all tests and of the commands that they start; imported before JAX starts.

The CPU shows itself as two devices, and nothing reaches for an accelerator. Most of a test's time is the compiler's, so programs are
compiled in a hurry: without most optimizations, with XLA's older emitters, which later versions lack, and each program in one piece, since
tests run on all cores already.
`JAX_DISABLE_MOST_OPTIMIZATIONS=0` compiles them as users get them, as the last tests of `.ci/run` do.
"""

import importlib.metadata
import os
import threading

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")  # nobody reads where an operation of a program was written
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")  # each is compiled once, in whatever process
HURRY = os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") == "1"
OLDEST = importlib.metadata.version("jaxlib").startswith("0.10.")
FLAG = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
if HURRY and OLDEST and FLAG not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAG}"


_LOWERINGS_OF_A_CONTEXT = 300  # what a context has seen stays in memory as long as it lives


def share_contexts():
    """Lets many lowerings of a thread share one context, which JAX makes anew for each: of tests, in which most programs are tiny, that is a fourteenth of the time."""
    if not (HURRY and OLDEST):
        return
    from jax._src.interpreters import mlir

    make, local = mlir.make_ir_context, threading.local()

    def shared():
        local.left = getattr(local, "left", 0) - 1
        if local.left < 0:
            local.context, local.left = make(), _LOWERINGS_OF_A_CONTEXT
        return local.context

    mlir.make_ir_context = shared
