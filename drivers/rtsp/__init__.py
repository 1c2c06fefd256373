"""RTSP cameras: the driver (PyAV), and the simulated camera that answers it over the real wire."""
