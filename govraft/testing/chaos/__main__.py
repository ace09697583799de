"""`python -m govraft.testing.chaos`."""

import sys
import traceback

_FAILED = 3


def _run() -> None:
    try:
        from govraft.testing.chaos.command import main

        main()
    except Exception:  # noqa: BLE001 - told apart from a violation, for which Python's own code would pass
        traceback.print_exc()
        sys.exit(_FAILED)


if __name__ == "__main__":
    _run()
