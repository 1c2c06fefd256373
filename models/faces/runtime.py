"""Open ONNX Runtime sessions the way the face process needs them: threads given, memory given back.

It knows no network.
"""

from __future__ import annotations

import ctypes
from typing import Any

import onnxruntime

from models.errors import ModelFileError

Session = Any

_C_LIBRARY = ctypes.CDLL(None)


def open_session(model: bytes, *, threads: int) -> Session:
    """Return a session on exactly `threads` threads, without an arena that keeps its largest size for ever.

    Raises:
        ModelFileError: ONNX Runtime does not take the model.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelFileError("onnx", f"not accepted by ONNX Runtime {onnxruntime.__version__}: {error}") from error


def give_back_memory(library: object = _C_LIBRARY) -> None:
    """Return freed memory to the system (glibc's `malloc_trim`); a photo would else leave the process 100 MB larger."""
    trim = getattr(library, "malloc_trim", None)
    if trim is not None:
        trim(0)
