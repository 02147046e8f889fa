"""The queried cases of the report: their pictures, and why each was queried."""

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxal.report.budget import asks_for_parts
from jaxal.rounds.ledger import RunOnDisk
from jaxal.rounds.pictures import picture_path
from jaxal.task_kind import Assessment

PICTURES_AT_MOST = 240  # cases shown in all: a study of forty runs stays under ten megabytes


class Pictures:
    """Pictures of queried cases, as many as fit: those of the latest rounds of all runs."""

    def __init__(self, folder: Path, runs: Sequence[RunOnDisk]):
        self._folder = folder
        pictures = [
            (-entry["round"], rank, path)
            for run in runs
            for entry in run.rounds
            for rank, id_ in enumerate(entry["queried"])
            if (path := self._path(run, entry, id_)).is_file()
        ]
        self._shown, self._all = {path for _, _, path in sorted(pictures)[:PICTURES_AT_MOST]}, len(pictures)

    def _path(self, run: RunOnDisk, entry: Mapping[str, Any], id_: str) -> Path:
        return picture_path(self._folder / run.setting / run.strategy / f"seed-{run.seed}", entry["round"], id_)

    def section(self, runs: Iterable[RunOnDisk], assessment: Assessment) -> str:
        parts = []
        for run in runs:
            figures = [figure for entry in reversed(run.rounds) for figure in self._of_round(run, entry)]
            if figures:
                parts.append(
                    f"<details><summary>{html.escape(run.strategy)}, seed {run.seed}: {len(figures)} queried {'parts' if asks_for_parts(run) else 'cases'}</summary>"
                    f'<div class="cases">{"".join(figures)}</div></details>'
                )
        if not parts:
            return ""
        left_out = (
            f" Of {self._all} pictures the {len(self._shown)} of the latest rounds are here."
            if self._all > len(self._shown)
            else ""
        )
        return f"<h3>Queried cases</h3><p>{html.escape(assessment.pictures)}{left_out}</p>{''.join(parts)}"

    def _of_round(self, run: RunOnDisk, entry: Mapping[str, Any]) -> list[str]:
        figures = []
        for rank, id_ in enumerate(entry["queried"]):
            path = self._path(run, entry, id_)
            if path not in self._shown:
                continue
            group = entry.get("queried_groups", {}).get(id_, "")
            weight = entry.get("group_weights", {}).get(group)
            why = f"round {entry['round']}, rank {rank + 1}"
            why += f", score {entry['scores'][rank]:.4g}" if "scores" in entry else ""
            why += f" (mass {entry['mass'][rank]:.4g}, gain {entry['gain'][rank]:.3g})" if "gain" in entry else ""
            why += f", class {entry['queried_classes'][id_]}" if id_ in entry.get("queried_classes", {}) else ""
            why += f", group {group}" if group else ""
            why += f", group weight {weight:.2f}" if weight is not None else ""
            data = base64.b64encode(path.read_bytes()).decode()
            figures.append(
                f'<figure><img alt="{html.escape(id_)}" src="data:image/webp;base64,{data}">'
                f"<figcaption><b>{html.escape(id_)}</b>: {html.escape(why)}</figcaption></figure>"
            )
        return figures
