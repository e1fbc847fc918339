"""Commands that make shards, one worker or a fleet of them: their options and help pages."""
