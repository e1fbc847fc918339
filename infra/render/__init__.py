"""Texts for other engines that run the same workers: `infra render` prints them."""
