"""Starts the server: where it listens, who may reach it, and how it ends."""

import contextlib
import dataclasses
import errno
import importlib.util
import ipaddress
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from jaxal.errors import UserError
from jaxal.files import lock
from jaxal.server.desk import Desk

if TYPE_CHECKING:
    import uvicorn

_NEEDED = ("starlette", "uvicorn", "python_multipart")


@dataclasses.dataclass(frozen=True)
class ServeConfig:
    """How a server is started.

    Attributes:
      host: address to listen at. Any but this machine's own needs `logins`, and `certificate` or `behind_proxy`, because secrets and scans
        would be readable on their way.
      port: to listen at; 0 is any that is free.
      logins: file of the readers' secrets (`logins.add_login`); without it whoever can reach the server is trusted to be who they say.
      certificate, key: PEM files, for TLS.
      behind_proxy: whether a proxy that others reach passes requests on to here and does TLS.
      names: by which the server may be called besides `host`; with `behind_proxy` those of the proxy.
      upload_mib: of a label that is handed in.
      idle_seconds: that an upload may stand still.
      upload_seconds: that it may take as a whole.
      at_once: labels that are checked at the same time, because each takes memory.
      draws: whether readers draw on scans, in Slicer, or choose classes, in a browser.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    logins: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    behind_proxy: bool = False
    names: tuple[str, ...] = ()
    upload_mib: int = 1024
    idle_seconds: float = 30.0
    upload_seconds: float = 900.0
    at_once: int = 2
    draws: bool = True


def serve(
    desk: Desk, config: ServeConfig, told: Callable[[str], None] = print, stopped: Callable[[], bool] = lambda: False
) -> None:
    """Serves until Ctrl-C or SIGTERM. It ends within a second then, or as soon as a label that is being stored is stored.

    Args:
      desk: the project.
      config: how.
      told: is told in a sentence where the server is, and what happens.
      stopped: whether somebody asked to stop while the server was got ready, which takes a second; then it does not begin.

    Raises:
      UserError: the extra `serve` is not installed, the port is taken, the address is not safe as asked for, a file cannot be read, or
        another server serves the project.
    """
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise UserError(f"jaxal serve needs {' and '.join(missing)}. Install the extra: `pip install 'jaxal[serve]'`.")
    import uvicorn

    from jaxal.server.app import make_app
    from jaxal.server.connections import configured
    from jaxal.server.limits import Limits
    from jaxal.server.logins import Doorman
    from jaxal.server.uploads import clear

    address = _check(config)
    doorman = None if config.logins is None else Doorman(config.logins)
    limits = Limits(_hosts(config, address), config.behind_proxy, config.idle_seconds, config.upload_seconds)
    with contextlib.ExitStack() as stack:
        _hold(desk.uploads, stack)
        clear(desk.uploads)
        listener = stack.enter_context(_listen(address, config.port))
        app = make_app(desk, limits, doorman=doorman, upload_limit=config.upload_mib << 20, at_once=config.at_once, told=told)
        server = uvicorn.Server(configured(app, config.certificate, config.key))
        stack.enter_context(_stopped_by_signals(server))
        if stopped():
            return
        told(_where(config, listener))
        server.run(sockets=[listener])
        told("The server has stopped. All that was taken is stored.")


@contextlib.contextmanager
def _stopped_by_signals(server: "uvicorn.Server") -> Iterator[None]:
    """Ctrl-C and SIGTERM end the server, and nothing else: those that come before it runs, and those that it passes on when it has ended."""

    def stop(_number: int, _frame: object) -> None:
        server.should_exit = True

    if threading.current_thread() is not threading.main_thread():
        yield  # others handle signals
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check(config: ServeConfig) -> str:
    """The address to listen at, if that is safe.

    Raises:
      UserError: it is not, or a file cannot be used.
    """
    if not 0 <= config.port <= 65535:
        raise UserError(f"--port {config.port}: ports are numbers from 0 to 65535.")
    try:
        address = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0][4][0]
    except (OSError, UnicodeError) as error:
        raise UserError(
            f"{config.host}:{config.port}: is no address of this machine ({error}). Leave --host out for this machine alone."
        ) from error
    is_open = not ipaddress.ip_address(str(address).partition("%")[0]).is_loopback
    if (config.certificate is None) != (config.key is None):
        raise UserError("A certificate needs its key, and a key its certificate: give both --certificate and --key.")
    if (is_open or config.behind_proxy) and config.logins is None:
        raise UserError(
            "Others could reach this server and say that they are anybody. Give every reader a secret (`jaxal serve PROJECT --add-login NAME`) "
            "and start it with --login."
        )
    if is_open and config.certificate is None and not config.behind_proxy:
        raise UserError(
            f"{config.host}: others could read secrets and scans on their way. Give --certificate and --key, or put a proxy before the server "
            "and say --behind-proxy."
        )
    if config.certificate is not None and config.key is not None:
        _check_certificate(config.certificate, config.key)
    return str(address)


def _check_certificate(certificate: Path, key: Path) -> None:
    for path in (certificate, key):
        if not path.is_file():
            raise UserError(f"{path}: no such file. --certificate and --key are two PEM files.")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", None) or error
        raise UserError(
            f"{certificate}, {key}: cannot be used ({why}). They must be PEM files that belong together, the key without a password."
        ) from error


def _hosts(config: ServeConfig, address: str) -> frozenset[str] | None:
    """The names that the server answers to. An open one answers to all unless told otherwise, because its logins keep strangers out."""
    is_open = not ipaddress.ip_address(address.partition("%")[0]).is_loopback
    if (is_open or config.behind_proxy) and not config.names:
        return None
    return frozenset(name.lower() for name in ("localhost", "127.0.0.1", "::1", config.host, address, *config.names))


def _hold(folder: Path, stack: contextlib.ExitStack) -> None:
    """Holds the project for this server alone.

    Raises:
      UserError: another one has it.
    """
    try:
        stack.enter_context(lock(folder))
    except UserError as error:
        if isinstance(error.__cause__, BlockingIOError):
            raise UserError(f"{folder.parent}: a server serves this project already. Stop that one first, or use it.") from error
        raise


def _listen(address: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
      UserError: it cannot.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"Port {port} is taken, perhaps by another server. Choose another: --port {port + 1}.") from error
        raise UserError(
            f"{address}:{port}: the server cannot listen there ({error.strerror}). Choose another --port or --host."
        ) from error
    return listener


def _where(config: ServeConfig, listener: socket.socket) -> str:
    host = f"[{config.host}]" if ":" in config.host else config.host
    address = f"{'https' if config.certificate else 'http'}://{host}:{listener.getsockname()[1]}"
    personal = f"{address}/as/NAME{'/SECRET' if config.logins else ''}"
    who = "Readers give Slicer this address, or their own," if config.draws else "Readers open, each their own, in a browser"
    return f"Serving at {address}. {who} {personal}{'' if config.draws else '/'}. Ctrl-C stops it."
