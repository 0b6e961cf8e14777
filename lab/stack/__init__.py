"""From a compose file to running containers behind Toxiproxy: read, planned, started."""
