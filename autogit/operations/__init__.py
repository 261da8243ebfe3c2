"""What a user asks for, one module a noun; shells call these and nothing else."""
