"""What is measured, side by side with what a user would pick instead. `./dev bench AREA` runs `benchmarks/AREA/run.py`."""
