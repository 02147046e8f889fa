"""All that projects of scans do in a way of their own."""

from jaxal.assessment.reader_error import DICE
from jaxal.projects.kind import Foreseen, Kind, PartsOfCases
from jaxal.projects.scans.export import write_scans
from jaxal.projects.scans.labels import dice_between, receive_map, settle_maps, strange_values
from jaxal.projects.scans.measures import dice_between_rounds, dice_of_proposals, foreseen_sizes, sizes_of_proposals
from jaxal.projects.scans.network import is_proposed, ready, write_proposals
from jaxal.projects.scans.parts import draw_parts, own_parts, scores_of_parts, sizes_are_unknown
from jaxal.projects.scans.start import existing, find, freeze
from jaxal.projects.scans.worklists import complete
from jaxal.tasks.segmentation import SEGMENTATION, SEGMENTATION_OF_PARTS
from jaxal.worklists.pictures import picture_of

SCANS = Kind(
    name="scans",
    task=SEGMENTATION,
    unnamed=1,
    judged=DICE,
    size=10,
    minutes=15.0,
    test_cases=20,
    proposals=True,
    layouts=("nnunet", "decathlon", "bids"),
    find=find,
    freeze=freeze,
    existing=existing,
    receive=receive_map,
    settle=settle_maps,
    ready=ready,
    propose=write_proposals,
    proposed=is_proposed,
    scores=dice_of_proposals,
    steady=dice_between_rounds,
    between=dice_between,
    sizes=sizes_of_proposals,
    item=complete,
    picture=picture_of,
    problems=strange_values,
    export=write_scans,
    foreseen=Foreseen(("drawn",), foreseen_sizes),
)
PARTS_OF_SCANS = SCANS._replace(
    task=SEGMENTATION_OF_PARTS,
    size=40,
    minutes=2.0,
    test_cases=0,
    sizes=sizes_are_unknown,
    foreseen=None,
    parts=PartsOfCases(own_parts, draw_parts, scores_of_parts),
)
