"""Orbax checkpoints of params and optimizer. A round's checkpoint is durable before the ledger gets the round's line."""

import contextlib
import functools
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from jaxal.errors import UserError


class Checkpoints:
    """Training states of one run, one folder a round; in each, only the newest step is kept.

    They are one process's affair: of several hosts only the leader saves and restores, and Orbax must not wait for the others.
    """

    def __init__(self, folder: Path):
        self.folder = folder.resolve()  # Orbax refuses relative paths, and only when it saves

    def _manager(self, round_: int) -> ocp.CheckpointManager:
        folder = self.folder / f"round-{round_:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        alone = ocp.options.MultiprocessingOptions(
            primary_host=jax.process_index(), active_processes={jax.process_index()}, barrier_sync_key_prefix="leader"
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=ocp.checkpoint_managers.LatestN(1),
            cleanup_tmp_directories=True,
            enable_async_checkpointing=False,
            create=False,
            multiprocessing_options=alone,
        )
        handlers = {
            "state": ocp.StandardCheckpointHandler(multiprocessing_options=alone),
            "meta": ocp.JsonCheckpointHandler(multiprocessing_options=alone),
        }
        return ocp.CheckpointManager(folder, options=options, item_handlers=handlers)

    @contextlib.contextmanager
    def _reading(self, round_: int) -> Iterator[None]:
        """Tells of damaged files in one sentence, whatever Orbax raises of them."""
        try:
            _silence_orbax()
            yield
        except (ValueError, OSError, LookupError, TypeError, AttributeError, RuntimeError) as error:
            raise UserError(
                f"{self.folder / f'round-{round_:03d}'}: a checkpoint that cannot be read ({_reason(error)}). Restore the folder; or remove it, and "
                "its training is done again."
            ) from error

    def save(self, round_: int, step: int, state: Any, meta: dict[str, Any]) -> None:
        """Writes a state and waits until it is durable.

        Args:
          round_: number of the round.
          step: grows within a round.
          state: pytree of arrays.
          meta: JSON that goes with it.

        Raises:
          UserError: the disk is full or cannot be written to; the checkpoint before is still there.
        """
        # Orbax refuses arrays that live on one host of several, so save NumPy copies.
        state = jax.tree.map(np.asarray, state)
        _silence_orbax()
        try:
            with self._manager(round_) as manager:
                saved = manager.save(
                    step, args=ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta))
                )
                manager.wait_until_finished()
                manager.check_for_errors()
        except (OSError, ValueError, RuntimeError) as error:  # tensorstore reports a full disk as ValueError
            reason = _reason(error)
            advice = "Free some space" if "space" in reason else "See to it"
            raise UserError(
                f"{self.folder}: the checkpoint of round {round_} could not be written ({reason}). {advice} and run the same command again; it "
                "goes on from the last checkpoint."
            ) from error
        if not saved:
            raise RuntimeError(
                f"Orbax wrote no checkpoint for round {round_}, step {step}: a later step exists in {self.folder}."
            )

    def latest(self, round_: int) -> tuple[int, dict[str, Any]] | None:
        """Newest step of a round and its meta, or None."""
        if not (self.folder / f"round-{round_:03d}").is_dir():
            return None
        with self._reading(round_), self._manager(round_) as manager:
            step = manager.latest_step()
            if step is None:
                return None
            return step, dict(manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"])

    def restore(self, round_: int, like: Any) -> Any:
        """Reads a round's newest state.

        Args:
          round_: number of the round.
          like: pytree of the same structure, shapes and dtypes; a difference is an error, never a cast.

        Raises:
          UserError: there is none, it is of another network, or its files are damaged.
        """
        with self._reading(round_), self._manager(round_) as manager:
            step = manager.latest_step()
            if step is None:
                raise UserError(
                    f"{self.folder}: holds no checkpoint of round {round_}, which this run goes on from. Restore it or use --fresh."
                )
            stored = manager.item_metadata(step)["state"]
            _compare(stored, like, self.folder)
            target = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
            stored = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target)))["state"]
            return jax.tree.map(jnp.asarray, stored)


@functools.cache
def _silence_orbax() -> None:
    """Drops, from now on, what Orbax and tensorstore tell of errors besides raising them, because once is enough.

    Their threads tell it whenever they are done, perhaps after the error was raised: Orbax in its log, asyncio of the arrays that Orbax
    did not ask for after the first one failed, tensorstore of an event loop that Orbax closed then. All else goes on to whoever was
    there to hear it.
    """
    orbax, before = str(Path(ocp.__file__).parent), sys.unraisablehook

    def is_another(record: logging.LogRecord) -> bool:
        text = record.getMessage() if record.name == "asyncio" else ""
        left_behind = "was never retrieved" in text and any(name in text for name in ("OCDBT", "zarr", "orbax"))
        return not (left_behind or record.pathname.startswith(orbax))

    def hook(told: Any) -> None:
        closed = isinstance(told.exc_value, RuntimeError) and str(told.exc_value) == "Event loop is closed"
        if not (closed and told.object is None):
            before(told)

    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(is_another)
    sys.unraisablehook = hook


def _compare(stored: Any, like: Any, folder: Path) -> None:
    """Makes sure that a checkpoint holds what is wanted, leaf by leaf, for Orbax would cast without a word."""
    has, wanted = _types_of(stored), _types_of(like)
    for name in sorted(has.keys() | wanted.keys()):
        if has.get(name) != wanted.get(name):
            raise UserError(
                f"{folder}: the checkpoint is not of this network ({name} is {has.get(name, 'not there')}, expected {wanted.get(name, 'none')}). "
                "Start anew with --fresh."
            )


def _types_of(tree: Any) -> dict[str, str]:
    """Shape and type of each leaf, by its path."""
    return {
        "/".join(
            str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))) for key in path
        ): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _reason(error: Exception) -> str:
    text = str(error)
    for known in ("No space left on device", "Permission denied", "Read-only file system", "File too large"):
        if known in text:
            return known
    return text.split("\n")[0][:160]
