"""The runner that the Python client programs share.

A program declares checks with the decorator `check`; `run` executes them in order, each on an
empty server, prints one line for each, and exits with 1 if any failed. A check that needs something
which older peers lack asks `Feature`; with `--full` on the command line nothing may be lacking.
"""

import argparse
import faulthandler
import sys
import time
import traceback

_CHECKS = []


class Skip(Exception):
    """Raised by a check whose feature the server under test does not have."""


def check(function):
    """Registers a check; its name is the behaviour that it asserts."""
    _CHECKS.append(function)
    return function


def arguments(*names):
    """Parses the positional `names` and `--full`; a name that begins with `?` may be absent."""
    parser = argparse.ArgumentParser()
    for name in names:
        parser.add_argument(name.lstrip("?"), nargs="?" if name.startswith("?") else None)
    parser.add_argument("--full", action="store_true", help="fail where a feature is lacking")
    return parser.parse_args()


def until(condition, seconds=10.0):
    """Polls `condition` until it is true and returns what it gave; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, "the awaited condition never came true"
        time.sleep(0.002)


def run(context, before_each, full):
    """Runs every check with `context`, after `before_each`, and exits."""
    failures = []
    for function in _CHECKS:
        # A check that hangs ends the program, showing where.
        faulthandler.dump_traceback_later(120, exit=True, file=sys.stdout)
        try:
            before_each()
            function(context)
        except Skip as skipped:
            if full:
                failures.append(function.__name__)
                print(f"FAIL {function.__name__}: lacking: {skipped}")
            else:
                print(f"skip {function.__name__}: {skipped}")
        except Exception:
            failures.append(function.__name__)
            print(f"FAIL {function.__name__}")
            traceback.print_exc(limit=3, chain=False, file=sys.stdout)
        else:
            print(f"ok   {function.__name__}")
        sys.stdout.flush()
    print(f"{len(_CHECKS) - len(failures)} of {len(_CHECKS)} checks did not fail")
    sys.exit(1 if failures else 0)
