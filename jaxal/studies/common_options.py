"""The options that all studies share, what of them can be refused at once, and the sizes that they come to."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol, TypeVar

import tyro

from jaxal import claims
from jaxal.acquisition.uncertainty import CLASS_MOMENTS
from jaxal.errors import UserError
from jaxal.hosts import HostsConfig
from jaxal.networks.layers import Dtype
from jaxal.rounds.ledger import FULL
from jaxal.rounds.protocol import Shares
from jaxal.rounds.setup import PseudoLabels, RoundsConfig, check_training
from jaxal.scoring.members import MembersConfig
from jaxal.strategies.named import named_strategy
from jaxal.studies import option_types, presets
from jaxal.studies.submission import SubmitConfig
from jaxal.task_kind import TaskKind
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.training.config import TrainingConfig
from jaxal.training.unlabelled import NO_EVIDENCE, named_unlabelled
from jaxal.training.weighting import named_method


@dataclasses.dataclass(frozen=True)
class StudyArguments:
    """Options that all studies have."""

    strategy: option_types.strategies("weighted_entropy,gamma=3") = ("aeig",)  # type: ignore[valid-type]
    score_only: option_types.Place = None
    """Folder of a run (…/STRATEGY/seed-N): score its last round's pool by all given strategies in one pass, into its scores.csv.
    The run's own options count; others than --strategy and the hosts' are ignored."""
    predict_only: option_types.Place = None
    """Folder of a run: write what its last network makes of every case into its predictions.csv, and label maps into its predictions/,
    each on the grid of the case's own files. The run's own options count; all others are ignored."""
    new: option_types.Place = None
    """With --predict-only: folder of cases that were never in the run, to be predicted instead of the run's own."""
    new_out: option_types.Place = None
    """Folder for their predictions. Default: a folder below the run's new/, named after theirs."""
    training: Literal["scratch", "warm"] = "scratch"
    """Train every round from scratch, or from the last round's weights with fewer steps."""
    rounds: option_types.Number = None
    """Trainings; each ends with a query. A larger number extends an existing run. Default: the preset's."""
    query_size: option_types.Number = None
    """Cases, or with --unit parts of them, that are labelled after each round. Default: the preset's, of parts four times as many."""
    initial_size: option_types.Number = None
    """Cases that are labelled before the first round. Default: the preset's."""
    seed: int = 0
    """Of the splits, the initial set, the weights and every draw; the first of several."""
    seeds: int = 1
    """How many seeds, from --seed on. More can follow later, as more strategies can."""
    full: Annotated[bool | None, tyro.conf.arg(metavar="{True,False}", help_behavior_hint="")] = None
    """Train on the whole pool, too, once a seed, as the line to reach. Default: when several strategies or seeds are compared."""
    out: option_types.Place = None
    """Where results go. Default: a folder below runs/, named after the study."""
    prepared: Path = Path("runs/prepared")
    """Where cases are kept resampled and normalised, as plain arrays."""
    save_every: float = 60.0
    """Seconds between checkpoints within a training."""
    fresh: bool = False
    """Set an existing --out folder aside (it is renamed, not deleted) and begin anew."""
    stale_after: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = claims.STALE_SECONDS
    """Seconds without a sign of life after which a worker's run is taken over by others that work in the same folder."""
    older_numbers: bool = False
    """Go on in a folder whose runs an older version computed, though this version's numbers differ (docs/numbers.md says in what)."""
    samples: option_types.Number = None
    """Dropout samples of strategies that measure disagreement; 0 leaves dropout off. Default: the preset's."""
    networks: option_types.Number = None
    """Networks that are trained each round, their disagreement joined to the samples' (a deep ensemble). Default: the preset's, one."""
    snapshots: bool = False
    """Instead of --networks trainings one, whose learning rate falls to zero as often; its weights each time are the networks (a snapshot ensemble)."""
    flips: Annotated[tuple[int, ...] | None, tyro.conf.arg(metavar="AXIS...", help_behavior_hint="")] = None
    """Axes (0, 1, 2) along which views are flipped, their disagreement joined to the samples' (test-time augmentation). Default: none."""
    batch_size: option_types.Number = None
    """Cases that are scored at once on each device; less needs less memory. Default: the preset's, on a TPU at least eight."""
    dtype: Annotated[Dtype | None, tyro.conf.arg(metavar="{float32,bfloat16}", help_behavior_hint="")] = None
    """What networks compute in; weights, losses and scores are float32 in any case. Default: bfloat16 on a GPU or TPU, else the preset's."""
    method: Annotated[str, tyro.conf.arg(metavar="NAME[,OPTION=VALUE...]")] = "erm"
    """How groups of patients count in training: erm, every case alike; balanced, as many cases of each group (or all, weighed: balanced,by=weights);
    groupdro, the group with the highest loss most (groupdro,step_size=0.1)."""
    evidence: Annotated[float, tyro.conf.arg(metavar="WEIGHT")] = 0.0
    """Weight of a loss that leaves networks little evidence where they know little, which duc and distribution_uncertainty read; 1 is the paper's."""
    unlabelled: Annotated[str, tyro.conf.arg(metavar="NAME[,OPTION=VALUE...]")] = "none"
    """What is learned from the pool's cases without labels: none; consistency of two variants of an image; mean_teacher; fixmatch, of what the network is sure of
    (fixmatch,ratio=7); mixup, of two images' features mixed; evidence, with --evidence, what networks are unsure of."""
    uncertainty_curves: bool = False
    """Measure, too, what is left of each metric and of the gap between groups once uncertain predictions are dropped, after every round."""
    calibrate: Literal["none", "temperature"] = "none"
    """Whether logits are divided by the temperature that makes the evaluation set's labels most likely, before anything is scored or measured."""
    hosts: tyro.conf.OmitArgPrefixes[HostsConfig] = dataclasses.field(default_factory=HostsConfig)
    submission: tyro.conf.OmitArgPrefixes[SubmitConfig] = dataclasses.field(default_factory=SubmitConfig)

    @property
    def kind(self) -> TaskKind:
        """Of the task."""
        return SEGMENTATION

    @property
    def shares(self) -> Shares | None:
        """What is drawn at random beside the strategy's choice, if anything is."""
        return None


# What only this command knows and not the run that it goes on with.
NOT_OF_THE_RUN = (
    "strategy",
    "score_only",
    "predict_only",
    "new",
    "new_out",
    "rounds",
    "seeds",
    "full",
    "fairness",
    "out",
    "save_every",
    "fresh",
    "older_numbers",
    "stale_after",
    "hosts",
    "submission",
)


def trains_full(arguments: StudyArguments, out: Path) -> bool:
    """Whether a network is trained on the whole pool, too: if asked for, or if runs are compared, now or in the folder before."""
    if arguments.full is not None:
        return arguments.full
    return len(set(arguments.strategy)) * arguments.seeds > 1 or any(out.glob(f"*/{FULL}/seed-*"))


class Sizes(Protocol):
    """What a preset must tell of the rounds; the rest is each kind of task's own."""

    @property
    def rounds(self) -> int: ...

    @property
    def query_size(self) -> int: ...

    @property
    def members(self) -> MembersConfig: ...

    @property
    def batch_size(self) -> int: ...


class Adjustable(Protocol):
    """A preset, a dataclass, before options took the place of what is in it."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    @property
    def members(self) -> MembersConfig: ...

    @property
    def training(self) -> TrainingConfig: ...


S = TypeVar("S", bound=Adjustable)


def rounds_config(arguments: StudyArguments, preset: Sizes) -> RoundsConfig:
    """How the rounds of a run are run."""
    return RoundsConfig(
        rounds=preset.rounds,
        query_size=preset.query_size,
        seed=arguments.seed,
        start=arguments.training,
        members=preset.members,
        batch_size=preset.batch_size,
        save_every_seconds=arguments.save_every,
        shares=arguments.shares,
        query_elements=getattr(arguments, "query_elements", None),
        pseudo_labels=getattr(arguments, "sure", PseudoLabels()),
        calibrate=arguments.calibrate,
        uncertainty_curves=arguments.uncertainty_curves,
    )


def check_options(arguments: StudyArguments, data: Path | None, out: Path) -> None:
    """Refuses what can be refused before any file is read.

    Raises:
      UserError: a number is out of range, there is no such strategy, or results would be written among the scans.
    """
    if not arguments.strategy:
        raise UserError(f"--strategy names none; there are {', '.join(arguments.kind.strategies)}.")
    check_strategies(arguments)
    check_numbers(arguments, data, out)


def check_numbers(arguments: StudyArguments, data: Path | None, out: Path) -> None:
    """The same, but for strategies, of which a study on everything has none."""
    named_method(arguments.method)
    least = {"rounds": 1, "query_size": 1, "initial_size": 1, "batch_size": 1, "seeds": 1, "seed": 0}
    for name, smallest in least.items():
        value = getattr(arguments, name)
        if value is not None and value < smallest:
            raise UserError(f"--{name.replace('_', '-')} is {value}; it must be at least {smallest}.")
    for option, seconds in (("--stale-after", arguments.stale_after), ("--save-every", arguments.save_every)):
        if not seconds > 0:
            raise UserError(f"{option} is {seconds:g}; it must be a number of seconds above 0.")
    if not 0 <= arguments.evidence < math.inf:
        raise UserError(f"--evidence is {arguments.evidence:g}; it must be a number from 0 up.")
    learns_more = {"--evidence": arguments.evidence > 0, "--unlabelled": named_unlabelled(arguments.unlabelled).learns}
    if arguments.kind.moments is not CLASS_MOMENTS and any(learns_more.values()):
        option = next(name for name, is_asked in learns_more.items() if is_asked)
        raise UserError(f"{option} is for classes, and here numbers are predicted. Leave it out.")
    if named_unlabelled(arguments.unlabelled).method == "evidence" and not arguments.evidence:
        raise UserError(NO_EVIDENCE)
    if data is None:
        return
    scans = data.resolve()
    for option, folder in (("--out", out.resolve()), ("--prepared", arguments.prepared.resolve())):
        if folder == scans or scans in folder.parents:
            raise UserError(f"{option} {folder}: lies among the scans ({scans}), which are only read. Choose another folder.")
    if arguments.fresh and out.resolve() in scans.parents:
        raise UserError(f"--fresh would set {out.resolve()} aside, but the scans lie in it ({scans}). Choose another --out.")


def check_method(method: str, groups: Sequence[str]) -> None:
    """Refuses a method of training that looks at groups of patients where there are none to tell apart.

    Raises:
      UserError: all cases are of one group.
    """
    if named_method(method).method != "erm" and len(groups) < 2:
        where = f"all cases are of the group {groups[0]!r}" if groups and groups[0] else "no case has a group"
        raise UserError(f"--method {method} makes groups of patients count, but {where}. Name a column with --group-column.")


def check_strategies(arguments: StudyArguments) -> None:
    """Refuses strategies that there are not, that ask for what is not computed, or of which two would share a folder.

    Raises:
      UserError: there is one.
    """
    folders: dict[str, dict[str, Any]] = {}
    for text in arguments.strategy:
        name, strategy, identity = named_strategy(text, arguments.kind.strategies)
        if folders.setdefault(name, identity) != identity:
            raise UserError(
                f"--strategy {text}: its results would lie in the folder {name!r} of another one. Rename the file or the function."
            )
        known = arguments.kind.statistics
        for split, needed in strategy.needs._asdict().items():
            if isinstance(needed, str) or (strange := [need for need in needed if need not in known]):
                what = f"{needed!r} instead of a tuple of names" if isinstance(needed, str) else repr(strange[0])
                raise UserError(f"{text}: needs {what} of the {split} cases; what can be computed is {', '.join(sorted(known))}.")


def choose_sizes(arguments: StudyArguments, preset: S) -> S:
    """The preset with what was asked for by option in its place."""
    asked = {name: getattr(arguments, name) for name in ("rounds", "query_size", "initial_size")}
    preset = dataclasses.replace(preset, **{name: value for name, value in asked.items() if value is not None})
    preset = presets.on_this_machine(preset, arguments.batch_size, arguments.dtype)
    members = _members(arguments, preset.members)
    if arguments.snapshots and members.networks < 2:
        raise UserError(
            "--snapshots: there is one network, so there is no end of an earlier cycle to be another. Give --networks, too, such as 5."
        )
    fewest = min(preset.training.steps, preset.training.warm_steps)
    if arguments.snapshots and fewest < 2 * members.networks:
        raise UserError(
            f"--snapshots: {members.networks} cycles do not fit into a training of {fewest} steps. Give fewer --networks."
        )
    if arguments.snapshots and preset.training.decay_per_epoch is not None:
        raise UserError("--snapshots: the rate of this preset falls from epoch to epoch and knows no cycles. Leave it out.")
    training = dataclasses.replace(
        preset.training,
        cycles=members.networks if arguments.snapshots else 1,
        weighting=named_method(arguments.method),
        evidence=arguments.evidence,
        unlabelled=named_unlabelled(arguments.unlabelled),
    )
    for name in arguments.strategy:
        check_training(name, named_strategy(name, arguments.kind.strategies).strategy, training)
    return dataclasses.replace(preset, members=members, training=training)


def _members(arguments: StudyArguments, members: MembersConfig) -> MembersConfig:
    asked: dict[str, Any] = {"dropout": arguments.samples, "networks": arguments.networks, "flips": arguments.flips}
    try:
        members = dataclasses.replace(members, **{name: value for name, value in asked.items() if value is not None})
    except ValueError as error:
        named = {"samples": arguments.samples, "networks": arguments.networks}
        given = " ".join(f"--{name} {value}" for name, value in named.items() if value is not None)
        flips = f"--flips {' '.join(map(str, arguments.flips))}" if arguments.flips else ""
        raise UserError(
            f"{' '.join(filter(None, [given, flips]))}: --samples must be at least 0, --networks needs at least one network, and --flips names each axis once."
        ) from error
    needy = [name for name in arguments.strategy if _lacks_members(name, members, arguments.kind)]
    if needy:
        advice = "the run was made without" if arguments.score_only else "give --samples, --networks or --flips more of them"
        raise UserError(f"{', '.join(needy)} needs members that can disagree: {advice}.")
    if arguments.uncertainty_curves and members.count < 2:
        raise UserError(
            "--uncertainty-curves needs members that can disagree: give --samples, --networks or --flips more of them."
        )
    return members


def _lacks_members(name: str, members: MembersConfig, kind: TaskKind) -> bool:
    """Whether a strategy asks how members disagree where there is only one."""
    strategy = named_strategy(name, kind.strategies).strategy
    asks = any(kind.statistics[need].needs_members for need in strategy.needs.pool)
    return asks and members.count + bool(strategy.last_network) < 2
