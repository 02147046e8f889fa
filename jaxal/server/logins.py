"""Secrets of readers, for a server that others can reach.

A secret is drawn, never chosen: nobody can guess it, and nobody uses it elsewhere. The file holds what scrypt makes of it (RFC 7914), so
whoever reads the file cannot log in with it.
"""

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import threading
from pathlib import Path
from typing import Any, NamedTuple

from jaxal.errors import UserError
from jaxal.files import write_text

FORMAT = 1
COST = {"n": 1 << 14, "r": 8, "p": 1}  # 16 MiB and some 50 ms for each guess
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # without what looks alike, since people copy it by hand
_ONE_AT_A_TIME = threading.Lock()  # guesses from outside may cost one core, not all


class Login(NamedTuple):
    """What is kept of a secret: random salt, and scrypt's hash."""

    salt: bytes
    digest: bytes


_NOBODY = Login(b"\0" * 16, b"")  # no secret has this hash


def add_login(path: Path, name: str) -> str:
    """Gives a reader a new secret, which takes the place of an earlier one, and returns it; it is not stored and cannot be shown again.

    Args:
      path: of the file of logins; it is made if it is not there, readable for its owner alone.
      name: of the reader.

    Raises:
      UserError: the name is none that a reader can have, or the file is damaged or cannot be written.
    """
    if not name or "/" in name or name.startswith(".") or not name.isprintable():
        raise UserError(f"{name!r} cannot be a reader's name: it must not be empty, have a '/' or begin with a dot.")
    logins = read_logins(path) if path.exists() else {}
    secret = "-".join("".join(secrets.choice(_ALPHABET) for _ in range(5)) for _ in range(5))
    salt = secrets.token_bytes(16)
    logins[name] = Login(salt, _digest(secret, salt))
    _write(path, logins)
    return secret


def remove_login(path: Path, name: str) -> None:
    """Takes a reader's secret away; a server that runs no longer accepts it.

    Raises:
      UserError: the reader has none.
    """
    logins = read_logins(path)
    if name not in logins:
        raise UserError(f"{path}: {name!r} has no login; there are {', '.join(sorted(logins)) or 'none'}.")
    del logins[name]
    _write(path, logins)


def read_logins(path: Path) -> dict[str, Login]:
    """Reads the file of logins.

    Raises:
      UserError: it is not there, damaged, of a newer version, or others may read it.
    """
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = json.load(file)
        if content["format"] > FORMAT:
            raise UserError(f"{path}: was written by a newer version of jaxal. Install that one.")
        logins = {
            name: Login(bytes.fromhex(entry["salt"]), bytes.fromhex(entry["scrypt"])) for name, entry in content["logins"].items()
        }
    except OSError as error:
        raise UserError(
            f"{path}: no logins can be read ({error.strerror}). Add one: `jaxal serve PROJECT --add-login NAME`."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: is damaged. Remove it, and add the logins again: `jaxal serve PROJECT --add-login NAME`."
        ) from error
    if mode & 0o077:
        raise UserError(f"{path}: others on this machine can read or change it. Take that from them: `chmod 600 {path}`.")
    return logins


class Doorman:
    """Knows whose secret is whose. It reads the file again when that has changed, so that logins come and go while the server runs."""

    def __init__(self, path: Path):
        """Reads the file.

        Raises:
          UserError: as `read_logins`.
        """
        self._path = path
        self._stamp = _stamp_of(path)
        self._logins = read_logins(path)
        self._salt = secrets.token_bytes(32)
        self._known: set[bytes] = set()  # secrets that were checked already, because scrypt is slow on purpose

    def admits(self, name: str, secret: str) -> bool:
        """Whether this is the secret of this reader. It takes as long for a name that has none."""
        self._refresh()
        remembered = self._remembered(name, secret)
        if remembered in self._known:
            return True
        with _ONE_AT_A_TIME:
            salt, digest = self._logins.get(name, _NOBODY)
            if not hmac.compare_digest(_digest(secret, salt), digest):
                return False
        self._known.add(remembered)
        return True

    def version_of(self, name: str) -> bytes:
        """What changes when the reader's secret does; nothing of a reader who has none."""
        self._refresh()
        return self._logins[name].salt if name in self._logins else b""

    def _remembered(self, name: str, secret: str) -> bytes:
        parts = (self._salt, self.version_of(name), name.encode(), b"\0", secret.encode())
        return hashlib.sha256(b"".join(parts)).digest()

    def _refresh(self) -> None:
        stamp = _stamp_of(self._path)
        if stamp != self._stamp:
            logins: dict[str, Login] = {}  # a file that is gone or broken admits nobody
            with contextlib.suppress(UserError):
                logins = read_logins(self._path)
            self._logins, self._stamp = logins, stamp


def _write(path: Path, logins: dict[str, Login]) -> None:
    entries: dict[str, Any] = {
        name: {"salt": login.salt.hex(), "scrypt": login.digest.hex()} for name, login in sorted(logins.items())
    }
    former = os.umask(0o077)
    try:
        write_text(path, json.dumps({"format": FORMAT, "logins": entries}, indent=1, ensure_ascii=False) + "\n")
    finally:
        os.umask(former)


def _stamp_of(path: Path) -> tuple[int, ...]:
    with contextlib.suppress(OSError):
        seen = path.stat()
        return (seen.st_ino, seen.st_size, seen.st_mtime_ns)
    return ()


def _digest(secret: str, salt: bytes) -> bytes:
    return hashlib.scrypt(secret.encode(), salt=salt, **COST, maxmem=64 << 20)
