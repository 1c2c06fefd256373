"""Doors over MQTT: door contract version 1 (docs/mqtt.md), its driver, its simulator and the broker beside them."""
