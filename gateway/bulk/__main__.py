"""`python -m gateway.bulk CPU_S MEMORY`: what gateway.bulk.apart starts to read one workbook from standard input."""

from __future__ import annotations

import sys

from gateway.bulk.apart import Limits, serve

if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer, limits=Limits(cpu_s=int(sys.argv[1]), memory=int(sys.argv[2])))
