//! The command line `mixlet`.

use std::process::ExitCode;

fn main() -> ExitCode {
    mixlet_runtime::cli::main()
}
