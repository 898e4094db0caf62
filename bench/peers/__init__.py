"""What Paceline is compared with: each a module that says how it is installed, started, and given a job of the same workers."""
