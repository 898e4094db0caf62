"""What training costs: prices, and what follows from them. No I/O, no clock."""
