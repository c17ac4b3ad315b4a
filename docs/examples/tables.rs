//! Prints the book's tables of statements; see [`sadm_docs::tables`].

use std::process::ExitCode;

fn main() -> ExitCode {
    match sadm_docs::tables::page() {
        Ok(page) => {
            print!("{page}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
