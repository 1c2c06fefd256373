"""Card readers and keypads over OSDP (IEC 60839-11-5): driver and simulated reader, on libosdp."""
