"""Every program that the library compiles lowers for GPUs and TPUs, too, so what only a CPU has is found without one of them."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled_programs import EXPORTED, Program, of, predictions, reals

from jaxal.scoring import pool_pass

LIBRARY = Path(__file__).parents[1] / "jaxal"
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
COMPILERS = {"jit", "pmap", "filter_jit", "pallas_call"}  # what makes a program of a function


def places_with(is_there: Callable[[ast.AST], bool]) -> list[str]:
    """File and name of each place in the library that has something: the innermost function that is decorated or stands around it, or
    what a module assigns it to."""
    found = []

    def name_of(node: ast.AST, around: str) -> str:
        if isinstance(node, ast.Assign) and not around and isinstance(node.targets[0], ast.Name):
            return node.targets[0].id
        return node.name if isinstance(node, ast.FunctionDef) else around

    def walk(node: ast.AST, path: Path, around: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = name_of(child, around)
            if is_there(child):
                found.append(f"{path.relative_to(LIBRARY).as_posix()} {name}")
            walk(child, path, name)

    for path in LIBRARY.rglob("*.py"):
        walk(ast.parse(path.read_text()), path, "")
    return sorted(found)


def compiles(node: ast.AST) -> bool:
    names = {node.attr} if isinstance(node, ast.Attribute) else set()
    return bool(COMPILERS & (names | ({alias.name for alias in node.names} if isinstance(node, ast.ImportFrom) else set())))


def exported(program: Program, platforms=PLATFORMS) -> jax.export.Exported:
    return jax.export.export(program.function, platforms=platforms)(*program.arguments, **program.options)


def test_every_compiled_program_is_lowered_here():
    assert places_with(compiles) == sorted(EXPORTED)


NAMED: dict[Callable[[], Iterator[Program]], list[str]] = {}  # several functions may compile the same programs
for name, programs in EXPORTED.items():
    NAMED.setdefault(programs, []).append(name)


@pytest.mark.parametrize("programs", NAMED, ids=map(", ".join, NAMED.values()))
def test_the_program_lowers_for_every_platform(programs):
    """JAX refuses primitives that a platform lacks, and calls of a library that it does not know."""
    for program in programs():
        exported(program)


def library_call(matrix):
    return jax.ffi.ffi_call("a_kernel_of_the_cpu", jax.ShapeDtypeStruct(matrix.shape, matrix.dtype))(matrix)


@pytest.mark.parametrize(
    "only_on_cpus",
    [
        jax.lax.linalg.schur,
        library_call,
        lambda matrix: jax.lax.platform_dependent(matrix, cpu=jnp.sin),
    ],
    ids=["primitive", "library", "branch"],
)
def test_what_only_a_cpu_has_is_refused(only_on_cpus):
    with pytest.raises((NotImplementedError, ValueError)):
        exported(of(jax.jit(only_on_cpus), reals(4, 4)))


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_accelerators_get_their_own_convolution(platform):
    """And not the CPU's matrix products over tiles."""
    assert "stablehlo.convolution" in exported(next(predictions()), [platform]).mlir_module()


def test_compiler_options_are_those_of_the_platform():
    """XLA refuses to compile for a GPU with an option of the CPU; an export does not see options."""
    has_options = places_with(lambda node: isinstance(node, ast.keyword) and node.arg == "compiler_options")
    assert has_options == ["scoring/pool_pass.py _compiled"]
    for platform, expected in (("cpu", pool_pass._ON_CPU), ("gpu", None), ("tpu", None)):
        mesh = SimpleNamespace(devices=np.array([SimpleNamespace(platform=platform)]))
        with mock.patch.object(jax, "shard_map"), mock.patch.object(jax, "jit") as jit:
            pool_pass._compiled.__wrapped__(None, mesh)
        assert jit.call_args.kwargs["compiler_options"] == expected
