"""How work travels and what is known of it; shared by producer, consumer and infra."""
