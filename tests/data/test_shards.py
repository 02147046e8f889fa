"""Packed arrays: what was written is read, or a sentence names the shard."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from jaxal.data import shards
from jaxal.data.shards import Packing, read_packed
from jaxal.errors import UserError

DAMAGED = (
    r"shard-plan-\w+\.npz: prepared arrays that are damaged .*Remove the file and run the same command again; it is made anew"
)


@pytest.fixture
def arrays(rng):
    return {
        "case é-1.image": rng.normal(size=(3, 2, 4, 1)).astype(np.float32),
        "case é-1.label": rng.integers(0, 255, (3, 2, 4)).astype(np.uint8),
        "b-2.places": np.zeros((0, 4), np.int32),
        "b-2.turned": np.asfortranarray(rng.normal(size=(2, 3))),
    }


def packed(folder, arrays):
    """Writes arrays into one shard; returns its path."""
    packing = Packing(folder, "shard-plan")
    packing.add(arrays)
    packing.flush()
    (path,) = set(packing.shard_of.values())
    return path


def test_what_was_packed_is_read_and_numpy_reads_it_too(tmp_path, arrays):
    path = packed(tmp_path, arrays)
    assert Packing(tmp_path, "shard-plan").shard_of == dict.fromkeys(arrays, path)
    assert Packing(tmp_path, "shard-other").shard_of == {}
    for name, array in arrays.items():
        for read in (read_packed(path, name), np.load(path)[name]):
            assert (read.dtype, read.shape) == (array.dtype, array.shape)
            np.testing.assert_array_equal(read, array)
    with pytest.raises(UserError, match=DAMAGED):
        read_packed(path, "b-2.image")


def test_a_shard_is_written_when_it_is_full_and_the_rest_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 100)
    packing = Packing(tmp_path, "shard-plan")
    for number in range(5):
        packing.add({f"{number}.image": np.full(10, number, np.float32), f"{number}.label": np.zeros(10, np.uint8)})
    assert [name[0] for name in packing.shard_of] == list("00112233")
    packing.flush(), packing.flush()
    assert len(set(packing.shard_of.values())) == len(list(tmp_path.iterdir())) == 3
    for number in range(5):
        assert packing.shard_of[f"{number}.image"] == packing.shard_of[f"{number}.label"]
        assert (read_packed(packing.shard_of[f"{number}.image"], f"{number}.image") == number).all()


def test_any_flipped_bit_is_told_of_or_changes_no_value(tmp_path, arrays):
    """A bit of each byte of a shard once. An array that a damaged table no longer names is missing, and so prepared anew."""
    path = packed(tmp_path, arrays)
    content = path.read_bytes()
    told = {"opening": 0, "reading": 0, "missing": 0}
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << 5 * place % 8
        path.write_bytes(damaged)
        shards._records.cache_clear()
        try:
            names = Packing(tmp_path, "shard-plan").shard_of.keys() & arrays.keys()
        except UserError as error:
            assert "Remove the file" in str(error)
            told["opening"] += 1
            continue
        told["missing"] += len(arrays) - len(names)
        for name in names:
            try:
                read = read_packed(path, name)
            except UserError as error:
                assert "Remove the file" in str(error)
                told["reading"] += 1
                continue
            assert (read.dtype, read.shape, read.tobytes()) == (arrays[name].dtype, arrays[name].shape, arrays[name].tobytes())
    assert told["reading"] >= sum(array.nbytes for array in arrays.values())
    assert told["opening"] and told["missing"]


def test_a_shard_that_was_cut_off_or_removed_is_told_of(tmp_path, arrays):
    path = packed(tmp_path, arrays)
    content = path.read_bytes()
    read_packed(path, "b-2.places")
    for size in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(UserError, match=DAMAGED):
            Packing(tmp_path, "shard-plan")
    path.unlink()
    with pytest.raises(UserError, match=r"damaged \(No such file or directory\)"):
        read_packed(path, "b-2.turned")
    assert packed(tmp_path, arrays) == path
    np.testing.assert_array_equal(read_packed(path, "b-2.turned"), arrays["b-2.turned"])


def test_no_pickle_is_written_or_read(tmp_path):
    path = tmp_path / "shard-plan-0.npz"
    np.savez(path, **{"a.image": np.array([{}], object)})
    with pytest.raises(UserError, match=DAMAGED):
        read_packed(path, "a.image")
    packing = Packing(tmp_path / "new", "shard-plan")
    packing.add({"a.image": np.array([{}], object)})
    with pytest.raises(ValueError, match="pickle"):
        packing.flush()
    assert list((tmp_path / "new").iterdir()) == []


ENDLESS = """
import sys
from pathlib import Path
import numpy as np
from jaxal.data import shards

shards.SHARD_BYTES = 2**16
packing = shards.Packing(Path(sys.argv[1]), "shard-plan")
for number in range(int(sys.argv[2])):
    packing.add({f"{number}.image": np.full((16, 16, 4), number, np.float32)})
    print(number, flush=True)
packing.flush()
"""


def test_after_a_kill_every_shard_is_whole(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ENDLESS, str(tmp_path), "1000000"], stdout=subprocess.PIPE, text=True)
    while int(process.stdout.readline()) < 200:
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    shard_of = Packing(tmp_path, "shard-plan").shard_of
    assert len(shard_of) >= 192
    for number in range(len(shard_of)):
        assert (read_packed(shard_of[f"{number}.image"], f"{number}.image") == number).all()


def test_two_processes_may_pack_the_same_at_once(tmp_path):
    both = [subprocess.Popen([sys.executable, "-c", ENDLESS, str(tmp_path), "100"], stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    shard_of = Packing(tmp_path, "shard-plan").shard_of
    assert len(shard_of) == 100
    assert len(list(tmp_path.iterdir())) == len(set(shard_of.values()))
    for number in range(100):
        assert (read_packed(shard_of[f"{number}.image"], f"{number}.image") == number).all()
