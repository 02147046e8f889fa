"""What `jaxal --help` and the help of its verbs say. Plain text, because it must be there before anything that takes seconds to import."""

from jaxal.cli.help_projects import PROJECT_HELP, PROJECT_USAGE, PROJECT_VERBS

VERBS = ("simulate", "plan", "score", "predict", "compare", "strategies", "bench", "completion", *PROJECT_VERBS, "demo")

STATUS = """
Exit status: 0 done, 2 something given is wrong, 130 stopped by Ctrl-C (143 by
SIGTERM); then everything finished is kept, and the same command goes on.
"""

USAGE = (
    """Usage: jaxal VERB [ARGUMENTS]

Decides which medical scans to label next.

  simulate DATA [OPTIONS]      go through rounds of active learning on data that
                               have labels, and compare strategies
  plan DATA [OPTIONS]          tell what that would do and cost
  score RUN [OPTIONS]          score what a run has not labelled, by strategies
  score --probabilities DIR    score predictions of any framework that lie on
                               disk
  predict RUN [NEW_SCANS]      write what a run's network makes of every case,
                               or of scans that were never in the run
  compare FOLDER               compare the runs of a results folder
  strategies [NAME]            list the strategies, or tell all about one
  bench [OPTIONS]              try strategies on tasks that need no download,
                               and write a leaderboard
  completion SHELL             print what makes bash, zsh or fish complete all
                               of this
"""
    + PROJECT_USAGE
    + """
DATA is a folder of scans (nnU-Net's layout, the Decathlon's, BIDS or BraTS) or
of images of one class each; the kind of task follows from it. RUN is the folder
of one run, RESULTS/SETTING/STRATEGY/seed-N. `jaxal VERB --help` tells of VERB.
"""
    + STATUS
)

_ON_DATA = """DATA is a folder of scans in nnU-Net's layout, the Decathlon's (both have a
dataset.json), BIDS (dataset_description.json) or BraTS, or of images: a table
images.csv, one folder a class, a MedMNIST file, Kaggle's diabetic retinopathy,
ISIC 2018 or ISIC 2019. It is only read. All its cases need labels, which are
given out as if readers drew them.

  --strategy NAME...    how cases are chosen (`jaxal strategies` lists them)
  --seeds N             how often everything is repeated
  --rounds N            trainings, each with a query at its end
  --query-size N        cases that are labelled after each round
  --initial-size N      cases that are labelled before the first
  --preset NAME         smoke (a minute), small (two cores) or paper (a GPU)
  --group-column NAME   column that names each case's group of patients; --bins
                        EDGE... cuts one of numbers; of scans volume:CLASS
                        --bins MM3 groups by a volume
  --out FOLDER          where results go; default: a folder below runs/
  --fresh               set an existing results folder aside and begin anew

`jaxal {verb} DATA --help` tells all options of that kind of data.
"""

HELP = {
    "simulate": "Usage: jaxal simulate DATA [OPTIONS]\n\nGoes through rounds of active learning on data that have labels, and compares\n"
    "strategies. The same command again goes on where it was.\n\n" + _ON_DATA.format(verb="simulate") + STATUS,
    "plan": "Usage: jaxal plan DATA [OPTIONS]\n\nReads a folder of scans, prepares its cases, times one step and one case, and\n"
    "tells what `jaxal simulate` would do and cost with the same options.\n\n" + _ON_DATA.format(verb="plan") + STATUS,
    "score": """Usage: jaxal score RUN [OPTIONS]
       jaxal score --probabilities DIR [DIR...] [OPTIONS]

Scores what a run has not labelled by all strategies named, in one pass, into
the run's scores.csv.

  RUN                   folder of one run, RESULTS/SETTING/STRATEGY/seed-N
  --strategy NAME...    which (`jaxal strategies` lists them)
  --data FOLDER         where the run's data lie now, if they were moved
  --coordinator HOST:PORT --processes N --process-index I --wait-for-hosts S
                        several hosts share the work, one such command on each

Or scores predictions that lie on disk, made with any framework, by the
strategies that need nothing else. DIR holds a folder for each member (a
network, a fold, a dropout sample) with one file a case: CASE.npz as nnU-Net
writes it with --save_probabilities, CASE.npy, or CASE.nii.gz with classes
along the last axis. Several DIRs are a member each.

  --strategy NAME...    which; default: entropy
  --query-size N        cases that are shown of each query; default: 10
  --participants FILE   table with the column participant_id, for strategies
                        that speak of groups, and
  --group-column NAME   its column that names the groups; default: group
  --seed N              of every draw; default: 0
  --out FOLDER          for scores.csv, which is replaced; default: a folder
                        below runs/, named after the first DIR

A trained network of your own with arrays is scored from Python:
jaxal.score(model, params, images, ["aeig"]); README.md shows how.
"""
    + STATUS,
    "predict": """Usage: jaxal predict RUN [NEW_SCANS] [OPTIONS]

Writes what the run's last network makes of every case of the run into the run's
folder: predictions.csv, and of scans label maps on their own grids. Or what it
makes of scans or images that were never in the run.

  RUN                   folder of one run, RESULTS/SETTING/STRATEGY/seed-N
  NEW_SCANS             a data set with or without label maps, or a folder of
                        NIfTI files (CASE_0000.nii.gz a channel, or
                        CASE.nii.gz); for networks of images, of image files;
                        for networks that predict numbers, another table
  --out FOLDER          for predictions of new ones; default: RUN/new/NAME
  --data FOLDER         where the run's own data lie now, if they were moved
"""
    + STATUS,
    "compare": """Usage: jaxal compare FOLDER [--levels NUMBER...]

Compares the runs of a study by their ledgers alone, finished or not, wherever
they were made: comparison.csv, levels.csv, summary.csv, report.html and
learning curves. Nothing is trained.

  FOLDER                results folder with SETTING/STRATEGY/seed-N/rounds.jsonl
  --levels NUMBER...    of Dice (or F1, or AUC), of which is told how many
                        labels it took to reach them; default: 0.75 0.8 0.85
"""
    + STATUS,
    "strategies": """Usage: jaxal strategies [NAME...] [OPTIONS]

Lists the strategies by family, a line each. With names, tells of each what it
does, where it comes from, its options, what it looks at and what that costs.

  --for DATA            only those for scans, images, regions (parts of cases)
                        or regression
  --needs WHAT          only those that need features (of the last layer),
                        members (that disagree), evaluation (a set with
                        labels), or nothing of these
""",
    "bench": """Usage: jaxal bench [OPTIONS]

Tries strategies on tasks that need no download, and writes leaderboard.html and
leaderboard.md: areas under the learning curves, differences from random, ranks.
What is done is not done again, and several such commands may share a folder.

  --tasks NAME...       three_clusters, diverging_sines, breast_cancer, digits
                        (these four by default), tissue, brain_thin,
                        brain_displaced, structures, cognition, glands
  --strategies NAME...  perhaps with options or rules behind them; default: all
                        that a task's data have
  --seeds N             how often everything is repeated; default: 10
  --seed N              the first seed; default: 100, because smaller ones were
                        looked at when the tasks were settled
  --out FOLDER          where results go; default: runs/leaderboard
  --show                write the pages of what is there, and try nothing
""",
    "completion": """Usage: jaxal completion bash|zsh|fish

Prints what makes a shell complete verbs, options, strategies and folders:

  bash   echo 'eval "$(jaxal completion bash)"' >> ~/.bashrc
  zsh    echo 'eval "$(jaxal completion zsh)"' >> ~/.zshrc
  fish   jaxal completion fish > ~/.config/fish/completions/jaxal.fish
""",
    **{verb: text + STATUS for verb, text in PROJECT_HELP.items()},
}
