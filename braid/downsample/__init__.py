"""From the chunks of one scale to those of the next."""
