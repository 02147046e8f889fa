"""Servers on loopback for tests: in this process, or in one of their own that can be killed."""

import atexit
import contextlib
import functools
import socket
import subprocess
import sys
import threading
from pathlib import Path

import uvicorn

from jaxal.server.app import make_app
from jaxal.server.connections import configured
from jaxal.server.limits import Limits

HERE = Path(__file__).parent
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Switch:
    """One server for all tests of a process, since starting and ending one takes longer than most tests; each test has an application."""

    def __init__(self):
        self.app = None
        self.server = uvicorn.Server(configured(self))
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(128)
        self.address = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]}, daemon=True)
        self.thread.start()
        atexit.register(self.end)

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)

    def end(self):
        self.server.should_exit = True
        self.thread.join(10)


@functools.cache
def switch():
    return Switch()


@contextlib.contextmanager
def serving(desk, limits=None, **options):
    """Serves this desk on loopback; gives the address. One at a time."""
    assert switch().app is None
    switch().app = make_app(desk, limits or Limits(LOOPBACK), **options)
    try:
        yield switch().address
    finally:
        switch().app = None


@contextlib.contextmanager
def served_apart(folder, *options):
    """A server in a process of its own: gives the process and the address."""
    command = [sys.executable, str(HERE / "serve_fake.py"), str(folder), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().partition("Serving at ")[2].partition(". ")[0]
        assert address, process.stderr.read()
        yield process, address
    finally:
        process.kill()
        process.communicate()


def multipart(fields, files):
    """A body as MONAI Label's client makes it: a fixed boundary, whole paths as file names, one line end too many."""
    boundary, lines = "----------lImIt_of_THE_fIle_eW_$", []
    for name, value in fields.items():
        lines += [f"--{boundary}", f'Content-Disposition: form-data; name="{name}"', "", value]
    for name, (file_name, content) in files.items():
        disposition = f'Content-Disposition: form-data; name="{name}"; filename="{file_name}"'
        lines += [f"--{boundary}", disposition, "Content-Type: application/octet-stream", "", content]
    lines += [f"--{boundary}--", ""]
    body = b"".join((line if isinstance(line, bytes) else line.encode()) + b"\r\n" for line in lines)
    return body, {"content-type": f"multipart/form-data; boundary={boundary}"}
