"""`python -m edge worker | eye | faces | bench | evaluate | backup | restore`: the processes and commands of an edge."""

from __future__ import annotations

import sys

USAGE = "usage: python -m edge {worker|eye|faces|bench|evaluate|backup|restore} …\n"


def main(argv: list[str]) -> int:
    """Run one process of an edge; only its own libraries are imported."""
    name, rest = (argv[0], argv[1:]) if argv else ("", [])
    if name == "worker":
        from edge import worker

        return worker.main(rest)
    if name == "eye":
        from edge import eye

        return eye.main(rest)
    if name == "faces":
        from edge import faces

        return faces.main(rest)
    if name in {"backup", "restore"}:
        from edge import backup

        return backup.main(rest, command=name)
    if name == "bench":
        from edge import bench

        return bench.main(rest)
    if name == "evaluate":
        from edge import evaluate

        return evaluate.main(rest)
    sys.stderr.write(USAGE)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
