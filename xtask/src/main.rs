//! What the project does to itself: installs test needs, runs every check, keeps the tree tidy.

fn main() {}
