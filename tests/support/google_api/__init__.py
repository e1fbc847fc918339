"""Parts of the strict Google server: discovery documents, checks, and one module per service."""
