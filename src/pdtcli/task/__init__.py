"""Tasks: the phases of a pipeline. Import the classes from `pdtcli`."""
