"""Where both programs begin: if what they need is not installed, they say how to install it."""

from __future__ import annotations

import importlib
import sys

from govraft.cli.exit_codes import INTERRUPTED, MISUSED
from govraft.cli.standard_streams import write_in_any_encoding

__all__ = ["govraft", "govraft_node"]


def govraft() -> None:
    """Entry point of `govraft`."""
    _run("govraft", "govraft.cli.main")


def govraft_node() -> None:
    """Entry point of `govraft-node`."""
    _run("govraft-node", "govraft.cli.node")


def _run(program: str, module: str) -> None:
    try:
        main = importlib.import_module(module).main
    except ModuleNotFoundError as error:
        missing = (error.name or "govraft").partition(".")[0]
        if missing == "govraft":
            raise
        if sys.stderr is not None:  # The caller has closed it.
            sys.stderr.write(f"{program}: `{missing}` is not installed: pip install 'govraft[node]'\n")
        sys.exit(MISUSED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    write_in_any_encoding()
    main()
