"""What networks compute in follows from the machine, unless somebody says it."""

import jax
import pytest

from jaxal.networks.layers import dtype_here
from jaxal.studies.presets import PRESETS
from jaxal.studies.scans import ScanArguments, choose_sizes


@pytest.mark.parametrize(("backend", "asked", "expected"), [
    ("cpu", None, "float32"), ("gpu", None, "bfloat16"), ("tpu", None, "bfloat16"), ("gpu", "float32", "float32"), ("cpu", "bfloat16", "bfloat16"),
])  # fmt: skip
def test_accelerators_compute_in_bfloat16_unless_told_otherwise(monkeypatch, backend, asked, expected):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    chosen = choose_sizes(ScanArguments(dtype=asked), PRESETS["demo"])
    assert chosen.network.dtype == expected


@pytest.mark.parametrize(
    ("backend", "asked", "expected"), [("cpu", None, 1), ("gpu", None, 1), ("tpu", None, 8), ("tpu", 2, 2), ("cpu", 3, 3)]
)
def test_a_tpu_scores_eight_cases_at_once_unless_told_otherwise(monkeypatch, backend, asked, expected):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert choose_sizes(ScanArguments(batch_size=asked), PRESETS["demo"]).batch_size == expected


def test_a_preset_that_says_bfloat16_has_it_on_a_cpu():
    assert dtype_here("bfloat16") == "bfloat16"
    assert choose_sizes(ScanArguments(), PRESETS["paper"]).network.dtype == "bfloat16"
