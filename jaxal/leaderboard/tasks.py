"""The tasks of the leaderboard, by name."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from jaxal.assessment.learning_curves import area_under
from jaxal.data.simulated.digits import make_digits
from jaxal.data.simulated.tissue import TissueConfig, make_tissue
from jaxal.errors import UserError
from jaxal.files import write_text
from jaxal.leaderboard.learners import Learner, Network, SupportVectors
from jaxal.leaderboard.outcomes import OTHER_FOLDER, Outcome, write_outcome
from jaxal.leaderboard.points import Division, Parts, Points, breast_cancer, diverging_sines, divided, three_clusters
from jaxal.leaderboard.simulated import cognition, glands_by_region, of_brains
from jaxal.leaderboard.simulation import Rounds, simulate
from jaxal.leaderboard.studies import DIGITS, TISSUE, OfStudy, of_images
from jaxal.numbers import NUMBERS
from jaxal.report.advice import Setting, kind_of
from jaxal.rounds.passes import stoppable
from jaxal.strategies.contract import Strategy
from jaxal.strategies.named import named_strategy
from jaxal.strategies.table import CLASSIFICATION_STRATEGIES
from jaxal.tasks.classification import CLASSIFICATION
from jaxal.tasks.image_segmentation import IMAGE_SEGMENTATION_OF_PARTS
from jaxal.tasks.regression import REGRESSION
from jaxal.tasks.segmentation import SEGMENTATION


class Task(Protocol):
    """A task that strategies are tried on.

    Attributes:
      about: in a line, for the page.
      measure: whose learning curve counts.
      strategies: by name, all that such data have.
      setting: its numbers, to tell whose study is like it.
    """

    @property
    def about(self) -> str: ...

    @property
    def measure(self) -> str: ...

    @property
    def strategies(self) -> Mapping[str, Callable[..., Strategy]]: ...

    @property
    def setting(self) -> Setting: ...

    def run(self, folder: Path, strategy: str, seed: int, display: Any) -> None:
        """Goes on with a run in its folder, and ends with an outcome there."""
        ...


class OfPoints(NamedTuple):
    """A task whose cases are points.

    Attributes:
      draw: the points.
      division: into pool and test.
      rounds: how many queries of how many points.
      learner: given the parts, and whether members are to differ.
      points, classes: how many there are.
    """

    about: str
    measure: str
    draw: Callable[[np.random.Generator], Points]
    division: Division
    rounds: Rounds
    learner: Callable[[Parts, Rounds, bool], Learner]
    points: int
    classes: int = 2

    @property
    def setting(self) -> Setting:
        start, asked = self.division.start, self.rounds.query * self.rounds.queries
        pool = round(self.points * (1 - self.division.test) * (1 - self.division.evaluation))
        return Setting(kind_of(CLASSIFICATION.name, False), self.classes, pool, start, start + asked, 1)

    @property
    def strategies(self) -> Mapping[str, Callable[..., Strategy]]:
        return CLASSIFICATION_STRATEGIES

    def run(self, folder: Path, strategy: str, seed: int, display: Any) -> None:
        self._settle(folder.parents[1] / "config.json")
        made = named_strategy(strategy, self.strategies).strategy
        needs = [CLASSIFICATION.statistics[name] for names in made.needs for name in names if name in CLASSIFICATION.statistics]
        parts = divided(self.draw, self.division, seed)
        learner = self.learner(parts, self.rounds, any(one.needs_members for one in needs))
        queries = 0
        with display.progress(f"{strategy}, seed {seed}") as told:

            def count(done: int, of: int) -> None:
                nonlocal queries
                queries = done
                told(done, of)

            try:
                curve = simulate(parts, learner, strategy, self.rounds, seed, stoppable(count, display))
            except UserError as error:  # before the first query it does not fit
                write_outcome(folder, Outcome(np.nan, np.nan, str(error), is_refused=not queries))
                return
        write_text(folder / "curve.json", json.dumps(curve._asdict()) + "\n")
        area = float(area_under(np.array(curve.labelled, float), np.array(curve.accuracy)))
        write_outcome(folder, Outcome(area, 1000 * float(np.median(curve.seconds[1:] or curve.seconds))))

    def _settle(self, path: Path) -> None:
        """Writes what decides a run's numbers, or makes sure that an older folder's is the same.

        Raises:
          UserError: it is another.
        """
        points = self.draw(np.random.default_rng(0))
        drawn = hashlib.sha256(points.inputs.tobytes() + points.classes.astype(np.int64).tobytes()).hexdigest()[:16]
        settings = {
            "numbers": NUMBERS,
            "about": self.about,
            "points": drawn,
            "division": list(self.division),
            "rounds": list(self.rounds),
        }
        text = json.dumps(settings, indent=2) + "\n"
        if not path.is_file():
            write_text(path, text)
        elif path.read_text(encoding="utf-8") != text:
            raise UserError(f"{path.parent} holds runs of another version of this task. {OTHER_FOLDER}")


def _network(hidden: tuple[int, ...], patience: int) -> Callable[[Parts, Rounds, bool], Learner]:
    def made(parts: Parts, rounds: Rounds, stochastic: bool) -> Learner:
        most = len(parts.start) + rounds.query * rounds.queries
        return Network(parts, hidden, most, stochastic, patience)

    return made


OF_BRAINS = Setting(SEGMENTATION.name, 2, 36, 6, 15, 2)
TASKS: dict[str, Task] = {
    "three_clusters": OfPoints(
        "600 points of two classes, a third of them where nobody can tell; a linear classifier, 2 labelled at first and 100 more",
        "accuracy",
        three_clusters,
        Division(0.2, 0.2, 2, to_unit=True),
        Rounds(1, 100),
        _network((), 0),
        600,
    ),
    "diverging_sines": OfPoints(
        "200 points along two waves that drift apart; a network of two hidden layers, 2 labelled at first and 80 more",
        "accuracy",
        diverging_sines,
        Division(0.2, 0.2, 2, to_unit=True),
        Rounds(4, 20),
        _network((24, 12), 50),
        200,
    ),
    "breast_cancer": OfPoints(
        "569 biopsies with 30 measures, benign or malignant; a support vector machine, 20 labelled at first and 160 more",
        "accuracy",
        breast_cancer,
        Division(0.4, 0.1, 20, to_unit=False),
        Rounds(8, 20),
        lambda parts, rounds, stochastic: SupportVectors(parts),  # whose members do not differ
        569,
    ),
    "digits": OfStudy(
        "1200 handwritten digits in five classes of unlike frequency, partly covered; a small residual network, 10 % labelled at first and 30 % more",
        CLASSIFICATION,
        of_images("digits", DIGITS, make_digits),
        Setting(CLASSIFICATION.name, 5, 617, 62, 247, 1),
    ),
    "tissue": OfStudy(
        "2000 patches of brain tissue in five classes of unlike frequency; a small residual network, 3 % labelled at first and 10 % more",
        CLASSIFICATION,
        of_images("tissue", TISSUE, lambda: make_tissue(TissueConfig(2_000))),
        Setting(CLASSIFICATION.name, 5, 1477, 45, 195, 1),
    ),
    "brain_thin": OfStudy(
        "72 simulated brains at 3 mm, whose left caudate is thinner in one group of patients; a 3-D U-Net, 6 labelled at first, 5 of them of the other group, and 9 more",
        SEGMENTATION,
        of_brains("thin_strong"),
        OF_BRAINS,
    ),
    "brain_displaced": OfStudy(
        "72 simulated brains at 3 mm, whose left caudate lies elsewhere in one group of patients; a 3-D U-Net, 6 labelled at first, 5 of them of the other group, and 9 more",
        SEGMENTATION,
        of_brains("strong"),
        OF_BRAINS,
    ),
    "structures": OfStudy(
        "72 simulated brains at 3 mm, whose left caudate, putamen and ventricle are segmented; a 3-D U-Net, 6 labelled at first and 9 more",
        SEGMENTATION,
        of_brains("none", "deep_structures"),
        Setting(SEGMENTATION.name, 4, 36, 6, 15, 1),
    ),
    "cognition": OfStudy(
        "400 simulated brains with atrophy, whose two scores are predicted; a residual network of volumes, 30 labelled at first and 120 more",
        REGRESSION,
        cognition,
        Setting(REGRESSION.name, 2, 220, 30, 150, 1),
    ),
    "glands": OfStudy(
        "60 images of simulated glands by region; a contour-aware network, 4 images labelled at first and 24 regions more",
        IMAGE_SEGMENTATION_OF_PARTS,
        glands_by_region,
        Setting(kind_of(IMAGE_SEGMENTATION_OF_PARTS.name, True), 2, 33, 4, 10, 1),
    ),
}
CHEAP = ("three_clusters", "diverging_sines", "breast_cancer", "digits")  # of which all strategies can be tried
