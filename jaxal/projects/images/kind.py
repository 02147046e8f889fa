"""All that projects of images do in a way of their own."""

from jaxal.assessment.reader_error import ACCURACY
from jaxal.projects.images.export import write_images
from jaxal.projects.images.guesses import is_proposed, write_guesses
from jaxal.projects.images.labels import between_versions, problems, receive_class, settle_classes
from jaxal.projects.images.measures import no_sizes, right_or_wrong, same_or_other
from jaxal.projects.images.network import ready
from jaxal.projects.images.start import existing, find, freeze
from jaxal.projects.images.worklists import complete, picture
from jaxal.projects.kind import Kind
from jaxal.tasks.classification import CLASSIFICATION

IMAGES = Kind(
    name="images",
    task=CLASSIFICATION,
    unnamed=0,
    judged=ACCURACY,
    size=50,
    minutes=0.25,
    test_cases=100,
    proposals=False,
    layouts=("table", "folders"),
    find=find,
    freeze=freeze,
    existing=existing,
    receive=receive_class,
    settle=settle_classes,
    ready=ready,
    propose=write_guesses,
    proposed=is_proposed,
    scores=right_or_wrong,
    steady=same_or_other,
    between=between_versions,
    sizes=no_sizes,
    item=complete,
    picture=picture,
    problems=problems,
    export=write_images,
)
