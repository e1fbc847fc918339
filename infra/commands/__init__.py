"""Commands of infra: their options and help pages."""
