"""The worker beside the doors: watches cameras, listens to doors, decides, opens, remembers until the gateway has it."""
