"""What every process starts with: settings files and their reader, logging, supervision."""
