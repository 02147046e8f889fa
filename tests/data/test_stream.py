"""Cases are read ahead in order, no further than memory allows, and kept in memory up to a size."""

import time

import numpy as np
import pytest
import tiny

from jaxal.data import stream
from jaxal.data.scans.prepare import load_case
from jaxal.data.stream import batches, kept
from jaxal.errors import UserError
from jaxal.types import Example


def test_batches_keep_order_and_shape(tiny_dataset):
    def load(case):
        return load_case(case, tiny_dataset)

    cases = tiny_dataset.cases[:5]
    streamed = list(batches(cases, load, 2))
    assert [case for batch in streamed for case in batch.cases] == list(cases)
    assert {batch.examples.image.shape for batch in streamed} == {(2, *tiny.SHAPE, 1)}
    np.testing.assert_array_equal(streamed[1].examples.image[1], load(cases[3]).image)
    assert list(batches([], load, 2)) == []


def test_what_is_kept_in_memory_is_read_anew_for_another_label_or_image(tiny_dataset):
    reads = []

    def load(case):
        reads.append(case)
        return load_case(tiny_dataset.cases[0]._replace(label=case.label and tiny_dataset.cases[0].label), tiny_dataset)

    case, other = tiny_dataset.cases[:2]
    read = kept(load)
    for seen in (case, case, case._replace(label=None), case._replace(label=other.label), case._replace(version="another"), case):
        read(seen)
    assert len(reads) == 4
    assert not read(case._replace(label=None)).labelled.any()
    sparing = kept(load, bytes_at_most=0)
    sparing(case), sparing(case)
    assert len(reads) == 6


def test_an_error_while_reading_ahead_reaches_the_reader(tiny_dataset):
    def load(case):
        if case.id == "case_002":
            raise UserError("case_002 is broken")
        return load_case(case, tiny_dataset)

    with pytest.raises(UserError, match="case_002 is broken"):
        list(batches(tiny_dataset.cases[:4], load, 2))


def test_what_is_read_ahead_is_bounded_in_number_and_in_bytes(monkeypatch):
    started, size = [], 1000

    def read(item):
        started.append(item)
        return Example(np.full(size, item, np.int8), *[np.zeros(0)] * 3)

    def most_ahead(threads, at_most):
        monkeypatch.setattr(stream, "_threads", lambda: threads)
        monkeypatch.setattr(stream, "AHEAD_BYTES", at_most)
        started.clear()
        most = 0
        for item, example in enumerate(stream.ahead(range(40), read)):
            time.sleep(0.002)  # so that the threads could run away
            most = max(most, len(started) - item - 1)
            assert (example.image == item).all()
        assert sorted(started) == list(range(40))
        return most

    assert most_ahead(4, 10**6) <= 8
    assert most_ahead(4, 3 * size) <= 3
    assert most_ahead(4, 0) <= 2
    assert list(stream.ahead([], read)) == []


def test_a_pass_that_ends_early_ends_its_reading():
    started = []

    def read(item):
        started.append(item)
        return Example(*[np.zeros(0)] * 4)

    reader = stream.ahead(range(1000), read)
    next(reader)
    reader.close()
    count = len(started)
    time.sleep(0.05)
    assert len(started) == count < 10
