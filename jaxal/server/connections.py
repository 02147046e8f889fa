"""Connections that end. Alone uvicorn waits for ever: for a request's first lines, for the rest of a body that is answered already, and for
a client that does not fetch its answer."""

import asyncio
from pathlib import Path
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 20.0
LINGER_SECONDS = 10.0  # so that a client that is still sending comes to read the answer
STALL_SECONDS = 60.0
_GRACE = 0.5  # seconds that requests have to end after Ctrl-C
_MOST = 200  # connections


class Connection(H11Protocol):
    """One connection, which closes where uvicorn would wait."""

    def __init__(self, *given: Any, **named: Any):
        super().__init__(*given, **named)
        self._ends: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._end_in(HEADER_SECONDS)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_between():
            if self._ends is None:
                self._end_in(LINGER_SECONDS if self.conn.their_state is h11.SEND_BODY else HEADER_SECONDS)
        else:
            self._go_on()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(STALL_SECONDS, self._end)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._flow()

    def connection_lost(self, exc: Exception | None) -> None:
        self._go_on()
        self._flow()
        super().connection_lost(exc)

    def _is_between(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _end_in(self, seconds: float) -> None:
        self._go_on()
        self._ends = self.loop.call_later(seconds, self._end)

    def _go_on(self) -> None:
        if self._ends is not None:
            self._ends.cancel()
            self._ends = None

    def _flow(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _end(self) -> None:
        if self.transport is not None:
            self.transport.abort()


def configured(app: ASGIApp, certificate: Path | None = None, key: Path | None = None) -> uvicorn.Config:
    """How uvicorn serves the application. It writes no line for each request, because addresses may hold a reader's secret."""
    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        log_level="critical",  # `Guard` tells of errors; of what Ctrl-C ends nothing is told
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MOST,
        timeout_graceful_shutdown=_GRACE,  # type: ignore[arg-type]
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
