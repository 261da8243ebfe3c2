"""The prompt-injection filter and its quarantine."""
