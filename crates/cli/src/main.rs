//! The binary `primacy`; everything is in the library, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    primacy_cli::run(std::env::args_os())
}
