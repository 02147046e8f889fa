"""Works through a served project with MONAI Label's own client, handing in label maps from a folder: KIND ADDRESS READER FOLDER TRUTH."""

import hashlib
import json
import shutil
import sys
import urllib.request
from pathlib import Path
from urllib.parse import quote_plus


def main(kind, address, reader, folder, truth):
    if kind == "slicer":
        from MONAILabelLib import MONAILabelClient
    else:
        from monailabel.client import MONAILabelClient
    client, folder, done, proposals = MONAILabelClient(address, folder, reader), Path(folder), [], 0
    info = client.info()
    while (sample := client.next_sample(next(iter(info["strategies"])), {})).get("id"):
        stored = folder / sample["name"]
        urllib.request.urlretrieve(f"{address}/datastore/image?image={quote_plus(sample['id'])}", stored)
        assert sample["checksum"] == f"SHA256:{hashlib.sha256(stored.read_bytes()).hexdigest()}"
        if "original" in client.datastore()["objects"][sample["id"]]["labels"]:
            proposals += 1
            assert Path(client.download_label(sample["id"], "original")).stat().st_size > 0
        case = sample["PatientID"]
        label = folder / "label.nii.gz"
        shutil.copy(Path(truth) / f"{case}.nii.gz", label)
        label_info = [{"name": name, "idx": place + 1} for place, name in enumerate(info["labels"])]
        done.append([case, client.save_label(sample["id"], str(label), params={"label_info": label_info})["version"]])
        info = client.info()
    print(json.dumps({"done": done, "proposals": proposals, "completed": info["datastore"]["completed"]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
