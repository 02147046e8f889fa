"""What the help of a project's verbs says."""

PROJECT_VERBS = (
    "start",
    "ask",
    "take",
    "status",
    "serve",
    "review",
    "return",
    "reopen",
    "exclude",
    "release",
    "export",
    "check",
    "run",
)

PROJECT_USAGE = """
With readers, whose labels come in over weeks:

  start PROJECT --data DIR --readers NAMES
                               begin: check every scan, freeze the plan
  ask PROJECT                  train, choose, and ask the readers
  serve PROJECT                let 3D Slicer's MONAI Label extension connect
  take PROJECT [FILE...]       take in what readers have drawn
  status PROJECT               tell what to do now, and write status.html
  review PROJECT [CASE]        decide where readers differ
  return PROJECT CASE...       send labels back to who drew them
  reopen PROJECT CASE...       ask for labels again, such as to correct them
  exclude PROJECT CASE...      leave cases out
  release PROJECT [CASE...]    hand over what a reader has open
  run PROJECT                  ask again whenever a query is answered
  export PROJECT OUT           write images and labels for other programs
  check PROJECT                compare all files with what the log says
  demo readers                 try all of it in three minutes
"""

PROJECT_HELP = {
    "start": """Usage: jaxal start PROJECT --data DIR --readers NAMES [OPTIONS]

Begins a project of scans, on which readers draw, or of images, for which they
choose a class. Every file is read and checked, the way in which it is prepared
is frozen, and labels that are there already are taken in. DIR is only read. Of
a project that is there: adds readers, or a class, or notes where its data lie
now.

  PROJECT               folder for the project; new
  --data DIR            scans as nnU-Net, Decathlon, BIDS or BraTS have them,
                        with or without labels; a folder of NIfTI files; or a
                        table of them (.csv: case, a column a channel, label,
                        group).
                        Or images: a folder, where folders in it may be called
                        like classes, or images.csv (path, label, group)
  --labels NAMES        what is to be drawn, such as liver,tumour, or classes to
                        choose from; default: as the data have them
  --readers NAMES       who draws or chooses, such as anna,ben
  --strategy NAME       how cases are chosen; default: aeig
  --size N              cases a query, or parts; default: 10 scans, 40 parts
                        of scans, 50 images
  --unit NAME           what of scans is asked for at once: image (all of one;
                        default), slice or box
  --unit-size X Y Z     of a box in the network's voxels to the right, front and
                        head, one number for all; of slices how thick they are;
                        default: a quarter of each axis; one
  --slice-axis N        along which slices lie: 0 left to right, 1 back to
                        front, 2 foot to head; default: as the scans' own do
  --per-case N          parts of a scan that a query chooses, at most
  --first NAME          how the first query is drawn: random, by group;
                        k_center, far apart in an untrained network's features;
                        or a strategy that needs no label, such as typiclust or
                        activeft,features=contrastive
  --random-share X      of each later query, drawn at random, which tells
                        honestly how good the network is; default: 0.2
  --evaluation-share X  of the first query, kept for the strategy; default: 0.25
  --test-cases N        that stay out of training for good; default: 20 scans,
                        100 images; none where parts are asked for
  --double-share X      of the cases, read by two readers; default: 0.15
  --minutes X           that a reading takes, as you guess; default: 15 of a
                        scan, 2 of a part, a quarter of one of an image
  --proposals shown|hidden
                        whether readers see what the network proposes; default:
                        shown for scans, hidden for images, where it only sways
  --far-apart X         Dice of two readings below which they are disputed;
                        default: 0.7
  --merging majority|staple
                        how three label maps of a scan become one; default:
                        majority
  --lease-days X        after which a case goes to somebody else; default: 7
  --least-gain X        of Dice or accuracy for 100 minutes; below it the page
                        says that more is not worth it
  --preset NAME         smoke, small (two cores; default) or paper (a GPU)
  --training NAME       scratch, or warm: from the last round's weights
  --group-column NAME   column that names each case's group of patients; with
                        --bins EDGE..., one of numbers
  --without-group refuse|leave-out
                        images that have no value there; default: refuse
  --method NAME         how groups count in training: erm (default), balanced
                        or groupdro
  --participants FILE   the table that has it
  --channels NAMES      in BIDS, which images; of plain files, their names
  --spacing-mm X Y Z    voxel size for the network; default: from the data
  --patch-voxels N      that the network sees at once; default: the preset's
  --pixels H W          to which images are brought; default: the preset's
  --weights FILE        that networks of images begin from: torchvision's
                        ResNet-18 or 50, .safetensors or .npz
  --seed N              of every draw; default: 0
  --add-class NAME --old-labels absent|ask
                        adds a class: it occurs in no label drawn so far, or
                        they are asked for again and do not count until then
""",
    "ask": """Usage: jaxal ask PROJECT [OPTIONS]

Goes through one round: trains on the labels there are, looks at all cases that
have none, chooses, proposes labels, and writes each reader's worklist. The
first query is drawn at random. Stopped or killed, the same command goes on and
asks for the same cases.

  --size N              cases or parts of this query; default: the project's
  --within-minutes M    instead: as many as all readers together can read in M
                        minutes, by what readings took so far
  --even-if-open        ask although readings of the last query are open
""",
    "take": """Usage: jaxal take PROJECT [FILE...] [OPTIONS]

Takes in labels: what lies in the readers' inboxes (PROJECT/readers/NAME/inbox),
or the files named. Each is checked; one that cannot be taken is kept in the
reader's folder `returned` with the reason, and changes nothing.

  FILE                  CASE.seg.nrrd, .nii.gz, .nii or .nrrd; of images what
                        click.html saved, or Label Studio's export
  --reader NAME         who drew it; default: whoever is asked for the case
  --case NAME           which case it is of; default: as the file is named
  --names NAMES         what the values 1, 2, ... mean, where the file does not
                        say so
  --empty               there is nothing to see in the case
  --trust-grid          the file has lost its place; its voxels are the scan's
  --resample            drawn on another grid: take the nearest voxels
  --comment TEXT        for the record
  --users NAME=USER,...
                        who each user in Label Studio's export is
""",
    "status": """Usage: jaxal status PROJECT [--json]

Tells what to do now, how every case and reader stands, and how good the network
is on cases it has never seen. Writes PROJECT/status.html. Of the results folder
of a study it tells who works on which run, and when all will be done.

  --json                as JSON, for programs
""",
    "serve": """Usage: jaxal serve PROJECT [OPTIONS]

Lets 3D Slicer's MONAI Label extension connect: readers get their cases one
after the other, with a proposal, and hand them in with "Submit Label". Shows
the status page and each reader's page. Nothing is trained here; `jaxal run`
beside it asks for more.

  --port N              default: 8000
  --host ADDRESS        default: 127.0.0.1, this machine alone
  --reviewers NAMES     who may review what readers have drawn
  --login               readers need secrets; needed for any other address
  --add-login NAME      gives a reader a secret, shows it once; serves nothing
  --remove-login NAME   takes a reader's secret away; serves nothing
  --certificate FILE --key FILE
                        for TLS, needed for any other address, unless
  --behind-proxy        a proxy does that
  --names NAMES         of the proxy, or by which the server is called
""",
    "review": """Usage: jaxal review PROJECT [CASE] [OPTIONS]

Lists the cases on which readers differ too much, and writes review.html with
both maps side by side. With a CASE, decides.

  --take VERSION        this version counts, such as anna-1
  --third [--reader NAME]
                        somebody who has not read it reads it, too
  --by NAME             who decides
  --why TEXT            for the record
""",
    "return": """Usage: jaxal return PROJECT CASE... --why TEXT [--reader NAME]

A label is not good enough: it goes back to who drew it, with the reason, and
does not count until a better one is there. CASE/VERSION names one of several.
""",
    "reopen": """Usage: jaxal reopen PROJECT CASE... --why TEXT [--reader NAME]

Asks for a label again that counts already, such as to correct it. The old one
counts until the new one is there. The reader is who drew it, unless named.
""",
    "exclude": """Usage: jaxal exclude PROJECT CASE... --why TEXT [--back]

Leaves cases out: they are neither asked for nor trained on. Labels that were
drawn stay on disk.

  --back                takes cases back that were left out
""",
    "release": """Usage: jaxal release PROJECT [CASE...] --reader NAME [OPTIONS]

Takes open cases from a reader and gives them to others; all that are open
unless some are named.

  --to NAME             who gets them; default: who has least to do
  --away                the reader is away, and gets nothing more until
                        `jaxal start PROJECT --readers NAME`
  --why TEXT            for the record
""",
    "export": """Usage: jaxal export PROJECT OUT [OPTIONS]

Writes all labels that count with their images, and labels.tsv, which says where
each came from.

  --layout NAME         of scans nnunet (default), decathlon or bids; of images
                        table (default) or folders
  --link                link to the images instead of copying them
""",
    "check": """Usage: jaxal check PROJECT

Compares every file with what the log says of it: labels, queries, images. Says
what was altered, is missing or too many; status 2 if anything.
""",
    "demo": """Usage: jaxal demo readers [--out FOLDER] [--unit NAME]

Tries the whole loop with simulated scans and readers, in three minutes on two
cores, and says which pages to look at. Nothing is downloaded.

  --out FOLDER          default: runs/demo-readers; an earlier demo there is
                        replaced
  --unit NAME           what readers are asked for: image (whole scans;
                        default), slice or box
""",
    "run": """Usage: jaxal run PROJECT --until WHAT [OPTIONS]

Takes in labels and asks for more whenever the last query is answered; for a
machine with a GPU beside `jaxal serve`.

  --until WHAT          when to end: "40 cases" labelled, or "12 h"
  --answered SHARE      of a query, after which the next one is asked;
                        default: 0.8
  --every SECONDS       to look; default: 60
""",
}
