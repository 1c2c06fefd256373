"""The worker beside the doors: watches cameras, listens to doors, decides, opens, keeps facts for the gateway."""
