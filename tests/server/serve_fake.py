"""Serves a fake desk: FOLDER [OPTION...]; options as `ServeConfig` has them."""

import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from fake_desk import FakeDesk  # noqa: E402

from jaxal.errors import UserError  # noqa: E402
from jaxal.server.run import ServeConfig, serve  # noqa: E402

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    for option in ("logins", "certificate", "key"):
        parser.add_argument(f"--{option}", type=Path)
    parser.add_argument("--behind_proxy", action="store_true")
    parser.add_argument("--names", nargs="*", default=())
    options = vars(parser.parse_args())
    desk = FakeDesk(options.pop("folder"), pause=options.pop("pause"), clear_uploads=False)
    config = ServeConfig(**{**options, "names": tuple(options["names"])})
    try:
        serve(desk, config, lambda sentence: print(sentence, flush=True))
    except UserError as error:
        sys.exit(f"jaxal serve: {error}")
