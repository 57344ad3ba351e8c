//! The command line `mixlet`.

fn main() {}
