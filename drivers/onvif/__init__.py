"""ONVIF over SOAP: cameras, doors by DoorControl and AccessControl, discovery, and the simulated device."""
