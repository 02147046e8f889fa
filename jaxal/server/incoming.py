"""What readers hand in, and what reviewers say of it, through MONAI Label's interface."""

import time
from collections.abc import Mapping
from typing import Any, Literal

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from jaxal.labels.refusals import Refused
from jaxal.server.answers import Problem
from jaxal.server.desk import Handed, Receipt, Standing
from jaxal.server.identity import Person
from jaxal.server.site import Site, case_of, in_thread, param, tag_of, tagged
from jaxal.server.uploads import parse_object, read_fields, receive_form

CONFIRM_SECONDS = 600.0
_DECISIONS: Mapping[str, tuple[Literal["approve", "flag"], Standing]] = {
    "approved": ("approve", "approved"),
    "flagged": ("flag", "flagged"),
}


async def save_label(site: Site, request: Request) -> Response:
    """A reader hands in, or a reviewer saves what they have edited (tags `version_N`)."""
    site.identity.let_in(request)
    tag = request.query_params.get("tag") or "final"
    case = await in_thread(case_of, site, request, "image")
    async with receive_form(request, site.desk.uploads, site.upload_limit, "label") as upload:
        params = parse_object(upload.fields.get("params", ""), "The field params")
        if upload.path is None:
            raise Problem(422, "The form has no file `label`.")
        meta = _meta(params)
        person = site.identity.person(request, params.get("client_id") or meta.get("approvedBy"))
        handed = Handed(
            person.name,
            case,
            upload.path,
            _names(params),
            _seconds(params),
            bool(params.get("empty", False)),
            str(params.get("comment", "")),
            "server",
        )
        take = _deliver if tag == "final" else _submit_version
        receipt = await anyio.to_thread.run_sync(take, site, person, handed, tag, meta, limiter=site.at_once)
    site.told(f"{person.name}: {receipt.sentence}")
    sent = request.query_params["image"]
    notes = [note.sentence for note in receipt.notes]
    return JSONResponse({"image": sent, "label": sent, "version": receipt.version, "message": receipt.sentence, "notes": notes})


def _deliver(site: Site, person: Person, handed: Handed, _tag: str, _meta: Mapping[str, Any]) -> Receipt:
    """Slicer's extension has no button for "nothing to see", so handing in an empty label twice says it."""
    key, now = (person.name, handed.case), time.monotonic()
    confirms = now - site.empty.get(key, -CONFIRM_SECONDS) < CONFIRM_SECONDS
    try:
        receipt = site.desk.deliver(handed._replace(empty=handed.empty or confirms))
    except Refused as refused:
        site.told(f"{person.name}: {refused.sentence}")
        site.empty.pop(key, None)
        if refused.code == "empty":
            site.empty[key] = now
            again = "If there is really nothing to see, submit it once more within ten minutes."
            raise Refused("empty", f"{refused.sentence} {again}") from refused
        raise
    site.empty.pop(key, None)
    return receipt


def _submit_version(site: Site, person: Person, handed: Handed, tag: str, meta: Mapping[str, Any]) -> Receipt:
    if not person.is_reviewer:
        raise Problem(403, "Only reviewers save further versions. Submit your label without a tag.")
    there = site.desk.versions().get(handed.case, ())
    if not there:
        raise Problem(409, "Nobody has handed in a label of this case yet.")
    if tag != tag_of(len(there)):
        raise Problem(
            409, f"Labels are never overwritten. Load the case again, and save your edit as a new version ({tag_of(len(there))})."
        )
    receipt = site.desk.submit_version(handed)
    if decision := _DECISIONS.get(str(meta.get("status", ""))):
        site.desk.review(person.name, handed.case, receipt.version, decision[0], str(meta.get("comment", "")))
    return receipt


async def review(site: Site, request: Request) -> Response:
    """A reviewer approves, flags or comments. The extension sends the same again for all versions of a case: what is known changes nothing."""
    site.identity.let_in(request)
    case = await in_thread(case_of, site, request, "label")
    tag = param(request, "tag")
    fields = await read_fields(request)
    meta = _meta(parse_object(fields.get("params", ""), "The field params"))
    reviewer = site.identity.reviewer(request, meta.get("approvedBy"))
    version = tagged((await in_thread(site.desk.versions)).get(case, ())).get(tag)
    if version is None:
        raise Problem(404, "There is no label of that tag.")
    status, comment = str(meta.get("status", "")), str(meta.get("comment", ""))
    if status in _DECISIONS:
        decision, standing = _DECISIONS[status]
        if (standing, comment) != (version.standing, version.comment):
            await in_thread(site.desk.review, reviewer.name, case, version.name, decision, comment)
            site.told(f"{reviewer.name}: {case}/{version.name} is {standing}.")
    elif comment and comment != version.comment:
        await in_thread(site.desk.review, reviewer.name, case, version.name, "comment", comment)
        site.told(f"{reviewer.name} says something of {case}/{version.name}.")
    return JSONResponse(None)


def _names(params: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The k-th entry of `label_info` is that of the value k. Its `idx` is ignored, because Slicer counts segments there that it leaves out."""
    listed = params.get("label_info")
    if listed is None:
        return None
    if not isinstance(listed, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in listed
    ):
        raise Problem(422, "label_info must be a list of objects with a name each.")
    return tuple(entry["name"] for entry in listed)


def _seconds(params: Mapping[str, Any]) -> float | None:
    value = params.get("seconds")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e7 else None


def _meta(params: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = params.get("segmentationMeta", {})
    return meta if isinstance(meta, dict) else {}
