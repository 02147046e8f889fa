"""MONAI Label's interface (version 0.8.5), as its clients use it: 3D Slicer's extension, the reviewer's extension, the Python client.

What they call is here; what they call and what a project has no use for (training from Slicer, scans of a reader's own) gets the answer that
they take for "not here". Nothing waits for a training, because Slicer blocks its window while it waits.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from jaxal.server.answers import Problem
from jaxal.server.desk import Counts, Entry, Version
from jaxal.server.identity import Person
from jaxal.server.incoming import review, save_label
from jaxal.server.site import Site, case_of, ending_of, in_thread, param, plain_name, send_file, tagged
from jaxal.server.uploads import read_fields, read_object

Handler = Callable[[Request], Awaitable[Response]]
STRATEGIES = {
    "worklist": "The next case of your list.",
    "skip": "Give this case back, and take the next one of your list.",
}


def routes(site: Site) -> list[Route]:
    """All paths, with and without a slash at the end, because MONAI Label's client follows no redirect."""
    table: list[tuple[str, str, Handler]] = [
        ("GET", "/info", lambda request: _info(site, request)),
        ("POST", "/activelearning/{strategy}", lambda request: _next_sample(site, request)),
        ("GET", "/datastore", lambda request: _datastore(site, request)),
        ("GET", "/datastore/image", lambda request: _image(site, request)),
        ("GET", "/datastore/image/info", lambda request: _image_info(site, request)),
        ("GET", "/datastore/label", lambda request: _label(site, request)),
        ("GET", "/datastore/label/info", lambda request: _label_info(site, request)),
        ("PUT", "/datastore/label", lambda request: save_label(site, request)),
        ("PUT", "/datastore/updatelabelinfo", lambda request: review(site, request)),
        ("GET", "/auth", lambda request: _auth(site, request)),
        ("POST", "/auth/token", lambda request: _token(site, request)),
        ("GET", "/auth/token/valid", lambda request: _token_valid(site, request)),
        ("DELETE", "/train", _stop_training),
        *_refusals(),
    ]
    methods: dict[str, dict[str, Handler]] = {}
    for method, path, handler in table:
        methods.setdefault(path, {})[method] = handler
    return [
        Route(spelling, _by_method(handlers), methods=list(handlers))
        for path, handlers in methods.items()
        for spelling in (path, f"{path}/")
    ]


def _refusals() -> list[tuple[str, str, Handler]]:
    """What a project has no use for."""
    no_upload = "Scans come into this project only through its data folder. Open the next sample instead."
    no_training = "Networks are trained by the project's keeper (`jaxal ask`), not from Slicer."
    no_session = "Only scans of this project can be worked on here. Open the next sample instead."
    no_deletion = "Labels are kept for good. Approve another version, or flag this one."
    refused = {
        403: (no_upload, [("PUT", "/datastore"), ("PUT", "/datastore/image"), ("PUT", "/datastore/image/info")]),
        404: ("No training runs.", [("GET", "/train")]),
        406: (no_session, [("PUT", "/session"), ("GET", "/session/{id}"), ("DELETE", "/session/{id}")]),
    }
    table = [(method, path, _refusal(status, sentence)) for status, (sentence, rows) in refused.items() for method, path in rows]
    for path in ("/train", "/train/{model}"):
        table.append(("POST", path, _refusal(403, no_training)))
    for path in ("/datastore", "/datastore/image", "/datastore/label"):
        table.append(("DELETE", path, _refusal(403, no_deletion)))
    table.append(("PUT", "/datastore/label/info", _refusal(403, "Say what you think of a label in the reviewer's extension.")))
    table.append(("POST", "/infer/{model}", _refusal(404, "No network runs here; its proposal comes with the next sample.")))
    return table


def _by_method(handlers: Mapping[str, Handler]) -> Handler:
    async def handle(request: Request) -> Response:
        return await handlers["GET" if request.method == "HEAD" else request.method](request)

    return handle


def _refusal(status: int, sentence: str) -> Handler:
    async def refuse(_request: Request) -> Response:
        return PlainTextResponse(sentence, status)

    return refuse


async def _stop_training(_request: Request) -> Response:
    return JSONResponse(None)


async def _info(site: Site, request: Request) -> Response:
    site.identity.let_in(request)
    counts, accuracy = await in_thread(lambda: (site.desk.counts(), site.desk.accuracy()))
    stats = {} if accuracy is None else {"jaxal": {"epoch": 1, "total_epochs": 1, "best_metric": accuracy, "total_time": 1}}
    return JSONResponse(
        {
            "name": site.desk.name,
            "description": "Labels of a project of jaxal.",
            "version": "0.8.5",
            "labels": list(site.desk.classes),
            "models": {},
            "trainers": {},
            "strategies": {name: {"description": description} for name, description in STRATEGIES.items()},
            "scoring": {},
            "train_stats": stats,
            "datastore": _stats(counts),
        }
    )


async def _next_sample(site: Site, request: Request) -> Response:
    strategy = request.path_params["strategy"]
    if strategy not in STRATEGIES:
        raise Problem(404, f"There is no strategy of that name here; there are {', '.join(STRATEGIES)}.")
    reader = site.identity.person(request, (await read_object(request)).get("client_id"))
    return JSONResponse(await in_thread(_sample, site, request, reader, strategy))


def _sample(site: Site, request: Request, reader: Person, strategy: str) -> dict[str, Any]:
    if strategy == "skip" and (case := site.desk.current_case(reader.name)) is not None:
        site.desk.skip(reader.name, case)
        site.told(f"{reader.name} gave {case} back.")
    case = site.desk.next_case(reader.name)
    if case is None:
        return {}
    image = site.desk.image(case)
    now, asked_for = int(time.time()), site.desk.asked_for(reader.name, case)
    return {
        "id": site.identity.id_for(request, case),
        "name": plain_name(image.file_name),
        "PatientID": f"{case}: {asked_for}" if asked_for else case,  # the extension shows it, and has no other place to say this
        "checksum": f"SHA256:{image.sha256}",
        "ts": now,
        "strategy": {strategy: {"ts": now, "client_id": reader.name}},
    }


async def _datastore(site: Site, request: Request) -> Response:
    person = site.identity.let_in(request)
    match request.query_params.get("output", "stats"):
        case "all":
            return JSONResponse(await in_thread(_all_cases, site, request, person))
        case "stats":
            return JSONResponse(_stats(await in_thread(site.desk.counts)))
        case "train":
            raise Problem(403, "Paths of files are not given away.")
    raise Problem(422, "output must be stats or all.")


def _all_cases(site: Site, request: Request, person: Person | None) -> dict[str, Any]:
    reviewer = person if person is not None and person.is_reviewer else None
    versions = site.desk.versions() if reviewer else {}
    objects = {}
    for entry in site.desk.cases():
        image = {"ext": ending_of(entry.file_name), "info": {"ts": 0, "name": plain_name(entry.file_name)}}
        labels = _labels_of_reviewer(site, entry, versions) if reviewer else _labels_of_reader(site, entry)
        objects[site.identity.id_for(request, entry.id)] = {"image": image, "labels": labels}
    return {"name": site.desk.name, "description": "", "images_dir": "", "labels_dir": "", "objects": objects}


def _labels_of_reader(site: Site, entry: Entry) -> dict[str, Any]:
    """The proposal; and that there is a label, but nothing of it."""
    labels = {}
    if entry.proposed:
        # The order of these names counts, not their values: the k-th gets the voxels of the value k.
        names = {name: value for value, name in enumerate(site.desk.classes, start=1)}
        name = f"{plain_name(entry.id)}.nii.gz"
        labels["original"] = {"ext": ".nii.gz", "info": {"ts": 0, "name": name, "params": {"label_names": names}}}
    if entry.completed:
        labels["final"] = {"ext": ".seg.nrrd", "info": {"ts": 0, "name": f"{plain_name(entry.id)}.seg.nrrd"}}
    return labels


def _labels_of_reviewer(site: Site, entry: Entry, versions: Mapping[str, Sequence[Version]]) -> dict[str, Any]:
    label_info = [{"name": name, "idx": value} for value, name in enumerate(site.desk.classes, start=1)]
    labels = {}
    name = f"{plain_name(entry.id)}.seg.nrrd"
    for tag, version in tagged(versions.get(entry.id, ())).items():
        info: dict[str, Any] = {"ts": version.time, "name": name, "client_id": version.reader, "label_info": label_info}
        if version.standing or version.comment:
            info["segmentationMeta"] = {
                "status": version.standing,
                "level": "",
                "approvedBy": version.reviewer,
                "comment": version.comment,
                "editTime": version.time,
            }
        labels[tag] = {"ext": ".seg.nrrd", "info": info}
    return labels


async def _image(site: Site, request: Request) -> Response:
    case = await in_thread(case_of, site, request, "image", True)
    image = await in_thread(site.desk.image, case)
    said = request.query_params.get("check_sum")
    if said is not None and said.removeprefix("SHA256:").lower() != image.sha256:
        raise Problem(404, "The image has another checksum.")
    return send_file(image.path, plain_name(image.file_name))


async def _image_info(site: Site, request: Request) -> Response:
    case = await in_thread(case_of, site, request, "image")
    image = await in_thread(site.desk.image, case)
    return JSONResponse({"ts": 0, "name": plain_name(image.file_name), "checksum": f"SHA256:{image.sha256}"})


async def _label(site: Site, request: Request) -> Response:
    by = "image" if request.method == "HEAD" and "label" not in request.query_params else "label"
    case = await in_thread(case_of, site, request, by)
    tag = param(request, "tag")
    if tag == "original":
        person = site.identity.let_in(request)
        path = await in_thread(site.desk.proposal, case, None if person is None or person.is_reviewer else person.name)
        if path is None:
            raise Problem(404, "There is no proposal for this case.")
        return send_file(path, f"{plain_name(case)}.nii.gz")
    site.identity.reviewer(request)
    version = tagged((await in_thread(site.desk.versions)).get(case, ())).get(tag)
    if version is None:
        raise Problem(404, "There is no label of that tag.")
    path = await in_thread(site.desk.version_file, case, version.name)
    return send_file(path, f"{plain_name(case)}{ending_of(path.name)}")


async def _label_info(site: Site, request: Request) -> Response:
    case = await in_thread(case_of, site, request, "label")
    tag = param(request, "tag")
    person = site.identity.let_in(request)
    entry = next(entry for entry in await in_thread(site.desk.cases) if entry.id == case)
    if person is not None and person.is_reviewer:
        labels = _labels_of_reviewer(site, entry, await in_thread(site.desk.versions))
    else:
        labels = _labels_of_reader(site, entry)
    return JSONResponse(labels.get(tag, {}).get("info"))


async def _auth(site: Site, request: Request) -> Response:
    """Whether there are logins. Who comes by an address of their own is known already."""
    if site.identity.doorman is None or (site.identity.known(request) is not None and not request.state.by_token):
        raise Problem(404, "There is no login here.")
    return JSONResponse({"enabled": True, "client_id": "jaxal", "realm": "jaxal"})


async def _token(site: Site, request: Request) -> Response:
    doorman = site.identity.doorman
    if doorman is None:
        raise Problem(404, "There is no login here.")
    fields = await read_fields(request)
    if not {"username", "password"} <= fields.keys():
        raise Problem(422, "username and password are needed.")
    name, secret = fields["username"], fields["password"]
    admitted = await in_thread(doorman.admits, name, secret)  # for strangers, too, so that it takes as long
    if not admitted or name not in request.state.roles:
        raise Problem(401, "The name or the secret is wrong.")
    return JSONResponse({"access_token": site.identity.give_token(name), "token_type": "bearer"})


async def _token_valid(site: Site, request: Request) -> Response:
    if site.identity.doorman is None:
        raise Problem(404, "There is no login here.")
    person = site.identity.person(request)
    return JSONResponse({"username": person.name, "email": "", "name": person.name, "roles": ["user", "annotator", person.role]})


def _stats(counts: Counts) -> dict[str, Any]:
    return {"total": counts.total, "completed": counts.completed, "label_tags": {"final": counts.completed}}
