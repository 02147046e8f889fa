"""Runs shared by several workers: each is done once, by whoever is alive, and the first network of a seed is made once."""

import json
import threading
import time

import pytest

from jaxal import claims
from jaxal.errors import UserError
from jaxal.report.terminal import Display
from jaxal.rounds.ledger import FULL
from jaxal.studies import workers
from jaxal.studies.workers import Piece, alone, held, shared
from jaxal.training.trainer import Interrupted

ROUNDS = 2


@pytest.fixture
def out(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "POLL_SECONDS", 0.05)
    return tmp_path / "out"


def pieces_in(out, strategies=("a", "b"), seeds=2, settings=("one",)):
    return [
        Piece(out / setting / name / f"seed-{seed}", ROUNDS)
        for seed in range(seeds)
        for setting in settings
        for name in strategies
    ]


def add_round(piece, asked=("x",)):
    ledger = piece.folder / "rounds.jsonl"
    ledger.parent.mkdir(parents=True, exist_ok=True)
    lines = ledger.read_text().splitlines() if ledger.exists() else []
    ledger.write_text("\n".join([*lines, json.dumps({"queried": list(asked)})]) + "\n")


class Worker(threading.Thread):
    """A worker in a thread of its own, whose rounds take a moment; it notes what it did and what else was at work then."""

    def __init__(self, pieces, out, at_work, log, stale_seconds=600.0):
        super().__init__(daemon=True)
        self.pieces, self.out, self.at_work, self.log, self.stale_seconds = pieces, out, at_work, log, stale_seconds
        self.others = None

    def work(self, work):
        piece = self.pieces[work.number]
        with threading.Lock():
            self.log.append((piece, self.name, sorted(str(other.folder) for other in self.at_work)))
            self.at_work.add(piece)
        while not piece.is_done:
            time.sleep(0.05)
            add_round(piece)
            work.begun()
        self.at_work.discard(piece)

    def run(self):
        self.others = shared(self.pieces, self.out, self.stale_seconds, Display(quiet=True), self.work)


def test_one_worker_does_all_in_order_and_shows_what_was_done(out):
    pieces, seen = pieces_in(out), []
    for _ in range(ROUNDS):
        add_round(pieces[2])

    def work(given):
        seen.append(given.number)
        while not pieces[given.number].is_done:
            add_round(pieces[given.number])

    assert shared(pieces, out, 600, Display(quiet=True), work) is False
    assert seen == [0, 1, 2, 3]


def test_a_run_whose_pool_is_empty_is_done(out):
    (piece,) = pieces_in(out, ("a",), 1)
    add_round(piece, asked=())
    assert piece.is_done and not Piece(out / "one" / FULL / "seed-0", 9).is_done
    add_round(Piece(out / "one" / FULL / "seed-0", 9))
    assert Piece(out / "one" / FULL / "seed-0", 9).is_done


def test_several_workers_do_each_run_once(out):
    pieces, at_work, log = pieces_in(out, ("a", "b", "c", FULL), 4), set(), []
    three = [Worker(pieces, out, at_work, log) for _ in range(3)]
    for worker in three:
        worker.start()
    for worker in three:
        worker.join(60)
    assert sorted(piece.folder for piece, _, _ in log) == sorted(piece.folder for piece in pieces)
    assert len({name for _, name, _ in log}) == 3 and all(worker.others for worker in three)
    for piece in pieces:
        assert len((piece.folder / "rounds.jsonl").read_text().splitlines()) == (1 if piece.is_full else ROUNDS)


def test_the_first_network_of_a_seed_is_made_once(out):
    pieces, at_work, log = pieces_in(out, ("a", "b", "c"), 3), set(), []
    three = [Worker(pieces, out, at_work, log) for _ in range(3)]
    for worker in three:
        worker.start()
    for worker in three:
        worker.join(60)
    first = {}
    for piece, _, _ in log:
        first.setdefault(piece.folder.name, piece)
    begun = [piece.folder.name for piece, _, _ in log[:3]]
    assert sorted(begun) == ["seed-0", "seed-1", "seed-2"], (
        "each begins another seed, because a seed's first network is there once"
    )


def test_a_lost_run_is_left_to_who_has_it_and_the_next_is_taken(out, monkeypatch):
    pieces, seen = pieces_in(out, ("a",), 2), []

    def work(given):
        seen.append(given.number)
        if seen == [0]:  # somebody takes it over
            place = out / ".claims" / "runs" / "one" / "a" / "seed-0"
            (place / "000009").write_text(json.dumps({**claims.myself()._asdict(), "host": "elsewhere"}))
            for _ in range(ROUNDS):
                add_round(pieces[0])
            assert given.watcher.should_stop()
            raise Interrupted
        while not pieces[given.number].is_done:
            add_round(pieces[given.number])

    assert shared(pieces, out, 600, Display(quiet=True), work) is True
    assert seen == [0, 1]


def test_who_asks_to_stop_stops_and_leaves_the_run_free(out):
    pieces, display = pieces_in(out, ("a",), 1), Display(quiet=True)

    def work(given):
        raise Interrupted

    display._stop = 2
    with pytest.raises(Interrupted):
        shared(pieces, out, 600, display, work)
    assert claims.holder_of(out / ".claims" / "runs" / "one" / "a" / "seed-0") is None


def test_a_run_that_somebody_works_on_is_not_looked_at_again(out):
    (piece,) = pieces_in(out, ("a",), 1)
    piece.folder.mkdir(parents=True)
    with held(piece.folder), pytest.raises(UserError, match="somebody works on this run"), held(piece.folder):
        pass
    with held(piece.folder):
        pass


def test_a_summary_counts_until_another_round_is_done(out):
    pieces = pieces_in(out, ("a",), 2)
    add_round(pieces[0])
    assert not workers.is_summarised(out, pieces)
    time.sleep(0.01)
    (out / workers.CLAIMS).mkdir()
    (out / workers.CLAIMS / workers.SUMMARISED).touch()
    assert workers.is_summarised(out, pieces)
    time.sleep(0.01)
    add_round(pieces[1])
    assert not workers.is_summarised(out, pieces)


def test_what_is_shared_is_made_by_one_at_a_time(tmp_path):
    inside, most = [], []

    def make():
        with alone(tmp_path, Display(quiet=True)):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    makers = [threading.Thread(target=make) for _ in range(4)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join(30)
    assert most == [1] * 4
