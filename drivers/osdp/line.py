"""The line to the readers: a serial port, a pseudo-terminal, or a converter on the network, as one non-blocking descriptor."""

from __future__ import annotations

import fcntl
import os
import socket
import termios
from typing import Final

from models.errors import DeviceUnreachable, InvalidInput

BAUD_RATES: Final = {
    9600: termios.B9600, 19200: termios.B19200, 38400: termios.B38400, 57600: termios.B57600,
    115200: termios.B115200, 230400: termios.B230400,
}  # fmt: skip
"""The rates of OSDP 2.2, clause 5.2."""
NETWORK: Final = "tcp://"
SERIAL: Final = ("/dev/tty", "/dev/pts/")
"""Where serial ports and pseudo-terminals are, links followed."""
CONNECT_S: Final = 3.0


def check_port(port: str) -> str:
    """Return a port that can be one: a device's absolute path, or `tcp://host:port` of a converter.

    Raises:
        InvalidInput: it is neither.
    """
    if port.startswith("/") and "\0" not in port:
        return port
    host, _, number = port.removeprefix(NETWORK).rpartition(":")
    if port.startswith(NETWORK) and host and number.isdigit() and 0 < int(number) < 65536:
        return port
    raise InvalidInput("driver.port", f"use a path such as /dev/ttyUSB0, or tcp://HOST:PORT, not {port[:80]!r}")


def check_serial(port: str) -> None:
    """Pass if a port that somebody far away names is a serial one, or a converter: opening some other device does things.

    Raises:
        InvalidInput: it is none.
    """
    if not port.startswith(NETWORK) and not os.path.realpath(port).startswith(SERIAL):
        raise InvalidInput("address", "name a serial port, such as /dev/ttyUSB0 or /dev/serial/by-id/…")


class Line:
    """Hold an open line. Reading never blocks; what cannot be written at once is for the other side to miss.

    Raises:
        DeviceUnreachable: the port is not there, is in use, or nobody answers at that address.
    """

    def __init__(self, port: str, *, baud_rate: int) -> None:
        self.port = port
        self._socket: socket.socket | None = None
        try:
            if port.startswith(NETWORK):
                host, _, number = port.removeprefix(NETWORK).rpartition(":")
                self._socket = socket.create_connection((host, int(number)), CONNECT_S)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._socket.setblocking(False)
                self.fd = self._socket.fileno()
            else:
                self.fd = _open_serial(port, baud_rate)
        except OSError as error:
            raise DeviceUnreachable(port, f"the line cannot be opened: {error.strerror or error}") from None

    def read(self) -> bytes:
        """Return what has arrived, if anything.

        Raises:
            DeviceUnreachable: the line is gone.
        """
        try:
            data = os.read(self.fd, 4096)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise DeviceUnreachable(self.port, f"the line is gone: {error.strerror}") from None
        if not data:
            raise DeviceUnreachable(self.port, "the line is gone: it was closed at the other end")
        return data

    def write(self, data: bytes) -> None:
        """Send a frame; a line that takes nothing loses it, as a cut cable would. Raises `DeviceUnreachable` as `read`."""
        try:
            os.write(self.fd, data)
        except BlockingIOError:
            return
        except OSError as error:
            raise DeviceUnreachable(self.port, f"the line is gone: {error.strerror}") from None

    def close(self) -> None:
        """Close the line."""
        if self._socket is not None:
            self._socket.close()
        else:
            os.close(self.fd)


def _open_serial(path: str, baud_rate: int) -> int:
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        make_raw(fd, baud_rate)
    except BlockingIOError:
        os.close(fd)
        raise OSError(0, "another process uses it") from None
    except termios.error:
        os.close(fd)
        raise OSError(0, "it is no serial port") from None
    return fd


def make_raw(fd: int, baud_rate: int) -> None:
    """Let bytes pass as they are: 8 bits, no parity, one stop bit, nothing echoed or interpreted (OSDP 2.2, clause 5.2)."""
    _, _, control, _, _, _, characters = termios.tcgetattr(fd)
    control &= ~(termios.CSIZE | termios.PARENB | termios.CSTOPB)
    control |= termios.CS8 | termios.CREAD | termios.CLOCAL
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0  # with none there, a read says so instead of 0 bytes
    speed = BAUD_RATES[baud_rate]
    termios.tcsetattr(fd, termios.TCSANOW, [0, 0, control, 0, speed, speed, characters])
    termios.tcflush(fd, termios.TCIOFLUSH)
