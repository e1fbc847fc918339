"""Guided `infra up`: questions on a terminal, answers in `.env`, one screen, then ticks."""
