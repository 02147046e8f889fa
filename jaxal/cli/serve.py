"""`jaxal serve`: readers' programs work with a project over HTTP. Nothing is trained here, and no accelerator is touched."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import jax
import tyro

from jaxal.cli import command
from jaxal.errors import UserError
from jaxal.projects.page import text_of
from jaxal.projects.project import Project, open_project
from jaxal.projects.review_page import review_text
from jaxal.projects.worklists import served_text, write_all
from jaxal.report.terminal import Display
from jaxal.server.logins import add_login, remove_login
from jaxal.server.project_desk import ProjectDesk
from jaxal.server.run import ServeConfig
from jaxal.server.run import serve as serve_desk
from jaxal.studies import option_types
from jaxal.training.trainer import Interrupted


@dataclasses.dataclass(frozen=True)
class Serve:
    """Lets readers' programs work with a project."""

    project: Annotated[Path, tyro.conf.Positional]
    """Folder of the project."""
    port: int = ServeConfig.port
    """To listen at."""
    host: str = ServeConfig.host
    """Address to listen at. Any but this machine's own needs --login, and --certificate and --key or --behind-proxy."""
    reviewers: option_types.Names = ()
    """Who may review what readers have drawn."""
    login: bool = False
    """Readers need the secrets that --add-login gave them."""
    add_login: option_types.Name = None
    """Gives this reader a new secret, shows it once, and serves nothing."""
    remove_login: option_types.Name = None
    """Takes this reader's secret away, and serves nothing."""
    certificate: option_types.Place = None
    """PEM file, for TLS."""
    key: option_types.Place = None
    """PEM file of the certificate's key."""
    behind_proxy: bool = False
    """A proxy that others reach passes requests on to here, and does TLS."""
    names: option_types.Names = ()
    """By which the server may be called besides --host; with --behind-proxy those of the proxy."""


def serve(given: Sequence[str]) -> int:
    """Serves a project; returns the exit status."""
    asked = command.parse(Serve, "jaxal serve", given)
    jax.config.update("jax_platforms", "cpu")  # the accelerator belongs to who trains
    return command.run(lambda display: _serve(asked, display))


def _serve(asked: Serve, display: Display) -> int:
    project = open_project(asked.project)
    logins = project.folder / "logins.json"
    if asked.add_login:
        return _add_login(project, asked, logins, display)
    if asked.remove_login:
        remove_login(logins, str(asked.remove_login))
        display.note(f"The secret of {asked.remove_login} is no longer good.")
        return 0
    project.data(project.state())  # that the data are there is found out now, not when a reader asks
    write_all(project)
    desk = ProjectDesk(
        project,
        option_types.split(asked.reviewers),
        lambda: text_of(project),
        lambda reader: served_text(project, reader),
        lambda: review_text(project) if project.state().with_status("disputed") else None,
        lambda reader: _click_page(project, reader),
    )
    config = ServeConfig(
        host=asked.host,
        port=asked.port,
        logins=logins if asked.login else None,
        certificate=asked.certificate,
        key=asked.key,
        behind_proxy=asked.behind_proxy,
        names=option_types.split(asked.names),
        draws=project.settings.of_scans is not None,
    )
    serve_desk(desk, config, display.note, display.should_stop)
    if display.should_stop():
        raise Interrupted
    return 0


def _add_login(project: Project, asked: Serve, logins: Path, display: Display) -> int:
    known = {*project.state().readers, *option_types.split(asked.reviewers)}
    if asked.add_login not in known:
        raise UserError(f"{asked.add_login!r} is no reader of this project; there are {', '.join(sorted(known))}.")
    secret = add_login(logins, str(asked.add_login))
    display.note(f"The secret of {asked.add_login} is {secret} . It is shown this once; give it to them in person.")
    return 0


def _click_page(project: Project, reader: str) -> str:
    write_all(project, [reader])
    return (project.reader_folder(reader) / "click.html").read_text(encoding="utf-8")
