"""The door driver contract as a product: what a driver, a simulator or a real device is asked, and how it answered."""
