"""The report of a folder of runs as one HTML page that needs nothing else: no network, no other file."""

import html
from collections.abc import Sequence
from pathlib import Path

from jaxal.files import write_text
from jaxal.report import asked, calibration, charts, closable, lead, level_tables, overlooked, results, uncertainty, ways
from jaxal.report.cases import Pictures
from jaxal.report.comparison import Comparison, compare_runs
from jaxal.report.looks import document
from jaxal.rounds.ledger import RunOnDisk, read_runs
from jaxal.tasks.table import kind_of


def write_report(folder: Path, unfinished: str = "", comparisons: Sequence[Comparison] | None = None) -> Path:
    """Writes `report.html` of all runs below a folder.

    Args:
      folder: of a study, `SETTING/STRATEGY/seed-N`.
      unfinished: what is still to come, for the head of the page.
      comparisons: of its settings, where they are known already.
    """
    runs, name = read_runs(folder), html.escape(folder.resolve().name)
    known = {comparison.setting: comparison for comparison in comparisons or ()}
    pictures, sentences, sections = Pictures(folder, runs), {}, []
    for setting in sorted({run.setting for run in runs}):
        of_setting = [run for run in runs if run.setting == setting]
        comparison = known.get(setting) or compare_runs(setting, runs)
        queries = asked.asked_next(folder, of_setting, comparison.budget)
        sentences[setting] = _sentences(of_setting, comparison, queries, bool(unfinished))
        sections.append(_section(of_setting, comparison, queries, pictures))
    about = f"{_about(runs)} {ways.sentences(folder)} {unfinished}"
    body = "\n".join([f"<h1>{name}</h1>", _lead(sentences), f"<p>{html.escape(' '.join(about.split()))}</p>", *sections])
    path = folder / "report.html"
    write_text(path, document(folder.resolve().name, body))
    return path


def _sentences(runs: Sequence[RunOnDisk], comparison: Comparison, queries: Sequence[asked.Asked], unfinished: bool) -> str:
    if _trained_on_all(runs):
        lines, measures = uncertainty.last_lines(runs)
        return html.escape(uncertainty.sentence(lines, measures[0]))
    first = lead.sentence(runs, comparison, queries, unfinished)
    found = overlooked.overlooked(runs, comparison.assessment)
    warning = overlooked.sentence(found) if found and any(one.verdict == "overlooks" for one in found.standings) else ""
    return html.escape(" ".join(filter(None, [first, lead.groups_sentence(comparison), warning])))


def _trained_on_all(runs: Sequence[RunOnDisk]) -> bool:
    """Whether the runs never asked for a label, because all were there, but for what networks know of their errors."""
    return all(run.rounds[0].get("pool") == 0 for run in runs) and bool(uncertainty.last_lines(runs)[1])


def _lead(sentences: dict[str, str]) -> str:
    """The first words of the page: a sentence, or one for each setting."""
    if len(sentences) < 2:
        return f'<p class="lead">{next(iter(sentences.values()), "No round is finished yet.")}</p>'
    listed = "".join(f"<li><b>{html.escape(setting)}</b>: {text}</li>" for setting, text in sentences.items())
    return f'<ul class="lead">{listed}</ul>'


def _section(runs: Sequence[RunOnDisk], comparison: Comparison, queries: Sequence[asked.Asked], pictures: Pictures) -> str:
    """All of one setting; the queries of many runs come late, because they would bury what was found."""
    kind, budget, shown_first = kind_of(runs[0].rounds), comparison.budget, len(queries) <= asked.FEW
    assessment, next_cases = kind.assessment, asked.section(queries, budget)
    calibrated = calibration.section(runs, kind.elements if kind.dense else "images")
    if _trained_on_all(runs):
        parts = [
            uncertainty.section(runs, begins_page=True),
            results.comparison_section(comparison, of_training=True),
            results.by_class(runs, assessment),
            calibrated,
        ]
        return "\n".join([f"<h2>{html.escape(comparison.setting)}</h2>", *parts])
    return "\n".join(
        [
            f"<h2>{html.escape(comparison.setting)}</h2>",
            next_cases if shown_first else "",
            results.comparison_section(comparison),
            closable.section(runs, assessment),
            overlooked.section(runs, assessment),
            level_tables.section(comparison),
            results.by_round(runs, assessment, budget),
            results.by_class(runs, assessment),
            charts.section(runs, assessment, budget),
            calibrated,
            uncertainty.section(runs),
            "" if shown_first else next_cases,
            pictures.section(runs, assessment),
        ]
    )


def _about(runs: Sequence[RunOnDisk]) -> str:
    if not runs:
        return ""
    last = runs[-1].rounds[-1]
    seeds = sorted({run.seed for run in runs})
    hashes = ", ".join(sorted({run.rounds[-1].get("config", "") for run in runs} - {""}))
    made_with = [
        f"Configuration {hashes}" if hashes else "",
        ", ".join(f"{name} {number}" for name, number in last.get("versions", {}).items()),
        last.get("device", ""),
    ]
    told = "; ".join(part for part in made_with if part)
    counted = f"{len(runs)} run{'' if len(runs) == 1 else 's'}, seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"
    return f"{counted}. Every number is of the test cases, which take no part in training or choosing." + (
        f" {told}." if told else ""
    )
