"""Does what 3D Slicer's extensions do, with MONAI Label's own clients. It runs in their environment, where there is no jaxal.

package|slicer ADDRESS READER FOLDER [SECRET]     works until nothing is left
reviewer ADDRESS FOLDER CASE                      approves, flags, edits
Says at its end in JSON what happened.
"""

import hashlib
import json
import sys
import urllib.request
from pathlib import Path
from urllib.parse import quote_plus


def log_in(make_client, reader, secret, kept):
    """As `MONAILabelLogic._client`: before every call a new client, which asks whether there are logins."""
    client = make_client()
    if client.auth_enabled():
        if kept.get("token"):
            client.update_auth(kept["token"])
        if not kept.get("token") or not client.auth_valid_token():
            kept["token"] = client.auth_token(reader, secret)
            client.update_auth(kept["token"])
            kept["logins"] = kept.get("logins", 0) + 1
    return client


def work(make_client, error, address, reader, folder, secret=None):
    kept, done, refused = {}, [], None

    def client():
        return log_in(make_client, reader, secret, kept)

    folder = Path(folder)
    info = client().info()
    assert not info.get("config") and client().train_status(check_if_running=True) is False
    while (sample := client().next_sample(next(iter(info["strategies"])), {})).get("id"):
        stored = folder / sample["name"]
        # Slicer downloads without a word of who it is, and keeps what has the right checksum.
        urllib.request.urlretrieve(f"{address}/datastore/image?image={quote_plus(sample['id'])}", stored)
        kind, digest = sample["checksum"].split(":")
        assert kind == "SHA256" and hashlib.sha256(stored.read_bytes()).hexdigest() == digest
        original = client().datastore()["objects"][sample["id"]]["labels"]["original"]["info"]
        names = list(original["params"]["label_names"])
        proposal = Path(client().download_label(sample["id"], "original"))
        assert proposal.name.endswith(".nii.gz") and proposal.read_bytes() == b"proposal" and names == info["labels"]
        label = folder / "label.nii.gz"
        label_info = [{"name": name, "idx": place + 1} for place, name in enumerate(names)]
        if refused is None:
            label.write_bytes(b"wrong")
            try:
                client().save_label(sample["id"], str(label), params={"label_info": label_info})
            except error as raised:
                refused = raised.msg
        label.write_bytes(f"label of {sample['PatientID']} by {reader}".encode())
        result = client().save_label(sample["id"], str(label), params={"label_info": label_info})
        done.append([sample["PatientID"], result["version"]])
        info = client().info()
    for forbidden in (
        lambda: client().upload_image(str(label), "mine"),
        lambda: client().create_session(str(label)),
        lambda: client().train_start("unet", {}),
        lambda: client().infer("unet", done[0][0], {}),
    ):
        try:
            forbidden()
            raise AssertionError("it was allowed")
        except error:
            pass
    assert client().train_stop() is None
    return {"done": done, "refused": refused, "logins": kept.get("logins", 0), "completed": info["datastore"]["completed"]}


def review(address, folder, case):
    from MONAILabelReviewerLib.JsonParser import JsonParser
    from MONAILabelReviewerLib.MonaiServerREST import MonaiServerREST

    rest = MonaiServerREST(address)

    def look():
        parser = JsonParser(rest.requestDataStoreInfo())
        parser.init()
        return parser.getMapIdToImageData()[case]

    assert rest.checkServerConnection()
    image = look()
    before = {"annotator": image.getClientId(), "tags": image.getVersionNames(), "status": image.getStatus()}
    label = rest.requestSegmentation(case, "final").content
    image.updateSegmentationMetaByVerionTag("final", status="flagged", level="hard", approvedBy="carol", comment="Look again.")
    statuses = [rest.updateLabelInfo(case, "final", image.getMetaByVersionTag("final"))]
    flagged = [look().isFlagged("final"), look().getComment("final"), look().getApprovedBy("final")]
    image = look()
    tag = image.getNewVersionName()
    image.updateSegmentationMetaByVerionTag(tag, status="approved", level="easy", approvedBy="carol", comment="Mended.")
    edited = Path(folder) / "edited.nrrd"
    edited.write_bytes(b"edited")
    statuses.append(rest.saveLabel(case, str(edited), tag, image.obtainUpdatedParams(tag)))
    image = look()
    # As `updateLabelInfoOfAllVersionTags`: after one version all others are sent again.
    for other, meta in image.updateApprovedStatusOfOtherThanSubjectedVersion(tag, "easy").items():
        statuses.append(rest.updateLabelInfo(case, other, meta))
    image = look()
    after = {"tags": image.getVersionNames(), "approved": image.isApprovedVersion(tag), "flagged": image.isFlagged("final")}
    overwritten = rest.saveLabel(case, str(edited), tag, image.obtainUpdatedParams(tag))
    deleted = rest.deleteLabelByVersionTag(case, tag)
    return {
        "before": before,
        "label": label.decode(),
        "flagged": flagged,
        "tag": tag,
        "statuses": statuses,
        "after": after,
        "edited": rest.requestSegmentation(case, tag).content.decode(),
        "overwritten": overwritten,
        "deleted": deleted,
    }


def main():
    kind, *given = sys.argv[1:]
    if kind == "reviewer":
        said = review(*given)
    else:
        if kind == "slicer":
            from MONAILabelLib import MONAILabelClient
            from MONAILabelLib.client import MONAILabelClientException
        else:
            from monailabel.client import MONAILabelClient
            from monailabel.client.client import MONAILabelClientException
        address, reader, folder = given[:3]
        said = work(lambda: MONAILabelClient(address, folder, reader), MONAILabelClientException, *given)
    print(json.dumps(said))


if __name__ == "__main__":
    main()
