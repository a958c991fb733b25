use std::process::ExitCode;

fn main() -> ExitCode {
    qcc::cli::run()
}
