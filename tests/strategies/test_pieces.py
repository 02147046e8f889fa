"""Information gain sends a pool in pieces, and waits for none before all are sent."""

import jax
import numpy as np
import pytest

from jaxal.acquisition import information
from jaxal.strategies import informative


class Flag:
    """What may be read only when all candidates were sent."""

    def __init__(self, sent, pieces, value):
        self.sent, self.pieces, self.value = sent, pieces, value

    def __bool__(self):
        assert len(self.sent) == self.pieces
        return self.value


@pytest.mark.parametrize(
    ("backend", "count", "sizes"), [("cpu", 21, [8, 8, 8]), ("gpu", 21, [32]), ("gpu", 3, [8]), ("gpu", 70, [32] * 3)]
)
def test_pieces_of_a_pool_are_sent_before_any_is_waited_for(monkeypatch, backend, count, sizes):
    """On an accelerator in larger pieces, of few sizes; each takes the formula that it needs."""
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(informative, "_ROWS", {"cpu": 8, "accelerator": 32})
    values, sent, taken = np.arange(count, dtype=np.float32), [], []

    def may_be_long(items, reference):
        sent.append(len(items.features))
        return Flag(sent, len(sizes), bool((items.features > 10).any()))

    def gain(items, reference, long_steps):
        taken.append((bool((items.features > 10).any()), long_steps))
        return information.InformationGain(items.features[:, 0], -items.features[:, 0])

    items = information.Items(values[:, None], values[:, None])
    parts = informative._gain_of_rows(gain, items, None, may_be_long)
    assert sent == sizes and len(taken) == len(sizes) and all(needs == takes for needs, takes in taken)
    np.testing.assert_array_equal(parts.mass, values)
    np.testing.assert_array_equal(parts.gain, -values)
