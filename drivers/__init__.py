"""One folder per wire: the driver, and the simulator that answers it."""
