"""Managers: where process jobs run. Import the classes from `pdtcli`."""
