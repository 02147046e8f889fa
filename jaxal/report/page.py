"""The report of a folder of runs as one HTML page that needs nothing else: no network, no other file."""

import base64
import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxal.files import write_text
from jaxal.report import charts
from jaxal.report.comparison import FEWEST_SEEDS, Comparison, Estimate, compare_runs, means_over
from jaxal.rounds.ledger import FULL, RunOnDisk, read_runs, values_after
from jaxal.rounds.pictures import picture_path
from jaxal.strategies.named import summary_of
from jaxal.tasks.measures import LABELS, measure_of
from jaxal.tasks.table import KINDS, kind_of
from jaxal.types import Assessment

PICTURES_AT_MOST = 240  # cases shown in all: a study of forty runs stays under ten megabytes

STYLE = """
:root{color-scheme:light dark;--ink:#1d2126;--soft:#5b6570;--line:#d9dee4;--back:#fff;--card:#f6f8fa;--good:#12705c;--bad:#a3312a}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#a3acb6;--line:#3a4149;--back:#15181c;--card:#1e2227;--good:#6fd3bc;--bad:#ff9a8f}}
*{box-sizing:border-box}body{margin:0;background:var(--back);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:96rem;margin:0 auto;padding:1rem}h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.2rem;margin:2rem 0 .5rem;border-top:1px solid var(--line);padding-top:1rem}
h3{font-size:1rem;margin:1.2rem 0 .3rem}p,.note{color:var(--soft);max-width:60rem}.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}th,td{padding:.35rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--back);white-space:normal;overflow-wrap:anywhere;min-width:9.5rem}th button{all:unset;cursor:pointer;font-weight:600}th button:focus-visible{outline:2px solid var(--good)}
th[aria-sort=ascending] button::after{content:" ▲"}th[aria-sort=descending] button::after{content:" ▼"}td small{display:block;color:var(--soft)}td.better,td.worse{font-weight:600}td.better{color:var(--good)}td.worse{color:var(--bad)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr));gap:1rem;align-items:start}figure{margin:0;background:var(--card);border-radius:.5rem;padding:.5rem;break-inside:avoid}
figure svg{width:100%;height:auto;display:block}.cases{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,18rem),1fr));gap:1rem}
h4{font-size:.85rem;font-weight:600;margin:0 0 .25rem}.keys{display:flex;flex-wrap:wrap;gap:.1rem .9rem;font-size:.85rem;margin:.3rem 0 .6rem}.keys label{display:inline-flex;align-items:center;gap:.35rem;cursor:pointer}
.keys svg{width:1.8rem;height:.7rem;flex:none}.keys span{overflow-wrap:anywhere;min-width:0}.cases img{width:100%;image-rendering:pixelated;border-radius:.25rem;background:#000}figcaption{font-size:.8rem;color:var(--soft);overflow-wrap:anywhere}details summary{cursor:pointer;padding:.3rem 0}
@media print{:root{--ink:#000;--soft:#333;--line:#bbb;--back:#fff;--card:#fff}details{display:block}main{max-width:none}.scroll{overflow:visible}table{font-size:.6rem}th,td{padding:.15rem .25rem}th{white-space:normal}}
"""

SCRIPT = """
for(const table of document.querySelectorAll("table.sortable")){table.querySelectorAll("th button").forEach((button,column)=>{button.addEventListener("click",()=>{
const head=button.closest("th"),up=head.getAttribute("aria-sort")!=="ascending",body=table.tBodies[0],rows=[...body.rows];
for(const other of table.querySelectorAll("th"))other.removeAttribute("aria-sort");head.setAttribute("aria-sort",up?"ascending":"descending");
const value=row=>{const text=row.cells[column].dataset.value,number=Number(text);return isNaN(number)?text:number};
rows.sort((a,b)=>{const x=value(a),y=value(b),less=x<y?-1:x>y?1:0;return up?less:-less});body.append(...rows)})})}
for(const box of document.querySelectorAll(".keys input"))box.addEventListener("change",()=>{for(const line of box.closest("section").querySelectorAll(`[id="${box.dataset.line}"]`))line.style.display=box.checked?"":"none"});
addEventListener("beforeprint",()=>document.querySelectorAll("details").forEach(part=>part.open=true));
"""


def write_report(folder: Path, unfinished: str = "", comparisons: Sequence[Comparison] | None = None) -> Path:
    """Writes `report.html` of all runs below a folder.

    Args:
      folder: of a study, `SETTING/STRATEGY/seed-N`.
      unfinished: what is still to come, for the head of the page.
      comparisons: of its settings, where they are known already.
    """
    runs = read_runs(folder)
    known = {found.setting: found for found in comparisons or ()}
    settings = sorted({run.setting for run in runs})
    pictures = _Pictures(folder, runs)
    parts = [f"<h1>{html.escape(folder.resolve().name)}</h1>", f"<p>{html.escape(_about(runs))} {html.escape(unfinished)}</p>"]
    for setting in settings:
        own = [run for run in runs if run.setting == setting]
        parts += [
            f"<h2>{html.escape(setting)}</h2>",
            _table(known.get(setting) or compare_runs(setting, own)),
            _by_round(own, kind_of(own[0].rounds).assessment),
            _classes(own, kind_of(own[0].rounds).assessment),
            charts.section(own, kind_of(own[0].rounds).assessment),
            pictures.section(own, kind_of(own[0].rounds).assessment),
        ]
    body = "\n".join(parts)
    path = folder / "report.html"
    write_text(
        path,
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{html.escape(folder.resolve().name)}</title><link rel="icon" href="data:,"><style>{STYLE}</style></head>'
        f"<body><main>{body}</main><script>{SCRIPT}</script></body></html>\n",
    )
    return path


def _about(runs: Sequence[RunOnDisk]) -> str:
    if not runs:
        return "No round is finished yet."
    last = runs[-1].rounds[-1]
    seeds = sorted({run.seed for run in runs})
    hashes = ", ".join(sorted({run.rounds[-1].get("config", "") for run in runs} - {""}))
    made_with = [
        f"Configuration {hashes}" if hashes else "",
        ", ".join(f"{name} {number}" for name, number in last.get("versions", {}).items()),
        last.get("device", ""),
    ]
    told = "; ".join(part for part in made_with if part)
    return f"{len(runs)} runs, seeds {', '.join(map(str, seeds))}. Every number is of the test cases, which no strategy sees." + (
        f" {told}." if told else ""
    )


# The comparison


def _table(found: Comparison) -> str:
    left_out = (
        f"<p>Left out, since the others have more seeds and rounds in common: {html.escape(', '.join(found.left_out))}.</p>"
        if found.left_out
        else ""
    )
    if not found.table:
        return "<p>There is nothing to compare yet.</p>" + left_out
    parts = [
        f"<h3>Comparison</h3><p>{_intervals_line(len(found.seeds))} ∞ where a goal is not reached. {_full_line(found)}</p>",
        _estimates(found.table, found.assessment, signed=False),
        left_out,
    ]
    for base, own in found.differences.items():
        if own:
            parts.append(
                f"<h3>Difference from {html.escape(base)}</h3><p>{_pairs_line(len(found.seeds))}</p>"
                + _estimates(own, found.assessment, signed=True)
            )
    return "".join(parts)


def _intervals_line(seeds: int) -> str:
    if seeds < FEWEST_SEEDS:
        return f"{means_over(seeds).capitalize()}, because fewer than {FEWEST_SEEDS} do not show how far other splits and trainings would differ."
    return (
        f"Means over the {seeds} seeds that all strategies have, below them 95 % intervals: Student's t over the seeds, for the mean of all splits "
        "and trainings of this data. Other patients may fare otherwise."
    )


def _pairs_line(seeds: int) -> str:
    coloured = " Green where it is better and red where it is worse, and the interval does not hold zero."
    return "Paired: the same seeds and test cases." + (coloured if seeds >= FEWEST_SEEDS else "")


def _full_line(found: Comparison) -> str:
    if found.full is None:
        return (
            "Training on everything was not run for all of these seeds, so nothing is said of the labels needed for 95 % of it."
        )
    return f"Training on everything: {found.assessment.title} {found.full:.3f}."


def _estimates(rows: Mapping[str, Mapping[str, Estimate]], assessment: Assessment, signed: bool) -> str:
    measures = list(next(iter(rows.values())))
    order = [name for name in (*assessment.measures, *LABELS) if name in measures]
    order[1:1] = [name for name in measures if name not in order]
    columns = [measure_of(assessment, name) for name in order]
    cells = {
        name: "".join(
            _cell(own[measure], column.lower_is_better, column.digits, signed)
            for measure, column in zip(order, columns, strict=True)
        )
        for name, own in rows.items()
    }
    return _sortable([(column.title, column.meaning) for column in columns], cells)


def _sortable(titles: Sequence[tuple[str, str]], cells: Mapping[str, str]) -> str:
    """A table with a line a strategy; of each column the title and its meaning."""
    head = "".join(
        f'<th scope="col"><button type="button" title="{html.escape(meaning)}">{html.escape(title)}</button></th>'
        for title, meaning in (("strategy", ""), *titles)
    )
    lines = "".join(
        f'<tr><td data-value="{html.escape(name)}"{_tooltip(name)}>{html.escape(name).replace(",", ",<wbr>").replace("=", "=<wbr>")}</td>{own}</tr>'
        for name, own in cells.items()
    )
    return f'<div class="scroll"><table class="sortable"><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'


def _tooltip(name: str) -> str:
    """What a strategy does, if its name is known; one of the user's own says so in its file."""
    makes = [kind.strategies[row] for kind in KINDS.values() if (row := name.split(",")[0]) in kind.strategies]
    return f' title="{html.escape(summary_of(makes[0]))}"' if makes else ""


def _cell(estimate: Estimate, lower_is_better: bool, digits: int, signed: bool) -> str:
    form = f"{'+' if signed else ''}.{digits}f"

    def number(value: float) -> str:
        return "–" if np.isnan(value) else format(value, form).replace("inf", "∞")

    known = estimate.low < estimate.high  # of few seeds and of differences of labels needed there is no interval
    sure = signed and (estimate.low > 0 or estimate.high < 0)
    better = (estimate.value < 0) == lower_is_better
    kind = f' class="{"better" if better else "worse"}"' if sure else ""
    interval = f"{number(estimate.low)} to {number(estimate.high)}" if known else ""
    return f'<td{kind} data-value="{_key(estimate.value)}">{number(estimate.value)}<small>{interval}</small></td>'


def _key(value: float | np.floating) -> str:
    """What a column is sorted by; numbers that are not known come last."""
    return f"{value}" if np.isfinite(value) else "-Infinity" if value < 0 else "Infinity"


def _by_round(runs: Sequence[RunOnDisk], assessment: Assessment) -> str:
    """The main measure after each round, mean and standard deviation over seeds: the shape in which papers give it."""
    curves = [run for run in runs if run.strategy != FULL]
    labelled = sorted({entry["labelled"] for run in curves for entry in run.rounds})
    if not labelled:
        return ""
    whole = {entry["labelled"] + entry["pool"] for run in curves for entry in run.rounds if "pool" in entry}
    cells = {}
    for strategy in sorted({run.strategy for run in curves}):
        cells[strategy] = ""
        for count in labelled:
            values = values_after(curves, strategy, count, assessment.key)
            mean, deviation = (
                (np.mean(values), np.std(values, ddof=1) if len(values) > 1 else np.nan) if values else (np.nan, np.nan)
            )
            small = "" if np.isnan(deviation) else f"± {deviation:.4f}"
            shown = "–" if np.isnan(mean) else f"{mean:.4f}"
            cells[strategy] += f'<td data-value="{_key(mean)}">{shown}<small>{small}</small></td>'
    share = f" of {min(whole)}" if len(whole) == 1 else ""
    titles = [(f"{count}{f' ({100 * count / min(whole):.0f} %)' if share else ''}", "labelled cases") for count in labelled]
    return (
        f"<h3>{assessment.title} by labelled cases</h3><p>Mean and standard deviation over all seeds of each strategy, after training on so many{share}.</p>"
        + _sortable(titles, cells)
    )


def _classes(runs: Sequence[RunOnDisk], assessment: Assessment) -> str:
    """What was reached of each class, and how many of it were labelled for that, where there are several."""
    order = charts.class_order(runs, assessment)
    measured = _by_class(
        runs,
        order,
        lambda entry: entry[assessment.key].get("by_class", {}),
        ".3f",
        "mean over the test cases in which it is defined",
    )
    labelled = _by_class(
        runs, order, lambda entry: entry.get("labelled_by_class", {}), ".1f", "labelled cases of the class", absent=0.0
    )
    parts = ((f"{assessment.title} by class", measured), ("Labelled by class", labelled))
    return "".join(
        f"<h3>{title}</h3><p>After each run's last round, mean over all of its seeds.</p>{table}"
        for title, table in parts
        if table
    )


def _by_class(
    runs: Sequence[RunOnDisk],
    order: Callable[[str], Any],
    of: Callable[[Mapping[str, Any]], Mapping[str, float]],
    form: str,
    meaning: str,
    absent: float = np.nan,
) -> str:
    last = {(run.strategy, run.seed): of(run.rounds[-1]) for run in runs}
    names = sorted({name for own in last.values() for name in own}, key=order)
    if len(names) < 2:
        return ""
    cells = {}
    for strategy in sorted({strategy for strategy, _ in last}):
        found = np.array([[own.get(name, absent) for name in names] for (other, _), own in last.items() if other == strategy])
        means = [values[~np.isnan(values)].mean() if not np.isnan(values).all() else np.nan for values in found.T]
        cells[strategy] = "".join(
            f'<td data-value="{_key(mean)}">{"–" if np.isnan(mean) else format(mean, form)}</td>' for mean in means
        )
    return _sortable([(name, meaning) for name in names], cells)


# The cases


class _Pictures:
    """Pictures of queried cases, as many as fit: those of the latest rounds of all runs."""

    def __init__(self, folder: Path, runs: Sequence[RunOnDisk]):
        self._folder = folder
        found = [
            (-entry["round"], rank, path)
            for run in runs
            for entry in run.rounds
            for rank, id_ in enumerate(entry["queried"])
            if (path := self._path(run, entry, id_)).is_file()
        ]
        self._shown, self._all = {path for _, _, path in sorted(found)[:PICTURES_AT_MOST]}, len(found)

    def _path(self, run: RunOnDisk, entry: Mapping[str, Any], id_: str) -> Path:
        return picture_path(self._folder / run.setting / run.strategy / f"seed-{run.seed}", entry["round"], id_)

    def section(self, runs: Iterable[RunOnDisk], assessment: Assessment) -> str:
        parts = []
        for run in runs:
            figures = [figure for entry in reversed(run.rounds) for figure in self._of_round(run, entry)]
            if figures:
                parts.append(
                    f"<details><summary>{html.escape(run.strategy)}, seed {run.seed}: {len(figures)} queried cases</summary>"
                    f'<div class="cases">{"".join(figures)}</div></details>'
                )
        if not parts:
            return ""
        some = (
            f" Of {self._all} pictures the {len(self._shown)} of the latest rounds are here."
            if self._all > len(self._shown)
            else ""
        )
        return f"<h3>Queried cases</h3><p>{html.escape(assessment.pictures)}{some}</p>{''.join(parts)}"

    def _of_round(self, run: RunOnDisk, entry: Mapping[str, Any]) -> list[str]:
        figures = []
        for rank, (id_, score) in enumerate(zip(entry["queried"], entry["scores"], strict=True)):
            path = self._path(run, entry, id_)
            if path not in self._shown:
                continue
            group = entry.get("queried_groups", {}).get(id_, "")
            weight = entry.get("group_weights", {}).get(group)
            why = f"round {entry['round']}, rank {rank + 1}, score {score:.4g}"
            why += f" (mass {entry['mass'][rank]:.4g}, gain {entry['gain'][rank]:.3g})" if "gain" in entry else ""
            why += f", class {entry['queried_classes'][id_]}" if "queried_classes" in entry else ""
            why += f", group {group}" if group else ""
            why += f", group weight {weight:.2f}" if weight is not None else ""
            data = base64.b64encode(path.read_bytes()).decode()
            figures.append(
                f'<figure><img alt="{html.escape(id_)}" src="data:image/webp;base64,{data}">'
                f"<figcaption><b>{html.escape(id_)}</b>: {html.escape(why)}</figcaption></figure>"
            )
        return figures
