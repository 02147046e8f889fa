"""What follows from what readers handed in, without anybody's help: readings of one case become one label, or a dispute."""

from jaxal.projects.decisions import assign_third, free_reader
from jaxal.projects.deliver import store
from jaxal.projects.kinds import kind_of
from jaxal.projects.project import Project, check_labels
from jaxal.projects.state import MERGED


def settle(project: Project) -> list[str]:
    """Makes one label of the readings of each case of which all are there; returns a sentence for each.

    Where two differ too much, a third reader is asked, who knows nothing of it, and the majority of the three counts; if there is no
    third, or no majority, somebody decides. It can be repeated, and killed.
    """
    told, before = list[str](), set(project.state().with_status("disputed"))
    for id_ in [id_ for id_, case in project.state().cases.items() if case.waits_for_merging and case.excluded is None]:
        told.append(_settle(project, id_))
    for id_ in project.state().with_status("disputed"):
        if asked := _ask_a_third(project, id_):
            told.append(asked)
        elif id_ not in before:
            told.append(f"{id_}: somebody must decide, see `jaxal review {project.folder}`.")
    return [sentence for sentence in told if sentence]


def _settle(project: Project, id_: str) -> str:
    state = project.state()
    versions = state.cases[id_].of_attempt()
    check_labels(project, state, [(id_, version.name) for version in versions])
    names = [version.name for version in versions]
    settled = kind_of(project).settle(project, state, versions)
    with project.log.held() as pen:
        case = project.state_of(pen.events).cases[id_]
        if not case.waits_for_merging or [version.name for version in case.of_attempt()] != names:
            return ""  # somebody was faster
        if settled.disputed:
            pen.add("disputed", case=id_, of=names, scores=settled.scores)
            return f"{id_}: {settled.sentence}"
        store(project, pen, id_, MERGED, settled.label, of=names, scores=settled.scores)
        if len(versions) == 2:
            return f"{id_}: 2 readings agree; their common label counts."
        by = "what STAPLE makes" if project.settings.protocol.merging == "staple" else "the majority"
        return f"{id_}: {by} of {len(versions)} readings counts."


def _ask_a_third(project: Project, id_: str) -> str:
    with project.log.held() as pen:
        state = project.state_of(pen.events)
        case, new = state.cases[id_], free_reader(state, id_)
        if case.status != "disputed" or new is None or len(case.readings) > 2:
            return ""
        assign_third(pen, id_, new)
        return f"{id_}: {new} reads it, too."
