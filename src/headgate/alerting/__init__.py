"""Alerts: what is looked at, when people are told, and that they are. Beside the calls, in threads of its own."""

from headgate.alerting.board import Board

__all__ = ["Board"]
