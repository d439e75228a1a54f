"""The daemon under load and faults for as long as asked: what is lost, what grows, how late it is."""
