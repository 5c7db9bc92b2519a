"""Repositories: where a pipeline's data is. Import the classes from `pdtcli`."""
